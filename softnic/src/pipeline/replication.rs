//! Multicast groups and clone sessions as the controller wrote them.
//!
//! In: checked groups and sessions. Out: the engine's replicas, and on reading exactly what was written. The engine knows
//! ports as numbers; how a controller spelled them, and its metadata, are kept here.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use p4rs::engine::{self, Engine};
use p4runtime::server::switch::{
    CloneSession, Item, MulticastGroup, Op, Replica, ReplicaPort, Sink, SwitchError,
};
use p4runtime::value::to_u64;
use parking_lot::Mutex;

use super::value::extern_error;

/// Everything written about replication.
#[derive(Debug, Default)]
pub(super) struct Replication {
    written: Mutex<Written>,
}

#[derive(Clone, Debug, Default)]
struct Written {
    groups: BTreeMap<u32, Group>,
    sessions: BTreeMap<u32, Session>,
}

#[derive(Clone, Debug)]
struct Group {
    replicas: Vec<OwnedReplica>,
    metadata: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Session {
    replicas: Vec<OwnedReplica>,
    class_of_service: u32,
    packet_length: u32,
}

#[derive(Clone, Debug)]
struct OwnedReplica {
    port: OwnedPort,
    instance: u32,
}

#[derive(Clone, Debug)]
enum OwnedPort {
    Bytes(Vec<u8>),
    Number(u32),
}

impl OwnedReplica {
    fn new(replica: &Replica<'_>) -> Self {
        let port = match replica.port {
            ReplicaPort::Port(bytes) => OwnedPort::Bytes(bytes.to_vec()),
            ReplicaPort::Number(number) => OwnedPort::Number(number),
        };
        Self {
            port,
            instance: replica.instance,
        }
    }

    fn borrow(&self) -> Replica<'_> {
        let port = match &self.port {
            OwnedPort::Bytes(bytes) => ReplicaPort::Port(bytes),
            OwnedPort::Number(number) => ReplicaPort::Number(*number),
        };
        Replica {
            port,
            instance: self.instance,
            backups: &[],
        }
    }
}

fn to_engine(replicas: &[Replica<'_>]) -> Result<Vec<engine::Replica>, SwitchError> {
    let one = |replica: &Replica<'_>| {
        if !replica.backups.is_empty() {
            return Err(SwitchError::Unsupported("a backup replica"));
        }
        let port = match replica.port {
            ReplicaPort::Number(number) => number,
            ReplicaPort::Port(bytes) => to_u64(bytes)
                .ok()
                .and_then(|port| u32::try_from(port).ok())
                .ok_or(SwitchError::Invalid(
                    "a replica's port has more than 32 bits",
                ))?,
        };
        Ok(engine::Replica {
            port,
            instance: replica.instance,
        })
    };
    replicas.iter().map(one).collect()
}

impl Replication {
    pub fn write_group(
        &self,
        engine: &Engine,
        op: Op,
        group: &MulticastGroup<'_>,
    ) -> Result<(), SwitchError> {
        let mut written = self.written.lock();
        let id = group.id;
        if op == Op::Delete {
            engine.delete_multicast_group(id).map_err(extern_error)?;
            written.groups.remove(&id);
            return Ok(());
        }
        let replicas = to_engine(&group.replicas)?;
        match op {
            Op::Insert => engine.insert_multicast_group(id, &replicas),
            _ => engine.modify_multicast_group(id, &replicas),
        }
        .map_err(extern_error)?;
        let replicas = group.replicas.iter().map(OwnedReplica::new).collect();
        written.groups.insert(
            id,
            Group {
                replicas,
                metadata: group.metadata.to_vec(),
            },
        );
        Ok(())
    }

    pub fn write_session(
        &self,
        engine: &Engine,
        op: Op,
        session: &CloneSession<'_>,
    ) -> Result<(), SwitchError> {
        let mut written = self.written.lock();
        let id = session.id;
        if op == Op::Delete {
            engine.delete_clone_session(id).map_err(extern_error)?;
            written.sessions.remove(&id);
            return Ok(());
        }
        let data = engine::CloneSession {
            replicas: to_engine(&session.replicas)?,
            class_of_service: session.class_of_service,
            packet_length_bytes: session.packet_length,
        };
        match op {
            Op::Insert => engine.insert_clone_session(id, &data),
            _ => engine.modify_clone_session(id, &data),
        }
        .map_err(extern_error)?;
        let replicas = session.replicas.iter().map(OwnedReplica::new).collect();
        let (class_of_service, packet_length) = (session.class_of_service, session.packet_length);
        written.sessions.insert(
            id,
            Session {
                replicas,
                class_of_service,
                packet_length,
            },
        );
        Ok(())
    }

    pub fn read_groups(&self, only: Option<u32>, sink: &mut Sink<'_>) {
        let groups = self.written.lock().groups.clone();
        for (&id, group) in groups
            .iter()
            .filter(|(id, _)| only.is_none_or(|only| only == **id))
        {
            let replicas = group.replicas.iter().map(OwnedReplica::borrow).collect();
            let item = MulticastGroup {
                id,
                replicas,
                metadata: &group.metadata,
            };
            if sink(Item::MulticastGroup(item)) == ControlFlow::Break(()) {
                return;
            }
        }
    }

    pub fn read_sessions(&self, only: Option<u32>, sink: &mut Sink<'_>) {
        let sessions = self.written.lock().sessions.clone();
        for (&id, session) in sessions
            .iter()
            .filter(|(id, _)| only.is_none_or(|only| only == **id))
        {
            let item = CloneSession {
                id,
                replicas: session.replicas.iter().map(OwnedReplica::borrow).collect(),
                class_of_service: session.class_of_service,
                packet_length: session.packet_length,
            };
            if sink(Item::CloneSession(item)) == ControlFlow::Break(()) {
                return;
            }
        }
    }
}
