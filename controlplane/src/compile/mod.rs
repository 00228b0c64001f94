//! Resolved Services to the entries that the device should hold.
//!
//! ```text
//! Resolved ─▶ service (per Service: frontends, sets, addresses) ─▶ desired (all of them; who touched what)
//!               │      └ fill: endpoints ▶ slots   └ ids: numbers that survive restarts
//! Wiring + nodes ─▶ wiring (ports, routes) ───────────────────────▶ state
//! ```

mod desired;
pub mod fill;
mod ids;
mod service;
mod set;
mod state;
#[cfg(test)]
mod tests;
mod wiring;

pub use desired::{Desired, Touched};
pub use ids::{Ids, SetRef};
pub use service::{CompiledFamily, CompiledPort, CompiledService, compile};
pub use set::EndpointSet;
pub use state::{Entries, Owned, State};
pub use wiring::{NextHop, NodeRoutes, Port, Route, Wired, Wiring, wire};
