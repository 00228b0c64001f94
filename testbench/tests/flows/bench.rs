//! A client, its connections, and a NIC whose clock the test moves.
//!
//! In: endpoints, segments. Out: where packets went. Every frame that comes out has right checksums.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Type, IpNumber, Ipv4Header, Ipv4HeaderSlice, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice,
};
use nicproxy::config::Program;
use softnic::ManualClock;
use testbench::packet::{Body, Ip, Packet, Transport, check};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::{folder, load_all};
use testbench::target::Target;
use testbench::target::softnic::Embedded;

pub const PROGRAMS: [Program; 2] = [Program::Pna, Program::V1model];
pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 9));
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 30));
const DNS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 53));
const PATIENCE: Duration = Duration::from_secs(20);
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// An endpoint of both Services.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub ip: IpAddr,
    terminating: bool,
}

impl Endpoint {
    /// Not ready any more, and still answering.
    pub fn terminating(self) -> Self {
        Self {
            terminating: true,
            ..self
        }
    }
}

/// On a node behind port `place + 1`.
pub fn endpoint(place: u8, last: u8) -> Endpoint {
    Endpoint {
        ip: Ipv4Addr::new(10, 244, place, last).into(),
        terminating: false,
    }
}

/// Services `web` over TCP and `dns` over UDP with these endpoints.
pub fn objects(endpoints: &[Endpoint]) -> String {
    let mut out = String::new();
    for (name, ip, port, target, protocol) in
        [("web", VIP, 80, 8080, "TCP"), ("dns", DNS, 53, 5353, "UDP")]
    {
        out += &format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  clusterIP: {ip}\n  clusterIPs: [{ip}]\n  ipFamilies: [IPv4]\n  ports: [{{port: {port}, targetPort: {target}, protocol: {protocol}}}]\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: \"\", protocol: {protocol}, port: {target}}}]\nendpoints:\n"
        );
        for one in endpoints {
            let (ip, gone) = (one.ip, one.terminating);
            out += &format!(
                "  - {{addresses: [{ip}], conditions: {{ready: {}, serving: true, terminating: {gone}}}}}\n",
                !gone
            );
        }
        if endpoints.is_empty() {
            out += "  []\n";
        }
    }
    out
}

/// One segment of a connection.
#[derive(Clone, Copy)]
pub struct Segment {
    answer: bool,
    flags: u8,
    off: u32,
}

impl Segment {
    /// From the client.
    pub const fn client(flags: u8) -> Self {
        Self {
            answer: false,
            flags,
            off: 0,
        }
    }

    /// From the endpoint.
    pub const fn answer(flags: u8) -> Self {
        Self {
            answer: true,
            flags,
            off: 0,
        }
    }

    /// So far from its place in the sequence.
    pub const fn off(self, off: u32) -> Self {
        Self { off, ..self }
    }
}

/// A connection as its ends know it.
#[derive(Clone, Copy)]
struct Connection {
    endpoint: IpAddr,
    /// What comes next: from the client, from the endpoint.
    next: [u32; 2],
}

/// A frame that came out.
struct Seen {
    port: u32,
    from: IpAddr,
    to: IpAddr,
    frame: Vec<u8>,
}

/// Address and port.
pub type Place = (IpAddr, u16);

pub struct Bench {
    target: Embedded,
    plane: Plane,
    cluster: Cluster,
    reader: Probe,
    clock: Arc<ManualClock>,
    connections: BTreeMap<u16, Connection>,
}

impl Bench {
    pub fn start(program: Program, manifests: &str) -> Self {
        let clock = Arc::new(ManualClock::default());
        let target = Embedded::start_with_clock(program, &[1, 2, 3], clock.clone()).unwrap();
        let mut reader = Probe::open(&target).unwrap();
        reader.reset(1).unwrap();
        let mut cluster = Cluster::default();
        cluster.apply(manifests).unwrap();
        let scenarios = load_all(&folder()).unwrap();
        let usual = scenarios.iter().find(|one| one.name == "clusterip-tcp");
        let config = usual.unwrap().config.clone();
        let plane = Plane::start(&target, &config, &cluster).unwrap();
        Self {
            target,
            plane,
            cluster,
            reader,
            clock,
            connections: BTreeMap::new(),
        }
    }

    pub fn apply(&mut self, manifests: &str) {
        let events = self.cluster.apply(manifests).unwrap();
        self.plane.change(events).unwrap();
    }

    pub fn delete(&mut self, objects: &[&str]) {
        let objects: Vec<String> = objects.iter().map(|name| (*name).to_owned()).collect();
        let events = self.cluster.delete(&objects).unwrap();
        self.plane.change(events).unwrap();
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Waits until something holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: not in time");
        }
    }

    /// Connections of a protocol in the device.
    pub fn flows(&mut self, protocol: u8) -> usize {
        let entries = self.reader.entries("flow").unwrap();
        let of = |key: &[u128]| key[1] == u128::from(protocol);
        entries.iter().filter(|entry| of(&entry.key)).count()
    }

    /// Whether a TCP connection of this port is in the device.
    pub fn has_flow(&mut self, port: u16) -> bool {
        let entries = self.reader.entries("flow").unwrap();
        let of = |key: &[u128]| key[1] == 6 && key[6] == u128::from(port);
        entries.iter().any(|entry| of(&entry.key))
    }

    fn out(&mut self, port: u32, frame: &[u8]) -> Option<Seen> {
        while self.target.receive(Instant::now()).is_some() {}
        self.target.send(port, frame).unwrap();
        let (port, frame) = self.target.receive(Instant::now() + PATIENCE)?;
        check::verify(&frame).unwrap();
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
            panic!("not IPv4");
        };
        let (from, to) = (ip.header().source_addr(), ip.header().destination_addr());
        Some(Seen {
            port,
            from: from.into(),
            to: to.into(),
            frame: frame.clone(),
        })
    }

    fn frame(from: IpAddr, to: IpAddr, transport: Transport, payload: &[u8]) -> Vec<u8> {
        let ip = Ip {
            from,
            to,
            ttl: 64,
            tos: 0,
            id: 1,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport,
            payload: payload.to_vec(),
        };
        let packet = Packet {
            src_mac: [2, 0, 0, 0, 0xe, 1],
            dst_mac: [2, 0, 0, 0, 0, 1],
            vlan: None,
            body: Body::Ip(ip),
            cut: None,
        };
        packet.frame().unwrap()
    }

    fn ask(&mut self, port: u16) -> Seen {
        let transport = Transport::Udp {
            src: port,
            dst: 53,
            checksum: true,
        };
        let frame = Self::frame(CLIENT, DNS, transport, b"who");
        self.out(1, &frame).unwrap()
    }

    /// A datagram to `dns`: the endpoint that it reached.
    pub fn udp(&mut self, port: u16) -> IpAddr {
        let seen = self.ask(port);
        assert_eq!(seen.from, CLIENT, "delivered, not refused");
        seen.to
    }

    /// Whether a datagram to `dns` is refused.
    pub fn udp_refused(&mut self, port: u16) -> bool {
        let seen = self.ask(port);
        seen.to == CLIENT && seen.from == DNS
    }

    fn segment(&self, port: u16, segment: Segment) -> Vec<u8> {
        let one = self.connections[&port];
        let [mine, other] = match segment.answer {
            false => one.next,
            true => [one.next[1], one.next[0]],
        };
        let (src, dst) = match segment.answer {
            false => ((CLIENT, port), (VIP, 80)),
            true => ((one.endpoint, 8080), (CLIENT, port)),
        };
        let acknowledges = segment.flags & ACK != 0;
        let transport = Transport::Tcp {
            src: src.1,
            dst: dst.1,
            seq: mine.wrapping_add(segment.off),
            ack: if acknowledges { other } else { 0 },
            flags: segment.flags,
            options: Vec::new(),
        };
        Self::frame(src.0, dst.0, transport, &[])
    }

    /// The client's SYN, with the endpoint that it reached.
    pub fn begin(&mut self, port: u16) {
        let fresh = Connection {
            endpoint: CLIENT,
            next: [1000, 5000],
        };
        self.connections.insert(port, fresh);
        let frame = self.syn(port);
        let reached = self.client(frame).unwrap();
        let one = Connection {
            endpoint: reached,
            next: [1001, 5000],
        };
        self.connections.insert(port, one);
    }

    /// One more segment, which has to reach the other side.
    pub fn exchange(&mut self, port: u16, segment: Segment) {
        let frame = self.segment(port, segment);
        let one = self.connections[&port];
        let (wire, from, to) = match (segment.answer, one.endpoint) {
            (true, IpAddr::V4(ip)) => (u32::from(ip.octets()[2]) + 1, VIP, CLIENT),
            (_, endpoint) => (1, CLIENT, endpoint),
        };
        let seen = self.out(wire, &frame).unwrap();
        assert_eq!((seen.from, seen.to), (from, to));
        let takes = u32::from(segment.flags & (SYN | FIN) != 0 && segment.off == 0);
        if let Some(one) = self.connections.get_mut(&port) {
            one.next[usize::from(segment.answer)] += takes;
        }
    }

    /// A connection with its handshake: its endpoint.
    pub fn open(&mut self, port: u16) -> IpAddr {
        self.begin(port);
        self.exchange(port, Segment::answer(SYN | ACK));
        self.exchange(port, Segment::client(ACK));
        self.connections[&port].endpoint
    }

    /// A SYN of the client.
    pub fn syn(&self, port: u16) -> Vec<u8> {
        self.segment(port, Segment::client(SYN))
    }

    /// An acknowledgment of the client.
    pub fn data(&self, port: u16) -> Vec<u8> {
        self.segment(port, Segment::client(ACK))
    }

    /// Where a frame of the client goes.
    pub fn client(&mut self, frame: Vec<u8>) -> Option<IpAddr> {
        self.out(1, &frame).map(|seen| seen.to)
    }

    /// A router's word on a packet that is too long: where it left, which packet it quotes then, and the MTU.
    pub fn too_big(
        &mut self,
        port: u32,
        quoted_from: (IpAddr, u16),
        quoted_to: (IpAddr, u16),
        mtu: u16,
    ) -> Option<(u32, Place, Place, u16)> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (quoted_from.0, quoted_to.0) else {
            return None;
        };
        let header = Ipv4Header::new(1480, 60, IpNumber::TCP, from.octets(), to.octets()).unwrap();
        let mut quoted = header.to_bytes().to_vec();
        quoted.extend(quoted_from.1.to_be_bytes());
        quoted.extend(quoted_to.1.to_be_bytes());
        quoted.extend(1001u32.to_be_bytes());
        let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: mtu,
        });
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2, 0, 0, 0, 0xe, 1], [2, 0, 0, 0, 0, 1])
            .ipv4([10, 244, 9, 9], from.octets(), 64)
            .icmpv4(kind)
            .write(&mut frame, &quoted)
            .unwrap();
        let seen = self.out(port, &frame)?;
        let sliced = SlicedPacket::from_ethernet(&seen.frame).unwrap();
        let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else {
            return None;
        };
        let Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu,
        }) = icmp.icmp_type()
        else {
            return None;
        };
        let inner = Ipv4HeaderSlice::from_slice(icmp.payload()).unwrap();
        let ports = &icmp.payload()[20..];
        let number = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Some((
            seen.port,
            (inner.source_addr().into(), number(0)),
            (inner.destination_addr().into(), number(2)),
            next_hop_mtu,
        ))
    }
}
