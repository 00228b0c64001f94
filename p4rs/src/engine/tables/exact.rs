//! Hash index over stored keys: the exact match table, and a part of the others. Packets read it without a lock.
//!
//! In: hashes and record numbers. Out: the record numbers that may have a hash.
//!
//! A key lies in either of two buckets of its segment; the first tells whether any of its keys lies in another. All eight slots of a bucket are compared at
//! once; 32 equal hash bits make a second record read rare. When both buckets are full, the segment is
//! built anew with twice the buckets, or, at its largest, as two segments: at most 8192 slots move, no record is
//! touched, and packets go on in the old segment until the directory that names the new ones is put in its place.
//!
//! An index may have several parts, told apart by the top bits of the hash's lower half, each with a writer of its own.
//!
//! Invariants: one writer at a time in each part; slots change by single stores; an entry never moves inside a segment
//! that packets can see, so that no lookup misses an entry that is there all the time; no segment lies in two parts.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::bucket::{Bucket, Directory, MAX_BUCKETS, Memory, Pool, Published, SLOTS, Segment};
use super::epoch::Guard;
use super::words::prefetch;

/// A segment with two full buckets but so little load holds keys of one hash: growing would not help.
const HOPELESS: usize = 16;

/// A bucket's name is its number in its segment, and in front of it the bits of a tag above these; machine code names buckets the
/// same way.
pub(crate) const TOP: u32 = 16;
pub(crate) const BUCKET_BITS: u32 = MAX_BUCKETS.trailing_zeros();

/// A hash index.
#[derive(Debug, Default)]
pub(crate) struct HashIndex {
    published: Published,
    /// log2 of the parts.
    parts: u32,
    /// Held by whoever puts another directory in place.
    pool: Mutex<Option<Arc<Pool>>>,
}

/// The part of a hash that the index keeps.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    hash as u32
}

#[inline]
fn slot(tag: u32, record: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(record + 1)
}

/// The bucket where a tag lies most often.
#[inline(always)]
fn first(tag: u32, mask: usize) -> usize {
    tag as usize & mask
}

/// What tells a tag's other bucket; machine code does the same.
pub(crate) const SECOND: (u32, u32, u32) = (15, 0x2c1b_3c6d, 13);

/// The tag's other bucket; the same one where there is no other. Most lookups do not ask.
#[inline(never)]
fn second(tag: u32, mask: usize) -> usize {
    let mixed = (tag ^ (tag >> SECOND.0)).wrapping_mul(SECOND.1);
    let second = (mixed ^ (mixed >> SECOND.2)) as usize & mask;
    let apart = usize::from(second == first(tag, mask)) & mask;
    second ^ apart
}

/// The two buckets of a tag; there is a power of two of them.
#[inline]
fn pair(tag: u32, buckets: &[Bucket]) -> (&Bucket, &Bucket) {
    let mask = buckets.len() - 1;
    (&buckets[first(tag, mask)], &buckets[second(tag, mask)])
}

/// Puts a slot into its first bucket while that has room to spare, so that most lookups read one; else into the emptier.
#[inline]
fn place(buckets: &[Bucket], value: u64) -> bool {
    const SPARE: u32 = 2;
    let tag = (value >> 32) as u32;
    let own = &buckets[first(tag, buckets.len() - 1)];
    let free = own.free();
    if free >= SPARE && own.put(value) {
        return true;
    }
    let other = &buckets[second(tag, buckets.len() - 1)];
    if free < SPARE && other.free() <= free {
        return own.put(value);
    }
    own.set_over();
    other.put(value)
}

/// A segment with these slots; larger than wanted where they do not fit.
fn build(slots: &[u64], wanted: usize, pool: &mut Option<Arc<Pool>>) -> Segment {
    let mut buckets = wanted;
    loop {
        let made = Memory::new(buckets, pool);
        if slots.iter().all(|&slot| place(made.buckets(), slot)) {
            return made;
        }
        buckets *= 2;
    }
}

impl HashIndex {
    /// An empty index of `2^parts` parts.
    pub fn new(parts: u32) -> Self {
        Self {
            parts,
            ..Self::default()
        }
    }

    /// The part of a hash.
    #[inline]
    pub fn part(&self, hash: u64) -> usize {
        (u64::from(tag(hash)) >> (32 - self.parts)) as usize
    }

    /// The first record with this hash that `accept` takes.
    #[inline(always)]
    pub fn find(
        &self,
        guard: &Guard,
        hash: u64,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let tag = tag(hash);
        let buckets = self.published.buckets(guard, tag);
        let mask = buckets.len() - 1;
        let (mut at, mut second_too) = (first(tag, mask), false);
        loop {
            let bucket = buckets.get(at)?;
            let mut bits = bucket.with_tag(tag);
            while bits != 0 {
                let slot = &bucket.0[bits.trailing_zeros() as usize % SLOTS];
                let value = slot.load(Ordering::Acquire);
                // The slot may have changed since it was compared.
                if (value >> 32) as u32 == tag
                    && let Some(record) = Bucket::record(value)
                    && accept(record)
                {
                    return Some(record);
                }
                bits &= bits - 1;
            }
            if second_too || !bucket.is_over() {
                return None;
            }
            (at, second_too) = (second(tag, mask), true);
        }
    }

    /// Fetches the buckets where records with this hash may be.
    #[inline(always)]
    pub fn prefetch(&self, guard: &Guard, hash: u64) {
        let tag = tag(hash);
        let (first, second) = pair(tag, self.published.buckets(guard, tag));
        prefetch(first);
        prefetch(second);
    }

    /// Where machine code finds the view of the directory.
    pub fn view(&self) -> *const u64 {
        self.published.view()
    }

    /// Names of the buckets that [`HashIndex::find`] reads where there is no such record, in order: what a tag's top bits say
    /// of the segment, and which of its buckets it is. They stay while the index grows, but for a segment that does.
    pub fn names(&self, guard: &Guard, hash: u64) -> (u32, Option<u32>) {
        let tag = tag(hash);
        let buckets = self.published.buckets(guard, tag);
        let mask = buckets.len() - 1;
        let name = |at: usize| tag >> TOP << BUCKET_BITS | at as u32;
        let at = first(tag, mask);
        let over = buckets.get(at).is_some_and(Bucket::is_over);
        (name(at), over.then(|| name(second(tag, mask))))
    }

    /// Where a bucket lies that has this name, or one of its segment.
    #[inline]
    pub fn named(&self, guard: &Guard, name: u32) -> *const u8 {
        let buckets = self.published.buckets(guard, name >> BUCKET_BITS << TOP);
        let at = name as usize & (MAX_BUCKETS - 1) & (buckets.len() - 1);
        ptr::from_ref(&buckets[at]).cast()
    }

    /// Adds a record; the caller knows that no equal one is there. False when too many keys share the hash.
    pub fn insert(&self, guard: &Guard, hash: u64, record: u32) -> bool {
        let (tag, value) = (tag(hash), slot(tag(hash), record));
        loop {
            match self.published.own(guard, tag) {
                Some(buckets) if place(buckets, value) => return true,
                Some(_) if !self.grow(guard, tag) => return false,
                Some(_) => {}
                None => self.begin(guard),
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
        let (tag, old) = (tag(hash), slot(tag(hash), record));
        let Some(buckets) = self.published.own(guard, tag) else {
            return;
        };
        let (first, second) = pair(tag, buckets);
        let _known = first.change(old, value) || second.change(old, value);
    }

    /// The first directory: a bucket for each part.
    fn begin(&self, guard: &Guard) {
        let mut pool = self.pool.lock();
        if self.published.load(guard).is_none() {
            let segments = (0..1 << self.parts).map(|_| Memory::new(1, &mut pool));
            let directory = Directory::new(32 - self.parts, segments.collect());
            self.published.put(directory);
        }
    }

    /// Takes every record of a part out and gives their memory back.
    pub fn clear(&self, guard: &Guard, part: usize) {
        let mut pool = self.pool.lock();
        let Some(directory) = self.published.load(guard) else {
            return;
        };
        if self.parts == 0 {
            return self.published.clear();
        }
        let places = directory.segments.len() >> self.parts;
        let range = (part * places, (part + 1) * places);
        let empty = Memory::new(1, &mut pool);
        self.publish(directory, directory.shift, range, |_| &empty);
    }

    /// Gives the segment of a tag more room.
    fn grow(&self, guard: &Guard, tag: u32) -> bool {
        let mut pool = self.pool.lock();
        let Some(directory) = self.published.load(guard) else {
            return false;
        };
        let at = directory.at(tag);
        let full = &directory.segments[at];
        let buckets = full.buckets();
        let mut slots = Vec::with_capacity(buckets.len() * SLOTS);
        for bucket in buckets {
            slots.extend(bucket.taken());
        }
        if buckets.len() >= HOPELESS && slots.len() * HOPELESS < buckets.len() * SLOTS {
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
        if buckets.len() < MAX_BUCKETS {
            let larger = build(&slots, buckets.len() * 2, &mut pool);
            self.publish(directory, directory.shift, (first, end), |_| &larger);
        } else if end - first > 1 {
            self.split(directory, directory.shift, (first, end), &slots, &mut pool);
        } else if directory.shift > 0 {
            let range = (first * 2, end * 2);
            self.split(directory, directory.shift - 1, range, &slots, &mut pool);
        } else {
            return false;
        }
        true
    }

    /// Puts two segments in place of the one at places `first` to `end` of a directory with this shift.
    fn split(
        &self,
        old: &Directory,
        shift: u32,
        (first, end): (usize, usize),
        slots: &[u64],
        pool: &mut Option<Arc<Pool>>,
    ) {
        let middle = (first + end) / 2;
        let upper = |slot: &u64| ((*slot >> 32) >> shift) as usize >= middle;
        let [mut low, mut high] = [0; 2].map(|_| Vec::with_capacity(slots.len()));
        for slot in slots {
            if upper(slot) { &mut high } else { &mut low }.push(*slot);
        }
        let (low, high) = (
            build(&low, MAX_BUCKETS, pool),
            build(&high, MAX_BUCKETS, pool),
        );
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
            Arc::clone(if (first..end).contains(&at) {
                new(at)
            } else {
                &old.segments[at >> times]
            })
        });
        self.published
            .put(Directory::new(shift, segments.collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch;
    use super::super::hasher::KeyHasher;
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
        index.clear(&guard, 0);
        assert_eq!(find(3), None);
    }

    #[test]
    fn records_whose_tags_are_zero_keep_their_slots() {
        let (index, guard) = (HashIndex::default(), epoch::pin());
        // All of them lie in one bucket, or in its other one; more than a bucket's slots.
        let zeros = 1..=SLOTS as u32;
        assert!(zeros.clone().all(|record| index.insert(&guard, 0, record)));
        let others = 100..2_000u32;
        let hasher = KeyHasher::default();
        let hash = |record: u32| hasher.hash(&[u64::from(record)]);
        assert!(
            others
                .clone()
                .all(|record| index.insert(&guard, hash(record), record))
        );
        for (hash, record) in zeros.map(|r| (0, r)).chain(others.map(|r| (hash(r), r))) {
            assert_eq!(
                index.find(&guard, hash, |found| found == record),
                Some(record)
            );
        }
    }

    #[test]
    fn the_other_bucket_is_asked_only_where_something_lies_there() {
        let (index, guard) = (HashIndex::default(), epoch::pin());
        let hasher = KeyHasher::default();
        let count = if cfg!(miri) { 100 } else { 50_000 };
        let hash = |record: u32| hasher.hash(&[u64::from(record)]);
        assert!((0..count).all(|record| index.insert(&guard, hash(record), record)));
        let over = |record| index.names(&guard, hash(record)).1.is_some();
        let missed = (count..2 * count).filter(|&record| over(record)).count();
        assert!(missed < count as usize / 2, "{missed}");
        let names = |record| index.names(&guard, hash(record));
        for record in 0..count {
            let tag = tag(hash(record));
            let (own, other) = pair(tag, index.published.buckets(&guard, tag));
            let (first, second) = names(record);
            assert_eq!(index.named(&guard, first), ptr::from_ref(own).cast());
            if let Some(second) = second {
                assert_eq!(index.named(&guard, second), ptr::from_ref(other).cast());
            }
        }
        // What is taken out and put in again changes nothing of that.
        for record in 0..count {
            index.remove(&guard, hash(record), record);
            assert_eq!(index.find(&guard, hash(record), |r| r == record), None);
            assert!(index.insert(&guard, hash(record), record));
            index.replace(&guard, hash(record), record, record + count);
        }
        let find = |record| index.find(&guard, hash(record), |r| r == record + count);
        assert!((0..count).all(|record| find(record) == Some(record + count)));
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
    fn parts_grow_and_are_cleared_apart() {
        let index = HashIndex::new(3);
        let (hasher, guard) = (KeyHasher::default(), epoch::pin());
        let count = if cfg!(miri) { 300 } else { 80_000 };
        let hash = |record: u32| hasher.hash(&[u64::from(record)]);
        assert!((0..count).all(|record| index.insert(&guard, hash(record), record)));
        let find = |record| index.find(&guard, hash(record), |found| found == record);
        assert!((0..count).all(|record| find(record) == Some(record)));
        index.clear(&guard, 5);
        let left = |record| (index.part(hash(record)) != 5).then_some(record);
        assert!((0..count).all(|record| find(record) == left(record)));
        assert!((0..count).any(|record| left(record).is_none()));
        let gone = (0..count).filter(|&record| left(record).is_none());
        assert!(
            gone.clone()
                .all(|record| index.insert(&guard, hash(record), record))
        );
        assert!((0..count).all(|record| find(record) == Some(record)));
    }
}
