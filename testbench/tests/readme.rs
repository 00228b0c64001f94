//! The README's table of Service semantics is complete, and true where it says what a line is tested on.
//!
//! In: the table, the names of tests, what scenarios are about. Out: lines that are missing, twice there, or said to be
//! tested where no test names them. A test names a line in its function's name (`s36_…`, `s75_to_s77`), a scenario in its
//! `about`, the oracle in the comment of the rule that it judges by.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use testbench::scenario::{Scenario, folder, load_all};

type Lines = BTreeSet<u8>;

const LAST: u8 = 93;
/// Words of the table's last column, and where the tests are that they promise.
const PLACES: [(&str, &[&str]); 6] = [
    ("control plane", &["controlplane/src"]),
    (
        "softnic",
        &["testbench/scenarios", "testbench/tests/semantics"],
    ),
    ("simple_switch_grpc", &["testbench/scenarios"]),
    ("network namespaces", &["testbench/tests/traffic"]),
    ("kube-apiserver", &["testbench/tests/kubernetes"]),
    ("engine", &["p4rs/src/engine/tests"]),
];

/// Lines that no packet shows: the API, cost, health, synchronisation, metrics.
const WITHOUT_PACKETS: [std::ops::RangeInclusive<u8>; 4] = [20..=20, 67..=67, 70..=81, 84..=91];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Lines named in a text: `S36`, `S75-S77`, `S01–S04`, `s75_to_s77`, `s23_s27`.
fn named(text: &str) -> Lines {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let number = |at: usize| -> Option<u8> {
        let digits: String = text.get(at..at + 2)?.iter().collect();
        let ends = text.get(at + 2).is_none_or(|c| !c.is_ascii_alphanumeric());
        let starts = at < 2 || !text[at - 2].is_ascii_alphanumeric();
        (ends && starts).then(|| digits.parse().ok()).flatten()
    };
    let mut found = Lines::new();
    let mut before: Option<(u8, usize)> = None;
    for at in 0..text.len() {
        if text[at] != 's' {
            continue;
        }
        let Some(line) = number(at + 1) else { continue };
        let between = before.map(|(_, end)| text[end..at].iter().collect::<String>());
        let range = matches!(between.as_deref(), Some("-" | "–" | "_to_" | " to "));
        let first = match before {
            Some((first, _)) if range => first,
            _ => line,
        };
        found.extend(first..=line);
        before = Some((line, at + 3));
    }
    found
}

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        return found.push(path.to_owned());
    }
    for entry in std::fs::read_dir(path).unwrap() {
        files(&entry.unwrap().path(), found);
    }
}

/// Lines that the tests of a file name.
fn tested(file: &Path) -> Lines {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = Lines::new();
    let mut is_test = false;
    let oracle = file.ends_with("tests/semantics/judge.rs")
        || file.ends_with("tests/semantics/history.rs")
        || file.ends_with("tests/semantics/bench.rs");
    for line in text.lines().map(str::trim) {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") if line.starts_with("about:") => lines.extend(named(line)),
            Some("rs") if oracle && line.starts_with("//") => lines.extend(named(line)),
            Some("rs") if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => {
                is_test = true;
            }
            Some("rs") if is_test && line.contains("fn ") => {
                lines.extend(named(&line.replace("fn ", " ")));
                is_test = false;
            }
            _ => {}
        }
    }
    lines
}

/// Rows of the table: lines, and what they are said to be tested on.
fn table() -> Vec<(Lines, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## Service semantics\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| S"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        (named(cells[0]), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn every_line_is_in_the_table_once() {
    let mut rows: BTreeMap<u8, usize> = (1..=LAST).map(|line| (line, 0)).collect();
    for line in table().iter().flat_map(|(lines, _)| lines) {
        *rows.entry(*line).or_default() += 1;
    }
    rows.retain(|_, count| *count != 1);
    assert_eq!(rows, BTreeMap::new(), "lines and how often they are there");
}

#[test]
fn every_line_is_named_by_a_test_where_the_table_says_so() {
    let places = PLACES.map(|(word, folders)| {
        let mut all = Vec::new();
        for folder in folders {
            files(&root().join(folder), &mut all);
        }
        let lines: Lines = all.iter().flat_map(|file| tested(file)).collect();
        assert!(!lines.is_empty(), "no test under {folders:?} names a line");
        (word, lines)
    });
    let mut missing = Vec::new();
    for (lines, said) in table() {
        let promised: Vec<&(&str, Lines)> = places
            .iter()
            .filter(|(word, _)| said.contains(word))
            .collect();
        if promised.is_empty() && !said.trim().starts_with('—') {
            missing.push(format!(
                "{lines:?}: {said:?} names no place that tests are in"
            ));
        }
        for (word, known) in promised {
            let not: Vec<u8> = lines.difference(known).copied().collect();
            if !not.is_empty() {
                missing.push(format!("{not:?}: no test on {word} names them"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_line_about_packets_is_shown_by_a_scenario_on_every_target() {
    let scenarios = load_all(&folder()).unwrap();
    let everywhere = scenarios.iter().filter(|one| one.steps.skip.is_empty());
    let shown: Lines = everywhere.flat_map(|one| named(&one.steps.about)).collect();
    let rows = table();
    let mut missing = Vec::new();
    for line in 1..=LAST {
        if WITHOUT_PACKETS.iter().any(|lines| lines.contains(&line)) {
            continue;
        }
        let row = rows.iter().find(|(lines, _)| lines.contains(&line));
        let said = row.map(|(_, said)| said.as_str()).unwrap_or_default();
        let targets = ["softnic", "simple_switch_grpc"];
        if !shown.contains(&line) || targets.iter().any(|target| !said.contains(target)) {
            missing.push(format!("S{line:02}: {said}"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn scenarios_are_counted_and_name_lines_that_there_are() {
    let scenarios = load_all(&folder()).unwrap();
    let names_unknown = |one: &&Scenario| named(&one.steps.about).range(LAST + 1..).count() > 0;
    let unknown: Vec<&str> = scenarios
        .iter()
        .filter(names_unknown)
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let count = scenarios.len();
    for said in [
        format!("| {count} scenarios, unchanged on every target |"),
        format!("| the same {count} |"),
    ] {
        assert!(readme.contains(&said), "the README does not say {said:?}");
    }
}

#[test]
fn lines_are_found_in_names_and_texts() {
    let found = |text: &str| named(text).into_iter().collect::<Vec<u8>>();
    assert_eq!(found(" s75_to_s77()"), [75, 76, 77]);
    assert_eq!(found(" s23_s27_s49_node_ports"), [23, 27, 49]);
    assert_eq!(found("(S01-S03, S07, S10–S11)."), [1, 2, 3, 7, 10, 11]);
    assert_eq!(found(" has12 v4s10 s2 s100 sctp"), Vec::<u8>::new());
}
