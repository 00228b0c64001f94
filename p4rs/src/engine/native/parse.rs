//! Machine code of parsers.
//!
//! In: parser states. Out: blocks: for the usual kinds of packets a way of their own, along which everything that is
//! found out is known from then on, and for all others a block for each state. Invariant: a packet that leaves a usual
//! way begins anew, and nothing that was done on it is seen.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};
use rustc_hash::FxHashSet;
use std::mem::offset_of;

use super::super::interp::code::{Ex, Goto, Next, Number, Operand, ParserCode, Test};
use super::super::outputs::DropReason;
use super::Unsupported;
use super::build::{Build, Exits, Falls, Val};
use super::context::{Context, Site, status};
use super::runtime;
use super::support;
use super::usual::{self, Node};

impl Build<'_, '_> {
    /// A parser, expanded here; `return` leads behind it.
    pub fn parser(&mut self, index: u32) -> Result<Falls, Unsupported> {
        let code = self.code;
        let Some(Some((_, parser))) = code.parsers.get(index as usize) else {
            return Err(Unsupported("a parser"));
        };
        if self.stmts(&parser.locals)? == Falls::Away {
            return Ok(Falls::Away);
        }
        let order = order(parser);
        let blocks: Vec<Block> = parser
            .states
            .iter()
            .map(|_| self.b.create_block())
            .collect();
        let standstill = (!order.acyclic).then(|| {
            let (count, cursor) = (
                self.b.declare_var(types::I64),
                self.b.declare_var(types::I64),
            );
            let zero = self.iconst(0);
            self.b.def_var(count, zero);
            let at = self.cursor();
            self.b.def_var(cursor, at);
            (count, cursor)
        });
        let way = Way {
            index,
            blocks,
            standstill,
        };
        let accept = self.exits.ret;
        match way.blocks.get(parser.start) {
            Some(&start) => self.jump(start),
            None => self.jump(accept),
        }
        for &state in &order.states {
            let block = way.blocks[state];
            if order.acyclic {
                self.enter(block);
            } else {
                self.enter_loop(block);
            }
            self.state(parser, state, &way)?;
        }
        if !order.acyclic {
            for &state in &order.states {
                self.b.seal_block(way.blocks[state]);
            }
        }
        Ok(Falls::Away)
    }

    fn state(&mut self, parser: &ParserCode, state: usize, way: &Way) -> Result<(), Unsupported> {
        let code = &parser.states[state];
        if self.stmts(&code.body)? == Falls::Away {
            return Ok(());
        }
        match &code.next {
            Next::To(goto) => self.goto(*goto, way),
            next if !support::select(next) => self.goto_selected(parser, state, way),
            Next::Select { subjects, cases } => return self.select(subjects, cases, way),
        }
        Ok(())
    }

    /// Goes to a state, or ends.
    fn goto(&mut self, goto: Goto, way: &Way) {
        let to = match goto {
            Goto::Reject => return self.stop(status::REJECT),
            Goto::Accept => None,
            Goto::State(state) => Some(way.blocks.get(state).copied()),
        };
        match to {
            None => {
                let accept = self.exits.ret;
                self.jump(accept);
            }
            Some(to) => {
                self.progress(way);
                self.turn(DropReason::ParserTimeout);
                let to = to.unwrap_or(self.exits.ret);
                self.jump(to);
            }
        }
    }

    /// Counts states entered without taking a bit.
    fn progress(&mut self, way: &Way) {
        let Some((count, cursor)) = way.standstill else {
            return;
        };
        let (at, before) = (self.cursor(), self.b.use_var(cursor));
        let same = self.b.ins().icmp(IntCC::Equal, at, before);
        let counted = self.b.use_var(count);
        let more = self.b.ins().iadd_imm_s(counted, 1);
        let zero = self.iconst(0);
        let counted = self.b.ins().select(same, more, zero);
        self.b.def_var(count, counted);
        self.b.def_var(cursor, at);
        let limit = i64::from(super::super::interp::STANDSTILL);
        let over = self
            .b
            .ins()
            .icmp_imm_u(IntCC::UnsignedGreaterThan, counted, limit);
        self.stop_if(over, status::DROP | DropReason::ParserTimeout as u32);
    }

    /// A transition that the interpreter computes.
    fn goto_selected(&mut self, parser: &ParserCode, state: usize, way: &Way) {
        let done = self.interpret(Site::Select(way.index, state as u32));
        self.check(done);
        let goto = self.scalar();
        let goto = self.narrow(goto);
        let Next::Select { cases, .. } = &parser.states[state].next else {
            return;
        };
        let mut known = Vec::new();
        for &(_, goto) in cases {
            if !known.contains(&goto) {
                known.push(goto);
            }
        }
        for to in known {
            let number = match to {
                Goto::Accept => i64::from(runtime::ACCEPT),
                Goto::Reject => i64::from(runtime::REJECT),
                Goto::State(state) => state as i64,
            };
            let is = self.b.ins().icmp_imm_u(IntCC::Equal, goto, number);
            let (yes, no) = (self.b.create_block(), self.b.create_block());
            self.brif(is, yes, &[], no, &[]);
            self.enter(yes);
            self.goto(to, way);
            self.enter(no);
        }
        self.goto(Goto::Accept, way);
    }

    /// The usual kinds of packets, each in code of its own: the blocks in which they have been parsed without an error,
    /// and the one where every other packet begins, with nothing done yet. None where there are no such kinds.
    pub fn usual(&mut self, index: u32) -> Result<Option<(Vec<Block>, Block)>, Unsupported> {
        let code = self.code;
        let Some(Some((_, parser))) = code.parsers.get(index as usize) else {
            return Err(Unsupported("a parser"));
        };
        let Some(tree) = usual::usual(parser, self.memory, self.kinds) else {
            return Ok(None);
        };
        let (other, failed) = (self.b.create_block(), self.status_block());
        // Turns are taken once the end is reached.
        let longest = tree.depth() as i64;
        let at = self.load_fixed(offset_of!(Context, budget));
        let budget = self
            .b
            .ins()
            .load(types::I32, MemFlagsData::trusted(), at, 0);
        let few = self
            .b
            .ins()
            .icmp_imm_u(IntCC::UnsignedLessThan, budget, longest);
        let on = self.b.create_block();
        self.brif(few, other, &[], on, &[]);
        self.enter(on);
        self.exits = Exits {
            ret: other,
            stop: failed,
            turn: None,
        };
        let mut trace = Trace {
            parser,
            other,
            budget: (at, budget),
            kinds: Vec::new(),
        };
        if self.stmts(&parser.locals)? == Falls::Through {
            self.trace(&tree, 0, &mut trace)?;
        }
        self.enter(failed);
        self.b.set_cold_block(failed);
        self.jump(other);
        Ok(Some((trace.kinds, other)))
    }

    /// A state on usual ways, so many transitions after the first.
    fn trace(&mut self, node: &Node, turns: i64, to: &mut Trace<'_>) -> Result<(), Unsupported> {
        let Some(code) = to.parser.states.get(node.state) else {
            return Err(Unsupported("a state"));
        };
        if self.stmts(&code.body)? == Falls::Away {
            return Ok(());
        }
        let (subjects, cases) = match &code.next {
            Next::To(_) => {
                for (_, next) in &node.next {
                    self.follow(next.as_ref(), turns, to)?;
                }
                return Ok(());
            }
            Next::Select { subjects, cases } => (subjects, cases),
        };
        let mut values = Vec::with_capacity(subjects.len());
        for subject in subjects {
            values.push(self.scalar_operand(&subject.value)?);
        }
        // Where all cases name different numbers it does not matter in which order they are asked for.
        let last = cases.len().saturating_sub(1);
        let all_asked = !apart(cases) || node.next.iter().any(|(case, _)| *case == last);
        for (case, (tests, _)) in cases.iter().enumerate() {
            let next = node.next.iter().find(|(other, _)| *other == case);
            if next.is_none() && !all_asked {
                continue;
            }
            let Some(matches) = self.all_hold(tests, &values)? else {
                match next {
                    Some((_, next)) => self.follow(next.as_ref(), turns, to)?,
                    None => self.jump(to.other),
                }
                return Ok(());
            };
            let no = self.b.create_block();
            match next {
                Some((_, next)) => {
                    let yes = self.b.create_block();
                    self.brif(matches, yes, &[], no, &[]);
                    self.enter(yes);
                    self.follow(next.as_ref(), turns, to)?;
                }
                None => self.brif(matches, to.other, &[], no, &[]),
            }
            self.enter(no);
        }
        self.jump(to.other);
        Ok(())
    }

    /// Goes on to a state, or to the end.
    fn follow(
        &mut self,
        next: Option<&Node>,
        turns: i64,
        to: &mut Trace<'_>,
    ) -> Result<(), Unsupported> {
        if let Some(next) = next {
            return self.trace(next, turns + 1, to);
        }
        let (at, budget) = to.budget;
        let left = self.b.ins().iadd_imm_s(budget, -turns);
        self.b.ins().store(MemFlagsData::trusted(), left, at, 0);
        let kind = self.b.create_block();
        self.jump(kind);
        to.kinds.push(kind);
        Ok(())
    }

    /// Whether a case's tests all hold; `None` when they always do.
    pub fn all_hold(
        &mut self,
        tests: &[Test],
        values: &[Val],
    ) -> Result<Option<Value>, Unsupported> {
        let mut all = None;
        for (test, &value) in tests.iter().zip(values) {
            let Some(matches) = self.test(test, value)? else {
                continue;
            };
            all = Some(match all {
                None => matches,
                Some(before) => self.both_hold(before, matches),
            });
        }
        Ok(all)
    }

    fn select(
        &mut self,
        subjects: &[Number],
        cases: &[(Vec<Test>, Goto)],
        way: &Way,
    ) -> Result<(), Unsupported> {
        let mut values = Vec::with_capacity(subjects.len());
        for subject in subjects {
            values.push(self.scalar_operand(&subject.value)?);
        }
        for (tests, goto) in cases {
            let Some(matches) = self.all_hold(tests, &values)? else {
                self.goto(*goto, way);
                return Ok(());
            };
            let (yes, no) = (self.b.create_block(), self.b.create_block());
            self.brif(matches, yes, &[], no, &[]);
            self.enter(yes);
            self.goto(*goto, way);
            self.enter(no);
        }
        let errors = &self.code.errors;
        if errors.quiet_no_match {
            self.goto(Goto::Accept, way);
        } else {
            let error = errors.no_match;
            self.stop(status::ERROR + error);
        }
        Ok(())
    }

    /// Whether a value passes a test; `None` when every value does.
    fn test(&mut self, test: &Test, value: Val) -> Result<Option<Value>, Unsupported> {
        Ok(match test {
            Test::Any => None,
            Test::Value(want) => {
                let want = self.scalar_operand(want)?;
                Some(self.equal(want, value))
            }
            Test::Mask(want, mask) => {
                let want = self.scalar_operand(want)?;
                let mask = self.scalar_operand(mask)?;
                let (want, value) = (self.masked(want, mask), self.masked(value, mask));
                Some(self.equal(want, value))
            }
            Test::Range(low, high) => {
                let (low, high) = (self.ex(low)?, self.ex(high)?);
                let above = self.below_or_equal(low, value);
                let below = self.below_or_equal(value, high);
                Some(self.b.ins().band(above, below))
            }
            Test::Set(..) => return Err(Unsupported("a value set")),
        })
    }

    fn masked(&mut self, a: Val, b: Val) -> Val {
        let wide = a.wide && b.wide;
        let (a, b) = if wide {
            (a.value, b.value)
        } else {
            (self.narrow(a), self.narrow(b))
        };
        Val {
            value: self.b.ins().band(a, b),
            wide,
        }
    }

    fn below_or_equal(&mut self, a: Val, b: Val) -> Value {
        let wide = a.wide || b.wide;
        let (a, b) = if wide {
            (self.widen(a), self.widen(b))
        } else {
            (a.value, b.value)
        };
        self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, a, b)
    }
}

/// What the usual ways through a parser share.
struct Trace<'a> {
    parser: &'a ParserCode,
    /// Where a packet of another kind begins anew.
    other: Block,
    /// Where the packet's turns are counted, and how many there were.
    budget: (Value, Value),
    /// Where packets of the usual kinds go on.
    kinds: Vec<Block>,
}

/// What the transitions of one parser share.
struct Way {
    index: u32,
    blocks: Vec<Block>,
    /// States entered without progress, and the cursor before them; only where states form a cycle.
    standstill: Option<(cranelift_frontend::Variable, cranelift_frontend::Variable)>,
}

/// Whether cases name different numbers, but for a last one that any number fits.
pub(super) fn apart(cases: &[(Vec<Test>, Goto)]) -> bool {
    let mut seen = FxHashSet::default();
    let last = cases.len().saturating_sub(1);
    cases
        .iter()
        .enumerate()
        .all(|(at, (tests, _))| match &tests[..] {
            [Test::Value(Operand::One(Ex::Const(number)))] => seen.insert(*number),
            tests => at == last && tests.iter().all(|test| matches!(test, Test::Any)),
        })
}

/// The reachable states, each before its successors unless they form a cycle.
struct Order {
    states: Vec<usize>,
    acyclic: bool,
}

fn order(parser: &ParserCode) -> Order {
    let successors = |state: usize| -> Vec<usize> {
        let gotos: Vec<Goto> = match parser.states.get(state).map(|state| &state.next) {
            Some(Next::To(goto)) => vec![*goto],
            Some(Next::Select { cases, .. }) => cases.iter().map(|(_, goto)| *goto).collect(),
            None => Vec::new(),
        };
        let states = gotos.into_iter().filter_map(|goto| match goto {
            Goto::State(state) if state < parser.states.len() => Some(state),
            _ => None,
        });
        states.collect()
    };
    // Depth first: 0 new, 1 open, 2 done.
    let mut marks = vec![0u8; parser.states.len()];
    let mut done = Vec::new();
    let mut acyclic = true;
    let mut stack: Vec<(usize, Vec<usize>)> = Vec::new();
    if let Some(mark) = marks.get_mut(parser.start) {
        *mark = 1;
        stack.push((parser.start, successors(parser.start)));
    }
    while let Some((state, rest)) = stack.last_mut() {
        match rest.pop() {
            Some(next) => match marks[next] {
                0 => {
                    marks[next] = 1;
                    stack.push((next, successors(next)));
                }
                1 => acyclic = false,
                _ => {}
            },
            None => {
                marks[*state] = 2;
                done.push(*state);
                stack.pop();
            }
        }
    }
    done.reverse();
    Order {
        states: done,
        acyclic,
    }
}
