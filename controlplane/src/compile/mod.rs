//! Resolved Services to desired entries.

mod wiring;

pub use wiring::{NextHop, NodeRoutes, Port, Route, Wired, Wiring, wire};
