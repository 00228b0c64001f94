//! What a stretch of a pass will probably read: the lookups and register cells in it, with the statements that lead to
//! their keys and indices, and no others.
//!
//! In: the statements of a stretch. Out: steps for machine code that fetches memory before the stretch is entered.
//!
//! A table on whose answer later keys depend is asked for it once its entry is at hand; other tables are taken to leave
//! everything as it is, and both ways of a choice to be gone that depends on a register. Where packets before this one
//! change that, something else is fetched than what is read later: time is lost, and nothing else.
//!
//! Invariant: steps change nothing but values of their own, and none is run by the interpreter.

use std::borrow::Cow;

use rustc_hash::FxHashSet;

use super::super::interp::Machine;
use super::super::interp::code::{
    Agg, Call, Code, Dest, Ex, Extern, Operand, Pack, Place, Prim, Slot, Stmt, TableCode,
};
use super::super::tables::MatchTable;
use super::runtime::entry_fetch;
use super::support;
use crate::ir::{ExternInstance, Handle};

/// Calls nested deeper are left out.
const MAX_DEPTH: u32 = 24;

/// A step towards a hint.
#[derive(Debug)]
pub(super) enum Step<'c> {
    /// A statement without calls and ways out.
    Do(Cow<'c, Stmt>),
    If(&'c Ex, Vec<Step<'c>>, Vec<Step<'c>>),
    /// A table is looked up, and answers with one of these actions or with another that does not matter.
    Table(u32, Vec<(u64, Vec<Step<'c>>)>),
    /// A slot gets a word of the answer's data.
    Datum(Slot, i32),
    /// A register's cell is read or written.
    Cell(Handle<ExternInstance>, &'c Ex),
}

/// Steps, and every slot that they read or write.
pub(super) fn steps<'c>(machine: &'c Machine, stmts: &'c [Stmt]) -> (Vec<Step<'c>>, Vec<Slot>) {
    let mut flat = Flat {
        machine,
        code: &machine.code,
        unknown: FxHashSet::default(),
        asked: Vec::new(),
        depth: 0,
    };
    let mut steps = Vec::new();
    flat.stmts(stmts, &mut steps);
    let mut needed = FxHashSet::default();
    let steps = slice(&machine.code, steps, &mut needed);
    let mut slots = FxHashSet::default();
    used(&machine.code, &steps, &mut slots);
    let mut slots: Vec<Slot> = slots.into_iter().collect();
    slots.sort_unstable();
    (steps, slots)
}

/// Whether there is anything to fetch.
fn hints(steps: &[Step<'_>]) -> bool {
    steps.iter().any(|step| match step {
        Step::Do(_) | Step::Datum(..) => false,
        Step::If(_, then, otherwise) => hints(then) || hints(otherwise),
        Step::Table(..) | Step::Cell(..) => true,
    })
}

/// Puts calls in place and leaves out what does not become a step.
struct Flat<'c> {
    machine: &'c Machine,
    code: &'c Code,
    /// Slots whose value depends on registers.
    unknown: FxHashSet<Slot>,
    /// Tables that have answered, and the slots of their keys, which are the same still.
    asked: Vec<(u32, Vec<Slot>)>,
    depth: u32,
}

impl<'c> Flat<'c> {
    fn stmts(&mut self, stmts: &'c [Stmt], to: &mut Vec<Step<'c>>) {
        stmts.iter().for_each(|stmt| self.stmt(stmt, to));
    }

    fn stmt(&mut self, stmt: &'c Stmt, to: &mut Vec<Step<'c>>) {
        match stmt {
            Stmt::Set(_, ex) => {
                self.cells(ex, to);
                self.assign(Cow::Borrowed(stmt), to);
            }
            Stmt::Assign(_, value) | Stmt::Init(_, value) => {
                if let Operand::One(ex) = value {
                    self.cells(ex, to);
                }
                self.assign(Cow::Borrowed(stmt), to);
            }
            Stmt::Clear(..) => self.assign(Cow::Borrowed(stmt), to),
            Stmt::Eval(Operand::One(ex)) => self.cells(ex, to),
            Stmt::Call(call) => self.call(call, to),
            Stmt::Apply(table) => self.table(*table, to),
            Stmt::Prim(prim) => match &**prim {
                Prim::Extern(Extern::Hash { .. }) => self.assign(Cow::Borrowed(stmt), to),
                Prim::Extern(op) => self.register(op, to),
                _ => {}
            },
            Stmt::If(cond, then, otherwise) => self.choice(cond, then, otherwise, to),
            Stmt::SwitchAction {
                table,
                cases,
                default,
                ..
            } => {
                self.table(*table, to);
                cases.iter().for_each(|case| self.maybe(case, to));
                self.maybe(default, to);
            }
            Stmt::Switch { cases, default, .. } => {
                cases.iter().for_each(|(_, case)| self.maybe(case, to));
                self.maybe(default, to);
            }
            Stmt::Block(body) => self.stmts(body, to),
            Stmt::Eval(Operand::Many(..))
            | Stmt::For { .. }
            | Stmt::ForRange { .. }
            | Stmt::ForItems { .. }
            | Stmt::ForStack { .. }
            | Stmt::Break
            | Stmt::Continue
            | Stmt::Return(_)
            | Stmt::Exit => {}
        }
    }

    /// What is gone through perhaps: for the sake of the hints in it.
    fn maybe(&mut self, body: &'c [Stmt], to: &mut Vec<Step<'c>>) {
        let mut inner = Vec::new();
        self.stmts(body, &mut inner);
        if hints(&inner) {
            to.append(&mut inner);
        }
    }

    fn choice(
        &mut self,
        cond: &'c Ex,
        then: &'c [Stmt],
        otherwise: &'c [Stmt],
        to: &mut Vec<Step<'c>>,
    ) {
        self.cells(cond, to);
        let mut read = Vec::new();
        let known = reads(cond, &mut read) && !read.iter().any(|slot| self.unknown.contains(slot));
        if !known {
            self.maybe(then, to);
            self.maybe(otherwise, to);
            return;
        }
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        let (before, asked) = (self.unknown.clone(), self.asked.clone());
        self.stmts(then, &mut yes);
        let after = std::mem::replace(&mut self.unknown, before);
        let still = std::mem::replace(&mut self.asked, asked);
        self.stmts(otherwise, &mut no);
        self.unknown.extend(after);
        self.asked.retain(|asked| still.contains(asked));
        if !yes.is_empty() || !no.is_empty() {
            to.push(Step::If(cond, yes, no));
        }
    }

    /// A statement that sets slots.
    fn assign(&mut self, stmt: Cow<'c, Stmt>, to: &mut Vec<Step<'c>>) {
        let Some(effect) = effect(&stmt) else {
            if let Some((first, slots)) = target(&stmt) {
                self.unknown.extend(first..first + slots);
                self.wrote(first, slots);
            }
            return;
        };
        let (first, slots) = effect.writes;
        self.wrote(first, slots);
        if effect.reads.iter().any(|slot| self.unknown.contains(slot)) {
            self.unknown.extend(first..first + slots);
        } else if effect.whole {
            (first..first + slots).for_each(|slot| {
                self.unknown.remove(&slot);
            });
        }
        to.push(Step::Do(stmt));
    }

    /// Slots have other values now.
    fn wrote(&mut self, first: Slot, slots: u32) {
        let written = first..first + slots;
        self.asked
            .retain(|(_, key)| !key.iter().any(|slot| written.contains(slot)));
    }

    fn make(&mut self, stmt: Stmt, to: &mut Vec<Step<'c>>) {
        self.assign(Cow::Owned(stmt), to);
    }

    /// The registers and tables in an expression.
    fn cells(&mut self, ex: &'c Ex, to: &mut Vec<Step<'c>>) {
        match ex {
            Ex::Prim(prim) => {
                if let Prim::Extern(op) = &**prim {
                    self.register(op, to);
                }
            }
            Ex::Apply { table, .. } => self.table(*table, to),
            Ex::Slice { value, .. }
            | Ex::Mask(value, _)
            | Ex::SignExtend { value, .. }
            | Ex::Not(value)
            | Ex::BitNot(value, _)
            | Ex::Neg(value, _) => self.cells(value, to),
            Ex::Bin(bin) => {
                self.cells(&bin.a, to);
                self.cells(&bin.b, to);
            }
            Ex::And(pair) | Ex::Or(pair) => {
                self.cells(&pair.0, to);
                self.cells(&pair.1, to);
            }
            _ => {}
        }
    }

    fn register(&mut self, op: &'c Extern, to: &mut Vec<Step<'c>>) {
        let (instance, index) = match op {
            Extern::RegisterRead {
                instance,
                index,
                dest,
                ..
            } => {
                if let Some((dest, slot)) = dest.as_ref().and_then(|d| Some((d, support::dest(d)?)))
                {
                    self.unknown.extend(slot..slot + dest.slots);
                    self.wrote(slot, dest.slots);
                }
                (instance, index)
            }
            Extern::RegisterWrite {
                instance, index, ..
            } => (instance, index),
            _ => return,
        };
        let register = self.machine.externs().register(*instance);
        if register.is_ok_and(|register| register.plain().is_some())
            && reads(index, &mut Vec::new())
        {
            to.push(Step::Cell(*instance, index));
        }
    }

    fn table(&mut self, index: u32, to: &mut Vec<Step<'c>>) {
        let table = self.machine.tables.get(index as usize);
        let code = self.code.table(index);
        let plain = table.is_some_and(|table: &MatchTable| entry_fetch(table).is_some());
        let key = code.is_some_and(|code| {
            support::table(code)
                && code
                    .keys
                    .iter()
                    .all(|key| matches!(&key.value, Operand::One(ex) if reads(ex, &mut Vec::new())))
        });
        let known = self.asked.iter().any(|(asked, _)| *asked == index);
        if let (Some(code), true, true, false) = (code, plain, key, known) {
            let mut slots = Vec::new();
            self::key(self.code, index, &mut slots);
            self.asked.push((index, slots));
            let answers = self.answers(code);
            to.push(Step::Table(index, answers));
        }
    }

    /// What a table's actions do, by number.
    fn answers(&mut self, code: &'c TableCode) -> Vec<(u64, Vec<Step<'c>>)> {
        let (before, asked) = (self.unknown.clone(), self.asked.clone());
        let (mut unknown, mut still) = (before.clone(), asked.clone());
        let mut answers = Vec::new();
        for (number, binding) in (0..).zip(&code.actions) {
            self.unknown.clone_from(&before);
            self.asked.clone_from(&asked);
            let mut steps = Vec::new();
            let mut word = 0;
            for &(slot, width, _) in &binding.data {
                self.wrote(slot, 1);
                if width <= 64 {
                    self.unknown.remove(&slot);
                    steps.push(Step::Datum(slot, word));
                    word += 1;
                } else {
                    self.unknown.insert(slot);
                    word += 2;
                }
            }
            self.call(&binding.call, &mut steps);
            unknown.extend(self.unknown.iter().copied());
            still.retain(|asked| self.asked.contains(asked));
            answers.push((number, steps));
        }
        (self.unknown, self.asked) = (unknown, still);
        answers
    }

    fn call(&mut self, call: &'c Call, to: &mut Vec<Step<'c>>) {
        let (Some(body), true) = (
            self.code.body(call.target),
            support::call(call) && self.depth < MAX_DEPTH,
        ) else {
            return;
        };
        for (slot, value) in &call.ins {
            self.make(Stmt::Init(*slot, value.clone()), to);
        }
        for &(from, into, slots) in &call.moves {
            self.make(Stmt::Init(into, place(from, slots)), to);
        }
        for &(slot, slots) in &call.clears {
            self.make(Stmt::Clear(slot, slots), to);
        }
        for arg in call.places.iter().filter(|arg| arg.copy_in) {
            if let (Some(slot), None) = (support::dest(&arg.dest), arg.dest.slice) {
                self.make(Stmt::Init(arg.param, place(slot, arg.dest.slots)), to);
            }
        }
        self.depth += 1;
        self.stmts(body, to);
        self.depth -= 1;
        for arg in &call.places {
            let value = place(arg.param, arg.dest.slots);
            self.make(Stmt::Assign(arg.dest.clone(), value), to);
        }
    }
}

/// Slots as a value.
fn place(first: Slot, slots: u32) -> Operand {
    if slots == 1 {
        Operand::One(Ex::Slot(first))
    } else {
        Operand::Many(Agg::Place(Place::Fixed(first)), slots)
    }
}

/// What a statement does.
struct Effect {
    /// First slot and how many.
    writes: (Slot, u32),
    /// All of them are written, whatever else holds.
    whole: bool,
    reads: Vec<Slot>,
}

/// The slots that a statement sets.
fn target(stmt: &Stmt) -> Option<(Slot, u32)> {
    let fixed = |dest: &Dest| Some((support::dest(dest)?, dest.slots));
    match stmt {
        Stmt::Set(slot, _) => Some((*slot, 1)),
        Stmt::Clear(slot, slots) => Some((*slot, *slots)),
        Stmt::Init(slot, Operand::One(_)) => Some((*slot, 1)),
        Stmt::Init(slot, Operand::Many(_, slots)) => Some((*slot, *slots)),
        Stmt::Assign(dest, _) => fixed(dest),
        Stmt::Prim(prim) => match &**prim {
            Prim::Extern(Extern::Hash { dest, .. }) => dest.as_ref().and_then(fixed),
            _ => None,
        },
        _ => None,
    }
}

/// What a statement does, where that is no more than to set known slots from known slots.
fn effect(stmt: &Stmt) -> Option<Effect> {
    let writes = target(stmt)?;
    let (mut whole, mut read) = (true, Vec::new());
    let mut into = |dest: &Dest, read: &mut Vec<Slot>| {
        if let Some(back) = dest.guard {
            read.push(writes.0 - back);
            whole = false;
        }
        if dest.slice.is_some() {
            read.push(writes.0);
            whole = false;
        }
    };
    let plain = match stmt {
        Stmt::Set(_, ex) => reads(ex, &mut read),
        Stmt::Clear(..) => true,
        Stmt::Init(_, value) => operand(value, &mut read),
        Stmt::Assign(dest, value) => {
            into(dest, &mut read);
            let known = operand(value, &mut read);
            known && (dest.slice.is_none() || matches!(value, Operand::One(_)))
        }
        Stmt::Prim(prim) => match &**prim {
            Prim::Extern(op @ Extern::Hash { dest, .. }) => {
                dest.iter().for_each(|dest| into(dest, &mut read));
                hash(op, &mut read)
            }
            _ => false,
        },
        _ => false,
    };
    plain.then_some(Effect {
        writes,
        whole,
        reads: read,
    })
}

fn operand(operand: &Operand, read: &mut Vec<Slot>) -> bool {
    match operand {
        Operand::One(ex) => reads(ex, read),
        Operand::Many(Agg::Place(place), slots) => match support::fixed(place) {
            Some(first) => {
                read.extend(first..first + slots);
                true
            }
            None => false,
        },
        Operand::Many(..) => false,
    }
}

/// Collects the slots that a hash is computed from; false when it needs more than slots.
fn hash(op: &Extern, read: &mut Vec<Slot>) -> bool {
    let Extern::Hash {
        base, max, data, ..
    } = op
    else {
        return false;
    };
    let one = |item: &Pack, read: &mut Vec<Slot>| match item {
        Pack::Scalar { value, guard, .. } => {
            let guard = guard.as_ref().map(support::fixed);
            read.extend(guard.flatten());
            guard != Some(None) && reads(value, read)
        }
        Pack::Leaves { .. } => false,
    };
    support::external(op)
        && reads(base, read)
        && max.iter().all(|max| reads(max, read))
        && data.iter().all(|item| one(item, read))
}

/// Collects the slots that an expression reads; false when it does more than that.
fn reads(ex: &Ex, read: &mut Vec<Slot>) -> bool {
    if !support::ex(ex) {
        return false;
    }
    match ex {
        Ex::Const(_) | Ex::PacketLength => true,
        Ex::Slot(slot) => {
            read.push(*slot);
            true
        }
        Ex::Load(place) => {
            let slot = support::fixed(place);
            read.extend(slot);
            slot.is_some()
        }
        Ex::Slice { value, .. }
        | Ex::Mask(value, _)
        | Ex::SignExtend { value, .. }
        | Ex::Not(value)
        | Ex::BitNot(value, _)
        | Ex::Neg(value, _) => reads(value, read),
        Ex::Bin(bin) => reads(&bin.a, read) && reads(&bin.b, read),
        Ex::And(pair) | Ex::Or(pair) => reads(&pair.0, read) && reads(&pair.1, read),
        Ex::Mux(parts) => reads(&parts.0, read) && reads(&parts.1, read) && reads(&parts.2, read),
        Ex::Prim(prim) => match &**prim {
            Prim::Extern(op @ Extern::Hash { dest: None, .. }) => hash(op, read),
            _ => false,
        },
        _ => false,
    }
}

/// The slots of a table's key.
fn key(code: &Code, table: u32, read: &mut Vec<Slot>) {
    let table = code.table(table);
    for field in table.iter().flat_map(|table| &table.keys) {
        operand(&field.value, read);
    }
}

/// The steps that hints depend on; `needed` are the slots that matter afterwards, then those that matter before.
fn slice<'c>(code: &Code, steps: Vec<Step<'c>>, needed: &mut FxHashSet<Slot>) -> Vec<Step<'c>> {
    let mut kept = Vec::new();
    for step in steps.into_iter().rev() {
        let mut read = Vec::new();
        match step {
            Step::Do(stmt) => {
                let Some(effect) = effect(&stmt) else {
                    continue;
                };
                let (first, slots) = effect.writes;
                if !(first..first + slots).any(|slot| needed.contains(&slot)) {
                    continue;
                }
                if effect.whole {
                    (first..first + slots).for_each(|slot| {
                        needed.remove(&slot);
                    });
                }
                read = effect.reads;
                kept.push(Step::Do(stmt));
            }
            Step::If(cond, then, otherwise) => {
                let mut also = needed.clone();
                let then = slice(code, then, needed);
                let otherwise = slice(code, otherwise, &mut also);
                if then.is_empty() && otherwise.is_empty() {
                    continue;
                }
                needed.extend(also);
                reads(cond, &mut read);
                kept.push(Step::If(cond, then, otherwise));
            }
            Step::Datum(slot, _) => {
                if needed.remove(&slot) {
                    kept.push(step);
                }
            }
            Step::Table(table, answers) => {
                let after = needed.clone();
                let mut kept_answers = Vec::new();
                for (number, steps) in answers {
                    let mut also = after.clone();
                    let steps = slice(code, steps, &mut also);
                    if !steps.is_empty() {
                        needed.extend(also);
                        kept_answers.push((number, steps));
                    }
                }
                key(code, table, &mut read);
                kept.push(Step::Table(table, kept_answers));
            }
            Step::Cell(_, index) => {
                reads(index, &mut read);
                kept.push(step);
            }
        }
        needed.extend(read);
    }
    kept.reverse();
    kept
}

/// The slots that steps read or write.
fn used(code: &Code, steps: &[Step<'_>], slots: &mut FxHashSet<Slot>) {
    for step in steps {
        let mut read = Vec::new();
        match step {
            Step::Do(stmt) => {
                if let Some(effect) = effect(stmt) {
                    slots.extend(effect.reads);
                    slots.extend(effect.writes.0..effect.writes.0 + effect.writes.1);
                }
            }
            Step::If(cond, then, otherwise) => {
                reads(cond, &mut read);
                used(code, then, slots);
                used(code, otherwise, slots);
            }
            Step::Datum(slot, _) => read.push(*slot),
            Step::Table(table, answers) => {
                key(code, *table, &mut read);
                for (_, steps) in answers {
                    used(code, steps, slots);
                }
            }
            Step::Cell(_, index) => {
                reads(index, &mut read);
            }
        }
        slots.extend(read);
    }
}
