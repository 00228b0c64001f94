//! Numbers that the tables need: a set per Service port and family, an id per Service port.
//!
//! In: owners as they are compiled, and what a device says of an earlier run. Out: numbers that stay as long as their
//! owner does. Invariant: no number has two owners, and a number that a device still holds entries of is not given out.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::fill::MAX_SLOTS;
use super::state::Owned;
use crate::model::Family;
use crate::tables::frontend;

/// A set's number and how many slots it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetRef {
    /// Number.
    pub id: u32,
    /// Slots, a power of two.
    pub size: usize,
}

/// Which owner has which numbers.
#[derive(Debug, Default)]
pub struct Ids {
    services: FxHashMap<Arc<str>, u32>,
    sets: FxHashMap<(Arc<str>, Family), SetRef>,
    last_service: u32,
    last_set: u32,
    services_in_use: FxHashSet<u32>,
}

impl Ids {
    /// Takes over what a device's frontends say; says whether an owner known here got another number by that.
    ///
    /// What makes no sense (a number of two owners, a mask that is none) is left out: those owners get new numbers.
    pub fn recover<'a>(
        &mut self,
        frontends: impl Iterator<Item = (&'a frontend::Key, &'a Owned<frontend::Action>)>,
    ) -> bool {
        let mut found: Vec<_> = frontends.collect();
        // In order, so that contradictions are settled the same way every time; the newest set wins.
        found.sort_by_key(|(key, entry)| (std::cmp::Reverse(entry.action.set_id()), **key));
        let known = self.services.len() + self.sets.len();
        let mut services = FxHashMap::default();
        let mut sets = FxHashMap::default();
        let mut set_owner = FxHashMap::default();
        let mut service_owner = FxHashMap::default();
        for (key, entry) in found {
            if entry.owner.is_empty() {
                continue;
            }
            let service = entry.action.service_id();
            self.last_service = self.last_service.max(service);
            if service != 0 && *service_owner.entry(service).or_insert(&entry.owner) == &entry.owner
            {
                services.entry(entry.owner.clone()).or_insert(service);
            }
            if let frontend::Action::Serve {
                set_id, slot_mask, ..
            } = entry.action
            {
                self.last_set = self.last_set.max(set_id);
                let size = usize::from(slot_mask) + 1;
                let owner = (entry.owner.clone(), key.address.family());
                let sole = *set_owner.entry(set_id).or_insert_with(|| owner.clone()) == owner;
                if set_id != 0 && sole && size.is_power_of_two() && size <= MAX_SLOTS {
                    sets.entry(owner).or_insert(SetRef { id: set_id, size });
                }
            }
        }
        let differs = known > 0
            && (services.iter().any(|(owner, id)| self.services.get(owner).is_some_and(|own| own != id))
                || sets.iter().any(|(owner, set)| self.sets.get(owner).is_some_and(|own| own != set))
                // A number of ours that is another's on the device is given up, too.
                || self.sets.iter().any(|(owner, set)| set_owner.get(&set.id).is_some_and(|is| is != owner))
                || self.services.iter().any(|(owner, id)| service_owner.get(id).is_some_and(|is| *is != owner)));
        if differs {
            self.services.clear();
            self.sets.clear();
        }
        // Owners not seen here yet, of which the device knows.
        for (owner, id) in services {
            self.services.entry(owner).or_insert(id);
        }
        for (owner, set) in sets {
            self.sets.entry(owner).or_insert(set);
        }
        self.services_in_use = self.services.values().copied().collect();
        differs
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

    /// The set that an owner has in a family.
    pub fn set(&self, owner: &Arc<str>, family: Family) -> Option<SetRef> {
        self.sets.get(&(owner.clone(), family)).copied()
    }

    /// A new set for an owner; `taken` says which numbers are in use here or on the device.
    pub fn new_set(
        &mut self,
        owner: &Arc<str>,
        family: Family,
        size: usize,
        taken: impl Fn(u32) -> bool,
    ) -> SetRef {
        let mut id = self.last_set;
        loop {
            id = id.wrapping_add(1);
            if id != 0 && !taken(id) {
                break;
            }
        }
        self.last_set = id;
        let set = SetRef { id, size };
        self.sets.insert((owner.clone(), family), set);
        set
    }

    /// Forgets the set of an owner that serves no longer.
    pub fn release_set(&mut self, owner: &Arc<str>, family: Family) {
        self.sets.remove(&(owner.clone(), family));
    }

    /// Forgets all owners but these.
    pub fn retain(&mut self, wanted: &FxHashSet<Arc<str>>) {
        self.services.retain(|owner, _| wanted.contains(owner));
        self.sets.retain(|(owner, _), _| wanted.contains(owner));
        self.services_in_use = self.services.values().copied().collect();
    }

    /// Forgets an owner.
    pub fn release(&mut self, owner: &Arc<str>) {
        if let Some(id) = self.services.remove(owner) {
            self.services_in_use.remove(&id);
        }
        self.release_set(owner, Family::V4);
        self.release_set(owner, Family::V6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> frontend::Key {
        frontend::Key {
            vpc: 0,
            protocol: 6,
            address: std::net::IpAddr::from([10, 96, 0, last]).into(),
            port: 80,
        }
    }

    fn serve(owner: &str, set_id: u32, slot_mask: u16, service_id: u32) -> Owned<frontend::Action> {
        Owned {
            owner: owner.into(),
            action: frontend::Action::Serve {
                set_id,
                slot_mask,
                service_id,
                flags: 0,
            },
        }
    }

    #[test]
    fn an_earlier_run_is_taken_over() {
        let mut ids = Ids::default();
        let entries = [
            (key(1), serve("a", 7, 3, 4)),
            (key(2), serve("b", 9, 0, 5)),
            // Growing was interrupted: the newer set counts.
            (key(3), serve("a", 8, 7, 4)),
            // Nonsense: a's number, and a mask that is none.
            (key(4), serve("c", 8, 7, 4)),
            (key(5), serve("d", 10, 4, 6)),
        ];
        assert!(!ids.recover(entries.iter().map(|(k, e)| (k, e))));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Arc::<str>::from);
        assert_eq!(ids.set(&a, Family::V4), Some(SetRef { id: 8, size: 8 }));
        assert_eq!(ids.set(&a, Family::V6), None);
        assert_eq!(ids.set(&b, Family::V4), Some(SetRef { id: 9, size: 1 }));
        assert_eq!(ids.set(&c, Family::V4), None);
        assert_eq!(ids.set(&d, Family::V4), None);
        assert_eq!(
            (ids.service(&a), ids.service(&b), ids.service(&d)),
            (4, 5, 6)
        );
        assert_eq!(ids.service(&c), 7);
        assert_eq!(ids.new_set(&c, Family::V4, 4, |id| id == 11).id, 12);
        // After a reconnect: an emptied device changes nothing, an owner made meanwhile is taken over.
        assert!(!ids.recover(std::iter::empty()));
        let made = [(key(6), serve("e", 40, 1, 41))];
        assert!(!ids.recover(made.iter().map(|(k, e)| (k, e))));
        let e: Arc<str> = "e".into();
        assert_eq!(ids.set(&e, Family::V4), Some(SetRef { id: 40, size: 2 }));
        assert_eq!(ids.service(&e), 41);
        ids.retain(&[a.clone(), b.clone()].into_iter().collect());
        assert_eq!(ids.set(&e, Family::V4), None);
        assert_eq!(ids.service(&a), 4);
        // Another controller gave other numbers meanwhile.
        let other = [(key(1), serve("a", 20, 3, 4))];
        assert!(ids.recover(other.iter().map(|(k, e)| (k, e))));
        assert_eq!(ids.set(&a, Family::V4), Some(SetRef { id: 20, size: 4 }));
    }

    #[test]
    fn numbers_do_not_come_back_while_taken() {
        let mut ids = Ids {
            last_set: u32::MAX - 1,
            last_service: u32::MAX,
            ..Ids::default()
        };
        let owner: Arc<str> = "a".into();
        assert_eq!(ids.new_set(&owner, Family::V4, 1, |_| false).id, u32::MAX);
        assert_eq!(ids.new_set(&owner, Family::V4, 1, |id| id < 3).id, 3);
        assert_eq!(ids.service(&owner), 1);
        ids.release(&owner);
        assert_eq!(ids.set(&owner, Family::V4), None);
        assert_eq!(ids.service(&owner), 2);
    }
}
