//! Multicast groups and clone sessions.
//!
//! In: control-plane writes. Out: the replicas of a group or session.
//! Invariant: a group holds a (port, instance) pair at most once; id 0 names nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::ExternError;

/// One copy that a group or session makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    /// Egress port.
    pub port: u32,
    /// `egress_rid` of the copy.
    pub instance: u32,
}

/// Where cloned packets go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneSession {
    /// One copy each.
    pub replicas: Vec<Replica>,
    /// Kept, not used.
    pub class_of_service: u32,
    /// Bytes kept of a cloned packet; 0 all of them.
    pub packet_length_bytes: u32,
}

/// The replication engine's tables.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    groups: RwLock<BTreeMap<u32, Arc<[Replica]>>>,
    sessions: RwLock<BTreeMap<u32, Arc<CloneSession>>>,
}

impl Replication {
    /// The replicas of a group.
    pub fn group(&self, group: u32) -> Option<Arc<[Replica]>> {
        self.groups.read().get(&group).cloned()
    }

    /// A clone session.
    pub fn session(&self, session: u32) -> Option<Arc<CloneSession>> {
        self.sessions.read().get(&session).cloned()
    }

    pub fn insert_group(&self, group: u32, replicas: &[Replica]) -> Result<(), ExternError> {
        check(group, replicas)?;
        insert(&mut self.groups.write(), group, replicas.into())
    }

    pub fn modify_group(&self, group: u32, replicas: &[Replica]) -> Result<(), ExternError> {
        check(group, replicas)?;
        modify(&mut self.groups.write(), group, replicas.into())
    }

    pub fn delete_group(&self, group: u32) -> Result<(), ExternError> {
        self.groups
            .write()
            .remove(&group)
            .map(drop)
            .ok_or(ExternError::NotFound)
    }

    pub fn groups(&self) -> Vec<(u32, Vec<Replica>)> {
        self.groups
            .read()
            .iter()
            .map(|(&id, replicas)| (id, replicas.to_vec()))
            .collect()
    }

    pub fn insert_session(&self, session: u32, data: &CloneSession) -> Result<(), ExternError> {
        check(session, &data.replicas)?;
        insert(&mut self.sessions.write(), session, Arc::new(data.clone()))
    }

    pub fn modify_session(&self, session: u32, data: &CloneSession) -> Result<(), ExternError> {
        check(session, &data.replicas)?;
        modify(&mut self.sessions.write(), session, Arc::new(data.clone()))
    }

    pub fn delete_session(&self, session: u32) -> Result<(), ExternError> {
        self.sessions
            .write()
            .remove(&session)
            .map(drop)
            .ok_or(ExternError::NotFound)
    }

    pub fn sessions(&self) -> Vec<(u32, CloneSession)> {
        self.sessions
            .read()
            .iter()
            .map(|(&id, data)| (id, CloneSession::clone(data)))
            .collect()
    }
}

fn check(id: u32, replicas: &[Replica]) -> Result<(), ExternError> {
    if id == 0 {
        return Err(ExternError::BadId(id));
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ExternError::Exists);
    }
    Ok(())
}

fn insert<T>(map: &mut BTreeMap<u32, T>, id: u32, value: T) -> Result<(), ExternError> {
    match map.entry(id) {
        std::collections::btree_map::Entry::Occupied(_) => Err(ExternError::Exists),
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
    }
}

fn modify<T>(map: &mut BTreeMap<u32, T>, id: u32, value: T) -> Result<(), ExternError> {
    *map.get_mut(&id).ok_or(ExternError::NotFound)? = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_checked() {
        let pre = Replication::default();
        let replica = Replica {
            port: 1,
            instance: 2,
        };
        assert_eq!(pre.insert_group(0, &[replica]), Err(ExternError::BadId(0)));
        assert_eq!(
            pre.insert_group(1, &[replica, replica]),
            Err(ExternError::Exists)
        );
        assert_eq!(pre.insert_group(1, &[replica]), Ok(()));
        assert_eq!(pre.insert_group(1, &[]), Err(ExternError::Exists));
        assert_eq!(pre.group(1).as_deref(), Some(&[replica][..]));
        assert_eq!(pre.modify_group(2, &[]), Err(ExternError::NotFound));
        assert_eq!(pre.delete_group(1), Ok(()));
        assert_eq!(pre.groups(), []);
    }
}
