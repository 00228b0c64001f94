//! A cluster as the oracle knows it.
//!
//! In: nothing. Out: Services, slices, a node, and how its NIC is configured, with the addresses that they have.
//! Invariant: two Services never claim one address and port: what Kubernetes leaves open cannot be said here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

pub const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
    Headless,
}

/// What the load balancer says of one of its addresses (S27).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ingress {
    /// No `ipMode`.
    Plain,
    /// `ipMode: VIP`.
    Vip,
    /// `ipMode: Proxy`: traffic goes out to it.
    Proxy,
    /// A name, and no address.
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduler {
    RoundRobin,
    WeightedRoundRobin,
    SourceHash,
    DestinationHash,
    Maglev,
}

/// A label that hides an object from this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hidden {
    OtherProxy,
    HeadlessLabel,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// 0: none (S28).
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_port: u16,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    pub number: u8,
    pub kind: Kind,
    pub v4: bool,
    pub v6: bool,
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "is_default")]
    pub internal_local: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub external_local: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub external_ips: bool,
    /// Of a load balancer, one address per entry.
    #[serde(skip_serializing_if = "is_default")]
    pub ingress: Vec<Ingress>,
    #[serde(skip_serializing_if = "is_default")]
    pub ranges: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub hidden: Option<Hidden>,
    /// Session affinity, with its timeout in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub affinity: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub scheduler: Option<Scheduler>,
    /// Weights of endpoints on a node (its place), all others 1.
    #[serde(skip_serializing_if = "is_default")]
    pub weights: Vec<(u8, u32)>,
    /// Direct server return is asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub direct: bool,
    /// `healthCheckNodePort`; 0: none.
    #[serde(skip_serializing_if = "is_default")]
    pub health_port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Node on which the address is: 0 is this one.
    pub place: u8,
    pub host: u8,
    /// `nodeName` is there.
    pub named: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub ready: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub serving: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub terminating: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    pub zones: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slice {
    pub number: u8,
    /// None: without the label `kubernetes.io/service-name` (S05).
    pub service: Option<u8>,
    pub v6: bool,
    pub endpoints: Vec<Endpoint>,
    /// Port `p0` of the Service has this number here, `p1` the next one.
    pub target: u16,
    /// Port `p1` is without a number here (S12).
    #[serde(skip_serializing_if = "is_default")]
    pub only_p0: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub hidden: Option<Hidden>,
}

/// The Node object of this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    #[serde(skip_serializing_if = "is_default")]
    pub zone: Option<String>,
    /// It has a second address of each family,
    #[serde(skip_serializing_if = "is_default")]
    pub second: bool,
    /// which is its primary one.
    #[serde(skip_serializing_if = "is_default")]
    pub second_first: bool,
}

/// How pods are told from others (S48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detect {
    #[default]
    ClusterCidr,
    NodeCidr,
    Interface,
    Nothing,
}

/// How the NIC is configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub detect: Detect,
    #[serde(skip_serializing_if = "is_default")]
    pub masquerade_all: bool,
    /// `--nodeport-addresses`
    #[serde(skip_serializing_if = "is_default")]
    pub node_ports: Vec<String>,
    /// Bump in the wire: what stays on this node does not cross the NIC.
    #[serde(skip_serializing_if = "is_default")]
    pub bump: bool,
    /// There are tunnels for direct server return.
    #[serde(skip_serializing_if = "is_default")]
    pub tunnels: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    pub services: Vec<Service>,
    pub slices: Vec<Slice>,
    pub node: Node,
    pub settings: Settings,
}

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    Service(Service),
    NoService(u8),
    Slice(Slice),
    NoSlice(u8),
    Node(Node),
}

impl World {
    pub fn take(&mut self, change: &Change) {
        match change {
            Change::Service(new) => {
                self.services.retain(|old| old.number != new.number);
                self.services.push(new.clone());
            }
            Change::NoService(number) => self.services.retain(|old| old.number != *number),
            Change::Slice(new) => {
                self.slices.retain(|old| old.number != new.number);
                self.slices.push(new.clone());
            }
            Change::NoSlice(number) => self.slices.retain(|old| old.number != *number),
            Change::Node(new) => self.node = new.clone(),
        }
    }
}

pub const NODES: [&str; 3] = ["worker-a", "worker-b", "worker-c"];

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

/// One of the addresses that the load balancer gave this Service.
pub fn ingress_ip(service: u8, at: u8, six: bool) -> IpAddr {
    let number = 100 + service * 4 + at;
    if six {
        v6(0x2001, 0xdb8, 2, 0, 0x100 + u16::from(number))
    } else {
        v4(203, 0, 113, number)
    }
}

pub fn pod_ip(place: u8, host: u8, six: bool) -> IpAddr {
    if six {
        v6(0xfd00, 0x10, 0x244, u16::from(place), u16::from(host))
    } else {
        v4(10, 244, place, host)
    }
}

/// Whether an address is some pod's.
pub fn is_pod(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.octets()[..2] == [10, 244],
        IpAddr::V6(ip) => ip.segments()[..3] == [0xfd00, 0x10, 0x244],
    }
}

pub fn node_ip(place: u8, six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 0, 0, 1 + u16::from(place))
    } else {
        v4(192, 0, 2, 1 + place)
    }
}

/// The second address of this node.
pub fn second_ip(six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 0, 0, 0x11)
    } else {
        v4(192, 0, 2, 17)
    }
}

/// The address that stands for clients of a bump in the wire whose endpoint is on this node.
pub fn wire_ip(six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 0, 0, 0x200)
    } else {
        v4(192, 0, 2, 200)
    }
}

/// The outer source of tunnels.
pub fn tunnel_ip(six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 0, 0, 0x201)
    } else {
        v4(192, 0, 2, 201)
    }
}

pub fn outsider(number: u8, six: bool) -> IpAddr {
    if six {
        v6(0x2001, 0xdb8, 1, 0, u16::from(number))
    } else {
        v4(198, 51, 100, number)
    }
}

impl Node {
    /// Its addresses of a family, the primary one first.
    pub fn addresses(&self, six: bool) -> Vec<IpAddr> {
        let mut all = vec![node_ip(0, six)];
        if self.second {
            all.insert(usize::from(!self.second_first), second_ip(six));
        }
        all
    }
}
