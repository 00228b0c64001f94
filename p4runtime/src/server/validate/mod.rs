//! Entities against P4Info: what a peer sent → checked, normalised items for the switch.
//!
//! In: one update, query element or packet as it came. Out: an [`Item`] whose values are canonical and in key and
//! parameter order, borrowed from the message; or [`Invalid`] with the code of the specification. Pure: the entries of
//! the switch are not looked at. The work per update is linear in its own size, and allocates only for sets and lists.
//!
//! Order of checks within an update, first failure wins: type and entity present, object id, permission of the kind of
//! write, identity (key and priority), then the rest. A DELETE looks at the identity only.

mod action;
mod key;
mod plain;
mod replication;
mod resource;
mod table;

use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;
use proto::entity::Entity as Kind;
use tonic::Code;

use super::switch::{Args, Item, Op, Update};
use crate::schema::{Digest, Schema, Width};
use crate::value::{self, ValueError};

pub use key::entry_key;
pub(super) use plain::Collector;
pub(super) use resource::index;

/// A checked update.
// Lives on the stack for one update.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Checked<'a> {
    /// Well-formed, and changes nothing.
    Nothing,
    /// For the switch.
    Switch(Update<'a>),
    /// For the service's own digest queues.
    Digest {
        /// What to do.
        op: Op,
        /// Which digest.
        digest: &'a Arc<Digest>,
        /// How; all zero in a delete.
        config: proto::digest_entry::Config,
    },
}

/// Why an entity is not acceptable, whatever the switch holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A required part is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part that must not be there.
    #[error("{0} must not be set")]
    Unexpected(&'static str),
    /// An id that P4Info does not have.
    #[error("no {kind} has id {id:#010x}")]
    UnknownId {
        /// Kind of object.
        kind: &'static str,
        /// The id.
        id: u32,
    },
    /// The type of the update does not fit the entity.
    #[error("{kind} cannot be {verb}")]
    Type {
        /// Kind of entity.
        kind: &'static str,
        /// Past participle of the update type.
        verb: &'static str,
    },
    /// An element that the object does not have.
    #[error("{object} has no {kind} {id}")]
    UnknownElement {
        /// The object's name.
        object: String,
        /// Kind of element.
        kind: &'static str,
        /// Its id.
        id: u32,
    },
    /// An element given twice.
    #[error("{object}: {name} is given twice")]
    Twice {
        /// The object's name.
        object: String,
        /// The element's name.
        name: String,
    },
    /// An element that must be given.
    #[error("{object}: {name} is not given")]
    NotGiven {
        /// The object's name.
        object: String,
        /// The element's name.
        name: String,
    },
    /// A match of another kind than the key element's.
    #[error("{field} matches {expected}")]
    MatchKind {
        /// The key element.
        field: String,
        /// Its kind.
        expected: crate::schema::MatchKind,
    },
    /// A match of everything must be left out.
    #[error("{field}: a match of everything must be left out")]
    DontCare {
        /// The key element.
        field: String,
    },
    /// Bits set outside mask or prefix.
    #[error("{field}: bits outside the mask are set")]
    Masked {
        /// The key element.
        field: String,
    },
    /// A longer prefix than the key element has bits.
    #[error("{field}: prefix {prefix} is not within {width} bits")]
    Prefix {
        /// The key element.
        field: String,
        /// As given.
        prefix: i32,
        /// Bits of the element.
        width: u32,
    },
    /// Low bound above high bound.
    #[error("{field}: low is above high")]
    Bounds {
        /// The key element.
        field: String,
    },
    /// Not a value of the width.
    #[error("{name}: {source}")]
    Value {
        /// What it is the value of.
        name: String,
        /// Why.
        source: ValueError,
    },
    /// Priority where there is none, none where there must be one, or a negative one.
    #[error("{table}: priority {priority} ({})", if *needed { "must be positive" } else { "must be 0" })]
    Priority {
        /// The table.
        table: String,
        /// As given.
        priority: i32,
        /// The table has priorities.
        needed: bool,
    },
    /// Something P4Info or the specification rules out.
    #[error("{object}: {reason}")]
    Rule {
        /// The object's name.
        object: String,
        /// The rule.
        reason: &'static str,
    },
    /// A negative number where only others make sense.
    #[error("{0} is negative")]
    Negative(&'static str),
    /// An array position that is not there.
    #[error("{object}: index {index} is beyond {size}")]
    Index {
        /// The object's name.
        object: String,
        /// As given.
        index: i64,
        /// Number of cells.
        size: u64,
    },
    /// Not allowed for this object, ever.
    #[error("{object}: {reason}")]
    Denied {
        /// The object's name.
        object: String,
        /// Why.
        reason: &'static str,
    },
    /// The role may not write this object.
    #[error("the role may not write {id:#010x}")]
    Role {
        /// The object.
        id: u32,
    },
    /// More than fits.
    #[error("{object}: {reason}")]
    TooMany {
        /// The object's name.
        object: String,
        /// Of what.
        reason: &'static str,
    },
    /// The same member twice in a value set.
    #[error("{object}: the same member twice")]
    Duplicate {
        /// The value set.
        object: String,
    },
    /// Not implemented by this server.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
}

impl Invalid {
    /// The code that the specification wants.
    pub fn code(&self) -> Code {
        match self {
            Self::Value {
                source: ValueError::OutOfRange { .. },
                ..
            }
            | Self::Index { .. } => Code::OutOfRange,
            Self::Denied { .. } | Self::Role { .. } => Code::PermissionDenied,
            Self::TooMany { .. } => Code::ResourceExhausted,
            Self::Duplicate { .. } => Code::AlreadyExists,
            Self::Unsupported(_) => Code::Unimplemented,
            _ => Code::InvalidArgument,
        }
    }
}

/// Checks one update of a write.
pub fn update<'a>(schema: &'a Schema, update: &'a proto::Update) -> Result<Checked<'a>, Invalid> {
    let op = match update.r#type() {
        proto::update::Type::Insert => Op::Insert,
        proto::update::Type::Modify => Op::Modify,
        proto::update::Type::Delete => Op::Delete,
        proto::update::Type::Unspecified => return Err(Invalid::Missing("update type")),
    };
    let kind = update
        .entity
        .as_ref()
        .and_then(|e| e.entity.as_ref())
        .ok_or(Invalid::Missing("entity"))?;
    let item = match kind {
        Kind::TableEntry(entry) => Some(table::entry(schema, op, entry)?),
        Kind::ActionProfileMember(member) => Some(action::member(schema, op, member)?),
        Kind::ActionProfileGroup(group) => Some(action::group(schema, op, group)?),
        Kind::DirectCounterEntry(entry) => resource::direct_counter(schema, op, entry)?,
        Kind::DirectMeterEntry(entry) => Some(resource::direct_meter(schema, op, entry)?),
        Kind::CounterEntry(entry) => resource::counter(schema, op, entry)?,
        Kind::MeterEntry(entry) => Some(resource::meter(schema, op, entry)?),
        Kind::RegisterEntry(entry) => Some(resource::register(schema, op, entry)?),
        Kind::ValueSetEntry(entry) => Some(resource::value_set(schema, op, entry)?),
        Kind::PacketReplicationEngineEntry(entry) => Some(replication::entry(op, entry)?),
        Kind::DigestEntry(entry) => {
            let (digest, config) = resource::digest(schema, op, entry)?;
            return Ok(Checked::Digest { op, digest, config });
        }
        Kind::ExternEntry(_) => return Err(Invalid::Unsupported("extern entries")),
    };
    Ok(item.map_or(Checked::Nothing, |item| {
        Checked::Switch(Update { op, item })
    }))
}

/// The id that role permissions are about; 0 for the replication engine.
pub fn object_id(item: &Item<'_>) -> u32 {
    match item {
        Item::Entry(entry) => entry.table.id,
        Item::DirectCounter { table, .. } | Item::DirectMeter { table, .. } => table.id,
        Item::Member(member) => member.profile.id,
        Item::Group(group) => group.profile.id,
        Item::Counter { counter, .. } => counter.id,
        Item::Meter { meter, .. } => meter.id,
        Item::Register { register, .. } => register.id,
        Item::ValueSet { set, .. } => set.id,
        Item::MulticastGroup(_) | Item::CloneSession(_) => 0,
    }
}

/// Checks the metadata of a packet for the switch: every header field exactly once, in header order.
pub fn packet_out<'a>(schema: &Schema, packet: &'a proto::PacketOut) -> Result<Args<'a>, Invalid> {
    let Some(header) = schema.packet_out() else {
        return if packet.metadata.is_empty() {
            Ok(Args::new())
        } else {
            Err(Invalid::Unexpected("packet metadata"))
        };
    };
    let mut values: Args<'a> = Args::from_elem(&[], header.fields.len());
    for field in &packet.metadata {
        let (at, param) =
            header
                .field_by_id(field.metadata_id)
                .ok_or_else(|| Invalid::UnknownElement {
                    object: header.name.clone(),
                    kind: "field",
                    id: field.metadata_id,
                })?;
        if !values[at].is_empty() {
            return Err(Invalid::Twice {
                object: header.name.clone(),
                name: param.name.clone(),
            });
        }
        values[at] = checked(&field.value, param.width, &param.name)?;
    }
    match values.iter().position(|value| value.is_empty()) {
        Some(at) => Err(Invalid::NotGiven {
            object: header.name.clone(),
            name: header.fields[at].name.clone(),
        }),
        None => Ok(values),
    }
}

/// A value in canonical form.
fn checked<'a>(bytes: &'a [u8], width: Width, name: &str) -> Result<&'a [u8], Invalid> {
    let value = match width {
        Width::Bits(bits) => value::check(bytes, bits),
        Width::String if bytes.is_empty() => Err(ValueError::Empty),
        Width::String => Ok(bytes),
    };
    value.map_err(|source| Invalid::Value {
        name: name.to_owned(),
        source,
    })
}

fn unsigned(number: i64, what: &'static str) -> Result<u64, Invalid> {
    u64::try_from(number).map_err(|_| Invalid::Negative(what))
}

/// Entities that exist for as long as the program does can only be modified.
fn only_modify(op: Op, kind: &'static str) -> Result<(), Invalid> {
    match op {
        Op::Modify => Ok(()),
        Op::Insert => Err(Invalid::Type {
            kind,
            verb: "inserted",
        }),
        Op::Delete => Err(Invalid::Type {
            kind,
            verb: "deleted",
        }),
    }
}

#[cfg(test)]
mod tests;
