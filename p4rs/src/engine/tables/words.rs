//! Memory for records: rows of 64-bit words that packets read while the control plane writes others.
//!
//! In: row numbers. Out: rows, zero at first. Rows lie in chunks that double in size and never move; the operating
//! system gives a chunk's pages when they are first written, so that growing costs no pause and memory follows use.
//! Invariant: a row's address never changes.

#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::{ptr, slice};

use parking_lot::Mutex;

/// log2 of the first chunk's rows.
const FIRST: u32 = 6;
/// The first chunk's rows: the chunk of a row is told by the leading zeros of its number plus these.
pub(crate) const FIRST_ROWS: u64 = 1 << FIRST;
/// Leading zeros of the largest such sum.
pub(crate) const FEWEST_ZEROS: u32 = 63 - 32;
/// Enough chunks for 2^32 rows.
pub(crate) const CHUNKS: usize = 32 - FIRST as usize + 1;
/// Bytes of a cache line and of the one that processors fetch with it.
const LINE: usize = 128;

/// Rows of words.
#[derive(Debug)]
pub(crate) struct Words {
    stride: usize,
    /// By chunk, the last one first: where the row numbered `-FIRST_ROWS` would lie if the chunk had all rows before its own,
    /// whose first begins a cache line; null before the chunk is made.
    origins: [AtomicPtr<AtomicU64>; CHUNKS],
    chunks: Mutex<Vec<Vec<AtomicU64>>>,
}

/// Chunk and row in it.
#[inline(always)]
fn place(row: u32) -> (usize, usize) {
    let from_one = u64::from(row) + (1 << FIRST);
    let log = 63 ^ from_one.leading_zeros();
    ((log - FIRST) as usize, (from_one ^ (1 << log)) as usize)
}

/// Place of a row's origin, and how many rows behind it the row lies.
#[inline(always)]
fn behind(row: u32) -> (usize, usize) {
    let number = u64::from(row) + FIRST_ROWS;
    let origin = number.leading_zeros() - FEWEST_ZEROS;
    (origin as usize, number as usize)
}

impl Words {
    /// No rows yet; `stride` words each.
    pub fn new(stride: usize) -> Self {
        Self {
            stride,
            origins: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            chunks: Mutex::default(),
        }
    }

    /// The row, where its chunk was made.
    #[inline(always)]
    pub fn get(&self, row: u32) -> Option<&[AtomicU64]> {
        let (chunk, number) = behind(row);
        let origin = self.origins.get(chunk)?.load(Ordering::Acquire);
        if origin.is_null() {
            return None;
        }
        let first = origin.wrapping_add(number * self.stride);
        // SAFETY: the chunk has `stride` words for each of its rows, all of them atomic, where its origin says; it lives
        // as long as `self`, and neither moves nor shrinks.
        Some(unsafe { slice::from_raw_parts(first, self.stride) })
    }

    /// Words of a row.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Where machine code finds the origins of rows by the leading zeros of their number plus [`FIRST_ROWS`], less
    /// [`FEWEST_ZEROS`]: rows that an index names are there.
    pub fn origins(&self) -> *const u64 {
        self.origins.as_ptr().cast()
    }

    /// The row; makes its chunk.
    #[inline]
    pub fn make(&self, row: u32) -> &[AtomicU64] {
        match self.get(row) {
            Some(row) => row,
            None => {
                self.make_chunk(row);
                self.get(row).unwrap_or_default()
            }
        }
    }

    #[inline(never)]
    fn make_chunk(&self, row: u32) {
        let mut chunks = self.chunks.lock();
        let Some(origin) = self.origins.get(behind(row).0) else {
            return;
        };
        if origin.load(Ordering::Relaxed).is_null() {
            // As many rows as all chunks before it have, and those before the first.
            let rows = self.stride << (place(row).0 as u32 + FIRST);
            let (words, skip) = zeroes(rows + LINE / 8);
            // Atomic words may be changed through a shared pointer.
            let mut at = words[skip..].as_ptr().cast_mut().wrapping_sub(rows);
            if at.is_null() {
                at = at.wrapping_add(LINE / 8);
            }
            chunks.push(words);
            origin.store(at, Ordering::Release);
        }
    }
}

/// At least so many words from the second number on, which begins two cache lines. A type with that alignment would have its memory
/// written by the allocator, page by page, before it can be asked for in huge ones.
pub(crate) fn zeroes(words: usize) -> (Vec<AtomicU64>, usize) {
    let zeroed = Box::<[AtomicU64]>::new_zeroed_slice(words + LINE / 8);
    // SAFETY: all-zero bytes are a valid `AtomicU64`.
    let words = unsafe { zeroed.assume_init() };
    advise_huge(&words);
    let skip = words.as_ptr().align_offset(LINE).min(LINE / 8);
    (words.into_vec(), skip)
}

/// Cells of any kind by number, made in chunks that never move.
#[derive(Debug)]
pub(crate) struct Cells<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> Default for Cells<T> {
    fn default() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }
}

impl<T: Default> Cells<T> {
    /// The cell, where its chunk was made.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        let (chunk, at) = place(number);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    /// The cell; makes its chunk.
    pub fn make(&self, number: u32) -> Option<&T> {
        let (chunk, at) = place(number);
        let cells = || {
            (0..1usize << (chunk as u32 + FIRST))
                .map(|_| T::default())
                .collect()
        };
        self.chunks.get(chunk)?.get_or_init(cells).get(at)
    }
}

/// Asks for huge pages: random access to gigabytes otherwise misses the TLB on every row.
pub(crate) fn advise_huge<T>(words: &[T]) {
    const HUGE: usize = 2 << 20;
    let bytes = size_of_val(words);
    if bytes < 2 * HUGE || cfg!(miri) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        let start = (words.as_ptr() as usize).next_multiple_of(HUGE);
        let end = (words.as_ptr() as usize + bytes) / HUGE * HUGE;
        // SAFETY: the range lies inside a live allocation; the advice changes the size of its pages, not its contents.
        // A refusal costs speed only.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
        }
    }
}

/// Asks the processor to fetch the cache line of a value.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast());
}

/// Asks the processor to fetch a cache line that may be anywhere.
#[inline]
pub(crate) fn prefetch_at(line: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address has no effect that a program could see.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, readonly, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_apart_aligned_and_stay() {
        let words = Words::new(8);
        assert!(words.get(0).is_none());
        let rows = [0u32, 1, 63, 64, 65, 191, 192, 5000];
        let places: Vec<_> = rows
            .iter()
            .map(|&row| {
                let cells = words.make(row);
                assert_eq!((cells.len(), cells.as_ptr() as usize % 64), (8, 0));
                cells.iter().for_each(|cell| {
                    assert_eq!(cell.swap(u64::from(row) + 1, Ordering::Relaxed), 0);
                });
                cells.as_ptr()
            })
            .collect();
        for (&row, place) in rows.iter().zip(places) {
            let cells = words.get(row).unwrap();
            assert_eq!(cells.as_ptr(), place);
            assert!(
                cells
                    .iter()
                    .all(|c| c.load(Ordering::Relaxed) == u64::from(row) + 1)
            );
        }
        assert_eq!(place(u32::MAX).0, CHUNKS - 1);
    }
}
