//! What a controller needs of a program, compared with what it has: everything at once, in words.

use std::fmt;

use super::{Action, MatchKind, Param, Schema, Table, Width};

/// One object that the program must have.
#[derive(Debug, Clone)]
pub enum Requirement {
    /// A table with exactly this key.
    Table {
        /// Full name or alias.
        name: String,
        /// Key elements in order: name, kind, bits.
        fields: Vec<(String, MatchKind, u32)>,
        /// Actions that entries use.
        actions: Vec<String>,
        /// It has a direct counter.
        counter: bool,
        /// Its entries may have an idle timeout.
        idle_timeout: bool,
    },
    /// An action with exactly these parameters.
    Action {
        /// Full name or alias.
        name: String,
        /// Name and bits, in order.
        params: Vec<(String, u32)>,
    },
    /// A packet_in header with exactly these fields.
    PacketIn(Vec<(String, u32)>),
    /// A packet_out header with exactly these fields.
    PacketOut(Vec<(String, u32)>),
    /// An indexed counter.
    Counter(String),
    /// A digest.
    Digest(String),
}

impl Requirement {
    /// A table; add the rest with the other methods.
    pub fn table(name: &str) -> Self {
        Self::Table {
            name: name.into(),
            fields: vec![],
            actions: vec![],
            counter: false,
            idle_timeout: false,
        }
    }

    /// Adds the next key element of a table.
    pub fn field(mut self, field: &str, field_kind: MatchKind, bits: u32) -> Self {
        if let Self::Table { fields, .. } = &mut self {
            fields.push((field.into(), field_kind, bits));
        }
        self
    }

    /// Adds an action to a table.
    pub fn uses(mut self, action: &str) -> Self {
        if let Self::Table { actions, .. } = &mut self {
            actions.push(action.into());
        }
        self
    }

    /// The table has a direct counter.
    pub fn counted(mut self) -> Self {
        if let Self::Table { counter, .. } = &mut self {
            *counter = true;
        }
        self
    }

    /// The table's entries may have an idle timeout.
    pub fn ages(mut self) -> Self {
        if let Self::Table { idle_timeout, .. } = &mut self {
            *idle_timeout = true;
        }
        self
    }

    /// An action with its parameters.
    pub fn action(name: &str, params: &[(&str, u32)]) -> Self {
        Self::Action {
            name: name.into(),
            params: owned(params),
        }
    }

    /// The packet_in header with its fields.
    pub fn packet_in(fields: &[(&str, u32)]) -> Self {
        Self::PacketIn(owned(fields))
    }

    /// The packet_out header with its fields.
    pub fn packet_out(fields: &[(&str, u32)]) -> Self {
        Self::PacketOut(owned(fields))
    }
}

fn owned(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs
        .iter()
        .map(|(name, bits)| ((*name).to_owned(), *bits))
        .collect()
}

/// All that a program lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<Mismatch>);

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the device's program differs in {} point(s)",
            self.0.len()
        )?;
        self.0
            .iter()
            .try_for_each(|mismatch| write!(f, "\n  {mismatch}"))
    }
}

/// One thing that a program lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No such object.
    #[error("{kind} {name} is missing")]
    Object {
        /// Kind of object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key element, parameter or header field is not there.
    #[error("{owner}: {kind} {name} ({expected}) is missing")]
    Element {
        /// The object.
        owner: String,
        /// Kind of element.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it should be.
        expected: String,
    },
    /// It is there, but differs.
    #[error("{owner}: {name} is {found}, not {expected}")]
    Differs {
        /// The object.
        owner: String,
        /// The element.
        name: String,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The program has one that the controller does not fill.
    #[error("{owner}: {kind} {name} is not expected")]
    Extra {
        /// The object.
        owner: String,
        /// Kind of element.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The table cannot do something.
    #[error("{owner}: no {what}")]
    Lacks {
        /// The table.
        owner: String,
        /// What it lacks.
        what: String,
    },
}

pub(super) fn require(schema: &Schema, requirements: &[Requirement]) -> Result<(), Missing> {
    let mut found = Vec::new();
    for requirement in requirements {
        one(schema, requirement, &mut found);
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(Missing(found))
    }
}

fn one(schema: &Schema, requirement: &Requirement, found: &mut Vec<Mismatch>) {
    let absent = |kind, name: &str| Mismatch::Object {
        kind,
        name: name.to_owned(),
    };
    match requirement {
        Requirement::Table {
            name,
            fields,
            actions,
            counter,
            idle_timeout,
        } => match schema.table(name) {
            Some(table) => {
                key(table, fields, found);
                features(table, actions, *counter, *idle_timeout, found);
            }
            None => found.push(absent("table", name)),
        },
        Requirement::Action { name, params } => match schema.action(name) {
            Some(action) => elements(
                &title("action", &action_name(action)),
                "parameter",
                &action.params,
                params,
                found,
            ),
            None => found.push(absent("action", name)),
        },
        Requirement::PacketIn(fields) => match schema.packet_in() {
            Some(header) => elements("header packet_in", "field", &header.fields, fields, found),
            None => found.push(absent("header", "packet_in")),
        },
        Requirement::PacketOut(fields) => match schema.packet_out() {
            Some(header) => elements("header packet_out", "field", &header.fields, fields, found),
            None => found.push(absent("header", "packet_out")),
        },
        Requirement::Counter(name) if schema.counters.named(name).is_none() => {
            found.push(absent("counter", name))
        }
        Requirement::Digest(name) if schema.digests.named(name).is_none() => {
            found.push(absent("digest", name))
        }
        Requirement::Counter(_) | Requirement::Digest(_) => {}
    }
}

fn title(kind: &str, name: &str) -> String {
    format!("{kind} {name}")
}

fn action_name(action: &Action) -> String {
    if action.alias.is_empty() {
        action.name.clone()
    } else {
        action.alias.clone()
    }
}

fn key(table: &Table, wanted: &[(String, MatchKind, u32)], found: &mut Vec<Mismatch>) {
    let owner = title("table", &table.name);
    for (at, (name, kind, bits)) in wanted.iter().enumerate() {
        let expected = format!("{kind}, {bits} bits");
        let Some((position, field)) = table.field(name) else {
            found.push(Mismatch::Element {
                owner: owner.clone(),
                kind: "key element",
                name: name.clone(),
                expected,
            });
            continue;
        };
        let mut differs = |found_is: String, expected: String| {
            found.push(Mismatch::Differs {
                owner: owner.clone(),
                name: name.clone(),
                found: found_is,
                expected,
            });
        };
        if field.kind != *kind {
            differs(field.kind.to_string(), kind.to_string());
        }
        if field.width != Width::Bits(*bits) {
            differs(field.width.to_string(), Width::Bits(*bits).to_string());
        }
        if position != at && table.fields.len() == wanted.len() {
            differs(
                format!("key element {}", position + 1),
                format!("{}", at + 1),
            );
        }
    }
    for field in table
        .fields
        .iter()
        .filter(|field| !wanted.iter().any(|(name, ..)| *name == field.name))
    {
        found.push(Mismatch::Extra {
            owner: owner.clone(),
            kind: "key element",
            name: field.name.clone(),
        });
    }
}

fn features(
    table: &Table,
    actions: &[String],
    counter: bool,
    idle_timeout: bool,
    found: &mut Vec<Mismatch>,
) {
    let mut lacks = |what: String| {
        found.push(Mismatch::Lacks {
            owner: title("table", &table.name),
            what,
        })
    };
    for action in actions
        .iter()
        .filter(|action| table.action(action).is_none())
    {
        lacks(title("action", action));
    }
    if counter && table.direct_counter.is_none() {
        lacks("direct counter".into());
    }
    if idle_timeout && !table.idle_timeout {
        lacks("idle timeout".into());
    }
}

fn elements(
    owner: &str,
    kind: &'static str,
    have: &[Param],
    wanted: &[(String, u32)],
    found: &mut Vec<Mismatch>,
) {
    for (name, bits) in wanted {
        let expected = Width::Bits(*bits);
        match have.iter().find(|param| param.name == *name) {
            None => found.push(Mismatch::Element {
                owner: owner.to_owned(),
                kind,
                name: name.clone(),
                expected: expected.to_string(),
            }),
            Some(param) if param.width != expected => found.push(Mismatch::Differs {
                owner: owner.to_owned(),
                name: name.clone(),
                found: param.width.to_string(),
                expected: expected.to_string(),
            }),
            Some(_) => {}
        }
    }
    for param in have
        .iter()
        .filter(|param| !wanted.iter().any(|(name, _)| *name == param.name))
    {
        found.push(Mismatch::Extra {
            owner: owner.to_owned(),
            kind,
            name: param.name.clone(),
        });
    }
}
