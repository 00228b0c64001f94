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
