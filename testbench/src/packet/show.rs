//! A frame in one line, for people who read a failure.
//!
//! In: any bytes. Out: a line that names addresses, ports, flags and lengths, and the bytes themselves where two lines
//! look alike. Never fails: what cannot be parsed is shown as bytes.

use std::fmt::Write as _;
use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

/// The frame in one line.
pub fn describe(frame: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return format!("{} bytes: {}", frame.len(), hex(frame));
    };
    let mut line = String::new();
    if let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *frame {
        line = format!(
            "{} > {}",
            mac([s0, s1, s2, s3, s4, s5]),
            mac([d0, d1, d2, d3, d4, d5])
        );
    }
    for id in packet.vlan_ids() {
        let _ = write!(line, ", VLAN {}", id.value());
    }
    let ports = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Some((tcp.source_port(), tcp.destination_port())),
        Some(TransportSlice::Udp(udp)) => Some((udp.source_port(), udp.destination_port())),
        _ => packet
            .ip_payload()
            .filter(|ip| ip.ip_number.0 == 132 && !ip.fragmented)
            .and_then(|ip| sctp_ports(ip.payload)),
    };
    match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let (from, to) = (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
            );
            line += &addresses(from, to, ports, header.ttl());
            if !header.options().is_empty() {
                let _ = write!(line, ", options {}", hex(header.options()));
            }
            if ip.payload().fragmented {
                let _ = write!(
                    line,
                    ", fragment at {}",
                    header.fragments_offset().byte_offset()
                );
            }
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let (from, to) = (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
            );
            line += &addresses(from, to, ports, header.hop_limit());
            if ip.payload().fragmented {
                line += ", fragment";
            }
        }
        Some(LaxNetSlice::Arp(_)) => line += ", ARP",
        None => {}
    }
    line += &transport(&packet);
    let _ = write!(line, ", {} bytes", frame.len());
    line
}

/// The line, and below it the bytes.
pub fn dump(frame: &[u8]) -> String {
    format!("{}\n        {}", describe(frame), hex(frame))
}

fn addresses(from: IpAddr, to: IpAddr, ports: Option<(u16, u16)>, ttl: u8) -> String {
    match ports {
        Some((src, dst)) => format!(
            ", {} > {}, TTL {ttl}",
            std::net::SocketAddr::new(from, src),
            std::net::SocketAddr::new(to, dst)
        ),
        None => format!(", {from} > {to}, TTL {ttl}"),
    }
}

fn transport(packet: &LaxSlicedPacket<'_>) -> String {
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let flags = [
                (tcp.fin(), "FIN"),
                (tcp.syn(), "SYN"),
                (tcp.rst(), "RST"),
                (tcp.psh(), "PSH"),
                (tcp.ack(), "ACK"),
                (tcp.urg(), "URG"),
            ];
            let flags: Vec<&str> = flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| *name)
                .collect();
            format!(
                ", TCP {} seq {} ack {} checksum {:#06x}",
                flags.join("+"),
                tcp.sequence_number(),
                tcp.acknowledgment_number(),
                tcp.checksum()
            )
        }
        Some(TransportSlice::Udp(udp)) => format!(", UDP checksum {:#06x}", udp.checksum()),
        Some(TransportSlice::Icmpv4(icmp)) => {
            format!(", ICMP type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            format!(", ICMPv6 type {} code {}", icmp.type_u8(), icmp.code_u8())
        }
        _ => packet
            .ip_payload()
            .map_or_else(String::new, |ip| format!(", protocol {}", ip.ip_number.0)),
    }
}

fn sctp_ports(payload: &[u8]) -> Option<(u16, u16)> {
    match *payload {
        [a, b, c, d, ..] => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => None,
    }
}

/// An Ethernet address with colons.
pub fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Hexadecimal digits, with spaces and colons between them, as bytes; `None` when something else stands there.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b':' | b'\n'))
        .collect();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| Some((nibble(pair[0])? << 4 | nibble(pair[1])?) as u8))
        .collect()
}
