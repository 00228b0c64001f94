//! Running parsers.
//!
//! In: the packet. Out: headers; how parsing ended. Invariant: states visited without taking bits are limited.

use super::super::super::bits::sign_extend;
use super::super::super::outputs::DropReason;
use super::super::super::trace::Event;
use super::super::code::{Goto, Next, Number, Operand, ParserCode, Test};
use super::{Flow, Run, Stop};

/// States in a row that may be entered without taking a bit from the packet.
pub(crate) const STANDSTILL: u32 = 4096;

impl Run<'_, '_> {
    /// Runs a parser; its parameters are in place.
    pub(crate) fn parser(&mut self, index: u32) -> Result<(), Stop> {
        let Some(Some((handle, parser))) = self.machine.code.parsers.get(index as usize) else {
            return Ok(());
        };
        self.exec(&parser.locals)?;
        let mut state = parser.start;
        let mut standstill = 0;
        let mut cursor = self.state.cursor;
        loop {
            let Some(code) = parser.states.get(state) else {
                return Ok(());
            };
            if self.tracer.is_some() {
                self.trace(&Event::ParserState {
                    parser: *handle,
                    state: &code.name,
                });
            }
            match self.step(parser, state)? {
                Goto::Accept => return Ok(()),
                Goto::Reject => return Err(Stop::Reject),
                Goto::State(next) => state = next,
            }
            standstill = if self.state.cursor == cursor {
                standstill + 1
            } else {
                0
            };
            cursor = self.state.cursor;
            if standstill > STANDSTILL {
                return Err(Stop::Drop(DropReason::ParserTimeout));
            }
            self.turn(DropReason::ParserTimeout)?;
        }
    }

    fn step(&mut self, parser: &ParserCode, state: usize) -> Result<Goto, Stop> {
        let Some(code) = parser.states.get(state) else {
            return Ok(Goto::Accept);
        };
        if self.exec(&code.body)? == Flow::Return {
            return Ok(Goto::Accept);
        }
        match &code.next {
            Next::To(goto) => Ok(*goto),
            Next::Select { subjects, cases } => self.select(subjects, cases),
        }
    }

    pub(super) fn select(
        &mut self,
        subjects: &[Number],
        cases: &[(Vec<Test>, Goto)],
    ) -> Result<Goto, Stop> {
        if let [
            Number {
                value: Operand::One(ex),
                width,
                signed,
            },
        ] = subjects
        {
            let value = self.eval(ex)?;
            let sign = signed.then_some(*width);
            for (case, (tests, goto)) in (0..).zip(cases) {
                if let [test] = tests.as_slice()
                    && self.scalar_test(test, value, sign)?
                {
                    self.state.steps.take(case);
                    return Ok(*goto);
                }
            }
            return self.no_match();
        }
        let mut values = Vec::with_capacity(subjects.len());
        for subject in subjects {
            values.push((
                self.operand_words(&subject.value)?,
                subject.signed.then_some(subject.width),
            ));
        }
        'cases: for (case, (tests, goto)) in (0..).zip(cases) {
            let mut at = 0;
            for test in tests {
                if let Test::Set(set, span) = test {
                    let from = values.get(at..at + span).unwrap_or_default();
                    let words: Vec<u128> = from
                        .iter()
                        .map(|(words, _)| words.first().copied().unwrap_or(0))
                        .collect();
                    if words.len() != *span
                        || !self.machine.externs.value_set_contains(*set, &words)
                    {
                        continue 'cases;
                    }
                    at += span;
                    continue;
                }
                let Some((words, sign)) = values.get(at) else {
                    break;
                };
                let matches = match words.as_slice() {
                    [value] => self.scalar_test(test, *value, *sign)?,
                    words => self.wide_test(test, words)?,
                };
                if !matches {
                    continue 'cases;
                }
                at += 1;
            }
            self.state.steps.take(case);
            return Ok(*goto);
        }
        self.no_match()
    }

    fn no_match(&mut self) -> Result<Goto, Stop> {
        self.state.steps.leave();
        let errors = &self.machine.code.errors;
        if errors.quiet_no_match {
            Ok(Goto::Accept)
        } else {
            Err(Stop::ParserError(errors.no_match))
        }
    }

    fn scalar_test(&mut self, test: &Test, value: u128, sign: Option<u32>) -> Result<bool, Stop> {
        Ok(match test {
            Test::Any => true,
            Test::Value(Operand::One(want)) => self.eval(want)? == value,
            Test::Mask(Operand::One(want), Operand::One(mask)) => {
                let want = self.eval(want)?;
                let mask = self.eval(mask)?;
                value & mask == want & mask
            }
            Test::Range(low, high) => {
                let low = self.eval(low)?;
                let high = self.eval(high)?;
                match sign {
                    Some(width) => {
                        let [low, value, high] = [low, value, high].map(|v| sign_extend(v, width));
                        low <= value && value <= high
                    }
                    None => low <= value && value <= high,
                }
            }
            Test::Set(set, _) => self.machine.externs.value_set_contains(*set, &[value]),
            Test::Value(_) | Test::Mask(..) => false,
        })
    }

    fn wide_test(&mut self, test: &Test, value: &[u128]) -> Result<bool, Stop> {
        Ok(match test {
            Test::Any => true,
            Test::Value(want) => self.operand_words(want)?.as_slice() == value,
            Test::Mask(want, mask) => {
                let want = self.operand_words(want)?;
                let mask = self.operand_words(mask)?;
                value
                    .iter()
                    .zip(want.iter().zip(&mask))
                    .all(|(v, (w, m))| v & m == w & m)
            }
            Test::Range(..) | Test::Set(..) => false,
        })
    }
}
