//! A Service, reduced to what load balancing depends on.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::address::{self, AddressError};

/// Namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within it.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Key of `namespace/name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A transport protocol that Services know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// TCP, also where an object names no protocol.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// By IANA protocol number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// By the name that objects use.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// `spec.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceKind {
    /// Reachable at its cluster IPs.
    #[default]
    ClusterIp,
    /// And at a port of the nodes.
    NodePort,
    /// And at addresses of a load balancer.
    LoadBalancer,
    /// A name in the DNS: nothing is programmed (S04).
    ExternalName,
}

/// `spec.internalTrafficPolicy` and `spec.externalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum TrafficPolicy {
    /// Any endpoint.
    #[default]
    Cluster,
    /// Endpoints of the node that the packet came to.
    Local,
}

/// `spec.sessionAffinity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionAffinity {
    /// Every connection is on its own.
    #[default]
    None,
    /// A client keeps its endpoint.
    ClientIp {
        /// Idle seconds after which it may change.
        timeout_seconds: u32,
    },
}

/// How a connection's endpoint is picked: the annotation [`SCHEDULER`](super::SCHEDULER), by IPVS's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheduler {
    /// `rr`: evenly; weights count only where they are 0.
    RoundRobin,
    /// `wrr`, also where nothing is said: evenly by weight.
    #[default]
    WeightedRoundRobin,
    /// `lc`: endpoints with fewer open connections get more new ones.
    LeastConnection,
    /// `wlc`: the same by weight.
    WeightedLeastConnection,
    /// `sh`: by the client's address alone.
    SourceHash,
    /// `dh`: by the address called alone.
    DestinationHash,
    /// `mh`: as `sh`, as in IPVS without `mh-port`.
    Maglev,
}

impl Scheduler {
    const NAMES: [(&'static str, Self); 7] = [
        ("rr", Self::RoundRobin),
        ("wrr", Self::WeightedRoundRobin),
        ("lc", Self::LeastConnection),
        ("wlc", Self::WeightedLeastConnection),
        ("sh", Self::SourceHash),
        ("dh", Self::DestinationHash),
        ("mh", Self::Maglev),
    ];

    /// By IPVS's name.
    pub fn from_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, scheduler)| *scheduler)
    }

    /// Weights count.
    pub const fn is_weighted(self) -> bool {
        !matches!(self, Self::RoundRobin | Self::LeastConnection)
    }

    /// Open connections count.
    pub const fn is_least_connection(self) -> bool {
        matches!(self, Self::LeastConnection | Self::WeightedLeastConnection)
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Self::NAMES.iter().find(|(_, scheduler)| scheduler == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

/// How packets to a load balancer's address reach the endpoint: the annotation [`FORWARDING`](super::FORWARDING).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forwarding {
    /// Translated, and the answers translated back.
    #[default]
    Nat,
    /// As they are, in a tunnel or a frame to the endpoint, which answers the client directly.
    Dsr,
}

/// One entry of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePort {
    /// Name; empty when it is the only one.
    pub name: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the cluster IP.
    pub port: u16,
    /// Port of the nodes, if one was allotted.
    pub node_port: Option<u16>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs` without `None` and empty ones.
    pub cluster_ips: Vec<IpAddr>,
    /// A cluster IP is `None`.
    pub headless: bool,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity` with its timeout.
    pub session_affinity: SessionAffinity,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is not `Proxy`.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<IpNet>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// Value of the label [`SERVICE_PROXY_NAME`](super::SERVICE_PROXY_NAME).
    pub proxy_name: Option<Arc<str>>,
    /// The label [`HEADLESS`](super::HEADLESS) is there.
    pub headless_label: bool,
    /// The annotation [`ENDPOINT_WEIGHTS`](super::ENDPOINT_WEIGHTS), read by [`parse_weights`].
    pub endpoint_weights: Vec<(IpAddr, u32)>,
    /// The annotation [`SCHEDULER`](super::SCHEDULER).
    pub scheduler: Scheduler,
    /// The annotation [`FORWARDING`](super::FORWARDING).
    pub forwarding: Forwarding,
}

impl Default for ObjectKey {
    fn default() -> Self {
        Self::new("", "")
    }
}

/// Why the annotation of weights cannot be read. Every endpoint then has weight 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// Not `address=number`.
    #[error("{text:?} is not address=weight")]
    NotAPair {
        /// As written.
        text: String,
    },
    /// Left of `=`.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Right of `=`.
    #[error("{text:?} is not a weight between 0 and {MAX_WEIGHT}")]
    NotAWeight {
        /// As written.
        text: String,
    },
}

/// The largest weight of an endpoint.
pub const MAX_WEIGHT: u32 = 65_535;

/// Reads the value of the annotation `nicproxy.dev/endpoint-weights`, as in `10.0.0.1=3,10.0.0.2=1`.
///
/// Endpoints it does not name have weight 1; weight 0 takes no new connections.
pub fn parse_weights(text: &str) -> Result<Vec<(IpAddr, u32)>, WeightsError> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (address, weight) = pair.split_once('=').ok_or(WeightsError::NotAPair {
                text: pair.to_owned(),
            })?;
            let weight = weight.trim();
            match weight.parse() {
                Ok(number) if number <= MAX_WEIGHT => Ok((address::parse(address)?, number)),
                _ => Err(WeightsError::NotAWeight {
                    text: weight.to_owned(),
                }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        assert_eq!(
            parse_weights("10.0.0.1=3, fd00::2 = 0,").unwrap(),
            [
                ("10.0.0.1".parse().unwrap(), 3),
                ("fd00::2".parse().unwrap(), 0)
            ]
        );
        assert_eq!(parse_weights("").unwrap(), []);
        for text in ["10.0.0.1", "10.0.0=1", "10.0.0.1=-1", "10.0.0.1=65536", "="] {
            assert!(parse_weights(text).is_err(), "{text}");
        }
    }

    #[test]
    fn protocols() {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            assert_eq!(Protocol::from_number(protocol.number()), Some(protocol));
            assert_eq!(Protocol::from_name(&protocol.to_string()), Some(protocol));
        }
        assert_eq!(Protocol::from_name("tcp"), None);
    }

    #[test]
    fn schedulers_have_ipvs_names() {
        for name in ["rr", "wrr", "lc", "wlc", "sh", "dh", "mh"] {
            assert_eq!(Scheduler::from_name(name).unwrap().to_string(), name);
        }
        assert_eq!(Scheduler::from_name("sed"), None);
    }
}
