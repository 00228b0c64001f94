//! Parsers: states and transitions.
//!
//! In: IR parsers. Out: [`ParserCode`]. Invariant: state numbers stay what they are in the IR.

use super::super::code::{Ex, Goto, Next, Operand, ParserCode, StateCode, Test};
use super::{Lower, Lowered};
use crate::ir::{Expr, Handle, KeySet, Parser, StateRef, Transition};
use crate::source::Span;

impl Lower<'_> {
    /// Lowers a parser once.
    pub(crate) fn parser(&mut self, handle: Handle<Parser>) -> Lowered<u32> {
        let index = handle.index();
        if self.code.parsers[index].is_none() {
            let parser = &self.program.parsers[handle];
            let code = self.deeper(|this| {
                let locals = this.block(&parser.locals)?;
                let mut states = Vec::with_capacity(parser.states.len());
                for state in &parser.states {
                    let body = this.block(&state.body)?;
                    let next = this.transition(&state.transition, state.span)?;
                    states.push(StateCode {
                        name: state.name.clone(),
                        body,
                        next,
                    });
                }
                Ok(ParserCode {
                    locals,
                    states,
                    start: parser.start,
                })
            })?;
            self.code.parsers[index] = Some((handle, code));
        }
        Ok(index as u32)
    }

    fn transition(&mut self, transition: &Transition, span: Span) -> Lowered<Next> {
        match transition {
            Transition::To(state) => Ok(Next::To(goto(*state))),
            Transition::Select { subjects, cases } => {
                let numbers = subjects
                    .iter()
                    .map(|&subject| self.number(subject))
                    .collect::<Lowered<_>>()?;
                let mut out = Vec::with_capacity(cases.len());
                for (keys, state) in cases {
                    let tests = keys
                        .iter()
                        .map(|key| self.test(key, span))
                        .collect::<Lowered<_>>()?;
                    out.push((tests, goto(*state)));
                }
                Ok(Next::Select {
                    subjects: numbers,
                    cases: out,
                })
            }
        }
    }

    fn test(&mut self, key: &KeySet, span: Span) -> Lowered<Test> {
        Ok(match key {
            KeySet::Any => Test::Any,
            KeySet::Value(value) => Test::Value(self.operand(*value)?),
            KeySet::Mask(value, mask) => Test::Mask(self.operand(*value)?, self.operand(*mask)?),
            KeySet::Range(low, high) => {
                Test::Range(self.bound(*low, span)?, self.bound(*high, span)?)
            }
            KeySet::ValueSet(set) => {
                let ty = self.program.value_sets[*set].ty;
                Test::Set(
                    set.index(),
                    super::super::super::layout::leaves(self.program, ty).len(),
                )
            }
        })
    }

    fn bound(&mut self, expr: Handle<Expr>, span: Span) -> Lowered<Ex> {
        match self.operand(expr)? {
            Operand::One(value) => Ok(value),
            Operand::Many(..) => self.construct("a range of more than 128 bits", span),
        }
    }
}

fn goto(state: StateRef) -> Goto {
    match state {
        StateRef::Accept => Goto::Accept,
        StateRef::Reject => Goto::Reject,
        StateRef::State(index) => Goto::State(index),
    }
}
