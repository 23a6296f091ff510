//! Names to small numbers and back, shared by all decoding threads.
//!
//! Numbers are dense and handed out in the order of arrival, which depends on the threads; nothing
//! that reaches an output may depend on them. [`Interner::freeze`] gives the names for sorting.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering as Memory};

use hashbrown::HashTable;

use crate::contract::{Id, Spelling, hash_text};
use crate::error::Error;

/// Locks are per shard, so that threads seldom meet.
const SHARD_BITS: u32 = 6;
const SHARDS: usize = 1 << SHARD_BITS;
/// Numbers above are kept for stand-ins.
const CODES_MAX: u32 = u32::MAX - (1 << 16);

#[derive(Default)]
struct Shard {
    /// Hash and position of each name.
    table: HashTable<(u64, u32)>,
    /// Number and text of each name.
    names: Vec<(u32, Box<str>)>,
}

/// A concurrent set of names.
pub struct Interner {
    shards: Vec<Mutex<Shard>>,
    next: AtomicU32,
    bytes: AtomicU64,
}

/// Bytes of a name beside its text: number and place, hash, and what the allocator rounds up.
const NAME_BYTES: u64 = 64;

impl Default for Interner {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { shards, next: AtomicU32::new(0), bytes: AtomicU64::new(0) }
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
            entry.0 == hash && names.get(entry.1 as usize).is_some_and(|n| *n.1 == *name)
        };
        if let Some(entry) = table.find(hash, same)
            && let Some((code, _)) = names.get(entry.1 as usize)
        {
            return Ok((*code, hash));
        }
        let code = self.next.fetch_add(1, Memory::Relaxed);
        if code > CODES_MAX {
            // Taken back, so that the count does not begin anew.
            self.next.fetch_sub(1, Memory::Relaxed);
            return Err(Error::Overflow { what: "the number of distinct names".into() });
        }
        table.insert_unique(hash, (hash, names.len() as u32), |entry| entry.0);
        names.push((code, name.into()));
        self.bytes.fetch_add(name.len() as u64 + NAME_BYTES, Memory::Relaxed);
        Ok((code, hash))
    }

    /// Bytes that the names take, about.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Memory::Relaxed)
    }

    /// The identifier of a text: packed where it fits, else interned.
    ///
    /// # Errors
    /// As [`Interner::intern`].
    #[inline]
    pub fn id(&self, text: &str) -> Result<Id, Error> {
        match Id::packed(text) {
            Some(id) => Ok(id),
            None => self.intern(text).map(|(code, hash)| Id::interned(code, hash)),
        }
    }

    /// How many names there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.next.load(Memory::Relaxed) as usize
    }

    /// All names by number.
    #[must_use]
    pub fn freeze(&self) -> Names {
        let mut names: Vec<Box<str>> =
            vec![Box::default(); self.next.load(Memory::Relaxed) as usize];
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for (code, name) in &shard.names {
                if let Some(slot) = names.get_mut(*code as usize) {
                    slot.clone_from(name);
                }
            }
        }
        Names { names }
    }
}

/// The names behind an interner's numbers.
#[derive(Debug, Default, Clone)]
pub struct Names {
    names: Vec<Box<str>>,
}

impl Names {
    /// The name of a number.
    #[must_use]
    pub fn get(&self, code: u32) -> Option<&str> {
        self.names.get(code as usize).map(|n| &**n)
    }

    /// Every name with its number, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().enumerate().map(|(code, name)| (code as u32, &**name))
    }

    /// All names by number.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.names.iter().map(|name| name.to_string()).collect()
    }

    /// One more than the largest number handed out.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.names.len()
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

    /// The text of an identifier; `None` if there is none.
    #[must_use]
    pub fn text(&self, id: Id) -> Option<String> {
        match id.spelling() {
            Spelling::None => None,
            Spelling::Integer(value) => Some(value.to_string()),
            Spelling::Text(text) => Some(text),
            Spelling::Interned(code) => self.get(code).map(str::to_owned),
        }
    }

    /// What an identifier is ordered by: none, then numbers by value, then texts, so that an
    /// identifier means the same as an integer and as text.
    #[must_use]
    pub fn order_key(&self, id: Id) -> (bool, i64, String) {
        if let Spelling::Integer(value) = id.spelling() {
            return (false, value, String::new());
        }
        match self.text(id).map(|text| (text.parse::<i64>().ok(), text)) {
            None => (false, i64::MIN, String::new()),
            // "07" is 7, too, but another identifier than "7".
            Some((Some(number), text)) if text == number.to_string() => {
                (false, number, String::new())
            }
            Some((Some(number), text)) => (false, number, text),
            Some((None, text)) => (true, 0, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_names_are_dense() {
        let interner = Interner::default();
        let codes: Vec<u32> =
            ["b", "a", "b", "c"].iter().map(|name| interner.intern(name).unwrap().0).collect();
        assert_eq!(codes, [0, 1, 0, 2]);
        assert_eq!(interner.freeze().ranked().1, [1, 0, 2]);
    }

    #[test]
    fn numbers_come_by_value_and_before_texts() {
        let interner = Interner::default();
        let long = "10000000000000000000000000000000000000000000";
        let ids = ["9", "10", "100000000000000000", "A", long].map(|t| interner.id(t).unwrap());
        let names = interner.freeze();
        let sorted = [ids[0], ids[1], Id::integer(11), ids[2], ids[4], ids[3]];
        assert!(sorted.is_sorted_by(|a, b| names.order_key(*a) < names.order_key(*b)));
        assert_eq!(names.text(ids[4]).as_deref(), Some(long));
    }
}
