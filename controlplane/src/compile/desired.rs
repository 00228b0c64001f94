//! The entries of all Services together, kept up to date one Service at a time.
//!
//! In: one Service's entries, new, changed or gone. Out: the whole state, and which keys of it were touched; the work
//! depends on that Service's size, not on how many there are. Of two Services that claim one address and port, the one
//! whose name sorts first has it, whatever the order they came in; the other gets it when the first lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::service::{CompiledFamily, CompiledPort, CompiledService, CompiledSet};
use super::state::{Entries, Owned, State};
use super::wiring::Wired;
use crate::model::ObjectKey;
use crate::tables::{
    client, egress, frontend, masquerade, member, port, route, sctp_checksum, source_range, tunnel,
    vip,
};

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
    /// Of table `client`.
    pub clients: FxHashSet<client::Key>,
    /// Of table `masquerade`.
    pub masquerades: FxHashSet<masquerade::Key>,
    /// Of table `tunnel`.
    pub tunnels: FxHashSet<tunnel::Key>,
    /// Of table `member`.
    pub members: FxHashSet<member::Key>,
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
    /// Port changes of SCTP that no Service makes any more, and whether the last look found no connection that does.
    draining: BTreeMap<u32, bool>,
    set_owners: FxHashMap<u32, Arc<str>>,
    own: BTreeSet<vip::Key>,
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
            self.withdraw(key, before, touched);
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
        swap(&mut self.state.clients, wired.clients, &mut touched.clients);
        let masquerades = &mut self.state.masquerades;
        swap(masquerades, wired.masquerades, &mut touched.masquerades);
        swap(&mut self.state.tunnels, wired.tunnels, &mut touched.tunnels);
        self.own(wired.own, touched);
    }

    /// Takes over checksum words of an earlier run that no Service needs: its connections may still be open.
    pub fn keep_port_changes(
        &mut self,
        installed: &Entries<sctp_checksum::Key, sctp_checksum::Action>,
        longest: u16,
    ) {
        let unused = |change: &u32| !self.port_changes.contains_key(change);
        let kept: BTreeSet<u32> = installed.keys().map(|key| key.port_change).collect();
        for change in kept.into_iter().filter(unused) {
            let words = sctp_checksum::changes(change, longest);
            let there = words.filter(|(key, _)| installed.contains_key(key));
            self.state.sctp_checksums.extend(there);
            self.draining.insert(change, false);
        }
    }

    /// Whether connections may be open that need checksum words of no Service.
    pub fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Lets go of checksum words that no connection needs, at two looks in a row: one that is just being set up is
    /// not cut. `open` has the port changes of all connections there are. True if anything is to be written.
    pub fn drained(&mut self, open: &FxHashSet<u32>, longest: u16, touched: &mut Touched) -> bool {
        let mut gone = Vec::new();
        self.draining.retain(|change, idle| {
            let was = std::mem::replace(idle, !open.contains(change));
            let over = was && *idle;
            gone.extend(over.then_some(*change));
            !over
        });
        for (key, _) in gone
            .iter()
            .flat_map(|c| sctp_checksum::changes(*c, longest))
        {
            self.state.sctp_checksums.remove(&key);
            touched.sctp_checksums.insert(key);
        }
        !gone.is_empty()
    }

    /// Puts the NIC's own addresses in the place of the former ones. They go before any Service's.
    fn own(&mut self, own: BTreeSet<vip::Key>, touched: &mut Touched) {
        let nic = ObjectKey::default();
        for gone in self.own.difference(&own) {
            self.vip_claims.withdraw(gone, &nic, &mut self.state.vips);
            touched.vips.insert(*gone);
        }
        for fresh in own.difference(&self.own) {
            let entry = Owned {
                owner: Arc::from("nic"),
                action: vip::Action::Own,
            };
            self.vip_claims
                .claim(*fresh, &nic, entry, &mut self.state.vips);
            touched.vips.insert(*fresh);
        }
        self.own = own;
    }

    fn withdraw(&mut self, key: &ObjectKey, before: &CompiledService, touched: &mut Touched) {
        for (vip, _) in &before.vips {
            self.vip_claims.withdraw(vip, key, &mut self.state.vips);
            touched.vips.insert(*vip);
        }
        for family in before.ports.iter().flat_map(|port| &port.families) {
            self.withdraw_family(key, family, touched);
        }
    }

    fn withdraw_family(&mut self, key: &ObjectKey, family: &CompiledFamily, touched: &mut Touched) {
        for frontend in &family.frontends {
            self.frontend_claims
                .withdraw(&frontend.key, key, &mut self.state.frontends);
            touched.frontends.insert(frontend.key);
        }
        for set in &family.sets {
            self.state.sets.remove(&set.id);
            self.set_owners.remove(&set.id);
            touched.sets.insert(set.id);
            for (member, _) in members(set) {
                self.state.members.remove(&member);
                touched.members.insert(member);
            }
        }
        for range in &family.source_ranges {
            self.state.source_ranges.remove(range);
            touched.source_ranges.insert(*range);
        }
        for change in &family.port_changes {
            self.withdraw_port_change(*change);
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
                self.add_family(key, port, family, longest, touched);
            }
        }
    }

    fn add_family(
        &mut self,
        key: &ObjectKey,
        port: &CompiledPort,
        family: &CompiledFamily,
        longest: u16,
        touched: &mut Touched,
    ) {
        for frontend in &family.frontends {
            let entry = Owned {
                owner: port.owner.clone(),
                action: frontend.action,
            };
            self.frontend_claims
                .claim(frontend.key, key, entry, &mut self.state.frontends);
            touched.frontends.insert(frontend.key);
        }
        for set in &family.sets {
            self.state.sets.insert(set.id, set.slots.clone());
            self.set_owners.insert(set.id, port.owner.clone());
            touched.sets.insert(set.id);
            for (member, known) in members(set) {
                self.state.members.insert(member, known);
                touched.members.insert(member);
            }
        }
        for range in &family.source_ranges {
            self.state.source_ranges.insert(*range, source_range::Allow);
            touched.source_ranges.insert(*range);
        }
        for change in &family.port_changes {
            self.add_port_change(*change, longest, touched);
        }
    }

    fn add_port_change(&mut self, change: u32, longest: u16, touched: &mut Touched) {
        let users = self.port_changes.entry(change).or_default();
        *users += 1;
        if *users == 1 {
            self.draining.remove(&change);
            for (key, action) in sctp_checksum::changes(change, longest) {
                self.state.sctp_checksums.insert(key, action);
                touched.sctp_checksums.insert(key);
            }
        }
    }

    /// The words stay until the connections are closed that need them (S62).
    fn withdraw_port_change(&mut self, change: u32) {
        let Some(users) = self.port_changes.get_mut(&change) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.port_changes.remove(&change);
            self.draining.insert(change, false);
        }
    }
}

/// Entries of table `member` that a set needs.
fn members(set: &CompiledSet) -> impl Iterator<Item = (member::Key, member::IsMember)> + '_ {
    let wanted = set.slots.members().iter().filter(|_| set.members);
    wanted.map(|target| {
        let key = member::Key {
            set_id: set.id,
            address: target.address,
            port: target.port,
        };
        let known = member::IsMember {
            flags: target.flags,
            endpoint_id: target.endpoint_id,
        };
        (key, known)
    })
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
