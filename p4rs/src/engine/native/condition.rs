//! Machine code of conditions: what is compared, and which part of a condition decides.
//!
//! In: expressions that say yes or no. Out: words of one bit, and ways to go on. Invariant: a part that the interpreter would
//! not ask for because one before it decides has no effect.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, Value, types};

use super::super::interp::code::{Bin, Ex, Op};
use super::Unsupported;
use super::build::{Build, Val};
use super::support;

impl Build<'_, '_> {
    /// An expression as a condition.
    pub fn cond(&mut self, ex: &Ex) -> Result<Value, Unsupported> {
        match ex {
            Ex::Not(value) => {
                let value = self.cond(value)?;
                Ok(self.not(value))
            }
            Ex::And(pair) if support::pure(&pair.1) => {
                let (a, b) = (self.cond(&pair.0)?, self.cond(&pair.1)?);
                Ok(self.both_hold(a, b))
            }
            Ex::Or(pair) if support::pure(&pair.1) => {
                let (a, b) = (self.cond(&pair.0)?, self.cond(&pair.1)?);
                Ok(self.one_holds(a, b))
            }
            Ex::And(_) | Ex::Or(_) if self.is_hot() => {
                self.begin_anew();
                Ok(self.always(false))
            }
            Ex::And(pair) | Ex::Or(pair) => {
                let a = self.cond(&pair.0)?;
                if let Some(known) = self.number(a) {
                    if (known == 0) == matches!(ex, Ex::And(_)) {
                        return Ok(a);
                    }
                    return self.cond(&pair.1);
                }
                let (more, done) = (self.b.create_block(), self.b.create_block());
                self.b.append_block_param(done, types::I8);
                let known = [a.into()];
                if matches!(ex, Ex::And(_)) {
                    self.brif(a, more, &[], done, &known);
                } else {
                    self.brif(a, done, &known, more, &[]);
                }
                self.enter(more);
                let b = self.cond(&pair.1)?;
                self.go(done, &[b.into()]);
                self.enter(done);
                Ok(self.b.block_params(done)[0])
            }
            Ex::Bin(bin) if support::ex(ex) && order(bin).is_some() => self.compare(bin),
            Ex::Same {
                a,
                b,
                ranges,
                negate,
            } if support::ex(ex) => {
                let end = ranges.iter().map(|(at, len)| at + len).max().unwrap_or(0);
                let (a, b) = (self.agg(a, end)?, self.agg(b, end)?);
                let mut same = self.b.ins().iconst(types::I8, 1);
                for &(at, len) in ranges {
                    for i in (at..at + len).map(|i| i as usize) {
                        let equal = self.equal(a[i], b[i]);
                        same = self.both_hold(same, equal);
                    }
                }
                Ok(if *negate { self.not(same) } else { same })
            }
            _ => {
                let value = self.ex(ex)?;
                Ok(self.truth(value))
            }
        }
    }

    /// Goes on at one of two blocks as a condition says. What has parts is asked part by part: the first one that decides
    /// leaves the others out.
    pub fn choose_way(&mut self, ex: &Ex, yes: Block, no: Block) -> Result<(), Unsupported> {
        let (pair, both) = match ex {
            Ex::Not(value) => return self.choose_way(value, no, yes),
            Ex::And(pair) => (pair, true),
            Ex::Or(pair) => (pair, false),
            _ => {
                let condition = self.cond(ex)?;
                self.brif(condition, yes, &[], no, &[]);
                return Ok(());
            }
        };
        let more = self.b.create_block();
        if both {
            self.choose_way(&pair.0, more, no)?;
        } else {
            self.choose_way(&pair.0, yes, more)?;
        }
        if !self.ways.contains_key(&more) {
            return Ok(());
        }
        self.enter(more);
        self.choose_way(&pair.1, yes, no)
    }

    /// Whether two values are equal.
    pub fn equal(&mut self, a: Val, b: Val) -> Value {
        if a.wide || b.wide {
            let (a, b) = (self.widen(a), self.widen(b));
            return self.b.ins().icmp(IntCC::Equal, a, b);
        }
        self.compare_words(IntCC::Equal, a.value, b.value)
    }

    pub fn compare(&mut self, bin: &Bin) -> Result<Value, Unsupported> {
        let code = order(bin).ok_or(Unsupported("a comparison"))?;
        let (a, b) = (self.ex(&bin.a)?, self.ex(&bin.b)?);
        if bin.signed && !matches!(bin.op, Op::Eq | Op::Ne) {
            let (a, b) = (self.narrow(a), self.narrow(b));
            let (a, b) = (
                self.sign_extend(a, bin.width),
                self.sign_extend(b, bin.width),
            );
            return Ok(self.b.ins().icmp(code, a, b));
        }
        if a.wide || b.wide {
            let (a, b) = (self.widen(a), self.widen(b));
            return Ok(self.b.ins().icmp(code, a, b));
        }
        Ok(self.compare_words(code, a.value, b.value))
    }
}

/// The condition code of a comparison.
pub(super) fn order(bin: &Bin) -> Option<IntCC> {
    Some(match (bin.op, bin.signed) {
        (Op::Eq, _) => IntCC::Equal,
        (Op::Ne, _) => IntCC::NotEqual,
        (Op::Lt, false) => IntCC::UnsignedLessThan,
        (Op::Le, false) => IntCC::UnsignedLessThanOrEqual,
        (Op::Gt, false) => IntCC::UnsignedGreaterThan,
        (Op::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
        (Op::Lt, true) => IntCC::SignedLessThan,
        (Op::Le, true) => IntCC::SignedLessThanOrEqual,
        (Op::Gt, true) => IntCC::SignedGreaterThan,
        (Op::Ge, true) => IntCC::SignedGreaterThanOrEqual,
        _ => return None,
    })
}
