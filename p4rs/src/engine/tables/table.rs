//! One table: checks what the control plane writes and shows it what is stored.
//!
//! In: entries. Out: views, typed errors; [`super::lookup`] is the packet's side. Invariant: what is stored was checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::super::Time;
use super::super::externs::{CounterCells, CounterData, Meter, MeterConfig, MeterUnit};
use super::action::{ActionPlan, DataWords, OwnedAction, encode, shared};
use super::entry::{
    Cursor, EntryAction, EntryView, FieldMatch, IdleTimeout, MatchKind, NewEntry, OwnedField,
    TableError,
};
use super::epoch::{self, Guard};
use super::key::{Encoded, KeyClass, KeyPlan};
use super::notes::Notes;
use super::rcu::Rcu;
use super::record::Form;
use super::selector::{Bound, Profile};
use super::stripe::{Draft, Ledger, MOST_ROWS, Parts, Store, Stripe};
use crate::ir::{Handle, Table};

/// Parts of a learner table; packets that learn lock one of them.
const LEARNER_STRIPES: u8 = 32;
/// Entries that a tick looks at before it lets packets learn again.
const TICK: usize = 256;

/// What the program says about a table.
#[derive(Debug)]
pub(crate) struct TableConfig {
    pub handle: Handle<Table>,
    pub keys: Vec<(MatchKind, u32)>,
    pub actions: Vec<ActionPlan>,
    pub default: (usize, Vec<Vec<u8>>),
    pub const_default: bool,
    pub const_entries: bool,
    pub capacity: Option<u64>,
    pub idle_timeouts: bool,
    pub learner: bool,
    pub direct_counter: bool,
    /// The direct counter counts each hit by itself (v1model).
    pub counts_hits: bool,
    pub direct_meter: Option<MeterUnit>,
    pub profile: Option<Arc<Profile>>,
    /// Cache lines of rows from which on caches do not hold the table.
    pub far_lines: u64,
}

/// A default action as packets run it.
#[derive(Debug)]
pub(super) struct DefaultAction {
    pub action: u16,
    pub data: Box<[AtomicU64]>,
    /// Where the data begins.
    pub at: AtomicPtr<AtomicU64>,
}

impl DefaultAction {
    fn new(action: u16, data: &[u64]) -> Self {
        let data = shared(data);
        let at = AtomicPtr::new(data.as_ptr().cast_mut());
        Self { action, data, at }
    }
}

/// A table with its entries.
#[derive(Debug)]
pub(crate) struct MatchTable {
    pub(super) config: TableConfig,
    pub(super) plan: Arc<KeyPlan>,
    pub(super) store: Store,
    /// One, or several of a learner.
    pub(super) stripes: Box<[Stripe]>,
    program_default: (u16, DataWords),
    pub(super) default: Rcu<DefaultAction>,
    /// Orders those who change the default action.
    set_default: Mutex<()>,
    /// Packets that hit and that missed.
    pub(super) applied: CounterCells,
    /// Entries of all stripes.
    pub(super) count: AtomicU64,
    pub(super) failures: AtomicU64,
    /// Entries from which on caches do not hold the table.
    pub(super) far_from: u64,
}

impl MatchTable {
    /// An empty table. `None` when the key has two prefix fields, a learner's key is not exact, or the program's
    /// default action does not fit.
    pub fn new(config: TableConfig) -> Option<Self> {
        let plan = Arc::new(KeyPlan::new(&config.keys)?);
        if config.learner && plan.class != KeyClass::Exact {
            return None;
        }
        let data_words = config.actions.iter().map(ActionPlan::data_words).max();
        let parts = Parts {
            counters: config.direct_counter,
            meters: config.direct_meter.is_some(),
            timers: config.idle_timeouts || config.learner,
            data_words: match &config.profile {
                Some(_) => 1,
                None => data_words.unwrap_or(0),
            },
        };
        let stripes = if config.learner { LEARNER_STRIPES } else { 1 };
        let store = Store::new(Arc::clone(&plan), parts, u32::from(stripes));
        let stripe = |number| Stripe::new(number, store.clone(), parts);
        let stripes = (0..stripes).map(stripe).collect();
        let (action, params) = &config.default;
        let params: Vec<&[u8]> = params.iter().map(Vec::as_slice).collect();
        let call = super::ActionCall {
            action: *action,
            params: &params,
        };
        let program_default = (*action as u16, encode(&config.actions, call, true).ok()?);
        let default = DefaultAction::new(program_default.0, &program_default.1);
        let lines = store.shape.stride().div_ceil(8) as u64;
        Some(Self {
            far_from: config.far_lines / lines.max(1),
            store,
            stripes,
            program_default,
            default: Rcu::new(default),
            set_default: Mutex::default(),
            applied: CounterCells::default(),
            count: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            config,
            plan,
        })
    }

    /// The stripe that has or would have a match, locked for changes.
    fn write(&self, encoded: &Encoded) -> (&Stripe, MutexGuard<'_, Ledger>) {
        let stripe = self.stripe(self.hash_key(&encoded.value));
        (stripe, stripe.ledger.lock())
    }

    /// Number of entries; of a learner, those not yet removed after their time included.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn capacity(&self) -> Option<u64> {
        self.config.capacity
    }

    pub fn key_fields(&self) -> Vec<(MatchKind, u32)> {
        self.config.keys.clone()
    }

    pub fn lookups(&self) -> (u64, u64) {
        (self.applied.load(0).packets, self.applied.load(1).packets)
    }

    fn bind(&self, action: EntryAction<'_>) -> Result<Bound, TableError> {
        match (&self.config.profile, action) {
            (Some(profile), action) => profile.bind(action),
            (None, EntryAction::Direct(call)) => Ok(Bound {
                form: Form::Direct,
                action: call.action as u16,
                data: encode(&self.config.actions, call, false)?,
                one_shot: None,
            }),
            (None, _) => Err(TableError::ActionForm),
        }
    }

    fn unbind(&self, form: Form, data: u64) {
        if let Some(profile) = &self.config.profile {
            profile.release(form, data);
        }
    }

    /// Gives back what an entry uses of the profile.
    fn unbind_entry(&self, stripe: &Stripe, entry: u32) {
        let row = stripe.entry(entry);
        let reference = row.data(stripe.shape()).first();
        let reference = reference.map_or(0, |word| word.load(Ordering::Relaxed));
        self.unbind(row.header().form, reference);
    }

    fn check(&self, entry: &NewEntry<'_>) -> Result<(), TableError> {
        let timers = self.config.idle_timeouts || self.config.learner;
        if entry.idle_timeout_ns != 0 && !timers {
            return Err(TableError::IdleTimeout);
        }
        let no_counter = entry.counter.is_some() && !self.config.direct_counter;
        let no_meter = entry.meter.is_some() && self.config.direct_meter.is_none();
        if no_counter || no_meter {
            Err(TableError::NoDirectResource)
        } else {
            Ok(())
        }
    }

    pub fn insert(&self, now: Time, entry: &NewEntry<'_>) -> Result<(), TableError> {
        if self.config.const_entries {
            return Err(TableError::ReadOnly);
        }
        self.insert_from(now, entry, false)
    }

    /// Adds an entry of the program.
    pub fn insert_from(
        &self,
        now: Time,
        entry: &NewEntry<'_>,
        is_const: bool,
    ) -> Result<(), TableError> {
        if self.plan.class == KeyClass::Keyless {
            return Err(TableError::Keyless);
        }
        self.check(entry)?;
        let encoded = self.plan.encode(entry.fields, entry.priority)?;
        let guard = epoch::pin();
        let (stripe, mut ledger) = self.write(&encoded);
        if stripe.find(&guard, &encoded).is_some() {
            return Err(TableError::Exists);
        }
        if !self.reserve() {
            return Err(TableError::Full {
                capacity: self.config.capacity.unwrap_or(u64::from(MOST_ROWS)),
            });
        }
        let bound = self.bind(entry.action).inspect_err(|_| self.release(1))?;
        let prepare = |ledger: &mut Ledger, number| {
            finish(stripe, ledger, now, number, entry, is_const);
        };
        let added = stripe.insert(&guard, &mut ledger, &encoded, &draft(&bound), prepare);
        if added.is_none() {
            self.release(1);
            self.unbind(bound.form, bound.data.first().copied().unwrap_or(0));
            return Err(TableError::Full {
                capacity: u64::from(MOST_ROWS),
            });
        }
        Ok(())
    }

    /// The entry with this match, which may be changed.
    fn find_mutable(
        &self,
        guard: &Guard,
        stripe: &Stripe,
        ledger: &Ledger,
        encoded: &Encoded,
    ) -> Result<u32, TableError> {
        let entry = stripe.find(guard, encoded).ok_or(TableError::NotFound)?;
        if ledger.is_const(entry) || self.config.const_entries {
            return Err(TableError::ReadOnly);
        }
        Ok(entry)
    }

    pub fn modify(&self, now: Time, entry: &NewEntry<'_>) -> Result<(), TableError> {
        self.check(entry)?;
        let encoded = self.plan.encode(entry.fields, entry.priority)?;
        let guard = epoch::pin();
        let (stripe, mut ledger) = self.write(&encoded);
        let known = self.find_mutable(&guard, stripe, &ledger, &encoded)?;
        let bound = self.bind(entry.action)?;
        let old = stripe.entry(known);
        if !stripe.replace(&guard, &mut ledger, known, &draft(&bound)) {
            self.unbind(bound.form, bound.data.first().copied().unwrap_or(0));
            return Err(TableError::Full {
                capacity: u64::from(MOST_ROWS),
            });
        }
        let used = old.data(stripe.shape()).first();
        self.unbind(
            old.header().form,
            used.map_or(0, |word| word.load(Ordering::Relaxed)),
        );
        finish(stripe, &mut ledger, now, known, entry, false);
        Ok(())
    }

    pub fn delete(&self, fields: &[FieldMatch<'_>], priority: i32) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        let guard = epoch::pin();
        let (stripe, mut ledger) = self.write(&encoded);
        let known = self.find_mutable(&guard, stripe, &ledger, &encoded)?;
        self.unbind_entry(stripe, known);
        stripe.remove(&guard, &mut ledger, known);
        self.release(1);
        Ok(())
    }

    pub fn get(
        &self,
        now: Time,
        fields: &[FieldMatch<'_>],
        priority: i32,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        let guard = epoch::pin();
        let (stripe, ledger) = self.write(&encoded);
        let entry = stripe.find(&guard, &encoded).ok_or(TableError::NotFound)?;
        stripe.show(&guard, &ledger, &self.config.actions, entry, now, show);
        Ok(())
    }

    /// Shows up to `max` entries from the cursor on.
    pub fn read(
        &self,
        now: Time,
        cursor: Cursor,
        max: usize,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Option<Cursor> {
        let guard = epoch::pin();
        let mut left = max.max(1);
        let (first, mut from) = ((cursor.0 >> 32) as usize, cursor.0 as u32);
        for (i, stripe) in self.stripes.iter().enumerate().skip(first) {
            let ledger = stripe.ledger.lock();
            for entry in stripe.entries(from, ledger.end()) {
                if self.config.learner && stripe.is_expired(stripe.entry(entry), now) {
                    continue;
                }
                if left == 0 {
                    return Some(Cursor((i as u64) << 32 | u64::from(entry)));
                }
                stripe.show(&guard, &ledger, &self.config.actions, entry, now, show);
                left -= 1;
            }
            from = 0;
        }
        None
    }

    pub fn clear(&self) {
        let guard = epoch::pin();
        for stripe in &self.stripes {
            let mut ledger = stripe.ledger.lock();
            let before = ledger.len();
            stripe.clear(&guard, &mut ledger, |entry| {
                if self.config.profile.is_some() {
                    self.unbind_entry(stripe, entry);
                }
            });
            self.release(before - ledger.len());
        }
    }

    pub fn set_default(&self, action: EntryAction<'_>) -> Result<(), TableError> {
        if self.config.const_default {
            return Err(TableError::ConstDefault);
        }
        let EntryAction::Direct(call) = action else {
            return Err(TableError::ActionForm);
        };
        let data = encode(&self.config.actions, call, true)?;
        self.put_default(call.action as u16, &data);
        Ok(())
    }

    fn put_default(&self, action: u16, data: &[u64]) {
        let _one = self.set_default.lock();
        self.default.put(DefaultAction::new(action, data));
    }

    pub fn reset_default(&self) -> Result<(), TableError> {
        if self.config.const_default {
            return Err(TableError::ConstDefault);
        }
        let (action, data) = &self.program_default;
        self.put_default(*action, data);
        Ok(())
    }

    pub fn default_action(&self) -> OwnedAction {
        let guard = epoch::pin();
        let default = self.default.load(&guard);
        let action = default.map_or(self.program_default.0, |default| default.action);
        let data = default.map(|default| &*default.data).unwrap_or_default();
        let plan = self.config.actions.get(usize::from(action));
        let params = plan.map(|plan| plan.bytes(data)).unwrap_or_default();
        OwnedAction::Direct {
            action: usize::from(action),
            params: params.iter().map(|param| param.to_vec()).collect(),
        }
    }

    pub fn set_counter(
        &self,
        fields: &[FieldMatch<'_>],
        priority: i32,
        data: CounterData,
    ) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        let guard = epoch::pin();
        let (stripe, _ledger) = self.write(&encoded);
        let entry = stripe.find(&guard, &encoded).ok_or(TableError::NotFound)?;
        let counters = stripe.counters().ok_or(TableError::NoDirectResource)?;
        counters.store(entry, data);
        Ok(())
    }

    pub fn set_meter(
        &self,
        fields: &[FieldMatch<'_>],
        priority: i32,
        config: Option<MeterConfig>,
    ) -> Result<(), TableError> {
        if self.config.direct_meter.is_none() {
            return Err(TableError::NoDirectResource);
        }
        let encoded = self.plan.encode(fields, priority)?;
        let guard = epoch::pin();
        let (stripe, _ledger) = self.write(&encoded);
        let entry = stripe.find(&guard, &encoded).ok_or(TableError::NotFound)?;
        stripe.set_meter(entry, config.map(Meter::new));
        Ok(())
    }

    /// Removes learned entries whose time is over, reports idle ones and starts their timers anew. Packets that look
    /// something up never wait for it; those that learn wait for a few hundred entries at most.
    pub fn tick(&self, now: Time, idle: &mut Vec<IdleTimeout>) {
        if !self.config.learner && !self.config.idle_timeouts {
            return;
        }
        for stripe in &self.stripes {
            let mut more = true;
            while more {
                let guard = epoch::pin();
                let mut ledger = stripe.ledger.lock();
                let due;
                (due, more) = stripe.due(&mut ledger, now, TICK);
                for entry in due {
                    if self.config.learner {
                        stripe.remove(&guard, &mut ledger, entry);
                        self.release(1);
                    } else {
                        self.report(&guard, stripe, &ledger, entry, now, idle);
                        stripe.entry(entry).touch(stripe.shape(), now);
                        stripe.schedule(&mut ledger, entry);
                    }
                }
            }
        }
    }

    fn report(
        &self,
        guard: &Guard,
        stripe: &Stripe,
        ledger: &Ledger,
        entry: u32,
        now: Time,
        idle: &mut Vec<IdleTimeout>,
    ) {
        stripe.show(
            guard,
            ledger,
            &self.config.actions,
            entry,
            now,
            &mut |view| {
                idle.push(IdleTimeout {
                    table: self.config.handle,
                    fields: view
                        .fields
                        .iter()
                        .map(|&field| OwnedField::from(field))
                        .collect(),
                    priority: view.priority,
                    idle_timeout_ns: view.idle_timeout_ns,
                    metadata: view.metadata.to_vec(),
                    controller_metadata: view.controller_metadata,
                });
            },
        );
    }
}

fn draft(bound: &Bound) -> Draft<'_> {
    Draft {
        form: bound.form,
        action: bound.action,
        data: &bound.data,
        timer: (0, Time(0)),
        one_shot: bound.one_shot.as_ref(),
    }
}

/// Writes what belongs to a new or changed entry besides its row.
fn finish(
    stripe: &Stripe,
    ledger: &mut Ledger,
    now: Time,
    number: u32,
    entry: &NewEntry<'_>,
    is_const: bool,
) {
    let notes = Notes {
        metadata: entry.metadata,
        controller_metadata: entry.controller_metadata,
        is_const,
    };
    stripe.note(ledger, number, notes);
    if let (Some(data), Some(counters)) = (entry.counter, stripe.counters()) {
        counters.store(number, data);
    }
    if entry.meter.is_some() {
        stripe.set_meter(number, entry.meter.map(Meter::new));
    }
    stripe.arm(ledger, number, entry.idle_timeout_ns, now);
}
