//! P4Info → [`Schema`]: resolves references, and refuses what later code would stumble over.

use std::collections::HashMap;
use std::sync::Arc;

use p4info::p4_new_type_spec::Representation;
use p4info::p4_new_type_translation::SdnType;
use p4runtime_proto::p4::config::v1 as p4info;

use super::*;

/// Why a P4Info is no description of a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// An object without preamble or with id 0.
    #[error("{kind} {name:?} has no id")]
    NoId {
        /// Kind of object.
        kind: &'static str,
        /// Its name, if it has one.
        name: String,
    },
    /// Two objects with one id.
    #[error("id {id:#010x} stands for two objects, the second is {kind} {name}")]
    DuplicateId {
        /// Kind of the second.
        kind: &'static str,
        /// Name of the second.
        name: String,
        /// The id.
        id: u32,
    },
    /// Two objects of a kind with one full name.
    #[error("two objects of kind {kind} are named {name}")]
    DuplicateName {
        /// Kind of both.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Two key elements, parameters or header fields with one id, or id 0.
    #[error("{owner}: id {id} of {name} is 0 or taken")]
    ElementId {
        /// The object.
        owner: String,
        /// The element.
        name: String,
        /// The id.
        id: u32,
    },
    /// A reference to nothing.
    #[error("{owner}: no {kind} has id {id:#010x}")]
    Dangling {
        /// The object that refers.
        owner: String,
        /// Kind of what it refers to.
        kind: &'static str,
        /// The id.
        id: u32,
    },
    /// A width that is not positive although the type is a number.
    #[error("{owner}: {name} has width {bitwidth}")]
    Width {
        /// The object.
        owner: String,
        /// The element.
        name: String,
        /// As given.
        bitwidth: i32,
    },
    /// A match kind that P4Runtime does not define.
    #[error("{owner}: match kind of {name} is not supported")]
    MatchKind {
        /// The table or value set.
        owner: String,
        /// The key element.
        name: String,
    },
    /// A number that must not be negative.
    #[error("{owner}: {what} is negative")]
    Negative {
        /// The object.
        owner: String,
        /// Which number.
        what: &'static str,
    },
}

pub(super) fn build(info: p4info::P4Info) -> Result<Schema, SchemaError> {
    let mut ids = HashMap::new();
    let mut types = Builder {
        info: &info,
        ids: &mut ids,
    };
    let actions = types.index(
        "action",
        &info.actions,
        |a| a.preamble.as_ref(),
        |b, a, p| b.action(a, p),
    )?;
    let action_profiles = types.index(
        "action profile",
        &info.action_profiles,
        |a| a.preamble.as_ref(),
        |b, a, p| b.profile(a, p),
    )?;
    let direct_counters = types.index(
        "direct counter",
        &info.direct_counters,
        |c| c.preamble.as_ref(),
        |_, c, _| Ok(unit(c.spec)),
    )?;
    let direct_meters = types.index(
        "direct meter",
        &info.direct_meters,
        |m| m.preamble.as_ref(),
        |_, m, _| Ok(meter_spec(m.spec)),
    )?;
    let tables = types.index(
        "table",
        &info.tables,
        |t| t.preamble.as_ref(),
        |b, t, p| {
            b.table(
                t,
                p,
                &actions,
                &action_profiles,
                &direct_counters,
                &direct_meters,
            )
        },
    )?;
    let counters = types.index(
        "counter",
        &info.counters,
        |c| c.preamble.as_ref(),
        |_, c, p| {
            let size = size(c.size, &p.name, "size")?;
            Ok(Counter {
                id: p.id,
                name: p.name.clone(),
                alias: p.alias.clone(),
                unit: unit(c.spec),
                size,
            })
        },
    )?;
    let meters = types.index(
        "meter",
        &info.meters,
        |m| m.preamble.as_ref(),
        |_, m, p| {
            let size = size(m.size, &p.name, "size")?;
            Ok(Meter {
                id: p.id,
                name: p.name.clone(),
                alias: p.alias.clone(),
                spec: meter_spec(m.spec),
                size,
            })
        },
    )?;
    let registers = types.index(
        "register",
        &info.registers,
        |r| r.preamble.as_ref(),
        |_, r, p| {
            let (size, cell) = (
                size(r.size.into(), &p.name, "size")?,
                r.type_spec.clone().unwrap_or_default(),
            );
            Ok(Register {
                id: p.id,
                name: p.name.clone(),
                alias: p.alias.clone(),
                size,
                cell,
            })
        },
    )?;
    let digests = types.index(
        "digest",
        &info.digests,
        |d| d.preamble.as_ref(),
        |_, d, p| {
            let message = d.type_spec.clone().unwrap_or_default();
            Ok(Digest {
                id: p.id,
                name: p.name.clone(),
                alias: p.alias.clone(),
                message,
            })
        },
    )?;
    let value_sets = types.index(
        "value set",
        &info.value_sets,
        |v| v.preamble.as_ref(),
        |b, v, p| {
            let (fields, size) = (
                b.fields(&p.name, &v.r#match)?,
                size(v.size.into(), &p.name, "size")?,
            );
            Ok(ValueSet {
                id: p.id,
                name: p.name.clone(),
                alias: p.alias.clone(),
                fields,
                size,
            })
        },
    )?;
    let headers = types.index(
        "controller header",
        &info.controller_packet_metadata,
        |h| h.preamble.as_ref(),
        |b, h, p| b.packet_header(h, p),
    )?;
    let (packet_in, packet_out) = (
        headers.named("packet_in").cloned(),
        headers.named("packet_out").cloned(),
    );
    Ok(Schema {
        tables,
        actions,
        action_profiles,
        counters,
        meters,
        registers,
        digests,
        value_sets,
        packet_in,
        packet_out,
        info,
    })
}

struct Builder<'a> {
    info: &'a p4info::P4Info,
    ids: &'a mut HashMap<u32, ()>,
}

impl Builder<'_> {
    fn index<S, T>(
        &mut self,
        kind: &'static str,
        sources: &[S],
        preamble: impl Fn(&S) -> Option<&p4info::Preamble>,
        make: impl Fn(&Self, &S, &p4info::Preamble) -> Result<T, SchemaError>,
    ) -> Result<Index<T>, SchemaError> {
        let mut index = Index::default();
        for (at, source) in sources.iter().enumerate() {
            let preamble = match preamble(source) {
                Some(preamble) if preamble.id != 0 => preamble,
                other => {
                    let name = other.map(|p| p.name.clone()).unwrap_or_default();
                    return Err(SchemaError::NoId { kind, name });
                }
            };
            let name = preamble.name.clone();
            if self.ids.insert(preamble.id, ()).is_some() {
                return Err(SchemaError::DuplicateId {
                    kind,
                    name,
                    id: preamble.id,
                });
            }
            if index.by_name.insert(name.clone(), at).is_some() {
                return Err(SchemaError::DuplicateName { kind, name });
            }
            index.by_id.insert(preamble.id, at);
            index.all.push(Arc::new(make(self, source, preamble)?));
        }
        // Full names win over the aliases of others.
        for (at, source) in sources.iter().enumerate() {
            if let Some(alias) = preamble(source)
                .map(|p| &p.alias)
                .filter(|alias| !alias.is_empty())
            {
                index.by_name.entry(alias.clone()).or_insert(at);
            }
        }
        Ok(index)
    }

    fn action(
        &self,
        action: &p4info::Action,
        preamble: &p4info::Preamble,
    ) -> Result<Action, SchemaError> {
        let mut params: Vec<Param> = Vec::with_capacity(action.params.len());
        for param in &action.params {
            let named = self.param(
                &preamble.name,
                param.id,
                &param.name,
                param.bitwidth,
                param.type_name.as_ref(),
            )?;
            push_element(&mut params, named, &preamble.name)?;
        }
        Ok(Action {
            id: preamble.id,
            name: preamble.name.clone(),
            alias: preamble.alias.clone(),
            params,
        })
    }

    fn packet_header(
        &self,
        header: &p4info::ControllerPacketMetadata,
        preamble: &p4info::Preamble,
    ) -> Result<PacketHeader, SchemaError> {
        let mut fields = Vec::with_capacity(header.metadata.len());
        for field in &header.metadata {
            let named = self.param(
                &preamble.name,
                field.id,
                &field.name,
                field.bitwidth,
                field.type_name.as_ref(),
            )?;
            push_element(&mut fields, named, &preamble.name)?;
        }
        Ok(PacketHeader {
            id: preamble.id,
            name: preamble.name.clone(),
            fields,
        })
    }

    fn param(
        &self,
        owner: &str,
        id: u32,
        name: &str,
        bitwidth: i32,
        type_name: Option<&p4info::P4NamedType>,
    ) -> Result<Param, SchemaError> {
        let (width, translation) = self.width(owner, name, bitwidth, type_name)?;
        let type_name = type_name.map(|t| t.name.clone());
        Ok(Param {
            id,
            name: name.to_owned(),
            width,
            type_name,
            translation,
        })
    }

    fn fields(
        &self,
        owner: &str,
        fields: &[p4info::MatchField],
    ) -> Result<Vec<MatchField>, SchemaError> {
        let mut all: Vec<MatchField> = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.name.clone();
            if field.id == 0 || all.iter().any(|other| other.id == field.id) {
                return Err(SchemaError::ElementId {
                    owner: owner.to_owned(),
                    name,
                    id: field.id,
                });
            }
            let (width, translation) =
                self.width(owner, &name, field.bitwidth, field.type_name.as_ref())?;
            let kind = match_kind(field).ok_or_else(|| SchemaError::MatchKind {
                owner: owner.to_owned(),
                name: name.clone(),
            })?;
            let type_name = field.type_name.as_ref().map(|t| t.name.clone());
            all.push(MatchField {
                id: field.id,
                name,
                width,
                kind,
                type_name,
                translation,
            });
        }
        Ok(all)
    }

    /// The controller's view of a value, and the URI of its translation.
    fn width(
        &self,
        owner: &str,
        name: &str,
        bitwidth: i32,
        type_name: Option<&p4info::P4NamedType>,
    ) -> Result<(Width, Option<String>), SchemaError> {
        let translation = type_name
            .and_then(|named| self.info.type_info.as_ref()?.new_types.get(&named.name))
            .and_then(|spec| match &spec.representation {
                Some(Representation::TranslatedType(translated)) => Some(translated),
                _ => None,
            });
        let uri = translation.map(|t| t.uri.clone());
        match translation.and_then(|t| t.sdn_type) {
            Some(SdnType::SdnString(_)) => return Ok((Width::String, uri)),
            Some(SdnType::SdnBitwidth(bits)) if bits > 0 => {
                return Ok((Width::Bits(bits as u32), uri));
            }
            _ => {}
        }
        if bitwidth <= 0 {
            return Err(SchemaError::Width {
                owner: owner.to_owned(),
                name: name.to_owned(),
                bitwidth,
            });
        }
        Ok((Width::Bits(bitwidth as u32), uri))
    }

    fn profile(
        &self,
        profile: &p4info::ActionProfile,
        preamble: &p4info::Preamble,
    ) -> Result<ActionProfile, SchemaError> {
        use p4info::action_profile::SelectorSizeSemantics;
        let max_group_size = size(
            profile.max_group_size.into(),
            &preamble.name,
            "max_group_size",
        )?;
        let semantics = match &profile.selector_size_semantics {
            Some(SelectorSizeSemantics::SumOfMembers(members)) => {
                let weight = size(
                    members.max_member_weight.into(),
                    &preamble.name,
                    "max_member_weight",
                )?;
                SizeSemantics::Members {
                    max_member_weight: weight as u32,
                }
            }
            _ => SizeSemantics::Weights,
        };
        Ok(ActionProfile {
            id: preamble.id,
            name: preamble.name.clone(),
            alias: preamble.alias.clone(),
            table_ids: profile.table_ids.clone(),
            with_selector: profile.with_selector,
            size: size(profile.size, &preamble.name, "size")?,
            max_group_size: max_group_size as u32,
            semantics,
            weights_disallowed: profile.weights_disallowed,
        })
    }

    fn table(
        &self,
        table: &p4info::Table,
        preamble: &p4info::Preamble,
        actions: &Index<Action>,
        profiles: &Index<ActionProfile>,
        counters: &Index<CounterUnit>,
        meters: &Index<MeterSpec>,
    ) -> Result<Table, SchemaError> {
        let owner = preamble.name.as_str();
        let dangling = |kind, id| SchemaError::Dangling {
            owner: owner.to_owned(),
            kind,
            id,
        };
        let fields = self.fields(owner, &table.match_fields)?;
        let actions = table
            .action_refs
            .iter()
            .map(|reference| {
                let action = actions
                    .get(reference.id)
                    .cloned()
                    .ok_or_else(|| dangling("action", reference.id))?;
                Ok(ActionRef {
                    action,
                    scope: scope(reference.scope()),
                })
            })
            .collect::<Result<Vec<_>, SchemaError>>()?;
        let action_profile = match table.implementation_id {
            0 => None,
            id => Some(
                profiles
                    .get(id)
                    .cloned()
                    .ok_or_else(|| dangling("action profile", id))?,
            ),
        };
        let (mut direct_counter, mut direct_meter) = (None, None);
        for id in &table.direct_resource_ids {
            match (counters.get(*id), meters.get(*id)) {
                (Some(unit), _) => direct_counter = Some(**unit),
                (_, Some(spec)) => direct_meter = Some(**spec),
                (None, None) => return Err(dangling("direct resource", *id)),
            }
        }
        Ok(Table {
            id: preamble.id,
            name: owner.to_owned(),
            alias: preamble.alias.clone(),
            needs_priority: fields.iter().any(|field| field.kind.needs_priority()),
            fields,
            actions,
            const_default_action: Some(table.const_default_action_id).filter(|id| *id != 0),
            action_profile,
            direct_counter,
            direct_meter,
            size: size(table.size, owner, "size")?,
            idle_timeout: table.idle_timeout_behavior()
                == p4info::table::IdleTimeoutBehavior::NotifyControl,
            is_const: table.is_const_table,
        })
    }
}

fn push_element(all: &mut Vec<Param>, element: Param, owner: &str) -> Result<(), SchemaError> {
    if element.id == 0 || all.iter().any(|other| other.id == element.id) {
        return Err(SchemaError::ElementId {
            owner: owner.to_owned(),
            name: element.name,
            id: element.id,
        });
    }
    all.push(element);
    Ok(())
}

fn match_kind(field: &p4info::MatchField) -> Option<MatchKind> {
    use p4info::match_field::{Match, MatchType};
    match field.r#match {
        Some(Match::MatchType(number)) => match MatchType::try_from(number).ok()? {
            MatchType::Exact => Some(MatchKind::Exact),
            MatchType::Lpm => Some(MatchKind::Lpm),
            MatchType::Ternary => Some(MatchKind::Ternary),
            MatchType::Range => Some(MatchKind::Range),
            MatchType::Optional => Some(MatchKind::Optional),
            MatchType::Unspecified => None,
        },
        _ => None,
    }
}

fn scope(scope: p4info::action_ref::Scope) -> Scope {
    match scope {
        p4info::action_ref::Scope::TableAndDefault => Scope::TableAndDefault,
        p4info::action_ref::Scope::TableOnly => Scope::TableOnly,
        p4info::action_ref::Scope::DefaultOnly => Scope::DefaultOnly,
        p4info::action_ref::Scope::GroupAction => Scope::GroupAction,
    }
}

fn unit(spec: Option<p4info::CounterSpec>) -> CounterUnit {
    match spec.unwrap_or_default().unit() {
        p4info::counter_spec::Unit::Bytes => CounterUnit::Bytes,
        p4info::counter_spec::Unit::Packets => CounterUnit::Packets,
        _ => CounterUnit::Both,
    }
}

fn meter_spec(spec: Option<p4info::MeterSpec>) -> MeterSpec {
    let spec = spec.unwrap_or_default();
    let kind = match spec.r#type() {
        p4info::meter_spec::Type::TwoRateThreeColor => MeterKind::TwoRateThreeColor,
        p4info::meter_spec::Type::SingleRateThreeColor => MeterKind::SingleRateThreeColor,
        p4info::meter_spec::Type::SingleRateTwoColor => MeterKind::SingleRateTwoColor,
    };
    MeterSpec {
        bytes: spec.unit() != p4info::meter_spec::Unit::Packets,
        kind,
    }
}

fn size(number: i64, owner: &str, what: &'static str) -> Result<u64, SchemaError> {
    u64::try_from(number).map_err(|_| SchemaError::Negative {
        owner: owner.to_owned(),
        what,
    })
}
