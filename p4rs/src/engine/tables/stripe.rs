//! A part of a table: rows, the index that finds them, and what one writer at a time keeps about them.
//!
//! In: encoded matches, drafts of rows. Out: rows for packets, views for the control plane.
//!
//! Packets use the index and the rows and take no lock; whoever changes anything holds the ledger. A row's match and action are
//! never changed: a changed entry gets a new row, which takes the old one's place in the index by one store. An entry keeps
//! its number, and with it counters, meter, metadata and its place in the order of reading.
//! Invariant: index, rows and ledger name the same entries.

mod timers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::super::Time;
use super::super::externs::{CounterCells, Meter};
use super::action::ActionPlan;
use super::bucket::OVER;
use super::entry::{ActionCall, EntryAction, EntryView};
use super::epoch::Guard;
use super::exact::HashIndex;
use super::hasher::KeyHasher;
use super::key::{Encoded, KeyClass, KeyPlan, KeyWords};
use super::lpm::{Entries, LpmIndex};
use super::notes::Notes;
use super::rcu::Rcu;
use super::record::{Entry, Form, Header, Shape};
use super::recycle::Recycler;
use super::selector::OneShot;
use super::ternary::{Rows, TernaryIndex};
use super::timer::TimerQueue;
use super::words::{Cells, Words, prefetch_at};

#[derive(Debug)]
enum Index {
    /// A part of it for each stripe.
    Exact(Arc<HashIndex>),
    /// Names entries, not rows: one prefix stands in many places.
    Lpm(Box<LpmIndex>),
    Ternary(Box<TernaryIndex>),
}

/// What the rows of a table have besides themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub timers: bool,
    pub counters: bool,
    pub meters: bool,
    pub data_words: usize,
}

/// What the stripes of a table share: packets find entries without asking which stripe has them.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub plan: Arc<KeyPlan>,
    pub hasher: KeyHasher,
    pub shape: Shape,
    /// The index of exact keys.
    pub exact: Arc<HashIndex>,
    /// Row `n` of stripe `s` of `S` is row `n * S + s` here.
    pub rows: Arc<Words>,
    /// Number of stripes, a power of two.
    pub stripes: u32,
}

impl Store {
    /// Nothing stored yet.
    pub fn new(plan: Arc<KeyPlan>, parts: Parts, stripes: u32) -> Self {
        let shape = Shape::new(&plan, parts.timers, parts.data_words);
        Self {
            plan,
            hasher: KeyHasher::default(),
            exact: Arc::new(HashIndex::new(stripes.trailing_zeros())),
            rows: Arc::new(Words::growing(shape.stride())),
            shape,
            stripes,
        }
    }

    /// A row.
    #[inline(always)]
    pub fn row(&self, row: u32) -> Entry<'_> {
        Entry::new(self.rows.get(row).unwrap_or_default())
    }
}

/// A row to be written.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub form: Form,
    pub action: u16,
    pub data: &'a [u64],
    /// Timeout, and when its timer starts; 0 for none.
    pub timer: (u64, Time),
    pub one_shot: Option<&'a Arc<OneShot>>,
}

impl<'a> Draft<'a> {
    /// Of a row that says itself what to do; `timer` as above.
    #[inline]
    pub fn direct(action: u16, data: &'a [u64], timer: (u64, Time)) -> Self {
        Self {
            form: Form::Direct,
            action,
            data,
            timer,
            one_shot: None,
        }
    }
}

/// What the writer keeps.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Recycler,
    rows: Recycler,
    live: u64,
    sequence: u64,
    queue: TimerQueue,
    pub(super) long_metadata: FxHashMap<u32, Box<[u8]>>,
    pub(super) numbers: FxHashMap<u32, u64>,
    pub(super) consts: FxHashMap<u32, ()>,
}

impl Ledger {
    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// One above the highest entry number ever used.
    pub fn end(&self) -> u32 {
        self.entries.end()
    }

    /// Whether the program made the entry const.
    pub fn is_const(&self, entry: u32) -> bool {
        !self.consts.is_empty() && self.consts.contains_key(&entry)
    }
}

/// Entries, their index and their timers.
#[derive(Debug)]
pub(crate) struct Stripe {
    number: u8,
    store: Store,
    index: Index,
    /// By entry: live 1 │ bucket of the timer queue 31 │ row 32. Stays as it is until the number is used again.
    places: Words,
    /// By entry: length 1 │ bytes 15.
    pub(super) metadata: Words,
    /// By row.
    sets: Cells<Rcu<Arc<OneShot>>>,
    counters: Option<CounterCells>,
    meters: Option<Cells<Mutex<Option<Meter>>>>,
    pub ledger: Mutex<Ledger>,
}

/// Rows of a table: as many as an index can name.
pub(crate) const MOST_ROWS: u32 = OVER as u32 - 1;

const LIVE: u64 = 1 << 63;
const QUEUED: u64 = (1 << 31) - 1;

/// How the trie sees entries.
struct ByNumber<'a>(&'a Stripe);

impl Entries for ByNumber<'_> {
    #[inline]
    fn covers(&self, entry: u32, key: &[u64]) -> bool {
        self.0.entry(entry).covers(&self.0.store.shape, key)
    }

    fn matched(&self, entry: u32) -> Encoded {
        self.0.entry(entry).encoded(&self.0.store.shape)
    }

    #[inline]
    fn fetch_place(&self, entry: u32) {
        self.0.fetch_place(entry);
    }

    #[inline]
    fn fetch_row(&self, entry: u32) {
        self.0.entry(entry).prefetch();
    }
}

impl Stripe {
    /// No entries yet.
    pub fn new(number: u8, store: Store, parts: Parts) -> Self {
        let plan = &store.plan;
        let index = match plan.class {
            KeyClass::Keyless | KeyClass::Exact => Index::Exact(Arc::clone(&store.exact)),
            KeyClass::Lpm(field) => {
                let mut exact: KeyWords = smallvec::smallvec![0; plan.words()];
                for other in plan.layout.fields.iter().filter(|&&part| part != field) {
                    other.put(other.ones(), &mut exact);
                }
                Index::Lpm(Box::new(LpmIndex::new(field, exact)))
            }
            KeyClass::Ternary => Index::Ternary(Box::new(TernaryIndex::new(plan))),
        };
        Self {
            number,
            index,
            places: Words::new(1),
            metadata: Words::new(2),
            sets: Cells::default(),
            counters: parts.counters.then(CounterCells::default),
            meters: parts.meters.then(Cells::default),
            ledger: Mutex::default(),
            store,
        }
    }

    /// Its number among the table's stripes.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Which parts rows have.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.store.shape
    }

    fn place(&self, entry: u32) -> u64 {
        let place = self.places.get(entry).and_then(<[_]>::first);
        place.map_or(0, |place| place.load(Ordering::Acquire))
    }

    fn set_place(&self, entry: u32, place: u64) {
        if let Some(cell) = self.places.make(entry).first() {
            cell.store(place, Ordering::Release);
        }
    }

    /// The row of an entry.
    #[inline]
    pub fn entry(&self, entry: u32) -> Entry<'_> {
        self.row(self.place(entry) as u32)
    }

    #[inline]
    fn row(&self, row: u32) -> Entry<'_> {
        self.store.row(row)
    }

    fn all_rows(&self) -> Rows<'_> {
        Rows {
            words: &self.store.rows,
            shape: &self.store.shape,
        }
    }

    /// The row that a packet's key matches.
    #[inline]
    pub fn lookup<'g>(&'g self, guard: &Guard, key: &[u64], hash: u64) -> Option<Entry<'g>> {
        match &self.index {
            Index::Exact(index) => {
                let row = index.find(guard, hash, |row| {
                    self.row(row).has_key(&self.store.shape, key)
                })?;
                Some(self.row(row))
            }
            Index::Lpm(index) => {
                let entry = index.lookup(guard, &self.store.hasher, &ByNumber(self), key)?;
                Some(self.entry(entry))
            }
            Index::Ternary(index) => index.lookup(guard, &self.store.hasher, self.all_rows(), key),
        }
    }

    /// Where machine code finds the groups of ternary rows.
    pub fn tuples(&self) -> Option<*const u64> {
        match &self.index {
            Index::Ternary(index) => index.view(),
            Index::Exact(_) | Index::Lpm(_) => None,
        }
    }

    /// The rows that packets' keys match, where prefixes are looked up: side by side.
    pub fn lookup_prefixes<'g, 'k, const MANY: usize>(
        &'g self,
        guard: &Guard,
        keys: impl Iterator<Item = &'k [u64]> + Clone,
        rows: &mut [Option<Entry<'g>>; MANY],
    ) {
        let Index::Lpm(index) = &self.index else {
            return;
        };
        let mut found = [None; MANY];
        index.lookup_many(guard, &self.store.hasher, &ByNumber(self), keys, &mut found);
        *rows = found.map(|entry| Some(self.entry(entry?)));
    }

    /// Fetches what the lookup of a key will read first, where prefixes are looked up.
    pub fn prefetch(&self, key: &[u64]) {
        if let Index::Lpm(index) = &self.index {
            index.prefetch(key);
        }
    }

    /// The hash under which the index knows an exact key.
    fn hash(&self, encoded: &Encoded) -> u64 {
        self.store.hasher.hash(&encoded.value)
    }

    /// The entry with this very match. The caller holds the ledger.
    pub fn find(&self, guard: &Guard, encoded: &Encoded) -> Option<u32> {
        match &self.index {
            Index::Exact(_) => {
                let entry = self.lookup(guard, &encoded.value, self.hash(encoded))?;
                Some(entry.header().entry)
            }
            Index::Lpm(index) => index.find(guard, &self.store.hasher, &ByNumber(self), encoded),
            Index::Ternary(index) => {
                let (rows, plan) = (self.all_rows(), &self.store.plan);
                let row = index.find(guard, &self.store.hasher, rows, plan, encoded)?;
                Some(self.row(row).header().entry)
            }
        }
    }

    fn take_row(&self, ledger: &mut Ledger) -> Option<u32> {
        let own = ledger.rows.take()?;
        let row = self.row_number(own);
        let usable = row.filter(|&row| row < MOST_ROWS);
        if usable.is_none() {
            ledger.rows.give_unused(own);
        }
        usable
    }

    /// The table's number of a row of this stripe.
    fn row_number(&self, own: u32) -> Option<u32> {
        let row = own.checked_mul(self.store.stripes)?;
        row.checked_add(u32::from(self.number))
    }

    /// Fetches the memory of the entry that comes next.
    fn fetch_next(&self, ledger: &Ledger) {
        if let Some(row) = self.row_number(ledger.rows.next()) {
            self.row(row).prefetch();
        }
        self.fetch_place(ledger.entries.next());
    }

    fn fetch_place(&self, entry: u32) {
        if let Some([place, ..]) = self.places.get(entry) {
            prefetch_at(std::ptr::from_ref(place).cast());
        }
    }

    /// Gives up a row that the index names no more.
    fn give_row(&self, ledger: &mut Ledger, row: u32) {
        self.row(row).unname();
        ledger.rows.give(row / self.store.stripes);
    }

    /// A row with a match and an action; no packet sees it yet.
    #[inline(always)]
    fn write(
        &self,
        ledger: &mut Ledger,
        entry: u32,
        matched: (&[u64], &[u64]),
        draft: &Draft<'_>,
    ) -> Option<(u32, Entry<'_>)> {
        let row = self.take_row(ledger)?;
        let header = Header {
            entry,
            action: draft.action,
            form: draft.form,
            stripe: self.number,
        };
        let words = Entry::new(self.store.rows.make(row));
        let own = [u64::from(row)];
        let data = match draft.one_shot {
            Some(set) => {
                self.sets.make(row)?.put(Arc::clone(set));
                &own
            }
            None => {
                // The number of a row that had a set and is used again.
                if let Some(old) = self.sets.get(row) {
                    old.clear();
                }
                draft.data
            }
        };
        words.write(&self.store.shape, header, draft.timer, matched, data);
        Some((row, words))
    }

    /// Adds an entry; the caller knows that none has this match. `prepare` may set what belongs to the entry besides
    /// its row before packets can see it. `None` when there is no room.
    pub fn insert(
        &self,
        guard: &Guard,
        ledger: &mut Ledger,
        encoded: &Encoded,
        draft: &Draft<'_>,
        prepare: impl FnOnce(&mut Ledger, u32),
    ) -> Option<u32> {
        let hasher = &self.store.hasher;
        let index = match &self.index {
            Index::Exact(_) => {
                let key = (&*encoded.value, self.hash(encoded));
                let added = self.insert_exact(guard, ledger, key, draft, prepare)?;
                return Some(added.header().entry);
            }
            index => index,
        };
        let matched = (&*encoded.value, &*encoded.mask, encoded.priority);
        let (entry, row, _) = self.prepared(ledger, matched, draft, prepare)?;
        let added = match index {
            Index::Exact(_) => false,
            Index::Lpm(index) => index.insert(guard, hasher, &ByNumber(self), encoded, entry),
            Index::Ternary(index) => index.insert(
                guard,
                hasher,
                self.all_rows(),
                &self.store.plan,
                encoded,
                row,
            ),
        };
        if !added {
            self.forget(ledger, entry, row);
        }
        added.then_some(entry)
    }

    /// As [`insert`](Self::insert), for an exact key and its hash.
    pub fn insert_exact(
        &self,
        guard: &Guard,
        ledger: &mut Ledger,
        (key, hash): (&[u64], u64),
        draft: &Draft<'_>,
        prepare: impl FnOnce(&mut Ledger, u32),
    ) -> Option<Entry<'_>> {
        let Index::Exact(index) = &self.index else {
            return None;
        };
        let (entry, row, words) = self.prepared(ledger, (key, &[], 0), draft, prepare)?;
        let added = index.insert(guard, hash, row);
        if added {
            words.name();
        } else {
            self.forget(ledger, entry, row);
        }
        added.then_some(words)
    }

    /// A new entry and its row, whole but for the index, so that no packet finds it.
    #[inline(always)]
    fn prepared(
        &self,
        ledger: &mut Ledger,
        (value, mask, priority): (&[u64], &[u64], i32),
        draft: &Draft<'_>,
        prepare: impl FnOnce(&mut Ledger, u32),
    ) -> Option<(u32, u32, Entry<'_>)> {
        let entry = ledger.entries.take()?;
        let Some((row, words)) = self.write(ledger, entry, (value, mask), draft) else {
            ledger.entries.give_unused(entry);
            return None;
        };
        let shape = &self.store.shape;
        words.write_order(shape, priority, ledger.sequence);
        ledger.sequence += 1;
        if let Some(counters) = &self.counters {
            counters.store(entry, super::super::externs::CounterData::default());
        }
        let due = words.deadline(shape).map_or(0, |deadline| {
            let due = timers::bucket(deadline);
            ledger.queue.add(due, entry);
            due
        });
        self.set_place(entry, LIVE | u64::from(due) << 32 | u64::from(row));
        ledger.live += 1;
        self.fetch_next(ledger);
        prepare(ledger, entry);
        Some((entry, row, words))
    }

    /// Gives an entry another action, without a timeout. False when there is no room.
    pub fn replace(
        &self,
        guard: &Guard,
        ledger: &mut Ledger,
        entry: u32,
        draft: &Draft<'_>,
    ) -> bool {
        let place = self.place(entry);
        let old = self.row(place as u32);
        let encoded = old.encoded(&self.store.shape);
        let matched = (&*encoded.value, &*encoded.mask);
        let Some((row, new)) = self.write(ledger, entry, matched, draft) else {
            return false;
        };
        new.write_order(
            &self.store.shape,
            encoded.priority,
            old.sequence(&self.store.shape),
        );
        new.set_timeout(&self.store.shape, old.timeout(&self.store.shape));
        new.touch(&self.store.shape, Time(old.start(&self.store.shape)));
        let (before, after) = (place as u32, row);
        self.set_place(entry, place & !u64::from(u32::MAX) | u64::from(row));
        match &self.index {
            Index::Exact(index) => {
                index.replace(guard, self.hash(&encoded), before, after);
                new.name();
            }
            Index::Lpm(_) => {}
            Index::Ternary(index) => {
                let (rows, plan) = (self.all_rows(), &self.store.plan);
                index.replace(
                    guard,
                    &self.store.hasher,
                    rows,
                    plan,
                    &encoded,
                    (before, after),
                );
            }
        }
        self.give_row(ledger, before);
        true
    }

    /// Takes an entry out.
    pub fn remove(&self, guard: &Guard, ledger: &mut Ledger, entry: u32) {
        let place = self.place(entry);
        if place & LIVE == 0 {
            return;
        }
        let row = place as u32;
        let encoded = self.row(row).encoded(&self.store.shape);
        let hasher = &self.store.hasher;
        match &self.index {
            Index::Exact(index) => index.remove(guard, self.hash(&encoded), row),
            Index::Lpm(index) => index.remove(guard, hasher, &ByNumber(self), &encoded, entry),
            Index::Ternary(index) => {
                index.remove(
                    guard,
                    hasher,
                    self.all_rows(),
                    &self.store.plan,
                    &encoded,
                    row,
                );
            }
        }
        self.forget(ledger, entry, row);
    }

    /// Gives up the numbers of an entry that the index no longer names.
    fn forget(&self, ledger: &mut Ledger, entry: u32, row: u32) {
        self.set_place(entry, u64::from(row));
        self.note(ledger, entry, Notes::default());
        if let Some(meter) = self.meter(entry) {
            *meter.lock() = None;
        }
        ledger.live -= 1;
        self.give_row(ledger, row);
        ledger.entries.give(entry);
    }

    /// Numbers of all entries from one on, ascending. The caller holds the ledger.
    pub fn entries(&self, from: u32, end: u32) -> impl Iterator<Item = u32> + '_ {
        (from..end).filter(|&entry| self.place(entry) & LIVE != 0)
    }

    /// Takes every entry out, the program's const ones excepted; `each` sees them before.
    pub fn clear(&self, guard: &Guard, ledger: &mut Ledger, mut each: impl FnMut(u32)) {
        let all: Vec<u32> = self.entries(0, ledger.end()).collect();
        let whole = ledger.consts.is_empty();
        if let (true, Index::Exact(index)) = (whole, &self.index) {
            index.clear(guard, usize::from(self.number));
            ledger.queue.clear();
        }
        for entry in all {
            if ledger.is_const(entry) {
                continue;
            }
            each(entry);
            if whole && matches!(self.index, Index::Exact(_)) {
                self.forget(ledger, entry, self.place(entry) as u32);
            } else {
                self.remove(guard, ledger, entry);
            }
        }
    }

    /// The row's own action set.
    #[inline]
    pub fn one_shot<'g>(&'g self, guard: &'g Guard, row: Entry<'_>) -> Option<&'g OneShot> {
        let number = row.data(&self.store.shape).first()?.load(Ordering::Relaxed) as u32;
        self.sets.get(number)?.load(guard).map(|set| &**set)
    }

    /// The direct counters.
    pub fn counters(&self) -> Option<&CounterCells> {
        self.counters.as_ref()
    }

    /// The direct meter of an entry.
    pub fn meter(&self, entry: u32) -> Option<&Mutex<Option<Meter>>> {
        self.meters.as_ref()?.get(entry)
    }

    /// Configures the direct meter of an entry.
    pub fn set_meter(&self, entry: u32, meter: Option<Meter>) {
        if let Some(cell) = self.meters.as_ref().and_then(|meters| meters.make(entry)) {
            *cell.lock() = meter;
        }
    }

    /// Shows an entry. The caller holds the ledger.
    pub fn show(
        &self,
        guard: &Guard,
        ledger: &Ledger,
        actions: &[ActionPlan],
        entry: u32,
        now: Time,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) {
        let row = self.entry(entry);
        let encoded = row.encoded(&self.store.shape);
        let (value, mask) = (
            self.store.plan.unpack(&encoded.value),
            self.store.plan.unpack(&encoded.mask),
        );
        let fields = self.store.plan.decode(&value, &mask);
        let header = row.header();
        let data = row.data(&self.store.shape);
        let plan = actions.get(usize::from(header.action));
        let params = plan.map(|plan| plan.bytes(data)).unwrap_or_default();
        let params: SmallVec<[&[u8]; 8]> = params.iter().map(|param| &param[..]).collect();
        let id = data
            .first()
            .map_or(0, |word| (word.load(Ordering::Relaxed) >> 32) as u32);
        let short = self.short_metadata(entry);
        let timeout = row.timeout(&self.store.shape);
        show(&EntryView {
            fields: &fields,
            priority: encoded.priority,
            action: match header.form {
                Form::Direct => EntryAction::Direct(ActionCall {
                    action: usize::from(header.action),
                    params: &params,
                }),
                Form::Member => EntryAction::Member(id),
                Form::Group => EntryAction::Group(id),
                Form::OneShot => {
                    let set = self.one_shot(guard, row);
                    EntryAction::OneShot(set.map(OneShot::actions).unwrap_or_default())
                }
            },
            metadata: ledger
                .long_metadata
                .get(&entry)
                .map_or(&short, |long| &**long),
            controller_metadata: ledger.numbers.get(&entry).copied().unwrap_or(0),
            idle_timeout_ns: timeout,
            since_last_hit_ns: (timeout != 0)
                .then(|| now.0.saturating_sub(row.start(&self.store.shape))),
            counter: self.counters.as_ref().map(|counters| counters.load(entry)),
            meter: self
                .meter(entry)
                .and_then(|meter| meter.lock().as_ref().map(Meter::config)),
            is_const: ledger.is_const(entry),
        });
    }
}
