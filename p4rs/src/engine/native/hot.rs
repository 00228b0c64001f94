//! Machine code for the ways that most packets take, straight from the parser to the deparser.
//!
//! In: what some packets decided ([`super::profile`]). Out: a tree of ways. At each decision only the outcomes that are usual
//! have code; a packet that decides otherwise begins anew in the code for all. Ways that have parted do not meet again, so
//! that everything that happened on a way is known on it: no variable needs a place in memory. What a packet leaves behind is
//! written at the end of its way, when nothing can make it begin anew any more.
//!
//! ```text
//! start ─ IPv4 ─ TCP ─ frontend hit ─┬─ flow hit ─ … ─ writes ─ sent
//!    │                               └─ flow missed: seldom ─▶ anew
//!    └─ other ─▶ anew
//! ```
//!
//! Invariant: up to the end of its way a packet has changed nothing that outlives its pass but hints.

use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};
use std::mem::offset_of;

use super::super::externs::Plain;
use super::super::interp::code::{Call, Ex, Goto, Next, Operand, ParserCode, Stmt, TableCode};
use super::super::interp::{STANDSTILL, Slot};
use super::Unsupported;
use super::build::{Build, DROPPED, Exits, Falls, SENT, UNREACHABLE};
use super::probe::{Answer, Asked};
use super::profile::{Place, Profile, parts};
use super::recall::FIRST;
use super::runtime::{self, Context, NO_ACTION};
use super::support;

/// Instructions above which no way gets code any more.
const SIZE: usize = 40_000;

/// What is built.
pub(super) struct Hot<'p> {
    profile: &'p Profile,
    /// Packets that make an outcome usual.
    least: u32,
    /// Where a packet begins anew: as it is, and with a status word.
    pub anew: Block,
    pub failed: Block,
    /// What is left for the end, each with the number of what was left before it on its way, from 1 on.
    later: Vec<(Later, u32)>,
    /// Ways that have returned from the body that is being built, and those that have left the control around it.
    returned: Vec<Block>,
    exited: Vec<Block>,
    /// Within so many expressions, in which ways cannot part.
    within: u32,
    /// Packets of the profile whose ways have code up to their end.
    covered: u32,
}

/// How far a way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    /// In the profile.
    pub at: Place,
    /// Number of what it has left for its end last; 0 where there is nothing.
    later: u32,
    /// Bytes behind the beginning of the places that were touched.
    pub touched: u32,
    /// Different ways have met.
    pub confused: bool,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            at: 0,
            later: 0,
            touched: FIRST as u32,
            confused: false,
        }
    }
}

/// What a way leaves for its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Later {
    /// A table was hit, or missed.
    Applied { table: u32, hit: bool },
    /// A register's cell gets a value.
    Cell {
        plain: Plain,
        index: Value,
        at: Value,
        value: Value,
    },
    /// A packet with so many bytes is counted in a cell.
    Count { at: Value, bytes: Value },
    /// The place of registers' cells was noted; there is nothing to do.
    Noted { index: Value, row: usize },
    /// What is left of the packet's budget.
    Budget { at: Value, left: Value },
}

impl<'a> Build<'a, '_> {
    /// From here on code is for usual ways only: those that so many packets took.
    pub fn begin_hot(&mut self, profile: &'a Profile, least: u32) {
        let (anew, failed) = (self.b.create_block(), self.status_block());
        self.exits = Exits {
            ret: anew,
            stop: failed,
            turn: None,
        };
        self.hot = Some(Hot {
            profile,
            least,
            anew,
            failed,
            later: Vec::new(),
            returned: Vec::new(),
            exited: Vec::new(),
            within: 0,
            covered: 0,
        });
    }
}

impl Build<'_, '_> {
    /// Whether what is built is for usual ways only.
    pub fn is_hot(&self) -> bool {
        self.hot.is_some()
    }

    /// Packets of the profile whose ways have code up to their end.
    pub fn covered(&self) -> u32 {
        self.hot.as_ref().map_or(0, |hot| hot.covered)
    }

    /// What packets usually decide here, and where that leads.
    fn usual_here(&self) -> Vec<(u32, Place)> {
        let Some(hot) = &self.hot else {
            return Vec::new();
        };
        if self.facts.dead || self.b.func.dfg.num_insts() > SIZE {
            return Vec::new();
        }
        let mut usual = hot.profile.usual(self.facts.trail.at, hot.least);
        if hot.within > 0 {
            usual.truncate(1);
        }
        usual
    }

    /// The packet begins anew: what follows is not reached.
    pub fn begin_anew(&mut self) {
        if !self.facts.dead {
            self.end_anew();
            self.nowhere();
        }
    }

    /// The packet begins anew: its way ends here.
    pub fn end_anew(&mut self) -> Falls {
        match &self.hot {
            Some(hot) => self.b.ins().jump(hot.anew, &[]),
            None => self.b.ins().trap(UNREACHABLE),
        };
        Falls::Away
    }

    /// Where a packet begins anew.
    pub fn anew(&self) -> Option<Block> {
        self.hot.as_ref().map(|hot| hot.anew)
    }

    /// Goes on with a block where something was decided; false where that is not usual, and the way has ended.
    fn decided(&mut self, block: Block, outcome: u32) -> bool {
        self.enter(block);
        let usual = self.usual_here();
        match usual.iter().find(|(other, _)| *other == outcome) {
            Some(&(_, next)) => {
                self.facts.trail.at = next;
                true
            }
            None => {
                self.b.set_cold_block(block);
                self.end_anew();
                false
            }
        }
    }

    /// Leaves something for the end of the way.
    pub fn leave_for_later(&mut self, what: Later) {
        if let Some(hot) = &mut self.hot {
            hot.later.push((what, self.facts.trail.later));
            self.facts.trail.later = hot.later.len() as u32;
        }
    }

    /// What this way has left for its end, the last first.
    fn left(&self) -> Vec<Later> {
        let mut left = Vec::new();
        let mut at = self.facts.trail.later;
        while let Some((what, before)) = self
            .hot
            .as_ref()
            .and_then(|hot| hot.later.get((at as usize).checked_sub(1)?))
        {
            left.push(*what);
            at = *before;
        }
        left
    }

    /// The value that a register's cell is to get at the end of this way; `Err` where that depends on what is not known.
    pub fn cell_to_be(&self, plain: &Plain, index: Value) -> Result<Option<Value>, Unsupported> {
        for what in self.left() {
            match what {
                Later::Cell {
                    plain: other,
                    index: at,
                    value,
                    ..
                } if other.base == plain.base => {
                    return if at == index {
                        Ok(Some(value))
                    } else {
                        Err(Unsupported("a cell that may have been written"))
                    };
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether this way has noted the place of the cells at this index.
    pub fn has_noted(&self, index: Value, row: usize) -> bool {
        let same = |what: &Later| matches!(what, Later::Noted { index: i, row: r } if (*i, *r) == (index, row));
        self.left().iter().any(same)
    }

    /// Does what was left for the end of the way, which ends with this.
    pub fn finish_way(&mut self) -> Result<(), Unsupported> {
        if !self.is_hot() || self.facts.dead {
            return Ok(());
        }
        let trail = self.facts.trail;
        if trail.confused {
            return Err(Unsupported("ways that have met"));
        }
        let flags = MemFlagsData::trusted();
        for what in self.left().into_iter().rev() {
            match what {
                Later::Applied { table, hit } => {
                    let at =
                        (table as usize * size_of::<[u64; 2]>()) as i32 + if hit { 0 } else { 8 };
                    let applied = self.applied;
                    let count = self.b.ins().load(types::I64, flags, applied, at);
                    let count = self.b.ins().iadd_imm_s(count, 1);
                    self.b.ins().store(flags, count, applied, at);
                }
                Later::Cell {
                    plain, at, value, ..
                } => self.store_cell(&plain, at, value),
                Later::Count { at, bytes } => self.add_packet(at, bytes),
                Later::Noted { .. } => {}
                Later::Budget { at, left } => {
                    self.b.ins().store(flags, left, at, 0);
                }
            }
        }
        if let Some(hot) = &mut self.hot {
            hot.covered += hot.profile.count(trail.at);
        }
        Ok(())
    }

    /// What the program has decided about the packet.
    pub fn decision(&mut self, place: Slot) -> Result<Value, Unsupported> {
        if self.is_hot() {
            let known = self.at_hand(self.cursor_place() + place);
            return known.ok_or(Unsupported("a decision that is not known"));
        }
        Ok(self.load_context(
            types::I64,
            match place {
                DROPPED => offset_of!(Context, dropped),
                SENT => offset_of!(Context, sent),
                _ => offset_of!(Context, port),
            },
        ))
    }

    /// A statement where ways may part, or where they end.
    pub fn hot_stmt(&mut self, stmt: &Stmt) -> Option<Result<Falls, Unsupported>> {
        self.hot.as_ref()?;
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
                &mut hot.exited
            } else {
                &mut hot.returned
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
        let subject = self.scalar_operand(subject)?;
        let mut ways: Vec<(Block, &[Stmt], u32)> = Vec::new();
        for (outcome, (labels, body)) in (1..).zip(cases) {
            let block = self.b.create_block();
            for label in labels {
                let label = self.scalar_operand(label)?;
                let is = self.equal(label, subject);
                let other = self.b.create_block();
                self.brif(is, block, &[], other, &[]);
                self.enter(other);
            }
            ways.push((block, body, outcome));
        }
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
        let usual = self.usual_here();
        let (code, machine) = (self.code, self.machine);
        let (Some(Some(code)), Some(table)) = (
            code.tables.get(index as usize),
            machine.tables.get(index as usize),
        ) else {
            return Err(Unsupported("a table"));
        };
        if usual.is_empty() || !support::table(code) || table.simple_words().is_none() {
            return Ok(self.end_anew());
        }
        let of = |wanted: bool| -> Vec<(u32, Place)> {
            let usual = usual.iter().map(|&(outcome, next)| (parts(outcome), next));
            let usual = usual.filter(|((hit, _), _)| *hit == wanted);
            usual.map(|((_, action), next)| (action, next)).collect()
        };
        let (hits, misses) = (of(true), of(false));
        let key = self.key_words(index, code)?;
        let memory = self.stack((key.len() as u32 * 8).max(8));
        let missed = self.b.create_block();
        let anew = self.anew().unwrap_or(missed);
        let before = self.facts.clone();
        let address = std::ptr::from_ref(table) as u64;
        let path = table.path();
        let (row, mut found) = match &path {
            Some(path) => {
                let asked = Asked {
                    table: address,
                    index,
                    cut: None,
                    path,
                };
                let nothing = if misses.is_empty() { anew } else { missed };
                let row = self.hot_row(&asked, &key, (nothing, anew))?;
                (row, self.answer_of(row, path))
            }
            None => {
                let key = self.stored(&key, memory);
                let place = self.place_of(table.key_layout().words, None, index)?;
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
                self.b.switch_to_block(missed);
                self.b.seal_block(missed);
                self.facts = before.clone();
                if path.is_some() {
                    found = self.default_of((index, address), &key, memory)?;
                }
            }
            self.leave_for_later(Later::Applied { table: index, hit });
            self.acting = Some(index);
            self.row = hit.then_some(row);
            for (action, next) in usual {
                let (run, other) = (self.b.create_block(), self.b.create_block());
                let is = self.is(found.action, u64::from(action));
                self.brif(is, run, &[], other, &[]);
                if self.ways.contains_key(&run) {
                    self.enter(run);
                    self.facts.trail.at = next;
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

    /// The row of a key, live.
    fn hot_row(
        &mut self,
        asked: &Asked<'_>,
        key: &[Value],
        (missed, other): (Block, Block),
    ) -> Result<Value, Unsupported> {
        let key = self.packed_key(key.to_vec());
        let row = match &asked.path.tuples {
            Some(tuples) => self.tuple(asked.path, tuples, &key, (missed, other)),
            None => self.found(asked, &key, (missed, other))?,
        };
        if asked.path.timed {
            self.in_time(row, other);
        }
        Ok(row)
    }

    /// What a table answers where it has found nothing.
    fn default_of(
        &mut self,
        (index, table): (u32, u64),
        key: &[Value],
        memory: cranelift_codegen::ir::StackSlot,
    ) -> Result<Answer, Unsupported> {
        let words = key.len();
        let key = self.stored(key, memory);
        let place = self.place_of(words, None, index)?;
        if self.is_far(index) {
            let touched = self.iconst(u64::from(self.facts.trail.touched));
            self.store_context(touched, offset_of!(Context, touched));
            self.facts.trail.touched += size_of::<u32>() as u32;
        }
        let function = runtime::peek_default as *const u8 as u64;
        let call = self.call_table(function, table, key, place);
        Ok(self.answered(call))
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
        let (returned, exited) = (self.take_returned(), self.take_exited());
        self.depth += 1;
        let falls = match call.target {
            super::super::interp::code::Target::Parser(_) => Ok(self.end_anew()),
            target => self.target(target),
        };
        self.depth -= 1;
        let mut ends = Vec::new();
        self.ends(falls?, &mut ends);
        ends.extend(self.take_returned());
        let mut left = self.take_exited();
        if !call.places.is_empty() {
            for end in ends.iter_mut().chain(&mut left) {
                self.enter(*end);
                self.copy_outs(&call.places)?;
                *end = self.park();
            }
        }
        if let Some(hot) = &mut self.hot {
            hot.returned = returned;
            hot.exited = exited;
            hot.exited.extend(left);
        }
        if self.regroup(ends) == Falls::Away {
            self.nowhere();
        }
        Ok(())
    }

    /// Ways that have returned from the body that was built.
    fn take_returned(&mut self) -> Vec<Block> {
        let hot = self.hot.as_mut();
        hot.map(|hot| std::mem::take(&mut hot.returned))
            .unwrap_or_default()
    }

    /// Ways that have left the control around it.
    fn take_exited(&mut self) -> Vec<Block> {
        let hot = self.hot.as_mut();
        hot.map(|hot| std::mem::take(&mut hot.exited))
            .unwrap_or_default()
    }

    /// A control of the pass, behind which its ways stay apart.
    pub fn hot_control(&mut self, body: &[Stmt]) -> Result<(), Unsupported> {
        let falls = self.stmts(body)?;
        let mut ends = Vec::new();
        self.ends(falls, &mut ends);
        ends.extend(self.take_returned());
        ends.extend(self.take_exited());
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
        let usual = self.in_one_way(|build| build.usual_here());
        let (hit, action) = usual
            .first()
            .map_or((false, NO_ACTION), |&(outcome, _)| parts(outcome));
        let through = |_: &mut Self, _| Ok(Falls::Through);
        if self.in_one_way(|build| build.hot_apply(index, &through))? == Falls::Away {
            self.nowhere();
        }
        Ok((self.iconst(u64::from(hit)), self.iconst(u64::from(action))))
    }

    /// The usual ways through a parser: where they have ended without an error.
    pub fn hot_parser(&mut self, index: u32) -> Result<Vec<Block>, Unsupported> {
        let code = self.code;
        let Some(Some((_, parser))) = code.parsers.get(index as usize) else {
            return Err(Unsupported("a parser"));
        };
        let mut ends = Vec::new();
        let falls = self.stmts(&parser.locals)?;
        let mut ways = Vec::new();
        self.ends(falls, &mut ways);
        for way in ways {
            self.enter(way);
            self.hot_state(parser, (parser.start, 0), &mut ends)?;
        }
        Ok(ends)
    }

    fn hot_state(
        &mut self,
        parser: &ParserCode,
        (state, turns): (usize, u32),
        ends: &mut Vec<Block>,
    ) -> Result<(), Unsupported> {
        let code = parser.states.get(state);
        let Some(code) = code.filter(|code| turns < STANDSTILL && support::select(&code.next))
        else {
            self.end_anew();
            return Ok(());
        };
        let falls = self.stmts(&code.body)?;
        let mut ways = Vec::new();
        self.ends(falls, &mut ways);
        for left in self.take_exited() {
            self.enter(left);
            self.end_anew();
        }
        // What returns has accepted the packet.
        let returned = self.take_returned();
        for way in returned {
            self.enter(way);
            self.hot_parsed(turns, ends);
        }
        for way in ways {
            self.enter(way);
            self.hot_next(parser, &code.next, turns, ends)?;
        }
        Ok(())
    }

    fn hot_next(
        &mut self,
        parser: &ParserCode,
        next: &Next,
        turns: u32,
        ends: &mut Vec<Block>,
    ) -> Result<(), Unsupported> {
        let (subjects, cases) = match next {
            Next::To(goto) => return self.hot_goto(parser, *goto, turns, ends),
            Next::Select { subjects, cases } => (subjects, cases),
        };
        let mut values = Vec::with_capacity(subjects.len());
        for subject in subjects {
            values.push(self.scalar_operand(&subject.value)?);
        }
        let usual = self.usual_here();
        let is_usual = |case: usize| usual.iter().any(|&(other, _)| other as usize == case);
        // Where all cases name different numbers it does not matter in which order they are asked for.
        let all_asked = !super::parse::apart(cases) || is_usual(cases.len().saturating_sub(1));
        for (case, (tests, goto)) in cases.iter().enumerate() {
            if !all_asked && !is_usual(case) {
                continue;
            }
            let (yes, no) = (self.b.create_block(), self.b.create_block());
            let matches = match self.all_hold(tests, &values)? {
                Some(matches) => matches,
                None => self.always(true),
            };
            self.brif(matches, yes, &[], no, &[]);
            if self.ways.contains_key(&yes) && self.decided(yes, case as u32) {
                self.hot_goto(parser, *goto, turns, ends)?;
            }
            self.enter(no);
            if self.facts.dead {
                break;
            }
        }
        self.end_anew();
        Ok(())
    }

    fn hot_goto(
        &mut self,
        parser: &ParserCode,
        goto: Goto,
        turns: u32,
        ends: &mut Vec<Block>,
    ) -> Result<(), Unsupported> {
        match goto {
            Goto::State(state) => return self.hot_state(parser, (state, turns + 1), ends),
            Goto::Accept => self.hot_parsed(turns, ends),
            Goto::Reject => {
                self.end_anew();
            }
        }
        Ok(())
    }

    /// A way through the parser ends after so many transitions.
    fn hot_parsed(&mut self, turns: u32, ends: &mut Vec<Block>) {
        let at = self.load_context(types::I64, offset_of!(Context, budget));
        let flags = MemFlagsData::trusted();
        let budget = self.b.ins().load(types::I32, flags, at, 0);
        let few = self.b.ins().icmp_imm_u(
            cranelift_codegen::ir::condcodes::IntCC::UnsignedLessThan,
            budget,
            i64::from(turns),
        );
        let Some(anew) = self.anew() else {
            return;
        };
        let on = self.b.create_block();
        self.b.ins().brif(few, anew, &[], on, &[]);
        self.inside(on, false);
        let left = self.b.ins().iadd_imm_s(budget, -i64::from(turns));
        self.leave_for_later(Later::Budget { at, left });
        let end = self.park();
        ends.push(end);
    }

    /// Blocks where packets begin anew.
    pub fn end_hot(&mut self) {
        let Some(Hot { anew, failed, .. }) = self.hot else {
            return;
        };
        self.b.switch_to_block(failed);
        self.b.seal_block(failed);
        self.b.set_cold_block(failed);
        self.b.ins().jump(anew, &[]);
        self.b.switch_to_block(anew);
        self.b.seal_block(anew);
        self.b.set_cold_block(anew);
    }
}
