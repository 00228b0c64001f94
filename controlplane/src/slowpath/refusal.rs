//! Answers to senders: TCP RST (RFC 9293, 3.5.2), ICMP and ICMPv6 errors (RFC 792, RFC 4443).
//!
//! In: the frame to be refused. Out: the frame to send out of the port it came from; `None` where an answer is
//! forbidden (RFC 1122, 3.2.2; RFC 4443, 2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
use etherparse::icmpv6::{DestUnreachableCode, TimeExceededCode as HopLimitExceeded};
use etherparse::{
    EtherType, Icmpv4Type, Icmpv6Type, PacketBuilder, PacketBuilderStep, SingleVlanHeader,
    TcpHeader, VlanHeader, VlanId, ip_number,
};

use super::frame::Frame;

/// Hops that an answer may take.
const HOPS: u8 = 64;
/// An ICMP error is at most this long with its IP header (RFC 1812, 4.3.2.3).
const LONGEST_V4: usize = 576;
/// An ICMPv6 error fits the smallest MTU (RFC 4443, 2.4 c).
const LONGEST_V6: usize = 1280;
/// The source of ICMP errors of a router without an IPv4 address (RFC 7600, 4.8).
const DUMMY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Nobody serves this: TCP RST, else port unreachable.
pub(super) fn reject(frame: &Frame<'_>) -> Option<Vec<u8>> {
    match frame.segment() {
        Some(_) => reset(frame),
        None => icmp(frame, frame.dst, Reason::PortUnreachable),
    }
}

/// The packet's hops are used up.
pub(super) fn time_exceeded(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let router = match frame.src {
        IpAddr::V4(_) => DUMMY_V4.into(),
        IpAddr::V6(_) => link_local(frame.dst_mac).into(),
    };
    icmp(frame, router, Reason::TimeExceeded)
}

#[derive(Clone, Copy)]
enum Reason {
    PortUnreachable,
    TimeExceeded,
}

fn reset(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let (segment, tuple) = (frame.segment()?, frame.tuple()?);
    if segment.rst || !answerable(frame) {
        return None;
    }
    let mut header = TcpHeader::new(tuple.dst_port, tuple.src_port, 0, 0);
    header.rst = true;
    match segment.acknowledgment {
        Some(acknowledgment) => header.sequence_number = acknowledgment,
        None => {
            header.ack = true;
            header.acknowledgment_number = segment.sequence.wrapping_add(segment.length);
        }
    }
    let (src, dst) = (frame.dst, frame.src);
    write(|out| match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => link(frame)
            .v4(src, dst)
            .tcp_header(header)
            .write(out, &[])
            .ok(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => link(frame)
            .v6(src, dst)
            .tcp_header(header)
            .write(out, &[])
            .ok(),
        _ => None,
    })
}

fn icmp(frame: &Frame<'_>, src: IpAddr, reason: Reason) -> Option<Vec<u8>> {
    if !answerable(frame) || is_icmp_error(frame) {
        return None;
    }
    let quoted =
        |longest: usize, headers: usize| &frame.ip[..frame.ip.len().min(longest - headers)];
    write(|out| match (src, frame.src) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let kind = match reason {
                Reason::PortUnreachable => {
                    Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port)
                }
                Reason::TimeExceeded => {
                    Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit)
                }
            };
            link(frame)
                .v4(src, dst)
                .icmpv4(kind)
                .write(out, quoted(LONGEST_V4, 28))
                .ok()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let kind = match reason {
                Reason::PortUnreachable => {
                    Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port)
                }
                Reason::TimeExceeded => {
                    Icmpv6Type::TimeExceeded(HopLimitExceeded::HopLimitExceeded)
                }
            };
            link(frame)
                .v6(src, dst)
                .icmpv6(kind)
                .write(out, quoted(LONGEST_V6, 48))
                .ok()
        }
        _ => None,
    })
}

fn write(into: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    into(&mut out)?;
    Some(out)
}

/// The link layer of an answer: back where the frame came from, with its tag.
enum Link {
    Plain(PacketBuilderStep<etherparse::Ethernet2Header>),
    Tagged(PacketBuilderStep<VlanHeader>),
}

fn link(frame: &Frame<'_>) -> Link {
    let ethernet = PacketBuilder::ethernet2(frame.dst_mac, frame.src_mac);
    match frame.vlan.and_then(|id| VlanId::try_new(id).ok()) {
        None => Link::Plain(ethernet),
        Some(vlan_id) => Link::Tagged(ethernet.vlan(VlanHeader::Single(SingleVlanHeader {
            pcp: Default::default(),
            drop_eligible_indicator: false,
            vlan_id,
            ether_type: EtherType(0),
        }))),
    }
}

impl Link {
    fn v4(self, src: Ipv4Addr, dst: Ipv4Addr) -> PacketBuilderStep<etherparse::IpHeaders> {
        match self {
            Self::Plain(link) => link.ipv4(src.octets(), dst.octets(), HOPS),
            Self::Tagged(link) => link.ipv4(src.octets(), dst.octets(), HOPS),
        }
    }

    fn v6(self, src: Ipv6Addr, dst: Ipv6Addr) -> PacketBuilderStep<etherparse::IpHeaders> {
        match self {
            Self::Plain(link) => link.ipv6(src.octets(), dst.octets(), HOPS),
            Self::Tagged(link) => link.ipv6(src.octets(), dst.octets(), HOPS),
        }
    }
}

/// Whether anything may be sent to the frame's source because of it.
fn answerable(frame: &Frame<'_>) -> bool {
    let one_receiver = frame.dst_mac[0] & 1 == 0;
    let one_sender = match frame.src {
        IpAddr::V4(src) => !(src.is_multicast() || src.is_broadcast() || src.is_unspecified()),
        IpAddr::V6(src) => !(src.is_multicast() || src.is_unspecified()),
    };
    let one_destination = match frame.dst {
        IpAddr::V4(dst) => !(dst.is_multicast() || dst.is_broadcast()),
        IpAddr::V6(dst) => !dst.is_multicast(),
    };
    one_receiver && one_sender && one_destination && !is_later_fragment(frame)
}

/// A fragment without the transport header (RFC 1122, 3.2.2); of IPv6 every fragment may be answered.
fn is_later_fragment(frame: &Frame<'_>) -> bool {
    frame.src.is_ipv4()
        && matches!(frame.ip, [_, _, _, _, _, _, high, low, ..] if high & 0x1f != 0 || *low != 0)
}

/// ICMP errors beget no ICMP errors.
fn is_icmp_error(frame: &Frame<'_>) -> bool {
    let kind = frame.transport.first().copied();
    if frame.protocol == ip_number::ICMP.0 {
        // Destination unreachable, source quench, redirect, time exceeded, parameter problem; or nothing to tell by.
        matches!(kind, None | Some(3..=5 | 11 | 12))
    } else if frame.protocol == ip_number::IPV6_ICMP.0 {
        matches!(kind, None | Some(0..=127))
    } else {
        false
    }
}

/// The link-local address that belongs to a MAC address (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}
