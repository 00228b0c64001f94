//! The entries of one Service.

use std::sync::Arc;

use smallvec::SmallVec;

use super::fill::{self, MAX_SLOTS, Weighted};
use super::ids::Ids;
use super::set::EndpointSet;
use super::state::Owned;
use super::wiring::Wiring;
use crate::model::{Family, Protocol};
use crate::resolve::{Issue, PortKey, Resolved, ResolvedFamily, ResolvedPort, Verdict};
use crate::tables::{frontend, vip};

/// What one Service puts into the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledService {
    /// Its addresses.
    pub vips: Vec<(vip::Key, Owned<vip::Action>)>,
    /// Its ports.
    pub ports: Vec<CompiledPort>,
    /// What was left out of the objects.
    pub issues: Vec<Issue>,
}

/// What one port puts into the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledPort {
    /// Its identity.
    pub key: PortKey,
    /// The same as the entries' metadata has it.
    pub owner: Arc<str>,
    /// Its number at the VIPs.
    pub port: u16,
    /// Per address family.
    pub families: SmallVec<[CompiledFamily; 2]>,
}

/// What one port puts into the tables for one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledFamily {
    /// The family.
    pub family: Family,
    /// What its frontends say.
    pub action: frontend::Action,
    /// The set they serve from.
    pub set: Option<(u32, Arc<EndpointSet>)>,
    /// The frontends.
    pub frontends: SmallVec<[frontend::Key; 2]>,
    /// Changes of ports that SCTP packets undergo, both ways.
    pub port_changes: SmallVec<[u32; 2]>,
    /// Endpoints that found no slot because there are too many.
    pub without_slot: usize,
}

/// Works out the entries of a Service. `before` is what it put in until now; `taken` says which sets are in use.
pub fn compile(
    resolved: &Resolved,
    before: Option<&CompiledService>,
    wiring: &Wiring,
    ids: &mut Ids,
    taken: impl Fn(u32) -> bool,
) -> CompiledService {
    let ports = resolved.ports.iter().map(|port| {
        let known = before.and_then(|before| before.ports.iter().find(|p| p.key == port.key));
        compile_port(port, known, wiring, ids, &taken)
    });
    let ports = ports.collect();
    let owner: Arc<str> = resolved.key.to_string().into();
    CompiledService {
        vips: resolved
            .vips
            .iter()
            .map(|vip| {
                let key = vip::Key {
                    vpc: wiring.vpc,
                    address: (*vip).into(),
                };
                let entry = Owned {
                    owner: owner.clone(),
                    action: vip::Action::Reject,
                };
                (key, entry)
            })
            .collect(),
        ports,
        issues: resolved.issues.clone(),
    }
}

fn compile_port(
    port: &ResolvedPort,
    before: Option<&CompiledPort>,
    wiring: &Wiring,
    ids: &mut Ids,
    taken: &impl Fn(u32) -> bool,
) -> CompiledPort {
    let owner: Arc<str> = match before {
        Some(before) => before.owner.clone(),
        None => port.key.to_string().into(),
    };
    let families = port.families.iter().map(|family| {
        let known = before.and_then(|b| b.families.iter().find(|f| f.family == family.family));
        compile_family(port, family, known, &owner, wiring, ids, taken)
    });
    CompiledPort {
        key: port.key.clone(),
        port: port.port,
        families: families.collect(),
        owner,
    }
}

fn compile_family(
    port: &ResolvedPort,
    family: &ResolvedFamily,
    before: Option<&CompiledFamily>,
    owner: &Arc<str>,
    wiring: &Wiring,
    ids: &mut Ids,
    taken: &impl Fn(u32) -> bool,
) -> CompiledFamily {
    let service_id = ids.service(owner);
    let protocol = port.key.protocol;
    let frontends = family.vips.iter().map(|vip| frontend::Key {
        vpc: wiring.vpc,
        protocol: protocol.number(),
        address: (*vip).into(),
        port: port.port,
    });
    let mut compiled = CompiledFamily {
        family: family.family,
        action: match family.verdict {
            Verdict::Drop => frontend::Action::Drop { service_id },
            _ => frontend::Action::Reject { service_id },
        },
        set: None,
        frontends: frontends.collect(),
        port_changes: SmallVec::new(),
        without_slot: 0,
    };
    let endpoints: Vec<Weighted> = family
        .backends()
        .map(|backend| Weighted {
            target: backend.target,
            weight: backend.weight,
        })
        .collect();
    if endpoints.is_empty() {
        ids.release_set(owner, family.family);
        return compiled;
    }
    let present = ids.set(owner, family.family);
    let size = fill::size(&endpoints, present.map(|set| set.size));
    let set = match present {
        Some(set) if set.size == size => set,
        _ => ids.new_set(owner, family.family, size, taken),
    };
    compiled.action = frontend::Action::Serve {
        set_id: set.id,
        slot_mask: (size - 1) as u16,
        service_id,
        flags: 0,
    };
    compiled.without_slot = endpoints.len().saturating_sub(MAX_SLOTS);
    let slots = fill::fill(&endpoints, size);
    let members = endpoints.iter().map(|endpoint| endpoint.target).collect();
    let filled = EndpointSet::new(members, slots);
    // One copy as long as nothing changes.
    let filled = match before.and_then(|before| before.set.as_ref()) {
        Some((_, known)) if **known == filled => known.clone(),
        _ => Arc::new(filled),
    };
    compiled.set = Some((set.id, filled));
    if protocol == Protocol::Sctp {
        compiled.port_changes = port_changes(port.port, &endpoints);
    }
    compiled
}

/// Destination port on the way in, source port on the way back.
fn port_changes(port: u16, endpoints: &[Weighted]) -> SmallVec<[u32; 2]> {
    let mut changes: SmallVec<[u32; 2]> = SmallVec::new();
    for endpoint in endpoints {
        let change = u32::from(port ^ endpoint.target.port);
        if change != 0 && !changes.contains(&change) {
            changes.push(change);
            changes.push(change << 16);
        }
    }
    changes
}
