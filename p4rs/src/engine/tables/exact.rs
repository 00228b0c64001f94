//! Hash index over stored byte strings: the exact match table, and a part of the others.
//!
//! In: byte strings and record indices. Out: the record index of an equal string.
//! Invariant: the index holds what the caller's store says; it keeps 32 hash bits so that growing touches no record.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Record index and hash.
type Slot = (u32, u32);

/// A hash index.
#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    slots: HashTable<Slot>,
}

/// Hashes byte strings; seeded, so that senders cannot aim at one bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyHasher(DefaultHashBuilder);

impl KeyHasher {
    /// 32 hash bits of a byte string.
    pub fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        (hash ^ (hash >> 32)) as u32
    }
}

/// The table takes its bucket from the low bits and its tag from the top bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl HashIndex {
    /// The first record with this hash for which `equal` holds.
    pub fn find(&self, hash: u32, mut equal: impl FnMut(u32) -> bool) -> Option<u32> {
        self.slots
            .find(spread(hash), |&(index, h)| h == hash && equal(index))
            .map(|&(index, _)| index)
    }

    /// Every record with this hash; the caller compares.
    pub fn candidates(&self, hash: u32) -> impl Iterator<Item = u32> {
        self.slots
            .iter_hash(spread(hash))
            .filter(move |&&(_, h)| h == hash)
            .map(|&(index, _)| index)
    }

    /// Adds a record; the caller knows that no equal one is there, or wants both.
    pub fn insert(&mut self, hash: u32, index: u32) {
        self.slots
            .insert_unique(spread(hash), (index, hash), |&(_, hash)| spread(hash));
    }

    /// Takes a record out.
    pub fn remove(&mut self, hash: u32, index: u32) {
        if let Ok(slot) = self.slots.find_entry(spread(hash), |&(i, _)| i == index) {
            slot.remove();
        }
    }

    /// Whether no record is there.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes every record out and gives the memory back.
    pub fn clear(&mut self) {
        self.slots = HashTable::new();
    }
}
