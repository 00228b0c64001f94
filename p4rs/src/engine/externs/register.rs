//! Registers: indexed arrays of values of one type, each value a fixed number of slots.
//!
//! In: reads and writes of packets and of the control plane. Out: values.
//! Invariant: one read or one write is atomic; a cell never written holds the initial value; memory follows use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::bits;
use super::super::tables::advise_huge;
use super::ExternError;

const CHUNK: u64 = 64;
/// Larger arrays are taken in chunks.
const FLAT: u64 = 1 << 26;

/// One leaf of the cell's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterLeaf {
    /// Slot in the cell.
    pub slot: u32,
    /// Width in bits.
    pub width: u32,
}

/// Where the cells lie. Of one slot they are words without locks, as what they differ from the initial value in: zeroed
/// memory is taken when it is used.
#[derive(Debug)]
enum Cells {
    Narrow(Column<AtomicU32>),
    Word(Column<AtomicU64>),
    Wide(Vec<Mutex<Vec<u128>>>),
}

/// A word that may be all zero bytes.
trait Word {}

impl Word for AtomicU32 {}
impl Word for AtomicU64 {}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Zero words, in memory that is taken when it is used, and the first one at the beginning of a cache line.
#[allow(unsafe_code)]
fn zeroed<W: Word>(count: usize) -> (Arc<[W]>, usize) {
    let room = count.saturating_add(LINE / size_of::<W>());
    // SAFETY: atomic integers are valid as zero bytes, and only they are `Word`s.
    let words: Arc<[W]> = unsafe { Arc::new_zeroed_slice(room).assume_init() };
    advise_huge(&words);
    let first = words.as_ptr().align_offset(LINE).min(room - count);
    (words, first)
}

/// One register's words among those of others of its size: what several registers have under one index lies together.
#[derive(Debug)]
struct Column<W> {
    words: Arc<[W]>,
    first: usize,
    stride: usize,
    size: usize,
}

impl<W: Word> Column<W> {
    /// A column with no other beside it.
    fn alone(size: usize) -> Self {
        let (words, first) = zeroed(size);
        Self {
            words,
            first,
            stride: 1,
            size,
        }
    }

    /// Columns beside each other.
    fn beside(columns: usize, size: usize) -> Vec<Self> {
        let stride = columns.next_power_of_two();
        let (words, first) = zeroed(size.saturating_mul(stride));
        let column = |at| Self {
            words: Arc::clone(&words),
            first: first + at,
            stride,
            size,
        };
        (0..columns).map(column).collect()
    }

    fn get(&self, index: usize) -> Option<&W> {
        let at = || self.words.get(self.first + index * self.stride);
        (index < self.size).then(at).flatten()
    }

    fn iter(&self) -> impl Iterator<Item = &W> {
        let words = self.words.get(self.first..).unwrap_or_default();
        words.iter().step_by(self.stride).take(self.size)
    }

    fn plain(&self, initial: u64) -> Plain {
        let base = self.words.as_ptr() as usize + self.first * size_of::<W>();
        let stride = self.stride * size_of::<W>();
        Plain {
            base,
            // Rows begin with a line, and their length is a power of two.
            row: base - base % stride,
            bytes: size_of::<W>() as u32,
            stride: stride as u32,
            initial,
            size: self.size as u64,
        }
    }
}

/// An array of cells.
#[derive(Debug)]
pub(crate) struct RegisterArray {
    size: u64,
    slots: usize,
    leaves: Vec<RegisterLeaf>,
    initial: Vec<u128>,
    cells: Cells,
}

/// Cells of one slot as machine code finds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// Where the first one is.
    pub base: usize,
    /// Where the first ones of all registers begin that lie together with it.
    pub row: usize,
    /// Bytes of a cell: 4 or 8.
    pub bytes: u32,
    /// Bytes from one cell to the next, a power of two.
    pub stride: u32,
    /// What a cell's word has to be combined with, by exclusive or.
    pub initial: u64,
    /// Number of cells.
    pub size: u64,
}

impl RegisterArray {
    /// An array of `size` cells that hold `initial`, a value with these leaves.
    pub fn new(size: u64, initial: Vec<u128>, leaves: Vec<RegisterLeaf>) -> Self {
        let number = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
        let slots = initial.len();
        let cells = match (leaves.as_slice(), initial.as_slice()) {
            ([RegisterLeaf { slot: 0, width }], [_]) if *width <= 32 && size <= FLAT => {
                Cells::Narrow(Column::alone(number(size)))
            }
            ([RegisterLeaf { slot: 0, width }], [_]) if *width <= 64 && size <= FLAT => {
                Cells::Word(Column::alone(number(size)))
            }
            _ => {
                let chunks = number(size.div_ceil(CHUNK));
                Cells::Wide((0..chunks).map(|_| Mutex::default()).collect())
            }
        };
        Self {
            size,
            slots,
            leaves,
            initial,
            cells,
        }
    }

    /// Number of cells.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The cells, where each is one word.
    pub fn plain(&self) -> Option<Plain> {
        let initial = *self.initial.first()? as u64;
        match &self.cells {
            Cells::Narrow(cells) => Some(cells.plain(initial)),
            Cells::Word(cells) => Some(cells.plain(initial)),
            Cells::Wide(_) => None,
        }
    }

    /// Lays registers of one size and kind side by side, before any is used.
    pub fn lay_together<'a>(registers: impl Iterator<Item = &'a mut Self>) {
        let mut alike: BTreeMap<(u64, bool), Vec<&mut Cells>> = BTreeMap::new();
        for register in registers {
            let narrow = match register.cells {
                Cells::Narrow(_) => true,
                Cells::Word(_) => false,
                Cells::Wide(_) => continue,
            };
            let kind = alike.entry((register.size, narrow)).or_default();
            kind.push(&mut register.cells);
        }
        for ((size, narrow), mut cells) in alike {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            for row in cells.chunks_mut(if narrow { LINE / 4 } else { LINE / 8 }) {
                if narrow {
                    let columns = Column::beside(row.len(), size).into_iter();
                    let columns = columns.map(Cells::Narrow);
                    row.iter_mut().zip(columns).for_each(|(to, new)| **to = new);
                } else {
                    let columns = Column::beside(row.len(), size).into_iter();
                    let columns = columns.map(Cells::Word);
                    row.iter_mut().zip(columns).for_each(|(to, new)| **to = new);
                }
            }
        }
    }

    /// Copies a cell out; false when the index is out of range.
    pub fn read(&self, index: u128, to: &mut [u128]) -> bool {
        let Some(index) = self.locate(index) else {
            return false;
        };
        let word = match &self.cells {
            Cells::Narrow(cells) => cells
                .get(index)
                .map(|cell| u128::from(cell.load(Ordering::Relaxed))),
            Cells::Word(cells) => cells
                .get(index)
                .map(|cell| u128::from(cell.load(Ordering::Relaxed))),
            Cells::Wide(chunks) => {
                let (chunk, at) = (index / CHUNK as usize, index % CHUNK as usize * self.slots);
                let Some(chunk) = chunks.get(chunk) else {
                    return false;
                };
                let cells = chunk.lock();
                let from = cells.get(at..at + self.slots).unwrap_or(&self.initial);
                for (to, from) in to.iter_mut().zip(from) {
                    *to = *from;
                }
                return true;
            }
        };
        if let (Some(word), Some(to), Some(initial)) = (word, to.first_mut(), self.initial.first())
        {
            *to = word ^ initial;
        }
        word.is_some()
    }

    /// Copies a cell in; false when the index is out of range.
    pub fn write(&self, index: u128, from: &[u128]) -> bool {
        let Some(index) = self.locate(index) else {
            return false;
        };
        let word = || from.first().unwrap_or(&0) ^ self.initial.first().unwrap_or(&0);
        match &self.cells {
            Cells::Narrow(cells) => {
                let cell = cells.get(index);
                cell.map(|cell| cell.store(word() as u32, Ordering::Relaxed))
                    .is_some()
            }
            Cells::Word(cells) => {
                let cell = cells.get(index);
                cell.map(|cell| cell.store(word() as u64, Ordering::Relaxed))
                    .is_some()
            }
            Cells::Wide(chunks) => {
                let (chunk, at) = (index / CHUNK as usize, index % CHUNK as usize * self.slots);
                let Some(chunk) = chunks.get(chunk) else {
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
        }
    }

    /// Sets every cell to the initial value.
    pub fn reset(&self) {
        match &self.cells {
            Cells::Narrow(cells) => cells
                .iter()
                .for_each(|cell| cell.store(0, Ordering::Relaxed)),
            Cells::Word(cells) => cells
                .iter()
                .for_each(|cell| cell.store(0, Ordering::Relaxed)),
            Cells::Wide(chunks) => chunks.iter().for_each(|chunk| chunk.lock().clear()),
        }
    }

    /// The index, if there is such a cell.
    fn locate(&self, index: u128) -> Option<usize> {
        let index = u64::try_from(index).ok();
        let index = index.filter(|&index| index < self.size)?;
        usize::try_from(index).ok()
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
    fn cells_of_one_word_differ_from_the_initial_value_when_written() {
        for (width, value) in [
            (7, 0x55),
            (32, u128::from(u32::MAX)),
            (64, 1 << 63),
            (128, 9),
        ] {
            let array = RegisterArray::new(10, vec![5], vec![RegisterLeaf { slot: 0, width }]);
            assert_eq!(array.plain().is_some(), width <= 64);
            let mut cell = [0];
            assert!(array.read(9, &mut cell));
            assert_eq!(cell, [5], "{width}");
            assert!(array.write(9, &[value]));
            assert!(array.read(9, &mut cell));
            assert_eq!(cell, [value], "{width}");
            assert!(!array.write(10, &[value]) && !array.read(10, &mut cell));
            array.reset();
            assert!(array.read(9, &mut cell));
            assert_eq!(cell, [5], "{width}");
        }
    }

    #[test]
    fn registers_of_one_size_lie_side_by_side_and_have_cells_of_their_own() {
        let array = |width, size, initial| {
            RegisterArray::new(size, vec![initial], vec![RegisterLeaf { slot: 0, width }])
        };
        let mut arrays: Vec<RegisterArray> = (0..19).map(|i| array(32, 40, i)).collect();
        arrays.extend([array(64, 40, 1), array(9, 40, 2), array(128, 40, 3)]);
        arrays.extend([array(32, 41, 4), array(60, 40, 5)]);
        RegisterArray::lay_together(arrays.iter_mut());
        let rows = |at: usize| arrays[at].plain().map(|plain| (plain.row, plain.stride));
        assert_eq!((rows(0), rows(16)), (rows(15), rows(20)));
        assert_ne!(rows(0), rows(16));
        assert_eq!((rows(19), rows(21)), (rows(23), None));
        assert_eq!(
            rows(0).map(|(row, stride)| (row % 64, stride)),
            Some((0, 64))
        );
        for index in 0..40u128 {
            for (i, array) in (0..).zip(&arrays) {
                assert!(array.write(index, &[(index + i) & 0x1ff]));
            }
        }
        for (i, array) in (0..).zip(&arrays) {
            let mut cell = [0];
            for index in 0..40u128 {
                assert!(array.read(index, &mut cell));
                assert_eq!(cell, [(index + i) & 0x1ff]);
            }
            assert_eq!(array.read(40, &mut cell), array.size() == 41);
        }
        arrays[3].reset();
        for (at, value) in [(2, 9), (3, 3), (4, 11)] {
            let mut cell = [0];
            assert!(arrays[at].read(7, &mut cell));
            assert_eq!(cell, [value]);
        }
    }

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
