//! Macro expansion.
//!
//! In: tokens of files (pulled through [`Preprocessor::file_token`], which obeys directives) and the macro table. Out:
//! tokens with macros replaced, each carrying the expansion that it came through.
//! Replacement follows C: arguments are expanded on their own unless they stand beside `#` or `##`, the result is scanned
//! again together with what follows, and a macro is not replaced inside its own expansion.
//! Invariant: work is bounded: every pulled or produced token is counted against [`MAX_WORK`], nested argument expansion
//! against [`MAX_NESTING`].

use std::rc::Rc;
use std::sync::Arc;

use super::Preprocessor;
use crate::diag::Diagnostic;
use crate::front::lexer::lex;
use crate::front::token::{Sign, Token, TokenKind};
use crate::source::{Origin, Span};

/// The most tokens that one compilation may pull through expansion.
pub(super) const MAX_WORK: u32 = 2_000_000;
/// The deepest nesting of macro calls within macro arguments.
pub(super) const MAX_NESTING: usize = 100;

/// What a `#define` made.
#[derive(Debug)]
pub(super) struct Macro {
    pub name: Arc<str>,
    pub definition: Span,
    /// The parameters of a function-like macro.
    pub params: Option<Params>,
    pub body: Vec<Token>,
    pub built_in: Option<BuiltIn>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params {
    pub names: Vec<Arc<str>>,
    /// Whether the last parameter takes all further arguments.
    pub variadic: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltIn {
    File,
    Line,
    Counter,
}

impl Macro {
    /// Whether a second definition says the same: then it is no redefinition.
    pub fn same_as(&self, other: &Macro) -> bool {
        let alike =
            |(a, b): (&Token, &Token)| a.kind == b.kind && a.text == b.text && a.spaced == b.spaced;
        self.params == other.params
            && self.built_in == other.built_in
            && self.body.len() == other.body.len()
            && self
                .body
                .iter()
                .zip(&other.body)
                .enumerate()
                .all(|(index, (a, b))| {
                    alike((a, b)) || index == 0 && a.kind == b.kind && a.text == b.text
                })
    }
}

/// Tokens waiting to be scanned; the macro is in its own expansion until they are used up.
#[derive(Debug)]
pub(super) struct Context {
    tokens: std::vec::IntoIter<Token>,
    of: Option<Arc<str>>,
}

/// Arguments of one call: as written, and expanded once asked for.
struct Argument {
    written: Vec<Token>,
    expanded: Option<Vec<Token>>,
}

impl Preprocessor<'_> {
    /// The next token after expansion. `base` is the number of contexts that belong to someone else: without any (zero)
    /// tokens come from the files in the end, otherwise there are none after the own contexts.
    pub(super) fn expanded_token(&mut self, base: usize) -> Option<Token> {
        loop {
            let mut token = self.pull(base)?;
            if token.painted || !token.kind.is_word() {
                return Some(token);
            }
            let Some(found) = self.macros.get(&token.text).cloned() else {
                return Some(token);
            };
            if self.expanding.contains(&found.name) {
                token.painted = true;
                return Some(token);
            }
            if !self.replace(&found, &token, base) {
                return Some(token);
            }
        }
    }

    /// Expands tokens apart from what follows them.
    pub(super) fn expand_apart(&mut self, tokens: Vec<Token>) -> Vec<Token> {
        if self.nesting >= MAX_NESTING {
            self.stop_at(
                tokens.first().map_or(Span::NONE, |token| token.span),
                "macro calls are nested too deeply",
            );
            return tokens;
        }
        self.nesting += 1;
        let base = self.contexts.len() + 1;
        // A context below the own one keeps `base` above zero, so that files are never reached.
        self.push_context(Vec::new(), None);
        self.push_context(tokens, None);
        let mut expanded = Vec::new();
        while let Some(token) = self.expanded_token(base) {
            expanded.push(token);
        }
        self.contexts.truncate(base - 1);
        self.nesting -= 1;
        expanded
    }

    fn push_context(&mut self, tokens: Vec<Token>, of: Option<Arc<str>>) {
        if let Some(name) = &of {
            self.expanding.insert(name.clone());
        }
        self.contexts.push(Context {
            tokens: tokens.into_iter(),
            of,
        });
    }

    /// The next token before expansion.
    fn pull(&mut self, base: usize) -> Option<Token> {
        self.work += 1;
        if self.work > MAX_WORK {
            self.stop_at(self.last_file_span, "macros expand to too much text");
        }
        if self.stopped {
            return None;
        }
        while self.contexts.len() > base {
            let top = self.contexts.last_mut()?;
            if let Some(token) = top.tokens.next() {
                return Some(token);
            }
            if let Some(name) = self.contexts.pop().and_then(|done| done.of) {
                self.expanding.remove(&name);
            }
        }
        if base == 0 { self.file_token() } else { None }
    }

    /// Replaces a macro's name by its expansion, to be scanned again; says whether there was a call to replace.
    fn replace(&mut self, found: &Rc<Macro>, name: &Token, base: usize) -> bool {
        if let Some(built_in) = found.built_in {
            let token = self.built_in_token(built_in, name);
            self.push_context(vec![token], None);
            return true;
        }
        let Some(params) = &found.params else {
            let origin = self
                .map
                .add_expansion(found.name.clone(), found.definition, name.span);
            let body = self.substitute(found, &mut [], origin, name);
            self.push_context(body, Some(found.name.clone()));
            return true;
        };
        let Some(open) = self.pull(base) else {
            return false;
        };
        if open.kind != TokenKind::Sign(Sign::LParen) {
            // Not a call: what was looked at comes next again, after the name.
            self.push_context(vec![open], None);
            return false;
        }
        let Some((arguments, close)) = self.arguments(params, base) else {
            let message = format!(
                "the call of macro `{}` has no closing parenthesis",
                found.name
            );
            self.error("macro-call", message, name.span);
            return true;
        };
        let call = self.map.join(name.span, close.span);
        let Some(mut arguments) = self.fit(found, params, arguments, call) else {
            return true;
        };
        let origin = self
            .map
            .add_expansion(found.name.clone(), found.definition, call);
        let body = self.substitute(found, &mut arguments, origin, name);
        self.push_context(body, Some(found.name.clone()));
        true
    }

    /// The arguments up to the closing parenthesis, cut at commas outside of inner parentheses.
    fn arguments(&mut self, params: &Params, base: usize) -> Option<(Vec<Vec<Token>>, Token)> {
        let mut arguments = vec![Vec::new()];
        let mut depth = 0u32;
        loop {
            let token = self.pull(base)?;
            match token.kind {
                TokenKind::Sign(Sign::LParen) => depth += 1,
                TokenKind::Sign(Sign::RParen) if depth == 0 => return Some((arguments, token)),
                TokenKind::Sign(Sign::RParen) => depth -= 1,
                // The last parameter of a variadic macro takes the commas too.
                TokenKind::Sign(Sign::Comma)
                    if depth == 0
                        && !(params.variadic && arguments.len() == params.names.len()) =>
                {
                    arguments.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = arguments.last_mut() {
                last.push(Token {
                    line_start: false,
                    ..token
                });
            }
        }
    }

    /// Checks the number of arguments.
    fn fit(
        &mut self,
        found: &Macro,
        params: &Params,
        mut given: Vec<Vec<Token>>,
        call: Span,
    ) -> Option<Vec<Argument>> {
        let wanted = params.names.len();
        if wanted == 0 && given.len() == 1 && given[0].is_empty() {
            given.clear();
        }
        if params.variadic && given.len() + 1 == wanted {
            given.push(Vec::new());
        }
        if given.len() != wanted {
            let message = format!(
                "macro `{}` takes {}{wanted} argument{}, {} given",
                found.name,
                if params.variadic { "at least " } else { "" },
                if wanted == 1 { "" } else { "s" },
                given.len(),
            );
            let diagnostic = Diagnostic::error("macro-call", message).at(call, "");
            self.diagnostics
                .push(diagnostic.at(found.definition, "defined here"));
            return None;
        }
        Some(
            given
                .into_iter()
                .map(|written| Argument {
                    written,
                    expanded: None,
                })
                .collect(),
        )
    }

    /// The body with parameters replaced, `#` and `##` done.
    fn substitute(
        &mut self,
        found: &Macro,
        arguments: &mut [Argument],
        origin: Origin,
        name: &Token,
    ) -> Vec<Token> {
        let body = &found.body;
        let param = |token: &Token| {
            let names = &found.params.as_ref()?.names;
            token
                .kind
                .is_word()
                .then(|| names.iter().position(|name| *name == token.text))?
        };
        let is_paste = |at: usize| {
            body.get(at)
                .is_some_and(|t| t.kind == TokenKind::Sign(Sign::HashHash))
        };
        let mut out: Vec<Token> = Vec::new();
        let mut at = 0;
        while at < body.len() && !self.stopped {
            let token = Token {
                span: Span {
                    origin,
                    ..body[at].span
                },
                ..body[at].clone()
            };
            let pasted = at > 0 && is_paste(at - 1);
            let mut piece = if is_paste(at) {
                at += 1;
                continue;
            } else if token.kind == TokenKind::Sign(Sign::Hash)
                && let Some(index) = body.get(at + 1).and_then(param)
            {
                at += 1;
                vec![self.stringize(&arguments[index].written, &token)]
            } else if let Some(index) = param(&token) {
                let piece = if pasted || is_paste(at + 1) {
                    arguments[index].written.clone()
                } else {
                    self.expanded(&mut arguments[index])
                };
                spaced_as(piece, &token)
            } else {
                vec![token]
            };
            at += 1;
            self.work += piece.len() as u32;
            if self.work > MAX_WORK {
                self.stop_at(name.span, "macros expand to too much text");
                break;
            }
            if pasted {
                self.paste(&mut out, &mut piece, found, at - 1, name);
            } else if piece.is_empty() && is_paste(at) {
                // An empty argument before `##`: nothing to paste to, but what follows is still pasted.
                out.push(placemarker(origin, &body[at - 1]));
            }
            out.append(&mut piece);
        }
        out.retain(|token| token.kind != TokenKind::End);
        if let Some(first) = out.first_mut() {
            first.line_start = name.line_start;
            first.spaced = name.spaced;
        }
        out
    }

    fn expanded(&mut self, argument: &mut Argument) -> Vec<Token> {
        if argument.expanded.is_none() {
            argument.expanded = Some(self.expand_apart(argument.written.clone()));
        }
        argument.expanded.clone().unwrap_or_default()
    }

    /// Joins the last token of `out` and the first of `piece`.
    fn paste(
        &mut self,
        out: &mut Vec<Token>,
        piece: &mut Vec<Token>,
        found: &Macro,
        at: usize,
        name: &Token,
    ) {
        let Some(left) = out.pop() else { return };
        if piece.is_empty() {
            // `, ## __VA_ARGS__` without further arguments drops the comma.
            let variadic = found.params.as_ref().is_some_and(|params| {
                params.variadic
                    && params
                        .names
                        .last()
                        .is_some_and(|last| *last == found.body[at].text)
            });
            if !(variadic && left.kind == TokenKind::Sign(Sign::Comma)) {
                out.push(left);
            }
            return;
        }
        if left.kind == TokenKind::End {
            return;
        }
        if left.kind == TokenKind::Sign(Sign::Comma) {
            out.push(left);
            return;
        }
        let right = piece.remove(0);
        let text = format!("{}{}", self.spelling(&left), self.spelling(&right));
        let mut joined = lex(&text, 0, &mut self.interner);
        match (joined.pop(), joined.is_empty()) {
            (Some(one), true) => piece.insert(
                0,
                Token {
                    span: left.span,
                    spaced: left.spaced,
                    line_start: false,
                    ..one
                },
            ),
            _ => {
                self.error(
                    "macro-paste",
                    format!("`##` makes `{text}`, which is not one token"),
                    name.span,
                );
                out.push(left);
                piece.insert(0, right);
            }
        }
    }

    fn stringize(&mut self, tokens: &[Token], hash: &Token) -> Token {
        let mut text = String::new();
        for (index, token) in tokens.iter().enumerate() {
            if index > 0 && token.spaced {
                text.push(' ');
            }
            let spelling = self.spelling(token);
            for c in spelling.chars() {
                if token.kind == TokenKind::Str && matches!(c, '"' | '\\') {
                    text.push('\\');
                }
                text.push(c);
            }
        }
        let text = self.interner.intern(&text);
        Token {
            kind: TokenKind::Str,
            text,
            painted: false,
            ..hash.clone()
        }
    }

    /// The token as it would be written.
    pub(super) fn spelling(&self, token: &Token) -> String {
        if token.kind == TokenKind::Str {
            format!("\"{}\"", token.text)
        } else {
            token.text.to_string()
        }
    }

    fn built_in_token(&mut self, built_in: BuiltIn, name: &Token) -> Token {
        let location = self.map.location(self.map.outermost(name.span));
        let (kind, text) = match built_in {
            BuiltIn::File => (
                TokenKind::Str,
                location.map_or(String::new(), |l| l.file.replace(['"', '\\'], "_")),
            ),
            BuiltIn::Line => (
                TokenKind::Number,
                location.map_or(0, |l| l.line).to_string(),
            ),
            BuiltIn::Counter => {
                self.counter += 1;
                (TokenKind::Number, (self.counter - 1).to_string())
            }
        };
        Token {
            kind,
            text: self.interner.intern(&text),
            ..name.clone()
        }
    }
}

/// The first token of a replaced parameter stands apart as the parameter did.
fn spaced_as(mut piece: Vec<Token>, param: &Token) -> Vec<Token> {
    if let Some(first) = piece.first_mut() {
        first.spaced = param.spaced;
        first.line_start = false;
    }
    piece
}

/// Stands for nothing at the left of a `##`.
fn placemarker(origin: Origin, at: &Token) -> Token {
    Token {
        kind: TokenKind::End,
        span: Span { origin, ..at.span },
        ..at.clone()
    }
}
