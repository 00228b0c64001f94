//! Counters: indexed arrays of packet and byte counts.
//!
//! In: counted packets, control-plane writes. Out: totals. Invariant: counts are atomic; memory follows use.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// One cell.
#[derive(Debug, Default)]
pub(crate) struct CounterCell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl CounterCell {
    /// Counts one packet.
    pub fn count(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The totals.
    pub fn load(&self) -> CounterData {
        CounterData {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    /// Sets the totals.
    pub fn store(&self, data: CounterData) {
        self.packets.store(data.packets, Ordering::Relaxed);
        self.bytes.store(data.bytes, Ordering::Relaxed);
    }
}

const CHUNK: u64 = 1024;

/// An array of cells; chunks are made when first written.
#[derive(Debug)]
pub(crate) struct CounterArray {
    size: u64,
    chunks: Vec<OnceLock<Box<[CounterCell]>>>,
}

impl CounterArray {
    /// An array of `size` zero cells.
    pub fn new(size: u64) -> Self {
        let chunks = usize::try_from(size.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        Self {
            size,
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Number of cells.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Counts one packet; an index out of range is ignored.
    pub fn count(&self, index: u128, bytes: u64) {
        if let Ok(index) = u64::try_from(index)
            && let Ok(cell) = self.cell(index)
        {
            cell.count(bytes);
        }
    }

    /// One cell's totals.
    pub fn read(&self, index: u64) -> Result<CounterData, ExternError> {
        self.check(index)?;
        let chunk = self
            .chunks
            .get((index / CHUNK) as usize)
            .and_then(OnceLock::get);
        Ok(chunk
            .and_then(|cells| cells.get((index % CHUNK) as usize))
            .map(CounterCell::load)
            .unwrap_or_default())
    }

    /// Sets one cell's totals.
    pub fn write(&self, index: u64, data: CounterData) -> Result<(), ExternError> {
        self.cell(index)?.store(data);
        Ok(())
    }

    fn check(&self, index: u64) -> Result<(), ExternError> {
        if index < self.size {
            Ok(())
        } else {
            Err(ExternError::OutOfRange {
                index,
                size: self.size,
            })
        }
    }

    fn cell(&self, index: u64) -> Result<&CounterCell, ExternError> {
        self.check(index)?;
        self.chunks
            .get((index / CHUNK) as usize)
            .map(|chunk| chunk.get_or_init(|| (0..CHUNK).map(|_| CounterCell::default()).collect()))
            .and_then(|cells| cells.get((index % CHUNK) as usize))
            .ok_or(ExternError::OutOfRange {
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
}
