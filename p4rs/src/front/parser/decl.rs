//! Declarations at top level, in parsers, controls, externs and object initializers.
//!
//! In: tokens at a declaration. Out: a [`Decl`], and the declared names entered into the scopes.

use super::super::ast::{
    ActionDecl, Annotation, ApplyType, ControlDecl, Decl, Direction, EnumDecl, EnumMember,
    ExternFunctionDecl, ExternObjectDecl, Field, FunctionDecl, MembersDecl, MethodDecl, Name,
    Param, ParserDecl, ParserState, Prototype, SelectCase, Stmt, StmtKind, StructDecl, StructKind,
    Transition, TransitionKind, TypeKind, TypeRef, TypedefDecl, TypedefTarget, ValueSetDecl,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
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
    fn function_or_instance(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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
    fn scoped<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let level = self.scopes.level();
        let result = parse(self);
        self.scopes.back_to(level);
        result
    }

    /// `name<params>(params)` after the return type; the scope for the parameters stays open.
    fn prototype(&mut self, return_type: TypeRef) -> Parsed<Prototype> {
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
    fn params(&mut self) -> Parsed<Vec<Param>> {
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

    // ------------------------------------------------------------ parsers, controls, packages

    /// `keyword name<params>(params)`; the scope for the parameters stays open.
    fn apply_type(
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

    fn constructor_params(&mut self) -> Parsed<Vec<Param>> {
        if self.is(Sign::LParen) {
            self.params()
        } else {
            Ok(Vec::new())
        }
    }

    fn parser_decl(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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

    fn control_decl(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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

    // ------------------------------------------------------------ externs

    /// `extern name;`, `extern name<params> {...}` or `extern T name<params>(params);`
    fn extern_decl(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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

    // ------------------------------------------------------------ types

    /// A struct, header, header union or enumeration.
    fn derived_type(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
        let kind = match self.peek() {
            TokenKind::Keyword(Keyword::Struct) => StructKind::Struct,
            TokenKind::Keyword(Keyword::Header) => StructKind::Header,
            TokenKind::Keyword(Keyword::HeaderUnion) => StructKind::HeaderUnion,
            _ => return self.enumeration(start, annotations),
        };
        self.advance();
        let name = self.name("the type's name")?;
        self.scopes.declare_type(&name.text);
        self.scoped(|this| {
            this.scopes.enter();
            let type_params = this.type_params()?;
            this.expect(Sign::LBrace)?;
            let fields = this.members(Self::field)?;
            let span = this.since(start);
            Ok(Decl::Struct(StructDecl {
                span,
                annotations,
                kind,
                name,
                type_params,
                fields,
            }))
        })
    }

    fn field(&mut self) -> Parsed<Field> {
        let start = self.span();
        let annotations = self.annotations()?;
        let ty = self.type_ref()?;
        let (ty, name) = self.declarator(ty)?;
        self.expect(Sign::Semicolon)?;
        Ok(Field {
            span: self.since(start),
            annotations,
            ty,
            name,
        })
    }

    fn enumeration(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
        self.expect_keyword(Keyword::Enum)?;
        let plain = self.is_name() && self.peek_at(1) == TokenKind::Sign(Sign::LBrace);
        let underlying = if plain { None } else { Some(self.type_ref()?) };
        let name = self.name("the enumeration's name")?;
        self.scopes.declare_type(&name.text);
        self.expect(Sign::LBrace)?;
        let serializable = underlying.is_some();
        let members =
            self.list_with_trailing_comma(Sign::RBrace, |this| this.enum_member(serializable))?;
        Ok(Decl::Enum(EnumDecl {
            span: self.since(start),
            annotations,
            underlying,
            name,
            members,
        }))
    }

    fn enum_member(&mut self, serializable: bool) -> Parsed<EnumMember> {
        let start = self.span();
        let name = self.name("a member's name")?;
        let value = if serializable {
            self.expect(Sign::Assign)?;
            Some(self.expr()?)
        } else {
            None
        };
        Ok(EnumMember {
            span: self.since(start),
            name,
            value,
        })
    }

    fn members_decl(
        &mut self,
        start: Span,
        annotations: &[Annotation],
        keyword: Keyword,
    ) -> Parsed<Decl> {
        if let Some(annotation) = annotations.first() {
            let message = format!("`{}` takes no annotations", keyword.text());
            self.diagnostics
                .push(Diagnostic::error("syntax", message).at(annotation.span, ""));
        }
        self.advance();
        let is_error = keyword == Keyword::Error;
        let members = self.name_list(!is_error)?;
        let decl = MembersDecl {
            span: self.since(start),
            members,
        };
        Ok(if is_error {
            Decl::Error(decl)
        } else {
            Decl::MatchKind(decl)
        })
    }

    fn typedef(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
        self.expect_keyword(Keyword::Typedef)?;
        let inner_start = self.span();
        let inner_annotations = self.annotations()?;
        let derived = matches!(
            self.peek(),
            TokenKind::Keyword(
                Keyword::Struct | Keyword::Header | Keyword::HeaderUnion | Keyword::Enum
            )
        );
        let (target, name) = if derived {
            let decl = Box::new(self.derived_type(inner_start, inner_annotations)?);
            let name = self.name("the new name")?;
            (
                TypedefTarget::Inline {
                    decl,
                    sizes: self.sizes()?,
                },
                name,
            )
        } else if inner_annotations.is_empty() {
            let ty = self.type_ref()?;
            let (ty, name) = self.declarator(ty)?;
            (TypedefTarget::Type(ty), name)
        } else {
            return self.expected("a structure or enumeration");
        };
        self.finish_typedef(start, annotations, target, name)
            .map(Decl::Typedef)
    }

    fn new_type(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
        self.expect_keyword(Keyword::Type)?;
        let ty = self.type_ref()?;
        let (ty, name) = self.declarator(ty)?;
        self.finish_typedef(start, annotations, TypedefTarget::Type(ty), name)
            .map(Decl::NewType)
    }

    fn finish_typedef(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
        target: TypedefTarget,
        name: Name,
    ) -> Parsed<TypedefDecl> {
        self.expect(Sign::Semicolon)?;
        self.scopes.declare_type(&name.text);
        Ok(TypedefDecl {
            span: self.since(start),
            annotations,
            target,
            name,
        })
    }
}
