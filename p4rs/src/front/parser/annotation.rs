//! Annotations, and the later reading of their bodies.
//!
//! In: tokens at an `@`. Out: [`Annotation`]s. A body in parentheses is kept as tokens, since its meaning depends on the
//! annotation's name; who knows the name reads it with [`annotation_expressions`] or [`annotation_key_values`].

use std::sync::Arc;

use super::super::ast::{
    Annotation, AnnotationBody, AnnotationToken, AnnotationTokenKind, Expr, KeyValue, Name,
};
use super::super::lexer::{Interner, int_literal, lex};
use super::super::token::{Sign, Token, TokenKind};
use super::{Fault, Parsed, Parser};
use crate::diag::{Diagnostic, Diagnostics};
use crate::source::{SourceMap, Span};

/// The one annotation whose parentheses hold expressions: constants and members of enums name the lists.
pub(in crate::front) const FIELD_LIST: &str = "field_list";

impl Parser<'_> {
    /// Any number of annotations.
    pub(super) fn annotations(&mut self) -> Parsed<Vec<Annotation>> {
        let mut annotations = Vec::new();
        while self.is(Sign::At) {
            annotations.push(self.annotation()?);
        }
        Ok(annotations)
    }

    fn annotation(&mut self) -> Parsed<Annotation> {
        let start = self.expect(Sign::At)?;
        let name = self.annotation_name()?;
        if name.as_str() == "pragma" {
            let name = self.annotation_name()?;
            let tokens = self.pragma_body(start)?;
            let body = if tokens.is_empty() {
                AnnotationBody::None
            } else {
                AnnotationBody::Tokens(tokens)
            };
            return Ok(Annotation {
                span: self.since(start),
                name,
                body,
            });
        }
        let body = if name.as_str() == FIELD_LIST && self.eat(Sign::LParen) {
            self.expressions(Sign::RParen)?
        } else if self.eat(Sign::LParen) {
            AnnotationBody::Tokens(self.annotation_body(start)?)
        } else if self.eat(Sign::LBracket) {
            self.structured_body()?
        } else {
            AnnotationBody::None
        };
        Ok(Annotation {
            span: self.since(start),
            name,
            body,
        })
    }

    /// The rest of the line, parentheses in pairs.
    fn pragma_body(&mut self, start: Span) -> Parsed<Vec<AnnotationToken>> {
        let mut tokens = Vec::new();
        let mut open = Some(0u32);
        while !self.at_end() && !self.tokens[self.at].line_start {
            open = match self.peek() {
                TokenKind::Sign(Sign::LParen) => open.map(|open| open + 1),
                TokenKind::Sign(Sign::RParen) => open.and_then(|open| open.checked_sub(1)),
                _ => open,
            };
            tokens.push(self.annotation_token());
        }
        if open == Some(0) {
            return Ok(tokens);
        }
        let message = "the parentheses of this pragma are not in pairs";
        self.error(Diagnostic::error("syntax", message).at(self.since(start), ""))
    }

    /// Any word, keywords too.
    fn annotation_name(&mut self) -> Parsed<Name> {
        if !self.peek().is_word() {
            return self.expected("the name of an annotation");
        }
        let name = Name {
            text: self.text(),
            span: self.span(),
        };
        self.advance();
        Ok(name)
    }

    /// Tokens with balanced parentheses up to the closing one, which is taken.
    fn annotation_body(&mut self, start: Span) -> Parsed<Vec<AnnotationToken>> {
        let mut tokens = Vec::new();
        let mut open = 0u32;
        loop {
            match self.peek() {
                TokenKind::End => {
                    let message = "this annotation has no closing parenthesis";
                    return self.error(Diagnostic::error("syntax", message).at(start, ""));
                }
                TokenKind::Sign(Sign::LParen) => open += 1,
                TokenKind::Sign(Sign::RParen) if open == 0 => {
                    self.advance();
                    return Ok(tokens);
                }
                TokenKind::Sign(Sign::RParen) => open -= 1,
                _ => {}
            }
            tokens.push(self.annotation_token());
        }
    }

    fn annotation_token(&mut self) -> AnnotationToken {
        let (span, text) = (self.span(), self.text());
        let kind = match self.peek() {
            TokenKind::Number => {
                int_literal(&text).map_or(AnnotationTokenKind::Sign, AnnotationTokenKind::Int)
            }
            TokenKind::Str => AnnotationTokenKind::Str,
            kind if kind.is_word() => AnnotationTokenKind::Word,
            _ => AnnotationTokenKind::Sign,
        };
        let spaced = self.tokens.get(self.at).is_some_and(|token| token.spaced);
        self.advance();
        AnnotationToken {
            span,
            kind,
            text,
            spaced,
        }
    }

    fn structured_body(&mut self) -> Parsed<AnnotationBody> {
        if self.is_name() && self.peek_at(1) == TokenKind::Sign(Sign::Assign) {
            return Ok(AnnotationBody::KeyValues(
                self.list_with_trailing_comma(Sign::RBracket, Self::key_value)?,
            ));
        }
        self.expressions(Sign::RBracket)
    }

    fn expressions(&mut self, end: Sign) -> Parsed<AnnotationBody> {
        if self.eat(end) {
            return Ok(AnnotationBody::Expressions(Vec::new()));
        }
        Ok(AnnotationBody::Expressions(
            self.list_with_trailing_comma(end, Self::expr)?,
        ))
    }
}

/// Reads an annotation's body as expressions between commas, whichever way it was written; none if it is something else,
/// which is then a finding.
pub fn annotation_expressions(
    annotation: &Annotation,
    map: &SourceMap,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Expr>> {
    match &annotation.body {
        AnnotationBody::None => Some(Vec::new()),
        AnnotationBody::Expressions(expressions) => Some(expressions.clone()),
        AnnotationBody::Tokens(tokens) => reread(tokens, map, diagnostics, |parser| parser.expr()),
        AnnotationBody::KeyValues(_) => {
            let message = format!("`@{}` takes a list of expressions", annotation.name);
            diagnostics.push(Diagnostic::error("annotation", message).at(annotation.span, ""));
            None
        }
    }
}

/// Reads an annotation's body as `name = value` pairs, whichever way it was written; none if it is something else, which
/// is then a finding.
pub fn annotation_key_values(
    annotation: &Annotation,
    map: &SourceMap,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<KeyValue>> {
    match &annotation.body {
        AnnotationBody::None => Some(Vec::new()),
        AnnotationBody::KeyValues(pairs) => Some(pairs.clone()),
        AnnotationBody::Tokens(tokens) => {
            reread(tokens, map, diagnostics, |parser| parser.key_value())
        }
        AnnotationBody::Expressions(expressions) if expressions.is_empty() => Some(Vec::new()),
        AnnotationBody::Expressions(_) => {
            let message = format!("`@{}` takes `name = value` pairs", annotation.name);
            diagnostics.push(Diagnostic::error("annotation", message).at(annotation.span, ""));
            None
        }
    }
}

fn reread<T>(
    body: &[AnnotationToken],
    map: &SourceMap,
    diagnostics: &mut Diagnostics,
    item: impl Fn(&mut Parser<'_>) -> Parsed<T>,
) -> Option<Vec<T>> {
    let mut interner = Interner::default();
    let mut tokens: Vec<Token> = body
        .iter()
        .filter_map(|token| as_token(token, &mut interner))
        .collect();
    let end = body.last().map_or(Span::NONE, |token| token.span);
    let end_token = |kind| Token {
        kind,
        span: end,
        text: Arc::from(""),
        line_start: false,
        spaced: true,
        painted: true,
    };
    tokens.push(end_token(TokenKind::End));
    let mut parser = Parser::new(&tokens, map, diagnostics);
    let mut items = Vec::new();
    while !parser.at_end() {
        items.push(item(&mut parser).ok()?);
        if !parser.at_end() && !parser.eat(Sign::Comma) {
            let _: Result<(), Fault> = parser.expected("`,` or the end of the annotation");
            return None;
        }
    }
    Some(items)
}

fn as_token(token: &AnnotationToken, interner: &mut Interner) -> Option<Token> {
    let (span, text, spaced) = (token.span, token.text.clone(), token.spaced);
    let kind = match token.kind {
        AnnotationTokenKind::Str => TokenKind::Str,
        AnnotationTokenKind::Int(_) => TokenKind::Number,
        AnnotationTokenKind::Word | AnnotationTokenKind::Sign => {
            lex(&text, 0, interner).first()?.kind
        }
    };
    Some(Token {
        kind,
        span,
        text,
        line_start: false,
        spaced,
        painted: true,
    })
}
