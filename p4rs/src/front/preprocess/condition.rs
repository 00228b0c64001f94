//! The arithmetic of `#if`.
//!
//! In: a directive's tokens, macros already replaced (but for `defined`). Out: whether the condition holds, or what is
//! wrong with it. Arithmetic is on 64-bit signed integers that wrap; names that are no macros count as zero.

use crate::front::lexer::int_literal;
use crate::front::token::{Keyword, Sign, Token, TokenKind};
use crate::source::Span;

const MAX_DEPTH: u32 = 100;

/// What is wrong with a condition, and where; nowhere means at its end.
pub(super) struct Fault {
    pub span: Option<Span>,
    pub message: &'static str,
}

/// Evaluates a whole condition.
pub(super) fn holds(tokens: &[Token]) -> Result<bool, Fault> {
    let mut condition = Condition {
        tokens,
        at: 0,
        depth: 0,
        live: true,
    };
    let value = condition.ternary()?;
    match condition.peek() {
        None => Ok(value != 0),
        Some(_) => Err(condition.fault("this does not continue the condition")),
    }
}

struct Condition<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: u32,
    /// Whether the value matters: a division by zero that `&&` skips is no error.
    live: bool,
}

/// Operators from loosest to tightest. A shift to the right is two adjacent `>`.
const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", "<=", ">", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Condition<'_> {
    fn peek(&self) -> Option<TokenKind> {
        self.tokens.get(self.at).map(|token| token.kind)
    }

    fn fault(&self, message: &'static str) -> Fault {
        Fault {
            span: self.tokens.get(self.at).map(|token| token.span),
            message,
        }
    }

    fn eat(&mut self, sign: Sign) -> bool {
        let found = self.peek() == Some(TokenKind::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn operator(&self) -> Option<&'static str> {
        let Some(TokenKind::Sign(sign)) = self.peek() else {
            return None;
        };
        let next = self.tokens.get(self.at + 1);
        if sign == Sign::Gt
            && next.is_some_and(|n| n.kind == TokenKind::Sign(Sign::Gt) && !n.spaced)
        {
            return Some(">>");
        }
        Some(sign.text())
    }

    fn ternary(&mut self) -> Result<i64, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault("the condition is nested too deeply"));
        }
        let cond = self.binary(0)?;
        let value = if self.eat(Sign::Question) {
            let live = self.live;
            self.live = live && cond != 0;
            let then = self.ternary()?;
            if !self.eat(Sign::Colon) {
                return Err(self.fault("`:` is missing"));
            }
            self.live = live && cond == 0;
            let otherwise = self.ternary()?;
            self.live = live;
            if cond != 0 { then } else { otherwise }
        } else {
            cond
        };
        self.depth -= 1;
        Ok(value)
    }

    fn binary(&mut self, level: usize) -> Result<i64, Fault> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self
            .operator()
            .filter(|operator| operators.contains(operator))
        {
            self.at += if operator == ">>" { 2 } else { 1 };
            let live = self.live;
            self.live = live && !(operator == "&&" && left == 0 || operator == "||" && left != 0);
            let right = self.binary(level + 1)?;
            left = self.apply(operator, left, right)?;
            self.live = live;
        }
        Ok(left)
    }

    fn apply(&self, operator: &str, left: i64, right: i64) -> Result<i64, Fault> {
        let truth = |value: bool| Ok(i64::from(value));
        match operator {
            "||" => truth(left != 0 || right != 0),
            "&&" => truth(left != 0 && right != 0),
            "|" => Ok(left | right),
            "^" => Ok(left ^ right),
            "&" => Ok(left & right),
            "==" => truth(left == right),
            "!=" => truth(left != right),
            "<" => truth(left < right),
            "<=" => truth(left <= right),
            ">" => truth(left > right),
            ">=" => truth(left >= right),
            "<<" => Ok(left.wrapping_shl(right as u32)),
            ">>" => Ok(left.wrapping_shr(right as u32)),
            "+" => Ok(left.wrapping_add(right)),
            "-" => Ok(left.wrapping_sub(right)),
            "*" => Ok(left.wrapping_mul(right)),
            _ if right == 0 && self.live => Err(Fault {
                span: None,
                message: "division by zero",
            }),
            _ if right == 0 => Ok(0),
            "/" => Ok(left.wrapping_div(right)),
            _ => Ok(left.wrapping_rem(right)),
        }
    }

    fn unary(&mut self) -> Result<i64, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fault("the condition is nested too deeply"));
        }
        let token = self.tokens.get(self.at).ok_or(Fault {
            span: None,
            message: "an operand is missing",
        })?;
        self.at += 1;
        let value = match token.kind {
            TokenKind::Sign(Sign::Not) => i64::from(self.unary()? == 0),
            TokenKind::Sign(Sign::Minus) => self.unary()?.wrapping_neg(),
            TokenKind::Sign(Sign::Plus) => self.unary()?,
            TokenKind::Sign(Sign::Tilde) => !self.unary()?,
            TokenKind::Sign(Sign::LParen) => {
                let value = self.ternary()?;
                if !self.eat(Sign::RParen) {
                    return Err(self.fault("`)` is missing"));
                }
                value
            }
            TokenKind::Number => number(token)?,
            TokenKind::Keyword(Keyword::True) => 1,
            kind if kind.is_word() => 0,
            _ => {
                return Err(Fault {
                    span: Some(token.span),
                    message: "this is no operand",
                });
            }
        };
        self.depth -= 1;
        Ok(value)
    }
}

/// A P4 or C integer; suffixes `u` and `l` are ignored, what does not fit is cut.
fn number(token: &Token) -> Result<i64, Fault> {
    let plain = token.text.trim_end_matches(['u', 'U', 'l', 'L']);
    let octal = plain.len() > 1
        && plain.starts_with('0')
        && plain.bytes().all(|byte| byte.is_ascii_digit());
    let text = if octal {
        format!("0o{}", &plain[1..])
    } else {
        plain.to_owned()
    };
    let literal = int_literal(&text.into()).map_err(|_| Fault {
        span: Some(token.span),
        message: "this is no integer",
    })?;
    Ok(literal.value.iter_u64_digits().next().unwrap_or(0) as i64)
}
