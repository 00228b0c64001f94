//! Types that programs declare: structs, headers, unions, enumerations, names for types.
//!
//! In: tokens at such a declaration. Out: a [`Decl`], and the declared names entered into the scopes.

use super::super::ast::{
    Annotation, Decl, EnumDecl, EnumMember, Field, MembersDecl, Name, StructDecl, StructKind,
    TypedefDecl, TypedefTarget,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::source::Span;

impl Parser<'_> {
    /// A struct, header, header union or enumeration.
    pub(super) fn derived_type(
        &mut self,
        start: Span,
        annotations: Vec<Annotation>,
    ) -> Parsed<Decl> {
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

    pub(super) fn members_decl(
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

    pub(super) fn typedef(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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

    pub(super) fn new_type(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<Decl> {
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
