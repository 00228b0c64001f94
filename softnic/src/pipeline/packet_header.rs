//! Controller headers: packet metadata of P4Runtime, and bits in front of a packet on the CPU port.
//!
//! In: a packet with its header, or the header's values. Out: the other. Fields are packed in wire order, most significant bit
//! first; hidden ones (padding) are zero on the way out and skipped on the way in.

use smallvec::SmallVec;

/// The shape of a controller header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderLayout {
    bytes: usize,
    /// First bit and width of each field that P4Info shows.
    fields: Vec<(usize, usize)>,
}

/// Values of a header's fields, each canonical.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata(SmallVec<[SmallVec<[u8; 16]>; 16]>);

impl Metadata {
    /// The values in header order.
    pub fn values(&self) -> SmallVec<[&[u8]; 16]> {
        self.0
            .iter()
            .map(|value| p4runtime::value::canonical(value))
            .collect()
    }
}

impl HeaderLayout {
    /// From ids (zero: hidden) and widths in wire order.
    pub fn new(fields: &[(u32, u32)]) -> Self {
        let mut at = 0;
        let mut shown = Vec::new();
        for &(id, width) in fields {
            let width = width as usize;
            if id != 0 {
                shown.push((at, width));
            }
            at += width;
        }
        Self {
            bytes: at.div_ceil(8),
            fields: shown,
        }
    }

    /// Takes the header off a packet; `None` if the packet is too short.
    pub fn split<'a>(&self, packet: &'a [u8]) -> Option<(Metadata, &'a [u8])> {
        let (header, payload) = packet.split_at_checked(self.bytes)?;
        let values = self
            .fields
            .iter()
            .map(|&(at, width)| take(header, at, width))
            .collect();
        Some((Metadata(values), payload))
    }

    /// Puts a header with these values in front of a packet; `None` if their number or a width does not fit.
    pub fn join(&self, payload: &[u8], values: &[&[u8]]) -> Option<Vec<u8>> {
        if values.len() != self.fields.len() {
            return None;
        }
        let mut packet = vec![0; self.bytes];
        for (&(at, width), value) in self.fields.iter().zip(values) {
            if p4runtime::value::bits(value) as usize > width {
                return None;
            }
            put(&mut packet, at, width, value);
        }
        packet.extend_from_slice(payload);
        Some(packet)
    }
}

/// Reads `width` bits from bit `at` on, right-aligned in whole bytes.
fn take(header: &[u8], at: usize, width: usize) -> SmallVec<[u8; 16]> {
    let length = width.div_ceil(8).max(1);
    let mut value: SmallVec<[u8; 16]> = smallvec::smallvec![0; length];
    for bit in 0..width {
        let from = at + width - 1 - bit;
        let set = header[from / 8] >> (7 - from % 8) & 1;
        value[length - 1 - bit / 8] |= set << (bit % 8);
    }
    value
}

/// Writes a value into `width` zero bits from bit `at` on.
fn put(header: &mut [u8], at: usize, width: usize, value: &[u8]) {
    for bit in 0..width.min(value.len() * 8) {
        let set = value[value.len() - 1 - bit / 8] >> (bit % 8) & 1;
        let to = at + width - 1 - bit;
        header[to / 8] |= set << (7 - to % 8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_packed_most_significant_bit_first_around_padding() {
        let layout = HeaderLayout::new(&[(1, 9), (0, 7), (2, 32)]);
        let packet = layout
            .join(b"rest", &[&[1, 0xff], &[0x12, 0x34, 0x56, 0x78]])
            .unwrap();
        assert_eq!(
            packet,
            [0xff, 0x80, 0x12, 0x34, 0x56, 0x78, b'r', b'e', b's', b't']
        );
        let (metadata, payload) = layout.split(&packet).unwrap();
        assert_eq!(payload, b"rest");
        assert_eq!(
            metadata.values().as_slice(),
            [&[1, 0xff][..], &[0x12, 0x34, 0x56, 0x78]]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let layout = HeaderLayout::new(&[(1, 9), (0, 7)]);
        assert!(layout.join(b"", &[&[2, 0]]).is_none());
        assert!(layout.join(b"", &[]).is_none());
        assert!(layout.split(b"x").is_none());
    }

    proptest! {
        #[test]
        fn split_undoes_join(widths in proptest::collection::vec(1u32..70, 1..8), seed: u64, payload: Vec<u8>) {
            let fields: Vec<_> = widths.iter().enumerate().map(|(i, &w)| (i as u32 + 1, w)).collect();
            let layout = HeaderLayout::new(&fields);
            let values: Vec<Vec<u8>> = widths.iter().map(|&w| {
                let mask = if w >= 64 { u64::MAX } else { (1 << w) - 1 };
                (seed & mask).to_be_bytes().to_vec()
            }).collect();
            let borrowed: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let packet = layout.join(&payload, &borrowed).unwrap();
            let (metadata, rest) = layout.split(&packet).unwrap();
            prop_assert_eq!(rest, &payload[..]);
            for (got, given) in metadata.values().iter().zip(&borrowed) {
                prop_assert_eq!(*got, p4runtime::value::canonical(given));
            }
        }
    }
}
