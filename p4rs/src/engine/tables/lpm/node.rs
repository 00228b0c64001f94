//! What a trie consists of: slots, the nodes that they lie in, and the bits between two nodes.
//!
//! In: numbers of nodes. Out: their slots.
//!
//! ```text
//! slot  = entry that covers all below it 32 │ what is below 32
//! small = 16 slots, by the next 4 bits          first = 65536 slots, by the first 16 bits
//! wide  = 256 slots, by the next 8 bits         skip  = up to 56 bits that all below it have in common, one slot
//! ```
//!
//! Invariants: a slot changes by a single store; a node is filled before it is linked; the bits of a skip never change.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::words::{Words, prefetch_at};

/// Bits of a small node's step; every node begins at a multiple of it.
pub(super) const STEP: u32 = 4;
/// Bits of a wide node's step.
const WIDE_STEP: u32 = 2 * STEP;
/// Bits of the first step of a trie without exact fields.
pub(super) const FIRST_STEP: u32 = 16;
/// Bits that one skip can hold, in whole steps: its length is beside them.
pub(super) const SKIP_MAX: u32 = 56;

/// Marks the entry that is alone below a slot.
const ALONE: u32 = 1 << 31;
/// Below it the number of a node, above it the node's kind.
const KIND: u32 = 29;
const NUMBER: u32 = (1 << KIND) - 1;
const SMALL: u32 = 1;
const WIDE: u32 = 2;
const SKIP: u32 = 3;
/// The first node; there is only one.
const FIRST: u32 = 1;

/// What is below a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    Nothing,
    /// The only entry there.
    Alone(u32),
    First,
    Small(u32),
    Wide(u32),
    Skip(u32),
}

impl Below {
    /// Of a slot.
    #[inline(always)]
    pub fn of(slot: u64) -> Self {
        let below = (slot >> 32) as u32;
        let number = below & NUMBER;
        match below >> KIND {
            0 if below == 0 => Self::Nothing,
            0 => Self::First,
            SMALL => Self::Small(number),
            WIDE => Self::Wide(number),
            SKIP => Self::Skip(number),
            _ => Self::Alone(below & !ALONE),
        }
    }

    /// In a slot that nothing covers.
    pub fn slot(self) -> u64 {
        let below = match self {
            Self::Nothing => 0,
            Self::Alone(entry) => ALONE | entry,
            Self::First => FIRST,
            Self::Small(number) => SMALL << KIND | number,
            Self::Wide(number) => WIDE << KIND | number,
            Self::Skip(number) => SKIP << KIND | number,
        };
        u64::from(below) << 32
    }
}

/// Whether slots have room for a number.
pub(super) fn fits(number: u32) -> bool {
    number <= NUMBER
}

/// The entry that covers all below a slot.
#[inline(always)]
pub(super) fn cover(slot: u64) -> Option<u32> {
    (slot as u32).checked_sub(1)
}

/// A slot that an entry covers, nothing below it.
pub(super) fn covered(entry: Option<u32>) -> u64 {
    entry.map_or(0, |entry| u64::from(entry) + 1)
}

/// The slot with a cover, where it has none.
pub(super) fn covered_by(slot: u64, entry: Option<u32>) -> u64 {
    slot | cover(slot).map_or(covered(entry), |_| 0)
}

/// Sets the cover and leaves what is below.
pub(super) fn with_cover(slot: &AtomicU64, entry: Option<u32>) {
    let kept = slot.load(Ordering::Relaxed) & !u64::from(u32::MAX);
    slot.store(kept | covered(entry), Ordering::Release);
}

/// Sets what is below and leaves the cover.
pub(super) fn with_below(slot: &AtomicU64, below: Below) {
    let kept = slot.load(Ordering::Relaxed) & u64::from(u32::MAX);
    slot.store(kept | below.slot(), Ordering::Release);
}

/// The memory of a trie's nodes.
#[derive(Debug)]
pub(super) struct Nodes {
    first: OnceLock<Box<[AtomicU64]>>,
    pub small: Words,
    pub wide: Words,
    skips: Words,
}

/// Bits that all below have in common, and the slot behind them.
pub(super) struct Skip<'a> {
    pub len: u32,
    pub bits: u64,
    pub slot: &'a AtomicU64,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            first: OnceLock::new(),
            small: Words::new(1 << STEP),
            wide: Words::new(1 << WIDE_STEP),
            skips: Words::new(2),
        }
    }
}

impl Nodes {
    /// The slots of the first node; makes it.
    pub fn make_first(&self) -> &[AtomicU64] {
        let empty = || (0..1 << FIRST_STEP).map(|_| AtomicU64::new(0)).collect();
        self.first.get_or_init(empty)
    }

    /// The slots of the first node, where there is one.
    #[inline]
    pub fn first(&self) -> Option<&[AtomicU64]> {
        self.first.get().map(|first| &**first)
    }

    /// The slots of a node, and the bits that say which.
    #[inline(always)]
    pub fn slots(&self, below: Below) -> Option<(&[AtomicU64], u32)> {
        match below {
            Below::Small(number) => Some((self.small.get(number)?, STEP)),
            Below::Wide(number) => Some((self.wide.get(number)?, WIDE_STEP)),
            Below::First => Some((self.first()?, FIRST_STEP)),
            Below::Nothing | Below::Alone(_) | Below::Skip(_) => None,
        }
    }

    /// A skip.
    #[inline(always)]
    pub fn skip(&self, number: u32) -> Option<Skip<'_>> {
        let [word, slot] = self.skips.get(number)? else {
            return None;
        };
        let word = word.load(Ordering::Relaxed);
        Some(Skip {
            len: word as u32 & 0xff,
            bits: word >> 8,
            slot,
        })
    }

    /// Writes a skip that no packet can see yet.
    pub fn write_skip(&self, number: u32, (bits, len): (u64, u32), slot: u64) {
        if let [word, behind] = self.skips.make(number) {
            word.store(bits << 8 | u64::from(len), Ordering::Relaxed);
            behind.store(slot, Ordering::Relaxed);
        }
    }

    /// Fetches a skip.
    #[inline]
    pub fn fetch_skip(&self, number: u32) {
        if let Some([word, ..]) = self.skips.get(number) {
            prefetch_at(std::ptr::from_ref(word).cast());
        }
    }

    /// Whether nothing is in a node, or behind a skip.
    pub fn is_empty(&self, below: Below) -> bool {
        let empty = |slot: &AtomicU64| slot.load(Ordering::Relaxed) == 0;
        match below {
            Below::Skip(number) => self.skip(number).is_some_and(|skip| empty(skip.slot)),
            _ => (self.slots(below)).is_some_and(|(slots, _)| slots.iter().all(empty)),
        }
    }
}
