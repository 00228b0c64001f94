//! Machine code of registers: cells that it reads and writes by itself, and which of them a packet touches.
//!
//! In: register operations. Out: loads and stores of cells, calls of the runtime for cells that are more than a word; the
//! places of cells in large registers noted. Invariant: an index out of range is read as nothing and written nowhere.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use std::mem::offset_of;

use super::super::externs::Plain;
use super::super::interp::code::Extern;
use super::Unsupported;
use super::build::{Build, Val};
use super::context::{Context, LAST, place_at};
use super::hot::Later;
use super::region::NUMBERS;
use super::support;
use crate::ir::{ExternInstance, Handle};

impl Build<'_, '_> {
    /// The cells of a register, where machine code can reach them.
    pub fn plain_register(&self, instance: Handle<ExternInstance>) -> Option<Plain> {
        let register = self.machine.externs().register(instance).ok()?;
        register.plain().filter(|plain| plain.size > 0)
    }

    /// Where a cell is, the first one for an index out of range; and whether it is in range.
    pub fn cell(&mut self, plain: Plain, index: Value) -> (Value, Value) {
        let known = if self.most(index) < plain.size {
            self.always(true)
        } else {
            let size = self.iconst(plain.size);
            self.compare_words(IntCC::UnsignedLessThan, index, size)
        };
        let first = self.constant(0);
        let index = Val {
            value: index,
            wide: false,
        };
        let index = self.choose(known, index, first).value;
        let offset = self
            .b
            .ins()
            .ishl_imm_u(index, i64::from(plain.stride.trailing_zeros()));
        let base = self.iconst(plain.base as u64);
        (known, self.b.ins().iadd(base, offset))
    }

    /// Notes the place of a cell, where caches do not hold the register; once for all cells at this index.
    fn touch_cell(&mut self, plain: Plain, (known, index, at): (Value, Value, Value)) {
        let Some(first) = self.regions.cells(&plain) else {
            return;
        };
        let row = plain.row;
        let new = if self.is_hot() {
            let new = !self.has_noted(index, row);
            self.leave_for_later(Later::Noted { index, row });
            new
        } else {
            self.touched.insert((index, row))
        };
        if new && self.is_scout() {
            self.pause([at, at]);
        }
        if new {
            let zero = self.iconst(0);
            let index = match self.number(known) {
                Some(1) => index,
                _ => self.b.ins().select(known, index, zero),
            };
            self.touch(first, index);
        }
    }

    /// Notes the place of a number behind the first one of a region, see [`super::recall`].
    pub fn touch(&mut self, first: u32, number: Value) {
        let (at, count) = self.next_place();
        let number = self.b.ins().ireduce(types::I32, number);
        let word = self.b.ins().bor_imm_u(number, i64::from(first));
        let flags = MemFlagsData::trusted();
        self.b.ins().store(flags, word, at, 0);
        self.touched_one(count);
    }

    /// As [`Self::touch`], of a number that may be higher than words have room for: of the last one then.
    pub fn touch_any(&mut self, first: u32, number: Value) {
        let most = self.iconst(NUMBERS - 1);
        let number = self.b.ins().umin(number, most);
        self.touch(first, number);
    }

    /// Where the next place is noted, and stands as the flow's last packet left it; and the count of bytes before it.
    pub fn next_place(&mut self) -> (Value, Value) {
        if self.is_hot() {
            let at = place_at(u64::from(self.facts.trail.touched));
            let at = at as i64 + offset_of!(Context, places) as i64;
            let at = self.b.ins().iadd_imm_s(self.context, at);
            return (at, at);
        }
        let count = self.load_context(types::I64, offset_of!(Context, touched));
        let last = self.iconst(LAST);
        let place = self.b.ins().umin(count, last);
        let at = self.b.ins().iadd(self.context, place);
        let at = self
            .b
            .ins()
            .iadd_imm_s(at, offset_of!(Context, places) as i64);
        (at, count)
    }

    /// Goes on to the next place.
    pub fn touched_one(&mut self, count: Value) {
        if self.is_hot() {
            self.facts.trail.touched += size_of::<u32>() as u32;
            return;
        }
        let more = self.b.ins().iadd_imm_s(count, size_of::<u32>() as i64);
        self.store_context(more, offset_of!(Context, touched));
    }

    fn read_cell(&mut self, plain: Plain, index: Value) -> (Value, Val) {
        let (known, at) = self.cell(plain, index);
        self.touch_cell(plain, (known, index, at));
        if self.is_hot() {
            match self.cell_to_be(&plain, index) {
                Ok(None) => {}
                Ok(Some(value)) => return (known, Val { value, wide: false }),
                Err(_) => self.begin_anew(),
            }
        }
        let flags = MemFlagsData::trusted();
        let word = if plain.bytes == 4 {
            let word = self.b.ins().load(types::I32, flags, at, 0);
            self.b.ins().uextend(types::I64, word)
        } else {
            self.b.ins().load(types::I64, flags, at, 0)
        };
        let initial = self.iconst(plain.initial);
        let value = self.b.ins().bxor(word, initial);
        (known, Val { value, wide: false })
    }

    fn write_cell(&mut self, plain: Plain, index: Value, value: Val) {
        let (known, at) = self.cell(plain, index);
        let value = self.narrow(value);
        let (write, after) = (self.b.create_block(), self.b.create_block());
        if let Some(anew) = self.anew() {
            if self.number(known) == Some(0) {
                return;
            }
            self.brif(known, write, &[], after, &[]);
            if self.ways.contains_key(&after) {
                self.enter(after);
                self.b.ins().jump(anew, &[]);
            }
            self.enter(write);
            let value = self.mask_to(Val { value, wide: false }, plain.bytes * 8);
            let value = value.value;
            self.leave_for_later(Later::Cell {
                plain,
                index,
                at,
                value,
            });
            return;
        }
        self.brif(known, write, &[], after, &[]);
        self.enter(write);
        self.store_cell(&plain, at, value);
        self.jump(after);
        self.enter(after);
    }

    /// Writes a cell.
    pub fn store_cell(&mut self, plain: &Plain, at: Value, value: Value) {
        let initial = self.iconst(plain.initial);
        let word = self.b.ins().bxor(value, initial);
        let flags = MemFlagsData::trusted();
        let word = if plain.bytes == 4 {
            self.b.ins().ireduce(types::I32, word)
        } else {
            word
        };
        self.b.ins().store(flags, word, at, 0);
    }

    pub fn register(&mut self, op: &Extern) -> Result<Val, Unsupported> {
        if let Extern::RegisterRead { instance, .. } | Extern::RegisterWrite { instance, .. } = op
            && self.is_hot()
            && self.plain_register(*instance).is_none()
        {
            self.begin_anew();
            return Ok(self.constant(0));
        }
        match op {
            Extern::RegisterWrite {
                instance,
                index,
                value,
            } => {
                let index = self.index(index)?;
                let value = self.scalar_operand(value)?;
                if let Some(plain) = self.plain_register(*instance) {
                    self.write_cell(plain, index, value);
                    return Ok(self.constant(0));
                }
                let (low, high) = self.halves(value);
                let instance = self.iconst(instance.index() as u64);
                let args = [self.context, instance, index, low, high];
                self.b.ins().call(self.imports.register_write, &args);
                Ok(self.constant(0))
            }
            Extern::RegisterRead {
                instance,
                index,
                dest,
                temp,
                ..
            } => {
                let index = self.index(index)?;
                let (known, read) = match self.plain_register(*instance) {
                    Some(plain) => self.read_cell(plain, index),
                    None => {
                        let instance = self.iconst(instance.index() as u64);
                        let args = [self.context, instance, index];
                        let call = self.b.ins().call(self.imports.register_read, &args);
                        (self.b.inst_results(call)[0], self.scalar())
                    }
                };
                let read = self.mask_to(read, self.widths.of(*temp));
                let before = self.get(*temp);
                let kept = self.choose(known, read, before);
                self.set(*temp, kept);
                if let Some(dest) = dest {
                    let slot = support::dest(dest).ok_or(Unsupported("a register's place"))?;
                    let old = match dest.slice {
                        None => self.get(slot),
                        Some((hi, lo)) => {
                            let old = self.get(slot);
                            let old = self.shift_right(old, lo);
                            self.mask_to(old, hi.saturating_sub(lo) + 1)
                        }
                    };
                    let value = self.choose(known, read, old);
                    self.put(dest, value)?;
                }
                let zero = self.constant(0);
                Ok(self.choose(known, read, zero))
            }
            _ => Err(Unsupported("a register")),
        }
    }
}
