//! The state of a device's tables, wanted or installed.
//!
//! `flow`, `reply` and `affinity` are not in it: they belong to connections, not to Services.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::set::EndpointSet;
use crate::tables::{
    client, egress, frontend, masquerade, member, port, route, sctp_checksum, source_range, tunnel,
    vip,
};

/// An action and whose it is: the entry's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owned<A> {
    /// `namespace/name:port/PROTOCOL`, or `namespace/name` for an address.
    pub owner: Arc<str>,
    /// The action.
    pub action: A,
}

/// Entries of one table.
pub type Entries<K, A> = FxHashMap<K, A>;

/// All tables that the reconciler owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Table `port`.
    pub ports: Entries<port::Key, port::Action>,
    /// Table `egress`.
    pub egress: Entries<egress::Key, egress::Action>,
    /// Table `route`.
    pub routes: Entries<route::Key, route::Action>,
    /// Table `sctp_checksum`.
    pub sctp_checksums: Entries<sctp_checksum::Key, sctp_checksum::Action>,
    /// Table `source_range`.
    pub source_ranges: Entries<source_range::Key, source_range::Allow>,
    /// Table `client`.
    pub clients: Entries<client::Key, client::Class>,
    /// Table `masquerade`.
    pub masquerades: Entries<masquerade::Key, masquerade::Action>,
    /// Table `tunnel`.
    pub tunnels: Entries<tunnel::Key, tunnel::Action>,
    /// Table `member`.
    pub members: Entries<member::Key, member::IsMember>,
    /// Table `frontend`.
    pub frontends: Entries<frontend::Key, Owned<frontend::Action>>,
    /// Table `vip`.
    pub vips: Entries<vip::Key, Owned<vip::Action>>,
    /// Table `endpoint`, by set.
    pub sets: FxHashMap<u32, Arc<EndpointSet>>,
}

impl State {
    /// Entries of table `endpoint`.
    pub fn slots(&self) -> usize {
        self.sets.values().map(|set| set.filled()).sum()
    }

    /// Entries of all tables.
    pub fn entries(&self) -> usize {
        self.ports.len()
            + self.egress.len()
            + self.routes.len()
            + self.sctp_checksums.len()
            + self.source_ranges.len()
            + self.clients.len()
            + self.masquerades.len()
            + self.tunnels.len()
            + self.members.len()
            + self.frontends.len()
            + self.vips.len()
            + self.slots()
    }
}
