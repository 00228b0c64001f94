//! The cluster as plain data: no client library's types, no wire format's.
//!
//! In: objects as a source read them. Out: [`Model`], which says what each event changed. A malformed object is
//! reported and left out; it never stops the others.
//!
//! ```text
//! source ──Event──▶ Model ──Changes──▶ resolve (per Service)
//! ```

pub mod address;
mod node;
mod pod;
#[cfg(test)]
pub(crate) mod sample;
mod service;
mod service_cidr;
mod slice;
mod store;
#[cfg(test)]
mod tests;

pub use address::{AddressError, Family};
pub use node::Node;
pub use pod::{Attachment, Pod};
pub use service::{
    Forwarding, MAX_WEIGHT, ObjectKey, Protocol, Scheduler, Service, ServiceKind, ServicePort,
    SessionAffinity, TrafficPolicy, WeightsError, parse_weights,
};
pub use service_cidr::ServiceCidr;
pub use slice::{AddressType, Conditions, Endpoint, EndpointSlice, Hints, SlicePort};
pub use store::{Changes, Event, Model, Problem};

/// Label of Services and slices that another proxy serves; its value is that proxy's name (S01, KEP-2447).
pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Label of headless Services and their slices (S02).
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// Label of a slice that names its Service (S05).
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a node that names its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Taint by which the cluster autoscaler announces that it removes a node (KEP-3836).
pub const DELETION_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// Annotation of a Service: `rr`, `wrr`, `lc`, `wlc`, `sh`, `dh` or `mh`.
pub const SCHEDULER: &str = "nicproxy.dev/scheduler";
/// Annotation of a Service: `nat` or `dsr`.
pub const FORWARDING: &str = "nicproxy.dev/forwarding";
/// Annotation of a Pod by which the CNI says to what it attached the Pod.
pub const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// Annotation of a Service, or of an EndpointSlice, whose word counts more: `address=weight` pairs separated by commas.
/// Without it every endpoint has weight 1.
pub const ENDPOINT_WEIGHTS: &str = "nicproxy.dev/endpoint-weights";
/// Annotation of a slice: when the change happened that it follows from, RFC 3339 (S89).
pub const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
