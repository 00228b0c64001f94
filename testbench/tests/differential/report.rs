//! Divergences for people: what was written, what came in, what left.

use p4runtime::client::UpdateResult;
use p4runtime::proto::p4::v1 as pb;
use pb::entity::Entity;
use pb::table_action::Type as Call;

use crate::pair::{Case, Run, Sample, Sent, show_match};

/// An update that only one of the two took.
pub fn update(
    sample: &Sample,
    update: &pb::Update,
    (ours, theirs): &(UpdateResult, UpdateResult),
) -> String {
    let result = |of: &UpdateResult| match of {
        Ok(()) => "taken".to_owned(),
        Err(error) => error.to_string(),
    };
    format!(
        "{}\n  softnic: {}\n  reference: {}",
        show(sample, update),
        result(ours),
        result(theirs)
    )
}

/// A case whose last packet leaves differently.
pub fn packet(sample: &Sample, case: &Case, run: &Run) -> String {
    let mut lines: Vec<String> = case.updates.iter().map(|of| show(sample, of)).collect();
    for ((port, packet), (ours, theirs)) in case.packets.iter().zip(&run.packets) {
        lines.push(format!("packet {port} {}", hex(packet)));
        lines.push(format!("  softnic:   {}", sent(ours)));
        lines.push(match theirs {
            Ok(theirs) => format!("  reference: {}", sent(theirs)),
            Err(ended) => format!("  reference: {ended}"),
        });
    }
    lines.join("\n")
}

/// Counters that differ.
pub fn state(run: &Run) -> String {
    let (ours, theirs) = &run.state;
    let only = |a: &[String], b: &[String]| {
        let all = a.iter().filter(|line| !b.contains(line)).take(8).cloned();
        all.collect::<Vec<_>>().join("; ")
    };
    format!(
        "counters\n  softnic:   {}\n  reference: {}",
        only(ours, theirs),
        only(theirs, ours)
    )
}

fn sent(sent: &Sent) -> String {
    let all = sent
        .iter()
        .map(|(port, packet)| format!("port {port} {}", hex(packet)));
    let all = all.collect::<Vec<_>>().join(", ");
    if all.is_empty() {
        "nothing".to_owned()
    } else {
        all
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(sample: &Sample, update: &pb::Update) -> String {
    match update.entity.as_ref().and_then(|of| of.entity.as_ref()) {
        Some(Entity::TableEntry(entry)) => {
            let table = sample.schema.tables.get(entry.table_id);
            let key: Vec<String> = entry.r#match.iter().map(show_match).collect();
            let call = entry.action.as_ref().and_then(|of| of.r#type.as_ref());
            format!(
                "{} {} {} priority {} {}",
                if entry.is_default_action {
                    "default"
                } else {
                    "add"
                },
                table.map_or("?", |table| table.name.as_str()),
                key.join(" "),
                entry.priority,
                match call {
                    Some(Call::Action(action)) => show_action(sample, action),
                    Some(Call::ActionProfileActionSet(set)) => {
                        let all = set.action_profile_actions.iter().map(|of| {
                            let action = of.action.as_ref();
                            format!(
                                "{} of {}",
                                of.weight,
                                action.map_or_else(String::new, |of| show_action(sample, of))
                            )
                        });
                        all.collect::<Vec<_>>().join(" | ")
                    }
                    other => format!("{other:?}"),
                }
            )
        }
        Some(Entity::ActionProfileMember(member)) => format!(
            "member {} {}",
            member.member_id,
            member
                .action
                .as_ref()
                .map_or_else(String::new, |of| show_action(sample, of))
        ),
        Some(Entity::PacketReplicationEngineEntry(entry)) => match &entry.r#type {
            Some(pb::packet_replication_engine_entry::Type::MulticastGroupEntry(group)) => {
                format!(
                    "group {} {}",
                    group.multicast_group_id,
                    replicas(&group.replicas)
                )
            }
            Some(pb::packet_replication_engine_entry::Type::CloneSessionEntry(session)) => {
                format!(
                    "session {} {}",
                    session.session_id,
                    replicas(&session.replicas)
                )
            }
            None => "nothing".to_owned(),
        },
        other => format!("{other:?}"),
    }
}

fn replicas(replicas: &[pb::Replica]) -> String {
    let all = replicas.iter().map(|replica| match &replica.port_kind {
        Some(pb::replica::PortKind::EgressPort(port)) => {
            format!("port {port} rid {}", replica.instance)
        }
        other => format!("{other:?}"),
    });
    all.collect::<Vec<_>>().join(", ")
}

fn show_action(sample: &Sample, action: &pb::Action) -> String {
    let name = sample.schema.actions.get(action.action_id);
    let params = action
        .params
        .iter()
        .map(|param| format!("0x{}", hex(&param.value)));
    format!(
        "{}({})",
        name.map_or("?", |action| action.name.as_str()),
        params.collect::<Vec<_>>().join(", ")
    )
}
