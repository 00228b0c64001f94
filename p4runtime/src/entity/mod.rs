//! Entries and packets by name.
//!
//! In: names as in the program and numbers. Out: protobuf entities with ids, canonical values and don't-care elements
//! left out; and back. Widths come from the schema, never from bytes. A value that does not fit is an error that
//! names the element, and a builder reports its first one from `build`.

mod form;
mod view;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use p4runtime_proto::p4::v1 as proto;
use proto::field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};

use crate::schema::{Action, MatchField, MatchKind, Param, Schema, Table, Width};
use crate::value::{self, ValueError};

pub use form::{Calls, ExactKey};
pub use view::{CallView, EntryView, PacketView};

/// Why an entity cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntityError {
    /// The program has no such object.
    #[error("the program has no {kind} {name}")]
    Unknown {
        /// Kind of object.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The object has no such element.
    #[error("{object} has no {kind} {name}")]
    UnknownElement {
        /// The object.
        object: String,
        /// Kind of element.
        kind: &'static str,
        /// Its name or id.
        name: String,
    },
    /// The element matches otherwise.
    #[error("{object}: {name} is {found}, not {expected}")]
    Kind {
        /// The table.
        object: String,
        /// The key element.
        name: String,
        /// Its kind.
        found: MatchKind,
        /// What it was taken for.
        expected: MatchKind,
    },
    /// A value that does not fit.
    #[error("{object}: {name}: {source}")]
    Value {
        /// The object.
        object: String,
        /// The element.
        name: String,
        /// Why.
        source: ValueError,
    },
    /// An element without value.
    #[error("{object}: {name} is not given")]
    NotGiven {
        /// The object.
        object: String,
        /// The element.
        name: String,
    },
    /// The element is a string.
    #[error("{object}: {name} is a string, not a number")]
    NotANumber {
        /// The object.
        object: String,
        /// The element.
        name: String,
    },
}

/// A value to write: a number, or the bytes of a number or string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u128),
    /// Big-endian bytes of a number, or a string.
    Bytes(Cow<'a, [u8]>),
}

macro_rules! from_number {
    ($($t:ty),*) => {$(
        impl From<$t> for Value<'_> {
            fn from(number: $t) -> Self {
                Value::Number(number.into())
            }
        }
    )*};
}
from_number!(u8, u16, u32, u64, u128, bool);

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }
}

impl Value<'_> {
    fn encode(&self, width: Width) -> Result<Vec<u8>, ValueError> {
        match (width, self) {
            (Width::Bits(bits), Value::Number(number)) => value::from_u128(*number, bits),
            (Width::Bits(bits), Value::Bytes(bytes)) => {
                value::check(bytes, bits).map(<[u8]>::to_vec)
            }
            (Width::String, Value::Bytes(bytes)) if !bytes.is_empty() => Ok(bytes.to_vec()),
            (Width::String, Value::Bytes(_)) => Err(ValueError::Empty),
            (Width::String, Value::Number(number)) => value::from_u128(*number, 128),
        }
    }
}

/// An action of a one-shot set: name, parameters, weight.
pub type WeightedCall<'a> = (&'a str, &'a [(&'a str, Value<'a>)], i32);

/// Builds a table entry by names.
#[derive(Debug, Clone)]
pub struct EntryBuilder {
    table: Arc<Table>,
    entry: proto::TableEntry,
    error: Option<EntityError>,
}

impl Schema {
    /// Starts an entry of a table.
    pub fn entry(&self, table: &str) -> Result<EntryBuilder, EntityError> {
        let found = self.table(table);
        let table = found.ok_or_else(|| EntityError::Unknown {
            kind: "table",
            name: table.to_owned(),
        })?;
        Ok(EntryBuilder::new(table))
    }

    /// A packet for the switch, with every field of the packet_out header.
    pub fn build_packet_out(
        &self,
        payload: Vec<u8>,
        fields: &[(&str, Value<'_>)],
    ) -> Result<proto::PacketOut, EntityError> {
        let metadata = match self.packet_out() {
            Some(header) => named_values(&header.name, &header.fields, fields)?
                .map(|(metadata_id, value)| proto::PacketMetadata { metadata_id, value })
                .collect(),
            None if fields.is_empty() => Vec::new(),
            None => {
                return Err(EntityError::Unknown {
                    kind: "header",
                    name: "packet_out".into(),
                });
            }
        };
        Ok(proto::PacketOut { payload, metadata })
    }

    /// Reads the fields of a packet from the switch.
    pub fn read_packet_in<'a>(
        &'a self,
        packet: &'a proto::PacketIn,
    ) -> Result<PacketView<'a>, EntityError> {
        let unknown = || EntityError::Unknown {
            kind: "header",
            name: "packet_in".into(),
        };
        Ok(PacketView {
            header: self.packet_in().ok_or_else(unknown)?,
            packet,
        })
    }

    /// Reads a table entry by names.
    pub fn read_entry<'a>(
        &'a self,
        entry: &'a proto::TableEntry,
    ) -> Result<EntryView<'a>, EntityError> {
        let unknown = || EntityError::Unknown {
            kind: "table",
            name: format!("{:#010x}", entry.table_id),
        };
        Ok(EntryView {
            table: self.tables.get(entry.table_id).ok_or_else(unknown)?,
            entry,
        })
    }
}

impl EntryBuilder {
    /// Starts an entry.
    pub fn new(table: &Arc<Table>) -> Self {
        let entry = proto::TableEntry {
            table_id: table.id,
            ..Default::default()
        };
        Self {
            table: table.clone(),
            entry,
            error: None,
        }
    }

    /// An exact element.
    pub fn exact<'v>(self, name: &str, value: impl Into<Value<'v>>) -> Self {
        let value = value.into();
        self.with(name, MatchKind::Exact, |field| {
            Ok(Some(FieldMatchType::Exact(Exact {
                value: value.encode(field.width)?,
            })))
        })
    }

    /// An optional element that must be equal; leave the call out to match everything.
    pub fn optional<'v>(self, name: &str, value: impl Into<Value<'v>>) -> Self {
        let value = value.into();
        self.with(name, MatchKind::Optional, |field| {
            Ok(Some(FieldMatchType::Optional(Optional {
                value: value.encode(field.width)?,
            })))
        })
    }

    /// Leading bits; the others are cleared, a prefix of 0 matches everything.
    pub fn lpm(self, name: &str, value: u128, prefix: u32) -> Self {
        self.with(name, MatchKind::Lpm, |field| {
            let bits = bits(field)?;
            if prefix > bits {
                return Err(ValueError::OutOfRange {
                    needed: prefix,
                    width: bits,
                });
            }
            value::from_u128(value, bits)?;
            let value = if prefix == 0 {
                0
            } else {
                value & ones(bits) << (bits - prefix)
            };
            let value = value::from_u128(value, bits)?;
            Ok((prefix > 0).then_some({
                FieldMatchType::Lpm(Lpm {
                    value,
                    prefix_len: prefix as i32,
                })
            }))
        })
    }

    /// Under a mask; other bits are cleared, a mask of 0 matches everything.
    pub fn ternary(self, name: &str, value: u128, mask: u128) -> Self {
        self.with(name, MatchKind::Ternary, |field| {
            let bits = bits(field)?;
            let (value, mask_bytes) = (
                value::from_u128(value & mask, bits)?,
                value::from_u128(mask, bits)?,
            );
            Ok((mask != 0).then_some(FieldMatchType::Ternary(Ternary {
                value,
                mask: mask_bytes,
            })))
        })
    }

    /// From low to high; the whole range matches everything.
    pub fn range(self, name: &str, low: u128, high: u128) -> Self {
        self.with(name, MatchKind::Range, |field| {
            let bits = bits(field)?;
            let range = Range {
                low: value::from_u128(low, bits)?,
                high: value::from_u128(high, bits)?,
            };
            Ok((low != 0 || high != ones(bits)).then_some(FieldMatchType::Range(range)))
        })
    }

    fn with(
        mut self,
        name: &str,
        expected: MatchKind,
        make: impl FnOnce(&MatchField) -> Result<Option<FieldMatchType>, ValueError>,
    ) -> Self {
        let object = || self.table.name.clone();
        let made = match self.table.field(name) {
            None => Err(EntityError::UnknownElement {
                object: object(),
                kind: "key element",
                name: name.to_owned(),
            }),
            Some((_, field)) if field.kind != expected => {
                let name = name.to_owned();
                Err(EntityError::Kind {
                    object: object(),
                    name,
                    found: field.kind,
                    expected,
                })
            }
            Some((_, field)) => match make(field) {
                Ok(kind) => Ok((field.id, kind)),
                Err(source) => Err(EntityError::Value {
                    object: object(),
                    name: name.to_owned(),
                    source,
                }),
            },
        };
        match made {
            Ok((field_id, kind @ Some(_))) => {
                self.entry.r#match.push(proto::FieldMatch {
                    field_id,
                    field_match_type: kind,
                });
            }
            Ok((_, None)) => {}
            Err(error) => self.fail(error),
        }
        self
    }

    fn fail(&mut self, error: EntityError) {
        self.error.get_or_insert(error);
    }

    /// Larger wins.
    pub fn priority(mut self, priority: i32) -> Self {
        self.entry.priority = priority;
        self
    }

    /// The default entry of the table.
    pub fn default_entry(mut self) -> Self {
        self.entry.is_default_action = true;
        self
    }

    /// The action, with every parameter.
    pub fn action(mut self, name: &str, params: &[(&str, Value<'_>)]) -> Self {
        let call = match self.table.action(name) {
            Some(reference) => action(&reference.action, params),
            None => Err(EntityError::UnknownElement {
                object: self.table.name.clone(),
                kind: "action",
                name: name.to_owned(),
            }),
        };
        match call {
            Ok(call) => self.entry.action = Some(direct(call)),
            Err(error) => self.fail(error),
        }
        self
    }

    /// A one-shot set of actions: name, parameters, weight.
    pub fn action_set(mut self, actions: &[WeightedCall<'_>]) -> Self {
        let mut set = proto::ActionProfileActionSet::default();
        for (name, params, weight) in actions {
            let one = self.clone().action(name, params);
            if let Some(error) = one.error {
                self.fail(error);
                return self;
            }
            if let Some(proto::table_action::Type::Action(call)) =
                one.entry.action.and_then(|a| a.r#type)
            {
                let action = proto::ActionProfileAction {
                    action: Some(call),
                    weight: *weight,
                    watch_kind: None,
                };
                set.action_profile_actions.push(action);
            }
        }
        let kind = proto::table_action::Type::ActionProfileActionSet(set);
        self.entry.action = Some(proto::TableAction { r#type: Some(kind) });
        self
    }

    /// Time without a hit after which the controller is told.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.entry.idle_timeout_ns = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        self
    }

    /// Bytes that the device returns with the entry.
    pub fn metadata(mut self, metadata: impl Into<Vec<u8>>) -> Self {
        self.entry.metadata = metadata.into();
        self
    }

    /// Asks for (in a read) or resets (in a write) the direct counter.
    pub fn counter(mut self) -> Self {
        self.entry.counter_data = Some(proto::CounterData::default());
        self
    }

    /// The entry, or the first thing that was wrong. Elements may be left out: reads use incomplete keys.
    pub fn build(mut self) -> Result<proto::TableEntry, EntityError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let table = &self.table;
        self.entry
            .r#match
            .sort_by_key(|m| table.field_by_id(m.field_id).map(|(at, _)| at));
        Ok(self.entry)
    }
}

fn direct(call: proto::Action) -> proto::TableAction {
    proto::TableAction {
        r#type: Some(proto::table_action::Type::Action(call)),
    }
}

fn bits(field: &MatchField) -> Result<u32, ValueError> {
    // Wider numbers go as bytes through exact or optional.
    match field.width {
        Width::Bits(bits) if bits <= 128 => Ok(bits),
        Width::Bits(bits) => Err(ValueError::TooWide { needed: bits }),
        Width::String => Err(ValueError::TooWide { needed: 0 }),
    }
}

fn ones(bits: u32) -> u128 {
    if bits >= 128 {
        u128::MAX
    } else {
        (1 << bits) - 1
    }
}

/// An action call by names, with every parameter.
pub fn action(action: &Action, params: &[(&str, Value<'_>)]) -> Result<proto::Action, EntityError> {
    let params = named_values(&action.name, &action.params, params)?
        .map(|(param_id, value)| proto::action::Param { param_id, value })
        .collect();
    Ok(proto::Action {
        action_id: action.id,
        params,
    })
}

fn named_values(
    object: &str,
    definitions: &[Param],
    given: &[(&str, Value<'_>)],
) -> Result<impl Iterator<Item = (u32, Vec<u8>)> + use<>, EntityError> {
    if let Some((name, _)) = given
        .iter()
        .find(|(name, _)| !definitions.iter().any(|d| d.name == *name))
    {
        let (object, name) = (object.to_owned(), (*name).to_owned());
        return Err(EntityError::UnknownElement {
            object,
            kind: "field",
            name,
        });
    }
    let mut values = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let (object, name) = (|| object.to_owned(), || definition.name.clone());
        let (_, value) = given
            .iter()
            .find(|(given, _)| *given == definition.name)
            .ok_or_else(|| EntityError::NotGiven {
                object: object(),
                name: name(),
            })?;
        let encoded = value
            .encode(definition.width)
            .map_err(|source| EntityError::Value {
                object: object(),
                name: name(),
                source,
            })?;
        values.push((definition.id, encoded));
    }
    Ok(values.into_iter())
}

#[cfg(test)]
mod tests;
