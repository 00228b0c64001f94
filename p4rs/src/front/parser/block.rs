//! Parsers with their states, and controls.
//!
//! In: tokens at `parser` or `control`. Out: a [`Decl`], and the declared names entered into the scopes.

use super::super::ast::{
    Annotation, ApplyType, ControlDecl, Decl, ParserDecl, ParserState, SelectCase, Stmt, StmtKind,
    Transition, TransitionKind, ValueSetDecl,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::source::Span;

impl Parser<'_> {
    pub(super) fn parser_decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<Decl> {
        self.scoped(|this| {
            let ty = this.apply_type(start, annotations, Keyword::Parser)?;
            if this.eat(Sign::Semicolon) {
                return Ok(Decl::ParserType(ApplyType {
                    span: this.since(start),
                    ..ty
                }));
            }
            let constructor_params = this.constructor_params()?;
            this.expect(Sign::LBrace)?;
            let (mut locals, mut states) = (Vec::new(), Vec::new());
            this.members(|this| this.parser_member(&mut locals, &mut states))?;
            if states.is_empty() {
                let message = format!("parser `{}` has no states", ty.name);
                this.diagnostics
                    .push(Diagnostic::error("syntax", message).at(ty.name.span, ""));
            }
            Ok(Decl::Parser(ParserDecl {
                span: this.since(start),
                ty,
                constructor_params,
                locals,
                states,
            }))
        })
    }

    fn parser_member(
        &mut self,
        locals: &mut Vec<Decl>,
        states: &mut Vec<ParserState>,
    ) -> Parsed<()> {
        let start = self.span();
        let annotations = self.annotations()?;
        if self.is_keyword(Keyword::State)
            && self.is_name_at(1)
            && self.peek_at(2) == TokenKind::Sign(Sign::LBrace)
        {
            states.push(self.state(start, annotations)?);
            return Ok(());
        }
        let local = match self.peek() {
            TokenKind::Keyword(Keyword::ValueSet) => {
                Decl::ValueSet(self.value_set(start, annotations)?)
            }
            _ => self.local_decl(start, annotations, "a state or a declaration")?,
        };
        if let Some(state) = states.first() {
            let diagnostic =
                Diagnostic::error("syntax", "declarations must come before the states");
            return self.error(
                diagnostic
                    .at(local.span(), "")
                    .at(state.name.span, "the first state"),
            );
        }
        locals.push(local);
        Ok(())
    }

    /// A constant, variable or instance in a parser or control.
    fn local_decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        what: &str,
    ) -> Parsed<Decl> {
        if self.is_keyword(Keyword::Const) {
            return Ok(Decl::Const(self.const_decl(start, annotations)?));
        }
        if !self.begins_local() {
            return self.expected(what);
        }
        self.known_type()?;
        let ty = self.type_ref()?;
        if self.is(Sign::LParen) {
            return Ok(Decl::Instance(self.instance(start, annotations, ty)?));
        }
        let mut variable = self.variable(start, annotations, ty)?;
        self.expect(Sign::Semicolon)?;
        variable.span = self.since(start);
        Ok(Decl::Variable(variable))
    }

    fn value_set(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<ValueSetDecl> {
        self.expect_keyword(Keyword::ValueSet)?;
        self.expect(Sign::Lt)?;
        let element = self.type_ref()?;
        self.expect(Sign::Gt)?;
        self.expect(Sign::LParen)?;
        let size = self.expr()?;
        self.expect(Sign::RParen)?;
        let name = self.name("the value set's name")?;
        self.expect(Sign::Semicolon)?;
        self.scopes.declare_object(&name.text);
        Ok(ValueSetDecl {
            span: self.since(start),
            annotations,
            element,
            size,
            name,
        })
    }

    fn state(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<ParserState> {
        self.expect_keyword(Keyword::State)?;
        let name = self.name("the state's name")?;
        self.expect(Sign::LBrace)?;
        self.scoped(|this| {
            this.scopes.enter();
            let (mut stmts, mut transition) = (Vec::new(), None);
            this.members(|this| {
                if transition.is_some() {
                    return this.expected("`}` after the transition");
                }
                if this.is_keyword(Keyword::Transition) {
                    transition = Some(this.transition()?);
                } else {
                    let stmt = this.stmt()?;
                    this.allowed_in_state(&stmt);
                    stmts.push(stmt);
                }
                Ok(())
            })?;
            Ok(ParserState {
                span: this.since(start),
                annotations,
                name,
                stmts,
                transition,
            })
        })
    }

    /// States only hold declarations, assignments, calls, conditions and blocks of them.
    fn allowed_in_state(&mut self, stmt: &Stmt) {
        let what = match &stmt.kind {
            StmtKind::Block(block) => {
                return block
                    .stmts
                    .iter()
                    .for_each(|inner| self.allowed_in_state(inner));
            }
            StmtKind::Return(_) => "`return`",
            StmtKind::Exit => "`exit`",
            StmtKind::Break
            | StmtKind::Continue
            | StmtKind::For { .. }
            | StmtKind::ForIn { .. } => "a loop",
            StmtKind::Switch { .. } => "`switch`",
            _ => return,
        };
        let message = format!("{what} cannot stand in a parser state");
        self.diagnostics
            .push(Diagnostic::error("syntax", message).at(stmt.span, ""));
    }

    fn transition(&mut self) -> Parsed<Transition> {
        let start = self.expect_keyword(Keyword::Transition)?;
        let kind = if self.eat_keyword(Keyword::Select) {
            self.expect(Sign::LParen)?;
            let subjects = self.list(Sign::RParen, Self::expr)?;
            self.expect(Sign::LBrace)?;
            TransitionKind::Select {
                subjects,
                cases: self.members(Self::select_case)?,
            }
        } else {
            let target = self.name("a state or `select`")?;
            self.expect(Sign::Semicolon)?;
            TransitionKind::Direct(target)
        };
        Ok(Transition {
            span: self.since(start),
            kind,
        })
    }

    fn select_case(&mut self) -> Parsed<SelectCase> {
        let start = self.span();
        let keyset = self.keyset()?;
        self.expect(Sign::Colon)?;
        let target = self.name("a state")?;
        self.expect(Sign::Semicolon)?;
        Ok(SelectCase {
            span: self.since(start),
            keyset,
            target,
        })
    }

    pub(super) fn control_decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<Decl> {
        self.scoped(|this| {
            let ty = this.apply_type(start, annotations, Keyword::Control)?;
            if this.eat(Sign::Semicolon) {
                return Ok(Decl::ControlType(ApplyType {
                    span: this.since(start),
                    ..ty
                }));
            }
            let constructor_params = this.constructor_params()?;
            this.expect(Sign::LBrace)?;
            let (mut locals, mut body) = (Vec::new(), None);
            this.members(|this| {
                if body.is_some() {
                    return this.expected("`}` after the `apply` block");
                }
                if this.is_keyword(Keyword::Apply) {
                    this.advance();
                    let body_start = this.span();
                    let annotations = this.annotations()?;
                    body = Some(this.block(body_start, annotations)?);
                } else {
                    locals.push(this.control_local()?);
                }
                Ok(())
            })?;
            let span = this.since(start);
            let Some(body) = body else {
                let message = format!("control `{}` has no `apply` block", ty.name);
                return this.error(Diagnostic::error("syntax", message).at(ty.name.span, ""));
            };
            Ok(Decl::Control(ControlDecl {
                span,
                ty,
                constructor_params,
                locals,
                body,
            }))
        })
    }

    fn control_local(&mut self) -> Parsed<Decl> {
        let start = self.span();
        let annotations = self.annotations()?;
        match self.peek() {
            TokenKind::Keyword(Keyword::Action) => {
                Ok(Decl::Action(self.action(start, annotations)?))
            }
            TokenKind::Keyword(Keyword::Table) => {
                let table = self.table(start, annotations)?;
                self.scopes.declare_object(&table.name.text);
                Ok(Decl::Table(table))
            }
            _ => self.local_decl(start, annotations, "a declaration or `apply`"),
        }
    }
}
