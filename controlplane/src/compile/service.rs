//! The entries of one Service.
//!
//! In: a resolved Service, what it put in until now, and the numbers given out. Out: its frontends, each with an action
//! of its own; its endpoint sets, one per policy that some frontend serves from; its source ranges and addresses.
//! Frontends of one port that serve the same endpoints share a set.

use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::balance::Balance;
use super::fill::{self, MAX_SLOTS, Weighted};
use super::ids::Ids;
use super::set::EndpointSet;
use super::state::Owned;
use super::wiring::{Attachment, Wiring};
use crate::device::stale::Serving;
use crate::model::{Family, Protocol, Scheduler, TrafficPolicy};
use crate::resolve::{
    Candidate, Choice, EntryPoint, Frontend, Issue, PortKey, Resolved, ResolvedFamily,
    ResolvedPort, Verdict,
};
use crate::tables::endpoint::{LOCAL, Target};
use crate::tables::{Address, Interface, frontend, source_range, vip};

/// What one Service puts into the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledService {
    /// Its addresses.
    pub vips: Vec<(vip::Key, Owned<vip::Action>)>,
    /// Its ports.
    pub ports: Vec<CompiledPort>,
    /// How endpoints are picked.
    pub scheduler: Scheduler,
    /// Idle seconds for which a client keeps its endpoint.
    pub affinity: Option<u32>,
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
    /// Its number in the tables.
    pub service_id: u32,
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
    /// Its frontends.
    pub frontends: SmallVec<[CompiledFrontend; 2]>,
    /// The sets they serve from.
    pub sets: SmallVec<[CompiledSet; 1]>,
    /// On what basis endpoints were chosen.
    pub choice: Choice,
    /// Admitted sources.
    pub source_ranges: Vec<source_range::Key>,
    /// Endpoints that answer, whatever gets new connections, in order: what UDP connections and pins may lead to (S63,
    /// S64). Empty where there are neither.
    pub serving: Serving,
    /// Changes of ports that SCTP packets undergo, both ways.
    pub port_changes: SmallVec<[u32; 2]>,
    /// Endpoints that found no slot because there are too many.
    pub without_slot: usize,
}

/// One address at which a port answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledFrontend {
    /// Kind of address.
    pub entry: EntryPoint,
    /// The entry's key.
    pub key: frontend::Key,
    /// The entry's action.
    pub action: frontend::Action,
}

/// An endpoint set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompiledSet {
    /// The policy whose endpoints these are; where both policies have the same, `Cluster`.
    pub policy: TrafficPolicy,
    /// Number.
    pub id: u32,
    /// Slots.
    pub slots: Arc<EndpointSet>,
    /// The data plane has to know who is in it: some frontend keeps clients at their endpoint (S59).
    pub members: bool,
    /// Weights of the members, where open connections change them.
    pub weights: Vec<u32>,
}

/// What a compilation depends on beside the Service.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// How the NIC is wired.
    pub wiring: &'a Wiring,
    /// Loads of endpoints.
    pub balance: &'a Balance,
    /// What the device's program can do.
    pub interface: Interface,
    /// Which sets are in use here or on the device.
    pub taken: &'a dyn Fn(u32) -> bool,
}

/// Works out the entries of a Service. `before` is what it put in until now.
pub fn compile(
    resolved: &Resolved,
    before: Option<&CompiledService>,
    context: Context<'_>,
    ids: &mut Ids,
) -> CompiledService {
    let ports = resolved.ports.iter().map(|port| {
        let known = before.and_then(|before| before.ports.iter().find(|p| p.key == port.key));
        let owner: Arc<str> = match known {
            Some(known) => known.owner.clone(),
            None => port.key.to_string().into(),
        };
        PortCompiler {
            resolved,
            port,
            service_id: ids.service(&owner),
            owner,
            context,
        }
        .compile(known, ids)
    });
    let ports = ports.collect();
    CompiledService {
        vips: addresses(resolved, &context),
        ports,
        scheduler: resolved.scheduler,
        affinity: resolved.affinity,
        issues: {
            let mut issues = resolved.issues.clone();
            if resolved.affinity.is_some() && context.interface == Interface::Basic {
                issues.push(Issue::NoAffinity);
            }
            issues
        },
    }
}

/// Cluster IPs refuse what they do not serve (S22); others are answered for as far as they are the NIC's.
fn addresses(resolved: &Resolved, context: &Context<'_>) -> Vec<(vip::Key, Owned<vip::Action>)> {
    let owner: Arc<str> = resolved.key.to_string().into();
    let answers = context.interface == Interface::Full;
    let own = resolved
        .answered
        .iter()
        .filter(|ip| answers && !resolved.vips.contains(ip));
    let refused = resolved.vips.iter().map(|ip| (ip, vip::Action::Reject));
    let all = refused.chain(own.map(|ip| (ip, vip::Action::Own)));
    let entries = all.map(|(ip, action)| {
        let key = vip::Key {
            vpc: context.wiring.vpc,
            address: (*ip).into(),
        };
        let owner = owner.clone();
        (key, Owned { owner, action })
    });
    entries.collect()
}

/// One port on its way through.
struct PortCompiler<'a> {
    resolved: &'a Resolved,
    port: &'a ResolvedPort,
    owner: Arc<str>,
    service_id: u32,
    context: Context<'a>,
}

impl PortCompiler<'_> {
    fn compile(&self, before: Option<&CompiledPort>, ids: &mut Ids) -> CompiledPort {
        let wanted: Vec<(Address, u16)> = self
            .port
            .families
            .iter()
            .flat_map(|family| &family.candidates)
            .filter(|candidate| candidate.in_cluster || candidate.in_local)
            .map(|candidate| (candidate.address, candidate.port))
            .collect();
        let numbers = match self.context.interface {
            Interface::Full => ids.endpoints(&self.owner, &wanted),
            Interface::Basic => vec![0; wanted.len()],
        };
        let mut numbers = numbers.into_iter();
        let families = self.port.families.iter().map(|family| {
            let known = before.and_then(|b| b.families.iter().find(|f| f.family == family.family));
            let targets = family.candidates.iter().map(|candidate| Target {
                address: candidate.address,
                port: candidate.port,
                flags: self.flags_of(candidate),
                endpoint_id: if candidate.in_cluster || candidate.in_local {
                    numbers.next().unwrap_or(0)
                } else {
                    0
                },
            });
            let targets: Vec<Target> = targets.collect();
            self.family(family, &targets, known, ids)
        });
        CompiledPort {
            key: self.port.key.clone(),
            owner: self.owner.clone(),
            service_id: self.service_id,
            port: self.port.port,
            families: families.collect(),
        }
    }

    /// Answers of an endpoint on this node do not cross a NIC that is a bump in the wire.
    fn flags_of(&self, candidate: &Candidate) -> u8 {
        let bump = self.context.wiring.attachment == Attachment::BumpInTheWire;
        let known = self.context.interface == Interface::Full;
        if bump && candidate.local && known {
            LOCAL
        } else {
            0
        }
    }

    fn family(
        &self,
        family: &ResolvedFamily,
        targets: &[Target],
        before: Option<&CompiledFamily>,
        ids: &mut Ids,
    ) -> CompiledFamily {
        let mut sets: SmallVec<[CompiledSet; 1]> = SmallVec::new();
        let mut without_slot = 0;
        for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
            let shared = policy == TrafficPolicy::Local
                && !sets.is_empty()
                && family.candidates.iter().all(|c| c.in_cluster == c.in_local);
            if shared || !family.needs(policy) {
                ids.release_set(&self.owner, family.family, policy);
                continue;
            }
            let known = before.and_then(|b| b.sets.iter().find(|set| set.policy == policy));
            let set = self.set(family, policy, targets, known, ids);
            without_slot += set.slots.members().len().saturating_sub(MAX_SLOTS);
            sets.push(set);
        }
        let frontends = family.frontends.iter().map(|frontend| CompiledFrontend {
            entry: frontend.entry,
            key: frontend::Key {
                vpc: self.context.wiring.vpc,
                protocol: self.port.key.protocol.number(),
                address: frontend.address.into(),
                port: frontend.port,
            },
            action: match self.context.interface {
                Interface::Full => self.action(frontend, &sets),
                Interface::Basic => self.basic_action(frontend, &sets),
            },
        });
        let mut compiled = CompiledFamily {
            family: family.family,
            frontends: frontends.collect(),
            choice: family.choice,
            source_ranges: Vec::new(),
            serving: self.serving(family, before),
            port_changes: SmallVec::new(),
            without_slot,
            sets,
        };
        if family
            .frontends
            .iter()
            .any(|frontend| frontend.check_source)
        {
            let range = |net: &IpNet| source_range::Key {
                range_id: self.service_id,
                source: (*net).into(),
            };
            compiled.source_ranges = family.admitted.iter().map(range).collect();
        }
        if self.port.key.protocol == Protocol::Sctp {
            compiled.port_changes = port_changes(&compiled);
        }
        compiled
    }

    fn serving(&self, family: &ResolvedFamily, before: Option<&CompiledFamily>) -> Serving {
        let wanted = self.port.key.protocol == Protocol::Udp || self.resolved.affinity.is_some();
        let serving = family
            .candidates
            .iter()
            .filter(|one| wanted && one.answers());
        let serving: Vec<_> = serving.map(|one| (one.address, one.port)).collect();
        match before {
            Some(known) if *known.serving == *serving => known.serving.clone(),
            _ => serving.into(),
        }
    }

    fn set(
        &self,
        family: &ResolvedFamily,
        policy: TrafficPolicy,
        targets: &[Target],
        before: Option<&CompiledSet>,
        ids: &mut Ids,
    ) -> CompiledSet {
        let balances = self.resolved.scheduler.is_least_connection();
        let chosen = || {
            let candidates = family.candidates.iter().zip(targets);
            candidates.filter(|(candidate, _)| candidate.serves(policy))
        };
        let endpoints: Vec<Weighted> = chosen()
            .map(|(candidate, _)| {
                let (address, port) = (candidate.address, candidate.port);
                let factor = match balances {
                    true => self.context.balance.factor(&self.owner, address, port),
                    false => 1,
                };
                Weighted {
                    address,
                    port,
                    weight: candidate.weight.saturating_mul(factor),
                }
            })
            .collect();
        let size = fill::size(&endpoints);
        let set = match ids.set(&self.owner, family.family, policy) {
            Some(set) if set.size == size => set,
            _ => ids.new_set(&self.owner, family.family, policy, size, self.context.taken),
        };
        let members = chosen().map(|(_, target)| *target).collect();
        let filled = EndpointSet::new(members, fill::fill(&endpoints, size));
        CompiledSet {
            policy,
            id: set.id,
            // One copy as long as nothing changes.
            slots: match before {
                Some(known) if *known.slots == filled => known.slots.clone(),
                _ => Arc::new(filled),
            },
            members: self.resolved.affinity.is_some() && self.context.interface == Interface::Full,
            weights: match balances {
                true => chosen().map(|(candidate, _)| candidate.weight).collect(),
                false => Vec::new(),
            },
        }
    }

    /// What a frontend says to a program of the basic interface: everybody is a client from outside.
    fn basic_action(&self, frontend: &Frontend, sets: &[CompiledSet]) -> frontend::Action {
        let everybody = Frontend {
            inside: frontend.outside,
            ..frontend.clone()
        };
        match self.action(&everybody, sets) {
            frontend::Action::Serve { set_id: 0, .. } => frontend::Action::Drop {
                service_id: self.service_id,
            },
            frontend::Action::Serve {
                set_id,
                slot_mask,
                service_id,
                flags,
                ..
            } => frontend::Action::Serve {
                set_id,
                slot_mask,
                outside_set_id: set_id,
                outside_slot_mask: slot_mask,
                service_id,
                flags: flags & frontend::CHECK_SOURCE,
                affinity_profile: frontend::NO_PROFILE,
            },
            refused => refused,
        }
    }

    fn action(&self, frontend: &Frontend, sets: &[CompiledSet]) -> frontend::Action {
        let service_id = self.service_id;
        let mut flags = self.flags(frontend);
        match (frontend.inside, frontend.outside) {
            (Verdict::Reject, _) | (_, Verdict::Reject) if !frontend.check_source => {
                return frontend::Action::Reject { service_id };
            }
            // Who is not admitted is dropped all the same (S56).
            (Verdict::Reject, _) | (_, Verdict::Reject) => flags |= frontend::REFUSE,
            (Verdict::Drop, Verdict::Drop) => return frontend::Action::Drop { service_id },
            _ => {}
        }
        let set = |verdict| {
            let Verdict::Serve(policy) = verdict else {
                return (0, 0);
            };
            // A set that two policies share is the one there is.
            let own = sets.iter().find(|set| set.policy == policy);
            let found = own.or_else(|| sets.first());
            found.map_or((0, 0), |set| {
                (set.id, set.slots.len().saturating_sub(1) as u16)
            })
        };
        let (set_id, slot_mask) = set(frontend.inside);
        let (outside_set_id, outside_slot_mask) = set(frontend.outside);
        frontend::Action::Serve {
            set_id,
            slot_mask,
            outside_set_id,
            outside_slot_mask,
            service_id,
            flags,
            affinity_profile: self.affinity_profile(),
        }
    }

    fn flags(&self, frontend: &Frontend) -> u16 {
        let hash = match self.resolved.scheduler {
            Scheduler::SourceHash | Scheduler::Maglev => frontend::HASH_CLIENT,
            Scheduler::DestinationHash => frontend::HASH_VIP,
            _ => 0,
        };
        [
            (frontend.check_source, frontend::CHECK_SOURCE),
            (self.resolved.affinity.is_some(), frontend::AFFINITY),
            (frontend.masquerade.pod, frontend::MASQUERADE_POD),
            (frontend.masquerade.node, frontend::MASQUERADE_NODE),
            (frontend.masquerade.outside, frontend::MASQUERADE_OUTSIDE),
            (frontend.direct, frontend::DSR),
            (frontend.classifies(), frontend::CLASSIFY),
        ]
        .into_iter()
        .fold(hash, |flags, (set, flag)| {
            flags | if set { flag } else { 0 }
        })
    }

    /// The data plane's own expiry profile with this timeout, else the next longer one, else the longest; where the device
    /// has none the control plane writes pins (S58).
    fn affinity_profile(&self) -> u8 {
        let profiles = &self.context.wiring.affinity_profiles;
        let found = self.resolved.affinity.and_then(|seconds| {
            let enough = profiles.iter().filter(|(_, lasts)| *lasts >= seconds);
            let own = enough.min_by_key(|(_, lasts)| *lasts);
            let own = own.or_else(|| profiles.iter().max_by_key(|(_, lasts)| *lasts));
            own.map(|(profile, _)| *profile)
        });
        found.unwrap_or(frontend::NO_PROFILE)
    }
}

/// Destination port on the way in, source port on the way back.
fn port_changes(family: &CompiledFamily) -> SmallVec<[u32; 2]> {
    let mut changes: SmallVec<[u32; 2]> = SmallVec::new();
    let members = family.sets.iter().flat_map(|set| set.slots.members());
    for target in members {
        for frontend in &family.frontends {
            let change = u32::from(frontend.key.port ^ target.port);
            if change != 0 && !changes.contains(&change) {
                changes.push(change);
                changes.push(change << 16);
            }
        }
    }
    changes
}
