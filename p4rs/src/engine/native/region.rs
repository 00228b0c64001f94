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

use rustc_hash::FxHashMap;

use super::super::externs::Plain;
use super::super::interp::Machine;
use super::super::tables::{HashIndex, Words, epoch::Guard, prefetch_at};
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
    Rows(Arc<Words>),
    Buckets(Arc<HashIndex>),
    Cells { base: usize, stride: usize },
    Counts(Handle<ExternInstance>),
}

/// What a region is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Table(u32),
    /// Where registers begin that lie side by side.
    Registers(usize),
    Counter(ExternIndex),
}

/// Number of an extern.
type ExternIndex = usize;

/// The regions of a machine.
#[derive(Debug)]
pub(super) struct Regions {
    all: Vec<Region>,
    /// The words of their first numbers.
    of: FxHashMap<Owner, u32>,
}

impl Regions {
    /// Those whose memory caches may not hold, as many as there are numbers for.
    pub fn of(machine: &Machine) -> Self {
        let mut regions = Self {
            all: vec![Region::None],
            of: FxHashMap::default(),
        };
        for (index, table) in (0..).zip(&machine.tables) {
            if let Some((rows, buckets)) = table.far_memory() {
                let both = [Region::Rows(rows), Region::Buckets(buckets)];
                regions.add(Owner::Table(index), both);
            }
        }
        let instances = machine.program().externs.iter();
        for (instance, _) in instances {
            if let Some(plain) = machine
                .externs()
                .register(instance)
                .ok()
                .and_then(|r| r.plain())
            {
                let cells = Region::Cells {
                    base: plain.row,
                    stride: plain.stride as usize,
                };
                if is_far(plain.size, u64::from(plain.stride)) && plain.size <= NUMBERS {
                    regions.add(Owner::Registers(plain.row), [cells]);
                }
            }
            if let Ok(counter) = machine.externs().counter(instance)
                && is_far(counter.size(), u64::from(counter.cells().path().cell))
                && counter.size() <= NUMBERS
            {
                let owner = Owner::Counter(instance.index());
                regions.add(owner, [Region::Counts(instance)]);
            }
        }
        regions
    }

    fn add<const MANY: usize>(&mut self, owner: Owner, regions: [Region; MANY]) {
        let first = self.all.len();
        if first + MANY <= REGIONS && !self.of.contains_key(&owner) {
            self.of.insert(owner, (first as u32) << NUMBER_BITS);
            self.all.extend(regions);
        }
    }

    /// The word of a table's row 0.
    pub fn rows(&self, table: u32) -> Option<u32> {
        self.of.get(&Owner::Table(table)).copied()
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
        self.of.get(&Owner::Registers(plain.row)).copied()
    }

    /// The word of a counter's first cell.
    pub fn counts(&self, counter: Handle<ExternInstance>) -> Option<u32> {
        self.of.get(&Owner::Counter(counter.index())).copied()
    }

    /// Fetches what a word stands for.
    #[inline]
    pub fn fetch(&self, machine: &Machine, guard: &Guard, word: u32) {
        let number = word & (NUMBERS as u32 - 1);
        match self.all.get((word >> NUMBER_BITS) as usize) {
            Some(Region::Rows(rows)) => {
                if let Some(row) = rows.get(number) {
                    let first = row.as_ptr().cast::<u8>();
                    prefetch_at(first);
                    if first.addr() % LINE_BYTES + size_of_val(row) > LINE_BYTES {
                        prefetch_at(first.wrapping_add(LINE_BYTES));
                    }
                }
            }
            Some(Region::Cells { base, stride }) => {
                let at = base.wrapping_add(number as usize * stride);
                prefetch_at(std::ptr::without_provenance(at));
            }
            Some(Region::Buckets(index)) => prefetch_at(index.named(guard, number)),
            Some(Region::Counts(counter)) => {
                let counter = machine.externs().counter(*counter).ok();
                if let Some(cell) = counter.and_then(|counter| counter.cells().own(number)) {
                    prefetch_at(cell.as_ptr().cast());
                }
            }
            Some(Region::None) | None => {}
        }
    }
}

/// Whether so many cells of so many bytes are more than caches hold.
fn is_far(cells: u64, bytes: u64) -> bool {
    cells.saturating_mul(bytes) >= FAR
}
