//! The words and signs of a statement.
//!
//! In: one line. Out: its tokens. Invariant: joining them again loses blanks and the comment only.

use super::parse::SyntaxFault;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or number, as written; quotes removed.
    Word(String),
    /// One of the signs of [`SIGNS`].
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 17] = [
    "&&&", "->", "..", "==", "!=", "<=", ">=", "<", ">", "=", ":", ",", "(", ")", "/", "|", ";",
];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '*' | '.' | '[' | ']')
}

/// The line without its comment; `#` between quotes is no comment.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Cuts a line into tokens.
pub(super) fn tokens(line: &str) -> Result<Vec<Token>, SyntaxFault> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let (word, behind) = rest[1..].split_once('"').ok_or(SyntaxFault::OpenQuote)?;
            found.push(Token::Word(word.to_owned()));
            rest = behind;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if is_word(first) {
            let mut end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            end = rest[..end].find("..").unwrap_or(end);
            found.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            return Err(SyntaxFault::Character(first));
        }
        rest = rest.trim_start();
    }
    Ok(found)
}
