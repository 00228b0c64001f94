//! Entries, calls and packets from the device, read by names.
//!
//! In: a message and the schema's object. Out: numbers, checked against their width.

use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;
use proto::field_match::{Exact, FieldMatchType, Optional};

use super::{EntityError, ones};
use crate::schema::{Action, MatchField, MatchKind, PacketHeader, Table, Width};
use crate::value;

fn read_number(object: &str, name: &str, width: Width, bytes: &[u8]) -> Result<u128, EntityError> {
    let (object, name) = (object.to_owned(), name.to_owned());
    match width {
        Width::String => Err(EntityError::NotANumber { object, name }),
        Width::Bits(bits) => value::check(bytes, bits)
            .and_then(value::to_u128)
            .map_err(|source| EntityError::Value {
                object,
                name,
                source,
            }),
    }
}

/// A table entry, read by names.
#[derive(Debug, Clone, Copy)]
pub struct EntryView<'a> {
    /// Its table.
    pub table: &'a Arc<Table>,
    /// As it came.
    pub entry: &'a proto::TableEntry,
}

impl<'a> EntryView<'a> {
    fn field(
        &self,
        name: &str,
    ) -> Result<(&'a MatchField, Option<&'a FieldMatchType>), EntityError> {
        let (object, name) = (|| self.table.name.clone(), name.to_owned());
        let (_, field) = match self.table.field(&name) {
            Some(found) => found,
            None => {
                return Err(EntityError::UnknownElement {
                    object: object(),
                    kind: "key element",
                    name,
                });
            }
        };
        let given = self.entry.r#match.iter().find(|m| m.field_id == field.id);
        Ok((field, given.and_then(|m| m.field_match_type.as_ref())))
    }

    /// An exact or optional element as a number; `None` for an optional one that matches everything.
    pub fn value(&self, name: &str) -> Result<Option<u128>, EntityError> {
        let (field, given) = self.field(name)?;
        match given {
            Some(FieldMatchType::Exact(Exact { value }))
            | Some(FieldMatchType::Optional(Optional { value })) => {
                read_number(&self.table.name, name, field.width, value).map(Some)
            }
            None if field.kind == MatchKind::Optional => Ok(None),
            _ => Err(EntityError::NotGiven {
                object: self.table.name.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// An exact element as a number.
    pub fn exact(&self, name: &str) -> Result<u128, EntityError> {
        let absent = || EntityError::NotGiven {
            object: self.table.name.clone(),
            name: name.to_owned(),
        };
        self.value(name)?.ok_or_else(absent)
    }

    /// Value and mask of a ternary or lpm element; a mask of 0 when it matches everything.
    pub fn masked(&self, name: &str) -> Result<(u128, u128), EntityError> {
        let (field, given) = self.field(name)?;
        let read = |bytes| read_number(&self.table.name, name, field.width, bytes);
        match given {
            Some(FieldMatchType::Ternary(ternary)) => {
                Ok((read(&ternary.value)?, read(&ternary.mask)?))
            }
            Some(FieldMatchType::Lpm(lpm)) => {
                let bits = field.width.bits().unwrap_or(0).min(128);
                let below = bits.saturating_sub(u32::try_from(lpm.prefix_len).unwrap_or(0));
                let mask = if below >= 128 {
                    0
                } else {
                    ones(bits) >> below << below
                };
                Ok((read(&lpm.value)?, mask))
            }
            None => Ok((0, 0)),
            Some(_) => Err(EntityError::NotGiven {
                object: self.table.name.clone(),
                name: name.to_owned(),
            }),
        }
    }

    /// The action, if it is a direct one.
    pub fn action(&self) -> Result<Option<CallView<'a>>, EntityError> {
        let Some(proto::table_action::Type::Action(call)) =
            self.entry.action.as_ref().and_then(|a| a.r#type.as_ref())
        else {
            return Ok(None);
        };
        let reference =
            self.table
                .action_by_id(call.action_id)
                .ok_or_else(|| EntityError::UnknownElement {
                    object: self.table.name.clone(),
                    kind: "action",
                    name: format!("{:#010x}", call.action_id),
                })?;
        Ok(Some(CallView {
            action: &reference.action,
            call,
        }))
    }
}

/// An action call, read by names.
#[derive(Debug, Clone, Copy)]
pub struct CallView<'a> {
    /// The action.
    pub action: &'a Arc<Action>,
    /// As it came.
    pub call: &'a proto::Action,
}

impl CallView<'_> {
    /// A parameter as a number.
    pub fn param(&self, name: &str) -> Result<u128, EntityError> {
        let (object, owned) = (|| self.action.name.clone(), || name.to_owned());
        let unknown = || EntityError::UnknownElement {
            object: object(),
            kind: "parameter",
            name: owned(),
        };
        let (_, param) = self.action.param(name).ok_or_else(unknown)?;
        let given = self.call.params.iter().find(|p| p.param_id == param.id);
        let given = given.ok_or_else(|| EntityError::NotGiven {
            object: object(),
            name: owned(),
        })?;
        read_number(&self.action.name, name, param.width, &given.value)
    }
}

/// A packet from the switch, read by names.
#[derive(Debug, Clone, Copy)]
pub struct PacketView<'a> {
    pub(super) header: &'a Arc<PacketHeader>,
    pub(super) packet: &'a proto::PacketIn,
}

impl<'a> PacketView<'a> {
    /// The frame.
    pub fn payload(&self) -> &'a [u8] {
        &self.packet.payload
    }

    /// A field of the packet_in header as a number.
    pub fn field(&self, name: &str) -> Result<u128, EntityError> {
        let (object, owned) = (|| self.header.name.clone(), || name.to_owned());
        let unknown = || EntityError::UnknownElement {
            object: object(),
            kind: "field",
            name: owned(),
        };
        let (_, field) = self.header.field(name).ok_or_else(unknown)?;
        let given = self
            .packet
            .metadata
            .iter()
            .find(|m| m.metadata_id == field.id);
        let given = given.ok_or_else(|| EntityError::NotGiven {
            object: object(),
            name: owned(),
        })?;
        read_number(&self.header.name, name, field.width, &given.value)
    }
}
