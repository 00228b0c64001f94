//! From the cluster's state to the device's.
//!
//! ```text
//! Model ──Changes──▶ resolve ▶ compile ──▶ desired ─┐
//!                                                   ├─ diff ▶ plan ▶ batches ──▶ Device
//!            read back, then what was written ──▶ installed
//! ```

pub mod asked;
mod diff;
mod driver;
mod execute;
mod installed;
pub mod plan;
mod report;
mod show;
mod suspects;
#[cfg(test)]
mod tests;
pub mod views;
mod why;

pub use driver::{Config, Limits, Reconciler};
pub use report::{Outcome, Report, WriteFailure};
pub(crate) use show::{masqueraded, outcomes};
