//! Statements.
//!
//! In: blocks of a body. Out: IR blocks. Invariant: declarations are visible to the end of their block; what a statement
//! may do depends on the [`Context`] it stands in.

use num_bigint::BigInt;
use num_traits::One;

use super::emit::Typed;
use super::expr::Operand;
use super::names::{Context, Entity};
use super::ty::Ty;
use super::{Sema, code};
use crate::front::ast::{self, BinaryOp as Op, Expr, ExprKind as Ast, StmtKind as AstStmt};
use crate::ir::{self, BinaryOp, Block, ExprKind, ForIn, Stmt, StmtKind, UnaryOp};
use crate::source::Span;

impl<'a> Sema<'a> {
    /// A block in a scope of its own.
    pub(super) fn block(&mut self, block: &'a ast::Block) -> Block {
        self.scoped(|sema| sema.statements(&block.stmts))
    }

    pub(super) fn statements(&mut self, stmts: &'a [ast::Stmt]) -> Block {
        let mut lowered = Vec::with_capacity(stmts.len());
        for stmt in stmts {
            lowered.extend(self.statement(stmt));
        }
        Block { stmts: lowered }
    }

    /// One statement as a block of its own.
    fn branch(&mut self, stmt: &'a ast::Stmt) -> Block {
        self.scoped(|sema| match &stmt.kind {
            AstStmt::Block(block) => sema.block(block),
            _ => Block {
                stmts: sema.statement(stmt).into_iter().collect(),
            },
        })
    }

    pub(super) fn statement(&mut self, stmt: &'a ast::Stmt) -> Option<Stmt> {
        let span = stmt.span;
        let kind = match &stmt.kind {
            AstStmt::Empty => return None,
            AstStmt::Assign {
                target,
                op,
                op_span: _,
                value,
            } => self.assign(target, *op, value, span)?,
            AstStmt::Call(call) => self.call_statement(call)?,
            AstStmt::If {
                cond,
                then,
                otherwise,
            } => {
                let cond = self.expr_as(cond, &Ty::Bool);
                let then = self.branch(then);
                let otherwise = otherwise
                    .as_ref()
                    .map(|stmt| self.branch(stmt))
                    .unwrap_or_default();
                StmtKind::If {
                    cond: cond.expr,
                    then,
                    otherwise,
                }
            }
            AstStmt::Block(block) => StmtKind::Block(self.block(block)),
            AstStmt::Return(value) => self.return_statement(value.as_ref(), span)?,
            AstStmt::Exit => self.exit(span)?,
            AstStmt::Break => self.in_loop(StmtKind::Break, "break", span)?,
            AstStmt::Continue => self.in_loop(StmtKind::Continue, "continue", span)?,
            AstStmt::Switch { subject, cases } => self.switch(subject, cases, span)?,
            AstStmt::For {
                init,
                cond,
                update,
                body,
                ..
            } => self.for_loop(init, cond, update, body),
            AstStmt::ForIn {
                variable,
                collection,
                body,
                ..
            } => self.for_in(variable, collection, body)?,
            AstStmt::Variable(decl) => return self.variable(decl),
            AstStmt::Const(decl) => {
                self.local_const(decl);
                return None;
            }
            AstStmt::Instance(decl) => {
                let help = "declare instances outside of statements";
                self.err(
                    code::INSTANCE,
                    decl.span,
                    "objects cannot be made in statements",
                    help,
                );
                self.bind(&decl.name, Entity::Bad);
                return None;
            }
        };
        Some(Stmt { kind, span })
    }

    fn call_statement(&mut self, call: &'a Expr) -> Option<StmtKind> {
        match self.operand(call, None) {
            Operand::Value(value) if !value.ty.is_error() => {
                if matches!(self.kind(value.expr), ExprKind::Call { .. }) {
                    Some(StmtKind::Eval(value.expr))
                } else {
                    None
                }
            }
            Operand::Value(_) | Operand::Bad => None,
            other => {
                self.as_value(other, call.span);
                None
            }
        }
    }

    fn assign(
        &mut self,
        target: &'a Expr,
        op: Option<Op>,
        value: &'a Expr,
        span: Span,
    ) -> Option<StmtKind> {
        let place = self.expr(target, None);
        if !place.place {
            self.not_a_place(target);
            self.expr(value, None);
            return None;
        }
        let ty = self.resolve(&place.ty);
        let (mut target_expr, mut before) = match self.has_effects(place.expr) {
            true => self.fix_indices(place.expr, span),
            false => (place.expr, Vec::new()),
        };
        let result = match op {
            None => self.expr_as(value, &ty),
            Some(op) => {
                let old = match before.is_empty() {
                    true => self.expr(target, None),
                    false => Typed {
                        expr: self.copy_place(target_expr),
                        ..place.clone()
                    },
                };
                self.compound(op, old, value, &ty, span)
            }
        };
        if ty.is_error() || result.ty.is_error() {
            return None;
        }
        if before.is_empty() && self.has_effects(result.expr) {
            (target_expr, before) = self.fix_indices(place.expr, span);
        }
        let kind = match self.variable_slice(target_expr) {
            Some((base, at)) => self.assign_bits(base, at, &ty, result, span),
            None => StmtKind::Assign {
                place: target_expr,
                value: result.expr,
            },
        };
        if before.is_empty() {
            return Some(kind);
        }
        before.push(Stmt { kind, span });
        Some(StmtKind::Block(Block { stmts: before }))
    }

    fn not_a_place(&mut self, target: &'a Expr) {
        let help = match &target.kind {
            Ast::Path(path) => match self.find_name(path) {
                Some(super::names::Found::Local(Entity::Var { .. })) => {
                    "parameters are written to only when they are `out` or `inout`"
                }
                _ => "",
            },
            Ast::Member { .. } | Ast::Index { .. } | Ast::Slice { .. } => {
                "what is taken apart here comes from a constant, a result or an `in` parameter"
            }
            _ => "",
        };
        self.err(
            code::NOT_A_PLACE,
            target.span,
            "this cannot be assigned to",
            help,
        );
    }

    fn compound(&mut self, op: Op, old: Typed, value: &'a Expr, ty: &Ty, span: Span) -> Typed {
        let hint = if matches!(op, Op::Shl | Op::Shr) {
            None
        } else {
            Some(ty)
        };
        let operand = self.expr(value, hint);
        let old = Typed {
            place: false,
            ..old
        };
        let result = self.combine(op, old, operand, span);
        self.convert(result, ty, span)
    }

    /// The base and the first bit of `base[at +: n]` with a variable `at`.
    fn variable_slice(
        &self,
        place: ir::Handle<ir::Expr>,
    ) -> Option<(ir::Handle<ir::Expr>, ir::Handle<ir::Expr>)> {
        match self.kind(place) {
            ExprKind::Slice { base, lo: 0, .. } => match self.kind(*base) {
                ExprKind::Binary(BinaryOp::Shr, base, at) => Some((*base, *at)),
                _ => None,
            },
            _ => None,
        }
    }

    /// `base[at +: n] = value` as one assignment of the whole base.
    fn assign_bits(
        &mut self,
        base: ir::Handle<ir::Expr>,
        at: ir::Handle<ir::Expr>,
        part: &Ty,
        value: Typed,
        span: Span,
    ) -> StmtKind {
        let whole = self.ir.exprs[base].ty;
        let bits = match part {
            Ty::Bits { width, .. } => *width,
            _ => 0,
        };
        let ones = (BigInt::one() << bits) - 1;
        let mut make = |kind: ExprKind| {
            self.ir.exprs.push(ir::Expr {
                kind,
                ty: whole,
                span,
            })
        };
        let ones = make(ExprKind::Const(ir::Const::Int(ones)));
        let mask = make(ExprKind::Binary(BinaryOp::Shl, ones, at));
        let hole = make(ExprKind::Unary(UnaryOp::BitNot, mask));
        let kept = make(ExprKind::Binary(BinaryOp::BitAnd, base, hole));
        let wide = make(ExprKind::Cast(value.expr));
        let moved = make(ExprKind::Binary(BinaryOp::Shl, wide, at));
        let value = make(ExprKind::Binary(BinaryOp::BitOr, kept, moved));
        StmtKind::Assign { place: base, value }
    }

    fn return_statement(&mut self, value: Option<&'a Expr>, span: Span) -> Option<StmtKind> {
        match (self.frame.context, value) {
            (Context::State | Context::ParserLocals, _) => {
                self.err(
                    code::STATEMENT_PLACE,
                    span,
                    "`return` cannot stand in a parser",
                    "use `transition accept`",
                );
                None
            }
            (Context::Function, Some(value)) => {
                let ret = self.frame.ret.clone().unwrap_or(Ty::Void);
                if ret == Ty::Void {
                    self.err(
                        code::RETURN,
                        value.span,
                        "a function without a result returns no value",
                        "",
                    );
                    return None;
                }
                let value = self.expr_as(value, &ret);
                Some(StmtKind::Return(Some(value.expr)))
            }
            (Context::Function, None) => {
                let ret = self.frame.ret.clone().unwrap_or(Ty::Void);
                if !matches!(ret, Ty::Void | Ty::Error) {
                    let message = format!("this function returns `{}`", self.show(&ret));
                    self.err(code::RETURN, span, message, "write `return value;`");
                    return None;
                }
                Some(StmtKind::Return(None))
            }
            (_, Some(value)) => {
                self.err(
                    code::RETURN,
                    value.span,
                    "only functions return a value",
                    "",
                );
                None
            }
            (_, None) => Some(StmtKind::Return(None)),
        }
    }

    fn exit(&mut self, span: Span) -> Option<StmtKind> {
        if matches!(self.frame.context, Context::State | Context::ParserLocals) {
            self.err(
                code::STATEMENT_PLACE,
                span,
                "`exit` cannot stand in a parser",
                "use `transition reject`",
            );
            return None;
        }
        if self.frame.context == Context::Function {
            self.err(
                code::STATEMENT_PLACE,
                span,
                "`exit` cannot stand in a function",
                "",
            );
            return None;
        }
        Some(StmtKind::Exit)
    }

    fn in_loop(&mut self, kind: StmtKind, word: &str, span: Span) -> Option<StmtKind> {
        if self.frame.loops == 0 {
            self.err(
                code::STATEMENT_PLACE,
                span,
                format!("`{word}` stands outside of a loop"),
                "",
            );
            return None;
        }
        Some(kind)
    }

    fn for_loop(
        &mut self,
        init: &'a [ast::Stmt],
        cond: &'a Expr,
        update: &'a [ast::Stmt],
        body: &'a ast::Stmt,
    ) -> StmtKind {
        self.scoped(|sema| {
            let init = sema.statements(init);
            let cond = sema.expr_as(cond, &Ty::Bool);
            let update = sema.statements(update);
            sema.frame.loops += 1;
            let body = sema.branch(body);
            sema.frame.loops -= 1;
            StmtKind::For {
                init,
                cond: cond.expr,
                update,
                body,
            }
        })
    }

    fn for_in(
        &mut self,
        variable: &'a ast::VariableDecl,
        collection: &'a Expr,
        body: &'a ast::Stmt,
    ) -> Option<StmtKind> {
        self.scoped(|sema| {
            let ty = sema.type_of(&variable.ty);
            let over = sema.collection(collection, &ty);
            if ty.is_error() || ty.is_object() || matches!(ty, Ty::Integer | Ty::Str | Ty::Void) {
                if !ty.is_error() {
                    let message = format!("a variable cannot have type `{}`", sema.show(&ty));
                    sema.err(code::BAD_TYPE, variable.ty.span, message, "");
                }
                return None;
            }
            let var = sema.new_var(&variable.name.text, &ty, variable.name.span);
            sema.bind(
                &variable.name,
                Entity::Var {
                    var,
                    ty,
                    writable: true,
                    known: false,
                },
            );
            sema.frame.loops += 1;
            let body = sema.branch(body);
            sema.frame.loops -= 1;
            Some(StmtKind::ForIn {
                var,
                over: over?,
                body,
            })
        })
    }

    fn collection(&mut self, collection: &'a Expr, ty: &Ty) -> Option<ForIn> {
        if let Ast::Range { lo, hi } = &collection.kind {
            let low = self.expr_as(lo, ty);
            let high = self.expr_as(hi, ty);
            let sound = !low.ty.is_error() && !high.ty.is_error();
            return sound.then_some(ForIn::Range(low.expr, high.expr));
        }
        let value = self.expr(collection, Some(&Ty::List(std::rc::Rc::new(ty.clone()))));
        let value_ty = self.resolve(&value.ty);
        match value_ty {
            Ty::Error => None,
            Ty::ListLit(..) => {
                let list = self.convert(
                    value,
                    &Ty::List(std::rc::Rc::new(ty.clone())),
                    collection.span,
                );
                (!list.ty.is_error()).then_some(ForIn::Items(list.expr))
            }
            Ty::Stack(elem, _) | Ty::List(elem) if self.unify(&elem, ty) => {
                Some(ForIn::Items(value.expr))
            }
            Ty::Tuple(items) if items.iter().all(|item| self.unify(item, ty)) => {
                Some(ForIn::Items(value.expr))
            }
            other => {
                let message = format!(
                    "`for` cannot run over `{}` with a variable of type `{}`",
                    self.show(&other),
                    self.show(ty)
                );
                self.err(
                    code::FOR_IN,
                    collection.span,
                    message,
                    "use a range, a list or a stack of the variable's type",
                );
                None
            }
        }
    }
}
