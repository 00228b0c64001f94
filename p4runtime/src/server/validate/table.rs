//! Table entries: identity first, then action, timeout and direct resources.

use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;

use super::super::switch::{CounterData, Entry, EntryAction, Item, Key, Op};
use super::action::{self, Place};
use super::{Invalid, entry_key, unsigned};
use crate::schema::{MeterKind, MeterSpec, Schema, Table};

pub(super) fn find(schema: &Schema, id: u32) -> Result<&Arc<Table>, Invalid> {
    schema
        .tables
        .get(id)
        .ok_or(Invalid::UnknownId { kind: "table", id })
}

pub(super) fn entry<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::TableEntry,
) -> Result<Item<'a>, Invalid> {
    let table = find(schema, given.table_id)?;
    if given.is_const {
        return Err(Invalid::Unexpected("is_const"));
    }
    let key = if given.is_default_action {
        default_key(table, op, given)?
    } else {
        permitted(table, op, given)?;
        entry_key(table, given)?
    };
    let mut entry = Entry::new(table, key);
    if op == Op::Delete {
        return Ok(Item::Entry(entry));
    }
    entry.action = action_of(table, op, &entry.key, given)?;
    entry.idle_timeout_ns = idle_timeout(table, &entry.key, given)?;
    entry.metadata = &given.metadata;
    entry.controller_metadata = given.controller_metadata;
    direct_resources(table, given, &mut entry)?;
    Ok(Item::Entry(entry))
}

fn default_key<'a>(
    table: &Table,
    op: Op,
    given: &'a proto::TableEntry,
) -> Result<Key<'a>, Invalid> {
    match op {
        Op::Insert => {
            return Err(Invalid::Type {
                kind: "a default entry",
                verb: "inserted",
            });
        }
        Op::Delete => {
            return Err(Invalid::Type {
                kind: "a default entry",
                verb: "deleted",
            });
        }
        Op::Modify => {}
    }
    let key = entry_key(table, given)?;
    if table.const_default_action.is_some() || table.action_profile.is_some() {
        return Err(Invalid::Denied {
            object: table.name.clone(),
            reason: "the default entry is const",
        });
    }
    Ok(key)
}

/// What may be written to the table at all.
fn permitted(table: &Table, op: Op, given: &proto::TableEntry) -> Result<(), Invalid> {
    if table.is_const && (op != Op::Modify || given.action.is_some()) {
        return Err(Invalid::Denied {
            object: table.name.clone(),
            reason: "the entries are const",
        });
    }
    if table.fields.is_empty() && op == Op::Insert {
        return Err(Invalid::Rule {
            object: table.name.clone(),
            reason: "a table without key has no entries",
        });
    }
    Ok(())
}

fn action_of<'a>(
    table: &'a Table,
    op: Op,
    key: &Key<'_>,
    given: &'a proto::TableEntry,
) -> Result<Option<EntryAction<'a>>, Invalid> {
    let Some(action) = &given.action else {
        return if op == Op::Insert {
            Err(Invalid::Missing("action"))
        } else {
            Ok(None)
        };
    };
    if *key != Key::Default {
        return action::entry_action(table, action).map(Some);
    }
    match &action.r#type {
        Some(proto::table_action::Type::Action(call)) => Ok(Some(EntryAction::Call(action::call(
            &table.actions,
            call,
            Place::Default,
        )?))),
        Some(_) => Err(Invalid::Rule {
            object: table.name.clone(),
            reason: "the default entry takes an action",
        }),
        None => Err(Invalid::Missing("action")),
    }
}

fn idle_timeout(table: &Table, key: &Key<'_>, given: &proto::TableEntry) -> Result<u64, Invalid> {
    if given.time_since_last_hit.is_some() {
        return Err(Invalid::Unexpected("time_since_last_hit"));
    }
    let timeout = unsigned(given.idle_timeout_ns, "idle_timeout_ns")?;
    if timeout > 0 && (!table.idle_timeout || *key == Key::Default) {
        return Err(Invalid::Rule {
            object: table.name.clone(),
            reason: "there is no idle timeout here",
        });
    }
    Ok(timeout)
}

fn direct_resources(
    table: &Table,
    given: &proto::TableEntry,
    entry: &mut Entry<'_>,
) -> Result<(), Invalid> {
    let lacks = |reason| Invalid::Rule {
        object: table.name.clone(),
        reason,
    };
    if let Some(data) = &given.counter_data {
        table
            .direct_counter
            .ok_or_else(|| lacks("the table has no direct counter"))?;
        entry.counter = Some(counter_data(data)?);
    }
    if let Some(config) = &given.meter_config {
        let spec = table
            .direct_meter
            .ok_or_else(|| lacks("the table has no direct meter"))?;
        entry.meter = Some(meter_config(&table.name, spec, config)?);
    }
    if given.meter_counter_data.is_some() {
        table
            .direct_meter
            .ok_or_else(|| lacks("the table has no direct meter"))?;
        return Err(Invalid::Unsupported("counting per colour"));
    }
    Ok(())
}

pub(super) fn counter_data(data: &proto::CounterData) -> Result<CounterData, Invalid> {
    Ok(CounterData {
        packets: unsigned(data.packet_count, "packet_count")?,
        bytes: unsigned(data.byte_count, "byte_count")?,
    })
}

pub(super) fn meter_config(
    object: &str,
    spec: MeterSpec,
    config: &proto::MeterConfig,
) -> Result<proto::MeterConfig, Invalid> {
    for (number, what) in [
        (config.cir, "cir"),
        (config.cburst, "cburst"),
        (config.pir, "pir"),
        (config.pburst, "pburst"),
        (config.eburst, "eburst"),
    ] {
        unsigned(number, what)?;
    }
    let single = config.cir == config.pir && config.cburst == config.pburst;
    let broken = match spec.kind {
        MeterKind::TwoRateThreeColor if config.eburst != 0 => "eburst must be unset",
        MeterKind::SingleRateThreeColor | MeterKind::SingleRateTwoColor if !single => {
            "cir and pir, cburst and pburst must be equal"
        }
        MeterKind::SingleRateTwoColor if config.eburst != 0 => "eburst must be unset",
        _ => return Ok(*config),
    };
    Err(Invalid::Rule {
        object: object.to_owned(),
        reason: broken,
    })
}
