//! Machine code that is left out because its outcome is known: tests of constants, ways that are never taken, loads of
//! what is at hand.
//!
//! In: conditions and values as they are built. Out: instructions for what is not known, and what each way teaches.
//! Invariant: every way to a block is noted before the block is entered; a value that is handed out was computed on
//! every way to the place where it is used.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, InstBuilder, InstructionData, Opcode, Value, ValueDef, types,
};
use cranelift_frontend::Variable;

use super::super::interp::code::Slot;
use super::build::{Build, Val};
use super::context::Context;
use super::known::{Fact, Facts, Test};

impl Build<'_, '_> {
    /// Goes on at a block that receives values.
    pub fn go(&mut self, to: Block, args: &[BlockArg]) {
        self.b.ins().jump(to, args);
        self.edge(to, None);
    }

    /// Goes on at one of two blocks; at one, where the condition is known.
    pub fn brif(
        &mut self,
        condition: Value,
        yes: Block,
        yes_args: &[BlockArg],
        no: Block,
        no_args: &[BlockArg],
    ) {
        match self.number(condition) {
            Some(0) => self.go(no, no_args),
            Some(_) => self.go(yes, yes_args),
            None => {
                self.b.ins().brif(condition, yes, yes_args, no, no_args);
                self.edge(yes, Some((condition, true)));
                self.edge(no, Some((condition, false)));
            }
        }
    }

    /// What is known here is known at `to` too, if every other way there knows it.
    fn edge(&mut self, to: Block, condition: Option<(Value, bool)>) {
        if self.hot.as_ref().is_some_and(|hot| to == hot.failed) {
            return;
        }
        if self.facts.dead {
            if self.is_hot() {
                // What is built where no way leads is finished all the same.
                let facts = &self.facts;
                self.ways.entry(to).or_insert_with(|| facts.clone());
            }
            return;
        }
        let mut facts = self.facts.clone();
        if let Some((condition, holds)) = condition {
            self.conclude(&mut facts, condition, holds);
        }
        match self.ways.get_mut(&to) {
            Some(known) => known.meet(&facts),
            None => {
                self.ways.insert(to, facts);
            }
        }
    }

    /// What follows from a condition that holds, or does not.
    fn conclude(&self, facts: &mut Facts, condition: Value, holds: bool) {
        match self.tests.get(&condition) {
            Some(&Test::Equal(value, number)) if holds => facts.learn(value, number),
            Some(&Test::Differs(value, number)) if !holds => facts.learn(value, number),
            Some(&Test::Equal(value, number) | &Test::Differs(value, number))
                if number < 2 && self.binary.contains(&value) =>
            {
                facts.learn(value, 1 - number);
            }
            Some(&Test::Both(a, b)) if holds => {
                self.conclude(facts, a, true);
                self.conclude(facts, b, true);
            }
            Some(&Test::Either(a, b)) if !holds => {
                self.conclude(facts, a, false);
                self.conclude(facts, b, false);
            }
            Some(&Test::Not(value)) => self.conclude(facts, value, !holds),
            _ => {}
        }
    }

    /// The number that a value is, where that is known.
    pub fn number(&self, value: Value) -> Option<u64> {
        if let ValueDef::Result(inst, _) = self.b.func.dfg.value_def(value)
            && let InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } = self.b.func.dfg.insts[inst]
        {
            return Some(imm.bits() as u64);
        }
        self.facts.number(value)
    }

    /// The number that a value of one word is, where that is known.
    pub fn known(&self, value: Val) -> Option<u64> {
        if value.wide {
            return None;
        }
        self.number(value.value)
    }

    /// A number that a word is not above.
    pub fn most(&self, value: Value) -> u64 {
        self.most_within(value, 4)
    }

    /// As [`Self::most`], looking at so many instructions one behind the other.
    fn most_within(&self, value: Value, depth: u32) -> u64 {
        if let Some(number) = self.number(value) {
            return number;
        }
        let dfg = &self.b.func.dfg;
        let bits = dfg.value_type(value).bits();
        let all = u64::MAX >> 64u32.saturating_sub(bits);
        let (Some(inst), Some(depth)) = (dfg.value_def(value).inst(), depth.checked_sub(1)) else {
            return all;
        };
        let most = |value: Value| self.most_within(value, depth);
        match dfg.insts[inst] {
            InstructionData::Unary {
                opcode: Opcode::Uextend,
                arg,
            } => most(arg),
            InstructionData::Load {
                opcode: Opcode::Uload16,
                ..
            } => u64::from(u16::MAX),
            InstructionData::Load {
                opcode: Opcode::Uload32,
                ..
            } => u64::from(u32::MAX),
            InstructionData::Binary { opcode, args } => {
                let [a, b] = args;
                match opcode {
                    Opcode::Band => most(a).min(most(b)),
                    Opcode::Bor | Opcode::Bxor => {
                        let both = most(a) | most(b);
                        u64::MAX.checked_shr(both.leading_zeros()).unwrap_or(0)
                    }
                    Opcode::Ushr => match self.number(b) {
                        Some(by) if by < 64 => most(a) >> by,
                        _ => most(a),
                    },
                    Opcode::Ishl => match self.number(b) {
                        Some(by) if most(a).leading_zeros() >= by as u32 && by < 64 => {
                            most(a) << by
                        }
                        _ => all,
                    },
                    Opcode::Iadd => most(a).saturating_add(most(b)).min(all),
                    _ => all,
                }
            }
            _ => all,
        }
    }

    /// Whether a word is made of constants and what the architecture gives packets.
    pub fn is_given(&self, value: Value) -> bool {
        self.is_given_within(value, 4)
    }

    fn is_given_within(&self, value: Value, depth: u32) -> bool {
        let dfg = &self.b.func.dfg;
        let (Some(inst), Some(depth)) = (dfg.value_def(value).inst(), depth.checked_sub(1)) else {
            return false;
        };
        match dfg.insts[inst] {
            InstructionData::UnaryImm { .. } => true,
            InstructionData::Load { arg, offset, .. } => {
                let given = offset_of!(Context, given);
                let given = given..given + size_of::<[u64; 6]>();
                arg == self.context && given.contains(&(i32::from(offset) as usize))
            }
            InstructionData::Unary { arg, .. } => self.is_given_within(arg, depth),
            InstructionData::Binary { args, .. } => {
                args.iter().all(|&arg| self.is_given_within(arg, depth))
            }
            _ => false,
        }
    }

    /// A condition that says something of values.
    pub fn tested(&mut self, condition: Value, test: Test) -> Value {
        self.tests.insert(condition, test);
        condition
    }

    /// A condition that always or never holds.
    pub fn always(&mut self, holds: bool) -> Value {
        self.b.ins().iconst(types::I8, i64::from(holds))
    }

    /// Compares two words.
    pub fn compare_words(&mut self, code: IntCC, a: Value, b: Value) -> Value {
        let numbers = (self.number(a), self.number(b));
        if let (Some(a), Some(b)) = numbers {
            return self.always(holds(code, a, b));
        }
        let condition = self.b.ins().icmp(code, a, b);
        match (code, numbers) {
            (IntCC::Equal, (None, Some(number))) => self.tested(condition, Test::Equal(a, number)),
            (IntCC::Equal, (Some(number), None)) => self.tested(condition, Test::Equal(b, number)),
            (IntCC::NotEqual, (None, Some(number))) => {
                self.tested(condition, Test::Differs(a, number))
            }
            (IntCC::NotEqual, (Some(number), None)) => {
                self.tested(condition, Test::Differs(b, number))
            }
            _ => condition,
        }
    }

    /// Whether a word is a number.
    pub fn is(&mut self, value: Value, number: u64) -> Value {
        let number = self.iconst(number);
        self.compare_words(IntCC::Equal, value, number)
    }

    /// Whether both conditions hold.
    pub fn both_hold(&mut self, a: Value, b: Value) -> Value {
        match (self.number(a), self.number(b)) {
            (Some(0), _) | (_, Some(1..)) => a,
            (_, Some(0)) | (Some(1..), _) => b,
            (None, None) => {
                let condition = self.b.ins().band(a, b);
                self.tested(condition, Test::Both(a, b))
            }
        }
    }

    /// Whether one of two conditions holds.
    pub fn one_holds(&mut self, a: Value, b: Value) -> Value {
        match (self.number(a), self.number(b)) {
            (Some(0), _) | (_, Some(1..)) => b,
            (_, Some(0)) | (Some(1..), _) => a,
            (None, None) => {
                let condition = self.b.ins().bor(a, b);
                self.tested(condition, Test::Either(a, b))
            }
        }
    }

    /// A word that is 1 where the condition holds and 0 where it does not.
    pub fn flagged(&mut self, word: Value, condition: Value) {
        self.binary.insert(word);
        self.flags.insert(word, condition);
    }

    /// Whether a condition does not hold.
    pub fn not(&mut self, condition: Value) -> Value {
        match self.number(condition) {
            Some(number) => self.always(number == 0),
            None => {
                let inverse = self.b.ins().bxor_imm_u(condition, 1);
                self.tested(inverse, Test::Not(condition))
            }
        }
    }

    pub fn cursor_place(&self) -> Slot {
        self.code.slots
    }

    /// A slot has this value from here on; whether that is news.
    pub fn know(&mut self, slot: Slot, value: Value) -> bool {
        let fact = match self.number(value) {
            Some(number) => Fact::Number(number),
            None => Fact::Is(value),
        };
        let news = self.facts.of(slot) != fact;
        self.facts.set(slot, fact);
        news
    }

    /// The value that a slot is known to have.
    pub fn at_hand(&mut self, slot: Slot) -> Option<Value> {
        match self.facts.of(slot) {
            Fact::Unknown => None,
            Fact::Number(number) => Some(self.iconst(number)),
            Fact::Is(value) => Some(match self.facts.number(value) {
                Some(number) => self.iconst(number),
                None => value,
            }),
        }
    }

    fn place(&mut self, place: Slot, variable: Variable) -> Value {
        match self.at_hand(place) {
            Some(value) => value,
            None => {
                let value = self.b.use_var(variable);
                self.know(place, value);
                value
            }
        }
    }

    /// Bits taken from the packet.
    pub fn cursor(&mut self) -> Value {
        self.place(self.cursor_place(), self.cursor)
    }

    /// So many bits are taken from the packet.
    pub fn set_cursor(&mut self, bits: Value) {
        self.b.def_var(self.cursor, bits);
        self.know(self.cursor_place(), bits);
    }

    /// Bytes of headers written.
    pub fn written(&mut self) -> Value {
        self.place(self.cursor_place() + 1, self.written)
    }

    /// So many bytes of headers are written.
    pub fn set_written(&mut self, bytes: Value) {
        self.b.def_var(self.written, bytes);
        self.know(self.cursor_place() + 1, bytes);
    }

    /// A number more, computed here where that is possible.
    pub fn plus(&mut self, value: Value, more: u64) -> Value {
        match self.number(value) {
            Some(number) => self.iconst(number.wrapping_add(more)),
            None => self.b.ins().iadd_imm_s(value, more as i64),
        }
    }
}

/// What is said of two numbers.
fn holds(code: IntCC, a: u64, b: u64) -> bool {
    let (c, d) = (a as i64, b as i64);
    match code {
        IntCC::Equal => a == b,
        IntCC::NotEqual => a != b,
        IntCC::UnsignedLessThan => a < b,
        IntCC::UnsignedLessThanOrEqual => a <= b,
        IntCC::UnsignedGreaterThan => a > b,
        IntCC::UnsignedGreaterThanOrEqual => a >= b,
        IntCC::SignedLessThan => c < d,
        IntCC::SignedLessThanOrEqual => c <= d,
        IntCC::SignedGreaterThan => c > d,
        IntCC::SignedGreaterThanOrEqual => c >= d,
    }
}
