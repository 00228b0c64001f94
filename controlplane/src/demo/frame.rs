//! Packets of the demo's pods: made and checked with etherparse, which computes every checksum from scratch.
//!
//! In: a tuple and what a packet says. Out: Ethernet frames; and from a frame what it says, provided that every
//! checksum in it is right. The pipeline computes differences of checksums, so the two never share a mistake.

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISCSI, Crc};
use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber, LinkSlice, NetSlice, PacketBuilder,
    SlicedPacket, TcpSlice, TransportSlice, UdpSlice,
};

use crate::config::Mac;
use crate::model::Protocol;

/// RFC 9260, appendix A.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const SCTP_HEADER: usize = 12;

/// Ends of a connection, as one packet has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
}

impl std::fmt::Display for Tuple {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} > {}", self.protocol, self.src, self.dst)
    }
}

/// What a packet says beside its tuple and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// TCP.
    Tcp {
        /// SYN.
        syn: bool,
        /// FIN.
        fin: bool,
        /// RST.
        rst: bool,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgment, if the ACK flag is set.
        acknowledgment: Option<u32>,
    },
    /// UDP.
    Udp {
        /// Whether the sender computed a checksum; over IPv4 it need not (RFC 768).
        checksum: bool,
    },
    /// SCTP; the payload is its chunks.
    Sctp {
        /// Verification tag.
        tag: u32,
    },
}

/// A frame to send.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Sender's MAC address.
    pub src_mac: Mac,
    /// Receiver's MAC address.
    pub dst_mac: Mac,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Tuple.
    pub tuple: Tuple,
    /// Transport header.
    pub segment: Segment,
    /// What follows it.
    pub payload: &'a [u8],
}

/// What a frame says, all checksums verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<'a> {
    /// Sender's MAC address.
    pub src_mac: Mac,
    /// Receiver's MAC address.
    pub dst_mac: Mac,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Addresses of the IP packet.
    pub ip: (IpAddr, IpAddr),
    /// What it carries.
    pub content: Content<'a>,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Content<'a> {
    /// A packet of a connection.
    Segment(Tuple, Segment, &'a [u8]),
    /// An ICMP error about a packet with this tuple.
    Unreachable(Tuple),
    /// Anything else.
    Other(u8),
}

/// Why a frame cannot be made or is not right.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Sender and receiver are of different families.
    #[error("{0} mixes address families")]
    MixedFamilies(Tuple),
    /// Too long for its headers.
    #[error("the packet cannot be built: {0}")]
    Build(String),
    /// Headers that make no sense.
    #[error("the packet is malformed: {0}")]
    Malformed(String),
    /// A checksum that does not match.
    #[error("{layer} checksum is {found:#x}, right would be {right:#x}")]
    Checksum {
        /// Which one.
        layer: &'static str,
        /// In the packet.
        found: u32,
        /// What it should be.
        right: u32,
    },
}

fn malformed(error: impl std::fmt::Display) -> FrameError {
    FrameError::Malformed(error.to_string())
}

fn verify(layer: &'static str, found: u32, right: u32) -> Result<(), FrameError> {
    if found == right {
        Ok(())
    } else {
        Err(FrameError::Checksum {
            layer,
            found,
            right,
        })
    }
}

impl Frame<'_> {
    /// The bytes.
    ///
    /// # Errors
    /// When the tuple mixes families or the payload is too long.
    pub fn build(&self) -> Result<Vec<u8>, FrameError> {
        let ethernet = PacketBuilder::ethernet2(self.src_mac.0, self.dst_mac.0);
        let ip = match (self.tuple.src.ip(), self.tuple.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                ethernet.ipv4(src.octets(), dst.octets(), self.ttl)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                ethernet.ipv6(src.octets(), dst.octets(), self.ttl)
            }
            _ => return Err(FrameError::MixedFamilies(self.tuple)),
        };
        let (src_port, dst_port) = (self.tuple.src.port(), self.tuple.dst.port());
        let mut bytes = Vec::with_capacity(128 + self.payload.len());
        let built = match self.segment {
            Segment::Tcp {
                syn,
                fin,
                rst,
                sequence,
                acknowledgment,
            } => {
                let mut header = etherparse::TcpHeader::new(src_port, dst_port, sequence, 64_240);
                (header.syn, header.fin, header.rst) = (syn, fin, rst);
                header.ack = acknowledgment.is_some();
                header.acknowledgment_number = acknowledgment.unwrap_or_default();
                ip.tcp_header(header).write(&mut bytes, self.payload)
            }
            Segment::Udp { .. } => ip.udp(src_port, dst_port).write(&mut bytes, self.payload),
            Segment::Sctp { tag } => {
                let packet = sctp(src_port, dst_port, tag, self.payload);
                ip.write(&mut bytes, IpNumber::SCTP, &packet)
            }
        };
        built.map_err(|error| FrameError::Build(error.to_string()))?;
        if self.segment == (Segment::Udp { checksum: false }) {
            let at = bytes.len() - self.payload.len() - 2;
            bytes[at..at + 2].fill(0);
        }
        Ok(bytes)
    }
}

fn sctp(src_port: u16, dst_port: u16, tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(SCTP_HEADER + chunks.len());
    packet.extend(src_port.to_be_bytes());
    packet.extend(dst_port.to_be_bytes());
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    let checksum = CRC32C.checksum(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// Reads a frame and verifies every checksum in it.
///
/// # Errors
/// What is wrong with it.
pub fn read(frame: &[u8]) -> Result<Seen<'_>, FrameError> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(malformed)?;
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        return Err(malformed("no Ethernet header"));
    };
    let (ip, ttl, protocol, payload) = match &packet.net {
        Some(NetSlice::Ipv4(v4)) => {
            let header = v4.header();
            let right = header.to_header().calc_header_checksum();
            verify("IPv4 header", header.header_checksum().into(), right.into())?;
            let addresses = (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
            );
            (
                addresses,
                header.ttl(),
                v4.payload_ip_number(),
                v4.payload().payload,
            )
        }
        Some(NetSlice::Ipv6(v6)) => {
            let header = v6.header();
            let addresses = (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
            );
            (
                addresses,
                header.hop_limit(),
                v6.payload().ip_number,
                v6.payload().payload,
            )
        }
        _ => return Err(malformed("no IP header")),
    };
    let tuple = |protocol, src, dst| Tuple {
        protocol,
        src: SocketAddr::new(ip.0, src),
        dst: SocketAddr::new(ip.1, dst),
    };
    let content = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            verify_tcp(tcp, ip)?;
            let tuple = tuple(Protocol::Tcp, tcp.source_port(), tcp.destination_port());
            Content::Segment(tuple, tcp_segment(tcp), tcp.payload())
        }
        Some(TransportSlice::Udp(udp)) => {
            verify_udp(udp, ip)?;
            let tuple = tuple(Protocol::Udp, udp.source_port(), udp.destination_port());
            Content::Segment(
                tuple,
                Segment::Udp {
                    checksum: udp.checksum() != 0,
                },
                udp.payload(),
            )
        }
        Some(TransportSlice::Icmpv4(icmp)) => read_icmpv4(icmp)?,
        Some(TransportSlice::Icmpv6(icmp)) => read_icmpv6(icmp, ip)?,
        _ if protocol == IpNumber::SCTP => {
            let (src, dst, tag) = read_sctp(payload)?;
            Content::Segment(
                tuple(Protocol::Sctp, src, dst),
                Segment::Sctp { tag },
                &payload[SCTP_HEADER..],
            )
        }
        _ => Content::Other(protocol.0),
    };
    Ok(Seen {
        src_mac: Mac(ethernet.source()),
        dst_mac: Mac(ethernet.destination()),
        ttl,
        ip,
        content,
    })
}

fn tcp_segment(tcp: &TcpSlice<'_>) -> Segment {
    Segment::Tcp {
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        sequence: tcp.sequence_number(),
        acknowledgment: tcp.ack().then(|| tcp.acknowledgment_number()),
    }
}

fn verify_tcp(tcp: &TcpSlice<'_>, ip: (IpAddr, IpAddr)) -> Result<(), FrameError> {
    let right = match ip {
        (IpAddr::V4(src), IpAddr::V4(dst)) => tcp.calc_checksum_ipv4(src.octets(), dst.octets()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => tcp.calc_checksum_ipv6(src.octets(), dst.octets()),
        _ => return Err(malformed("mixed families")),
    };
    verify(
        "TCP",
        tcp.checksum().into(),
        right.map_err(malformed)?.into(),
    )
}

fn verify_udp(udp: &UdpSlice<'_>, ip: (IpAddr, IpAddr)) -> Result<(), FrameError> {
    let header = udp.to_header();
    let right = match ip {
        // No checksum: allowed over IPv4 only (RFC 768, RFC 8200 8.1).
        (IpAddr::V4(_), _) if udp.checksum() == 0 => return Ok(()),
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), udp.payload())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), udp.payload())
        }
        _ => return Err(malformed("mixed families")),
    };
    verify(
        "UDP",
        udp.checksum().into(),
        right.map_err(malformed)?.into(),
    )
}

fn read_sctp(packet: &[u8]) -> Result<(u16, u16, u32), FrameError> {
    let Some((header, _)) = packet.split_first_chunk::<SCTP_HEADER>() else {
        return Err(malformed("the SCTP header is cut short"));
    };
    let [a, b, c, d, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
    let mut blank = packet.to_vec();
    blank[8..12].fill(0);
    verify(
        "SCTP",
        u32::from_le_bytes([c0, c1, c2, c3]),
        CRC32C.checksum(&blank),
    )?;
    Ok((
        u16::from_be_bytes([a, b]),
        u16::from_be_bytes([c, d]),
        u32::from_be_bytes([t0, t1, t2, t3]),
    ))
}

fn read_icmpv4<'a>(icmp: &Icmpv4Slice<'_>) -> Result<Content<'a>, FrameError> {
    // Over a packet with its checksum the sum is zero (RFC 1071).
    let sum = etherparse::checksum::Sum16BitWords::new()
        .add_slice(icmp.slice())
        .ones_complement();
    verify("sum with the ICMP", sum.into(), 0)?;
    match icmp.icmp_type() {
        Icmpv4Type::DestinationUnreachable(_) => {
            Ok(Content::Unreachable(inner_tuple(icmp.payload())?))
        }
        _ => Ok(Content::Other(1)),
    }
}

fn read_icmpv6<'a>(
    icmp: &Icmpv6Slice<'_>,
    ip: (IpAddr, IpAddr),
) -> Result<Content<'a>, FrameError> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = ip else {
        return Err(malformed("ICMPv6 over IPv4"));
    };
    if !icmp.is_checksum_valid(src.octets(), dst.octets()) {
        let right = icmp
            .icmp_type()
            .calc_checksum(src.octets(), dst.octets(), icmp.payload());
        verify(
            "ICMPv6",
            icmp.checksum().into(),
            right.map_err(malformed)?.into(),
        )?;
    }
    match icmp.icmp_type() {
        Icmpv6Type::DestinationUnreachable(_) => {
            Ok(Content::Unreachable(inner_tuple(icmp.payload())?))
        }
        _ => Ok(Content::Other(58)),
    }
}

/// Tuple of a packet that may be cut behind its first eight bytes of transport header (RFC 792).
fn inner_tuple(packet: &[u8]) -> Result<Tuple, FrameError> {
    let byte = |at: usize| {
        packet
            .get(at)
            .copied()
            .ok_or_else(|| malformed("the ICMP error quotes too little"))
    };
    let (src, dst, protocol, ports): (IpAddr, IpAddr, u8, usize) = match byte(0)? >> 4 {
        4 => {
            let header = etherparse::Ipv4HeaderSlice::from_slice(packet).map_err(malformed)?;
            let length = header.slice().len();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                header.protocol().0,
                length,
            )
        }
        _ => {
            let header = etherparse::Ipv6HeaderSlice::from_slice(packet).map_err(malformed)?;
            (
                header.source_addr().into(),
                header.destination_addr().into(),
                header.next_header().0,
                40,
            )
        }
    };
    let protocol = Protocol::from_number(protocol)
        .ok_or_else(|| malformed("the ICMP error quotes no connection"))?;
    let src_port = u16::from_be_bytes([byte(ports)?, byte(ports + 1)?]);
    let dst_port = u16::from_be_bytes([byte(ports + 2)?, byte(ports + 3)?]);
    Ok(Tuple {
        protocol,
        src: SocketAddr::new(src, src_port),
        dst: SocketAddr::new(dst, dst_port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame<'a>(tuple: Tuple, segment: Segment, payload: &'a [u8]) -> Frame<'a> {
        Frame {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: Mac([2, 0, 0, 0, 0, 2]),
            ttl: 64,
            tuple,
            segment,
            payload,
        }
    }

    fn tuples(protocol: Protocol) -> [Tuple; 2] {
        [
            ("10.0.0.1:1000", "10.0.0.2:80"),
            ("[fd00::1]:1000", "[fd00::2]:80"),
        ]
        .map(|(src, dst)| Tuple {
            protocol,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
        })
    }

    #[test]
    fn what_is_made_is_read() {
        let tcp = Segment::Tcp {
            syn: true,
            fin: false,
            rst: false,
            sequence: 7,
            acknowledgment: Some(9),
        };
        for (protocol, segment) in [
            (Protocol::Tcp, tcp),
            (Protocol::Udp, Segment::Udp { checksum: true }),
            (Protocol::Sctp, Segment::Sctp { tag: 0xdead_beef }),
        ] {
            for tuple in tuples(protocol) {
                let bytes = frame(tuple, segment, b"some words").build().unwrap();
                let seen = read(&bytes).unwrap();
                assert_eq!(
                    seen.content,
                    Content::Segment(tuple, segment, b"some words")
                );
                assert_eq!(
                    (seen.ttl, seen.src_mac, seen.dst_mac),
                    (64, Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
                );
            }
        }
    }

    #[test]
    fn every_damaged_byte_of_the_ip_packet_is_found() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let segment = match protocol {
                Protocol::Tcp => Segment::Tcp {
                    syn: false,
                    fin: false,
                    rst: false,
                    sequence: 1,
                    acknowledgment: None,
                },
                Protocol::Udp => Segment::Udp { checksum: true },
                Protocol::Sctp => Segment::Sctp { tag: 1 },
            };
            for tuple in tuples(protocol) {
                let bytes = frame(tuple, segment, b"payload!").build().unwrap();
                let sent = read(&bytes).unwrap();
                // Behind the IPv6 fields that no checksum covers.
                let start = if tuple.src.is_ipv4() { 14 } else { 14 + 8 };
                for at in start..bytes.len() {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 0x10;
                    assert!(
                        read(&damaged).map_or(true, |seen| seen.content != sent.content),
                        "{tuple} byte {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_zero_udp_checksum_is_for_ipv4_only() {
        let [v4, v6] = tuples(Protocol::Udp);
        let segment = Segment::Udp { checksum: false };
        let bytes = frame(v4, segment, b"x").build().unwrap();
        assert_eq!(
            read(&bytes).unwrap().content,
            Content::Segment(v4, segment, b"x")
        );
        assert!(read(&frame(v6, segment, b"x").build().unwrap()).is_err());
    }

    #[test]
    fn refusals() {
        let [tuple, _] = tuples(Protocol::Udp);
        let inner = frame(tuple, Segment::Udp { checksum: true }, b"x")
            .build()
            .unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(
                etherparse::icmpv4::DestUnreachableHeader::Port,
            ))
            .write(&mut bytes, &inner[14..14 + 28])
            .unwrap();
        assert_eq!(read(&bytes).unwrap().content, Content::Unreachable(tuple));
        bytes[40] ^= 1;
        assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_bytes() {
        for length in 0..80 {
            let _ = read(&vec![0x45; length]);
        }
    }
}
