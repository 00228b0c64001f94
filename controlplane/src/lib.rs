//! nicproxy: Kubernetes Services to P4 tables.
//!
//! ```text
//! watch ─▶ model ─▶ resolve ─▶ compile ─▶ reconcile ─▶ device (P4Runtime)
//!                                                        ▲
//!                                   slowpath ◀──packets──┘
//! run: all of it as a daemon     cli: commands     demo: all of it with an embedded NIC
//! ```

pub mod cli;
pub mod compile;
pub mod config;
pub mod demo;
pub mod device;
pub mod model;
pub mod pacing;
pub mod pipeline;
pub mod reconcile;
pub mod resolve;
pub mod run;
pub mod slowpath;
pub mod tables;
pub mod telemetry;
pub mod trace;
pub mod traffic;
pub mod watch;
