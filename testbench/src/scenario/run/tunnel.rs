//! What is in a tunnel.
//!
//! In: a frame, and the tunnel that it should come in. Out: the frame without the tunnel. Every field of the outer headers
//! that says how long the packet is, where it is from and where it goes is looked at.

use std::net::IpAddr;

use super::super::ScenarioError;
use super::super::step::{Tunnel, Tunnelled};
use crate::packet::check::ones_complement;
use crate::packet::show::dump;

const ETHERNET: usize = 14;
const UDP: usize = 8;
/// Destination port of GUE.
const GUE: u16 = 6080;

pub(super) fn inside(frame: &[u8], way: &Tunnelled) -> Result<Vec<u8>, ScenarioError> {
    if way.via == Tunnel::SameLink {
        return Ok(frame.to_vec());
    }
    let wrong = |what: &str| {
        let shown = dump(frame);
        ScenarioError::Differs(format!("the tunnel's {what}:\n        {shown}"))
    };
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    let (header, length, protocol, from, to) =
        outer(packet).ok_or_else(|| wrong("header is cut short"))?;
    if length != packet.len() {
        return Err(wrong("length"));
    }
    if (Some(from), to) != (way.from, way.to) {
        return Err(wrong("addresses"));
    }
    let number = match (way.via, to) {
        (Tunnel::Gue, _) => 17,
        (_, IpAddr::V4(_)) => 4,
        (_, IpAddr::V6(_)) => 41,
    };
    if protocol != number {
        return Err(wrong("protocol"));
    }
    if to.is_ipv4() && ones_complement(&packet[..header], 0) != 0xffff {
        return Err(wrong("IPv4 checksum"));
    }
    let mut inner = &packet[header..];
    if way.via == Tunnel::Gue {
        let word = |at: usize| u16::from_be_bytes([inner[at], inner[at + 1]]);
        // The source port tells flows apart (RFC 6335's dynamic range); without a checksum as RFC 6935 allows.
        let said = inner.len() >= UDP
            && (word(0) >= 0xc000, word(2), usize::from(word(4)), word(6))
                == (true, GUE, inner.len(), 0);
        if !said {
            return Err(wrong("UDP header"));
        }
        inner = &inner[UDP..];
    }
    Ok([&frame[..ETHERNET], inner].concat())
}

/// Length of the outer header, of the whole packet, protocol, source and destination.
fn outer(packet: &[u8]) -> Option<(usize, usize, u8, IpAddr, IpAddr)> {
    let word = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *packet.get(at)?,
            *packet.get(at + 1)?,
        ])))
    };
    match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| -> Option<IpAddr> {
                let bytes: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(bytes.into())
            };
            Some((20, word(2)?, *packet.get(9)?, address(12)?, address(16)?))
        }
        6 => {
            let address = |at: usize| -> Option<IpAddr> {
                let bytes: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(bytes.into())
            };
            Some((
                40,
                word(4)? + 40,
                *packet.get(6)?,
                address(8)?,
                address(24)?,
            ))
        }
        _ => None,
    }
}
