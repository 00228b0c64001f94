//! Keys: field matches in any order → one value per key element, in the table's order.

use p4runtime_proto::p4::v1 as proto;
use proto::field_match::FieldMatchType as Given;

use super::super::switch::{Fields, Key, Match};
use super::{Invalid, checked};
use crate::schema::{MatchField, MatchKind, Table, Width};
use crate::value::{self, ValueError};

/// The identity that a message gives an entry: the default entry, or key and priority.
pub fn entry_key<'a>(table: &Table, entry: &'a proto::TableEntry) -> Result<Key<'a>, Invalid> {
    if entry.is_default_action {
        if !entry.r#match.is_empty() {
            return Err(Invalid::Unexpected("the match of a default entry"));
        }
        if entry.priority != 0 {
            return Err(Invalid::Unexpected("the priority of a default entry"));
        }
        return Ok(Key::Default);
    }
    let fields = fields(&table.name, &table.fields, &entry.r#match)?;
    let needed = table.needs_priority;
    if needed != (entry.priority != 0) || entry.priority < 0 {
        return Err(Invalid::Priority {
            table: table.name.clone(),
            priority: entry.priority,
            needed,
        });
    }
    Ok(Key::Entry {
        fields,
        priority: entry.priority,
    })
}

/// One value per definition; exact elements must be there.
pub(super) fn fields<'a>(
    object: &str,
    definitions: &[MatchField],
    given: &'a [proto::FieldMatch],
) -> Result<Fields<'a>, Invalid> {
    let mut fields: Fields<'a> = Fields::from_elem(Match::Any, definitions.len());
    for (order, one) in given.iter().enumerate() {
        let at =
            position(definitions, order, one.field_id).ok_or_else(|| Invalid::UnknownElement {
                object: object.to_owned(),
                kind: "key element",
                id: one.field_id,
            })?;
        let definition = &definitions[at];
        if fields[at] != Match::Any {
            return Err(Invalid::Twice {
                object: object.to_owned(),
                name: definition.name.clone(),
            });
        }
        fields[at] = field(definition, one)?;
    }
    let absent = |(definition, value): &(&MatchField, &Match<'_>)| {
        definition.kind == MatchKind::Exact && **value == Match::Any
    };
    match definitions.iter().zip(&fields).find(absent) {
        Some((definition, _)) => Err(Invalid::NotGiven {
            object: object.to_owned(),
            name: definition.name.clone(),
        }),
        None => Ok(fields),
    }
}

/// Position of an id; most senders keep the order of P4Info.
fn position(definitions: &[MatchField], order: usize, id: u32) -> Option<usize> {
    match definitions.get(order) {
        Some(definition) if definition.id == id => Some(order),
        _ => definitions
            .iter()
            .position(|definition| definition.id == id),
    }
}

fn field<'a>(definition: &MatchField, given: &'a proto::FieldMatch) -> Result<Match<'a>, Invalid> {
    let name = definition.name.as_str();
    let value = |bytes| checked(bytes, definition.width, name);
    match (definition.kind, given.field_match_type.as_ref()) {
        (_, None) => Err(Invalid::NotGiven {
            object: name.to_owned(),
            name: "match".into(),
        }),
        (MatchKind::Exact, Some(Given::Exact(exact))) => Ok(Match::Exact(value(&exact.value)?)),
        (MatchKind::Optional, Some(Given::Optional(optional))) => {
            Ok(Match::Optional(value(&optional.value)?))
        }
        (MatchKind::Lpm, Some(Given::Lpm(lpm))) => prefix(definition, lpm),
        (MatchKind::Ternary, Some(Given::Ternary(ternary))) => masked(definition, ternary),
        (MatchKind::Range, Some(Given::Range(range))) => bounds(definition, range),
        (expected, Some(_)) => Err(Invalid::MatchKind {
            field: name.to_owned(),
            expected,
        }),
    }
}

/// Bits of an element that compares parts of a number.
fn width(definition: &MatchField) -> Result<u32, Invalid> {
    match definition.width {
        Width::Bits(bits) => Ok(bits),
        Width::String => Err(Invalid::Rule {
            object: definition.name.clone(),
            reason: "strings only match exact or optional",
        }),
    }
}

fn prefix<'a>(
    definition: &MatchField,
    lpm: &'a proto::field_match::Lpm,
) -> Result<Match<'a>, Invalid> {
    let (name, width) = (&definition.name, width(definition)?);
    let value = checked(&lpm.value, definition.width, name)?;
    let prefix = match u32::try_from(lpm.prefix_len) {
        Ok(0) => {
            return Err(Invalid::DontCare {
                field: name.clone(),
            });
        }
        Ok(prefix) if prefix <= width => prefix,
        _ => {
            return Err(Invalid::Prefix {
                field: name.clone(),
                prefix: lpm.prefix_len,
                width,
            });
        }
    };
    if !value::low_bits_clear(value, width - prefix) {
        return Err(Invalid::Masked {
            field: name.clone(),
        });
    }
    Ok(Match::Lpm { value, prefix })
}

fn masked<'a>(
    definition: &MatchField,
    ternary: &'a proto::field_match::Ternary,
) -> Result<Match<'a>, Invalid> {
    let name = &definition.name;
    width(definition)?;
    let value = checked(&ternary.value, definition.width, name)?;
    let mask = checked(&ternary.mask, definition.width, name)?;
    if mask == [0] {
        return Err(Invalid::DontCare {
            field: name.clone(),
        });
    }
    if !value::is_within(value, mask) {
        return Err(Invalid::Masked {
            field: name.clone(),
        });
    }
    Ok(Match::Ternary { value, mask })
}

fn bounds<'a>(
    definition: &MatchField,
    range: &'a proto::field_match::Range,
) -> Result<Match<'a>, Invalid> {
    let (name, width) = (&definition.name, width(definition)?);
    let low = checked(&range.low, definition.width, name)?;
    let high = checked(&range.high, definition.width, name)?;
    if value::compare(low, high).is_gt() {
        return Err(Invalid::Bounds {
            field: name.clone(),
        });
    }
    if low == [0] && value::is_all_ones(high, width) {
        return Err(Invalid::DontCare {
            field: name.clone(),
        });
    }
    Ok(Match::Range { low, high })
}

/// For a value that is no key element: bytes that only have to be there.
pub(super) fn present<'a>(bytes: &'a [u8], name: &'static str) -> Result<&'a [u8], Invalid> {
    if bytes.is_empty() {
        return Err(Invalid::Value {
            name: name.to_owned(),
            source: ValueError::Empty,
        });
    }
    Ok(value::canonical(bytes))
}
