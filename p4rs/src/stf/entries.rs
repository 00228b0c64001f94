//! Table entries of scripts.
//!
//! In: names and numbers as written. Out: entries in the engine's tables, remembered by the names given to them.
//! Invariant: what is remembered is in the table unless something else took it out.

use num_bigint::BigUint;

use super::command::{Action, Match};
use super::names::{NameFault, find, find_key};
use super::value::ValueFault;
use crate::engine::{
    ActionCall, Engine, EntryAction, FieldMatch, MatchKind, NewEntry, OwnedAction, OwnedField,
    TableError, Time, WeightedAction,
};
use crate::ir::{Direction, ExternInstance, Handle, PropertyValue, Table};

/// Why an entry could not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A name means nothing.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// A value does not suit its field.
    #[error("{name}: {fault}")]
    Value {
        /// Field or parameter.
        name: String,
        /// What is wrong.
        fault: ValueFault,
    },
    /// A parameter was left out.
    #[error("action `{action}` needs a value for `{param}`")]
    NoArgument {
        /// Action.
        action: String,
        /// Parameter.
        param: String,
    },
    /// Several actions for a table without an action selector.
    #[error("the table has no action selector, it takes one action")]
    NoSelector,
    /// No `add` has given this name to an entry.
    #[error("no entry is called `{0}`")]
    NoSuchEntry(String),
    /// The engine refused it.
    #[error(transparent)]
    Refused(#[from] TableError),
}

/// An entry that is in a table.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub table: Handle<Table>,
    pub fields: Vec<OwnedField>,
    pub priority: i32,
    actions: Chosen,
}

/// What the entry does.
#[derive(Clone, Debug)]
enum Chosen {
    Direct(usize, Vec<Vec<u8>>),
    Member(u32),
    OneShot(Vec<WeightedAction>),
}

impl Placed {
    pub fn matches(&self) -> Vec<FieldMatch<'_>> {
        self.fields.iter().map(OwnedField::as_match).collect()
    }

    /// Writes the entry: inserts it, or puts it in place of what is there with a timeout.
    fn write(&self, engine: &Engine, now: Time, timeout_ns: Option<u64>) -> Result<(), TableError> {
        let fields = self.matches();
        let params: Vec<&[u8]> = match &self.actions {
            Chosen::Direct(_, params) => params.iter().map(Vec::as_slice).collect(),
            Chosen::Member(_) | Chosen::OneShot(_) => Vec::new(),
        };
        let action = match &self.actions {
            Chosen::Direct(action, _) => EntryAction::Direct(ActionCall {
                action: *action,
                params: &params,
            }),
            Chosen::Member(member) => EntryAction::Member(*member),
            Chosen::OneShot(actions) => EntryAction::OneShot(actions),
        };
        let none = ActionCall {
            action: 0,
            params: &[],
        };
        let entry = NewEntry {
            priority: self.priority,
            action,
            idle_timeout_ns: timeout_ns.unwrap_or(0),
            ..NewEntry::new(&fields, none)
        };
        match timeout_ns {
            None => engine.insert(now, self.table, &entry),
            Some(_) => engine.modify(now, self.table, &entry),
        }
    }

    /// Sets the idle timeout.
    pub fn set_timeout(&self, engine: &Engine, now: Time, ns: u64) -> Result<(), EntryFault> {
        Ok(self.write(engine, now, Some(ns))?)
    }

    /// Takes the entry out.
    pub fn remove(&self, engine: &Engine) -> Result<(), EntryFault> {
        Ok(engine.delete(self.table, &self.matches(), self.priority)?)
    }
}

/// The table that a name means.
pub(super) fn find_table(engine: &Engine, name: &str) -> Result<Handle<Table>, NameFault> {
    let tables = engine.program().tables.iter();
    find(
        "table",
        name,
        tables.map(|(handle, table)| (handle, table.name.control_plane.as_str())),
    )
}

/// The key of an entry: fields, and the priority if the table has some.
fn key(
    engine: &Engine,
    table: Handle<Table>,
    priority: Option<u32>,
    keys: &[Match],
) -> Result<(Vec<OwnedField>, i32), EntryFault> {
    let kinds = engine.key_fields(table)?;
    let names: Vec<String> = engine.program().tables[table]
        .keys
        .iter()
        .filter(|key| key.match_kind != "selector")
        .map(|key| key.name.clone())
        .collect();
    // As the harness of the simple switch has it: an exact field left out is zero.
    let mut fields: Vec<OwnedField> = kinds
        .iter()
        .map(|(kind, _)| match kind {
            MatchKind::Exact => OwnedField::Exact(vec![0]),
            _ => OwnedField::DontCare,
        })
        .collect();
    for Match { field, value } in keys {
        let at = find_key(field, &names)?;
        if let (Some(to), Some(&(kind, width))) = (fields.get_mut(at), kinds.get(at)) {
            *to = value
                .field(kind, width)
                .map_err(|fault| EntryFault::Value {
                    name: field.clone(),
                    fault,
                })?;
        }
    }
    let prioritised = kinds.iter().any(|(kind, _)| {
        matches!(
            kind,
            MatchKind::Ternary | MatchKind::Range | MatchKind::Optional
        )
    });
    // The engine's priorities begin at 1, those of scripts at 0.
    let priority = i32::try_from(priority.unwrap_or(0)).unwrap_or(i32::MAX);
    let priority = if prioritised {
        priority.saturating_add(1)
    } else {
        0
    };
    Ok((fields, priority))
}

/// Index of an action in the table's list, and its data.
pub(super) fn action(
    engine: &Engine,
    table: Handle<Table>,
    action: &Action,
) -> Result<(usize, Vec<Vec<u8>>), EntryFault> {
    let program = engine.program();
    let references = &program.tables[table].actions;
    let names = references.iter().map(|reference| {
        program.actions[reference.action]
            .name
            .control_plane
            .as_str()
    });
    let index = find("action", &action.name, names.enumerate())?;
    let declared = references
        .get(index)
        .map(|reference| program.actions[reference.action].params.as_slice())
        .unwrap_or_default();
    let params: Vec<&str> = declared
        .iter()
        .filter(|param| param.direction == Direction::None)
        .map(|param| program.vars[param.var].name.as_str())
        .collect();
    let mut data: Vec<Option<&BigUint>> = vec![None; params.len()];
    for (name, value) in &action.args {
        let at = find("parameter", name, params.iter().copied().enumerate())?;
        if let Some(to) = data.get_mut(at) {
            let value = value.exact().map_err(|fault| EntryFault::Value {
                name: name.clone(),
                fault,
            })?;
            *to = Some(value);
        }
    }
    let data: Result<Vec<Vec<u8>>, EntryFault> = params
        .iter()
        .zip(data)
        .map(|(param, value)| {
            value
                .map(BigUint::to_bytes_be)
                .ok_or_else(|| EntryFault::NoArgument {
                    action: action.name.clone(),
                    param: (*param).to_owned(),
                })
        })
        .collect();
    Ok((index, data?))
}

/// The table's action profile, and whether it is a selector.
fn profile(engine: &Engine, table: Handle<Table>) -> Option<(Handle<ExternInstance>, bool)> {
    let program = engine.program();
    program.tables[table]
        .properties
        .iter()
        .find_map(|property| {
            let PropertyValue::Extern(handle) = property.value else {
                return None;
            };
            match program.externs[handle].kind.as_str() {
                "action_profile" | "ActionProfile" => Some((handle, false)),
                "action_selector" | "ActionSelector" => Some((handle, true)),
                _ => None,
            }
        })
}

/// A member for this action, the next free one.
fn member(
    engine: &Engine,
    profile: Handle<ExternInstance>,
    (action, params): (usize, Vec<Vec<u8>>),
) -> Result<u32, TableError> {
    let last = engine.members(profile)?.iter().map(|(id, _)| *id).max();
    let id = last.map_or(1, |id| id.saturating_add(1));
    engine.insert_member(profile, id, &OwnedAction::Direct { action, params })?;
    Ok(id)
}

/// Adds an entry.
pub(super) fn add(
    engine: &Engine,
    now: Time,
    table: &str,
    priority: Option<u32>,
    keys: &[Match],
    actions: &[Action],
) -> Result<Placed, EntryFault> {
    let table = find_table(engine, table)?;
    let (fields, priority) = key(engine, table, priority, keys)?;
    let mut calls = actions
        .iter()
        .map(|one| action(engine, table, one))
        .collect::<Result<Vec<_>, _>>()?;
    let profile = profile(engine, table);
    let actions = match profile {
        Some((_, true)) => {
            let set = calls.into_iter().map(|(action, params)| WeightedAction {
                action,
                params,
                weight: 1,
                watch_port: None,
            });
            Chosen::OneShot(set.collect())
        }
        _ if calls.len() > 1 => return Err(EntryFault::NoSelector),
        _ => {
            let call = calls.pop().ok_or(EntryFault::NoSelector)?;
            match profile {
                Some((profile, _)) => Chosen::Member(member(engine, profile, call)?),
                None => Chosen::Direct(call.0, call.1),
            }
        }
    };
    let placed = Placed {
        table,
        fields,
        priority,
        actions,
    };
    placed.write(engine, now, None)?;
    Ok(placed)
}

/// Removes the entry with this match.
pub(super) fn remove(
    engine: &Engine,
    table: &str,
    priority: Option<u32>,
    keys: &[Match],
) -> Result<(), EntryFault> {
    let table = find_table(engine, table)?;
    let (fields, priority) = key(engine, table, priority, keys)?;
    let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
    Ok(engine.delete(table, &fields, priority)?)
}

/// Sets a table's default action.
pub(super) fn set_default(engine: &Engine, table: &str, call: &Action) -> Result<(), EntryFault> {
    let table = find_table(engine, table)?;
    let (action, data) = action(engine, table, call)?;
    let params: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let call = ActionCall {
        action,
        params: &params,
    };
    Ok(engine.set_default(table, EntryAction::Direct(call))?)
}
