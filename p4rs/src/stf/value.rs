//! Numbers as scripts write them: with `*` for digits that do not matter, prefixes, masks, ranges.
//!
//! In: words. Out: numbers with masks, then match fields of a key's kind and width.
//! Invariant: a digit that does not matter is zero in the value and in the mask.

use std::net::Ipv4Addr;

use num_bigint::BigUint;
use num_traits::{ToPrimitive, Zero};

use crate::engine::{MatchKind, OwnedField};

/// Why a word is no number, or a number does not suit a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// Not a number.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// Too large for what it counts.
    #[error("{0} is too large here")]
    TooLarge(BigUint),
    /// `*` where each digit matters.
    #[error("a number with `*` stands where each digit matters")]
    Wildcard,
    /// A form that does not suit the key's kind.
    #[error("a {form} does not suit a key field of kind {kind:?}")]
    Form {
        /// What was given.
        form: &'static str,
        /// What the key is.
        kind: MatchKind,
    },
    /// A prefix longer than the field.
    #[error("a prefix of {prefix} bits in a field of {width}")]
    Prefix {
        /// As given.
        prefix: u32,
        /// The field's.
        width: u32,
    },
}

/// A number; its digits may be `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// The digits that matter.
    pub value: BigUint,
    /// Ones where a digit matters; none for decimal numbers, all of which matters.
    pub mask: Option<BigUint>,
    /// Bits of the digits that are no `*`.
    known: u32,
    /// Whether there is a `*`.
    wild: bool,
}

impl Number {
    /// A number all of which matters.
    pub fn plain(value: BigUint) -> Self {
        Self {
            value,
            mask: None,
            known: 0,
            wild: false,
        }
    }

    /// Reads a word.
    ///
    /// # Errors
    /// [`ValueFault::NotANumber`].
    pub fn parse(word: &str) -> Result<Self, ValueFault> {
        let fault = || ValueFault::NotANumber(word.to_owned());
        let (digits, bits) = match word.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&word[2..], 4),
            [b'0', b'o' | b'O', ..] => (&word[2..], 3),
            [b'0', b'b' | b'B', ..] => (&word[2..], 1),
            _ => {
                if let Ok(address) = word.parse::<Ipv4Addr>() {
                    return Ok(Self::plain(u32::from(address).into()));
                }
                let decimal = word.bytes().all(|b| b.is_ascii_digit());
                let value = BigUint::parse_bytes(word.as_bytes(), 10).filter(|_| decimal);
                return value.map(Self::plain).ok_or_else(fault);
            }
        };
        let mut number = Self {
            value: BigUint::zero(),
            mask: Some(BigUint::zero()),
            known: 0,
            wild: false,
        };
        let (mut value, mut mask) = (Vec::new(), Vec::new());
        let top = (1u8 << bits) - 1;
        for c in digits.chars().filter(|&c| c != '_') {
            if c == '*' {
                number.wild = true;
                value.push(0);
                mask.push(0);
                continue;
            }
            let digit = c.to_digit(1 << bits).ok_or_else(fault)?;
            value.push(digit as u8);
            mask.push(top);
            number.known += bits;
        }
        let radix = 1 << bits;
        if value.is_empty() {
            return Err(fault());
        }
        number.value = BigUint::from_radix_be(&value, radix).ok_or_else(fault)?;
        number.mask = Some(BigUint::from_radix_be(&mask, radix).ok_or_else(fault)?);
        Ok(number)
    }

    /// The value, if each digit matters.
    ///
    /// # Errors
    /// [`ValueFault::Wildcard`].
    pub fn exact(&self) -> Result<&BigUint, ValueFault> {
        if self.wild {
            return Err(ValueFault::Wildcard);
        }
        Ok(&self.value)
    }

    /// The value as a count or index.
    ///
    /// # Errors
    /// [`ValueFault::Wildcard`], [`ValueFault::TooLarge`].
    pub fn small<T: TryFrom<u64>>(&self) -> Result<T, ValueFault> {
        let value = self.exact()?;
        value
            .to_u64()
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| ValueFault::TooLarge(value.clone()))
    }
}

/// What a key field must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, perhaps with `*`.
    Number(Number),
    /// `value/length`.
    Prefix(Number, u32),
    /// `value&&&mask`.
    Mask(Number, Number),
    /// `low..high` or `low->high`.
    Range(Number, Number),
}

fn ones(width: u32) -> BigUint {
    (BigUint::from(1u8) << width) - 1u8
}

/// The upper `prefix` of `width` bits.
fn prefix_mask(prefix: u32, width: u32) -> Result<BigUint, ValueFault> {
    let host = width
        .checked_sub(prefix)
        .ok_or(ValueFault::Prefix { prefix, width })?;
    Ok(ones(width) - ones(host))
}

fn masked(value: &BigUint, mask: &BigUint) -> OwnedField {
    if mask.is_zero() {
        return OwnedField::DontCare;
    }
    OwnedField::Ternary((value & mask).to_bytes_be(), mask.to_bytes_be())
}

impl Value {
    fn form(&self) -> &'static str {
        match self {
            Value::Number(_) => "number",
            Value::Prefix(..) => "prefix",
            Value::Mask(..) => "mask",
            Value::Range(..) => "range",
        }
    }

    /// The match field for a key field of this kind and width.
    ///
    /// # Errors
    /// [`ValueFault`] when the form does not suit the kind.
    pub fn field(&self, kind: MatchKind, width: u32) -> Result<OwnedField, ValueFault> {
        let bytes = |number: &Number| Ok(number.exact()?.to_bytes_be());
        match (kind, self) {
            (MatchKind::Exact, Value::Number(number)) => Ok(OwnedField::Exact(bytes(number)?)),
            (MatchKind::Optional, Value::Number(number)) => {
                if number.mask.as_ref().is_some_and(Zero::is_zero) {
                    return Ok(OwnedField::DontCare);
                }
                Ok(OwnedField::Optional(bytes(number)?))
            }
            (MatchKind::Range, Value::Range(low, high)) => {
                Ok(OwnedField::Range(bytes(low)?, bytes(high)?))
            }
            (MatchKind::Range, Value::Number(number)) => {
                Ok(OwnedField::Range(bytes(number)?, bytes(number)?))
            }
            (MatchKind::Lpm, Value::Prefix(number, prefix)) => lpm(number.exact()?, *prefix, width),
            // The harness of the simple switch counts the digits that are written.
            (MatchKind::Lpm, Value::Number(number)) => match number.mask {
                Some(_) => lpm(&number.value, number.known.min(width), width),
                None => lpm(&number.value, width, width),
            },
            (MatchKind::Ternary, Value::Number(number)) => {
                let all = ones(width);
                let mask = number.mask.as_ref().map_or(all.clone(), |mask| mask & &all);
                if !number.value.is_zero() && number.value > all {
                    // Let the table say that it is too wide.
                    return Ok(OwnedField::Ternary(
                        number.value.to_bytes_be(),
                        all.to_bytes_be(),
                    ));
                }
                Ok(masked(&number.value, &mask))
            }
            (MatchKind::Ternary, Value::Mask(value, mask)) => {
                Ok(masked(value.exact()?, mask.exact()?))
            }
            (MatchKind::Ternary, Value::Prefix(value, prefix)) => {
                Ok(masked(value.exact()?, &prefix_mask(*prefix, width)?))
            }
            (kind, value) => Err(ValueFault::Form {
                form: value.form(),
                kind,
            }),
        }
    }
}

fn lpm(value: &BigUint, prefix: u32, width: u32) -> Result<OwnedField, ValueFault> {
    let mask = prefix_mask(prefix, width)?;
    if prefix == 0 {
        return Ok(OwnedField::DontCare);
    }
    let value = if *value > ones(width) {
        value.clone()
    } else {
        value & mask
    };
    Ok(OwnedField::Lpm(value.to_bytes_be(), prefix))
}
