//! How the NIC is wired: ports, ways out, ranges, classes of clients, source addresses.
//!
//! In: configuration, the node's view, nodes, pods and ranges of cluster IPs. Out: entries of `port`, `egress`, `route`,
//! `client`, `masquerade`, `tunnel`, and the addresses that the NIC answers for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{self, Family, Model};
use crate::resolve::{NodeView, PodRanges};
use crate::tables::{client, egress, masquerade, port, route, tunnel, vip};

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
    /// Where the NIC sits.
    pub attachment: Attachment,
    /// Ports of pods.
    pub vports: Vec<Vport>,
    /// Source addresses that are not the node's primary one.
    pub masquerade: Vec<MasqueradeAddress>,
    /// Source ports of connections that get the node's primary address.
    pub masquerade_ports: PortRange,
    /// Whether the NIC answers neighbours for them, where they are not the node's.
    pub answers_neighbors: bool,
    /// How packets of direct-return Services reach endpoints.
    pub tunnels: Vec<(Family, tunnel::Action)>,
    /// Expiry profiles of the data plane and how many idle seconds each lasts.
    pub affinity_profiles: Vec<(u8, u32)>,
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
            attachment: Attachment::default(),
            vports: Vec::new(),
            masquerade: Vec::new(),
            masquerade_ports: PortRange::default(),
            answers_neighbors: true,
            tunnels: Vec::new(),
            affinity_profiles: Vec::new(),
        }
    }
}

/// Where the NIC sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attachment {
    /// A port per pod: all packets of pods cross the NIC.
    #[default]
    Vport,
    /// Between the node and the network: packets between pods of this node do not cross it.
    BumpInTheWire,
}

/// The port of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vport {
    /// What leads there.
    pub pod: VportKey,
    /// The way to it; the destination address is 0 where the CNI names the pod's.
    pub hop: NextHop,
}

/// How a pod's port is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VportKey {
    /// By the pod's address.
    Address(IpAddr),
    /// By the device that the CNI attached it to.
    Device(Arc<str>),
}

/// A source address that connections get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasqueradeAddress {
    /// For connections whose answer has to find back to the NIC because client and endpoint are on one side of it.
    pub local: bool,
    /// The address, which the NIC answers for unless it is the node's.
    pub address: IpAddr,
    /// Source ports.
    pub ports: PortRange,
}

/// `base + (hash & mask)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub base: u16,
    /// A power of two minus one.
    pub mask: u16,
}

/// Above the range that Linux gives its own connections by default, 32768–60999: so the node's address can be shared.
impl Default for PortRange {
    fn default() -> Self {
        Self {
            base: 61_440,
            mask: 0x0fff,
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
    /// Table `client`.
    pub clients: BTreeMap<client::Key, client::Class>,
    /// Table `masquerade`.
    pub masquerades: BTreeMap<masquerade::Key, masquerade::Action>,
    /// Table `tunnel`.
    pub tunnels: BTreeMap<tunnel::Key, tunnel::Action>,
    /// Table `vip`: addresses that the NIC answers for.
    pub own: BTreeSet<vip::Key>,
}

impl Wired {
    /// Without what a program of the basic interface has no tables for.
    pub fn basic(self) -> Self {
        Self {
            ports: self.ports,
            egress: self.egress,
            routes: self.routes,
            ..Self::default()
        }
    }
}

/// Entries of a wiring, with the nodes that there are.
///
/// Where several give one prefix: a configured route, then a pod's port, then a node's, then the ranges of cluster IPs.
pub fn wire(wiring: &Wiring, view: &NodeView, model: &Model) -> Wired {
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
    for (vpc, prefix, via) in routes(wiring, view, model) {
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
    }
    classify(wiring, view, model, &mut wired);
    masquerades(wiring, view, &mut wired);
    for (family, action) in &wiring.tunnels {
        let (vpc, family) = (wiring.vpc, *family);
        wired.tunnels.insert(tunnel::Key { vpc, family }, *action);
    }
    wired
}

/// All routes, in order of precedence.
fn routes(wiring: &Wiring, view: &NodeView, model: &Model) -> Vec<(u32, IpNet, Option<NextHop>)> {
    let configured = wiring.routes.iter().map(|r| (r.vpc, r.prefix, r.via));
    let mut found: Vec<_> = configured.collect();
    let mut add = |prefix, via| found.push((wiring.vpc, prefix, via));
    for vport in &wiring.vports {
        for (address, hop) in attached(vport, view, model) {
            add(IpNet::from(address), Some(hop));
        }
    }
    if let Some(to) = &wiring.node_routes {
        for node in model.nodes() {
            let via = to.via(node);
            for cidr in &node.pod_cidrs {
                add(*cidr, Some(via));
            }
            for ip in &node.internal_ips {
                add(IpNet::from(*ip), Some(via));
            }
        }
    }
    let announced = model.service_cidrs().flat_map(|range| &range.cidrs);
    for cidr in wiring.service_cidrs.iter().chain(announced) {
        add(*cidr, None);
    }
    found
}

impl NodeRoutes {
    fn via(&self, node: &model::Node) -> NextHop {
        if node.name == self.node {
            return self.host;
        }
        let mut known = node.internal_ips.iter();
        let mac = known.find_map(|ip| self.neighbours.get(ip));
        NextHop {
            dst_mac: mac.copied().unwrap_or(self.network.dst_mac),
            ..self.network
        }
    }
}

/// The addresses behind a pod's port, with the way there.
fn attached(vport: &Vport, view: &NodeView, model: &Model) -> Vec<(IpAddr, NextHop)> {
    let device = match &vport.pod {
        VportKey::Address(address) => return vec![(*address, vport.hop)],
        VportKey::Device(device) => device,
    };
    // Devices of other nodes have the same names.
    let here = |pod: &&Arc<model::Pod>| match (&pod.node, &view.node) {
        (Some(node), Some(this)) => node == this,
        _ => true,
    };
    let pods = model.pods().filter(here);
    let attachments = pods.flat_map(|pod| &pod.attachments);
    let here = attachments.filter(|attachment| attachment.devices.contains(device));
    here.flat_map(|attachment| {
        let named = attachment.mac.as_deref().and_then(|mac| mac.parse().ok());
        let mac = named.map_or(0, crate::config::Mac::to_u64);
        let dst_mac = match vport.hop.dst_mac {
            0 => mac,
            configured => configured,
        };
        let hop = NextHop {
            dst_mac,
            ..vport.hop
        };
        // A frame to nobody would be lost without a word: no route is a reason that can be read.
        let known = attachment.addresses.iter().filter(move |_| dst_mac != 0);
        known.map(move |address| (*address, hop))
    })
    .collect()
}

/// Who is a pod, who is this node (S47–S50). The node's own addresses are more specific than any range of pods.
fn classify(wiring: &Wiring, view: &NodeView, model: &Model, wired: &mut Wired) {
    let vpc = wiring.vpc;
    let key = |range: IpNet| client::Key {
        vpc,
        source: range.into(),
    };
    let behind = match &view.pods {
        PodRanges::Unknown => Vec::new(),
        PodRanges::Ranges(ranges) => ranges.clone(),
        PodRanges::BehindPorts(ports) => routes(wiring, view, model)
            .into_iter()
            .filter(|(on, prefix, via)| {
                let there = via.is_some_and(|hop| ports.contains(&hop.port));
                *on == vpc && there && prefix.prefix_len() > 0
            })
            .map(|(_, prefix, _)| prefix)
            .collect(),
    };
    for range in behind {
        wired.clients.insert(key(range), client::Class::Pod);
    }
    for address in &view.addresses {
        let own = key(IpNet::from(*address));
        wired.clients.insert(own, client::Class::Node);
    }
}

/// The source addresses that connections get (S52, S53): as configured; else the node's primary address, which finds
/// back to the NIC from anywhere but from behind the same side of a bump in the wire.
fn masquerades(wiring: &Wiring, view: &NodeView, wired: &mut Wired) {
    let vpc = wiring.vpc;
    for (family, local) in [
        (Family::V4, false),
        (Family::V4, true),
        (Family::V6, false),
        (Family::V6, true),
    ] {
        let of = |local| {
            let fits = |m: &&MasqueradeAddress| m.local == local && Family::of(m.address) == family;
            wiring.masquerade.iter().find(fits).cloned()
        };
        let node = || {
            view.primary(family).map(|address| MasqueradeAddress {
                local,
                address,
                ports: wiring.masquerade_ports,
            })
        };
        let found = match (local, wiring.attachment) {
            (false, _) => of(false).or_else(node),
            (true, Attachment::Vport) => of(true).or_else(|| of(false)).or_else(node),
            (true, Attachment::BumpInTheWire) => {
                let not_the_node = |m: &MasqueradeAddress| !view.addresses.contains(&m.address);
                of(true).or_else(|| of(false).filter(not_the_node))
            }
        };
        if let Some(found) = found {
            let action = masquerade::Action {
                address: found.address.into(),
                port_base: found.ports.base,
                port_mask: found.ports.mask,
            };
            let key = masquerade::Key { vpc, family, local };
            wired.masquerades.insert(key, action);
        }
    }
    for own in wiring
        .masquerade
        .iter()
        .filter(|_| wiring.answers_neighbors)
    {
        if !view.addresses.contains(&own.address) {
            let address = own.address.into();
            wired.own.insert(vip::Key { vpc, address });
        }
    }
}
