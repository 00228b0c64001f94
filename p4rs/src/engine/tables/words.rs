//! Memory for records: rows of 64-bit words that packets read while the control plane writes others.
//!
//! In: row numbers. Out: rows, zero at first. Rows lie in chunks that double in size and never move; the operating
//! system gives a chunk's pages when they are first written, or, where packets make the rows, a little ahead: growing costs no
//! pause and memory follows use.
//! Invariant: a row's address never changes.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::{ptr, slice};

use parking_lot::Mutex;

use super::pages::{HUGE, LINE, WORD, Zeroes};

/// log2 of the first chunk's rows.
const FIRST: u32 = 6;
/// The first chunk's rows: the chunk of a row is told by the leading zeros of its number plus these.
pub(crate) const FIRST_ROWS: u64 = 1 << FIRST;
/// Leading zeros of the largest such sum.
pub(crate) const FEWEST_ZEROS: u32 = 63 - 32;
/// Enough chunks for 2^32 rows.
pub(crate) const CHUNKS: usize = 32 - FIRST as usize + 1;
/// Bytes of rows from which on pages are made ready ahead of them.
const LARGE: usize = 4 << 20;
/// Bytes that are ready ahead, where that is neither more than half of what the rows have nor less than an eighth.
const AHEAD: usize = 8 << 20;

/// Rows of words.
#[derive(Debug)]
pub(crate) struct Words {
    stride: usize,
    /// By chunk, the last one first: where the row numbered `-FIRST_ROWS` would lie if the chunk had all rows before its own,
    /// whose first begins a cache line; null before the chunk is made.
    origins: [AtomicPtr<AtomicU64>; CHUNKS],
    chunks: Mutex<Chunks>,
    /// The row at which further ones are to be made ready.
    next: AtomicU32,
}

#[derive(Debug, Default)]
struct Chunks {
    /// Each with its number.
    made: Vec<(usize, Arc<Zeroes>)>,
    /// Rows before this one were asked to be made ready.
    asked: u64,
}

/// Chunk and row in it.
#[inline(always)]
fn place(row: u32) -> (usize, usize) {
    let from_one = u64::from(row) + (1 << FIRST);
    let log = 63 ^ from_one.leading_zeros();
    ((log - FIRST) as usize, (from_one ^ (1 << log)) as usize)
}

/// How many rows a chunk has: as many as all chunks before it, and those before the first.
fn rows_of(chunk: usize) -> usize {
    1 << (chunk as u32 + FIRST)
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
            next: AtomicU32::new(u32::MAX),
        }
    }

    /// As [`Words::new`]; the rows will be made about in the order of their numbers, while packets flow: where there are many,
    /// the pages of some further ones are made ready.
    pub fn growing(stride: usize) -> Self {
        let rows = u32::try_from(LARGE / (stride.max(1) * WORD)).unwrap_or(u32::MAX);
        Self {
            next: AtomicU32::new(rows),
            ..Self::new(stride)
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
        if row >= self.next.load(Ordering::Relaxed) {
            self.make_ready(row);
        }
        match self.get(row) {
            Some(row) => row,
            None => {
                self.make_chunk(&mut self.chunks.lock(), row);
                self.get(row).unwrap_or_default()
            }
        }
    }

    /// Has the pages of further rows made ready.
    #[inline(never)]
    fn make_ready(&self, row: u32) {
        let mut chunks = self.chunks.lock();
        if row < self.next.load(Ordering::Relaxed) {
            return;
        }
        let (row, bytes) = (u64::from(row), self.stride.max(1) * WORD);
        let used = row as usize * bytes;
        let ahead = (used / 2).min(AHEAD.max(used / 8));
        let step = HUGE.max(ahead / 2);
        let next = row + (step / bytes) as u64;
        let end = next + (ahead / bytes) as u64;
        let mut from = row.max(chunks.asked);
        chunks.asked = end;
        let next = u32::try_from(next).unwrap_or(u32::MAX);
        self.next.store(next, Ordering::Relaxed);
        while from < end
            && let Ok(row) = u32::try_from(from)
        {
            let Some(words) = self.make_chunk(&mut chunks, row) else {
                return;
            };
            let (number, first) = place(row);
            let words_of = |rows: usize| rows * self.stride;
            let left = rows_of(number) - first;
            let rows = left.min((end - from) as usize);
            words.make_ready(words_of(first)..words_of(first + rows));
            from += rows as u64;
        }
    }

    /// The row's chunk.
    #[inline(never)]
    fn make_chunk(&self, chunks: &mut Chunks, row: u32) -> Option<Arc<Zeroes>> {
        let (number, _) = place(row);
        let known = chunks.made.iter().find(|(chunk, _)| *chunk == number);
        if let Some((_, known)) = known {
            return Some(Arc::clone(known));
        }
        let origin = self.origins.get(behind(row).0)?;
        let rows = self.stride * rows_of(number);
        let zeroes = Arc::new(Zeroes::new(rows + LINE / WORD));
        // Atomic words may be changed through a shared pointer.
        let mut at = zeroes.words().as_ptr().cast_mut().wrapping_sub(rows);
        if at.is_null() {
            at = at.wrapping_add(LINE / WORD);
        }
        chunks.made.push((number, Arc::clone(&zeroes)));
        origin.store(at, Ordering::Release);
        Some(zeroes)
    }
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
        let cells = || (0..rows_of(chunk)).map(|_| T::default()).collect();
        self.chunks.get(chunk)?.get_or_init(cells).get(at)
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

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn rows_that_come_next_are_ready_and_few_others() {
        use super::super::pages::{is_possible, resident};
        use std::time::{Duration, Instant};
        const STRIDE: usize = 16;
        if !is_possible() {
            return;
        }
        let words = Words::growing(STRIDE);
        // Half of a chunk of 32 MiB, then, past its end, a bit of the next one.
        for used in [3 << 16, (4 << 16) + 10] {
            for row in 0..used {
                words.make(row)[0].store(1, Ordering::Relaxed);
            }
            let bytes = used as usize * STRIDE * WORD;
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let chunks = words.chunks.lock();
                let all = chunks.made.iter().map(|(_, words)| resident(words.words()));
                let ready = all.map(|(ready, _)| ready << 12).sum::<usize>();
                if ready > bytes * 9 / 8 {
                    assert!(ready < bytes * 2, "{ready} of {bytes}");
                    break;
                }
                drop(chunks);
                assert!(Instant::now() < end, "{ready} of {bytes}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(
            words.get((4 << 16) + 9).unwrap()[0].load(Ordering::Relaxed),
            1
        );
        let zero = words.make((4 << 16) + 10)[0].load(Ordering::Relaxed);
        assert_eq!(zero, 0);
    }
}
