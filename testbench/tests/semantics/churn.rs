//! Random changes of a cluster, one at a time.
//!
//! In: random numbers and the cluster as it is. Out: changes as a watch would bring them, in one batch. Invariant: two
//! copies of an endpoint differ in their node's name only: what Kubernetes leaves open is not generated.

use testbench::random::Random;

use super::world::{
    Change, Detect, Endpoint, Hidden, Ingress, Kind, NODES, Node, PROTOCOLS, Port, Scheduler,
    Service, Settings, Slice, World,
};

/// Choices that a cluster is made of.
pub trait Choose {
    /// One of several; there has to be one.
    fn pick<T: Clone>(&mut self, of: &[T]) -> T;

    fn perhaps(&mut self) -> Option<bool> {
        self.pick(&[None, Some(true), Some(true), Some(false)])
    }
}

impl Choose for Random {
    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        self.of(of).unwrap().clone()
    }
}

pub const SERVICES: usize = 4;
const ZONES: [&str; 2] = ["z1", "z2"];
/// Of both families, with spaces, with this node's addresses, and such that leave one family without any.
const RANGES: [&str; 6] = [
    "198.51.100.0/29",
    " 10.244.0.0/16 ",
    "2001:db8:1::/64",
    "192.0.2.128/25",
    "192.0.2.0/28",
    " 2001:db8::/64",
];

fn hidden(random: &mut Random, one_in: usize) -> Option<Hidden> {
    let hidden = random.pick(&[Hidden::OtherProxy, Hidden::HeadlessLabel]);
    random.once_in(one_in).then_some(hidden)
}

/// One change, small or large; several where they belong together.
pub fn change(world: &World, random: &mut Random) -> Vec<Change> {
    match random.below(15) {
        0..=2 => vec![Change::Service(service(random))],
        3 if world.services.len() > 1 => {
            vec![Change::NoService(random.pick(&world.services).number)]
        }
        4 if world.slices.len() > 1 => vec![Change::NoSlice(random.pick(&world.slices).number)],
        5 => vec![Change::Node(node(random))],
        6 => moved(world, random),
        7 | 8 => turned(world, random),
        9 | 10 => agreed(world, condition(world, random)),
        11 => hinted(world, random),
        _ => agreed(world, slice(random)),
    }
}

fn node(random: &mut Random) -> Node {
    let zone = random.pick(&[None, Some(ZONES[0]), Some(ZONES[1])]);
    Node {
        zone: zone.map(str::to_owned),
        second: random.once_in(2),
        second_first: random.once_in(3),
    }
}

/// Another configuration of the NIC.
pub fn settings(random: &mut Random) -> Settings {
    let node_ports: &[&str] = random.pick(&[
        &[][..],
        &[],
        &["primary"],
        &["192.0.2.0/24"],
        &["0.0.0.0/0", "::/0"],
        &["2001:db8::/32"],
        &["192.0.2.16/28"],
        &["198.51.100.0/24"],
    ]);
    Settings {
        detect: random.pick(&[
            Detect::ClusterCidr,
            Detect::ClusterCidr,
            Detect::NodeCidr,
            Detect::Interface,
            Detect::Nothing,
        ]),
        masquerade_all: random.once_in(4),
        node_ports: node_ports.iter().map(|text| (*text).to_owned()).collect(),
        bump: random.once_in(3),
        tunnels: !random.once_in(4),
    }
}

fn service(random: &mut Random) -> Service {
    use Kind::{ClusterIp, ExternalName, Headless, LoadBalancer, NodePort};
    let number = random.below(SERVICES) as u8;
    let kind = match random.below(12) {
        0..=2 => ClusterIp,
        3 | 4 => NodePort,
        5..=9 => LoadBalancer,
        10 => ExternalName,
        _ => Headless,
    };
    let (v4, v6) = random.pick(&[(true, true), (true, false), (false, true)]);
    let without_node_ports = kind == LoadBalancer && random.once_in(4);
    let ports = (0..=random.below(2)).map(|at| Port {
        name: format!("p{at}"),
        protocol: random.pick(&PROTOCOLS),
        port: 80 + at as u16,
        node_port: if matches!(kind, NodePort | LoadBalancer) && !without_node_ports {
            30_000 + u16::from(number) * 10 + at as u16
        } else {
            0
        },
    });
    let ports = ports.collect();
    let modes = [
        Ingress::Plain,
        Ingress::Plain,
        Ingress::Vip,
        Ingress::Proxy,
        Ingress::Name,
    ];
    let addresses = if kind == LoadBalancer {
        random.below(3)
    } else {
        0
    };
    let schedulers = [
        Scheduler::RoundRobin,
        Scheduler::WeightedRoundRobin,
        Scheduler::SourceHash,
        Scheduler::DestinationHash,
        Scheduler::Maglev,
    ];
    let ingress = (0..addresses).map(|_| random.pick(&modes)).collect();
    let mut ranges: Vec<String> = Vec::new();
    for range in RANGES {
        if kind == LoadBalancer && random.once_in(5) {
            ranges.push(range.to_owned());
        }
    }
    Service {
        number,
        kind,
        v4,
        v6,
        ports,
        internal_local: random.once_in(3),
        external_local: random.once_in(2),
        external_ips: random.once_in(2),
        ingress,
        ranges,
        hidden: hidden(random, 12),
        affinity: random.once_in(3).then(|| random.pick(&[10_800, 7_200])),
        scheduler: random.once_in(3).then(|| random.pick(&schedulers)),
        weights: if random.once_in(4) {
            vec![(random.below(3) as u8, random.pick(&[0, 0, 2, 3]))]
        } else {
            Vec::new()
        },
        direct: random.once_in(2),
        health_port: if kind == LoadBalancer {
            32_000 + u16::from(number)
        } else {
            0
        },
    }
}

/// A Service with something switched.
fn turned(world: &World, random: &mut Random) -> Vec<Change> {
    if world.services.is_empty() {
        return vec![Change::Service(service(random))];
    }
    let mut one = random.pick(&world.services);
    match random.below(5) {
        0 => one.internal_local ^= true,
        1 => one.external_local ^= true,
        2 => {
            one.affinity = match one.affinity {
                None => Some(10_800),
                Some(_) => None,
            }
        }
        3 => one.external_ips ^= true,
        _ => one.weights = vec![(random.below(3) as u8, random.below(3) as u32)],
    }
    vec![Change::Service(one)]
}

fn slice(random: &mut Random) -> Slice {
    Slice {
        number: random.below(8) as u8,
        service: (!random.once_in(20)).then(|| random.below(SERVICES) as u8),
        v6: random.once_in(2),
        endpoints: (0..random.below(5)).map(|_| endpoint(random)).collect(),
        target: random.pick(&[80, 8080, 9090]),
        only_p0: random.once_in(8),
        hidden: hidden(random, 16),
    }
}

fn endpoint(random: &mut Random) -> Endpoint {
    let place = random.below(3) as u8;
    let zones = random.pick(&[0, 0, 1, 2, 3]);
    let named = |at: &u64| zones >> at & 1 == 1;
    Endpoint {
        place,
        host: 10 + random.below(4) as u8,
        named: !random.once_in(6),
        ready: random.perhaps(),
        serving: random.perhaps(),
        terminating: random.perhaps(),
        zones: (0..2)
            .filter(named)
            .map(|at| ZONES[at as usize].to_owned())
            .collect(),
        nodes: if random.once_in(3) {
            vec![NODES[usize::from(place)].to_owned()]
        } else {
            Vec::new()
        },
    }
}

/// Hints as the EndpointSlice controller gives them: to every endpoint of a Service, or to none. Most have a zone of their
/// own, some have both.
fn hinted(world: &World, random: &mut Random) -> Vec<Change> {
    let service = Some(random.below(SERVICES) as u8);
    let (zones, nodes) = random.pick(&[(true, false), (true, false), (true, true), (false, false)]);
    let first = random.below(2);
    let mut of = world.slices.clone();
    of.retain(|slice| slice.service == service && !slice.endpoints.is_empty());
    for end in of.iter_mut().flat_map(|slice| &mut slice.endpoints) {
        // By the endpoint, since its copies have to agree.
        let key = first + usize::from(end.place) + usize::from(end.host);
        let names = ZONES
            .iter()
            .enumerate()
            .filter(|(at, _)| zones && (key % 5 == 4 || key % 2 == *at));
        end.zones = names.map(|(_, name)| (*name).to_owned()).collect();
        end.nodes.clear();
        if nodes {
            end.nodes.push(NODES[usize::from(end.place)].to_owned());
        }
    }
    if of.is_empty() {
        return agreed(world, slice(random));
    }
    of.into_iter().map(Change::Slice).collect()
}

/// One slice with the conditions, or the hints, of one endpoint as others are.
fn condition(world: &World, random: &mut Random) -> Slice {
    let filled: Vec<&Slice> = world
        .slices
        .iter()
        .filter(|slice| !slice.endpoints.is_empty())
        .collect();
    if filled.is_empty() {
        return slice(random);
    }
    let mut one = random.pick(&filled).clone();
    let at = random.below(one.endpoints.len());
    let fresh = endpoint(random);
    let end = &mut one.endpoints[at];
    if random.once_in(3) {
        (end.zones, end.nodes) = (fresh.zones, fresh.nodes);
    } else {
        (end.ready, end.serving, end.terminating) = (fresh.ready, fresh.serving, fresh.terminating);
    }
    one
}

/// A slice, and every other copy of its endpoints as it has them, but for the name of the node.
fn agreed(world: &World, newest: Slice) -> Vec<Change> {
    let mut newest = newest;
    let like: Vec<Endpoint> = newest.endpoints.clone();
    let first = |of: &Endpoint| {
        let same = |other: &&Endpoint| (other.place, other.host) == (of.place, of.host);
        let like = like.iter().find(same).cloned();
        like.map(|like| Endpoint {
            named: of.named,
            ..like
        })
    };
    for endpoint in &mut newest.endpoints {
        if let Some(same) = first(endpoint) {
            *endpoint = same;
        }
    }
    let mut changes = Vec::new();
    for slice in &world.slices {
        let concerns = (slice.service, slice.v6) == (newest.service, newest.v6);
        if !concerns || slice.number == newest.number {
            continue;
        }
        let mut other = slice.clone();
        for endpoint in &mut other.endpoints {
            if let Some(same) = first(endpoint) {
                *endpoint = same;
            }
        }
        if other != *slice {
            changes.push(Change::Slice(other));
        }
    }
    changes.push(Change::Slice(newest));
    changes
}

/// An endpoint goes from one slice into another (S15), added first or removed first.
fn moved(world: &World, random: &mut Random) -> Vec<Change> {
    if world.slices.len() < 2 {
        return vec![Change::Slice(slice(random))];
    }
    let mut from = random.pick(&world.slices);
    let mut to = random.pick(&world.slices);
    let Some(endpoint) = from.endpoints.pop().filter(|_| from.number != to.number) else {
        return agreed(world, slice(random));
    };
    to.endpoints.push(endpoint);
    let mut after = world.clone();
    after.take(&Change::Slice(from.clone()));
    let mut changes = agreed(&after, to);
    let at = if random.once_in(2) { 0 } else { changes.len() };
    // A copy that had to be brought to agree stands in `changes` already.
    if !changes
        .iter()
        .any(|c| matches!(c, Change::Slice(s) if s.number == from.number))
    {
        changes.insert(at, Change::Slice(from));
    }
    changes
}
