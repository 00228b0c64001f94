//! A cluster as the oracle knows it.
//!
//! In: random numbers. Out: Services, slices and a node, and one random change of them at a time. Invariant: two Services
//! never claim one address and port, and two copies of an endpoint differ in their node's name only: what Kubernetes leaves
//! open is not generated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// SplitMix64: the same seed gives the same run everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    pub fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn perhaps(&mut self) -> Option<bool> {
        self.pick(&[None, Some(true), Some(true), Some(false)])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
    Headless,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub name: &'static str,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: u16,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub number: u8,
    pub kind: Kind,
    pub v4: bool,
    pub v6: bool,
    pub ports: Vec<Port>,
    pub internal_local: bool,
    pub external_local: bool,
    pub external_ips: bool,
    /// The load balancer's addresses are a proxy's: traffic goes out to it.
    pub ingress_proxy: bool,
    pub ranges: Vec<&'static str>,
    /// A label that hides it from this proxy.
    pub label: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Node on which the address is: 0 is this one.
    pub place: u8,
    pub host: u8,
    pub named: bool,
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
    pub zones: Vec<&'static str>,
    pub nodes: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub number: u8,
    pub service: u8,
    pub v6: bool,
    pub endpoints: Vec<Endpoint>,
    /// Ports by the index in the Service that this slice has; others have no port here.
    pub target: u16,
    pub label: Option<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub services: Vec<Service>,
    pub slices: Vec<Slice>,
    pub zone: Option<&'static str>,
}

pub const NODES: [&str; 3] = ["worker-a", "worker-b", "worker-c"];
const ZONES: [&str; 2] = ["z1", "z2"];
const LABELS: [&str; 2] = [
    "service.kubernetes.io/service-proxy-name",
    "service.kubernetes.io/headless",
];
/// Of both families, with spaces, and such that leave one family without any.
const RANGES: [&str; 4] = [
    "198.51.100.0/24",
    " 10.244.0.0/16 ",
    "2001:db8:1::/64",
    "192.0.2.128/25",
];

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

fn v6(a: u16, b: u16, c: u16, d: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, last))
}

pub fn cluster_ip(service: u8, six: bool) -> IpAddr {
    if six {
        v6(0xfd00, 0x10, 0x96, 0, 0x100 + u16::from(service))
    } else {
        v4(10, 96, 1, service)
    }
}

/// The address that `spec.externalIPs` has of this Service.
pub fn external_ip(service: u8, six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 2, 0, 0x10 + u16::from(service))
    } else {
        v4(203, 0, 113, 10 + service)
    }
}

/// The address that the load balancer gave this Service.
pub fn ingress_ip(service: u8, six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 2, 0, 0x100 + u16::from(service))
    } else {
        v4(203, 0, 113, 100 + service)
    }
}

pub fn pod_ip(place: u8, host: u8, six: bool) -> IpAddr {
    if six {
        v6(0xfd00, 0x10, 0x244, u16::from(place), u16::from(host))
    } else {
        v4(10, 244, place, host)
    }
}

pub fn node_ip(place: u8, six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 0, 0, 1 + u16::from(place))
    } else {
        v4(192, 0, 2, 1 + place)
    }
}

pub fn outsider(six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 1, 0, 7)
    } else {
        v4(198, 51, 100, 7)
    }
}

impl World {
    /// One change, small or large.
    pub fn churn(&mut self, random: &mut Random) {
        match random.below(12) {
            0 | 1 => self.put_service(random),
            2 if self.services.len() > 1 => {
                let at = random.below(self.services.len() as u64) as usize;
                self.services.remove(at);
            }
            3 if self.slices.len() > 1 => {
                let at = random.below(self.slices.len() as u64) as usize;
                self.slices.remove(at);
            }
            4 => self.zone = random.pick(&[None, Some(ZONES[0]), Some(ZONES[1])]),
            5 => self.move_endpoint(random),
            6 => self.change_policy(random),
            _ => self.put_slice(random),
        }
    }

    fn put_service(&mut self, random: &mut Random) {
        let number = random.below(4) as u8;
        let kind = random.pick(&[
            Kind::ClusterIp,
            Kind::ClusterIp,
            Kind::ClusterIp,
            Kind::NodePort,
            Kind::NodePort,
            Kind::LoadBalancer,
            Kind::LoadBalancer,
            Kind::LoadBalancer,
            Kind::LoadBalancer,
            Kind::ExternalName,
            Kind::Headless,
        ]);
        let (four, six) = random.pick(&[(true, true), (true, false), (false, true)]);
        let ports = (0..=random.below(2)).map(|at| Port {
            name: ["p0", "p1"][at as usize],
            protocol: random.pick(&PROTOCOLS),
            port: 80 + at as u16,
            node_port: 30_000 + u16::from(number) * 10 + at as u16,
        });
        let service = Service {
            number,
            kind,
            v4: four,
            v6: six,
            ports: ports.collect(),
            internal_local: random.one_in(3),
            external_local: random.one_in(2),
            external_ips: random.one_in(2),
            ingress_proxy: random.one_in(5),
            ranges: RANGES.into_iter().filter(|_| random.one_in(4)).collect(),
            label: random.one_in(12).then(|| random.pick(&LABELS)),
        };
        self.services.retain(|other| other.number != number);
        self.services.push(service);
    }

    fn change_policy(&mut self, random: &mut Random) {
        if self.services.is_empty() {
            return self.put_service(random);
        }
        let at = random.below(self.services.len() as u64) as usize;
        let service = &mut self.services[at];
        service.internal_local ^= random.one_in(2);
        service.external_local ^= random.one_in(2);
    }

    fn put_slice(&mut self, random: &mut Random) {
        let number = random.below(8) as u8;
        let service = random.below(4) as u8;
        let slice = Slice {
            number,
            service,
            v6: random.one_in(2),
            endpoints: (0..random.below(5)).map(|_| endpoint(random)).collect(),
            target: random.pick(&[80, 8080, 9090]),
            label: random.one_in(16).then(|| random.pick(&LABELS)),
        };
        self.slices.retain(|other| other.number != number);
        self.slices.push(slice);
        self.agree(number);
    }

    /// Copies of one endpoint say the same, but for the name of the node.
    fn agree(&mut self, newest: u8) {
        let Some(newest) = self
            .slices
            .iter()
            .find(|slice| slice.number == newest)
            .cloned()
        else {
            return;
        };
        for slice in &mut self.slices {
            if (slice.service, slice.v6) != (newest.service, newest.v6) {
                continue;
            }
            for endpoint in &mut slice.endpoints {
                let same = |other: &&Endpoint| {
                    (other.place, other.host) == (endpoint.place, endpoint.host)
                };
                if let Some(like) = newest.endpoints.iter().find(same) {
                    let named = endpoint.named;
                    *endpoint = Endpoint {
                        named,
                        ..like.clone()
                    };
                }
            }
        }
    }

    fn move_endpoint(&mut self, random: &mut Random) {
        if self.slices.len() < 2 {
            return self.put_slice(random);
        }
        let from = random.below(self.slices.len() as u64) as usize;
        let Some(moved) = self.slices[from].endpoints.pop() else {
            return self.put_slice(random);
        };
        let to = random.below(self.slices.len() as u64) as usize;
        self.slices[to].endpoints.push(moved);
        self.agree(self.slices[to].number);
    }
}

fn endpoint(random: &mut Random) -> Endpoint {
    let place = random.below(3) as u8;
    let zones = random.pick(&[0, 0, 1, 2, 3]);
    Endpoint {
        place,
        host: 10 + random.below(4) as u8,
        named: !random.one_in(6),
        ready: random.perhaps(),
        serving: random.perhaps(),
        terminating: random.perhaps(),
        zones: (0..2)
            .filter(|at| zones >> at & 1 == 1)
            .map(|at| ZONES[at])
            .collect(),
        nodes: if random.one_in(3) {
            vec![NODES[usize::from(place)]]
        } else {
            Vec::new()
        },
    }
}
