//! Longest prefix match: a trie that packets walk without a lock.
//!
//! In: keys with one prefix field of any width and any exact fields. Out: the entry with the longest prefix that
//! covers the key.
//!
//! ```text
//! exact fields ─ hash ─▶ group: slot                       without exact fields: one slot
//! slot = entry that covers all below it │ node below, skip below, or the only entry below
//! node = 16 slots, by the next 4 bits; 256 where crowded   without exact fields, the first: 65536, by 16 bits
//! skip = bits that all below have in common, then a slot
//! ```
//!
//! An entry alone in its part of the trie hangs there without nodes of its own and is compared when reached, and bits
//! in which entries do not differ are stepped over at once, so that memory and steps follow the number of prefixes and
//! not their length. Where four of a node's slots have nodes below, one wide node takes the place of them all. Within
//! a node a prefix is written into every slot that it covers. A /24 among a million is found by two or three loads.
//!
//! The walks of a batch go side by side: each takes one step and fetches the memory of its next, then the others do;
//! after the trie, likewise, the places of the entries found, and their rows.
//!
//! Invariants: one writer at a time; a slot changes by a single store; a node is filled before it is linked; unlinked
//! nodes wait for the guards of their time.

mod node;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::node::{Below, FIRST_STEP, Nodes, cover};
use self::write::Writer;
use super::epoch::Guard;
use super::exact::HashIndex;
use super::hasher::KeyHasher;
use super::key::{Encoded, KeyPart, KeyWords};
use super::words::{Words, prefetch};

/// How entries are seen: the trie keeps their numbers only.
pub(crate) trait Entries {
    /// Whether the entry's value and mask cover the key.
    fn covers(&self, entry: u32, key: &[u64]) -> bool;
    /// The entry's match.
    fn matched(&self, entry: u32) -> Encoded;
    /// Fetches what says where the entry's row is.
    fn fetch_place(&self, entry: u32);
    /// Fetches the row, once the place is there.
    fn fetch_row(&self, entry: u32);
}

/// The trie.
#[derive(Debug)]
pub(crate) struct LpmIndex {
    field: KeyPart,
    /// Ones at the exact fields; empty when there are none.
    exact: KeyWords,
    /// The slot of a trie without exact fields.
    top: AtomicU64,
    nodes: Nodes,
    /// Groups by exact fields; each row is the fields, then the slot.
    groups: HashIndex,
    group_rows: Words,
    /// Entries by value and length, for the writer.
    known: HashIndex,
    writer: Mutex<Writer>,
}

/// Where a packet's key is in the trie.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    below: Option<Below>,
    /// Bits behind it.
    at: u32,
    /// The longest prefix so far.
    best: Option<u32>,
}

impl Walk {
    /// Behind a slot.
    #[inline(always)]
    fn enter(&mut self, slot: u64) {
        self.best = cover(slot).or(self.best);
        self.below = Some(Below::of(slot));
    }

    /// The entry to be compared or, without one, the answer.
    #[inline(always)]
    fn candidate(&self) -> Option<u32> {
        match self.below {
            Some(Below::Alone(entry)) => Some(entry),
            _ => self.best,
        }
    }

    /// What is found, at the end of the way.
    #[inline(always)]
    fn end(&self, entries: &impl Entries, key: &[u64]) -> Option<u32> {
        match self.below {
            Some(Below::Alone(entry)) if entries.covers(entry, key) => Some(entry),
            _ => self.best,
        }
    }
}

impl LpmIndex {
    /// An empty trie for keys of this many words, with this prefix field; `exact` has ones at the exact fields.
    pub fn new(field: KeyPart, exact: KeyWords) -> Self {
        let exact = if exact.iter().all(|&word| word == 0) {
            KeyWords::new()
        } else {
            exact
        };
        Self {
            field,
            group_rows: Words::new(exact.len() + 1),
            exact,
            top: AtomicU64::new(0),
            nodes: Nodes::default(),
            groups: HashIndex::default(),
            known: HashIndex::default(),
            writer: Mutex::default(),
        }
    }

    /// `count` bits of the prefix field from bit `at` on, counted from its front; bits behind its end are zero.
    #[inline(always)]
    fn bits(&self, key: &[u64], at: u32, count: u32) -> u64 {
        let real = count.min(self.field.width.saturating_sub(at));
        let low = self.field.shift + self.field.width.saturating_sub(at + real);
        let (word, shift) = (self.field.word + low as usize / 64, low % 64);
        let here = key.get(word).copied().unwrap_or(0) >> shift;
        let above = match key.get(word + 1) {
            Some(above) if shift + real > 64 => above << (64 - shift),
            _ => 0,
        };
        ((here | above) & ((1 << real) - 1)) << (count - real)
    }

    #[inline]
    fn group(&self, guard: &Guard, hash: u64, key: &[u64]) -> Option<u32> {
        self.groups.find(guard, hash, |group| {
            let row = self.group_rows.get(group).unwrap_or_default();
            row.iter()
                .zip(key.iter().zip(&self.exact))
                .all(|(row, (key, mask))| row.load(Ordering::Relaxed) == key & mask)
        })
    }

    #[inline]
    fn top<'g>(
        &'g self,
        guard: &'g Guard,
        hasher: &KeyHasher,
        key: &[u64],
    ) -> Option<&'g AtomicU64> {
        if self.exact.is_empty() {
            return Some(&self.top);
        }
        let group = self.group(guard, hasher.hash_masked(key, &self.exact), key)?;
        self.group_rows.get(group)?.get(self.exact.len())
    }

    /// The beginning of a key's way.
    #[inline]
    fn begin(&self, guard: &Guard, hasher: &KeyHasher, key: &[u64]) -> Walk {
        let mut walk = Walk::default();
        if let Some(top) = self.top(guard, hasher, key) {
            walk.enter(top.load(Ordering::Acquire));
        }
        walk
    }

    /// Goes one step. False at the end of the way.
    #[inline(always)]
    fn step(&self, walk: &mut Walk, key: &[u64]) -> bool {
        let below = match walk.below {
            None | Some(Below::Nothing | Below::Alone(_)) => return false,
            Some(below) => below,
        };
        if let Below::Skip(number) = below {
            let skip = self.nodes.skip(number);
            let same = |len, bits| self.bits(key, walk.at, len) == bits;
            let Some(skip) = skip.filter(|skip| same(skip.len, skip.bits)) else {
                walk.below = None;
                return false;
            };
            walk.at += skip.len;
            walk.enter(skip.slot.load(Ordering::Acquire));
            return true;
        }
        let node = self.nodes.slots(below);
        let found = node.and_then(|(slots, step)| {
            let slot = slots.get(self.bits(key, walk.at, step) as usize)?;
            Some((slot, step))
        });
        let Some((slot, step)) = found else {
            walk.below = None;
            return false;
        };
        walk.at += step;
        walk.enter(slot.load(Ordering::Acquire));
        true
    }

    /// Fetches what the next step reads.
    #[inline(always)]
    fn fetch(&self, walk: &Walk, key: &[u64]) {
        match walk.below {
            Some(Below::Skip(number)) => self.nodes.fetch_skip(number),
            Some(below) => {
                if let Some((slots, step)) = self.nodes.slots(below)
                    && let Some(slot) = slots.get(self.bits(key, walk.at, step) as usize)
                {
                    prefetch(slot);
                }
            }
            None => {}
        }
    }

    /// The entry with the longest prefix that covers the key.
    #[inline]
    pub fn lookup(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        key: &[u64],
    ) -> Option<u32> {
        let mut walk = self.begin(guard, hasher, key);
        while self.step(&mut walk, key) {}
        walk.end(entries, key)
    }

    /// What [`LpmIndex::lookup`] finds for each of the keys, which are at most as many as there is room for in `found`.
    pub fn lookup_many<'k, const MANY: usize>(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        keys: impl Iterator<Item = &'k [u64]> + Clone,
        found: &mut [Option<u32>; MANY],
    ) {
        if !self.exact.is_empty() {
            for key in keys.clone() {
                (self.groups).prefetch(guard, hasher.hash_masked(key, &self.exact));
            }
        }
        const { assert!(MANY <= 64, "one bit each") };
        let mut walks = [Walk::default(); MANY];
        let mut left = 0u64;
        for (i, (walk, key)) in walks.iter_mut().zip(keys.clone()).enumerate() {
            *walk = self.begin(guard, hasher, key);
            self.fetch(walk, key);
            left |= 1 << i;
        }
        while left != 0 {
            for (i, (walk, key)) in walks.iter_mut().zip(keys.clone()).enumerate() {
                if left >> i & 1 == 0 {
                    continue;
                }
                if self.step(walk, key) {
                    self.fetch(walk, key);
                } else {
                    left &= !(1 << i);
                    walk.candidate()
                        .into_iter()
                        .for_each(|entry| entries.fetch_place(entry));
                }
            }
        }
        for walk in &walks {
            walk.candidate()
                .into_iter()
                .for_each(|entry| entries.fetch_row(entry));
        }
        for ((found, walk), key) in found.iter_mut().zip(&walks).zip(keys) {
            *found = walk.end(entries, key);
        }
    }

    /// Fetches what a lookup of the key will read first.
    pub fn prefetch(&self, key: &[u64]) {
        if let (true, Some(first)) = (self.exact.is_empty(), self.nodes.first())
            && let Some(slot) = first.get(self.bits(key, 0, FIRST_STEP) as usize)
        {
            prefetch(slot);
        }
    }
}
