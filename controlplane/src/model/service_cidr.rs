//! A ServiceCIDR: ranges that cluster IPs come from (KEP-1880).

use std::sync::Arc;

use ipnet::IpNet;

/// A ServiceCIDR.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceCidr {
    /// Name.
    pub name: Arc<str>,
    /// `spec.cidrs`.
    pub cidrs: Vec<IpNet>,
}
