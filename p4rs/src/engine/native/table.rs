//! Machine code of table application: the key, the lookup, the action.
//!
//! In: a table's number. Out: whether it was hit and which action ran. Invariant: the key has the layout of the
//! table's own plan.

use cranelift_codegen::ir::{Inst, InstBuilder, Signature, Type, Value, types};
use std::mem::offset_of;

use super::super::interp::code::{ActionBinding, TableCode};
use super::Unsupported;
use super::build::{Build, Falls, UNREACHABLE, Val, signature};
use super::context::Context;
use super::probe::{Answer, Asked};
use super::runtime;
use super::support;

impl Build<'_, '_> {
    /// Applies a table: not zero on a hit, and the action's index or [`super::context::NO_ACTION`].
    pub fn apply(&mut self, index: u32) -> Result<(Value, Value), Unsupported> {
        let code = self.code;
        let Some(Some(table)) = code.tables.get(index as usize) else {
            return Err(Unsupported("a table"));
        };
        if self.is_hot() {
            return self.hot_answer(index);
        }
        if !support::table(table) {
            let number = self.iconst(u64::from(index));
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
        let sure = self.always_acts(index);
        let found = self.find(index, table)?;
        self.acting = Some(index);
        let done = self.run_action(table, found, sure);
        self.acting = None;
        done?;
        Ok((found.hit, found.action))
    }

    /// Whether a lookup answers with one of the table's actions whatever it finds: every entry has one, and so has the
    /// table for what it does not find.
    fn always_acts(&self, index: u32) -> bool {
        let table = self.machine.tables.get(index as usize);
        table.is_some_and(|table| table.simple_words().is_some())
    }

    /// Looks a table's key up.
    fn find(&mut self, index: u32, code: &TableCode) -> Result<Answer, Unsupported> {
        let key = self.key_words(index, code)?;
        let table = self.machine.tables.get(index as usize);
        let table = table.ok_or(Unsupported("a table"))?;
        if table.simple_words().is_none() {
            let key = self.in_memory(&key);
            let (selector, len) = self.selector(code)?;
            let number = self.iconst(u64::from(index));
            let args = [self.context, number, key, selector, len];
            let call = self.b.ins().call(self.imports.lookup, &args);
            return Ok(self.answered(call));
        }
        let address = std::ptr::from_ref(table) as u64;
        if let Some(path) = &table.path() {
            let asked = Asked {
                table: address,
                index,
                path,
            };
            return self.probe(asked, key);
        }
        let memory = self.in_memory(&key);
        let place = self.place_of(key.len(), index)?;
        let function = runtime::lookup_simple as *const u8 as u64;
        let call = self.call_table(function, address, memory, place);
        Ok(self.answered(call))
    }

    /// What a function of the runtime answers that looks a key up.
    pub fn answered(&mut self, call: Inst) -> Answer {
        let found = self.b.inst_results(call)[0];
        let (hit, action) = self.halves_of(found);
        let data = self.load_context(types::I64, offset_of!(Context, data));
        Answer { hit, action, data }
    }

    /// Calls a function that was made for a table's keys.
    pub fn call_table(&mut self, function: u64, table: u64, key: Value, place: Value) -> Inst {
        let args = [self.context, self.iconst(table), key, place];
        self.call_at(function, &args, Some(types::I64))
    }

    /// Calls a function that answers for a key that is nowhere.
    pub fn call_missed(
        &mut self,
        function: u64,
        table: u64,
        (key, hash): (Value, Option<Value>),
        place: Value,
    ) -> Inst {
        let hash = hash.unwrap_or_else(|| self.iconst(0));
        let args = [self.context, self.iconst(table), key, place, hash];
        self.call_at(function, &args, Some(types::I64))
    }

    /// Calls a function of the runtime by its address.
    pub fn call_at(&mut self, function: u64, args: &[Value], result: Option<Type>) -> Inst {
        let mut called = Signature::new(self.b.func.signature.call_conv);
        signature(&mut called, args.len(), result);
        let called = self.b.import_signature(called);
        let function = self.iconst(function);
        self.b.ins().call_indirect(called, function, args)
    }

    /// What a lookup is told beside its key.
    pub fn place_of(&mut self, words: usize, index: u32) -> Result<Value, Unsupported> {
        let place = runtime::place(words, index).ok_or(Unsupported("a key"))?;
        Ok(self.iconst(place))
    }

    /// Hit flag and action of a packed answer.
    pub fn halves_of(&mut self, found: Value) -> (Value, Value) {
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

    pub fn in_memory(&mut self, words: &[Value]) -> Value {
        let memory = self.stack((words.len() as u32 * 8).max(8));
        self.stored(words, memory)
    }

    /// The words of a key.
    pub fn key_words(&mut self, index: u32, table: &TableCode) -> Result<Vec<Value>, Unsupported> {
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
        let words = words.into_iter();
        Ok(words
            .map(|word| word.unwrap_or_else(|| self.iconst(0)))
            .collect())
    }

    fn selector(&mut self, table: &TableCode) -> Result<(Value, Value), Unsupported> {
        if table.selector.is_empty() {
            let zero = self.iconst(0);
            return Ok((self.slots, zero));
        }
        let (at, len, _) = self.packed(&table.selector)?;
        Ok((at, len))
    }

    /// Runs the action that was found with its data; `sure` when there is one for certain.
    fn run_action(
        &mut self,
        table: &TableCode,
        found: Answer,
        sure: bool,
    ) -> Result<(), Unsupported> {
        let after = self.b.create_block();
        let splits = self.splits();
        let mut ends = Vec::new();
        for (number, binding) in table.actions.iter().enumerate() {
            let (run, other) = (self.b.create_block(), self.b.create_block());
            if sure && number + 1 == table.actions.len() {
                self.jump(run);
            } else {
                let is = self.is(found.action, number as u64);
                self.brif(is, run, &[], other, &[]);
            }
            self.enter(run);
            self.load_data(binding, found.data);
            self.call(&binding.call)?;
            if splits {
                self.ends(Falls::Through, &mut ends);
            } else {
                self.meet();
                self.jump(after);
            }
            self.enter(other);
        }
        if !self.facts.dead {
            // No action at all is rare: it goes on with the last one, which is mostly the default.
            self.jump(after);
            match ends.last_mut() {
                Some(last) => {
                    let last = std::mem::replace(last, after);
                    self.enter(last);
                    self.jump(after);
                }
                None => ends.push(after),
            }
        } else if splits {
            self.b.ins().trap(UNREACHABLE);
        } else {
            self.jump(after);
        }
        if splits {
            if self.regroup(ends) == Falls::Away {
                self.nowhere();
            }
        } else {
            self.enter(after);
        }
        Ok(())
    }

    /// Puts action data into the action's parameters.
    pub fn load_data(&mut self, binding: &ActionBinding, data: Value) {
        let flags = self.unchanged();
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
}
