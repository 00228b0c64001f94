//! Packets in words.
//!
//! In: frames, also cut short or with checksums that the sender's NIC would have filled in. Out: what they say, in a line.

use std::net::IpAddr;

use etherparse::{ArpOperation, LaxNetSlice, LaxSlicedPacket};

use crate::model::Protocol;

/// ICMP and ICMPv6 have the same layout where it matters here.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// A neighbour solicitation.
const SOLICITATION: u8 = 135;
/// Flags of TCP, from the lowest bit.
const FLAGS: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];

/// The IP part of a frame.
pub(super) struct Ip<'a> {
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    protocol: u8,
    payload: &'a [u8],
    /// A fragment behind the first: it has no ports.
    later: bool,
}

/// What a frame says.
pub fn describe(frame: &[u8]) -> String {
    let length = frame.len();
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return format!("{length} bytes, too short for Ethernet");
    };
    match packet.net.as_ref().and_then(ip) {
        Some(ip) => ip.to_string(),
        None if matches!(packet.net, Some(LaxNetSlice::Arp(_))) => match asked(frame) {
            Some(address) => format!("ARP: who has {address}?"),
            None => format!("ARP, {length} bytes"),
        },
        None => format!("{length} bytes that are not IP"),
    }
}

/// The address whose owner's MAC address a frame asks for, if it does.
pub(super) fn asked(frame: &[u8]) -> Option<IpAddr> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    match packet.net.as_ref()? {
        LaxNetSlice::Arp(arp) => {
            let target = <[u8; 4]>::try_from(arp.target_protocol_addr()).ok()?;
            (arp.operation() == ArpOperation::REQUEST).then(|| target.into())
        }
        net => {
            let ip = ip(net).filter(|ip| ip.protocol == ICMPV6)?;
            let target = ip.payload.get(8..)?.first_chunk::<16>()?;
            (ip.payload.first() == Some(&SOLICITATION)).then(|| (*target).into())
        }
    }
}

/// Sender of a frame, if it is IP.
pub(super) fn sender(frame: &[u8]) -> Option<IpAddr> {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
    packet.net.as_ref().and_then(ip).map(|ip| ip.src)
}

/// Bytes from hexadecimal.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect())
}

/// Bytes in hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ip<'a>(net: &LaxNetSlice<'a>) -> Option<Ip<'a>> {
    match net {
        LaxNetSlice::Ipv4(v4) => {
            let (header, payload) = (v4.header(), v4.payload());
            Some(Ip {
                src: header.source_addr().into(),
                dst: header.destination_addr().into(),
                protocol: payload.ip_number.0,
                payload: payload.payload,
                later: header.fragments_offset().value() != 0,
            })
        }
        LaxNetSlice::Ipv6(v6) => {
            let (header, payload) = (v6.header(), v6.payload());
            let mut extensions = v6.extensions().clone().into_iter();
            let later = extensions.any(|extension| match extension {
                etherparse::Ipv6ExtensionSlice::Fragment(fragment) => {
                    fragment.fragment_offset().value() != 0
                }
                _ => false,
            });
            Some(Ip {
                src: header.source_addr().into(),
                dst: header.destination_addr().into(),
                protocol: payload.ip_number.0,
                payload: payload.payload,
                later,
            })
        }
        LaxNetSlice::Arp(_) => None,
    }
}

impl std::fmt::Display for Ip<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (src, dst) = (self.src, self.dst);
        if self.later {
            return write!(f, "a later fragment {src} > {dst}");
        }
        if matches!(self.protocol, ICMP | ICMPV6) {
            return self.icmp(f);
        }
        let Some(protocol) = Protocol::from_number(self.protocol) else {
            return write!(f, "IP protocol {} {src} > {dst}", self.protocol);
        };
        let Some([a, b, c, d]) = self.payload.first_chunk::<4>().copied() else {
            return write!(f, "{protocol} {src} > {dst}, cut short");
        };
        let end = |ip, high, low| std::net::SocketAddr::new(ip, u16::from_be_bytes([high, low]));
        write!(f, "{protocol} {} > {}", end(src, a, b), end(dst, c, d))?;
        if let (Protocol::Tcp, Some(flags)) = (protocol, self.payload.get(13)) {
            let set = FLAGS.iter().enumerate();
            for (_, name) in set.filter(|(bit, _)| flags >> bit & 1 == 1) {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

impl Ip<'_> {
    fn icmp(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.payload.first().copied().unwrap_or_default();
        let code = self.payload.get(1).copied().unwrap_or_default();
        let (name, quotes) = match (self.protocol, kind, code) {
            (ICMP, 0, _) | (ICMPV6, 129, _) => ("echo reply", false),
            (ICMP, 8, _) | (ICMPV6, 128, _) => ("echo request", false),
            (ICMP, 3, 4) => ("fragmentation needed", true),
            (ICMPV6, 2, _) => ("packet too big", true),
            (ICMP, 3, 3) | (ICMPV6, 1, 4) => ("port unreachable", true),
            (ICMP, 3, _) | (ICMPV6, 1, _) => ("destination unreachable", true),
            (ICMP, 11, _) | (ICMPV6, 3, _) => ("time exceeded", true),
            (ICMP, 12, _) | (ICMPV6, 4, _) => ("parameter problem", true),
            (ICMPV6, 133..=137, _) => ("neighbour discovery", false),
            _ => ("message", false),
        };
        let protocol = if self.protocol == ICMP {
            "ICMP"
        } else {
            "ICMPv6"
        };
        write!(f, "{protocol} {name} {} > {}", self.src, self.dst)?;
        let quoted = self.payload.get(8..).filter(|_| quotes);
        let quoted = quoted.and_then(|quoted| LaxSlicedPacket::from_ip(quoted).ok());
        match quoted.as_ref().and_then(|quoted| ip(quoted.net.as_ref()?)) {
            Some(inner) => write!(f, " about {inner}"),
            None => Ok(()),
        }
    }
}
