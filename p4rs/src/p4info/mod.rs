//! P4Info: what a controller may name in a program, with the ids by which P4Runtime names it.
//!
//! In: a lowered program. Out: the `P4Info` message, and [`Ids`] to go from the message's ids to the handles of the
//! IR and back.
//!
//! ```text
//! ir::Program ─▶ reach: what the pipeline can use, in the order the controls declare it
//!             ─▶ symbols: a name, an id and an alias for each
//!             ─▶ actions, tables, resources, type_spec: the message, part by part
//! ```
//!
//! The message is, field by field and in the same order, what `p4c-bm2-ss` (v1model), `p4c-dpdk --arch pna` and
//! the PSA back ends of p4c 1.2.5 emit with `--p4runtime-files`: controllers generated from either fit either.
//! Invariant: ids depend on names and `@id` only, so that two compilations of one program agree.

mod actions;
mod annotation;
mod arch;
mod ids;
mod reach;
mod resources;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;
mod type_spec;

use p4runtime_proto::p4::config::v1 as pb;

use crate::ir::{Annotated, AnnotationBody, AnnotationValue, Program};

pub use ids::{ActionIds, Ids, PacketMetadataIds, TableIds};

use arch::Arch;
use reach::Reachable;
use symbols::{Kind, SymbolTable};

/// A program's control-plane interface.
#[derive(Clone, Debug, Default)]
pub struct P4Info {
    /// The message that `SetForwardingPipelineConfig` carries.
    pub message: pb::P4Info,
    /// Between the message's ids and the program's handles.
    pub ids: Ids,
}

/// Why a program has no P4Info.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two objects carry the same `@id`.
    #[error("@id {id} is given to both {first} and {second}; ids must be unique")]
    DuplicateId {
        /// The id with its type prefix.
        id: u32,
        /// Control-plane name of one.
        first: String,
        /// Control-plane name of the other.
        second: String,
    },
    /// The top byte of an `@id` says another kind of object.
    #[error("@id {id:#010x} of {name} must begin with {prefix:#04x} or leave the first byte zero")]
    WrongPrefix {
        /// As written.
        id: u32,
        /// Control-plane name.
        name: String,
        /// What its first byte should be.
        prefix: u8,
    },
    /// An `@id` that is not a 32-bit number, or zero where that is not allowed.
    #[error("@id of {name} must be a positive 32-bit number")]
    BadId {
        /// Control-plane name.
        name: String,
    },
    /// All 2^24 ids of one kind are taken.
    #[error("no id is left for {name}")]
    NoIdLeft {
        /// Control-plane name.
        name: String,
    },
    /// Two objects of one kind have the same control-plane name.
    #[error("the name {name} is used for several objects of the same kind; rename one with @name")]
    DuplicateName {
        /// Control-plane name.
        name: String,
    },
}

/// What every part of the message is built from.
struct Build<'a> {
    program: &'a Program,
    arch: Arch,
    reach: Reachable,
    symbols: SymbolTable,
    message: pb::P4Info,
    ids: Ids,
}

/// Derives the control-plane interface of `program`.
pub fn build(program: &Program) -> Result<P4Info, Error> {
    let arch = Arch::of(program);
    let reach = Reachable::of(program, &arch);
    let symbols = symbols::collect(program, &arch, &reach)?;
    let mut build = Build {
        program,
        arch,
        reach,
        symbols,
        message: pb::P4Info::default(),
        ids: Ids::default(),
    };
    build.add_value_sets()?;
    build.add_actions()?;
    build.add_externs();
    build.add_tables()?;
    build.add_digests();
    build.add_packet_metadata()?;
    build.sort_resources();
    build.check_names()?;
    build.add_package();
    Ok(P4Info {
        message: build.message,
        ids: build.ids,
    })
}

impl Build<'_> {
    fn id(&self, kind: Kind, name: &str) -> u32 {
        self.symbols.id(kind, name)
    }

    fn preamble(
        &self,
        kind: Kind,
        name: &str,
        from: &impl Annotated,
        skip: &[&str],
    ) -> pb::Preamble {
        let mut preamble = pb::Preamble {
            id: self.id(kind, name),
            name: name.to_owned(),
            alias: self.symbols.alias(name),
            ..Default::default()
        };
        annotation::fill(
            from,
            skip,
            &mut preamble.annotations,
            &mut preamble.structured_annotations,
        );
        preamble.doc = annotation::documentation(from);
        preamble
    }

    fn type_info(&mut self) -> &mut pb::P4TypeInfo {
        self.message.type_info.get_or_insert_default()
    }

    /// `pkg_info`: the architecture, and what `@pkginfo` and `@platform_property` on `main` say.
    fn add_package(&mut self) {
        if self.program.package.is_none() {
            return;
        }
        let mut info = pb::PkgInfo {
            arch: self.arch.name.clone(),
            ..Default::default()
        };
        let main = &self.program.annotations;
        for (key, value) in key_values(main, "pkginfo") {
            let AnnotationValue::String(value) = value else {
                continue;
            };
            match key.as_str() {
                "name" => info.name = value,
                "version" => info.version = value,
                "organization" => info.organization = value,
                "contact" => info.contact = value,
                "url" => info.url = value,
                "arch" => info.arch = value,
                _ => {}
            }
        }
        if main.annotation("platform_property").is_some() {
            info.platform_properties = Some(platform_properties(main));
        }
        annotation::fill(
            main,
            &["pkginfo", "platform_property"],
            &mut info.annotations,
            &mut info.structured_annotations,
        );
        info.doc = annotation::documentation(main);
        self.message.pkg_info = Some(info);
    }

    /// Equal names within one kind make an object unreachable for controllers.
    fn check_names(&self) -> Result<(), Error> {
        let mut actions = std::collections::HashMap::new();
        for (_, action) in self.program.actions.iter() {
            let name = &action.name.control_plane;
            // Copies of one action for several instances are one action.
            if *actions.entry(name).or_insert(action.span) != action.span {
                return Err(Error::DuplicateName { name: name.clone() });
            }
        }
        let m = &self.message;
        let lists: [Vec<&Option<pb::Preamble>>; 8] = [
            m.tables.iter().map(|x| &x.preamble).collect(),
            m.action_profiles.iter().map(|x| &x.preamble).collect(),
            m.counters.iter().map(|x| &x.preamble).collect(),
            m.direct_counters.iter().map(|x| &x.preamble).collect(),
            m.meters.iter().map(|x| &x.preamble).collect(),
            m.direct_meters.iter().map(|x| &x.preamble).collect(),
            m.registers.iter().map(|x| &x.preamble).collect(),
            m.value_sets.iter().map(|x| &x.preamble).collect(),
        ];
        for list in lists {
            let mut seen = std::collections::HashSet::new();
            for preamble in list.into_iter().flatten() {
                if !seen.insert(&preamble.name) {
                    return Err(Error::DuplicateName {
                        name: preamble.name.clone(),
                    });
                }
            }
        }
        Ok(())
    }
}

fn key_values(annotations: &[crate::ir::Annotation], name: &str) -> Vec<(String, AnnotationValue)> {
    match annotations.iter().find(|a| a.name == name).map(|a| &a.body) {
        Some(AnnotationBody::KeyValues(pairs)) => pairs.clone(),
        Some(AnnotationBody::Unstructured(text)) => annotation::key_values(text),
        _ => Vec::new(),
    }
}

fn platform_properties(main: &[crate::ir::Annotation]) -> pb::PlatformProperties {
    let mut properties = pb::PlatformProperties::default();
    for (key, value) in key_values(main, "platform_property") {
        let AnnotationValue::Int(value) = value else {
            continue;
        };
        let Ok(value) = i32::try_from(value) else {
            continue;
        };
        match key.as_str() {
            "multicast_group_table_size" => properties.multicast_group_table_size = value,
            "multicast_group_table_total_replicas" => {
                properties.multicast_group_table_total_replicas = value
            }
            "multicast_group_table_max_replicas_per_entry" => {
                properties.multicast_group_table_max_replicas_per_entry = value;
            }
            _ => {}
        }
    }
    properties
}
