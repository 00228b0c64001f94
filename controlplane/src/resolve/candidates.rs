//! The endpoints of one Service port and family, merged from all slices.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::choice::{Basis, Topology};
use super::{Issue, NodeView};
use crate::model::{Endpoint, EndpointSlice, Family, Scheduler, ServicePort, TrafficPolicy};
use crate::tables::Address;

/// An endpoint of a port, whether or not it gets connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Address.
    pub address: Address,
    /// Port.
    pub port: u16,
    /// Its part of the connections; 0 gets no new ones.
    pub weight: u32,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// That is this node (S18).
    pub local: bool,
    /// Takes new connections.
    pub ready: bool,
    /// Answers.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
    /// What its hints say of this node.
    pub node_hint: Hint,
    /// What its hints say of this zone.
    pub zone_hint: Hint,
    /// Serves where a policy asks for any endpoint.
    pub in_cluster: bool,
    /// Serves where a policy asks for one of this node.
    pub in_local: bool,
}

/// What an endpoint's hints say of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    Absent,
    /// It is for here.
    Here,
    /// It is for elsewhere.
    Elsewhere,
}

impl Candidate {
    /// Takes new connections, as far as the endpoint goes.
    pub fn is_ready(&self) -> bool {
        self.ready && self.weight > 0
    }

    /// Still answers while it goes away: used when nothing is ready.
    pub fn is_last_resort(&self) -> bool {
        self.serving && self.terminating && self.weight > 0
    }

    /// Answers, whether or not it gets new connections: those that it has stay. One that is ready does although it says
    /// that it is not serving (S19).
    pub fn answers(&self) -> bool {
        self.ready || self.serving
    }

    /// It serves under a policy.
    pub fn serves(&self, policy: TrafficPolicy) -> bool {
        match policy {
            TrafficPolicy::Cluster => self.in_cluster,
            TrafficPolicy::Local => self.in_local,
        }
    }

    /// Why it serves under a policy, or does not, where that policy's set is of this basis.
    pub fn standing(&self, policy: TrafficPolicy, basis: Basis) -> &'static str {
        if self.serves(policy) {
            return match basis {
                Basis::Ready(Topology::Node) => "serves: hinted for this node",
                Basis::Ready(Topology::Zone) => "serves: hinted for this zone",
                Basis::Terminating => "serves: terminating, and nothing is ready",
                _ => "serves: ready",
            };
        }
        if self.weight == 0 {
            "out: weight 0"
        } else if policy == TrafficPolicy::Local && !self.local {
            "out: on another node"
        } else if self.is_ready() {
            match basis {
                Basis::Ready(Topology::Node) => "out: hinted for other nodes",
                _ => "out: hinted for other zones",
            }
        } else if self.is_last_resort() {
            "out: terminating, and others are ready"
        } else if self.terminating {
            "out: terminating, and no longer serving"
        } else {
            "out: not ready"
        }
    }
}

/// Endpoints in order of address and port, each once (S14); of two copies the local one counts, then the first slice's.
pub(super) fn merge(
    view: &NodeView,
    port: &ServicePort,
    family: Family,
    slices: &[&EndpointSlice],
    weights: &Weights,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for slice in slices
        .iter()
        .filter(|slice| slice.address_type.family() == Some(family))
    {
        for number in numbers(slice, port) {
            for endpoint in &slice.endpoints {
                let Some(address) = endpoint.address.filter(|ip| Family::of(*ip) == family) else {
                    continue;
                };
                let conditions = endpoint.conditions;
                found.push(Candidate {
                    address: address.into(),
                    port: number,
                    weight: weights.of(endpoint, address),
                    local: endpoint.node.is_some() && endpoint.node == view.node,
                    node: endpoint.node.clone(),
                    ready: conditions.is_ready(),
                    serving: conditions.is_serving(),
                    terminating: conditions.is_terminating(),
                    node_hint: hint(endpoint, view.node.as_ref(), |hints| &hints.nodes),
                    zone_hint: hint(endpoint, view.zone.as_ref(), |hints| &hints.zones),
                    in_cluster: false,
                    in_local: false,
                });
            }
        }
    }
    // Stable: copies stay in order of slices.
    found.sort_by_key(|c| (c.address, c.port, Reverse(c.local)));
    found.dedup_by_key(|c| (c.address, c.port));
    found
}

fn hint(
    endpoint: &Endpoint,
    here: Option<&Arc<str>>,
    of: impl Fn(&crate::model::Hints) -> &Vec<Arc<str>>,
) -> Hint {
    match endpoint.hints.as_deref().map(of) {
        None => Hint::Absent,
        Some(names) if names.is_empty() => Hint::Absent,
        Some(names) if here.is_some_and(|here| names.contains(here)) => Hint::Here,
        Some(_) => Hint::Elsewhere,
    }
}

/// What a Service says of its endpoints' weights.
pub(super) struct Weights {
    by_address: FxHashMap<IpAddr, u32>,
    scheduler: Scheduler,
}

impl Weights {
    pub fn new(by_address: &[(IpAddr, u32)], scheduler: Scheduler) -> Self {
        Self {
            by_address: by_address.iter().copied().collect(),
            scheduler,
        }
    }

    /// The slice's word, then the Service's, then 1; schedulers without weights only know 0 and 1.
    fn of(&self, endpoint: &Endpoint, address: IpAddr) -> u32 {
        let own = endpoint.weight;
        let weight = own.or_else(|| self.by_address.get(&address).copied());
        let weight = weight.unwrap_or(1);
        if self.scheduler.is_weighted() {
            weight
        } else {
            weight.min(1)
        }
    }
}

/// The numbers that a slice gives a port, found by name and protocol (S11); nameless and numberless ones do not count
/// (S12).
fn numbers<'a>(slice: &'a EndpointSlice, port: &'a ServicePort) -> impl Iterator<Item = u16> + 'a {
    slice
        .ports
        .iter()
        .filter(|given| given.protocol == port.protocol && given.name.as_ref() == Some(&port.name))
        .filter_map(|given| given.port.filter(|number| *number != 0))
}

/// Reports addresses that do not fit their slice (S13), one per slice.
pub(super) fn check(slices: &[&EndpointSlice], issues: &mut Vec<Issue>) {
    for slice in slices {
        let Some(family) = slice.address_type.family() else {
            continue;
        };
        let wrong = slice
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.address)
            .find(|address| Family::of(*address) != family);
        if let Some(address) = wrong {
            issues.push(Issue::WrongFamily {
                slice: slice.key.clone(),
                family,
                address,
            });
        }
    }
}
