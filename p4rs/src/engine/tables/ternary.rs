//! Ternary, range and optional match with priorities: tuple space search that packets do without a lock.
//!
//! In: keys of any match kinds. Out: the matching row of highest priority, the one stored earlier among equals.
//!
//! ```text
//! order: groups by mask, best priority first ─▶ hash index of the masked value ─▶ chain of rows, best first
//! ```
//!
//! Machine code walks the groups by itself, until a row wins against all of those behind it: see [`super::path`].
//! A lookup asks each group whose best priority could still win. A group whose rows all have one value under the mask
//! is asked by comparing with that value, which lies in the order itself, so that entries with a mask of their own
//! each cost no more than a list would; any other group costs one hash. Of a range, the bits that its ends have in
//! common at their front take part in the mask; the rest is compared on each row of the chain.
//!
//! Invariants: groups are sorted by their best priority, descending, and none is empty; chains are sorted by
//! precedence; one writer at a time; each change becomes visible by a single store.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashMap;

use super::entry::MatchKind;
use super::epoch::Guard;
use super::exact::HashIndex;
use super::hasher::KeyHasher;
use super::key::{Encoded, KeyPart, KeyPlan, KeyWords};
use super::rcu::Rcu;
use super::record::{Entry, Shape};
use super::recycle::Recycler;
use super::tuples::{Order, Tuple};
use super::words::{Cells, Words};

/// A group as the writer knows it.
#[derive(Debug)]
struct Group {
    number: u32,
    rows: u64,
    best: i32,
    /// The value under the mask, where all rows have had the same.
    only: Option<KeyWords>,
}

#[derive(Debug, Default)]
struct Writer {
    by_mask: FxHashMap<KeyWords, Group>,
    numbers: Recycler,
}

/// The groups.
#[derive(Debug)]
pub(crate) struct TernaryIndex {
    ranges: Vec<KeyPart>,
    /// What `order` has, for machine code.
    view: AtomicPtr<AtomicU64>,
    order: Rcu<Order>,
    /// By group: the first rows of its chains.
    chains: Cells<HashIndex>,
    writer: Mutex<Writer>,
}

/// The rows that the index names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    pub words: &'a Words,
    pub shape: &'a Shape,
}

impl<'a> Rows<'a> {
    /// A row.
    #[inline(always)]
    pub fn get(self, row: u32) -> Entry<'a> {
        Entry::new(self.words.get(row).unwrap_or_default())
    }
}

impl Group {
    /// The group as packets see it.
    fn tuple<'a>(&'a self, mask: &'a [u64], chains: &HashIndex) -> Tuple<'a> {
        Tuple {
            number: self.number,
            best: self.best,
            view: chains.view(),
            mask,
            only: self.only.as_deref(),
        }
    }
}

impl TernaryIndex {
    /// No groups yet.
    pub fn new(plan: &KeyPlan) -> Self {
        let ranges = plan.fields.iter().filter(|f| f.kind == MatchKind::Range);
        let order = Order::new(plan.words());
        Self {
            ranges: ranges.map(|f| f.part).collect(),
            view: AtomicPtr::new(order.first()),
            order: Rcu::new(order),
            chains: Cells::default(),
            writer: Mutex::default(),
        }
    }

    /// The winning row for a key.
    pub fn lookup<'g>(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'g>,
        key: &[u64],
    ) -> Option<Entry<'g>> {
        // Where the compiler knows how long keys are, the loops over their words are none.
        macro_rules! search {
            ($($words:literal)*) => {
                match key.len() {
                    $($words => {
                        let key: &[u64; $words] = key.try_into().ok()?;
                        self.search(guard, hasher, rows, key)
                    })*
                    _ => self.search(guard, hasher, rows, key),
                }
            };
        }
        search!(1 2 3 4 5)
    }

    #[inline(always)]
    fn search<'g>(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'g>,
        key: &[u64],
    ) -> Option<Entry<'g>> {
        let shape = rows.shape;
        let order = self.order.load(guard)?;
        let mut winner: Option<(Entry<'g>, i32)> = None;
        for group in order.groups() {
            if winner.is_some_and(|(_, priority)| i64::from(priority) > group.best) {
                break;
            }
            if group.excludes(key) {
                continue;
            }
            let Some(chains) = self.chains.get(group.number) else {
                continue;
            };
            let mask: KeyWords = group.mask().collect();
            let mask = &*mask;
            let hash = hasher.hash_masked(key, mask);
            let mut next = None;
            chains.find(guard, hash, |row| {
                let head = Some(rows.get(row));
                next = head.filter(|head| head.agrees(shape, key, mask));
                next.is_some()
            });
            while let Some(entry) = next {
                if winner.is_some_and(|(winner, _)| !entry.precedes(shape, winner)) {
                    break;
                }
                if self.ranges.is_empty() || self.in_ranges(shape, entry, key) {
                    winner = Some((entry, entry.priority(shape)));
                    break;
                }
                next = entry.next(shape).map(|row| rows.get(row));
            }
        }
        winner.map(|(entry, _)| entry)
    }

    #[inline]
    fn in_ranges(&self, shape: &Shape, entry: Entry<'_>, key: &[u64]) -> bool {
        self.ranges.is_empty()
            || self.ranges.iter().all(|part| {
                if part.words() == 1 {
                    let ends = [entry.value(shape, part.word), entry.mask(shape, part.word)];
                    let key = part.word_of(key, 0);
                    let end = |i: usize| KeyPart { word: i, ..*part }.word_of(&ends, 0);
                    end(0) <= key && key <= end(1)
                } else {
                    let words = (0..part.words()).rev();
                    let key = words
                        .clone()
                        .map(|i| key.get(part.word + i).copied().unwrap_or(0));
                    let low = words.clone().map(|i| entry.value(shape, part.word + i));
                    let high = words.map(|i| entry.mask(shape, part.word + i));
                    low.le(key.clone()) && key.le(high)
                }
            })
    }

    /// The row with this very match and priority.
    pub fn find(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
    ) -> Option<u32> {
        let mask = plan.hash_mask(encoded);
        let writer = self.writer.lock();
        let chain = self.chain(guard, hasher, rows, &writer, &mask, encoded)?;
        let mut next = chain.head();
        while let Some(row) = next {
            let entry = rows.get(row);
            if entry.encoded(rows.shape) == *encoded {
                return Some(row);
            }
            next = entry.next(rows.shape);
        }
        None
    }

    fn chain<'a>(
        &'a self,
        guard: &'a Guard,
        hasher: &KeyHasher,
        rows: Rows<'a>,
        writer: &Writer,
        mask: &'a [u64],
        encoded: &'a Encoded,
    ) -> Option<Chain<'a>> {
        let group = writer.by_mask.get(mask)?;
        Some(Chain {
            guard,
            rows,
            chains: self.chains.get(group.number)?,
            mask,
            value: &encoded.value,
            hash: hasher.hash_masked(&encoded.value, mask),
        })
    }

    /// Adds a row. False when there is no room.
    pub fn insert(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        row: u32,
    ) -> bool {
        let mask = plan.hash_mask(encoded);
        let mut writer = self.writer.lock();
        // Packets must look into the group before it holds anything that could win.
        if !self.enter(guard, &mut writer, &mask, encoded) {
            return false;
        }
        let chain = self.chain(guard, hasher, rows, &writer, &mask, encoded);
        let added = chain.is_some_and(|chain| chain.link(row));
        if !added {
            self.leave(guard, writer, &mask);
        }
        added
    }

    /// Counts a row into the group of its mask, which may be new, and makes packets ask the group as the row needs.
    ///
    /// In an order that packets still walk nothing is hidden by a raised priority: what the group held before could
    /// win at its old place, and the new row is not linked yet.
    fn enter(&self, guard: &Guard, writer: &mut Writer, mask: &[u64], encoded: &Encoded) -> bool {
        let value: KeyWords = encoded.value.iter().zip(mask).map(|(v, m)| v & m).collect();
        let Some(order) = self.order.load(guard) else {
            return false;
        };
        if let Some(group) = writer.by_mask.get_mut(mask) {
            let Some(chains) = self.chains.get(group.number) else {
                return false;
            };
            let differs = group.only.as_ref().is_some_and(|only| *only != value);
            let raised = encoded.priority > group.best;
            group.rows += 1;
            group.best = group.best.max(encoded.priority);
            group.only.take_if(|_| differs);
            if differs || raised && !order.raise(group.number, group.best) {
                self.put(order.with(group.tuple(mask, chains)));
            }
            return true;
        }
        let Some(number) = writer.numbers.take() else {
            return false;
        };
        let Some(chains) = self.chains.make(number) else {
            writer.numbers.give_unused(number);
            return false;
        };
        let group = Group {
            number,
            rows: 1,
            best: encoded.priority,
            only: Some(value),
        };
        self.put(order.with(group.tuple(mask, chains)));
        writer.by_mask.insert(mask.into(), group);
        true
    }

    /// Puts an order in place of the one in force.
    fn put(&self, order: Order) {
        self.view.store(order.first(), Ordering::Release);
        self.order.put(order);
    }

    /// Where machine code finds the first group's words; `None` where it cannot know which row wins.
    pub fn view(&self) -> Option<*const u64> {
        let view = &raw const self.view;
        self.ranges.is_empty().then_some(view.cast())
    }

    /// Puts one row in place of another with the same match.
    pub fn replace(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        (old, new): (u32, u32),
    ) {
        let mask = plan.hash_mask(encoded);
        let writer = self.writer.lock();
        let Some(chain) = self.chain(guard, hasher, rows, &writer, &mask, encoded) else {
            return;
        };
        rows.get(new)
            .set_next(rows.shape, rows.get(old).next(rows.shape));
        match chain.before(old) {
            Some(before) => rows.get(before).set_next(rows.shape, Some(new)),
            None => chain.chains.replace(guard, chain.hash, old, new),
        }
    }

    /// Takes a row out.
    pub fn remove(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        rows: Rows<'_>,
        plan: &KeyPlan,
        encoded: &Encoded,
        row: u32,
    ) {
        let mask = plan.hash_mask(encoded);
        let writer = self.writer.lock();
        let Some(chain) = self.chain(guard, hasher, rows, &writer, &mask, encoded) else {
            return;
        };
        // The row keeps its own successor: packets that stand on it go on.
        let next = rows.get(row).next(rows.shape);
        match (chain.before(row), next) {
            (Some(before), next) => rows.get(before).set_next(rows.shape, next),
            (None, Some(next)) => chain.chains.replace(guard, chain.hash, row, next),
            (None, None) => chain.chains.remove(guard, chain.hash, row),
        }
        self.leave(guard, writer, &mask);
    }

    /// Counts a row of the group out; the last one takes the group with it.
    fn leave(&self, guard: &Guard, mut writer: MutexGuard<'_, Writer>, mask: &[u64]) {
        let Some(group) = writer.by_mask.get_mut(mask) else {
            return;
        };
        group.rows -= 1;
        if group.rows > 0 {
            return;
        }
        if let Some(order) = self.order.load(guard) {
            self.put(order.without(group.number));
        }
        let number = group.number;
        if let Some(chains) = self.chains.get(number) {
            chains.clear(guard, 0);
        }
        writer.by_mask.remove(mask);
        writer.numbers.give(number);
    }
}

/// The chain that a value under a mask belongs to, for the writer.
#[derive(Clone, Copy)]
struct Chain<'a> {
    guard: &'a Guard,
    rows: Rows<'a>,
    chains: &'a HashIndex,
    mask: &'a [u64],
    value: &'a [u64],
    hash: u64,
}

impl Chain<'_> {
    /// The first row.
    fn head(self) -> Option<u32> {
        let same = |row| {
            let entry = self.rows.get(row);
            entry.agrees(self.rows.shape, self.value, self.mask)
        };
        self.chains.find(self.guard, self.hash, same)
    }

    /// The row before this one.
    fn before(self, row: u32) -> Option<u32> {
        let mut at = self.head().filter(|&head| head != row)?;
        while let Some(next) = self.rows.get(at).next(self.rows.shape) {
            if next == row {
                return Some(at);
            }
            at = next;
        }
        None
    }

    /// Links a row behind all that precede it. False when there is no room.
    fn link(self, row: u32) -> bool {
        let (rows, shape) = (self.rows, self.rows.shape);
        let entry = rows.get(row);
        let Some(head) = self.head() else {
            entry.set_next(shape, None);
            return self.chains.insert(self.guard, self.hash, row);
        };
        if entry.precedes(shape, rows.get(head)) {
            entry.set_next(shape, Some(head));
            self.chains.replace(self.guard, self.hash, head, row);
            return true;
        }
        let mut at = head;
        while let Some(next) = rows.get(at).next(shape) {
            if entry.precedes(shape, rows.get(next)) {
                break;
            }
            at = next;
        }
        entry.set_next(shape, rows.get(at).next(shape));
        rows.get(at).set_next(shape, Some(row));
        true
    }
}
