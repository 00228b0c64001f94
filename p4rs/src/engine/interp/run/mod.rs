//! Running lowered code on one packet.
//!
//! In: [`Code`](super::code::Code), a packet's state. Out: changed slots, intents for the architecture, outputs.
//! Invariants: every loop and every chain of parser states draws on the packet's budget; fields of invalid headers
//! are zero.

mod eval;
mod exec;
mod externs;
mod hooks;
mod packet;
mod parser;
mod table;
mod wide;

pub(crate) use parser::STANDSTILL;

use super::super::Time;
use super::super::outputs::{DropReason, Outputs};
use super::super::tables::epoch::Guard;
use super::super::trace::{Event, Tracer};
use super::code::{Dest, Place, Slot};
use super::machine::{LastApply, Machine, PacketState};

/// Why normal execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `exit`.
    Exit,
    /// The parser raised an error.
    ParserError(u32),
    /// A transition to `reject`.
    Reject,
    /// The packet cannot go on.
    Drop(DropReason),
}

/// What happens after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Break,
    Continue,
    Return,
}

/// One packet on a machine.
pub(crate) struct Run<'r, 'p> {
    pub machine: &'r Machine,
    /// Keeps what tables hand out.
    pub guard: &'r Guard,
    pub last: LastApply<'r>,
    pub state: &'r mut PacketState,
    pub now: Time,
    pub out: &'r mut Outputs<'p>,
    pub tracer: Option<&'r mut (dyn Tracer + 'r)>,
}

impl Run<'_, '_> {
    /// Tells the tracer, if there is one.
    pub fn trace(&mut self, event: &Event<'_>) {
        if let Some(tracer) = &mut self.tracer {
            tracer.event(event);
        }
    }

    /// A slot's value.
    #[inline]
    pub fn slot(&self, slot: Slot) -> u128 {
        self.state.slots.get(slot as usize).copied().unwrap_or(0)
    }

    /// Sets a slot.
    #[inline]
    pub fn set(&mut self, slot: Slot, value: u128) {
        if let Some(to) = self.state.slots.get_mut(slot as usize) {
            *to = value;
        }
    }

    /// Some slots.
    pub fn words(&self, slot: Slot, slots: u32) -> &[u128] {
        let at = slot as usize;
        self.state
            .slots
            .get(at..at + slots as usize)
            .unwrap_or_default()
    }

    /// Some slots, to be written.
    pub fn words_mut(&mut self, slot: Slot, slots: u32) -> &mut [u128] {
        let at = slot as usize;
        self.state
            .slots
            .get_mut(at..at + slots as usize)
            .unwrap_or_default()
    }

    /// Sets slots to zero.
    pub fn clear(&mut self, slot: Slot, slots: u32) {
        self.words_mut(slot, slots).fill(0);
    }

    /// Copies slots.
    pub fn copy(&mut self, from: Slot, to: Slot, slots: u32) {
        let (from, to, len) = (from as usize, to as usize, slots as usize);
        if from != to && from.max(to) + len <= self.state.slots.len() {
            self.state.slots.copy_within(from..from + len, to);
        }
    }

    /// Takes one turn from the packet's budget.
    pub(super) fn turn(&mut self, reason: DropReason) -> Result<(), Stop> {
        match self.state.budget.checked_sub(1) {
            Some(left) => {
                self.state.budget = left;
                Ok(())
            }
            None => Err(Stop::Drop(reason)),
        }
    }

    /// The address of a place; of a stack element out of range one that holds zeros (or, to write, is never read).
    #[inline]
    pub(super) fn address(&mut self, place: &Place, write: bool) -> Result<Slot, Stop> {
        match place {
            Place::Fixed(slot) => Ok(*slot),
            place => self.computed_address(place, write),
        }
    }

    fn computed_address(&mut self, place: &Place, write: bool) -> Result<Slot, Stop> {
        let nowhere = if write {
            self.machine.code.sink
        } else {
            self.machine.code.zero
        };
        let errors = &self.machine.code.errors;
        match place {
            Place::Fixed(slot) => Ok(*slot),
            Place::Field(base, offset) => Ok(self.address(base, write)? + offset),
            Place::Index {
                stack,
                index,
                size,
                elem,
            } => {
                let stack = self.address(stack, write)?;
                let index = self.eval(index)?;
                Ok(if index < u128::from(*size) {
                    stack + 1 + index as u32 * elem
                } else {
                    nowhere
                })
            }
            Place::Next { stack, size, elem } => {
                let stack = self.address(stack, write)?;
                let next = self.slot(stack);
                if next >= u128::from(*size) {
                    return Err(Stop::ParserError(errors.stack_out_of_bounds));
                }
                Ok(stack + 1 + next as u32 * elem)
            }
            Place::Last { stack, size, elem } => {
                let stack = self.address(stack, write)?;
                let next = self.slot(stack);
                if next == 0 || next > u128::from(*size) {
                    return Err(Stop::ParserError(errors.stack_out_of_bounds));
                }
                Ok(stack + 1 + (next as u32 - 1) * elem)
            }
            Place::Value(value) => self.eval_agg(value),
        }
    }

    /// Whether a write to this place may happen: the header around it is valid.
    fn writable(&self, dest: &Dest, address: Slot) -> bool {
        dest.guard.is_none_or(|back| {
            address
                .checked_sub(back)
                .is_some_and(|header| self.slot(header) != 0)
        })
    }

    /// Writes a scalar.
    #[inline]
    pub(super) fn put(&mut self, dest: &Dest, address: Slot, value: u128) {
        if !self.writable(dest, address) {
            return;
        }
        match dest.slice {
            None => self.set(address, value),
            Some((hi, lo)) => {
                let slots = dest.slots;
                super::run::wide::set_bits(self.words_mut(address, slots), hi, lo, &[value]);
            }
        }
        if self.tracer.is_some() {
            self.traced(dest, address);
        }
    }

    /// Writes a value of several slots that lies at `from`.
    pub(super) fn put_from(&mut self, dest: &Dest, address: Slot, from: Slot, slots: u32) {
        if !self.writable(dest, address) {
            return;
        }
        match dest.slice {
            None => self.copy(from, address, dest.slots.min(slots)),
            Some((hi, lo)) => {
                let value = self.words(from, slots).to_vec();
                super::run::wide::set_bits(self.words_mut(address, dest.slots), hi, lo, &value);
            }
        }
        self.settle_union(dest, address);
        self.traced(dest, address);
    }

    /// After a member of a union was written: the others become invalid.
    pub(super) fn settle_union(&mut self, dest: &Dest, address: Slot) {
        let Some(union) = &dest.union else { return };
        let Some(base) = address.checked_sub(union.back) else {
            return;
        };
        let valid = self.slot(address) != 0;
        for &(first, slots) in &union.members {
            if !valid || base + first != address {
                self.clear(base + first, slots);
            }
        }
    }

    fn traced(&mut self, dest: &Dest, address: Slot) {
        if self.tracer.is_some()
            && dest.guard.is_some()
            && let Some(name) = self.machine.code.names.get(dest.name as usize)
        {
            let value =
                super::super::bits::words_to_bytes(self.words(address, dest.slots), dest.width);
            self.trace(&Event::Assign {
                place: name,
                value: &value,
            });
        }
    }

    /// The name of a place, for traces.
    pub(super) fn place_name(&self, dest: &Dest) -> &str {
        self.machine
            .code
            .names
            .get(dest.name as usize)
            .map_or("", String::as_str)
    }
}
