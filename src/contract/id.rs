//! Identifiers: any integer or text in 128 bits that can be copied, compared and hashed.
//!
//! It keeps no names: texts too long to be packed are known by the number and the hash that an
//! interner gave them. Two identifiers are equal exactly when what the files hold is equal;
//! packing is injective, so no collision can make two deals one.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

/// An identifier of a deal, a customer or an event.
///
/// Shape: what it is stands in the high word, so that integers have a constant one. High word 0 is
/// none, 1 an integer. Else the top byte tells: `0x08` interned, `0x10 + n` text of `n` bytes,
/// `0x20 + n` text of `16 + n` letters and digits, `0x30 + n` text of `8 + n` bytes without lower
/// case, from `0x40` a UUID. The shorter the encoding, the narrower the columns that hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    high: u64,
    low: u64,
}

const INTEGER: u64 = 1;
const INTERNED: u64 = 0x08;
const SHORT: u64 = 0x10;
const SHORT_BYTES_MAX: usize = 15;
const ALPHANUMERIC: u64 = 0x20;
const ALPHANUMERIC_BYTES_MIN: usize = 16;
/// 62^20 is the last power of 62 below 2^120.
const ALPHANUMERIC_BYTES_MAX: usize = 20;
const UPPER: u64 = 0x30;
const UPPER_BYTES_MIN: usize = 9;
const UPPER_BYTES_MAX: usize = 16;
const UUID: u64 = 0x40;
const UUID_BYTES: usize = 36;
const TAG_SHIFT: u32 = 56;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What an identifier was in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spelling {
    /// Nothing.
    None,
    /// An integer.
    Integer(i64),
    /// Text.
    Text(String),
    /// Text that the interner of this number knows.
    Interned(u32),
}

impl Id {
    /// No identifier; also the default.
    pub const NONE: Self = Self { high: 0, low: 0 };

    /// The identifier of an integer.
    #[must_use]
    pub fn integer(value: i64) -> Self {
        Self { high: INTEGER, low: value.cast_unsigned() }
    }

    /// The identifier of a text that fits: up to 15 bytes, 16 to 20 letters and digits (such as
    /// those of CRM records), or a UUID in lower case.
    #[must_use]
    pub fn packed(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if let Some(value) = upper(bytes) {
            return Some(Self::tagged(UPPER + (bytes.len() - 8) as u64, value));
        }
        match bytes.len() {
            0 => None,
            n @ 1..=SHORT_BYTES_MAX => Some(Self::tagged(SHORT + n as u64, big_endian(bytes))),
            n @ ALPHANUMERIC_BYTES_MIN..=ALPHANUMERIC_BYTES_MAX => {
                let tag = ALPHANUMERIC + (n - ALPHANUMERIC_BYTES_MIN) as u64;
                Some(Self::tagged(tag, alphanumeric(bytes)?))
            }
            UUID_BYTES => uuid(bytes),
            _ => None,
        }
    }

    fn tagged(tag: u64, value: u128) -> Self {
        Self { high: tag << TAG_SHIFT | (value >> 64) as u64, low: value as u64 }
    }

    /// The identifier of a text by its number in an interner and its hash.
    #[must_use]
    pub fn interned(code: u32, hash: u64) -> Self {
        Self { high: INTERNED << TAG_SHIFT | u64::from(code), low: hash }
    }

    /// The integer that a text of its digits stands for; other identifiers are what they are.
    #[must_use]
    pub fn as_number(self) -> Self {
        let Spelling::Text(text) = self.spelling() else { return self };
        match text.parse::<i64>() {
            // "07" and "+7" are other identifiers than 7.
            Ok(number) if number.to_string() == text => Self::integer(number),
            _ => self,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.high == 0
    }

    /// Hash, equal in every run for equal identifiers; integers never collide with one another.
    #[must_use]
    #[inline]
    pub fn hash(self) -> u64 {
        if self.high == INTEGER {
            hash_integer(self.low.cast_signed())
        } else if self.high >> TAG_SHIFT == INTERNED {
            self.low
        } else {
            hash_integer((hash_integer(self.low.cast_signed()) ^ self.high).cast_signed())
        }
    }

    /// The hash that the identifier of a text has, packed or interned.
    #[must_use]
    pub fn hash_of_text(text: &str) -> u64 {
        Self::packed(text).map_or_else(|| hash_text(text), Self::hash)
    }

    /// The two words, for columns of plain integers.
    #[must_use]
    #[inline]
    pub fn words(self) -> (u64, u64) {
        (self.high, self.low)
    }

    /// The identifier of two words.
    #[must_use]
    #[inline]
    pub fn from_words(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// What it was in the files.
    #[must_use]
    pub fn spelling(self) -> Spelling {
        let tag = self.high >> TAG_SHIFT;
        let value = u128::from(self.high & (u64::MAX >> 8)) << 64 | u128::from(self.low);
        match (tag, self.high) {
            (0, 0) => Spelling::None,
            (0, _) => Spelling::Integer(self.low.cast_signed()),
            (INTERNED, _) => Spelling::Interned(self.high as u32),
            (UUID.., _) => Spelling::Text(uuid_text(self)),
            (UPPER.., _) => Spelling::Text(upper_text(value, (tag - UPPER) as u32 + 8)),
            (ALPHANUMERIC.., _) => {
                let n = ALPHANUMERIC_BYTES_MIN + (tag - ALPHANUMERIC) as usize;
                Spelling::Text(alphanumeric_text(value, n))
            }
            _ => {
                let bytes = value.to_be_bytes();
                let own = bytes.len().saturating_sub((tag - SHORT) as usize);
                let own = bytes.get(own..).unwrap_or_default();
                Spelling::Text(String::from_utf8_lossy(own).into_owned())
            }
        }
    }
}

/// One to 15 bytes as a number: two overlapping loads where they are eight or more.
#[inline]
fn big_endian(bytes: &[u8]) -> u128 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        let shift = 8 * (bytes.len() as u32 - 8);
        return u128::from(u64::from_be_bytes(*first)) << shift
            | u128::from(u64::from_be_bytes(*last));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = 8 * (bytes.len() as u32 - 4);
        return u128::from(u32::from_be_bytes(*first)) << shift
            | u128::from(u32::from_be_bytes(*last));
    }
    bytes.iter().fold(0, |value, byte| value << 8 | u128::from(*byte))
}

/// Nine to 16 bytes from space to underscore, which has no lower case, as six bits each; `None`
/// where there is anything else.
#[inline]
fn upper(bytes: &[u8]) -> Option<u128> {
    if !(UPPER_BYTES_MIN..=UPPER_BYTES_MAX).contains(&bytes.len()) {
        return None;
    }
    let first = six_bits(u64::from_be_bytes(*bytes.first_chunk()?))?;
    let last = six_bits(u64::from_be_bytes(*bytes.last_chunk()?))?;
    // Where the two overlap they agree.
    Some(u128::from(first) << (6 * (bytes.len() as u32 - 8)) | u128::from(last))
}

/// Eight bytes as 48 bits, the same trick on all of them at once.
#[inline]
fn six_bits(word: u64) -> Option<u64> {
    let codes = word.wrapping_sub(0x2020_2020_2020_2020);
    // A byte below space borrows, which shows in its own highest bits.
    if codes & 0xC0C0_C0C0_C0C0_C0C0 != 0 {
        return None;
    }
    let pairs = codes & 0x003F_003F_003F_003F | (codes & 0x3F00_3F00_3F00_3F00) >> 2;
    let fours = pairs & 0x0000_0FFF_0000_0FFF | (pairs & 0x0FFF_0000_0FFF_0000) >> 4;
    Some(fours & 0x00FF_FFFF | (fours & 0x00FF_FFFF_0000_0000) >> 8)
}

fn upper_text(value: u128, bytes: u32) -> String {
    let byte = |place: u32| (value >> (6 * place) & 0x3F) as u8 + b' ';
    (0..bytes).rev().map(|place| char::from(byte(place))).collect()
}

/// Letters and digits as a number of base 62; `None` where there is anything else.
fn alphanumeric(bytes: &[u8]) -> Option<u128> {
    // Ten digits fit in 64 bits, where arithmetic is cheap.
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let number = |part: &[u8]| -> Option<u64> {
        part.iter().try_fold(0, |number, byte| {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                b'a'..=b'z' => byte - b'a' + 36,
                _ => return None,
            };
            Some(number * 62 + u64::from(digit))
        })
    };
    let scale = 62_u64.pow(tail.len() as u32);
    Some(u128::from(number(head)?) * u128::from(scale) + u128::from(number(tail)?))
}

fn alphanumeric_text(mut value: u128, bytes: usize) -> String {
    let mut text = vec![b'0'; bytes];
    for slot in text.iter_mut().rev() {
        *slot = DIGITS.get((value % 62) as usize).copied().unwrap_or(b'0');
        value /= 62;
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A UUID in lower case of the usual variant: 126 bits, because two bits of it are always the same.
fn uuid(bytes: &[u8]) -> Option<Id> {
    let mut value = 0_u128;
    for (place, byte) in bytes.iter().enumerate() {
        let digit = match (place, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    let (high, low) = ((value >> 64) as u64, value as u64);
    // The variant's bits are the highest of the low word; what was highest in the high word moves
    // there, and the tag takes its place.
    let tag = UUID << TAG_SHIFT;
    (low >> 62 == 0b10).then_some(Id {
        high: high & (u64::MAX >> 2) | tag,
        low: low & (u64::MAX >> 2) | high >> 62 << 62,
    })
}

fn uuid_text(id: Id) -> String {
    let high = id.high & (u64::MAX >> 2) | id.low >> 62 << 62;
    let low = id.low & (u64::MAX >> 2) | 0b10 << 62;
    let hex = format!("{high:016x}{low:016x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// Hash of a name; equal in every run and on every machine.
#[must_use]
pub fn hash_text(text: &str) -> u64 {
    FixedState::with_seed(0x00DE_A111_1177).hash_one(text.as_bytes())
}

/// Hash of an integer: a bijection, so that two integers never collide.
/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014, Fast splittable pseudorandom number
/// generators).
#[must_use]
#[inline]
pub fn hash_integer(value: i64) -> u64 {
    let mut z = value.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, is_packed: bool) {
        let id = Id::packed(text);
        assert_eq!(id.is_some(), is_packed, "{text:?}");
        if let Some(id) = id {
            assert_eq!(id.spelling(), Spelling::Text(text.to_owned()));
            assert!(!id.is_none());
        }
    }

    #[test]
    fn what_fits_is_packed_and_can_be_read_back() {
        check("x", true);
        check("D0000000000001", true);
        check("D00000001", true);
        check(" !/09:@AZ[_~", true);
        check("_______________ ", true);
        check("SIXTEEN BYTES _!", true);
        check("TAB\tAND\u{7f}", true);
        check("ÄÖÜ-äöü", true);
        check("fifteen bytes..", true);
        check("sixteen bytes...", false);
        check("0065g00000ABCdEAAX", true);
        check("zzzzzzzzzzzzzzzzzzzz", true);
        check("zzzzzzzzzzzzzzzzzzzzz", false);
        check("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", true);
        check("ffffffff-ffff-ffff-bfff-ffffffffffff", true);
        check("f81d4fae-7dec-11d0-c765-00a0c91e6bf6", false);
        check("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", false);
        check("", false);
    }

    #[test]
    fn integers_keep_the_hash_that_never_collides() {
        for value in [0, 1, -1, i64::MIN, i64::MAX] {
            assert_eq!(Id::integer(value).hash(), hash_integer(value));
            assert_eq!(Id::integer(value).spelling(), Spelling::Integer(value));
            assert!(!Id::integer(value).is_none());
        }
        assert_eq!(Id::interned(7, 99).hash(), 99);
        assert_eq!(Id::interned(7, 99).spelling(), Spelling::Interned(7));
    }

    proptest! {
        #[test]
        fn packing_is_injective(
            a in "[ -~]{1,15}|[0-9A-Za-z]{16,20}|\\PC{1,3}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
            b in "[ab]{1,15}|[_ ]{1,16}|[ A]{8}[A\\x1f`]|[0a]{16,20}|[0f]{8}-[0f]{4}-[0f]{4}-[8b][0f]{3}-[0f]{12}",
            c in "[ab]{1,15}|[_ ]{1,16}|[ A]{8}[A\\x1f`]|[0a]{16,20}|[0f]{8}-[0f]{4}-[0f]{4}-[8b][0f]{3}-[0f]{12}",
        ) {
            for (one, other) in [(&a, &b), (&b, &c), (&a, &a)] {
                let ids = (Id::packed(one), Id::packed(other));
                prop_assert!(ids.0.is_some() && ids.1.is_some());
                prop_assert_eq!(ids.0 == ids.1, one == other);
                prop_assert!(ids.0 != Some(Id::integer(one.len() as i64)));
                prop_assert_eq!(ids.0.map(Id::spelling), Some(Spelling::Text(one.clone())));
            }
        }
    }
}
