//! A table as the packets of one batch use it, for those who look up without running a program.
//!
//! In: keys, learned actions. Out: which action each key runs. Invariant: as for packets, nothing is locked but a part
//! of a learner while it learns.

use std::sync::atomic::Ordering;

use super::super::Time;
use super::entry::TableError;
use super::epoch::{self, Guard};
use super::lookup::Query;
use super::stripe::Draft;
use super::table::MatchTable;

/// What a key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Position of the key in the batch.
    pub key: usize,
    /// Whether an entry matched; else the action is the default one.
    pub hit: bool,
    /// Index into the table's `actions`; `None` when an empty group was hit.
    pub action: Option<usize>,
    /// The lowest 64 bits of the action's first parameter, 0 without.
    pub first: u64,
}

/// One table, pinned: what it replaces meanwhile is not freed until this is dropped, so keep it for one batch only.
#[derive(Debug)]
pub struct Batch<'e> {
    table: &'e MatchTable,
    guard: Guard,
}

impl<'e> Batch<'e> {
    pub(crate) fn new(table: &'e MatchTable) -> Self {
        let guard = epoch::pin();
        Self { table, guard }
    }

    /// Appends a key to `keys`: one big-endian value per key field, selector keys left out.
    ///
    /// # Errors
    /// [`TableError::FieldCount`], [`TableError::FieldTooWide`].
    pub fn push_key(&self, fields: &[&[u8]], keys: &mut Vec<u64>) -> Result<(), TableError> {
        keys.extend(self.table.plan.key_of(fields)?);
        Ok(())
    }

    /// Looks up keys made by [`Batch::push_key`], all as if by a packet of 64 bytes with these packed selector keys.
    pub fn lookup(&self, now: Time, keys: &[u64], selector: &[u8], each: &mut dyn FnMut(Lookup)) {
        let query = Query {
            now,
            selector,
            bytes: 64,
        };
        let table = self.table;
        table.lookup_batch(&self.guard, keys, &query, |key, found| {
            let first = found.data.first();
            each(Lookup {
                key,
                hit: found.hit,
                action: found.action.map(usize::from),
                first: first.map_or(0, |word| word.load(Ordering::Relaxed)),
            });
        });
    }

    /// Learns an entry whose action's parameters have at most 64 bits each; false when there is no room, or the table
    /// is no learner.
    pub fn learn(
        &self,
        now: Time,
        key: &[u64],
        action: usize,
        params: &[u64],
        timeout_ns: u64,
    ) -> bool {
        let known = self.table.config.actions.get(action);
        let fits = known.is_some_and(|plan| {
            plan.params.len() == params.len() && plan.data_words() == params.len()
        });
        let hash = self.table.hash_key(key);
        let draft = Draft::direct(action as u16, params, (timeout_ns, now));
        key.len() == self.table.plan.words()
            && fits
            && self.table.learn(&self.guard, (key, hash), &draft).is_some()
    }
}
