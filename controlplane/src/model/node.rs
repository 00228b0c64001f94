//! A Node, reduced to what routes and locality depend on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Addresses of type `InternalIP`.
    pub internal_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels; a source may leave out those outside `topology.kubernetes.io/`.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// The zone it stands in.
    pub fn zone(&self) -> Option<&str> {
        self.labels.get(super::ZONE).map(String::as_str)
    }
}
