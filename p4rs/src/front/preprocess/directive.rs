//! Directives: one function each.
//!
//! In: the `#` and the rest of its line. Out: changed state of the preprocessor; no tokens. In text that a condition
//! skips only the conditions themselves are looked at.

use std::rc::Rc;

use super::condition::{self, Fault};
use super::macros::{Macro, Params};
use super::{Condition, MAX_INCLUDE_DEPTH, Preprocessor};
use crate::diag::Diagnostic;
use crate::front::token::{Keyword, Sign, Token, TokenKind};
use crate::source::Span;

const NAME_MISSING: &str = "a macro name is missing";

impl Preprocessor<'_> {
    /// Obeys the directive that `hash` begins.
    pub(super) fn directive(&mut self, hash: &Token) {
        let line = self.rest_of_line();
        let live = self
            .inclusions
            .last()
            .is_some_and(|inclusion| inclusion.live());
        // A lone `#` is allowed and means nothing.
        let Some((name, rest)) = line.split_first() else {
            return;
        };
        match &*name.text {
            "if" => self.open_condition(name, |this| this.condition(name, rest), live),
            "ifdef" => self.open_condition(name, |this| this.is_defined(name, rest), live),
            "ifndef" => self.open_condition(name, |this| !this.is_defined(name, rest), live),
            "elif" => self.elif(name, rest),
            "else" => self.otherwise(name, rest),
            "endif" => self.endif(name, rest),
            _ if !live => {}
            "include" => self.include(name, rest),
            "define" => self.define(name, rest),
            "undef" => self.undef(name, rest),
            "error" => {
                let text = self.line_text(name, rest);
                self.error("error-directive", format!("#error {text}"), name.span);
            }
            "warning" => {
                let text = self.line_text(name, rest);
                let message = format!("#warning {text}");
                self.diagnostics
                    .push(Diagnostic::warning("warning-directive", message).at(name.span, ""));
            }
            "line" => self.line(name, rest),
            "pragma" => self.pragma(rest),
            _ if name.kind == TokenKind::Number => self.line(name, &line),
            _ => {
                let message = format!("`#{}` is no directive", name.text);
                self.error("directive", message, self.map.join(hash.span, name.span));
            }
        }
    }

    fn line_text(&self, name: &Token, rest: &[Token]) -> String {
        let Some(last) = rest.last() else {
            return String::new();
        };
        self.map
            .text(Span::new(name.span.end, last.span.end))
            .trim()
            .to_owned()
    }

    fn nothing_more(&mut self, name: &Token, rest: &[Token]) {
        if let Some(extra) = rest.first() {
            let message = format!("text after `#{}` is ignored", name.text);
            self.diagnostics
                .push(Diagnostic::warning("directive", message).at(extra.span, ""));
        }
    }

    // ------------------------------------------------------------ conditions

    fn open_condition(
        &mut self,
        name: &Token,
        test: impl FnOnce(&mut Self) -> bool,
        outer_live: bool,
    ) {
        let live = outer_live && test(self);
        if let Some(inclusion) = self.inclusions.last_mut() {
            let opened = name.span;
            inclusion.conditions.push(Condition {
                opened,
                outer_live,
                taken: live,
                live,
                otherwise: None,
            });
        }
    }

    fn current_condition(&mut self, name: &Token) -> Option<&mut Condition> {
        if self
            .inclusions
            .last()
            .is_none_or(|inclusion| inclusion.conditions.is_empty())
        {
            self.error(
                "directive",
                format!("`#{}` without `#if`", name.text),
                name.span,
            );
        }
        self.inclusions.last_mut()?.conditions.last_mut()
    }

    fn elif(&mut self, name: &Token, rest: &[Token]) {
        let Some(condition) = self.current_condition(name) else {
            return;
        };
        let (try_it, after_else) = (
            condition.outer_live && !condition.taken,
            condition.otherwise.is_some(),
        );
        if after_else {
            self.error("directive", "`#elif` after `#else`".to_owned(), name.span);
        }
        let live = try_it && !after_else && self.condition(name, rest);
        if let Some(condition) = self.current_condition(name) {
            condition.live = live;
            condition.taken |= live;
        }
    }

    fn otherwise(&mut self, name: &Token, rest: &[Token]) {
        let Some(condition) = self.current_condition(name) else {
            return;
        };
        let earlier = condition.otherwise.replace(name.span);
        condition.live = condition.outer_live && !condition.taken;
        condition.taken = true;
        if let Some(earlier) = earlier {
            let diagnostic = Diagnostic::error("directive", "a second `#else`").at(name.span, "");
            self.diagnostics.push(diagnostic.at(earlier, "the first"));
        }
        self.nothing_more(name, rest);
    }

    fn endif(&mut self, name: &Token, rest: &[Token]) {
        if self.current_condition(name).is_none() {
            return;
        }
        if let Some(inclusion) = self.inclusions.last_mut() {
            inclusion.conditions.pop();
        }
        self.nothing_more(name, rest);
    }

    fn is_defined(&mut self, name: &Token, rest: &[Token]) -> bool {
        match rest {
            [word, rest @ ..] if word.kind.is_word() => {
                self.nothing_more(name, rest);
                self.macros.contains_key(&word.text)
            }
            _ => {
                self.error("directive", NAME_MISSING.to_owned(), name.span);
                false
            }
        }
    }

    /// Whether the condition of an `#if` holds; a faulty one does not.
    fn condition(&mut self, name: &Token, rest: &[Token]) -> bool {
        let Some(line) = self.answer_defined(rest) else {
            return false;
        };
        let line = self.expand_apart(line);
        match condition::holds(&line) {
            Ok(value) => value,
            Err(Fault { span, message }) => {
                self.error("condition", message.to_owned(), span.unwrap_or(name.span));
                false
            }
        }
    }

    /// Replaces `defined X` and `defined(X)` by `true` and a name that counts as zero.
    fn answer_defined(&mut self, line: &[Token]) -> Option<Vec<Token>> {
        let mut answered = Vec::with_capacity(line.len());
        let mut at = 0;
        while let Some(token) = line.get(at) {
            at += 1;
            if &*token.text != "defined" || !token.kind.is_word() {
                answered.push(token.clone());
                continue;
            }
            let sign = |at: usize, sign| {
                line.get(at)
                    .is_some_and(|t: &Token| t.kind == TokenKind::Sign(sign))
            };
            let in_parens = sign(at, Sign::LParen);
            at += usize::from(in_parens);
            let word = line.get(at).filter(|word| word.kind.is_word());
            let (Some(word), true) = (word, !in_parens || sign(at + 1, Sign::RParen)) else {
                self.error(
                    "condition",
                    "`defined` needs a macro name".to_owned(),
                    token.span,
                );
                return None;
            };
            at += if in_parens { 2 } else { 1 };
            let answer = if self.macros.contains_key(&word.text) {
                Keyword::True
            } else {
                Keyword::False
            };
            answered.push(Token {
                kind: TokenKind::Keyword(answer),
                painted: true,
                ..token.clone()
            });
        }
        Some(answered)
    }

    // ------------------------------------------------------------ inclusion

    fn include(&mut self, name: &Token, rest: &[Token]) {
        let Some((wanted, quoted, span)) = self.include_name(name, rest) else {
            return;
        };
        if self.inclusions.len() >= MAX_INCLUDE_DEPTH {
            return self.stop_at(
                span,
                "files are included too deeply: does one include itself?",
            );
        }
        let includer = self
            .inclusions
            .last()
            .map_or("".into(), |inclusion| inclusion.name.clone());
        match self.sources.resolve(&wanted, quoted, &includer) {
            Ok((found, _)) if self.once.contains(&found) => {}
            Ok((found, text)) => match self.map.add(found, text, Some(span)) {
                Some(index) => self.enter(index),
                None => self.stop_at(span, "the program is too large"),
            },
            Err(error) => self.error("include", format!("`{wanted}`: {error}"), span),
        }
    }

    /// The file's name, whether it stands in quotes, and where.
    fn include_name(&mut self, name: &Token, rest: &[Token]) -> Option<(String, bool, Span)> {
        let expanded;
        let (rest, from_macro) = match rest.first() {
            Some(first) if first.kind.is_word() => {
                expanded = self.expand_apart(rest.to_vec());
                (&expanded[..], true)
            }
            _ => (rest, false),
        };
        let (first, last) = (rest.first(), rest.last());
        if let (Some(first), Some(last)) = (first, last) {
            let span = self.map.join(first.span, last.span);
            if first.kind == TokenKind::Str {
                return Some((first.text.to_string(), true, span));
            }
            if first.kind == TokenKind::Sign(Sign::Lt) {
                let text = if from_macro {
                    rest[1..].iter().map(|token| self.spelling(token)).collect()
                } else {
                    // `//` within the brackets is no comment: the raw line counts.
                    self.raw_line(first.span)
                };
                if let Some((wanted, _)) = text.split_once('>') {
                    return Some((wanted.trim().to_owned(), false, span));
                }
            }
        }
        self.error(
            "include",
            "`#include` needs \"file\" or <file>".to_owned(),
            name.span,
        );
        None
    }

    /// The text from behind a token to the end of its line.
    fn raw_line(&self, span: Span) -> String {
        let Some(file) = self.map.file(span) else {
            return String::new();
        };
        let rest = file
            .text
            .get((span.end - file.start) as usize..)
            .unwrap_or("");
        rest.lines().next().unwrap_or("").to_owned()
    }

    // ------------------------------------------------------------ definitions

    fn define(&mut self, directive: &Token, rest: &[Token]) {
        let Some((name, mut rest)) = rest.split_first().filter(|(name, _)| name.kind.is_word())
        else {
            return self.error("directive", NAME_MISSING.to_owned(), directive.span);
        };
        if &*name.text == "defined" {
            return self.error(
                "directive",
                "`defined` cannot be a macro".to_owned(),
                name.span,
            );
        }
        let mut params = None;
        if let Some((open, after)) = rest.split_first()
            && open.kind == TokenKind::Sign(Sign::LParen)
            && !open.spaced
        {
            let Some((found, after)) = self.params(open, after) else {
                return;
            };
            params = Some(found);
            rest = after;
        }
        let pastes = |token: Option<&Token>| {
            token.is_some_and(|t| t.kind == TokenKind::Sign(Sign::HashHash))
        };
        if pastes(rest.first()) || pastes(rest.last()) {
            return self.error(
                "directive",
                "`##` needs something on both sides".to_owned(),
                name.span,
            );
        }
        let definition = name.span;
        let new = Macro {
            name: name.text.clone(),
            definition,
            params,
            body: rest.to_vec(),
            built_in: None,
        };
        if let Some(old) = self.macros.get(&new.name)
            && !old.same_as(&new)
        {
            let message = format!("macro `{}` is defined again, differently", new.name);
            let mut diagnostic = Diagnostic::warning("macro-redefined", message).at(definition, "");
            if !old.definition.is_none() {
                diagnostic = diagnostic.at(old.definition, "the earlier definition");
            }
            self.diagnostics.push(diagnostic);
        }
        self.macros.insert(new.name.clone(), Rc::new(new));
    }

    /// A function-like macro's parameters, and what follows the closing parenthesis.
    fn params<'t>(&mut self, open: &Token, tokens: &'t [Token]) -> Option<(Params, &'t [Token])> {
        let mut params = Params {
            names: Vec::new(),
            variadic: false,
        };
        let Some(close) = tokens
            .iter()
            .position(|token| token.kind == TokenKind::Sign(Sign::RParen))
        else {
            self.error(
                "directive",
                "the parameters have no closing parenthesis".to_owned(),
                open.span,
            );
            return None;
        };
        let (list, rest) = (&tokens[..close], &tokens[close + 1..]);
        if list.is_empty() {
            return Some((params, rest));
        }
        for param in list.split(|token| token.kind == TokenKind::Sign(Sign::Comma)) {
            let dots = |token: &Token| token.kind == TokenKind::Sign(Sign::Dots);
            let name = match param {
                [name] if name.kind.is_word() => name.text.clone(),
                [only] if dots(only) => self.interner.intern("__VA_ARGS__"),
                [name, last] if name.kind.is_word() && dots(last) => name.text.clone(),
                _ => {
                    let span = param.first().map_or(open.span, |token| token.span);
                    self.error(
                        "directive",
                        "a parameter's name is expected".to_owned(),
                        span,
                    );
                    return None;
                }
            };
            if params.variadic || params.names.contains(&name) {
                let message = if params.variadic {
                    "`...` must come last"
                } else {
                    "a parameter's name comes twice"
                };
                self.error("directive", message.to_owned(), param[0].span);
                return None;
            }
            params.variadic = param.last().is_some_and(dots);
            params.names.push(name);
        }
        Some((params, rest))
    }

    fn undef(&mut self, directive: &Token, rest: &[Token]) {
        match rest {
            [name, rest @ ..] if name.kind.is_word() => {
                self.macros.remove(&name.text);
                self.nothing_more(directive, rest);
            }
            _ => self.error("directive", NAME_MISSING.to_owned(), directive.span),
        }
    }

    // ------------------------------------------------------------ the rest

    /// `#line 12 "file"`, or `# 12 "file"` as compilers write it.
    fn line(&mut self, name: &Token, rest: &[Token]) {
        let rest = self.expand_apart(rest.to_vec());
        let number = rest.first().filter(|token| token.kind == TokenKind::Number);
        let Some(number) = number.and_then(|token| token.text.parse::<u32>().ok()) else {
            return self.error(
                "directive",
                "`#line` needs a line number".to_owned(),
                name.span,
            );
        };
        let file = rest
            .get(1)
            .filter(|token| token.kind == TokenKind::Str)
            .map(|token| token.text.clone());
        self.map.add_line_mark(name.span, number as usize, file);
    }

    fn pragma(&mut self, rest: &[Token]) {
        if let ([once], Some(inclusion)) = (rest, self.inclusions.last())
            && &*once.text == "once"
        {
            self.once.insert(inclusion.name.clone());
        }
    }
}
