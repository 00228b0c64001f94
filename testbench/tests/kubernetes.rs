//! nicproxy against a real API server.
//!
//! In: etcd and kube-apiserver (built with Go when `KUBEBUILDER_ASSETS` is not set), the programs `nicproxy` and
//! `softnic`. Everything listens on loopback. Run them all with `cargo test -p testbench --test kubernetes -- --ignored`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "kubernetes/central.rs"]
mod central;
#[path = "kubernetes/daemon.rs"]
mod daemon;
#[path = "kubernetes/dashboard.rs"]
mod dashboard;
#[path = "kubernetes/sync.rs"]
mod sync;
