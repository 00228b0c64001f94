//! The endpoints of one Service port and family, merged from all slices.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Issue, NodeView};
use crate::model::{EndpointSlice, Family, ServicePort};
use crate::tables::endpoint::Target;

/// An endpoint of a port, whether or not it gets connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub target: Target,
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
}

impl Candidate {
    /// Still answers while it goes away: used when nothing is ready.
    pub fn is_last_resort(&self) -> bool {
        self.serving && self.terminating
    }
}

/// Endpoints in order of address and port, each once (S14); of two copies the local one counts, then the first slice's.
pub(super) fn merge(
    view: &NodeView,
    port: &ServicePort,
    family: Family,
    slices: &[&EndpointSlice],
    weights: &FxHashMap<IpAddr, u32>,
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
                    target: Target {
                        address: address.into(),
                        port: number,
                    },
                    weight: weights.get(&address).copied().unwrap_or(1),
                    local: endpoint.node.is_some() && endpoint.node == view.node,
                    node: endpoint.node.clone(),
                    ready: conditions.is_ready(),
                    serving: conditions.is_serving(),
                    terminating: conditions.is_terminating(),
                });
            }
        }
    }
    // Stable: copies stay in order of slices.
    found.sort_by_key(|candidate| (candidate.target, Reverse(candidate.local)));
    found.dedup_by_key(|candidate| candidate.target);
    found
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
