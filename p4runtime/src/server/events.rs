//! From the switch to its controllers: packets, idle timeouts, digests.
//!
//! Placeholder of the dispatcher.

use p4runtime_proto::p4::v1 as proto;

use super::switch::Entry;

/// Where a switch puts what it has to tell. Cheap to clone; calls never block.
#[derive(Debug, Clone)]
pub struct Events {}

impl Events {
    /// A packet for the controller, with the fields of the packet_in header in order. `false` when nobody got it.
    pub fn packet_in(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> bool {
        let _ = (payload, metadata);
        false
    }

    /// Entries that were not hit for their timeout; key, metadata and timeout count.
    pub fn idle_timeout(&self, entries: &[Entry<'_>]) {
        let _ = entries;
    }

    /// A digest by id.
    pub fn digest(&self, digest: u32, data: proto::P4Data) {
        let _ = (digest, data);
    }
}
