//! A NIC that is asked what becomes of packets.
//!
//! In: worlds and packets. Out: what came out of the NIC, as a verdict of the oracle's kind. Invariant: every frame that
//! comes out is consistent in itself, checksums included, and belongs to the packet last sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket};
use nicproxy::config::{Config, Mac, Program, RouteConfig};
use testbench::packet::{Body, Ip, Packet, Transport, check};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe as Reader;
use testbench::scenario::step::VERDICTS;
use testbench::scenario::{folder, load_all};
use testbench::target::Target;
use testbench::target::softnic::Embedded;

use super::judge::{Probe, Verdict};
use super::render::objects;
use super::world::{Protocol, World};

const PATIENCE: Duration = Duration::from_secs(10);
/// Verdicts under which a packet is dropped for what a Service says.
const DROPS: [&str; 3] = ["policy", "source", "blackhole"];
const SYN: u8 = 2;
const RST_ACK: u8 = 20;
const SYN_ACK: u8 = 18;
const PSH_ACK: u8 = 24;

/// A connection that got an endpoint.
#[derive(Clone, Debug)]
pub struct Open {
    pub probe: Probe,
    source: u16,
    pub endpoint: (IpAddr, u16),
}

pub struct Bench {
    target: Embedded,
    reader: Reader,
    plane: Plane,
    cluster: Cluster,
    held: BTreeMap<String, String>,
    dropped: u64,
    source: u16,
    /// Whether the program tells pods and the node from other clients.
    pub classes: bool,
}

/// A frame that came out, in parts.
struct Seen {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    number: u8,
    payload: Vec<u8>,
}

fn config() -> Config {
    let mut config = load_all(&folder()).unwrap().remove(0).config;
    let routes = [
        ("192.0.2.1/32", 1),
        ("192.0.2.0/24", 2),
        ("198.51.100.0/24", 2),
        ("203.0.113.0/24", 2),
        ("2001:db8::1/128", 1),
        ("2001:db8::/32", 2),
    ];
    config
        .routes
        .extend(routes.map(|(prefix, port)| RouteConfig {
            prefix: prefix.parse().unwrap(),
            vpc: 0,
            port: Some(port),
            src_mac: None,
            dst_mac: Some(Mac([2, 0, 0, 0, 0xf, port as u8])),
        }));
    config.slow_path.refusals_per_second = 1_000_000;
    config
}

impl Bench {
    pub fn start(program: Program, world: &World) -> Self {
        let target = Embedded::start(program, &[1, 2, 3]).unwrap();
        let mut reader = Reader::open(&target).unwrap();
        reader.reset(1).unwrap();
        let classes = reader.schema().table("client").is_some();
        let held = objects(world);
        let mut cluster = Cluster::default();
        for manifest in held.values() {
            cluster.apply(manifest).unwrap();
        }
        let plane = Plane::start(&target, &config(), &cluster).unwrap();
        Self {
            target,
            reader,
            plane,
            cluster,
            held,
            dropped: 0,
            source: 1024,
            classes,
        }
    }

    /// Makes the cluster this one, in one batch of changes.
    pub fn become_world(&mut self, world: &World) -> Result<(), String> {
        let wanted = objects(world);
        let gone: Vec<String> = self
            .held
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();
        let mut events = self
            .cluster
            .delete(&gone)
            .map_err(|error| error.to_string())?;
        for (name, manifest) in &wanted {
            if self.held.get(name) != Some(manifest) {
                events.extend(
                    self.cluster
                        .apply(manifest)
                        .map_err(|error| error.to_string())?,
                );
            }
        }
        self.held = wanted;
        self.plane
            .change(events)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// The first packet of a new connection, and the answer to it.
    pub fn probe(&mut self, probe: &Probe) -> Result<(Verdict, Option<Open>), String> {
        self.source = if self.source == u16::MAX {
            1024
        } else {
            self.source + 1
        };
        let source = self.source;
        let sent = self.send(
            probe.port,
            (probe.from, source),
            (probe.to, probe.to_port),
            probe.protocol,
            SYN,
        )?;
        let Some(seen) = self.outcome()? else {
            return Ok((Verdict::Drop, None));
        };
        let client = (probe.from, source);
        if seen.from.0 == probe.to && seen.to.0 == probe.from {
            refused(&seen, probe, source, &sent)?;
            return Ok((Verdict::Reject, None));
        }
        if seen.to == (probe.to, probe.to_port) {
            return if seen.from == client {
                Ok((Verdict::Untouched, None))
            } else {
                Err(format!(
                    "passed on to {:?}, but from {:?}",
                    seen.to, seen.from
                ))
            };
        }
        let open = Open {
            probe: *probe,
            source,
            endpoint: seen.to,
        };
        self.answer(&open, seen.from)?;
        Ok((Verdict::Deliver(BTreeSet::from([seen.to])), Some(open)))
    }

    /// A later packet of a connection has to reach the same endpoint (S40, S41, S62).
    pub fn go_on(&mut self, open: &Open) -> Result<(), String> {
        let Probe {
            from,
            port,
            to,
            to_port,
            protocol,
        } = open.probe;
        self.send(port, (from, open.source), (to, to_port), protocol, PSH_ACK)?;
        match self.outcome()? {
            Some(seen) if seen.to == open.endpoint => self.answer(open, seen.from),
            Some(seen) => Err(format!(
                "an open connection to {:?} went to {:?}",
                open.endpoint, seen.to
            )),
            None => Err(format!(
                "an open connection to {:?} was dropped",
                open.endpoint
            )),
        }
    }

    /// The endpoint answers whom it saw; the client has to see the address that it called.
    fn answer(&mut self, open: &Open, caller: (IpAddr, u16)) -> Result<(), String> {
        let place = match open.endpoint.0 {
            IpAddr::V4(ip) => u32::from(ip.octets()[2]),
            IpAddr::V6(ip) => u32::from(ip.segments()[3]),
        };
        self.send(
            place + 1,
            open.endpoint,
            caller,
            open.probe.protocol,
            SYN_ACK,
        )?;
        let wanted = (
            (open.probe.to, open.probe.to_port),
            (open.probe.from, open.source),
        );
        match self.outcome()? {
            Some(seen) if (seen.from, seen.to) == wanted => Ok(()),
            Some(seen) => Err(format!(
                "the answer came as {:?} to {:?}, should be {wanted:?}",
                seen.from, seen.to
            )),
            None => Err("the answer was dropped".to_owned()),
        }
    }

    fn send(
        &mut self,
        port: u32,
        from: (IpAddr, u16),
        to: (IpAddr, u16),
        protocol: Protocol,
        flags: u8,
    ) -> Result<Vec<u8>, String> {
        if let Some((port, _)) = self.target.receive(Instant::now()) {
            return Err(format!(
                "a frame more than expected came out of port {port}"
            ));
        }
        let (src, dst) = (from.1, to.1);
        let transport = match protocol {
            Protocol::Tcp => Transport::Tcp {
                src,
                dst,
                seq: 1000,
                ack: 0,
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
        let ip = Ip {
            from: from.0,
            to: to.0,
            ttl: 64,
            tos: 0,
            id: 1,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport,
            payload,
        };
        let packet = Packet {
            src_mac: [2, 0, 0, 0, 0xe, port as u8],
            dst_mac: [2, 0, 0, 0, 0, port as u8],
            vlan: None,
            body: Body::Ip(ip),
            cut: None,
        };
        let frame = packet.frame().map_err(|error| error.to_string())?;
        self.target
            .send(port, &frame)
            .map_err(|error| error.to_string())?;
        Ok(frame)
    }

    /// What came out, or nothing once the packet is counted as dropped.
    fn outcome(&mut self) -> Result<Option<Seen>, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let soon = Instant::now() + Duration::from_millis(5);
            if let Some((_, frame)) = self.target.receive(soon) {
                check::verify(&frame).map_err(|error| error.to_string())?;
                return seen(&frame).map(Some);
            }
            let mut now = 0;
            for name in DROPS {
                let index = VERDICTS
                    .iter()
                    .position(|verdict| *verdict == name)
                    .unwrap();
                let count = self.reader.counter("verdicts", index as i64);
                now += count.map_err(|error| error.to_string())?;
            }
            if now != self.dropped {
                let more = now - self.dropped;
                self.dropped = now;
                return if more == 1 {
                    Ok(None)
                } else {
                    Err(format!("one packet, {more} drops"))
                };
            }
        }
        let mut counts = Vec::new();
        for (index, name) in VERDICTS.iter().enumerate() {
            counts.push(format!(
                "{name} {}",
                self.reader.counter("verdicts", index as i64).unwrap_or(0)
            ));
        }
        Err(format!(
            "neither came out nor was dropped for a Service; in all: {}",
            counts.join(", ")
        ))
    }
}

fn seen(frame: &[u8]) -> Result<Seen, String> {
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
