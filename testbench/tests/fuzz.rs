//! Input that nobody means well: P4 sources, packets, RPCs.
//!
//! In: `NICPROXY_FUZZ_SECONDS` per target (60 unless set), `NICPROXY_FUZZ_SEED` to repeat a run (else the time). Out: nothing that panics, hangs
//! or ends the switch. What failed is kept under `testbench/corpus`, and everything kept there is tried first, in the ordinary
//! tests too.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

mod fuzz {
    pub mod input;
    pub mod packets;
    pub mod rpc;
    pub mod source;
}

use fuzz::input::{Corpus, Turns};

#[test]
fn what_failed_once_does_not_fail_again() {
    for input in Corpus::new("source").kept() {
        fuzz::source::try_one(&input);
    }
    for input in Corpus::new("packets").kept() {
        fuzz::packets::Bench::new().try_one(&input);
    }
    fuzz::rpc::replay(Corpus::new("rpc").kept());
}

#[test]
#[ignore = "runs for NICPROXY_FUZZ_SECONDS (60)"]
fn the_p4_front_end_takes_any_text() {
    fuzz::source::run(Turns::from_environment("source"));
}

#[test]
#[ignore = "runs for NICPROXY_FUZZ_SECONDS (60)"]
fn the_packet_path_takes_any_packet_and_entry() {
    fuzz::packets::run(Turns::from_environment("packets"));
}

#[test]
#[ignore = "runs for NICPROXY_FUZZ_SECONDS (60)"]
fn the_rpc_server_takes_any_message() {
    fuzz::rpc::run(Turns::from_environment("rpc"));
}
