//! The next steps of a random history.
//!
//! In: random numbers and the cluster as it is. Out: a change, and the packets after it. Invariant: no tuple is used twice,
//! so that every first packet opens a connection; but the same client's port is, towards other addresses.

use std::collections::HashSet;

use testbench::random::Random;

use super::churn::{self, Choose};
use super::history::{End, Step, sample};
use super::judge::{Probe, Verdict, judge};
use super::world::{
    PROTOCOLS, Protocol, Service, World, cluster_ip, external_ip, ingress_ip, node_ip, outsider,
    pod_ip, second_ip,
};

const PACKETS: usize = 6;
/// Client ports that are used again towards other addresses.
const RECENT: usize = 16;
const FIRST_PORT: u16 = 1_024;

pub struct Script {
    random: Random,
    /// How connections end; apart, so that a seed's clusters and packets do not depend on it.
    ends: Random,
    source: u16,
    recent: Vec<Probe>,
    used: HashSet<Probe>,
    begun: bool,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            ends: Random::new(!seed),
            source: FIRST_PORT,
            recent: Vec::new(),
            used: HashSet::new(),
            begun: false,
        }
    }

    /// A change, and what follows it.
    pub fn next(&mut self, world: &World) -> Vec<Step> {
        let mut after = world.clone();
        let mut steps = Vec::new();
        if !self.begun || self.random.once_in(40) {
            self.begun = true;
            after.settings = churn::settings(&mut self.random);
            steps.push(Step::Configure(after.settings.clone()));
        }
        // A few things at once to begin with.
        let count = if world.services.is_empty() { 12 } else { 1 };
        for _ in 0..count {
            let changes = churn::change(&after, &mut self.random);
            changes.iter().for_each(|change| after.take(change));
            steps.push(Step::Change(changes));
        }
        if self.random.once_in(50) {
            steps.push(Step::Restart);
        }
        for _ in 0..PACKETS {
            // Some packets are for whoever it may be, most for what is served.
            let tries = self.random.pick(&[1, 8, 8]);
            steps.push(Step::Packet(self.packet(&after, tries)));
        }
        if self.random.once_in(12) {
            let probe = self.packet(&after, 16);
            if let Some(count) = sample(&after, &probe) {
                let probe = Probe {
                    source: self.ports(count),
                    ..probe
                };
                steps.push(Step::Spread(probe, count));
            }
        }
        let errors = self.random.once_in(4);
        steps.push(Step::Talk { errors });
        if self.ends.once_in(4) {
            let how = self.ends.pick(&[End::Forged, End::Closed, End::Reset]);
            steps.push(Step::End(how, self.ends.below(16)));
            steps.push(Step::Talk { errors: false });
        }
        if self.ends.once_in(4) {
            steps.push(Step::Direct(self.ends.below(16)));
            steps.push(Step::Talk { errors: false });
        }
        if self.random.once_in(4) {
            steps.push(Step::Health);
        }
        steps
    }

    /// The first of so many client ports in a row.
    fn ports(&mut self, count: u16) -> u16 {
        if self.source > 60_000 - count {
            self.source = FIRST_PORT;
        }
        let first = self.source;
        self.source += count;
        first
    }

    /// A packet that opens a connection, the first of so many that is served.
    fn packet(&mut self, world: &World, tries: usize) -> Probe {
        let source = self.ports(1);
        let mut probe = self.candidate(world, source);
        for _ in 1..tries {
            if matches!(
                judge(world, &probe).0,
                Verdict::Deliver(_) | Verdict::Direct(_)
            ) {
                break;
            }
            probe = self.candidate(world, source);
        }
        self.used.insert(probe);
        self.recent.push(probe);
        let spare = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..spare);
        probe
    }

    fn candidate(&mut self, world: &World, source: u16) -> Probe {
        let random = &mut self.random;
        // Most packets are for what some Service has.
        let known = !world.services.is_empty() && !random.once_in(5);
        let service = known.then(|| random.pick(&world.services));
        let six = match &service {
            Some(service) if service.v4 != service.v6 => service.v6,
            _ => random.once_in(2),
        };
        let number = service
            .as_ref()
            .map_or_else(|| random.below(churn::SERVICES) as u8, |one| one.number);
        let (to, to_port, protocol) = called(random, service.as_ref(), number, six);
        let (from, port) = client(random, world, number, six);
        // A node's own packet to itself does not reach the NIC.
        let own = |address| [node_ip(0, six), second_ip(six)].contains(&address);
        let (from, port) = if own(from) && own(to) {
            (pod_ip(0, 5, six), 1)
        } else {
            (from, port)
        };
        let mut probe = Probe {
            from,
            source,
            port,
            to,
            to_port,
            protocol,
        };
        // SCTP keeps its port whatever happens: two connections with one reply tuple are not possible.
        if protocol != Protocol::Sctp && self.random.once_in(6) && !self.recent.is_empty() {
            let like = self.random.pick(&self.recent);
            let again = Probe {
                from: like.from,
                source: like.source,
                port: like.port,
                ..probe
            };
            let fits = like.from.is_ipv6() == six && like.protocol == protocol && like.from != to;
            if fits && !self.used.contains(&again) {
                probe = again;
            }
        }
        probe
    }
}

/// Address, port and protocol that are called.
fn called(
    random: &mut Random,
    service: Option<&Service>,
    number: u8,
    six: bool,
) -> (std::net::IpAddr, u16, Protocol) {
    let at = random.below(3) as u16;
    let mut protocol = random.pick(&PROTOCOLS);
    let (mut to_port, mut node_port) = (80 + at, 30_000 + u16::from(number) * 10 + at);
    if let Some(service) = service.filter(|_| !random.once_in(4)) {
        let wanted = &service.ports[usize::from(at) % service.ports.len().max(1)];
        (protocol, to_port) = (wanted.protocol, wanted.port);
        if wanted.node_port != 0 {
            node_port = wanted.node_port;
        }
    }
    let to = match random.below(13) {
        0..=3 => cluster_ip(number, six),
        4 | 5 => external_ip(number, six),
        6..=8 => ingress_ip(number, random.below(2) as u8, six),
        9 | 10 => {
            to_port = node_port;
            random.pick(&[
                node_ip(0, six),
                node_ip(0, six),
                second_ip(six),
                node_ip(1, six),
            ])
        }
        11 => cluster_ip(200, six),
        _ => pod_ip(2, 10, six),
    };
    (to, to_port, protocol)
}

/// Who calls, and behind which port of the NIC.
fn client(random: &mut Random, world: &World, number: u8, six: bool) -> (std::net::IpAddr, u32) {
    let host = 10 + random.below(4) as u8;
    let second = if world.node.second {
        second_ip(six)
    } else {
        node_ip(0, six)
    };
    random.pick(&[
        (pod_ip(0, 5, six), 1),
        (pod_ip(0, 6, six), 1),
        (pod_ip(0, host, six), 1),
        (node_ip(0, six), 1),
        (second, 1),
        (ingress_ip(number, 0, six), 1),
        (pod_ip(1, 5, six), 2),
        (pod_ip(1, host, six), 2),
        (pod_ip(2, host, six), 3),
        (node_ip(1, six), 2),
        (outsider(7, six), 2),
        (outsider(7, six), 2),
        (outsider(8, six), 2),
        (outsider(8, six), 2),
    ])
}
