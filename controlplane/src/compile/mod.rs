//! Resolved Services to the entries that the device should hold.
//!
//! ```text
//! Resolved ─▶ service (per Service: frontends, sets, ranges, addresses) ─▶ desired (all of them; who touched what)
//!               │      ├ fill: endpoints ▶ slots   └ ids: numbers that survive restarts
//!               │      └ balance: open connections ▶ weights
//! Wiring + view + nodes ─▶ wiring (ports, routes, classes, source NAT) ───▶ state
//! ```

mod balance;
mod desired;
pub mod fill;
mod ids;
mod service;
mod set;
mod state;
#[cfg(test)]
mod tests;
mod wiring;

pub use balance::{Balance, OpenConnections};
pub use desired::{Desired, Touched};
pub use ids::{Ids, SetRef, policy_of};
pub use service::{
    CompiledFamily, CompiledFrontend, CompiledPort, CompiledService, CompiledSet, Context, compile,
};
pub use set::EndpointSet;
pub use state::{Entries, Owned, State};
pub use wiring::{
    Attachment, MasqueradeAddress, NextHop, NodeRoutes, Port, PortRange, Route, Vport, VportKey,
    Wired, Wiring, wire,
};
