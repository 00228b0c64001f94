//! Multicast nodes, groups and clone sessions as the simple switch's command line makes them.
//!
//! In: the commands. Out: groups and sessions in the engine. Invariant: after each command the engine's groups and
//! sessions are what the nodes and associations say, sessions that name a group included.

use std::collections::BTreeMap;

use crate::engine::{CloneSession, Engine, ExternError, Replica};

/// Why a command could not be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationFault {
    /// No such node was created.
    #[error("there is no multicast node {0}")]
    NoNode(u32),
    /// No such group was created.
    #[error("there is no multicast group {0}")]
    NoGroup(u32),
    /// No such session was added.
    #[error("there is no clone session {0}")]
    NoSession(u32),
    /// A group of this number exists.
    #[error("multicast group {0} exists")]
    GroupExists(u32),
    /// The engine refused it.
    #[error("multicast group or clone session {0}: {1}")]
    Refused(u32, ExternError),
}

#[derive(Debug)]
struct Node {
    rid: u32,
    ports: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Session {
    port: Option<u32>,
    group: Option<u32>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Trees {
    nodes: Vec<Node>,
    groups: BTreeMap<u32, Vec<u32>>,
    sessions: BTreeMap<u32, Session>,
}

impl Trees {
    pub fn create_group(&mut self, engine: &Engine, group: u32) -> Result<(), ReplicationFault> {
        if self.groups.contains_key(&group) {
            return Err(ReplicationFault::GroupExists(group));
        }
        self.groups.insert(group, Vec::new());
        self.write(engine)
    }

    pub fn destroy_group(&mut self, engine: &Engine, group: u32) -> Result<(), ReplicationFault> {
        self.groups
            .remove(&group)
            .ok_or(ReplicationFault::NoGroup(group))?;
        engine
            .delete_multicast_group(group)
            .map_err(|error| ReplicationFault::Refused(group, error))?;
        self.write(engine)
    }

    pub fn create_node(&mut self, rid: u32, ports: &[u32]) {
        self.nodes.push(Node {
            rid,
            ports: ascending(ports),
        });
    }

    pub fn update_node(
        &mut self,
        engine: &Engine,
        node: u32,
        ports: &[u32],
    ) -> Result<(), ReplicationFault> {
        let stored = self.nodes.get_mut(node as usize);
        stored.ok_or(ReplicationFault::NoNode(node))?.ports = ascending(ports);
        self.write(engine)
    }

    pub fn associate(
        &mut self,
        engine: &Engine,
        group: u32,
        node: u32,
    ) -> Result<(), ReplicationFault> {
        if node as usize >= self.nodes.len() {
            return Err(ReplicationFault::NoNode(node));
        }
        let nodes = self.group(group)?;
        if !nodes.contains(&node) {
            nodes.push(node);
        }
        self.write(engine)
    }

    pub fn dissociate(
        &mut self,
        engine: &Engine,
        group: u32,
        node: u32,
    ) -> Result<(), ReplicationFault> {
        self.group(group)?.retain(|&other| other != node);
        self.write(engine)
    }

    fn group(&mut self, group: u32) -> Result<&mut Vec<u32>, ReplicationFault> {
        self.groups
            .get_mut(&group)
            .ok_or(ReplicationFault::NoGroup(group))
    }

    pub fn mirror_to_port(
        &mut self,
        engine: &Engine,
        session: u32,
        port: u32,
    ) -> Result<(), ReplicationFault> {
        self.sessions.entry(session).or_default().port = Some(port);
        self.write(engine)
    }

    pub fn mirror_to_group(
        &mut self,
        engine: &Engine,
        session: u32,
        group: u32,
    ) -> Result<(), ReplicationFault> {
        self.sessions.entry(session).or_default().group = Some(group);
        self.write(engine)
    }

    pub fn delete_mirror(&mut self, engine: &Engine, session: u32) -> Result<(), ReplicationFault> {
        self.sessions
            .remove(&session)
            .ok_or(ReplicationFault::NoSession(session))?;
        engine
            .delete_clone_session(session)
            .map_err(|error| ReplicationFault::Refused(session, error))
    }

    /// A session in words.
    pub fn show_mirror(&self, session: u32) -> Result<String, ReplicationFault> {
        let Session { port, group } = self
            .sessions
            .get(&session)
            .ok_or(ReplicationFault::NoSession(session))?;
        let part = |name: &str, value: &Option<u32>| {
            value.map_or(String::new(), |value| format!(" {name} {value}"))
        };
        Ok(format!(
            "clone session {session}:{}{}",
            part("port", port),
            part("group", group)
        ))
    }

    fn replicas(&self, group: u32) -> Vec<Replica> {
        let nodes = self.groups.get(&group).into_iter().flatten();
        nodes
            .filter_map(|&node| self.nodes.get(node as usize))
            .flat_map(|node| {
                node.ports.iter().map(|&port| Replica {
                    port,
                    instance: node.rid,
                })
            })
            .collect()
    }

    fn write(&self, engine: &Engine) -> Result<(), ReplicationFault> {
        for &group in self.groups.keys() {
            let replicas = self.replicas(group);
            let written = match engine.modify_multicast_group(group, &replicas) {
                Err(ExternError::NotFound) => engine.insert_multicast_group(group, &replicas),
                written => written,
            };
            written.map_err(|error| ReplicationFault::Refused(group, error))?;
        }
        for (&session, to) in &self.sessions {
            let own = to.port.map(|port| Replica { port, instance: 0 });
            let group = to.group.map(|group| self.replicas(group));
            let data = CloneSession {
                replicas: group.unwrap_or_default().into_iter().chain(own).collect(),
                ..CloneSession::default()
            };
            let written = match engine.modify_clone_session(session, &data) {
                Err(ExternError::NotFound) => engine.insert_clone_session(session, &data),
                written => written,
            };
            written.map_err(|error| ReplicationFault::Refused(session, error))?;
        }
        Ok(())
    }
}

fn ascending(ports: &[u32]) -> Vec<u32> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    ports
}
