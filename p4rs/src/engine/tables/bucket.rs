//! The memory of a hash index: buckets of one cache line, in segments, found through a directory.
//!
//! In: the top bits of a hash. Out: the segment that has it, by two loads.
//!
//! ```text
//! view ─▶ directory: place … place ─▶ segment: 1 … 1024 buckets ─ 8 slots of 32 hash bits │ over │ record number + 1
//!  │ shift in its low bits    │ a mask that leaves the offset of a bucket
//! ```
//!
//! There is always a directory for packets to see: before anything is stored it is one of an empty bucket.
//!
//! Segments of the largest size come from a pool in huge pages: an index of gigabytes otherwise misses the TLB on every
//! lookup. Invariant: a segment that a visible directory names lives until every guard of its time is gone.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::epoch::Guard;
use super::rcu::Rcu;
use super::words::Words;

/// Slots of a bucket: one cache line.
pub(super) const SLOTS: usize = 8;
/// Most buckets of a segment.
pub(super) const MAX_BUCKETS: usize = 1024;
/// Set in the first slot of a bucket where a record lies in its other bucket, or did: else nobody need look there.
pub(crate) const OVER: u64 = 1 << 31;
/// What a pointer to a cache line has free for a number.
pub(crate) const NUMBER: usize = 63;
/// log2 of a bucket's bytes.
pub(crate) const BUCKET_BYTES_LOG: u32 = 6;

/// A cache line of slots.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Bucket(pub [AtomicU64; SLOTS]);

impl Bucket {
    /// The records that have their place here, with the hash bits by which they are told.
    pub fn taken(&self) -> impl Iterator<Item = u64> {
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        slots.map(|slot| slot & !OVER).filter(|&slot| slot != 0)
    }

    /// How many slots name no record; a record whose tag is zero is not seen.
    #[inline]
    pub fn free(&self) -> u32 {
        self.with_tag(0).count_ones()
    }

    /// Puts a value into a slot that names no record; false where there is none.
    #[inline]
    pub fn put(&self, value: u64) -> bool {
        let mut free = self.with_tag(0);
        while free != 0 {
            let slot = &self.0[free.trailing_zeros() as usize % SLOTS];
            let before = slot.load(Ordering::Relaxed);
            if before & !OVER == 0 {
                slot.store(value | before, Ordering::Release);
                return true;
            }
            free &= free - 1;
        }
        false
    }

    /// Puts a value in place of another; false where that is not here.
    pub fn change(&self, from: u64, to: u64) -> bool {
        let mut slots = self.0.iter();
        let is = |slot: &&AtomicU64| slot.load(Ordering::Relaxed) & !OVER == from;
        let Some(slot) = slots.find(is) else {
            return false;
        };
        let over = slot.load(Ordering::Relaxed) & OVER;
        slot.store(to | over, Ordering::Release);
        true
    }

    /// Whether a record that belongs here may lie in its other bucket.
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.0[0].load(Ordering::Acquire) & OVER != 0
    }

    /// A record that belongs here is about to be put into its other bucket.
    pub fn set_over(&self) {
        let slot = &self.0[0];
        slot.store(slot.load(Ordering::Relaxed) | OVER, Ordering::Release);
    }

    /// The record that a slot's value names.
    #[inline(always)]
    pub fn record(value: u64) -> Option<u32> {
        ((value & !OVER) as u32).checked_sub(1)
    }

    /// A bit for each slot with the tag. Slots may change meanwhile: whoever finds one reads it again.
    #[inline(always)]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    pub fn with_tag(&self, tag: u32) -> u32 {
        let found: u32;
        // SAFETY: the loads lie in `self`, on 16-byte boundaries; they are made by instructions and not by the language,
        // so that they may meet stores of other threads, and each half of a slot is then the old or the new one.
        // SSE2 is part of x86-64.
        unsafe {
            std::arch::asm!(
                "movd {tags}, {tag:e}",
                "pshufd {tags}, {tags}, 0",
                "movdqa {low}, xmmword ptr [{at}]",
                "shufps {low}, xmmword ptr [{at} + 16], 0xdd",
                "movdqa {high}, xmmword ptr [{at} + 32]",
                "shufps {high}, xmmword ptr [{at} + 48], 0xdd",
                "pcmpeqd {low}, {tags}",
                "pcmpeqd {high}, {tags}",
                "packssdw {low}, {high}",
                "packsswb {low}, {low}",
                "pmovmskb {found:e}, {low}",
                at = in(reg) self,
                tag = in(reg) tag,
                tags = out(xmm_reg) _,
                low = out(xmm_reg) _,
                high = out(xmm_reg) _,
                found = lateout(reg) found,
                options(readonly, nostack, preserves_flags),
            );
        }
        found & 0xff
    }

    /// A bit for each slot with the tag.
    #[inline]
    #[cfg(any(miri, not(target_arch = "x86_64")))]
    pub fn with_tag(&self, tag: u32) -> u32 {
        let bit = |(i, slot): (usize, &AtomicU64)| {
            u32::from((slot.load(Ordering::Acquire) >> 32) as u32 == tag) << i
        };
        let bits = self.0.iter().enumerate().map(bit);
        bits.fold(0, |bits, bit| bits | bit)
    }
}

/// Segments of [`MAX_BUCKETS`].
#[derive(Debug)]
pub(super) struct Pool {
    words: Words,
    /// Numbers given back, and one above the highest ever used.
    free: Mutex<(Vec<u32>, u32)>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            words: Words::growing(MAX_BUCKETS * SLOTS),
            free: Mutex::default(),
        }
    }
}

/// The buckets of a part of an index.
#[derive(Debug)]
pub(super) enum Memory {
    Own(Vec<Bucket>),
    Pooled(Arc<Pool>, u32),
}

pub(super) type Segment = Arc<Memory>;

impl Memory {
    /// Empty buckets, a power of two of them; makes the pool when they come from it.
    pub fn new(buckets: usize, pool: &mut Option<Arc<Pool>>) -> Segment {
        if buckets != MAX_BUCKETS {
            return Arc::new(Self::Own((0..buckets).map(|_| Bucket::default()).collect()));
        }
        let pool = pool.get_or_insert_default();
        let (known, number) = {
            let (free, end) = &mut *pool.free.lock();
            let known = free.pop();
            let number = known.unwrap_or(*end);
            *end += u32::from(known.is_none());
            (known, number)
        };
        let words = pool.words.make(number);
        if known.is_some() {
            words
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        Arc::new(Self::Pooled(Arc::clone(pool), number))
    }

    /// The buckets.
    #[inline]
    pub fn buckets(&self) -> &[Bucket] {
        match self {
            Self::Own(buckets) => buckets,
            Self::Pooled(pool, number) => {
                let words = pool.words.get(*number).unwrap_or_default();
                // SAFETY: a bucket is eight words and nothing else, and rows of `Words` begin on cache lines.
                unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() / SLOTS) }
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Directories are dropped when every guard of their time is gone: nobody looks at the buckets any more.
        if let Self::Pooled(pool, number) = self {
            pool.free.lock().0.push(*number);
        }
    }
}

/// A segment as packets find it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Place {
    pub first: *const Bucket,
    /// Leaves of a tag's multiple the offset of a bucket in bytes.
    pub mask: usize,
}

/// Places of a cache line.
const PLACES: usize = 4;

/// Places begin on cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Line([Place; PLACES]);

// SAFETY: a place is read only, and what it points to may be shared.
unsafe impl Sync for Line {}

/// What packets find where nothing was ever stored.
static EMPTY: Bucket = Bucket([const { AtomicU64::new(0) }; SLOTS]);
static NOTHING: Line = Line(
    [Place {
        first: &raw const EMPTY,
        mask: 0,
    }; PLACES],
);
/// Leaves nothing of a tag.
const ALL: usize = 32;

/// The view of [`NOTHING`].
fn nothing() -> *mut Line {
    let lines = (&raw const NOTHING).cast_mut();
    lines.map_addr(|address| address | ALL)
}

/// Which segment has which top bits of a hash.
#[derive(Debug)]
pub(super) struct Directory {
    /// Right shift of a 32-bit tag that leaves the segment's place.
    pub shift: u32,
    pub segments: Vec<Segment>,
    lines: Vec<Line>,
}

// SAFETY: the places point into the segments, which the directory owns and which threads may share.
unsafe impl Send for Directory {}
// SAFETY: as above.
unsafe impl Sync for Directory {}

impl Directory {
    /// `2^(32 - shift)` segments; one may stand at several places.
    pub fn new(shift: u32, segments: Vec<Segment>) -> Self {
        debug_assert_eq!(segments.len() as u64, 1 << (32 - shift));
        let place = |segment: &Segment| {
            let buckets = segment.buckets();
            Place {
                first: buckets.as_ptr(),
                mask: (buckets.len() - 1) << BUCKET_BYTES_LOG,
            }
        };
        let mut lines = vec![NOTHING.clone(); segments.len().div_ceil(PLACES)];
        for (i, segment) in segments.iter().enumerate() {
            lines[i / PLACES].0[i % PLACES] = place(segment);
        }
        Self {
            shift,
            segments,
            lines,
        }
    }

    /// The place of a tag.
    #[inline]
    pub fn at(&self, tag: u32) -> usize {
        (u64::from(tag) >> self.shift) as usize
    }
}

/// The directory in force, or none.
#[derive(Debug)]
pub(super) struct Published {
    /// The directory's lines; its shift in the low bits.
    view: AtomicPtr<Line>,
    directory: Rcu<Directory>,
}

impl Default for Published {
    fn default() -> Self {
        Self {
            view: AtomicPtr::new(nothing()),
            directory: Rcu::default(),
        }
    }
}

impl Published {
    /// Where machine code finds the view.
    pub fn view(&self) -> *const u64 {
        (&raw const self.view).cast()
    }

    /// The buckets that have a tag; a power of two of them. Those of a directory that was never put are not to be changed.
    #[inline(always)]
    pub fn buckets<'g>(&'g self, _guard: &'g Guard, tag: u32) -> &'g [Bucket] {
        let view = self.view.load(Ordering::Acquire);
        let shift = view.addr() & NUMBER;
        let places: *const Place = view.map_addr(|address| address & !NUMBER).cast();
        // SAFETY: the lines have a place for every tag shifted so. Directory and segments are dropped only after the
        // epoch has passed the stamp that `put` or `clear` took after changing `view`, thus not before this guard,
        // which the calling thread holds pinned, is gone; or with `self`, which is borrowed.
        unsafe {
            let place = *places.add((u64::from(tag) >> shift) as usize);
            let buckets = (place.mask >> BUCKET_BYTES_LOG) + 1;
            std::slice::from_raw_parts(place.first, buckets)
        }
    }

    /// The buckets for a writer, where there is a directory.
    pub fn own<'g>(&'g self, guard: &'g Guard, tag: u32) -> Option<&'g [Bucket]> {
        self.load(guard).map(|_| self.buckets(guard, tag))
    }

    /// The directory, for a writer.
    pub fn load<'g>(&'g self, guard: &'g Guard) -> Option<&'g Directory> {
        self.directory.load(guard)
    }

    /// Puts a directory in place of the one in force. One writer at a time.
    pub fn put(&self, directory: Directory) {
        let shift = directory.shift as usize;
        let lines = directory.lines.as_ptr().cast_mut();
        let view = lines.map_addr(|address| address | shift);
        self.view.store(view, Ordering::Release);
        self.directory.put(directory);
    }

    /// Takes the directory away. One writer at a time.
    pub fn clear(&self) {
        self.view.store(nothing(), Ordering::Release);
        self.directory.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch;
    use super::*;

    #[test]
    fn slots_with_a_tag_are_told() {
        let bucket = Bucket::default();
        for (i, tag) in [7u32, 9, 7, u32::MAX, 0, 7, 8, 9].into_iter().enumerate() {
            bucket.0[i].store(u64::from(tag) << 32 | 7, Ordering::Relaxed);
        }
        let bits = [
            (7, 0b0010_0101),
            (9, 0b1000_0010),
            (u32::MAX, 0b1000),
            (0, 0b1_0000),
            (5, 0),
        ];
        for (tag, bits) in bits {
            assert_eq!(bucket.with_tag(tag), bits, "{tag}");
        }
    }

    #[test]
    fn large_segments_are_used_again_and_empty_then() {
        let pool = &mut None;
        let segment = Memory::new(MAX_BUCKETS, pool);
        assert_eq!(segment.buckets().len(), MAX_BUCKETS);
        assert_eq!(segment.buckets().as_ptr() as usize % 64, 0);
        segment.buckets()[5].0[3].store(1, Ordering::Relaxed);
        let place = segment.buckets().as_ptr();
        drop(segment);
        let again = Memory::new(MAX_BUCKETS, pool);
        assert_eq!(again.buckets().as_ptr(), place);
        assert_eq!(again.buckets()[5].0[3].load(Ordering::Relaxed), 0);
        let other = Memory::new(MAX_BUCKETS, pool);
        assert_ne!(other.buckets().as_ptr(), place);
    }

    #[test]
    fn every_tag_has_its_segment() {
        let (pool, guard) = (&mut None, epoch::pin());
        let published = Published::default();
        assert!(published.own(&guard, 1).is_none());
        assert_eq!(published.buckets(&guard, u32::MAX).len(), 1);
        let segments = [1, 2, 4, 1024].map(|buckets| Memory::new(buckets, pool));
        published.put(Directory::new(30, segments.to_vec()));
        for (i, segment) in segments.iter().enumerate() {
            let tag = (i as u32) << 30 | 0x1234;
            let found = published.buckets(&guard, tag);
            assert_eq!(found.len(), segment.buckets().len());
            assert_eq!(found.as_ptr(), segment.buckets().as_ptr());
        }
        published.put(Directory::new(32, segments[1..2].to_vec()));
        assert_eq!(published.buckets(&guard, u32::MAX).len(), 2);
        published.clear();
        assert!(published.own(&guard, 0).is_none());
        assert_eq!(published.buckets(&guard, 0).len(), 1);
    }
}
