//! Many connections at once through a NIC.
//!
//! In: connections. Out: the endpoint that each got, and whether its packets still go there and back. Invariant: every
//! frame that comes out is consistent, and is one that was waited for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket};
use testbench::packet::{Body, Ip, Packet, Transport, check};
use testbench::target::Target;
use testbench::target::softnic::Embedded;

/// After which a packet counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
const SYN: u8 = 2;
const SYN_ACK: u8 = 18;
const PSH_ACK: u8 = 24;
/// Behind this port of the NIC are clients, behind the next one endpoints.
const CLIENTS: u32 = 1;
const ENDPOINTS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Connection {
    service: u8,
    protocol: Protocol,
    six: bool,
    port: u16,
    /// Which endpoint.
    pub host: u8,
}

impl Connection {
    pub fn endpoint(&self) -> IpAddr {
        endpoint(self.host, self.six)
    }
}

pub fn vip(service: u8, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x200 + u16::from(service)).into()
    } else {
        Ipv4Addr::new(10, 96, 2, service).into()
    }
}

pub fn endpoint(host: u8, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0xfd00, 0x10, 0x244, 1, 0, 0, 0, 10 + u16::from(host)).into()
    } else {
        Ipv4Addr::new(10, 244, 1, 10 + host).into()
    }
}

fn client(six: bool) -> IpAddr {
    if six {
        Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 5).into()
    } else {
        Ipv4Addr::new(10, 244, 0, 5).into()
    }
}

/// What became of packets of open connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    pub arrived: usize,
    pub lost: usize,
    /// Elsewhere, or from elsewhere, than where its connection is.
    pub moved: usize,
}

impl std::ops::AddAssign for Fate {
    fn add_assign(&mut self, more: Self) {
        self.arrived += more.arrived;
        self.lost += more.lost;
        self.moved += more.moved;
    }
}

type Place = (IpAddr, u16);
/// Protocol number, source, destination.
type Tuple = (u8, Place, Place);

pub struct Wire<'a>(&'a Embedded);

impl<'a> Wire<'a> {
    pub fn new(target: &'a Embedded) -> Self {
        Self(target)
    }

    /// Opens a connection from each of these client ports.
    pub fn open(
        &self,
        service: u8,
        protocol: Protocol,
        six: bool,
        ports: &[u16],
    ) -> Vec<Connection> {
        let of = |port: u16| Connection {
            service,
            protocol,
            six,
            port,
            host: 0,
        };
        let called = (vip(service, six), 80);
        for port in ports {
            self.send(CLIENTS, protocol, (client(six), *port), called, SYN);
        }
        let hosts: HashMap<Place, u8> = (0..=u8::MAX - 10)
            .map(|host| ((endpoint(host, six), 8080), host))
            .collect();
        let mut opened: HashMap<u16, Connection> = HashMap::new();
        for (_, from, to) in self.receive(ports.len()) {
            assert_eq!(from.0, client(six));
            let host = *hosts
                .get(&to)
                .unwrap_or_else(|| panic!("{from:?} was sent to {to:?}"));
            opened.insert(from.1, Connection { host, ..of(from.1) });
        }
        assert_eq!(opened.len(), ports.len(), "new connections got lost");
        let opened: Vec<Connection> = ports.iter().map(|port| opened[port]).collect();
        let greeted = self.answers(&opened, SYN_ACK);
        assert_eq!(greeted.arrived, opened.len(), "{greeted:?}");
        opened
    }

    /// A packet of each connection, and the answer.
    pub fn talk(&self, connections: &[Connection]) -> Fate {
        let mut fate = Fate::default();
        for some in connections.chunks(64) {
            let mut wanted: Vec<Tuple> = Vec::new();
            for one in some {
                let from = (client(one.six), one.port);
                let called = (vip(one.service, one.six), 80);
                self.send(CLIENTS, one.protocol, from, called, PSH_ACK);
                wanted.push((one.protocol.number(), from, (one.endpoint(), 8080)));
            }
            fate += self.compare(&wanted, |(number, from, _)| (*number, *from));
            fate += self.answers(some, PSH_ACK);
        }
        fate
    }

    fn answers(&self, connections: &[Connection], flags: u8) -> Fate {
        let mut wanted = Vec::new();
        for one in connections {
            let to = (client(one.six), one.port);
            self.send(ENDPOINTS, one.protocol, (one.endpoint(), 8080), to, flags);
            let called = (vip(one.service, one.six), 80);
            wanted.push((one.protocol.number(), called, to));
        }
        self.compare(&wanted, |(number, _, to)| (*number, *to))
    }

    /// What came of what was sent; `whose` tells the connection, wherever its packet went.
    fn compare(&self, wanted: &[Tuple], whose: fn(&Tuple) -> (u8, Place)) -> Fate {
        let found = self.receive(wanted.len());
        let found: HashMap<_, _> = found.iter().map(|tuple| (whose(tuple), tuple)).collect();
        let mut fate = Fate::default();
        for tuple in wanted {
            match found.get(&whose(tuple)) {
                Some(came) if *came == tuple => fate.arrived += 1,
                Some(_) => fate.moved += 1,
                None => fate.lost += 1,
            }
        }
        fate
    }

    fn send(&self, port: u32, protocol: Protocol, from: Place, to: Place, flags: u8) {
        let (src, dst) = (from.1, to.1);
        let (transport, payload) = match protocol {
            Protocol::Tcp => {
                let transport = Transport::Tcp {
                    src,
                    dst,
                    seq: 1,
                    ack: 1,
                    flags,
                    options: Vec::new(),
                };
                (
                    transport,
                    if flags == PSH_ACK {
                        b"data".to_vec()
                    } else {
                        Vec::new()
                    },
                )
            }
            Protocol::Udp => (
                Transport::Udp {
                    src,
                    dst,
                    checksum: true,
                },
                b"data".to_vec(),
            ),
            Protocol::Sctp => (Transport::Sctp { src, dst, tag: 7 }, vec![11, 0, 0, 4]),
        };
        let packet = Packet {
            src_mac: [2, 0, 0, 0, 0xe, port as u8],
            dst_mac: [2, 0, 0, 0, 0, port as u8],
            vlan: None,
            body: Body::Ip(Ip {
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
            }),
            cut: None,
        };
        self.0.send(port, &packet.frame().unwrap()).unwrap();
    }

    /// As many frames as were sent, or those that came in time.
    fn receive(&self, count: usize) -> Vec<Tuple> {
        let deadline = Instant::now() + PATIENCE;
        let frames = (0..count).map_while(|_| {
            let (_, frame) = self.0.receive(deadline)?;
            check::verify(&frame).unwrap();
            Some(tuple(&frame))
        });
        frames.collect()
    }
}

fn tuple(frame: &[u8]) -> Tuple {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let (from, to): (IpAddr, IpAddr) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        NetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        NetSlice::Arp(_) => panic!("not IP"),
    };
    let payload = packet.ip_payload().unwrap();
    let word = |at: usize| u16::from_be_bytes([payload.payload[at], payload.payload[at + 1]]);
    (payload.ip_number.0, (from, word(0)), (to, word(2)))
}
