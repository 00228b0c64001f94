//! Frames as people describe them, and as bytes.
//!
//! In: a [`Packet`]: addresses, ports, flags, payload. Out: the frame, with every length and checksum computed from what
//! it holds ([`Packet::frame`]); and for a frame that came in, whether its checksums hold ([`check::verify`]) and what
//! it is in one line ([`show::describe`]).
//!
//! ```text
//! Ethernet │ VLAN? │ IPv4 + options | IPv6 + fragment header │ TCP | UDP | SCTP | ICMP | other │ payload
//! ```
//!
//! Invariant: nothing here knows how the pipeline mends checksums. Headers and sums come from etherparse and from a
//! CRC table, so that a frame which equals an expected one was checked by somebody else's arithmetic.

mod build;
pub mod check;
pub mod show;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

/// Six bytes of Ethernet address.
pub type MacBytes = [u8; 6];

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Ethernet source.
    pub src_mac: MacBytes,
    /// Ethernet destination.
    pub dst_mac: MacBytes,
    /// Tag control information: priority, drop eligibility and VLAN id.
    pub vlan: Option<u16>,
    /// What follows.
    pub body: Body,
    /// Bytes of the frame that are sent; none: all.
    pub cut: Option<usize>,
}

/// Behind Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An IP packet.
    Ip(Ip),
    /// Anything else.
    Other {
        /// EtherType.
        ethertype: u16,
        /// Payload.
        bytes: Vec<u8>,
    },
}

/// An IP packet, of the family that its addresses have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub from: IpAddr,
    /// Destination; same family.
    pub to: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Identification; of IPv6 only in fragments.
    pub id: u32,
    /// IPv4 options, a multiple of four bytes up to 40.
    pub options: Vec<u8>,
    /// Which part of the datagram this packet carries; none: all of it.
    pub fragment: Option<Fragment>,
    /// IPv4 total length or IPv6 payload length as written, instead of the true one.
    pub length: Option<u16>,
    /// Header and payload of the datagram.
    pub transport: Transport,
    /// Behind the transport header.
    pub payload: Vec<u8>,
}

/// Part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes per fragment, a multiple of eight.
    pub size: usize,
    /// Which one, from 0.
    pub index: usize,
}

/// Transport header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
        /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
        flags: u8,
        /// Options, a multiple of four bytes up to 40.
        options: Vec<u8>,
    },
    /// UDP.
    Udp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Whether a checksum is written; without, the field is zero.
        checksum: bool,
    },
    /// SCTP; the payload is its chunks.
    Sctp {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
        /// Verification tag.
        tag: u32,
    },
    /// ICMP or ICMPv6 echo, as the family says.
    Echo {
        /// Reply, else request.
        reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
    },
    /// An ICMP or ICMPv6 error, as the family says; the payload is what stands behind the quoted packet.
    Error {
        /// Type and code.
        kind: (u8, u8),
        /// The four bytes behind the checksum: the MTU, most often nothing.
        rest: u32,
        /// The packet that it is about.
        quoted: Box<Ip>,
        /// Bytes of it that are quoted; none: all.
        quote: Option<usize>,
    },
    /// A protocol without ports; the payload is everything behind IP.
    Other(u8),
}

impl Transport {
    /// Source and destination port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match *self {
            Self::Tcp { src, dst, .. }
            | Self::Udp { src, dst, .. }
            | Self::Sctp { src, dst, .. } => Some((src, dst)),
            Self::Echo { .. } | Self::Error { .. } | Self::Other(_) => None,
        }
    }

    /// Writes other ports; nothing where there are none.
    pub fn set_ports(&mut self, new_src: u16, new_dst: u16) {
        match self {
            Self::Tcp { src, dst, .. }
            | Self::Udp { src, dst, .. }
            | Self::Sctp { src, dst, .. } => {
                *src = new_src;
                *dst = new_dst;
            }
            Self::Echo { .. } | Self::Error { .. } | Self::Other(_) => {}
        }
    }
}

/// A description that is no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// One address is IPv4, the other IPv6.
    #[error("{0} and {1} are of different families")]
    Families(IpAddr, IpAddr),
    /// More bytes than a length field counts.
    #[error("{what} of {bytes} bytes does not fit")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Options that are no multiple of four bytes, or too many.
    #[error("{0} options must be a multiple of four bytes, 40 at most")]
    Options(&'static str),
    /// A fragment that the datagram does not have.
    #[error("there is no fragment {index} of {size} bytes: the datagram has {bytes} bytes")]
    NoFragment {
        /// Which was asked for.
        index: usize,
        /// Bytes per fragment.
        size: usize,
        /// Bytes in all.
        bytes: usize,
    },
}
