//! Numbers that the tables need: sets per Service port, family and policy, an id per Service port, one per endpoint of it.
//!
//! In: owners as they are compiled, and what a device says of an earlier run. Out: numbers that stay as long as their
//! owner does. Invariant: no number has two owners, and a number that a device still holds entries of is not given out.
//! The lowest bit of a set's number says which policy it serves, so that a device tells it to a later run.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::fill::MAX_SLOTS;
use super::set::EndpointSet;
use super::state::Owned;
use crate::model::{Family, TrafficPolicy};
use crate::tables::{Address, frontend};
use crate::traffic::Numbering;

/// A set's number and how many slots it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetRef {
    /// Number.
    pub id: u32,
    /// Slots, a power of two.
    pub size: usize,
}

/// Which of an owner's sets.
type SetKey = (Arc<str>, Family, TrafficPolicy);

/// Which owner has which numbers.
#[derive(Debug, Default)]
pub struct Ids {
    services: FxHashMap<Arc<str>, u32>,
    sets: FxHashMap<SetKey, SetRef>,
    last_service: u32,
    /// Number of the last set without its lowest bit.
    last_set: u32,
    services_in_use: FxHashSet<u32>,
    endpoints: EndpointIds,
}

/// Which policy a set serves.
pub fn policy_of(set: u32) -> TrafficPolicy {
    if set & 1 == 0 {
        TrafficPolicy::Cluster
    } else {
        TrafficPolicy::Local
    }
}

impl Ids {
    /// Takes over what a device's frontends and sets say; says whether an owner known here got another number by that.
    ///
    /// What makes no sense (a number of two owners, a mask that is none) is left out: those owners get new numbers.
    pub fn recover<'a>(
        &mut self,
        frontends: impl Iterator<Item = (&'a frontend::Key, &'a Owned<frontend::Action>)>,
        installed: &FxHashMap<u32, Arc<EndpointSet>>,
    ) -> bool {
        let found = Found::read(frontends);
        self.last_service = self.last_service.max(found.last_service);
        self.last_set = self.last_set.max(found.last_set >> 1);
        let known = self.services.len() + self.sets.len();
        let differs = known > 0 && self.differs(&found);
        if differs {
            self.services.clear();
            self.sets.clear();
            self.endpoints.clear();
        }
        // In order, so that the same numbers come out every time.
        let mut sets: Vec<_> = found.sets.iter().collect();
        sets.sort_by_key(|(_, set)| set.id);
        for (key, set) in sets {
            if let Some(slots) = installed.get(&set.id) {
                self.endpoints.adopt(&key.0, slots);
            }
        }
        // Owners not seen here yet, of which the device knows.
        for (owner, id) in found.services {
            self.services.entry(owner).or_insert(id);
        }
        for (owner, set) in found.sets {
            self.sets.entry(owner).or_insert(set);
        }
        self.services_in_use = self.services.values().copied().collect();
        differs
    }

    fn differs(&self, found: &Found<'_>) -> bool {
        let other = |own: Option<&u32>, id: &u32| own.is_some_and(|own| own != id);
        let mut services = found.services.iter();
        let mut sets = found.sets.iter();
        services.any(|(owner, id)| other(self.services.get(owner), id))
            || sets.any(|(key, set)| self.sets.get(key).is_some_and(|own| own != set))
            // A number of ours that is another's on the device is given up, too.
            || self.sets.iter().any(|(key, set)| found.set_owner.get(&set.id).is_some_and(|is| is != key))
            || self.services.iter().any(|(owner, id)| found.service_owner.get(id).is_some_and(|is| *is != owner))
    }

    /// The number of a Service port.
    pub fn service(&mut self, owner: &Arc<str>) -> u32 {
        if let Some(id) = self.services.get(owner) {
            return *id;
        }
        let mut id = self.last_service;
        loop {
            id = id.wrapping_add(1);
            if id != 0 && self.services_in_use.insert(id) {
                break;
            }
        }
        self.last_service = id;
        self.services.insert(owner.clone(), id);
        id
    }

    /// The set that an owner has in a family for a policy.
    pub fn set(&self, owner: &Arc<str>, family: Family, policy: TrafficPolicy) -> Option<SetRef> {
        self.sets.get(&(owner.clone(), family, policy)).copied()
    }

    /// A new set for an owner; `taken` says which numbers are in use here or on the device.
    pub fn new_set(
        &mut self,
        owner: &Arc<str>,
        family: Family,
        policy: TrafficPolicy,
        size: usize,
        taken: impl Fn(u32) -> bool,
    ) -> SetRef {
        let bit = u32::from(policy == TrafficPolicy::Local);
        let mut number = self.last_set;
        loop {
            number = number.wrapping_add(1) & (u32::MAX >> 1);
            if number != 0 && !taken(number << 1 | bit) {
                break;
            }
        }
        self.last_set = number;
        let id = number << 1 | bit;
        let set = SetRef { id, size };
        self.sets.insert((owner.clone(), family, policy), set);
        set
    }

    /// Forgets the set of an owner that serves no longer.
    pub fn release_set(&mut self, owner: &Arc<str>, family: Family, policy: TrafficPolicy) {
        self.sets.remove(&(owner.clone(), family, policy));
    }

    /// Numbers of an owner's endpoints, which are all that it has, in the given order; 0 where there are no more.
    pub fn endpoints(&mut self, owner: &Arc<str>, all: &[(Address, u16)]) -> Vec<u32> {
        self.endpoints.assign(owner, all)
    }

    /// Gives endpoints numbers below this only: as many counters as the program has.
    pub fn limit_endpoints(&mut self, limit: u32) {
        self.endpoints.limit = limit;
    }

    /// Says what became of endpoints' numbers since the last call, in order.
    pub fn numberings(&mut self) -> Vec<Numbering> {
        std::mem::take(&mut self.endpoints.changes)
    }

    /// These numbers may be given out again.
    pub fn reclaim(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.endpoints.free.extend(ids);
    }

    /// These numbers were found in use, by whomever: those that are nobody's here are not given out.
    pub fn avoid(&mut self, ids: &FxHashSet<u32>) {
        self.endpoints.avoid(ids);
    }

    /// Forgets all owners but these.
    pub fn retain(&mut self, wanted: &FxHashSet<Arc<str>>) {
        self.services.retain(|owner, _| wanted.contains(owner));
        self.sets.retain(|(owner, ..), _| wanted.contains(owner));
        self.services_in_use = self.services.values().copied().collect();
        self.endpoints.retain(wanted);
    }

    /// Forgets an owner.
    pub fn release(&mut self, owner: &Arc<str>) {
        if let Some(id) = self.services.remove(owner) {
            self.services_in_use.remove(&id);
        }
        for family in [Family::V4, Family::V6] {
            for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
                self.release_set(owner, family, policy);
            }
        }
        self.endpoints.assign(owner, &[]);
    }
}

/// What a device's frontends say.
#[derive(Default)]
struct Found<'a> {
    services: FxHashMap<Arc<str>, u32>,
    sets: FxHashMap<SetKey, SetRef>,
    service_owner: FxHashMap<u32, &'a Arc<str>>,
    set_owner: FxHashMap<u32, SetKey>,
    last_service: u32,
    last_set: u32,
}

impl<'a> Found<'a> {
    fn read(
        frontends: impl Iterator<Item = (&'a frontend::Key, &'a Owned<frontend::Action>)>,
    ) -> Self {
        let mut all: Vec<_> = frontends.collect();
        // In order, so that contradictions are settled the same way every time; the newest set wins.
        all.sort_by_key(|(key, entry)| (std::cmp::Reverse(entry.action.sets()), **key));
        let mut found = Self::default();
        for (key, entry) in all {
            if entry.owner.is_empty() {
                continue;
            }
            found.take_service(&entry.owner, entry.action.service_id());
            for (id, mask) in entry.action.sets().into_iter().flatten() {
                found.take_set(&entry.owner, key.address.family(), id, mask);
            }
        }
        found
    }

    fn take_service(&mut self, owner: &'a Arc<str>, id: u32) {
        self.last_service = self.last_service.max(id);
        if id != 0 && *self.service_owner.entry(id).or_insert(owner) == owner {
            self.services.entry(owner.clone()).or_insert(id);
        }
    }

    fn take_set(&mut self, owner: &Arc<str>, family: Family, id: u32, mask: u16) {
        self.last_set = self.last_set.max(id);
        let size = usize::from(mask) + 1;
        let key = (owner.clone(), family, policy_of(id));
        let sole = *self.set_owner.entry(id).or_insert_with(|| key.clone()) == key;
        if sole && size.is_power_of_two() && size <= MAX_SLOTS {
            self.sets.entry(key).or_insert(SetRef { id, size });
        }
    }
}

/// Numbers of endpoints: counters are found by them. A number that became free is told, and given out again only when
/// it comes back by [`Ids::reclaim`], and last.
#[derive(Debug)]
struct EndpointIds {
    by_owner: FxHashMap<Arc<str>, Vec<(Address, u16, u32)>>,
    /// The highest number that was ever given out.
    last: u32,
    /// Numbers are below this.
    limit: u32,
    free: VecDeque<u32>,
    /// Numbers taken over from a device or to be avoided, which `last` may have passed over.
    adopted: FxHashSet<u32>,
    /// What was not told yet.
    changes: Vec<Numbering>,
}

impl Default for EndpointIds {
    fn default() -> Self {
        Self {
            by_owner: FxHashMap::default(),
            last: 0,
            limit: u32::MAX,
            free: VecDeque::new(),
            adopted: FxHashSet::default(),
            changes: Vec::new(),
        }
    }
}

impl EndpointIds {
    fn assign(&mut self, owner: &Arc<str>, all: &[(Address, u16)]) -> Vec<u32> {
        let before = self.by_owner.remove(owner).unwrap_or_default();
        let of = |list: &[(Address, u16, u32)], key: &(Address, u16)| {
            let at = list.binary_search_by_key(key, |(address, port, _)| (*address, *port));
            at.ok().map(|at| list[at].2)
        };
        let mut now: Vec<(Address, u16, u32)> = Vec::with_capacity(all.len());
        let mut ids = Vec::with_capacity(all.len());
        for key in all {
            let id = of(&before, key).unwrap_or_else(|| {
                let id = self.next();
                self.given(id, owner, *key);
                id
            });
            ids.push(id);
            if id != 0 {
                now.push((key.0, key.1, id));
            }
        }
        now.sort_unstable();
        for (address, port, id) in before {
            if of(&now, &(address, port)).is_none() {
                self.changes.push(Numbering::Taken(id));
            }
        }
        if !now.is_empty() {
            self.by_owner.insert(owner.clone(), now);
        }
        ids
    }

    fn given(&mut self, id: u32, owner: &Arc<str>, endpoint: (Address, u16)) {
        if id != 0 {
            self.changes.push(Numbering::Given {
                id,
                owner: owner.clone(),
                endpoint,
            });
        }
    }

    fn avoid(&mut self, ids: &FxHashSet<u32>) {
        let known: FxHashSet<u32> = self
            .by_owner
            .values()
            .flatten()
            .map(|(.., id)| *id)
            .collect();
        let mut stale: Vec<u32> = ids.difference(&known).copied().collect();
        stale.sort_unstable();
        for id in stale {
            // One that was passed already is being dealt with.
            if id != 0 && id > self.last && self.adopted.insert(id) {
                self.changes.push(Numbering::Stale(id));
            }
        }
    }

    fn next(&mut self) -> u32 {
        while self.last.saturating_add(1) < self.limit {
            self.last += 1;
            if !self.adopted.contains(&self.last) {
                return self.last;
            }
        }
        let limit = self.limit;
        while let Some(id) = self.free.pop_front() {
            if id < limit {
                return id;
            }
        }
        0
    }

    /// Takes over the numbers of an owner's set as a device has them.
    fn adopt(&mut self, owner: &Arc<str>, slots: &EndpointSet) {
        for target in slots.members() {
            let id = target.endpoint_id;
            if id == 0 || id <= self.last || !self.adopted.insert(id) {
                continue;
            }
            let known = self.by_owner.entry(owner.clone()).or_default();
            let key = (target.address, target.port);
            match known.binary_search_by_key(&key, |(address, port, _)| (*address, *port)) {
                Ok(_) => {
                    self.adopted.remove(&id);
                }
                Err(at) => {
                    known.insert(at, (key.0, key.1, id));
                    self.given(id, owner, key);
                }
            }
        }
    }

    fn retain(&mut self, wanted: &FxHashSet<Arc<str>>) {
        let changes = &mut self.changes;
        self.by_owner.retain(|owner, ids| {
            let stays = wanted.contains(owner);
            if !stays {
                changes.extend(ids.iter().map(|(.., id)| Numbering::Taken(*id)));
            }
            stays
        });
    }

    fn clear(&mut self) {
        *self = Self {
            limit: self.limit,
            changes: vec![Numbering::Void],
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests;
