//! Action profiles and selectors: members, groups and one-shot sets of weighted actions.
//!
//! In: control-plane writes; a packet's hash. Out: the action to run.
//! Invariants: a member or group in use is not removed; a group changes as a whole; the choice is
//! `hash mod sum of weights`, counted along the members in the order written.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::super::externs::HashAlgorithm;
use super::action::{ActionPlan, DataBytes, OwnedAction, encode_owned};
use super::entry::{EntryAction, TableError, WeightedAction};
use super::store::Form;

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

/// Running sums of weights.
#[derive(Clone, Debug, Default)]
struct Wheel(Vec<u64>);

impl Wheel {
    fn new(weights: impl Iterator<Item = u32>) -> Result<Self, TableError> {
        let mut sum = 0;
        let mut ends = Vec::new();
        for weight in weights {
            if weight == 0 {
                return Err(TableError::ZeroWeight);
            }
            sum += u64::from(weight);
            ends.push(sum);
        }
        Ok(Self(ends))
    }

    fn size(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    fn pick(&self, hash: u64) -> Option<usize> {
        let slot = hash.checked_rem(self.size())?;
        Some(self.0.partition_point(|&end| end <= slot))
    }
}

/// A one-shot set, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct OneShot {
    actions: Vec<WeightedAction>,
    encoded: Vec<(u16, DataBytes)>,
    wheel: Wheel,
}

impl OneShot {
    /// The set as written.
    pub fn actions(&self) -> &[WeightedAction] {
        &self.actions
    }

    /// The action for a hash; `None` for an empty set.
    pub fn pick(&self, hash: u64) -> Option<(u16, &[u8])> {
        self.encoded
            .get(self.wheel.pick(hash)?)
            .map(|(action, data)| (*action, &data[..]))
    }
}

/// What an entry's action became.
pub(crate) struct Bound {
    pub form: Form,
    pub action: u16,
    pub data: DataBytes,
    pub one_shot: Option<OneShot>,
}

#[derive(Debug)]
struct Member {
    action: usize,
    params: Vec<Vec<u8>>,
    data: DataBytes,
    uses: u64,
}

#[derive(Debug)]
struct Group {
    max_size: u32,
    members: Vec<GroupMember>,
    wheel: Wheel,
    uses: u64,
}

#[derive(Debug, Default)]
struct State {
    members: FxHashMap<u32, Member>,
    groups: BTreeMap<u32, Group>,
    one_shots: u64,
}

/// An action profile or selector.
#[derive(Debug)]
pub(crate) struct Profile {
    actions: Vec<ActionPlan>,
    algorithm: Option<HashAlgorithm>,
    size: u64,
    max_group: u64,
    state: RwLock<State>,
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
            state: RwLock::default(),
        }
    }

    /// The hash of a packet's packed selector keys.
    pub fn hash(&self, selector: &[u8]) -> u64 {
        self.algorithm
            .map_or(0, |algorithm| algorithm.hash(selector))
    }

    /// Prepares an entry's action and counts the use; undone by [`Profile::release`].
    pub fn bind(&self, action: EntryAction<'_>) -> Result<Bound, TableError> {
        let mut state = self.state.write();
        let by_id = |form, id: u32| Bound {
            form,
            action: u16::MAX,
            data: DataBytes::from_slice(&id.to_be_bytes()),
            one_shot: None,
        };
        match action {
            EntryAction::Direct(_) => Err(TableError::ActionForm),
            EntryAction::Member(id) => {
                state
                    .members
                    .get_mut(&id)
                    .ok_or(TableError::NoSuchMember(id))?
                    .uses += 1;
                Ok(by_id(Form::Member, id))
            }
            EntryAction::Group(id) => {
                state
                    .groups
                    .get_mut(&id)
                    .ok_or(TableError::NoSuchGroup(id))?
                    .uses += 1;
                Ok(by_id(Form::Group, id))
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
                    data: DataBytes::new(),
                    one_shot: Some(one_shot),
                })
            }
        }
    }

    fn one_shot(&self, actions: &[WeightedAction]) -> Result<OneShot, TableError> {
        let wheel = Wheel::new(actions.iter().map(|a| a.weight))?;
        self.check_size(wheel.size(), 0)?;
        let encoded: Result<Vec<_>, TableError> = actions
            .iter()
            .map(|a| {
                Ok((
                    a.action as u16,
                    encode_owned(&self.actions, a.action, &a.params)?,
                ))
            })
            .collect();
        Ok(OneShot {
            actions: actions.to_vec(),
            encoded: encoded?,
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
    pub fn release(&self, form: Form, data: &[u8]) {
        let mut state = self.state.write();
        let id = data
            .get(..4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok())
            .map_or(0, u32::from_be_bytes);
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
    pub fn resolve(&self, form: Form, data: &[u8], hash: u64, out: &mut Vec<u8>) -> Option<u16> {
        let state = self.state.read();
        let mut id = data
            .get(..4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok())
            .map_or(0, u32::from_be_bytes);
        if form == Form::Group {
            let group = state.groups.get(&id)?;
            id = group.members.get(group.wheel.pick(hash)?)?.member;
        }
        let member = state.members.get(&id)?;
        out.extend_from_slice(&member.data);
        Some(member.action as u16)
    }

    fn member(&self, action: &OwnedAction) -> Result<Member, TableError> {
        let OwnedAction::Direct { action, params } = action else {
            return Err(TableError::ActionForm);
        };
        let data = encode_owned(&self.actions, *action, params)?;
        Ok(Member {
            action: *action,
            params: params.clone(),
            data,
            uses: 0,
        })
    }

    pub fn insert_member(&self, id: u32, action: &OwnedAction) -> Result<(), TableError> {
        let member = self.member(action)?;
        let mut state = self.state.write();
        if state.one_shots > 0 {
            return Err(TableError::MixedForms);
        }
        if state.members.contains_key(&id) {
            return Err(TableError::Exists);
        }
        if state.members.len() as u64 >= self.size {
            return Err(TableError::Full {
                capacity: self.size,
            });
        }
        state.members.insert(id, member);
        Ok(())
    }

    pub fn modify_member(&self, id: u32, action: &OwnedAction) -> Result<(), TableError> {
        let new = self.member(action)?;
        let mut state = self.state.write();
        let member = state
            .members
            .get_mut(&id)
            .ok_or(TableError::NoSuchMember(id))?;
        *member = Member {
            uses: member.uses,
            ..new
        };
        Ok(())
    }

    pub fn delete_member(&self, id: u32) -> Result<(), TableError> {
        let mut state = self.state.write();
        if state
            .members
            .get(&id)
            .ok_or(TableError::NoSuchMember(id))?
            .uses
            > 0
        {
            return Err(TableError::InUse);
        }
        state.members.remove(&id);
        Ok(())
    }

    pub fn members(&self) -> Vec<(u32, OwnedAction)> {
        let state = self.state.read();
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
    ) -> Result<Group, TableError> {
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
        for (i, member) in members.iter().enumerate() {
            if !state.members.contains_key(&member.member) {
                return Err(TableError::NoSuchMember(member.member));
            }
            if members
                .get(..i)
                .unwrap_or_default()
                .iter()
                .any(|m| m.member == member.member)
            {
                return Err(TableError::DuplicateMember(member.member));
            }
        }
        Ok(Group {
            max_size,
            members: members.to_vec(),
            wheel,
            uses: 0,
        })
    }

    pub fn insert_group(
        &self,
        id: u32,
        max_size: u32,
        members: &[GroupMember],
    ) -> Result<(), TableError> {
        let mut state = self.state.write();
        if state.one_shots > 0 {
            return Err(TableError::MixedForms);
        }
        if state.groups.contains_key(&id) {
            return Err(TableError::Exists);
        }
        let group = self.group(&state, max_size, members)?;
        count_uses(&mut state, &group.members, 1);
        state.groups.insert(id, group);
        Ok(())
    }

    pub fn modify_group(&self, id: u32, members: &[GroupMember]) -> Result<(), TableError> {
        let mut state = self.state.write();
        let old = state.groups.get(&id).ok_or(TableError::NoSuchGroup(id))?;
        let uses = old.uses;
        let new = Group {
            uses,
            ..self.group(&state, old.max_size, members)?
        };
        count_uses(&mut state, members, 1);
        if let Some(old) = state.groups.insert(id, new) {
            count_uses(&mut state, &old.members, -1);
        }
        Ok(())
    }

    pub fn delete_group(&self, id: u32) -> Result<(), TableError> {
        let mut state = self.state.write();
        if state
            .groups
            .get(&id)
            .ok_or(TableError::NoSuchGroup(id))?
            .uses
            > 0
        {
            return Err(TableError::InUse);
        }
        if let Some(old) = state.groups.remove(&id) {
            count_uses(&mut state, &old.members, -1);
        }
        Ok(())
    }

    pub fn groups(&self) -> Vec<(u32, u32, Vec<GroupMember>)> {
        self.state
            .read()
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
