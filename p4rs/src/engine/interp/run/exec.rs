//! Executing statements and calls.
//!
//! In: statements. Out: changed slots. Invariant: out parameters are copied back however the callee ended, unless
//! the packet itself is lost.

use smallvec::SmallVec;

use super::super::super::bits::{self, sign_extend};
use super::super::super::outputs::DropReason;
use super::super::super::trace::Event;
use super::super::code::{Call, Dest, Ex, Operand, Slot, Stmt, Target};
use super::{Flow, Run, Stop};

impl Run<'_, '_> {
    /// Runs statements.
    pub(super) fn exec(&mut self, stmts: &[Stmt]) -> Result<Flow, Stop> {
        for stmt in stmts {
            match self.stmt(stmt)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<Flow, Stop> {
        match stmt {
            Stmt::Set(slot, ex) => {
                let value = self.eval(ex)?;
                self.set(*slot, value);
            }
            Stmt::Assign(dest, value) => self.assign(dest, value)?,
            Stmt::If(cond, then, otherwise) => {
                let holds = self.holds(cond)?;
                return self.exec(if holds { then } else { otherwise });
            }
            Stmt::Apply(table) => {
                self.apply(*table)?;
            }
            Stmt::Call(call) => self.call(call)?,
            Stmt::Prim(prim) => {
                self.prim(prim)?;
            }
            Stmt::Clear(slot, slots) => self.clear(*slot, *slots),
            Stmt::Init(slot, value) => self.store(*slot, value)?,
            Stmt::Eval(Operand::One(ex)) => {
                self.eval(ex)?;
            }
            Stmt::Eval(Operand::Many(agg, _)) => {
                self.eval_agg(agg)?;
            }
            Stmt::SwitchAction {
                table,
                by_action,
                cases,
                default,
            } => {
                let (_, action) = self.apply(*table)?;
                let case =
                    action.and_then(|action| by_action.get(usize::from(action)).copied().flatten());
                return self.exec(
                    case.and_then(|case| cases.get(case as usize))
                        .unwrap_or(default),
                );
            }
            Stmt::Switch {
                subject,
                cases,
                default,
            } => return self.switch(subject, cases, default),
            Stmt::For {
                init,
                cond,
                update,
                body,
            } => return self.for_loop(init, cond, update, body),
            Stmt::ForRange {
                var,
                low,
                high,
                signed,
                body,
            } => {
                return self.for_range(*var, low, high, *signed, body);
            }
            Stmt::ForItems { var, items, body } => {
                for item in items {
                    self.store(*var, item)?;
                    match self.body(body)? {
                        Flow::Next => {}
                        Flow::Break => break,
                        flow => return Ok(flow),
                    }
                }
            }
            Stmt::ForStack {
                var,
                stack,
                size,
                elem,
                body,
            } => {
                for i in 0..*size {
                    let from = self.eval_agg(stack)?;
                    self.copy(from + 1 + i * elem, *var, *elem);
                    match self.body(body)? {
                        Flow::Next => {}
                        Flow::Break => break,
                        flow => return Ok(flow),
                    }
                }
            }
            Stmt::Block(block) => return self.exec(block),
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
            Stmt::Return(value) => {
                if let Some((slot, value)) = value {
                    self.store(*slot, value)?;
                }
                return Ok(Flow::Return);
            }
            Stmt::Exit => return Err(Stop::Exit),
        }
        Ok(Flow::Next)
    }

    /// Whether a condition holds; each of its parts that is asked for is a decision.
    fn holds(&mut self, cond: &Ex) -> Result<bool, Stop> {
        Ok(match cond {
            Ex::Not(value) => !self.holds(value)?,
            Ex::And(pair) => self.holds(&pair.0)? && self.holds(&pair.1)?,
            Ex::Or(pair) => self.holds(&pair.0)? || self.holds(&pair.1)?,
            part => {
                let holds = self.eval(part)? != 0;
                self.state.steps.take(u32::from(holds));
                holds
            }
        })
    }

    fn assign(&mut self, dest: &Dest, value: &Operand) -> Result<(), Stop> {
        match value {
            Operand::One(ex) => {
                let value = self.eval(ex)?;
                let address = self.address(&dest.place, true)?;
                self.put(dest, address, value);
            }
            Operand::Many(agg, slots) => {
                let from = self.eval_agg(agg)?;
                let address = self.address(&dest.place, true)?;
                self.put_from(dest, address, from, *slots);
            }
        }
        Ok(())
    }

    /// One turn of a loop's body; `continue` is like reaching its end.
    fn body(&mut self, body: &[Stmt]) -> Result<Flow, Stop> {
        self.state.steps.leave();
        self.turn(DropReason::LoopLimit)?;
        Ok(match self.exec(body)? {
            Flow::Continue => Flow::Next,
            flow => flow,
        })
    }

    fn for_loop(
        &mut self,
        init: &[Stmt],
        cond: &Ex,
        update: &[Stmt],
        body: &[Stmt],
    ) -> Result<Flow, Stop> {
        self.exec(init)?;
        while self.eval(cond)? != 0 {
            match self.body(body)? {
                Flow::Next => {}
                Flow::Break => break,
                flow => return Ok(flow),
            }
            self.exec(update)?;
        }
        Ok(Flow::Next)
    }

    fn for_range(
        &mut self,
        var: Slot,
        low: &Ex,
        high: &Ex,
        signed: Option<u32>,
        body: &[Stmt],
    ) -> Result<Flow, Stop> {
        let mut at = self.eval(low)?;
        let high = self.eval(high)?;
        let above = |at: u128| match signed {
            Some(width) => sign_extend(at, width) > sign_extend(high, width),
            None => at > high,
        };
        if above(at) {
            return Ok(Flow::Next);
        }
        loop {
            self.set(var, at);
            match self.body(body)? {
                Flow::Next => {}
                Flow::Break => break,
                flow => return Ok(flow),
            }
            if at == high {
                break;
            }
            at = match signed {
                Some(width) => (sign_extend(at, width).wrapping_add(1)) as u128 & bits::mask(width),
                None => at + 1,
            };
        }
        Ok(Flow::Next)
    }

    fn switch(
        &mut self,
        subject: &Operand,
        cases: &[(Vec<Operand>, Vec<Stmt>)],
        default: &[Stmt],
    ) -> Result<Flow, Stop> {
        let subject: SmallVec<[u128; 4]> = self.operand_words(subject)?;
        for (case, (labels, body)) in (1..).zip(cases) {
            for label in labels {
                if self.operand_words(label)? == subject {
                    self.state.steps.take(case);
                    return self.exec(body);
                }
            }
        }
        self.state.steps.take(0);
        self.exec(default)
    }

    /// An operand's words, by value.
    pub(super) fn operand_words(&mut self, operand: &Operand) -> Result<SmallVec<[u128; 4]>, Stop> {
        Ok(match operand {
            Operand::One(ex) => SmallVec::from_slice(&[self.eval(ex)?]),
            Operand::Many(agg, slots) => {
                let at = self.eval_agg(agg)?;
                SmallVec::from_slice(self.words(at, *slots))
            }
        })
    }

    /// Copies in, runs, copies out.
    pub(crate) fn call(&mut self, call: &Call) -> Result<(), Stop> {
        for (slot, operand) in &call.ins {
            self.store(*slot, operand)?;
        }
        let mut addresses: SmallVec<[Slot; 8]> = SmallVec::new();
        for arg in &call.places {
            addresses.push(self.address(&arg.dest.place, true)?);
        }
        for &(from, to, slots) in &call.moves {
            self.copy(from, to, slots);
        }
        for &(slot, slots) in &call.clears {
            self.clear(slot, slots);
        }
        for (arg, &address) in call.places.iter().zip(&addresses) {
            if arg.copy_in {
                self.copy_in(&arg.dest, address, arg.param);
            }
        }
        let result = self.run_target(call.target);
        if matches!(result, Err(Stop::Drop(_))) {
            return result;
        }
        for (arg, &address) in call.places.iter().zip(&addresses) {
            self.copy_out(&arg.dest, address, arg.param);
        }
        result
    }

    fn copy_in(&mut self, dest: &Dest, address: Slot, param: Slot) {
        match dest.slice {
            Some((hi, lo)) => {
                let width = hi.saturating_sub(lo) + 1;
                for i in 0..bits::words(width) {
                    let done = i * bits::WORD;
                    let word = super::wide::get_word(self.words(address, dest.slots), lo + done);
                    self.set(param + i, word & bits::mask(width - done));
                }
            }
            None if address >= self.machine.code.sink && address < 2 * self.machine.code.sink => {
                self.clear(param, dest.slots);
            }
            None => self.copy(address, param, dest.slots),
        }
    }

    fn copy_out(&mut self, dest: &Dest, address: Slot, param: Slot) {
        let scalar = dest.slice.map_or(dest.slots == 1, |(hi, lo)| {
            hi.saturating_sub(lo) < bits::WORD
        });
        if scalar && dest.union.is_none() {
            let value = self.slot(param);
            self.put(dest, address, value);
        } else {
            self.put_from(dest, address, param, dest.slots);
        }
    }

    fn run_target(&mut self, target: Target) -> Result<(), Stop> {
        let code = &self.machine.code;
        let body = match target {
            Target::Function(index) => code.functions.get(index as usize),
            Target::Action(index) => code.actions.get(index as usize),
            Target::Control(index) => return self.control(index),
            Target::Parser(index) => return self.parser(index),
        };
        match body {
            Some(body) => self.exec(body).map(drop),
            None => Ok(()),
        }
    }

    /// Runs a control; its parameters are in place.
    pub(crate) fn control(&mut self, index: u32) -> Result<(), Stop> {
        let Some(Some((handle, body))) = self.machine.code.controls.get(index as usize) else {
            return Ok(());
        };
        if self.tracer.is_some() {
            self.trace(&Event::Control { control: *handle });
        }
        self.exec(body).map(drop)
    }
}
