//! Ways that are kept apart where they could meet, since what they know decides what comes later.
//!
//! In: the places where the arms of a choice end. Out: one place for those that agree in what matters, each with code of
//! its own from there on. What matters are the variables that most conditions ask for and that get constants: whether
//! the packet's fate is decided, whether an entry was found. Code where everything is decided is short: what is asked for
//! again and again costs nothing any more. Only the usual kinds of packets are worth it, and only so many ways go side by side.
//!
//! ```text
//! if c ─┬─ fate = drop ───────────────────── no condition that asks for the fate ─┬─
//!       └─ fate = none ── if fate == none: without a test ── everything else ─────┘
//! ```
//!
//! Invariant: the ways that are parked are where control stands; whoever goes on for one goes on for all of them.

use cranelift_codegen::ir::{Block, InstBuilder};
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::interp::code::{Code, Dest, Ex, Op, Operand, Slot, Stmt};
use super::Unsupported;
use super::build::{Build, Falls, UNREACHABLE};
use super::support;

/// Variables that keep ways apart, and how many conditions ask for one at least. More of them than one make programs
/// larger and few packets faster.
const GATES: usize = 1;
const TESTS: u32 = 5;
/// Ways that go side by side.
const MOST: usize = 8;
/// Instructions above which ways meet.
const SIZE: usize = 40_000;

/// The variables that keep ways apart: those with constants that most conditions compare with constants.
pub(super) fn gates(code: &Code) -> Vec<Slot> {
    let mut found = Found::default();
    let controls = code.controls.iter().flatten().map(|(_, body)| body);
    for body in controls.chain(&code.actions).chain(&code.functions) {
        found.stmts(body);
    }
    let tests = found.tests.iter().map(|(&slot, &tests)| (tests, slot));
    let mut gates: Vec<(u32, Slot)> = tests
        .filter(|(tests, slot)| *tests >= TESTS && found.set.contains(slot))
        .collect();
    gates.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    gates.truncate(GATES);
    gates.into_iter().map(|(_, slot)| slot).collect()
}

/// How often variables are compared with constants, and which ones are set to constants.
#[derive(Default)]
struct Found {
    tests: FxHashMap<Slot, u32>,
    set: FxHashSet<Slot>,
}

impl Found {
    fn stmts(&mut self, stmts: &[Stmt]) {
        stmts.iter().for_each(|stmt| self.stmt(stmt));
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::Set(slot, Ex::Const(_)) => {
                self.set.insert(*slot);
            }
            Stmt::Assign(to @ Dest { slice: None, .. }, Operand::One(Ex::Const(_))) => {
                self.set.extend(support::dest(to));
            }
            Stmt::If(cond, then, otherwise) => {
                self.cond(cond);
                self.stmts(then);
                self.stmts(otherwise);
            }
            Stmt::SwitchAction { cases, default, .. } => {
                cases.iter().for_each(|case| self.stmts(case));
                self.stmts(default);
            }
            Stmt::Switch { cases, default, .. } => {
                cases.iter().for_each(|(_, case)| self.stmts(case));
                self.stmts(default);
            }
            Stmt::Block(body) => self.stmts(body),
            _ => {}
        }
    }

    fn cond(&mut self, ex: &Ex) {
        match ex {
            Ex::Not(value) => self.cond(value),
            Ex::And(pair) | Ex::Or(pair) => {
                self.cond(&pair.0);
                self.cond(&pair.1);
            }
            Ex::Bin(bin) if matches!(bin.op, Op::Eq | Op::Ne) => {
                let slot = match (&bin.a, &bin.b) {
                    (Ex::Slot(slot), Ex::Const(_)) | (Ex::Const(_), Ex::Slot(slot)) => Some(*slot),
                    (Ex::Load(place), Ex::Const(_)) | (Ex::Const(_), Ex::Load(place)) => {
                        support::fixed(place)
                    }
                    _ => None,
                };
                if let Some(slot) = slot {
                    *self.tests.entry(slot).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

impl Build<'_, '_> {
    /// Whether ways that could meet here may be kept apart.
    pub fn splits(&self) -> bool {
        if self.is_hot() {
            return true;
        }
        self.split
            && !self.in_loop()
            && !self.gates.is_empty()
            && self.b.func.dfg.num_insts() < SIZE
    }

    /// Leaves the way that control is on: the block where it goes on later.
    pub fn park(&mut self) -> Block {
        let block = self.b.create_block();
        self.jump(block);
        block
    }

    /// Where ways end that began here, if any does: takes them.
    pub fn ends(&mut self, falls: Falls, ends: &mut Vec<Block>) {
        let parked = std::mem::take(&mut self.parked);
        if falls == Falls::Through {
            if self.facts.dead {
                self.b.ins().trap(UNREACHABLE);
            } else {
                let block = self.park();
                ends.push(block);
            }
        }
        ends.extend(parked);
    }

    /// What a way knows of the variables that keep ways apart.
    fn known_gates(&self, block: Block) -> Option<Vec<Option<u64>>> {
        let facts = self.ways.get(&block)?;
        let known = |&gate: &Slot| facts.number_of(facts.of(gate));
        Some(self.gates.iter().map(known).collect())
    }

    /// Ways that agree meet; control goes on with one, the others are parked.
    pub fn regroup(&mut self, ends: Vec<Block>) -> Falls {
        if self.is_hot() {
            return self.keep_apart(ends);
        }
        let most = if self.splits() {
            MOST.saturating_sub(self.stashed).max(1)
        } else {
            1
        };
        let mut groups: Vec<(Vec<Option<u64>>, Vec<Block>)> = Vec::new();
        for end in ends {
            let Some(known) = self.known_gates(end) else {
                self.enter(end);
                self.b.ins().trap(UNREACHABLE);
                continue;
            };
            let same = groups.iter().position(|(other, _)| *other == known);
            match same.or((groups.len() >= most).then_some(most - 1)) {
                Some(group) => groups[group].1.push(end),
                None => groups.push((known, vec![end])),
            }
        }
        let mut blocks = Vec::with_capacity(groups.len());
        for (_, members) in groups {
            if let [only] = members[..] {
                blocks.push(only);
                continue;
            }
            let after = self.b.create_block();
            for member in members {
                self.enter(member);
                self.jump(after);
            }
            blocks.push(after);
        }
        if blocks.is_empty() {
            return Falls::Away;
        }
        let first = blocks.remove(0);
        self.enter(first);
        self.parked = blocks;
        Falls::Through
    }

    /// No ways meet; control goes on with one, the others are parked.
    fn keep_apart(&mut self, ends: Vec<Block>) -> Falls {
        let mut ends = ends.into_iter();
        let Some(first) = ends.next() else {
            return Falls::Away;
        };
        self.enter(first);
        self.parked = ends.collect();
        Falls::Through
    }

    /// All ways that are parked meet with the one that control is on.
    pub fn meet(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let after = self.b.create_block();
        let mut ends = Vec::new();
        self.ends(Falls::Through, &mut ends);
        for end in ends {
            self.enter(end);
            self.jump(after);
        }
        self.enter(after);
    }

    /// What is left of a pass, for the way that control is on and for each one that is parked: none comes back.
    pub fn each_way(
        &mut self,
        rest: impl Fn(&mut Self) -> Result<(), Unsupported>,
    ) -> Result<(), Unsupported> {
        if self.is_hot() && self.facts.dead {
            self.b.ins().trap(UNREACHABLE);
            return Ok(());
        }
        let others = std::mem::take(&mut self.parked);
        let room = self.room;
        self.stashed += others.len();
        rest(self)?;
        let mut most = self.room;
        for other in others {
            self.stashed -= 1;
            self.enter(other);
            self.room = room;
            rest(self)?;
            most = most.max(self.room);
        }
        self.room = most;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::interp::code::{Bin, Place};
    use super::*;

    fn asks(slot: Slot) -> Ex {
        Ex::Bin(Box::new(Bin {
            op: Op::Eq,
            a: Ex::Slot(slot),
            b: Ex::Const(0),
            width: 8,
            signed: false,
        }))
    }

    fn sets(slot: Slot, value: Ex) -> Stmt {
        let to = Dest {
            place: Place::Fixed(slot),
            slots: 1,
            slice: None,
            width: 8,
            guard: None,
            union: None,
            name: 0,
        };
        Stmt::Assign(to, Operand::One(value))
    }

    #[test]
    fn the_variable_that_most_conditions_ask_for_keeps_ways_apart() {
        let both = |slot, other| Ex::And(Box::new((asks(slot), Ex::Not(Box::new(asks(other))))));
        // 4 is asked for most, but never set to a constant; 2 more often than 1.
        let body = |times: usize| -> Vec<Stmt> {
            let conditions = [both(4, 2), both(4, 2), both(4, 1)];
            let conditions = conditions.iter().cycle().take(times);
            let mut body: Vec<Stmt> = conditions
                .map(|cond| Stmt::If(cond.clone(), vec![sets(1, Ex::Const(1))], Vec::new()))
                .collect();
            body.push(sets(2, Ex::Const(3)));
            body.push(sets(4, Ex::Slot(5)));
            body
        };
        let mut code = Code::default();
        code.actions.push(body(6));
        assert_eq!(gates(&code), Vec::<Slot>::new());
        code.actions.push(body(6));
        assert_eq!(gates(&code), vec![2]);
    }
}
