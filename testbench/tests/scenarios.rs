//! Every scenario on every target that is at hand.
//!
//! In: `testbench/scenarios`. softnic runs them with both programs in the ordinary tests; the switch that the environment
//! names runs them in an ignored one, which fails when the environment names none. `NICPROXY_TEST_SCENARIO` picks the
//! scenarios whose name contains it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

use std::time::Instant;

use nicproxy::config::Program;
use testbench::scenario::run::{Outcome, run};
use testbench::scenario::{Scenario, folder, load_all};
use testbench::target::Target;
use testbench::target::softnic::Embedded;
use testbench::target::switch::External;

fn chosen() -> Vec<Scenario> {
    let wanted = std::env::var("NICPROXY_TEST_SCENARIO").unwrap_or_default();
    let mut scenarios = load_all(&folder()).unwrap();
    scenarios.retain(|scenario| scenario.name.contains(&wanted));
    assert!(
        !scenarios.is_empty(),
        "no scenario is called like {wanted:?}"
    );
    scenarios
}

fn run_all(target: &dyn Target) {
    let mut failures = Vec::new();
    let scenarios = chosen();
    for scenario in &scenarios {
        let start = Instant::now();
        match run(scenario, target) {
            Ok(Outcome::Passed) => {
                println!(
                    "{:>6} ms  passed   {}",
                    start.elapsed().as_millis(),
                    scenario.name
                );
            }
            Ok(Outcome::Skipped(reason)) => {
                println!("           skipped  {}: {reason}", scenario.name)
            }
            Err(failure) => {
                println!("{:>6} ms  FAILED   {failure}", start.elapsed().as_millis());
                failures.push(failure.to_string());
            }
        }
    }
    let (failed, all) = (failures.len(), scenarios.len());
    assert!(
        failures.is_empty(),
        "{}: {failed} of {all} scenarios failed:\n{}",
        target.name(),
        failures.join("\n")
    );
    println!("{}: {all} scenarios", target.name());
}

#[test]
fn on_softnic_with_the_v1model_program() {
    run_all(&Embedded::start(Program::V1model, &[1, 2, 3, 4]).unwrap());
}

#[test]
fn on_softnic_with_the_pna_program() {
    run_all(&Embedded::start(Program::Pna, &[1, 2, 3, 4]).unwrap());
}

#[test]
#[ignore = "needs a switch: bmv2-docker/run starts one and sets NICPROXY_TEST_SWITCH"]
fn on_the_external_switch() {
    run_all(&External::from_environment().unwrap_or_else(|error| panic!("{error}")));
}
