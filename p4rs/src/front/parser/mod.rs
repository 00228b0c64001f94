//! The parser: recursive descent for declarations and statements, operator precedence for expressions.
//!
//! In: the preprocessor's tokens. Out: a [`Program`] and findings; after a syntax error it goes on at the next statement
//! or declaration, so that one run reports several.
//! P4's grammar needs to know which names are types: `(T) - x` is a cast or a subtraction, `f < T > (x)` a call or two
//! comparisons. As in the reference compiler the parser keeps the declared names in scopes (`scope::Scopes`); everything
//! else is decided by looking ahead, with a single place that backs up (a keyset in parentheses).
//! Invariants: it ends (every loop takes a token or leaves), never nests deeper than [`MAX_DEPTH`], and builds no
//! expression or type that is higher.

use std::sync::Arc;

use super::ast::{MAX_DEPTH, Name, Path, Program};
use super::token::{Keyword, Sign, Token, TokenKind};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{SourceMap, Span};

mod annotation;
mod block;
mod decl;
mod derived;
mod expr;
mod object;
mod recover;
mod scope;
mod stmt;
mod table;
#[cfg(test)]
mod tests;
mod types;

pub(super) use annotation::FIELD_LIST;
pub use annotation::{annotation_expressions, annotation_key_values};

use scope::Scopes;

/// Parses a program from its tokens, of which the last is [`TokenKind::End`].
pub fn parse_tokens(tokens: &[Token], map: &SourceMap, diagnostics: &mut Diagnostics) -> Program {
    let mut parser = Parser::new(tokens, map, diagnostics);
    let mut program = Program::default();
    while !parser.at_end() && !parser.diagnostics.is_full() {
        if parser.eat(Sign::Semicolon) {
            continue;
        }
        let start = parser.at;
        parser.scopes.back_to_global();
        match parser.top_level() {
            Ok(decl) => program.decls.push(decl),
            Err(Fault) => parser.skip_to_declaration(start),
        }
    }
    program
}

/// A syntax error that has been reported: the caller gives up or goes on somewhere safe.
#[derive(Clone, Copy, Debug)]
struct Fault;

type Parsed<T> = Result<T, Fault>;

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    map: &'a SourceMap,
    diagnostics: &'a mut Diagnostics,
    scopes: Scopes,
    /// How deep the current function calls are nested.
    depth: u32,
    /// The height of the expression or type parsed last.
    height: u32,
    /// Errors are not reported: another reading may still succeed.
    silent: bool,
}

impl<'a> Parser<'a> {
    fn new(tokens: &'a [Token], map: &'a SourceMap, diagnostics: &'a mut Diagnostics) -> Self {
        Self {
            tokens,
            at: 0,
            map,
            diagnostics,
            scopes: Scopes::new(),
            depth: 0,
            height: 0,
            silent: false,
        }
    }

    // ------------------------------------------------------------ tokens

    /// The kind of the `n`th token from here; the end once past it.
    fn peek_at(&self, n: usize) -> TokenKind {
        self.tokens
            .get(self.at + n)
            .map_or(TokenKind::End, |token| token.kind)
    }

    fn peek(&self) -> TokenKind {
        self.peek_at(0)
    }

    fn at_end(&self) -> bool {
        self.peek() == TokenKind::End
    }

    fn is(&self, sign: Sign) -> bool {
        self.peek() == TokenKind::Sign(sign)
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        self.peek() == TokenKind::Keyword(keyword)
    }

    /// Where the next token stands.
    fn span(&self) -> Span {
        self.tokens
            .get(self.at)
            .or(self.tokens.last())
            .map_or(Span::NONE, |token| token.span)
    }

    /// Where the token before stands.
    fn last_span(&self) -> Span {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or_else(|| self.span(), |token| token.span)
    }

    /// From a start to the token before.
    fn since(&self, start: Span) -> Span {
        self.map.join(start, self.last_span())
    }

    fn text(&self) -> Arc<str> {
        self.tokens
            .get(self.at)
            .map_or_else(|| "".into(), |token| token.text.clone())
    }

    fn advance(&mut self) {
        if !self.at_end() {
            self.at += 1;
        }
    }

    fn eat(&mut self, sign: Sign) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn eat_keyword(&mut self, keyword: Keyword) -> bool {
        let found = self.is_keyword(keyword);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: Sign) -> Parsed<Span> {
        let span = self.span();
        if self.eat(sign) {
            Ok(span)
        } else {
            self.expected(&format!("`{}`", sign.text()))
        }
    }

    fn expect_keyword(&mut self, keyword: Keyword) -> Parsed<Span> {
        let span = self.span();
        if self.eat_keyword(keyword) {
            Ok(span)
        } else {
            self.expected(&format!("`{}`", keyword.text()))
        }
    }

    /// Two signs without space between.
    fn adjacent(&self, n: usize) -> bool {
        self.tokens
            .get(self.at + n + 1)
            .is_some_and(|token| !token.spaced && !token.line_start)
    }

    // ------------------------------------------------------------ names

    /// Whether the `n`th token from here can be a name.
    fn is_name_at(&self, n: usize) -> bool {
        match self.peek_at(n) {
            TokenKind::Ident => true,
            TokenKind::Keyword(keyword) => is_soft(keyword),
            _ => false,
        }
    }

    fn is_name(&self) -> bool {
        self.is_name_at(0)
    }

    fn name(&mut self, what: &str) -> Parsed<Name> {
        if !self.is_name() {
            return self.expected(what);
        }
        let name = Name {
            text: self.text(),
            span: self.span(),
        };
        self.advance();
        Ok(name)
    }

    fn path(&mut self, what: &str) -> Parsed<Path> {
        let start = self.span();
        let absolute = self.eat(Sign::Dot);
        let name = self.name(what)?;
        Ok(Path {
            span: self.since(start),
            absolute,
            name,
        })
    }

    /// Whether the name at the `n`th token from here is known as a type.
    fn is_type_name_at(&self, n: usize) -> bool {
        if self.peek_at(n) == TokenKind::Sign(Sign::Dot) {
            return self.is_name_at(n + 1) && self.scopes.is_global_type(self.text_at(n + 1));
        }
        self.is_name_at(n) && self.scopes.is_type(self.text_at(n))
    }

    fn text_at(&self, n: usize) -> &str {
        self.tokens.get(self.at + n).map_or("", |token| &token.text)
    }

    // ------------------------------------------------------------ errors and limits

    fn expected<T>(&mut self, what: &str) -> Parsed<T> {
        let found = match self.peek() {
            TokenKind::Bad(_) => {
                let text = self.text();
                let shown = if text.contains(char::is_control) {
                    text.escape_debug().to_string()
                } else {
                    text.to_string()
                };
                let message = format!("`{shown}` is no character of P4");
                return self.error(Diagnostic::error("bad-token", message).at(self.span(), ""));
            }
            TokenKind::End => "the end of the program".to_owned(),
            TokenKind::Str => "a string".to_owned(),
            TokenKind::Keyword(keyword) => format!("keyword `{}`", keyword.text()),
            _ => format!("`{}`", self.text()),
        };
        let mut diagnostic = Diagnostic::error("syntax", format!("expected {what}, found {found}"))
            .at(self.span(), "");
        if self.at > 0
            && self
                .tokens
                .get(self.at)
                .is_some_and(|token| token.line_start)
        {
            diagnostic = diagnostic.at(self.last_span(), "after this");
        }
        self.error(diagnostic)
    }

    fn error<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        if !self.silent {
            self.diagnostics.push(diagnostic);
        }
        Err(Fault)
    }

    fn too_deep<T>(&mut self) -> Parsed<T> {
        let message = format!("nested more than {MAX_DEPTH} deep");
        self.error(Diagnostic::error("limit", message).at(self.span(), ""))
    }

    /// Runs `parse` one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return self.too_deep();
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Notes that a node was built over parts of at most this height.
    fn grown(&mut self, below: u32) -> Parsed<()> {
        self.height = below + 1;
        if self.height > MAX_DEPTH {
            self.too_deep()
        } else {
            Ok(())
        }
    }

    // ------------------------------------------------------------ lists

    /// Items between commas up to `close`, which is taken; none at all is a list too.
    fn list<T>(
        &mut self,
        close: Sign,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            if !self.eat(Sign::Comma) {
                return self.expected(&format!("`,` or `{}`", close.text()));
            }
        }
    }

    /// As [`Parser::list`], but at least one item, and a comma may stand after the last.
    fn list_with_trailing_comma<T>(
        &mut self,
        close: Sign,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while !self.eat(close) {
            if !self.eat(Sign::Comma) {
                return self.expected(&format!("`,` or `{}`", close.text()));
            }
            if self.eat(close) {
                break;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Declarations of a kind until `}`, which is taken; after a fault it goes on with the next one.
    fn members<T>(&mut self, mut member: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut members = Vec::new();
        while !self.eat(Sign::RBrace) {
            if self.at_end() || self.diagnostics.is_full() {
                return self.expected("`}`");
            }
            let start = self.at;
            match member(self) {
                Ok(found) => members.push(found),
                Err(Fault) if self.silent => return Err(Fault),
                Err(Fault) => self.skip_to_member(start)?,
            }
        }
        Ok(members)
    }
}

/// Keywords that are names wherever the grammar leaves no doubt.
fn is_soft(keyword: Keyword) -> bool {
    use Keyword::{Actions, Apply, Entries, Key, List, Priority, State, Type};
    matches!(
        keyword,
        Actions | Apply | Entries | Key | List | Priority | State | Type
    )
}
