//! Many new entries of a table at once, as numbers: how a control plane fills a table.
//!
//! In: entries that run one action, one number for each key field and parameter. Out: stored entries, and an error for
//! each that is refused. While one is stored the buckets of those behind it are fetched: an index of any size is mostly
//! not in the processor's cache. Invariant: the table is the same afterwards as if each had been inserted by itself, in
//! order.

use super::super::Time;
use super::TableError;
use super::action::{ActionPlan, DataWords, param_words};
use super::entry::MatchKind;
use super::epoch::{self, Guard};
use super::key::KeyClass;
use super::notes::Notes;
use super::stripe::{Draft, Ledger, MOST_ROWS};
use super::table::MatchTable;
use crate::ir::ActionScope;

/// Entries whose buckets are fetched together; packets that learn wait for no more than these.
const TOGETHER: usize = 32;

/// New entries of one table that run one action, with values of at most 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct NewRows<'a> {
    /// Index into the table's `actions`.
    pub action: usize,
    /// The first entry's key, one number per field in key order; then the second's.
    pub keys: &'a [u64],
    /// The first entry's arguments, one number per parameter; then the second's.
    pub params: &'a [u64],
    /// Opaque bytes of the control plane for each entry: there are as many entries as these.
    pub metadata: &'a [&'a [u8]],
}

impl NewRows<'_> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.metadata.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty()
    }
}

/// A value that needs more bits than there are.
fn is_too_wide(value: u64, width: u32) -> bool {
    width < 64 && value >> width != 0
}

/// The words of an action's arguments.
fn data_of(action: &ActionPlan, params: &[u64]) -> Result<DataWords, TableError> {
    let mut data = DataWords::new();
    for (param, (&width, &value)) in action.params.iter().zip(params).enumerate() {
        if is_too_wide(value, width) {
            return Err(TableError::ParamTooWide { param, width });
        }
        data.push(value);
        data.resize(data.len() + param_words(width) - 1, 0);
    }
    Ok(data)
}

/// One row on its way.
struct Row<'r> {
    key: &'r [u64],
    hash: u64,
    params: &'r [u64],
    metadata: &'r [u8],
}

impl MatchTable {
    /// Inserts entries one after the other and tells which were refused, by their position, in order.
    pub fn insert_rows(
        &self,
        now: Time,
        rows: &NewRows<'_>,
        refused: &mut dyn FnMut(usize, TableError),
    ) {
        let action = match self.action_of(rows) {
            Ok(action) => action,
            Err(error) => return (0..rows.len()).for_each(|at| refused(at, error)),
        };
        let (fields, params) = (self.plan.fields.len(), action.params.len());
        let words = self.plan.words();
        let guard = epoch::pin();
        let mut keys = vec![0; TOGETHER * words];
        let mut hashes = [0; TOGETHER];
        for first in (0..rows.len()).step_by(TOGETHER) {
            let end = rows.len().min(first + TOGETHER);
            let given = rows.keys[first * fields..end * fields].chunks_exact(fields);
            for ((values, key), hash) in given.zip(keys.chunks_exact_mut(words)).zip(&mut hashes) {
                self.pack_numbers(values, key);
                *hash = self.hash_key(key);
                self.prefetch_bucket(&guard, *hash);
            }
            let mut held = None;
            for at in first..end {
                let place = at - first;
                let row = Row {
                    key: &keys[place * words..][..words],
                    hash: hashes[place],
                    params: &rows.params[at * params..][..params],
                    metadata: rows.metadata[at],
                };
                let values = &rows.keys[at * fields..][..fields];
                let done = self.check_key(values).and_then(|()| {
                    let number = self.stripe(row.hash).number();
                    let ledger = match &mut held {
                        Some((of, ledger)) if *of == number => ledger,
                        other => {
                            // Never two at a time.
                            *other = None;
                            let ledger = self.stripe(row.hash).ledger.lock();
                            &mut other.insert((number, ledger)).1
                        }
                    };
                    self.insert_row(&guard, ledger, now, (rows.action, action), &row)
                });
                if let Err(error) = done {
                    refused(at, error);
                }
            }
        }
    }

    /// The action, where all entries together make sense.
    fn action_of(&self, rows: &NewRows<'_>) -> Result<&ActionPlan, TableError> {
        let inexact = |&(_, (kind, _)): &(usize, &(MatchKind, u32))| *kind != MatchKind::Exact;
        if self.config.const_entries {
            return Err(TableError::ReadOnly);
        }
        if self.plan.class == KeyClass::Keyless {
            return Err(TableError::Keyless);
        }
        if let Some((field, (expected, _))) = self.config.keys.iter().enumerate().find(inexact) {
            let expected = *expected;
            return Err(TableError::FieldKind { field, expected });
        }
        if self.config.profile.is_some() {
            return Err(TableError::ActionForm);
        }
        let action = rows.action;
        let plan = self.config.actions.get(action);
        let plan = plan.ok_or(TableError::NoSuchAction { action })?;
        if plan.scope == ActionScope::DefaultOnly {
            return Err(TableError::ActionScope { action });
        }
        let (expected, got) = (self.plan.fields.len(), rows.keys.len());
        if got != expected * rows.len() {
            return Err(TableError::FieldCount { expected, got });
        }
        let (expected, got) = (plan.params.len(), rows.params.len());
        if got != expected * rows.len() {
            return Err(TableError::ParamCount { expected, got });
        }
        Ok(plan)
    }

    /// Puts a key's numbers where its words have them. What a field has no room for is not in it.
    fn pack_numbers(&self, values: &[u64], key: &mut [u64]) {
        key.fill(0);
        for (field, &value) in self.plan.fields.iter().zip(values) {
            if !is_too_wide(value, field.width) {
                field.part.put([value], key);
            }
        }
    }

    fn check_key(&self, values: &[u64]) -> Result<(), TableError> {
        for (field, (plan, &value)) in self.plan.fields.iter().zip(values).enumerate() {
            let width = plan.width;
            if is_too_wide(value, width) {
                return Err(TableError::FieldTooWide { field, width });
            }
        }
        Ok(())
    }

    fn insert_row(
        &self,
        guard: &Guard,
        ledger: &mut Ledger,
        now: Time,
        (number, action): (usize, &ActionPlan),
        row: &Row<'_>,
    ) -> Result<(), TableError> {
        let stripe = self.stripe(row.hash);
        if stripe.lookup(guard, row.key, row.hash).is_some() {
            return Err(TableError::Exists);
        }
        if !self.reserve() {
            return Err(TableError::Full {
                capacity: self.config.capacity.unwrap_or(u64::from(MOST_ROWS)),
            });
        }
        let data = data_of(action, row.params).inspect_err(|_| self.release(1))?;
        let draft = Draft::direct(number as u16, &data, (0, Time(0)));
        let prepare = |ledger: &mut Ledger, entry| {
            let notes = Notes {
                metadata: row.metadata,
                ..Notes::default()
            };
            stripe.note(ledger, entry, notes);
            stripe.arm(ledger, entry, 0, now);
        };
        let added = stripe.insert_exact(guard, ledger, (row.key, row.hash), &draft, prepare);
        added.map(drop).ok_or_else(|| {
            self.release(1);
            TableError::Full {
                capacity: u64::from(MOST_ROWS),
            }
        })
    }
}
