//! What machine code needs to find an entry by itself: where a table's parts lie, and how they are read.
//!
//! In: a table of exact or ternary keys whose entries say all there is to do. Out: addresses that stay as long
//! as the table, and constants. Invariant: what machine code finds by them under a guard is what
//! [`MatchTable::peek`] would have answered at a moment of that guard's time.
//!
//! ```text
//! hash: upper half of sum.wrapping_mul(Σ fold((word 0 ^ seed 0) × (word 1 ^ seed 1)))
//! view ─▶ place at hash >> (view & SHIFT) ─▶ bucket at (hash × 64) & mask ─▶ over │ row + 1 ─▶ origin by leading zeros ─▶ row
//! ```
//!
//! A ternary table has an index for each group of rows with one mask, and its groups in the order of their best priority:
//!
//! ```text
//! view ─▶ group … group, end: best priority, view of its index, mask ─▶ hash of key & mask … row, of what priority?
//! ```
//!
//! Each address comes from what was loaded before it, so that no processor reads a row before the slot that names it;
//! writers store from behind: rows before slots, slots before views.

use std::mem::offset_of;

use super::bucket::{BUCKET_BYTES_LOG, NUMBER, OVER, Place};
use super::exact::{BUCKET_BITS, SECOND, TOP};
use super::hasher::{LANES, Seeds};
use super::key::KeyClass;
use super::record::{NAMED, START, TIMEOUT};
use super::table::{DefaultAction, MatchTable};
use super::tuples::{END, Order};
use super::words::{FEWEST_ZEROS, FIRST_ROWS};

/// Bytes of a word.
const WORD: usize = 8;

/// A table as machine code looks keys up in it. Offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePath {
    /// Whether rows have timers, whose times may be over.
    pub timed: bool,
    /// What keys are hashed with; never changed.
    pub seeds: Seeds,
    /// The view of the directory; of a ternary table, the address of its first group's words.
    pub view: *const u64,
    pub tuples: Option<Tuples>,
    /// Where rows begin, by the leading zeros of their number plus [`TablePath::BEFORE`], less [`TablePath::FEWEST_ZEROS`].
    pub origins: *const u64,
    pub row: usize,
    /// Where a row's key begins, and its action data.
    pub key: usize,
    pub data: usize,
    /// Where the number of entries is told, and how many make the table one that caches do not hold, whose lines are to
    /// be noted: none where there never are so many, or where entries are not found by their key alone.
    pub count: *const u64,
    pub far_from: Option<u64>,
}

/// How the groups of a ternary table lie one behind the other. Offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuples {
    pub group: usize,
    pub mask: usize,
    pub value: usize,
    /// Where a row has its priority, 32 bits, on a little-endian machine.
    pub priority: usize,
}

impl Tuples {
    /// Where a group has its best priority, the view of its chains, and whether all its rows have one value.
    pub const BEST: usize = 0;
    pub const VIEW: usize = WORD;
    pub const ONE: usize = 2 * WORD;
    /// The best priority behind the last group.
    pub const END: i64 = END;
}

impl TablePath {
    /// Where a row has its action, 16 bits, on a little-endian machine.
    pub const ACTION: usize = 4;
    /// Set in the lower half of a bucket's first slot where a record that belongs there may lie in its other bucket; no part of
    /// a record's number.
    pub const OVER: u64 = OVER;
    /// Set in a row's first word while the index names it.
    pub const NAMED: u64 = NAMED;
    pub const TIMEOUT: usize = TIMEOUT * WORD;
    pub const START: usize = START * WORD;
    /// Where a place has its first bucket, and its mask.
    pub const FIRST: usize = offset_of!(Place, first);
    pub const MASK: usize = offset_of!(Place, mask);
    /// log2 of a bucket's bytes.
    pub const BUCKET_LOG: u32 = BUCKET_BYTES_LOG;
    /// The bits of a view that are the directory's shift.
    pub const SHIFT: usize = NUMBER;
    /// log2 of a place's bytes.
    pub const PLACE_LOG: u32 = size_of::<Place>().trailing_zeros();
    /// See [`super::exact`]'s `second`.
    pub const SECOND: (u32, u32, u32) = SECOND;
    /// Bits of a hash below those that stand in front of a bucket's name, and bits of its number in its segment.
    pub const NAME: (u32, u32) = (TOP, BUCKET_BITS);
    pub const BEFORE: u64 = FIRST_ROWS;
    pub const FEWEST_ZEROS: u32 = FEWEST_ZEROS;
}

/// What a table answers where there is no entry, as machine code reads it. Offsets are in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultPath {
    /// The action, where it never changes.
    pub action: Option<u16>,
    /// Where the address of the default action in force is.
    pub place: *const u64,
}

impl DefaultPath {
    /// Where a default action has its number, 16 bits, and the address of its data.
    pub const ACTION: usize = offset_of!(DefaultAction, action);
    pub const DATA: usize = offset_of!(DefaultAction, at);
}

impl MatchTable {
    /// How machine code finds the default action.
    pub fn default_path(&self) -> DefaultPath {
        let constant = self.config.const_default;
        DefaultPath {
            action: constant.then_some(self.config.default.0 as u16),
            place: self.default.place(),
        }
    }

    /// How machine code finds entries by itself; `None` where it cannot.
    pub fn path(&self) -> Option<TablePath> {
        let words = self.simple_words()?;
        let shape = &self.store.shape;
        let (key, priority, data) = shape.parts();
        let (view, tuples) = match self.plan.class {
            KeyClass::Exact => (self.store.exact.view(), None),
            KeyClass::Ternary => {
                let (group, mask) = Order::shape(words);
                let tuples = Tuples {
                    group: group * WORD,
                    mask: mask * WORD,
                    value: (mask + words) * WORD,
                    priority: priority * WORD,
                };
                (self.stripes.first()?.tuples()?, Some(tuples))
            }
            KeyClass::Keyless | KeyClass::Lpm(_) => return None,
        };
        let able = (1..=LANES).contains(&words) && cfg!(target_endian = "little");
        let far = self.far_memory().is_some();
        able.then(|| TablePath {
            timed: self.is_learner(),
            seeds: *self.store.hasher.seeds(),
            view,
            tuples,
            origins: self.store.rows.origins(),
            row: self.store.rows.stride() * WORD,
            key: key * WORD,
            data: data * WORD,
            count: self.count.as_ptr(),
            far_from: far.then_some(self.far_from),
        })
    }

    /// Words of a row.
    pub fn row_words(&self) -> usize {
        self.store.rows.stride()
    }
}
