//! Counters, meters, registers, value sets and digests.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use p4info::p4_bitstring_like_type_spec::TypeSpec as Bits;
use p4info::p4_data_type_spec::TypeSpec;
use p4runtime_proto::p4::config::v1 as p4info;
use p4runtime_proto::p4::v1 as proto;
use proto::p4_data::Data;

use super::super::switch::{Item, Key, Op};
use super::{Invalid, checked, entry_key, key, only_modify, table};
use crate::schema::{Digest, Register, Schema, Table, Width};

/// An array position: `None` is all of them.
pub(in crate::server) fn index(
    object: &str,
    given: Option<&proto::Index>,
    size: u64,
) -> Result<Option<u64>, Invalid> {
    let Some(given) = given else { return Ok(None) };
    match u64::try_from(given.index) {
        Err(_) => Err(Invalid::Negative("index")),
        Ok(index) if index >= size => Err(Invalid::Index {
            object: object.to_owned(),
            index: given.index,
            size,
        }),
        Ok(index) => Ok(Some(index)),
    }
}

pub(super) fn counter<'a>(
    schema: &'a Schema,
    op: Op,
    given: &proto::CounterEntry,
) -> Result<Option<Item<'a>>, Invalid> {
    let id = given.counter_id;
    let counter = schema.counters.get(id).ok_or(Invalid::UnknownId {
        kind: "counter",
        id,
    })?;
    only_modify(op, "a counter")?;
    let index = index(&counter.name, given.index.as_ref(), counter.size)?;
    let Some(data) = &given.data else {
        return Ok(None);
    };
    Ok(Some(Item::Counter {
        counter,
        index,
        data: table::counter_data(data)?,
    }))
}

pub(super) fn meter<'a>(
    schema: &'a Schema,
    op: Op,
    given: &proto::MeterEntry,
) -> Result<Item<'a>, Invalid> {
    let id = given.meter_id;
    let meter = schema
        .meters
        .get(id)
        .ok_or(Invalid::UnknownId { kind: "meter", id })?;
    only_modify(op, "a meter")?;
    let index = index(&meter.name, given.index.as_ref(), meter.size)?;
    if given.counter_data.is_some() {
        return Err(Invalid::Unsupported("counting per colour"));
    }
    let config = given
        .config
        .as_ref()
        .map(|config| table::meter_config(&meter.name, meter.spec, config));
    Ok(Item::Meter {
        meter,
        index,
        config: config.transpose()?,
    })
}

fn entry_of<'a>(
    schema: &'a Schema,
    given: Option<&'a proto::TableEntry>,
) -> Result<(&'a Arc<Table>, Key<'a>), Invalid> {
    let entry = given.ok_or(Invalid::Missing("table entry"))?;
    let table = table::find(schema, entry.table_id)?;
    Ok((table, entry_key(table, entry)?))
}

pub(super) fn direct_counter<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::DirectCounterEntry,
) -> Result<Option<Item<'a>>, Invalid> {
    only_modify(op, "a direct counter")?;
    let (table, key) = entry_of(schema, given.table_entry.as_ref())?;
    if table.direct_counter.is_none() {
        return Err(Invalid::Rule {
            object: table.name.clone(),
            reason: "the table has no direct counter",
        });
    }
    let Some(data) = &given.data else {
        return Ok(None);
    };
    Ok(Some(Item::DirectCounter {
        table,
        key,
        data: table::counter_data(data)?,
    }))
}

pub(super) fn direct_meter<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::DirectMeterEntry,
) -> Result<Item<'a>, Invalid> {
    only_modify(op, "a direct meter")?;
    let (table, key) = entry_of(schema, given.table_entry.as_ref())?;
    let Some(spec) = table.direct_meter else {
        return Err(Invalid::Rule {
            object: table.name.clone(),
            reason: "the table has no direct meter",
        });
    };
    if given.counter_data.is_some() {
        return Err(Invalid::Unsupported("counting per colour"));
    }
    let config = given
        .config
        .as_ref()
        .map(|config| table::meter_config(&table.name, spec, config));
    Ok(Item::DirectMeter {
        table,
        key,
        config: config.transpose()?,
    })
}

pub(super) fn register<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::RegisterEntry,
) -> Result<Item<'a>, Invalid> {
    let id = given.register_id;
    let register = schema.registers.get(id).ok_or(Invalid::UnknownId {
        kind: "register",
        id,
    })?;
    only_modify(op, "a register")?;
    let index = index(&register.name, given.index.as_ref(), register.size)?;
    let data = given
        .data
        .as_ref()
        .and_then(|data| data.data.as_ref())
        .ok_or(Invalid::Missing("data"))?;
    Ok(Item::Register {
        register,
        index,
        data: Cow::Owned(cell(register, data)?),
    })
}

/// A cell of a register is a number or a flag: the targets hold nothing else.
fn cell(register: &Register, given: &Data) -> Result<proto::P4Data, Invalid> {
    let width = match &register.cell.type_spec {
        Some(TypeSpec::Bitstring(bits)) => match &bits.type_spec {
            Some(Bits::Bit(bit)) => u32::try_from(bit.bitwidth).ok(),
            Some(Bits::Int(int)) => u32::try_from(int.bitwidth).ok(),
            _ => None,
        },
        Some(TypeSpec::Bool(_)) => None,
        _ => return Err(Invalid::Unsupported("a register of this type")),
    };
    let data = match (width, given) {
        (Some(width), Data::Bitstring(bytes)) => {
            Data::Bitstring(checked(bytes, Width::Bits(width), &register.name)?.to_vec())
        }
        (None, Data::Bool(flag)) => Data::Bool(*flag),
        _ => {
            return Err(Invalid::Rule {
                object: register.name.clone(),
                reason: "the data has another type",
            });
        }
    };
    Ok(proto::P4Data { data: Some(data) })
}

pub(super) fn value_set<'a>(
    schema: &'a Schema,
    op: Op,
    given: &'a proto::ValueSetEntry,
) -> Result<Item<'a>, Invalid> {
    let id = given.value_set_id;
    let set = schema.value_sets.get(id).ok_or(Invalid::UnknownId {
        kind: "value set",
        id,
    })?;
    only_modify(op, "a value set")?;
    if given.members.len() as u64 > set.size {
        return Err(Invalid::TooMany {
            object: set.name.clone(),
            reason: "more members than the set holds",
        });
    }
    let mut seen = HashSet::with_capacity(given.members.len());
    let mut members = Vec::with_capacity(given.members.len());
    for member in &given.members {
        let fields = key::fields(&set.name, &set.fields, &member.r#match)?;
        if !seen.insert(fields.clone()) {
            return Err(Invalid::Duplicate {
                object: set.name.clone(),
            });
        }
        members.push(fields);
    }
    Ok(Item::ValueSet { set, members })
}

pub(super) fn digest<'a>(
    schema: &'a Schema,
    op: Op,
    given: &proto::DigestEntry,
) -> Result<(&'a Arc<Digest>, proto::digest_entry::Config), Invalid> {
    let id = given.digest_id;
    let digest = schema
        .digests
        .get(id)
        .ok_or(Invalid::UnknownId { kind: "digest", id })?;
    let config = match op {
        Op::Delete => None,
        Op::Insert | Op::Modify => given.config,
    };
    let config = config.unwrap_or_default();
    if config.max_timeout_ns < 0 || config.max_list_size < 0 || config.ack_timeout_ns < 0 {
        return Err(Invalid::Negative("digest configuration"));
    }
    Ok((digest, config))
}
