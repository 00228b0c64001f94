//! Names, ids and aliases of what P4Info shows.
//!
//! In: what is reachable. Out: an id and an alias per control-plane name. An id is one byte for the kind of object and
//! three that `@id` gives, or else the name's hash (Jenkins, one byte at a time), moved up by one while it is
//! taken, names in byte order (P4Runtime specification 1.5, "ID allocation for P4Info objects", and p4c).
//! An alias is the shortest suffix of name components that no other name ends in.
//! Invariant: no id is given twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Error;
use super::arch::{Arch, Resource};
use super::reach::Reachable;
use super::resources;
use crate::ir::{Annotated, Program, Type};

/// Kinds of objects, as the first byte of their ids (`P4Ids.Prefix`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Action = 0x01,
    Table = 0x02,
    ValueSet = 0x03,
    ControllerHeader = 0x04,
    ActionProfile = 0x11,
    Counter = 0x12,
    DirectCounter = 0x13,
    Meter = 0x14,
    DirectMeter = 0x15,
    Register = 0x16,
    Digest = 0x17,
}

impl Kind {
    fn prefix(self) -> u32 {
        (self as u32) << 24
    }

    pub fn of(resource: Resource) -> Self {
        match resource {
            Resource::Counter => Self::Counter,
            Resource::DirectCounter => Self::DirectCounter,
            Resource::Meter => Self::Meter,
            Resource::DirectMeter => Self::DirectMeter,
            Resource::Register => Self::Register,
            Resource::ActionProfile | Resource::ActionSelector => Self::ActionProfile,
            Resource::Digest => Self::Digest,
        }
    }
}

/// Every named object's id.
#[derive(Debug, Default)]
pub(super) struct SymbolTable {
    ids: BTreeMap<Kind, BTreeMap<String, Option<u32>>>,
    taken: HashMap<u32, String>,
    names: BTreeSet<String>,
    /// How many names end in a suffix of components.
    suffixes: HashMap<String, usize>,
}

impl SymbolTable {
    /// Notes a name and the `@id` that it may have.
    fn add(&mut self, kind: Kind, name: &str, from: &impl Annotated) -> Result<(), Error> {
        let known = self.ids.entry(kind).or_default();
        if known.contains_key(name) {
            return Ok(());
        }
        let id = explicit_id(kind, name, from)?;
        known.insert(name.to_owned(), id);
        self.add_suffixes(name);
        if let Some(id) = id
            && let Some(first) = self.taken.insert(id, name.to_owned())
        {
            return Err(Error::DuplicateId {
                id,
                first,
                second: name.to_owned(),
            });
        }
        Ok(())
    }

    fn add_suffixes(&mut self, name: &str) {
        if self.names.insert(name.to_owned()) {
            for suffix in suffixes(name) {
                *self.suffixes.entry(suffix.to_owned()).or_default() += 1;
            }
        }
    }

    /// Gives every name without `@id` the first free id from its hash on.
    fn assign(&mut self) -> Result<(), Error> {
        for (kind, names) in &mut self.ids {
            for (name, id) in names.iter_mut().filter(|(_, id)| id.is_none()) {
                let start = jenkins_one_at_a_time(name.as_bytes());
                let free = (0..=0x00ff_ffffu32)
                    .map(|step| kind.prefix() | (start.wrapping_add(step) & 0x00ff_ffff))
                    .find(|id| !self.taken.contains_key(id))
                    .ok_or_else(|| Error::NoIdLeft { name: name.clone() })?;
                self.taken.insert(free, name.clone());
                *id = Some(free);
            }
        }
        Ok(())
    }

    /// The id of a name that was collected; zero (no id) for any other.
    pub fn id(&self, kind: Kind, name: &str) -> u32 {
        self.ids
            .get(&kind)
            .and_then(|names| names.get(name))
            .copied()
            .flatten()
            .unwrap_or(0)
    }

    /// The shortest unambiguous suffix of a name.
    pub fn alias(&self, name: &str) -> String {
        let unique = |suffix: &&str| self.suffixes.get(*suffix).is_none_or(|&count| count < 2);
        suffixes(name).find(unique).unwrap_or(name).to_owned()
    }
}

/// The suffixes of a dotted name, shortest first, the whole name last.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let starts = name.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
    starts.map(move |start| &name[start..])
}

/// `@id` with its type prefix.
fn explicit_id(kind: Kind, name: &str, from: &impl Annotated) -> Result<Option<u32>, Error> {
    let Some(id) = from.annotation_int("id") else {
        return Ok(None);
    };
    let id = u32::try_from(id).map_err(|_| Error::BadId {
        name: name.to_owned(),
    })?;
    let given = id & 0xff00_0000;
    if given != 0 && given != kind.prefix() {
        return Err(Error::WrongPrefix {
            id,
            name: name.to_owned(),
            prefix: kind as u8,
        });
    }
    Ok(Some(id | kind.prefix()))
}

/// Bob Jenkins's one-at-a-time hash.
fn jenkins_one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = 0u32;
    for &byte in key {
        hash = hash.wrapping_add(u32::from(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// Collects and numbers everything that P4Info shows.
pub(super) fn collect(
    program: &Program,
    arch: &Arch,
    reach: &Reachable,
) -> Result<SymbolTable, Error> {
    let mut symbols = SymbolTable::default();
    for &action in &reach.actions {
        let action = &program.actions[action];
        symbols.add(
            Kind::Action,
            &action.name.control_plane,
            &action.annotations,
        )?;
    }
    for &table in &reach.tables {
        let table = &program.tables[table];
        symbols.add(Kind::Table, &table.name.control_plane, &table.annotations)?;
    }
    for &set in &reach.value_sets {
        let set = &program.value_sets[set];
        symbols.add(Kind::ValueSet, &set.name.control_plane, &set.annotations)?;
    }
    for (handle, instance) in program.externs.iter() {
        let Some(resource) = arch.resource(&instance.kind) else {
            continue;
        };
        let name = resources::name(program, arch, reach, handle);
        symbols.add(Kind::of(resource), &name, &instance.annotations)?;
    }
    for (name, _) in &reach.digests {
        symbols.add(Kind::Digest, name, &Vec::new())?;
    }
    for &header in &program.controller_headers {
        if let Type::Header(fields) = &program.types[header] {
            let name = super::type_spec::name(&fields.name, &fields.annotations);
            symbols.add(Kind::ControllerHeader, &name, &fields.annotations)?;
        }
    }
    symbols.assign()?;
    Ok(symbols)
}

/// Ids of things inside an object (match fields, parameters, metadata): `@id`, else counted from one, the counter
/// moving with every item and past ids that are taken.
pub(super) fn field_ids<'a, A: Annotated + 'a>(
    owner: &str,
    items: impl Iterator<Item = &'a A> + Clone,
) -> Result<Vec<u32>, Error> {
    let bad = || Error::BadId {
        name: owner.to_owned(),
    };
    let mut taken = BTreeSet::new();
    let mut given = Vec::new();
    for item in items {
        let id = match item.annotation_int("id") {
            Some(id) => Some(
                u32::try_from(id)
                    .ok()
                    .filter(|&id| id != 0)
                    .ok_or_else(bad)?,
            ),
            None => None,
        };
        if let Some(id) = id.filter(|&id| !taken.insert(id)) {
            return Err(Error::DuplicateId {
                id,
                first: owner.to_owned(),
                second: owner.to_owned(),
            });
        }
        given.push(id);
    }
    let mut next = 1u32;
    let assign = |id: Option<u32>| {
        if let Some(id) = id {
            next += 1;
            return id;
        }
        while !taken.insert(next) {
            next += 1;
        }
        next
    };
    Ok(given.into_iter().map(assign).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Annotation, AnnotationBody};

    fn with_id(id: u32) -> Vec<Annotation> {
        vec![Annotation {
            name: "id".into(),
            body: AnnotationBody::Unstructured(id.to_string()),
        }]
    }

    #[test]
    fn hashes_are_those_of_the_reference_compiler() {
        let mut symbols = SymbolTable::default();
        symbols.add(Kind::Action, "NoAction", &Vec::new()).unwrap();
        symbols
            .add(Kind::Table, "IngressI.indirect", &Vec::new())
            .unwrap();
        symbols.add(Kind::ActionProfile, "ap", &Vec::new()).unwrap();
        symbols.assign().unwrap();
        assert_eq!(symbols.id(Kind::Action, "NoAction"), 21_257_015);
        assert_eq!(symbols.id(Kind::Table, "IngressI.indirect"), 46_872_340);
        assert_eq!(symbols.id(Kind::ActionProfile, "ap"), 294_074_782);
    }

    #[test]
    fn a_taken_hash_moves_up() {
        let mut symbols = SymbolTable::default();
        symbols
            .add(Kind::Action, "a", &with_id(21_257_015))
            .unwrap();
        symbols.add(Kind::Action, "NoAction", &Vec::new()).unwrap();
        symbols.assign().unwrap();
        assert_eq!(symbols.id(Kind::Action, "NoAction"), 21_257_016);
    }

    #[test]
    fn ids_with_another_prefix_or_given_twice_are_refused() {
        let mut symbols = SymbolTable::default();
        let wrong = symbols.add(Kind::Action, "a", &with_id(0x0200_0001));
        assert!(matches!(wrong, Err(Error::WrongPrefix { prefix: 1, .. })));
        symbols.add(Kind::Action, "b", &with_id(7)).unwrap();
        assert_eq!(symbols.id(Kind::Action, "b"), 0x0100_0007);
        let twice = symbols.add(Kind::Action, "c", &with_id(0x0100_0007));
        assert!(matches!(
            twice,
            Err(Error::DuplicateId {
                id: 0x0100_0007,
                ..
            })
        ));
    }

    #[test]
    fn aliases_are_the_shortest_unique_suffixes() {
        let mut symbols = SymbolTable::default();
        for name in ["d.a.c", "e.b.c", "c", "x.y"] {
            symbols.add(Kind::Table, name, &Vec::new()).unwrap();
        }
        let aliases = ["d.a.c", "e.b.c", "c", "x.y"].map(|name| symbols.alias(name));
        assert_eq!(aliases, ["a.c", "b.c", "c", "y"]);
    }

    #[test]
    fn fields_are_counted_around_given_ids() {
        let items = [Vec::new(), with_id(2), Vec::new(), with_id(7), Vec::new()];
        assert_eq!(field_ids("t", items.iter()).unwrap(), [1, 2, 3, 7, 4]);
        assert!(field_ids("t", [with_id(0)].iter()).is_err());
        assert!(field_ids("t", [with_id(1), with_id(1)].iter()).is_err());
    }
}
