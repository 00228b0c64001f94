//! Whether a received frame is consistent in itself.
//!
//! In: a frame. Out: the first length or checksum that does not hold. Fragments are checked as far as one fragment can
//! be: its IP header. Invariant: sums are computed over the received bytes from scratch, never from a difference.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// Why a frame is not consistent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Headers that contradict each other or the frame's length.
    #[error("not a well-formed packet: {0}")]
    Malformed(String),
    /// A checksum that does not hold.
    #[error("{layer} checksum is {found:#06x}, should be {right:#06x}")]
    Checksum {
        /// Which checksum.
        layer: &'static str,
        /// As received.
        found: u32,
        /// As computed.
        right: u32,
    },
}

/// Checks lengths and every checksum of the frame. UDP over IPv4 without a checksum is right as it is.
///
/// # Errors
/// [`CheckError`] names the layer.
pub fn verify(frame: &[u8]) -> Result<(), CheckError> {
    let packet = SlicedPacket::from_ethernet(frame)
        .map_err(|error| CheckError::Malformed(error.to_string()))?;
    let Some(net) = &packet.net else {
        return Ok(());
    };
    if let NetSlice::Ipv4(ip) = net {
        let header = ip.header().slice();
        expect(
            "IPv4",
            u16::from_be_bytes([header[10], header[11]]),
            ipv4_checksum(header),
        )?;
    }
    if packet.is_ip_payload_fragmented() {
        return Ok(());
    }
    let Some(payload) = packet.ip_payload() else {
        return Ok(());
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let right = l4_checksum(net, 6, tcp.slice(), 16);
            expect("TCP", tcp.checksum(), right)
        }
        Some(TransportSlice::Udp(udp)) => match (udp.checksum(), net) {
            (0, NetSlice::Ipv4(_)) => Ok(()),
            (found, _) => {
                let right = l4_checksum(net, 17, udp.slice(), 6);
                expect("UDP", found, if right == 0 { 0xffff } else { right })
            }
        },
        Some(TransportSlice::Icmpv4(icmp)) => {
            let bytes = icmp.slice();
            expect(
                "ICMP",
                u16::from_be_bytes([bytes[2], bytes[3]]),
                !ones_complement(&zeroed(bytes, 2), 0),
            )
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let bytes = icmp.slice();
            expect(
                "ICMPv6",
                u16::from_be_bytes([bytes[2], bytes[3]]),
                l4_checksum(net, 58, bytes, 2),
            )
        }
        _ if payload.ip_number.0 == 132 => sctp(payload.payload),
        _ => Ok(()),
    }
}

fn sctp(packet: &[u8]) -> Result<(), CheckError> {
    let Some(&[a, b, c, d]) = packet.get(8..12) else {
        return Err(CheckError::Malformed("SCTP header cut short".to_owned()));
    };
    let found = u32::from_le_bytes([a, b, c, d]);
    let mut bytes = packet.to_vec();
    bytes[8..12].fill(0);
    let right = crc32c(&bytes);
    if found == right {
        Ok(())
    } else {
        Err(CheckError::Checksum {
            layer: "SCTP",
            found,
            right,
        })
    }
}

fn expect(layer: &'static str, found: u16, right: u16) -> Result<(), CheckError> {
    if found == right {
        return Ok(());
    }
    Err(CheckError::Checksum {
        layer,
        found: u32::from(found),
        right: u32::from(right),
    })
}

/// The checksum that an IPv4 header should carry.
fn ipv4_checksum(header: &[u8]) -> u16 {
    !ones_complement(&zeroed(header, 10), 0)
}

/// The checksum over pseudo header and segment, its own field (two bytes at `field`) taken as zero.
fn l4_checksum(net: &NetSlice<'_>, protocol: u8, segment: &[u8], field: usize) -> u16 {
    let pseudo = match net {
        NetSlice::Ipv4(ip) => [ip.header().source(), ip.header().destination()].concat(),
        NetSlice::Ipv6(ip) => [ip.header().source(), ip.header().destination()].concat(),
        NetSlice::Arp(_) => Vec::new(),
    };
    let length = (segment.len() as u64 & 0xffff) + (segment.len() as u64 >> 16);
    let start = u64::from(ones_complement(&pseudo, 0)) + u64::from(protocol) + length;
    !ones_complement(&zeroed(segment, field), start)
}

fn zeroed(bytes: &[u8], field: usize) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    if let Some(sum) = copy.get_mut(field..field + 2) {
        sum.fill(0);
    }
    copy
}

/// One's-complement sum of big-endian 16-bit words (RFC 1071); an odd last byte is the high half of a word.
pub fn ones_complement(bytes: &[u8], start: u64) -> u16 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    let mut sum: u64 = start + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// CRC32c (RFC 9260, appendix A).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(bytes)
}
