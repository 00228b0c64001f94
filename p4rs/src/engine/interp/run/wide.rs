//! Numbers above 128 bits.
//!
//! In: words, operations. Out: words. Invariant: results are taken modulo 2^width.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::super::super::bits;
use super::super::code::{Number, Op, Operand, Slot, WideKind, WideOp};
use super::{Run, Stop};

/// 128 bits from bit `lo` on.
pub(super) fn get_word(words: &[u128], lo: u32) -> u128 {
    let (index, shift) = ((lo / bits::WORD) as usize, lo % bits::WORD);
    let low = words.get(index).copied().unwrap_or(0) >> shift;
    let high = words.get(index + 1).copied().unwrap_or(0);
    low | high.checked_shl(bits::WORD - shift).unwrap_or(0)
}

/// Replaces bits `hi` down to `lo`.
pub(super) fn set_bits(words: &mut [u128], hi: u32, lo: u32, value: &[u128]) {
    let mut at = lo;
    for (i, &word) in value.iter().enumerate() {
        let left = (hi + 1)
            .saturating_sub(lo + i as u32 * bits::WORD)
            .min(bits::WORD);
        let mut done = 0;
        while done < left {
            let (index, shift) = ((at / bits::WORD) as usize, at % bits::WORD);
            let take = (bits::WORD - shift).min(left - done);
            if let Some(to) = words.get_mut(index) {
                let mask = bits::mask(take);
                *to = (*to & !(mask << shift)) | (((word >> done) & mask) << shift);
            }
            done += take;
            at += take;
        }
    }
}

impl Run<'_, '_> {
    pub(super) fn number(&mut self, number: &Number, signed: bool) -> Result<BigInt, Stop> {
        Ok(match &number.value {
            Operand::One(ex) => bits::to_bigint(&[self.eval(ex)?], number.width, signed),
            Operand::Many(agg, slots) => {
                let address = self.eval_agg(agg)?;
                bits::to_bigint(self.words(address, *slots), number.width, signed)
            }
        })
    }

    pub(super) fn wide_op(&mut self, op: &WideOp) -> Result<Slot, Stop> {
        let result = match &op.kind {
            WideKind::Cast(value) => self.number(value, value.signed)?,
            WideKind::Neg(value) => -self.number(value, value.signed)?,
            WideKind::BitNot(value) => -self.number(value, value.signed)? - 1,
            WideKind::Slice { value, lo } => self.number(value, false)? >> *lo,
            WideKind::Bin(Op::Concat, a, b) => {
                let high = self.number(a, false)? << b.width;
                high + self.number(b, false)?
            }
            WideKind::Bin(code, a, b) => {
                let left = self.number(a, a.signed)?;
                let right = self.number(b, b.signed)?;
                arithmetic(*code, left, right, op.width, op.signed)
            }
        };
        let to = self.words_mut(op.temp, bits::words(op.width));
        bits::from_bigint(&result, op.width, to);
        Ok(op.temp)
    }
}

fn arithmetic(op: Op, a: BigInt, b: BigInt, width: u32, signed: bool) -> BigInt {
    let clamp = |value: BigInt| {
        let (min, max) = if signed {
            let half = BigInt::one() << width.saturating_sub(1);
            (-half.clone(), half - 1)
        } else {
            (BigInt::zero(), (BigInt::one() << width) - 1)
        };
        value.clamp(min, max)
    };
    match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a * b,
        Op::Div if !b.is_zero() => a / b,
        Op::Mod if !b.is_zero() => a % b,
        Op::SatAdd => clamp(a + b),
        Op::SatSub => clamp(a - b),
        Op::Shl => match b.to_u32().filter(|&by| by < width) {
            Some(by) => a << by,
            None => BigInt::zero(),
        },
        Op::Shr => match b.to_u32().filter(|&by| by < width) {
            Some(by) => a >> by,
            None if a.is_negative() => BigInt::from(-1),
            None => BigInt::zero(),
        },
        Op::BitAnd => a & b,
        Op::BitOr => a | b,
        Op::BitXor => a ^ b,
        _ => BigInt::zero(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_across_words() {
        let mut words = [0u128; 3];
        set_bits(&mut words, 199, 100, &[u128::MAX]);
        assert_eq!(words, [u128::MAX << 100, bits::mask(72), 0]);
        assert_eq!(get_word(&words, 100) & bits::mask(101), bits::mask(100));
        set_bits(&mut words, 299, 120, &[0, 0]);
        assert_eq!(words, [bits::mask(20) << 100, 0, 0]);
    }

    #[test]
    fn shifts_and_saturation() {
        let big: BigInt = BigInt::one() << 150;
        assert_eq!(
            arithmetic(Op::Shr, big.clone(), BigInt::from(150), 160, false),
            BigInt::one()
        );
        assert_eq!(
            arithmetic(Op::Shl, big.clone(), BigInt::from(1000), 160, false),
            BigInt::zero()
        );
        assert_eq!(
            arithmetic(Op::SatSub, BigInt::zero(), big.clone(), 160, false),
            BigInt::zero()
        );
        assert_eq!(
            arithmetic(Op::Shr, -big, BigInt::from(1000), 160, true),
            BigInt::from(-1)
        );
        assert_eq!(
            arithmetic(Op::Div, BigInt::one(), BigInt::zero(), 160, false),
            BigInt::zero()
        );
    }
}
