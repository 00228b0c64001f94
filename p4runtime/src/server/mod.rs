//! The server side.

pub mod events;
pub mod switch;
