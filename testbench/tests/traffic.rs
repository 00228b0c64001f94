//! Real TCP stacks through the NIC, real objects from a real API server.
//!
//! In: root with CAP_NET_ADMIN, iproute2, ethtool, curl, python3, iperf3, and etcd and kube-apiserver (built with Go when
//! `KUBEBUILDER_ASSETS` is not set). Every host is a network namespace; the NIC is softnic on AF_PACKET or AF_XDP
//! between them. Run with `cargo test -p testbench --test traffic -- --ignored --test-threads=1`.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

#[path = "traffic/connections.rs"]
mod connections;
#[path = "traffic/datagrams.rs"]
mod datagrams;
#[path = "traffic/ports.rs"]
mod ports;
#[path = "traffic/restarts.rs"]
mod restarts;
#[path = "traffic/services.rs"]
mod services;
#[path = "traffic/world.rs"]
mod world;
