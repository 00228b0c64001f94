//! Externs: functions, objects with their methods, and what initializes objects.
//!
//! In: tokens at `extern`, or at an initializer's brace. Out: a [`Decl`], and the declared names entered into the scopes.

use super::super::ast::{
    Annotation, Decl, ExternFunctionDecl, ExternObjectDecl, MethodDecl, Name, Prototype, TypeKind,
    TypeRef,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::source::Span;

impl Parser<'_> {
    /// `extern name;`, `extern name<params> {...}` or `extern T name<params>(params);`
    pub(super) fn extern_decl(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<Decl> {
        self.expect_keyword(Keyword::Extern)?;
        if self.is_name() && self.peek_at(1) == TokenKind::Sign(Sign::Semicolon) {
            let name = self.name("a name")?;
            self.advance();
            self.scopes.declare_type(&name.text);
            return Ok(Decl::ExternForward(name));
        }
        let ty = self.type_or_void()?;
        if self.is(Sign::LBrace) {
            let (name, type_params) = self.extern_object_head(ty)?;
            return self.extern_object(start, annotations, name, type_params);
        }
        self.scoped(|this| {
            let prototype = this.prototype(ty)?;
            this.expect(Sign::Semicolon)?;
            Ok(Decl::ExternFunction(ExternFunctionDecl {
                span: this.since(start),
                annotations,
                prototype,
            }))
        })
    }

    /// What was read as a type is the name of an extern object with its type parameters.
    fn extern_object_head(&mut self, ty: TypeRef) -> Parsed<(Name, Vec<Name>)> {
        let plain = |path: super::super::ast::Path| (!path.absolute).then_some(path.name);
        let head = match ty.kind {
            TypeKind::Name(path) => plain(path).map(|name| (name, Vec::new())),
            TypeKind::Specialized { base, args } => {
                let params: Option<Vec<Name>> = args
                    .into_iter()
                    .map(|arg| {
                        if let TypeKind::Name(path) = arg.kind {
                            plain(path)
                        } else {
                            None
                        }
                    })
                    .collect();
                plain(base).zip(params)
            }
            _ => None,
        };
        match head {
            Some(head) => Ok(head),
            None => {
                let message = "expected the name of an extern object, with type parameters at most";
                self.error(Diagnostic::error("syntax", message).at(ty.span, ""))
            }
        }
    }

    fn extern_object(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        name: Name,
        type_params: Vec<Name>,
    ) -> Parsed<Decl> {
        self.scopes.declare_type(&name.text);
        self.scoped(|this| {
            this.scopes.enter();
            for param in &type_params {
                this.scopes.declare_type(&param.text);
            }
            this.expect(Sign::LBrace)?;
            let methods = this.members(|this| this.method(&name))?;
            let span = this.since(start);
            Ok(Decl::ExternObject(ExternObjectDecl {
                span,
                annotations,
                name,
                type_params,
                methods,
            }))
        })
    }

    fn method(&mut self, object: &Name) -> Parsed<MethodDecl> {
        let start = self.span();
        let annotations = self.annotations()?;
        let is_abstract = self.eat_keyword(Keyword::Abstract);
        let prototype = self.scoped(|this| {
            if this.is_name() && this.peek_at(1) == TokenKind::Sign(Sign::LParen) && !is_abstract {
                let proto_start = this.span();
                let name = this.name("a name")?;
                if name.text != object.text {
                    let message = format!("method `{name}` has no return type");
                    let note = format!("a constructor has the name of its object, `{object}`");
                    return this.error(
                        Diagnostic::error("syntax", message)
                            .at(name.span, "")
                            .note(note),
                    );
                }
                this.scopes.enter();
                let params = this.params()?;
                let span = this.since(proto_start);
                return Ok(Prototype {
                    span,
                    return_type: None,
                    name,
                    type_params: Vec::new(),
                    params,
                });
            }
            let ty = this.type_or_void()?;
            this.prototype(ty)
        })?;
        self.expect(Sign::Semicolon)?;
        Ok(MethodDecl {
            span: self.since(start),
            annotations,
            is_abstract,
            prototype,
        })
    }

    /// `{...}` after an instance: functions and instances.
    pub(super) fn object_initializer(&mut self) -> Parsed<Vec<Decl>> {
        self.expect(Sign::LBrace)?;
        self.deeper(|this| {
            this.scoped(|this| {
                this.scopes.enter();
                this.members(|this| {
                    let start = this.span();
                    let annotations = this.annotations()?;
                    this.function_or_instance(start, annotations)
                })
            })
        })
    }
}
