//! Machine code of table application: the key, the lookup, the action.
//!
//! In: a table's number. Out: whether it was hit and which action ran. Invariant: the key has the layout of the
//! table's own plan.

use cranelift_codegen::ir::{Inst, InstBuilder, MemFlagsData, Signature, Value, types};
use std::mem::offset_of;

use super::super::interp::code::TableCode;
use super::Unsupported;
use super::build::{Build, Val, signature};
use super::cut::Cut;
use super::runtime::{self, Context};
use super::support;

impl Build<'_, '_> {
    /// Applies a table: not zero on a hit, and the action's index or [`super::runtime::NO_ACTION`].
    pub fn apply(&mut self, index: u32) -> Result<(Value, Value), Unsupported> {
        let code = self.code;
        let Some(Some(table)) = code.tables.get(index as usize) else {
            return Err(Unsupported("a table"));
        };
        let number = self.iconst(u64::from(index));
        if !support::table(table) {
            self.keep_cursor();
            self.interpreted_tables = true;
            let call = self
                .b
                .ins()
                .call(self.imports.apply, &[self.context, number]);
            let status = self.b.inst_results(call)[0];
            self.check(status);
            let found = self.load_context(types::I64, offset_of!(Context, scalar));
            return Ok(self.halves_of(found));
        }
        let key = self.key(index, table)?;
        let call = match self.quick(index) {
            Some((address, words, function)) => {
                let cut = self.cut(index);
                let place = self.place_of(words, cut, index)?;
                self.call_table(function, address, key, place)
            }
            None => {
                let (selector, len) = self.selector(table)?;
                let args = [self.context, number, key, selector, len];
                self.b.ins().call(self.imports.lookup, &args)
            }
        };
        let found = self.b.inst_results(call)[0];
        let (hit, action) = self.halves_of(found);
        self.acting = Some(index);
        let done = self.run_action(table, action);
        self.acting = None;
        done?;
        Ok((hit, action))
    }

    /// Calls a function that was made for a table's keys.
    pub fn call_table(&mut self, function: u64, table: u64, key: Value, place: Value) -> Inst {
        let mut called = Signature::new(self.b.func.signature.call_conv);
        signature(&mut called, 4, Some(types::I64));
        let called = self.b.import_signature(called);
        let [function, table] = [function, table].map(|word| self.iconst(word));
        let args = [self.context, table, key, place];
        self.b.ins().call_indirect(called, function, &args)
    }

    /// The cut before a lookup: packets that run side by side may wait there. None in a stretch, or where a loop leads
    /// here again.
    fn cut(&mut self, index: u32) -> Option<Cut> {
        let table = self.machine.tables.get(index as usize)?;
        if self.in_stretch || table.plain_words().is_none() {
            return None;
        }
        let cut = self.next_cut();
        self.side_by_side &= cut.is_some() || !table.is_learner();
        if cut.is_some() && !self.cuts.contains(&index) {
            self.cuts.push(index);
        }
        cut
    }

    /// What a lookup is told beside its key.
    pub fn place_of(
        &mut self,
        words: usize,
        cut: Option<Cut>,
        index: u32,
    ) -> Result<Value, Unsupported> {
        let place = runtime::place(words, index).ok_or(Unsupported("a key"))?;
        let place = self.iconst(place);
        if let Some(cut) = cut {
            self.places.mark(place, cut, runtime::CUT_SHIFT);
        }
        Ok(place)
    }

    /// A table of which packets need no more than the entry: its address, words of its key, address of its lookup.
    fn quick(&self, index: u32) -> Option<(u64, usize, u64)> {
        let table = self.machine.tables.get(index as usize)?;
        let lookup = runtime::table_lookup(table)? as usize as u64;
        let words = table.key_layout().words;
        Some((std::ptr::from_ref(table) as u64, words, lookup))
    }

    /// Hit flag and action of a packed answer.
    fn halves_of(&mut self, found: Value) -> (Value, Value) {
        let hit = self.b.ins().ushr_imm_u(found, 32);
        let action = self.mask_to(
            Val {
                value: found,
                wide: false,
            },
            32,
        );
        (hit, action.value)
    }

    /// The words of a key, in memory.
    pub fn key(&mut self, index: u32, table: &TableCode) -> Result<Value, Unsupported> {
        let layout = match self.machine.tables.get(index as usize) {
            Some(table) => table.key_layout(),
            None => return Err(Unsupported("a table")),
        };
        let mut words: Vec<Option<Value>> = vec![None; layout.words];
        for (field, part) in table.keys.iter().zip(&layout.fields) {
            let mut value = self.scalar_operand(&field.value)?;
            if value.wide && field.width <= 64 {
                value = self.mask_to(value, field.width);
            }
            if part.width > 64 {
                let (low, high) = self.halves(value);
                words[part.word] = Some(low);
                words[part.word + 1] = Some(high);
                continue;
            }
            let value = self.narrow(value);
            let value = if part.shift == 0 {
                value
            } else {
                self.b.ins().ishl_imm_u(value, i64::from(part.shift))
            };
            words[part.word] = Some(match words[part.word] {
                None => value,
                Some(before) => self.b.ins().bor(before, value),
            });
        }
        let slot = self.stack((layout.words as u32 * 8).max(8));
        for (i, word) in (0..).zip(words) {
            let word = match word {
                Some(word) => word,
                None => self.iconst(0),
            };
            self.b.ins().stack_store(types::I64, word, slot, i * 8);
        }
        Ok(self.b.ins().stack_addr(types::I64, slot, 0))
    }

    fn selector(&mut self, table: &TableCode) -> Result<(Value, Value), Unsupported> {
        if table.selector.is_empty() {
            let zero = self.iconst(0);
            return Ok((self.slots, zero));
        }
        let (at, len, _) = self.packed(&table.selector)?;
        Ok((at, len))
    }

    /// Runs the action that was found with its data.
    fn run_action(&mut self, table: &TableCode, action: Value) -> Result<(), Unsupported> {
        let after = self.b.create_block();
        for (number, binding) in table.actions.iter().enumerate() {
            let (run, other) = (self.b.create_block(), self.b.create_block());
            let is = self.is(action, number as u64);
            self.brif(is, run, &[], other, &[]);
            self.enter(run);
            if !binding.data.is_empty() {
                let data = self.load_context(types::I64, offset_of!(Context, data));
                let flags = MemFlagsData::trusted();
                let mut at = 0;
                for &(slot, width, _) in &binding.data {
                    let low = self.b.ins().load(types::I64, flags, data, at);
                    at += 8;
                    let value = if width > 64 {
                        let high = self.b.ins().load(types::I64, flags, data, at);
                        at += 8;
                        Val {
                            value: self.b.ins().iconcat(low, high),
                            wide: true,
                        }
                    } else {
                        Val {
                            value: low,
                            wide: false,
                        }
                    };
                    self.set(slot, value);
                }
            }
            self.call(&binding.call)?;
            self.jump(after);
            self.enter(other);
        }
        self.jump(after);
        self.enter(after);
        Ok(())
    }
}
