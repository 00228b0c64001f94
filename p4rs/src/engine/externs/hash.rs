//! The hash functions of v1model and PNA, over a big-endian packed bit string padded with zero bits.
//!
//! In: an algorithm and bytes. Out: the hash as an integer. Invariant: equal bytes hash equally in every run.

use super::checksum::ones_complement;

/// A hash algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashAlgorithm {
    /// CRC-32 (polynomial 04C11DB7 reflected, all ones in and out).
    Crc32,
    /// CRC-16 (polynomial 8005 reflected, start 0).
    Crc16,
    /// One's-complement checksum.
    Csum16,
    /// Exclusive or of 16-bit words.
    Xor16,
    /// The first eight bytes as an integer.
    Identity,
    /// Toeplitz with the well-known RSS key.
    Toeplitz,
}

impl HashAlgorithm {
    /// The algorithm of an enum member of `HashAlgorithm` (v1model) or `PNA_HashAlgorithm_t`. The custom CRCs have
    /// the standard parameters, as in the reference switch until someone changes them.
    pub fn by_name(member: &str) -> Option<Self> {
        Some(match member {
            "crc32" | "crc32_custom" | "CRC32" | "CRC32_CUSTOM" | "TARGET_DEFAULT" => Self::Crc32,
            "crc16" | "crc16_custom" | "CRC16" | "CRC16_CUSTOM" => Self::Crc16,
            "csum16" | "ONES_COMPLEMENT16" => Self::Csum16,
            "xor16" => Self::Xor16,
            "identity" | "IDENTITY" => Self::Identity,
            "TOEPLITZ" => Self::Toeplitz,
            _ => return None,
        })
    }

    /// Hashes packed bytes.
    pub fn hash(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Crc32 => u64::from(crc32(bytes)),
            Self::Crc16 => u64::from(crc16(bytes)),
            Self::Csum16 => u64::from(ones_complement(bytes)),
            Self::Xor16 => u64::from(xor16(bytes)),
            Self::Identity => bytes
                .iter()
                .take(8)
                .fold(0, |sum, &b| sum << 8 | u64::from(b)),
            Self::Toeplitz => u64::from(Toeplitz::hash(bytes)),
        }
    }
}

const fn crc_table(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ polynomial
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

/// 8005 with its bits reversed.
static CRC16: [u32; 256] = crc_table(0xa001);

/// 04C11DB7 with its bits reversed; table `i` is for a byte that `i` more follow.
static CRC32: [[u32; 256]; 8] = {
    let first = crc_table(0xedb8_8320);
    let mut tables = [first; 8];
    let mut i = 256;
    while i < 8 * 256 {
        let before = tables[i / 256 - 1][i % 256];
        tables[i / 256][i % 256] = (before >> 8) ^ first[(before & 0xff) as usize];
        i += 1;
    }
    tables
};

/// A step of CRC-32 as machine code takes it: eight bytes, first byte lowest, combined by exclusive or with the remainder
/// before them; the remainder behind them. Safe to call on the processor that [`crc32_step`] was asked on.
pub(crate) type CrcStep = unsafe extern "C" fn(u64) -> u64;

/// Eight bytes of CRC-32 by tables.
extern "C" fn step_by_tables(word: u64) -> u64 {
    let tables = CRC32.iter().rev().zip(word.to_le_bytes());
    u64::from(tables.fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)]))
}

/// The fastest step that this processor has.
pub(crate) fn crc32_step() -> CrcStep {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(step) = product::step() {
        return step;
    }
    step_by_tables
}

/// A step of CRC-32 by products without carries.
///
/// As polynomials, lowest bit first, a step's remainder is what the word times x^32 leaves of the divisor: the quotient is
/// the upper part of the word times x^96 / divisor, the remainder the part of quotient times divisor below x^32.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unsafe_code)]
mod product {
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set_epi64x,
        _mm_unpackhi_epi64,
    };

    use super::CrcStep;

    /// The divisor, bits reversed: that of x^32 lowest.
    const DIVISOR: u64 = 0xedb8_8320 << 1 | 1;
    /// x^96 / divisor, bits reversed, all but the last one.
    const INVERSE: u64 = {
        // Long division of the power series, from the highest power on.
        let (mut rest, mut quotient, mut bit) = (1u128, 0, 0);
        while bit < 64 {
            if rest & 1 == 1 {
                quotient |= 1 << bit;
                rest ^= DIVISOR as u128;
            }
            rest >>= 1;
            bit += 1;
        }
        quotient
    };

    /// The step, where the processor has such products.
    pub fn step() -> Option<CrcStep> {
        is_x86_feature_detected!("pclmulqdq").then_some(step_by_products as CrcStep)
    }

    #[target_feature(enable = "pclmulqdq")]
    extern "C" fn step_by_products(word: u64) -> u64 {
        let by = _mm_set_epi64x(DIVISOR.cast_signed(), INVERSE.cast_signed());
        let quotient = _mm_clmulepi64_si128::<0x00>(_mm_cvtsi64_si128(word.cast_signed()), by);
        let product = _mm_clmulepi64_si128::<0x10>(quotient, by);
        let upper = _mm_cvtsi128_si64(_mm_unpackhi_epi64(product, product));
        upper.cast_unsigned() & u64::from(u32::MAX)
    }
}

/// Eight bytes at a time.
fn crc32(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks();
    let crc = words.iter().fold(u32::MAX, |crc, &word| {
        step_by_tables(u64::from_le_bytes(word) ^ u64::from(crc)) as u32
    });
    !rest.iter().fold(crc, |crc, &byte| {
        (crc >> 8) ^ CRC32[0][usize::from(crc as u8 ^ byte)]
    })
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u32, |crc, &b| {
        (crc >> 8) ^ CRC16[((crc ^ u32::from(b)) & 0xff) as usize]
    }) as u16
}

fn xor16(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0, |sum, w| {
        sum ^ u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])
    })
}

/// The Toeplitz hash of receive-side scaling.
pub(crate) struct Toeplitz;

impl Toeplitz {
    /// The key in Microsoft's RSS verification suite, which drivers use as their default.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    /// Hashes bytes; the key repeats for input longer than it.
    pub fn hash(bytes: &[u8]) -> u32 {
        let key = |i: usize| Self::KEY[i % Self::KEY.len()];
        let mut window = u32::from_be_bytes([key(0), key(1), key(2), key(3)]);
        let mut hash = 0;
        for (i, byte) in bytes.iter().enumerate() {
            let next = key(i + 4);
            for bit in (0..8).rev() {
                if byte >> bit & 1 == 1 {
                    hash ^= window;
                }
                window = window << 1 | u32::from(next >> bit & 1);
            }
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        // The "check" column of the CRC catalogue: CRC-32/ISO-HDLC and CRC-16/ARC over "123456789".
        assert_eq!(HashAlgorithm::Crc32.hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(HashAlgorithm::Crc16.hash(b"123456789"), 0xbb3d);
        assert_eq!(HashAlgorithm::Xor16.hash(&[0x12, 0x34, 0x56]), 0x4434);
        assert_eq!(HashAlgorithm::Identity.hash(&[1, 2, 3]), 0x01_0203);
        assert_eq!(HashAlgorithm::Csum16.hash(&[0, 1, 0, 2]), 0xfffc);
    }

    #[test]
    fn crc_of_any_length_is_that_of_its_bits() {
        let bytes: Vec<u8> = (0..40).map(|i| i * 5 + 3).collect();
        for length in 0..bytes.len() {
            let bits = bytes[..length].iter().fold(u32::MAX, |crc, &byte| {
                (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                    (crc >> 1) ^ ((crc & 1) * 0xedb8_8320)
                })
            });
            assert_eq!(crc32(&bytes[..length]), !bits, "{length} bytes");
        }
    }

    #[test]
    fn every_way_to_take_a_step_leaves_the_same() {
        let step = crc32_step();
        let words = (0..64).map(|bit| 1 << bit);
        let mixed = (0..1000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for word in words.chain(mixed).chain([u64::MAX, 0]) {
            // SAFETY: the step is this processor's.
            #[allow(unsafe_code)]
            let left = unsafe { step(word) };
            assert_eq!(left, step_by_tables(word), "{word:x}");
        }
    }

    #[test]
    fn rss_verification_suite() {
        // 66.9.149.187:2794 to 161.142.100.80:1766, IPv4 with and without ports.
        let tuple = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(Toeplitz::hash(&tuple[..8]), 0x323e_8fc2);
        assert_eq!(Toeplitz::hash(&tuple), 0x51cc_c178);
        assert_eq!(HashAlgorithm::by_name("nothing"), None);
    }
}
