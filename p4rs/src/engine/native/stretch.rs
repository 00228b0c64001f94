//! Machine code at the beginning of a stretch that packets enter in their order: it fetches what the stretch will
//! probably read, and waits.
//!
//! In: the stretch's statements. Out: hints, a place to wait, and no wait until the stretch ends. Invariant: hints set
//! variables of their own; the pass finds all of its values as they were.

use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};
use rustc_hash::FxHashSet;
use std::mem::offset_of;
use std::ops::Range;

use super::super::interp::code::{Ex, Stmt};
use super::Unsupported;
use super::build::{Build, Falls, Home, UNREACHABLE, Val};
use super::hint::{Step, steps};
use super::runtime::{Context, entry_fetch};
use crate::ir::{ExternInstance, Handle};

/// A register's cell that was fetched: base of the cells, index, block.
type Fetched = FxHashSet<(usize, Value, Option<Block>)>;

/// Whether ways may part in a statement.
fn parts(stmt: &Stmt) -> bool {
    matches!(
        stmt,
        Stmt::If(..)
            | Stmt::Call(_)
            | Stmt::Apply(_)
            | Stmt::SwitchAction { .. }
            | Stmt::Switch { .. }
            | Stmt::Block(_)
    )
}

impl Build<'_, '_> {
    /// Statements in order.
    pub fn stmts(&mut self, stmts: &[Stmt]) -> Result<Falls, Unsupported> {
        let before = self.places.enter();
        let falls = self.in_order(stmts);
        self.places.leave(before);
        falls
    }

    fn in_order(&mut self, stmts: &[Stmt]) -> Result<Falls, Unsupported> {
        let mut end = None;
        let mut at = 0;
        while at < stmts.len() {
            // What makes no ways is built together with what may.
            let simple = stmts.iter().skip(at).take_while(|stmt| !parts(stmt));
            let to = stmts.len().min(at + simple.count() + 1);
            let others = std::mem::take(&mut self.parked);
            let before = (self.places.turn(), self.in_stretch, end);
            let mut falls = self.run(stmts, at..to, &mut end)?;
            if !others.is_empty() {
                let stashed = self.stashed;
                self.stashed += others.len();
                let mut ends = Vec::new();
                let mut after = None;
                for other in others.into_iter().map(Some).chain([None]) {
                    if falls == Falls::Through {
                        after = Some((self.places.turn(), self.in_stretch, end));
                    }
                    self.ends(falls, &mut ends);
                    let Some(other) = other else {
                        break;
                    };
                    self.places.go_back(before.0);
                    (self.in_stretch, end) = (before.1, before.2);
                    self.enter(other);
                    falls = self.run(stmts, at..to, &mut end)?;
                }
                if let Some((turn, in_stretch, open)) = after {
                    self.places.go_back(turn);
                    (self.in_stretch, end) = (in_stretch, open);
                }
                self.stashed = stashed;
                falls = self.regroup(ends);
            }
            if falls == Falls::Away {
                self.in_stretch &= end.is_none();
                return Ok(Falls::Away);
            }
            at = to;
        }
        Ok(Falls::Through)
    }

    /// Some of the statements; `end` is the last one of the stretch that began among them.
    fn run(
        &mut self,
        stmts: &[Stmt],
        range: Range<usize>,
        end: &mut Option<usize>,
    ) -> Result<Falls, Unsupported> {
        for at in range {
            if self.facts.dead {
                self.b.ins().trap(UNREACHABLE);
                return Ok(Falls::Away);
            }
            let Some(stmt) = stmts.get(at) else {
                break;
            };
            if !self.in_stretch && self.side_by_side {
                *end = self.order.end(stmts, at);
                if let Some(end) = *end {
                    self.begin_stretch(stmts.get(at..=end).unwrap_or_default())?;
                    self.in_stretch = true;
                }
            }
            if self.stmt(stmt)? == Falls::Away {
                return Ok(Falls::Away);
            }
            if *end == Some(at) {
                self.in_stretch = false;
                *end = None;
            }
        }
        Ok(Falls::Through)
    }

    fn begin_stretch(&mut self, stmts: &[Stmt]) -> Result<(), Unsupported> {
        let (hint, on) = (self.b.create_block(), self.b.create_block());
        let lane = self.load_context(types::I64, offset_of!(Context, lane));
        self.brif(lane, hint, &[], on, &[]);
        self.seldom = true;
        self.enter(hint);
        self.hints(stmts)?;
        // Behind those of the hints: who waits there has not arrived.
        match self.next_cut() {
            Some(cut) => {
                let number = self.iconst(0);
                self.places.mark(number, cut, 0);
                let args = [self.context, number];
                self.b.ins().call(self.imports.arrive, &args);
            }
            None => self.side_by_side = false,
        }
        self.jump(on);
        self.seldom = false;
        self.enter(on);
        Ok(())
    }

    /// Fetches what statements will read.
    fn hints(&mut self, stmts: &[Stmt]) -> Result<(), Unsupported> {
        let machine = self.machine;
        let (steps, slots) = steps(machine, stmts);
        let values: Vec<_> = slots.iter().map(|&slot| self.get(slot)).collect();
        let unused = vec![Home::None; self.homes.len()];
        let homes = std::mem::replace(&mut self.homes, unused);
        let facts = self.facts.clone();
        self.apart = true;
        for (&slot, value) in slots.iter().zip(values) {
            self.set(slot, value);
        }
        let done = self.fetch(&steps, &mut Fetched::default());
        self.apart = false;
        self.homes = homes;
        let dead = self.facts.dead;
        self.facts = facts;
        self.facts.dead = dead;
        done
    }

    fn fetch(&mut self, steps: &[Step<'_>], fetched: &mut Fetched) -> Result<(), Unsupported> {
        for step in steps {
            match step {
                Step::Do(stmt) => {
                    self.stmt(stmt)?;
                }
                Step::If(cond, then, otherwise) => {
                    let condition = self.cond(cond)?;
                    let [yes, no, after] = [0; 3].map(|_| self.b.create_block());
                    self.brif(condition, yes, &[], no, &[]);
                    for (block, arm) in [(yes, then), (no, otherwise)] {
                        self.enter(block);
                        self.fetch(arm, fetched)?;
                        self.jump(after);
                    }
                    self.enter(after);
                }
                Step::Table(table, answers) => self.fetch_entry(*table, answers, fetched)?,
                Step::Datum(slot, word) => {
                    let data = self.load_context(types::I64, offset_of!(Context, data));
                    let flags = MemFlagsData::trusted();
                    let value = self.b.ins().load(types::I64, flags, data, word * 8);
                    self.set(*slot, Val { value, wide: false });
                }
                Step::Cell(instance, index) => self.fetch_cell(*instance, index, fetched)?,
            }
        }
        Ok(())
    }

    /// Fetches the entry of a key; where the answer matters, waits for it and goes on with what it says.
    fn fetch_entry(
        &mut self,
        index: u32,
        answers: &[(u64, Vec<Step<'_>>)],
        fetched: &mut Fetched,
    ) -> Result<(), Unsupported> {
        let machine = self.machine;
        let table = machine.tables.get(index as usize);
        let code = self.code.table(index);
        let (Some(table), Some(code)) = (table, code) else {
            return Ok(());
        };
        let Some(function) = entry_fetch(table) else {
            return Ok(());
        };
        if !self.cuts.contains(&index) {
            self.cuts.push(index);
        }
        let key = self.key(index, code)?;
        let words = table.key_layout().words;
        let cut = if answers.is_empty() {
            None
        } else {
            self.next_cut()
        };
        let waits = cut.is_some();
        let place = self.place_of(words, cut, index)?;
        let address = std::ptr::from_ref(table) as u64;
        let call = self.call_table(function as usize as u64, address, key, place);
        if !waits {
            return Ok(());
        }
        let action = self.b.inst_results(call)[0];
        let after = self.b.create_block();
        for (number, steps) in answers {
            let (run, other) = (self.b.create_block(), self.b.create_block());
            let is = self.is(action, *number);
            self.brif(is, run, &[], other, &[]);
            self.enter(run);
            self.fetch(steps, fetched)?;
            self.jump(after);
            self.enter(other);
        }
        self.jump(after);
        self.enter(after);
        Ok(())
    }

    fn fetch_cell(
        &mut self,
        instance: Handle<ExternInstance>,
        index: &Ex,
        fetched: &mut Fetched,
    ) -> Result<(), Unsupported> {
        let Some(plain) = self.plain_register(instance) else {
            return Ok(());
        };
        let index = self.index(index)?;
        if fetched.insert((plain.row, index, self.b.current_block())) {
            let (_, at) = self.cell(plain, index);
            self.b.ins().call(self.imports.fetch_cell, &[at]);
        }
        Ok(())
    }
}
