//! Longest prefix match: one hash index per prefix length in use, longest first.
//!
//! In: keys with one prefix field and any exact fields. Out: the record with the longest matching prefix.
//! Invariant: an index exists exactly for the lengths that some record has.

use super::exact::{HashIndex, KeyHasher};
use super::key::{Encoded, KeyBytes, PrefixField, cut_to_prefix};
use super::store::Store;

/// The indices by prefix length, descending.
#[derive(Debug)]
pub(crate) struct LpmIndex {
    field: PrefixField,
    key_len: usize,
    lengths: Vec<(u16, HashIndex)>,
}

impl LpmIndex {
    /// An empty index over keys of `key_len` bytes with this prefix field.
    pub fn new(field: PrefixField, key_len: usize) -> Self {
        Self {
            field,
            key_len,
            lengths: Vec::new(),
        }
    }

    /// The record with the longest prefix that covers the key.
    pub fn lookup(&self, store: &Store, hasher: &KeyHasher, key: &[u8]) -> Option<u32> {
        let mut cut = KeyBytes::from_slice(key);
        let PrefixField { offset, len, width } = self.field;
        self.lengths.iter().find_map(|(prefix, index)| {
            if let Some(part) = cut.get_mut(offset..offset + len) {
                cut_to_prefix(part, width, u32::from(*prefix));
            }
            self.find_in(index, store, hasher, &cut)
        })
    }

    fn find_in(
        &self,
        index: &HashIndex,
        store: &Store,
        hasher: &KeyHasher,
        value: &[u8],
    ) -> Option<u32> {
        index.find(hasher.hash(value), |i| {
            store.matched(i).get(..self.key_len) == Some(value)
        })
    }

    /// The record with this very match.
    pub fn find(&self, store: &Store, hasher: &KeyHasher, encoded: &Encoded) -> Option<u32> {
        let (_, index) = self
            .lengths
            .iter()
            .find(|(prefix, _)| *prefix == encoded.prefix)?;
        self.find_in(index, store, hasher, &encoded.value)
    }

    /// Adds a record.
    pub fn insert(&mut self, hasher: &KeyHasher, encoded: &Encoded, record: u32) {
        let at = self
            .lengths
            .partition_point(|(prefix, _)| *prefix > encoded.prefix);
        if self
            .lengths
            .get(at)
            .is_none_or(|(prefix, _)| *prefix != encoded.prefix)
        {
            self.lengths
                .insert(at, (encoded.prefix, HashIndex::default()));
        }
        if let Some((_, index)) = self.lengths.get_mut(at) {
            index.insert(hasher.hash(&encoded.value), record);
        }
    }

    /// Takes a record out.
    pub fn remove(&mut self, hasher: &KeyHasher, encoded: &Encoded, record: u32) {
        let Some(at) = self
            .lengths
            .iter()
            .position(|(prefix, _)| *prefix == encoded.prefix)
        else {
            return;
        };
        self.lengths[at]
            .1
            .remove(hasher.hash(&encoded.value), record);
        if self.lengths[at].1.is_empty() {
            self.lengths.remove(at);
        }
    }

    /// Takes every record out.
    pub fn clear(&mut self) {
        self.lengths.clear();
    }
}
