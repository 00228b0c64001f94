//! Bit strings: masks, sign extension, reads and writes at any bit offset, conversion between words and bytes.
//!
//! In: values as `u128` words, least significant word first, and byte slices in network order. Out: the other form.
//! Invariant: a word holds no bit above its value's width; reading beyond the end of a slice yields zeros.

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{One, Zero};

/// Bits in one word.
pub(crate) const WORD: u32 = 128;

/// The lowest `width` bits set.
pub(crate) const fn mask(width: u32) -> u128 {
    if width >= WORD {
        u128::MAX
    } else {
        (1 << width) - 1
    }
}

/// Words that hold `width` bits; at least one.
pub(crate) const fn words(width: u32) -> u32 {
    if width <= WORD {
        1
    } else {
        width.div_ceil(WORD)
    }
}

/// The two's complement value of the lowest `width` bits.
pub(crate) const fn sign_extend(value: u128, width: u32) -> i128 {
    if width == 0 {
        return 0;
    }
    if width >= WORD {
        return value as i128;
    }
    let shift = WORD - width;
    ((value << shift) as i128) >> shift
}

/// Up to 128 bits of `bytes` from bit `at` on.
pub(crate) fn read(bytes: &[u8], at: usize, width: u32) -> u128 {
    if width == 0 {
        return 0;
    }
    let first = at / 8;
    let skip = (at % 8) as u32;
    if let (0, Some(taken)) = (
        width % 8 + skip,
        bytes.get(first..first + (width / 8) as usize),
    ) {
        return taken.iter().fold(0, |sum, &b| sum << 8 | u128::from(b));
    }
    let byte = |i: usize| u128::from(bytes.get(i).copied().unwrap_or(0));
    let total = skip + width;
    let whole = (total / 8) as usize;
    let mut sum = byte(first) & (0xff >> skip);
    if total <= 8 {
        return sum >> (8 - total);
    }
    for i in 1..whole {
        sum = sum << 8 | byte(first + i);
    }
    let rest = total % 8;
    if rest > 0 {
        sum = sum << rest | byte(first + whole) >> (8 - rest);
    }
    sum
}

/// A growing bit string.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used of the last byte; 0 when it is full.
    used: u32,
}

impl BitWriter {
    /// Starts anew, keeping the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.used = 0;
    }

    /// What was written, the tail padded with zero bits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bits written so far.
    #[cfg(test)]
    pub fn bit_len(&self) -> usize {
        if self.used == 0 {
            self.bytes.len() * 8
        } else {
            (self.bytes.len() - 1) * 8 + self.used as usize
        }
    }

    /// Appends the lowest `width` (up to 128) bits.
    pub fn put(&mut self, value: u128, width: u32) {
        if self.used == 0 && width.is_multiple_of(8) {
            let all = value.to_be_bytes();
            self.bytes
                .extend_from_slice(&all[all.len() - (width / 8) as usize..]);
            return;
        }
        let mut left = width;
        while left > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let room = 8 - self.used;
            let take = room.min(left);
            let piece = (value >> (left - take)) & mask(take);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece as u8) << (room - take);
            }
            self.used = (self.used + take) % 8;
            left -= take;
        }
    }

    /// Appends a value of `width` bits kept in words.
    pub fn put_words(&mut self, words: &[u128], width: u32) {
        if width <= WORD {
            self.put(words.first().copied().unwrap_or(0), width);
            return;
        }
        let mut left = width;
        while left > 0 {
            let top = (left - 1) / WORD;
            let take = left - top * WORD;
            self.put(words.get(top as usize).copied().unwrap_or(0), take);
            left -= take;
        }
    }

    /// Appends whole bytes.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        if self.used == 0 {
            self.bytes.extend_from_slice(bytes);
        } else {
            bytes.iter().for_each(|&b| self.put(u128::from(b), 8));
        }
    }
}

/// Reads `width` bits into words.
pub(crate) fn read_words(bytes: &[u8], at: usize, width: u32, to: &mut [u128]) {
    let mut end = at + width as usize;
    let mut left = width;
    for word in to.iter_mut() {
        let take = left.min(WORD);
        end -= take as usize;
        *word = read(bytes, end, take);
        left -= take;
    }
}

/// Big-endian bytes of a value kept in words: `ceil(width / 8)` of them, at least one.
pub(crate) fn words_to_bytes(words: &[u128], width: u32) -> Vec<u8> {
    let len = width.div_ceil(8).max(1) as usize;
    let mut bytes = vec![0; len];
    for (i, byte) in bytes.iter_mut().rev().enumerate() {
        *byte = words
            .get(i / 16)
            .map_or(0, |word| (word >> (i % 16 * 8)) as u8);
    }
    bytes
}

/// Words of 64 bits, least significant first, as words.
pub(crate) fn widen(narrow: impl IntoIterator<Item = u64>, to: &mut [u128]) {
    let mut narrow = narrow.into_iter();
    for word in to {
        let low = u128::from(narrow.next().unwrap_or(0));
        *word = low | u128::from(narrow.next().unwrap_or(0)) << 64;
    }
}

/// Words as words of 64 bits, least significant first.
pub(crate) fn narrow(words: &[u128]) -> impl Iterator<Item = u64> + '_ {
    words
        .iter()
        .flat_map(|&word| [word as u64, (word >> 64) as u64])
}

/// Whether a big-endian number of any length fits `width` bits.
pub(crate) fn fits(bytes: &[u8], width: u32) -> bool {
    let significant = bytes.iter().position(|&b| b != 0).map_or(0, |first| {
        (bytes.len() - first) * 8 - bytes[first].leading_zeros() as usize
    });
    significant <= width as usize
}

/// A big-endian number of any length as words; `None` when it does not fit.
pub(crate) fn bytes_to_words(bytes: &[u8], width: u32) -> Option<Vec<u128>> {
    if !fits(bytes, width) {
        return None;
    }
    let mut out = vec![0u128; words(width) as usize];
    for (i, &byte) in bytes.iter().rev().enumerate() {
        if let Some(word) = out.get_mut(i / 16) {
            *word |= u128::from(byte) << (i % 16 * 8);
        }
    }
    Some(out)
}

/// Words as an unsigned number.
pub(crate) fn to_biguint(words: &[u128]) -> BigUint {
    let digits = words.iter().flat_map(|w| {
        [
            *w as u32,
            (w >> 32) as u32,
            (w >> 64) as u32,
            (w >> 96) as u32,
        ]
    });
    BigUint::new(digits.collect())
}

/// Words as a two's complement number of `width` bits.
pub(crate) fn to_bigint(words: &[u128], width: u32, signed: bool) -> BigInt {
    let value = to_biguint(words);
    let negative = signed && width > 0 && value.bit(u64::from(width) - 1);
    let value = BigInt::from_biguint(Sign::Plus, value);
    if negative {
        value - (BigInt::one() << width)
    } else {
        value
    }
}

/// A number modulo 2^width, as words.
pub(crate) fn from_bigint(value: &BigInt, width: u32, to: &mut [u128]) {
    let modulus = BigInt::one() << width;
    let mut value = value % &modulus;
    if value.sign() == Sign::Minus {
        value += modulus;
    }
    if value.is_zero() {
        to.fill(0);
        return;
    }
    let digits = value.magnitude().to_u64_digits();
    for (i, word) in to.iter_mut().enumerate() {
        let part = |j: usize| u128::from(digits.get(2 * i + j).copied().unwrap_or(0));
        *word = part(0) | part(1) << 64;
    }
}

/// A number modulo 2^width as one word (width up to 128).
pub(crate) fn word_of(value: &BigInt, width: u32) -> u128 {
    let mut word = [0];
    from_bigint(value, width, &mut word);
    word[0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn masks_and_signs() {
        assert_eq!(mask(0), 0);
        assert_eq!(mask(128), u128::MAX);
        assert_eq!(sign_extend(0x80, 8), -128);
        assert_eq!(sign_extend(0x7f, 8), 127);
        assert_eq!(sign_extend(u128::MAX, 128), -1);
        assert!(fits(&[0, 0, 1], 1) && !fits(&[2], 1) && fits(&[], 0));
    }

    proptest! {
        #[test]
        fn reads_what_was_written(parts in prop::collection::vec((any::<u128>(), 0u32..=128), 0..20)) {
            let mut writer = BitWriter::default();
            for &(value, width) in &parts {
                writer.put(value & mask(width), width);
            }
            let mut at = 0;
            for &(value, width) in &parts {
                prop_assert_eq!(read(writer.bytes(), at, width), value & mask(width));
                at += width as usize;
            }
            prop_assert_eq!(writer.bit_len(), at);
        }

        #[test]
        fn wide_values_survive(value in prop::collection::vec(any::<u8>(), 40), width in 129u32..=320, shift in 0usize..8) {
            let words = bytes_to_words(&value, 320).unwrap();
            let mut cut = vec![0; words_count(width)];
            from_bigint(&to_bigint(&words, 320, true), width, &mut cut);
            let mut writer = BitWriter::default();
            writer.put(0, shift as u32);
            writer.put_words(&cut, width);
            let mut back = vec![0; cut.len()];
            read_words(writer.bytes(), shift, width, &mut back);
            prop_assert_eq!(&back, &cut);
            prop_assert_eq!(bytes_to_words(&words_to_bytes(&cut, width), width).unwrap(), cut);
        }
    }

    fn words_count(width: u32) -> usize {
        words(width) as usize
    }
}
