//! A described packet to bytes.
//!
//! In: a [`Packet`]. Out: the frame. Lengths and checksums are those of the whole datagram, which is cut into fragments
//! afterwards, as a sender does. Invariant: the same description always gives the same bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber,
    Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};

use super::check::crc32c;
use super::{Body, Ip, Packet, PacketError, Transport};

const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

impl Packet {
    /// The bytes on the wire.
    ///
    /// # Errors
    /// [`PacketError`] when the parts do not make a packet.
    pub fn frame(&self) -> Result<Vec<u8>, PacketError> {
        let (ethertype, body) = match &self.body {
            Body::Ip(ip) => (if ip.from.is_ipv4() { IPV4 } else { IPV6 }, ip.bytes()?),
            Body::Other { ethertype, bytes } => (*ethertype, bytes.clone()),
        };
        let mut frame = Vec::with_capacity(18 + body.len());
        frame.extend_from_slice(&self.dst_mac);
        frame.extend_from_slice(&self.src_mac);
        if let Some(tci) = self.vlan {
            frame.extend_from_slice(&VLAN.to_be_bytes());
            frame.extend_from_slice(&tci.to_be_bytes());
        }
        frame.extend_from_slice(&ethertype.to_be_bytes());
        frame.extend_from_slice(&body);
        if let Some(cut) = self.cut {
            frame.truncate(cut);
        }
        Ok(frame)
    }
}

impl Ip {
    fn bytes(&self) -> Result<Vec<u8>, PacketError> {
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.v4(from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => self.v6(from, to),
            (from, to) => Err(PacketError::Families(from, to)),
        }
    }

    fn v4(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<Vec<u8>, PacketError> {
        let mut header = Ipv4Header::new(
            0,
            self.ttl,
            IpNumber(self.protocol(false)),
            from.octets(),
            to.octets(),
        )
        .map_err(|_| PacketError::TooLong {
            what: "IPv4 payload",
            bytes: 0,
        })?;
        header.options = Ipv4Options::try_from(self.options.as_slice())
            .map_err(|_| PacketError::Options("IPv4"))?;
        let datagram = self.datagram_v4(&header)?;
        let (part, offset, more) = self.part(&datagram)?;
        header.identification = (self.id & 0xffff) as u16;
        header.dont_fragment = self.fragment.is_none();
        header.more_fragments = more;
        header.fragment_offset = offset;
        header
            .set_payload_len(part.len())
            .map_err(|_| PacketError::TooLong {
                what: "IPv4 payload",
                bytes: part.len(),
            })?;
        if let Some(length) = self.length {
            header.total_len = length;
        }
        header.header_checksum = 0;
        let mut bytes = header.to_bytes().to_vec();
        // The library keeps DSCP and ECN apart; the octet is written whole.
        bytes[1] = self.tos;
        let sum = super::check::ones_complement(&bytes, 0);
        bytes[10..12].copy_from_slice(&(!sum).to_be_bytes());
        bytes.extend_from_slice(part);
        Ok(bytes)
    }

    fn v6(&self, from: Ipv6Addr, to: Ipv6Addr) -> Result<Vec<u8>, PacketError> {
        let protocol = IpNumber(self.protocol(true));
        let mut header = Ipv6Header {
            traffic_class: self.tos,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: 0,
            next_header: protocol,
            hop_limit: self.ttl,
            source: from.octets(),
            destination: to.octets(),
        };
        let datagram = self.datagram_v6(&header)?;
        let (part, fragment_offset, more_fragments) = self.part(&datagram)?;
        let mut payload = Vec::new();
        if self.fragment.is_some() {
            let extension = Ipv6FragmentHeader {
                next_header: protocol,
                fragment_offset,
                more_fragments,
                identification: self.id,
            };
            header.next_header = IpNumber::IPV6_FRAGMENTATION_HEADER;
            payload.extend_from_slice(&extension.to_bytes());
        }
        payload.extend_from_slice(part);
        header
            .set_payload_length(payload.len())
            .map_err(|_| PacketError::TooLong {
                what: "IPv6 payload",
                bytes: payload.len(),
            })?;
        if let Some(length) = self.length {
            header.payload_length = length;
        }
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&payload);
        Ok(bytes)
    }

    /// The part of the datagram that travels in this packet, its offset, and whether more follow.
    fn part<'d>(&self, datagram: &'d [u8]) -> Result<(&'d [u8], IpFragOffset, bool), PacketError> {
        let Some(fragment) = self.fragment else {
            return Ok((datagram, IpFragOffset::ZERO, false));
        };
        let missing = PacketError::NoFragment {
            index: fragment.index,
            size: fragment.size,
            bytes: datagram.len(),
        };
        let start = fragment
            .index
            .checked_mul(fragment.size)
            .filter(|start| *start < datagram.len() && *start % 8 == 0);
        let start = start.ok_or_else(|| missing.clone())?;
        let end = datagram.len().min(start + fragment.size);
        let offset = u16::try_from(start / 8)
            .ok()
            .and_then(|units| IpFragOffset::try_new(units).ok());
        Ok((
            &datagram[start..end],
            offset.ok_or(missing)?,
            end < datagram.len(),
        ))
    }

    fn protocol(&self, v6: bool) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
            Transport::Sctp { .. } => 132,
            Transport::Echo { .. } | Transport::Error { .. } if v6 => 58,
            Transport::Echo { .. } | Transport::Error { .. } => 1,
            Transport::Other(protocol) => protocol,
        }
    }

    fn datagram_v4(&self, ip: &Ipv4Header) -> Result<Vec<u8>, PacketError> {
        let too_long = |_| PacketError::TooLong {
            what: "payload",
            bytes: self.payload.len(),
        };
        let header = match &self.transport {
            Transport::Tcp { .. } => {
                let mut tcp = self.tcp()?;
                tcp.checksum = tcp
                    .calc_checksum_ipv4(ip, &self.payload)
                    .map_err(too_long)?;
                tcp.to_bytes().to_vec()
            }
            Transport::Udp { src, dst, checksum } => {
                let udp = if *checksum {
                    UdpHeader::with_ipv4_checksum(*src, *dst, ip, &self.payload)
                } else {
                    UdpHeader::without_ipv4_checksum(*src, *dst, self.payload.len())
                };
                udp.map_err(too_long)?.to_bytes().to_vec()
            }
            Transport::Echo { reply, id, seq } => {
                let echo = IcmpEchoHeader { id: *id, seq: *seq };
                let kind = if *reply {
                    Icmpv4Type::EchoReply(echo)
                } else {
                    Icmpv4Type::EchoRequest(echo)
                };
                Icmpv4Header::with_checksum(kind, &self.payload)
                    .to_bytes()
                    .to_vec()
            }
            Transport::Error {
                kind: (type_u8, code_u8),
                rest,
                ..
            } => {
                let kind = Icmpv4Type::Unknown {
                    type_u8: *type_u8,
                    code_u8: *code_u8,
                    bytes5to8: rest.to_be_bytes(),
                };
                let quoted = self.quoted()?;
                let header = Icmpv4Header::with_checksum(kind, &[&quoted, &*self.payload].concat());
                [header.to_bytes().as_slice(), &quoted].concat()
            }
            Transport::Sctp { .. } | Transport::Other(_) => self.without_pseudo_header(),
        };
        Ok([header.as_slice(), &self.payload].concat())
    }

    fn datagram_v6(&self, ip: &Ipv6Header) -> Result<Vec<u8>, PacketError> {
        let too_long = |_| PacketError::TooLong {
            what: "payload",
            bytes: self.payload.len(),
        };
        let header = match &self.transport {
            Transport::Tcp { .. } => {
                let mut tcp = self.tcp()?;
                tcp.checksum = tcp
                    .calc_checksum_ipv6(ip, &self.payload)
                    .map_err(too_long)?;
                tcp.to_bytes().to_vec()
            }
            Transport::Udp { src, dst, checksum } => {
                let mut udp = UdpHeader::with_ipv6_checksum(*src, *dst, ip, &self.payload)
                    .map_err(too_long)?;
                if !checksum {
                    udp.checksum = 0;
                }
                udp.to_bytes().to_vec()
            }
            Transport::Echo { reply, id, seq } => {
                let echo = IcmpEchoHeader { id: *id, seq: *seq };
                let kind = if *reply {
                    Icmpv6Type::EchoReply(echo)
                } else {
                    Icmpv6Type::EchoRequest(echo)
                };
                let header =
                    Icmpv6Header::with_checksum(kind, ip.source, ip.destination, &self.payload);
                header.map_err(too_long)?.to_bytes().to_vec()
            }
            Transport::Error {
                kind: (type_u8, code_u8),
                rest,
                ..
            } => {
                let kind = Icmpv6Type::Unknown {
                    type_u8: *type_u8,
                    code_u8: *code_u8,
                    bytes5to8: rest.to_be_bytes(),
                };
                let quoted = self.quoted()?;
                let behind = [&quoted, &*self.payload].concat();
                let header = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, &behind);
                [header.map_err(too_long)?.to_bytes().as_slice(), &quoted].concat()
            }
            Transport::Sctp { .. } | Transport::Other(_) => self.without_pseudo_header(),
        };
        Ok([header.as_slice(), &self.payload].concat())
    }

    /// As much of the packet that an error is about as it quotes.
    fn quoted(&self) -> Result<Vec<u8>, PacketError> {
        let Transport::Error { quoted, quote, .. } = &self.transport else {
            return Ok(Vec::new());
        };
        let mut bytes = quoted.bytes()?;
        bytes.truncate(quote.unwrap_or(bytes.len()));
        Ok(bytes)
    }

    fn tcp(&self) -> Result<TcpHeader, PacketError> {
        let Transport::Tcp {
            src,
            dst,
            seq,
            ack,
            flags,
            options,
        } = &self.transport
        else {
            return Ok(TcpHeader::default());
        };
        let mut tcp = TcpHeader::new(*src, *dst, *seq, 64240);
        tcp.acknowledgment_number = *ack;
        tcp.fin = flags & 1 != 0;
        tcp.syn = flags & 2 != 0;
        tcp.rst = flags & 4 != 0;
        tcp.psh = flags & 8 != 0;
        tcp.ack = flags & 16 != 0;
        tcp.urg = flags & 32 != 0;
        if options.len() % 4 != 0 {
            return Err(PacketError::Options("TCP"));
        }
        tcp.set_options_raw(options)
            .map_err(|_| PacketError::Options("TCP"))?;
        Ok(tcp)
    }

    /// Headers whose checksum, if they have one, covers no address.
    fn without_pseudo_header(&self) -> Vec<u8> {
        let Transport::Sctp { src, dst, tag } = self.transport else {
            return Vec::new();
        };
        let mut header = Vec::with_capacity(12);
        header.extend_from_slice(&src.to_be_bytes());
        header.extend_from_slice(&dst.to_be_bytes());
        header.extend_from_slice(&tag.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        let sum = crc32c(&[header.as_slice(), &self.payload].concat());
        // RFC 9260, appendix A: the least significant byte travels first.
        header[8..12].copy_from_slice(&sum.to_le_bytes());
        header
    }
}
