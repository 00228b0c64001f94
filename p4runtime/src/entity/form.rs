//! Names resolved once: entries and calls in bulk, from numbers in a fixed order.
//!
//! In: names, once, then numbers. Out: entries and actions. A form covers the whole key or every parameter.

use std::sync::Arc;

use p4runtime_proto::p4::v1 as proto;
use proto::field_match::{Exact, FieldMatchType};

use super::{EntityError, Value, direct};
use crate::schema::{Action, MatchKind, Table, Width};

/// Names resolved once, for many entries of a table with exact keys.
#[derive(Debug, Clone)]
pub struct ExactKey {
    table: Arc<Table>,
    fields: Vec<usize>,
}

impl ExactKey {
    /// The elements in the order in which values will come; all of the table's, all exact.
    pub fn new(table: &Arc<Table>, names: &[&str]) -> Result<Self, EntityError> {
        let object = || table.name.clone();
        let mut fields = Vec::with_capacity(names.len());
        for name in names {
            let unknown = || EntityError::UnknownElement {
                object: object(),
                kind: "key element",
                name: (*name).to_owned(),
            };
            let (at, field) = table.field(name).ok_or_else(unknown)?;
            if field.kind != MatchKind::Exact {
                let (name, expected) = ((*name).to_owned(), MatchKind::Exact);
                return Err(EntityError::Kind {
                    object: object(),
                    name,
                    found: field.kind,
                    expected,
                });
            }
            fields.push(at);
        }
        match table
            .fields
            .iter()
            .enumerate()
            .find(|(at, _)| !fields.contains(at))
        {
            Some((_, field)) => Err(EntityError::NotGiven {
                object: object(),
                name: field.name.clone(),
            }),
            None => Ok(Self {
                table: table.clone(),
                fields,
            }),
        }
    }

    /// An entry with these values as its key and nothing else.
    pub fn entry(&self, values: &[u128]) -> Result<proto::TableEntry, EntityError> {
        let mut matches = Vec::with_capacity(self.fields.len());
        for (order, at) in self.fields.iter().enumerate() {
            let field = &self.table.fields[*at];
            let value = number(
                &self.table.name,
                &field.name,
                field.width,
                values.get(order),
            )?;
            let kind = FieldMatchType::Exact(Exact { value });
            matches.push(proto::FieldMatch {
                field_id: field.id,
                field_match_type: Some(kind),
            });
        }
        Ok(proto::TableEntry {
            table_id: self.table.id,
            r#match: matches,
            ..Default::default()
        })
    }
}

/// Names resolved once, for many calls of an action.
#[derive(Debug, Clone)]
pub struct Calls {
    action: Arc<Action>,
    params: Vec<usize>,
}

impl Calls {
    /// The parameters in the order in which values will come; all of the action's.
    pub fn new(action: &Arc<Action>, names: &[&str]) -> Result<Self, EntityError> {
        let object = || action.name.clone();
        let mut params = Vec::with_capacity(names.len());
        for name in names {
            let unknown = || EntityError::UnknownElement {
                object: object(),
                kind: "parameter",
                name: (*name).to_owned(),
            };
            params.push(action.param(name).ok_or_else(unknown)?.0);
        }
        match action
            .params
            .iter()
            .enumerate()
            .find(|(at, _)| !params.contains(at))
        {
            Some((_, param)) => Err(EntityError::NotGiven {
                object: object(),
                name: param.name.clone(),
            }),
            None => Ok(Self {
                action: action.clone(),
                params,
            }),
        }
    }

    /// A table action with these values.
    pub fn call(&self, values: &[u128]) -> Result<proto::TableAction, EntityError> {
        let mut params = Vec::with_capacity(self.params.len());
        for (order, at) in self.params.iter().enumerate() {
            let param = &self.action.params[*at];
            let value = number(
                &self.action.name,
                &param.name,
                param.width,
                values.get(order),
            )?;
            params.push(proto::action::Param {
                param_id: param.id,
                value,
            });
        }
        Ok(direct(proto::Action {
            action_id: self.action.id,
            params,
        }))
    }
}

fn number(
    object: &str,
    name: &str,
    width: Width,
    given: Option<&u128>,
) -> Result<Vec<u8>, EntityError> {
    let (object, name) = (|| object.to_owned(), || name.to_owned());
    let given = given.ok_or_else(|| EntityError::NotGiven {
        object: object(),
        name: name(),
    })?;
    let encoded = Value::Number(*given).encode(width);
    encoded.map_err(|source| EntityError::Value {
        object: object(),
        name: name(),
        source,
    })
}
