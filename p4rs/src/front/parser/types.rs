//! Types where the grammar wants one.
//!
//! In: tokens at the start of a type. Out: a [`TypeRef`]; names need not be known here, name resolution checks them.

use super::super::ast::{Expr, Name, TypeKind, TypeRef};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};

impl Parser<'_> {
    /// A type with its array suffixes.
    pub(super) fn type_ref(&mut self) -> Parsed<TypeRef> {
        let plain = self.deeper(Self::plain_type)?;
        self.array_suffixes(plain)
    }

    /// `void` or a type.
    pub(super) fn type_or_void(&mut self) -> Parsed<TypeRef> {
        let span = self.span();
        if self.eat_keyword(Keyword::Void) {
            return Ok(TypeRef {
                span,
                kind: TypeKind::Void,
            });
        }
        self.type_ref()
    }

    /// `[size]`, any number of times, around a type.
    pub(super) fn array_suffixes(&mut self, mut element: TypeRef) -> Parsed<TypeRef> {
        let start = element.span;
        let mut height = self.height;
        while self.eat(Sign::LBracket) {
            let size = self.expr()?;
            self.grown(height.max(self.height))?;
            height = self.height;
            self.expect(Sign::RBracket)?;
            let kind = TypeKind::Array {
                element: Box::new(element),
                size: Box::new(size),
            };
            element = TypeRef {
                span: self.since(start),
                kind,
            };
        }
        self.height = height;
        Ok(element)
    }

    fn plain_type(&mut self) -> Parsed<TypeRef> {
        let start = self.span();
        self.height = 1;
        let TokenKind::Keyword(keyword) = self.peek() else {
            return self.named_type();
        };
        let simple = match keyword {
            Keyword::Bool => TypeKind::Bool,
            Keyword::Error => TypeKind::Error,
            Keyword::MatchKind => TypeKind::MatchKind,
            Keyword::String => TypeKind::String,
            Keyword::Bit | Keyword::Int | Keyword::Varbit => return self.sized_type(keyword),
            Keyword::Tuple => {
                self.advance();
                self.expect(Sign::Lt)?;
                let kind = TypeKind::Tuple(self.type_args()?);
                return Ok(TypeRef {
                    span: self.since(start),
                    kind,
                });
            }
            Keyword::List if self.peek_at(1) == TokenKind::Sign(Sign::Lt) => {
                self.at += 2;
                let kind = TypeKind::List(Box::new(self.type_arg()?));
                self.grown(self.height)?;
                self.expect(Sign::Gt)?;
                return Ok(TypeRef {
                    span: self.since(start),
                    kind,
                });
            }
            _ => return self.named_type(),
        };
        self.advance();
        Ok(TypeRef {
            span: start,
            kind: simple,
        })
    }

    /// `bit`, `bit<w>`, `int`, `int<w>`, `varbit<w>`; the width may be an expression without `>`.
    fn sized_type(&mut self, keyword: Keyword) -> Parsed<TypeRef> {
        let start = self.span();
        self.advance();
        let width = if keyword == Keyword::Varbit || self.is(Sign::Lt) {
            self.expect(Sign::Lt)?;
            let width = self.expr_without_greater()?;
            self.grown(self.height)?;
            self.expect(Sign::Gt)?;
            Some(Box::new(width))
        } else {
            None
        };
        let kind = match (keyword, width) {
            (Keyword::Bit, width) => TypeKind::Bit(width),
            (Keyword::Int, None) => TypeKind::Int,
            (Keyword::Int, Some(width)) => TypeKind::SignedInt(width),
            (_, Some(width)) => TypeKind::Varbit(width),
            (_, None) => return self.expected("a type"),
        };
        Ok(TypeRef {
            span: self.since(start),
            kind,
        })
    }

    /// A name with its type arguments, if any.
    fn named_type(&mut self) -> Parsed<TypeRef> {
        let start = self.span();
        let base = self.path("a type")?;
        self.height = 1;
        let kind = if self.eat(Sign::Lt) {
            TypeKind::Specialized {
                base,
                args: self.type_args()?,
            }
        } else {
            TypeKind::Name(base)
        };
        Ok(TypeRef {
            span: self.since(start),
            kind,
        })
    }

    /// Type arguments and the closing `>`; the opening one is taken already.
    pub(super) fn type_args(&mut self) -> Parsed<Vec<TypeRef>> {
        let mut height = 0;
        let args = self.list(Sign::Gt, |this| {
            let arg = this.type_arg()?;
            height = height.max(this.height);
            Ok(arg)
        })?;
        self.grown(height)?;
        Ok(args)
    }

    fn type_arg(&mut self) -> Parsed<TypeRef> {
        let span = self.span();
        self.height = 1;
        if self.eat_keyword(Keyword::Underscore) {
            return Ok(TypeRef {
                span,
                kind: TypeKind::DontCare,
            });
        }
        self.type_or_void()
    }

    /// `<A, B>` after a declared name, if any; declares them as types.
    pub(super) fn type_params(&mut self) -> Parsed<Vec<Name>> {
        if !self.eat(Sign::Lt) {
            return Ok(Vec::new());
        }
        if self.is(Sign::Gt) {
            return self.expected("a type parameter");
        }
        let params = self.list(Sign::Gt, |this| this.name("a type parameter"))?;
        for param in &params {
            self.scopes.declare_type(&param.text);
        }
        Ok(params)
    }

    /// `name`, then array suffixes that belong to the type.
    pub(super) fn declarator(&mut self, ty: TypeRef) -> Parsed<(TypeRef, Name)> {
        let name = self.name("a name")?;
        Ok((self.array_suffixes(ty)?, name))
    }

    /// `[size]`, any number of times.
    pub(super) fn sizes(&mut self) -> Parsed<Vec<Expr>> {
        let mut sizes = Vec::new();
        while self.eat(Sign::LBracket) {
            sizes.push(self.expr()?);
            self.expect(Sign::RBracket)?;
        }
        Ok(sizes)
    }

    /// Whether a type begins at the `n`th token that cannot be the start of an expression, apart from names that go on
    /// like one: `T.member`, `T(arguments)`, `error.member`.
    pub(super) fn is_type_at(&self, n: usize) -> bool {
        let after =
            |n: usize| !matches!(self.peek_at(n), TokenKind::Sign(Sign::Dot | Sign::LParen));
        match self.peek_at(n) {
            TokenKind::Keyword(Keyword::Error) => after(n + 1),
            TokenKind::Keyword(Keyword::List) => self.peek_at(n + 1) == TokenKind::Sign(Sign::Lt),
            TokenKind::Keyword(keyword) if begins_type(keyword) => true,
            TokenKind::Sign(Sign::Dot) => self.is_type_name_at(n) && after(n + 2),
            _ => self.is_type_name_at(n) && after(n + 1),
        }
    }
}

/// Keywords that can only begin a type.
fn begins_type(keyword: Keyword) -> bool {
    use Keyword::{Bit, Bool, Int, MatchKind, String, Tuple, Varbit, Void};
    matches!(
        keyword,
        Bit | Bool | Int | MatchKind | String | Tuple | Varbit | Void
    )
}
