//! Evaluating expressions.
//!
//! In: [`Ex`] and [`Agg`]. Out: a scalar, or the address of a value. Invariant: the result fits its width.

use super::super::super::bits::{self, sign_extend};
use super::super::code::{Agg, Bin, Ex, Op, Operand, Slot};
use super::super::lower::SATURATE;
use super::{Run, Stop, wide};

impl Run<'_, '_> {
    /// A scalar's value.
    pub(crate) fn eval(&mut self, ex: &Ex) -> Result<u128, Stop> {
        Ok(match ex {
            Ex::Const(value) => *value,
            Ex::Slot(slot) => self.slot(*slot),
            Ex::Bin(bin) => {
                let Bin {
                    op,
                    a,
                    b,
                    width,
                    signed,
                } = &**bin;
                let a = self.eval(a)?;
                let b = self.eval(b)?;
                binary(*op, a, b, *width, *signed)
            }
            Ex::And(pair) => u128::from(self.eval(&pair.0)? != 0 && self.eval(&pair.1)? != 0),
            Ex::Or(pair) => u128::from(self.eval(&pair.0)? != 0 || self.eval(&pair.1)? != 0),
            Ex::Not(value) => u128::from(self.eval(value)? == 0),
            Ex::Mask(value, mask) => self.eval(value)? & mask,
            Ex::Slice { value, lo, mask } => self.eval(value)?.checked_shr(*lo).unwrap_or(0) & mask,
            Ex::BitNot(value, mask) => !self.eval(value)? & mask,
            Ex::Neg(value, mask) => self.eval(value)?.wrapping_neg() & mask,
            Ex::SignExtend { value, from, mask } => {
                sign_extend(self.eval(value)?, *from) as u128 & mask
            }
            Ex::Mux(parts) => {
                let (cond, a, b) = &**parts;
                if self.eval(cond)? != 0 {
                    self.eval(a)?
                } else {
                    self.eval(b)?
                }
            }
            Ex::Load(place) => {
                let address = self.address(place, false)?;
                self.slot(address)
            }
            Ex::PacketLength => self.state.packet.len() as u128,
            Ex::Lookahead(width) => self.peek(*width)?,
            Ex::LastIndex(stack) => {
                let stack = self.address(stack, false)?;
                self.slot(stack).wrapping_sub(1) & bits::mask(32)
            }
            Ex::UnionValid { union, members } => {
                let base = self.address(union, false)?;
                u128::from(members.iter().any(|member| self.slot(base + member) != 0))
            }
            Ex::Call(call, result) => {
                self.call(call)?;
                self.slot(*result)
            }
            Ex::Apply { table, hit } => u128::from(self.apply(*table)?.0 == *hit),
            Ex::Prim(prim) => self.prim(prim)?,
            Ex::WideSlice { .. } | Ex::Same { .. } | Ex::WideOrder { .. } => self.eval_wide(ex)?,
        })
    }

    fn eval_wide(&mut self, ex: &Ex) -> Result<u128, Stop> {
        match ex {
            Ex::WideSlice {
                value,
                lo,
                mask,
                words,
            } => {
                let address = self.eval_agg(value)?;
                let value = self.words(address, words & !SATURATE);
                if words & SATURATE != 0 && value.iter().skip(1).any(|&word| word != 0) {
                    return Ok(u128::MAX);
                }
                Ok(wide::get_word(value, *lo) & mask)
            }
            Ex::Same {
                a,
                b,
                ranges,
                negate,
            } => {
                let a = self.eval_agg(a)?;
                let b = self.eval_agg(b)?;
                let same = ranges
                    .iter()
                    .all(|&(at, len)| self.words(a + at, len) == self.words(b + at, len));
                Ok(u128::from(same != *negate))
            }
            Ex::WideOrder {
                op,
                a,
                b,
                width,
                signed,
            } => {
                let words = bits::words(*width);
                let a = self.eval_agg(a)?;
                let a = bits::to_bigint(self.words(a, words), *width, *signed);
                let b = self.eval_agg(b)?;
                let b = bits::to_bigint(self.words(b, words), *width, *signed);
                Ok(u128::from(match op {
                    Op::Lt => a < b,
                    Op::Le => a <= b,
                    Op::Gt => a > b,
                    _ => a >= b,
                }))
            }
            _ => Ok(0),
        }
    }

    /// The address of a value of several slots.
    pub(crate) fn eval_agg(&mut self, agg: &Agg) -> Result<Slot, Stop> {
        match agg {
            Agg::Place(place) => self.address(place, false),
            Agg::Const { temp, words } => {
                self.words_mut(*temp, words.len() as u32)
                    .copy_from_slice(words);
                Ok(*temp)
            }
            Agg::Build {
                temp,
                slots,
                valid,
                parts,
            } => {
                // Parts may read what an earlier evaluation left in the temporary: they are written one by one.
                for (offset, part) in parts {
                    self.store(temp + offset, part)?;
                }
                if parts.is_empty() {
                    self.clear(*temp, *slots);
                }
                if *valid {
                    self.set(*temp, 1);
                }
                Ok(*temp)
            }
            Agg::Wide(op) => self.wide_op(op),
            Agg::Mux(parts) => {
                let (cond, a, b) = &**parts;
                if self.eval(cond)? != 0 {
                    self.eval_agg(a)
                } else {
                    self.eval_agg(b)
                }
            }
            Agg::Call {
                call,
                ret,
                temp,
                slots,
            } => {
                self.call(call)?;
                self.copy(*ret, *temp, *slots);
                Ok(*temp)
            }
            Agg::Lookahead { temp, slots, shape } => {
                self.peek_shape(*temp, *slots, shape)?;
                Ok(*temp)
            }
            Agg::Prim { prim, temp, slots } => {
                let value = self.prim_agg(prim)?;
                self.copy(value, *temp, *slots);
                Ok(*temp)
            }
        }
    }

    /// Evaluates into slots that nothing guards.
    pub(super) fn store(&mut self, to: Slot, operand: &Operand) -> Result<(), Stop> {
        match operand {
            Operand::One(ex) => {
                let value = self.eval(ex)?;
                self.set(to, value);
            }
            Operand::Many(agg, slots) => {
                let from = self.eval_agg(agg)?;
                self.copy(from, to, *slots);
            }
        }
        Ok(())
    }
}

fn saturate(sum: Option<i128>, positive: bool, width: u32) -> u128 {
    let max = (bits::mask(width) >> 1) as i128;
    let min = -max - 1;
    sum.unwrap_or(if positive { max } else { min })
        .clamp(min, max) as u128
        & bits::mask(width)
}

#[inline]
fn binary(op: Op, a: u128, b: u128, width: u32, signed: bool) -> u128 {
    let mask = bits::mask(width);
    // Widened only where an operator needs it: most operands are unsigned.
    let sa = || sign_extend(a, width);
    let sb = || sign_extend(b, width);
    match op {
        Op::Add => a.wrapping_add(b) & mask,
        Op::Sub => a.wrapping_sub(b) & mask,
        Op::Mul => a.wrapping_mul(b) & mask,
        Op::Div if signed => sa().checked_div(sb()).unwrap_or(0) as u128 & mask,
        Op::Mod if signed => sa().checked_rem(sb()).unwrap_or(0) as u128 & mask,
        Op::Div => a.checked_div(b).unwrap_or(0),
        Op::Mod => a.checked_rem(b).unwrap_or(0),
        Op::SatAdd if width == 0 => 0,
        Op::SatSub if width == 0 => 0,
        Op::SatAdd if signed => saturate(sa().checked_add(sb()), sb() >= 0, width),
        Op::SatSub if signed => saturate(sa().checked_sub(sb()), sb() < 0, width),
        Op::SatAdd => a.checked_add(b).map_or(mask, |sum| sum.min(mask)),
        Op::SatSub => a.saturating_sub(b),
        Op::Shl if b >= u128::from(width) => 0,
        Op::Shl => (a << b) & mask,
        Op::Shr if signed => (sa() >> b.min(127)) as u128 & mask,
        Op::Shr => u32::try_from(b)
            .ok()
            .and_then(|b| a.checked_shr(b))
            .unwrap_or(0),
        Op::BitAnd => a & b,
        Op::BitOr => a | b,
        Op::BitXor => a ^ b,
        Op::Concat => a.checked_shl(width).unwrap_or(0) | b,
        Op::Eq => u128::from(a == b),
        Op::Ne => u128::from(a != b),
        Op::Lt => u128::from(if signed { sa() < sb() } else { a < b }),
        Op::Le => u128::from(if signed { sa() <= sb() } else { a <= b }),
        Op::Gt => u128::from(if signed { sa() > sb() } else { a > b }),
        Op::Ge => u128::from(if signed { sa() >= sb() } else { a >= b }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturating_and_signed() {
        assert_eq!(binary(Op::SatAdd, 250, 10, 8, false), 255);
        assert_eq!(binary(Op::SatSub, 5, 10, 8, false), 0);
        assert_eq!(binary(Op::SatAdd, 0x7f, 1, 8, true), 0x7f);
        assert_eq!(binary(Op::SatSub, 0x80, 1, 8, true), 0x80);
        assert_eq!(
            binary(Op::SatAdd, u128::MAX >> 1, 1, 128, true),
            u128::MAX >> 1
        );
        assert_eq!(binary(Op::SatSub, 1 << 127, 1, 128, true), 1 << 127);
        assert_eq!(binary(Op::Shr, 0x80, 3, 8, true), 0xf0);
        assert_eq!(binary(Op::Shr, 0x80, 200, 8, true), 0xff);
        assert_eq!(binary(Op::Shr, 0x80, u128::MAX, 8, false), 0);
        assert_eq!(binary(Op::Shl, 1, 8, 8, false), 0);
        assert_eq!(binary(Op::Lt, 0xff, 0, 8, true), 1);
        assert_eq!(binary(Op::Div, 7, 0, 8, false), 0);
        assert_eq!(binary(Op::Add, u128::MAX, 2, 128, false), 1);
        assert_eq!(binary(Op::Concat, 0xab, 0xcd, 8, false), 0xabcd);
    }
}
