//! Random clusters, random changes, random packets: what the NIC does is what the semantics say.
//!
//! In: a seed (`NICPROXY_SEMANTICS_SEED`) and a number of changes (`NICPROXY_SEMANTICS_STEPS`, of the ignored tests). After each
//! change packets from pods, nodes and outsiders to every kind of address are judged by an oracle that shares nothing
//! with the control plane, and open connections have to keep their endpoints. Out: for the first divergence, the smallest
//! history that still shows it, as lines that can be kept in `semantics/cases`. What the oracle leaves out is listed in
//! `judge::NOT_JUDGED`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "semantics/bench.rs"]
mod bench;
#[path = "semantics/churn.rs"]
mod churn;
#[path = "semantics/history.rs"]
mod history;
#[path = "semantics/judge.rs"]
mod judge;
#[path = "semantics/render.rs"]
mod render;
#[path = "semantics/script.rs"]
mod script;
#[path = "semantics/shrink.rs"]
mod shrink;
#[path = "semantics/world.rs"]
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nicproxy::config::Program;

use bench::Bench;
use history::{Run, Step, Tally};
use judge::NOT_JUDGED;
use script::Script;
use shrink::{Failure, shrink};
use world::World;

/// Changes after which the NIC is emptied: its tuples are used up then.
const ROUND: usize = 1_000;
/// How long a failing history may be made smaller.
const SHRINKING: Duration = Duration::from_secs(300);

fn as_it_is(world: &World) -> World {
    world.clone()
}

/// Runs a history from nothing; the first step that goes wrong, and how.
fn replay(bench: &mut Bench, steps: &[Step], lens: fn(&World) -> World) -> Option<(usize, String)> {
    let mut run = Run::new(bench, lens).unwrap();
    let mut steps = steps.iter().enumerate();
    steps.find_map(|(at, step)| run.step(step).err().map(|problem| (at, problem)))
}

/// One round of a seed. Out: what was judged, or the history that went wrong.
fn round(
    bench: &mut Bench,
    seed: u64,
    changes: usize,
    lens: fn(&World) -> World,
) -> Result<Tally, Failure> {
    let mut run = Run::new(bench, lens).unwrap();
    let mut script = Script::new(seed);
    let mut steps = Vec::new();
    for _ in 0..changes {
        for step in script.next(&run.world) {
            steps.push(step);
            let last = &steps[steps.len() - 1];
            if let Err(problem) = run.step(last) {
                return Err(Failure { steps, problem });
            }
        }
    }
    Ok(run.tally)
}

/// A history as it is kept: a step per line.
fn lines(steps: &[Step]) -> String {
    let lines = steps
        .iter()
        .map(|step| serde_json::to_string(step).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn smallest(bench: &mut Bench, failure: Failure, lens: fn(&World) -> World) -> Failure {
    let deadline = Instant::now() + SHRINKING;
    shrink(failure, deadline, |steps| replay(bench, steps, lens))
}

fn run(program: Program, seed: u64, changes: usize) {
    let start = Instant::now();
    let mut bench = Bench::start(program);
    let mut tally = Tally::default();
    for number in 0..changes.div_ceil(ROUND) {
        let changes = ROUND.min(changes - number * ROUND);
        let seed = seed + number as u64;
        match round(&mut bench, seed, changes, as_it_is) {
            Ok(more) => tally += more,
            Err(failure) => {
                println!(
                    "{program}, seed {seed}, {} steps: {}",
                    failure.steps.len(),
                    failure.problem
                );
                let least = smallest(&mut bench, failure, as_it_is);
                panic!(
                    "{program}, seed {seed}: {}\n{}",
                    least.problem,
                    lines(&least.steps)
                );
            }
        }
    }
    println!(
        "{program}, seed {seed}: {changes} changes in {:?}: {tally:?}; not judged: {NOT_JUDGED:?}",
        start.elapsed()
    );
    assert!(tally.least() > changes / 200, "{tally:?} tests too little");
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn run_long(program: Program) {
    let changes = number("NICPROXY_SEMANTICS_STEPS", 10_000) as usize;
    run(program, number("NICPROXY_SEMANTICS_SEED", 1), changes);
}

#[test]
fn the_pna_program_does_what_the_oracle_says() {
    run(Program::Pna, 7, 200);
}

#[test]
fn the_v1model_program_does_what_the_oracle_says() {
    run(Program::V1model, 7, 200);
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

/// What went wrong once.
#[test]
fn every_kept_case_agrees() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/semantics/cases");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for program in [Program::Pna, Program::V1model] {
        let mut bench = Bench::start(program);
        for file in &files {
            let text = std::fs::read_to_string(file).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let steps: Vec<Step> = lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert!(!steps.is_empty(), "{}", file.display());
            if let Some((at, problem)) = replay(&mut bench, &steps, as_it_is) {
                panic!("{program}, {}, step {}: {problem}", file.display(), at + 1);
            }
        }
    }
}

/// An oracle that takes one zone for the other is wrong about some clusters; what shows it is a zone, a Service, a slice or
/// two and a packet, and at times what that packet needs to get there.
#[test]
fn a_divergence_shrinks_to_a_readable_case() {
    fn other_zone(world: &World) -> World {
        let mut other = world.clone();
        if let Some(zone) = &mut other.node.zone {
            *zone = if zone == "z1" { "z2" } else { "z1" }.to_owned();
        }
        other
    }
    let mut bench = Bench::start(Program::Pna);
    let mut seeds = 1..20;
    let failure = seeds
        .find_map(|seed| round(&mut bench, seed, 100, other_zone).err())
        .expect("a packet goes to an endpoint that another zone would not get");
    let before = failure.steps.len();
    let least = smallest(&mut bench, failure, other_zone);
    let text = lines(&least.steps);
    println!(
        "{before} steps, then {}: {}\n{text}",
        least.steps.len(),
        least.problem
    );
    assert!(least.steps.len() <= 8, "{text}");
    for what in ["\"zone\"", "\"zones\"", "\"Packet\""] {
        assert!(text.contains(what), "{what}: {text}");
    }
    // It is about zones alone: the oracle with eyes agrees.
    assert_eq!(replay(&mut bench, &least.steps, as_it_is), None);
}
