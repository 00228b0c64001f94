//! The smallest history that still goes wrong.
//!
//! In: a history, and whether one goes wrong. Out: a part of it from which nothing can be taken any more, with simpler
//! objects. Invariant: what comes out was run, and went wrong.

use std::time::Instant;

use super::history::Step;
use super::world::{Change, Endpoint, Kind, Service, Settings, Slice, World};

/// A history that goes wrong at its last step.
#[derive(Clone, Debug)]
pub struct Failure {
    pub steps: Vec<Step>,
    pub problem: String,
}

/// Makes a failing history small, until nothing helps any more or the time is over. `fails` runs one; out: the step that
/// goes wrong, and how.
pub fn shrink(
    failure: Failure,
    deadline: Instant,
    mut fails: impl FnMut(&[Step]) -> Option<(usize, String)>,
) -> Failure {
    // History seldom matters: most of the way is one step.
    let mut least = attempt(condensed(&failure.steps), &mut fails).unwrap_or(failure);
    loop {
        let before = least.steps.clone();
        least = fewer(least, deadline, &mut fails);
        least = simpler(least, deadline, &mut fails);
        if least.steps == before || Instant::now() >= deadline {
            return least;
        }
    }
}

/// The cluster as it was in the end, made at once, and the last step.
fn condensed(steps: &[Step]) -> Vec<Step> {
    let mut world = World::default();
    for step in steps {
        match step {
            Step::Change(changes) => changes.iter().for_each(|change| world.take(change)),
            Step::Configure(settings) => world.settings = settings.clone(),
            _ => {}
        }
    }
    let mut changes = vec![Change::Node(world.node)];
    changes.extend(world.services.into_iter().map(Change::Service));
    changes.extend(world.slices.into_iter().map(Change::Slice));
    let mut all = vec![Step::Configure(world.settings)];
    all.extend(changes.into_iter().map(|change| Step::Change(vec![change])));
    all.extend(steps.last().cloned());
    all
}

fn attempt(
    steps: Vec<Step>,
    fails: &mut impl FnMut(&[Step]) -> Option<(usize, String)>,
) -> Option<Failure> {
    let (at, problem) = fails(&steps)?;
    let mut steps = steps;
    steps.truncate(at + 1);
    Some(Failure { steps, problem })
}

/// Takes steps out, many at once first.
fn fewer(
    failure: Failure,
    deadline: Instant,
    fails: &mut impl FnMut(&[Step]) -> Option<(usize, String)>,
) -> Failure {
    let mut least = failure;
    let mut size = least.steps.len().next_power_of_two() / 2;
    while size > 0 {
        let mut from = 0;
        while from < least.steps.len() && Instant::now() < deadline {
            let to = (from + size).min(least.steps.len());
            let mut steps = least.steps.clone();
            steps.drain(from..to);
            match attempt(steps, fails) {
                Some(smaller) => least = smaller,
                None => from += size,
            }
        }
        size /= 2;
    }
    least
}

/// Makes steps simpler, one at a time.
fn simpler(
    failure: Failure,
    deadline: Instant,
    fails: &mut impl FnMut(&[Step]) -> Option<(usize, String)>,
) -> Failure {
    let mut least = failure;
    let mut at = 0;
    while at < least.steps.len() {
        let mut options = simpler_steps(&least.steps[at]).into_iter();
        let found = options.find_map(|option| {
            if Instant::now() >= deadline {
                return None;
            }
            let mut steps = least.steps.clone();
            steps[at] = option;
            attempt(steps, fails)
        });
        match found {
            Some(smaller) => least = smaller,
            None => at += 1,
        }
    }
    least
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    match step {
        Step::Change(changes) => {
            let mut all = Vec::new();
            for at in 0..changes.len() {
                if changes.len() > 1 {
                    let mut less = changes.clone();
                    less.remove(at);
                    all.push(Step::Change(less));
                }
                for option in simpler_changes(&changes[at]) {
                    let mut less = changes.clone();
                    less[at] = option;
                    all.push(Step::Change(less));
                }
            }
            all
        }
        Step::Configure(settings) => simpler_settings(settings)
            .into_iter()
            .map(Step::Configure)
            .collect(),
        Step::Spread(probe, _) => vec![Step::Packet(*probe)],
        Step::Talk { errors: true } => vec![Step::Talk { errors: false }],
        _ => Vec::new(),
    }
}

/// Copies that differ in one thing, without those that do not differ.
fn varied<T: Clone + PartialEq>(of: &T, changes: &[fn(&mut T)]) -> Vec<T> {
    let copies = changes.iter().map(|change| {
        let mut copy = of.clone();
        change(&mut copy);
        copy
    });
    copies.filter(|copy| copy != of).collect()
}

fn simpler_settings(settings: &Settings) -> Vec<Settings> {
    varied(
        settings,
        &[
            |s| s.detect = super::world::Detect::ClusterCidr,
            |s| s.masquerade_all = false,
            |s| s.node_ports.clear(),
            |s| s.bump = false,
            |s| s.tunnels = false,
        ],
    )
}

fn simpler_changes(change: &Change) -> Vec<Change> {
    match change {
        Change::Service(service) => simpler_services(service)
            .into_iter()
            .map(Change::Service)
            .collect(),
        Change::Slice(slice) => simpler_slices(slice)
            .into_iter()
            .map(Change::Slice)
            .collect(),
        Change::Node(node) => varied(
            node,
            &[
                |n| n.zone = None,
                |n| n.second = false,
                |n| n.second_first = false,
            ],
        )
        .into_iter()
        .map(Change::Node)
        .collect(),
        Change::NoService(_) | Change::NoSlice(_) => Vec::new(),
    }
}

fn simpler_services(service: &Service) -> Vec<Service> {
    let mut all = varied(
        service,
        &[
            // No node ports then: the API server would refuse them.
            |s| {
                s.kind = Kind::ClusterIp;
                s.ports.iter_mut().for_each(|port| port.node_port = 0);
            },
            |s| s.v4 &= !s.v6,
            |s| s.v6 &= !s.v4,
            |s| s.internal_local = false,
            |s| s.external_local = false,
            |s| s.external_ips = false,
            |s| s.ingress.clear(),
            |s| s.ingress.truncate(1),
            |s| s.ranges.clear(),
            |s| s.ranges.truncate(1),
            |s| drop((!s.ranges.is_empty()).then(|| s.ranges.remove(0))),
            |s| s.hidden = None,
            |s| s.affinity = None,
            |s| s.scheduler = None,
            |s| s.weights.clear(),
            |s| s.direct = false,
            |s| s.health_port = 0,
        ],
    );
    for at in 0..service.ports.len() {
        let mut less = service.clone();
        less.ports.remove(at);
        all.push(less);
    }
    all
}

fn simpler_slices(slice: &Slice) -> Vec<Slice> {
    let mut all = varied(
        slice,
        &[
            |s| s.hidden = None,
            |s| s.only_p0 = false,
            |s| s.endpoints.clear(),
        ],
    );
    for at in 0..slice.endpoints.len() {
        let mut less = slice.clone();
        less.endpoints.remove(at);
        all.push(less);
        let changes: &[fn(&mut Endpoint)] = &[
            |e| e.named = true,
            |e| (e.ready, e.serving, e.terminating) = (None, None, None),
            |e| e.zones.clear(),
            |e| e.nodes.clear(),
        ];
        for simpler in varied(&slice.endpoints[at], changes) {
            let mut less = slice.clone();
            less.endpoints[at] = simpler;
            all.push(less);
        }
    }
    all
}
