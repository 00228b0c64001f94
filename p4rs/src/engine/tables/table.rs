//! One table: checks what the control plane writes, answers what packets ask.
//!
//! In: entries, keys. Out: [`Found`] with the action data. Invariant: what is stored was checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::super::Time;
use super::super::externs::{Color, CounterData, Meter, MeterConfig, MeterUnit};
use super::action::{ActionPlan, DataBytes, OwnedAction, encode};
use super::entry::{
    Cursor, EntryAction, EntryView, FieldMatch, IdleTimeout, MatchKind, NewEntry, OwnedField,
    TableError,
};
use super::exact::KeyHasher;
use super::key::{Encoded, KeyClass, KeyPlan};
use super::learner::Learner;
use super::rows::Rows;
use super::selector::{Bound, Profile};
use super::store::{Form, Parts, Record};
use crate::ir::{Handle, Table};

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
}

/// A packet's question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub now: Time,
    /// Packed key.
    pub key: &'a [u8],
    /// Packed selector keys.
    pub selector: &'a [u8],
    /// Length of the packet.
    pub bytes: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub hit: bool,
    /// `None` for an empty group: nothing runs.
    pub action: Option<u16>,
    pub priority: Option<i32>,
    /// Verdict of the direct meter, on a hit of a table that has one.
    pub color: Option<Color>,
}

#[derive(Clone, Debug)]
struct DefaultAction {
    action: u16,
    data: DataBytes,
}

#[derive(Debug)]
enum Body {
    Plain(Box<RwLock<Rows>>),
    Learner(Learner),
}

/// A table with its entries.
#[derive(Debug)]
pub(crate) struct MatchTable {
    config: TableConfig,
    plan: Arc<KeyPlan>,
    body: Body,
    program_default: DefaultAction,
    default: RwLock<DefaultAction>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl MatchTable {
    /// An empty table. `None` when the key has two prefix fields, a learner's key is not exact, or the program's
    /// default action does not fit.
    pub fn new(config: TableConfig) -> Option<Self> {
        let plan = Arc::new(KeyPlan::new(&config.keys)?);
        let data_len = config
            .actions
            .iter()
            .map(ActionPlan::data_len)
            .max()
            .unwrap_or(0);
        let data_len = if config.profile.is_some() {
            4
        } else {
            data_len
        };
        let parts = Parts {
            counters: config.direct_counter,
            timers: config.idle_timeouts,
        };
        let body = if config.learner {
            if plan.class != KeyClass::Exact {
                return None;
            }
            Body::Learner(Learner::new(&plan, data_len, parts, config.capacity))
        } else {
            Body::Plain(Box::new(RwLock::new(Rows::new(
                Arc::clone(&plan),
                KeyHasher::default(),
                data_len,
                parts,
            ))))
        };
        let (action, params) = &config.default;
        let params: Vec<&[u8]> = params.iter().map(Vec::as_slice).collect();
        let call = super::ActionCall {
            action: *action,
            params: &params,
        };
        let default = DefaultAction {
            action: *action as u16,
            data: encode(&config.actions, call, true).ok()?,
        };
        Some(Self {
            plan,
            body,
            program_default: default.clone(),
            default: RwLock::new(default),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            config,
        })
    }

    /// Looks a packet's key up; the action's data is put into `data`.
    pub fn lookup(&self, query: &Query<'_>, data: &mut Vec<u8>) -> Found {
        data.clear();
        let found = match &self.body {
            Body::Plain(_) if self.plan.class == KeyClass::Keyless => None,
            Body::Plain(rows) => {
                let rows = rows.read();
                rows.lookup(query.key).map(|entry| {
                    if let Some(timer) = rows.store.timer(entry) {
                        timer.start.store(query.now.0, Ordering::Relaxed);
                    }
                    self.hit(&rows, entry, query, data)
                })
            }
            Body::Learner(learner) => {
                let rows = learner.shard(query.key);
                let live = rows
                    .lookup(query.key)
                    .filter(|&entry| !rows.is_expired(entry, query.now));
                live.map(|entry| self.hit(&rows, entry, query, data))
            }
        };
        if let Some(found) = found {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return found;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let default = self.default.read();
        data.extend_from_slice(&default.data);
        Found {
            hit: false,
            action: Some(default.action),
            priority: None,
            color: None,
        }
    }

    fn hit(&self, rows: &Rows, entry: u32, query: &Query<'_>, data: &mut Vec<u8>) -> Found {
        let (form, action, stored) = rows.store.action(entry);
        let action = match (form, &self.config.profile) {
            (Form::Direct, _) | (_, None) => {
                data.extend_from_slice(stored);
                Some(action)
            }
            (Form::OneShot, Some(profile)) => {
                let picked = rows
                    .store
                    .one_shots
                    .get(&entry)
                    .and_then(|set| set.pick(profile.hash(query.selector)));
                picked.map(|(action, stored)| {
                    data.extend_from_slice(stored);
                    action
                })
            }
            (_, Some(profile)) => profile.resolve(form, stored, profile.hash(query.selector), data),
        };
        if self.config.counts_hits
            && let Some(counter) = rows.store.counter(entry)
        {
            counter.count(query.bytes);
        }
        let color = self.config.direct_meter.map(|unit| {
            let amount = if unit == MeterUnit::Packets {
                1
            } else {
                query.bytes
            };
            rows.store.meters.get(&entry).map_or(Color::Green, |meter| {
                meter.lock().execute(query.now, amount)
            })
        });
        Found {
            hit: true,
            action,
            priority: rows.priority(entry),
            color,
        }
    }

    /// Counts a packet on the entry with this key: a `count()` called in an action.
    pub fn count(&self, key: &[u8], bytes: u64) {
        self.with_rows(key, |rows| {
            if let Some(counter) = rows.lookup(key).and_then(|entry| rows.store.counter(entry)) {
                counter.count(bytes);
            }
        });
    }

    /// Runs `use_rows` on the locked rows that hold the key.
    fn with_rows<T>(&self, key: &[u8], use_rows: impl FnOnce(&Rows) -> T) -> T {
        match &self.body {
            Body::Plain(rows) => use_rows(&rows.read()),
            Body::Learner(learner) => use_rows(&learner.shard(key)),
        }
    }

    fn with_rows_mut<T>(&self, key: &[u8], use_rows: impl FnOnce(&mut Rows) -> T) -> T {
        match &self.body {
            Body::Plain(rows) => use_rows(&mut rows.write()),
            Body::Learner(learner) => use_rows(&mut learner.shard(key)),
        }
    }

    /// The learner of an `add_on_miss` table.
    pub fn learner(&self) -> Option<&Learner> {
        match &self.body {
            Body::Learner(learner) => Some(learner),
            Body::Plain(_) => None,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        match &self.body {
            Body::Plain(rows) => rows.read().store.len(),
            Body::Learner(learner) => learner.len(),
        }
    }

    pub fn capacity(&self) -> Option<u64> {
        self.config.capacity
    }

    pub fn key_fields(&self) -> Vec<(MatchKind, u32)> {
        self.config.keys.clone()
    }

    pub fn lookups(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    /// Bytes of the packed key.
    pub fn key_len(&self) -> usize {
        self.plan.len
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

    fn unbind(&self, form: Form, data: &[u8]) {
        if let Some(profile) = &self.config.profile {
            profile.release(form, data);
        }
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
        self.with_rows_mut(&encoded.value, |rows| {
            if rows.find(&encoded).is_some() {
                return Err(TableError::Exists);
            }
            let full = TableError::Full {
                capacity: self.config.capacity.unwrap_or(u64::from(u32::MAX)),
            };
            let room = match &self.body {
                Body::Plain(_) => self
                    .config
                    .capacity
                    .is_none_or(|capacity| rows.store.len() < capacity),
                Body::Learner(learner) => learner.reserve(),
            };
            if !room {
                return Err(full);
            }
            let added = self.add(rows, now, &encoded, entry, is_const);
            if let (Err(_), Body::Learner(learner)) = (&added, &self.body) {
                learner.release(1);
            }
            added
        })
    }

    fn add(
        &self,
        rows: &mut Rows,
        now: Time,
        encoded: &Encoded,
        entry: &NewEntry<'_>,
        is_const: bool,
    ) -> Result<(), TableError> {
        let bound = self.bind(entry.action)?;
        let Some(index) = rows.insert(encoded, &record(entry, &bound, is_const)) else {
            self.unbind(bound.form, &bound.data);
            return Err(TableError::Full {
                capacity: u64::from(u32::MAX),
            });
        };
        finish(rows, now, index, entry, bound);
        Ok(())
    }

    pub fn modify(&self, now: Time, entry: &NewEntry<'_>) -> Result<(), TableError> {
        self.check(entry)?;
        let encoded = self.plan.encode(entry.fields, entry.priority)?;
        self.with_rows_mut(&encoded.value, |rows| {
            let index = rows.find(&encoded).ok_or(TableError::NotFound)?;
            if rows.store.is_const(index) || self.config.const_entries {
                return Err(TableError::ReadOnly);
            }
            let bound = self.bind(entry.action)?;
            let (form, _, data) = rows.store.action(index);
            self.unbind(form, data);
            rows.store.one_shots.remove(&index);
            rows.store.replace(index, &record(entry, &bound, false));
            finish(rows, now, index, entry, bound);
            Ok(())
        })
    }

    pub fn delete(&self, fields: &[FieldMatch<'_>], priority: i32) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        self.with_rows_mut(&encoded.value, |rows| {
            let index = rows.find(&encoded).ok_or(TableError::NotFound)?;
            if rows.store.is_const(index) || self.config.const_entries {
                return Err(TableError::ReadOnly);
            }
            let (form, _, data) = rows.store.action(index);
            self.unbind(form, data);
            rows.remove(index);
            if let Body::Learner(learner) = &self.body {
                learner.release(1);
            }
            Ok(())
        })
    }

    pub fn get(
        &self,
        now: Time,
        fields: &[FieldMatch<'_>],
        priority: i32,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        self.with_rows(&encoded.value, |rows| {
            let index = rows.find(&encoded).ok_or(TableError::NotFound)?;
            rows.show(&self.config.actions, index, now, show);
            Ok(())
        })
    }

    /// Shows up to `max` entries from the cursor on.
    pub fn read(
        &self,
        now: Time,
        cursor: Cursor,
        max: usize,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) -> Option<Cursor> {
        let mut left = max.max(1);
        let mut walk = |rows: &Rows, from: u32, live: &dyn Fn(u32) -> bool| {
            for entry in
                (from..rows.store.end()).filter(|&entry| rows.store.is_live(entry) && live(entry))
            {
                if left == 0 {
                    return Some(entry);
                }
                rows.show(&self.config.actions, entry, now, show);
                left -= 1;
            }
            None
        };
        match &self.body {
            Body::Plain(rows) => {
                walk(&rows.read(), cursor.0 as u32, &|_| true).map(|at| Cursor(u64::from(at)))
            }
            Body::Learner(learner) => {
                let (first, mut from) = ((cursor.0 >> 32) as usize, cursor.0 as u32);
                for (i, shard) in learner.shards().iter().enumerate().skip(first) {
                    let rows = shard.lock();
                    if let Some(at) = walk(&rows, from, &|entry| !rows.is_expired(entry, now)) {
                        return Some(Cursor((i as u64) << 32 | u64::from(at)));
                    }
                    from = 0;
                }
                None
            }
        }
    }

    pub fn clear(&self) {
        match &self.body {
            Body::Plain(rows) => {
                let mut rows = rows.write();
                if self.config.profile.is_some() {
                    for entry in rows.entries().filter(|&entry| !rows.store.is_const(entry)) {
                        let (form, _, data) = rows.store.action(entry);
                        self.unbind(form, data);
                    }
                }
                rows.clear();
            }
            Body::Learner(learner) => learner.clear(),
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
        *self.default.write() = DefaultAction {
            action: call.action as u16,
            data,
        };
        Ok(())
    }

    pub fn reset_default(&self) -> Result<(), TableError> {
        if self.config.const_default {
            return Err(TableError::ConstDefault);
        }
        *self.default.write() = self.program_default.clone();
        Ok(())
    }

    pub fn default_action(&self) -> OwnedAction {
        let default = self.default.read();
        let action = usize::from(default.action);
        let plan = self.config.actions.get(action);
        let params = plan
            .map(|a| a.split(&default.data).iter().map(|p| p.to_vec()).collect())
            .unwrap_or_default();
        OwnedAction::Direct { action, params }
    }

    pub fn set_counter(
        &self,
        fields: &[FieldMatch<'_>],
        priority: i32,
        data: CounterData,
    ) -> Result<(), TableError> {
        let encoded = self.plan.encode(fields, priority)?;
        self.with_rows(&encoded.value, |rows| {
            let index = rows.find(&encoded).ok_or(TableError::NotFound)?;
            rows.store
                .counter(index)
                .ok_or(TableError::NoDirectResource)?
                .store(data);
            Ok(())
        })
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
        self.with_rows_mut(&encoded.value, |rows| {
            let index = rows.find(&encoded).ok_or(TableError::NotFound)?;
            put_meter(rows, index, config);
            Ok(())
        })
    }

    /// Removes learned entries whose time is over, reports idle ones and starts their timers anew.
    pub fn tick(&self, now: Time, idle: &mut Vec<IdleTimeout>) {
        match &self.body {
            Body::Learner(learner) => learner.expire(now),
            Body::Plain(_) if !self.config.idle_timeouts => {}
            Body::Plain(rows) => {
                let mut rows = rows.write();
                let Rows { queue, store, .. } = &mut *rows;
                for entry in queue.due(store, now.0) {
                    rows.show(&self.config.actions, entry, now, &mut |view| {
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
                    });
                    if let Some(timer) = rows.store.timer(entry) {
                        timer.start.store(now.0, Ordering::Relaxed);
                    }
                    let Rows { queue, store, .. } = &mut *rows;
                    queue.schedule(store, entry);
                }
            }
        }
    }
}

fn record<'a>(entry: &NewEntry<'a>, bound: &'a Bound, is_const: bool) -> Record<'a> {
    Record {
        form: bound.form,
        action: bound.action,
        data: &bound.data,
        metadata: entry.metadata,
        controller_metadata: entry.controller_metadata,
        is_const,
    }
}

/// Writes the optional parts of a new or changed entry.
fn finish(rows: &mut Rows, now: Time, index: u32, entry: &NewEntry<'_>, bound: Bound) {
    if let Some(set) = bound.one_shot {
        rows.store.one_shots.insert(index, set);
    }
    if let (Some(data), Some(counter)) = (entry.counter, rows.store.counter(index)) {
        counter.store(data);
    }
    if entry.meter.is_some() {
        put_meter(rows, index, entry.meter);
    }
    rows.arm(index, entry.idle_timeout_ns, now);
}

fn put_meter(rows: &mut Rows, index: u32, config: Option<MeterConfig>) {
    match config {
        Some(config) => rows
            .store
            .meters
            .insert(index, Mutex::new(Meter::new(config))),
        None => rows.store.meters.remove(&index),
    };
}
