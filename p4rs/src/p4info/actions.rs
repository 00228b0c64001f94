//! Actions and their parameters, value sets, and controller packet metadata: the parts of P4Info that need no
//! architecture.
//!
//! In: what is reachable. Out: `Action`, `ValueSet` and `ControllerPacketMetadata` messages. Only action data is shown:
//! arguments of parameters with a direction are bound where a table names the action.

use p4runtime_proto::p4::config::v1 as pb;
use pb::match_field::{Match, MatchType};

use super::symbols::{Kind, field_ids};
use super::type_spec::{self, TypeSpecs};
use super::{Build, Error, PacketMetadataIds, annotation};
use crate::ir::{
    Action, Annotated, Annotation, AnnotationBody, Direction, FieldsType, Handle, Param, Program,
    Type, ValueSet,
};

impl Annotated for Param {
    fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }
}

/// The parameters that a controller fills.
pub(super) fn action_data(action: &Action) -> impl Iterator<Item = &Param> + Clone {
    action
        .params
        .iter()
        .filter(|param| param.direction == Direction::None)
}

/// Annotations of an action; core.p4's `NoAction` carries one in p4c's copy of the file.
fn action_annotations(action: &Action) -> Vec<Annotation> {
    let mut annotations = action.annotations.clone();
    if action.name.control_plane == "NoAction" && annotations.annotation("noWarn").is_none() {
        let body = AnnotationBody::Unstructured("\"unused\"".to_owned());
        annotations.push(Annotation {
            name: "noWarn".to_owned(),
            body,
        });
    }
    annotations
}

fn match_type(kind: MatchType) -> Option<Match> {
    Some(Match::MatchType(kind.into()))
}

/// P4Info's name of a match kind; `None` for `selector`, which controllers do not see.
pub(super) fn match_kind(kind: &str) -> Option<Match> {
    match kind {
        "exact" => match_type(MatchType::Exact),
        "lpm" => match_type(MatchType::Lpm),
        "ternary" => match_type(MatchType::Ternary),
        "range" => match_type(MatchType::Range),
        "optional" => match_type(MatchType::Optional),
        "selector" => None,
        other => Some(Match::OtherMatchType(other.to_owned())),
    }
}

impl Build<'_> {
    pub(super) fn add_actions(&mut self) -> Result<(), Error> {
        for handle in self.reach.actions.clone() {
            let action = &self.program.actions[handle];
            if action.name.hidden {
                continue;
            }
            let message = self.action(action)?;
            self.message.actions.push(message);
        }
        Ok(())
    }

    fn action(&mut self, action: &Action) -> Result<pb::Action, Error> {
        let name = &action.name.control_plane;
        let preamble = self.preamble(Kind::Action, name, &action_annotations(action), &[]);
        let ids = field_ids(name, action_data(action))?;
        let in_table = self.reach.in_tables.contains(name);
        let data = action_data(action).zip(ids).filter(|_| in_table);
        let params = data.map(|(param, id)| self.param(param, id)).collect();
        Ok(pb::Action {
            preamble: Some(preamble),
            params,
        })
    }

    fn param(&mut self, param: &Param, id: u32) -> pb::action::Param {
        let program = self.program;
        let var = &program.vars[param.var];
        let mut message = pb::action::Param {
            id,
            name: type_spec::name(&var.name, &param.annotations),
            doc: annotation::documentation(param),
            ..Default::default()
        };
        annotation::fill(
            param,
            &[],
            &mut message.annotations,
            &mut message.structured_annotations,
        );
        TypeSpecs {
            program,
            info: self.type_info(),
        }
        .spec(var.ty);
        message.type_name = type_spec::new_type_name(program, var.ty);
        match &program.types[var.ty] {
            Type::Enum(en) => {
                let name = type_spec::name(&en.name, &en.annotations);
                message.type_name = Some(pb::P4NamedType { name });
            }
            _ => message.bitwidth = type_spec::width(program, var.ty),
        }
        message
    }

    pub(super) fn add_value_sets(&mut self) -> Result<(), Error> {
        for handle in self.reach.value_sets.clone() {
            let set = &self.program.value_sets[handle];
            let name = &set.name.control_plane;
            let preamble = self.preamble(Kind::ValueSet, name, &set.annotations, &[]);
            let id = preamble.id;
            let fields = value_set_fields(self.program, set)?;
            self.ids
                .add_value_set(handle, id, fields.iter().map(|field| field.id).collect());
            self.message.value_sets.push(pb::ValueSet {
                preamble: Some(preamble),
                r#match: fields,
                size: i32::try_from(set.size).unwrap_or(i32::MAX),
            });
        }
        Ok(())
    }

    pub(super) fn add_packet_metadata(&mut self) -> Result<(), Error> {
        for &handle in &self.program.controller_headers {
            if let Type::Header(fields) = &self.program.types[handle]
                && fields.annotations.annotation("hidden").is_none()
            {
                self.controller_header(handle, fields)?;
            }
        }
        Ok(())
    }

    fn controller_header(
        &mut self,
        handle: Handle<Type>,
        fields: &FieldsType,
    ) -> Result<(), Error> {
        let type_name = type_spec::name(&fields.name, &fields.annotations);
        let mut preamble =
            self.preamble(Kind::ControllerHeader, &type_name, &fields.annotations, &[]);
        let name = fields
            .annotations
            .annotation_string("controller_header")
            .unwrap_or(type_name);
        preamble.alias.clone_from(&name);
        preamble.name.clone_from(&name);

        let flat = type_spec::flatten(self.program, fields);
        let numbers = field_ids(&name, flat.iter())?;
        let mut ids = PacketMetadataIds {
            id: preamble.id,
            name,
            header: handle,
            fields: Vec::new(),
        };
        let mut metadata = Vec::new();
        for (field, id) in flat.iter().zip(numbers) {
            let hidden = field.annotation("hidden").is_some();
            let bits = self.program.width(field.ty).unwrap_or(0);
            ids.fields.push((if hidden { 0 } else { id }, bits));
            if hidden {
                continue;
            }
            TypeSpecs {
                program: self.program,
                info: self.message.type_info.get_or_insert_default(),
            }
            .spec(field.ty);
            let mut message = pb::controller_packet_metadata::Metadata {
                id,
                name: field.name.clone(),
                bitwidth: type_spec::width(self.program, field.ty),
                type_name: type_spec::new_type_name(self.program, field.ty),
                ..Default::default()
            };
            annotation::fill(
                field,
                &[],
                &mut message.annotations,
                &mut message.structured_annotations,
            );
            metadata.push(message);
        }
        self.ids.packet_metadata.push(ids);
        let preamble = Some(preamble);
        self.message
            .controller_packet_metadata
            .push(pb::ControllerPacketMetadata { preamble, metadata });
        Ok(())
    }
}

/// The match fields of a value set: one for bits, one per field of a struct, one per member of an enum.
fn value_set_fields(program: &Program, set: &ValueSet) -> Result<Vec<pb::MatchField>, Error> {
    let exact = |id: usize, name: &str, bitwidth| pb::MatchField {
        id: u32::try_from(id).unwrap_or(u32::MAX),
        name: name.to_owned(),
        bitwidth,
        r#match: match_type(MatchType::Exact),
        ..Default::default()
    };
    match &program.types[set.ty] {
        Type::Struct(fields) => value_set_struct(program, &set.name.control_plane, fields),
        Type::SerEnum(en) => {
            let bitwidth = type_spec::width(program, en.under);
            let members = en.members.iter().enumerate();
            Ok(members
                .map(|(index, (name, _))| exact(index + 1, name, bitwidth))
                .collect())
        }
        _ => Ok(vec![exact(1, "", type_spec::width(program, set.ty))]),
    }
}

fn value_set_struct(
    program: &Program,
    owner: &str,
    fields: &FieldsType,
) -> Result<Vec<pb::MatchField>, Error> {
    let flat: Vec<_> = type_spec::flatten(program, fields);
    let ids = field_ids(owner, flat.iter())?;
    let field = |(field, id): (&type_spec::FlatField, u32)| {
        let kind = field
            .annotation("match")
            .map(|annotation| match &annotation.body {
                AnnotationBody::Unstructured(kind) => kind.trim().to_owned(),
                _ => "exact".to_owned(),
            });
        let mut message = pb::MatchField {
            id,
            name: field.name.clone(),
            bitwidth: type_spec::width(program, field.ty),
            r#match: match_kind(kind.as_deref().unwrap_or("exact")),
            doc: annotation::documentation(field),
            ..Default::default()
        };
        annotation::fill(
            field,
            &["match"],
            &mut message.annotations,
            &mut message.structured_annotations,
        );
        message
    };
    Ok(flat.iter().zip(ids).map(field).collect())
}
