//! Answers the service's queries from the engine.
//!
//! In: a query for one kind of object. Out: items, one by one, until the reader has enough. Tables are read in chunks, and no
//! lock is held while the reader takes them.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use p4rs::engine::{Cursor, FieldMatch, OwnedAction, TableError, Time};
use p4runtime::schema::{ActionProfile, Counter, Meter, Register, Table, ValueSet};
use p4runtime::server::switch::{
    Entry, EntryAction, Fields, Group, GroupMember, Item, Key, Member, Query, Select, Sink,
    SwitchError, Want,
};
use smallvec::SmallVec;

use super::snapshot::{Snapshot, action_set, owned_call};
use super::value::{
    counter_from_engine, extern_error, from_engine, meter_from_engine, table_error, to_engine,
    watch_from_engine,
};
use super::{Loaded, data};

/// Entries copied out of a table at one time.
const CHUNK: usize = 512;

/// Answers a query.
pub(super) fn read(
    loaded: &Loaded,
    now: Time,
    query: &Query<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    match query {
        Query::Entries {
            table,
            select,
            want,
        } => match select {
            Select::All => all_entries(loaded, now, table, *want, sink),
            Select::One(Key::Default) => default_entry(loaded, table, sink),
            Select::One(Key::Entry { fields, priority }) => {
                one_entry(loaded, now, table, fields, *priority, *want, sink)
            }
        },
        Query::Members(profile, only) => members(loaded, profile, *only, sink),
        Query::Groups(profile, only) => groups(loaded, profile, *only, sink),
        Query::Counter(counter, index) => counters(loaded, counter, *index, sink),
        Query::Meter(meter, index) => meters(loaded, meter, *index, sink),
        Query::Register(register, index) => registers(loaded, register, *index, sink),
        Query::MulticastGroups(only) => {
            loaded.replication.read_groups(*only, sink);
            Ok(())
        }
        Query::CloneSessions(only) => {
            loaded.replication.read_sessions(*only, sink);
            Ok(())
        }
        Query::ValueSet(set) => value_set(loaded, set, sink),
    }
}

fn all_entries(
    loaded: &Loaded,
    now: Time,
    table: &Arc<Table>,
    want: Want,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let handle = loaded.table(table.id)?.handle;
    let mut chunk = Snapshot::default();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        chunk.clear();
        cursor = loaded
            .engine
            .read(now, handle, from, CHUNK, &mut |view| chunk.push(view))
            .map_err(table_error)?;
        for entry in chunk.entries(table, want) {
            if sink(Item::Entry(entry)) == ControlFlow::Break(()) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn one_entry(
    loaded: &Loaded,
    now: Time,
    table: &Arc<Table>,
    fields: &Fields<'_>,
    priority: i32,
    want: Want,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let handle = loaded.table(table.id)?.handle;
    let fields: SmallVec<[FieldMatch<'_>; 8]> = fields.iter().map(to_engine).collect();
    let mut found = Snapshot::default();
    match loaded
        .engine
        .get(now, handle, &fields, priority, &mut |view| found.push(view))
    {
        Ok(()) => {}
        Err(TableError::NotFound) => return Ok(()),
        Err(error) => return Err(table_error(error)),
    }
    for entry in found.entries(table, want) {
        let _ = sink(Item::Entry(entry));
    }
    Ok(())
}

fn default_entry(
    loaded: &Loaded,
    table: &Arc<Table>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let action = loaded
        .engine
        .default_action(loaded.table(table.id)?.handle)
        .map_err(table_error)?;
    let mut entry = Entry::new(table, Key::Default);
    entry.action = match &action {
        OwnedAction::Direct { action, params } => {
            owned_call(table, *action, params).map(EntryAction::Call)
        }
        OwnedAction::Member(member) => Some(EntryAction::Member(*member)),
        OwnedAction::Group(group) => Some(EntryAction::Group(*group)),
        OwnedAction::OneShot(set) => Some(EntryAction::Set(action_set(table, set))),
    };
    let _ = sink(Item::Entry(entry));
    Ok(())
}

fn members(
    loaded: &Loaded,
    profile: &Arc<ActionProfile>,
    only: Option<u32>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let members = loaded
        .engine
        .members(loaded.instance(profile.id)?)
        .map_err(table_error)?;
    for (id, action) in members
        .iter()
        .filter(|(id, _)| only.is_none_or(|only| only == *id))
    {
        let table = loaded.profile_table(&profile.table_ids)?;
        let call = match action {
            OwnedAction::Direct { action, params } => owned_call(&table.schema, *action, params),
            _ => None,
        };
        if sink(Item::Member(Member {
            profile,
            id: *id,
            call,
        })) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

fn groups(
    loaded: &Loaded,
    profile: &Arc<ActionProfile>,
    only: Option<u32>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let groups = loaded
        .engine
        .groups(loaded.instance(profile.id)?)
        .map_err(table_error)?;
    for (id, max_size, members) in groups
        .iter()
        .filter(|(id, ..)| only.is_none_or(|only| only == *id))
    {
        let members = members
            .iter()
            .map(|member| group_member(profile, member))
            .collect();
        let group = Group {
            profile,
            id: *id,
            members,
            max_size: *max_size,
        };
        if sink(Item::Group(group)) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

fn group_member<'a>(
    profile: &ActionProfile,
    stored: &'a p4rs::engine::GroupMember,
) -> GroupMember<'a> {
    let weight = if profile.weights_disallowed {
        0
    } else {
        stored.weight
    };
    GroupMember {
        member: stored.member,
        weight,
        watch: watch_from_engine(stored.watch_port.as_deref()),
    }
}

/// One index, or all of them.
fn cells(index: Option<u64>, size: u64) -> std::ops::Range<u64> {
    match index {
        Some(index) => index..index.saturating_add(1),
        None => 0..size,
    }
}

fn counters(
    loaded: &Loaded,
    counter: &Arc<Counter>,
    index: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let instance = loaded.instance(counter.id)?;
    for cell in cells(index, counter.size) {
        let data = counter_from_engine(
            loaded
                .engine
                .counter(instance, cell)
                .map_err(extern_error)?,
        );
        if sink(Item::Counter {
            counter,
            index: Some(cell),
            data,
        }) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

fn meters(
    loaded: &Loaded,
    meter: &Arc<Meter>,
    index: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let instance = loaded.instance(meter.id)?;
    for cell in cells(index, meter.size) {
        let config = loaded
            .engine
            .meter(instance, cell)
            .map_err(extern_error)?
            .map(meter_from_engine);
        if sink(Item::Meter {
            meter,
            index: Some(cell),
            config,
        }) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

fn registers(
    loaded: &Loaded,
    register: &Arc<Register>,
    index: Option<u64>,
    sink: &mut Sink<'_>,
) -> Result<(), SwitchError> {
    let instance = loaded.instance(register.id)?;
    let types = loaded.info.message.type_info.as_ref();
    for cell in cells(index, register.size) {
        let leaves = loaded
            .engine
            .register(instance, cell)
            .map_err(extern_error)?;
        let data = data::build(&register.cell, types, &leaves).ok_or(SwitchError::Unsupported(
            "a register of this type over P4Runtime",
        ))?;
        let item = Item::Register {
            register,
            index: Some(cell),
            data: Cow::Owned(data),
        };
        if sink(item) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

fn value_set(loaded: &Loaded, set: &Arc<ValueSet>, sink: &mut Sink<'_>) -> Result<(), SwitchError> {
    let (handle, _) = loaded
        .info
        .ids
        .value_set(set.id)
        .ok_or(SwitchError::NotFound("the value set"))?;
    let stored = loaded.engine.value_set(handle).map_err(extern_error)?;
    let members = stored
        .iter()
        .map(|fields| {
            fields
                .iter()
                .map(|field| from_engine(field.as_match()))
                .collect()
        })
        .collect();
    let _ = sink(Item::ValueSet { set, members });
    Ok(())
}
