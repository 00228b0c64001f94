//! Where the transport header of a frame is, and its checksum.
//!
//! In: an Ethernet frame whose TCP, UDP or SCTP checksum may be unfinished. Out: the frame with the checksum of RFC 9293,
//! RFC 768 or RFC 9260. Anything else is left as it is.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::Offload;

const ETHERNET: usize = 14;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const SCTP: u8 = 132;

/// CRC32c, which SCTP uses.
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Adds big-endian words up, four bytes at a time: 2³² is 1 modulo 2¹⁶ - 1.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words
        .iter()
        .fold(sum, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    rest.iter()
        .zip([24, 16, 8])
        .fold(sum, |sum, (&byte, shift)| sum + (u64::from(byte) << shift))
}

/// The sum in 16 bits, not complemented.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of an IPv4 header whose checksum field is zero.
pub(super) fn header(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// Where the network header begins, behind any VLAN tags, and its EtherType.
fn network(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = ETHERNET;
    let mut kind = word(frame, at - 2)?;
    while matches!(kind, 0x8100 | 0x88a8) {
        at += 4;
        kind = word(frame, at - 2)?;
    }
    Some((kind, at))
}

/// A transport header behind IPv4 or IPv6, all of it in the frame, no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    /// Where the network header begins.
    pub network: usize,
    /// It is IPv6.
    pub v6: bool,
    /// IP protocol number.
    pub protocol: u8,
    /// Where the transport header begins.
    pub start: usize,
    /// Where its payload ends.
    pub end: usize,
    addresses: u64,
}

impl Transport {
    /// Finds it.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (kind, network) = network(frame)?;
        let found = match kind {
            0x0800 => Self::v4(frame, network)?,
            0x86dd => Self::v6(frame, network)?,
            _ => return None,
        };
        (found.start <= found.end && found.end <= frame.len()).then_some(found)
    }

    fn v4(frame: &[u8], network: usize) -> Option<Self> {
        let header = usize::from(frame.get(network)? & 0x0f) * 4;
        let total = usize::from(word(frame, network + 2)?);
        let fragment = word(frame, network + 6)? & 0x3fff;
        let addresses = frame.get(network + 12..network + 20)?;
        (header >= 20 && fragment == 0).then(|| Self {
            network,
            v6: false,
            protocol: frame[network + 9],
            start: network + header,
            end: network + total,
            addresses: add(0, addresses),
        })
    }

    fn v6(frame: &[u8], network: usize) -> Option<Self> {
        let length = usize::from(word(frame, network + 4)?);
        let addresses = frame.get(network + 8..network + 40)?;
        let (mut protocol, mut start) = (frame[network + 6], network + 40);
        // Hop-by-hop options, routing header, destination options (RFC 8200).
        while matches!(protocol, 0 | 43 | 60) {
            protocol = *frame.get(start)?;
            start += (usize::from(*frame.get(start + 1)?) + 1) * 8;
        }
        Some(Self {
            network,
            v6: true,
            protocol,
            start,
            end: network + 40 + length,
            addresses: add(0, addresses),
        })
    }

    /// Where the 16-bit checksum of TCP or UDP is, if it is in the frame.
    pub fn field(&self) -> Option<usize> {
        let field = self.start
            + match self.protocol {
                TCP => 16,
                UDP => 6,
                _ => return None,
            };
        (field + 2 <= self.end).then_some(field)
    }

    /// The sum over the pseudo header, not complemented: what an unfinished checksum field holds.
    pub fn pseudo(&self) -> u16 {
        fold(self.addresses + u64::from(self.protocol) + (self.end - self.start) as u64)
    }
}

/// The packet whose checksum is unfinished, and the one around it if the program put it into a tunnel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers {
    /// What is unfinished.
    pub inner: Transport,
    /// What is around it.
    pub outer: Option<Transport>,
}

impl Layers {
    /// Finds the transport header that the offload is about.
    pub fn of(frame: &[u8], offload: Offload) -> Option<Self> {
        let first = Transport::of(frame)?;
        let start = frame.len().checked_sub(offload.behind)?;
        if first.start == start {
            return Some(Self {
                inner: first,
                outer: None,
            });
        }
        let network = start.checked_sub(offload.network)?;
        let inner = match frame.get(network)? >> 4 {
            4 => Transport::v4(frame, network)?,
            _ => Transport::v6(frame, network)?,
        };
        let sound = network > first.start && inner.start == start && inner.end <= frame.len();
        sound.then_some(Self {
            inner,
            outer: Some(first),
        })
    }
}

/// Writes the full checksum into the frame; `false` if there is none to write.
pub(super) fn complete(frame: &mut [u8]) -> bool {
    Transport::of(frame).is_some_and(|transport| complete_in(frame, &transport))
}

/// The same for a transport header that was found in the frame before.
pub(super) fn complete_in(frame: &mut [u8], transport: &Transport) -> bool {
    if transport.protocol == SCTP {
        return complete_sctp(&mut frame[transport.start..transport.end]);
    }
    let Some(field) = transport.field() else {
        return false;
    };
    frame[field..field + 2].fill(0);
    let segment = &frame[transport.start..transport.end];
    let sum = !fold(add(u64::from(transport.pseudo()), segment));
    // Zero means "none" in UDP, so that a computed zero is sent as all ones.
    let sum = if transport.protocol == UDP && sum == 0 {
        0xffff
    } else {
        sum
    };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

fn complete_sctp(packet: &mut [u8]) -> bool {
    if packet.len() < 12 {
        return false;
    }
    packet[8..12].fill(0);
    let sum = CRC32C.checksum(packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    true
}

/// Completes the checksum that begins as the sum in the field at `start + offset` and runs from `start` to the frame's
/// end, whatever protocol it is of (VIRTIO 1.3, §5.1.6.2). `false` if it is not in the frame.
#[cfg(target_os = "linux")]
pub(super) fn complete_at(frame: &mut [u8], start: usize, offset: usize) -> bool {
    let transport = Transport::of(frame);
    if transport.is_some_and(|t| t.start == start && t.protocol == SCTP) {
        return complete(frame);
    }
    let Some(covered) = frame
        .get(start..)
        .filter(|covered| covered.len() >= offset + 2)
    else {
        return false;
    };
    let sum = !fold(add(0, covered));
    frame[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Completes the checksum if the field holds the pseudo header's sum and nothing else, as an unfinished one does. A
/// finished one that happens to look so is computed to the same value again.
#[cfg(target_os = "linux")]
pub(super) fn complete_unfinished(frame: &mut [u8]) {
    let Some(transport) = Transport::of(frame) else {
        return;
    };
    if let Some(field) = transport.field()
        && word(frame, field) == Some(transport.pseudo())
    {
        complete(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp4() -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([
            0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ]);
        frame.extend([0x04, 0xd2, 0x00, 0x35, 0, 11, 0xab, 0xcd]);
        frame.extend(*b"abc");
        frame
    }

    /// The sum over pseudo header and segment of a good checksum is all ones.
    fn verifies(frame: &[u8]) -> bool {
        let transport = Transport::of(frame).unwrap();
        let segment = &frame[transport.start..transport.end];
        fold(add(u64::from(transport.pseudo()), segment)) == 0xffff
    }

    #[test]
    fn a_partial_checksum_is_finished() {
        let mut frame = udp4();
        assert!(!verifies(&frame));
        assert!(complete(&mut frame));
        assert!(verifies(&frame));
    }

    #[test]
    fn vlan_tags_and_ipv6_are_seen_through() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0x00, 0x00, 0x07, 0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
        frame.extend([0x11; 32]);
        frame.extend([
            0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0x12, 0x34, 0, 0,
        ]);
        assert!(complete(&mut frame));
        assert!(verifies(&frame));
    }

    #[test]
    fn what_is_short_or_no_ip_is_left_alone() {
        let whole = udp4();
        for length in 0..whole.len() {
            let mut cut = whole[..length].to_vec();
            assert!(!complete(&mut cut));
            assert_eq!(cut, whole[..length]);
        }
        assert!(!complete(&mut [0xff; 64]));
    }

    #[test]
    fn an_unfinished_checksum_is_told_from_a_finished_one() {
        let mut frame = udp4();
        let before = frame.clone();
        complete_unfinished(&mut frame);
        assert_eq!(
            frame, before,
            "neither finished nor unfinished: damaged, and left so"
        );
        let transport = Transport::of(&frame).unwrap();
        let field = transport.field().unwrap();
        frame[field..field + 2].copy_from_slice(&transport.pseudo().to_be_bytes());
        let mut by_place = frame.clone();
        complete_unfinished(&mut frame);
        assert!(verifies(&frame));
        assert!(complete_at(&mut by_place, transport.start, 6));
        assert_eq!(by_place, frame);
        assert!(!complete_at(&mut by_place, 44, 6));
    }

    #[test]
    fn extension_headers_are_walked_and_fragments_left_alone() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd]);
        frame.extend([0x60, 0, 0, 0, 0, 16, 0, 64]);
        frame.extend([0x22; 32]);
        frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend([0x04, 0xd2, 0x00, 0x35, 0, 8, 0, 0]);
        assert!(complete(&mut frame));
        assert!(verifies(&frame));
        let mut fragment = udp4();
        fragment[ETHERNET + 6] = 0x20;
        assert!(!complete(&mut fragment));
    }

    #[test]
    fn sctp_gets_its_crc() {
        let mut frame = udp4();
        frame[ETHERNET + 9] = SCTP;
        // Too short for the common header.
        assert!(!complete(&mut frame));
        frame[ETHERNET + 3] = 36;
        frame.extend(*b"12345");
        assert!(complete(&mut frame));
        let mut packet = frame[ETHERNET + 20..].to_vec();
        let sum: [u8; 4] = packet[8..12].try_into().unwrap();
        packet[8..12].fill(0);
        // The check value of the catalogue stands for the polynomial: 123456789 gives e3069283.
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(u32::from_le_bytes(sum), CRC32C.checksum(&packet));
    }
}
