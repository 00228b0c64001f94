//! Statements.
//!
//! In: IR blocks. Out: statement lists. Invariant: statements keep their order and their number of evaluations.

use super::super::super::layout;
use super::super::code::{Operand, Place, Stmt};
use super::{Lower, Lowered, clear, place::offset_by};
use crate::ir::{
    Block, Callee, Const, Expr, ExprKind, ForIn, Handle, HeaderOp, PacketOp, StmtKind, SwitchCase,
    Type, Var,
};

impl Lower<'_> {
    /// Statements in order.
    pub(super) fn block(&mut self, block: &Block) -> Lowered<Vec<Stmt>> {
        let mut out = Vec::with_capacity(block.stmts.len());
        for stmt in &block.stmts {
            out.push(self.stmt(&stmt.kind)?);
        }
        Ok(out)
    }

    fn stmt(&mut self, stmt: &StmtKind) -> Lowered<Stmt> {
        match stmt {
            StmtKind::Assign { place, value } => self.assign(*place, *value),
            StmtKind::Eval(expr) => self.eval(*expr),
            StmtKind::Init { var, init } => self.init(*var, *init),
            StmtKind::If {
                cond,
                then,
                otherwise,
            } => Ok(Stmt::If(
                self.scalar(*cond)?,
                self.block(then)?,
                self.block(otherwise)?,
            )),
            StmtKind::SwitchAction {
                apply,
                cases,
                default,
            } => self.switch_action(*apply, cases, default),
            StmtKind::Switch {
                subject,
                cases,
                default,
            } => {
                let subject = self.operand(*subject)?;
                let mut out = Vec::with_capacity(cases.len());
                for case in cases {
                    let labels = case
                        .labels
                        .iter()
                        .map(|&label| self.operand(label))
                        .collect::<Lowered<_>>()?;
                    out.push((labels, self.block(&case.body)?));
                }
                Ok(Stmt::Switch {
                    subject,
                    cases: out,
                    default: self.block(default)?,
                })
            }
            StmtKind::For {
                init,
                cond,
                update,
                body,
            } => Ok(Stmt::For {
                init: self.block(init)?,
                cond: self.scalar(*cond)?,
                update: self.block(update)?,
                body: self.block(body)?,
            }),
            StmtKind::ForIn { var, over, body } => self.for_in(*var, over, body),
            StmtKind::Break => Ok(Stmt::Break),
            StmtKind::Continue => Ok(Stmt::Continue),
            StmtKind::Return(value) => self.return_value(*value),
            StmtKind::Exit => Ok(Stmt::Exit),
            StmtKind::Block(block) => Ok(Stmt::Block(self.block(block)?)),
        }
    }

    fn assign(&mut self, place: Handle<Expr>, value: Handle<Expr>) -> Lowered<Stmt> {
        let value = self.typed(value, self.expr(place).ty)?;
        let dest = self.dest(place)?;
        let plain = dest.guard.is_none() && dest.slice.is_none() && dest.union.is_none();
        Ok(match (dest.place, value) {
            (Place::Fixed(slot), Operand::One(value)) if plain => Stmt::Set(slot, value),
            (place, value) => Stmt::Assign(super::super::code::Dest { place, ..dest }, value),
        })
    }

    /// A value for a place of this type: a list becomes the struct or header that it stands for.
    pub(super) fn typed(&mut self, value: Handle<Expr>, ty: Handle<Type>) -> Lowered<Operand> {
        if let ExprKind::Struct(_) = &self.expr(value).kind
            && !layout::is_scalar(self.program, ty)
        {
            return Ok(Operand::Many(self.compose(value, ty)?, self.slots(ty)));
        }
        self.operand(value)
    }

    fn init(&mut self, var: Handle<Var>, init: Option<Handle<Expr>>) -> Lowered<Stmt> {
        let ty = self.program.vars[var].ty;
        let slot = self.home(var);
        let Some(init) = init else {
            return Ok(clear(slot, self.slots(ty)));
        };
        Ok(match self.typed(init, ty)? {
            Operand::One(value) => Stmt::Set(slot, value),
            value => Stmt::Init(slot, value),
        })
    }

    fn eval(&mut self, expr: Handle<Expr>) -> Lowered<Stmt> {
        let node = self.expr(expr);
        let ExprKind::Call { callee, args, .. } = &node.kind else {
            return Ok(Stmt::Eval(self.operand(expr)?));
        };
        Ok(match callee {
            Callee::Function(function) => {
                Stmt::Call(Box::new(self.function_call(*function, args)?.0))
            }
            Callee::Action(action) => Stmt::Call(Box::new(self.action_call(*action, args)?)),
            Callee::Control(control) => Stmt::Call(Box::new(self.control_call(*control, args)?)),
            Callee::Parser(parser) => Stmt::Call(Box::new(self.parser_call(*parser, args)?)),
            Callee::Table(table) => Stmt::Apply(self.table(*table)?),
            Callee::Packet(PacketOp::Lookahead | PacketOp::Length)
            | Callee::Header(HeaderOp::IsValid) => Stmt::Eval(self.operand(expr)?),
            Callee::Packet(_) | Callee::Header(_) => Stmt::Prim(Box::new(self.builtin(expr)?)),
            Callee::Method { .. } | Callee::Extern(_) => {
                Stmt::Prim(Box::new(self.extern_call(expr)?))
            }
        })
    }

    fn switch_action(
        &mut self,
        apply: Handle<Expr>,
        cases: &[SwitchCase<usize>],
        default: &Block,
    ) -> Lowered<Stmt> {
        let node = self.expr(apply);
        let ExprKind::Call {
            callee: Callee::Table(table),
            ..
        } = &node.kind
        else {
            return self.construct("a switch on something else than a table", node.span);
        };
        let actions = self.program.tables[*table].actions.len();
        let table = self.table(*table)?;
        let mut by_action = vec![None; actions];
        let mut bodies = Vec::with_capacity(cases.len());
        for (i, case) in cases.iter().enumerate() {
            for &label in &case.labels {
                if let Some(target) = by_action.get_mut(label) {
                    *target = Some(i as u32);
                }
            }
            bodies.push(self.block(&case.body)?);
        }
        Ok(Stmt::SwitchAction {
            table,
            by_action,
            cases: bodies,
            default: self.block(default)?,
        })
    }

    fn for_in(&mut self, var: Handle<Var>, over: &ForIn, body: &Block) -> Lowered<Stmt> {
        let ty = self.program.vars[var].ty;
        let slot = self.home(var);
        match over {
            ForIn::Range(low, high) => {
                let (width, signed) = layout::number(self.program, ty);
                Ok(Stmt::ForRange {
                    var: slot,
                    low: self.scalar(*low)?,
                    high: self.scalar(*high)?,
                    signed: signed.then_some(width),
                    body: self.block(body)?,
                })
            }
            ForIn::Items(items) => self.for_items(*items, ty, slot, body),
        }
    }

    fn for_items(
        &mut self,
        items: Handle<Expr>,
        ty: Handle<Type>,
        var: u32,
        body: &Block,
    ) -> Lowered<Stmt> {
        let node = self.expr(items);
        if let Type::Stack { size, elem } = self.ty(node.ty) {
            let elem = self.slots(*elem);
            let stack = self.agg(items)?;
            return Ok(Stmt::ForStack {
                var,
                stack,
                size: *size,
                elem,
                body: self.block(body)?,
            });
        }
        let values = match &node.kind {
            ExprKind::Struct(parts) => parts
                .iter()
                .map(|&part| self.typed(part, ty))
                .collect::<Lowered<Vec<_>>>()?,
            ExprKind::Const(Const::List(values)) => values
                .iter()
                .map(|value| self.const_operand(value, ty))
                .collect(),
            ExprKind::Cast(inner) => return self.for_items(*inner, ty, var, body),
            _ => {
                let base = self.place(items)?;
                let parts = layout::parts(self.program, node.ty);
                let part = |(first, part, _)| {
                    Operand::Many(
                        super::super::code::Agg::Place(offset_by(base.clone(), first)),
                        self.slots(part),
                    )
                };
                parts.into_iter().map(part).collect()
            }
        };
        Ok(Stmt::ForItems {
            var,
            items: values,
            body: self.block(body)?,
        })
    }

    fn return_value(&mut self, value: Option<Handle<Expr>>) -> Lowered<Stmt> {
        let target = match (self.result, value) {
            (Some((slot, ty)), Some(value)) => Some((slot, self.typed(value, ty)?)),
            _ => None,
        };
        Ok(Stmt::Return(target))
    }
}
