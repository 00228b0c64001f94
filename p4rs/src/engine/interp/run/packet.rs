//! Moving bits between packet and headers; validity; stacks.
//!
//! In: the packet's bytes. Out: headers, deparsed bits. Invariant: a failed extract leaves packet, cursor and header
//! as they were, the header invalid.

use super::super::super::bits;
use super::super::super::layout::Leaf;
use super::super::super::trace::Event;
use super::super::code::{Dest, Ex, Place, Prim, Shape, Slot};
use super::{Run, Stop};

impl Run<'_, '_> {
    /// A built-in or extern operation; the result of those that have a scalar one.
    pub(crate) fn prim(&mut self, prim: &Prim) -> Result<u128, Stop> {
        match prim {
            Prim::Extern(op) => return self.extern_op(op),
            Prim::Extract {
                dest,
                shape,
                next,
                varbit,
            } => {
                self.extract(dest.as_ref(), shape, next.as_ref(), varbit.as_ref())?;
            }
            Prim::Advance(bits) => {
                let bits = self.eval(bits)?;
                self.advance(bits)?;
            }
            Prim::Emit { value, headers } => {
                let base = self.eval_agg(value)?;
                for (offset, shape) in headers {
                    self.emit(base + offset, shape);
                }
            }
            Prim::SetValid(dest) => self.set_valid(dest)?,
            Prim::SetInvalid { dest, headers } => {
                let address = self.address(&dest.place, true)?;
                for &(first, slots) in headers {
                    self.clear(address + first, slots);
                }
                self.settle_union(dest, address);
                self.trace_validity(dest, false);
            }
            Prim::Shift {
                stack,
                size,
                elem,
                count,
                front,
            } => {
                let address = self.address(&stack.place, true)?;
                self.shift(address, *size, *elem, (*count).min(*size), *front);
            }
            Prim::Verify(condition, error) => {
                if self.eval(condition)? == 0 {
                    let error = self.eval(error)?;
                    return Err(Stop::ParserError(error as u32));
                }
            }
        }
        Ok(0)
    }

    fn trace_validity(&mut self, dest: &Dest, valid: bool) {
        if self.tracer.is_some() {
            let name = self.place_name(dest).to_owned();
            self.trace(&Event::Validity {
                header: &name,
                valid,
            });
        }
    }

    fn set_valid(&mut self, dest: &Dest) -> Result<(), Stop> {
        let address = self.address(&dest.place, true)?;
        self.set(address, 1);
        self.settle_union(dest, address);
        self.trace_validity(dest, true);
        Ok(())
    }

    fn remaining(&self) -> usize {
        (self.state.packet.len() * 8).saturating_sub(self.state.cursor)
    }

    fn too_short(&self) -> Stop {
        Stop::ParserError(self.machine.code.errors.packet_too_short)
    }

    fn extract(
        &mut self,
        dest: Option<&Dest>,
        shape: &Shape,
        next: Option<&(Place, u32)>,
        varbit: Option<&Ex>,
    ) -> Result<(), Stop> {
        let address = match dest {
            Some(dest) => Some((dest, self.address(&dest.place, true)?)),
            None => None,
        };
        let extra = match varbit {
            Some(ex) => self.varbit_size(ex, shape)?,
            None => 0,
        };
        let total = shape.bits as usize + extra as usize;
        if total > self.remaining() {
            return Err(self.too_short());
        }
        if let Some((dest, address)) = address {
            self.fill(address, shape, extra);
            self.settle_union(dest, address);
            if let Some((stack, size)) = next {
                let stack = self.address(stack, true)?;
                let at = self.slot(stack);
                self.set(stack, (at + 1).min(u128::from(*size)));
            }
            if self.tracer.is_some() {
                let header = self.place_name(dest).to_owned();
                self.trace(&Event::Extract {
                    header: &header,
                    bits: total as u32,
                });
            }
        }
        self.state.cursor += total;
        Ok(())
    }

    /// The size of the varbit to extract, checked as the reference switch does: whole bytes, bytes left, maximum.
    fn varbit_size(&mut self, ex: &Ex, shape: &Shape) -> Result<u32, Stop> {
        let size = self.eval(ex)?;
        let errors = &self.machine.code.errors;
        if !size.is_multiple_of(8) {
            return Err(Stop::ParserError(errors.parser_invalid_argument));
        }
        if size > self.remaining() as u128 {
            return Err(self.too_short());
        }
        let max = shape
            .leaves
            .iter()
            .find(|leaf| leaf.varbit)
            .map_or(0, |leaf| leaf.width);
        if size > u128::from(max) {
            return Err(Stop::ParserError(errors.header_too_short));
        }
        Ok(size as u32)
    }

    /// Makes a value from the bits at the cursor.
    fn fill(&mut self, address: Slot, shape: &Shape, varbit: u32) {
        let state = &mut *self.state;
        let base = address as usize;
        let mut at = state.cursor;
        for &header in &shape.headers {
            if let Some(valid) = state.slots.get_mut(base + header as usize) {
                *valid = 1;
            }
        }
        for leaf in &shape.leaves {
            let slot = base + leaf.slot as usize;
            if leaf.varbit {
                let words = bits::words(leaf.width) as usize;
                if let Some([length, value @ ..]) = state.slots.get_mut(slot..slot + 1 + words) {
                    *length = u128::from(varbit);
                    bits::read_words(&state.packet, at, varbit, value);
                }
                at += varbit as usize;
            } else if leaf.width <= bits::WORD {
                if let Some(to) = state.slots.get_mut(slot) {
                    *to = bits::read(&state.packet, at, leaf.width);
                }
                at += leaf.width as usize;
            } else {
                let words = bits::words(leaf.width) as usize;
                if let Some(to) = state.slots.get_mut(slot..slot + words) {
                    bits::read_words(&state.packet, at, leaf.width, to);
                }
                at += leaf.width as usize;
            }
        }
    }

    /// `lookahead` of a scalar.
    pub(super) fn peek(&mut self, width: u32) -> Result<u128, Stop> {
        if width as usize > self.remaining() {
            return Err(self.too_short());
        }
        Ok(bits::read(&self.state.packet, self.state.cursor, width))
    }

    /// `lookahead` of anything else.
    pub(super) fn peek_shape(&mut self, to: Slot, slots: u32, shape: &Shape) -> Result<(), Stop> {
        if shape.bits as usize > self.remaining() {
            return Err(self.too_short());
        }
        self.clear(to, slots);
        self.fill(to, shape, 0);
        Ok(())
    }

    fn advance(&mut self, bits: u128) -> Result<(), Stop> {
        if self.machine.code.errors.quiet_no_match && !bits.is_multiple_of(8) {
            return Err(Stop::ParserError(
                self.machine.code.errors.parser_invalid_argument,
            ));
        }
        if bits > self.remaining() as u128 {
            return Err(self.too_short());
        }
        self.state.cursor += bits as usize;
        Ok(())
    }

    /// Appends a valid header to the outgoing packet.
    fn emit(&mut self, address: Slot, shape: &Shape) {
        if self.slot(address) == 0 {
            return;
        }
        let state = &mut *self.state;
        for leaf in &shape.leaves {
            let at = (address + leaf.slot) as usize;
            put_leaf(
                &mut state.writer,
                state.slots.get(at..).unwrap_or_default(),
                leaf,
            );
        }
    }

    /// `push_front` and `pop_front`.
    fn shift(&mut self, stack: Slot, size: u32, elem: u32, count: u32, front: bool) {
        let first = stack + 1;
        let kept = (size - count) * elem;
        let moved = count * elem;
        let next = self.slot(stack);
        if front {
            self.copy(first, first + moved, kept);
            self.clear(first, moved);
            self.set(stack, (next + u128::from(count)).min(u128::from(size)));
        } else {
            self.copy(first + moved, first, kept);
            self.clear(first + kept, moved);
            self.set(stack, next.saturating_sub(u128::from(count)));
        }
    }
}

/// Appends one leaf.
pub(super) fn put_leaf(writer: &mut bits::BitWriter, words: &[u128], leaf: &Leaf) {
    if leaf.varbit {
        let length = words
            .first()
            .copied()
            .unwrap_or(0)
            .min(u128::from(leaf.width)) as u32;
        writer.put_words(words.get(1..).unwrap_or_default(), length);
    } else {
        writer.put_words(words, leaf.width);
    }
}
