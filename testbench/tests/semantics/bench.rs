//! A NIC that is asked what becomes of packets.
//!
//! In: clusters and packets. Out: what came out of the NIC. Invariant: every frame that comes out is consistent in itself,
//! checksums included, and belongs to the packet last sent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket};
use nicproxy::config::Program;
use nicproxy::tables::Address;
use softnic::clock::ManualClock;
use testbench::packet::check::{self, ones_complement};
use testbench::packet::{Body, Ip, Packet, Transport};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe as Reader;
use testbench::scenario::step::VERDICTS;
use testbench::target::Target;
use testbench::target::softnic::Embedded;

use super::judge::Probe;
use super::render::{GUE_PORT, config, objects};
use super::world::{Protocol, World, tunnel_ip};

const PATIENCE: Duration = Duration::from_secs(30);
/// Verdicts under which a packet is dropped for what a Service says.
const DROPS: [&str; 3] = ["policy", "source", "blackhole"];
/// Verdicts under which no packet may be dropped here.
const LOSSES: [&str; 9] = [
    "no-endpoint",
    "fragment",
    "malformed",
    "no-route",
    "checksum",
    "no-slow-path",
    "port",
    "no-masquerade",
    "no-tunnel",
];
const SYN: u8 = 2;
const RST: u8 = 4;
const RST_ACK: u8 = 20;
const SYN_ACK: u8 = 18;
const PSH_ACK: u8 = 24;
const FIN_ACK: u8 = 17;
const ACK: u8 = 16;
/// Sequence number of every segment, and the next one of a side that sent nothing but its SYN.
const SEQUENCE: u32 = 1000;

/// Address and port.
pub type Place = (IpAddr, u16);

/// What became of the first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered {
        to: Place,
        /// Source that the endpoint sees.
        from: Place,
    },
    /// As it was, in a tunnel to this address.
    Tunnelled(IpAddr),
    Refused,
    Dropped,
    Untouched,
}

/// A connection that got an endpoint.
#[derive(Clone, Debug)]
pub struct Open {
    pub probe: Probe,
    pub endpoint: Place,
    /// Source that the endpoint sees.
    pub caller: Place,
    /// Packets reach the endpoint in a tunnel.
    pub direct: bool,
}

pub struct Bench {
    clock: Arc<ManualClock>,
    target: Embedded,
    reader: Reader,
    plane: Option<Plane>,
    pub cluster: Cluster,
    held: BTreeMap<String, String>,
    dropped: u64,
    lost: u64,
}

/// A frame that came out, in parts.
struct Seen {
    from: Place,
    to: Place,
    number: u8,
    payload: Vec<u8>,
    /// It came in a tunnel to this address.
    tunnel: Option<IpAddr>,
}

impl Bench {
    pub fn start(program: Program) -> Self {
        let clock = Arc::new(ManualClock::default());
        let target = Embedded::start_with_clock(program, &[1, 2, 3], clock.clone()).unwrap();
        let mut reader = Reader::open(&target).unwrap();
        reader.reset(1).unwrap();
        Self {
            clock,
            target,
            reader,
            plane: None,
            cluster: Cluster::default(),
            held: BTreeMap::new(),
            dropped: 0,
            lost: 0,
        }
    }

    /// Empties the NIC; the next thing has to be [`Bench::restart`].
    pub fn reset(&mut self) {
        self.plane = None;
        self.reader.reset(1).unwrap();
        while self.target.receive(Instant::now()).is_some() {}
        (self.cluster, self.held) = (Cluster::default(), BTreeMap::new());
        (self.dropped, self.lost) = (0, 0);
    }

    /// Another control plane takes the NIC over, with the configuration of this world; how many updates it wrote.
    pub fn restart(&mut self, world: &World) -> Result<usize, String> {
        self.plane = None;
        self.hold(world)?;
        let plane = Plane::start(&self.target, &config(&world.settings), &self.cluster);
        let plane = plane.map_err(|error| error.to_string())?;
        let writes = plane.writes();
        plane.swept().map_err(|error| error.to_string())?;
        self.plane = Some(plane);
        Ok(writes)
    }

    /// Makes the cluster this one, in one batch of changes.
    pub fn become_world(&mut self, world: &World) -> Result<(), String> {
        let events = self.hold(world)?;
        let plane = self.plane.as_mut().ok_or("no control plane")?;
        let report = plane.change(events);
        let swept = report.and_then(|_| plane.swept());
        swept.map_err(|error| error.to_string())
    }

    fn hold(&mut self, world: &World) -> Result<Vec<nicproxy::model::Event>, String> {
        let wanted = objects(world);
        let gone = self.held.keys().filter(|name| !wanted.contains_key(*name));
        let gone: Vec<String> = gone.cloned().collect();
        let failed = |error: testbench::plane::PlaneError| error.to_string();
        let mut events = self.cluster.delete(&gone).map_err(failed)?;
        for (name, manifest) in &wanted {
            if self.held.get(name) != Some(manifest) {
                events.extend(self.cluster.apply(manifest).map_err(failed)?);
            }
        }
        self.held = wanted;
        Ok(events)
    }

    /// The first packet of a new connection.
    pub fn first(&mut self, probe: &Probe) -> Result<Outcome, String> {
        let client = (probe.from, probe.source);
        let called = (probe.to, probe.to_port);
        let sent = self.send(probe.port, client, called, probe.protocol, SYN)?;
        let Some(seen) = self.outcome()? else {
            return Ok(Outcome::Dropped);
        };
        if let Some(endpoint) = seen.tunnel {
            return if (seen.from, seen.to) == (client, called) {
                Ok(Outcome::Tunnelled(endpoint))
            } else {
                Err(format!("in the tunnel is {:?} to {:?}", seen.from, seen.to))
            };
        }
        if (seen.from, seen.to) == (client, called) {
            return Ok(Outcome::Untouched);
        }
        // Not a pod that calls itself by its node's address: it sees that address as its client.
        let refuses = match seen.number {
            6 => seen.payload.get(13).is_some_and(|flags| flags & RST != 0),
            number => number == 1 || number == 58,
        };
        if refuses && seen.from.0 == probe.to && seen.to.0 == probe.from {
            refused(&seen, probe, probe.source, &sent)?;
            return Ok(Outcome::Refused);
        }
        Ok(Outcome::Delivered {
            to: seen.to,
            from: seen.from,
        })
    }

    /// A later packet of a connection has to reach the same endpoint from the same source (S40, S41, S62).
    pub fn go_on(&mut self, open: &Open) -> Result<(), String> {
        let probe = open.probe;
        let client = (probe.from, probe.source);
        self.send(
            probe.port,
            client,
            (probe.to, probe.to_port),
            probe.protocol,
            PSH_ACK,
        )?;
        let Some(seen) = self.outcome()? else {
            return Err(format!(
                "an open connection to {:?} was dropped",
                open.endpoint
            ));
        };
        let same = if open.direct {
            seen.tunnel == Some(open.endpoint.0)
        } else {
            (seen.to, seen.from) == (open.endpoint, open.caller)
        };
        if same {
            Ok(())
        } else {
            Err(format!(
                "an open connection of {:?} to {:?} went from {:?} to {:?}",
                open.caller, open.endpoint, seen.from, seen.to
            ))
        }
    }

    /// The endpoint answers whom it saw; the client has to see the address that it called.
    pub fn answer(&mut self, open: &Open, greeting: bool) -> Result<(), String> {
        let probe = open.probe;
        let wanted = ((probe.to, probe.to_port), (probe.from, probe.source));
        // Of a packet that came in a tunnel the endpoint knows what is in it.
        let (from, to) = if open.direct {
            wanted
        } else {
            (open.endpoint, open.caller)
        };
        let flags = if greeting { SYN_ACK } else { PSH_ACK };
        self.send(behind(open.endpoint.0), from, to, probe.protocol, flags)?;
        match self.outcome()? {
            Some(seen) if (seen.from, seen.to) == wanted && seen.tunnel.is_none() => Ok(()),
            Some(seen) => Err(format!(
                "the answer came as {:?} to {:?}, should be {wanted:?}",
                seen.from, seen.to
            )),
            None => Err("the answer was dropped".to_owned()),
        }
    }

    /// Resets that cannot be the endpoints' own, from both sides: they are passed on, and end nothing (S68).
    pub fn forge(&mut self, open: &Open) -> Result<(), String> {
        for client in [true, false] {
            self.segment(open, client, RST, SEQUENCE + 0x4000_0000)?;
        }
        Ok(())
    }

    /// Both sides are done.
    pub fn close(&mut self, open: &Open) -> Result<(), String> {
        let steps = [(true, FIN_ACK), (false, ACK), (false, FIN_ACK), (true, ACK)];
        for (client, flags) in steps {
            self.segment(open, client, flags, SEQUENCE + 1)?;
        }
        Ok(())
    }

    /// The client resets the connection; whether nothing is known of it ten seconds later.
    pub fn abort(&mut self, open: &Open) -> Result<bool, String> {
        self.segment(open, true, RST, SEQUENCE + 1)?;
        self.pass(Duration::from_secs(12));
        // A device that does not learn tells the control plane, which removes it.
        let deadline = Instant::now() + PATIENCE;
        while self.knows(&open.probe)? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn knows(&mut self, probe: &Probe) -> Result<bool, String> {
        let entries = self.reader.entries("flow");
        let (from, to) = (Address::from(probe.from), Address::from(probe.to));
        let own = [from.hi, from.lo, to.hi, to.lo].map(u128::from);
        let ports = [probe.source, probe.to_port].map(u128::from);
        let same = |key: &[u128]| key[1] == 6 && key[2..6] == own && key[6..] == ports;
        let entries = entries.map_err(|error| error.to_string())?;
        Ok(entries.iter().any(|entry| same(&entry.key)))
    }

    /// A segment of an open connection; it has to arrive as if it came from the other side's partner.
    fn segment(
        &mut self,
        open: &Open,
        client: bool,
        flags: u8,
        sequence: u32,
    ) -> Result<(), String> {
        let probe = open.probe;
        let called = ((probe.from, probe.source), (probe.to, probe.to_port));
        let (port, sent, wanted) = if client {
            (probe.port, called, (open.caller, open.endpoint))
        } else {
            let answer = (open.endpoint, open.caller);
            (behind(open.endpoint.0), answer, (called.1, called.0))
        };
        let mut packet = datagram(sent.0, sent.1, Protocol::Tcp, flags);
        packet.payload.clear();
        if let Transport::Tcp { seq, .. } = &mut packet.transport {
            *seq = sequence;
        }
        self.put(port, packet)?;
        match self.outcome()? {
            Some(seen) if (seen.from, seen.to) == wanted => Ok(()),
            Some(seen) => Err(format!(
                "a segment came as {:?} to {:?}, should be {wanted:?}",
                seen.from, seen.to
            )),
            None => Err("a segment was dropped".to_owned()),
        }
    }

    /// The endpoint's side says that a packet was too big; the client has to read that of the packet that it sent (S69).
    pub fn complain(&mut self, open: &Open) -> Result<(), String> {
        let probe = open.probe;
        let quoted = datagram(open.caller, open.endpoint, probe.protocol, PSH_ACK);
        let quoted = Packet {
            body: Body::Ip(quoted),
            ..frame_of(1)
        };
        let quoted = quoted.frame().map_err(|error| error.to_string())?;
        let error = icmp_error(open.endpoint.0, open.caller.0, &quoted[14..]);
        self.put(behind(open.endpoint.0), error)?;
        let Some(seen) = self.outcome()? else {
            return Err("an ICMP error was dropped".to_owned());
        };
        let inner = seen.payload.get(8..).unwrap_or_default();
        let (from, to) = quoted_tuple(inner)?;
        let wanted = ((probe.from, probe.source), (probe.to, probe.to_port));
        if (seen.from.0, seen.to.0) != (probe.to, probe.from) || (from, to) != wanted {
            return Err(format!(
                "an ICMP error came from {} to {}, about {from:?} to {to:?}; should be about {wanted:?}",
                seen.from.0, seen.to.0
            ));
        }
        Ok(())
    }

    fn send(
        &mut self,
        port: u32,
        from: Place,
        to: Place,
        protocol: Protocol,
        flags: u8,
    ) -> Result<Vec<u8>, String> {
        self.put(port, datagram(from, to, protocol, flags))
    }

    fn put(&mut self, port: u32, ip: Ip) -> Result<Vec<u8>, String> {
        if let Some((port, _)) = self.target.receive(Instant::now()) {
            return Err(format!(
                "a frame more than expected came out of port {port}"
            ));
        }
        let packet = Packet {
            body: Body::Ip(ip),
            ..frame_of(port)
        };
        let frame = packet.frame().map_err(|error| error.to_string())?;
        let sent = self.target.send(port, &frame);
        sent.map_err(|error| error.to_string())?;
        Ok(frame)
    }

    /// What came out, or nothing once the packet is counted as dropped.
    fn outcome(&mut self) -> Result<Option<Seen>, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let soon = Instant::now() + Duration::from_millis(2);
            if let Some((_, frame)) = self.target.receive(soon) {
                return seen(&frame).map(Some);
            }
            let now = self.counts(&DROPS)?;
            if now != self.dropped {
                let more = now - std::mem::replace(&mut self.dropped, now);
                return if more == 1 {
                    Ok(None)
                } else {
                    Err(format!("one packet, {more} drops"))
                };
            }
            let lost = self.counts(&LOSSES)?;
            if std::mem::replace(&mut self.lost, lost) != lost {
                break;
            }
        }
        let counts: Vec<String> = VERDICTS
            .iter()
            .map(|name| format!("{name} {}", self.count(name).unwrap_or(0)))
            .collect();
        Err(format!(
            "neither came out nor was dropped for a Service; in all: {}",
            counts.join(", ")
        ))
    }

    fn counts(&mut self, verdicts: &[&str]) -> Result<u64, String> {
        verdicts.iter().map(|name| self.count(name)).sum()
    }

    fn count(&mut self, verdict: &str) -> Result<u64, String> {
        let index = VERDICTS.iter().position(|name| *name == verdict).unwrap();
        let count = self.reader.counter("verdicts", index as i64);
        count.map_err(|error| error.to_string())
    }
}

/// Port of the NIC behind which a pod is.
fn behind(pod: IpAddr) -> u32 {
    1 + match pod {
        IpAddr::V4(ip) => u32::from(ip.octets()[2]),
        IpAddr::V6(ip) => u32::from(ip.segments()[3]),
    }
}

fn frame_of(port: u32) -> Packet {
    Packet {
        src_mac: [2, 0, 0, 0, 0xe, port as u8],
        dst_mac: [2, 0, 0, 0, 0, port as u8],
        vlan: None,
        body: Body::Other {
            ethertype: 0,
            bytes: Vec::new(),
        },
        cut: None,
    }
}

fn datagram(from: Place, to: Place, protocol: Protocol, flags: u8) -> Ip {
    let (src, dst) = (from.1, to.1);
    let transport = match protocol {
        Protocol::Tcp => Transport::Tcp {
            src,
            dst,
            seq: SEQUENCE,
            ack: if flags == SYN { 0 } else { SEQUENCE + 1 },
            flags,
            options: Vec::new(),
        },
        Protocol::Udp => Transport::Udp {
            src,
            dst,
            checksum: true,
        },
        Protocol::Sctp => Transport::Sctp { src, dst, tag: 7 },
    };
    let payload = match protocol {
        Protocol::Sctp => vec![11, 0, 0, 4],
        Protocol::Tcp if flags == SYN => Vec::new(),
        _ => b"hello".to_vec(),
    };
    ip(from.0, to.0, transport, payload)
}

fn ip(from: IpAddr, to: IpAddr, transport: Transport, payload: Vec<u8>) -> Ip {
    Ip {
        from,
        to,
        ttl: 64,
        tos: 0,
        id: 1,
        options: Vec::new(),
        fragment: None,
        length: None,
        transport,
        payload,
    }
}

/// Fragmentation needed, or packet too big, about a packet.
fn icmp_error(from: IpAddr, to: IpAddr, quoted: &[u8]) -> Ip {
    let six = from.is_ipv6();
    let (number, kind): (u8, [u8; 2]) = if six { (58, [2, 0]) } else { (1, [3, 4]) };
    let mut payload = vec![kind[0], kind[1], 0, 0, 0, 0, 5, 0x78];
    payload.extend_from_slice(quoted);
    let mut pseudo = Vec::new();
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from, to) {
        pseudo.extend(from.octets());
        pseudo.extend(to.octets());
        pseudo.extend((payload.len() as u32).to_be_bytes());
        pseudo.extend([0, 0, 0, 58]);
    }
    let start = u64::from(ones_complement(&pseudo, 0));
    let sum = !ones_complement(&payload, start);
    payload[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(from, to, Transport::Other(number), payload)
}

/// Source and destination of a quoted packet whose IPv4 header is consistent.
fn quoted_tuple(inner: &[u8]) -> Result<(Place, Place), String> {
    let mut frame = vec![0; 12];
    let six = inner.first().is_some_and(|byte| byte >> 4 == 6);
    frame.extend(if six { [0x86, 0xdd] } else { [8, 0] });
    frame.extend_from_slice(inner);
    if !six && ones_complement(inner.get(..20).unwrap_or_default(), 0) != 0xffff {
        return Err("the quoted IPv4 header's checksum does not hold".to_owned());
    }
    let seen = parts(&frame)?;
    Ok((seen.from, seen.to))
}

fn seen(frame: &[u8]) -> Result<Seen, String> {
    let outer = parts(frame)?;
    // Around IPv4 is IP in IP, around IPv6 is GUE, which needs no checksum (RFC 6935).
    let inside = match outer.number {
        4 => Some(&outer.payload[..]),
        17 if outer.to.1 == GUE_PORT => outer.payload.get(8..),
        _ => None,
    };
    let tunnelled = outer.from.0 == tunnel_ip(outer.from.0.is_ipv6());
    let Some(inside) = inside.filter(|_| tunnelled) else {
        check::verify(frame).map_err(|error| error.to_string())?;
        return Ok(outer);
    };
    let mut inner = frame[..14].to_vec();
    inner.extend_from_slice(inside);
    check::verify(&inner).map_err(|error| error.to_string())?;
    Ok(Seen {
        tunnel: Some(outer.to.0),
        ..parts(&inner)?
    })
}

fn parts(frame: &[u8]) -> Result<Seen, String> {
    let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let (from, to): (IpAddr, IpAddr) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        Some(NetSlice::Ipv6(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        _ => return Err("not IP".to_owned()),
    };
    let payload = packet.ip_payload().ok_or("no payload")?;
    let bytes = payload.payload;
    let word = |at: usize| {
        bytes
            .get(at..at + 2)
            .map_or(0, |w| u16::from_be_bytes([w[0], w[1]]))
    };
    Ok(Seen {
        from: (from, word(0)),
        to: (to, word(2)),
        number: payload.ip_number.0,
        payload: bytes.to_vec(),
        tunnel: None,
    })
}

/// S36: TCP RST that acknowledges the SYN, or port unreachable that carries the packet as it was sent.
fn refused(seen: &Seen, probe: &Probe, source: u16, sent: &[u8]) -> Result<(), String> {
    if probe.protocol == Protocol::Tcp {
        let flags = seen.payload.get(13).copied().unwrap_or(0) & 0x3f;
        let ack = seen
            .payload
            .get(8..12)
            .map(|a| u32::from_be_bytes([a[0], a[1], a[2], a[3]]));
        let ports = (seen.from.1, seen.to.1) == (probe.to_port, source);
        return if seen.number == 6 && flags == RST_ACK && ack == Some(1001) && ports {
            Ok(())
        } else {
            Err(format!(
                "refused with protocol {}, flags {flags:#x}, ack {ack:?}",
                seen.number
            ))
        };
    }
    let wanted = if probe.to.is_ipv6() {
        (58, [1, 4])
    } else {
        (1, [3, 3])
    };
    let inner = seen.payload.get(8..).unwrap_or_default();
    let carried =
        !inner.is_empty() && sent[14..].starts_with(&inner[..inner.len().min(sent.len() - 14)]);
    if (seen.number, seen.payload.get(..2)) == (wanted.0, Some(&wanted.1[..])) && carried {
        return Ok(());
    }
    Err(format!(
        "refused with protocol {}, {:02x?}",
        seen.number, seen.payload
    ))
}
