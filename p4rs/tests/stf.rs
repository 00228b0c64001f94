//! The project's own corpus: programs with their tests in `p4rs/corpus`, each of which has to pass.
//!
//! In: the folder. Out: assertions. `STF_CORPUS` (and `STF_PROGRAMS`, `STF_INCLUDE`) name another folder for the
//! ignored test, which prints what fails there.

// Helpers of tests may fail by panicking, as tests do.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use p4rs::stf::corpus::{Setup, Verdict, find, judge};

#[test]
fn every_test_of_the_corpus_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let cases = find(&folder, &folder).expect("the corpus can be read");
    let programs = std::fs::read_dir(&folder)
        .expect("the corpus can be read")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "p4"));
    for program in programs {
        let tested = cases
            .iter()
            .any(|case| case.program.as_ref() == Some(&program));
        assert!(tested, "{} has no test", program.display());
    }
    let faulty: Vec<(String, Verdict)> = cases
        .iter()
        .map(|case| (case.name.clone(), judge(case, &Setup::default()).verdict))
        .filter(|(_, verdict)| *verdict != Verdict::Passed)
        .collect();
    assert!(faulty.is_empty(), "{faulty:#?}");
}

#[test]
fn a_test_that_does_not_hold_fails() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong.stf");
    std::fs::write(&script, "packet 1 0102\nexpect 1 0103\n").expect("written");
    let case = p4rs::stf::corpus::Case {
        name: "wrong".to_owned(),
        script: script.clone(),
        program: Some(folder.join("runner.p4")),
    };
    let found = format!("{}:2: port 1: expected 0103…, got 0102", script.display());
    let verdict = judge(&case, &Setup::default()).verdict;
    assert_eq!(verdict, Verdict::Failed(vec![found]));
}

#[test]
#[ignore = "needs a folder of tests, named by STF_CORPUS"]
fn another_corpus() {
    let Some(folder) = std::env::var_os("STF_CORPUS").map(PathBuf::from) else {
        println!("STF_CORPUS IS NOT SET: NO TEST WAS RUN");
        return;
    };
    let programs = std::env::var_os("STF_PROGRAMS").map_or(folder.clone(), PathBuf::from);
    let includes = std::env::var("STF_INCLUDE").unwrap_or_default();
    let setup = Setup {
        include_dirs: includes
            .split(':')
            .filter(|dir| !dir.is_empty())
            .map(str::to_owned)
            .collect(),
        ..Setup::default()
    };
    let cases = find(&folder, &programs).expect("the corpus can be read");
    let (mut passed, mut failed) = (0, 0);
    for case in &cases {
        match judge(case, &setup).verdict {
            Verdict::Passed => passed += 1,
            Verdict::NotRun(_) => {}
            Verdict::Failed(texts) => {
                failed += 1;
                println!(
                    "FAILED {}: {}",
                    case.name,
                    texts.first().map_or("", String::as_str)
                );
            }
        }
    }
    println!("{passed} passed, {failed} failed of {}", cases.len());
    let most: usize = std::env::var("STF_FAILURES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    assert!(failed <= most, "more than {most} tests failed");
}
