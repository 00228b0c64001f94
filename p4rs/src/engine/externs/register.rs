//! Registers: indexed arrays of values of one type, each value a fixed number of slots.
//!
//! In: reads and writes of packets and of the control plane. Out: values.
//! Invariant: one read or one write is atomic; a cell never written holds the initial value; memory follows use.

use parking_lot::Mutex;

use super::super::bits;
use super::ExternError;

const CHUNK: u64 = 64;

/// One leaf of the cell's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterLeaf {
    /// Slot in the cell.
    pub slot: u32,
    /// Width in bits.
    pub width: u32,
}

/// An array of cells.
#[derive(Debug)]
pub(crate) struct RegisterArray {
    size: u64,
    slots: usize,
    leaves: Vec<RegisterLeaf>,
    initial: Vec<u128>,
    chunks: Vec<Mutex<Vec<u128>>>,
}

impl RegisterArray {
    /// An array of `size` cells that hold `initial`, a value with these leaves.
    pub fn new(size: u64, initial: Vec<u128>, leaves: Vec<RegisterLeaf>) -> Self {
        let chunks = usize::try_from(size.div_ceil(CHUNK)).unwrap_or(usize::MAX);
        let slots = initial.len();
        Self {
            size,
            slots,
            leaves,
            initial,
            chunks: (0..chunks).map(|_| Mutex::default()).collect(),
        }
    }

    /// Number of cells.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Copies a cell out; false when the index is out of range.
    pub fn read(&self, index: u128, to: &mut [u128]) -> bool {
        let Some((chunk, at)) = self.locate(index) else {
            return false;
        };
        let cells = chunk.lock();
        let from = cells.get(at..at + self.slots).unwrap_or(&self.initial);
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
        true
    }

    /// Copies a cell in; false when the index is out of range.
    pub fn write(&self, index: u128, from: &[u128]) -> bool {
        let Some((chunk, at)) = self.locate(index) else {
            return false;
        };
        let mut cells = chunk.lock();
        if cells.is_empty() {
            *cells = self.initial.repeat(CHUNK as usize);
        }
        if let Some(to) = cells.get_mut(at..at + self.slots) {
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        true
    }

    /// Sets every cell to the initial value.
    pub fn reset(&self) {
        for chunk in &self.chunks {
            chunk.lock().clear();
        }
    }

    fn locate(&self, index: u128) -> Option<(&Mutex<Vec<u128>>, usize)> {
        let index = u64::try_from(index)
            .ok()
            .filter(|&index| index < self.size)?;
        Some((
            self.chunks.get((index / CHUNK) as usize)?,
            (index % CHUNK) as usize * self.slots,
        ))
    }

    /// A cell as bytes per leaf.
    pub fn read_bytes(&self, index: u64) -> Result<Vec<Vec<u8>>, ExternError> {
        let mut cell = vec![0; self.slots];
        if !self.read(u128::from(index), &mut cell) {
            return Err(ExternError::OutOfRange {
                index,
                size: self.size,
            });
        }
        let words = |leaf: &RegisterLeaf| cell.get(leaf.slot as usize..).unwrap_or_default();
        Ok(self
            .leaves
            .iter()
            .map(|leaf| bits::words_to_bytes(words(leaf), leaf.width))
            .collect())
    }

    /// Sets a cell from bytes per leaf; leaves left out become zero.
    pub fn write_bytes(&self, index: u64, fields: &[&[u8]]) -> Result<(), ExternError> {
        let mut cell = vec![0; self.slots];
        for (leaf, bytes) in self.leaves.iter().zip(fields) {
            let words = bits::bytes_to_words(bytes, leaf.width)
                .ok_or(ExternError::TooWide { width: leaf.width })?;
            let to = cell.get_mut(leaf.slot as usize..).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(words) {
                *to = from;
            }
        }
        if self.write(u128::from(index), &cell) {
            Ok(())
        } else {
            Err(ExternError::OutOfRange {
                index,
                size: self.size,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written() {
        let leaves = vec![
            RegisterLeaf { slot: 0, width: 16 },
            RegisterLeaf {
                slot: 1,
                width: 200,
            },
        ];
        let array = RegisterArray::new(100, vec![7, 0, 0], leaves);
        let mut cell = [0; 3];
        assert!(array.read(99, &mut cell));
        assert_eq!(cell, [7, 0, 0]);
        assert!(!array.read(100, &mut cell));
        assert!(array.write(3, &[0x1234, u128::MAX, 1]));
        let bytes = array.read_bytes(3).unwrap();
        assert_eq!(bytes[0], [0x12, 0x34]);
        assert_eq!(bytes[1].len(), 25);
        assert_eq!(array.write_bytes(4, &[&bytes[0], &bytes[1]]), Ok(()));
        assert!(array.read(4, &mut cell));
        assert_eq!(cell, [0x1234, u128::MAX, 1]);
        array.reset();
        assert!(array.read(4, &mut cell));
        assert_eq!(cell, [7, 0, 0]);
        assert_eq!(
            array.write_bytes(4, &[&[1, 0, 0]]),
            Err(ExternError::TooWide { width: 16 })
        );
        assert_eq!(
            array.write_bytes(100, &[&[0]]),
            Err(ExternError::OutOfRange {
                index: 100,
                size: 100
            })
        );
    }
}
