//! What is deployed, checked by the programs that it is for.
//!
//! In: helm and actionlint, which Go builds from `testbench/checkers`, and a real kube-apiserver (built with Go when
//! `KUBEBUILDER_ASSETS` is not set). Run them all with `cargo test -p testbench --test deploy -- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

#[path = "deploy/chart.rs"]
mod chart;
#[path = "deploy/workflow.rs"]
mod workflow;
