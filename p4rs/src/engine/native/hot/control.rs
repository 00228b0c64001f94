//! Usual ways through controls: statements where ways part or end, tables, calls.
//!
//! In: statements. Out: code for the outcomes that are usual. Invariant: decisions are met in the order in which the
//! interpreter makes them.

use cranelift_codegen::ir::{Block, InstBuilder, Value, types};
use std::mem::offset_of;

use super::super::super::interp::code::{Call, Ex, Operand, Stmt, TableCode, Target};
use super::super::Unsupported;
use super::super::build::{Build, Falls, UNREACHABLE};
use super::super::context::{Context, NO_ACTION};
use super::super::probe::Asked;
use super::super::profile::{Place, parts};
use super::super::runtime;
use super::super::support;
use super::learn::Missed;
use super::{Later, Left};

impl Build<'_, '_> {
    /// A statement where ways may part, or where they end.
    pub fn hot_stmt(&mut self, stmt: &Stmt) -> Option<Result<Falls, Unsupported>> {
        self.hot.as_ref()?;
        if self.is_too_large() {
            return Some(Err(Unsupported("so many usual ways")));
        }
        if support::stmt(stmt)
            && let Some(learned) = self.hot_learn(stmt)
        {
            return Some(learned.map(|()| Falls::Through));
        }
        Some(match stmt {
            stmt if !support::stmt(stmt) => Ok(self.end_anew()),
            Stmt::If(cond, then, otherwise) => self.hot_branch(cond, then, otherwise),
            Stmt::Apply(table) => self.hot_apply(*table, &|_, _| Ok(Falls::Through)),
            Stmt::SwitchAction {
                table,
                by_action,
                cases,
                default,
            } => self.hot_apply(*table, &|build, action| {
                let case = by_action.get(action as usize).copied().flatten();
                let body = case.and_then(|case| cases.get(case as usize));
                build.stmts(body.unwrap_or(default))
            }),
            Stmt::Switch {
                subject,
                cases,
                default,
            } => self.hot_switch(subject, cases, default),
            Stmt::Return(value) => {
                if let Some((slot, value)) = value
                    && let Err(error) = self.store(*slot, value)
                {
                    return Some(Err(error));
                }
                self.leave_body(false);
                Ok(Falls::Away)
            }
            Stmt::Exit => {
                self.leave_body(true);
                Ok(Falls::Away)
            }
            Stmt::For { .. }
            | Stmt::ForRange { .. }
            | Stmt::ForItems { .. }
            | Stmt::Break
            | Stmt::Continue => Ok(self.end_anew()),
            _ => return None,
        })
    }

    /// The way goes on where the body ends, or where the control around it does.
    fn leave_body(&mut self, control: bool) {
        if self.facts.dead {
            self.b.ins().trap(UNREACHABLE);
            return;
        }
        let block = self.park();
        if let Some(hot) = &mut self.hot {
            let left = if control {
                &mut hot.left.exited
            } else {
                &mut hot.left.returned
            };
            left.push(block);
        }
    }

    fn hot_branch(
        &mut self,
        cond: &Ex,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let (mut yes, mut no) = (Vec::new(), Vec::new());
        self.hot_condition(cond, &mut yes, &mut no)?;
        let mut ends = Vec::new();
        for (ways, body) in [(yes, then), (no, otherwise)] {
            for way in ways {
                self.enter(way);
                let falls = self.stmts(body)?;
                self.ends(falls, &mut ends);
            }
        }
        Ok(self.regroup(ends))
    }

    /// The usual ways on which a condition holds, and those on which it does not: one for each way to find out.
    fn hot_condition(
        &mut self,
        cond: &Ex,
        yes: &mut Vec<Block>,
        no: &mut Vec<Block>,
    ) -> Result<(), Unsupported> {
        let mut more = Vec::new();
        let second = match cond {
            Ex::Not(value) => return self.hot_condition(value, no, yes),
            Ex::And(pair) => {
                self.hot_condition(&pair.0, &mut more, no)?;
                &pair.1
            }
            Ex::Or(pair) => {
                self.hot_condition(&pair.0, yes, &mut more)?;
                &pair.1
            }
            part => {
                let condition = self.cond(part)?;
                let (holds, fails) = (self.b.create_block(), self.b.create_block());
                self.brif(condition, holds, &[], fails, &[]);
                for (block, outcome, ways) in [(holds, 1, yes), (fails, 0, no)] {
                    if self.ways.contains_key(&block) && self.decided(block, outcome) {
                        let way = self.park();
                        ways.push(way);
                    }
                }
                return Ok(());
            }
        };
        for way in more {
            self.enter(way);
            self.hot_condition(second, yes, no)?;
        }
        Ok(())
    }

    fn hot_switch(
        &mut self,
        subject: &Operand,
        cases: &[(Vec<Operand>, Vec<Stmt>)],
        default: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let blocks = self.case_blocks(subject, cases)?;
        let bodies = cases.iter().map(|(_, body)| body.as_slice());
        let ways = blocks.into_iter().zip(bodies).zip(1..);
        let mut ways: Vec<(Block, &[Stmt], u32)> = ways
            .map(|((block, body), outcome)| (block, body, outcome))
            .collect();
        let none = self.b.create_block();
        self.jump(none);
        ways.push((none, default, 0));
        let mut ends = Vec::new();
        for (block, body, outcome) in ways {
            if self.ways.contains_key(&block) && self.decided(block, outcome) {
                let falls = self.stmts(body)?;
                self.ends(falls, &mut ends);
            }
        }
        Ok(self.regroup(ends))
    }

    /// Applies a table: for each of its usual answers the action, and what `then` does.
    fn hot_apply(
        &mut self,
        index: u32,
        then: &dyn Fn(&mut Self, u32) -> Result<Falls, Unsupported>,
    ) -> Result<Falls, Unsupported> {
        let (code, machine) = (self.code, self.machine);
        let (Some(Some(code)), Some(table)) = (
            code.tables.get(index as usize),
            machine.tables.get(index as usize),
        ) else {
            return Err(Unsupported("a table"));
        };
        if self.facts.dead
            || !support::table(code)
            || table.simple_words().is_none()
            || self.is_to_learn(index)
        {
            return Ok(self.end_anew());
        }
        let key = self.key_words(index, code)?;
        let usual = self.usual_here();
        if usual.is_empty() {
            return Ok(self.end_anew());
        }
        if let Some(hot) = &mut self.hot {
            hot.answer = usual.first().map(|&(answer, _)| answer);
        }
        let of = |wanted: bool| -> Vec<(u32, Place)> {
            let usual = usual.iter().map(|&(outcome, next)| (parts(outcome), next));
            let usual = usual.filter(|((hit, _), _)| *hit == wanted);
            usual.map(|((_, action), next)| (action, next)).collect()
        };
        let (hits, misses) = (of(true), of(false));
        let missed = self.b.create_block();
        let anew = self.anew().unwrap_or(missed);
        let before = self.facts.clone();
        let address = std::ptr::from_ref(table) as u64;
        let path = table.path();
        let mut hash = None;
        let (row, mut found) = match &path {
            Some(path) => {
                let asked = Asked {
                    table: address,
                    index,
                    path,
                };
                let nothing = if misses.is_empty() { anew } else { missed };
                let packed = self.packed_key(key.clone());
                let row = self.live_row(&asked, &packed, (nothing, anew))?;
                hash = row.1;
                (row.0, self.answer_of(row.0, path))
            }
            None if self.is_scout() => return Ok(self.end_anew()),
            None => {
                let key = self.in_memory(&key);
                let place = self.place_of(table.key_layout().words, index)?;
                let function = runtime::peek as *const u8 as u64;
                let call = self.call_table(function, address, key, place);
                let found = self.answered(call);
                let row = self.load_context(types::I64, offset_of!(Context, row));
                let hit = self.b.create_block();
                self.b.ins().brif(row, hit, &[], missed, &[]);
                self.inside(hit, false);
                (row, found)
            }
        };
        let mut ends = Vec::new();
        for (hit, usual) in [(true, hits), (false, misses)] {
            if !hit {
                if path.is_some() && usual.is_empty() {
                    // No way leads there.
                    continue;
                }
                self.inside(missed, false);
                self.facts = before.clone();
                if path.is_some() {
                    found = self.default_of(table);
                }
                if let Some(hashed) = hash {
                    self.note_bucket(index, hashed);
                }
            }
            self.leave_for_later(Later::Applied { table: index, hit });
            self.acting = Some(index);
            self.row = hit.then_some(row);
            let missed = hash.filter(|_| !hit).map(|hashed| Missed {
                table: index,
                key: key.clone(),
                hash: hashed.tag,
            });
            for (action, next) in usual {
                let (run, other) = (self.b.create_block(), self.b.create_block());
                let is = self.is(found.action, u64::from(action));
                self.brif(is, run, &[], other, &[]);
                if self.ways.contains_key(&run) {
                    self.enter(run);
                    self.facts.trail.at = next;
                    if let Some(hot) = &mut self.hot {
                        hot.missed.clone_from(&missed);
                    }
                    self.hot_action(code, (action, found.data))?;
                    let mut acted = Vec::new();
                    self.ends(Falls::Through, &mut acted);
                    for end in acted {
                        self.enter(end);
                        let (acting, row) = (self.acting.take(), self.row.take());
                        let falls = then(self, action)?;
                        (self.acting, self.row) = (acting, row);
                        self.ends(falls, &mut ends);
                    }
                }
                self.enter(other);
            }
            (self.acting, self.row) = (None, None);
            self.end_anew();
        }
        Ok(self.regroup(ends))
    }

    /// Whether a table is so large that caches do not hold it, as things are.
    pub fn is_far(&self, index: u32) -> bool {
        let table = self.machine.tables.get(index as usize);
        self.regions.rows(index).is_some() && table.is_some_and(|table| table.is_far())
    }

    fn hot_action(
        &mut self,
        table: &TableCode,
        (action, data): (u32, Value),
    ) -> Result<(), Unsupported> {
        if action == NO_ACTION {
            return Ok(());
        }
        let binding = table.actions.get(action as usize);
        let binding = binding.ok_or(Unsupported("an action"))?;
        self.load_data(binding, data);
        self.call(&binding.call)
    }

    /// Calls a body, behind which its ways stay apart.
    pub fn hot_called(&mut self, call: &Call) -> Result<(), Unsupported> {
        let around = self.take_left();
        self.depth += 1;
        let falls = match call.target {
            Target::Parser(_) => Ok(self.end_anew()),
            target => self.target(target),
        };
        self.depth -= 1;
        let mut ends = Vec::new();
        self.ends(falls?, &mut ends);
        let mut left = self.take_left();
        ends.append(&mut left.returned);
        if !call.places.is_empty() {
            for end in ends.iter_mut().chain(&mut left.exited) {
                self.enter(*end);
                self.copy_outs(&call.places)?;
                *end = self.park();
            }
        }
        if let Some(hot) = &mut self.hot {
            hot.left = around;
            hot.left.exited.append(&mut left.exited);
        }
        if self.regroup(ends) == Falls::Away {
            self.nowhere();
        }
        Ok(())
    }

    /// Ways that have left what was built.
    pub(super) fn take_left(&mut self) -> Left {
        let hot = self.hot.as_mut();
        hot.map(|hot| std::mem::take(&mut hot.left))
            .unwrap_or_default()
    }

    /// A control of the pass, behind which its ways stay apart.
    pub fn hot_control(&mut self, body: &[Stmt]) -> Result<(), Unsupported> {
        let falls = self.stmts(body)?;
        let mut ends = Vec::new();
        self.ends(falls, &mut ends);
        let left = self.take_left();
        ends.extend(left.returned.into_iter().chain(left.exited));
        if self.regroup(ends) == Falls::Away {
            self.nowhere();
        }
        Ok(())
    }

    /// Builds a part of an expression, in which ways do not part.
    pub fn in_one_way<T>(&mut self, part: impl FnOnce(&mut Self) -> T) -> T {
        if let Some(hot) = &mut self.hot {
            hot.within += 1;
        }
        let made = part(self);
        if let Some(hot) = &mut self.hot {
            hot.within -= 1;
        }
        made
    }

    /// Applies a table within an expression: its most usual answer.
    pub fn hot_answer(&mut self, index: u32) -> Result<(Value, Value), Unsupported> {
        let through = |_: &mut Self, _| Ok(Falls::Through);
        if self.in_one_way(|build| build.hot_apply(index, &through))? == Falls::Away {
            self.nowhere();
        }
        let answer = self.hot.as_mut().and_then(|hot| hot.answer.take());
        let (hit, action) = answer.map_or((false, NO_ACTION), parts);
        Ok((self.iconst(u64::from(hit)), self.iconst(u64::from(action))))
    }
}
