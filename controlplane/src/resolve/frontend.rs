//! Where a port answers, and what becomes of connections there.
//!
//! In: a Service, a port, one family's endpoints. Out: one [`Frontend`] per address: entry points differ in the traffic
//! policy that governs them (S35), in who gets another source address (S47–S51) and in the source filter (S54).

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::choice::{Basis, Choice};
use super::{NodeView, ResolvedPort};
use crate::model::{Family, Forwarding, Service, ServicePort, TrafficPolicy};

/// Kinds of addresses that a port answers at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryPoint {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `status.loadBalancer.ingress`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `spec.ports[].nodePort` at an address of the node.
    NodePort,
}

impl std::fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "externalIP",
            Self::NodePort => "NodePort",
        })
    }
}

/// What becomes of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They go to the endpoints of this policy's set.
    Serve(TrafficPolicy),
    /// There are endpoints, but not on this node, and the policy asks for this node (S37).
    Drop,
    /// There is none anywhere (S36).
    Reject,
}

/// Whose connections get another source address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Masquerade {
    /// Those of pods.
    pub pod: bool,
    /// Those of this node.
    pub node: bool,
    /// All others.
    pub outside: bool,
}

impl Masquerade {
    const ALL: Self = Self {
        pod: true,
        node: true,
        outside: true,
    };
}

/// An address at which a port answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Kind.
    pub entry: EntryPoint,
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// What becomes of connections of pods and of this node.
    pub inside: Verdict,
    /// What becomes of all others; the same where clients are not told apart.
    pub outside: Verdict,
    /// Whose connections get another source address.
    pub masquerade: Masquerade,
    /// Only admitted sources are served.
    pub check_source: bool,
    /// Packets go to the endpoint as they are.
    pub direct: bool,
}

impl Frontend {
    /// Clients have to be told apart.
    pub fn classifies(&self) -> bool {
        let Masquerade { pod, node, outside } = self.masquerade;
        self.inside != self.outside || pod != outside || node != outside
    }
}

/// All frontends of a port in one family, each address once.
pub(super) fn frontends(
    view: &NodeView,
    service: &Service,
    port: &ServicePort,
    family: Family,
    choice: Choice,
    check_source: bool,
) -> SmallVec<[Frontend; 2]> {
    let judge = |policy| judge(policy, choice);
    let detects = view.detects(family);
    let cluster_ip = Frontend {
        entry: EntryPoint::ClusterIp,
        address: IpAddr::from([0, 0, 0, 0]),
        port: port.port,
        inside: judge(service.internal_traffic_policy),
        outside: judge(service.internal_traffic_policy),
        masquerade: if view.masquerade_all {
            Masquerade::ALL
        } else {
            Masquerade {
                pod: false,
                node: detects,
                outside: detects,
            }
        },
        check_source: false,
        direct: false,
    };
    let external = Frontend {
        inside: judge(TrafficPolicy::Cluster),
        outside: judge(service.external_traffic_policy),
        masquerade: match service.external_traffic_policy {
            TrafficPolicy::Cluster => Masquerade::ALL,
            TrafficPolicy::Local => Masquerade {
                node: true,
                ..Masquerade::default()
            },
        },
        ..cluster_ip.clone()
    };
    let direct = service.forwarding == Forwarding::Dsr && view.tunnels.contains(&family);
    let balancer = Frontend {
        entry: EntryPoint::LoadBalancer,
        check_source,
        direct,
        masquerade: if direct {
            Masquerade::default()
        } else {
            external.masquerade
        },
        ..external.clone()
    };
    let external_ip = Frontend {
        entry: EntryPoint::ExternalIp,
        ..external.clone()
    };
    let node_port = Frontend {
        entry: EntryPoint::NodePort,
        port: port.node_port.unwrap_or(0),
        ..external
    };
    let nodes: &[IpAddr] = match port.node_port {
        Some(_) => &view.node_port_addresses,
        None => &[],
    };
    let mut found: SmallVec<[Frontend; 2]> = SmallVec::new();
    for (like, addresses) in [
        (&cluster_ip, &service.cluster_ips[..]),
        (&balancer, &service.load_balancer_ips[..]),
        (&external_ip, &service.external_ips[..]),
        (&node_port, nodes),
    ] {
        for address in addresses.iter().filter(|ip| Family::of(**ip) == family) {
            let known = |f: &Frontend| (f.address, f.port) == (*address, like.port);
            if !found.iter().any(known) {
                let address = *address;
                found.push(Frontend {
                    address,
                    ..like.clone()
                });
            }
        }
    }
    found
}

fn judge(policy: TrafficPolicy, choice: Choice) -> Verdict {
    if choice.basis(policy) != Basis::Nothing {
        Verdict::Serve(policy)
    } else if choice.cluster == Basis::Nothing {
        Verdict::Reject
    } else {
        Verdict::Drop
    }
}

/// Addresses of load balancers that the NIC answers neighbours for: those where it does not drop what comes from outside
/// (policy Local without an endpoint here leaves them to another node), and that no node has.
pub(super) fn answered(view: &NodeView, ports: &[ResolvedPort]) -> Vec<IpAddr> {
    let Some(nodes) = &view.answers_except else {
        return Vec::new();
    };
    let families = ports.iter().flat_map(|port| &port.families);
    let frontends = families.flat_map(|family| &family.frontends);
    let wanted = frontends.filter(|f| {
        let lands = f.entry == EntryPoint::LoadBalancer && f.outside != Verdict::Drop;
        lands && nodes.binary_search(&f.address).is_err()
    });
    let mut found: Vec<IpAddr> = wanted.map(|frontend| frontend.address).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Sources that a Service's load balancer addresses of one family admit; `None`: all (S54–S56).
pub(super) fn admitted(view: &NodeView, service: &Service, family: Family) -> Option<Vec<IpNet>> {
    let own = |net: &&IpNet| Family::of(net.addr()) == family;
    let mut ranges: Vec<IpNet> = service.source_ranges.iter().filter(own).copied().collect();
    if ranges.is_empty() {
        return None;
    }
    let from_node = view
        .addresses
        .iter()
        .any(|ip| ranges.iter().any(|range| range.contains(ip)));
    if from_node {
        // A node that has the address itself calls it from that address.
        let own = service.load_balancer_ips.iter();
        ranges.extend(
            own.filter(|ip| Family::of(**ip) == family)
                .map(|ip| IpNet::from(*ip)),
        );
    }
    ranges.sort_unstable();
    ranges.dedup();
    Some(ranges)
}
