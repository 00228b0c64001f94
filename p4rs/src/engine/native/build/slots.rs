//! Slots: where each lives, and how it is read and written.
//!
//! In: slots and values. Out: Cranelift IR that has them at hand where it can. Invariant: what is known of a slot is what
//! was written to it last on every way that leads here.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::super::super::interp::code::Slot;
use super::super::Unsupported;
use super::super::context::Context;
use super::super::known::Fact;
use super::{Build, Home, Val};

/// What was decided about the packet on a way that is hot, behind the place of the cursor.
pub(in super::super) const DROPPED: Slot = 2;
pub(in super::super) const SENT: Slot = 3;
pub(in super::super) const PORT: Slot = 4;

impl Build<'_, '_> {
    fn home(&mut self, slot: Slot) -> Home {
        let at = slot as usize;
        match self.homes.get(at) {
            Some(Home::None) => {}
            Some(home) => return *home,
            None => return Home::Memory,
        }
        let home = if self.memory.get(at).copied().unwrap_or(true) {
            // Nobody else reads slots where no interpreter runs.
            if self.is_hot() {
                Home::Wide(self.b.declare_var(types::I128))
            } else {
                Home::Memory
            }
        } else {
            match self.widths.of(slot) {
                0 => Home::Zero,
                65.. => Home::Wide(self.b.declare_var(types::I128)),
                1..=64 if let Some(cell) = self.cells.take() => Home::Cell(cell),
                _ => Home::Narrow(self.b.declare_var(types::I64)),
            }
        };
        self.homes[at] = home;
        home
    }

    /// Declares every variable and sets it to zero: what no path wrote is zero.
    pub fn clear_all(&mut self) {
        let zero = self.iconst(0);
        let mut wide = None;
        for slot in 0..self.code.slots {
            let home = self.home(slot);
            if matches!(home, Home::Narrow(_) | Home::Cell(_)) {
                self.facts.set(slot, Fact::Number(0));
            }
            match home {
                Home::Narrow(variable) => self.b.def_var(variable, zero),
                Home::Wide(variable) => {
                    let zero = match wide {
                        Some(zero) => zero,
                        None => *wide.insert(self.b.ins().iconcat(zero, zero)),
                    };
                    self.b.def_var(variable, zero);
                }
                Home::None | Home::Zero | Home::Cell(_) | Home::Memory => {}
            }
        }
        self.cells.clear(&mut self.b);
        self.set_cursor(zero);
        self.know(self.cursor_place() + 1, zero);
        for place in [DROPPED, SENT, PORT] {
            self.know(self.cursor_place() + place, zero);
        }
    }

    /// Whether a slot is a field of a header that is known to have been taken from the packet.
    fn is_taken(&self, slot: Slot) -> bool {
        let header = self.taken.get(&slot).map(|&header| self.facts.of(header));
        match header {
            Some(Fact::Number(number)) => number == 1,
            Some(Fact::Is(value)) => self.number(value) == Some(1),
            _ => false,
        }
    }

    /// A slot's value.
    pub fn get(&mut self, slot: Slot) -> Val {
        match self.home(slot) {
            Home::Zero => Val {
                value: self.iconst(0),
                wide: false,
            },
            home @ (Home::Cell(_) | Home::Narrow(_)) => {
                let value = match (self.at_hand(slot), home) {
                    (Some(value), _) => value,
                    (None, Home::Cell(cell)) => {
                        let taken = self.is_taken(slot);
                        self.cells.load(&mut self.b, cell, taken)
                    }
                    (None, Home::Narrow(variable)) => self.b.use_var(variable),
                    (None, _) => self.iconst(0),
                };
                if self.number(value).is_none() {
                    self.facts.set(slot, Fact::Is(value));
                    if self.widths.of(slot) == 1 {
                        self.binary.insert(value);
                    }
                }
                Val { value, wide: false }
            }
            Home::Wide(variable) => Val {
                value: self.b.use_var(variable),
                wide: true,
            },
            Home::None | Home::Memory => {
                let (at, base) = (Context::slot_offset(slot), self.slots);
                let flags = MemFlagsData::trusted();
                let low = self.b.ins().load(types::I64, flags, base, at);
                let high = self.b.ins().load(types::I64, flags, base, at + 8);
                Val {
                    value: self.b.ins().iconcat(low, high),
                    wide: true,
                }
            }
        }
    }

    /// Sets a slot.
    pub fn set(&mut self, slot: Slot, value: Val) {
        match self.home(slot) {
            Home::Zero => {}
            Home::Cell(cell) => {
                let value = self.narrow(value);
                if self.know(slot, value) {
                    self.cells.store(&mut self.b, cell, value);
                }
            }
            Home::Narrow(variable) => {
                let value = self.narrow(value);
                self.b.def_var(variable, value);
                self.know(slot, value);
            }
            Home::Wide(variable) => {
                let value = self.widen(value);
                self.b.def_var(variable, value);
            }
            Home::None | Home::Memory => self.store_slot(slot, value),
        }
    }

    fn store_slot(&mut self, slot: Slot, value: Val) {
        let (at, base) = (Context::slot_offset(slot), self.slots);
        let (low, high) = self.halves(value);
        let flags = MemFlagsData::trusted();
        self.b.ins().store(flags, low, base, at);
        self.b.ins().store(flags, high, base, at + 8);
    }

    /// Puts every variable into the slot memory, for whoever goes on there.
    pub fn spill(&mut self) {
        for slot in 0..self.code.slots {
            if !matches!(self.home(slot), Home::None | Home::Memory) {
                let value = self.get(slot);
                self.store_slot(slot, value);
            }
        }
        self.keep_cursor();
    }

    /// The lowest 64 bits.
    pub fn narrow(&mut self, value: Val) -> Value {
        if value.wide {
            self.b.ins().ireduce(types::I64, value.value)
        } else {
            value.value
        }
    }

    /// As 128 bits.
    pub fn widen(&mut self, value: Val) -> Value {
        if value.wide {
            value.value
        } else {
            self.b.ins().uextend(types::I128, value.value)
        }
    }

    /// Low and high word.
    pub fn halves(&mut self, value: Val) -> (Value, Value) {
        if value.wide {
            self.b.ins().isplit(value.value)
        } else {
            (value.value, self.iconst(0))
        }
    }

    /// Sets slots to zero.
    pub fn clear(&mut self, slot: Slot, slots: u32) {
        let zero = self.iconst(0);
        for i in 0..slots {
            self.set(
                slot + i,
                Val {
                    value: zero,
                    wide: false,
                },
            );
        }
    }

    /// Copies slots; the ranges may overlap.
    pub fn copy(&mut self, from: Slot, to: Slot, slots: u32) -> Result<(), Unsupported> {
        let values: Vec<Val> = (0..slots).map(|i| self.get(from + i)).collect();
        for (i, value) in (0..slots).zip(values) {
            if self.widths.of(from + i) > self.widths.of(to + i) {
                return Err(Unsupported("a copy into a narrower slot"));
            }
            self.set(to + i, value);
        }
        Ok(())
    }
}
