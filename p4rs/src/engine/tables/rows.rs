//! Entries together with the index that finds them and the queue of their timers: what one lock protects.
//!
//! In: encoded matches and records. Out: record indices and views.
//! Invariant: index and store name the same entries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::super::Time;
use super::action::ActionPlan;
use super::entry::{ActionCall, EntryAction, EntryView};
use super::exact::{HashIndex, KeyHasher};
use super::key::{Encoded, KeyBytes, KeyClass, KeyPlan};
use super::lpm::LpmIndex;
use super::store::{Form, Parts, Record, Store};
use super::ternary::TernaryIndex;
use super::timer::TimerQueue;

#[derive(Debug)]
enum Index {
    Exact(HashIndex),
    Lpm(LpmIndex),
    Ternary(TernaryIndex),
}

/// Entries, index and timers.
#[derive(Debug)]
pub(crate) struct Rows {
    plan: Arc<KeyPlan>,
    hasher: KeyHasher,
    index: Index,
    sequence: u64,
    pub store: Store,
    pub queue: TimerQueue,
}

impl Rows {
    /// No entries yet.
    pub fn new(plan: Arc<KeyPlan>, hasher: KeyHasher, data_len: usize, parts: Parts) -> Self {
        let index = match plan.class {
            KeyClass::Keyless | KeyClass::Exact => Index::Exact(HashIndex::default()),
            KeyClass::Lpm(field) => Index::Lpm(LpmIndex::new(field, plan.len)),
            KeyClass::Ternary => Index::Ternary(TernaryIndex::default()),
        };
        let store = Store::new(plan.stored_len(), data_len, parts);
        Self {
            plan,
            hasher,
            index,
            sequence: 0,
            store,
            queue: TimerQueue::default(),
        }
    }

    /// The entry that a packet's key matches.
    pub fn lookup(&self, key: &[u8]) -> Option<u32> {
        match &self.index {
            Index::Exact(index) => {
                index.find(self.hasher.hash(key), |i| self.store.matched(i) == key)
            }
            Index::Lpm(index) => index.lookup(&self.store, &self.hasher, key),
            Index::Ternary(index) => index.lookup(&self.plan, &self.store, &self.hasher, key),
        }
    }

    /// The entry with this very match.
    pub fn find(&self, encoded: &Encoded) -> Option<u32> {
        match &self.index {
            Index::Exact(_) => self.lookup(&encoded.value),
            Index::Lpm(index) => index.find(&self.store, &self.hasher, encoded),
            Index::Ternary(index) => index.find(&self.plan, &self.store, &self.hasher, encoded),
        }
    }

    /// Adds an entry; the caller knows that none has this match.
    pub fn insert(&mut self, encoded: &Encoded, record: &Record<'_>) -> Option<u32> {
        let added = self.store.add(record)?;
        self.plan
            .store(encoded, self.sequence, self.store.matched_mut(added));
        self.sequence += 1;
        match &mut self.index {
            Index::Exact(index) => index.insert(self.hasher.hash(&encoded.value), added),
            Index::Lpm(index) => index.insert(&self.hasher, encoded, added),
            Index::Ternary(index) => index.insert(&self.plan, &self.hasher, encoded, added),
        }
        Some(added)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, entry: u32) {
        let encoded = self.encoded(entry);
        match &mut self.index {
            Index::Exact(index) => index.remove(self.hasher.hash(&encoded.value), entry),
            Index::Lpm(index) => index.remove(&self.hasher, &encoded, entry),
            Index::Ternary(index) => index.remove(&self.plan, &self.hasher, &encoded, entry),
        }
        self.store.remove(entry);
    }

    /// The stored match, encoded.
    fn encoded(&self, entry: u32) -> Encoded {
        let stored = self.store.matched(entry);
        let part = |at: usize, len: usize| {
            KeyBytes::from_slice(stored.get(at..at + len).unwrap_or_default())
        };
        let len = self.plan.len;
        let prefix = match (self.plan.class, stored.get(len..len + 2)) {
            (KeyClass::Lpm(_), Some(bytes)) => u16::from_be_bytes([bytes[0], bytes[1]]),
            _ => 0,
        };
        Encoded {
            value: part(0, len),
            mask: part(len, len),
            prefix,
            priority: self.plan.priority(stored),
        }
    }

    /// Indices of all entries, ascending.
    pub fn entries(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.store.end()).filter(|&entry| self.store.is_live(entry))
    }

    /// Takes every entry out, the program's const ones excepted.
    pub fn clear(&mut self) {
        let gone: Vec<u32> = self
            .entries()
            .filter(|&entry| !self.store.is_const(entry))
            .collect();
        if gone.len() as u64 == self.store.len() {
            self.store = self.store.emptied();
            self.queue.clear();
            match &mut self.index {
                Index::Exact(index) => index.clear(),
                Index::Lpm(index) => index.clear(),
                Index::Ternary(index) => index.clear(),
            }
            return;
        }
        gone.into_iter().for_each(|entry| self.remove(entry));
    }

    /// Priority of an entry, where the key has them.
    pub fn priority(&self, entry: u32) -> Option<i32> {
        (self.plan.class == KeyClass::Ternary)
            .then(|| self.plan.priority(self.store.matched(entry)))
    }

    /// Sets an entry's timeout, starts its timer and queues it.
    pub fn arm(&mut self, entry: u32, timeout_ns: u64, now: Time) {
        if let Some(timer) = self.store.timer(entry) {
            timer.timeout.store(timeout_ns, Ordering::Relaxed);
            timer.start.store(now.0, Ordering::Relaxed);
        }
        self.queue.schedule(&mut self.store, entry);
    }

    /// Whether the entry's time is over.
    pub fn is_expired(&self, entry: u32, now: Time) -> bool {
        self.store
            .timer(entry)
            .and_then(|timer| timer.deadline())
            .is_some_and(|deadline| deadline <= now.0)
    }

    /// Shows an entry.
    pub fn show(
        &self,
        actions: &[ActionPlan],
        entry: u32,
        now: Time,
        show: &mut dyn FnMut(&EntryView<'_>),
    ) {
        let store = &self.store;
        let stored = store.matched(entry);
        let fields = self.plan.decode(stored);
        let (form, action, data) = store.action(entry);
        let params: SmallVec<[&[u8]; 8]> = actions
            .get(usize::from(action))
            .map(|a| a.split(data))
            .unwrap_or_default();
        let id = data
            .get(..4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok())
            .map_or(0, u32::from_be_bytes);
        let timer = store
            .timer(entry)
            .filter(|timer| timer.timeout.load(Ordering::Relaxed) != 0);
        show(&EntryView {
            fields: &fields,
            priority: self.plan.priority(stored),
            action: match form {
                Form::Direct => EntryAction::Direct(ActionCall {
                    action: usize::from(action),
                    params: &params,
                }),
                Form::Member => EntryAction::Member(id),
                Form::Group => EntryAction::Group(id),
                Form::OneShot => EntryAction::OneShot(
                    store
                        .one_shots
                        .get(&entry)
                        .map(|set| set.actions())
                        .unwrap_or_default(),
                ),
            },
            metadata: store.metadata(entry),
            controller_metadata: store.controller_metadata(entry),
            idle_timeout_ns: timer.map_or(0, |timer| timer.timeout.load(Ordering::Relaxed)),
            since_last_hit_ns: timer
                .map(|timer| now.0.saturating_sub(timer.start.load(Ordering::Relaxed))),
            counter: store.counter(entry).map(|counter| counter.load()),
            meter: store.meters.get(&entry).map(|meter| meter.lock().config()),
            is_const: store.is_const(entry),
        });
    }
}
