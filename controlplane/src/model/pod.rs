//! A Pod, reduced to where it is attached to the NIC.

use std::net::IpAddr;
use std::sync::Arc;

use super::service::ObjectKey;

/// A Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `spec.nodeName`.
    pub node: Option<Arc<str>>,
    /// Its interfaces, as the annotation [`NETWORK_STATUS`](super::NETWORK_STATUS) lists them; those without a device
    /// are left out.
    pub attachments: Vec<Attachment>,
}

/// One interface of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attachment {
    /// Names of the device behind it: its PCI address, its representor.
    pub devices: Vec<Arc<str>>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its MAC address, as it was written.
    pub mac: Option<Arc<str>>,
}
