//! How the NIC is wired: ports, ways out, ranges. In: configuration and nodes. Out: entries of `port`, `egress`, `route`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::Model;
use crate::tables::{egress, port, route};

/// How the NIC is wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// Virtual network that the cluster's Services belong to.
    pub vpc: u32,
    /// Ports that carry traffic.
    pub ports: Vec<Port>,
    /// Routes; of two with one prefix the first counts.
    pub routes: Vec<Route>,
    /// Routes to nodes and their pods; `None`: nodes make no routes.
    pub node_routes: Option<NodeRoutes>,
    /// Ranges of cluster IPs: an address of theirs that no Service has is dropped (S22).
    pub service_cidrs: Vec<IpNet>,
    /// Longest IP packet; corrections of SCTP checksums are programmed up to it.
    pub mtu: u16,
}

impl Default for Wiring {
    fn default() -> Self {
        Self {
            vpc: 0,
            ports: Vec::new(),
            routes: Vec::new(),
            node_routes: None,
            service_cidrs: Vec::new(),
            mtu: 1500,
        }
    }
}

/// One port of the NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Number in the data plane.
    pub port: u32,
    /// Virtual network of its packets.
    pub vpc: u32,
    /// [`port::ROLE_HOST`] or [`port::ROLE_NETWORK`].
    pub role: u8,
    /// Where packets go that no route covers.
    pub peer: Option<u32>,
    /// Whether its packets may go to the control plane.
    pub slow_path: bool,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Virtual network.
    pub vpc: u32,
    /// Destinations.
    pub prefix: IpNet,
    /// Where they leave; `None` drops them.
    pub via: Option<NextHop>,
}

/// Where packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// Port.
    pub port: u32,
    /// Source address of the frame.
    pub src_mac: u64,
    /// Destination address of the frame.
    pub dst_mac: u64,
}

/// Routes that follow from Node objects: pod CIDRs and internal addresses of every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRoutes {
    /// The node behind `host`.
    pub node: Arc<str>,
    /// To this node and its pods.
    pub host: NextHop,
    /// To all other nodes.
    pub network: NextHop,
    /// Nodes whose frames have another destination address than `network` says, by internal address.
    pub neighbours: BTreeMap<IpAddr, u64>,
}

/// The entries that follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wired {
    /// Table `port`.
    pub ports: BTreeMap<port::Key, port::Action>,
    /// Table `egress`.
    pub egress: BTreeMap<egress::Key, egress::Action>,
    /// Table `route`.
    pub routes: BTreeMap<route::Key, route::Action>,
}

/// Entries of a wiring, with the nodes that there are.
///
/// Where several give one prefix: a configured route, then a node's, then the ranges of cluster IPs.
pub fn wire(wiring: &Wiring, model: &Model) -> Wired {
    let mut wired = Wired::default();
    for port in &wiring.ports {
        wired.ports.insert(
            port::Key {
                ingress_port: port.port,
            },
            port::Action {
                vpc: port.vpc,
                role: port.role,
                peer_port: port.peer.unwrap_or(0),
                slow_port: if port.slow_path { port::SLOW_PORT } else { 0 },
            },
        );
        wired.egress.insert(
            egress::Key {
                egress_port: port.port,
            },
            egress::Action { port: port.port },
        );
    }
    let mut add = |vpc, prefix: IpNet, via: Option<NextHop>| {
        let key = route::Key {
            vpc,
            prefix: prefix.into(),
        };
        wired.routes.entry(key).or_insert(match via {
            Some(hop) => route::Action::Forward {
                port: hop.port,
                src_mac: hop.src_mac,
                dst_mac: hop.dst_mac,
            },
            None => route::Action::Blackhole,
        });
    };
    for route in &wiring.routes {
        add(route.vpc, route.prefix, route.via);
    }
    if let Some(to) = &wiring.node_routes {
        for node in model.nodes() {
            let via = if node.name == to.node {
                to.host
            } else {
                let mac = node
                    .internal_ips
                    .iter()
                    .find_map(|ip| to.neighbours.get(ip));
                NextHop {
                    dst_mac: mac.copied().unwrap_or(to.network.dst_mac),
                    ..to.network
                }
            };
            for cidr in &node.pod_cidrs {
                add(wiring.vpc, *cidr, Some(via));
            }
            for ip in &node.internal_ips {
                add(wiring.vpc, IpNet::from(*ip), Some(via));
            }
        }
    }
    for cidr in &wiring.service_cidrs {
        add(wiring.vpc, *cidr, None);
    }
    wired
}
