//! Weights that follow the number of open connections: `lc` and `wlc`.
//!
//! In: open connections per endpoint of a Service port. Out: a factor per endpoint by which its weight is multiplied. An endpoint with fewer open connections per weight than the mean gets
//! more of the new ones, in proportion. Two things keep slots from flapping: counts are smoothed, and a factor changes
//! only when it is off by a quarter. Each NIC counts its own connections, so under `lc` and `wlc` sets of two NICs
//! differ, unlike under the other schedulers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::service::{CompiledPort, CompiledSet};
use crate::tables::Address;

/// Open connections by owner and endpoint; an endpoint without any may be left out.
pub type OpenConnections = FxHashMap<(Arc<str>, Address, u16), u64>;

/// The factor of an endpoint whose load is the mean, or unknown.
const MEAN: f64 = 8.0;
/// The largest factor.
const MOST: f64 = 16.0;
/// How much a new count weighs against those before it.
const NEWS: f64 = 0.3;
/// Changes of a factor below this part of it are ignored.
const DAMPING: f64 = 0.25;

/// Loads and factors of the endpoints of all ports that balance by them.
#[derive(Debug, Default)]
pub struct Balance {
    ports: FxHashMap<Arc<str>, FxHashMap<(Address, u16), Load>>,
}

#[derive(Debug, Clone, Copy)]
struct Load {
    connections: f64,
    factor: u32,
}

impl Balance {
    /// By what an endpoint's weight is multiplied.
    pub fn factor(&self, owner: &str, address: Address, port: u16) -> u32 {
        let known = self
            .ports
            .get(owner)
            .and_then(|port_loads| port_loads.get(&(address, port)));
        known.map_or(MEAN as u32, |load| load.factor)
    }

    /// Takes a port's counts in; `true` if a factor changed.
    pub fn observe(&mut self, port: &CompiledPort, open: &OpenConnections) -> bool {
        let known = self.ports.entry(port.owner.clone()).or_default();
        let mut fresh = FxHashMap::default();
        let mut changed = false;
        for set in port.families.iter().flat_map(|family| &family.sets) {
            changed |= observe_set(&port.owner, set, open, known, &mut fresh);
        }
        *known = fresh;
        changed
    }

    /// Forgets a port.
    pub fn forget(&mut self, owner: &str) {
        self.ports.remove(owner);
    }
}

fn observe_set(
    owner: &Arc<str>,
    set: &CompiledSet,
    open: &OpenConnections,
    known: &FxHashMap<(Address, u16), Load>,
    fresh: &mut FxHashMap<(Address, u16), Load>,
) -> bool {
    let mut changed = false;
    let members = set.slots.members().iter().zip(&set.weights);
    let loads: Vec<((Address, u16), f64, f64)> = members
        .map(|(target, weight)| {
            let key = (target.address, target.port);
            let counted = open.get(&(owner.clone(), target.address, target.port));
            let count = counted.copied().unwrap_or(0) as f64;
            let before = known.get(&key).map_or(count, |load| load.connections);
            (key, before + (count - before) * NEWS, f64::from(*weight))
        })
        .collect();
    // One more than there is, so that an endpoint without any is not infinitely attractive.
    let weights: f64 = loads.iter().map(|(_, _, weight)| weight).sum();
    let mean = loads.iter().map(|(_, count, _)| count + 1.0).sum::<f64>() / weights.max(1.0);
    for (key, connections, weight) in loads {
        let before = known.get(&key).map_or(MEAN, |load| f64::from(load.factor));
        let ideal = (MEAN * mean * weight / (connections + 1.0)).clamp(1.0, MOST);
        let moves = (ideal - before).abs() >= (before * DAMPING).max(1.0);
        let factor = if moves { ideal.round() } else { before };
        changed |= factor != before;
        let factor = factor as u32;
        fresh.insert(
            key,
            Load {
                connections,
                factor,
            },
        );
    }
    changed
}
