//! A table's key: how match fields become bytes and back.
//!
//! In: [`FieldMatch`]es of any byte length. Out: fixed-width values, masks and prefix lengths, fields in key order,
//! each right-aligned in whole bytes. Invariant: encoding then decoding gives the same match in canonical form.

use std::cmp::Ordering;

use smallvec::{SmallVec, smallvec};

use super::super::bits;
use super::entry::{FieldMatch, MatchKind, TableError};

/// Bytes of a key; most keys fit without allocation.
pub(crate) type KeyBytes = SmallVec<[u8; 64]>;

/// One key field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyField {
    pub kind: MatchKind,
    pub width: u32,
    pub offset: usize,
    pub len: usize,
}

/// What kind of index the key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyClass {
    /// No key: only the default action.
    Keyless,
    /// Exact fields only.
    Exact,
    /// One prefix field, the rest exact.
    Lpm(PrefixField),
    /// Anything with priorities.
    Ternary,
}

/// Offset, length and width of the prefix field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrefixField {
    pub offset: usize,
    pub len: usize,
    pub width: u32,
}

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlan {
    pub fields: Vec<KeyField>,
    pub len: usize,
    pub class: KeyClass,
}

/// A match as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Values; lows of ranges.
    pub value: KeyBytes,
    /// Masks; highs of ranges.
    pub mask: KeyBytes,
    /// Prefix length of the prefix field of a [`KeyClass::Lpm`] key.
    pub prefix: u16,
    pub priority: i32,
}

/// Bytes of the sequence number and of the priority in a stored match.
const PRIORITY: usize = 4;
const SEQUENCE: usize = 8;

impl KeyPlan {
    /// A plan for fields of these kinds and widths; `None` for more than one prefix field without priorities.
    pub fn new(kinds: &[(MatchKind, u32)]) -> Option<Self> {
        let mut fields = Vec::with_capacity(kinds.len());
        let mut len = 0;
        for &(kind, width) in kinds {
            let bytes = width.div_ceil(8).max(1) as usize;
            fields.push(KeyField {
                kind,
                width,
                offset: len,
                len: bytes,
            });
            len += bytes;
        }
        let priorities = fields.iter().any(|f| {
            matches!(
                f.kind,
                MatchKind::Ternary | MatchKind::Range | MatchKind::Optional
            )
        });
        let mut prefixes = fields.iter().filter(|f| f.kind == MatchKind::Lpm);
        let class = match (prefixes.next(), prefixes.next()) {
            _ if fields.is_empty() => KeyClass::Keyless,
            _ if priorities => KeyClass::Ternary,
            (None, _) => KeyClass::Exact,
            (Some(f), None) => KeyClass::Lpm(PrefixField {
                offset: f.offset,
                len: f.len,
                width: f.width,
            }),
            (Some(_), Some(_)) => return None,
        };
        Some(Self { fields, len, class })
    }

    /// Bytes that a stored match takes.
    pub fn stored_len(&self) -> usize {
        match self.class {
            KeyClass::Keyless => 0,
            KeyClass::Exact => self.len,
            KeyClass::Lpm(_) => self.len + 2,
            KeyClass::Ternary => 2 * self.len + PRIORITY + SEQUENCE,
        }
    }

    /// Writes a match for storage.
    pub fn store(&self, encoded: &Encoded, sequence: u64, to: &mut [u8]) {
        let (value, rest) = to.split_at_mut(self.len.min(to.len()));
        value.copy_from_slice(&encoded.value);
        match self.class {
            KeyClass::Keyless | KeyClass::Exact => {}
            KeyClass::Lpm(_) => rest.copy_from_slice(&encoded.prefix.to_be_bytes()),
            KeyClass::Ternary => {
                let (mask, rest) = rest.split_at_mut(self.len);
                mask.copy_from_slice(&encoded.mask);
                let (priority, order) = rest.split_at_mut(PRIORITY);
                priority.copy_from_slice(&encoded.priority.to_be_bytes());
                order.copy_from_slice(&sequence.to_be_bytes());
            }
        }
    }

    /// Checks and encodes a match.
    pub fn encode(&self, fields: &[FieldMatch<'_>], priority: i32) -> Result<Encoded, TableError> {
        if fields.len() != self.fields.len() {
            return Err(TableError::FieldCount {
                expected: self.fields.len(),
                got: fields.len(),
            });
        }
        if (priority > 0) != (self.class == KeyClass::Ternary) || priority < 0 {
            return Err(TableError::Priority { priority });
        }
        let mut encoded = Encoded {
            value: smallvec![0; self.len],
            mask: smallvec![0; self.len],
            prefix: 0,
            priority,
        };
        for (i, (field, plan)) in fields.iter().zip(&self.fields).enumerate() {
            let at = plan.offset..plan.offset + plan.len;
            let (value, mask) = (&mut encoded.value[at.clone()], &mut encoded.mask[at]);
            let prefix = encode_field(i, plan, field, value, mask)?;
            if plan.kind == MatchKind::Lpm {
                encoded.prefix = prefix;
            }
        }
        Ok(encoded)
    }

    /// The stored match as fields.
    pub fn decode<'a>(&self, stored: &'a [u8]) -> SmallVec<[FieldMatch<'a>; 8]> {
        let value = stored.get(..self.len).unwrap_or_default();
        let rest = stored.get(self.len..).unwrap_or_default();
        self.fields
            .iter()
            .map(|f| {
                let part =
                    |bytes: &'a [u8]| bytes.get(f.offset..f.offset + f.len).unwrap_or_default();
                match (f.kind, self.class) {
                    (MatchKind::Exact, _) => FieldMatch::Exact(part(value)),
                    (MatchKind::Lpm, KeyClass::Lpm(_)) => lpm(part(value), stored_prefix(rest)),
                    (MatchKind::Lpm, _) => {
                        lpm(part(value), part(rest).iter().map(|b| b.count_ones()).sum())
                    }
                    (MatchKind::Ternary, _) => ternary(part(value), part(rest)),
                    (MatchKind::Range, _) => range(part(value), part(rest), f.width),
                    (MatchKind::Optional, _) if is_zero(part(rest)) => FieldMatch::DontCare,
                    (MatchKind::Optional, _) => FieldMatch::Optional(part(value)),
                }
            })
            .collect()
    }

    /// The stored priority; zero for keys without.
    pub fn priority(&self, stored: &[u8]) -> i32 {
        if self.class != KeyClass::Ternary {
            return 0;
        }
        let at = 2 * self.len;
        stored
            .get(at..at + PRIORITY)
            .and_then(|bytes| <[u8; PRIORITY]>::try_from(bytes).ok())
            .map_or(0, i32::from_be_bytes)
    }

    /// Orders two stored matches of a [`KeyClass::Ternary`] key: the greater one wins a lookup.
    pub fn precedence(&self, a: &[u8], b: &[u8]) -> Ordering {
        let sequence = |stored: &[u8]| {
            let at = 2 * self.len + PRIORITY;
            stored
                .get(at..at + SEQUENCE)
                .and_then(|bytes| <[u8; SEQUENCE]>::try_from(bytes).ok())
                .map_or(u64::MAX, u64::from_be_bytes)
        };
        self.priority(a)
            .cmp(&self.priority(b))
            .then_with(|| sequence(b).cmp(&sequence(a)))
    }
}

/// The prefix length behind the value of a stored [`KeyClass::Lpm`] match.
fn stored_prefix(rest: &[u8]) -> u32 {
    rest.get(..2)
        .map_or(0, |p| u32::from(u16::from_be_bytes([p[0], p[1]])))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

fn lpm(value: &[u8], prefix_len: u32) -> FieldMatch<'_> {
    if prefix_len == 0 {
        FieldMatch::DontCare
    } else {
        FieldMatch::Lpm { value, prefix_len }
    }
}

fn ternary<'a>(value: &'a [u8], mask: &'a [u8]) -> FieldMatch<'a> {
    if is_zero(mask) {
        FieldMatch::DontCare
    } else {
        FieldMatch::Ternary { value, mask }
    }
}

fn range<'a>(low: &'a [u8], high: &'a [u8], width: u32) -> FieldMatch<'a> {
    let full = (0..high.len()).all(|i| high[i] == ones_byte(i, high.len(), width));
    if is_zero(low) && full {
        FieldMatch::DontCare
    } else {
        FieldMatch::Range { low, high }
    }
}

/// Byte `i` of `len` bytes that hold `width` one bits, right-aligned.
fn ones_byte(i: usize, len: usize, width: u32) -> u8 {
    let above = (len - 1 - i) as u32 * 8;
    bits::mask(width.saturating_sub(above).min(8)) as u8
}

/// Byte `i` of `len` bytes that hold `width` bits, the upper `prefix` of them ones.
fn prefix_byte(i: usize, len: usize, width: u32, prefix: u32) -> u8 {
    ones_byte(i, len, width) & !ones_byte(i, len, width - prefix)
}

/// Clears the bits behind the prefix.
pub(crate) fn cut_to_prefix(value: &mut [u8], width: u32, prefix: u32) {
    let len = value.len();
    for (i, byte) in value.iter_mut().enumerate() {
        *byte &= prefix_byte(i, len, width, prefix.min(width));
    }
}

/// Writes a number right-aligned.
fn put(field: usize, width: u32, bytes: &[u8], to: &mut [u8]) -> Result<(), TableError> {
    if !bits::fits(bytes, width) {
        return Err(TableError::FieldTooWide { field, width });
    }
    for (to, from) in to.iter_mut().rev().zip(bytes.iter().rev()) {
        *to = *from;
    }
    Ok(())
}

/// Encodes one field into value and mask; the result is the prefix length of a prefix field.
fn encode_field(
    i: usize,
    plan: &KeyField,
    field: &FieldMatch<'_>,
    value: &mut [u8],
    mask: &mut [u8],
) -> Result<u16, TableError> {
    let (len, width) = (plan.len, plan.width);
    let ones = |to: &mut [u8]| {
        to.iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = ones_byte(i, len, width))
    };
    match (plan.kind, *field) {
        (MatchKind::Exact, FieldMatch::Exact(bytes))
        | (MatchKind::Optional, FieldMatch::Optional(bytes)) => {
            put(i, width, bytes, value)?;
            ones(mask);
        }
        (
            MatchKind::Lpm,
            FieldMatch::Lpm {
                value: bytes,
                prefix_len,
            },
        ) => {
            put(i, width, bytes, value)?;
            if prefix_len > width {
                return Err(TableError::FieldMalformed { field: i });
            }
            mask.iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = prefix_byte(i, len, width, prefix_len));
            check_masked(i, value, mask)?;
            return u16::try_from(prefix_len).map_err(|_| TableError::FieldMalformed { field: i });
        }
        (
            MatchKind::Ternary,
            FieldMatch::Ternary {
                value: bytes,
                mask: m,
            },
        ) => {
            put(i, width, bytes, value)?;
            put(i, width, m, mask)?;
            check_masked(i, value, mask)?;
        }
        (MatchKind::Range, FieldMatch::Range { low, high }) => {
            put(i, width, low, value)?;
            put(i, width, high, mask)?;
            if *value > *mask {
                return Err(TableError::FieldMalformed { field: i });
            }
        }
        (MatchKind::Range, FieldMatch::DontCare) => ones(mask),
        (MatchKind::Lpm | MatchKind::Ternary | MatchKind::Optional, FieldMatch::DontCare) => {}
        (expected, _) => return Err(TableError::FieldKind { field: i, expected }),
    }
    Ok(0)
}

fn check_masked(field: usize, value: &[u8], mask: &[u8]) -> Result<(), TableError> {
    if value.iter().zip(mask).any(|(v, m)| v & !m != 0) {
        return Err(TableError::FieldMalformed { field });
    }
    Ok(())
}
