//! Counts of accepted and rejected programs over folders of P4 files.
//!
//! In: `P4C_SAMPLES`, a folder of programs to accept or, with `P4C_EXPECT=reject`, to reject; `P4C_INCLUDE`, where their
//! includes are (several, separated by `:`); `P4C_STAGE=valid`, to validate programs of known architectures too; `P4C_FILTER`, part of the names to look at. Out: counts, and the first
//! finding of every program that went the wrong way.

use std::path::{Path, PathBuf};
use std::time::Instant;

use p4rs::diag::render::{Style, render};
use p4rs::diag::{Diagnostic, Severity};
use p4rs::front::{self, Sources};
use p4rs::sema;
use p4rs::source::SourceMap;

enum Outcome {
    Accepted,
    Rejected(String),
    Panicked,
}

fn first_two(found: &[Diagnostic], map: &SourceMap) -> String {
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    errors
        .take(2)
        .map(|d| render(d, map, Style::Plain))
        .collect()
}

/// The printed form must exist for every program.
fn print_all(program: &p4rs::ir::Program) {
    assert!(!p4rs::ir::print::print(program).is_empty());
}

fn compile(path: &Path, includes: &[String], validate: bool) -> Outcome {
    let work = || {
        let mut sources = Sources::from_disk(path.to_string_lossy().into_owned());
        sources.include_dirs = includes.to_vec();
        let parsed = front::parse(&sources);
        if parsed.diagnostics.has_errors() {
            let first = parsed
                .diagnostics
                .list()
                .iter()
                .find(|d| d.severity == Severity::Error);
            return Outcome::Rejected(
                first
                    .map(|d| render(d, &parsed.map, Style::Plain))
                    .unwrap_or_default(),
            );
        }
        match sema::lower(&parsed.program, &parsed.map) {
            Ok(program) => match validate {
                true if program
                    .package
                    .as_ref()
                    .is_some_and(|p| matches!(p.name.as_str(), "V1Switch" | "PNA_NIC")) =>
                {
                    print_all(&program);
                    match p4rs::valid::validate(program) {
                        Ok(_) => Outcome::Accepted,
                        Err(found) => Outcome::Rejected(first_two(&found, &parsed.map)),
                    }
                }
                _ => Outcome::Accepted,
            },
            Err(found) => Outcome::Rejected(first_two(&found, &parsed.map)),
        }
    };
    std::panic::catch_unwind(work).unwrap_or(Outcome::Panicked)
}

#[test]
#[ignore = "needs a folder of programs, named by P4C_SAMPLES"]
fn corpus() {
    let Ok(folder) = std::env::var("P4C_SAMPLES") else {
        println!("P4C_SAMPLES IS NOT SET: NO PROGRAM WAS LOOKED AT");
        return;
    };
    let filter = std::env::var("P4C_FILTER").unwrap_or_default();
    let includes: Vec<String> = std::env::var("P4C_INCLUDE")
        .unwrap_or_default()
        .split(':')
        .map(str::to_string)
        .collect();
    let validate = std::env::var("P4C_STAGE").is_ok_and(|stage| stage == "valid");
    let reject = std::env::var("P4C_EXPECT").is_ok_and(|wanted| wanted == "reject");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the entry can be read").path())
        .filter(|path| {
            path.extension().is_some_and(|ext| ext == "p4")
                && path.to_string_lossy().contains(&filter)
        })
        .collect();
    files.sort();
    let (mut accepted, mut rejected, mut panicked, mut slowest) = (0, 0, 0, (0.0, PathBuf::new()));
    for path in &files {
        let start = Instant::now();
        let outcome = compile(path, &includes, validate);
        let took = start.elapsed().as_secs_f64();
        if took > slowest.0 {
            slowest = (took, path.clone());
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match outcome {
            Outcome::Accepted => {
                accepted += 1;
                if reject {
                    println!("ACCEPTED {name}");
                }
            }
            Outcome::Rejected(why) => {
                rejected += 1;
                if !reject || !filter.is_empty() {
                    println!("REJECTED {name}\n{why}");
                }
            }
            Outcome::Panicked => {
                panicked += 1;
                println!("PANICKED {name}");
            }
        }
    }
    println!(
        "{} programs: {accepted} accepted, {rejected} rejected, {panicked} panicked",
        files.len()
    );
    println!("slowest: {:.2} s, {}", slowest.0, slowest.1.display());
    assert_eq!(panicked, 0, "some programs made the compiler panic");
}

/// A small generator of repeatable numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// The text with one to three words dropped, doubled or put in place of others.
fn mutated(text: &str, numbers: &mut Numbers) -> String {
    let mut words: Vec<&str> = text
        .split_inclusive(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    for _ in 0..=numbers.below(3) {
        if words.is_empty() {
            break;
        }
        let (at, from) = (numbers.below(words.len()), numbers.below(words.len()));
        match numbers.below(3) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[from]),
            _ => words[at] = words[from],
        }
    }
    words.concat()
}

#[test]
#[ignore = "needs a folder of programs, named by P4C_SAMPLES"]
fn mutations_never_panic() {
    let Ok(folder) = std::env::var("P4C_SAMPLES") else {
        println!("P4C_SAMPLES IS NOT SET: NO PROGRAM WAS LOOKED AT");
        return;
    };
    let rounds: usize = std::env::var("P4C_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(3);
    let seed: u64 = std::env::var("P4C_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let includes: Vec<String> = std::env::var("P4C_INCLUDE")
        .unwrap_or_default()
        .split(':')
        .map(str::to_string)
        .collect();
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut programs, mut good, mut failed) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        for _ in 0..rounds {
            let text = mutated(&text, &mut numbers);
            programs += 1;
            let bundle = p4rs::source::SourceBundle::single("mutated.p4", text.clone());
            let mut sources = Sources {
                disk: true,
                ..Sources::from_bundle(bundle)
            };
            sources.include_dirs = includes.clone();
            match std::panic::catch_unwind(|| p4rs::compile(&sources)) {
                Ok(outcome) => {
                    let broken = |d: &Diagnostic| d.code == p4rs::valid::code::BROKEN;
                    good += usize::from(outcome.is_ok());
                    if let Err(failure) = outcome
                        && let Some(found) = failure.diagnostics.iter().find(|d| broken(d))
                    {
                        println!(
                            "BROKEN {}: {}",
                            path.display(),
                            render(found, &failure.map, Style::Plain)
                        );
                        failed.push(text);
                    }
                }
                Err(_) => {
                    println!("PANICKED on a mutation of {}", path.display());
                    failed.push(text);
                }
            }
        }
    }
    println!(
        "{programs} mutated programs, {good} of them good, {} failed",
        failed.len()
    );
    assert!(failed.is_empty(), "the first that failed:\n{}", failed[0]);
}
