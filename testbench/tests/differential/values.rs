//! Values of a width in bits: small ones, large ones, noise, and those that were drawn before for the same width, so that what
//! packets carry is often what entries match.
//!
//! Invariant: a value has as many bytes as its width needs, and no bit above it.

use std::collections::BTreeMap;

use testbench::random::Random;

/// What was drawn.
#[derive(Default)]
pub struct Values(BTreeMap<u32, Vec<Vec<u8>>>);

impl Values {
    /// Remembers a value.
    pub fn note(&mut self, width: u32, value: &[u8]) {
        self.0.entry(width).or_default().push(value.to_vec());
    }

    /// A new value.
    pub fn draw(&self, random: &mut Random, width: u32) -> Vec<u8> {
        let bytes = width.div_ceil(8).max(1) as usize;
        let value = match random.below(20) {
            0..10 => self
                .0
                .get(&width)
                .and_then(|known| random.of(known).cloned())
                .unwrap_or_else(|| number(random.below(6) as u64, bytes)),
            10..15 => number(random.below(9) as u64, bytes),
            15 => vec![0xff; bytes],
            _ => random.bytes(bytes),
        };
        fit(value, width)
    }
}

/// A number in so many bytes.
pub fn number(value: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    for (to, from) in out.iter_mut().rev().zip(value.to_le_bytes()) {
        *to = from;
    }
    out
}

/// The value without bits above its width.
pub fn fit(mut value: Vec<u8>, width: u32) -> Vec<u8> {
    let spare = value.len() as u32 * 8 - width;
    if let Some(first) = value.first_mut() {
        *first &= 0xffu16.wrapping_shr(spare.min(8)) as u8;
    }
    value
}

/// A mask of leading ones.
pub fn prefix(length: u32, width: u32) -> Vec<u8> {
    let bytes = width.div_ceil(8).max(1);
    let above = bytes * 8 - width;
    let bit = |at: u32| u8::from(at >= above && at < above + length);
    (0..bytes)
        .map(|byte| (0..8).fold(0, |sum, at| sum << 1 | bit(byte * 8 + at)))
        .collect()
}

/// Bit by bit.
pub fn and(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a & b).collect()
}
