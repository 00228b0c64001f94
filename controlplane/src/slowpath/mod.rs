//! What the pipeline cannot do alone: connections of devices that do not learn, conflicts, and answers to senders.
//!
//! In: packets that the pipeline sent to the control plane, unaltered, each with its verdict and the endpoint that the
//! pipeline picked; and idle-timeout notices. Out: entries of `flow` and `reply`, the packets themselves sent back in,
//! and refusals (TCP RST, ICMP errors).
//!
//! ```text
//! packet_in ─┬─ NEW_FLOW, CONFLICT ▶ Connections ▶ write flow + reply ▶ packet_out into the pipeline
//!            └─ REJECT, TTL_EXPIRED ▶ refusal ▶ Bucket ▶ packet_out to the port it came from
//! idle notice of reply ▶ delete flow + reply, remember the pick for a while
//! endpoint or Service gone ▶ delete flow + reply of UDP connections to it, and pins (S63–S67)
//! ```
//!
//! Invariant: no two connections share a reply tuple; a packet goes back in only after both its entries are there.

mod bucket;
mod connections;
mod counters;
mod frame;
mod refusal;
mod sweep;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use p4runtime::client::Client;
use p4runtime::proto::p4::v1 as proto;

pub use counters::{Counters, Snapshot};
pub use sweep::Swept;
pub use worker::SlowPath;

/// Bounds of the slow path.
#[derive(Debug, Clone)]
pub struct Config {
    /// Refusals per second and in one burst; more are dropped and counted.
    pub refusals_per_second: u32,
    /// Connections kept in memory; the longest unused go first.
    pub connections: usize,
    /// How long entries stay unused in the device before it tells.
    pub timeouts: Timeouts,
}

/// How long entries of a device that does not learn may stay unused.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// TCP. A connection that goes on later finds its pick again, for as long as it is remembered.
    pub tcp: Duration,
    /// UDP: Linux's time for a stream that both sides feed.
    pub udp: Duration,
    /// SCTP: some of its heartbeats (30 s by RFC 9260).
    pub sctp: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            refusals_per_second: 1000,
            connections: 1 << 20,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(300),
            udp: Duration::from_secs(120),
            sctp: Duration::from_secs(300),
        }
    }
}

/// Where packets for the device go.
pub trait Outlet: Send + Sync {
    /// Queues a packet; false if it was dropped.
    fn packet_out(&self, packet: proto::PacketOut) -> bool;
}

impl Outlet for Client {
    fn packet_out(&self, packet: proto::PacketOut) -> bool {
        Client::packet_out(self, packet).is_ok()
    }
}
