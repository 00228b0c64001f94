//! Values on the wire: byte strings in big-endian order without leading zero bytes.
//!
//! In: bytes of any length from a peer with the width from P4Info, or an integer. Out: the canonical (shortest) form,
//! at least one byte long, or why there is none. A width never comes from a byte length.
//! Source: P4Runtime specification, section "Bytestrings".

/// Why bytes are not a value of the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// No bytes at all; zero is one zero byte.
    #[error("the byte string is empty")]
    Empty,
    /// A bit above the width is set.
    #[error("the value needs {needed} bits, {width} are there")]
    OutOfRange {
        /// Bits that the value needs.
        needed: u32,
        /// Bits that the field has.
        width: u32,
    },
    /// The value is fine but larger than the integer asked for.
    #[error("the value needs {needed} bits, more than the integer it is read into")]
    TooWide {
        /// Bits that the value needs.
        needed: u32,
    },
}

/// The shortest form of `bytes`: a slice of the input, one zero byte for zero.
///
/// The width is not looked at; an empty input stays empty.
pub fn canonical(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros.min(bytes.len().saturating_sub(1))..]
}

/// Number of bits up to the highest set one.
pub fn bits(bytes: &[u8]) -> u32 {
    let short = canonical(bytes);
    match short.first() {
        Some(first) => 8 - first.leading_zeros() + 8 * (short.len() as u32 - 1),
        None => 0,
    }
}

/// Checks that `bytes` is a value of `width` bits and returns its shortest form.
pub fn check(bytes: &[u8], width: u32) -> Result<&[u8], ValueError> {
    if bytes.is_empty() {
        return Err(ValueError::Empty);
    }
    let needed = bits(bytes);
    if needed > width {
        return Err(ValueError::OutOfRange { needed, width });
    }
    Ok(canonical(bytes))
}

/// The canonical form of an integer that must fit `width` bits.
pub fn from_u128(value: u128, width: u32) -> Result<Vec<u8>, ValueError> {
    check(&value.to_be_bytes(), width).map(<[u8]>::to_vec)
}

/// The canonical form of an integer that must fit `width` bits.
pub fn from_u64(value: u64, width: u32) -> Result<Vec<u8>, ValueError> {
    check(&value.to_be_bytes(), width).map(<[u8]>::to_vec)
}

/// Reads an integer; any number of leading zero bytes is accepted.
pub fn to_u128(bytes: &[u8]) -> Result<u128, ValueError> {
    if bytes.is_empty() {
        return Err(ValueError::Empty);
    }
    let short = canonical(bytes);
    if short.len() > 16 {
        return Err(ValueError::TooWide {
            needed: bits(short),
        });
    }
    Ok(short
        .iter()
        .fold(0, |value, byte| value << 8 | u128::from(*byte)))
}

/// Reads an integer; any number of leading zero bytes is accepted.
pub fn to_u64(bytes: &[u8]) -> Result<u64, ValueError> {
    let value = to_u128(bytes)?;
    u64::try_from(value).map_err(|_| ValueError::TooWide {
        needed: bits(bytes),
    })
}

/// Writes the value right-aligned into `out`, zeros before it; bytes that do not fit are an error.
pub fn pad_into(bytes: &[u8], out: &mut [u8]) -> Result<(), ValueError> {
    if bytes.is_empty() {
        return Err(ValueError::Empty);
    }
    let short = canonical(bytes);
    let width = out.len() as u32 * 8;
    let Some(start) = out.len().checked_sub(short.len()) else {
        return Err(ValueError::OutOfRange {
            needed: bits(short),
            width,
        });
    };
    out[..start].fill(0);
    out[start..].copy_from_slice(short);
    Ok(())
}

/// Whether every bit of a value of `width` bits is one.
pub fn is_all_ones(bytes: &[u8], width: u32) -> bool {
    let short = canonical(bytes);
    bits(short) == width && short.iter().map(|b| b.count_ones()).sum::<u32>() == width
}

/// Whether `value` has no bit outside `mask`; both aligned at their last byte.
pub fn is_within(value: &[u8], mask: &[u8]) -> bool {
    let mut mask = mask.iter().rev();
    value
        .iter()
        .rev()
        .all(|v| v & !mask.next().copied().unwrap_or(0) == 0)
}

/// Whether the lowest `count` bits are zero.
pub fn low_bits_clear(bytes: &[u8], count: u32) -> bool {
    let mut left = count;
    for byte in bytes.iter().rev() {
        if left == 0 {
            return true;
        }
        let here = left.min(8);
        if u32::from(*byte) & ((1 << here) - 1) != 0 {
            return false;
        }
        left -= here;
    }
    true
}

/// Compares two canonical values as numbers.
pub fn compare(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let (a, b) = (canonical(a), canonical(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// The mask of a prefix: `prefix` ones, then zeros, in `width` bits; canonical.
pub fn prefix_mask(prefix: u32, width: u32) -> Vec<u8> {
    let mut bytes = vec![0; width.div_ceil(8) as usize];
    for bit in width.saturating_sub(prefix)..width {
        let at = bytes.len() - 1 - (bit / 8) as usize;
        bytes[at] |= 1 << (bit % 8);
    }
    canonical(&bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shortest_form() {
        for (given, expected) in [
            (&[0u8][..], &[0u8][..]),
            (&[0, 0], &[0]),
            (&[0, 1], &[1]),
            (&[1, 0], &[1, 0]),
            (&[], &[]),
        ] {
            assert_eq!(canonical(given), expected);
        }
        assert_eq!(check(&[0, 0, 0x7f], 7), Ok(&[0x7f][..]));
        assert_eq!(
            check(&[0x80], 7),
            Err(ValueError::OutOfRange {
                needed: 8,
                width: 7
            })
        );
        assert_eq!(check(&[], 7), Err(ValueError::Empty));
        assert_eq!(
            from_u64(256, 8),
            Err(ValueError::OutOfRange {
                needed: 9,
                width: 8
            })
        );
        assert_eq!(
            to_u64(&[1, 0, 0, 0, 0, 0, 0, 0, 0]),
            Err(ValueError::TooWide { needed: 65 })
        );
    }

    #[test]
    fn masks() {
        assert_eq!(prefix_mask(20, 32), [0xff, 0xff, 0xf0, 0]);
        assert_eq!(prefix_mask(0, 32), [0]);
        assert_eq!(prefix_mask(9, 9), [1, 0xff]);
        assert!(is_all_ones(&[1, 0xff], 9));
        assert!(!is_all_ones(&[0xff], 9));
        assert!(is_within(&[0x0f], &[1, 0x0f]));
        assert!(!is_within(&[2, 0x0f], &[1, 0x0f]));
        assert!(low_bits_clear(&[10, 0, 0, 0], 24) && !low_bits_clear(&[10, 0, 1, 0], 24));
        assert!(low_bits_clear(&[0], 32));
        let mut out = [9; 4];
        pad_into(&[0, 0, 0, 0, 1, 2], &mut out).unwrap();
        assert_eq!(out, [0, 0, 1, 2]);
        assert!(pad_into(&[1, 0, 0, 0, 0], &mut out).is_err());
    }

    proptest! {
        #[test]
        fn round_trip(value: u128) {
            let bytes = from_u128(value, 128).unwrap();
            prop_assert_eq!(to_u128(&bytes), Ok(value));
            prop_assert_eq!(bits(&bytes), 128 - value.leading_zeros());
            prop_assert!(bytes.len() == 1 || bytes[0] != 0);
        }

        #[test]
        fn order(a: u128, b: u128) {
            prop_assert_eq!(compare(&from_u128(a, 128).unwrap(), &b.to_be_bytes()), a.cmp(&b));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>, width in 1u32..300) {
            match check(&bytes, width) {
                Ok(short) => prop_assert!(bits(short) <= width && !short.is_empty()),
                Err(ValueError::Empty) => prop_assert!(bytes.is_empty()),
                Err(_) => prop_assert!(bits(&bytes) > width),
            }
        }
    }
}
