//! What differs between two states of the tables.
//!
//! In: what is wanted and what is installed, and which keys to look at. Out: operations; applied to the second they
//! give the first, on those keys. Nothing that agrees appears.

use std::hash::Hash;
use std::sync::Arc;

use crate::compile::{EndpointSet, Entries, Owned, State, Touched};
use crate::tables::{
    client, egress, frontend, masquerade, member, port, route, sctp_checksum, source_range, tunnel,
    vip,
};

/// One operation on an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op<K, A> {
    /// It is not there and should be.
    Insert(K, A),
    /// It is there and says something else.
    Modify(K, A),
    /// It is there and should not be.
    Delete(K),
}

/// Kinds of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Op::Insert`].
    Insert,
    /// [`Op::Modify`].
    Modify,
    /// [`Op::Delete`].
    Delete,
}

impl<K, A> Op<K, A> {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Insert(..) => Kind::Insert,
            Self::Modify(..) => Kind::Modify,
            Self::Delete(_) => Kind::Delete,
        }
    }

    /// The entry it is about.
    pub fn key(&self) -> &K {
        match self {
            Self::Insert(key, _) | Self::Modify(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Which keys to look at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// All there are on either side.
    All,
    /// These only.
    Keys(&'a Touched),
}

/// The slots of one set that differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetChange {
    /// The set.
    pub id: u32,
    /// What its slots should be; empty if it should not be there.
    pub target: Arc<EndpointSet>,
    /// Slots that are not there and should be.
    pub insert: Vec<u16>,
    /// Slots that lead elsewhere.
    pub modify: Vec<u16>,
    /// Slots that should not be there.
    pub delete: Vec<u16>,
}

/// All that differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Table `port`.
    pub ports: Vec<Op<port::Key, port::Action>>,
    /// Table `egress`.
    pub egress: Vec<Op<egress::Key, egress::Action>>,
    /// Table `route`.
    pub routes: Vec<Op<route::Key, route::Action>>,
    /// Table `sctp_checksum`.
    pub sctp_checksums: Vec<Op<sctp_checksum::Key, sctp_checksum::Action>>,
    /// Table `source_range`.
    pub source_ranges: Vec<Op<source_range::Key, source_range::Allow>>,
    /// Table `client`.
    pub clients: Vec<Op<client::Key, client::Class>>,
    /// Table `masquerade`.
    pub masquerades: Vec<Op<masquerade::Key, masquerade::Action>>,
    /// Table `tunnel`.
    pub tunnels: Vec<Op<tunnel::Key, tunnel::Action>>,
    /// Table `member`.
    pub members: Vec<Op<member::Key, member::IsMember>>,
    /// Table `frontend`.
    pub frontends: Vec<Op<frontend::Key, Owned<frontend::Action>>>,
    /// Table `vip`.
    pub vips: Vec<Op<vip::Key, Owned<vip::Action>>>,
    /// Table `endpoint`.
    pub sets: Vec<SetChange>,
}

/// What turns `installed` into `desired`, on the keys of `scope`.
pub fn diff(desired: &State, installed: &State, scope: Scope<'_>) -> Diff {
    let touched = match scope {
        Scope::All => None,
        Scope::Keys(touched) => Some(touched),
    };
    macro_rules! table {
        ($table:ident) => {
            match touched {
                None => entries(&desired.$table, &installed.$table),
                Some(touched) => keys(&desired.$table, &installed.$table, touched.$table.iter()),
            }
        };
    }
    Diff {
        ports: table!(ports),
        egress: table!(egress),
        routes: table!(routes),
        sctp_checksums: table!(sctp_checksums),
        source_ranges: table!(source_ranges),
        clients: table!(clients),
        masquerades: table!(masquerades),
        tunnels: table!(tunnels),
        members: table!(members),
        frontends: table!(frontends),
        vips: table!(vips),
        sets: sets(desired, installed, touched),
    }
}

/// Operations that turn one table into another.
pub fn entries<K: Hash + Eq + Ord + Copy, A: PartialEq + Clone>(
    desired: &Entries<K, A>,
    installed: &Entries<K, A>,
) -> Vec<Op<K, A>> {
    let gone = installed.keys().filter(|key| !desired.contains_key(*key));
    keys(desired, installed, desired.keys().chain(gone))
}

fn keys<'k, K: Hash + Eq + Ord + Copy + 'k, A: PartialEq + Clone>(
    desired: &Entries<K, A>,
    installed: &Entries<K, A>,
    keys: impl Iterator<Item = &'k K>,
) -> Vec<Op<K, A>> {
    let mut ops: Vec<Op<K, A>> = keys
        .filter_map(|key| match (desired.get(key), installed.get(key)) {
            (Some(wanted), None) => Some(Op::Insert(*key, wanted.clone())),
            (Some(wanted), Some(found)) if wanted != found => {
                Some(Op::Modify(*key, wanted.clone()))
            }
            (None, Some(_)) => Some(Op::Delete(*key)),
            _ => None,
        })
        .collect();
    ops.sort_by_key(|op| *op.key());
    ops
}

fn sets(desired: &State, installed: &State, touched: Option<&Touched>) -> Vec<SetChange> {
    let mut ids: Vec<u32> = match touched {
        Some(touched) => touched.sets.iter().copied().collect(),
        None => {
            let gone = installed
                .sets
                .keys()
                .filter(|id| !desired.sets.contains_key(*id));
            desired.sets.keys().chain(gone).copied().collect()
        }
    };
    ids.sort_unstable();
    ids.into_iter()
        .filter_map(|id| set(id, desired.sets.get(&id), installed.sets.get(&id)))
        .collect()
}

/// What turns one set into another; `None` where they agree.
pub fn set(
    id: u32,
    desired: Option<&Arc<EndpointSet>>,
    installed: Option<&Arc<EndpointSet>>,
) -> Option<SetChange> {
    if desired == installed {
        return None;
    }
    let target = desired.cloned().unwrap_or_default();
    let found = installed.cloned().unwrap_or_default();
    let mut change = SetChange {
        id,
        insert: Vec::new(),
        modify: Vec::new(),
        delete: Vec::new(),
        target,
    };
    for slot in 0..change.target.len().max(found.len()) {
        let Ok(slot) = u16::try_from(slot) else { break };
        match (change.target.get(slot), found.get(slot)) {
            (Some(_), None) => change.insert.push(slot),
            (Some(wanted), Some(found)) if wanted != found => change.modify.push(slot),
            (None, Some(_)) => change.delete.push(slot),
            _ => {}
        }
    }
    let empty = change.insert.is_empty() && change.modify.is_empty() && change.delete.is_empty();
    (!empty).then_some(change)
}
