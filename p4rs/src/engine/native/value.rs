//! Machine code of expressions.
//!
//! In: [`Ex`] and [`Agg`]. Out: values. Invariant: a value has no bit above its width; it is narrow when its width is
//! at most 64.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};

use super::super::bits::{WORD, mask};
use super::super::interp::code::{Agg, Bin, Ex, Op, Operand, Slot};
use super::Unsupported;
use super::build::{Build, Val};
use super::condition::order;
use super::context::Site;
use super::support;

impl Build<'_, '_> {
    /// A constant.
    pub fn constant(&mut self, value: u128) -> Val {
        if let Ok(value) = u64::try_from(value) {
            return Val {
                value: self.iconst(value),
                wide: false,
            };
        }
        let (low, high) = (self.iconst(value as u64), self.iconst((value >> 64) as u64));
        Val {
            value: self.b.ins().iconcat(low, high),
            wide: true,
        }
    }

    /// A condition as a value.
    pub fn flag(&mut self, condition: Value) -> Val {
        if let Some(number) = self.number(condition) {
            return self.constant(u128::from(number != 0));
        }
        let value = self.b.ins().uextend(types::I64, condition);
        self.flagged(value, condition);
        Val { value, wide: false }
    }

    /// A scalar's value.
    pub fn ex(&mut self, ex: &Ex) -> Result<Val, Unsupported> {
        let value = self.ex_any(ex)?;
        if value.wide && self.widths.ex(ex) <= 64 {
            return Ok(Val {
                value: self.narrow(value),
                wide: false,
            });
        }
        Ok(value)
    }

    fn ex_any(&mut self, ex: &Ex) -> Result<Val, Unsupported> {
        if !support::ex(ex) {
            let status = self.interpret(Site::Ex(ex));
            self.check(status);
            return Ok(self.scalar());
        }
        Ok(match ex {
            Ex::Const(value) => self.constant(*value),
            Ex::Slot(slot) => self.get(*slot),
            Ex::Load(place) => {
                let slot = support::fixed(place).ok_or(Unsupported("a place"))?;
                self.get(slot)
            }
            Ex::Bin(bin) => self.binary(bin)?,
            Ex::Slice { value, lo, mask } => {
                let value = self.ex(value)?;
                let value = self.shift_right(value, *lo);
                self.and_mask(value, *mask)
            }
            Ex::Mask(value, mask) => {
                let value = self.ex(value)?;
                self.and_mask(value, *mask)
            }
            Ex::BitNot(value, mask) => {
                let value = self.ex(value)?;
                let value = self.fit(value, *mask);
                let inverted = Val {
                    value: self.b.ins().bnot(value.value),
                    ..value
                };
                self.and_mask(inverted, *mask)
            }
            Ex::Neg(value, mask) => {
                let value = self.ex(value)?;
                let value = self.fit(value, *mask);
                let negated = Val {
                    value: self.b.ins().ineg(value.value),
                    ..value
                };
                self.and_mask(negated, *mask)
            }
            Ex::SignExtend { value, from, mask } => {
                let value = self.ex(value)?;
                let value = self.narrow(value);
                let extended = self.sign_extend(value, *from);
                self.and_mask(
                    Val {
                        value: extended,
                        wide: false,
                    },
                    *mask,
                )
            }
            Ex::Mux(parts) => self.mux(&parts.0, &parts.1, &parts.2)?,
            Ex::PacketLength => Val {
                value: self.b.ins().ushr_imm_u(self.bits, 3),
                wide: false,
            },
            Ex::UnionValid { union, members } => {
                let base = support::fixed(union).ok_or(Unsupported("a place"))?;
                let mut any = self.iconst(0);
                for member in members {
                    let valid = self.get(base + member);
                    let valid = self.narrow(valid);
                    any = self.b.ins().bor(any, valid);
                }
                let any = self.b.ins().icmp_imm_u(IntCC::NotEqual, any, 0);
                self.flag(any)
            }
            Ex::Call(call, result) => {
                self.in_one_way(|build| build.call(call))?;
                self.meet();
                self.get(*result)
            }
            Ex::Apply { table, hit } => {
                let (found, _) = self.apply(*table)?;
                self.meet();
                let wanted = if *hit { IntCC::NotEqual } else { IntCC::Equal };
                let zero = self.iconst(0);
                let same = self.compare_words(wanted, found, zero);
                self.flag(same)
            }
            Ex::Prim(prim) => self.prim(prim)?,
            Ex::Not(_) | Ex::And(_) | Ex::Or(_) | Ex::Same { .. } => {
                let condition = self.cond(ex)?;
                self.flag(condition)
            }
            Ex::WideSlice { .. } | Ex::WideOrder { .. } | Ex::LastIndex(_) | Ex::Lookahead(_) => {
                return Err(Unsupported("an expression"));
            }
        })
    }

    /// The two's complement value of the lowest bits, up to 64 of them.
    pub fn sign_extend(&mut self, value: Value, width: u32) -> Value {
        let shift = 64u32.saturating_sub(width);
        if shift == 0 {
            return value;
        }
        let high = self.b.ins().ishl_imm_u(value, i64::from(shift));
        self.b.ins().sshr_imm_u(high, i64::from(shift))
    }

    fn mux(&mut self, cond: &Ex, a: &Ex, b: &Ex) -> Result<Val, Unsupported> {
        let condition = self.cond(cond)?;
        if support::pure(a) && support::pure(b) {
            let (a, b) = (self.ex(a)?, self.ex(b)?);
            return Ok(self.choose(condition, a, b));
        }
        if self.is_hot() {
            self.begin_anew();
            return Ok(self.constant(0));
        }
        let wide = self.widths.ex(a).max(self.widths.ex(b)) > 64;
        let ty = if wide { types::I128 } else { types::I64 };
        let (yes, no, done) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.b.append_block_param(done, ty);
        self.brif(condition, yes, &[], no, &[]);
        for (block, ex) in [(yes, a), (no, b)] {
            self.enter(block);
            let value = self.ex(ex)?;
            let value = if wide {
                self.widen(value)
            } else {
                self.narrow(value)
            };
            self.go(done, &[value.into()]);
        }
        self.enter(done);
        Ok(Val {
            value: self.b.block_params(done)[0],
            wide,
        })
    }

    /// As many words as the mask needs.
    fn fit(&mut self, value: Val, mask: u128) -> Val {
        let wide = mask > u128::from(u64::MAX);
        let value = if wide {
            self.widen(value)
        } else {
            self.narrow(value)
        };
        Val { value, wide }
    }

    /// The bits of a mask.
    pub fn and_mask(&mut self, value: Val, mask: u128) -> Val {
        if let Ok(mask) = u64::try_from(mask) {
            let value = self.narrow(value);
            if mask == u64::MAX {
                return Val { value, wide: false };
            }
            if let Some(number) = self.number(value) {
                return self.constant(u128::from(number & mask));
            }
            if self.most(value) <= mask && mask.wrapping_add(1).is_power_of_two() {
                return Val { value, wide: false };
            }
            let mask = self.iconst(mask);
            return Val {
                value: self.b.ins().band(value, mask),
                wide: false,
            };
        }
        if !value.wide {
            if mask as u64 == u64::MAX {
                return value;
            }
            let mask = self.iconst(mask as u64);
            return Val {
                value: self.b.ins().band(value.value, mask),
                wide: false,
            };
        }
        if mask == u128::MAX {
            return value;
        }
        let mask = self.constant(mask);
        let mask = self.widen(mask);
        Val {
            value: self.b.ins().band(value.value, mask),
            wide: true,
        }
    }

    /// The lowest bits.
    pub fn mask_to(&mut self, value: Val, width: u32) -> Val {
        self.and_mask(value, mask(width))
    }

    /// Shifted right by a constant.
    pub fn shift_right(&mut self, value: Val, by: u32) -> Val {
        if by == 0 {
            return value;
        }
        if value.wide {
            if by >= 64 {
                let (_, high) = self.b.ins().isplit(value.value);
                return Val {
                    value: self.b.ins().ushr_imm_u(high, i64::from(by - 64)),
                    wide: false,
                };
            }
            let amount = self.iconst(u64::from(by));
            return Val {
                value: self.b.ins().ushr(value.value, amount),
                wide: true,
            };
        }
        if by >= 64 {
            return self.constant(0);
        }
        if let Some(number) = self.known(value) {
            return self.constant(u128::from(number >> by));
        }
        Val {
            value: self.b.ins().ushr_imm_u(value.value, i64::from(by)),
            wide: false,
        }
    }

    /// Shifted left by a constant below 128; nothing is lost when the result has room.
    pub fn shift_left(&mut self, value: Val, by: u32, wide: bool) -> Val {
        if by >= WORD || (!wide && by >= 64) {
            return self.constant(0);
        }
        if wide {
            let value = self.widen(value);
            let amount = self.iconst(u64::from(by));
            return Val {
                value: self.b.ins().ishl(value, amount),
                wide: true,
            };
        }
        let value = self.narrow(value);
        if let Some(number) = self.number(value) {
            return self.constant(u128::from(number << by));
        }
        Val {
            value: self.b.ins().ishl_imm_u(value, i64::from(by)),
            wide: false,
        }
    }

    /// A slot's value with some bits replaced.
    pub fn insert_bits(&mut self, slot: Slot, (hi, lo): (u32, u32), value: Val) -> Val {
        let wide = self.widths.of(slot) > 64 || hi >= 64;
        let field = mask(hi.saturating_sub(lo) + 1);
        let value = self.and_mask(value, field);
        let value = self.shift_left(value, lo, wide);
        let old = self.get(slot);
        if wide {
            let old = self.widen(old);
            let keep = self.constant(!(field << lo));
            let keep = self.widen(keep);
            let old = self.b.ins().band(old, keep);
            return Val {
                value: self.b.ins().bor(old, value.value),
                wide: true,
            };
        }
        let keep = self.iconst(!((field as u64) << lo));
        let old = self.narrow(old);
        let old = self.b.ins().band(old, keep);
        Val {
            value: self.b.ins().bor(old, value.value),
            wide: false,
        }
    }

    fn binary(&mut self, bin: &Bin) -> Result<Val, Unsupported> {
        if order(bin).is_some() {
            let condition = self.compare(bin)?;
            return Ok(self.flag(condition));
        }
        let a = self.ex(&bin.a)?;
        if matches!(bin.op, Op::Shl | Op::Shr) {
            return self.shift(bin, a);
        }
        let b = self.ex(&bin.b)?;
        let width = bin.width;
        if let (Some(a), Some(b)) = (self.known(a), self.known(b))
            && let Some(value) = computed(bin, a, b)
        {
            return Ok(self.constant(u128::from(value)));
        }
        Ok(match bin.op {
            Op::BitAnd => {
                if a.wide && b.wide {
                    Val {
                        value: self.b.ins().band(a.value, b.value),
                        wide: true,
                    }
                } else {
                    let (a, b) = (self.narrow(a), self.narrow(b));
                    Val {
                        value: self.b.ins().band(a, b),
                        wide: false,
                    }
                }
            }
            Op::BitOr | Op::BitXor => {
                let wide = a.wide || b.wide;
                let (a, b) = self.both(a, b, wide);
                let value = if bin.op == Op::BitOr {
                    self.b.ins().bor(a, b)
                } else {
                    self.b.ins().bxor(a, b)
                };
                Val { value, wide }
            }
            Op::Add | Op::Sub | Op::Mul => {
                let wide = width > 64;
                let (mut a, mut b) = self.both(a, b, wide);
                if width == 32 {
                    // What is more than 32 bits is lost by itself.
                    a = self.b.ins().ireduce(types::I32, a);
                    b = self.b.ins().ireduce(types::I32, b);
                }
                let mut value = match bin.op {
                    Op::Add => self.b.ins().iadd(a, b),
                    Op::Sub => self.b.ins().isub(a, b),
                    _ => self.b.ins().imul(a, b),
                };
                if width == 32 {
                    value = self.b.ins().uextend(types::I64, value);
                }
                self.mask_to(Val { value, wide }, width)
            }
            Op::Div | Op::Mod => {
                let (a, b) = self.both(a, b, false);
                let none = self.b.ins().icmp_imm_u(IntCC::Equal, b, 0);
                let one = self.iconst(1);
                let divisor = self.b.ins().select(none, one, b);
                let value = if bin.op == Op::Div {
                    self.b.ins().udiv(a, divisor)
                } else {
                    self.b.ins().urem(a, divisor)
                };
                let zero = self.iconst(0);
                Val {
                    value: self.b.ins().select(none, zero, value),
                    wide: false,
                }
            }
            Op::SatAdd => {
                let (a, b) = self.both(a, b, false);
                let sum = self.b.ins().iadd(a, b);
                let most = self.iconst(mask(width) as u64);
                Val {
                    value: self.b.ins().umin(sum, most),
                    wide: false,
                }
            }
            Op::SatSub => {
                let (a, b) = self.both(a, b, false);
                let difference = self.b.ins().isub(a, b);
                let below = self.b.ins().icmp(IntCC::UnsignedLessThan, a, b);
                let zero = self.iconst(0);
                Val {
                    value: self.b.ins().select(below, zero, difference),
                    wide: false,
                }
            }
            Op::Concat => {
                let wide = self.widths.ex(&bin.a) + width > 64 || b.wide;
                let high = self.shift_left(a, width, wide);
                let low = if wide { self.widen(b) } else { self.narrow(b) };
                Val {
                    value: self.b.ins().bor(high.value, low),
                    wide,
                }
            }
            _ => return Err(Unsupported("an operator")),
        })
    }

    fn both(&mut self, a: Val, b: Val, wide: bool) -> (Value, Value) {
        if wide {
            (self.widen(a), self.widen(b))
        } else {
            (self.narrow(a), self.narrow(b))
        }
    }

    /// `<<` and logical `>>`.
    fn shift(&mut self, bin: &Bin, a: Val) -> Result<Val, Unsupported> {
        let width = bin.width;
        if let Ex::Const(by) = &bin.b {
            let by = u32::try_from(*by).unwrap_or(u32::MAX);
            return Ok(match bin.op {
                Op::Shl if by >= width => self.constant(0),
                Op::Shl => {
                    let value = self.shift_left(a, by, width > 64);
                    self.mask_to(value, width)
                }
                _ if by >= WORD => self.constant(0),
                _ => self.shift_right(a, by),
            });
        }
        let by = self.ex(&bin.b)?;
        let wide = a.wide || width > 64;
        let limit = match bin.op {
            Op::Shl => width,
            _ if wide => WORD,
            _ => 64,
        };
        let most = self.iconst(u64::from(limit));
        let limit = Val {
            value: most,
            wide: false,
        };
        let inside = {
            let (by, limit) = self.both(by, limit, by.wide);
            self.b.ins().icmp(IntCC::UnsignedLessThan, by, limit)
        };
        let amount = self.narrow(by);
        let value = if wide { self.widen(a) } else { self.narrow(a) };
        let value = if bin.op == Op::Shl {
            self.b.ins().ishl(value, amount)
        } else {
            self.b.ins().ushr(value, amount)
        };
        let zero = self.constant(0);
        let chosen = self.choose(inside, Val { value, wide }, zero);
        Ok(if bin.op == Op::Shl {
            self.mask_to(chosen, width)
        } else {
            chosen
        })
    }

    /// The slots of a value.
    pub fn agg(&mut self, agg: &Agg, slots: u32) -> Result<Vec<Val>, Unsupported> {
        if !support::agg(agg) {
            let status = self.interpret(Site::Agg(agg));
            self.check(status);
            return Ok(self.loaded(slots));
        }
        let first = match agg {
            Agg::Place(place) => support::fixed(place).ok_or(Unsupported("a place"))?,
            Agg::Const { temp, words } => {
                for (i, &word) in (0u32..).zip(words.iter()) {
                    let value = self.constant(word);
                    self.set(temp + i, value);
                }
                *temp
            }
            Agg::Build {
                temp,
                slots,
                valid,
                parts,
            } => {
                for (offset, part) in parts {
                    self.store(temp + offset, part)?;
                }
                if parts.is_empty() {
                    self.clear(*temp, *slots);
                }
                if *valid {
                    let one = self.constant(1);
                    self.set(*temp, one);
                }
                *temp
            }
            Agg::Call {
                call,
                ret,
                temp,
                slots,
            } => {
                self.in_one_way(|build| build.call(call))?;
                self.meet();
                self.copy(*ret, *temp, *slots)?;
                *temp
            }
            _ => return Err(Unsupported("a value")),
        };
        Ok((0..slots).map(|i| self.get(first + i)).collect())
    }

    /// Slots in memory at the address that the interpreter handed back.
    fn loaded(&mut self, slots: u32) -> Vec<Val> {
        let at = self.scalar();
        let at = self.narrow(at);
        let at = self.b.ins().ishl_imm_u(at, 4);
        let base = self.b.ins().iadd(self.slots, at);
        let flags = MemFlagsData::trusted();
        (0..slots)
            .map(|i| {
                let offset = super::context::Context::slot_offset(i);
                let low = self.b.ins().load(types::I64, flags, base, offset);
                let high = self.b.ins().load(types::I64, flags, base, offset + 8);
                Val {
                    value: self.b.ins().iconcat(low, high),
                    wide: true,
                }
            })
            .collect()
    }

    /// The one slot of an operand.
    pub fn scalar_operand(&mut self, operand: &Operand) -> Result<Val, Unsupported> {
        match operand {
            Operand::One(ex) => self.ex(ex),
            Operand::Many(..) => Err(Unsupported("a value of several slots")),
        }
    }
}

/// What comes of two numbers, for the plainest operators.
fn computed(bin: &Bin, a: u64, b: u64) -> Option<u64> {
    let value = match bin.op {
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::BitAnd => a & b,
        Op::BitOr => a | b,
        Op::BitXor => a ^ b,
        _ => return None,
    };
    (bin.width <= 64).then(|| value & mask(bin.width) as u64)
}
