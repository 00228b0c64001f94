//! A Node, reduced to what routes, entry points and locality depend on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// A Node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// Addresses of type `InternalIP`.
    pub internal_ips: Vec<IpAddr>,
    /// Addresses of type `ExternalIP`.
    pub external_ips: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<IpNet>,
    /// Labels; a source may leave out those outside `topology.kubernetes.io/`.
    pub labels: BTreeMap<String, String>,
    /// Keys of its taints.
    pub taints: Vec<Arc<str>>,
    /// It has a `deletionTimestamp`.
    pub deleting: bool,
}

impl Node {
    /// The zone it stands in.
    pub fn zone(&self) -> Option<&str> {
        let zone = self.labels.get(super::ZONE).map(String::as_str);
        zone.filter(|zone| !zone.is_empty())
    }

    /// Its addresses, each once: internal ones first, as kube-proxy takes its primary one.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = Vec::new();
        for address in self.internal_ips.iter().chain(&self.external_ips) {
            if !all.contains(address) {
                all.push(*address);
            }
        }
        all
    }

    /// It may go on taking traffic from outside: it is neither being deleted nor about to be (S75).
    pub fn is_eligible(&self) -> bool {
        !self.deleting
            && !self
                .taints
                .iter()
                .any(|key| &**key == super::DELETION_TAINT)
    }
}
