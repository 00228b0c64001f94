//! Machine code of statements and parsers.
//!
//! In: [`Stmt`], parser states. Out: blocks. Invariant: every block is sealed as soon as its predecessors are known.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};

use super::super::bits::mask;
use super::super::interp::code::{Ex, Goto, Next, Number, Operand, ParserCode, Slot, Stmt, Test};
use super::super::outputs::DropReason;
use super::Unsupported;
use super::build::{Build, Exits, Falls, Val};
use super::runtime::{self, Site, status};
use super::support;

impl Build<'_, '_> {
    /// One statement.
    pub fn stmt(&mut self, stmt: &Stmt) -> Result<Falls, Unsupported> {
        if !support::stmt(stmt) {
            self.interpreted(stmt);
            return Ok(Falls::Through);
        }
        match stmt {
            Stmt::Set(slot, ex) => {
                if self.widths.ex(ex) > self.widths.of(*slot) {
                    return Err(Unsupported("a value wider than its slot"));
                }
                let value = self.ex(ex)?;
                self.set(*slot, value);
            }
            Stmt::Assign(dest, Operand::One(ex)) => {
                let value = self.ex(ex)?;
                self.put(dest, value)?;
            }
            Stmt::Assign(dest, Operand::Many(agg, slots)) => {
                let values = self.agg(agg, dest.slots.min(*slots))?;
                self.put_slots(dest, &values)?;
            }
            Stmt::Clear(slot, slots) => self.clear(*slot, *slots),
            Stmt::Init(slot, value) => self.store(*slot, value)?,
            Stmt::Eval(Operand::One(ex)) => {
                self.ex(ex)?;
            }
            Stmt::Eval(Operand::Many(agg, _)) => {
                self.agg(agg, 0)?;
            }
            Stmt::Call(call) => self.call(call)?,
            Stmt::Apply(table) => {
                self.apply(*table)?;
            }
            Stmt::Prim(prim) => {
                self.prim(prim)?;
            }
            Stmt::If(cond, then, otherwise) => return self.branch(cond, then, otherwise),
            Stmt::SwitchAction {
                table,
                by_action,
                cases,
                default,
            } => {
                let (_, action) = self.apply(*table)?;
                let tests = by_action
                    .iter()
                    .enumerate()
                    .filter_map(|(action, case)| case.map(|case| (action as u64, case as usize)));
                let tests: Vec<(u64, usize)> = tests.collect();
                let bodies: Vec<&[Stmt]> = cases.iter().map(Vec::as_slice).collect();
                return self.dispatch(action, &tests, &bodies, default);
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
            } => return self.for_range(*var, (low, high), *signed, body),
            Stmt::ForItems { var, items, body } => return self.for_items(*var, items, body),
            Stmt::Block(body) => return self.stmts(body),
            Stmt::Break | Stmt::Continue => {
                let (out, next) = self
                    .exits
                    .turn
                    .ok_or(Unsupported("a jump without a loop"))?;
                self.jump(if matches!(stmt, Stmt::Break) {
                    out
                } else {
                    next
                });
                return Ok(Falls::Away);
            }
            Stmt::Return(value) => {
                if let Some((slot, value)) = value {
                    self.store(*slot, value)?;
                }
                let ret = self.exits.ret;
                self.jump(ret);
                return Ok(Falls::Away);
            }
            Stmt::Exit => {
                self.stop(status::EXIT);
                return Ok(Falls::Away);
            }
            Stmt::ForStack { .. } => return Err(Unsupported("a statement")),
        }
        Ok(Falls::Through)
    }

    /// A statement that the interpreter runs; what it says about where to go on is obeyed.
    fn interpreted(&mut self, stmt: &Stmt) {
        let status = self.interpret(Site::Stmt(stmt));
        if !matches!(
            stmt,
            Stmt::Switch { .. } | Stmt::ForStack { .. } | Stmt::ForRange { .. }
        ) {
            return self.check(status);
        }
        let exits = self.exits;
        let mut ways = vec![(runtime::RETURNED, exits.ret)];
        if let Some((out, next)) = exits.turn {
            ways.push((runtime::RETURNED + 1, out));
            ways.push((runtime::RETURNED + 2, next));
        }
        for (code, to) in ways {
            let is = self
                .b
                .ins()
                .icmp_imm_u(IntCC::Equal, status, i64::from(code));
            let other = self.b.create_block();
            self.brif(is, to, &[], other, &[]);
            self.enter(other);
        }
        self.check(status);
    }

    fn branch(
        &mut self,
        cond: &Ex,
        then: &[Stmt],
        otherwise: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let condition = self.cond(cond)?;
        if let Some(known) = self.number(condition) {
            return self.stmts(if known != 0 { then } else { otherwise });
        }
        let (yes, no, after) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let no_block = if otherwise.is_empty() { after } else { no };
        self.brif(condition, yes, &[], no_block, &[]);
        self.enter(yes);
        let mut falls = self.arm(then, after)?;
        if otherwise.is_empty() {
            falls = Falls::Through;
        } else {
            self.enter(no);
            if self.arm(otherwise, after)? == Falls::Through {
                falls = Falls::Through;
            }
        }
        if falls == Falls::Through {
            self.enter(after);
        }
        Ok(falls)
    }

    /// A body that goes on at `after`.
    fn arm(&mut self, body: &[Stmt], after: Block) -> Result<Falls, Unsupported> {
        let falls = self.stmts(body)?;
        if falls == Falls::Through {
            self.jump(after);
        }
        Ok(falls)
    }

    /// Chooses a body by a number.
    fn dispatch(
        &mut self,
        subject: Value,
        tests: &[(u64, usize)],
        bodies: &[&[Stmt]],
        default: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let blocks: Vec<Block> = bodies.iter().map(|_| self.b.create_block()).collect();
        for &(number, body) in tests {
            let block = *blocks.get(body).ok_or(Unsupported("a case"))?;
            let is = self.is(subject, number);
            let other = self.b.create_block();
            self.brif(is, block, &[], other, &[]);
            self.enter(other);
        }
        self.finish_cases(&blocks, bodies, default)
    }

    /// The bodies of a choice; control stands where nothing was chosen.
    fn finish_cases(
        &mut self,
        blocks: &[Block],
        bodies: &[&[Stmt]],
        default: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let after = self.b.create_block();
        let mut falls = self.arm(default, after)?;
        for (&block, body) in blocks.iter().zip(bodies) {
            self.enter(block);
            if self.arm(body, after)? == Falls::Through {
                falls = Falls::Through;
            }
        }
        if falls == Falls::Through {
            self.enter(after);
        }
        Ok(falls)
    }

    fn switch(
        &mut self,
        subject: &Operand,
        cases: &[(Vec<Operand>, Vec<Stmt>)],
        default: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let subject = self.scalar_operand(subject)?;
        let bodies: Vec<&[Stmt]> = cases.iter().map(|(_, body)| body.as_slice()).collect();
        let blocks: Vec<Block> = bodies.iter().map(|_| self.b.create_block()).collect();
        for ((labels, _), &block) in cases.iter().zip(&blocks) {
            for label in labels {
                let label = self.scalar_operand(label)?;
                let is = self.equal(label, subject);
                let other = self.b.create_block();
                self.brif(is, block, &[], other, &[]);
                self.enter(other);
            }
        }
        self.finish_cases(&blocks, &bodies, default)
    }

    /// The body of a loop: `next` follows it and `continue`, `out` follows `break`.
    fn turns(&mut self, body: &[Stmt], out: Block, next: Block) -> Result<(), Unsupported> {
        self.turn(DropReason::LoopLimit);
        let outer = self.exits;
        self.exits = Exits {
            turn: Some((out, next)),
            ..outer
        };
        self.loops += 1;
        let falls = self.stmts(body)?;
        self.loops -= 1;
        self.exits = outer;
        if falls == Falls::Through {
            self.jump(next);
        }
        Ok(())
    }

    fn for_loop(
        &mut self,
        init: &[Stmt],
        cond: &Ex,
        update: &[Stmt],
        body: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        if self.stmts(init)? == Falls::Away {
            return Ok(Falls::Away);
        }
        let (head, inside, next, out) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.jump(head);
        self.enter_loop(head);
        let condition = self.cond(cond)?;
        self.brif(condition, inside, &[], out, &[]);
        self.enter(inside);
        self.turns(body, out, next)?;
        self.enter(next);
        if self.stmts(update)? == Falls::Through {
            self.jump(head);
        }
        self.b.seal_block(head);
        self.enter(out);
        Ok(Falls::Through)
    }

    fn for_range(
        &mut self,
        var: Slot,
        (low, high): (&Ex, &Ex),
        signed: Option<u32>,
        body: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let wide = self.widths.ex(low).max(self.widths.ex(high)) > 64;
        let (low, high) = (self.ex(low)?, self.ex(high)?);
        let ty = if wide { types::I128 } else { types::I64 };
        let (low, high) = if wide {
            (self.widen(low), self.widen(high))
        } else {
            (low.value, high.value)
        };
        let (head, next, more, out) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let above = match signed {
            Some(width) => {
                let (low, high) = (self.sign_extend(low, width), self.sign_extend(high, width));
                self.b.ins().icmp(IntCC::SignedGreaterThan, low, high)
            }
            None => self.b.ins().icmp(IntCC::UnsignedGreaterThan, low, high),
        };
        let at = self.b.append_block_param(head, ty);
        self.brif(above, out, &[], head, &[BlockArg::Value(low)]);
        self.enter_loop(head);
        self.set(var, Val { value: at, wide });
        self.turns(body, out, next)?;
        self.enter(next);
        let last = self.b.ins().icmp(IntCC::Equal, at, high);
        self.brif(last, out, &[], more, &[]);
        self.enter(more);
        let one = self.b.ins().iconst(types::I64, 1);
        let one = if wide {
            self.b.ins().uextend(types::I128, one)
        } else {
            one
        };
        let mut following = self.b.ins().iadd(at, one);
        if let Some(width) = signed {
            let cut = self.and_mask(
                Val {
                    value: following,
                    wide,
                },
                mask(width),
            );
            following = if wide { self.widen(cut) } else { cut.value };
        }
        self.go(head, &[BlockArg::Value(following)]);
        self.b.seal_block(head);
        self.enter(out);
        Ok(Falls::Through)
    }

    fn for_items(
        &mut self,
        var: Slot,
        items: &[Operand],
        body: &[Stmt],
    ) -> Result<Falls, Unsupported> {
        let out = self.b.create_block();
        for item in items {
            self.store(var, item)?;
            let next = self.b.create_block();
            self.turns(body, out, next)?;
            self.enter(next);
        }
        self.jump(out);
        self.enter(out);
        Ok(Falls::Through)
    }

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
            let mut all = None;
            for (test, &value) in tests.iter().zip(&values) {
                let Some(matches) = self.test(test, value)? else {
                    continue;
                };
                all = Some(match all {
                    None => matches,
                    Some(before) => self.both_hold(before, matches),
                });
            }
            let Some(matches) = all else {
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

/// What the transitions of one parser share.
struct Way {
    index: u32,
    blocks: Vec<Block>,
    /// States entered without progress, and the cursor before them; only where states form a cycle.
    standstill: Option<(cranelift_frontend::Variable, cranelift_frontend::Variable)>,
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
