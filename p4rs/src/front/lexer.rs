//! Cuts a text into tokens.
//!
//! In: one file's text. Out: its tokens, each with its place, comments and white space gone (but noted), backslash-newline
//! taken as white space; lines are told apart by [`Token::line_start`], which is how directives are found. Nothing is
//! rejected here: what is no token becomes [`TokenKind::Bad`], and numbers are looked into by [`int_literal`] only when
//! the parser meets them, since text that conditionals skip need not be P4.

use std::sync::Arc;

use num_bigint::BigUint;
use rustc_hash::FxHashSet;

use super::ast::IntLit;
use super::token::{Bad, Keyword, Sign, Token, TokenKind};
use crate::source::Span;

/// The largest number of digits that an integer literal may have.
pub const MAX_LITERAL_DIGITS: usize = 10_000;

/// Keeps one copy of each token text.
#[derive(Debug, Default)]
pub struct Interner {
    texts: FxHashSet<Arc<str>>,
}

impl Interner {
    /// The shared copy of a text.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }
}

/// Cuts `text`, which begins at `base` in the source map's numbering, into tokens; no [`TokenKind::End`] is added.
pub fn lex(text: &str, base: u32, interner: &mut Interner) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        base,
        line_start: true,
        spaced: false,
    };
    let mut tokens = Vec::with_capacity(text.len() / 5);
    while let Some((kind, from, to)) = lexer.token() {
        let inner = if kind == TokenKind::Str {
            &text[from + 1..to - 1]
        } else {
            &text[from..to]
        };
        tokens.push(Token {
            kind,
            span: Span::new(base + from as u32, base + to as u32),
            text: interner.intern(inner),
            line_start: lexer.line_start,
            spaced: lexer.spaced,
            painted: false,
        });
        lexer.line_start = false;
        lexer.spaced = false;
    }
    tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    base: u32,
    line_start: bool,
    spaced: bool,
}

impl Lexer<'_> {
    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn token(&mut self) -> Option<(TokenKind, usize, usize)> {
        if let Some(open) = self.skip_space() {
            return Some((TokenKind::Bad(Bad::OpenComment), open, open + 2));
        }
        let from = self.at;
        let first = *self.rest().first()?;
        let kind = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            b'0'..=b'9' => {
                self.at += word_length(self.rest());
                TokenKind::Number
            }
            b'"' => self.string(),
            _ => self.sign(),
        };
        debug_assert!(self.at > from && self.base.checked_add(self.at as u32).is_some());
        Some((kind, from, self.at))
    }

    /// Skips white space and comments; returns where a comment begins that never ends.
    fn skip_space(&mut self) -> Option<usize> {
        loop {
            match self.rest() {
                [b'\n', ..] => {
                    self.at += 1;
                    self.line_start = true;
                }
                [b' ' | b'\t' | b'\r' | 0x0b | 0x0c, ..] => self.at += 1,
                [b'\\', b'\n', ..] => self.at += 2,
                [b'\\', b'\r', b'\n', ..] => self.at += 3,
                [b'/', b'/', ..] => self.at += line_comment_length(self.rest()),
                [b'/', b'*', ..] => {
                    let Some(length) = self.text[self.at + 2..].find("*/") else {
                        let open = self.at;
                        self.at = self.text.len();
                        return Some(open);
                    };
                    self.at += length + 4;
                }
                _ => return None,
            }
            self.spaced = true;
        }
    }

    fn word(&mut self) -> TokenKind {
        let length = word_length(self.rest());
        let word = &self.text[self.at..self.at + length];
        self.at += length;
        Keyword::of(word).map_or(TokenKind::Ident, TokenKind::Keyword)
    }

    /// A string may go on over lines, as in the reference compiler; but not into a directive, so that text which a
    /// condition skips need not have its quotes in pairs.
    fn string(&mut self) -> TokenKind {
        let mut escaped = false;
        let mut first_line = None;
        for (index, byte) in self.rest().iter().enumerate().skip(1) {
            match byte {
                b'"' if !escaped => {
                    self.at += index + 1;
                    return TokenKind::Str;
                }
                b'\n' => {
                    first_line = first_line.or(Some(index));
                    if is_directive(&self.text[self.at + index..]) {
                        break;
                    }
                }
                _ => {}
            }
            escaped = *byte == b'\\' && !escaped;
        }
        self.at = first_line.map_or(self.text.len(), |length| self.at + length);
        TokenKind::Bad(Bad::OpenString)
    }

    fn sign(&mut self) -> TokenKind {
        if let Some(sign) = Sign::ALL
            .iter()
            .find(|sign| self.rest().starts_with(sign.text().as_bytes()))
        {
            self.at += sign.text().len();
            return TokenKind::Sign(*sign);
        }
        self.at += self.text[self.at..]
            .chars()
            .next()
            .map_or(1, char::len_utf8);
        TokenKind::Bad(Bad::Character)
    }
}

fn word_length(text: &[u8]) -> usize {
    text.iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count()
}

/// Whether the first line that is not empty is a directive, not just a `#`.
fn is_directive(text: &str) -> bool {
    const NAMES: [&str; 12] = [
        "if", "ifdef", "ifndef", "elif", "else", "endif", "define", "undef", "include", "error",
        "pragma", "line",
    ];
    text.trim_start().strip_prefix('#').is_some_and(|rest| {
        let rest = rest.trim_start_matches([' ', '\t']);
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        NAMES.contains(&&rest[..end])
    })
}

/// Up to the newline, which is left; a backslash before it carries the comment on.
fn line_comment_length(text: &[u8]) -> usize {
    let mut carried = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'\n' if !carried => return index,
            b'\r' => {}
            _ => carried = *byte == b'\\',
        }
    }
    text.len()
}

/// Why a number token is no integer literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLiteral {
    /// Not of the form `[width(w|s)][0(x|d|o|b)]digits`.
    Form,
    /// A digit that the base does not have.
    Digit,
    /// More than [`MAX_LITERAL_DIGITS`] digits, or a width that does not fit 32 bits.
    Size,
}

/// Reads `1_000`, `0x1F`, `0b1`, `0o7`, `0d9`, `8w255`, `4s0b0111`.
pub fn int_literal(text: &Arc<str>) -> Result<IntLit, BadLiteral> {
    let (width, signed, digits) = match text.find(['w', 's']) {
        Some(at) => {
            let (width, digits) = text.split_at(at);
            if width.is_empty() || !width.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(BadLiteral::Form);
            }
            let width = width.parse::<u32>().map_err(|_| BadLiteral::Size)?;
            (Some(width), digits.starts_with('s'), &digits[1..])
        }
        None => (None, false, &**text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'd' | b'D', ..] => (10, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        _ => (10u8, digits),
    };
    let clean: Vec<u8> = digits.bytes().filter(|byte| *byte != b'_').collect();
    if clean.is_empty() {
        return Err(BadLiteral::Form);
    }
    if clean.len() > MAX_LITERAL_DIGITS {
        return Err(BadLiteral::Size);
    }
    let value = BigUint::parse_bytes(&clean, base.into()).ok_or(BadLiteral::Digit)?;
    Ok(IntLit {
        value,
        width,
        signed,
        base,
        text: text.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        lex(text, 0, &mut Interner::default())
            .iter()
            .map(|token| token.text.to_string())
            .collect()
    }

    #[test]
    fn signs_take_the_longest() {
        assert_eq!(
            texts("a|+|b |+|= {#} ... .. &&& >>= >> 1..2"),
            [
                "a", "|+|", "b", "|+|=", "{#}", "...", "..", "&&&", ">>=", ">", ">", "1", "..", "2"
            ]
        );
        for (index, sign) in Sign::ALL.iter().enumerate() {
            let hidden_by = Sign::ALL[..index]
                .iter()
                .find(|longer| sign.text().starts_with(longer.text()));
            assert_eq!(hidden_by, None, "{sign:?} can never be found");
        }
    }

    #[test]
    fn lines_and_space_are_noted() {
        let tokens = lex(
            "a /* x\n */ b\\\n c\n  // d \\\n d\n#e",
            0,
            &mut Interner::default(),
        );
        let seen: Vec<_> = tokens
            .iter()
            .map(|t| (&*t.text, t.line_start, t.spaced))
            .collect();
        assert_eq!(
            seen,
            [
                ("a", true, false),
                ("b", false, true),
                ("c", false, true),
                ("#", true, true),
                ("e", false, false)
            ]
        );
    }

    #[test]
    fn what_is_no_token_is_kept() {
        let kinds = |text| {
            lex(text, 0, &mut Interner::default())
                .iter()
                .map(|t| t.kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kinds("\"a\\\"b\" \"c\nd"),
            [
                TokenKind::Str,
                TokenKind::Bad(Bad::OpenString),
                TokenKind::Ident
            ]
        );
        assert_eq!(
            kinds("\"a\nb\" \"c\n #define\""),
            [
                TokenKind::Str,
                TokenKind::Bad(Bad::OpenString),
                TokenKind::Sign(Sign::Hash),
                TokenKind::Ident,
                TokenKind::Bad(Bad::OpenString)
            ]
        );
        assert_eq!(kinds("\"c\n # no directive\""), [TokenKind::Str]);
        assert_eq!(
            kinds("é`"),
            [
                TokenKind::Bad(Bad::Character),
                TokenKind::Bad(Bad::Character)
            ]
        );
        assert_eq!(
            kinds("x /* y"),
            [TokenKind::Ident, TokenKind::Bad(Bad::OpenComment)]
        );
        assert_eq!(kinds("\""), [TokenKind::Bad(Bad::OpenString)]);
    }

    #[test]
    fn literals_have_width_sign_and_base() {
        let read = |text: &str| {
            int_literal(&text.into())
                .map(|lit| (lit.value.to_string(), lit.width, lit.signed, lit.base))
        };
        assert_eq!(read("1_000"), Ok(("1000".into(), None, false, 10)));
        assert_eq!(read("8w0xF_F"), Ok(("255".into(), Some(8), false, 16)));
        assert_eq!(read("4s0b0111"), Ok(("7".into(), Some(4), true, 2)));
        assert_eq!(read("0o17"), Ok(("15".into(), None, false, 8)));
        assert_eq!(read("0D10"), Ok(("10".into(), None, false, 10)));
        assert_eq!(read("8w"), Err(BadLiteral::Form));
        assert_eq!(read("0x"), Err(BadLiteral::Form));
        assert_eq!(read("0b12"), Err(BadLiteral::Digit));
        assert_eq!(read("12abc"), Err(BadLiteral::Digit));
        assert_eq!(read("99999999999w1"), Err(BadLiteral::Size));
        assert_eq!(
            read(&"1".repeat(MAX_LITERAL_DIGITS + 1)),
            Err(BadLiteral::Size)
        );
    }
}
