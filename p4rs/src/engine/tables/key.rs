//! A table's key: how match fields become words and back.
//!
//! In: [`FieldMatch`]es of any byte length. Out: values, masks and prefix lengths as words, laid out as the table
//! module's contract says. Invariant: encoding then decoding gives the same match in canonical form.

use smallvec::{SmallVec, smallvec};

use super::super::bits;
use super::entry::{FieldMatch, MatchKind, TableError};

/// Bytes of a key; most keys fit without allocation.
pub(crate) type KeyBytes = SmallVec<[u8; 64]>;
/// Words of a key.
pub(crate) type KeyWords = SmallVec<[u64; 8]>;

/// Where a field lies in a key's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPart {
    /// First word.
    pub word: usize,
    /// Lowest bit in the word; 0 for fields above 64 bits.
    pub shift: u32,
    /// Width in bits.
    pub width: u32,
}

impl KeyPart {
    /// Words of the field.
    pub fn words(self) -> usize {
        self.width.div_ceil(64).max(1) as usize
    }

    /// Puts the field's number, least significant word first, into a key whose bits of the field are zero.
    pub fn put(self, number: impl IntoIterator<Item = u64>, key: &mut [u64]) {
        let to = key.get_mut(self.word..).unwrap_or_default();
        for (to, word) in to.iter_mut().zip(number).take(self.words()) {
            *to |= word << self.shift;
        }
    }

    /// Ones in word `i` of the field's number.
    #[inline]
    fn ones_of(self, i: usize) -> u64 {
        bits::mask(self.width.saturating_sub(64 * i as u32).min(64)) as u64
    }

    /// The field's largest number.
    pub fn ones(self) -> impl Iterator<Item = u64> {
        (0..self.words()).map(move |i| self.ones_of(i))
    }

    /// Word `i` of the field's number.
    #[inline]
    pub fn word_of(self, key: &[u64], i: usize) -> u64 {
        key.get(self.word + i).copied().unwrap_or(0) >> self.shift & self.ones_of(i)
    }
}

/// How a key's fields lie in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyLayout {
    /// Words of a key.
    pub words: usize,
    /// One per key field, selector keys left out.
    pub fields: Vec<KeyPart>,
}

impl KeyLayout {
    /// Lays fields of these widths out: each in the first word with room for it, or in words of its own.
    pub fn new(widths: impl IntoIterator<Item = u32>) -> Self {
        let mut used: Vec<u32> = Vec::new();
        let fields = widths.into_iter().map(|width| {
            let room = used.iter().position(|used| used + width <= 64);
            let word = room.unwrap_or(used.len());
            if room.is_none() {
                used.resize(word + width.div_ceil(64).max(1) as usize, 64);
                used[word] = if width > 64 { 64 } else { 0 };
            }
            let shift = if width > 64 { 0 } else { used[word] };
            used[word] = shift + width.min(64);
            KeyPart { word, shift, width }
        });
        let fields = fields.collect();
        Self {
            words: used.len(),
            fields,
        }
    }
}

/// One key field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyField {
    pub kind: MatchKind,
    pub width: u32,
    pub offset: usize,
    pub len: usize,
    pub part: KeyPart,
}

/// What kind of index the key needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyClass {
    /// No key: only the default action.
    Keyless,
    /// Exact fields only.
    Exact,
    /// One prefix field, the rest exact.
    Lpm(KeyPart),
    /// Anything with priorities.
    Ternary,
}

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlan {
    pub fields: Vec<KeyField>,
    /// Bytes of all fields, each right-aligned in whole bytes: how the control plane sees them.
    pub len: usize,
    pub layout: KeyLayout,
    pub class: KeyClass,
}

/// A match as words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Values; lows of ranges.
    pub value: KeyWords,
    /// Masks; highs of ranges.
    pub mask: KeyWords,
    pub priority: i32,
}

impl KeyPlan {
    /// A plan for fields of these kinds and widths; `None` for more than one prefix field without priorities.
    pub fn new(kinds: &[(MatchKind, u32)]) -> Option<Self> {
        let layout = KeyLayout::new(kinds.iter().map(|&(_, width)| width));
        let mut fields = Vec::with_capacity(kinds.len());
        let mut len = 0;
        for (&(kind, width), &part) in kinds.iter().zip(&layout.fields) {
            let bytes = width.div_ceil(8).max(1) as usize;
            fields.push(KeyField {
                kind,
                width,
                offset: len,
                len: bytes,
                part,
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
            (Some(f), None) => KeyClass::Lpm(f.part),
            (Some(_), Some(_)) => return None,
        };
        Some(Self {
            fields,
            len,
            layout,
            class,
        })
    }

    /// Words of a key.
    pub fn words(&self) -> usize {
        self.layout.words
    }

    /// Bytes of all fields as words.
    pub fn pack(&self, bytes: &[u8]) -> KeyWords {
        let mut key: KeyWords = smallvec![0; self.words()];
        for field in &self.fields {
            let bytes = bytes.get(field.offset..field.offset + field.len);
            let number = bytes.unwrap_or_default().rchunks(8).map(|chunk| {
                chunk
                    .iter()
                    .fold(0, |word, &byte| word << 8 | u64::from(byte))
            });
            field.part.put(number, &mut key);
        }
        key
    }

    /// A packet's key: one big-endian value per field.
    pub fn key_of(&self, fields: &[&[u8]]) -> Result<KeyWords, TableError> {
        if fields.len() != self.fields.len() {
            return Err(TableError::FieldCount {
                expected: self.fields.len(),
                got: fields.len(),
            });
        }
        let mut bytes: KeyBytes = smallvec![0; self.len];
        for (i, (field, plan)) in fields.iter().zip(&self.fields).enumerate() {
            let to = &mut bytes[plan.offset..plan.offset + plan.len];
            put(i, plan.width, field, to)?;
        }
        Ok(self.pack(&bytes))
    }

    /// Words as bytes of all fields.
    pub fn unpack(&self, key: &[u64]) -> KeyBytes {
        let mut bytes: KeyBytes = smallvec![0; self.len];
        for field in &self.fields {
            let to = bytes.get_mut(field.offset..field.offset + field.len);
            for (i, chunk) in to.unwrap_or_default().rchunks_mut(8).enumerate() {
                let word = field.part.word_of(key, i).to_be_bytes();
                let from = word.len() - chunk.len();
                chunk.copy_from_slice(&word[from..]);
            }
        }
        bytes
    }

    /// The bits that an index may hash: the mask, but of a range what its ends have in common at their front.
    pub fn hash_mask(&self, encoded: &Encoded) -> KeyWords {
        let mut mask = encoded.mask.clone();
        for field in self.fields.iter().filter(|f| f.kind == MatchKind::Range) {
            let part = field.part;
            let mut same = true;
            for i in (0..part.words()).rev() {
                let (low, high) = (
                    part.word_of(&encoded.value, i),
                    part.word_of(&encoded.mask, i),
                );
                let ones = part.ones_of(i);
                let equal = ones
                    & !u64::MAX
                        .checked_shr((low ^ high).leading_zeros())
                        .unwrap_or(0);
                if let Some(word) = mask.get_mut(part.word + i) {
                    *word &= !(ones << part.shift);
                    *word |= if same { equal } else { 0 } << part.shift;
                }
                same &= low == high;
            }
        }
        mask
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
        let mut value: KeyBytes = smallvec![0; self.len];
        let mut mask: KeyBytes = smallvec![0; self.len];
        for (i, (field, plan)) in fields.iter().zip(&self.fields).enumerate() {
            let at = plan.offset..plan.offset + plan.len;
            encode_field(i, plan, field, &mut value[at.clone()], &mut mask[at])?;
        }
        Ok(Encoded {
            value: self.pack(&value),
            mask: self.pack(&mask),
            priority,
        })
    }

    /// A stored match as fields; `mask` is not looked at for exact keys.
    pub fn decode<'a>(&self, value: &'a [u8], mask: &'a [u8]) -> SmallVec<[FieldMatch<'a>; 8]> {
        self.fields
            .iter()
            .map(|f| {
                let part =
                    |bytes: &'a [u8]| bytes.get(f.offset..f.offset + f.len).unwrap_or_default();
                match f.kind {
                    MatchKind::Exact => FieldMatch::Exact(part(value)),
                    MatchKind::Lpm => {
                        lpm(part(value), part(mask).iter().map(|b| b.count_ones()).sum())
                    }
                    MatchKind::Ternary => ternary(part(value), part(mask)),
                    MatchKind::Range => range(part(value), part(mask), f.width),
                    MatchKind::Optional if is_zero(part(mask)) => FieldMatch::DontCare,
                    MatchKind::Optional => FieldMatch::Optional(part(value)),
                }
            })
            .collect()
    }
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

/// Encodes one field into value and mask.
fn encode_field(
    i: usize,
    plan: &KeyField,
    field: &FieldMatch<'_>,
    value: &mut [u8],
    mask: &mut [u8],
) -> Result<(), TableError> {
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
    Ok(())
}

fn check_masked(field: usize, value: &[u8], mask: &[u8]) -> Result<(), TableError> {
    if value.iter().zip(mask).any(|(v, m)| v & !m != 0) {
        return Err(TableError::FieldMalformed { field });
    }
    Ok(())
}
