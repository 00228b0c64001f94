//! How many bits of each slot can be other than zero, so that most values need one machine word.
//!
//! In: the lowered program, the slots in memory, what the architecture sets, the registers. Out: a width per slot.
//! Invariant: no execution leaves a value in a slot that is wider than said here.

use super::super::bits::WORD;
use super::super::interp::code::{
    Agg, Call, ChecksumAction, Code, Dest, Ex, Extern, Next, Op, Operand, Pack, Prim, Slot, Stmt,
    Test,
};
use super::support;
use crate::ir::{ExternInstance, Handle};

/// Most bits of what a register's cells hold.
type Registers<'a> = dyn Fn(Handle<ExternInstance>) -> u32 + Sync + 'a;

/// Widths of every slot.
pub(super) struct Widths<'a> {
    bits: Vec<u8>,
    changed: bool,
    registers: &'a Registers<'a>,
}

impl<'a> Widths<'a> {
    /// Finds the widths; `memory` slots may hold anything.
    pub fn new(
        code: &Code,
        memory: &[bool],
        given: &[(Slot, u32)],
        registers: &'a Registers<'a>,
    ) -> Self {
        let mut widths = Self {
            bits: memory
                .iter()
                .map(|&flag| if flag { WORD as u8 } else { 0 })
                .collect(),
            changed: true,
            registers,
        };
        given
            .iter()
            .for_each(|&(slot, width)| widths.grow(slot, width));
        while widths.changed {
            widths.changed = false;
            widths.program(code);
        }
        widths
    }

    /// Width of a slot.
    pub fn of(&self, slot: Slot) -> u32 {
        self.bits
            .get(slot as usize)
            .map_or(WORD, |&bits| u32::from(bits))
    }

    fn grow(&mut self, slot: Slot, width: u32) {
        if let Some(bits) = self.bits.get_mut(slot as usize)
            && u32::from(*bits) < width.min(WORD)
        {
            *bits = width.min(WORD) as u8;
            self.changed = true;
        }
    }

    /// Width of an expression's value.
    pub fn ex(&self, ex: &Ex) -> u32 {
        let significant = |value: u128| WORD - value.leading_zeros();
        match ex {
            Ex::Const(value) => significant(*value),
            Ex::Slot(slot) => self.of(*slot),
            Ex::Load(place) => support::fixed(place).map_or(WORD, |slot| self.of(slot)),
            Ex::Slice { value, lo, mask } => {
                significant(*mask).min(self.ex(value).saturating_sub(*lo))
            }
            Ex::Mask(value, mask) => significant(*mask).min(self.ex(value)),
            Ex::WideSlice { .. } | Ex::Lookahead(_) => WORD,
            Ex::SignExtend { mask, .. } | Ex::BitNot(_, mask) | Ex::Neg(_, mask) => {
                significant(*mask)
            }
            Ex::Not(_)
            | Ex::And(_)
            | Ex::Or(_)
            | Ex::Same { .. }
            | Ex::WideOrder { .. }
            | Ex::UnionValid { .. }
            | Ex::Apply { .. } => 1,
            Ex::Mux(parts) => self.ex(&parts.1).max(self.ex(&parts.2)),
            Ex::LastIndex(_) => 32,
            Ex::PacketLength => 64,
            Ex::Call(_, result) => self.of(*result),
            Ex::Prim(prim) => self.prim_value(prim),
            Ex::Bin(bin) => {
                let (a, b) = (self.ex(&bin.a), self.ex(&bin.b));
                match bin.op {
                    Op::BitAnd => a.min(b),
                    Op::BitOr | Op::BitXor => a.max(b),
                    Op::Concat => (a + bin.width).max(b).min(WORD),
                    Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge => 1,
                    Op::Shr if !bin.signed => a,
                    Op::Div | Op::Mod if !bin.signed => a,
                    // Not masked: they saturate at the operands' own width.
                    Op::SatSub if !bin.signed => a,
                    _ => bin.width.min(WORD),
                }
            }
        }
    }

    /// Width of what an operation hands back.
    fn prim_value(&self, prim: &Prim) -> u32 {
        match prim {
            Prim::Extern(Extern::SumGet(_)) => 16,
            Prim::Extern(Extern::SumState(slot)) => self.of(*slot),
            Prim::Extern(Extern::Hash { mask, .. }) => WORD - mask.leading_zeros(),
            Prim::Extern(Extern::AddEntry { .. } | Extern::Nothing) => 1,
            Prim::Extern(Extern::RegisterRead { temp, .. }) => self.of(*temp).max(1),
            _ => WORD,
        }
    }

    fn program(&mut self, code: &Code) {
        for body in code.functions.iter().chain(&code.actions) {
            self.stmts(body);
        }
        for (_, body) in code.controls.iter().flatten() {
            self.stmts(body);
        }
        for (_, parser) in code.parsers.iter().flatten() {
            self.stmts(&parser.locals);
            for state in &parser.states {
                self.stmts(&state.body);
                self.next(&state.next);
            }
        }
        for table in code.tables.iter().flatten() {
            for key in &table.keys {
                self.operand(&key.value);
            }
            self.packs(&table.selector);
            for action in &table.actions {
                for &(slot, width, _) in &action.data {
                    self.wide(slot, width);
                }
                self.call(&action.call);
            }
        }
    }

    /// A value that takes as many slots as its width asks for.
    fn wide(&mut self, slot: Slot, width: u32) {
        let mut left = width;
        let mut at = slot;
        while left > 0 {
            self.grow(at, left.min(WORD));
            left -= left.min(WORD);
            at += 1;
        }
    }

    fn copy(&mut self, from: Slot, to: Slot, slots: u32) {
        for i in 0..slots {
            self.grow(to + i, self.of(from + i));
        }
    }

    fn store(&mut self, to: Slot, operand: &Operand) {
        self.operand(operand);
        match operand {
            Operand::One(ex) => self.grow(to, self.ex(ex)),
            Operand::Many(agg, slots) => self.store_agg(to, agg, *slots),
        }
    }

    fn store_agg(&mut self, to: Slot, agg: &Agg, slots: u32) {
        let from = match agg {
            Agg::Place(place) => support::fixed(place),
            Agg::Const { temp, .. } | Agg::Build { temp, .. } | Agg::Call { temp, .. } => {
                Some(*temp)
            }
            _ => None,
        };
        match from {
            Some(from) => self.copy(from, to, slots),
            None => (0..slots).for_each(|i| self.grow(to + i, WORD)),
        }
    }

    /// What evaluating an operand leaves in temporaries.
    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::One(ex) => self.inside(ex),
            Operand::Many(agg, _) => self.agg(agg),
        }
    }

    fn agg(&mut self, agg: &Agg) {
        match agg {
            Agg::Place(_) | Agg::Wide(_) | Agg::Lookahead { .. } | Agg::Prim { .. } => {}
            Agg::Const { temp, words } => {
                for (i, word) in words.iter().enumerate() {
                    self.grow(temp + i as u32, WORD - word.leading_zeros());
                }
            }
            Agg::Build {
                temp, valid, parts, ..
            } => {
                for (offset, part) in parts {
                    self.store(temp + offset, part);
                }
                if *valid {
                    self.grow(*temp, 1);
                }
            }
            Agg::Mux(parts) => {
                self.inside(&parts.0);
                self.agg(&parts.1);
                self.agg(&parts.2);
            }
            Agg::Call {
                call,
                ret,
                temp,
                slots,
            } => {
                self.call(call);
                self.copy(*ret, *temp, *slots);
            }
        }
    }

    fn inside(&mut self, ex: &Ex) {
        match ex {
            Ex::Slice { value, .. }
            | Ex::Mask(value, _)
            | Ex::SignExtend { value, .. }
            | Ex::Not(value)
            | Ex::BitNot(value, _)
            | Ex::Neg(value, _) => self.inside(value),
            Ex::Bin(bin) => {
                self.inside(&bin.a);
                self.inside(&bin.b);
            }
            Ex::And(pair) | Ex::Or(pair) => {
                self.inside(&pair.0);
                self.inside(&pair.1);
            }
            Ex::Mux(parts) => {
                self.inside(&parts.0);
                self.inside(&parts.1);
                self.inside(&parts.2);
            }
            Ex::Same { a, b, .. } => {
                self.agg(a);
                self.agg(b);
            }
            Ex::Call(call, _) => self.call(call),
            Ex::Prim(prim) => self.prim(prim),
            _ => {}
        }
    }

    fn dest(&mut self, dest: &Dest) {
        if let Some(slot) = support::dest(dest) {
            self.wide(
                slot,
                if dest.slots == 1 {
                    dest.width.max(1)
                } else {
                    0
                },
            );
        }
    }

    fn call(&mut self, call: &Call) {
        for (slot, operand) in &call.ins {
            self.store(*slot, operand);
        }
        for &(from, to, slots) in &call.moves {
            self.copy(from, to, slots);
        }
        for arg in &call.places {
            let Some(slot) = support::dest(&arg.dest) else {
                continue;
            };
            self.copy(slot, arg.param, arg.dest.slots);
            if arg.dest.slice.is_some() {
                self.dest(&arg.dest);
            } else {
                self.copy(arg.param, slot, arg.dest.slots);
            }
        }
    }

    fn stmts(&mut self, stmts: &[Stmt]) {
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Set(slot, ex) => {
                self.inside(ex);
                self.grow(*slot, self.ex(ex));
            }
            Stmt::Assign(dest, value) => {
                self.operand(value);
                match (support::dest(dest), value) {
                    (Some(slot), Operand::Many(agg, slots)) if dest.slice.is_none() => {
                        self.store_agg(slot, agg, dest.slots.min(*slots));
                    }
                    (Some(slot), Operand::One(ex)) if dest.slice.is_none() => {
                        self.grow(slot, self.ex(ex));
                    }
                    _ => self.dest(dest),
                }
            }
            Stmt::Init(slot, value) => self.store(*slot, value),
            Stmt::Eval(value) => self.operand(value),
            Stmt::Call(call) => self.call(call),
            Stmt::Prim(prim) => self.prim(prim),
            Stmt::If(cond, then, otherwise) => {
                self.inside(cond);
                self.stmts(then);
                self.stmts(otherwise);
            }
            Stmt::SwitchAction { cases, default, .. } => {
                cases.iter().for_each(|case| self.stmts(case));
                self.stmts(default);
            }
            Stmt::Switch {
                subject,
                cases,
                default,
            } => {
                self.operand(subject);
                cases.iter().for_each(|(_, body)| self.stmts(body));
                self.stmts(default);
            }
            Stmt::For {
                init,
                cond,
                update,
                body,
            } => {
                self.inside(cond);
                self.stmts(init);
                self.stmts(update);
                self.stmts(body);
            }
            Stmt::ForRange {
                var,
                low,
                high,
                signed,
                body,
            } => {
                let range = self.ex(low).max(self.ex(high));
                self.grow(*var, signed.map_or(range, |width| width.max(range)));
                self.stmts(body);
            }
            Stmt::ForItems { var, items, body } => {
                items.iter().for_each(|item| self.store(*var, item));
                self.stmts(body);
            }
            Stmt::ForStack { body, .. } | Stmt::Block(body) => self.stmts(body),
            Stmt::Return(Some((slot, value))) => self.store(*slot, value),
            Stmt::Clear(..)
            | Stmt::Apply(_)
            | Stmt::Return(None)
            | Stmt::Break
            | Stmt::Continue
            | Stmt::Exit => {}
        }
    }

    fn prim(&mut self, prim: &Prim) {
        match prim {
            Prim::Extract {
                dest: Some(dest),
                shape,
                ..
            } => {
                if let Some(slot) = support::dest(dest) {
                    shape
                        .headers
                        .iter()
                        .for_each(|header| self.grow(slot + header, 1));
                    for leaf in shape.leaves.iter().filter(|leaf| !leaf.varbit) {
                        self.wide(slot + leaf.slot, leaf.width);
                    }
                }
            }
            Prim::SetValid(dest) => {
                if let Some(slot) = support::dest(dest) {
                    self.grow(slot, 1);
                }
            }
            Prim::Emit { value, .. } => self.agg(value),
            Prim::Verify(condition, error) => {
                self.inside(condition);
                self.inside(error);
            }
            Prim::Extern(op) => self.external(op),
            _ => {}
        }
    }

    fn next(&mut self, next: &Next) {
        let Next::Select { subjects, cases } = next else {
            return;
        };
        subjects
            .iter()
            .for_each(|subject| self.operand(&subject.value));
        for test in cases.iter().flat_map(|(tests, _)| tests) {
            match test {
                Test::Any | Test::Set(..) => {}
                Test::Value(value) => self.operand(value),
                Test::Mask(value, mask) => {
                    self.operand(value);
                    self.operand(mask);
                }
                Test::Range(low, high) => {
                    self.inside(low);
                    self.inside(high);
                }
            }
        }
    }

    fn packs(&mut self, data: &[Pack]) {
        for item in data {
            match item {
                Pack::Scalar { value, .. } => self.inside(value),
                Pack::Leaves { value, .. } => self.agg(value),
            }
        }
    }

    fn external(&mut self, op: &Extern) {
        match op {
            Extern::Count { index, length, .. } => {
                self.inside(index);
                length.iter().for_each(|length| self.inside(length));
            }
            Extern::CountDirect { length, .. } => {
                length.iter().for_each(|length| self.inside(length));
            }
            Extern::SendTo(value) | Extern::SetExpire(value) => self.inside(value),
            Extern::RegisterWrite { index, value, .. } => {
                self.inside(index);
                self.operand(value);
            }
            Extern::AddEntry { data, profile, .. } => {
                data.iter().for_each(|(value, _)| self.operand(value));
                self.inside(profile);
            }
            Extern::RegisterRead {
                instance,
                index,
                dest,
                temp,
                ..
            } => {
                self.inside(index);
                let most = (self.registers)(*instance);
                let width = dest.as_ref().map_or(most, |dest| dest.width.max(1));
                self.grow(*temp, width);
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::Hash { dest, data, .. } => {
                self.packs(data);
                dest.iter().for_each(|dest| self.dest(dest));
            }
            Extern::MarkToDrop { port, group } => {
                self.grow(*port, 32);
                self.grow(*group, 1);
            }
            Extern::SumClear(slot) => self.grow(*slot, 16),
            Extern::SumAdd(slot, data) | Extern::SumSubtract(slot, data) => {
                self.packs(data);
                self.grow(*slot, 16);
            }
            Extern::SumSetState(slot, value) => {
                self.inside(value);
                self.grow(*slot, 16);
            }
            Extern::Checksum(checksum) => {
                self.inside(&checksum.condition);
                self.packs(&checksum.data);
                if let ChecksumAction::Update(dest) = &checksum.action {
                    self.dest(dest);
                }
            }
            _ => {}
        }
    }
}
