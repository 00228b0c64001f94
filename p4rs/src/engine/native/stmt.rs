//! Machine code of statements.
//!
//! In: [`Stmt`]. Out: blocks. Invariant: every block is sealed as soon as its predecessors are known.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};

use super::super::bits::mask;
use super::super::interp::code::{Ex, Operand, Slot, Stmt};
use super::super::outputs::DropReason;
use super::Unsupported;
use super::build::{Build, Exits, Falls, UNREACHABLE, Val};
use super::context::{Site, status};
use super::runtime;
use super::support;

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
        let mut left = stmts;
        while !left.is_empty() {
            // What makes no ways is built together with what may.
            let simple = left.iter().take_while(|stmt| !parts(stmt)).count();
            let (some, rest) = left.split_at(left.len().min(simple + 1));
            left = rest;
            let others = std::mem::take(&mut self.parked);
            let mut falls = self.in_order(some)?;
            if !others.is_empty() {
                let stashed = self.stashed;
                self.stashed += others.len();
                let mut ends = Vec::new();
                for other in others {
                    self.ends(falls, &mut ends);
                    self.enter(other);
                    falls = self.in_order(some)?;
                }
                self.ends(falls, &mut ends);
                self.stashed = stashed;
                falls = self.regroup(ends);
            }
            if falls == Falls::Away {
                return Ok(Falls::Away);
            }
        }
        Ok(Falls::Through)
    }

    /// Some statements on one way.
    fn in_order(&mut self, stmts: &[Stmt]) -> Result<Falls, Unsupported> {
        for stmt in stmts {
            if self.facts.dead {
                self.b.ins().trap(UNREACHABLE);
                return Ok(Falls::Away);
            }
            if self.stmt(stmt)? == Falls::Away {
                return Ok(Falls::Away);
            }
        }
        Ok(Falls::Through)
    }

    /// One statement.
    pub fn stmt(&mut self, stmt: &Stmt) -> Result<Falls, Unsupported> {
        if let Some(falls) = self.hot_stmt(stmt) {
            return falls;
        }
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
                self.meet();
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
        let (yes, no, after) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        self.choose_way(cond, yes, no)?;
        let splits = self.splits();
        let mut ends = Vec::new();
        let mut falls = Falls::Away;
        for (block, body) in [(yes, then), (no, otherwise)] {
            if !self.ways.contains_key(&block) {
                continue;
            }
            self.enter(block);
            if splits {
                let falls = self.stmts(body)?;
                self.ends(falls, &mut ends);
            } else if self.arm(body, after)? == Falls::Through {
                falls = Falls::Through;
            }
        }
        if splits {
            return Ok(self.regroup(ends));
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
            self.meet();
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
        let blocks = self.case_blocks(subject, cases)?;
        let bodies: Vec<&[Stmt]> = cases.iter().map(|(_, body)| body.as_slice()).collect();
        self.finish_cases(&blocks, &bodies, default)
    }

    /// Goes to the block of the first case that fits, one for each; control stands where none does.
    pub fn case_blocks(
        &mut self,
        subject: &Operand,
        cases: &[(Vec<Operand>, Vec<Stmt>)],
    ) -> Result<Vec<Block>, Unsupported> {
        let subject = self.scalar_operand(subject)?;
        let blocks: Vec<Block> = cases.iter().map(|_| self.b.create_block()).collect();
        for ((labels, _), &block) in cases.iter().zip(&blocks) {
            for label in labels {
                let label = self.scalar_operand(label)?;
                let is = self.equal(label, subject);
                let other = self.b.create_block();
                self.brif(is, block, &[], other, &[]);
                self.enter(other);
            }
        }
        Ok(blocks)
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
        self.meet();
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
}
