//! What packets see of an entry: one row of words, written once and then only read.
//!
//! In: encoded matches and bound actions. Out: the parts of a row by name.
//!
//! ```text
//! header │ timeout, last hit │ key … │ mask … │ priority, sequence, next │ action data …
//!        └ with timers       │       └ lpm,   └ ternary                  └ parameters of the largest action
//!                            │         ternary
//! header = stripe 8 │ named 1 │ form 7 │ action 16 │ entry 32
//! ```
//!
//! A row is *named* while the index names it: who remembers a row's number from an earlier packet asks for this, and for the
//! key, instead of the index.
//!
//! Counters, meters and the control plane's own data lie elsewhere, by entry number, which a changed entry keeps.
//! Invariant: after a row is published only its times, its `next` and whether it is named change; it is named last of all
//! that is written of it, and no more before its number may be used again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Time;
use super::key::{Encoded, KeyClass, KeyPlan};

/// What a row's action data mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Parameters of the action.
    Direct,
    /// A member of an action profile.
    Member,
    /// A group of an action selector.
    Group,
    /// The row's own action set.
    OneShot,
}

/// Which parts the rows of a table have, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    key_words: usize,
    timed: bool,
    masked: bool,
    ordered: bool,
    key: usize,
    mask: usize,
    order: usize,
    data: usize,
    end: usize,
}

/// Set in the header of a row that the index names.
pub(crate) const NAMED: u64 = 1 << 55;

/// Word of a row with timers that has its timeout.
pub(crate) const TIMEOUT: usize = 1;
/// Word of a row with timers that has the last hit, or the last restart.
pub(crate) const START: usize = 2;

/// log2 of the part of its time for which a timer may have run when a hit leaves it as it is: 1/256.
pub(crate) const UNSEEN: u32 = 8;

/// Where the key begins.
const fn key_at(timed: bool) -> usize {
    if timed { START + 1 } else { 1 }
}

impl Shape {
    /// For rows of this key, with this much action data.
    pub fn new(plan: &KeyPlan, timed: bool, data_words: usize) -> Self {
        let key_words = plan.words();
        let masked = matches!(plan.class, KeyClass::Lpm(_) | KeyClass::Ternary);
        let ordered = plan.class == KeyClass::Ternary;
        let key = key_at(timed);
        let mask = key + key_words;
        let order = mask + if masked { key_words } else { 0 };
        let data = order + if ordered { 3 } else { 0 };
        Self {
            key_words,
            timed,
            masked,
            ordered,
            key,
            mask,
            order,
            data,
            end: data + data_words,
        }
    }

    /// Words before the key, before what orders rows, and before the action data.
    pub fn parts(&self) -> (usize, usize, usize) {
        (self.key, self.order, self.data)
    }

    /// Words from one row to the next: whole cache lines where that wastes little, so that a row touches few.
    pub fn stride(&self) -> usize {
        match self.end {
            0..=2 => 2,
            3..=4 => 4,
            5..=8 => 8,
            more => more.next_multiple_of(4),
        }
    }
}

/// A row as packets hold it: good until the guard is dropped under which it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'g> {
    words: &'g [AtomicU64],
}

#[inline]
fn load(words: &[AtomicU64], at: usize) -> u64 {
    words.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
}

#[inline]
fn store(words: &[AtomicU64], at: usize, value: u64) {
    if let Some(word) = words.get(at) {
        word.store(value, Ordering::Relaxed);
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub entry: u32,
    pub action: u16,
    pub form: Form,
    pub stripe: u8,
}

impl<'g> Entry<'g> {
    /// A row.
    #[inline]
    pub fn new(words: &'g [AtomicU64]) -> Self {
        Self { words }
    }

    /// Where its words begin.
    #[inline]
    pub fn address(self) -> *const u64 {
        self.words.as_ptr().cast()
    }

    /// Writes a row that no packet can see yet; `timer` is its timeout, and when that starts.
    #[inline]
    pub fn write(
        self,
        shape: &Shape,
        header: Header,
        timer: (u64, Time),
        encoded: (&[u64], &[u64]),
        data: &[u64],
    ) {
        let form = match header.form {
            Form::Direct => 0,
            Form::Member => 1,
            Form::Group => 2,
            Form::OneShot => 3,
        };
        let first = u64::from(header.stripe) << 56
            | form << 48
            | u64::from(header.action) << 32
            | u64::from(header.entry);
        store(self.words, 0, first);
        if shape.timed {
            store(self.words, TIMEOUT, timer.0);
            store(self.words, START, timer.1.0);
        }
        let put = |at: usize, values: &[u64]| {
            let to = self.words.get(at..).unwrap_or_default();
            for (to, &value) in to.iter().zip(values) {
                to.store(value, Ordering::Relaxed);
            }
        };
        put(shape.key, encoded.0);
        if shape.masked {
            put(shape.mask, encoded.1);
        }
        put(shape.data, data);
    }

    /// Writes precedence and successor of a ternary row.
    pub fn write_order(self, shape: &Shape, priority: i32, sequence: u64) {
        if shape.ordered {
            store(self.words, shape.order, u64::from(priority.unsigned_abs()));
            store(self.words, shape.order + 1, sequence);
        }
    }

    /// The index names the row from now on.
    pub fn name(self) {
        self.set_header(load(self.words, 0) | NAMED);
    }

    /// The index names the row no more.
    pub fn unname(self) {
        self.set_header(load(self.words, 0) & !NAMED);
    }

    fn set_header(self, header: u64) {
        if let Some(word) = self.words.first() {
            word.store(header, Ordering::Release);
        }
    }

    /// The header.
    #[inline]
    pub fn header(self) -> Header {
        let first = load(self.words, 0);
        Header {
            entry: first as u32,
            action: (first >> 32) as u16,
            form: match (first >> 48) & 3 {
                0 => Form::Direct,
                1 => Form::Member,
                2 => Form::Group,
                _ => Form::OneShot,
            },
            stripe: (first >> 56) as u8,
        }
    }

    /// Whether the row's key is this one.
    #[inline]
    pub fn has_key(self, shape: &Shape, key: &[u64]) -> bool {
        let stored = self.words.get(shape.key..shape.key + shape.key_words);
        stored.is_some_and(|stored| {
            stored.len() == key.len()
                && stored
                    .iter()
                    .zip(key)
                    .all(|(stored, &key)| stored.load(Ordering::Relaxed) == key)
        })
    }

    /// Whether the row's value and a key agree under a mask.
    #[inline(always)]
    pub fn agrees(self, shape: &Shape, key: &[u64], mask: &[u64]) -> bool {
        let stored = self.words.get(shape.key..shape.key + key.len());
        let stored = stored.unwrap_or_default().iter();
        let words = stored.zip(key.iter().zip(mask));
        words.fold(0, |differs, (stored, (key, mask))| {
            differs | (stored.load(Ordering::Relaxed) ^ key) & mask
        }) == 0
    }

    /// Whether the row's own mask covers the key.
    #[inline]
    pub fn covers(self, shape: &Shape, key: &[u64]) -> bool {
        let stored = self.words.get(shape.key..shape.mask).unwrap_or_default();
        let masks = self.words.get(shape.mask..shape.order).unwrap_or_default();
        stored
            .iter()
            .zip(masks)
            .zip(key)
            .all(|((stored, mask), key)| {
                (stored.load(Ordering::Relaxed) ^ key) & mask.load(Ordering::Relaxed) == 0
            })
    }

    /// Word `i` of the value; the low end of ranges.
    #[inline]
    pub fn value(self, shape: &Shape, i: usize) -> u64 {
        load(self.words, shape.key + i)
    }

    /// Word `i` of the mask; the high end of ranges.
    #[inline]
    pub fn mask(self, shape: &Shape, i: usize) -> u64 {
        if shape.masked {
            load(self.words, shape.mask + i)
        } else {
            u64::MAX
        }
    }

    /// The match as it was encoded.
    pub fn encoded(self, shape: &Shape) -> Encoded {
        Encoded {
            value: (0..shape.key_words).map(|i| self.value(shape, i)).collect(),
            mask: (0..shape.key_words).map(|i| self.mask(shape, i)).collect(),
            priority: self.priority(shape),
        }
    }

    /// The priority; zero for keys without.
    #[inline]
    pub fn priority(self, shape: &Shape) -> i32 {
        if shape.ordered {
            load(self.words, shape.order) as i32
        } else {
            0
        }
    }

    /// When the entry was stored, in the order of all.
    pub fn sequence(self, shape: &Shape) -> u64 {
        load(self.words, shape.order + 1)
    }

    /// Whether the row wins against another: by priority, else by having been stored earlier.
    #[inline]
    pub fn precedes(self, shape: &Shape, other: Entry<'_>) -> bool {
        let (own, theirs) = (self.priority(shape), other.priority(shape));
        own > theirs || own == theirs && self.sequence(shape) < other.sequence(shape)
    }

    /// The row that follows in a chain of ternary rows.
    #[inline]
    pub fn next(self, shape: &Shape) -> Option<u32> {
        let word = self.words.get(shape.order + 2)?.load(Ordering::Acquire);
        (word as u32).checked_sub(1)
    }

    /// Sets the successor.
    pub fn set_next(self, shape: &Shape, next: Option<u32>) {
        if let Some(word) = self.words.get(shape.order + 2) {
            word.store(
                next.map_or(0, |next| u64::from(next) + 1),
                Ordering::Release,
            );
        }
    }

    /// The action data.
    #[inline]
    pub fn data(self, shape: &Shape) -> &'g [AtomicU64] {
        self.words.get(shape.data..shape.end).unwrap_or_default()
    }

    /// The timeout in nanoseconds; 0: never.
    #[inline]
    pub fn timeout(self, shape: &Shape) -> u64 {
        if shape.timed {
            load(self.words, TIMEOUT)
        } else {
            0
        }
    }

    /// Last hit, or last restart.
    #[inline]
    pub fn start(self, shape: &Shape) -> u64 {
        if shape.timed {
            load(self.words, START)
        } else {
            0
        }
    }

    /// When the entry is due, if ever: not where time itself ends before.
    #[inline]
    pub fn deadline(self, shape: &Shape) -> Option<u64> {
        match self.timeout(shape) {
            0 => None,
            timeout => self.start(shape).checked_add(timeout),
        }
    }

    /// Starts the timer anew. Entries that many packets hit at the same time are written once.
    #[inline]
    pub fn touch(self, shape: &Shape, now: Time) {
        if shape.timed && load(self.words, START) != now.0 {
            store(self.words, START, now.0);
        }
    }

    /// Starts the timer anew, unless it has run for so small a part of its time that nobody could tell: a row that
    /// packets hit often is then read by them and seldom written, and its cache line goes to memory less often.
    #[inline]
    pub fn refresh(self, shape: &Shape, now: Time) {
        let unseen = self.timeout(shape) >> UNSEEN;
        if now.0.saturating_sub(self.start(shape)) > unseen {
            self.touch(shape, now);
        }
    }

    /// Sets the timeout.
    pub fn set_timeout(self, shape: &Shape, timeout_ns: u64) {
        if shape.timed {
            store(self.words, TIMEOUT, timeout_ns);
        }
    }

    /// The row's first cache lines.
    #[inline(always)]
    pub fn lines(self, mut each: impl FnMut(*const u8)) {
        let words = [self.words.first(), self.words.get(8)];
        let lines = words.into_iter().flatten().map(std::ptr::from_ref);
        lines.for_each(|line| each(line.cast()));
    }

    /// Fetches the row's first cache lines.
    pub fn prefetch(self) {
        self.lines(super::words::prefetch_at);
    }
}
