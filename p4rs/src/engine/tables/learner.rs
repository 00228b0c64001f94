//! Learner tables: packets add entries themselves (`add_on_miss`), entries expire.
//!
//! In: exact keys, learned actions, expiry times. Out: lookups, counts of failures.
//! Invariants: an entry whose time is over is never hit, whether or not `expire` has run; the shards together
//! never hold more than the capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::super::Time;
use super::exact::KeyHasher;
use super::key::{Encoded, KeyBytes, KeyPlan};
use super::rows::Rows;
use super::store::{Form, Parts, Record};

/// Shards of one table.
const SHARDS: usize = 16;

/// The sharded entries.
#[derive(Debug)]
pub(crate) struct Learner {
    shards: Vec<Mutex<Rows>>,
    hasher: KeyHasher,
    count: AtomicU64,
    capacity: Option<u64>,
    failures: AtomicU64,
}

impl Learner {
    /// No entries yet.
    pub fn new(plan: &Arc<KeyPlan>, data_len: usize, parts: Parts, capacity: Option<u64>) -> Self {
        let hasher = KeyHasher::default();
        let rows = || {
            Rows::new(
                Arc::clone(plan),
                hasher.clone(),
                data_len,
                Parts {
                    timers: true,
                    ..parts
                },
            )
        };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(rows())).collect(),
            hasher: hasher.clone(),
            count: AtomicU64::new(0),
            capacity,
            failures: AtomicU64::new(0),
        }
    }

    /// Number of entries, those not yet removed after their time included.
    pub fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Failed additions.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// All shards, for reading in order.
    pub fn shards(&self) -> &[Mutex<Rows>] {
        &self.shards
    }

    /// The shard of a key, locked.
    pub fn shard(&self, key: &[u8]) -> MutexGuard<'_, Rows> {
        // The top bits: the index inside the shard takes the low ones.
        self.shards[(self.hasher.hash(key) >> 28) as usize % SHARDS].lock()
    }

    /// Takes one place; false when the table is full.
    pub fn reserve(&self) -> bool {
        let more = |count: u64| {
            self.capacity
                .is_none_or(|capacity| count < capacity)
                .then_some(count + 1)
        };
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Gives places back.
    pub fn release(&self, places: u64) {
        self.count.fetch_sub(places, Ordering::Relaxed);
    }

    /// Adds an entry, or replaces the one that has the key; false when there is no room.
    pub fn learn(&self, now: Time, key: &[u8], action: u16, data: &[u8], timeout_ns: u64) -> bool {
        let mut rows = self.shard(key);
        let record = Record {
            form: Form::Direct,
            action,
            data,
            metadata: &[],
            controller_metadata: 0,
            is_const: false,
        };
        let known = rows.lookup(key);
        let entry = match known {
            Some(entry) => {
                rows.store.replace(entry, &record);
                Some(entry)
            }
            None if self.reserve() => {
                let value = KeyBytes::from_slice(key);
                let encoded = Encoded {
                    mask: KeyBytes::new(),
                    value,
                    prefix: 0,
                    priority: 0,
                };
                let added = rows.insert(&encoded, &record);
                if added.is_none() {
                    self.release(1);
                }
                added
            }
            None => None,
        };
        match entry {
            Some(entry) => rows.arm(entry, timeout_ns, now),
            None => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        entry.is_some()
    }

    /// Starts the timer of the entry anew, with another timeout when one is given.
    pub fn restart(&self, now: Time, key: &[u8], timeout_ns: Option<u64>) {
        let mut rows = self.shard(key);
        let Some(entry) = rows.lookup(key) else {
            return;
        };
        match timeout_ns {
            Some(timeout) => rows.arm(entry, timeout, now),
            None => {
                if let Some(timer) = rows.store.timer(entry) {
                    timer.start.store(now.0, Ordering::Relaxed);
                }
            }
        }
    }

    /// Removes the entries whose time is over.
    pub fn expire(&self, now: Time) {
        for shard in &self.shards {
            let mut rows = shard.lock();
            let Rows { queue, store, .. } = &mut *rows;
            let due = queue.due(store, now.0);
            self.release(due.len() as u64);
            due.into_iter().for_each(|entry| rows.remove(entry));
        }
    }

    /// Removes every entry.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut rows = shard.lock();
            let before = rows.store.len();
            rows.clear();
            self.release(before - rows.store.len());
        }
    }
}
