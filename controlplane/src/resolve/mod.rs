//! One Service, seen from one node.
//!
//! In: a Service, its slices, and whose view it is. Out: per port and address family the VIPs, the endpoints, and what
//! becomes of new connections. Nothing is remembered: the same objects always give the same answer, whatever order
//! they came in, and an object that makes no sense costs no more than its own endpoints.
//!
//! ```text
//! Service ─┐  visible? (S01–S04)   ports × families (S07, S09)   merge slices (S11–S15)   ready? (S17, S32, S36)
//! slices  ─┴──────────────────────▶ Resolved { ports: [ families: [ vips, candidates, verdict ] ] }
//! ```

mod candidates;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::model::{
    EndpointSlice, Family, ObjectKey, Protocol, Service, ServiceKind, SessionAffinity,
    TrafficPolicy,
};

pub use candidates::Candidate;
pub use view::NodeView;

/// What is load-balanced as one thing (S09).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// The Service.
    pub service: ObjectKey,
    /// Name of the port; may be empty.
    pub port: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.service, self.port, self.protocol)
    }
}

/// A Service that is to be programmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The Service.
    pub key: ObjectKey,
    /// Its cluster IPs, each once.
    pub vips: Vec<IpAddr>,
    /// Its ports, in order of the Service.
    pub ports: Vec<ResolvedPort>,
    /// What was left out, and why.
    pub issues: Vec<Issue>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPort {
    /// Its identity.
    pub key: PortKey,
    /// Its number at the VIPs.
    pub port: u16,
    /// One per address family of the cluster IPs.
    pub families: SmallVec<[ResolvedFamily; 2]>,
}

/// One address family of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedFamily {
    /// The family.
    pub family: Family,
    /// Cluster IPs of the family.
    pub vips: SmallVec<[IpAddr; 2]>,
    /// All endpoints, in order of address and port, those that get no connections included.
    pub candidates: Vec<Candidate>,
    /// What becomes of new connections.
    pub verdict: Verdict,
}

impl ResolvedFamily {
    /// The endpoints that get new connections.
    pub fn backends(&self) -> impl Iterator<Item = &Candidate> {
        let verdict = self.verdict;
        self.candidates
            .iter()
            .filter(move |candidate| verdict.takes(candidate))
    }
}

/// What becomes of new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They go to the ready endpoints.
    Ready(TrafficPolicy),
    /// None is ready: they go to those that still answer while they go away (S32, S33, KEP-1669).
    Terminating(TrafficPolicy),
    /// There is none anywhere (S36).
    Reject,
    /// There is one, but not on this node, and the policy asks for this node (S37).
    Drop,
}

impl Verdict {
    /// Whether this endpoint gets new connections.
    pub fn takes(self, candidate: &Candidate) -> bool {
        let (policy, able) = match self {
            Self::Ready(policy) => (policy, candidate.ready),
            Self::Terminating(policy) => (policy, candidate.is_last_resort()),
            Self::Reject | Self::Drop => return false,
        };
        able && candidate.weight > 0 && (policy == TrafficPolicy::Cluster || candidate.local)
    }
}

/// Something about a Service that was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Issue {
    /// S13.
    #[error("EndpointSlice {slice} of {family} addresses holds {address}: ignored")]
    WrongFamily {
        /// The slice.
        slice: ObjectKey,
        /// What it should hold.
        family: Family,
        /// What it holds.
        address: IpAddr,
    },
    /// Two ports with one name or number, and the same protocol.
    #[error("port {name:?} ({port}/{protocol}) is there twice: the first counts")]
    DuplicatePort {
        /// Name.
        name: Arc<str>,
        /// Number.
        port: u16,
        /// Protocol.
        protocol: Protocol,
    },
    /// Not supported yet.
    #[error("sessionAffinity ClientIP is not programmed: every connection is on its own")]
    NoAffinity,
}

/// What is to be programmed for a Service; `None` if nothing.
pub fn resolve<'a>(
    view: &NodeView,
    service: &Service,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
) -> Option<Resolved> {
    if !is_served(view, service) {
        return None;
    }
    let mut issues = Vec::new();
    if service.session_affinity != SessionAffinity::None {
        issues.push(Issue::NoAffinity);
    }
    let slices: SmallVec<[&EndpointSlice; 8]> = slices
        .map(|slice| &**slice)
        .filter(|slice| slice.proxy_name == view.proxy_name && !slice.headless_label)
        .collect();
    candidates::check(&slices, &mut issues);
    let weights: FxHashMap<IpAddr, u32> = service.endpoint_weights.iter().copied().collect();

    let mut vips = Vec::new();
    for vip in &service.cluster_ips {
        if !vips.contains(vip) {
            vips.push(*vip);
        }
    }
    let mut names = FxHashSet::default();
    let mut numbers = FxHashSet::default();
    let mut ports = Vec::with_capacity(service.ports.len());
    for port in &service.ports {
        let new_name = names.insert((&port.name, port.protocol));
        if !new_name || !numbers.insert((port.port, port.protocol)) {
            issues.push(Issue::DuplicatePort {
                name: port.name.clone(),
                port: port.port,
                protocol: port.protocol,
            });
            continue;
        }
        let families = [Family::V4, Family::V6].into_iter().filter_map(|family| {
            let vips: SmallVec<[IpAddr; 2]> = vips
                .iter()
                .copied()
                .filter(|vip| Family::of(*vip) == family)
                .collect();
            // Without an address of the family the Service has no part in it (S07).
            (!vips.is_empty()).then(|| {
                let candidates = candidates::merge(view, port, family, &slices, &weights);
                ResolvedFamily {
                    family,
                    vips,
                    verdict: judge(service.internal_traffic_policy, &candidates),
                    candidates,
                }
            })
        });
        ports.push(ResolvedPort {
            key: PortKey {
                service: service.key.clone(),
                port: port.name.clone(),
                protocol: port.protocol,
            },
            port: port.port,
            families: families.collect(),
        });
    }
    Some(Resolved {
        key: service.key.clone(),
        vips,
        ports,
        issues,
    })
}

fn is_served(view: &NodeView, service: &Service) -> bool {
    service.proxy_name == view.proxy_name
        && !service.headless_label
        && !service.headless
        && service.kind != ServiceKind::ExternalName
        && !service.cluster_ips.is_empty()
}

fn judge(policy: TrafficPolicy, candidates: &[Candidate]) -> Verdict {
    let usable = |verdict: Verdict| candidates.iter().any(|c| verdict.takes(c));
    let wanted = [Verdict::Ready(policy), Verdict::Terminating(policy)];
    if let Some(verdict) = wanted.into_iter().find(|verdict| usable(*verdict)) {
        return verdict;
    }
    let anywhere = [
        Verdict::Ready(TrafficPolicy::Cluster),
        Verdict::Terminating(TrafficPolicy::Cluster),
    ];
    if anywhere.into_iter().any(usable) {
        Verdict::Drop
    } else {
        Verdict::Reject
    }
}
