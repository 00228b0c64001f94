//! nicproxy: Kubernetes Services to P4 tables.

pub mod compile;
pub mod device;
pub mod model;
pub mod reconcile;
pub mod resolve;
pub mod tables;
