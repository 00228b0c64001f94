//! A frame as far as the slow path needs to know it.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpHeaderSlice, VlanSlice, ip_number};

use crate::tables::flow::Tuple;

/// A parsed frame.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    /// Sender on the link.
    pub src_mac: [u8; 6],
    /// Receiver on the link.
    pub dst_mac: [u8; 6],
    /// VLAN tag's identifier.
    pub vlan: Option<u16>,
    /// IP source.
    pub src: IpAddr,
    /// IP destination.
    pub dst: IpAddr,
    /// IANA protocol number behind IP and its extension headers.
    pub protocol: u8,
    /// From the first byte of the IP header.
    pub ip: &'a [u8],
    /// From the first byte behind IP, as long as the IP header says.
    pub transport: &'a [u8],
}

/// What a reset needs to know of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub sequence: u32,
    /// Present when ACK is set.
    pub acknowledgment: Option<u32>,
    pub rst: bool,
    pub syn: bool,
    /// Sequence numbers that it takes: payload, SYN and FIN.
    pub length: u32,
}

impl<'a> Frame<'a> {
    /// Reads an Ethernet frame with IPv4 or IPv6 in it.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let sliced = LaxSlicedPacket::from_ethernet(bytes).ok()?;
        let LinkSlice::Ethernet2(link) = sliced.link.as_ref()? else {
            return None;
        };
        let (src_mac, dst_mac) = (link.source(), link.destination());
        let vlan = sliced.vlan().map(|tag| match tag {
            VlanSlice::SingleVlan(single) => single.vlan_identifier().value(),
            VlanSlice::DoubleVlan(double) => double.outer.vlan_identifier().value(),
        });
        let ip = sliced.ether_payload()?.payload;
        let net = sliced.net?;
        let (src, dst): (IpAddr, IpAddr) = match &net {
            LaxNetSlice::Ipv4(v4) => (
                v4.header().source_addr().into(),
                v4.header().destination_addr().into(),
            ),
            LaxNetSlice::Ipv6(v6) => (
                v6.header().source_addr().into(),
                v6.header().destination_addr().into(),
            ),
            LaxNetSlice::Arp(_) => return None,
        };
        let payload = net.ip_payload_ref()?;
        Some(Self {
            src_mac,
            dst_mac,
            vlan,
            src,
            dst,
            protocol: payload.ip_number.0,
            ip,
            transport: payload.payload,
        })
    }

    /// Addresses and ports, where the protocol has ports.
    pub(super) fn tuple(&self) -> Option<Tuple> {
        if !matches!(self.protocol, TCP | UDP | SCTP) {
            return None;
        }
        let &[a, b, c, d, ..] = self.transport else {
            return None;
        };
        Some(Tuple {
            src: self.src.into(),
            dst: self.dst.into(),
            src_port: u16::from_be_bytes([a, b]),
            dst_port: u16::from_be_bytes([c, d]),
        })
    }

    /// The TCP segment, if it is one.
    pub(super) fn segment(&self) -> Option<Segment> {
        if self.protocol != TCP {
            return None;
        }
        let header = TcpHeaderSlice::from_slice(self.transport).ok()?;
        let payload = self.transport.len().saturating_sub(header.slice().len());
        Some(Segment {
            sequence: header.sequence_number(),
            acknowledgment: header.ack().then(|| header.acknowledgment_number()),
            rst: header.rst(),
            syn: header.syn(),
            length: payload as u32 + u32::from(header.syn()) + u32::from(header.fin()),
        })
    }
}

/// IANA numbers.
pub(super) const TCP: u8 = ip_number::TCP.0;
pub(super) const UDP: u8 = ip_number::UDP.0;
pub(super) const SCTP: u8 = ip_number::SCTP.0;
