//! The P4Runtime service over any switch.
//!
//! ```text
//! gRPC ─▶ service ─▶ validate ─▶ switch (trait)
//!            │  ▲                   │
//!            ▼  └── encode ◀────────┤ read
//!        arbitration                │
//!            └──── events ◀─────────┘ packets, timeouts, digests
//! ```

pub mod arbitration;
pub mod digest;
pub mod encode;
pub mod events;
pub mod list;
pub mod service;
pub mod switch;
pub mod validate;

pub use crate::rpc::p4_runtime_server::{P4Runtime, P4RuntimeServer};
pub use events::{EventTotals, Events};
pub use service::{Options, P4RuntimeService};
pub use switch::{Pipeline, Switch, SwitchError};
