//! Whether what came out is what should have.
//!
//! In: frames from a target, frames that would do. Out: which of them came, or a message that shows both sides.
//! Invariant: a frame that nobody expects is a failure, whatever else comes.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::ScenarioError;
use super::error;
use super::step::Answer;
use super::template::{self, Found, Place};
use crate::packet::check::verify;
use crate::packet::show::dump;
use crate::packet::{Body, MacBytes, Packet, Transport};
use crate::target::Target;

/// How long an expected packet may take: set-up of a flow by a control plane in a debug build, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must come where nothing else tells that the packet has been dealt with.
pub const QUIET: Duration = Duration::from_millis(250);

/// The shortest frame, without its checksum.
const SHORTEST: usize = 60;

/// A frame that would do.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Port it comes out of.
    pub port: u32,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// What is remembered when it comes.
    pub finds: Vec<(String, Place)>,
    /// Lengths and checksums must hold; not where the packet sent was broken on purpose.
    pub consistent: bool,
}

/// What was sent last.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Port it went into.
    pub port: u32,
    /// Its description.
    pub packet: Packet,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// Waits for one of these frames and says which came.
///
/// # Errors
/// [`ScenarioError::Differs`] when another frame comes or none.
pub fn one_of(target: &dyn Target, wanted: &[Wanted]) -> Result<usize, ScenarioError> {
    let came = target.receive(Instant::now() + PATIENCE);
    among(came, wanted)
}

/// Which of these frames came.
///
/// # Errors
/// As [`one_of`].
pub fn among(came: Option<(u32, Vec<u8>)>, wanted: &[Wanted]) -> Result<usize, ScenarioError> {
    let Some((port, frame)) = came else {
        return Err(ScenarioError::Differs(format!(
            "nothing came out{}",
            list(wanted)
        )));
    };
    let found = wanted
        .iter()
        .position(|want| want.port == port && want.frame == frame);
    let Some(at) = found else {
        let got = format!(
            "came out of port {port}:\n        {}{}",
            dump(&frame),
            list(wanted)
        );
        return Err(ScenarioError::Differs(got));
    };
    if wanted[at].consistent {
        verify(&frame).map_err(|error| {
            ScenarioError::Differs(format!("{error}:\n        {}", dump(&frame)))
        })?;
    }
    Ok(at)
}

/// Waits for this frame, which may be filled up with zeros to the shortest length that Ethernet has.
///
/// # Errors
/// As [`one_of`].
pub fn padded(target: &dyn Target, port: u32, frame: &[u8]) -> Result<(), ScenarioError> {
    let came = target.receive(Instant::now() + PATIENCE);
    let mut frame = frame.to_vec();
    if let Some((_, came)) = &came
        && came.len() == SHORTEST.max(frame.len())
    {
        frame.resize(came.len(), 0);
    }
    let wanted = Wanted {
        port,
        frame,
        finds: Vec::new(),
        consistent: false,
    };
    among(came, &[wanted]).map(drop)
}

/// Nothing comes until then.
///
/// # Errors
/// [`ScenarioError::Differs`] with what came.
pub fn nothing(target: &dyn Target, until: Instant) -> Result<(), ScenarioError> {
    match target.receive(until) {
        None => Ok(()),
        Some((port, frame)) => {
            let got = format!(
                "nothing should come, port {port} has:\n        {}",
                dump(&frame)
            );
            Err(ScenarioError::Differs(got))
        }
    }
}

fn list(wanted: &[Wanted]) -> String {
    let mut text = String::from("\n      expected");
    for want in wanted.iter().take(4) {
        let _ = write!(
            text,
            " on port {}:\n        {}\n      or",
            want.port,
            dump(&want.frame)
        );
    }
    text.truncate(text.len().saturating_sub("\n      or".len()));
    if wanted.len() > 4 {
        let _ = write!(text, "\n      or {} others", wanted.len() - 4);
    }
    text
}

/// Waits for the control plane's answer to the packet last sent.
///
/// # Errors
/// [`ScenarioError::Differs`] with the frame and the field that is not as it should be.
pub fn answer(
    target: &dyn Target,
    want: &Answer,
    sent: &Sent,
    found: &Found,
) -> Result<(), ScenarioError> {
    let Some((port, frame)) = target.receive(Instant::now() + PATIENCE) else {
        return Err(ScenarioError::Differs("no answer came".to_owned()));
    };
    let result = check_answer(port, &frame, want, sent, found);
    result
        .map_err(|problem| ScenarioError::Differs(format!("{problem}:\n        {}", dump(&frame))))
}

fn check_answer(
    port: u32,
    frame: &[u8],
    want: &Answer,
    sent: &Sent,
    found: &Found,
) -> Result<(), String> {
    same("port", port, want.port)?;
    verify(frame).map_err(|error| error.to_string())?;
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    same(
        "Ethernet destination",
        mac(frame, 0),
        Some(sent.packet.src_mac),
    )?;
    let tag = sent.packet.vlan.map(|tci| tci & 0xfff);
    same("VLAN", packet.vlan_ids().first().map(|id| id.value()), tag)?;
    let Body::Ip(original) = &sent.packet.body else {
        return Err("only IP packets are answered".to_owned());
    };
    let (from, to) = addresses(&packet).ok_or("not IP")?;
    same("destination", to, original.from)?;
    if let Some(spec) = &want.from {
        let (places, _) = spec.candidates(found).map_err(|error| error.to_string())?;
        if !places.iter().any(|place| place.ip == from) {
            return Err(format!("source is {from}"));
        }
    }
    match (&want.flags, &want.icmp) {
        (Some(flags), None) => segment(&packet, flags, want, original.transport.ports()),
        (None, Some(icmp)) => error_message(&packet, icmp, sent),
        _ => Err("the step must have either `flags` or `icmp`".to_owned()),
    }
}

fn segment(
    packet: &SlicedPacket<'_>,
    flags: &str,
    want: &Answer,
    ports: Option<(u16, u16)>,
) -> Result<(), String> {
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        return Err("not TCP".to_owned());
    };
    same(
        "ports",
        Some((tcp.destination_port(), tcp.source_port())),
        ports,
    )?;
    let wanted = template::tcp_flags(flags).map_err(|error| error.to_string())?;
    same("flags", tcp.slice()[13] & 0x3f, wanted)?;
    if let Some(seq) = want.seq {
        same("sequence number", tcp.sequence_number(), seq)?;
    }
    if let Some(ack) = want.ack {
        same("acknowledgment number", tcp.acknowledgment_number(), ack)?;
    }
    Ok(())
}

fn error_message(packet: &SlicedPacket<'_>, icmp: &str, sent: &Sent) -> Result<(), String> {
    let (kind, code, quote) = match &packet.transport {
        Some(TransportSlice::Icmpv4(icmp)) => {
            (icmp.type_u8(), icmp.code_u8(), icmp.slice().get(8..))
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            (icmp.type_u8(), icmp.code_u8(), icmp.slice().get(8..))
        }
        _ => return Err("not ICMP".to_owned()),
    };
    let v4 = matches!(packet.net, Some(NetSlice::Ipv4(_)));
    let wanted =
        error::kind(icmp, v4).ok_or_else(|| format!("the step's icmp: {icmp:?} is not known"))?;
    same("ICMP type and code", (kind, code), wanted)?;
    let quote = quote.unwrap_or_default();
    let original = &sent.frame[if sent.packet.vlan.is_some() { 18 } else { 14 }..];
    // RFC 792 and 4443: the offending packet, its transport ports at least.
    if quote.len() < 28 || !original.starts_with(&quote[..quote.len().min(original.len())]) {
        return Err("it does not quote the packet as sent".to_owned());
    }
    Ok(())
}

fn addresses(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => Some((
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        )),
        NetSlice::Ipv6(ip) => Some((
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        )),
        NetSlice::Arp(_) => None,
    }
}

fn mac(frame: &[u8], at: usize) -> Option<MacBytes> {
    frame.get(at..at + 6)?.try_into().ok()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what} is {found:?}, should be {wanted:?}"))
    }
}

/// Source port of a TCP, UDP or SCTP packet without options or extension headers.
pub fn source_port(frame: &[u8]) -> Option<u16> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let ports = packet.ip_payload()?.payload.get(..2)?;
    Some(u16::from_be_bytes([ports[0], ports[1]]))
}

/// One hop further: TTL less by one.
pub fn hop(packet: &mut Packet) {
    if let Body::Ip(ip) = &mut packet.body {
        ip.ttl = ip.ttl.saturating_sub(1);
    }
}

/// A segment or datagram of a connection.
pub fn datagram(
    base: &Packet,
    from: Place,
    to: Place,
    transport: Transport,
    payload: &[u8],
) -> Packet {
    let mut packet = base.clone();
    if let Body::Ip(ip) = &mut packet.body {
        (ip.from, ip.to) = (from.ip, to.ip);
        ip.transport = transport;
        ip.transport
            .set_ports(from.port.unwrap_or_default(), to.port.unwrap_or_default());
        ip.payload = payload.to_vec();
    }
    packet
}
