//! Ternary, range and optional match with priorities: entries grouped by mask, one hash index per mask.
//!
//! In: keys of any match kinds. Out: the matching record of highest priority, the one stored earlier among equals.
//! A lookup costs one hash per distinct mask whose best priority could still win. Range fields do not take part
//! in the hash; they are compared on each candidate.
//! Invariant: groups are sorted by their best priority, descending, and none is empty.

use smallvec::smallvec;

use super::entry::MatchKind;
use super::exact::{HashIndex, KeyHasher};
use super::key::{Encoded, KeyBytes, KeyPlan};
use super::store::Store;

#[derive(Debug)]
struct MaskGroup {
    mask: KeyBytes,
    /// No record of the group has a higher priority.
    best: i32,
    index: HashIndex,
}

/// The groups.
#[derive(Debug, Default)]
pub(crate) struct TernaryIndex {
    groups: Vec<MaskGroup>,
}

impl TernaryIndex {
    /// The winning record for a key.
    pub fn lookup(
        &self,
        plan: &KeyPlan,
        store: &Store,
        hasher: &KeyHasher,
        key: &[u8],
    ) -> Option<u32> {
        let mut winner: Option<u32> = None;
        let mut masked: KeyBytes = smallvec![0; plan.len];
        for group in &self.groups {
            if winner.is_some_and(|w| plan.priority(store.matched(w)) > group.best) {
                break;
            }
            for (to, (k, m)) in masked.iter_mut().zip(key.iter().zip(&group.mask)) {
                *to = k & m;
            }
            for candidate in group.index.candidates(hasher.hash(&masked)) {
                let stored = store.matched(candidate);
                let wins = winner.is_none_or(|w| plan.precedence(stored, store.matched(w)).is_gt());
                if wins && matches(plan, stored, key) {
                    winner = Some(candidate);
                }
            }
        }
        winner
    }

    /// The record with this very match and priority.
    pub fn find(
        &self,
        plan: &KeyPlan,
        store: &Store,
        hasher: &KeyHasher,
        encoded: &Encoded,
    ) -> Option<u32> {
        let mask = hash_mask(plan, encoded);
        let group = self.groups.iter().find(|group| group.mask == mask)?;
        let mut found = group
            .index
            .candidates(hasher.hash(&masked_value(plan, encoded)));
        found.find(|&record| {
            let stored = store.matched(record);
            stored.get(..plan.len) == Some(&encoded.value[..])
                && stored.get(plan.len..2 * plan.len) == Some(&encoded.mask[..])
                && plan.priority(stored) == encoded.priority
        })
    }

    /// Adds a record.
    pub fn insert(&mut self, plan: &KeyPlan, hasher: &KeyHasher, encoded: &Encoded, record: u32) {
        let mask = hash_mask(plan, encoded);
        let hash = hasher.hash(&masked_value(plan, encoded));
        let best = encoded.priority;
        match self.groups.iter_mut().find(|group| group.mask == mask) {
            Some(group) => {
                group.index.insert(hash, record);
                if group.best >= best {
                    return;
                }
                group.best = best;
            }
            None => {
                let mut index = HashIndex::default();
                index.insert(hash, record);
                self.groups.push(MaskGroup { mask, best, index });
            }
        }
        self.groups
            .sort_by_key(|group| std::cmp::Reverse(group.best));
    }

    /// Takes a record out.
    pub fn remove(&mut self, plan: &KeyPlan, hasher: &KeyHasher, encoded: &Encoded, record: u32) {
        let mask = hash_mask(plan, encoded);
        let Some(at) = self.groups.iter().position(|group| group.mask == mask) else {
            return;
        };
        self.groups[at]
            .index
            .remove(hasher.hash(&masked_value(plan, encoded)), record);
        if self.groups[at].index.is_empty() {
            self.groups.remove(at);
        }
    }

    /// Takes every record out.
    pub fn clear(&mut self) {
        self.groups.clear();
    }
}

/// The mask with range fields cleared.
fn hash_mask(plan: &KeyPlan, encoded: &Encoded) -> KeyBytes {
    let mut mask = encoded.mask.clone();
    clear_ranges(plan, &mut mask);
    mask
}

fn masked_value(plan: &KeyPlan, encoded: &Encoded) -> KeyBytes {
    let mut value = encoded.value.clone();
    clear_ranges(plan, &mut value);
    value
}

fn clear_ranges(plan: &KeyPlan, bytes: &mut [u8]) {
    for field in plan.fields.iter().filter(|f| f.kind == MatchKind::Range) {
        if let Some(part) = bytes.get_mut(field.offset..field.offset + field.len) {
            part.fill(0);
        }
    }
}

/// Whether a stored match covers the key.
fn matches(plan: &KeyPlan, stored: &[u8], key: &[u8]) -> bool {
    plan.fields.iter().all(|f| {
        let (Some(value), Some(mask), Some(key)) = (
            slice(stored, f.offset, f.len),
            slice(stored, plan.len + f.offset, f.len),
            slice(key, f.offset, f.len),
        ) else {
            return false;
        };
        if f.kind == MatchKind::Range {
            value <= key && key <= mask
        } else {
            value
                .iter()
                .zip(mask)
                .zip(key)
                .all(|((v, m), k)| k & m == *v)
        }
    })
}

fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at + len)
}
