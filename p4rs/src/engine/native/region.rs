//! Memory by number: what packets touch of large tables, registers and counters, in one word each.
//!
//! In: a loaded machine. Out: words that stand for places in memory, and their places. A word says the same for as long
//! as the machine lives, wherever an index grows meanwhile.
//!
//! ```text
//! word = region 6 │ number 26        region: 0 none │ rows of a table │ buckets of its index │ counts of its entries
//!                                            │ cells of registers │ counts
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
use super::context::LINE_BYTES;
use crate::ir::{ExternInstance, Handle};

/// Bits of a number.
pub(super) const NUMBER_BITS: u32 = 26;
/// Numbers of a region.
pub(super) const NUMBERS: u64 = 1 << NUMBER_BITS;
/// Regions, the one that is none among them.
const REGIONS: usize = 1 << (32 - NUMBER_BITS);
/// Bytes of a register or a counter from which on caches do not hold it.
const FAR: u64 = 1 << 18;

/// How places of a region are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// There are none.
    #[default]
    None,
    /// Pieces of one size, one behind the other in chunks: see [`Words`].
    Pieces,
    /// Such pieces, of which every thread has its own.
    OfThread,
    /// Buckets of an index.
    Buckets,
}

/// Memory of one kind.
#[derive(Debug)]
struct Region {
    kind: Kind,
    /// Where a chunk's pieces would begin, by leading zeros, as [`Words::origins`] has them; or where, for each thread, that is told.
    origins: *const u64,
    stride: usize,
    /// How far behind the first line of a piece another one may be.
    second: usize,
    index: Option<Arc<HashIndex>>,
    /// The origins where nobody else keeps them.
    _own: Vec<u64>,
}

// SAFETY: what the pointer leads to is only read, by loads that other threads' stores may meet.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    const NONE: Self = Self {
        kind: Kind::None,
        origins: std::ptr::null(),
        stride: 0,
        second: 0,
        index: None,
        _own: Vec::new(),
    };

    fn rows(rows: &Words) -> Self {
        let stride = rows.stride() * size_of::<u64>();
        Self {
            kind: Kind::Pieces,
            origins: rows.origins(),
            stride,
            second: (stride - size_of::<u64>()).min(LINE_BYTES),
            ..Self::NONE
        }
    }

    fn buckets(index: &Arc<HashIndex>) -> Self {
        Self {
            kind: Kind::Buckets,
            index: Some(Arc::clone(index)),
            ..Self::NONE
        }
    }

    /// Pieces that lie in one chunk.
    fn flat(first: usize, stride: usize) -> Self {
        let origin = first.wrapping_sub(FIRST_ROWS as usize * stride) as u64;
        let own = vec![origin; CHUNKS];
        Self {
            kind: Kind::Pieces,
            origins: own.as_ptr(),
            stride,
            _own: own,
            ..Self::NONE
        }
    }

    /// Cells that every thread has of its own.
    fn counts(path: CellPath) -> Self {
        Self {
            kind: Kind::OfThread,
            origins: std::ptr::with_exposed_provenance(path.shards),
            stride: path.cell as usize,
            ..Self::NONE
        }
    }

    /// Fetches a piece of those that begin where `origins` tell.
    #[inline(always)]
    fn fetch(&self, origins: *const u64, number: u32) {
        let number = u64::from(number) + FIRST_ROWS;
        let zeros = (number.leading_zeros() - FEWEST_ZEROS) as usize;
        // SAFETY: the machine, or what is kept here, has as many origins as there may be chunks.
        let origin = unsafe { (*origins.add(zeros).cast::<AtomicU64>()).load(Ordering::Relaxed) };
        let at = (origin as usize).wrapping_add(number as usize * self.stride);
        let first = std::ptr::without_provenance::<u8>(at);
        prefetch_at(first);
        // Mostly another line; the same one costs no more than to ask.
        prefetch_at(first.wrapping_add(self.second));
    }

    /// The origins of a thread's own pieces.
    #[inline(always)]
    fn origins_of(&self, shard: u64) -> *const u64 {
        // SAFETY: the machine has origins of every thread.
        unsafe {
            let of_thread = self.origins.byte_add(shard as usize);
            (*of_thread.cast::<AtomicPtr<u64>>()).load(Ordering::Relaxed)
        }
    }
}

/// The regions of a machine.
#[derive(Debug)]
pub(super) struct Regions {
    all: [Region; REGIONS],
    /// How many there are, the one that is none among them.
    len: usize,
    /// The words of their first numbers: of each table's rows, of its entries' counters, of registers by where those begin that
    /// lie side by side, and of counters by their number.
    tables: Vec<Option<u32>>,
    entries: Vec<Option<u32>>,
    registers: FxHashMap<usize, u32>,
    counters: FxHashMap<usize, u32>,
}

impl Regions {
    /// Those whose memory caches may not hold, as many as there are numbers for.
    pub fn of(machine: &Machine) -> Self {
        let mut regions = Self {
            all: [Region::NONE; REGIONS],
            len: 1,
            tables: Vec::new(),
            entries: Vec::new(),
            registers: FxHashMap::default(),
            counters: FxHashMap::default(),
        };
        for table in &machine.tables {
            let rows = table.far_memory().and_then(|(rows, buckets)| {
                regions.add([Region::rows(rows), Region::buckets(buckets)])
            });
            regions.tables.push(rows);
            let counters = table.whole_counters().filter(|_| rows.is_some());
            let counters = counters.and_then(|cells| regions.add([Region::counts(cells.path())]));
            regions.entries.push(counters);
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
                let first = regions.add([Region::flat(plain.row, plain.stride as usize)]);
                regions
                    .registers
                    .extend(first.map(|first| (plain.row, first)));
            }
            if let Ok(counter) = machine.externs().counter(instance) {
                let path = counter.cells().path();
                if far(counter.size(), path.cell as usize) {
                    let first = regions.add([Region::counts(path)]);
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

    /// The word of the first bucket of a table's index.
    pub fn buckets(&self, table: u32) -> Option<u32> {
        Some(self.rows(table)? + (1 << NUMBER_BITS))
    }

    /// The word of the counter of a table's entry 0.
    pub fn entry_counts(&self, table: u32) -> Option<u32> {
        self.entries.get(table as usize).copied().flatten()
    }

    /// The word of row `number`, where there is one.
    pub fn row(&self, table: u32, number: u32) -> Option<u32> {
        let first = self.rows(table)?;
        (u64::from(number) < NUMBERS).then_some(first | number)
    }

    /// The word of a bucket, by what its index calls it.
    pub fn bucket(&self, table: u32, name: u32) -> Option<u32> {
        Some(self.buckets(table)? | name & (NUMBERS as u32 - 1))
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
            let region = &self.all[(word >> NUMBER_BITS) as usize];
            // Asked one after the other, the most frequent first.
            if region.kind == Kind::Pieces {
                region.fetch(region.origins, number);
            } else if region.kind == Kind::OfThread {
                region.fetch(region.origins_of(shard), number);
            } else if let Some(index) = &region.index {
                prefetch_at(index.named(guard, number));
            } else {
                return;
            }
        }
    }
}
