//! Hash index over stored keys: the exact match table, and a part of the others. Packets read it without a lock.
//!
//! In: hashes and record numbers. Out: the record numbers that may have a hash.
//!
//! ```text
//! hash ─ top bits ─▶ directory ─▶ segment: 1 … 1024 buckets of one cache line ─ hash ─▶ two of them
//! bucket = 8 slots of 32 hash bits │ record number + 1
//! ```
//!
//! A key lies in either of two buckets, whichever was emptier. All eight slots of a bucket are compared at once
//! without branching; 32 equal hash bits make a second record read rare. When both buckets are full, the segment is
//! built anew with twice the buckets, or, at its largest, as two segments: at most 8192 slots move, no record is
//! touched, and packets go on in the old segment until the directory that names the new ones is put in its place.
//!
//! Invariants: one writer at a time; slots change by single stores; an entry never moves inside a segment that
//! packets can see, so that no lookup misses an entry that is there all the time.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::epoch::Guard;
use super::rcu::Rcu;
use super::words::prefetch;

/// Slots of a bucket: one cache line.
const SLOTS: usize = 8;
/// Buckets above which a segment is split instead of doubled.
const MAX_BUCKETS: usize = 1024;
/// A segment with two full buckets but so little load holds keys of one hash: growing would not help.
const HOPELESS: usize = 16;

/// Hashes keys by folded 128-bit products; seeded by the operating system's randomness, so that senders cannot aim
/// at one bucket.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    seeds: [u64; 4],
}

impl Default for KeyHasher {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            seeds: std::array::from_fn(|i| random.hash_one(i) | 1),
        }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl KeyHasher {
    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u64]) -> u64 {
        self.finish(key.chunks(2).fold(self.seeds[0], |state, pair| {
            let second = pair.get(1).copied().unwrap_or(0);
            fold(state ^ pair[0], self.seeds[1] ^ second)
        }))
    }

    /// The hash of a key under a mask.
    #[inline]
    pub fn hash_masked(&self, key: &[u64], mask: &[u64]) -> u64 {
        let pairs = key.chunks(2).zip(mask.chunks(2));
        self.finish(pairs.fold(self.seeds[0], |state, (key, mask)| {
            let second = match (key.get(1), mask.get(1)) {
                (Some(key), Some(mask)) => key & mask,
                _ => 0,
            };
            fold(state ^ (key[0] & mask[0]), self.seeds[1] ^ second)
        }))
    }

    #[inline]
    fn finish(&self, state: u64) -> u64 {
        fold(state ^ self.seeds[2], self.seeds[3])
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; SLOTS]);

type Segment = Arc<[Bucket]>;

#[derive(Debug)]
struct Directory {
    /// Right shift of a 32-bit hash that leaves the segment's place.
    shift: u32,
    segments: Box<[Segment]>,
}

/// A hash index.
#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    directory: Rcu<Directory>,
}

/// The part of a hash that the index keeps.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32
}

#[inline]
fn slot(tag: u32, record: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(record + 1)
}

/// The two buckets of a tag.
#[inline]
fn pair(tag: u32, buckets: usize) -> (usize, usize) {
    let mask = buckets - 1;
    let first = tag as usize & mask;
    let mixed = (tag ^ (tag >> 15)).wrapping_mul(0x2c1b_3c6d);
    let second = (mixed ^ (mixed >> 13)) as usize & mask;
    let apart = usize::from(second == first) & mask;
    (first, second ^ apart)
}

impl Bucket {
    /// A bit for each slot with the tag.
    #[inline]
    fn with_tag(&self, tag: u32) -> u32 {
        let bit = |(i, slot): (usize, &AtomicU64)| {
            u32::from((slot.load(Ordering::Acquire) >> 32) as u32 == tag) << i
        };
        self.0
            .iter()
            .enumerate()
            .map(bit)
            .fold(0, |bits, bit| bits | bit)
    }

    fn free(&self) -> usize {
        let empty = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) == 0;
        self.0.iter().filter(empty).count()
    }

    fn put(&self, value: u64) -> bool {
        let empty = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) == 0;
        let Some(slot) = self.0.iter().find(empty) else {
            return false;
        };
        slot.store(value, Ordering::Release);
        true
    }
}

fn segment(buckets: usize) -> Segment {
    (0..buckets).map(|_| Bucket::default()).collect()
}

/// Puts a slot into its first bucket while that has room to spare, so that most lookups read one; else into the emptier.
fn place(segment: &[Bucket], value: u64) -> bool {
    const SPARE: usize = 2;
    let (first, second) = pair((value >> 32) as u32, segment.len());
    let (first, second) = (&segment[first], &segment[second]);
    let emptier = if first.free() < SPARE && second.free() > first.free() {
        second
    } else {
        first
    };
    emptier.put(value)
}

/// A segment with these slots; larger than wanted where they do not fit.
fn build(slots: &[u64], wanted: usize) -> Segment {
    let mut buckets = wanted;
    loop {
        let made = segment(buckets);
        if slots.iter().all(|&slot| place(&made, slot)) {
            return made;
        }
        buckets *= 2;
    }
}

impl Directory {
    #[inline]
    fn at(&self, tag: u32) -> usize {
        (u64::from(tag) >> self.shift) as usize
    }
}

impl HashIndex {
    #[inline]
    fn buckets<'g>(
        &'g self,
        guard: &'g Guard,
        tag: u32,
    ) -> Option<(&'g Bucket, Option<&'g Bucket>)> {
        let directory = self.directory.load(guard)?;
        let segment = directory.segments.get(directory.at(tag))?;
        let (first, second) = pair(tag, segment.len());
        let other = segment.get(second).filter(|_| second != first);
        Some((segment.get(first)?, other))
    }

    /// The first record with this hash that `accept` takes.
    #[inline]
    pub fn find(
        &self,
        guard: &Guard,
        hash: u64,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let tag = tag(hash);
        let (first, second) = self.buckets(guard, tag)?;
        let mut bucket = first;
        let mut next = second;
        loop {
            let mut bits = bucket.with_tag(tag);
            while bits != 0 {
                let value =
                    bucket.0[bits.trailing_zeros() as usize % SLOTS].load(Ordering::Acquire);
                // The slot may have changed since it was compared.
                if (value >> 32) as u32 == tag
                    && let Some(record) = (value as u32).checked_sub(1)
                    && accept(record)
                {
                    return Some(record);
                }
                bits &= bits - 1;
            }
            bucket = next.take()?;
        }
    }

    /// Fetches the buckets of a hash.
    #[inline]
    pub fn prefetch(&self, guard: &Guard, hash: u64) {
        if let Some((first, second)) = self.buckets(guard, tag(hash)) {
            prefetch(first);
            if let Some(second) = second {
                prefetch(second);
            }
        }
    }

    /// Adds a record; the caller knows that no equal one is there. False when too many keys share the hash.
    pub fn insert(&self, guard: &Guard, hash: u64, record: u32) -> bool {
        let value = slot(tag(hash), record);
        if self.directory.load(guard).is_none() {
            self.directory.put(Directory {
                shift: 32,
                segments: Box::new([segment(1)]),
            });
        }
        loop {
            let Some(directory) = self.directory.load(guard) else {
                return false;
            };
            let Some(segment) = directory.segments.get(directory.at(tag(hash))) else {
                return false;
            };
            if place(segment, value) {
                return true;
            }
            if !self.grow(directory, directory.at(tag(hash))) {
                return false;
            }
        }
    }

    /// Puts one record in place of another with the same hash.
    pub fn replace(&self, guard: &Guard, hash: u64, old: u32, new: u32) {
        self.store(guard, hash, old, slot(tag(hash), new));
    }

    /// Takes a record out.
    pub fn remove(&self, guard: &Guard, hash: u64, record: u32) {
        self.store(guard, hash, record, 0);
    }

    fn store(&self, guard: &Guard, hash: u64, record: u32, value: u64) {
        let Some((first, second)) = self.buckets(guard, tag(hash)) else {
            return;
        };
        let old = slot(tag(hash), record);
        let mut slots = first.0.iter().chain(second.iter().flat_map(|b| &b.0));
        if let Some(slot) = slots.find(|slot| slot.load(Ordering::Relaxed) == old) {
            slot.store(value, Ordering::Release);
        }
    }

    /// Takes every record out and gives the memory back.
    pub fn clear(&self) {
        self.directory.clear();
    }

    /// Gives the segment at this place more room.
    fn grow(&self, directory: &Directory, at: usize) -> bool {
        let full = &directory.segments[at];
        let slots: Vec<u64> = full
            .iter()
            .flat_map(|bucket| &bucket.0)
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|&slot| slot != 0)
            .collect();
        if full.len() >= HOPELESS && slots.len() * HOPELESS < full.len() * SLOTS {
            return false;
        }
        let first = directory.segments[..at]
            .iter()
            .rposition(|segment| !Arc::ptr_eq(segment, full))
            .map_or(0, |before| before + 1);
        let end = directory.segments[at..]
            .iter()
            .position(|segment| !Arc::ptr_eq(segment, full))
            .map_or(directory.segments.len(), |after| at + after);
        if full.len() < MAX_BUCKETS {
            let larger = build(&slots, full.len() * 2);
            self.publish(directory, directory.shift, (first, end), |_| &larger);
        } else if end - first > 1 {
            self.split(directory, directory.shift, (first, end), &slots);
        } else if directory.shift > 0 {
            self.split(directory, directory.shift - 1, (first * 2, end * 2), &slots);
        } else {
            return false;
        }
        true
    }

    /// Puts two segments in place of the one at places `first` to `end` of a directory with this shift.
    fn split(&self, old: &Directory, shift: u32, (first, end): (usize, usize), slots: &[u64]) {
        let middle = (first + end) / 2;
        let upper = |slot: &&u64| ((**slot >> 32) >> shift) as usize >= middle;
        let high: Vec<u64> = slots.iter().filter(upper).copied().collect();
        let low: Vec<u64> = slots.iter().filter(|slot| !upper(slot)).copied().collect();
        let (low, high) = (build(&low, MAX_BUCKETS), build(&high, MAX_BUCKETS));
        self.publish(old, shift, (first, end), |at| {
            if at < middle { &low } else { &high }
        });
    }

    fn publish<'s>(
        &self,
        old: &Directory,
        shift: u32,
        (first, end): (usize, usize),
        new: impl Fn(usize) -> &'s Segment,
    ) {
        let times = old.shift - shift;
        let places = old.segments.len() << times;
        let segments = (0..places).map(|at| {
            if (first..end).contains(&at) {
                Arc::clone(new(at))
            } else {
                Arc::clone(&old.segments[at >> times])
            }
        });
        self.directory.put(Directory {
            shift,
            segments: segments.collect(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch;
    use super::*;

    #[test]
    fn grows_by_doubling_and_by_splitting_and_keeps_everything() {
        let index = HashIndex::default();
        let hasher = KeyHasher::default();
        let guard = epoch::pin();
        let count = if cfg!(miri) { 300 } else { 100_000 };
        let hash = |record: u32| hasher.hash(&[u64::from(record), 7]);
        assert_eq!(index.find(&guard, hash(0), |_| true), None);
        for record in 0..count {
            assert!(index.insert(&guard, hash(record), record));
        }
        let find = |record| index.find(&guard, hash(record), |found| found == record);
        assert!((0..count).all(|record| find(record) == Some(record)));
        (0..count)
            .step_by(2)
            .for_each(|r| index.remove(&guard, hash(r), r));
        assert!((0..count).all(|r| find(r) == (r % 2 == 1).then_some(r)));
        index.replace(&guard, hash(1), 1, 5_000_000);
        assert_eq!(index.find(&guard, hash(1), |_| true), Some(5_000_000));
        index.clear();
        assert_eq!(find(3), None);
    }

    #[test]
    fn keys_of_one_hash_fill_two_buckets_and_are_then_refused() {
        let index = HashIndex::default();
        let guard = epoch::pin();
        let taken = (0..100)
            .take_while(|&record| index.insert(&guard, 42, record))
            .count();
        assert_eq!(taken, 2 * SLOTS);
        assert!((0..16).all(|record| index.find(&guard, 42, |r| r == record) == Some(record)));
    }

    #[test]
    fn masked_hash_is_the_hash_of_the_masked_key() {
        let hasher = KeyHasher::default();
        let (key, mask) = ([5u64, 7, 9], [4u64, 3, 8]);
        assert_eq!(hasher.hash_masked(&key, &mask), hasher.hash(&[4, 3, 8]));
        assert_ne!(hasher.hash(&[1, 0]), hasher.hash(&[0, 1]));
        assert_ne!(hasher.hash(&key), KeyHasher::default().hash(&key));
    }
}
