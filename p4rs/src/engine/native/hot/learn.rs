//! Entries that a usual way adds: put together where the program adds them, and added at the way's end.
//!
//! In: `add_entry` in what a table does with a key that it has not found. Out: the entry with its key, its data and its time.
//! Invariant: nothing on the way asks the table again once an entry is to be added to it.

use cranelift_codegen::ir::Value;

use super::super::super::interp::code::{Extern, Operand, Prim, Stmt};
use super::super::Unsupported;
use super::super::build::Build;
use super::super::runtime;
use super::Later;

/// A key that machine code has looked for in a table, and not found.
#[derive(Clone, Debug)]
pub(in super::super) struct Missed {
    pub table: u32,
    pub key: Vec<Value>,
    pub hash: Value,
}

/// An entry that is to be added.
#[derive(Clone, Debug)]
pub(super) struct Learned {
    pub missed: Missed,
    action: u16,
    data: Vec<Value>,
    timeout: Value,
}

impl Build<'_, '_> {
    /// The entry that a statement adds on a usual way, where it does no more than that.
    pub fn hot_learn(&mut self, stmt: &Stmt) -> Option<Result<(), Unsupported>> {
        let Stmt::Prim(prim) = stmt else {
            return None;
        };
        let Prim::Extern(Extern::AddEntry {
            action,
            data,
            profile,
        }) = &**prim
        else {
            return None;
        };
        let missed = self.hot.as_ref()?.missed.clone();
        let missed = missed.filter(|missed| Some(missed.table) == self.acting);
        let Some(missed) = missed else {
            self.begin_anew();
            return Some(Ok(()));
        };
        let words = self.words_of(data);
        let timeout = words.and_then(|words| {
            let profile = self.index(profile)?;
            Ok((words, self.expire_time(profile)))
        });
        Some(timeout.map(|(data, timeout)| {
            let Some(hot) = &mut self.hot else {
                return;
            };
            let at = hot.learned.len();
            hot.learned.push(Learned {
                missed,
                action: *action,
                data,
                timeout,
            });
            self.leave_for_later(Later::Learned { at });
        }))
    }

    /// Action data as words.
    pub fn words_of(&mut self, data: &[(Operand, u32)]) -> Result<Vec<Value>, Unsupported> {
        let mut words = Vec::new();
        for (operand, width) in data {
            let value = self.scalar_operand(operand)?;
            let (low, high) = self.halves(value);
            words.push(low);
            if *width > 64 {
                words.push(high);
            }
        }
        Ok(words)
    }

    /// Whether an entry is to be added to a table at the end of this way.
    pub(super) fn is_to_learn(&self, table: u32) -> bool {
        let learned = self.hot.as_ref().map_or(&[][..], |hot| &hot.learned);
        let is_there = |at: usize| learned.get(at).is_some_and(|it| it.missed.table == table);
        let left = self.left();
        let mut left = left.iter();
        left.any(|what| matches!(what, Later::Learned { at } if is_there(*at)))
    }

    /// Adds an entry.
    pub(super) fn add_learned(&mut self, at: usize) -> Result<(), Unsupported> {
        let learned = self.hot.as_ref().and_then(|hot| hot.learned.get(at));
        let Some(Learned {
            missed,
            action,
            data,
            timeout,
        }) = learned.cloned()
        else {
            return Ok(());
        };
        let table = self.machine.tables.get(missed.table as usize);
        let table = table.ok_or(Unsupported("an entry of no table"))?;
        let shape = runtime::shape(missed.key.len(), data.len(), action);
        let shape = shape.ok_or(Unsupported("an entry of this size"))?;
        let words: Vec<Value> = missed.key.iter().chain(&data).copied().collect();
        let words = self.in_memory(&words);
        let table = self.iconst(std::ptr::from_ref(table) as u64);
        let shape = self.iconst(shape);
        let args = [self.context, table, words, shape, missed.hash, timeout];
        let function = runtime::learn_missed as *const u8 as u64;
        self.call_at(function, &args, None);
        Ok(())
    }
}
