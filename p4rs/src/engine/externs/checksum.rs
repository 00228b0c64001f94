//! One's-complement sums (RFC 1071, RFC 1624).
//!
//! In: bytes in packet order. Out: 16-bit sums and checksums. Invariant: an odd tail counts as its byte and a zero.

/// Folds 32-bit words' sum into 16 bits, carries added back.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn raw_sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words
        .by_ref()
        .map(|w| u64::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    sum
}

/// The Internet checksum: complement of the one's-complement sum.
pub(crate) fn ones_complement(bytes: &[u8]) -> u16 {
    !fold(raw_sum(bytes))
}

/// A running sum, as `InternetChecksum` keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InternetSum(pub u16);

impl InternetSum {
    /// Adds data.
    pub fn add(self, bytes: &[u8]) -> Self {
        Self(fold(u64::from(self.0) + raw_sum(bytes)))
    }

    /// Takes data away.
    pub fn subtract(self, bytes: &[u8]) -> Self {
        Self(fold(u64::from(self.0) + u64::from(!fold(raw_sum(bytes)))))
    }

    /// The checksum: the sum's complement.
    pub fn get(self) -> u16 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(ones_complement(&header), 0);
        let mut cleared = header;
        cleared[10..12].fill(0);
        assert_eq!(ones_complement(&cleared), 0xb861);
        assert_eq!(ones_complement(&[1]), !0x0100);
    }

    #[test]
    fn incremental_update_equals_full_sum() {
        let before = [0x0a, 0x60, 0x00, 0x01, 0x12, 0x34];
        let after = [0x0a, 0xf4, 0x00, 0x05, 0x12, 0x34];
        let sum = InternetSum::default()
            .add(&before)
            .subtract(&before[..4])
            .add(&after[..4]);
        assert_eq!(sum.get(), ones_complement(&after));
    }
}
