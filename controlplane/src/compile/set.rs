//! An endpoint set: slots that lead to endpoints.
//!
//! Each endpoint is kept once, and a slot is an index: 4 bytes of the millions of slots that a cluster has. What is
//! wanted and what is installed share one copy once they agree.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::tables::endpoint::Target;

/// Slots of one set; a slot may be empty.
#[derive(Clone, Default)]
pub struct EndpointSet {
    members: Vec<Target>,
    slots: Vec<u32>,
}

const EMPTY: u32 = u32::MAX;

impl EndpointSet {
    /// Slots by index into the members; an index that is no member's is an empty slot.
    pub fn new(members: Vec<Target>, slots: Vec<u32>) -> Self {
        Self { members, slots }
    }

    /// Endpoints that slots lead to; while it is written there may be more.
    pub fn members(&self) -> &[Target] {
        &self.members
    }

    /// Slots up to the last one that leads somewhere, or that was asked for.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// There is no slot.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Which member a slot leads to.
    pub fn member(&self, slot: u16) -> Option<usize> {
        let index = *self.slots.get(usize::from(slot))? as usize;
        (index < self.members.len()).then_some(index)
    }

    /// Where a slot leads.
    pub fn get(&self, slot: u16) -> Option<&Target> {
        let index = *self.slots.get(usize::from(slot))?;
        self.members.get(index as usize)
    }

    /// All slots that lead somewhere, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Target)> {
        self.slots.iter().enumerate().filter_map(|(slot, index)| {
            let target = self.members.get(*index as usize)?;
            Some((u16::try_from(slot).ok()?, target))
        })
    }

    /// Number of slots that lead somewhere.
    pub fn filled(&self) -> usize {
        let members = self.members.len();
        self.slots
            .iter()
            .filter(|index| (**index as usize) < members)
            .count()
    }

    /// The first `size` slots all lead somewhere.
    pub fn covers(&self, size: usize) -> bool {
        let members = self.members.len();
        self.slots.len() >= size
            && self.slots[..size]
                .iter()
                .all(|index| (*index as usize) < members)
    }

    /// How many slots lead to each endpoint.
    pub fn shares(&self) -> FxHashMap<Target, usize> {
        let mut shares = FxHashMap::default();
        for (_, target) in self.iter() {
            *shares.entry(*target).or_default() += 1;
        }
        shares
    }

    /// Changes slots; `None` empties one.
    pub fn assign<'t>(&mut self, changes: impl Iterator<Item = (u16, Option<&'t Target>)>) {
        let mut known: FxHashMap<Target, u32> = self
            .members
            .iter()
            .enumerate()
            .map(|(index, target)| (*target, index as u32))
            .collect();
        for (slot, target) in changes {
            let index = match target {
                Some(target) => *known.entry(*target).or_insert_with(|| {
                    self.members.push(*target);
                    self.members.len() as u32 - 1
                }),
                None => EMPTY,
            };
            let slot = usize::from(slot);
            if slot >= self.slots.len() {
                self.slots.resize(slot + 1, EMPTY);
            }
            self.slots[slot] = index;
        }
        self.trim();
    }

    /// Forgets empty slots at the end, and members without a slot once they are most of them.
    fn trim(&mut self) {
        let members = self.members.len();
        let end = self
            .slots
            .iter()
            .rposition(|index| (*index as usize) < members)
            .map_or(0, |last| last + 1);
        self.slots.truncate(end);
        if members > 16 && members > 2 * self.slots.len() {
            let kept: Vec<(u16, Target)> = self.iter().map(|(slot, t)| (slot, *t)).collect();
            let mut fresh = Self::default();
            fresh.assign(kept.iter().map(|(slot, target)| (*slot, Some(target))));
            *self = fresh;
        }
    }
}

/// Equal when every slot leads to the same endpoint, whatever the members' order.
impl PartialEq for EndpointSet {
    fn eq(&self, other: &Self) -> bool {
        if self.members == other.members && self.slots == other.slots {
            return true;
        }
        let slots = self.slots.len().max(other.slots.len());
        (0..slots).all(|slot| match u16::try_from(slot) {
            Ok(slot) => self.get(slot) == other.get(slot),
            Err(_) => true,
        })
    }
}

impl Eq for EndpointSet {}

impl fmt::Debug for EndpointSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(slot, t)| (slot, (t.address, t.port))))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: u8) -> Target {
        Target {
            address: std::net::IpAddr::from([10, 0, 0, n]).into(),
            port: 80,
            flags: 0,
            endpoint_id: u32::from(n),
        }
    }

    #[test]
    fn assign_and_compare() {
        let mut set = EndpointSet::default();
        let (one, two) = (target(1), target(2));
        set.assign([(1, Some(&two)), (0, Some(&one))].into_iter());
        assert_eq!(set, EndpointSet::new(vec![one, two], vec![0, 1]));
        assert!(set.covers(2) && !set.covers(3));
        set.assign([(7, Some(&one)), (0, None)].into_iter());
        assert_eq!((set.len(), set.filled()), (8, 2));
        assert!(!set.covers(2));
        set.assign([(7, None), (1, None)].into_iter());
        assert!(set.is_empty());
        assert_eq!(set, EndpointSet::default());
    }

    #[test]
    fn members_without_slots_are_forgotten() {
        let mut set = EndpointSet::default();
        for n in 0..200 {
            set.assign([(0, Some(&target(n)))].into_iter());
        }
        assert_eq!(set.get(0), Some(&target(199)));
        assert!(set.members.len() <= 17, "{}", set.members.len());
    }
}
