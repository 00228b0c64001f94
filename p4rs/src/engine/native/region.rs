//! Memory by number: what packets touch of large tables, registers and counters, in one word each.
//!
//! In: a loaded machine. Out: words that stand for places in memory, and their places. A word says the same for as long
//! as the machine lives, wherever an index grows meanwhile.
//!
//! ```text
//! word = region 6 │ number 26        region: 0 none │ rows of a table │ buckets of its index │ cells of registers │ counts
//! ```
//!
//! Invariant: a word is a hint. Whatever it is, its place is one to fetch from, or there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use rustc_hash::FxHashMap;

use super::super::externs::{CellPath, Plain, shard_offset};
use super::super::interp::Machine;
use super::super::tables::{
    CHUNKS, FEWEST_ZEROS, FIRST_ROWS, HashIndex, Words, epoch::Guard, prefetch_at,
};
use super::runtime::LINE_BYTES;
use crate::ir::{ExternInstance, Handle};

/// Bits of a number.
pub(super) const NUMBER_BITS: u32 = 26;
/// Numbers of a region.
pub(super) const NUMBERS: u64 = 1 << NUMBER_BITS;
/// Regions, the one that is none among them.
const REGIONS: usize = 1 << (32 - NUMBER_BITS);
/// Bytes of a register or a counter from which on caches do not hold it.
const FAR: u64 = 1 << 18;

/// Memory of one kind.
#[derive(Debug)]
enum Region {
    None,
    Pieces(Pieces),
    Buckets(Arc<HashIndex>),
}

/// Pieces of one size, one behind the other in chunks: see [`Words`].
#[derive(Debug)]
struct Pieces {
    /// Where a chunk's pieces would begin, by leading zeros, as [`Words::origins`] has them; or where, for each thread, that is told.
    origins: *const u64,
    by_thread: bool,
    stride: usize,
    /// How far behind the first line of a piece another one may be.
    second: usize,
    /// The origins where nobody else keeps them.
    _own: Box<[u64]>,
}

// SAFETY: what the pointer leads to is only read, by loads that other threads' stores may meet.
unsafe impl Send for Pieces {}
// SAFETY: as above.
unsafe impl Sync for Pieces {}

impl Pieces {
    fn rows(rows: &Words) -> Self {
        let stride = rows.stride() * size_of::<u64>();
        Self {
            origins: rows.origins(),
            by_thread: false,
            stride,
            second: (stride - size_of::<u64>()).min(LINE_BYTES),
            _own: Box::default(),
        }
    }

    /// Pieces that lie in one chunk.
    fn flat(first: usize, stride: usize) -> Self {
        let origin = first.wrapping_sub(FIRST_ROWS as usize * stride) as u64;
        let own: Box<[u64]> = vec![origin; CHUNKS].into();
        Self {
            origins: own.as_ptr(),
            by_thread: false,
            stride,
            second: 0,
            _own: own,
        }
    }

    /// Cells that every thread has of its own.
    fn counts(path: CellPath) -> Self {
        Self {
            origins: std::ptr::with_exposed_provenance(path.shards),
            by_thread: true,
            stride: path.cell as usize,
            second: 0,
            _own: Box::default(),
        }
    }

    /// Fetches a piece.
    #[inline(always)]
    fn fetch(&self, shard: u64, number: u32) {
        let number = u64::from(number) + FIRST_ROWS;
        let zeros = (number.leading_zeros() - FEWEST_ZEROS) as usize;
        let mut origins = self.origins;
        // SAFETY: the machine, or what is kept here, has as many origins as there may be chunks, and those of every thread.
        let origin = unsafe {
            if self.by_thread {
                let of_thread = origins.byte_add(shard as usize);
                origins = (*of_thread.cast::<AtomicPtr<u64>>()).load(Ordering::Relaxed);
            }
            (*origins.add(zeros).cast::<AtomicU64>()).load(Ordering::Relaxed)
        };
        let at = (origin as usize).wrapping_add(number as usize * self.stride);
        let first = std::ptr::without_provenance::<u8>(at);
        prefetch_at(first);
        // Mostly another line; the same one costs no more than to ask.
        prefetch_at(first.wrapping_add(self.second));
    }
}

/// The regions of a machine.
#[derive(Debug)]
pub(super) struct Regions {
    all: [Region; REGIONS],
    /// How many there are, the one that is none among them.
    len: usize,
    /// The words of their first numbers: of each table's rows, of registers by where those begin that lie side by side, and of
    /// counters by their number.
    tables: Vec<Option<u32>>,
    registers: FxHashMap<usize, u32>,
    counters: FxHashMap<usize, u32>,
}

impl Regions {
    /// Those whose memory caches may not hold, as many as there are numbers for.
    pub fn of(machine: &Machine) -> Self {
        let mut regions = Self {
            all: [const { Region::None }; REGIONS],
            len: 1,
            tables: Vec::new(),
            registers: FxHashMap::default(),
            counters: FxHashMap::default(),
        };
        for table in &machine.tables {
            let rows = table.far_memory().and_then(|(rows, buckets)| {
                regions.add([
                    Region::Pieces(Pieces::rows(rows)),
                    Region::Buckets(Arc::clone(buckets)),
                ])
            });
            regions.tables.push(rows);
        }
        let far = |cells: u64, bytes: usize| {
            cells.saturating_mul(bytes as u64) >= FAR && cells <= NUMBERS
        };
        for (instance, _) in machine.program().externs.iter() {
            let register = machine.externs().register(instance).ok();
            if let Some(plain) = register.and_then(|register| register.plain())
                && far(plain.size, plain.stride as usize)
                && !regions.registers.contains_key(&plain.row)
            {
                let cells = Pieces::flat(plain.row, plain.stride as usize);
                let first = regions.add([Region::Pieces(cells)]);
                regions
                    .registers
                    .extend(first.map(|first| (plain.row, first)));
            }
            if let Ok(counter) = machine.externs().counter(instance) {
                let path = counter.cells().path();
                if far(counter.size(), path.cell as usize) {
                    let first = regions.add([Region::Pieces(Pieces::counts(path))]);
                    let number = instance.index();
                    regions.counters.extend(first.map(|first| (number, first)));
                }
            }
        }
        regions
    }

    /// The word of the first number of the first of some new regions, where there is room for them.
    fn add<const MANY: usize>(&mut self, regions: [Region; MANY]) -> Option<u32> {
        let first = self.len;
        let room = self.all.get_mut(first..first + MANY)?;
        for (to, region) in room.iter_mut().zip(regions) {
            *to = region;
        }
        self.len += MANY;
        Some((first as u32) << NUMBER_BITS)
    }

    /// The word of a table's row 0.
    pub fn rows(&self, table: u32) -> Option<u32> {
        self.tables.get(table as usize).copied().flatten()
    }

    /// The word of row `number`, where there is one.
    pub fn row(&self, table: u32, number: u32) -> Option<u32> {
        let first = self.rows(table)?;
        (u64::from(number) < NUMBERS).then_some(first | number)
    }

    /// The word of a bucket, by what its index calls it.
    pub fn bucket(&self, table: u32, name: u32) -> Option<u32> {
        let rows = self.rows(table)?;
        Some((rows + (1 << NUMBER_BITS)) | name & (NUMBERS as u32 - 1))
    }

    /// The word of the first cells of a register and of those that lie beside it.
    pub fn cells(&self, plain: &Plain) -> Option<u32> {
        self.registers.get(&plain.row).copied()
    }

    /// The word of a counter's first cell.
    pub fn counts(&self, counter: Handle<ExternInstance>) -> Option<u32> {
        self.counters.get(&counter.index()).copied()
    }

    /// Fetches what words stand for, up to the first that stands for nothing.
    #[inline(always)]
    pub fn fetch(&self, guard: &Guard, words: &[u32]) {
        let shard = shard_offset(guard.number());
        for &word in words {
            let number = word & (NUMBERS as u32 - 1);
            match &self.all[(word >> NUMBER_BITS) as usize] {
                Region::Pieces(pieces) => pieces.fetch(shard, number),
                Region::Buckets(index) => prefetch_at(index.named(guard, number)),
                Region::None => return,
            }
        }
    }
}
