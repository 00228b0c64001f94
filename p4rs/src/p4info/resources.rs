//! Extern instances: counters, meters, registers, action profiles and selectors, digests.
//!
//! In: the program's extern instances. Out: their messages, top-level ones first, then as the controls declare them. Direct
//! counters and meters appear with the table that owns them, and only there.

use p4runtime_proto::p4::config::v1 as pb;
use pb::action_profile::{SelectorSizeSemantics, SumOfMembers, SumOfWeights};

use super::Build;
use super::arch::{Arch, Resource};
use super::reach::Reachable;
use super::symbols::Kind;
use super::tables::property;
use super::type_spec::{self, TypeSpecs};
use crate::ir::{
    Annotated, Annotation, Const, ExternInstance, Handle, PackageArg, Program, PropertyValue, Table,
};

const SELECTOR_ANNOTATIONS: [&str; 3] = [
    "max_group_size",
    "selector_size_semantics",
    "max_member_weight",
];

/// The property that builds an instance in place, if one does: it names the instance by `@name`.
fn in_place<'a>(
    program: &'a Program,
    arch: &Arch,
    reach: &Reachable,
    handle: Handle<ExternInstance>,
) -> Option<(&'a Table, &'a crate::ir::Property)> {
    reach.tables.iter().find_map(|&table| {
        let table = &program.tables[table];
        let names = [
            arch.implementation(),
            arch.direct_counter(),
            arch.direct_meter(),
        ];
        names.iter().find_map(|name| {
            let property = property(table, name)?;
            let holds = matches!(property.value, PropertyValue::Extern(held) if held == handle);
            (holds && is_named_after(&program.externs[handle], table)).then_some((table, property))
        })
    })
}

/// Instances without a name of their own bear their table's.
fn is_named_after(instance: &ExternInstance, table: &Table) -> bool {
    let local = &instance.name.local;
    *local == table.name.local
        || table.annotations.annotation_string("name").as_ref() == Some(local)
}

/// Whether an instance stands among the package's arguments, without a declaration.
fn is_package_argument(program: &Program, handle: Handle<ExternInstance>) -> bool {
    let args = program.package.iter().flat_map(|package| &package.args);
    args.into_iter().any(|(param, arg)| {
        matches!(arg, PackageArg::Extern(held) if *held == handle)
            && program.externs[handle].name.local == *param
    })
}

/// The control-plane name of an instance: that of its declaration, or of the property that builds it.
pub(super) fn name(
    program: &Program,
    arch: &Arch,
    reach: &Reachable,
    handle: Handle<ExternInstance>,
) -> String {
    let property = in_place(program, arch, reach, handle).map(|(_, property)| property);
    let named = property.and_then(|property| property.annotations.annotation_string("name"));
    match named {
        Some(name) => name.trim_start_matches('.').to_owned(),
        None => program.externs[handle].name.control_plane.clone(),
    }
}

fn argument<'a>(instance: &'a ExternInstance, name: &str) -> Option<&'a Const> {
    instance
        .args
        .iter()
        .find(|(param, _)| param == name)
        .map(|(_, value)| value)
}

fn size(arch: &Arch, instance: &ExternInstance, resource: Resource) -> i64 {
    match argument(instance, arch.size_parameter(resource)) {
        Some(Const::Int(size)) => i64::try_from(size).unwrap_or(i64::MAX),
        _ => 0,
    }
}

/// The unit that a counter or meter was constructed with.
fn unit(instance: &ExternInstance) -> &str {
    match argument(instance, "type") {
        Some(Const::Enum { member, .. }) => member,
        _ => "",
    }
}

fn int(annotations: &Vec<Annotation>, name: &str) -> Option<i32> {
    i32::try_from(annotations.annotation_int(name)?).ok()
}

impl Build<'_> {
    pub(super) fn add_externs(&mut self) {
        let program = self.program;
        for (handle, instance) in program.externs.iter() {
            if !is_package_argument(program, handle)
                && in_place(program, &self.arch, &self.reach, handle).is_none()
            {
                self.type_info();
            }
            let Some(resource) = self.arch.resource(&instance.kind) else {
                continue;
            };
            let id = self.id(
                Kind::of(resource),
                &name(program, &self.arch, &self.reach, handle),
            );
            self.ids.add_extern(handle, id);
            match resource {
                Resource::Counter => self.counter(instance),
                Resource::Meter => self.meter(instance),
                Resource::Register => self.register(instance),
                Resource::ActionProfile | Resource::ActionSelector => {
                    self.profile(handle, instance, resource)
                }
                Resource::Digest => self.digest_instance(instance),
                Resource::DirectCounter | Resource::DirectMeter => {}
            }
        }
    }

    fn index_type(
        &mut self,
        instance: &ExternInstance,
        resource: Resource,
    ) -> Option<pb::P4NamedType> {
        let program = self.program;
        let ty = *instance.type_args.get(self.arch.index_type(resource)?)?;
        TypeSpecs {
            program,
            info: self.type_info(),
        }
        .spec(ty);
        type_spec::new_type_name(program, ty)
    }

    fn counter(&mut self, instance: &ExternInstance) {
        let name = &instance.name.control_plane;
        let message = pb::Counter {
            preamble: Some(self.preamble(Kind::Counter, name, &instance.annotations, &[])),
            spec: Some(pb::CounterSpec {
                unit: self.arch.counter_unit(unit(instance)).into(),
            }),
            size: size(&self.arch, instance, Resource::Counter),
            index_type_name: self.index_type(instance, Resource::Counter),
        };
        self.message.counters.push(message);
    }

    fn meter(&mut self, instance: &ExternInstance) {
        let name = &instance.name.control_plane;
        let unit = self.arch.meter_unit(unit(instance)).into();
        let message = pb::Meter {
            preamble: Some(self.preamble(Kind::Meter, name, &instance.annotations, &[])),
            spec: Some(pb::MeterSpec {
                unit,
                ..Default::default()
            }),
            size: size(&self.arch, instance, Resource::Meter),
            index_type_name: self.index_type(instance, Resource::Meter),
        };
        self.message.meters.push(message);
    }

    fn register(&mut self, instance: &ExternInstance) {
        let program = self.program;
        let name = &instance.name.control_plane;
        let preamble = self.preamble(Kind::Register, name, &instance.annotations, &[]);
        let data = instance.type_args.first().copied();
        let type_spec = data.map(|ty| {
            TypeSpecs {
                program,
                info: self.type_info(),
            }
            .spec(ty)
        });
        let message = pb::Register {
            preamble: Some(preamble),
            type_spec,
            size: i32::try_from(size(&self.arch, instance, Resource::Register)).unwrap_or(i32::MAX),
            index_type_name: self.index_type(instance, Resource::Register),
        };
        self.message.registers.push(message);
    }

    fn profile(
        &mut self,
        handle: Handle<ExternInstance>,
        instance: &ExternInstance,
        resource: Resource,
    ) {
        let program = self.program;
        let place = in_place(program, &self.arch, &self.reach, handle);
        let annotations =
            place.map_or(&instance.annotations, |(_, property)| &property.annotations);
        let name = name(program, &self.arch, &self.reach, handle);
        let with_selector = resource == Resource::ActionSelector;
        let mut message = pb::ActionProfile {
            preamble: Some(self.preamble(
                Kind::ActionProfile,
                &name,
                annotations,
                &SELECTOR_ANNOTATIONS,
            )),
            table_ids: self.tables_of(handle),
            with_selector,
            size: size(&self.arch, instance, resource),
            ..Default::default()
        };
        if with_selector {
            message.max_group_size = int(annotations, "max_group_size").unwrap_or(0);
            message.selector_size_semantics = size_semantics(annotations);
        }
        self.message.action_profiles.push(message);
    }

    /// Ids of the tables that use an action profile, by table name.
    fn tables_of(&self, profile: Handle<ExternInstance>) -> Vec<u32> {
        let uses = |table: &&Table| {
            let held = property(table, self.arch.implementation()).map(|property| &property.value);
            matches!(held, Some(PropertyValue::Extern(held)) if *held == profile)
        };
        let tables = self
            .reach
            .tables
            .iter()
            .map(|&table| &self.program.tables[table]);
        let mut names: Vec<&String> = tables
            .filter(uses)
            .map(|table| &table.name.control_plane)
            .collect();
        names.sort();
        names
            .into_iter()
            .map(|name| self.id(Kind::Table, name))
            .collect()
    }

    fn digest_instance(&mut self, instance: &ExternInstance) {
        let program = self.program;
        let name = &instance.name.control_plane;
        let preamble = self.preamble(Kind::Digest, name, &instance.annotations, &[]);
        let data = instance.type_args.first().copied();
        let type_spec = data.map(|ty| {
            TypeSpecs {
                program,
                info: self.type_info(),
            }
            .spec(ty)
        });
        self.message.digests.push(pb::Digest {
            preamble: Some(preamble),
            type_spec,
        });
    }

    /// v1model's digests: one per type that `digest` is called with.
    pub(super) fn add_digests(&mut self) {
        let program = self.program;
        if self.reach.extern_calls {
            self.type_info();
        }
        for (name, ty) in self.reach.digests.clone() {
            let preamble = self.preamble(Kind::Digest, &name, &Vec::new(), &[]);
            self.ids.add_digest(ty, preamble.id);
            let type_spec = TypeSpecs {
                program,
                info: self.type_info(),
            }
            .spec(ty);
            self.message.digests.push(pb::Digest {
                preamble: Some(preamble),
                type_spec: Some(type_spec),
            });
        }
    }

    /// Shows a table's direct counter or meter; `None` when the property holds something else.
    pub(super) fn direct(
        &mut self,
        handle: Handle<ExternInstance>,
        resource: Resource,
        direct_table_id: u32,
    ) -> Option<u32> {
        let program = self.program;
        let instance = &program.externs[handle];
        if self.arch.resource(&instance.kind) != Some(resource) {
            return None;
        }
        let place = in_place(program, &self.arch, &self.reach, handle);
        let annotations =
            place.map_or(&instance.annotations, |(_, property)| &property.annotations);
        let name = name(program, &self.arch, &self.reach, handle);
        let preamble = self.preamble(Kind::of(resource), &name, annotations, &[]);
        let id = preamble.id;
        let preamble = Some(preamble);
        if resource == Resource::DirectCounter {
            let spec = Some(pb::CounterSpec {
                unit: self.arch.counter_unit(unit(instance)).into(),
            });
            self.message.direct_counters.push(pb::DirectCounter {
                preamble,
                spec,
                direct_table_id,
            });
        } else {
            let unit = self.arch.meter_unit(unit(instance)).into();
            let spec = Some(pb::MeterSpec {
                unit,
                ..Default::default()
            });
            self.message.direct_meters.push(pb::DirectMeter {
                preamble,
                spec,
                direct_table_id,
            });
        }
        Some(id)
    }

    /// Instances declared outside of controls come first.
    pub(super) fn sort_resources(&mut self) {
        let local = |preamble: &Option<pb::Preamble>| {
            preamble.as_ref().is_some_and(|p| p.name.contains('.'))
        };
        self.message.counters.sort_by_key(|x| local(&x.preamble));
        self.message.meters.sort_by_key(|x| local(&x.preamble));
        self.message.registers.sort_by_key(|x| local(&x.preamble));
    }
}

fn size_semantics(annotations: &Vec<Annotation>) -> Option<SelectorSizeSemantics> {
    let name = annotations.annotation_string("selector_size_semantics")?;
    if name.eq_ignore_ascii_case("sum_of_members") {
        let max_member_weight = int(annotations, "max_member_weight").unwrap_or(0);
        return Some(SelectorSizeSemantics::SumOfMembers(SumOfMembers {
            max_member_weight,
        }));
    }
    name.eq_ignore_ascii_case("sum_of_weights")
        .then_some(SelectorSizeSemantics::SumOfWeights(SumOfWeights {}))
}
