//! What Kubernetes wants to become of a packet.
//!
//! In: a cluster and a first packet of a connection. Out: the verdict. Written from the list of semantics alone, and what
//! goes beyond it (weights, schedulers, direct return, the bump in the wire) from `docs/services.md`: nothing of the
//! control plane is used here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::world::{
    Detect, Ingress, Kind, NODES, Port, Protocol, Scheduler, Service, World, cluster_ip,
    external_ip, ingress_ip, pod_ip, wire_ip,
};

/// What is not judged, and why it is not.
pub const NOT_JUDGED: [(&str, &str); 4] = [
    (
        "S57",
        "which endpoint a client gets whose connections to one Service port go partly directly, partly translated: \
         both ways remember clients on their own",
    ),
    (
        "S57",
        "whether a client that another address of the Service port gave another endpoint, since the remembered one may \
         not serve there, goes back to the first when the second has left: there is one entry per client, kube-proxy has one \
         per client and endpoint",
    ),
    (
        "S58",
        "that a client is forgotten after the timeout: days would pass; the scenario affinity-timeout waits for one",
    ),
    (
        "S71, S72, S74",
        "the health check servers themselves: only what they are told (S70, S73)",
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Probe {
    pub from: IpAddr,
    pub source: u16,
    /// Port of the NIC.
    pub port: u32,
    pub to: IpAddr,
    pub to_port: u16,
    pub protocol: Protocol,
}

/// An endpoint that may be chosen, and what it sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    pub to: (IpAddr, u16),
    /// Another source address (S47-S53).
    pub masquerade: Option<IpAddr>,
    /// Of all chosen connections, so many parts.
    pub weight: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To one of these.
    Deliver(Vec<Delivery>),
    /// To one of these in a tunnel, as it is.
    Direct(Vec<Delivery>),
    Reject,
    Drop,
    Untouched,
}

/// What a served packet's Service port says of choosing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choosing {
    /// Service, port and protocol (S09).
    pub port: (u8, String, Protocol),
    pub affinity: bool,
    pub scheduler: Option<Scheduler>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Pod,
    Node,
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    ClusterIp,
    External,
    Ingress,
}

#[derive(Clone, Debug)]
struct Backend {
    to: (IpAddr, u16),
    local: bool,
    ready: bool,
    leaving: bool,
    /// Keeps what it has: weights, policies and hints are about new connections.
    answers: bool,
    zones: Vec<String>,
    nodes: Vec<String>,
    weight: u32,
}

pub fn judge(world: &World, probe: &Probe) -> (Verdict, Option<Choosing>) {
    let six = probe.to.is_ipv6();
    for service in world.services.iter().filter(|one| visible(one, six)) {
        let Some((entry, port)) = entry_of(world, service, probe) else {
            continue;
        };
        let Some(port) = port else {
            // S22; other addresses may be somebody else's at other ports.
            let refused = entry == Entry::ClusterIp;
            let verdict = if refused {
                Verdict::Reject
            } else {
                Verdict::Untouched
            };
            return (verdict, None);
        };
        if entry == Entry::Ingress && !admitted(world, service, probe) {
            return (Verdict::Drop, None);
        }
        let choosing = Choosing {
            port: (service.number, port.name.clone(), port.protocol),
            affinity: service.affinity.is_some(),
            scheduler: service.scheduler,
        };
        return (serve(world, service, port, entry, probe), Some(choosing));
    }
    let unassigned = match probe.to {
        IpAddr::V4(ip) => ip.octets()[..2] == [10, 96],
        IpAddr::V6(ip) => ip.segments()[..3] == [0xfd00, 0x10, 0x96],
    };
    let verdict = if unassigned {
        Verdict::Drop
    } else {
        Verdict::Untouched
    };
    (verdict, None)
}

/// Through which entry point of the Service the packet comes, and its port there (S21-S29).
fn entry_of<'a>(
    world: &World,
    service: &'a Service,
    probe: &Probe,
) -> Option<(Entry, Option<&'a Port>)> {
    let six = probe.to.is_ipv6();
    let port = || {
        let mut ports = service.ports.iter();
        ports.find(|port| port.port == probe.to_port && port.protocol == probe.protocol)
    };
    if probe.to == cluster_ip(service.number, six) {
        return Some((Entry::ClusterIp, port()));
    }
    let vips = service.ingress.iter().enumerate();
    let mut vips = vips.filter(|(_, mode)| matches!(mode, Ingress::Plain | Ingress::Vip));
    if service.kind == Kind::LoadBalancer
        && vips.any(|(at, _)| probe.to == ingress_ip(service.number, at as u8, six))
    {
        return Some((Entry::Ingress, port()));
    }
    if service.external_ips && probe.to == external_ip(service.number, six) {
        return Some((Entry::External, port()));
    }
    if answers_node_ports(world, probe.to) {
        let mut ports = service.ports.iter().filter(|port| port.node_port != 0);
        let found = ports
            .find(|port| port.node_port == probe.to_port && port.protocol == probe.protocol)?;
        return Some((Entry::External, Some(found)));
    }
    None
}

/// S23-S25.
fn answers_node_ports(world: &World, to: IpAddr) -> bool {
    let all = world.node.addresses(to.is_ipv6());
    let given = &world.settings.node_ports;
    let ranges: Vec<IpNet> = given.iter().filter_map(|text| text.parse().ok()).collect();
    let mut own = ranges
        .iter()
        .filter(|net| net.addr().is_ipv6() == to.is_ipv6())
        .peekable();
    let primary = all.first() == Some(&to);
    if given.is_empty() || given.iter().any(|text| text == "primary") {
        return primary;
    }
    if own.peek().is_none() {
        return all.contains(&to);
    }
    all.contains(&to) && own.any(|net| net.contains(&to))
}

/// S01-S04, S07.
fn visible(service: &Service, six: bool) -> bool {
    let family = if six { service.v6 } else { service.v4 };
    family
        && service.hidden.is_none()
        && !matches!(service.kind, Kind::ExternalName | Kind::Headless)
}

/// S48.
fn client(world: &World, from: IpAddr) -> Client {
    if world.node.addresses(from.is_ipv6()).contains(&from) {
        return Client::Node;
    }
    let (pod, here) = match from {
        IpAddr::V4(ip) => {
            let octets = ip.octets();
            (octets[..2] == [10, 244], octets[2] == 0)
        }
        IpAddr::V6(ip) => {
            let segments = ip.segments();
            (segments[..3] == [0xfd00, 0x10, 0x244], segments[3] == 0)
        }
    };
    let found = match world.settings.detect {
        Detect::ClusterCidr => pod,
        Detect::NodeCidr | Detect::Interface => pod && here,
        Detect::Nothing => false,
    };
    if found { Client::Pod } else { Client::Outside }
}

/// S54-S56.
fn admitted(world: &World, service: &Service, probe: &Probe) -> bool {
    let ranges = service
        .ranges
        .iter()
        .filter_map(|text| text.trim().parse::<IpNet>().ok());
    let own: Vec<IpNet> = ranges
        .filter(|net| net.addr().is_ipv6() == probe.from.is_ipv6())
        .collect();
    let within = |address: &IpAddr| own.iter().any(|net| net.contains(address));
    let nodes = world.node.addresses(probe.from.is_ipv6());
    // A node that calls the balancer's address may have it itself, and any other one of the same Service.
    let balancers = service.ingress.iter().enumerate();
    let mut vips = balancers.filter(|(_, mode)| matches!(mode, Ingress::Plain | Ingress::Vip));
    let six = probe.to.is_ipv6();
    let itself = vips.any(|(at, _)| ingress_ip(service.number, at as u8, six) == probe.from);
    own.is_empty() || within(&probe.from) || (itself && nodes.iter().any(within))
}

/// S32-S39, S47-S52.
fn serve(world: &World, service: &Service, port: &Port, entry: Entry, probe: &Probe) -> Verdict {
    let six = probe.to.is_ipv6();
    let client = client(world, probe.from);
    let local = match entry {
        Entry::ClusterIp => service.internal_local,
        // S39: pods and the node reach everything.
        _ => service.external_local && client == Client::Outside,
    };
    let all = backends(world, service, &port.name, six);
    let everywhere = cluster(world, &all);
    let set = if local {
        nearby(&all)
    } else {
        everywhere.clone()
    };
    if set.is_empty() {
        return if everywhere.is_empty() {
            Verdict::Reject
        } else {
            Verdict::Drop
        };
    }
    let direct = service.direct && world.settings.tunnels && entry == Entry::Ingress;
    let asked = match entry {
        Entry::ClusterIp => {
            world.settings.masquerade_all
                || (world.settings.detect != Detect::Nothing && client != Client::Pod)
        }
        _ => !service.external_local || client == Client::Node,
    };
    let deliveries = set.into_iter().map(|backend| Delivery {
        to: backend.to,
        masquerade: if direct {
            None
        } else {
            masquerade(world, probe, &backend, asked)
        },
        weight: backend.weight,
    });
    let deliveries = deliveries.collect();
    if direct {
        Verdict::Direct(deliveries)
    } else {
        Verdict::Deliver(deliveries)
    }
}

fn masquerade(world: &World, probe: &Probe, backend: &Backend, asked: bool) -> Option<IpAddr> {
    let six = probe.to.is_ipv6();
    let hairpin = probe.from == backend.to.0;
    // Behind a bump in the wire answers of this node's pods to its own clients do not come by, nor to its own address.
    let stays = world.settings.bump && backend.local && (probe.port == 1 || asked);
    if world.settings.bump && (hairpin || stays) {
        return Some(wire_ip(six));
    }
    (asked || hairpin).then(|| world.node.addresses(six)[0])
}

/// S05, S06, S11, S12, S14, S17, S18; and weights, of which 0 is neither ready nor serving.
fn backends(world: &World, service: &Service, port: &str, six: bool) -> Vec<Backend> {
    let slices = world.slices.iter().filter(|slice| {
        slice.service == Some(service.number) && slice.v6 == six && slice.hidden.is_none()
    });
    let mut found: Vec<Backend> = Vec::new();
    for slice in slices.filter(|slice| port == "p0" || !slice.only_p0) {
        let target = slice.target + u16::from(port == "p1");
        for endpoint in &slice.endpoints {
            let to = (pod_ip(endpoint.place, endpoint.host, six), target);
            let local = endpoint.named && endpoint.place == 0;
            if let Some(other) = found.iter_mut().find(|other| other.to == to) {
                other.local |= local;
                continue;
            }
            let mut weights = service.weights.iter();
            let given = weights.find(|(place, _)| *place == endpoint.place);
            let given = given.map_or(1, |(_, weight)| *weight);
            let weight = match service.scheduler {
                Some(Scheduler::RoundRobin) => given.min(1),
                _ => given,
            };
            found.push(Backend {
                to,
                local,
                ready: weight > 0 && endpoint.ready.unwrap_or(true),
                leaving: weight > 0
                    && endpoint.serving.unwrap_or(true)
                    && endpoint.terminating.unwrap_or(false),
                answers: endpoint.ready.unwrap_or(true) || endpoint.serving.unwrap_or(true),
                zones: endpoint.zones.clone(),
                nodes: endpoint.nodes.clone(),
                weight,
            });
        }
    }
    found
}

fn those(all: &[Backend], which: impl Fn(&Backend) -> bool) -> Vec<Backend> {
    all.iter().filter(|one| which(one)).cloned().collect()
}

/// S32, S42-S45.
fn cluster(world: &World, all: &[Backend]) -> Vec<Backend> {
    let ready = those(all, |one| one.ready);
    if ready.is_empty() {
        return those(all, |one| one.leaving);
    }
    let hinted = |near: &dyn Fn(&Backend) -> bool, hints: &dyn Fn(&Backend) -> bool| {
        (ready.iter().all(hints) && ready.iter().any(near)).then(|| those(&ready, near))
    };
    let here = |one: &Backend| one.nodes.iter().any(|node| node == NODES[0]);
    if let Some(found) = hinted(&here, &|one| !one.nodes.is_empty()) {
        return found;
    }
    if let Some(zone) = &world.node.zone {
        let near = |one: &Backend| one.zones.contains(zone);
        if let Some(found) = hinted(&near, &|one| !one.zones.is_empty()) {
            return found;
        }
    }
    ready
}

/// S33.
fn nearby(all: &[Backend]) -> Vec<Backend> {
    let ready = those(all, |one| one.local && one.ready);
    if ready.is_empty() {
        those(all, |one| one.local && one.leaving)
    } else {
        ready
    }
}

/// Endpoints of a Service port that may keep connections and clients (S63, S64). One that gets new connections does,
/// although it may say that it does not serve (S19).
pub fn answering(world: &World, service: &Service, port: &str, six: bool) -> Vec<(IpAddr, u16)> {
    let all = backends(world, service, port, six);
    those(&all, |one| one.answers)
        .into_iter()
        .map(|one| one.to)
        .collect()
}

/// Whether what was called still leads to that endpoint: a UDP connection goes on (S63-S66). In a tunnel there are no
/// ports.
pub fn keeps(world: &World, probe: &Probe, endpoint: (IpAddr, u16), direct: bool) -> bool {
    let six = probe.to.is_ipv6();
    world
        .services
        .iter()
        .filter(|one| visible(one, six))
        .any(|service| {
            let Some((_, Some(port))) = entry_of(world, service, probe) else {
                return false;
            };
            let all = answering(world, service, &port.name, six);
            all.iter()
                .any(|one| *one == endpoint || (direct && one.0 == endpoint.0))
        })
}

/// Per family, how many distinct addresses of ready endpoints this node has, for a load balancer that asks (S70, S73).
pub fn healthy(world: &World, service: &Service) -> Option<[usize; 2]> {
    let asked = service.kind == Kind::LoadBalancer
        && service.external_local
        && service.health_port != 0
        && service.hidden.is_none();
    if !asked {
        return None;
    }
    let count = |six: bool| {
        let family = if six { service.v6 } else { service.v4 };
        let own = world.slices.iter().filter(|slice| {
            slice.service == Some(service.number) && slice.v6 == six && slice.hidden.is_none()
        });
        let ready = own.flat_map(|slice| &slice.endpoints).filter(|endpoint| {
            endpoint.named && endpoint.place == 0 && endpoint.ready.unwrap_or(true)
        });
        let distinct: BTreeSet<u8> = ready.map(|endpoint| endpoint.host).collect();
        if family { distinct.len() } else { 0 }
    };
    Some([count(false), count(true)])
}
