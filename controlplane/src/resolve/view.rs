//! From where the cluster is looked at.
//!
//! In: what a deployment says of its node ([`Viewpoint`]) and the Node objects. Out: [`NodeView`], all that a Service's
//! resolution may depend on beside the Service. Invariant: equal views give equal resolutions, so Services are looked
//! at again exactly when the view differs (S46).

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{Family, Model};

/// What a deployment says of the node that it looks from, and which proxy this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewpoint {
    /// The node whose endpoints are local; `None`: none are.
    pub node: Option<Arc<str>>,
    /// Serve the objects that carry this proxy's name instead of those that carry none (S01).
    pub proxy_name: Option<Arc<str>>,
    /// The node's addresses, the primary one of each family first; none: those of the Node object.
    pub addresses: Vec<IpAddr>,
    /// Which of them answer NodePorts.
    pub node_ports: NodePortAddresses,
    /// How pods are told from others.
    pub detector: Detector,
    /// Every connection to a cluster IP gets another source address.
    pub masquerade_all: bool,
    /// The NIC answers neighbours for addresses of load balancers.
    pub answers_for_load_balancers: bool,
    /// Families whose endpoints can be sent packets as they are.
    pub tunnels: Vec<Family>,
}

/// `--nodeport-addresses`; nothing at all is `primary`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// The primary address of each family.
    pub primary: bool,
    /// Addresses in these ranges; those of the other family do not count, and without one of the own family all do.
    pub ranges: Vec<IpNet>,
}

/// `--detect-local-mode`: which sources are pods, whose connections to cluster IPs keep their source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Detector {
    /// None can be told.
    #[default]
    None,
    /// Those in these ranges.
    ClusterCidr(Vec<IpNet>),
    /// Those in the `podCIDRs` of this node.
    NodeCidr,
    /// Those that routes lead to through these ports of the NIC.
    Ports(Vec<u32>),
}

/// One node's view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The node whose endpoints are local.
    pub node: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Which proxy this is.
    pub proxy_name: Option<Arc<str>>,
    /// The node's addresses, the primary one of each family first.
    pub addresses: Vec<IpAddr>,
    /// Those that answer NodePorts.
    pub node_port_addresses: Vec<IpAddr>,
    /// Where pods are.
    pub pods: PodRanges,
    /// Every connection to a cluster IP gets another source address.
    pub masquerade_all: bool,
    /// The NIC answers neighbours for addresses of load balancers, but for these, which are nodes'; `None`: it does not.
    pub answers_except: Option<Vec<IpAddr>>,
    /// Families whose endpoints can be sent packets as they are.
    pub tunnels: Vec<Family>,
}

/// Where pods are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PodRanges {
    /// Nobody knows: there is no detector.
    #[default]
    Unknown,
    /// In these ranges.
    Ranges(Vec<IpNet>),
    /// Where routes lead to through these ports.
    BehindPorts(Vec<u32>),
}

impl Viewpoint {
    /// What can be seen now.
    pub fn look(&self, model: &Model) -> NodeView {
        let node = self.node.as_ref().and_then(|name| model.node(name));
        let mut addresses = match (&self.addresses[..], node) {
            ([], Some(node)) => node.addresses(),
            (given, _) => given.to_vec(),
        };
        // A loopback address never answers NodePorts (S24), and the others are nobody's.
        addresses.retain(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast());
        let pods = match &self.detector {
            Detector::None => PodRanges::Unknown,
            Detector::ClusterCidr(ranges) => PodRanges::Ranges(ranges.clone()),
            Detector::NodeCidr => {
                PodRanges::Ranges(node.map(|node| node.pod_cidrs.clone()).unwrap_or_default())
            }
            Detector::Ports(ports) => PodRanges::BehindPorts(ports.clone()),
        };
        let answers_except = self.answers_for_load_balancers.then(|| {
            let others = model.nodes().flat_map(|node| node.addresses());
            let mut all: Vec<IpAddr> = addresses.iter().copied().chain(others).collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        NodeView {
            node: self.node.clone(),
            zone: node.and_then(|node| node.zone()).map(Arc::from),
            proxy_name: self.proxy_name.clone(),
            node_port_addresses: self.node_ports.select(&addresses),
            addresses,
            pods,
            masquerade_all: self.masquerade_all,
            answers_except,
            tunnels: self.tunnels.clone(),
        }
    }
}

impl NodePortAddresses {
    /// Which of a node's addresses answer (S23).
    pub fn select(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let nothing = !self.primary && self.ranges.is_empty();
        let of = |family| {
            addresses
                .iter()
                .filter(move |ip| Family::of(**ip) == family)
        };
        let mut found = Vec::new();
        for family in [Family::V4, Family::V6] {
            let primary = of(family).next().filter(|_| self.primary || nothing);
            let ranges: Vec<&IpNet> = self
                .ranges
                .iter()
                .filter(|range| Family::of(range.addr()) == family)
                .collect();
            let all = primary.is_none() && ranges.is_empty();
            found.extend(of(family).filter(|ip| {
                all || Some(*ip) == primary || ranges.iter().any(|range| range.contains(*ip))
            }));
        }
        found
    }
}

impl NodeView {
    /// The node's address of a family that connections leave with.
    pub fn primary(&self, family: Family) -> Option<IpAddr> {
        let mut own = self.addresses.iter().copied();
        own.find(|ip| Family::of(*ip) == family)
    }

    /// Pods of a family can be told from others (S48).
    pub fn detects(&self, family: Family) -> bool {
        match &self.pods {
            PodRanges::Unknown => false,
            PodRanges::Ranges(ranges) => ranges.iter().any(|r| Family::of(r.addr()) == family),
            PodRanges::BehindPorts(ports) => !ports.is_empty(),
        }
    }
}
