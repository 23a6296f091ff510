//! Names to small numbers and back, shared by all decoding threads.
//!
//! Numbers are handed out in the order of arrival, which depends on the threads; nothing that
//! reaches an output may depend on them. [`Interner::freeze`] gives the names for sorting.

use std::hash::BuildHasher;
use std::sync::Mutex;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::error::Error;

/// Locks are per shard, so that threads seldom meet.
const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;

/// Hash of an identifier given as text; equal in every run and on every machine.
#[must_use]
pub fn hash_text(text: &str) -> u64 {
    FixedState::with_seed(0x00DE_A111_1177).hash_one(text.as_bytes())
}

/// Hash of an integer identifier: a bijection, so that two integers never collide.
/// The finaliser of SplitMix64 (Steele, Lea & Flood 2014, Fast splittable pseudorandom number
/// generators).
#[must_use]
pub fn hash_integer(value: i64) -> u64 {
    let mut z = value.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[derive(Default)]
struct Shard {
    /// Hash and position of each name.
    table: HashTable<(u64, u32)>,
    names: Vec<Box<str>>,
}

/// A concurrent set of names. A number is `position * SHARDS + shard`.
pub struct Interner {
    shards: Vec<Mutex<Shard>>,
}

impl Default for Interner {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect() }
    }
}

impl std::fmt::Debug for Interner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interner").finish_non_exhaustive()
    }
}

impl Interner {
    /// The number of a name, and its hash. Names with equal hashes are compared, so that a
    /// collision never makes two names one.
    ///
    /// # Errors
    /// More names than 32 bits can number.
    pub fn intern(&self, name: &str) -> Result<(u32, u64), Error> {
        let hash = hash_text(name);
        let index = (hash >> (64 - SHARD_BITS)) as usize;
        let Some(shard) = self.shards.get(index) else {
            return Err(Error::Bug("interner without shards".into()));
        };
        let mut guard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Shard { table, names } = &mut *guard;
        let same = |entry: &(u64, u32)| {
            entry.0 == hash && names.get(entry.1 as usize).is_some_and(|n| **n == *name)
        };
        let position = match table.find(hash, same) {
            Some(entry) => entry.1,
            None => {
                let position = names.len() as u32;
                names.push(name.into());
                table.insert_unique(hash, (hash, position), |entry| entry.0);
                position
            }
        };
        position
            .checked_mul(SHARDS as u32)
            .filter(|code| *code < u32::MAX - SHARDS as u32)
            .map(|code| (code + index as u32, hash))
            .ok_or_else(|| Error::Overflow { what: "the number of distinct names".into() })
    }

    /// All names by number; numbers that were not handed out are empty.
    #[must_use]
    pub fn freeze(&self) -> Names {
        let shards: Vec<Vec<Box<str>>> = self
            .shards
            .iter()
            .map(|s| s.lock().unwrap_or_else(std::sync::PoisonError::into_inner).names.clone())
            .collect();
        Names { shards }
    }
}

/// The names behind an interner's numbers.
#[derive(Debug, Default, Clone)]
pub struct Names {
    shards: Vec<Vec<Box<str>>>,
}

impl Names {
    /// The name of a number.
    #[must_use]
    pub fn get(&self, code: u32) -> Option<&str> {
        let shard = self.shards.get(code as usize % SHARDS)?;
        shard.get(code as usize / SHARDS).map(|n| &**n)
    }

    /// Every name with its number, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.shards.iter().enumerate().flat_map(|(shard, names)| {
            names
                .iter()
                .enumerate()
                .map(move |(position, name)| ((position * SHARDS + shard) as u32, &**name))
        })
    }

    /// One more than the largest number handed out.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.shards.iter().map(Vec::len).max().unwrap_or(0) * SHARDS
    }

    /// The names in order, and for each number its rank in that order.
    #[must_use]
    pub fn ranked(&self) -> (Vec<String>, Vec<u32>) {
        let mut sorted: Vec<(&str, u32)> = self.iter().map(|(code, name)| (name, code)).collect();
        sorted.sort_unstable();
        let mut ranks = vec![u32::MAX; self.bound()];
        for (rank, (_, code)) in sorted.iter().enumerate() {
            if let Some(slot) = ranks.get_mut(*code as usize) {
                *slot = rank as u32;
            }
        }
        (sorted.into_iter().map(|(name, _)| name.to_owned()).collect(), ranks)
    }
}
