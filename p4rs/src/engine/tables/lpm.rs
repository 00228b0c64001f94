//! Longest prefix match: a trie that packets walk without a lock.
//!
//! In: keys with one prefix field of any width and any exact fields. Out: the entry with the longest prefix that
//! covers the key.
//!
//! ```text
//! exact fields ─ hash ─▶ group: slot                       without exact fields: one slot
//! slot = entry that covers all below it │ node below, or the only entry below
//! node = 16 slots, by the next 4 bits                      without exact fields, the first: 65536, by 16 bits
//! ```
//!
//! An entry alone in its part of the trie hangs there without nodes of its own and is compared when reached, so that
//! memory follows the number of prefixes and not their length: 128-bit prefixes cost what they differ in. Within a
//! node a prefix is written into every slot that it covers. A /24 among a million is found by two or three loads.
//!
//! Invariants: one writer at a time; a slot changes by a single store; a node is filled before it is linked; unlinked
//! nodes wait for the guards of their time.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::epoch::Guard;
use super::exact::HashIndex;
use super::hasher::KeyHasher;
use super::key::{Encoded, KeyPart, KeyWords};
use super::recycle::Recycler;
use super::words::{Words, prefetch};

/// Bits of one step below the first.
const STEP: u32 = 4;
/// Bits of the first step of a trie without exact fields.
const FIRST_STEP: u32 = 16;
/// Marks the entry that is alone below a slot.
const ALONE: u32 = 1 << 31;

/// How entries are seen: the trie keeps their numbers only.
pub(crate) trait Entries {
    /// Whether the entry's value and mask cover the key.
    fn covers(&self, entry: u32, key: &[u64]) -> bool;
    /// The entry's match.
    fn matched(&self, entry: u32) -> Encoded;
}

/// The trie.
#[derive(Debug)]
pub(crate) struct LpmIndex {
    field: KeyPart,
    /// Ones at the exact fields; empty when there are none.
    exact: KeyWords,
    /// The slot of a trie without exact fields.
    top: AtomicU64,
    first: OnceLock<Box<[AtomicU64]>>,
    nodes: Words,
    /// Groups by exact fields; each row is the fields, then the slot.
    groups: HashIndex,
    group_rows: Words,
    /// Entries by value and length, for the writer.
    known: HashIndex,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    nodes: Recycler,
    groups: Recycler,
    /// Entries of each group.
    sizes: Vec<u32>,
}

/// A prefix to be put in or taken out.
struct Prefix<'a> {
    entry: u32,
    value: &'a [u64],
    len: u32,
}

fn cover(slot: u64) -> Option<u32> {
    (slot as u32).checked_sub(1)
}

fn below(slot: u64) -> u32 {
    (slot >> 32) as u32
}

fn with_cover(slot: &AtomicU64, entry: Option<u32>) {
    let kept = slot.load(Ordering::Relaxed) & !u64::from(u32::MAX);
    slot.store(
        kept | entry.map_or(0, |e| u64::from(e) + 1),
        Ordering::Release,
    );
}

fn with_below(slot: &AtomicU64, below: u32) {
    let kept = slot.load(Ordering::Relaxed) & u64::from(u32::MAX);
    slot.store(kept | u64::from(below) << 32, Ordering::Release);
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
            first: OnceLock::new(),
            nodes: Words::new(1 << STEP),
            groups: HashIndex::default(),
            known: HashIndex::default(),
            writer: Mutex::default(),
        }
    }

    /// Bits of the step that begins after `at` bits.
    fn step(&self, at: u32) -> u32 {
        if at == 0 && self.exact.is_empty() && self.field.width >= FIRST_STEP {
            FIRST_STEP
        } else {
            STEP
        }
    }

    /// `count` bits of the prefix field from bit `at` on, counted from its front; bits behind its end are zero.
    #[inline]
    fn bits(&self, key: &[u64], at: u32, count: u32) -> usize {
        let real = count.min(self.field.width.saturating_sub(at));
        let low = self.field.shift + self.field.width.saturating_sub(at + real);
        let (word, shift) = (self.field.word + low as usize / 64, low % 64);
        let here = key.get(word).copied().unwrap_or(0) >> shift;
        let above = match key.get(word + 1) {
            Some(above) if shift + real > 64 => above << (64 - shift),
            _ => 0,
        };
        (((here | above) & ((1 << real) - 1)) << (count - real)) as usize
    }

    /// The slots of a node, which begins after `at` bits.
    #[inline]
    fn node(&self, at: u32, number: u32) -> &[AtomicU64] {
        if self.step(at) == FIRST_STEP {
            self.first.get().map(|first| &**first).unwrap_or_default()
        } else {
            self.nodes.get(number - 1).unwrap_or_default()
        }
    }

    #[inline]
    fn group(&self, guard: &Guard, hasher: &KeyHasher, key: &[u64]) -> Option<u32> {
        let hash = hasher.hash_masked(key, &self.exact);
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
        let group = self.group(guard, hasher, key)?;
        self.group_rows.get(group)?.get(self.exact.len())
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
        let mut slot = self.top(guard, hasher, key)?.load(Ordering::Acquire);
        let mut at = 0;
        let mut best = None;
        loop {
            best = cover(slot).or(best);
            let next = below(slot);
            if next & ALONE != 0 {
                let alone = next & !ALONE;
                return if entries.covers(alone, key) {
                    Some(alone)
                } else {
                    best
                };
            }
            if next == 0 {
                return best;
            }
            let step = self.step(at);
            let Some(found) = self.node(at, next).get(self.bits(key, at, step)) else {
                return best;
            };
            slot = found.load(Ordering::Acquire);
            at += step;
        }
    }

    /// Fetches what a lookup of the key will read first.
    pub fn prefetch(&self, key: &[u64]) {
        if let (true, Some(first)) = (self.exact.is_empty(), self.first.get())
            && let Some(slot) = first.get(self.bits(key, 0, FIRST_STEP))
        {
            prefetch(slot);
        }
    }

    fn prefix_len(&self, encoded: &Encoded) -> u32 {
        let words = 0..self.field.words();
        words
            .map(|i| self.field.word_of(&encoded.mask, i).count_ones())
            .sum()
    }

    fn known_hash(hasher: &KeyHasher, value: &[u64], len: u32) -> u64 {
        let key: KeyWords = value.iter().copied().chain([u64::from(len)]).collect();
        hasher.hash(&key)
    }

    /// The entry with this very match.
    pub fn find(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
    ) -> Option<u32> {
        let hash = Self::known_hash(hasher, &encoded.value, self.prefix_len(encoded));
        let same = |entry| {
            let matched = entries.matched(entry);
            matched.value == encoded.value && matched.mask == encoded.mask
        };
        self.known.find(guard, hash, same)
    }

    /// Adds an entry, whose row `entries` shows already. False when there is no room.
    pub fn insert(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
        entry: u32,
    ) -> bool {
        let prefix = Prefix {
            entry,
            value: &encoded.value,
            len: self.prefix_len(encoded),
        };
        let hash = Self::known_hash(hasher, prefix.value, prefix.len);
        let mut writer = self.writer.lock();
        if entry & ALONE != 0 || !self.known.insert(guard, hash, entry) {
            return false;
        }
        let Some(top) = self.enter_group(guard, hasher, &mut writer, prefix.value) else {
            self.known.remove(guard, hash, entry);
            return false;
        };
        let put = self.put(&mut writer, entries, top, 0, &prefix);
        if !put {
            self.known.remove(guard, hash, entry);
            self.leave_group(guard, hasher, &mut writer, prefix.value);
        }
        put
    }

    /// The slot of the group of a new entry; makes the group.
    fn enter_group<'g>(
        &'g self,
        guard: &'g Guard,
        hasher: &KeyHasher,
        writer: &mut Writer,
        value: &[u64],
    ) -> Option<&'g AtomicU64> {
        if self.exact.is_empty() {
            return Some(&self.top);
        }
        let words = self.exact.len();
        if let Some(group) = self.group(guard, hasher, value) {
            if let Some(size) = writer.sizes.get_mut(group as usize) {
                *size += 1;
            }
            return self.group_rows.get(group)?.get(words);
        }
        let group = writer.groups.take()?;
        let row = self.group_rows.make(group);
        let masked = value
            .iter()
            .zip(&self.exact)
            .map(|(value, mask)| value & mask);
        row.iter().zip(masked.chain([0])).for_each(|(row, word)| {
            row.store(word, Ordering::Relaxed);
        });
        if !self
            .groups
            .insert(guard, hasher.hash_masked(value, &self.exact), group)
        {
            writer.groups.give_unused(group);
            return None;
        }
        let at = group as usize;
        writer.sizes.resize(writer.sizes.len().max(at + 1), 0);
        writer.sizes[at] = 1;
        row.get(words)
    }

    fn leave_group(&self, guard: &Guard, hasher: &KeyHasher, writer: &mut Writer, value: &[u64]) {
        if self.exact.is_empty() {
            return;
        }
        let Some(group) = self.group(guard, hasher, value) else {
            return;
        };
        if let Some(size) = writer.sizes.get_mut(group as usize) {
            *size = size.saturating_sub(1);
            if *size == 0 {
                let hash = hasher.hash_masked(value, &self.exact);
                self.groups.remove(guard, hash, group);
                writer.groups.give(group);
            }
        }
    }

    /// Puts a prefix below a slot that stands after `at` bits. False when there are no more nodes.
    fn put(
        &self,
        writer: &mut Writer,
        entries: &impl Entries,
        slot: &AtomicU64,
        mut at: u32,
        prefix: &Prefix<'_>,
    ) -> bool {
        let mut slot = slot;
        if prefix.len == at {
            with_cover(slot, Some(prefix.entry));
            return true;
        }
        loop {
            let next = below(slot.load(Ordering::Relaxed));
            let slots = if next == 0 {
                with_below(slot, ALONE | prefix.entry);
                return true;
            } else if next & ALONE != 0 {
                let Some(number) = self.push_down(writer, entries, at, next & !ALONE) else {
                    return false;
                };
                with_below(slot, number);
                self.node(at, number)
            } else {
                self.node(at, next)
            };
            let step = self.step(at);
            let first = self.bits(prefix.value, at, step);
            if prefix.len <= at + step {
                let covered = 1usize << (at + step - prefix.len);
                for slot in slots.iter().skip(first).take(covered) {
                    let shorter = cover(slot.load(Ordering::Relaxed))
                        .is_none_or(|have| self.prefix_len(&entries.matched(have)) < prefix.len);
                    if shorter {
                        with_cover(slot, Some(prefix.entry));
                    }
                }
                return true;
            }
            let Some(found) = slots.get(first) else {
                return false;
            };
            (slot, at) = (found, at + step);
        }
    }

    /// A new node after `at` bits that holds one entry.
    fn push_down(
        &self,
        writer: &mut Writer,
        entries: &impl Entries,
        at: u32,
        entry: u32,
    ) -> Option<u32> {
        let matched = entries.matched(entry);
        let prefix = Prefix {
            entry,
            value: &matched.value,
            len: self.prefix_len(&matched),
        };
        let number = if self.step(at) == FIRST_STEP {
            self.first
                .get_or_init(|| (0..1 << FIRST_STEP).map(|_| AtomicU64::new(0)).collect());
            1
        } else {
            let node = writer.nodes.take().filter(|node| node & ALONE == 0)?;
            self.nodes
                .make(node)
                .iter()
                .for_each(|slot| slot.store(0, Ordering::Relaxed));
            node + 1
        };
        // A slot that stands for the node while nothing is linked to it.
        let unlinked = AtomicU64::new(u64::from(number) << 32);
        self.put(writer, entries, &unlinked, at, &prefix)
            .then_some(number)
    }

    /// Takes an entry out, whose row `entries` still shows.
    pub fn remove(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
        entry: u32,
    ) {
        let prefix = Prefix {
            entry,
            value: &encoded.value,
            len: self.prefix_len(encoded),
        };
        let mut writer = self.writer.lock();
        let Some(top) = self.top(guard, hasher, prefix.value) else {
            return;
        };
        self.known.remove(
            guard,
            Self::known_hash(hasher, prefix.value, prefix.len),
            entry,
        );
        self.take(guard, hasher, &mut writer, entries, top, &prefix);
        self.leave_group(guard, hasher, &mut writer, prefix.value);
    }

    fn take(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        writer: &mut Writer,
        entries: &impl Entries,
        top: &AtomicU64,
        prefix: &Prefix<'_>,
    ) {
        if prefix.len == 0 {
            return with_cover(top, None);
        }
        let (mut slot, mut at) = (top, 0);
        let mut path: SmallVec<[(&AtomicU64, u32); 32]> = SmallVec::new();
        loop {
            let next = below(slot.load(Ordering::Relaxed));
            if next == ALONE | prefix.entry {
                with_below(slot, 0);
                break;
            }
            if next == 0 || next & ALONE != 0 {
                return;
            }
            path.push((slot, at));
            let (slots, step) = (self.node(at, next), self.step(at));
            let first = self.bits(prefix.value, at, step);
            if prefix.len <= at + step {
                let covered = 1usize << (at + step - prefix.len);
                let instead = self.next_shorter(guard, hasher, entries, prefix, at);
                for slot in slots.iter().skip(first).take(covered) {
                    if cover(slot.load(Ordering::Relaxed)) == Some(prefix.entry) {
                        with_cover(slot, instead);
                    }
                }
                break;
            }
            let Some(found) = slots.get(first) else {
                return;
            };
            (slot, at) = (found, at + step);
        }
        self.prune(writer, &path);
    }

    /// The longest prefix around this one that is longer than `at` bits.
    fn next_shorter(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        prefix: &Prefix<'_>,
        at: u32,
    ) -> Option<u32> {
        let mut value = KeyWords::from_slice(prefix.value);
        for len in (at + 1..prefix.len).rev() {
            let low = self.field.shift + self.field.width - len - 1;
            if let Some(word) = value.get_mut(self.field.word + low as usize / 64) {
                *word &= !(1 << (low % 64));
            }
            let same = |entry| {
                let matched = entries.matched(entry);
                matched.value == value && self.prefix_len(&matched) == len
            };
            let hash = Self::known_hash(hasher, &value, len);
            if let Some(found) = self.known.find(guard, hash, same) {
                return Some(found);
            }
        }
        None
    }

    /// Unlinks the nodes of a path, from its end, as far as they are empty.
    fn prune(&self, writer: &mut Writer, path: &[(&AtomicU64, u32)]) {
        for &(slot, at) in path.iter().rev() {
            if self.step(at) == FIRST_STEP {
                return;
            }
            let number = below(slot.load(Ordering::Relaxed));
            let node = self.node(at, number);
            if node.iter().any(|slot| slot.load(Ordering::Relaxed) != 0) {
                return;
            }
            with_below(slot, 0);
            writer.nodes.give(number - 1);
        }
    }
}
