//! ICMP errors as scenarios write them.
//!
//! In: the kind by name, and the packet that the error quotes. Out: an error's transport ([`Transport::Error`]). What is left
//! out is as in the error that this one is derived from. Invariant: every checksum, also those of the quoted packet, is
//! computed afresh, so that a translated error that equals an expected one was checked by somebody else's arithmetic.

use serde::Deserialize;

use super::template::{Found, Template, TemplateError};
use crate::packet::{Body, Packet, Transport};

/// An error about a packet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorSpec {
    /// A name of [`kind`].
    pub kind: Option<String>,
    /// What the narrow link takes, of `packet-too-big`.
    pub mtu: Option<u16>,
    /// The quoted packet.
    pub of: Box<Template>,
    /// Bytes of it that are quoted; none: all.
    pub quote: Option<usize>,
}

/// Type and code of an error in the family's ICMP (RFC 792, RFC 4443).
pub fn kind(name: &str, v4: bool) -> Option<(u8, u8)> {
    Some(match (name, v4) {
        ("no-route", true) => (3, 0),
        ("no-route", false) => (1, 0),
        ("host-unreachable", true) => (3, 1),
        ("host-unreachable", false) => (1, 3),
        ("port-unreachable", true) => (3, 3),
        ("port-unreachable", false) => (1, 4),
        ("packet-too-big", true) => (3, 4),
        ("packet-too-big", false) => (2, 0),
        ("time-exceeded", true) => (11, 0),
        ("time-exceeded", false) => (3, 0),
        ("parameter-problem", true) => (12, 0),
        ("parameter-problem", false) => (4, 0),
        _ => return None,
    })
}

impl ErrorSpec {
    /// The error, derived from what the packet carries now.
    ///
    /// # Errors
    /// [`TemplateError`] when fields are missing or wrong.
    pub(super) fn derive(
        &self,
        before: &Transport,
        found: &Found,
    ) -> Result<Transport, TemplateError> {
        let (kind, rest, quoted, quote) = match before {
            Transport::Error {
                kind,
                rest,
                quoted,
                quote,
            } => (Some(*kind), *rest, Some((**quoted).clone()), *quote),
            _ => (None, 0, None, None),
        };
        let quoted = match quoted {
            None => self.of.fresh([0; 6], found)?,
            Some(ip) => {
                let packet = Packet {
                    src_mac: [0; 6],
                    dst_mac: [0; 6],
                    vlan: None,
                    body: Body::Ip(ip),
                    cut: None,
                };
                let mut all = self.of.derive(&packet, found)?;
                match (all.pop(), all.is_empty()) {
                    (Some(one), true) => one.packet,
                    _ => return Err(TemplateError::Several("from or to of a quoted packet")),
                }
            }
        };
        let Body::Ip(quoted) = quoted.body else {
            return Err(TemplateError::Missing("an IP packet to quote"));
        };
        let kind = match &self.kind {
            Some(name) => {
                self::kind(name, quoted.from.is_ipv4()).ok_or_else(|| TemplateError::Value {
                    field: "kind",
                    value: name.clone(),
                    wanted: "an ICMP error",
                })?
            }
            None => kind.ok_or(TemplateError::Missing("kind"))?,
        };
        Ok(Transport::Error {
            kind,
            rest: self.mtu.map_or(rest, u32::from),
            quoted: Box::new(quoted),
            quote: self.quote.or(quote),
        })
    }
}
