//! Items of the switch → entities on the wire: the inverse of [`super::validate`].

use p4runtime_proto::p4::v1 as proto;
use proto::entity::Entity as Kind;
use proto::field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};

use super::switch::{
    ActionSet, Call, CloneSession, CounterData, Entry, EntryAction, Group, Item, Key, Match,
    Member, MulticastGroup, Replica, ReplicaPort, Want, Watch,
};
use crate::schema::{Action, MatchField, Param, Schema, Width};
use crate::value;

/// An entity; `want` says which costly parts of an entry are kept.
pub fn entity(item: &Item<'_>, want: Want) -> proto::Entity {
    let kind = match item {
        Item::Entry(entry) => Kind::TableEntry(table_entry(entry, want)),
        Item::DirectCounter { table, key, data } => {
            Kind::DirectCounterEntry(proto::DirectCounterEntry {
                table_entry: Some(keyed(table.id, &table.fields, key)),
                data: Some(counter_data(*data)),
            })
        }
        Item::DirectMeter { table, key, config } => {
            Kind::DirectMeterEntry(proto::DirectMeterEntry {
                table_entry: Some(keyed(table.id, &table.fields, key)),
                config: *config,
                counter_data: None,
            })
        }
        Item::Member(item) => Kind::ActionProfileMember(member(item)),
        Item::Group(item) => Kind::ActionProfileGroup(group(item)),
        Item::Counter {
            counter,
            index,
            data,
        } => Kind::CounterEntry(proto::CounterEntry {
            counter_id: counter.id,
            index: index.map(position),
            data: Some(counter_data(*data)),
        }),
        Item::Meter {
            meter,
            index,
            config,
        } => Kind::MeterEntry(proto::MeterEntry {
            meter_id: meter.id,
            index: index.map(position),
            config: *config,
            counter_data: None,
        }),
        Item::Register {
            register,
            index,
            data,
        } => Kind::RegisterEntry(proto::RegisterEntry {
            register_id: register.id,
            index: index.map(position),
            data: Some(data.as_ref().clone()),
        }),
        Item::MulticastGroup(group) => replication(multicast_group(group)),
        Item::CloneSession(session) => replication(clone_session(session)),
        Item::ValueSet { set, members } => Kind::ValueSetEntry(proto::ValueSetEntry {
            value_set_id: set.id,
            members: members
                .iter()
                .map(|m| proto::ValueSetMember {
                    r#match: matches(&set.fields, m),
                })
                .collect(),
        }),
    };
    proto::Entity { entity: Some(kind) }
}

fn replication(kind: proto::packet_replication_engine_entry::Type) -> Kind {
    Kind::PacketReplicationEngineEntry(proto::PacketReplicationEngineEntry { r#type: Some(kind) })
}

/// A table entry; `want` says which costly parts are kept.
pub fn table_entry(entry: &Entry<'_>, want: Want) -> proto::TableEntry {
    proto::TableEntry {
        action: entry.action.as_ref().map(action),
        controller_metadata: entry.controller_metadata,
        meter_config: entry.meter.filter(|_| want.meter),
        counter_data: entry.counter.filter(|_| want.counter).map(counter_data),
        idle_timeout_ns: signed(entry.idle_timeout_ns),
        time_since_last_hit: entry.idle_for_ns.filter(|_| want.idle).map(|ns| {
            proto::table_entry::IdleTimeout {
                elapsed_ns: signed(ns),
            }
        }),
        metadata: entry.metadata.to_vec(),
        is_const: entry.is_const,
        ..keyed(entry.table.id, &entry.table.fields, &entry.key)
    }
}

/// What a notification says of an entry.
pub(super) fn idle_entry(entry: &Entry<'_>) -> proto::TableEntry {
    proto::TableEntry {
        controller_metadata: entry.controller_metadata,
        metadata: entry.metadata.to_vec(),
        idle_timeout_ns: signed(entry.idle_timeout_ns),
        ..keyed(entry.table.id, &entry.table.fields, &entry.key)
    }
}

/// A packet, or nothing if the fields are not those of the program's header.
pub(super) fn packet_in(
    schema: &Schema,
    payload: Vec<u8>,
    values: &[&[u8]],
) -> Option<proto::PacketIn> {
    let fields = schema
        .packet_in()
        .map(|header| header.fields.as_slice())
        .unwrap_or_default();
    if fields.len() != values.len() {
        return None;
    }
    let metadata = fields
        .iter()
        .zip(values)
        .map(|(field, value)| metadata(field, value))
        .collect();
    Some(proto::PacketIn { payload, metadata })
}

fn metadata(field: &Param, value: &[u8]) -> proto::PacketMetadata {
    let value = match field.width {
        Width::Bits(_) => value::canonical(value),
        Width::String => value,
    };
    proto::PacketMetadata {
        metadata_id: field.id,
        value: value.to_vec(),
    }
}

fn keyed(table_id: u32, fields: &[MatchField], key: &Key<'_>) -> proto::TableEntry {
    match key {
        Key::Default => proto::TableEntry {
            table_id,
            is_default_action: true,
            ..Default::default()
        },
        Key::Entry {
            fields: values,
            priority,
        } => proto::TableEntry {
            table_id,
            r#match: matches(fields, values),
            priority: *priority,
            ..Default::default()
        },
    }
}

fn matches(fields: &[MatchField], values: &[Match<'_>]) -> Vec<proto::FieldMatch> {
    let mut all = Vec::with_capacity(values.len());
    all.extend(fields.iter().zip(values).filter_map(|(field, value)| {
        let kind = match value {
            Match::Exact(value) => FieldMatchType::Exact(Exact {
                value: value.to_vec(),
            }),
            Match::Lpm { value, prefix } => FieldMatchType::Lpm(Lpm {
                value: value.to_vec(),
                prefix_len: *prefix as i32,
            }),
            Match::Ternary { value, mask } => FieldMatchType::Ternary(Ternary {
                value: value.to_vec(),
                mask: mask.to_vec(),
            }),
            Match::Range { low, high } => FieldMatchType::Range(Range {
                low: low.to_vec(),
                high: high.to_vec(),
            }),
            Match::Optional(value) => FieldMatchType::Optional(Optional {
                value: value.to_vec(),
            }),
            Match::Any => return None,
        };
        Some(proto::FieldMatch {
            field_id: field.id,
            field_match_type: Some(kind),
        })
    }));
    all
}

fn action(action: &EntryAction<'_>) -> proto::TableAction {
    use proto::table_action::Type;
    let kind = match action {
        EntryAction::Call(item) => Type::Action(call(item)),
        EntryAction::Member(id) => Type::ActionProfileMemberId(*id),
        EntryAction::Group(id) => Type::ActionProfileGroupId(*id),
        EntryAction::Set(set) => Type::ActionProfileActionSet(action_set(set)),
    };
    proto::TableAction { r#type: Some(kind) }
}

fn call(call: &Call<'_>) -> proto::Action {
    let Action { id, params, .. } = call.action.as_ref();
    let values = params.iter().zip(&call.args);
    let params = values.map(|(param, value)| proto::action::Param {
        param_id: param.id,
        value: value.to_vec(),
    });
    proto::Action {
        action_id: *id,
        params: params.collect(),
    }
}

fn action_set(set: &ActionSet<'_>) -> proto::ActionProfileActionSet {
    use proto::action_profile_action::WatchKind;
    let one = |action: &super::switch::SetAction<'_>| proto::ActionProfileAction {
        action: Some(call(&action.call)),
        weight: action.weight as i32,
        watch_kind: match action.watch {
            Watch::None => None,
            Watch::Number(number) => Some(WatchKind::Watch(number)),
            Watch::Port(port) => Some(WatchKind::WatchPort(port.to_vec())),
        },
    };
    proto::ActionProfileActionSet {
        group_action: set.group_action.as_ref().map(call),
        action_profile_actions: set.actions.iter().map(one).collect(),
        action_selection_mode: set.mode as i32,
        size_semantics: set.size as i32,
    }
}

fn member(member: &Member<'_>) -> proto::ActionProfileMember {
    proto::ActionProfileMember {
        action_profile_id: member.profile.id,
        member_id: member.id,
        action: member.call.as_ref().map(call),
    }
}

fn group(group: &Group<'_>) -> proto::ActionProfileGroup {
    use proto::action_profile_group::member::WatchKind;
    let one = |member: &super::switch::GroupMember<'_>| proto::action_profile_group::Member {
        member_id: member.member,
        weight: member.weight as i32,
        watch_kind: match member.watch {
            Watch::None => None,
            Watch::Number(number) => Some(WatchKind::Watch(number)),
            Watch::Port(port) => Some(WatchKind::WatchPort(port.to_vec())),
        },
    };
    proto::ActionProfileGroup {
        action_profile_id: group.profile.id,
        group_id: group.id,
        members: group.members.iter().map(one).collect(),
        max_size: i32::try_from(group.max_size).unwrap_or(i32::MAX),
    }
}

fn multicast_group(group: &MulticastGroup<'_>) -> proto::packet_replication_engine_entry::Type {
    proto::packet_replication_engine_entry::Type::MulticastGroupEntry(proto::MulticastGroupEntry {
        multicast_group_id: group.id,
        replicas: replicas(&group.replicas),
        metadata: group.metadata.to_vec(),
    })
}

fn clone_session(session: &CloneSession<'_>) -> proto::packet_replication_engine_entry::Type {
    proto::packet_replication_engine_entry::Type::CloneSessionEntry(proto::CloneSessionEntry {
        session_id: session.id,
        replicas: replicas(&session.replicas),
        class_of_service: session.class_of_service,
        packet_length_bytes: i32::try_from(session.packet_length).unwrap_or(i32::MAX),
    })
}

fn replicas(replicas: &[Replica<'_>]) -> Vec<proto::Replica> {
    use proto::replica::PortKind;
    let one = |replica: &Replica<'_>| proto::Replica {
        instance: replica.instance,
        backup_replicas: replica.backups.to_vec(),
        port_kind: Some(match replica.port {
            ReplicaPort::Number(number) => PortKind::EgressPort(number),
            ReplicaPort::Port(port) => PortKind::Port(port.to_vec()),
        }),
    };
    replicas.iter().map(one).collect()
}

fn counter_data(data: CounterData) -> proto::CounterData {
    proto::CounterData {
        byte_count: signed(data.bytes),
        packet_count: signed(data.packets),
    }
}

fn position(index: u64) -> proto::Index {
    proto::Index {
        index: signed(index),
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
