//! Tables and keysets.
//!
//! In: tokens at `table`, or at a keyset of a select case. Out: [`TableDecl`] and [`Keyset`].

use super::super::ast::{
    ActionRef, Annotation, Entry, Expr, ExprKind, KeyElement, Keyset, Name, PropertyValue,
    TableDecl, TableProperty,
};
use super::super::token::{Keyword, Sign, TokenKind};
use super::{Parsed, Parser};
use crate::diag::Diagnostic;
use crate::source::Span;

impl Parser<'_> {
    /// `table name {...}`, after its annotations.
    pub(super) fn table(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<TableDecl> {
        self.expect_keyword(Keyword::Table)?;
        let name = self.name("the table's name")?;
        self.expect(Sign::LBrace)?;
        if self.is(Sign::RBrace) {
            // Reported, but the table is at its end as it should be.
            let _: Parsed<()> = self.expected("a property");
        }
        let properties = self.members(Self::property)?;
        Ok(TableDecl {
            span: self.since(start),
            annotations,
            name,
            properties,
        })
    }

    fn property(&mut self) -> Parsed<TableProperty> {
        let start = self.span();
        let annotations = self.annotations()?;
        let is_const = self.eat_keyword(Keyword::Const);
        let keyword = match self.peek() {
            TokenKind::Keyword(keyword @ (Keyword::Key | Keyword::Actions | Keyword::Entries)) => {
                Some(keyword)
            }
            _ => None,
        };
        let name = self.name("a property")?;
        self.expect(Sign::Assign)?;
        let value = match keyword {
            Some(keyword) => {
                if keyword != Keyword::Entries && is_const {
                    let message = format!("`{}` cannot be `const`", name.text);
                    return self.error(Diagnostic::error("syntax", message).at(name.span, ""));
                }
                self.expect(Sign::LBrace)?;
                match keyword {
                    Keyword::Key => PropertyValue::Key(self.members(Self::key_element)?),
                    Keyword::Actions => PropertyValue::Actions(self.members(Self::listed_action)?),
                    _ => PropertyValue::Entries(self.members(Self::entry)?),
                }
            }
            None => {
                let value = self.expr()?;
                self.expect(Sign::Semicolon)?;
                PropertyValue::Expr(value)
            }
        };
        Ok(TableProperty {
            span: self.since(start),
            annotations,
            is_const,
            name,
            value,
        })
    }

    fn key_element(&mut self) -> Parsed<KeyElement> {
        let start = self.span();
        let expr = self.expr()?;
        self.expect(Sign::Colon)?;
        let match_kind = self.name("a match kind")?;
        let annotations = self.annotations()?;
        self.expect(Sign::Semicolon)?;
        Ok(KeyElement {
            span: self.since(start),
            expr,
            match_kind,
            annotations,
        })
    }

    fn listed_action(&mut self) -> Parsed<ActionRef> {
        let start = self.span();
        let annotations = self.annotations()?;
        let action = self.action_ref(start, annotations)?;
        self.expect(Sign::Semicolon)?;
        Ok(action)
    }

    fn action_ref(&mut self, start: Span, annotations: Vec<Annotation>) -> Parsed<ActionRef> {
        let path = self.path("an action")?;
        let args = if self.is(Sign::LParen) {
            Some(self.arguments()?)
        } else {
            None
        };
        Ok(ActionRef {
            span: self.since(start),
            annotations,
            path,
            args,
        })
    }

    fn entry(&mut self) -> Parsed<Entry> {
        let start = self.span();
        let is_const = self.eat_keyword(Keyword::Const);
        let priority = self.priority()?;
        let keyset = self.keyset()?;
        self.expect(Sign::Colon)?;
        let action_start = self.span();
        let action = self.action_ref(action_start, Vec::new())?;
        let annotations = self.annotations()?;
        self.expect(Sign::Semicolon)?;
        Ok(Entry {
            span: self.since(start),
            annotations,
            is_const,
            priority,
            keyset,
            action,
        })
    }

    /// `priority = value :` before an entry's keyset.
    fn priority(&mut self) -> Parsed<Option<Expr>> {
        let named =
            self.is_keyword(Keyword::Priority) && self.peek_at(1) == TokenKind::Sign(Sign::Assign);
        if !named {
            return Ok(None);
        }
        self.at += 2;
        let start = self.span();
        let value = if self.eat(Sign::LParen) {
            let value = self.expr()?;
            self.expect(Sign::RParen)?;
            Expr {
                span: self.since(start),
                ..value
            }
        } else {
            Expr {
                kind: ExprKind::Int(self.integer()?),
                span: start,
            }
        };
        self.expect(Sign::Colon)?;
        Ok(Some(value))
    }

    /// What a select case or an entry matches, up to its colon. An opening parenthesis can begin a tuple, `(a, b)`, or an
    /// element, `(a) + b`: what has a colon behind it is right, and if neither is, the tuple reading says why.
    pub(super) fn keyset(&mut self) -> Parsed<Keyset> {
        let start = self.span();
        let element = |this: &mut Self| this.keyset_element().map(|element| vec![element]);
        let elements = if self.is(Sign::LParen) {
            match self
                .attempt(Self::keyset_tuple)
                .or_else(|| self.attempt(element))
            {
                Some(elements) => elements,
                None => self.keyset_tuple()?,
            }
        } else {
            element(self)?
        };
        Ok(Keyset {
            span: self.since(start),
            elements,
        })
    }

    /// Reads something that must have a colon after it, or leaves the position as it was.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Option<T> {
        let (at, silent) = (self.at, self.silent);
        self.silent = true;
        let found = read(self);
        self.silent = silent;
        match found {
            Ok(found) if self.is(Sign::Colon) => Some(found),
            _ => {
                self.at = at;
                None
            }
        }
    }

    fn keyset_tuple(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(Sign::LParen)?;
        if self.is(Sign::RParen) {
            return self.expected("a value");
        }
        self.list(Sign::RParen, Self::keyset_element)
    }

    fn keyset_element(&mut self) -> Parsed<Expr> {
        let span = self.span();
        let start = span;
        if self.eat_keyword(Keyword::Underscore) {
            return Ok(Expr {
                span,
                kind: ExprKind::DontCare,
            });
        }
        if self.eat_keyword(Keyword::Default) {
            return Ok(Expr {
                span,
                kind: ExprKind::Default,
            });
        }
        let first = self.expr()?;
        let kind = if self.eat(Sign::MaskOf) {
            ExprKind::Mask {
                value: Box::new(first),
                mask: Box::new(self.expr()?),
            }
        } else if self.eat(Sign::DotDot) {
            ExprKind::Range {
                lo: Box::new(first),
                hi: Box::new(self.expr()?),
            }
        } else {
            return Ok(first);
        };
        Ok(Expr {
            span: self.since(start),
            kind,
        })
    }

    /// A name list in braces, after `error` or `match_kind`.
    pub(super) fn name_list(&mut self, trailing_comma: bool) -> Parsed<Vec<Name>> {
        self.expect(Sign::LBrace)?;
        if trailing_comma {
            return self.list_with_trailing_comma(Sign::RBrace, |this| this.name("a name"));
        }
        if self.is(Sign::RBrace) {
            return self.expected("a name");
        }
        self.list(Sign::RBrace, |this| this.name("a name"))
    }
}
