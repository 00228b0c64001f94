//! Counters: indexed arrays of packet and byte counts.
//!
//! In: counted packets, control-plane writes. Out: totals. Invariant: no count is lost; memory follows use.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::tables::{CHUNKS, FEWEST_ZEROS, FIRST_ROWS, Words, epoch};
use super::ExternError;

/// Adds to a word that no other thread writes.
#[inline]
pub(crate) fn add_alone(to: &AtomicU64, n: u64) {
    let sum = to.load(Ordering::Relaxed).wrapping_add(n);
    to.store(sum, Ordering::Relaxed);
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterUnit {
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// Both.
    Both,
}

/// The value of one counter cell. Both numbers are kept whatever the declared unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterData {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Threads that count in cells of their own; further ones share the last set.
const SHARDS: usize = 16;
/// Words of a cell: packets and bytes.
const CELL: usize = 2;

/// Where the cells of a thread that has not counted yet lie, as [`Words::origins`] tells it.
static NOWHERE: [AtomicPtr<u64>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// How machine code finds the cell that a thread counts in.
///
/// The pointer at `shards` plus [`shard_offset`] leads to pointers; of them, the one at the leading zeros of the cell's
/// number plus `from`, less `zeros`, is null, or plus `cell` bytes (a power of two) for each of the number plus `from` the
/// cell: packets, then bytes, which no other thread writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellPath {
    pub shards: usize,
    pub from: u64,
    pub zeros: u32,
    pub cell: u32,
}

/// Where the pointer of the thread with this number ([`epoch::Guard::number`]) lies behind [`CellPath::shards`].
#[inline]
pub(crate) fn shard_offset(thread: usize) -> u64 {
    (thread.min(SHARDS - 1) * size_of::<AtomicPtr<u64>>()) as u64
}

/// Any number of cells that threads count in without disturbing each other.
///
/// Each thread adds to its own set of cells, by plain loads and stores: nothing is locked, no cache line moves between
/// processors, however hot a cell is. Totals are sums over the sets. Setting a total changes an offset and leaves the
/// sets alone, so that no count is lost to a thread that counts meanwhile.
#[derive(Debug)]
pub(crate) struct CounterCells {
    /// The last one, which threads share, is never shown to machine code.
    origins: [AtomicPtr<u64>; SHARDS],
    shards: [OnceLock<Box<Words>>; SHARDS],
    /// What is added to the sums; the lock orders readers and setters.
    offsets: Mutex<Words>,
}

impl Default for CounterCells {
    fn default() -> Self {
        let nowhere = NOWHERE.as_ptr().cast_mut().cast();
        Self {
            origins: [const { AtomicPtr::new(ptr::null_mut()) }; SHARDS].map(|origins| {
                origins.store(nowhere, Ordering::Relaxed);
                origins
            }),
            shards: [const { OnceLock::new() }; SHARDS],
            offsets: Mutex::new(Words::new(CELL)),
        }
    }
}

impl CounterCells {
    /// How machine code finds the cells, while `self` stays in its place.
    pub fn path(&self) -> CellPath {
        CellPath {
            shards: self.origins.as_ptr() as usize,
            from: FIRST_ROWS,
            zeros: FEWEST_ZEROS,
            cell: (CELL * size_of::<AtomicU64>()) as u32,
        }
    }

    /// Counts one packet.
    #[inline]
    pub fn count(&self, cell: u32, bytes: u64) {
        self.add(cell, 1, bytes);
    }

    /// Counts packets.
    #[inline]
    pub fn add(&self, cell: u32, count: u64, bytes: u64) {
        let own = epoch::thread_number().unwrap_or(SHARDS).min(SHARDS - 1);
        let shard = self.shards[own].get_or_init(|| Box::new(Words::new(CELL)));
        let cells = match shard.get(cell) {
            Some(cells) => cells,
            None => self.make(own, shard, cell),
        };
        let [packets, total] = cells else {
            return;
        };
        if own < SHARDS - 1 {
            // No other living thread has this number: nobody else writes here.
            add_alone(packets, count);
            add_alone(total, bytes);
        } else {
            packets.fetch_add(count, Ordering::Relaxed);
            total.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    #[inline(never)]
    fn make<'s>(&self, own: usize, shard: &'s Words, cell: u32) -> &'s [AtomicU64] {
        let words = shard.make(cell);
        if own < SHARDS - 1 {
            let origins = shard.origins().cast_mut();
            self.origins[own].store(origins, Ordering::Release);
        }
        words
    }

    fn sums(&self, cell: u32) -> [u64; 2] {
        let mut sums = [0u64; 2];
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (sum, word) in sums.iter_mut().zip(shard.get(cell).unwrap_or_default()) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
        sums
    }

    /// The totals.
    pub fn load(&self, cell: u32) -> CounterData {
        let offsets = self.offsets.lock();
        let mut sums = self.sums(cell);
        for (sum, word) in sums.iter_mut().zip(offsets.get(cell).unwrap_or_default()) {
            *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
        }
        CounterData {
            packets: sums[0],
            bytes: sums[1],
        }
    }

    /// Sets the totals.
    pub fn store(&self, cell: u32, data: CounterData) {
        let offsets = self.offsets.lock();
        let sums = self.sums(cell);
        let wanted = [data.packets, data.bytes];
        if offsets.get(cell).is_none() && sums == wanted {
            return;
        }
        for (word, (wanted, sum)) in offsets.make(cell).iter().zip(wanted.iter().zip(sums)) {
            word.store(wanted.wrapping_sub(sum), Ordering::Relaxed);
        }
    }
}

/// An array of cells; memory is taken where something was counted.
#[derive(Debug)]
pub(crate) struct CounterArray {
    size: u64,
    cells: Box<CounterCells>,
}

impl CounterArray {
    /// An array of `size` zero cells.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            cells: Box::default(),
        }
    }

    /// Number of cells.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The cells; only those below the size are counted in.
    pub fn cells(&self) -> &CounterCells {
        &self.cells
    }

    /// Counts one packet; an index out of range is ignored.
    pub fn count(&self, index: u128, bytes: u64) {
        let index = u64::try_from(index).ok();
        if let Some(Ok(cell)) = index.map(|index| self.cell(index)) {
            self.cells.count(cell, bytes);
        }
    }

    /// One cell's totals.
    pub fn read(&self, index: u64) -> Result<CounterData, ExternError> {
        Ok(self.cells.load(self.cell(index)?))
    }

    /// Sets one cell's totals.
    pub fn write(&self, index: u64, data: CounterData) -> Result<(), ExternError> {
        self.cells.store(self.cell(index)?, data);
        Ok(())
    }

    fn cell(&self, index: u64) -> Result<u32, ExternError> {
        let cell = u32::try_from(index).ok().filter(|_| index < self.size);
        cell.ok_or(ExternError::OutOfRange {
            index,
            size: self.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bounds() {
        let array = CounterArray::new(2000);
        array.count(1999, 60);
        array.count(1999, 40);
        array.count(2000, 1);
        array.count(u128::MAX, 1);
        assert_eq!(
            array.read(1999),
            Ok(CounterData {
                packets: 2,
                bytes: 100
            })
        );
        assert_eq!(array.read(0), Ok(CounterData::default()));
        assert_eq!(
            array.read(2000),
            Err(ExternError::OutOfRange {
                index: 2000,
                size: 2000
            })
        );
        assert_eq!(
            array.write(
                5,
                CounterData {
                    packets: 7,
                    bytes: 8
                }
            ),
            Ok(())
        );
        assert_eq!(
            array.read(5),
            Ok(CounterData {
                packets: 7,
                bytes: 8
            })
        );
    }

    /// The cell that machine code finds.
    #[allow(unsafe_code)]
    fn found(path: CellPath, thread: usize, cell: u32) -> Option<[u64; 2]> {
        let number = u64::from(cell) + path.from;
        let zeros = (number.leading_zeros() - path.zeros) as usize;
        let at = |address: usize| ptr::with_exposed_provenance::<usize>(address);
        // SAFETY: the words are where the path says, and nobody counts meanwhile.
        unsafe {
            let origins = *at(path.shards + shard_offset(thread) as usize);
            let origin = *at(origins + zeros * size_of::<usize>());
            let cell = origin.wrapping_add(number as usize * path.cell as usize);
            let words: *const [u64; 2] = ptr::with_exposed_provenance(cell);
            (origin != 0).then(|| *words)
        }
    }

    #[test]
    #[cfg(not(miri))]
    fn machine_code_finds_what_its_thread_has_counted() {
        let cells = CounterCells::default();
        let guard = epoch::pin();
        let (path, own) = (cells.path(), guard.number());
        let numbers = [0, 1, 63, 64, 191, 192, 70_000];
        assert_eq!(found(path, own, 5), None);
        for (bytes, &number) in (100..).zip(&numbers) {
            cells.count(number, bytes);
        }
        for (bytes, number) in (100..).zip(numbers) {
            // Threads beyond those with cells of their own are shown none.
            let cell = (own < SHARDS - 1).then_some([1, bytes]);
            assert_eq!(found(path, own, number), cell, "{number}");
        }
        assert_eq!(found(path, own, 1 << 20), None);
        assert_eq!(found(path, own + 1, 0), None);
        assert_eq!(found(path, usize::MAX, 0), None);
    }

    #[test]
    fn threads_count_apart_and_a_total_set_meanwhile_loses_nothing() {
        let array = std::sync::Arc::new(CounterArray::new(10));
        let (threads, each) = (20, if cfg!(miri) { 20 } else { 5000 });
        let counting: Vec<_> = (0..threads)
            .map(|_| {
                let array = std::sync::Arc::clone(&array);
                std::thread::spawn(move || {
                    let _guard = epoch::pin();
                    (0..each).for_each(|_| array.count(3, 10));
                })
            })
            .collect();
        counting.into_iter().for_each(|t| t.join().unwrap());
        let all = threads * each;
        let total = CounterData {
            packets: all,
            bytes: all * 10,
        };
        assert_eq!(array.read(3), Ok(total));
        assert_eq!(array.write(3, CounterData::default()), Ok(()));
        array.count(3, 7);
        let one = CounterData {
            packets: 1,
            bytes: 7,
        };
        assert_eq!(array.read(3), Ok(one));
    }
}
