//! Entries as P4Runtime carries them, for tables whose values fit 64 bits.
//!
//! In: numbers in key and parameter order. Out: messages with the ids of one device's P4Info and values in canonical
//! form, and back. Ids are looked up once, when a layout is resolved; per entry there is no name and no search.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use p4runtime::value;
use p4runtime::wire::{ExactEntry, Mold, Updates};
use proto::field_match::FieldMatchType;
use proto::table_action::Type;

/// The key of one table: its id and those of its elements, in the order of the table's `Key`.
#[derive(Debug, Clone)]
pub struct KeyLayout<const N: usize> {
    table: u32,
    fields: [u32; N],
}

/// One action: its id and those of its parameters, in the order of the table's `Action`.
#[derive(Debug, Clone)]
pub struct ActionLayout<const N: usize> {
    action: u32,
    params: [u32; N],
}

/// A value under a mask; a mask of zero matches everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Masked {
    /// Bits that have to be equal.
    pub value: u64,
    /// Which bits count.
    pub mask: u64,
}

impl<const N: usize> KeyLayout<N> {
    /// Finds the table; `None` if it, or an element, is not there.
    pub fn resolve(schema: &Schema, table: &str, names: [&str; N]) -> Option<Self> {
        let table = schema.table(table)?;
        let mut fields = [0; N];
        for (id, name) in fields.iter_mut().zip(names) {
            *id = table.field(name)?.1.id;
        }
        Some(Self {
            table: table.id,
            fields,
        })
    }

    /// Id of the table.
    pub fn table(&self) -> u32 {
        self.table
    }

    /// An entry without action whose elements are all exact.
    pub fn exact(&self, values: [u64; N]) -> proto::TableEntry {
        let mut matches = Vec::with_capacity(N);
        for (id, value) in self.fields.iter().zip(values) {
            matches.push(exact(*id, value));
        }
        self.entry(matches, 0)
    }

    /// Adds an update of an entry whose elements are all exact to a batch.
    pub fn push(
        &self,
        updates: &mut Updates,
        kind: proto::update::Type,
        values: [u64; N],
        action: Option<(u32, &[(u32, u64)])>,
        metadata: &[u8],
    ) -> Mold {
        let mut key = [(0, 0); N];
        for (pair, given) in key.iter_mut().zip(self.fields.iter().zip(values)) {
            *pair = (*given.0, given.1);
        }
        let entry = ExactEntry {
            table: self.table,
            key: &key,
            action,
            metadata,
        };
        updates.push_exact(kind, &entry)
    }

    /// An entry without action: the first elements exact, the others ternary.
    pub fn masked(&self, exacts: &[u64], masks: &[Masked], priority: i32) -> proto::TableEntry {
        let mut ids = self.fields.iter();
        let mut matches = Vec::with_capacity(N);
        for (value, id) in exacts.iter().zip(&mut ids) {
            matches.push(exact(*id, *value));
        }
        for (masked, id) in masks.iter().zip(&mut ids) {
            // What matches everything has to be left out.
            if masked.mask != 0 {
                matches.push(proto::FieldMatch {
                    field_id: *id,
                    field_match_type: Some(FieldMatchType::Ternary(proto::field_match::Ternary {
                        value: bytes(masked.value & masked.mask),
                        mask: bytes(masked.mask),
                    })),
                });
            }
        }
        self.entry(matches, priority)
    }

    /// The elements of an entry in the order of the layout; an exact one has every bit of its mask set.
    pub fn read(&self, entry: &proto::TableEntry) -> Option<[Masked; N]> {
        let mut found = [Masked { value: 0, mask: 0 }; N];
        if entry.table_id != self.table || entry.is_default_action {
            return None;
        }
        for (at, element) in entry.r#match.iter().enumerate() {
            let at = match self.fields.get(at) {
                Some(id) if *id == element.field_id => at,
                _ => self.fields.iter().position(|id| *id == element.field_id)?,
            };
            found[at] = match element.field_match_type.as_ref()? {
                FieldMatchType::Exact(exact) => Masked {
                    value: number(&exact.value)?,
                    mask: u64::MAX,
                },
                FieldMatchType::Ternary(ternary) => Masked {
                    value: number(&ternary.value)?,
                    mask: number(&ternary.mask)?,
                },
                _ => return None,
            };
        }
        Some(found)
    }

    /// The elements of an entry whose elements are all exact.
    pub fn read_exact(&self, entry: &proto::TableEntry) -> Option<[u64; N]> {
        let found = self.read(entry)?;
        found
            .iter()
            .all(|element| element.mask == u64::MAX)
            .then(|| found.map(|element| element.value))
    }

    fn entry(&self, matches: Vec<proto::FieldMatch>, priority: i32) -> proto::TableEntry {
        proto::TableEntry {
            table_id: self.table,
            r#match: matches,
            priority,
            ..Default::default()
        }
    }
}

impl<const N: usize> ActionLayout<N> {
    /// Finds an action of a table; `None` if it, or a parameter, is not there.
    pub fn resolve(schema: &Schema, table: &str, action: &str, names: [&str; N]) -> Option<Self> {
        let table = schema.table(table)?;
        let action = &table.action(action)?.action;
        let mut params = [0; N];
        for (id, name) in params.iter_mut().zip(names) {
            *id = action.param(name)?.1.id;
        }
        Some(Self {
            action: action.id,
            params,
        })
    }

    /// The action with these arguments.
    pub fn call(&self, values: [u64; N]) -> proto::TableAction {
        let mut params = Vec::with_capacity(N);
        for (id, value) in self.params.iter().zip(values) {
            params.push(proto::action::Param {
                param_id: *id,
                value: bytes(value),
            });
        }
        proto::TableAction {
            r#type: Some(Type::Action(proto::Action {
                action_id: self.action,
                params,
            })),
        }
    }

    /// Id of the action, ids and values of its arguments.
    pub fn arguments(&self, values: [u64; N]) -> (u32, [(u32, u64); N]) {
        let mut arguments = [(0, 0); N];
        for (pair, given) in arguments.iter_mut().zip(self.params.iter().zip(values)) {
            *pair = (*given.0, given.1);
        }
        (self.action, arguments)
    }

    /// The arguments of an entry's action; `None` if it is another action.
    pub fn read(&self, entry: &proto::TableEntry) -> Option<[u64; N]> {
        let Some(Type::Action(action)) = entry.action.as_ref()?.r#type.as_ref() else {
            return None;
        };
        if action.action_id != self.action || action.params.len() != N {
            return None;
        }
        let mut values = [0; N];
        for (at, param) in action.params.iter().enumerate() {
            let at = match self.params.get(at) {
                Some(id) if *id == param.param_id => at,
                _ => self.params.iter().position(|id| *id == param.param_id)?,
            };
            values[at] = number(&param.value)?;
        }
        Some(values)
    }
}

/// A query for every entry of a table.
pub fn all_of(table: u32) -> proto::Entity {
    proto::Entity {
        entity: Some(proto::entity::Entity::TableEntry(proto::TableEntry {
            table_id: table,
            ..Default::default()
        })),
    }
}

/// An update of one entry.
pub fn update(kind: proto::update::Type, entry: proto::TableEntry) -> proto::Update {
    proto::Update {
        r#type: kind as i32,
        entity: Some(proto::Entity {
            entity: Some(proto::entity::Entity::TableEntry(entry)),
        }),
    }
}

fn exact(id: u32, value: u64) -> proto::FieldMatch {
    proto::FieldMatch {
        field_id: id,
        field_match_type: Some(FieldMatchType::Exact(proto::field_match::Exact {
            value: bytes(value),
        })),
    }
}

/// Shortest big-endian form; zero is one byte.
fn bytes(value: u64) -> Vec<u8> {
    let wide = value.to_be_bytes();
    let skip = (value.leading_zeros() / 8).min(7) as usize;
    wide[skip..].to_vec()
}

fn number(bytes: &[u8]) -> Option<u64> {
    value::to_u64(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_form() {
        for value in [0, 1, 255, 256, 0xffff_0a00_0001, u64::MAX] {
            let short = bytes(value);
            assert_eq!(short, value::from_u64(value, 64).unwrap());
            assert_eq!(number(&short), Some(value));
        }
    }
}
