//! Ternary, range and optional match with priorities: tuple space search that packets do without a lock.
//!
//! In: keys of any match kinds. Out: the matching row of highest priority, the one stored earlier among equals.
//!
//! ```text
//! groups by mask, best priority first ─▶ hash index of the masked value ─▶ chain of rows, best first
//! ```
//!
//! A lookup costs one hash per distinct mask whose best priority could still win. Of a range, the bits that its ends
//! have in common at their front take part in the mask; the rest is compared on each row of the chain.
//! Invariants: groups are sorted by their best priority, descending, and none is empty; chains are sorted by
//! precedence; one writer at a time; each change becomes visible by a single store.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::entry::MatchKind;
use super::epoch::Guard;
use super::exact::{HashIndex, KeyHasher};
use super::key::{Encoded, KeyPart, KeyPlan, KeyWords};
use super::rcu::Rcu;
use super::record::{Entry, Shape};
use super::words::Words;

#[derive(Debug)]
struct MaskGroup {
    mask: KeyWords,
    /// No row of the group has a higher priority.
    best: AtomicI32,
    /// First rows of the chains.
    chains: HashIndex,
}

/// The groups.
#[derive(Debug)]
pub(crate) struct TernaryIndex {
    ranges: Vec<KeyPart>,
    groups: Rcu<Vec<Arc<MaskGroup>>>,
    /// The same groups by mask with their number of rows, for the writer.
    by_mask: Mutex<FxHashMap<KeyWords, (Arc<MaskGroup>, u64)>>,
}

/// The rows that the index names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub words: &'a Words,
    pub shape: &'a Shape,
}

impl<'a> Rows<'a> {
    /// A row.
    #[inline]
    pub fn get(self, row: u32) -> Entry<'a> {
        Entry::new(self.words.get(row).unwrap_or_default())
    }
}

impl TernaryIndex {
    /// No groups yet.
    pub fn new(plan: &KeyPlan) -> Self {
        let ranges = plan.fields.iter().filter(|f| f.kind == MatchKind::Range);
        Self {
            ranges: ranges.map(|f| f.part).collect(),
            groups: Rcu::default(),
            by_mask: Mutex::default(),
        }
    }

    /// The winning row for a key.
    pub fn lookup<'g>(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'g>,
        key: &[u64],
    ) -> Option<Entry<'g>> {
        let shape = rows.shape;
        let mut winner: Option<Entry<'g>> = None;
        for group in self.groups.load(guard)? {
            let best = group.best.load(Ordering::Relaxed);
            if winner.is_some_and(|winner| winner.priority(shape) > best) {
                break;
            }
            let hash = hasher.hash_masked(key, &group.mask);
            let head = |row| rows.get(row).agrees(shape, key, &group.mask);
            let mut next = group.chains.find(guard, hash, head);
            while let Some(row) = next {
                let entry = rows.get(row);
                if winner.is_some_and(|winner| !entry.precedes(shape, winner)) {
                    break;
                }
                if self.in_ranges(shape, entry, key) {
                    winner = Some(entry);
                    break;
                }
                next = entry.next(shape);
            }
        }
        winner
    }

    #[inline]
    fn in_ranges(&self, shape: &Shape, entry: Entry<'_>, key: &[u64]) -> bool {
        self.ranges.iter().all(|part| {
            if part.words() == 1 {
                let ends = [entry.value(shape, part.word), entry.mask(shape, part.word)];
                let key = part.word_of(key, 0);
                let end = |i: usize| KeyPart { word: i, ..*part }.word_of(&ends, 0);
                end(0) <= key && key <= end(1)
            } else {
                let words = (0..part.words()).rev();
                let key = words
                    .clone()
                    .map(|i| key.get(part.word + i).copied().unwrap_or(0));
                let low = words.clone().map(|i| entry.value(shape, part.word + i));
                let high = words.map(|i| entry.mask(shape, part.word + i));
                low.le(key.clone()) && key.le(high)
            }
        })
    }

    /// The row with this very match and priority.
    pub fn find(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
    ) -> Option<u32> {
        let mask = plan.hash_mask(encoded);
        let by_mask = self.by_mask.lock();
        let (group, _) = by_mask.get(&mask)?;
        let mut next = head(guard, hasher, rows, group, &encoded.value);
        while let Some(row) = next {
            let entry = rows.get(row);
            if entry.encoded(rows.shape) == *encoded {
                return Some(row);
            }
            next = entry.next(rows.shape);
        }
        None
    }

    /// Adds a row. False when there is no room.
    pub fn insert(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        row: u32,
    ) -> bool {
        let mask = plan.hash_mask(encoded);
        let mut by_mask = self.by_mask.lock();
        let fresh = !by_mask.contains_key(&mask);
        let (group, size) = by_mask.entry(mask.clone()).or_insert_with(|| {
            let group = MaskGroup {
                mask: mask.clone(),
                best: AtomicI32::new(encoded.priority),
                chains: HashIndex::default(),
            };
            (Arc::new(group), 0)
        });
        let group = Arc::clone(group);
        // Packets must look into the group before it holds anything that could win.
        if fresh {
            *size = 1;
            let had = self.groups.load(guard).cloned().unwrap_or_default();
            self.publish(had.into_iter().chain([Arc::clone(&group)]).collect());
        } else {
            *size += 1;
            self.raise(guard, &group, encoded.priority);
        }
        let added = link(guard, hasher, rows, &group, &encoded.value, row);
        if !added {
            self.leave(guard, &mut by_mask, &mask);
        }
        added
    }

    fn publish(&self, mut groups: Vec<Arc<MaskGroup>>) {
        groups.sort_by_key(|group| Reverse(group.best.load(Ordering::Relaxed)));
        self.groups.put(groups);
    }

    /// Lets a group win with a higher priority than before. In a list that packets still walk in the old order this
    /// hides nothing: what the group held before could win at its old place, and the new row is not linked yet.
    fn raise(&self, guard: &Guard, group: &Arc<MaskGroup>, priority: i32) {
        if group.best.load(Ordering::Relaxed) >= priority {
            return;
        }
        let Some(groups) = self.groups.load(guard) else {
            return;
        };
        let at = groups
            .iter()
            .position(|g| Arc::ptr_eq(g, group))
            .unwrap_or(0);
        let in_order = at
            .checked_sub(1)
            .and_then(|before| groups.get(before))
            .is_none_or(|before| before.best.load(Ordering::Relaxed) >= priority);
        group.best.store(priority, Ordering::Release);
        if !in_order {
            self.publish(groups.clone());
        }
    }

    /// Puts one row in place of another with the same match.
    pub fn replace(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        (old, new): (u32, u32),
    ) {
        let mask = plan.hash_mask(encoded);
        let by_mask = self.by_mask.lock();
        let Some((group, _)) = by_mask.get(&mask) else {
            return;
        };
        let shape = rows.shape;
        rows.get(new).set_next(shape, rows.get(old).next(shape));
        match before(guard, hasher, rows, group, &encoded.value, old) {
            Some(before) => rows.get(before).set_next(shape, Some(new)),
            None => {
                let hash = hasher.hash_masked(&encoded.value, &group.mask);
                group.chains.replace(guard, hash, old, new);
            }
        }
    }

    /// Takes a row out.
    pub fn remove(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        row: u32,
    ) {
        let mask = plan.hash_mask(encoded);
        let mut by_mask = self.by_mask.lock();
        let Some((group, _)) = by_mask.get(&mask) else {
            return;
        };
        let shape = rows.shape;
        // The row keeps its own successor: packets that stand on it go on.
        let next = rows.get(row).next(shape);
        let hash = hasher.hash_masked(&encoded.value, &group.mask);
        match (
            before(guard, hasher, rows, group, &encoded.value, row),
            next,
        ) {
            (Some(before), next) => rows.get(before).set_next(shape, next),
            (None, Some(next)) => group.chains.replace(guard, hash, row, next),
            (None, None) => group.chains.remove(guard, hash, row),
        }
        self.leave(guard, &mut by_mask, &mask);
    }

    /// Counts a row of the group out; the last one takes the group with it.
    fn leave(
        &self,
        guard: &Guard,
        by_mask: &mut FxHashMap<KeyWords, (Arc<MaskGroup>, u64)>,
        mask: &KeyWords,
    ) {
        let Some((group, size)) = by_mask.get_mut(mask) else {
            return;
        };
        *size -= 1;
        if *size > 0 {
            return;
        }
        let had = self
            .groups
            .load(guard)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let others = had.iter().filter(|g| !Arc::ptr_eq(g, group)).cloned();
        self.publish(others.collect());
        by_mask.remove(mask);
    }
}

/// The first row of the chain that a value belongs to.
fn head(
    guard: &Guard,
    hasher: &KeyHasher,
    rows: Rows<'_>,
    group: &MaskGroup,
    value: &[u64],
) -> Option<u32> {
    let hash = hasher.hash_masked(value, &group.mask);
    let same = |row| rows.get(row).agrees(rows.shape, value, &group.mask);
    group.chains.find(guard, hash, same)
}

/// The row before this one in its chain.
fn before(
    guard: &Guard,
    hasher: &KeyHasher,
    rows: Rows<'_>,
    group: &MaskGroup,
    value: &[u64],
    row: u32,
) -> Option<u32> {
    let mut at = head(guard, hasher, rows, group, value).filter(|&head| head != row)?;
    while let Some(next) = rows.get(at).next(rows.shape) {
        if next == row {
            return Some(at);
        }
        at = next;
    }
    None
}

/// Links a row into its chain, behind all that precede it.
fn link(
    guard: &Guard,
    hasher: &KeyHasher,
    rows: Rows<'_>,
    group: &MaskGroup,
    value: &[u64],
    row: u32,
) -> bool {
    let (shape, entry) = (rows.shape, rows.get(row));
    let hash = hasher.hash_masked(value, &group.mask);
    let Some(head) = head(guard, hasher, rows, group, value) else {
        entry.set_next(shape, None);
        return group.chains.insert(guard, hash, row);
    };
    if entry.precedes(shape, rows.get(head)) {
        entry.set_next(shape, Some(head));
        group.chains.replace(guard, hash, head, row);
        return true;
    }
    let mut at = head;
    while let Some(next) = rows.get(at).next(shape) {
        if entry.precedes(shape, rows.get(next)) {
            break;
        }
        at = next;
    }
    entry.set_next(shape, rows.get(at).next(shape));
    rows.get(at).set_next(shape, Some(row));
    true
}
