//! Entries as text, one per line, for `p4rs run` and for tests.
//!
//! ```text
//! # a comment
//! add TABLE field=value field=value/prefix field=value&&&mask field=low..high [prio=N] => action(param=value, …)
//! default TABLE => action(param=value, …)
//! ```
//!
//! Numbers are decimal, `0x…`, `0b…`, an IPv4 or IPv6 address, or a MAC address. Names are control-plane names or
//! suffixes of them at a dot; what stands for a field or parameter is its P4 name. Fields left out are don't care.
//!
//! In: text. Out: entries in an [`Engine`], or the first fault with its line.

use std::net::{Ipv4Addr, Ipv6Addr};

use num_bigint::BigUint;

use super::tables::{
    ActionCall, EntryAction, FieldMatch, MatchKind, NewEntry, OwnedField, TableError,
};
use super::{Engine, Time};
use crate::ir::{Direction, Handle, Program, Table};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Neither `add` nor `default`.
    #[error("a line begins with `add` or `default`, not with `{0}`")]
    Verb(String),
    /// No ` => action(...)`.
    #[error("`=> action(...)` is missing")]
    NoAction,
    /// No table has this name, or several end in it.
    #[error("no table, or more than one, is called `{0}`")]
    Table(String),
    /// The table has no such action.
    #[error("the table has no action `{0}`")]
    Action(String),
    /// The table has no such key field, or the action no such parameter.
    #[error("there is no `{0}`")]
    Name(String),
    /// Not `name=value`.
    #[error("`{0}` is not `name=value`")]
    Pair(String),
    /// Not a number or address.
    #[error("`{0}` is not a number")]
    Number(String),
    /// The form does not suit the field's match kind.
    #[error("`{text}` does not suit a field of kind {kind:?}")]
    Form {
        /// As written.
        text: String,
        /// The field's kind.
        kind: MatchKind,
    },
    /// The engine refused it.
    #[error(transparent)]
    Refused(#[from] TableError),
}

/// A fault and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct EntryError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: EntryFault,
}

/// Carries out every line; the result is the number of entries and defaults written.
///
/// # Errors
/// [`EntryError`] for the first faulty line; the lines before it were carried out.
pub fn load(engine: &Engine, now: Time, text: &str) -> Result<usize, EntryError> {
    let mut count = 0;
    for (i, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        apply(engine, now, line).map_err(|fault| EntryError { line: i + 1, fault })?;
        count += 1;
    }
    Ok(count)
}

fn apply(engine: &Engine, now: Time, line: &str) -> Result<(), EntryFault> {
    let (left, right) = line.split_once("=>").ok_or(EntryFault::NoAction)?;
    let mut words = left.split_whitespace();
    let verb = words.next().unwrap_or_default();
    if !matches!(verb, "add" | "default") {
        return Err(EntryFault::Verb(verb.to_owned()));
    }
    let table = find_table(engine.program(), words.next().unwrap_or_default())?;
    let (action, data) = parse_action(engine.program(), table, right.trim())?;
    let params: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let call = ActionCall {
        action,
        params: &params,
    };
    if verb == "default" {
        return Ok(engine.set_default(table, EntryAction::Direct(call))?);
    }
    let kinds = engine.key_fields(table)?;
    let names = key_names(engine.program(), table);
    let mut fields: Vec<OwnedField> = vec![OwnedField::DontCare; kinds.len()];
    let mut priority = None;
    for word in words {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| EntryFault::Pair(word.to_owned()))?;
        if name == "prio" {
            priority = Some(
                value
                    .parse()
                    .map_err(|_| EntryFault::Number(value.to_owned()))?,
            );
            continue;
        }
        let at = position(&names, name).ok_or_else(|| EntryFault::Name(name.to_owned()))?;
        if let (Some(field), Some(&(kind, width))) = (fields.get_mut(at), kinds.get(at)) {
            *field = parse_field(value, kind, width)?;
        }
    }
    let prioritised = kinds.iter().any(|(kind, _)| {
        matches!(
            kind,
            MatchKind::Ternary | MatchKind::Range | MatchKind::Optional
        )
    });
    let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
    let mut entry = NewEntry::new(&fields, call);
    entry.priority = priority.unwrap_or(i32::from(prioritised));
    Ok(engine.insert(now, table, &entry)?)
}

/// Whether `name` is the whole of `full` or its end after a dot.
fn names(full: &str, name: &str) -> bool {
    full.strip_suffix(name)
        .is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn position(all: &[String], name: &str) -> Option<usize> {
    all.iter()
        .position(|full| full == name)
        .or_else(|| all.iter().position(|full| names(full, name)))
}

fn find_table(program: &Program, name: &str) -> Result<Handle<Table>, EntryFault> {
    let fault = || EntryFault::Table(name.to_owned());
    let exact = program
        .tables
        .iter()
        .find(|(_, table)| table.name.control_plane == name);
    if let Some((handle, _)) = exact {
        return Ok(handle);
    }
    let mut found = program
        .tables
        .iter()
        .filter(|(_, table)| names(&table.name.control_plane, name));
    match (found.next(), found.next()) {
        (Some((handle, _)), None) if !name.is_empty() => Ok(handle),
        _ => Err(fault()),
    }
}

fn key_names(program: &Program, table: Handle<Table>) -> Vec<String> {
    let keys = program.tables[table]
        .keys
        .iter()
        .filter(|key| key.match_kind != "selector");
    keys.map(|key| key.name.clone()).collect()
}

fn parse_action(
    program: &Program,
    table: Handle<Table>,
    text: &str,
) -> Result<(usize, Vec<Vec<u8>>), EntryFault> {
    let (name, rest) = text.split_once('(').unwrap_or((text, ")"));
    let name = name.trim();
    let actions: Vec<String> = program.tables[table]
        .actions
        .iter()
        .map(|reference| program.actions[reference.action].name.control_plane.clone())
        .collect();
    let action = position(&actions, name).ok_or_else(|| EntryFault::Action(name.to_owned()))?;
    let reference = &program.tables[table].actions[action];
    let params: Vec<String> = program.actions[reference.action]
        .params
        .iter()
        .filter(|param| param.direction == Direction::None)
        .map(|param| program.vars[param.var].name.clone())
        .collect();
    let mut data = vec![Vec::new(); params.len()];
    let list = rest.trim().strip_suffix(')').ok_or(EntryFault::NoAction)?;
    for pair in list
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| EntryFault::Pair(pair.to_owned()))?;
        let at = position(&params, name.trim())
            .ok_or_else(|| EntryFault::Name(name.trim().to_owned()))?;
        if let Some(place) = data.get_mut(at) {
            *place = number(value.trim())?;
        }
    }
    Ok((action, data))
}

fn parse_field(text: &str, kind: MatchKind, width: u32) -> Result<OwnedField, EntryFault> {
    let form = || EntryFault::Form {
        text: text.to_owned(),
        kind,
    };
    let ones = || ((BigUint::from(1u8) << width) - 1u8).to_bytes_be();
    Ok(match kind {
        MatchKind::Exact => OwnedField::Exact(number(text)?),
        MatchKind::Optional => OwnedField::Optional(number(text)?),
        MatchKind::Lpm => match text.split_once('/') {
            Some((value, prefix)) => {
                OwnedField::Lpm(number(value)?, prefix.parse().map_err(|_| form())?)
            }
            None => OwnedField::Lpm(number(text)?, width),
        },
        MatchKind::Ternary => match text.split_once("&&&") {
            Some((value, mask)) => OwnedField::Ternary(number(value)?, number(mask)?),
            None if text.contains('/') => prefix_mask(text, width).ok_or_else(form)?,
            None => OwnedField::Ternary(number(text)?, ones()),
        },
        MatchKind::Range => match text.split_once("..") {
            Some((low, high)) => OwnedField::Range(number(low)?, number(high)?),
            None => OwnedField::Range(number(text)?, number(text)?),
        },
    })
}

/// `value/prefix` as value and mask.
fn prefix_mask(text: &str, width: u32) -> Option<OwnedField> {
    let (value, prefix) = text.split_once('/')?;
    let host = width.checked_sub(prefix.parse().ok()?)?;
    let mask = ((BigUint::from(1u8) << width) - 1u8) >> host << host;
    Some(OwnedField::Ternary(number(value).ok()?, mask.to_bytes_be()))
}

/// A number or an address, big-endian.
fn number(text: &str) -> Result<Vec<u8>, EntryFault> {
    let fault = || EntryFault::Number(text.to_owned());
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.octets().to_vec());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() == 6 && parts.iter().all(|part| part.len() == 2) {
        return parts
            .iter()
            .map(|part| u8::from_str_radix(part, 16).map_err(|_| fault()))
            .collect();
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.octets().to_vec());
    }
    let (digits, radix) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 16),
        Some("0b" | "0B") => (&text[2..], 2),
        _ => (text, 10),
    };
    let digits = digits.replace('_', "");
    BigUint::parse_bytes(digits.as_bytes(), radix)
        .map(|value| value.to_bytes_be())
        .ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses() {
        assert_eq!(number("10.0.0.1"), Ok(vec![10, 0, 0, 1]));
        assert_eq!(number("02:00:00:00:00:ff"), Ok(vec![2, 0, 0, 0, 0, 255]));
        assert_eq!(number("fd00::1").map(|bytes| bytes.len()), Ok(16));
        assert_eq!(number("0x1_00"), Ok(vec![1, 0]));
        assert_eq!(number("zz"), Err(EntryFault::Number("zz".into())));
        assert_eq!(number(""), Err(EntryFault::Number(String::new())));
    }

    #[test]
    fn fields_by_kind() {
        assert_eq!(
            parse_field("10.0.0.0/8", MatchKind::Lpm, 32),
            Ok(OwnedField::Lpm(vec![10, 0, 0, 0], 8))
        );
        assert_eq!(
            parse_field("8&&&12", MatchKind::Ternary, 8),
            Ok(OwnedField::Ternary(vec![8], vec![12]))
        );
        assert_eq!(
            parse_field("0xf0/4", MatchKind::Ternary, 8),
            Ok(OwnedField::Ternary(vec![0xf0], vec![0xf0]))
        );
        assert_eq!(
            parse_field("1..9", MatchKind::Range, 8),
            Ok(OwnedField::Range(vec![1], vec![9]))
        );
        assert!(parse_field("1/x", MatchKind::Lpm, 8).is_err());
        assert!(parse_field("1/9", MatchKind::Ternary, 8).is_err());
    }

    #[test]
    fn names_match_at_dots() {
        assert!(names("A.b.c", "c") && names("A.b.c", "b.c") && names("c", "c"));
        assert!(!names("A.bc", "c"));
    }
}
