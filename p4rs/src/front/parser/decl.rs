//! Declarations at top level, and what several kinds of them have: prototypes, parameters, actions.
//!
//! In: tokens at a declaration. Out: a [`Decl`], and the declared names entered into the scopes.

use super::super::ast::{
    ActionDecl, Annotation, ApplyType, Decl, Direction, FunctionDecl, Param, Prototype, TypeRef,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::source::Span;

impl Parser<'_> {
    /// A declaration at top level.
    pub(super) fn top_level(&mut self) -> Parsed<Decl> {
        let start = self.span();
        let annotations = self.annotations()?;
        if let TokenKind::Keyword(keyword) = self.peek() {
            match keyword {
                Keyword::Const => return Ok(Decl::Const(self.const_decl(start, annotations)?)),
                Keyword::Extern => return self.extern_decl(start, annotations),
                Keyword::Action => return Ok(Decl::Action(self.action(start, annotations)?)),
                Keyword::Parser => return self.parser_decl(start, annotations),
                Keyword::Control => return self.control_decl(start, annotations),
                Keyword::Package => return self.package(start, annotations),
                Keyword::Struct | Keyword::Header | Keyword::HeaderUnion | Keyword::Enum => {
                    return self.derived_type(start, annotations);
                }
                Keyword::Typedef => return self.typedef(start, annotations),
                Keyword::Type if self.peek_at(1) != TokenKind::Sign(Sign::LParen) => {
                    return self.new_type(start, annotations);
                }
                Keyword::Error | Keyword::MatchKind
                    if self.peek_at(1) == TokenKind::Sign(Sign::LBrace) =>
                {
                    return self.members_decl(start, &annotations, keyword);
                }
                _ => {}
            }
        }
        self.function_or_instance(start, annotations)
    }

    /// `T name(...) {...}` or `T(...) name;`: the declarations that begin with a type.
    pub(super) fn function_or_instance(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<Decl> {
        let begins_type = self.is_name()
            || self.is(Sign::Dot)
            || self.is_type_at(0)
            || matches!(
                self.peek(),
                TokenKind::Keyword(Keyword::Error | Keyword::String)
            );
        if !begins_type {
            return self.expected("a declaration");
        }
        let ty = self.type_or_void()?;
        if self.is(Sign::LParen) {
            return Ok(Decl::Instance(self.instance(start, annotations, ty)?));
        }
        Ok(Decl::Function(self.function(start, annotations, ty)?))
    }

    fn function(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        ty: TypeRef,
    ) -> Parsed<FunctionDecl> {
        self.scoped(|this| {
            let prototype = this.prototype(ty)?;
            let body_start = this.span();
            let body = this.block(body_start, Vec::new())?;
            Ok(FunctionDecl {
                span: this.since(start),
                annotations,
                prototype,
                body,
            })
        })
    }

    /// Runs `parse` in a scope of its own.
    pub(super) fn scoped<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let level = self.scopes.level();
        let result = parse(self);
        self.scopes.back_to(level);
        result
    }

    /// `name<params>(params)` after the return type; the scope for the parameters stays open.
    pub(super) fn prototype(&mut self, return_type: TypeRef) -> Parsed<Prototype> {
        let start = return_type.span;
        let name = self.name("a name")?;
        self.scopes.declare_object(&name.text);
        self.scopes.enter();
        let type_params = self.type_params()?;
        let params = self.params()?;
        Ok(Prototype {
            span: self.since(start),
            return_type: Some(return_type),
            name,
            type_params,
            params,
        })
    }

    /// `(parameters)`, declared in the scope that is open.
    pub(super) fn params(&mut self) -> Parsed<Vec<Param>> {
        self.expect(Sign::LParen)?;
        let params = self.list(Sign::RParen, Self::param)?;
        for param in &params {
            self.scopes.declare_object(&param.name.text);
        }
        Ok(params)
    }

    fn param(&mut self) -> Parsed<Param> {
        let start = self.span();
        let annotations = self.annotations()?;
        let direction = match self.peek() {
            TokenKind::Keyword(Keyword::In) => Direction::In,
            TokenKind::Keyword(Keyword::Out) => Direction::Out,
            TokenKind::Keyword(Keyword::InOut) => Direction::InOut,
            _ => Direction::None,
        };
        if direction != Direction::None {
            self.advance();
        }
        let ty = self.type_ref()?;
        let (ty, name) = self.declarator(ty)?;
        let default = if self.eat(Sign::Assign) {
            Some(self.expr()?)
        } else {
            None
        };
        Ok(Param {
            span: self.since(start),
            annotations,
            direction,
            ty,
            name,
            default,
        })
    }

    pub(super) fn action(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<ActionDecl> {
        self.expect_keyword(Keyword::Action)?;
        let name = self.name("the action's name")?;
        self.scopes.declare_object(&name.text);
        self.scoped(|this| {
            this.scopes.enter();
            let params = this.params()?;
            let body_start = this.span();
            let annotations_of_body = this.annotations()?;
            let body = this.block(body_start, annotations_of_body)?;
            Ok(ActionDecl {
                span: this.since(start),
                annotations,
                name,
                params,
                body,
            })
        })
    }

    /// `keyword name<params>(params)`; the scope for the parameters stays open.
    pub(super) fn apply_type(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        keyword: Keyword,
    ) -> Parsed<ApplyType> {
        self.expect_keyword(keyword)?;
        let name = self.name("a name")?;
        self.scopes.declare_type(&name.text);
        self.scopes.enter();
        let type_params = self.type_params()?;
        let params = self.params()?;
        Ok(ApplyType {
            span: self.since(start),
            annotations,
            name,
            type_params,
            params,
        })
    }

    fn package(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
        self.scoped(|this| {
            let ty = this.apply_type(start, annotations, Keyword::Package)?;
            this.expect(Sign::Semicolon)?;
            Ok(Decl::Package(ApplyType {
                span: this.since(start),
                ..ty
            }))
        })
    }

    pub(super) fn constructor_params(&mut self) -> Parsed<Vec<Param>> {
        if self.is(Sign::LParen) {
            self.params()
        } else {
            Ok(Vec::new())
        }
    }
}
