//! softnic against the reference switch: random entries and random packets through programs, packet by packet.
//!
//! In: `simple_switch_grpc` and `p4c-bm2-ss` on PATH, neither interfaces nor rights; `P4C_SAMPLES`, a folder of v1model
//! programs (p4c's `testdata/p4_16_samples`), where there is one. Out: for every program the same updates are taken, the same
//! packets leave the same ports, and the counters hold the same. The project's own program and its corpus always run.
//!
//! | variable | meaning |
//! |---|---|
//! | `NICPROXY_SEED` | where random numbers begin (1) |
//! | `NICPROXY_ROUNDS` | cases per program (2; 8 for the project's own) |
//! | `P4C_FILTER` | part of the names of the samples to take |
//!
//! Divergences that are known and why they are right are in `docs/differential.md`; programs left out for one are in
//! [`samples::LEFT_OUT`]. Any other one is made small and told with its seed, its entries and its packet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

mod differential {
    pub mod case;
    pub mod entries;
    pub mod packets;
    pub mod pair;
    pub mod report;
    pub mod samples;
    pub mod values;
}
use differential::{case, entries, packets, pair, report, samples, values};

use std::path::{Path, PathBuf};

use case::Divergence;
use pair::{Sample, Trouble};
use samples::Skip;

/// Packets of one case.
const PACKETS: usize = 60;

/// Divergences of one case that are made small; the rest is counted.
const INVESTIGATED: usize = 2;

/// Packets of one case that may end the reference switch until the rest of the case is left out.
const ENDS: usize = 6;

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |value| value.parse().expect("a number"))
}

/// What came of one program.
#[derive(Default)]
struct Outcome {
    /// The reference switch does not take the program.
    refused: Option<String>,
    packets: usize,
    sent: usize,
    taken: usize,
    left_over: usize,
    ended: usize,
    found: Vec<String>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(why) = &self.refused {
            return write!(f, "not compared: {why}");
        }
        write!(
            f,
            "{} packets, {} left, {} updates taken",
            self.packets, self.sent, self.taken
        )?;
        if self.left_over > 0 {
            write!(f, "; {} read what others had left", self.left_over)?;
        }
        if self.ended > 0 {
            write!(f, "; {} ended the reference switch", self.ended)?;
        }
        if !self.found.is_empty() {
            f.write_str("; DIVERGES")?;
        }
        Ok(())
    }
}

async fn compare(sample: &Sample, rounds: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let from = number("NICPROXY_SEED", 1);
    for seed in from..from + rounds {
        match compare_one(sample, seed, &mut outcome).await {
            Ok(()) => {}
            Err(Trouble::Refused(why)) => {
                outcome.refused = Some(Trouble::Refused(why).to_string());
                return outcome;
            }
            Err(other) => outcome
                .found
                .push(format!("{}, seed {seed}: {other}", sample.name)),
        }
    }
    outcome
}

async fn compare_one(sample: &Sample, seed: u64, outcome: &mut Outcome) -> Result<(), Trouble> {
    let told = |what: String| format!("{}, seed {seed}: {what}", sample.name);
    let mut case = case::case(sample, seed, PACKETS);
    let mut run = pair::run(sample, &case, None).await?;
    let refused: Vec<usize> = run.refused().collect();
    if let Some(&at) = refused.first() {
        outcome.found.push(told(report::update(
            sample,
            &case.updates[at],
            &run.updates[at],
        )));
        // The rest is compared without them.
        let mut at = 0;
        case.updates.retain(|_| {
            at += 1;
            !refused.contains(&(at - 1))
        });
        run = pair::run(sample, &case, None).await?;
    }
    for _ in 0..ENDS {
        let Some(at) = run.ended() else { break };
        outcome.ended += 1;
        case.packets.remove(at);
        run = pair::run(sample, &case, None).await?;
    }
    outcome.packets += run.packets.len();
    outcome.sent += run
        .packets
        .iter()
        .map(|(ours, _)| ours.len())
        .sum::<usize>();
    outcome.taken += run.updates.iter().filter(|(ours, _)| ours.is_ok()).count();
    let different = run.different();
    let stateful = samples::keeps_state(sample);
    for &at in different.iter().take(INVESTIGATED) {
        match case::investigate(sample, &case, &run, at, stateful).await? {
            Divergence::LeftOver => outcome.left_over += 1,
            Divergence::Real(small, run) => {
                let what = report::packet(sample, &small, &run);
                outcome
                    .found
                    .push(told(format!("packet {at} of {different:?}\n{what}")));
            }
        }
    }
    if different.is_empty() && run.state.0 != run.state.1 {
        match case::investigate_counters(sample, &case, stateful).await? {
            Divergence::LeftOver => outcome.left_over += 1,
            Divergence::Real(small, run) => {
                let what = report::packet(sample, &small, &run);
                let state = report::state(&run);
                outcome.found.push(told(format!("{what}\n{state}")));
            }
        }
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a run time")
}

/// Compares programs; returns how many were.
fn all(files: &[PathBuf], rounds: u64) -> usize {
    let (mut compared, mut skipped, mut found) = (0, 0, Vec::new());
    for file in files {
        let sample = match samples::open(file) {
            Ok(sample) => sample,
            Err(Skip::Silent) => continue,
            Err(Skip::Because(why)) => {
                println!("{}: not compared: {why}", samples::name(file));
                skipped += 1;
                continue;
            }
        };
        let outcome = runtime().block_on(compare(&sample, rounds));
        println!("{}: {outcome}", sample.name);
        for found in &outcome.found {
            println!("{found}");
        }
        match outcome.refused {
            None => compared += 1,
            Some(_) => skipped += 1,
        }
        found.extend(outcome.found);
    }
    println!("{compared} programs compared, {skipped} not");
    assert!(
        found.is_empty(),
        "{} divergences:\n{}",
        found.len(),
        found.join("\n")
    );
    compared
}

fn folder(folder: &Path) -> Vec<PathBuf> {
    let filter = std::env::var("P4C_FILTER").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "p4"))
        .filter(|path| path.to_string_lossy().contains(&filter))
        .collect();
    files.sort();
    files
}

#[test]
#[ignore = "needs simple_switch_grpc and p4c-bm2-ss on PATH"]
fn the_projects_program_does_what_the_reference_switch_does() {
    let own = testbench::target::softnic::source(nicproxy::config::Program::V1model);
    assert_eq!(all(&[own], number("NICPROXY_ROUNDS", 8)), 1);
}

#[test]
#[ignore = "needs simple_switch_grpc and p4c-bm2-ss on PATH"]
fn the_corpus_does_what_the_reference_switch_does() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4rs/corpus");
    assert!(all(&folder(&corpus), number("NICPROXY_ROUNDS", 4)) >= 3);
}

#[test]
#[ignore = "needs simple_switch_grpc and p4c-bm2-ss on PATH, and a folder of programs: P4C_SAMPLES"]
fn sample_programs_do_what_the_reference_switch_does() {
    let samples = std::env::var("P4C_SAMPLES").expect("P4C_SAMPLES is set");
    let compared = all(&folder(samples.as_ref()), number("NICPROXY_ROUNDS", 2));
    let whole = std::env::var("P4C_FILTER").is_err();
    assert!(!whole || compared >= 20, "{compared} programs compared");
}
