//! From the cluster's state to the device's.
//!
//! ```text
//! Model ──Changes──▶ resolve ▶ compile ──▶ desired ─┐
//!                                                   ├─ diff ▶ plan ▶ batches ──▶ Device
//!            read back, then what was written ──▶ installed
//! ```

mod driver;
mod report;
pub mod views;

pub use driver::{Config, Limits, Reconciler};
pub use report::{Outcome, Report, WriteFailure};
