//! Multicast groups and clone sessions.

use std::collections::HashSet;

use p4runtime_proto::p4::v1 as proto;
use proto::packet_replication_engine_entry::Type;

use super::super::switch::{CloneSession, Item, MulticastGroup, Op, Replica, ReplicaPort};
use super::Invalid;
use super::key::present;
use crate::value;

pub(super) fn entry(
    op: Op,
    given: &proto::PacketReplicationEngineEntry,
) -> Result<Item<'_>, Invalid> {
    match given
        .r#type
        .as_ref()
        .ok_or(Invalid::Missing("replication engine entry"))?
    {
        Type::MulticastGroupEntry(group) => multicast_group(op, group),
        Type::CloneSessionEntry(session) => clone_session(op, session),
    }
}

fn multicast_group(op: Op, given: &proto::MulticastGroupEntry) -> Result<Item<'_>, Invalid> {
    let id = given.multicast_group_id;
    if id == 0 {
        return Err(Invalid::Missing("multicast group id"));
    }
    let mut group = MulticastGroup {
        id,
        replicas: Vec::new(),
        metadata: &[],
    };
    if op != Op::Delete {
        group.replicas = replicas(&given.replicas)?;
        group.metadata = &given.metadata;
        unique(id, &group.replicas)?;
    }
    Ok(Item::MulticastGroup(group))
}

fn clone_session(op: Op, given: &proto::CloneSessionEntry) -> Result<Item<'_>, Invalid> {
    let id = given.session_id;
    if id == 0 {
        return Err(Invalid::Missing("clone session id"));
    }
    let mut session = CloneSession {
        id,
        replicas: Vec::new(),
        class_of_service: 0,
        packet_length: 0,
    };
    if op != Op::Delete {
        session.replicas = replicas(&given.replicas)?;
        session.class_of_service = given.class_of_service;
        session.packet_length = u32::try_from(given.packet_length_bytes)
            .map_err(|_| Invalid::Negative("packet_length_bytes"))?;
    }
    Ok(Item::CloneSession(session))
}

fn replicas(given: &[proto::Replica]) -> Result<Vec<Replica<'_>>, Invalid> {
    use proto::replica::PortKind;
    let mut replicas = Vec::with_capacity(given.len());
    for replica in given {
        let port = match replica
            .port_kind
            .as_ref()
            .ok_or(Invalid::Missing("replica port"))?
        {
            PortKind::EgressPort(number) => ReplicaPort::Number(*number),
            PortKind::Port(port) => ReplicaPort::Port(present(port, "replica port")?),
        };
        for backup in &replica.backup_replicas {
            if ReplicaPort::Port(present(&backup.port, "backup replica port")?) == port {
                return Err(Invalid::Rule {
                    object: "replica".into(),
                    reason: "a backup has the replica's own port",
                });
            }
        }
        replicas.push(Replica {
            port,
            instance: replica.instance,
            backups: &replica.backup_replicas,
        });
    }
    Ok(replicas)
}

/// (port, instance) once in a group, backups included.
fn unique(id: u32, replicas: &[Replica<'_>]) -> Result<(), Invalid> {
    let mut seen = HashSet::with_capacity(replicas.len());
    for replica in replicas {
        let backups = replica
            .backups
            .iter()
            .map(|b| (ReplicaPort::Port(value::canonical(&b.port)), b.instance));
        for pair in std::iter::once((replica.port, replica.instance)).chain(backups) {
            if !seen.insert(pair) {
                let object = format!("multicast group {id}");
                return Err(Invalid::Rule {
                    object,
                    reason: "port and instance of two replicas are the same",
                });
            }
        }
    }
    Ok(())
}
