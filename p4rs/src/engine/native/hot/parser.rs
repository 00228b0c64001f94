//! Usual ways through a parser.
//!
//! In: a parser. Out: where its usual ways have ended without an error. Invariant: as many transitions are taken from the
//! packet's budget as the interpreter would take.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, types};
use std::mem::offset_of;

use super::super::super::interp::code::{Goto, Next, ParserCode};
use super::super::Unsupported;
use super::super::build::Build;
use super::super::context::Context;
use super::super::parse::apart;
use super::super::support;
use super::Later;

/// Transitions on one way: more are rare, and far from what is checked for standstill.
const TURNS: u32 = 64;

impl Build<'_, '_> {
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
        let Some(code) = code.filter(|code| turns < TURNS && support::select(&code.next)) else {
            self.end_anew();
            return Ok(());
        };
        let falls = self.stmts(&code.body)?;
        let mut ways = Vec::new();
        self.ends(falls, &mut ways);
        let left = self.take_left();
        for way in left.exited {
            self.enter(way);
            self.end_anew();
        }
        // What returns has accepted the packet.
        for way in left.returned {
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
        let all_asked = !apart(cases) || is_usual(cases.len().saturating_sub(1));
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
        let at = self.load_fixed(offset_of!(Context, budget));
        let flags = MemFlagsData::trusted();
        let budget = self.b.ins().load(types::I32, flags, at, 0);
        let few = self
            .b
            .ins()
            .icmp_imm_u(IntCC::UnsignedLessThan, budget, i64::from(turns));
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
}
