//! Actions, one-shot sets, members and groups.

use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;
use proto::action_profile_action_set::{ActionSelectionMode, SizeSemantics as SetSize};

use super::super::switch::{
    ActionSet, Args, Call, EntryAction, Group, GroupMember, Item, Member, Op, SetAction, Watch,
};
use super::{Invalid, checked};
use crate::schema::{ActionProfile, ActionRef, Schema, Scope, SizeSemantics, Table};
use crate::value;

/// Where an action is about to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Entry,
    Default,
    Group,
}

impl Scope {
    pub(super) fn allows(self, place: Place) -> bool {
        match self {
            Scope::TableAndDefault => place != Place::Group,
            Scope::TableOnly => place == Place::Entry,
            Scope::DefaultOnly => place == Place::Default,
            Scope::GroupAction => place == Place::Group,
        }
    }
}

/// The action of an entry, of the form that the table's implementation asks for.
pub(super) fn entry_action<'a>(
    table: &'a Table,
    given: &'a proto::TableAction,
) -> Result<EntryAction<'a>, Invalid> {
    use proto::table_action::Type;
    let given = given.r#type.as_ref().ok_or(Invalid::Missing("action"))?;
    match (&table.action_profile, given) {
        (None, Type::Action(action)) => Ok(EntryAction::Call(call(
            &table.actions,
            action,
            Place::Entry,
        )?)),
        (Some(_), Type::ActionProfileMemberId(0)) => Err(Invalid::UnknownId {
            kind: "member",
            id: 0,
        }),
        (Some(_), Type::ActionProfileMemberId(id)) => Ok(EntryAction::Member(*id)),
        (Some(profile), Type::ActionProfileGroupId(id)) if profile.with_selector => match id {
            0 => Err(Invalid::UnknownId {
                kind: "group",
                id: 0,
            }),
            id => Ok(EntryAction::Group(*id)),
        },
        (Some(profile), Type::ActionProfileActionSet(set)) if profile.with_selector => {
            Ok(EntryAction::Set(action_set(table, profile, set)?))
        }
        (profile, _) => Err(Invalid::Rule {
            object: table.name.clone(),
            reason: match profile {
                None => "the table takes an action",
                Some(profile) if profile.with_selector => {
                    "the table takes a member, a group or an action set"
                }
                Some(_) => "the table takes a member",
            },
        }),
    }
}

/// An action call with every parameter exactly once.
pub(super) fn call<'a>(
    actions: &'a [ActionRef],
    given: &'a proto::Action,
    place: Place,
) -> Result<Call<'a>, Invalid> {
    let reference = actions
        .iter()
        .find(|reference| reference.action.id == given.action_id)
        .ok_or(Invalid::UnknownId {
            kind: "action of this table",
            id: given.action_id,
        })?;
    let action = &reference.action;
    if !reference.scope.allows(place) {
        return Err(Invalid::Denied {
            object: action.name.clone(),
            reason: "the action may not be used here",
        });
    }
    let mut args: Args<'a> = Args::from_elem(&[], action.params.len());
    for param in &given.params {
        let (at, definition) =
            action
                .param_by_id(param.param_id)
                .ok_or_else(|| Invalid::UnknownElement {
                    object: action.name.clone(),
                    kind: "parameter",
                    id: param.param_id,
                })?;
        if !args[at].is_empty() {
            return Err(Invalid::Twice {
                object: action.name.clone(),
                name: definition.name.clone(),
            });
        }
        args[at] = checked(&param.value, definition.width, &definition.name)?;
    }
    match args.iter().position(|arg| arg.is_empty()) {
        Some(at) => Err(Invalid::NotGiven {
            object: action.name.clone(),
            name: action.params[at].name.clone(),
        }),
        None => Ok(Call { action, args }),
    }
}

fn action_set<'a>(
    table: &'a Table,
    profile: &ActionProfile,
    set: &'a proto::ActionProfileActionSet,
) -> Result<ActionSet<'a>, Invalid> {
    let rule = |reason| Invalid::Rule {
        object: table.name.clone(),
        reason,
    };
    let mode = ActionSelectionMode::try_from(set.action_selection_mode)
        .map_err(|_| rule("the action selection mode is not known"))?;
    let size = SetSize::try_from(set.size_semantics)
        .map_err(|_| rule("the size semantics are not known"))?;
    let mut actions = Vec::with_capacity(set.action_profile_actions.len());
    for given in &set.action_profile_actions {
        let action = given.action.as_ref().ok_or(Invalid::Missing("action"))?;
        actions.push(SetAction {
            call: call(&table.actions, action, Place::Entry)?,
            weight: weight(profile, given.weight)?,
            watch: set_watch(given.watch_kind.as_ref()),
        });
    }
    let semantics = match (size, profile.semantics) {
        (SetSize::DefaultSizeDeterminedByActionSelector, semantics) => semantics,
        (SetSize::SumOfWeights, _) => SizeSemantics::Weights,
        (SetSize::SumOfMembers, SizeSemantics::Members { max_member_weight }) => {
            SizeSemantics::Members { max_member_weight }
        }
        (SetSize::SumOfMembers, SizeSemantics::Weights) => SizeSemantics::Members {
            max_member_weight: 0,
        },
    };
    let bound = u64::from(profile.max_group_size);
    if bound > 0 && measure(semantics, actions.iter().map(|action| action.weight)) > bound {
        return Err(rule("the set is larger than max_group_size"));
    }
    if let SizeSemantics::Members { max_member_weight } = semantics
        && max_member_weight > 0
        && actions
            .iter()
            .any(|action| action.weight > max_member_weight)
    {
        return Err(rule("a weight is above max_member_weight"));
    }
    let group_action = match &set.group_action {
        Some(action) => Some(call(&table.actions, action, Place::Group)?),
        None => None,
    };
    Ok(ActionSet {
        actions,
        group_action,
        mode,
        size,
    })
}

fn measure(semantics: SizeSemantics, weights: impl Iterator<Item = u32>) -> u64 {
    match semantics {
        SizeSemantics::Weights => weights.map(u64::from).sum(),
        SizeSemantics::Members { .. } => weights.count() as u64,
    }
}

fn weight(profile: &ActionProfile, given: i32) -> Result<u32, Invalid> {
    let rule = |reason| Invalid::Rule {
        object: profile.name.clone(),
        reason,
    };
    match (profile.weights_disallowed, u32::try_from(given)) {
        (true, Ok(0)) => Ok(0),
        (true, _) => Err(rule("weights are not allowed")),
        (false, Ok(0) | Err(_)) => Err(rule("a weight must be positive")),
        (false, Ok(weight)) => Ok(weight),
    }
}

fn set_watch(given: Option<&proto::action_profile_action::WatchKind>) -> Watch<'_> {
    use proto::action_profile_action::WatchKind;
    match given {
        None => Watch::None,
        Some(WatchKind::Watch(number)) => Watch::Number(*number),
        Some(WatchKind::WatchPort(port)) if port.is_empty() => Watch::None,
        Some(WatchKind::WatchPort(port)) => Watch::Port(value::canonical(port)),
    }
}

fn member_watch(given: Option<&proto::action_profile_group::member::WatchKind>) -> Watch<'_> {
    use proto::action_profile_group::member::WatchKind;
    match given {
        None => Watch::None,
        Some(WatchKind::Watch(number)) => Watch::Number(*number),
        Some(WatchKind::WatchPort(port)) if port.is_empty() => Watch::None,
        Some(WatchKind::WatchPort(port)) => Watch::Port(value::canonical(port)),
    }
}

fn profile(schema: &Schema, id: u32) -> Result<&Arc<ActionProfile>, Invalid> {
    schema.action_profiles.get(id).ok_or(Invalid::UnknownId {
        kind: "action profile",
        id,
    })
}

pub(super) fn member<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::ActionProfileMember,
) -> Result<Item<'a>, Invalid> {
    let profile = profile(schema, given.action_profile_id)?;
    if given.member_id == 0 {
        return Err(Invalid::Missing("member id"));
    }
    let mut item = Member {
        profile,
        id: given.member_id,
        call: None,
    };
    if op != Op::Delete {
        let action = given.action.as_ref().ok_or(Invalid::Missing("action"))?;
        // All tables of a profile have the same actions.
        let table = profile
            .table_ids
            .iter()
            .find_map(|id| schema.tables.get(*id));
        let actions = table
            .map(|table| table.actions.as_slice())
            .unwrap_or_default();
        item.call = Some(call(actions, action, Place::Entry)?);
    }
    Ok(Item::Member(item))
}

pub(super) fn group<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::ActionProfileGroup,
) -> Result<Item<'a>, Invalid> {
    let profile = profile(schema, given.action_profile_id)?;
    let rule = |reason| Invalid::Rule {
        object: profile.name.clone(),
        reason,
    };
    if !profile.with_selector {
        return Err(rule("the profile has no selector"));
    }
    if given.group_id == 0 {
        return Err(Invalid::Missing("group id"));
    }
    let mut item = Group {
        profile,
        id: given.group_id,
        members: Vec::new(),
        max_size: 0,
    };
    if op == Op::Delete {
        return Ok(Item::Group(item));
    }
    item.max_size = u32::try_from(given.max_size).map_err(|_| Invalid::Negative("max_size"))?;
    let bound = profile.max_group_size;
    if bound > 0 && item.max_size > bound {
        return Err(rule("max_size is above max_group_size"));
    }
    item.members.reserve(given.members.len());
    for member in &given.members {
        if member.member_id == 0 {
            return Err(Invalid::Missing("member id"));
        }
        let (weight, watch) = (
            weight(profile, member.weight)?,
            member_watch(member.watch_kind.as_ref()),
        );
        item.members.push(GroupMember {
            member: member.member_id,
            weight,
            watch,
        });
    }
    let mut ids: Vec<u32> = item.members.iter().map(|member| member.member).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(rule("a member is given twice"));
    }
    check_group_size(profile, &item)?;
    Ok(Item::Group(item))
}

fn check_group_size(profile: &ActionProfile, group: &Group<'_>) -> Result<(), Invalid> {
    let bound = if group.max_size > 0 {
        group.max_size
    } else {
        profile.max_group_size
    };
    let size = measure(
        profile.semantics,
        group.members.iter().map(|member| member.weight),
    );
    if bound > 0 && size > u64::from(bound) {
        return Err(Invalid::TooMany {
            object: profile.name.clone(),
            reason: "the group is larger than its bound",
        });
    }
    match profile.semantics {
        SizeSemantics::Members { max_member_weight }
            if max_member_weight > 0
                && group.members.iter().any(|m| m.weight > max_member_weight) =>
        {
            Err(Invalid::Rule {
                object: profile.name.clone(),
                reason: "a weight is above max_member_weight",
            })
        }
        _ => Ok(()),
    }
}
