//! The whole thing in one process.

pub mod frame;
pub mod plan;
pub mod script;
pub mod shop;
pub mod traffic;
