//! Which endpoints serve under each traffic policy.
//!
//! In: a port's candidates, as they stand. Out: the same, marked, and on what basis. The two policies fall back on
//! terminating endpoints independently of one another (S32, S33, KEP-1669), and hints only ever narrow the policy
//! `Cluster` (S42–S44, KEP-2433, KEP-3015): nothing but the slices' hints is looked at (S45).

use super::candidates::{Candidate, Hint};
use crate::model::TrafficPolicy;

/// On what basis a set was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Ready endpoints.
    Ready(Topology),
    /// None is ready: those that still answer while they go away.
    Terminating,
    /// There is none.
    Nothing,
}

/// How hints narrowed a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Not at all.
    Anywhere,
    /// To this zone.
    Zone,
    /// To this node.
    Node,
}

impl std::fmt::Display for Basis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(Topology::Anywhere) => "ready endpoints",
            Self::Ready(Topology::Zone) => "ready endpoints hinted for this zone",
            Self::Ready(Topology::Node) => "ready endpoints hinted for this node",
            Self::Terminating => "terminating endpoints: none is ready",
            Self::Nothing => "no endpoint",
        })
    }
}

/// The basis of each policy's set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Of policy `Cluster`.
    pub cluster: Basis,
    /// Of policy `Local`.
    pub local: Basis,
}

impl Choice {
    /// Of one policy.
    pub fn basis(self, policy: TrafficPolicy) -> Basis {
        match policy {
            TrafficPolicy::Cluster => self.cluster,
            TrafficPolicy::Local => self.local,
        }
    }
}

/// Marks the candidates that serve.
pub(super) fn choose(candidates: &mut [Candidate]) -> Choice {
    let topology = topology(candidates);
    for candidate in candidates.iter_mut() {
        candidate.in_cluster = candidate.is_ready() && fits(candidate, topology);
        candidate.in_local = candidate.is_ready() && candidate.local;
    }
    let mut choice = Choice {
        cluster: Basis::Ready(topology),
        local: Basis::Ready(Topology::Anywhere),
    };
    if !candidates.iter().any(|candidate| candidate.in_cluster) {
        choice.cluster = fall_back(candidates, |c| c.in_cluster = c.is_last_resort());
        if !candidates.iter().any(|candidate| candidate.in_cluster) {
            choice.cluster = Basis::Nothing;
        }
    }
    if !candidates.iter().any(|candidate| candidate.in_local) {
        choice.local = fall_back(candidates, |c| {
            c.in_local = c.is_last_resort() && c.local;
        });
        if !candidates.iter().any(|candidate| candidate.in_local) {
            choice.local = Basis::Nothing;
        }
    }
    choice
}

fn fall_back(candidates: &mut [Candidate], mark: impl Fn(&mut Candidate)) -> Basis {
    candidates.iter_mut().for_each(mark);
    Basis::Terminating
}

fn fits(candidate: &Candidate, topology: Topology) -> bool {
    match topology {
        Topology::Anywhere => true,
        Topology::Zone => candidate.zone_hint == Hint::Here,
        Topology::Node => candidate.node_hint == Hint::Here,
    }
}

/// A mode holds if every ready endpoint has a hint of its kind and at least one is for here.
fn topology(candidates: &[Candidate]) -> Topology {
    let holds = |of: fn(&Candidate) -> Hint| {
        let mut ready = candidates.iter().filter(|c| c.is_ready()).map(of);
        let mut here = false;
        ready.all(|hint| {
            here |= hint == Hint::Here;
            hint != Hint::Absent
        }) && here
    };
    if holds(|candidate| candidate.node_hint) {
        Topology::Node
    } else if holds(|candidate| candidate.zone_hint) {
        Topology::Zone
    } else {
        Topology::Anywhere
    }
}
