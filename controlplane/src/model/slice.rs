//! An EndpointSlice, reduced to what load balancing depends on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::address::Family;
use super::service::{ObjectKey, Protocol};

/// `addressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressType {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Anything else, `FQDN` included: ignored (S06).
    Other,
}

impl AddressType {
    /// The family, if it is one.
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Ipv4 => Some(Family::V4),
            Self::Ipv6 => Some(Family::V6),
            Self::Other => None,
        }
    }
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlicePort {
    /// Name. The API server makes an absent one empty; a manifest source has to do the same.
    pub name: Option<Arc<str>>,
    /// Protocol.
    pub protocol: Protocol,
    /// Port of the endpoints.
    pub port: Option<u16>,
}

/// `conditions`, as far as they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Takes new connections; absent means yes (S17).
    pub ready: Option<bool>,
    /// Would be ready if it were not terminating; absent means yes.
    pub serving: Option<bool>,
    /// Is going away; absent means no.
    pub terminating: Option<bool>,
}

impl Conditions {
    /// Takes new connections.
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Answers, whether or not it is going away.
    pub fn is_serving(self) -> bool {
        self.serving.unwrap_or(true)
    }

    /// Is going away.
    pub fn is_terminating(self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// `hints`: where the endpoint should be preferred.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// `forZones`.
    pub zones: Vec<Arc<str>>,
    /// `forNodes`.
    pub nodes: Vec<Arc<str>>,
}

/// One entry of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The first of `addresses`, the only one that counts (S13); `None` if there is none or it cannot be read.
    pub address: Option<IpAddr>,
    /// Conditions.
    pub conditions: Conditions,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `hints`, if there are any.
    pub hints: Option<Box<Hints>>,
    /// Its weight by the slice's annotation [`ENDPOINT_WEIGHTS`](super::ENDPOINT_WEIGHTS).
    pub weight: Option<u32>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Value of the label [`SERVICE_NAME`](super::SERVICE_NAME).
    pub service: Option<Arc<str>>,
    /// `addressType`.
    pub address_type: AddressType,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
    /// Value of the label [`SERVICE_PROXY_NAME`](super::SERVICE_PROXY_NAME).
    pub proxy_name: Option<Arc<str>>,
    /// The label [`HEADLESS`](super::HEADLESS) is there.
    pub headless_label: bool,
    /// The annotation [`LAST_CHANGE`](super::LAST_CHANGE).
    pub changed_at: Option<SystemTime>,
}

impl EndpointSlice {
    /// The Service it belongs to; none without a name of slice, namespace and Service (S05).
    pub fn service_key(&self) -> Option<ObjectKey> {
        let service = self.service.as_ref()?;
        let named = [&self.key.namespace, &self.key.name, service]
            .iter()
            .all(|text| !text.is_empty());
        named.then(|| ObjectKey {
            namespace: self.key.namespace.clone(),
            name: service.clone(),
        })
    }
}
