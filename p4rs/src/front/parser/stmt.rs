//! Statements.
//!
//! In: tokens at a statement, or at the `{` of a block. Out: [`Stmt`]s; a faulty statement is skipped and the block goes
//! on. Whether `name ...` begins a declaration is decided by what is known of the name and by the next token.

use super::super::ast::{
    Annotation, BinaryOp, Block, ConstDecl, Expr, ExprKind, InstanceDecl, Stmt, StmtKind,
    SwitchCase, TypeRef, VariableDecl,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::source::Span;

impl Parser<'_> {
    /// `{...}` after its annotations.
    pub(super) fn block(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Block> {
        self.expect(Sign::LBrace)?;
        let level = self.scopes.level();
        self.scopes.enter();
        let stmts = self.members(Self::stmt);
        self.scopes.back_to(level);
        Ok(Block {
            stmts: stmts?,
            span: self.since(start),
            annotations,
        })
    }

    /// A statement or local declaration.
    pub(super) fn stmt(&mut self) -> Parsed<Stmt> {
        let start = self.span();
        let level = self.scopes.level();
        let kind = self.deeper(Self::stmt_kind);
        if kind.is_err() {
            self.scopes.back_to(level);
        }
        Ok(Stmt {
            kind: kind?,
            span: self.since(start),
        })
    }

    fn stmt_kind(&mut self) -> Parsed<StmtKind> {
        let start = self.span();
        let annotations = self.annotations()?;
        match self.peek() {
            TokenKind::Sign(Sign::LBrace) => {
                return Ok(StmtKind::Block(self.block(start, annotations)?));
            }
            TokenKind::Keyword(Keyword::For) => return self.for_stmt(annotations),
            TokenKind::Keyword(Keyword::Const) => {
                return Ok(StmtKind::Const(self.const_decl(start, annotations)?));
            }
            _ if self.begins_local() => return self.local(start, annotations),
            _ => {}
        }
        if !annotations.is_empty() {
            return self.expected("a block, a loop or a declaration");
        }
        let simple = match self.peek() {
            TokenKind::Sign(Sign::Semicolon) => StmtKind::Empty,
            TokenKind::Keyword(Keyword::Exit) => StmtKind::Exit,
            TokenKind::Keyword(Keyword::Break) => StmtKind::Break,
            TokenKind::Keyword(Keyword::Continue) => StmtKind::Continue,
            TokenKind::Keyword(Keyword::Return) => return self.return_stmt(),
            TokenKind::Keyword(Keyword::If) => return self.if_stmt(),
            TokenKind::Keyword(Keyword::Switch) => return self.switch_stmt(),
            _ => {
                let action = self.assignment_or_call()?;
                self.expect(Sign::Semicolon)?;
                return Ok(action);
            }
        };
        if simple != StmtKind::Empty {
            self.advance();
        }
        self.expect(Sign::Semicolon)?;
        Ok(simple)
    }

    /// Whether a declaration of a variable or an instance begins here: with a type, or with two names in a row.
    pub(super) fn begins_local(&self) -> bool {
        match self.peek() {
            TokenKind::Keyword(Keyword::Error) => self.peek_at(1) != TokenKind::Sign(Sign::Dot),
            TokenKind::Sign(Sign::Dot) => {
                self.is_type_name_at(0) && self.peek_at(2) != TokenKind::Sign(Sign::Dot)
            }
            _ if self.is_type_name_at(0) => self.peek_at(1) != TokenKind::Sign(Sign::Dot),
            _ => self.is_type_at(0) || self.is_name() && self.is_name_at(1),
        }
    }

    /// Two names in a row that are no declaration: the first was meant to be a type, or a macro.
    pub(super) fn known_type(&mut self) -> Parsed<()> {
        if !self.is_name() || self.is_type_name_at(0) || self.is_type_at(0) {
            return Ok(());
        }
        let message = format!("`{}` is neither a type nor a macro", self.text());
        self.error(
            Diagnostic::error("unknown-type", message)
                .at(self.span(), "not declared before this line"),
        )
    }

    /// A variable or instance; or, since it begins alike, `Type<A>.apply(...)`.
    fn local(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<StmtKind> {
        self.known_type()?;
        let before = self.at;
        let ty = self.type_ref()?;
        if self.is(Sign::Dot) && annotations.is_empty() {
            self.at = before;
            let call = self.assignment_or_call()?;
            self.expect(Sign::Semicolon)?;
            return Ok(call);
        }
        if self.is(Sign::LParen) {
            return Ok(StmtKind::Instance(self.instance(start, annotations, ty)?));
        }
        let variable = self.variable(start, annotations, ty)?;
        self.expect(Sign::Semicolon)?;
        Ok(StmtKind::Variable(VariableDecl {
            span: self.since(start),
            ..variable
        }))
    }

    /// `name = value` after the type, without a semicolon.
    pub(super) fn variable(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        ty: TypeRef,
    ) -> Parsed<VariableDecl> {
        let (ty, name) = self.declarator(ty)?;
        let value = if self.eat(Sign::Assign) {
            Some(self.expr()?)
        } else {
            None
        };
        self.scopes.declare_object(&name.text);
        Ok(VariableDecl {
            span: self.since(start),
            annotations,
            ty,
            name,
            value,
        })
    }

    /// `const T name = value;` after its annotations.
    pub(super) fn const_decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<ConstDecl> {
        self.expect_keyword(Keyword::Const)?;
        let ty = self.type_ref()?;
        let (ty, name) = self.declarator(ty)?;
        self.expect(Sign::Assign)?;
        let value = self.expr()?;
        self.expect(Sign::Semicolon)?;
        self.scopes.declare_object(&name.text);
        Ok(ConstDecl {
            span: self.since(start),
            annotations,
            ty,
            name,
            value,
        })
    }

    /// `(args) name = {...};` after the type.
    pub(super) fn instance(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        ty: TypeRef,
    ) -> Parsed<InstanceDecl> {
        let args = self.arguments()?;
        let (ty, name) = self.declarator(ty)?;
        let initializer = if self.eat(Sign::Assign) {
            Some(self.object_initializer()?)
        } else {
            None
        };
        self.expect(Sign::Semicolon)?;
        self.scopes.declare_object(&name.text);
        Ok(InstanceDecl {
            span: self.since(start),
            annotations,
            ty,
            args,
            name,
            initializer,
        })
    }

    /// An assignment or a call, without a semicolon.
    fn assignment_or_call(&mut self) -> Parsed<StmtKind> {
        let start = self.span();
        let target = self.target_or_call()?;
        let call = match &target.kind {
            ExprKind::Call { callee, .. } => Some(callee),
            _ => None,
        };
        if let Some(callee) = call {
            if is_target(callee) {
                return Ok(StmtKind::Call(target));
            }
            let message = "only a name or a member can be called in a statement";
            return self.error(Diagnostic::error("syntax", message).at(self.since(start), ""));
        }
        if !is_target(&target) {
            let message = "this cannot be assigned to";
            return self.error(Diagnostic::error("syntax", message).at(self.since(start), ""));
        }
        let op_span = self.span();
        let Some(op) = self.assignment_op() else {
            return self.expected("an assignment or a call");
        };
        let value = self.expr()?;
        Ok(StmtKind::Assign {
            target,
            op,
            op_span,
            value,
        })
    }

    /// `=` or `op=`; the operator of the latter.
    fn assignment_op(&mut self) -> Option<Option<BinaryOp>> {
        let TokenKind::Sign(sign) = self.peek() else {
            return None;
        };
        let op = match sign {
            Sign::Assign => None,
            Sign::AssignMul => Some(BinaryOp::Mul),
            Sign::AssignDiv => Some(BinaryOp::Div),
            Sign::AssignMod => Some(BinaryOp::Mod),
            Sign::AssignAdd => Some(BinaryOp::Add),
            Sign::AssignSub => Some(BinaryOp::Sub),
            Sign::AssignAddSat => Some(BinaryOp::AddSat),
            Sign::AssignSubSat => Some(BinaryOp::SubSat),
            Sign::AssignShl => Some(BinaryOp::Shl),
            Sign::AssignShr => Some(BinaryOp::Shr),
            Sign::AssignAnd => Some(BinaryOp::BitAnd),
            Sign::AssignOr => Some(BinaryOp::BitOr),
            Sign::AssignXor => Some(BinaryOp::BitXor),
            _ => return None,
        };
        self.advance();
        Some(op)
    }

    fn return_stmt(&mut self) -> Parsed<StmtKind> {
        self.expect_keyword(Keyword::Return)?;
        let value = if self.is(Sign::Semicolon) {
            None
        } else {
            Some(self.expr()?)
        };
        self.expect(Sign::Semicolon)?;
        Ok(StmtKind::Return(value))
    }

    fn condition(&mut self) -> Parsed<Expr> {
        self.expect(Sign::LParen)?;
        let condition = self.expr()?;
        self.expect(Sign::RParen)?;
        Ok(condition)
    }

    fn if_stmt(&mut self) -> Parsed<StmtKind> {
        self.expect_keyword(Keyword::If)?;
        let cond = self.condition()?;
        let then = Box::new(self.stmt_alone()?);
        let otherwise = if self.eat_keyword(Keyword::Else) {
            Some(Box::new(self.stmt_alone()?))
        } else {
            None
        };
        Ok(StmtKind::If {
            cond,
            then,
            otherwise,
        })
    }

    /// A statement that is no declaration: what a condition or a loop governs.
    fn stmt_alone(&mut self) -> Parsed<Stmt> {
        let stmt = self.stmt()?;
        if matches!(
            stmt.kind,
            StmtKind::Variable(_) | StmtKind::Const(_) | StmtKind::Instance(_)
        ) {
            let message = "a declaration cannot stand here without braces";
            return self.error(Diagnostic::error("syntax", message).at(stmt.span, ""));
        }
        Ok(stmt)
    }

    fn switch_stmt(&mut self) -> Parsed<StmtKind> {
        self.expect_keyword(Keyword::Switch)?;
        let subject = self.condition()?;
        self.expect(Sign::LBrace)?;
        let cases = self.members(Self::switch_case)?;
        Ok(StmtKind::Switch { subject, cases })
    }

    fn switch_case(&mut self) -> Parsed<SwitchCase> {
        let start = self.span();
        let label = if self.eat_keyword(Keyword::Default) {
            Expr {
                span: start,
                kind: ExprKind::Default,
            }
        } else {
            self.expr()?
        };
        self.expect(Sign::Colon)?;
        let body_start = self.span();
        let has_body = self.is(Sign::LBrace) || self.is(Sign::At);
        let body = if has_body {
            let annotations = self.annotations()?;
            Some(self.block(body_start, annotations)?)
        } else {
            None
        };
        Ok(SwitchCase {
            span: self.since(start),
            label,
            body,
        })
    }

    fn for_stmt(&mut self, annotations: Vec<Annotation>) -> Parsed<StmtKind> {
        self.expect_keyword(Keyword::For)?;
        self.expect(Sign::LParen)?;
        let level = self.scopes.level();
        self.scopes.enter();
        let kind = self.for_header_and_body(annotations);
        self.scopes.back_to(level);
        kind
    }

    fn for_header_and_body(&mut self, annotations: Vec<Annotation>) -> Parsed<StmtKind> {
        let mut init = Vec::new();
        while !self.eat(Sign::Semicolon) {
            let first = init.is_empty();
            if !first {
                self.expect(Sign::Comma)?;
            }
            let stmt = self.for_init()?;
            if first && self.is_keyword(Keyword::In) {
                let StmtKind::Variable(variable) = stmt.kind else {
                    return self.expected("`;`");
                };
                return self.for_in(annotations, variable);
            }
            init.push(stmt);
            if !self.is(Sign::Comma) && !self.is(Sign::Semicolon) {
                return self.expected("`,` or `;`");
            }
        }
        let cond = self.expr()?;
        self.expect(Sign::Semicolon)?;
        let update = self.list(Sign::RParen, |this| {
            let start = this.span();
            let kind = this.assignment_or_call()?;
            Ok(Stmt {
                kind,
                span: this.since(start),
            })
        })?;
        let body = Box::new(self.stmt_alone()?);
        Ok(StmtKind::For {
            annotations,
            init,
            cond,
            update,
            body,
        })
    }

    fn for_init(&mut self) -> Parsed<Stmt> {
        let start = self.span();
        let annotations = self.annotations()?;
        let kind = if !annotations.is_empty() || self.begins_local() {
            self.known_type()?;
            let ty = self.type_ref()?;
            StmtKind::Variable(self.variable(start, annotations, ty)?)
        } else {
            self.assignment_or_call()?
        };
        Ok(Stmt {
            kind,
            span: self.since(start),
        })
    }

    fn for_in(&mut self, annotations: Vec<Annotation>, variable: VariableDecl) -> Parsed<StmtKind> {
        if let Some(value) = &variable.value {
            let message = "the variable of a `for … in` takes its values from the collection";
            return self.error(Diagnostic::error("syntax", message).at(value.span, ""));
        }
        self.expect_keyword(Keyword::In)?;
        let start = self.span();
        let first = self.expr()?;
        let collection = if self.eat(Sign::DotDot) {
            let kind = ExprKind::Range {
                lo: Box::new(first),
                hi: Box::new(self.expr()?),
            };
            Expr {
                span: self.since(start),
                kind,
            }
        } else {
            first
        };
        self.expect(Sign::RParen)?;
        let body = Box::new(self.stmt_alone()?);
        Ok(StmtKind::ForIn {
            annotations,
            variable,
            collection,
            body,
        })
    }
}

/// Whether an expression has the form of something that can be assigned to or called: names, members, indices, slices.
fn is_target(mut expr: &Expr) -> bool {
    loop {
        expr = match &expr.kind {
            ExprKind::Path(_) | ExprKind::This | ExprKind::Type(_) => return true,
            ExprKind::Member { base, .. }
            | ExprKind::Index { base, .. }
            | ExprKind::Slice { base, .. }
            | ExprKind::PlusSlice { base, .. } => base,
            _ => return false,
        };
    }
}
