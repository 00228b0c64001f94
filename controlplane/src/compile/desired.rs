//! The entries of all Services together, kept up to date one Service at a time.
//!
//! In: one Service's entries, new, changed or gone. Out: the whole state, and which keys of it were touched; the work
//! depends on that Service's size, not on how many there are. Of two Services that claim one address and port, the one
//! whose name sorts first has it, whatever the order they came in; the other gets it when the first lets go.

use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::service::CompiledService;
use super::state::{Entries, Owned, State};
use super::wiring::Wired;
use crate::model::ObjectKey;
use crate::tables::{egress, frontend, port, route, sctp_checksum, source_range, vip};

/// Keys whose entries may differ between what is wanted and what is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Of table `port`.
    pub ports: FxHashSet<port::Key>,
    /// Of table `egress`.
    pub egress: FxHashSet<egress::Key>,
    /// Of table `route`.
    pub routes: FxHashSet<route::Key>,
    /// Of table `sctp_checksum`.
    pub sctp_checksums: FxHashSet<sctp_checksum::Key>,
    /// Of table `source_range`.
    pub source_ranges: FxHashSet<source_range::Key>,
    /// Of table `frontend`.
    pub frontends: FxHashSet<frontend::Key>,
    /// Of table `vip`.
    pub vips: FxHashSet<vip::Key>,
    /// Sets of table `endpoint`.
    pub sets: FxHashSet<u32>,
}

impl Touched {
    /// No key at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the device should hold.
#[derive(Debug, Default)]
pub struct Desired {
    state: State,
    services: FxHashMap<ObjectKey, CompiledService>,
    frontend_claims: Claims<frontend::Key, Owned<frontend::Action>>,
    vip_claims: Claims<vip::Key, Owned<vip::Action>>,
    port_changes: FxHashMap<u32, usize>,
    set_owners: FxHashMap<u32, Arc<str>>,
}

impl Desired {
    /// The whole state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What a Service puts in.
    pub fn service(&self, key: &ObjectKey) -> Option<&CompiledService> {
        self.services.get(key)
    }

    /// All Services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = (&ObjectKey, &CompiledService)> {
        self.services.iter()
    }

    /// The Service that has a frontend, out of those that claim it.
    pub fn winner(&self, frontend: &frontend::Key) -> Option<&ObjectKey> {
        self.frontend_claims.winner(frontend).map(|claim| &claim.0)
    }

    /// Whose set that is.
    pub fn set_owner(&self, set: u32) -> Option<&Arc<str>> {
        self.set_owners.get(&set)
    }

    /// Puts a Service's entries in the place of its former ones; `None` takes it out. `longest` is the longest SCTP
    /// packet.
    pub fn replace(
        &mut self,
        key: &ObjectKey,
        compiled: Option<CompiledService>,
        longest: u16,
        touched: &mut Touched,
    ) {
        let before = match &compiled {
            Some(_) => self.services.get(key).cloned(),
            None => self.services.remove(key),
        };
        if compiled.is_some() && before == compiled {
            return;
        }
        if let Some(before) = &before {
            self.withdraw(key, before, longest, touched);
        }
        if let Some(compiled) = compiled {
            self.add(key, &compiled, longest, touched);
            self.services.insert(key.clone(), compiled);
        }
    }

    /// Puts the wiring's entries in the place of the former ones.
    pub fn rewire(&mut self, wired: Wired, touched: &mut Touched) {
        swap(&mut self.state.ports, wired.ports, &mut touched.ports);
        swap(&mut self.state.egress, wired.egress, &mut touched.egress);
        swap(&mut self.state.routes, wired.routes, &mut touched.routes);
    }

    fn withdraw(
        &mut self,
        key: &ObjectKey,
        before: &CompiledService,
        longest: u16,
        touched: &mut Touched,
    ) {
        for (vip, _) in &before.vips {
            self.vip_claims.withdraw(vip, key, &mut self.state.vips);
            touched.vips.insert(*vip);
        }
        for family in before.ports.iter().flat_map(|port| &port.families) {
            for frontend in &family.frontends {
                self.frontend_claims
                    .withdraw(frontend, key, &mut self.state.frontends);
                touched.frontends.insert(*frontend);
            }
            if let Some((id, _)) = &family.set {
                self.state.sets.remove(id);
                self.set_owners.remove(id);
                touched.sets.insert(*id);
            }
            for change in &family.port_changes {
                self.withdraw_port_change(*change, longest, touched);
            }
        }
    }

    fn add(
        &mut self,
        key: &ObjectKey,
        compiled: &CompiledService,
        longest: u16,
        touched: &mut Touched,
    ) {
        for (vip, entry) in &compiled.vips {
            self.vip_claims
                .claim(*vip, key, entry.clone(), &mut self.state.vips);
            touched.vips.insert(*vip);
        }
        for port in &compiled.ports {
            for family in &port.families {
                for frontend in &family.frontends {
                    let entry = Owned {
                        owner: port.owner.clone(),
                        action: family.action,
                    };
                    self.frontend_claims
                        .claim(*frontend, key, entry, &mut self.state.frontends);
                    touched.frontends.insert(*frontend);
                }
                if let Some((id, set)) = &family.set {
                    self.state.sets.insert(*id, set.clone());
                    self.set_owners.insert(*id, port.owner.clone());
                    touched.sets.insert(*id);
                }
                for change in &family.port_changes {
                    self.add_port_change(*change, longest, touched);
                }
            }
        }
    }

    fn add_port_change(&mut self, change: u32, longest: u16, touched: &mut Touched) {
        let users = self.port_changes.entry(change).or_default();
        *users += 1;
        if *users == 1 {
            for (key, action) in sctp_checksum::changes(change, longest) {
                self.state.sctp_checksums.insert(key, action);
                touched.sctp_checksums.insert(key);
            }
        }
    }

    fn withdraw_port_change(&mut self, change: u32, longest: u16, touched: &mut Touched) {
        let Some(users) = self.port_changes.get_mut(&change) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.port_changes.remove(&change);
            for (key, _) in sctp_checksum::changes(change, longest) {
                self.state.sctp_checksums.remove(&key);
                touched.sctp_checksums.insert(key);
            }
        }
    }
}

fn swap<K: Hash + Eq + Copy, A: PartialEq>(
    entries: &mut Entries<K, A>,
    fresh: std::collections::BTreeMap<K, A>,
    touched: &mut FxHashSet<K>,
) {
    let fresh: Entries<K, A> = fresh.into_iter().collect();
    touched.extend(entries.keys().filter(|key| !fresh.contains_key(key)));
    touched.extend(
        fresh
            .iter()
            .filter(|(key, action)| entries.get(key) != Some(action))
            .map(|(key, _)| *key),
    );
    *entries = fresh;
}

/// Who wants which key, the winner first.
#[derive(Debug)]
struct Claims<K, V>(FxHashMap<K, SmallVec<[(ObjectKey, V); 1]>>);

impl<K, V> Default for Claims<K, V> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: Hash + Eq + Copy, V: Clone> Claims<K, V> {
    fn winner(&self, key: &K) -> Option<&(ObjectKey, V)> {
        self.0.get(key)?.first()
    }

    fn claim(&mut self, key: K, service: &ObjectKey, value: V, state: &mut Entries<K, V>) {
        let claims = self.0.entry(key).or_default();
        match claims.binary_search_by(|(claimant, _)| claimant.cmp(service)) {
            Ok(at) => claims[at].1 = value,
            Err(at) => claims.insert(at, (service.clone(), value)),
        }
        state.insert(key, claims[0].1.clone());
    }

    fn withdraw(&mut self, key: &K, service: &ObjectKey, state: &mut Entries<K, V>) {
        let Some(claims) = self.0.get_mut(key) else {
            return;
        };
        claims.retain(|(claimant, _)| claimant != service);
        match claims.first() {
            Some((_, value)) => {
                state.insert(*key, value.clone());
            }
            None => {
                self.0.remove(key);
                state.remove(key);
            }
        }
    }
}
