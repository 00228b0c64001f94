//! Random clusters, random changes, random packets: what the NIC does is what the semantics say.
//!
//! In: a seed (`NICPROXY_SEMANTICS_SEED`) and a number of changes (`NICPROXY_SEMANTICS_STEPS`, of the ignored tests). After each
//! change packets from pods, the node and outsiders to every kind of address are judged by an oracle that shares nothing
//! with the control plane, and open connections have to keep their endpoints. Out: for the first divergence, the smallest
//! cluster that still shows it. What the oracle leaves out is listed in `judge::NOT_JUDGED`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "semantics/bench.rs"]
mod bench;
#[path = "semantics/judge.rs"]
mod judge;
#[path = "semantics/render.rs"]
mod render;
#[path = "semantics/world.rs"]
mod world;

use std::time::Instant;

use nicproxy::config::Program;

use bench::{Bench, Open};
use judge::{NOT_JUDGED, Probe, Verdict, judge};
use world::{
    PROTOCOLS, Random, World, cluster_ip, external_ip, ingress_ip, node_ip, outsider, pod_ip,
};

const PACKETS: usize = 6;
/// Connections that are kept open.
const OPEN: usize = 8;

fn packet(world: &World, random: &mut Random) -> Probe {
    // Most packets are for what some Service has.
    let known = world.services.len() as u64;
    let service =
        (known > 0 && !random.one_in(5)).then(|| &world.services[random.below(known) as usize]);
    let six = match service {
        Some(service) if service.v4 != service.v6 => service.v6,
        _ => random.one_in(2),
    };
    let (from, port) = random.pick(&[
        (pod_ip(0, 5, six), 1),
        (node_ip(0, six), 1),
        (pod_ip(1, 5, six), 2),
        (outsider(six), 2),
        (outsider(six), 2),
    ]);
    let number = service.map_or_else(|| random.below(4) as u8, |service| service.number);
    let at = random.below(3) as u16;
    let mut protocol = random.pick(&PROTOCOLS);
    let (mut to_port, mut node_port) = (80 + at, 30_000 + u16::from(number) * 10 + at);
    if let Some(service) = service.filter(|_| !random.one_in(4)) {
        let wanted = &service.ports[usize::from(at) % service.ports.len()];
        (protocol, to_port, node_port) = (wanted.protocol, wanted.port, wanted.node_port);
    }
    let to = match random.below(12) {
        0..=3 => cluster_ip(number, six),
        4 | 5 => external_ip(number, six),
        6 | 7 => ingress_ip(number, six),
        8 | 9 => {
            to_port = node_port;
            // A node's own packet to itself does not reach the NIC.
            node_ip(u8::from(from == node_ip(0, six) || random.one_in(4)), six)
        }
        10 => cluster_ip(200, six),
        _ => pod_ip(2, 10, six),
    };
    Probe {
        from,
        port,
        to,
        to_port,
        protocol,
    }
}

fn agrees(bench: &mut Bench, world: &World, probe: &Probe) -> Result<Option<Open>, String> {
    let wanted = judge(world, probe, bench.classes);
    let (found, open) = bench
        .probe(probe)
        .map_err(|problem| format!("should be {wanted:?}; {problem}"))?;
    let same = match (&wanted, &found) {
        (Verdict::Deliver(allowed), Verdict::Deliver(one)) => one.is_subset(allowed),
        (wanted, found) => wanted == found,
    };
    if same {
        Ok(open)
    } else {
        Err(format!("should be {wanted:?}, was {found:?}"))
    }
}

/// Whether the list of what is not judged leaves this connection in.
fn lasts(world: &World, open: &Open) -> bool {
    let translated = open.endpoint.1 != open.probe.to_port;
    let in_use = matches!(judge(world, &open.probe, false), Verdict::Deliver(set) if set.contains(&open.endpoint));
    open.probe.protocol != world::Protocol::Sctp || !translated || in_use
}

/// Worlds with one object or endpoint less.
fn smaller(world: &World) -> Vec<World> {
    let mut all = Vec::new();
    for at in 0..world.services.len() {
        let mut less = world.clone();
        less.services.remove(at);
        all.push(less);
    }
    for at in 0..world.slices.len() {
        let mut less = world.clone();
        less.slices.remove(at);
        all.push(less);
        for endpoint in 0..world.slices[at].endpoints.len() {
            let mut less = world.clone();
            less.slices[at].endpoints.remove(endpoint);
            all.push(less);
        }
    }
    all
}

/// The smallest world, started from nothing, in which the packet still diverges; none if only history shows it.
fn shrink(program: Program, world: &World, probe: &Probe) -> Option<(World, String)> {
    let mut bench = Bench::start(program, world);
    let mut least = (world.clone(), agrees(&mut bench, world, probe).err()?);
    while let Some(next) = smaller(&least.0).into_iter().find_map(|less| {
        let problem = bench
            .become_world(&less)
            .and_then(|()| agrees(&mut bench, &less, probe).map(drop));
        problem.err().map(|problem| (less, problem))
    }) {
        least = next;
    }
    Some(least)
}

fn fail(program: Program, step: usize, world: &World, probe: &Probe, problem: &str) -> ! {
    let (least, problem, how) = match shrink(program, world, probe) {
        Some((least, problem)) => (least, problem, "smallest cluster"),
        None => (
            world.clone(),
            problem.to_owned(),
            "only after what was before; cluster",
        ),
    };
    let objects: Vec<String> = render::objects(&least).into_values().collect();
    panic!(
        "{program}, step {step}: {probe:?}\n{problem}\n{how}:\n{}",
        objects.join("\n---\n")
    );
}

fn run(program: Program, seed: u64, steps: usize) {
    let start = Instant::now();
    let mut random = Random(seed);
    let mut world = World::default();
    for _ in 0..12 {
        world.churn(&mut random);
    }
    let mut bench = Bench::start(program, &world);
    let mut open: Vec<Open> = Vec::new();
    let mut verdicts = [0_usize; 4];
    let mut went_on = 0;
    for step in 0..steps {
        world.churn(&mut random);
        bench
            .become_world(&world)
            .unwrap_or_else(|problem| panic!("step {step}: {problem}"));
        for _ in 0..PACKETS {
            let probe = packet(&world, &mut random);
            let connection = agrees(&mut bench, &world, &probe)
                .unwrap_or_else(|problem| fail(program, step, &world, &probe, &problem));
            let wanted = judge(&world, &probe, bench.classes);
            verdicts[match wanted {
                Verdict::Deliver(_) => 0,
                Verdict::Reject => 1,
                Verdict::Drop => 2,
                Verdict::Untouched => 3,
            }] += 1;
            // UDP flows may be cleaned when their endpoint leaves.
            let kept = connection.filter(|open| open.probe.protocol != world::Protocol::Udp);
            open.extend(kept);
        }
        open.drain(..open.len().saturating_sub(OPEN));
        let judged = open.iter().filter(|open| lasts(&world, open));
        for connection in judged {
            went_on += 1;
            bench.go_on(connection).unwrap_or_else(|problem| {
                panic!("{program}, step {step}: {:?}: {problem}", connection.probe)
            });
        }
    }
    let [delivered, refused, dropped, untouched] = verdicts;
    println!(
        "{program}, seed {seed}: {steps} changes in {:?}: {delivered} delivered, {refused} refused, {dropped} dropped, \
         {untouched} untouched, {went_on} packets of open connections; not judged: {NOT_JUDGED:?}",
        start.elapsed()
    );
    assert!(
        verdicts.iter().all(|count| *count > steps / 50),
        "{verdicts:?} tests too little"
    );
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn run_long(program: Program) {
    let steps = number("NICPROXY_SEMANTICS_STEPS", 10_000) as usize;
    run(program, number("NICPROXY_SEMANTICS_SEED", 1), steps);
}

#[test]
fn the_pna_program_does_what_the_oracle_says() {
    run(Program::Pna, 7, 300);
}

#[test]
fn the_v1model_program_does_what_the_oracle_says() {
    run(Program::V1model, 7, 300);
}

#[test]
#[ignore = "10,000 changes, or NICPROXY_SEMANTICS_STEPS"]
fn the_pna_program_does_what_the_oracle_says_for_long() {
    run_long(Program::Pna);
}

#[test]
#[ignore = "10,000 changes, or NICPROXY_SEMANTICS_STEPS"]
fn the_v1model_program_does_what_the_oracle_says_for_long() {
    run_long(Program::V1model);
}
