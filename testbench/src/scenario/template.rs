//! A packet as a scenario writes it.
//!
//! In: the fields that a step names. Out: a [`Packet`] in which everything else is as in another packet: the default for
//! packets that are sent, the packet last sent for those that are expected. A field may allow several values
//! (`{any: [...], as: name}`) or be one that an earlier step found (`$name`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::error::ErrorSpec;
use crate::packet::show::unhex;
use crate::packet::{Body, Fragment, Ip, MacBytes, Packet, Transport};

/// Address and, where there is one, port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: Option<u16>,
}

/// What earlier steps found.
pub type Found = BTreeMap<String, Place>;

/// One place, or one of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum PlaceSpec {
    /// `10.0.0.1`, `10.0.0.1:80`, `[fd00::1]:80`, or `$name`.
    One(String),
    /// One of these; which one is remembered.
    Any {
        /// Candidates.
        any: Vec<String>,
        /// Name to remember it by.
        #[serde(rename = "as")]
        name: Option<String>,
    },
    /// The address of this place with any port but this one; which port is remembered.
    Moved {
        /// Address and the port that it must not have.
        other_port: String,
        /// Name to remember it by.
        #[serde(rename = "as")]
        name: Option<String>,
    },
}

/// Fields of a packet. What is left out is as in the packet that this one is derived from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Template {
    /// Port of the switch.
    pub port: Option<u32>,
    /// Source.
    pub from: Option<PlaceSpec>,
    /// Destination.
    pub to: Option<PlaceSpec>,
    /// `tcp`, `udp`, `sctp`, `echo-request`, `echo-reply`, or a protocol number.
    pub proto: Option<String>,
    /// Instead of a protocol: an ICMP error about another packet, without a payload unless one is named.
    pub error: Option<ErrorSpec>,
    /// TCP flags: `syn ack`.
    pub flags: Option<String>,
    /// TCP sequence number; echo sequence number.
    pub seq: Option<u32>,
    /// TCP acknowledgment number.
    pub ack: Option<u32>,
    /// TCP options in hexadecimal.
    pub tcp_options: Option<String>,
    /// `none`: UDP without a checksum.
    pub checksum: Option<String>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Type of service or traffic class.
    pub tos: Option<u8>,
    /// IP identification.
    pub id: Option<u32>,
    /// IPv4 options in hexadecimal.
    pub options: Option<String>,
    /// Which fragment of the datagram.
    pub fragment: Option<FragmentSpec>,
    /// Length field of the IP header, instead of the true one.
    pub length: Option<u16>,
    /// Payload as text.
    pub payload: Option<String>,
    /// Payload in hexadecimal.
    pub payload_hex: Option<String>,
    /// Payload of so many bytes.
    pub payload_length: Option<usize>,
    /// VLAN tag control information; 0 takes the tag off.
    pub vlan: Option<u16>,
    /// Ethernet source.
    pub src_mac: Option<String>,
    /// Ethernet destination.
    pub dst_mac: Option<String>,
    /// Not IP: this EtherType in hexadecimal, with `payload_hex` behind it.
    pub ethertype: Option<String>,
    /// Only so many bytes of the frame.
    pub cut: Option<usize>,
}

/// A fragment as scenarios write it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FragmentSpec {
    /// Bytes per fragment.
    pub size: usize,
    /// Which one, from 0.
    pub index: usize,
}

/// A template that makes no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A value that is not what the field takes.
    #[error("{field}: {value:?} is not {wanted}")]
    Value {
        /// Field.
        field: &'static str,
        /// As written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A name that no earlier step gave.
    #[error("{0:?} was not found by an earlier step")]
    NotFound(String),
    /// Several values where one is needed.
    #[error("{0} must be one value here")]
    Several(&'static str),
    /// A field without which there is no packet.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// Reads a place.
///
/// # Errors
/// [`TemplateError`] when it is none, or a name that is not known.
pub fn place(text: &str, found: &Found) -> Result<Place, TemplateError> {
    if let Some(name) = text.strip_prefix('$') {
        return found
            .get(name)
            .copied()
            .ok_or_else(|| TemplateError::NotFound(name.to_owned()));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(Place {
            ip: socket.ip(),
            port: Some(socket.port()),
        });
    }
    let ip = text.parse().map_err(|_| TemplateError::Value {
        field: "address",
        value: text.to_owned(),
        wanted: "an address, an address with port, or $name",
    })?;
    Ok(Place { ip, port: None })
}

impl PlaceSpec {
    /// Candidates, and the name under which the right one is remembered.
    ///
    /// # Errors
    /// As [`place`].
    pub fn candidates(&self, found: &Found) -> Result<(Vec<Place>, Option<&str>), TemplateError> {
        match self {
            Self::One(text) => Ok((vec![place(text, found)?], None)),
            Self::Any { any, name } => {
                let places = any
                    .iter()
                    .map(|text| place(text, found))
                    .collect::<Result<_, _>>()?;
                Ok((places, name.as_deref()))
            }
            Self::Moved { .. } => Err(TemplateError::Several("a place with `other_port`")),
        }
    }

    /// Where any port would do: the one that came.
    ///
    /// # Errors
    /// As [`place`].
    pub fn settle(&self, came: u16, found: &Found) -> Result<Self, TemplateError> {
        let Self::Moved { other_port, name } = self else {
            return Ok(self.clone());
        };
        let before = place(other_port, found)?;
        let port = if before.port == Some(came) {
            came.wrapping_add(1)
        } else {
            came
        };
        let now = Place {
            port: Some(port),
            ..before
        };
        Ok(Self::Any {
            any: vec![now.to_string()],
            name: name.clone(),
        })
    }
}

/// A packet that would do, and what is remembered if it comes.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The packet.
    pub packet: Packet,
    /// Names and their places.
    pub finds: Vec<(String, Place)>,
}

impl Template {
    /// The packet to send, derived from nothing.
    ///
    /// # Errors
    /// [`TemplateError`] when fields are missing or wrong.
    pub fn fresh(&self, dst_mac: MacBytes, found: &Found) -> Result<Packet, TemplateError> {
        let mut candidates = self.derive(&blank(dst_mac), found)?;
        if self.ethertype.is_none() && (self.from.is_none() || self.to.is_none()) {
            return Err(TemplateError::Missing("from or to"));
        }
        if self.ethertype.is_none() && self.proto.is_none() && self.error.is_none() {
            return Err(TemplateError::Missing("proto"));
        }
        match (candidates.pop(), candidates.len()) {
            (Some(candidate), 0) => Ok(candidate.packet),
            _ => Err(TemplateError::Several("from or to")),
        }
    }

    /// Every packet that the template allows, derived from another.
    ///
    /// # Errors
    /// [`TemplateError`] when fields are wrong.
    pub fn derive(&self, base: &Packet, found: &Found) -> Result<Vec<Candidate>, TemplateError> {
        let mut packet = base.clone();
        self.frame_fields(&mut packet)?;
        if let Body::Ip(ip) = &mut packet.body {
            self.ip_fields(ip)?;
            self.transport_fields(ip, found)?;
        }
        let mut candidates = vec![Candidate {
            packet,
            finds: Vec::new(),
        }];
        for (spec, is_source) in [(&self.from, true), (&self.to, false)] {
            let Some(spec) = spec else { continue };
            let (places, name) = spec.candidates(found)?;
            candidates = candidates
                .iter()
                .flat_map(|candidate| {
                    places
                        .iter()
                        .map(move |place| candidate.at(*place, is_source, name))
                })
                .collect();
        }
        Ok(candidates)
    }

    fn frame_fields(&self, packet: &mut Packet) -> Result<(), TemplateError> {
        if let Some(text) = &self.ethertype {
            let ethertype = u16::from_str_radix(text, 16)
                .map_err(|_| wrong("ethertype", text, "hexadecimal"))?;
            packet.body = Body::Other {
                ethertype,
                bytes: Vec::new(),
            };
        }
        if let Body::Other { bytes, .. } = &mut packet.body
            && let Some(payload) = self.payload_bytes()?
        {
            *bytes = payload;
        }
        if let Some(tci) = self.vlan {
            packet.vlan = (tci != 0).then_some(tci);
        }
        if let Some(text) = &self.src_mac {
            packet.src_mac = mac("src_mac", text)?;
        }
        if let Some(text) = &self.dst_mac {
            packet.dst_mac = mac("dst_mac", text)?;
        }
        packet.cut = self.cut.or(packet.cut);
        Ok(())
    }

    fn ip_fields(&self, ip: &mut Ip) -> Result<(), TemplateError> {
        ip.ttl = self.ttl.unwrap_or(ip.ttl);
        ip.tos = self.tos.unwrap_or(ip.tos);
        ip.id = self.id.unwrap_or(ip.id);
        ip.length = self.length.or(ip.length);
        if let Some(text) = &self.options {
            ip.options = unhex(text).ok_or_else(|| wrong("options", text, "hexadecimal"))?;
        }
        if let Some(FragmentSpec { size, index }) = self.fragment {
            ip.fragment = Some(Fragment { size, index });
        }
        if let Some(payload) = self.payload_bytes()? {
            ip.payload = payload;
        }
        Ok(())
    }

    fn payload_bytes(&self) -> Result<Option<Vec<u8>>, TemplateError> {
        if let Some(text) = &self.payload_hex {
            return unhex(text)
                .ok_or_else(|| wrong("payload_hex", text, "hexadecimal"))
                .map(Some);
        }
        if let Some(length) = self.payload_length {
            return Ok(Some((0..length).map(|at| (at % 251) as u8).collect()));
        }
        Ok(self.payload.as_ref().map(|text| text.as_bytes().to_vec()))
    }

    fn transport_fields(&self, ip: &mut Ip, found: &Found) -> Result<(), TemplateError> {
        if let Some(error) = &self.error {
            let is_one = matches!(ip.transport, Transport::Error { .. });
            if !is_one && self.payload_bytes()?.is_none() {
                ip.payload.clear();
            }
            ip.transport = error.derive(&ip.transport, found)?;
        }
        if let Some(text) = &self.proto {
            ip.transport = match text.as_str() {
                "tcp" => Transport::Tcp {
                    src: 0,
                    dst: 0,
                    seq: 1000,
                    ack: 0,
                    flags: 2,
                    options: Vec::new(),
                },
                "udp" => Transport::Udp {
                    src: 0,
                    dst: 0,
                    checksum: true,
                },
                "sctp" => Transport::Sctp {
                    src: 0,
                    dst: 0,
                    tag: 7,
                },
                "echo-request" => Transport::Echo {
                    reply: false,
                    id: 1,
                    seq: 1,
                },
                "echo-reply" => Transport::Echo {
                    reply: true,
                    id: 1,
                    seq: 1,
                },
                other => Transport::Other(
                    other
                        .parse()
                        .map_err(|_| wrong("proto", other, "a protocol"))?,
                ),
            };
        }
        match &mut ip.transport {
            Transport::Tcp {
                seq,
                ack,
                flags,
                options,
                ..
            } => {
                *seq = self.seq.unwrap_or(*seq);
                *ack = self.ack.unwrap_or(*ack);
                if let Some(text) = &self.flags {
                    *flags = tcp_flags(text)?;
                }
                if let Some(text) = &self.tcp_options {
                    *options =
                        unhex(text).ok_or_else(|| wrong("tcp_options", text, "hexadecimal"))?;
                }
            }
            Transport::Udp { checksum, .. } => {
                if let Some(text) = &self.checksum {
                    *checksum = match text.as_str() {
                        "none" => false,
                        "computed" => true,
                        other => return Err(wrong("checksum", other, "`none` or `computed`")),
                    };
                }
            }
            Transport::Echo { seq, .. } => {
                if let Some(number) = self.seq {
                    *seq = (number & 0xffff) as u16;
                }
            }
            Transport::Sctp { .. } | Transport::Error { .. } | Transport::Other(_) => {}
        }
        Ok(())
    }
}

impl Candidate {
    /// The same with another source or destination.
    fn at(&self, place: Place, is_source: bool, name: Option<&str>) -> Self {
        let mut next = self.clone();
        if let Body::Ip(ip) = &mut next.packet.body {
            let (src, dst) = ip.transport.ports().unwrap_or_default();
            if is_source {
                ip.from = place.ip;
                ip.transport.set_ports(place.port.unwrap_or(src), dst);
            } else {
                ip.to = place.ip;
                ip.transport.set_ports(src, place.port.unwrap_or(dst));
            }
        }
        next.finds.extend(name.map(|name| (name.to_owned(), place)));
        next
    }
}

/// TCP flags by name.
///
/// # Errors
/// [`TemplateError::Value`] for anything else.
pub fn tcp_flags(text: &str) -> Result<u8, TemplateError> {
    text.split_whitespace().try_fold(0, |flags, name| {
        Ok(flags
            | match name {
                "fin" => 1,
                "syn" => 2,
                "rst" => 4,
                "psh" => 8,
                "ack" => 16,
                "urg" => 32,
                other => return Err(wrong("flags", other, "a TCP flag")),
            })
    })
}

fn mac(field: &'static str, text: &str) -> Result<MacBytes, TemplateError> {
    unhex(text)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| wrong(field, text, "an Ethernet address"))
}

fn wrong(field: &'static str, value: &str, wanted: &'static str) -> TemplateError {
    TemplateError::Value {
        field,
        value: value.to_owned(),
        wanted,
    }
}

/// What a sent packet is unless a field says otherwise.
fn blank(dst_mac: MacBytes) -> Packet {
    Packet {
        src_mac: [0x02, 0, 0, 0, 0xee, 0x01],
        dst_mac,
        vlan: None,
        body: Body::Ip(Ip {
            from: IpAddr::from([0, 0, 0, 0]),
            to: IpAddr::from([0, 0, 0, 0]),
            ttl: 64,
            tos: 0,
            id: 0x1234,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport: Transport::Other(0),
            payload: b"nicproxy".to_vec(),
        }),
        cut: None,
    }
}
