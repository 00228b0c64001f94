//! Counters: indexed arrays of packet and byte counts.
//!
//! In: counted packets, control-plane writes. Out: totals. Invariant: no count is lost; memory follows use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::tables::{Words, epoch, prefetch_at};
use super::ExternError;

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

/// Any number of cells that threads count in without disturbing each other.
///
/// Each thread adds to its own set of cells, by plain loads and stores: nothing is locked, no cache line moves between
/// processors, however hot a cell is. Totals are sums over the sets. Setting a total changes an offset and leaves the
/// sets alone, so that no count is lost to a thread that counts meanwhile.
#[derive(Debug)]
pub(crate) struct CounterCells {
    shards: [OnceLock<Box<Words>>; SHARDS],
    /// What is added to the sums; the lock orders readers and setters.
    offsets: Mutex<Words>,
}

impl Default for CounterCells {
    fn default() -> Self {
        Self {
            shards: [const { OnceLock::new() }; SHARDS],
            offsets: Mutex::new(Words::new(2)),
        }
    }
}

impl CounterCells {
    /// Counts one packet.
    #[inline]
    pub fn count(&self, cell: u32, bytes: u64) {
        self.add(cell, 1, bytes);
    }

    /// Fetches a cell that this thread will count in.
    #[inline]
    pub fn prefetch(&self, cell: u32) {
        let own = epoch::thread_number().unwrap_or(SHARDS);
        let shard = self.shards[own.min(SHARDS - 1)].get();
        if let Some([first, ..]) = shard.and_then(|shard| shard.get(cell)) {
            prefetch_at(std::ptr::from_ref(first).cast());
        }
    }

    /// Counts packets.
    #[inline]
    pub fn add(&self, cell: u32, count: u64, bytes: u64) {
        let own = epoch::thread_number().unwrap_or(SHARDS);
        let shard = self.shards[own.min(SHARDS - 1)].get_or_init(|| Box::new(Words::new(2)));
        let cells = match shard.get(cell) {
            Some(cells) => cells,
            None => shard.make(cell),
        };
        let [packets, total] = cells else {
            return;
        };
        if own < SHARDS - 1 {
            // No other living thread has this number: nobody else writes here.
            let add = |to: &AtomicU64, n: u64| {
                to.store(
                    to.load(Ordering::Relaxed).wrapping_add(n),
                    Ordering::Relaxed,
                );
            };
            add(packets, count);
            add(total, bytes);
        } else {
            packets.fetch_add(count, Ordering::Relaxed);
            total.fetch_add(bytes, Ordering::Relaxed);
        }
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

    /// Counts one packet; an index out of range is ignored.
    pub fn count(&self, index: u128, bytes: u64) {
        if let Some((cells, cell)) = self.counter(index) {
            cells.count(cell, bytes);
        }
    }

    /// Where a cell's packets are counted.
    pub fn counter(&self, index: u128) -> Option<(&CounterCells, u32)> {
        let cell = self.cell(u64::try_from(index).ok()?).ok()?;
        Some((&self.cells, cell))
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
