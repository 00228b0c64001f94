//! Where parsing goes on after a syntax error.
//!
//! In: the token where the faulty item began. Out: a position after at least one more token, at which an item of the same
//! kind can begin. Invariant: braces are skipped in pairs, and a closing brace that belongs to the surroundings is left.

use super::super::token::{Keyword, Sign, TokenKind};
use super::{Fault, Parsed, Parser};

impl Parser<'_> {
    /// To the next token that begins a declaration at top level.
    ///
    /// What the faulty declaration had opened is not known any more: a keyword that only ever begins a top-level
    /// declaration is believed if it is the first of its line and not indented deeper than the faulty one.
    pub(super) fn skip_to_declaration(&mut self, start: usize) {
        let indent = self.indent(start);
        self.at = self.at.max(start + 1);
        while !self.at_end() {
            let begins = match self.peek() {
                TokenKind::Keyword(keyword) => begins_declaration(keyword),
                TokenKind::Sign(Sign::At) => true,
                TokenKind::Ident => true,
                _ => false,
            };
            let first = self
                .tokens
                .get(self.at)
                .is_some_and(|token| token.line_start);
            if begins && first && self.indent(self.at) <= indent {
                return;
            }
            self.at += 1;
        }
    }

    /// To the next member of a braced list.
    pub(super) fn skip_to_member(&mut self, start: usize) -> Parsed<()> {
        self.at = self.at.max(start);
        let mut moved = self.at > start;
        loop {
            match self.peek() {
                TokenKind::End => return Err(Fault),
                TokenKind::Sign(Sign::RBrace) => return Ok(()),
                TokenKind::Sign(Sign::LBrace) => {
                    self.skip_braces();
                    if self.is(Sign::Semicolon) {
                        self.advance();
                    }
                    return Ok(());
                }
                TokenKind::Sign(Sign::Semicolon) => {
                    self.advance();
                    return Ok(());
                }
                TokenKind::Keyword(
                    Keyword::State | Keyword::Table | Keyword::Action | Keyword::Apply,
                ) if moved && self.tokens[self.at].line_start => {
                    return Ok(());
                }
                _ => self.advance(),
            }
            moved = true;
        }
    }

    /// Over `{...}` with all that is nested in it.
    fn skip_braces(&mut self) {
        let mut open = 0u32;
        loop {
            match self.peek() {
                TokenKind::End => return,
                TokenKind::Sign(Sign::LBrace) => open += 1,
                TokenKind::Sign(Sign::RBrace) => open = open.saturating_sub(1),
                _ => {}
            }
            self.advance();
            if open == 0 {
                return;
            }
        }
    }

    /// How far from the start of its line a token stands.
    fn indent(&self, at: usize) -> usize {
        let Some(token) = self.tokens.get(at) else {
            return 0;
        };
        let span = self.map.outermost(token.span);
        self.map
            .location(span)
            .map_or(0, |location| location.column)
    }
}

fn begins_declaration(keyword: Keyword) -> bool {
    use Keyword::{
        Action, Bit, Bool, Const, Control, Enum, Error, Extern, Header, HeaderUnion, Int,
        MatchKind, Package, Parser, Struct, Type, Typedef, Void,
    };
    matches!(
        keyword,
        Action
            | Bit
            | Bool
            | Const
            | Control
            | Enum
            | Error
            | Extern
            | Header
            | HeaderUnion
            | Int
            | MatchKind
            | Package
            | Parser
            | Struct
            | Type
            | Typedef
            | Void
    )
}
