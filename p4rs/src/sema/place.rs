//! The order of evaluation of assignments: indices in the place come before the value (P4-16 section 8.24).
//!
//! In: the place of an assignment. Out: the same place with its indices in variables, and the statements that set
//! these. Invariant: after that the place can be evaluated twice, before or after the value, with one meaning.

use super::Sema;
use crate::ir::{self, Arg, Callee, Expr, ExprKind, Handle, HeaderOp, PacketOp, Stmt, StmtKind};
use crate::source::Span;

impl Sema<'_> {
    /// Whether evaluating the expression may change something.
    pub(super) fn has_effects(&self, expr: Handle<Expr>) -> bool {
        match self.kind(expr) {
            ExprKind::Const(_) | ExprKind::Var(_) | ExprKind::InvalidHeader => false,
            ExprKind::Field(a, _)
            | ExprKind::Slice { base: a, .. }
            | ExprKind::StackNext(a)
            | ExprKind::StackLast(a)
            | ExprKind::StackLastIndex(a)
            | ExprKind::Unary(_, a)
            | ExprKind::Cast(a) => self.has_effects(*a),
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) => {
                self.has_effects(*a) || self.has_effects(*b)
            }
            ExprKind::Mux(a, b, c) => [a, b, c].into_iter().any(|part| self.has_effects(*part)),
            ExprKind::Struct(parts) => parts.iter().any(|part| self.has_effects(*part)),
            ExprKind::Call { callee, args, .. } => {
                let reads = matches!(
                    callee,
                    Callee::Packet(PacketOp::Lookahead | PacketOp::Length)
                        | Callee::Header(HeaderOp::IsValid)
                );
                let effects = |arg: &Arg| match arg {
                    Arg::In(expr) | Arg::Place(expr) => self.has_effects(*expr),
                    Arg::Absent | Arg::Extern(_) | Arg::Packet => false,
                };
                !reads || args.iter().any(effects)
            }
        }
    }

    /// The place with its indices in variables, and what sets these.
    pub(super) fn fix_indices(
        &mut self,
        place: Handle<Expr>,
        span: Span,
    ) -> (Handle<Expr>, Vec<Stmt>) {
        let mut set = Vec::new();
        let place = self.rebuilt(place, &mut |sema, index| {
            if matches!(sema.kind(index), ExprKind::Const(_)) {
                return index;
            }
            let ty = sema.ir.exprs[index].ty;
            let name = String::from("index");
            let var = sema.ir.vars.push(ir::Var { name, ty, span });
            let init = Some(index);
            let kind = StmtKind::Init { var, init };
            set.push(Stmt { kind, span });
            let kind = ExprKind::Var(var);
            sema.ir.exprs.push(Expr { kind, ty, span })
        });
        (place, set)
    }

    /// A copy of a place whose indices are fixed.
    pub(super) fn copy_place(&mut self, place: Handle<Expr>) -> Handle<Expr> {
        self.rebuilt(place, &mut |sema, index| {
            let index = sema.ir.exprs[index].clone();
            sema.ir.exprs.push(index)
        })
    }

    /// A copy of a place with other indices, made from the outside in: the order in which they are evaluated.
    fn rebuilt(
        &mut self,
        place: Handle<Expr>,
        index: &mut dyn FnMut(&mut Self, Handle<Expr>) -> Handle<Expr>,
    ) -> Handle<Expr> {
        let mut copy = self.ir.exprs[place].clone();
        match &mut copy.kind {
            ExprKind::Field(base, _)
            | ExprKind::Slice { base, .. }
            | ExprKind::StackNext(base)
            | ExprKind::StackLast(base) => *base = self.rebuilt(*base, index),
            ExprKind::Index(base, at) => {
                *base = self.rebuilt(*base, index);
                *at = index(self, *at);
            }
            _ => {}
        }
        self.ir.exprs.push(copy)
    }
}
