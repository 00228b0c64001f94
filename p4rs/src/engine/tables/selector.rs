//! Action profiles and selectors: members, groups and one-shot sets of weighted actions.
//!
//! In: control-plane writes; a packet's hash. Out: the action to run, without a lock.
//!
//! An entry names the cell of its member or group, a group the cells of its members; what a cell holds is replaced as
//! a whole. A cell is used for something else only when every guard of its former owner's time is gone.
//! Invariants: a member or group in use is not removed; a group changes as a whole; the choice is
//! `hash mod sum of weights`, counted along the members in the order written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::externs::HashAlgorithm;
use super::action::{ActionPlan, DataWords, OwnedAction, encode_owned, shared};
use super::entry::{EntryAction, TableError, WeightedAction};
use super::epoch::Guard;
use super::rcu::Rcu;
use super::record::Form;
use super::recycle::Recycler;
use super::words::Cells;

/// A member's place in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Member id.
    pub member: u32,
    /// Share of the hash space, at least 1.
    pub weight: u32,
    /// A port whose being down takes the member out, as the control plane wrote it (opaque here).
    pub watch_port: Option<Vec<u8>>,
}

/// Running sums of weights, with a guide that makes the choice nearly independent of how many there are: place `k` of
/// the guide names the first member that can own the `k`-th part of the hash space.
#[derive(Clone, Debug, Default)]
struct Wheel {
    ends: Vec<u64>,
    guide: Vec<u32>,
    /// Right shift of a slot of the hash space that leaves its place in the guide.
    shift: u32,
}

impl Wheel {
    fn new(weights: impl Iterator<Item = u32>) -> Result<Self, TableError> {
        let mut sum = 0;
        let mut ends: Vec<u64> = Vec::new();
        for weight in weights {
            if weight == 0 {
                return Err(TableError::ZeroWeight);
            }
            sum += u64::from(weight);
            ends.push(sum);
        }
        let mut shift = 0;
        while sum >> shift > ends.len() as u64 {
            shift += 1;
        }
        let parts = 0..=sum.saturating_sub(1) >> shift;
        let owner = |part: u64| ends.partition_point(|&end| end <= part << shift) as u32;
        let guide = parts.map(owner).chain([ends.len() as u32]).collect();
        Ok(Self { ends, guide, shift })
    }

    fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn pick(&self, hash: u64) -> Option<usize> {
        let slot = hash.checked_rem(self.size())?;
        let part = (slot >> self.shift) as usize;
        let (first, last) = (*self.guide.get(part)?, *self.guide.get(part + 1)?);
        let owners = self.ends.get(first as usize..last as usize)?;
        Some(first as usize + owners.partition_point(|&end| end <= slot))
    }
}

/// A one-shot set, ready to run.
#[derive(Debug)]
pub(crate) struct OneShot {
    actions: Vec<WeightedAction>,
    /// Action and data of each, `stride` words apart.
    rows: Box<[AtomicU64]>,
    stride: usize,
    wheel: Wheel,
}

impl OneShot {
    /// The set as written.
    pub fn actions(&self) -> &[WeightedAction] {
        &self.actions
    }

    /// The action for a hash; `None` for an empty set.
    pub fn pick(&self, hash: u64) -> Option<(u16, &[AtomicU64])> {
        let at = self.wheel.pick(hash)? * self.stride;
        let (action, data) = self.rows.get(at..at + self.stride)?.split_first()?;
        Some((action.load(Ordering::Relaxed) as u16, data))
    }
}

/// What an entry's action became.
pub(crate) struct Bound {
    pub form: Form,
    pub action: u16,
    pub data: DataWords,
    pub one_shot: Option<Arc<OneShot>>,
}

#[derive(Debug)]
struct Member {
    action: usize,
    params: Vec<Vec<u8>>,
    cell: u32,
    uses: u64,
}

/// A member as packets run it.
#[derive(Debug)]
struct Running {
    action: u16,
    data: Box<[AtomicU64]>,
}

/// A group as packets see it.
#[derive(Debug)]
struct Choice {
    wheel: Wheel,
    /// Cells of the members.
    cells: Vec<u32>,
}

#[derive(Debug)]
struct Group {
    max_size: u32,
    members: Vec<GroupMember>,
    cell: u32,
    uses: u64,
}

#[derive(Debug, Default)]
struct State {
    members: FxHashMap<u32, Member>,
    groups: BTreeMap<u32, Group>,
    one_shots: u64,
    member_cells: Recycler,
    group_cells: Recycler,
}

/// An action profile or selector.
#[derive(Debug)]
pub(crate) struct Profile {
    actions: Vec<ActionPlan>,
    algorithm: Option<HashAlgorithm>,
    size: u64,
    max_group: u64,
    running: Cells<Rcu<Running>>,
    choices: Cells<Rcu<Choice>>,
    state: Mutex<State>,
}

/// An entry's data: the id that it was written with, and the cell.
fn reference(id: u32, cell: u32) -> u64 {
    u64::from(id) << 32 | u64::from(cell)
}

impl Profile {
    /// A profile of `size` members; a selector when there is an algorithm.
    pub fn new(
        actions: Vec<ActionPlan>,
        algorithm: Option<HashAlgorithm>,
        size: u64,
        max_group: u64,
    ) -> Self {
        Self {
            actions,
            algorithm,
            size,
            max_group,
            running: Cells::default(),
            choices: Cells::default(),
            state: Mutex::default(),
        }
    }

    /// The hash of a packet's packed selector keys.
    #[inline]
    pub fn hash(&self, selector: &[u8]) -> u64 {
        self.algorithm
            .map_or(0, |algorithm| algorithm.hash(selector))
    }

    /// Prepares an entry's action and counts the use; undone by [`Profile::release`].
    pub fn bind(&self, action: EntryAction<'_>) -> Result<Bound, TableError> {
        let mut state = self.state.lock();
        let by_id = |form, id: u32, cell| Bound {
            form,
            action: u16::MAX,
            data: DataWords::from_slice(&[reference(id, cell)]),
            one_shot: None,
        };
        match action {
            EntryAction::Direct(_) => Err(TableError::ActionForm),
            EntryAction::Member(id) => {
                let member = state.members.get_mut(&id);
                let member = member.ok_or(TableError::NoSuchMember(id))?;
                member.uses += 1;
                Ok(by_id(Form::Member, id, member.cell))
            }
            EntryAction::Group(id) => {
                let group = state.groups.get_mut(&id);
                let group = group.ok_or(TableError::NoSuchGroup(id))?;
                group.uses += 1;
                Ok(by_id(Form::Group, id, group.cell))
            }
            EntryAction::OneShot(_) if self.algorithm.is_none() => Err(TableError::ActionForm),
            EntryAction::OneShot(_) if !state.members.is_empty() || !state.groups.is_empty() => {
                Err(TableError::MixedForms)
            }
            EntryAction::OneShot(actions) => {
                let one_shot = self.one_shot(actions)?;
                state.one_shots += 1;
                Ok(Bound {
                    form: Form::OneShot,
                    action: u16::MAX,
                    data: DataWords::new(),
                    one_shot: Some(Arc::new(one_shot)),
                })
            }
        }
    }

    fn one_shot(&self, actions: &[WeightedAction]) -> Result<OneShot, TableError> {
        let wheel = Wheel::new(actions.iter().map(|a| a.weight))?;
        self.check_size(wheel.size(), 0)?;
        let words = self.actions.iter().map(ActionPlan::data_words).max();
        let stride = 1 + words.unwrap_or(0);
        let mut rows = Vec::with_capacity(stride * actions.len());
        for (i, action) in actions.iter().enumerate() {
            rows.push(action.action as u64);
            rows.extend(encode_owned(&self.actions, action.action, &action.params)?);
            rows.resize(stride * (i + 1), 0);
        }
        Ok(OneShot {
            actions: actions.to_vec(),
            rows: shared(&rows),
            stride,
            wheel,
        })
    }

    fn check_size(&self, size: u64, own_max: u32) -> Result<(), TableError> {
        let max = if own_max == 0 {
            self.max_group
        } else {
            u64::from(own_max).min(self.max_group)
        };
        if size > max {
            Err(TableError::GroupTooBig { size, max })
        } else {
            Ok(())
        }
    }

    /// Takes back what [`Profile::bind`] counted.
    pub fn release(&self, form: Form, reference: u64) {
        let mut state = self.state.lock();
        let id = (reference >> 32) as u32;
        match form {
            Form::Direct => {}
            Form::Member => {
                if let Some(member) = state.members.get_mut(&id) {
                    member.uses = member.uses.saturating_sub(1);
                }
            }
            Form::Group => {
                if let Some(group) = state.groups.get_mut(&id) {
                    group.uses = group.uses.saturating_sub(1);
                }
            }
            Form::OneShot => state.one_shots = state.one_shots.saturating_sub(1),
        }
    }

    /// The action of a member, or of the group's member for a hash; `None` for an empty group.
    pub fn resolve<'g>(
        &'g self,
        guard: &'g Guard,
        form: Form,
        reference: u64,
        hash: u64,
    ) -> Option<(u16, &'g [AtomicU64])> {
        let mut cell = reference as u32;
        if form == Form::Group {
            let choice = self.choices.get(cell)?.load(guard)?;
            cell = *choice.cells.get(choice.wheel.pick(hash)?)?;
        }
        let running = self.running.get(cell)?.load(guard)?;
        Some((running.action, &running.data))
    }

    fn running(&self, action: &OwnedAction) -> Result<(Member, Running), TableError> {
        let OwnedAction::Direct { action, params } = action else {
            return Err(TableError::ActionForm);
        };
        let data = encode_owned(&self.actions, *action, params)?;
        let member = Member {
            action: *action,
            params: params.clone(),
            cell: 0,
            uses: 0,
        };
        let running = Running {
            action: *action as u16,
            data: shared(&data),
        };
        Ok((member, running))
    }

    fn full(&self) -> TableError {
        TableError::Full {
            capacity: self.size,
        }
    }

    pub fn insert_member(&self, id: u32, action: &OwnedAction) -> Result<(), TableError> {
        let (member, running) = self.running(action)?;
        let mut state = self.state.lock();
        if state.one_shots > 0 {
            return Err(TableError::MixedForms);
        }
        if state.members.contains_key(&id) {
            return Err(TableError::Exists);
        }
        if state.members.len() as u64 >= self.size {
            return Err(self.full());
        }
        let cell = state.member_cells.take().ok_or_else(|| self.full())?;
        if let Some(place) = self.running.make(cell) {
            place.put(running);
        }
        state.members.insert(id, Member { cell, ..member });
        Ok(())
    }

    pub fn modify_member(&self, id: u32, action: &OwnedAction) -> Result<(), TableError> {
        let (new, running) = self.running(action)?;
        let mut state = self.state.lock();
        let member = state
            .members
            .get_mut(&id)
            .ok_or(TableError::NoSuchMember(id))?;
        if let Some(place) = self.running.get(member.cell) {
            place.put(running);
        }
        *member = Member {
            uses: member.uses,
            cell: member.cell,
            ..new
        };
        Ok(())
    }

    pub fn delete_member(&self, id: u32) -> Result<(), TableError> {
        let mut state = self.state.lock();
        let member = state.members.get(&id);
        let member = member.ok_or(TableError::NoSuchMember(id))?;
        if member.uses > 0 {
            return Err(TableError::InUse);
        }
        let cell = member.cell;
        state.member_cells.give(cell);
        state.members.remove(&id);
        Ok(())
    }

    pub fn members(&self) -> Vec<(u32, OwnedAction)> {
        let state = self.state.lock();
        let mut members: Vec<_> = state
            .members
            .iter()
            .map(|(&id, m)| {
                (
                    id,
                    OwnedAction::Direct {
                        action: m.action,
                        params: m.params.clone(),
                    },
                )
            })
            .collect();
        members.sort_by_key(|(id, _)| *id);
        members
    }

    fn group(
        &self,
        state: &State,
        max_size: u32,
        members: &[GroupMember],
    ) -> Result<(Group, Choice), TableError> {
        if self.algorithm.is_none() {
            return Err(TableError::ActionForm);
        }
        if u64::from(max_size) > self.max_group {
            return Err(TableError::GroupTooBig {
                size: u64::from(max_size),
                max: self.max_group,
            });
        }
        let wheel = Wheel::new(members.iter().map(|m| m.weight))?;
        self.check_size(wheel.size(), max_size)?;
        let mut seen = FxHashSet::default();
        let mut cells = Vec::with_capacity(members.len());
        for GroupMember { member, .. } in members {
            let known = state.members.get(member);
            cells.push(known.ok_or(TableError::NoSuchMember(*member))?.cell);
            if !seen.insert(*member) {
                return Err(TableError::DuplicateMember(*member));
            }
        }
        let group = Group {
            max_size,
            members: members.to_vec(),
            cell: 0,
            uses: 0,
        };
        Ok((group, Choice { wheel, cells }))
    }

    pub fn insert_group(
        &self,
        id: u32,
        max_size: u32,
        members: &[GroupMember],
    ) -> Result<(), TableError> {
        let mut state = self.state.lock();
        if state.one_shots > 0 {
            return Err(TableError::MixedForms);
        }
        if state.groups.contains_key(&id) {
            return Err(TableError::Exists);
        }
        let (group, choice) = self.group(&state, max_size, members)?;
        let cell = state.group_cells.take().ok_or_else(|| self.full())?;
        if let Some(place) = self.choices.make(cell) {
            place.put(choice);
        }
        count_uses(&mut state, &group.members, 1);
        state.groups.insert(id, Group { cell, ..group });
        Ok(())
    }

    pub fn modify_group(&self, id: u32, members: &[GroupMember]) -> Result<(), TableError> {
        let mut state = self.state.lock();
        let old = state.groups.get(&id).ok_or(TableError::NoSuchGroup(id))?;
        let (uses, cell) = (old.uses, old.cell);
        let (group, choice) = self.group(&state, old.max_size, members)?;
        if let Some(place) = self.choices.get(cell) {
            place.put(choice);
        }
        count_uses(&mut state, members, 1);
        if let Some(old) = state.groups.insert(
            id,
            Group {
                uses,
                cell,
                ..group
            },
        ) {
            count_uses(&mut state, &old.members, -1);
        }
        Ok(())
    }

    pub fn delete_group(&self, id: u32) -> Result<(), TableError> {
        let mut state = self.state.lock();
        let group = state.groups.get(&id).ok_or(TableError::NoSuchGroup(id))?;
        if group.uses > 0 {
            return Err(TableError::InUse);
        }
        if let Some(old) = state.groups.remove(&id) {
            state.group_cells.give(old.cell);
            count_uses(&mut state, &old.members, -1);
        }
        Ok(())
    }

    pub fn groups(&self) -> Vec<(u32, u32, Vec<GroupMember>)> {
        self.state
            .lock()
            .groups
            .iter()
            .map(|(&id, g)| (id, g.max_size, g.members.clone()))
            .collect()
    }
}

fn count_uses(state: &mut State, members: &[GroupMember], by: i64) {
    for member in members {
        if let Some(member) = state.members.get_mut(&member.member) {
            member.uses = member.uses.saturating_add_signed(by);
        }
    }
}
