//! Tables: match fields, action references, default action and direct resources.
//!
//! In: the reachable tables. Out: `Table` messages, and for each table's direct counter and meter their messages.

use p4runtime_proto::p4::config::v1 as pb;

use super::actions::{action_data, match_kind};
use super::arch::Resource;
use super::symbols::{Kind, field_ids};
use super::type_spec::{self, TypeSpecs};
use super::{ActionIds, Build, Error, TableIds, annotation, resources};
use crate::ir::{
    ActionCall, ActionRef, ActionScope, Annotated, Annotation, AnnotationBody, Const, Handle, Key,
    Property, PropertyValue, Table,
};

/// Size of a table that names none (v1model's default, which p4c uses for every architecture).
const DEFAULT_SIZE: u64 = 1024;

impl Annotated for Key {
    fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }
}

impl Build<'_> {
    pub(super) fn add_tables(&mut self) -> Result<(), Error> {
        for handle in self.reach.tables.clone() {
            let table = &self.program.tables[handle];
            if !table.name.hidden {
                self.table(handle, table)?;
            }
        }
        Ok(())
    }

    fn table(&mut self, handle: Handle<Table>, table: &Table) -> Result<(), Error> {
        self.type_info();
        let name = &table.name.control_plane;
        let preamble = self.preamble(Kind::Table, name, &table.annotations, &[]);
        let mut ids = TableIds {
            id: preamble.id,
            ..Default::default()
        };
        for action in &table.actions {
            ids.actions.push(self.action_ids(action)?);
        }
        let fields = field_ids(name, table.keys.iter())?;
        let shown = |(key, id): (&Key, &u32)| {
            if match_kind(&key.match_kind).is_some() {
                *id
            } else {
                0
            }
        };
        ids.fields = table.keys.iter().zip(&fields).map(shown).collect();

        let mut message = pb::Table {
            preamble: Some(preamble),
            match_fields: self.match_fields(table, &fields),
            action_refs: table
                .actions
                .iter()
                .map(|action| self.action_ref(action))
                .collect(),
            size: i64::try_from(table.size.filter(|&size| size > 0).unwrap_or(DEFAULT_SIZE))
                .unwrap_or(i64::MAX),
            initial_default_action: self.default_action(table, &table.default_action),
            is_const_table: table.const_entries,
            has_initial_entries: !table.entries.is_empty(),
            idle_timeout_behavior: self.idle_timeout(table).into(),
            ..Default::default()
        };
        if table.const_default {
            message.const_default_action_id = message
                .initial_default_action
                .as_ref()
                .map_or(0, |call| call.action_id);
        }
        self.direct_resources(table, &mut message);
        ids.implementation = Some(message.implementation_id).filter(|&id| id != 0);
        self.ids.add_table(handle, ids);
        self.message.tables.push(message);
        Ok(())
    }

    fn action_ids(&self, action: &ActionRef) -> Result<ActionIds, Error> {
        let action = &self.program.actions[action.action];
        let name = &action.name.control_plane;
        Ok(ActionIds {
            id: self.id(Kind::Action, name),
            params: field_ids(name, action_data(action))?,
        })
    }

    fn match_fields(&mut self, table: &Table, ids: &[u32]) -> Vec<pb::MatchField> {
        let mut fields = Vec::new();
        for (key, &id) in table.keys.iter().zip(ids) {
            let Some(kind) = match_kind(&key.match_kind) else {
                continue;
            };
            let program = self.program;
            let ty = program.exprs[key.expr].ty;
            TypeSpecs {
                program,
                info: self.type_info(),
            }
            .spec(ty);
            let mut field = pb::MatchField {
                id,
                name: key.name.clone(),
                bitwidth: type_spec::width(program, ty),
                type_name: type_spec::new_type_name(program, ty),
                doc: annotation::documentation(key),
                r#match: Some(kind),
                ..Default::default()
            };
            annotation::fill(
                key,
                &[],
                &mut field.annotations,
                &mut field.structured_annotations,
            );
            fields.push(field);
        }
        fields
    }

    fn action_ref(&self, action: &ActionRef) -> pb::ActionRef {
        use pb::action_ref::Scope;
        let (scope, implied) = match action.scope {
            ActionScope::TableAndDefault => (Scope::TableAndDefault, None),
            ActionScope::TableOnly => (Scope::TableOnly, Some("tableonly")),
            ActionScope::DefaultOnly => (Scope::DefaultOnly, Some("defaultonly")),
        };
        let mut annotations = action.annotations.clone();
        if let Some(name) = implied.filter(|name| annotations.annotation(name).is_none()) {
            let body = AnnotationBody::Unstructured(String::new());
            annotations.push(Annotation {
                name: name.to_owned(),
                body,
            });
        }
        let name = &self.program.actions[action.action].name.control_plane;
        let mut message = pb::ActionRef {
            id: self.id(Kind::Action, name),
            scope: scope.into(),
            ..Default::default()
        };
        annotation::fill(
            &annotations,
            &[],
            &mut message.annotations,
            &mut message.structured_annotations,
        );
        message
    }

    fn default_action(&self, table: &Table, call: &ActionCall) -> Option<pb::TableActionCall> {
        let action = &self.program.actions[table.actions.get(call.action)?.action];
        let mut message = pb::TableActionCall {
            action_id: self.id(Kind::Action, &action.name.control_plane),
            ..Default::default()
        };
        for (index, (param, value)) in action_data(action).zip(&call.data).enumerate() {
            let width = type_spec::width(self.program, self.program.vars[param.var].ty);
            let value = match value {
                Const::Bool(value) => type_spec::bytes(&u8::from(*value).into(), 1),
                Const::Int(value) => type_spec::bytes(value, width),
                _ => None,
            };
            let Some(value) = value else { continue };
            let given = param
                .annotation_int("id")
                .and_then(|id| u32::try_from(id).ok());
            let param_id = given.unwrap_or_else(|| u32::try_from(index + 1).unwrap_or(u32::MAX));
            message
                .arguments
                .push(pb::table_action_call::Argument { param_id, value });
        }
        Some(message)
    }

    fn idle_timeout(&self, table: &Table) -> pb::table::IdleTimeoutBehavior {
        let supported = match property(table, self.arch.idle_timeout()).map(|p| &p.value) {
            Some(PropertyValue::Const(Const::Bool(value))) => *value,
            Some(PropertyValue::Const(Const::Enum { member, .. })) => member == "NOTIFY_CONTROL",
            _ => false,
        };
        if supported {
            pb::table::IdleTimeoutBehavior::NotifyControl
        } else {
            pb::table::IdleTimeoutBehavior::NoTimeout
        }
    }

    fn direct_resources(&mut self, table: &Table, message: &mut pb::Table) {
        let table_id = message.preamble.as_ref().map_or(0, |preamble| preamble.id);
        let instance = |property: Option<&Property>| match property.map(|p| &p.value) {
            Some(PropertyValue::Extern(instance)) => Some(*instance),
            _ => None,
        };
        if let Some(profile) = instance(property(table, self.arch.implementation())) {
            let name = resources::name(self.program, &self.arch, &self.reach, profile);
            message.implementation_id = self.id(Kind::ActionProfile, &name);
        }
        if let Some(counter) = instance(property(table, self.arch.direct_counter()))
            && let Some(id) = self.direct(counter, Resource::DirectCounter, table_id)
        {
            message.direct_resource_ids.push(id);
        }
        if let Some(meter) = instance(property(table, self.arch.direct_meter()))
            && let Some(id) = self.direct(meter, Resource::DirectMeter, table_id)
        {
            message.direct_resource_ids.push(id);
        }
    }
}

/// A table property by name.
pub(super) fn property<'a>(table: &'a Table, name: &str) -> Option<&'a Property> {
    table
        .properties
        .iter()
        .find(|property| property.name == name)
}
