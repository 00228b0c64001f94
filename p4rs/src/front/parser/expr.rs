//! Expressions.
//!
//! In: tokens at the start of an expression. Out: an [`Expr`] whose nesting is the grammar's precedence; parentheses only
//! widen the span. From loose to tight: `? :` (to the left, as the grammar has it), `||`, `&&`, `== !=`, `< <= > >=`, `|`,
//! `^`, `&`, `<< >>`, `++ + - |+| |-|`, `* / %`, prefix operators and casts, then members, indices, slices and calls.

use super::super::ast::{Argument, BinaryOp, Expr, ExprKind, KeyValue, TypeKind, TypeRef, UnaryOp};
use super::super::lexer::{BadLiteral, int_literal};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::front::ast::IntLit;
use crate::source::Span;

/// How tight the loosest infix operator binds.
const LOOSEST: u8 = 1;

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// Between `<` and `>`: `>` ends it.
    Width,
}

/// Where the operand of a postfix operator stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Postfix {
    Expression,
    /// At the start of a statement: `<` can only begin type arguments.
    Statement,
}

impl Parser<'_> {
    /// Any expression.
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.deeper(|this| this.ternary(Place::Anywhere))
    }

    /// An expression that a `>` ends: a width in `bit<...>`.
    pub(super) fn expr_without_greater(&mut self) -> Parsed<Expr> {
        self.deeper(|this| this.ternary(Place::Width))
    }

    /// What can stand at the left of an assignment, or a call.
    pub(super) fn target_or_call(&mut self) -> Parsed<Expr> {
        self.deeper(|this| {
            let start = this.span();
            let first = this.primary()?;
            this.postfix(first, start, Postfix::Statement)
        })
    }

    fn ternary(&mut self, place: Place) -> Parsed<Expr> {
        let start = self.span();
        let mut cond = self.binary(LOOSEST, place)?;
        while self.eat(Sign::Question) {
            let mut height = self.height;
            let then = self.expr()?;
            height = height.max(self.height);
            self.expect(Sign::Colon)?;
            let otherwise = self.binary(LOOSEST, place)?;
            self.grown(height.max(self.height))?;
            let kind = ExprKind::Ternary {
                cond: Box::new(cond),
                then: Box::new(then),
                otherwise: Box::new(otherwise),
            };
            cond = Expr {
                span: self.since(start),
                kind,
            };
        }
        Ok(cond)
    }

    /// Operands joined by operators that bind at least as tight as `floor`.
    fn binary(&mut self, floor: u8, place: Place) -> Parsed<Expr> {
        let start = self.span();
        let mut lhs = self.unary()?;
        while let Some((op, tightness, tokens)) = self
            .infix(place)
            .filter(|(_, tightness, _)| *tightness >= floor)
        {
            let mut op_span = self.span();
            if tokens == 2 {
                op_span = self.map.join(op_span, self.tokens[self.at + 1].span);
            }
            self.at += tokens;
            let height = self.height;
            let rhs = self.deeper(|this| this.binary(tightness + 1, place))?;
            self.grown(height.max(self.height))?;
            let kind = ExprKind::Binary {
                op,
                op_span,
                lhs: Box::new(lhs),
                rhs: Box::new(rhs),
            };
            lhs = Expr {
                span: self.since(start),
                kind,
            };
        }
        Ok(lhs)
    }

    /// The infix operator here, how tight it binds, and how many tokens it has.
    fn infix(&self, place: Place) -> Option<(BinaryOp, u8, usize)> {
        let TokenKind::Sign(sign) = self.peek() else {
            return None;
        };
        let greater = matches!(sign, Sign::Gt);
        if greater && place == Place::Width {
            return None;
        }
        if greater && self.peek_at(1) == TokenKind::Sign(Sign::Gt) && self.adjacent(0) {
            return Some((BinaryOp::Shr, 8, 2));
        }
        let (op, tightness) = match sign {
            Sign::OrOr => (BinaryOp::Or, LOOSEST),
            Sign::AndAnd => (BinaryOp::And, 2),
            Sign::EqEq => (BinaryOp::Eq, 3),
            Sign::NotEq => (BinaryOp::Ne, 3),
            Sign::Lt => (BinaryOp::Lt, 4),
            Sign::LtEq => (BinaryOp::Le, 4),
            Sign::Gt => (BinaryOp::Gt, 4),
            Sign::GtEq => (BinaryOp::Ge, 4),
            Sign::Or => (BinaryOp::BitOr, 5),
            Sign::Xor => (BinaryOp::BitXor, 6),
            Sign::And => (BinaryOp::BitAnd, 7),
            Sign::Shl => (BinaryOp::Shl, 8),
            Sign::PlusPlus => (BinaryOp::Concat, 9),
            Sign::Plus => (BinaryOp::Add, 9),
            Sign::Minus => (BinaryOp::Sub, 9),
            Sign::AddSat => (BinaryOp::AddSat, 9),
            Sign::SubSat => (BinaryOp::SubSat, 9),
            Sign::Star => (BinaryOp::Mul, 10),
            Sign::Slash => (BinaryOp::Div, 10),
            Sign::Percent => (BinaryOp::Mod, 10),
            _ => return None,
        };
        Some((op, tightness, 1))
    }

    /// Prefix operators, casts, or an operand with what follows it.
    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let op = match self.peek() {
            TokenKind::Sign(Sign::Not) => UnaryOp::Not,
            TokenKind::Sign(Sign::Tilde) => UnaryOp::Complement,
            TokenKind::Sign(Sign::Minus) => UnaryOp::Minus,
            TokenKind::Sign(Sign::Plus) => UnaryOp::Plus,
            TokenKind::Sign(Sign::LParen) if self.is_type_at(1) => return self.cast(),
            _ => {
                let first = self.primary()?;
                return self.postfix(first, start, Postfix::Expression);
            }
        };
        self.advance();
        let operand = self.deeper(Self::unary)?;
        self.grown(self.height)?;
        Ok(Expr {
            span: self.since(start),
            kind: ExprKind::Unary {
                op,
                operand: Box::new(operand),
            },
        })
    }

    /// `(type) operand`; or, with a type that goes on as an expression, `(Type<A>.member)`.
    fn cast(&mut self) -> Parsed<Expr> {
        let start = self.span();
        self.expect(Sign::LParen)?;
        let ty = self.type_ref()?;
        let height = self.height;
        if self.eat(Sign::RParen) {
            let operand = self.deeper(Self::unary)?;
            self.grown(height.max(self.height))?;
            let kind = ExprKind::Cast {
                ty: Box::new(ty),
                operand: Box::new(operand),
            };
            return Ok(Expr {
                span: self.since(start),
                kind,
            });
        }
        if !matches!(ty.kind, TypeKind::Specialized { .. })
            || !(self.is(Sign::Dot) || self.is(Sign::LParen))
        {
            return self.expected("`)`");
        }
        let inner_start = ty.span;
        let inner = self.postfix(type_as_expr(ty), inner_start, Postfix::Expression)?;
        self.expect(Sign::RParen)?;
        let inner = Expr {
            span: self.since(start),
            ..inner
        };
        self.postfix(inner, start, Postfix::Expression)
    }

    /// Members, indices, slices and calls after an operand.
    fn postfix(&mut self, mut base: Expr, start: Span, place: Postfix) -> Parsed<Expr> {
        loop {
            let height = self.height;
            let kind = match self.peek() {
                TokenKind::Sign(Sign::Dot) => {
                    self.advance();
                    let name = self.name("the name of a member")?;
                    ExprKind::Member {
                        base: Box::new(base),
                        name,
                    }
                }
                TokenKind::Sign(Sign::LBracket) => self.index_or_slice(base)?,
                TokenKind::Sign(Sign::LParen) => self.call(base, Vec::new())?,
                TokenKind::Sign(Sign::Lt) if self.begins_type_args(place) => {
                    self.advance();
                    let type_args = self.type_args()?;
                    let type_height = self.height;
                    if self.is(Sign::Dot) && matches!(base.kind, ExprKind::Path(_)) {
                        base = specialized(base, type_args, self.last_span(), self);
                        continue;
                    }
                    if !self.is(Sign::LParen) {
                        return self.expected("`(`");
                    }
                    let call = self.call(base, type_args)?;
                    self.height = self.height.max(type_height);
                    call
                }
                _ => return Ok(base),
            };
            self.grown(height.max(self.height))?;
            base = Expr {
                span: self.since(start),
                kind,
            };
        }
    }

    fn begins_type_args(&self, place: Postfix) -> bool {
        place == Postfix::Statement
            || self.peek_at(1) == TokenKind::Keyword(Keyword::Underscore)
            || self.is_type_at(1)
    }

    fn index_or_slice(&mut self, base: Expr) -> Parsed<ExprKind> {
        let base = Box::new(base);
        self.expect(Sign::LBracket)?;
        let first = Box::new(self.expr()?);
        let height = self.height;
        let kind = if self.eat(Sign::Colon) {
            ExprKind::Slice {
                base,
                hi: first,
                lo: Box::new(self.expr()?),
            }
        } else if self.eat(Sign::PlusColon) {
            ExprKind::PlusSlice {
                base,
                lo: first,
                width: Box::new(self.expr()?),
            }
        } else {
            ExprKind::Index { base, index: first }
        };
        self.height = self.height.max(height);
        self.expect(Sign::RBracket)?;
        Ok(kind)
    }

    fn call(&mut self, callee: Expr, type_args: Vec<TypeRef>) -> Parsed<ExprKind> {
        let args = self.arguments()?;
        Ok(ExprKind::Call {
            callee: Box::new(callee),
            type_args,
            args,
        })
    }

    /// `(arguments)`; the height afterwards is that of the highest.
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        self.expect(Sign::LParen)?;
        let mut height = 0;
        let args = self.list(Sign::RParen, |this| {
            let arg = this.argument()?;
            height = height.max(this.height);
            Ok(arg)
        })?;
        self.height = height;
        Ok(args)
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let start = self.span();
        let named = self.is_name() && self.peek_at(1) == TokenKind::Sign(Sign::Assign);
        let name = if named {
            let name = self.name("a parameter's name")?;
            self.advance();
            Some(name)
        } else {
            None
        };
        let span = self.span();
        let value = if self.eat_keyword(Keyword::Underscore) {
            self.height = 1;
            Expr {
                span,
                kind: ExprKind::DontCare,
            }
        } else {
            self.expr()?
        };
        Ok(Argument {
            span: self.since(start),
            name,
            value,
        })
    }

    /// An operand without what may follow it.
    fn primary(&mut self) -> Parsed<Expr> {
        let span = self.span();
        self.height = 1;
        let kind = match self.peek() {
            TokenKind::Number => ExprKind::Int(self.integer()?),
            TokenKind::Str => {
                let text = self.text();
                self.advance();
                ExprKind::Str(text)
            }
            TokenKind::Keyword(Keyword::True) => self.constant(ExprKind::Bool(true)),
            TokenKind::Keyword(Keyword::False) => self.constant(ExprKind::Bool(false)),
            TokenKind::Keyword(Keyword::This) => self.constant(ExprKind::This),
            TokenKind::Sign(Sign::Dots) => self.constant(ExprKind::Dots),
            TokenKind::Sign(Sign::Invalid) => self.constant(ExprKind::Invalid),
            TokenKind::Sign(Sign::LBrace) => return self.braces(),
            TokenKind::Sign(Sign::LParen) => {
                self.advance();
                let inner = self.expr()?;
                self.expect(Sign::RParen)?;
                return Ok(Expr {
                    span: self.since(span),
                    ..inner
                });
            }
            TokenKind::Keyword(Keyword::Error) if self.peek_at(1) == TokenKind::Sign(Sign::Dot) => {
                self.advance();
                ExprKind::Type(Box::new(TypeRef {
                    span,
                    kind: TypeKind::Error,
                }))
            }
            TokenKind::Sign(Sign::Dot) => ExprKind::Path(self.path("a name")?),
            _ if self.is_name() => ExprKind::Path(self.path("a name")?),
            _ => return self.expected("an expression"),
        };
        Ok(Expr {
            span: self.since(span),
            kind,
        })
    }

    fn constant(&mut self, kind: ExprKind) -> ExprKind {
        self.advance();
        kind
    }

    /// An integer literal.
    pub(super) fn integer(&mut self) -> Parsed<IntLit> {
        if self.peek() != TokenKind::Number {
            return self.expected("an integer");
        }
        let text = self.text();
        let reason = match int_literal(&text) {
            Ok(literal) => {
                self.advance();
                return Ok(literal);
            }
            Err(BadLiteral::Form) => "it is not of the form `[width (w|s)] [0x|0d|0o|0b] digits`",
            Err(BadLiteral::Digit) => "it has a digit that its base does not have",
            Err(BadLiteral::Size) => "it is too long",
        };
        let diagnostic = Diagnostic::error(
            "bad-literal",
            format!("`{}` is not an integer", shortened(&text)),
        );
        self.error(diagnostic.at(self.span(), reason))
    }

    /// `{ a, b }` or `{ f = a, g = b }`.
    fn braces(&mut self) -> Parsed<Expr> {
        let start = self.span();
        self.expect(Sign::LBrace)?;
        let mut height = 0;
        let kind = if self.is_name() && self.peek_at(1) == TokenKind::Sign(Sign::Assign) {
            let (mut fields, mut dots) = (Vec::new(), None);
            loop {
                if !fields.is_empty() && self.is(Sign::Dots) {
                    dots = Some(self.span());
                    self.advance();
                    self.eat(Sign::Comma);
                    self.expect(Sign::RBrace)?;
                    break;
                }
                fields.push(self.key_value()?);
                height = height.max(self.height);
                if self.eat(Sign::RBrace) {
                    break;
                }
                if !self.eat(Sign::Comma) {
                    return self.expected("`,` or `}`");
                }
                if self.eat(Sign::RBrace) {
                    break;
                }
            }
            ExprKind::Record { fields, dots }
        } else if self.eat(Sign::RBrace) {
            ExprKind::List(Vec::new())
        } else {
            ExprKind::List(self.list_with_trailing_comma(Sign::RBrace, |this| {
                let item = this.expr()?;
                height = height.max(this.height);
                Ok(item)
            })?)
        };
        self.grown(height)?;
        Ok(Expr {
            span: self.since(start),
            kind,
        })
    }

    /// `name = value`
    pub(super) fn key_value(&mut self) -> Parsed<KeyValue> {
        let start = self.span();
        let name = self.name("a name")?;
        self.expect(Sign::Assign)?;
        let value = self.expr()?;
        Ok(KeyValue {
            span: self.since(start),
            name,
            value,
        })
    }
}

/// Not more of a text than a message can bear.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn type_as_expr(ty: TypeRef) -> Expr {
    Expr {
        span: ty.span,
        kind: ExprKind::Type(Box::new(ty)),
    }
}

/// `Name<args>` as the base of a member.
fn specialized(base: Expr, args: Vec<TypeRef>, end: Span, parser: &Parser<'_>) -> Expr {
    let ExprKind::Path(path) = base.kind else {
        return base;
    };
    let span = parser.map.join(base.span, end);
    type_as_expr(TypeRef {
        span,
        kind: TypeKind::Specialized { base: path, args },
    })
}
