//! What the device holds, as far as was read back or acknowledged.

use std::sync::Arc;

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use rustc_hash::FxHashMap;

use super::diff::Op;
use super::plan::{self, Edit, Slots};
use crate::compile::{EndpointSet, Owned, State};
use crate::device::{Device, DeviceError};
use crate::tables::endpoint::Target;
use crate::tables::{Table, Tables, entry, frontend};

/// What the device holds.
#[derive(Debug, Default)]
pub(super) struct Installed {
    state: State,
    /// Frontends by the set they serve from.
    served: FxHashMap<u32, usize>,
    /// Entries of our tables that are not of our making.
    pub unreadable: usize,
}

impl Installed {
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Some frontend serves from this set.
    pub fn is_served(&self, set: u32) -> bool {
        self.served.contains_key(&set)
    }

    /// Takes in updates that took place. A set that became what is wanted shares the wanted one's memory.
    pub fn apply(&mut self, edits: &[Edit], desired: &State) {
        for edit in edits {
            if let Edit::Frontend(op) = edit {
                let before = self.state.frontends.get(op.key()).map(|entry| entry.action);
                self.serve(before, false);
                if let Op::Insert(_, entry) | Op::Modify(_, entry) = op {
                    self.serve(Some(entry.action), true);
                }
                // At once: another update of the same batch may be about the same key.
                plan::apply(&mut self.state, std::iter::once(edit));
            }
        }
        for run in edits.chunk_by(|one, next| set_of(one).is_some() && set_of(one) == set_of(next))
        {
            match run {
                [Edit::Frontend(_)] => {}
                [Edit::Slot(op), ..] => {
                    plan::apply(&mut self.state, run.iter());
                    self.share(op.key().set_id, desired);
                }
                _ => plan::apply(&mut self.state, run.iter()),
            }
        }
    }

    /// Takes in slots of which all were written.
    pub fn apply_slots(&mut self, slots: &Slots, desired: &State) {
        // Slots beyond the wanted ones are still to be deleted.
        let there = self.state.sets.get(&slots.id).map_or(0, |set| set.len());
        // Most sets are written as a whole.
        if slots.is_whole() && slots.target.len() >= there {
            self.state.sets.insert(slots.id, slots.target.clone());
        } else {
            let edits: Vec<Edit> = slots.ops().map(Edit::Slot).collect();
            plan::apply(&mut self.state, edits.iter());
            self.share(slots.id, desired);
        }
    }

    /// Lets all sets that are as wanted share the wanted ones' memory.
    pub fn share_all(&mut self, desired: &State) {
        for (id, wanted) in &desired.sets {
            if let Some(found) = self.state.sets.get_mut(id)
                && found == wanted
            {
                *found = wanted.clone();
            }
        }
    }

    fn share(&mut self, id: u32, desired: &State) {
        if let (Some(wanted), Some(found)) = (desired.sets.get(&id), self.state.sets.get_mut(&id))
            && found == wanted
        {
            *found = wanted.clone();
        }
    }

    fn serve(&mut self, action: Option<frontend::Action>, more: bool) {
        let sets = action.map(|action| action.sets());
        for (set, _) in sets.into_iter().flatten().flatten() {
            let count = self.served.entry(set).or_default();
            *count = if more {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.served.remove(&set);
            }
        }
    }

    /// Reads all our tables back.
    pub async fn read(device: &dyn Device, tables: &Tables) -> Result<Self, DeviceError> {
        let own = [
            tables.port.id(),
            tables.egress.id(),
            tables.route.id(),
            tables.sctp_checksum.id(),
            tables.source_range.id(),
            tables.frontend.id(),
            tables.vip.id(),
            tables.endpoint.id(),
        ];
        let optional = [
            tables.client.as_ref().map(Table::id),
            tables.masquerade.as_ref().map(Table::id),
            tables.tunnel.as_ref().map(Table::id),
            tables.member.as_ref().map(Table::id),
        ];
        let wanted = own.into_iter().chain(optional.into_iter().flatten());
        let mut found = Self::default();
        let mut sets: FxHashMap<u32, SetReader> = FxHashMap::default();
        let mut answer = device.read(wanted.map(entry::all_of).collect());
        while let Some(part) = answer.next().await {
            for entity in part? {
                if let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity
                    && !entry.is_default_action
                    && !found.take(tables, entry, &mut sets)
                {
                    found.unreadable += 1;
                }
            }
        }
        let sets = sets.into_iter();
        found.state.sets = sets.map(|(id, set)| (id, Arc::new(set.finish()))).collect();
        Ok(found)
    }

    /// Takes one entry in; `false` if it is none that this program writes.
    fn take(
        &mut self,
        tables: &Tables,
        entry: &proto::TableEntry,
        sets: &mut FxHashMap<u32, SetReader>,
    ) -> bool {
        let table = entry.table_id;
        let state = &mut self.state;
        if table == tables.endpoint.id() {
            return tables
                .endpoint
                .decode(entry)
                .map(|(key, target)| {
                    sets.entry(key.set_id).or_default().put(key.slot, target);
                })
                .is_some();
        }
        if table == tables.frontend.id() {
            let Some((key, action)) = tables.frontend.decode(entry) else {
                return false;
            };
            let owner = owner(entry);
            state.frontends.insert(key, Owned { owner, action });
            self.serve(Some(action), true);
            return true;
        }
        if table == tables.vip.id() {
            return tables
                .vip
                .decode(entry)
                .map(|(key, action)| {
                    let owner = owner(entry);
                    state.vips.insert(key, Owned { owner, action });
                })
                .is_some();
        }
        macro_rules! plain {
            ($table:ident, $entries:ident) => {
                if table == tables.$table.id() {
                    let found = tables.$table.decode(entry);
                    return found
                        .map(|(key, action)| state.$entries.insert(key, action))
                        .is_some();
                }
            };
        }
        plain!(sctp_checksum, sctp_checksums);
        plain!(route, routes);
        plain!(port, ports);
        plain!(egress, egress);
        plain!(source_range, source_ranges);
        macro_rules! optional {
            ($table:ident, $entries:ident) => {
                if let Some(known) = tables.$table.as_ref().filter(|known| known.id() == table) {
                    let found = known.decode(entry);
                    return found
                        .map(|(key, action)| state.$entries.insert(key, action))
                        .is_some();
                }
            };
        }
        optional!(client, clients);
        optional!(masquerade, masquerades);
        optional!(tunnel, tunnels);
        optional!(member, members);
        false
    }
}

/// The set that an update is about.
fn set_of(edit: &Edit) -> Option<u32> {
    match edit {
        Edit::Slot(op) => Some(op.key().set_id),
        _ => None,
    }
}

fn owner(entry: &proto::TableEntry) -> Arc<str> {
    String::from_utf8_lossy(&entry.metadata).into()
}

/// Gathers a set whose slots come in any order.
#[derive(Default)]
struct SetReader {
    known: FxHashMap<Target, u32>,
    members: Vec<Target>,
    slots: Vec<u32>,
}

impl SetReader {
    fn put(&mut self, slot: u16, target: Target) {
        let index = *self.known.entry(target).or_insert_with(|| {
            self.members.push(target);
            self.members.len() as u32 - 1
        });
        let slot = usize::from(slot);
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, u32::MAX);
        }
        self.slots[slot] = index;
    }

    fn finish(self) -> EndpointSet {
        EndpointSet::new(self.members, self.slots)
    }
}
