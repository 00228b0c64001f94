//! The preprocessor: directives, inclusion and macros.
//!
//! In: [`Sources`]. Out: the tokens of the whole program with every directive obeyed and every macro replaced, the texts
//! and expansions they came from in the [`SourceMap`], and findings. The language is that of the C preprocessor as P4
//! programs use it: `#include`, `#define` (object- and function-like, variadic, `#`, `##`), `#undef`, `#if` and its kin,
//! `#error`, `#warning`, `#line`, `#pragma` (ignored but for `once`).
//! Invariant: bounded in depth ([`MAX_INCLUDE_DEPTH`]), text ([`crate::source::MAX_SOURCE_BYTES`]) and work
//! (`macros::MAX_WORK`); the last token is always [`TokenKind::End`].

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::lexer::{Interner, lex};
use super::token::{Bad, Token, TokenKind};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{SourceMap, Span};

mod condition;
mod directive;
mod include;
mod macros;
#[cfg(test)]
mod tests;

pub use include::{IncludeError, Sources};

use macros::{BuiltIn, Context, Macro};

/// The deepest chain of inclusions.
pub const MAX_INCLUDE_DEPTH: usize = 100;

/// Runs the preprocessor.
pub fn preprocess(
    sources: &Sources,
    map: &mut SourceMap,
    diagnostics: &mut Diagnostics,
) -> Vec<Token> {
    let mut preprocessor = Preprocessor {
        sources,
        map,
        diagnostics,
        macros: FxHashMap::default(),
        interner: Interner::default(),
        inclusions: Vec::new(),
        once: FxHashSet::default(),
        contexts: Vec::new(),
        expanding: FxHashSet::default(),
        nesting: 0,
        work: 0,
        counter: 0,
        stopped: false,
        last_file_span: Span::NONE,
    };
    preprocessor.predefine();
    preprocessor.open_main();
    let mut tokens = Vec::new();
    while let Some(token) = preprocessor.expanded_token(0) {
        match token.kind {
            TokenKind::Bad(Bad::OpenString) => {
                preprocessor.error(
                    "bad-token",
                    "this string has no closing quote".to_owned(),
                    token.span,
                );
            }
            TokenKind::Bad(Bad::OpenComment) => {
                preprocessor.error(
                    "bad-token",
                    "this comment has no end".to_owned(),
                    token.span,
                );
            }
            // Strange characters may stand in annotations: the parser decides.
            _ => tokens.push(token),
        }
    }
    tokens.push(end_token(&tokens, preprocessor.last_file_span));
    tokens
}

fn end_token(tokens: &[Token], last_file_span: Span) -> Token {
    let last = tokens.last().map_or(last_file_span, |token| token.span);
    let span = if last.is_none() {
        last
    } else {
        Span {
            start: last.end,
            end: last.end,
            origin: last.origin,
        }
    };
    Token {
        kind: TokenKind::End,
        span,
        text: "".into(),
        line_start: true,
        spaced: true,
        painted: true,
    }
}

struct Preprocessor<'a> {
    sources: &'a Sources,
    map: &'a mut SourceMap,
    diagnostics: &'a mut Diagnostics,
    macros: FxHashMap<Arc<str>, Rc<Macro>>,
    interner: Interner,
    /// The files being read, the innermost last.
    inclusions: Vec<Inclusion>,
    /// Files that said `#pragma once`.
    once: FxHashSet<Arc<str>>,
    /// Expansions being scanned, the innermost last.
    contexts: Vec<Context>,
    /// The macros whose expansions are being scanned.
    expanding: FxHashSet<Arc<str>>,
    nesting: usize,
    work: u32,
    counter: u32,
    /// A limit was hit: no more tokens.
    stopped: bool,
    last_file_span: Span,
}

/// One file being read.
struct Inclusion {
    name: Arc<str>,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    conditions: Vec<Condition>,
}

/// One `#if` that is open.
struct Condition {
    opened: Span,
    /// Whether the surrounding text is used.
    outer_live: bool,
    /// Whether a branch was used already.
    taken: bool,
    /// Whether the current branch is used.
    live: bool,
    /// Where `#else` stands.
    otherwise: Option<Span>,
}

impl Inclusion {
    fn live(&self) -> bool {
        self.conditions
            .last()
            .is_none_or(|condition| condition.live)
    }
}

impl Preprocessor<'_> {
    fn predefine(&mut self) {
        for (name, built_in) in [
            ("__FILE__", BuiltIn::File),
            ("__LINE__", BuiltIn::Line),
            ("__COUNTER__", BuiltIn::Counter),
        ] {
            let name = self.interner.intern(name);
            let body = Vec::new();
            let definition = Span::NONE;
            let built_in = Some(built_in);
            self.macros.insert(
                name.clone(),
                Rc::new(Macro {
                    name,
                    definition,
                    params: None,
                    body,
                    built_in,
                }),
            );
        }
        let mut text = String::from("#define __p4rs__ 1\n#define __P4_VERSION__ 120500\n");
        for (name, value) in &self.sources.defines {
            let value = value.replace(['\n', '\r'], " ");
            text.push_str(&format!("#define {name} {value}\n"));
        }
        let Some(index) = self.map.add("<command line>".into(), text.into(), None) else {
            return;
        };
        self.enter(index);
        while self.file_token().is_some() {}
    }

    fn open_main(&mut self) {
        let message = match self.sources.main() {
            Ok((name, text)) => match self.map.add(name, text, None) {
                Some(index) => return self.enter(index),
                None => "the program is too large".to_owned(),
            },
            Err(error) => format!("`{}`: {error}", self.sources.bundle.main),
        };
        self.diagnostics
            .push(Diagnostic::error("no-source", message));
    }

    /// Begins to read a file of the map.
    fn enter(&mut self, index: usize) {
        let file = &self.map.files()[index];
        let tokens = lex(&file.text, file.start, &mut self.interner);
        self.last_file_span = Span::new(file.start, file.start);
        let tokens = tokens.into_iter().peekable();
        self.inclusions.push(Inclusion {
            name: file.name.clone(),
            tokens,
            conditions: Vec::new(),
        });
    }

    /// The next token of the files that is neither a directive nor skipped by one.
    fn file_token(&mut self) -> Option<Token> {
        while !self.stopped {
            let inclusion = self.inclusions.last_mut()?;
            let Some(token) = inclusion.tokens.next() else {
                self.leave();
                continue;
            };
            if token.line_start && token.kind == TokenKind::Sign(super::token::Sign::Hash) {
                self.directive(&token);
                continue;
            }
            if inclusion.live() {
                self.last_file_span = token.span;
                return Some(token);
            }
        }
        None
    }

    /// Ends the reading of a file.
    fn leave(&mut self) {
        let Some(inclusion) = self.inclusions.pop() else {
            return;
        };
        for condition in inclusion.conditions {
            self.error(
                "directive",
                "this condition has no `#endif`".to_owned(),
                condition.opened,
            );
        }
    }

    /// The rest of the directive's line.
    fn rest_of_line(&mut self) -> Vec<Token> {
        let Some(inclusion) = self.inclusions.last_mut() else {
            return Vec::new();
        };
        std::iter::from_fn(|| inclusion.tokens.next_if(|token| !token.line_start)).collect()
    }

    fn error(&mut self, code: &'static str, message: String, span: Span) {
        self.diagnostics
            .push(Diagnostic::error(code, message).at(span, ""));
    }

    /// Reports that a limit is exceeded, once, and ends the token stream.
    fn stop_at(&mut self, span: Span, message: &str) {
        if !self.stopped {
            self.stopped = true;
            self.error("limit", message.to_owned(), span);
        }
    }
}
