//! One Service, seen from one node.
//!
//! In: a Service, its slices, and whose view it is. Out: per port and address family the endpoints, which of them serve
//! under each traffic policy, and the frontends with what becomes of new connections there. Nothing is remembered: the
//! same objects always give the same answer, whatever order they came in, and an object that makes no sense costs no
//! more than its own endpoints.
//!
//! ```text
//! Service ─┐  visible? (S01–S04)   ports × families (S07, S09)   merge slices (S11–S15)   choose (S32–S45)
//! slices  ─┼──────────────────────▶ Resolved { ports: [ families: [ candidates, choice, frontends ] ] }
//! view    ─┘                        entry points, policies, source NAT, filters (S21–S29, S35–S39, S47–S56)
//! ```

mod candidates;
mod choice;
mod frontend;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::FxHashSet;
use smallvec::SmallVec;

use crate::model::{
    EndpointSlice, Family, Forwarding, ObjectKey, Protocol, Scheduler, Service, ServiceKind,
    ServicePort, SessionAffinity, TrafficPolicy,
};

pub use candidates::{Candidate, Hint};
pub use choice::{Basis, Choice, Topology};
pub use frontend::{EntryPoint, Frontend, Masquerade, Verdict};
pub use view::{Detector, NodePortAddresses, NodeView, PodRanges, Viewpoint};

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
    /// Its load balancers' addresses that the NIC answers neighbours for.
    pub answered: Vec<IpAddr>,
    /// How endpoints are picked.
    pub scheduler: Scheduler,
    /// Idle seconds for which a client keeps its endpoint; `None`: no longer than the connection.
    pub affinity: Option<u32>,
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
    /// All endpoints, in order of address and port, those that get no connections included.
    pub candidates: Vec<Candidate>,
    /// On what basis they were chosen.
    pub choice: Choice,
    /// Where the port answers, each address and port once.
    pub frontends: SmallVec<[Frontend; 2]>,
    /// Sources that frontends with `check_source` admit.
    pub admitted: Vec<IpNet>,
}

impl ResolvedFamily {
    /// The endpoints that get new connections under a policy.
    pub fn backends(&self, policy: TrafficPolicy) -> impl Iterator<Item = &Candidate> {
        self.candidates
            .iter()
            .filter(move |candidate| candidate.serves(policy))
    }

    /// Some frontend serves from this policy's set (S34).
    pub fn needs(&self, policy: TrafficPolicy) -> bool {
        let wanted = Verdict::Serve(policy);
        self.frontends
            .iter()
            .any(|frontend| frontend.inside == wanted || frontend.outside == wanted)
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
    /// Direct answers are asked for, but the configuration says of no way to the endpoints.
    #[error(
        "direct server return is asked for, but `dsr` in the configuration has no way to {0} endpoints: translated instead"
    )]
    NoTunnel(Family),
    /// Clients would be held to endpoints that are gone.
    #[error(
        "sessionAffinity ClientIP is not kept: the device's program has no table `member` to tell who has left"
    )]
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
    let slices: SmallVec<[&EndpointSlice; 8]> = slices
        .map(|slice| &**slice)
        .filter(|slice| slice.proxy_name == view.proxy_name && !slice.headless_label)
        .collect();
    candidates::check(&slices, &mut issues);
    let weights = candidates::Weights::new(&service.endpoint_weights, service.scheduler);
    let vips = once(&service.cluster_ips);
    if service.forwarding == Forwarding::Dsr {
        let wanted = service.load_balancer_ips.iter().map(|ip| Family::of(*ip));
        let missing: BTreeSet<Family> = wanted.filter(|f| !view.tunnels.contains(f)).collect();
        issues.extend(missing.into_iter().map(Issue::NoTunnel));
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
            // Without a cluster IP of the family the Service has no part in it (S07).
            let takes_part = vips.iter().any(|vip| Family::of(*vip) == family);
            takes_part.then(|| {
                let candidates = candidates::merge(view, port, family, &slices, &weights);
                resolve_family(view, service, port, family, candidates)
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
        answered: frontend::answered(view, &ports),
        vips,
        scheduler: service.scheduler,
        affinity: match service.session_affinity {
            SessionAffinity::None => None,
            SessionAffinity::ClientIp { timeout_seconds } => Some(timeout_seconds),
        },
        ports,
        issues,
    })
}

fn resolve_family(
    view: &NodeView,
    service: &Service,
    port: &ServicePort,
    family: Family,
    mut candidates: Vec<Candidate>,
) -> ResolvedFamily {
    let choice = choice::choose(&mut candidates);
    let admitted = frontend::admitted(view, service, family);
    let check = admitted.is_some();
    ResolvedFamily {
        family,
        frontends: frontend::frontends(view, service, port, family, choice, check),
        admitted: admitted.unwrap_or_default(),
        candidates,
        choice,
    }
}

fn once(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut found = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !found.contains(address) {
            found.push(*address);
        }
    }
    found
}

/// Whether this proxy programs the Service at all (S01-S04).
pub(crate) fn is_served(view: &NodeView, service: &Service) -> bool {
    service.proxy_name == view.proxy_name
        && !service.headless_label
        && !service.headless
        && service.kind != ServiceKind::ExternalName
        && !service.cluster_ips.is_empty()
}
