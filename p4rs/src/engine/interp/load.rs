//! Loading: tables, profiles and extern objects of a program, and the entries that it brings along.
//!
//! In: a checked program and its lowered code. Out: a [`Machine`]. Invariant: an entry of the program that does not
//! fit is a load error, so nothing of the program is silently left out.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use num_bigint::BigInt;
use num_traits::ToPrimitive;
use parking_lot::RwLock;

use super::super::arch::Arch;
use super::super::externs::{
    CounterArray, Externs, HashAlgorithm, HostPorts, MeterArray, MeterUnit, Object, RegisterArray,
    RegisterLeaf, Replication, ValueSetState,
};
use super::super::native::Native;
use super::super::tables::{
    ActionCall, ActionPlan, FieldMatch, MatchKind, MatchTable, NewEntry, OwnedField, Profile,
    TableConfig, TableError,
};
use super::super::{Architecture, Config, Execution, LoadError, Time, bits, layout};
use super::lower::Lower;
use super::machine::Machine;
use crate::ir::{
    Annotated, Const, EntryKey, ExternInstance, Handle, Program, PropertyValue, Table, Type,
};
use crate::valid::Checked;

impl Machine {
    /// Loads a program.
    pub fn load(checked: Arc<Checked>, config: Config) -> Result<Self, LoadError> {
        let program = checked.program();
        let package = program.package.as_ref().ok_or(LoadError::NoPackage)?;
        let kind = Architecture::of(&package.name)
            .ok_or_else(|| LoadError::Architecture(package.name.clone()))?;
        let mut lower = Lower::new(program, kind)?;
        let arch = Arch::load(kind, program, package, &config, &mut lower)?;
        lower.all_tables()?;
        let code = lower.finish()?;
        let loader = Loader {
            program,
            arch: kind,
            config: &config,
        };
        let externs = loader.externs()?;
        let mut profiles: Vec<Option<Arc<Profile>>> = vec![None; program.externs.len()];
        let mut tables = Vec::with_capacity(program.tables.len());
        for (handle, table) in program.tables.iter() {
            tables.push(loader.table(handle, table, &mut profiles)?);
        }
        let mut machine = Self {
            program: Arc::clone(&checked),
            config,
            code,
            tables,
            profiles,
            externs,
            replication: Replication::default(),
            arch,
            native: None,
        };
        if machine.config.execution == Execution::Native {
            machine.native = Native::compile(&machine).ok();
        }
        Ok(machine)
    }
}

struct Loader<'p> {
    program: &'p Program,
    arch: Architecture,
    config: &'p Config,
}

/// The extern instance of a property.
fn instance_of(value: &PropertyValue) -> Option<Handle<ExternInstance>> {
    match value {
        PropertyValue::Extern(instance) | PropertyValue::Const(Const::Extern(instance)) => {
            Some(*instance)
        }
        PropertyValue::Const(_) => None,
    }
}

fn number(value: Option<&Const>) -> u64 {
    match value {
        Some(Const::Int(value)) => value.to_u64().unwrap_or(0),
        _ => 0,
    }
}

impl Loader<'_> {
    fn property<'t>(&self, table: &'t Table, names: &[&str]) -> Option<&'t PropertyValue> {
        table
            .properties
            .iter()
            .find(|p| names.contains(&p.name.as_str()))
            .map(|p| &p.value)
    }

    fn flag(&self, table: &Table, name: &str) -> bool {
        matches!(
            self.property(table, &[name]),
            Some(PropertyValue::Const(Const::Bool(true)))
        )
    }

    fn action_plans(&self, table: &Table) -> Vec<ActionPlan> {
        let plan = |reference: &crate::ir::ActionRef| {
            let data = layout::action_data(self.program, reference.action);
            ActionPlan {
                params: data.map(|ty| layout::number(self.program, ty).0).collect(),
                scope: reference.scope,
            }
        };
        table.actions.iter().map(plan).collect()
    }

    fn table(
        &self,
        handle: Handle<Table>,
        table: &Table,
        profiles: &mut [Option<Arc<Profile>>],
    ) -> Result<MatchTable, LoadError> {
        let actions = self.action_plans(table);
        let keys = self.keys(table)?;
        let implementation = self
            .property(table, &["implementation", "pna_implementation"])
            .and_then(instance_of);
        let profile = match implementation {
            Some(instance) => Some(self.profile(instance, &actions, profiles)?),
            None => None,
        };
        let unit = |name: &[&str]| {
            self.property(table, name)
                .and_then(instance_of)
                .map(|meter| self.meter_unit(meter))
        };
        let capacity = match table.size {
            _ if self.config.unlimited_tables => None,
            Some(size) => Some(size),
            None => self.config.default_table_size,
        };
        let data = self.action_data(table, &table.default_action);
        let direct_counter = self
            .property(table, &["counters", "pna_direct_counter"])
            .is_some();
        let made = MatchTable::new(TableConfig {
            far_lines: self.config.far_from,
            handle,
            keys: keys.clone(),
            actions: actions.clone(),
            default: (table.default_action.action, data),
            const_default: table.const_default,
            const_entries: table.const_entries,
            // A table holds its own entries whatever its size says.
            capacity: capacity.map(|size| size.max(table.entries.len() as u64)),
            idle_timeouts: self.flag(table, "support_timeout"),
            learner: self.flag(table, "add_on_miss"),
            direct_counter,
            counts_hits: direct_counter && self.arch == Architecture::V1Model,
            direct_meter: unit(&["meters", "pna_direct_meter"]),
            profile,
        });
        let made = made.ok_or_else(|| LoadError::MatchKind {
            table: table.name.control_plane.clone(),
            kind: String::from("this combination of match kinds"),
        })?;
        self.entries(table, &keys, &made)?;
        Ok(made)
    }

    fn keys(&self, table: &Table) -> Result<Vec<(MatchKind, u32)>, LoadError> {
        let mut keys = Vec::new();
        for key in &table.keys {
            let kind = match key.match_kind.as_str() {
                "exact" => MatchKind::Exact,
                "lpm" => MatchKind::Lpm,
                "ternary" => MatchKind::Ternary,
                "range" => MatchKind::Range,
                "optional" => MatchKind::Optional,
                "selector" => continue,
                other => {
                    let table = table.name.control_plane.clone();
                    return Err(LoadError::MatchKind {
                        table,
                        kind: other.to_owned(),
                    });
                }
            };
            keys.push((
                kind,
                layout::number(self.program, self.program.exprs[key.expr].ty).0,
            ));
        }
        Ok(keys)
    }

    fn action_data(&self, table: &Table, call: &crate::ir::ActionCall) -> Vec<Vec<u8>> {
        let Some(reference) = table.actions.get(call.action) else {
            return Vec::new();
        };
        layout::action_data(self.program, reference.action)
            .zip(&call.data)
            .map(|(ty, value)| self.const_bytes(value, ty))
            .collect()
    }

    fn const_bytes(&self, value: &Const, ty: Handle<Type>) -> Vec<u8> {
        let (width, _) = layout::number(self.program, ty);
        let number = match value {
            Const::Int(value) => value.clone(),
            Const::Bool(value) => BigInt::from(u8::from(*value)),
            Const::Error(index) | Const::Enum { index, .. } => BigInt::from(*index),
            _ => BigInt::default(),
        };
        int_bytes(&number, width)
    }

    fn entries(
        &self,
        table: &Table,
        keys: &[(MatchKind, u32)],
        made: &MatchTable,
    ) -> Result<(), LoadError> {
        let priorities = entry_priorities(table);
        let prioritised = keys.iter().any(|(kind, _)| {
            matches!(
                kind,
                MatchKind::Ternary | MatchKind::Range | MatchKind::Optional
            )
        });
        for (index, (entry, priority)) in table.entries.iter().zip(priorities).enumerate() {
            let plain = table
                .keys
                .iter()
                .zip(&entry.keys)
                .filter(|(key, _)| key.match_kind != "selector");
            let fields: Vec<OwnedField> = plain
                .zip(keys)
                .map(|((_, value), &(kind, width))| field(value, kind, width))
                .collect();
            let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
            let data = self.action_data(table, &entry.action);
            let params: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let call = ActionCall {
                action: entry.action.action,
                params: &params,
            };
            let mut new = NewEntry::new(&fields, call);
            new.priority = if prioritised { priority } else { 0 };
            match made.insert_from(Time(0), &new, table.const_entries || entry.is_const) {
                // Of two equal entries the first one stands, as in the reference switch.
                Ok(()) | Err(TableError::Exists) => {}
                Err(source) => {
                    return Err(LoadError::Entry {
                        table: table.name.control_plane.clone(),
                        index,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    fn profile(
        &self,
        instance: Handle<ExternInstance>,
        actions: &[ActionPlan],
        profiles: &mut [Option<Arc<Profile>>],
    ) -> Result<Arc<Profile>, LoadError> {
        if let Some(profile) = &profiles[instance.index()] {
            return Ok(Arc::clone(profile));
        }
        let object = &self.program.externs[instance];
        let algorithm = object.args.iter().find_map(|(_, value)| match value {
            Const::Enum { member, .. } => Some(member.clone()),
            _ => None,
        });
        let algorithm = match (object.kind.as_str(), algorithm) {
            ("action_profile" | "ActionProfile", _) => None,
            (_, Some(name)) => {
                Some(HashAlgorithm::by_name(&name).ok_or(LoadError::HashAlgorithm(name))?)
            }
            (_, None) => Some(HashAlgorithm::Crc32),
        };
        let size = object.args.iter().find_map(|(_, value)| match value {
            Const::Int(size) => size.to_u64(),
            _ => None,
        });
        let size = if self.config.unlimited_tables {
            u64::MAX
        } else {
            size.unwrap_or(u64::MAX)
        };
        let max_group = object
            .annotations
            .annotation_int("max_group_size")
            .and_then(|max| max.to_u64());
        let profile = Profile::new(
            actions.to_vec(),
            algorithm,
            size,
            max_group.filter(|&max| max > 0).unwrap_or(size),
        );
        let profile = Arc::new(profile);
        profiles[instance.index()] = Some(Arc::clone(&profile));
        Ok(profile)
    }

    fn meter_unit(&self, instance: Handle<ExternInstance>) -> MeterUnit {
        let bytes = self.program.externs[instance].args.iter().any(|(_, value)| {
            matches!(value, Const::Enum { member, .. } if member.eq_ignore_ascii_case("bytes"))
        });
        if bytes {
            MeterUnit::Bytes
        } else {
            MeterUnit::Packets
        }
    }

    fn externs(&self) -> Result<Externs, LoadError> {
        let objects = self
            .program
            .externs
            .iter()
            .map(|(handle, _)| self.object(handle));
        let mut objects: Vec<Object> = objects.collect::<Result<_, _>>()?;
        RegisterArray::lay_together(objects.iter_mut().filter_map(|object| match object {
            Object::Register(register) => Some(register),
            _ => None,
        }));
        let sets = self.program.value_sets.iter().map(|(_, set)| {
            let leaves = layout::leaves(self.program, set.ty);
            let widths = leaves.iter().map(|leaf| leaf.width).collect();
            RwLock::new(ValueSetState::new(widths, set.size))
        });
        Ok(Externs {
            objects,
            value_sets: sets.collect(),
            host_ports: self.host_ports(),
            random: AtomicU64::new(self.config.seed),
        })
    }

    fn host_ports(&self) -> HostPorts {
        let ports = HostPorts::default();
        let given = self.config.host_ports.iter();
        given.for_each(|&port| ports.set(port, true));
        ports
    }

    fn object(&self, handle: Handle<ExternInstance>) -> Result<Object, LoadError> {
        /// Cells of one array; an index is at most 32 bits on every target.
        const MAX_CELLS: u64 = 1 << 28;
        let object = &self.program.externs[handle];
        let size = number(object.args.first().map(|(_, value)| value));
        if matches!(
            object.kind.as_str(),
            "counter" | "Counter" | "meter" | "Meter" | "register" | "Register"
        ) && size > MAX_CELLS
        {
            return Err(LoadError::TooBig(size));
        }
        Ok(match object.kind.as_str() {
            "counter" | "Counter" => Object::Counter(CounterArray::new(size)),
            "meter" | "Meter" => Object::Meter(MeterArray::new(size, self.meter_unit(handle))),
            "register" | "Register" => Object::Register(self.register(object, size)),
            _ => Object::Stateless,
        })
    }

    fn register(&self, object: &ExternInstance, size: u64) -> RegisterArray {
        let Some(&ty) = object.type_args.first() else {
            return RegisterArray::new(0, vec![0], Vec::new());
        };
        let mut initial = vec![0; layout::slots(self.program, ty).max(1) as usize];
        if let (Some((_, Const::Int(value))), Type::Bits { width, .. }) = (
            object.args.get(1),
            &self.program.types[self.program.resolve(ty)],
        ) {
            bits::from_bigint(value, *width, &mut initial);
        }
        let leaves = layout::leaves(self.program, ty);
        let leaves = leaves
            .iter()
            .map(|leaf| RegisterLeaf {
                slot: leaf.slot,
                width: leaf.width,
            })
            .collect();
        RegisterArray::new(size, initial, leaves)
    }
}

/// A number modulo 2^width in big-endian bytes.
fn int_bytes(value: &BigInt, width: u32) -> Vec<u8> {
    let mut words = vec![0; bits::words(width) as usize];
    bits::from_bigint(value, width, &mut words);
    bits::words_to_bytes(&words, width)
}

/// A field of a program's entry.
fn field(key: &EntryKey, kind: MatchKind, width: u32) -> OwnedField {
    let ones = BigInt::from(-1);
    let bytes = |value: &BigInt| int_bytes(value, width);
    let value_of = |value: &Const| match value {
        Const::Int(value) => value.clone(),
        Const::Bool(value) => BigInt::from(u8::from(*value)),
        Const::Error(index) | Const::Enum { index, .. } => BigInt::from(*index),
        _ => BigInt::default(),
    };
    let (value, mask) = match key {
        EntryKey::Any => return OwnedField::DontCare,
        EntryKey::Range(low, high) => return OwnedField::Range(bytes(low), bytes(high)),
        EntryKey::Value(value) => (bytes(&value_of(value)), bytes(&ones)),
        EntryKey::Mask(value, mask) => {
            let (value, mask) = (bytes(value), bytes(mask));
            (value.iter().zip(&mask).map(|(v, m)| v & m).collect(), mask)
        }
    };
    let prefix: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    match kind {
        MatchKind::Exact => OwnedField::Exact(value),
        MatchKind::Lpm => OwnedField::Lpm(value, prefix),
        MatchKind::Ternary => OwnedField::Ternary(value, mask),
        MatchKind::Range => OwnedField::Range(value.clone(), value),
        MatchKind::Optional if prefix == 0 => OwnedField::DontCare,
        MatchKind::Optional => OwnedField::Optional(value),
    }
}

/// Priorities of a table's entries, larger first. Without any `priority` the first entry wins (N … 1); with them
/// they follow section 14.2.1.4 of P4-16: missing ones count down (or up, where the smallest wins) by
/// `priority_delta`. `@priority` is the older form, in which the smallest wins.
fn entry_priorities(table: &Table) -> Vec<i32> {
    let property = |name: &str| {
        table
            .properties
            .iter()
            .find(|p| p.name == name)
            .map(|p| &p.value)
    };
    let largest_wins = !matches!(
        property("largest_priority_wins"),
        Some(PropertyValue::Const(Const::Bool(false)))
    );
    let delta = match property("priority_delta") {
        Some(PropertyValue::Const(Const::Int(delta))) => delta.to_i64().unwrap_or(1),
        _ => 1,
    };
    let count = table.entries.len() as i64;
    let mut next = if largest_wins {
        (count - 1).saturating_mul(delta).saturating_add(1)
    } else {
        1
    };
    let mut out = Vec::with_capacity(table.entries.len());
    for entry in &table.entries {
        let older = entry.annotations.annotation("priority").is_some();
        let given = entry.priority.as_ref().and_then(|p| p.to_i64());
        let own = given.unwrap_or(next);
        next = if largest_wins {
            own.saturating_sub(delta)
        } else {
            own.saturating_add(delta)
        };
        let smallest_wins = !largest_wins || older;
        let rank = if smallest_wins {
            i64::from(i32::MAX).saturating_sub(own)
        } else {
            own
        };
        out.push(rank.clamp(1, i64::from(i32::MAX)) as i32);
    }
    out
}
