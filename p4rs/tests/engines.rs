//! Both engines on the same programs, entries and packets: packets out, drops, digests, log messages and the state left
//! behind must be equal, bit for bit.
//!
//! `cargo test` takes the project's own programs and generated ones. The ignored test takes every program of a folder:
//! `P4C_SAMPLES`, with its includes in `P4C_INCLUDE` (several, separated by `:`) and part of the names to take in
//! `P4C_FILTER`. `NICPROXY_SEED` sets where random numbers begin, `NICPROXY_ROUNDS` how long the generator runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test's own code"
)]

#[path = "engines/generate.rs"]
mod generate;
#[path = "engines/random.rs"]
mod random;
#[path = "engines/twin.rs"]
mod twin;

use std::path::PathBuf;

use p4rs::front::Sources;
use p4rs::source::SourceBundle;
use random::Random;
use twin::{Difference, Twin};

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |value| value.parse().expect("a number"))
}

/// Random entries, random packets; what differs first.
fn compare(sources: &Sources, seed: u64, packets: u32) -> Result<Option<Twin>, Difference> {
    let Some(mut twin) = Twin::load(sources) else {
        return Ok(None);
    };
    let mut random = Random::new(seed);
    twin.fill(&mut random);
    for _ in 0..packets {
        twin.packet(&mut random)?;
    }
    twin.state()?;
    Ok(Some(twin))
}

#[test]
fn the_projects_programs_do_the_same_on_both_engines() {
    for program in ["nicproxy_pna.p4", "nicproxy_v1model.p4"] {
        let file = format!("{}/../p4/{program}", env!("CARGO_MANIFEST_DIR"));
        let sources = Sources::from_disk(file.as_str());
        for round in 0..3 {
            let seed = number("NICPROXY_SEED", 1) + round;
            match compare(&sources, seed, 400) {
                Ok(Some(twin)) => {
                    assert!(twin.native(), "{program} becomes machine code");
                    assert!(twin.sent > 0, "{program}: some packets leave");
                }
                Ok(None) => panic!("{program} does not load"),
                Err(difference) => panic!("{program}, seed {seed}: {difference}"),
            }
        }
    }
}

#[test]
fn generated_programs_do_the_same_on_both_engines() {
    /// Seeds whose programs once did not do the same: a header of an action that no table applies lay in memory.
    const ONCE_DIFFERENT: [u64; 1] = [50_929];
    let (from, rounds) = (number("NICPROXY_SEED", 1), number("NICPROXY_ROUNDS", 40));
    let mut native = 0;
    for seed in ONCE_DIFFERENT.into_iter().chain(from..from + rounds) {
        let text = generate::program(&mut Random::new(seed));
        let sources = Sources::from_bundle(SourceBundle::single("main.p4", &text));
        match compare(&sources, seed, 60) {
            Ok(Some(twin)) => native += u64::from(twin.native()),
            Ok(None) => {
                let found = p4rs::compile(&sources)
                    .err()
                    .map(|failure| failure.diagnostics);
                panic!("seed {seed} makes no program: {found:#?}\n{text}");
            }
            Err(difference) => panic!("seed {seed}: {difference}\n{text}"),
        }
    }
    // Those with headers that are not whole bytes do not.
    assert!(
        native * 4 >= rounds,
        "{native} of {rounds} programs became machine code"
    );
}

#[test]
#[ignore = "needs a folder of programs: P4C_SAMPLES, P4C_INCLUDE"]
fn sample_programs_do_the_same_on_both_engines() {
    let folder = PathBuf::from(std::env::var("P4C_SAMPLES").expect("P4C_SAMPLES is set"));
    let filter = std::env::var("P4C_FILTER").unwrap_or_default();
    let includes = std::env::var("P4C_INCLUDE").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("P4C_SAMPLES can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "p4"))
        .filter(|path| path.to_string_lossy().contains(&filter))
        .collect();
    files.sort();
    let (mut loaded, mut native, mut different) = (0, 0, Vec::new());
    for file in &files {
        let mut sources = Sources::from_disk(file.to_string_lossy().into_owned());
        sources.include_dirs = includes.split(':').map(str::to_owned).collect();
        match compare(&sources, number("NICPROXY_SEED", 1), 200) {
            Ok(None) => {}
            Ok(Some(twin)) => {
                loaded += 1;
                native += usize::from(twin.native());
                if !twin.native() {
                    println!("interpreted only: {}", file.display());
                }
            }
            Err(difference) => different.push(format!("{}: {difference}", file.display())),
        }
    }
    println!(
        "{} files, {loaded} equal, {native} of them as machine code",
        files.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n"));
}
