//! What Kubernetes wants to become of a packet.
//!
//! In: a cluster and a first packet of a connection. Out: the verdict. Written from the list of semantics alone: nothing of
//! the control plane is used here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::world::{
    Kind, NODES, Protocol, Service, World, cluster_ip, external_ip, ingress_ip, node_ip, pod_ip,
};

/// What is not judged, and why it is not.
pub const NOT_JUDGED: [(&str, &str); 7] = [
    (
        "S41",
        "that every allowed endpoint is reached in the end: only that the chosen one is allowed",
    ),
    (
        "S47-S53",
        "source addresses: whether and how they change; answers are judged whatever the source",
    ),
    ("S55", "a load balancer's address as the source of a packet"),
    (
        "S57-S61",
        "session affinity: Services are generated without",
    ),
    (
        "S62",
        "open SCTP connections whose endpoint left and has another port than the Service: checksum entries of that pair \
     of ports leave with it",
    ),
    (
        "S63-S66",
        "cleaning of UDP flows: no datagram is sent twice on one flow",
    ),
    (
        "S23, S48",
        "ranges of node ports' addresses, other ways to tell pods, and other attachments: one configuration is used",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub from: IpAddr,
    pub port: u32,
    pub to: IpAddr,
    pub to_port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Deliver(BTreeSet<(IpAddr, u16)>),
    Reject,
    Drop,
    Untouched,
}

#[derive(Clone, Debug)]
struct Backend {
    to: (IpAddr, u16),
    local: bool,
    ready: bool,
    leaving: bool,
    zones: Vec<&'static str>,
    nodes: Vec<&'static str>,
}

/// `classes`: whether pods and the node are told from other clients (S39).
pub fn judge(world: &World, probe: &Probe, classes: bool) -> Verdict {
    let six = probe.to.is_ipv6();
    let seen = world
        .services
        .iter()
        .filter(|service| visible(service, six));
    for service in seen {
        let number = service.number;
        let port = |number: u16| {
            let mut ports = service.ports.iter();
            ports.find(|port| port.port == number && port.protocol == probe.protocol)
        };
        if probe.to == cluster_ip(number, six) {
            // S21, S22.
            return match port(probe.to_port) {
                Some(port) => serve(world, service, port.name, six, service.internal_local),
                None => Verdict::Reject,
            };
        }
        let own = classes && inside(probe.from);
        let local = service.external_local && !own;
        if service.external_ips && probe.to == external_ip(number, six) {
            return port(probe.to_port).map_or(Verdict::Untouched, |port| {
                serve(world, service, port.name, six, local)
            });
        }
        let ingress = service.kind == Kind::LoadBalancer && !service.ingress_proxy;
        if ingress && probe.to == ingress_ip(number, six) {
            return port(probe.to_port).map_or(Verdict::Untouched, |port| {
                if admitted(service, probe.from) {
                    serve(world, service, port.name, six, local)
                } else {
                    Verdict::Drop
                }
            });
        }
        // S23: the primary address of this node.
        if probe.to == node_ip(0, six) && service.kind != Kind::ClusterIp {
            let mut ports = service.ports.iter();
            let found = ports
                .find(|port| port.node_port == probe.to_port && port.protocol == probe.protocol);
            if let Some(port) = found {
                return serve(world, service, port.name, six, local);
            }
        }
    }
    let unassigned = match probe.to {
        IpAddr::V4(ip) => ip.octets()[..2] == [10, 96],
        IpAddr::V6(ip) => ip.segments()[..3] == [0xfd00, 0x10, 0x96],
    };
    if unassigned {
        Verdict::Drop
    } else {
        Verdict::Untouched
    }
}

/// S01-S04, S07.
fn visible(service: &Service, six: bool) -> bool {
    let family = if six { service.v6 } else { service.v4 };
    family
        && service.label.is_none()
        && !matches!(service.kind, Kind::ExternalName | Kind::Headless)
}

/// A pod of the cluster, or this node.
fn inside(from: IpAddr) -> bool {
    let pod = match from {
        IpAddr::V4(ip) => ip.octets()[..2] == [10, 244],
        IpAddr::V6(ip) => ip.segments()[..3] == [0xfd00, 0x10, 0x244],
    };
    pod || from == node_ip(0, from.is_ipv6())
}

/// S54, S56.
fn admitted(service: &Service, from: IpAddr) -> bool {
    let ranges = service
        .ranges
        .iter()
        .filter_map(|text| text.trim().parse::<IpNet>().ok());
    let own: Vec<IpNet> = ranges
        .filter(|net| net.addr().is_ipv6() == from.is_ipv6())
        .collect();
    own.is_empty() || own.iter().any(|net| net.contains(&from))
}

/// S32-S38.
fn serve(world: &World, service: &Service, port: &str, six: bool, local: bool) -> Verdict {
    let all = backends(world, service, port, six);
    let everywhere = cluster(world, &all);
    let set = if local {
        nearby(&all)
    } else {
        everywhere.clone()
    };
    match (set.is_empty(), everywhere.is_empty()) {
        (false, _) => Verdict::Deliver(set),
        (true, false) => Verdict::Drop,
        (true, true) => Verdict::Reject,
    }
}

/// S05, S06, S11, S14, S17, S18.
fn backends(world: &World, service: &Service, port: &str, six: bool) -> Vec<Backend> {
    let slices = world.slices.iter().filter(|slice| {
        slice.service == service.number && slice.v6 == six && slice.label.is_none()
    });
    let mut found: Vec<Backend> = Vec::new();
    for slice in slices {
        // A slice names its ports p0 and p1; their numbers are its own.
        let target = slice.target + u16::from(port == "p1");
        for endpoint in &slice.endpoints {
            let to = (pod_ip(endpoint.place, endpoint.host, six), target);
            let local = endpoint.named && endpoint.place == 0;
            if let Some(other) = found.iter_mut().find(|other| other.to == to) {
                other.local |= local;
                continue;
            }
            found.push(Backend {
                to,
                local,
                ready: endpoint.ready.unwrap_or(true),
                leaving: endpoint.serving.unwrap_or(true) && endpoint.terminating.unwrap_or(false),
                zones: endpoint.zones.clone(),
                nodes: endpoint.nodes.clone(),
            });
        }
    }
    found
}

fn addresses<'a>(of: impl Iterator<Item = &'a Backend>) -> BTreeSet<(IpAddr, u16)> {
    of.map(|backend| backend.to).collect()
}

/// S32, S42-S45.
fn cluster(world: &World, all: &[Backend]) -> BTreeSet<(IpAddr, u16)> {
    let ready: Vec<&Backend> = all.iter().filter(|backend| backend.ready).collect();
    if ready.is_empty() {
        return addresses(all.iter().filter(|backend| backend.leaving));
    }
    let here = |backend: &&Backend| backend.nodes.contains(&NODES[0]);
    if ready.iter().all(|backend| !backend.nodes.is_empty()) && ready.iter().any(here) {
        return addresses(ready.into_iter().filter(here));
    }
    if let Some(zone) = world.zone {
        let near = |backend: &&Backend| backend.zones.contains(&zone);
        if ready.iter().all(|backend| !backend.zones.is_empty()) && ready.iter().any(near) {
            return addresses(ready.into_iter().filter(near));
        }
    }
    addresses(ready.into_iter())
}

/// S33.
fn nearby(all: &[Backend]) -> BTreeSet<(IpAddr, u16)> {
    let ready = addresses(all.iter().filter(|backend| backend.local && backend.ready));
    if !ready.is_empty() {
        return ready;
    }
    addresses(
        all.iter()
            .filter(|backend| backend.local && backend.leaving),
    )
}
