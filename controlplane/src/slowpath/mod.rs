//! What the pipeline cannot do alone: connections of devices that do not learn, conflicts, and answers to senders.
//!
//! In: packets that the pipeline sent to the control plane, unaltered, each with its verdict and the endpoint that the
//! pipeline picked; idle-timeout notices; and the addresses that the NIC has. Out: entries of `flow` and `reply`, the
//! packets themselves sent back in, refusals (TCP RST, ICMP errors), and the NIC's MAC addresses for who asks.
//!
//! ```text
//! packet_in ─┬─ NEW_FLOW, CONFLICT ▶ Connections ▶ write flow + reply ▶ packet_out into the pipeline
//!            ├─ STATE ▶ new idle timeout for flow + reply ▶ packet_out into the pipeline
//!            ├─ REJECT, TTL_EXPIRED ▶ refusal ▶ Bucket ▶ packet_out to the port it came from
//!            └─ NEIGHBOR ▶ neighbor ▶ Bucket ▶ packet_out to the port it came from
//! own address that is new ▶ Announcer ▶ packet_out to every port of its network
//! idle notice of reply ▶ delete flow + reply, remember the pick for a while
//! endpoint or Service gone ▶ delete flow + reply of UDP connections to it, and pins (S63–S67)
//! ```
//!
//! Invariant: no two connections share a reply tuple; a packet goes back in only after both its entries are there.

mod bucket;
mod connections;
mod counters;
mod frame;
mod install;
mod neighbor;
mod refusal;
mod sweep;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::time::Duration;

use p4runtime::client::Client;
use p4runtime::proto::p4::v1 as proto;

use crate::config::Mac;
pub use connections::SourcePorts;
pub use counters::{Counters, Snapshot};
pub use sweep::Swept;
pub use worker::SlowPath;

/// Bounds of the slow path.
#[derive(Debug, Clone)]
pub struct Config {
    /// Refusals per second and in one burst; more are dropped and counted.
    pub refusals_per_second: u32,
    /// Answers to neighbours per second and in one burst; more requests are dropped and counted.
    pub neighbors_per_second: u32,
    /// Ports on which the NIC answers neighbours, and announces its addresses.
    pub ports: BTreeMap<u32, Speaker>,
    /// Connections kept in memory; the longest unused go first.
    pub connections: usize,
    /// Source ports that connections get whose own is taken.
    pub source_ports: SourcePorts,
    /// How long entries stay unused in the device before it tells.
    pub timeouts: Timeouts,
}

/// As whom the NIC speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speaker {
    /// Virtual network of the port.
    pub vpc: u32,
    /// Its MAC address.
    pub mac: Mac,
}

/// How long a connection's entries may stay unused, by where it stands. A learning device has as many expiry profiles as
/// there are times here, in this order but for the two that are longest; where the device does not learn, the control
/// plane gives them to the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP after a reset (CLOSE).
    pub close: Duration,
    /// UDP without an answer; TCP that waits for its last acknowledgment (LAST_ACK).
    pub short: Duration,
    /// TCP whose SYN was answered (SYN_RECV).
    pub syn_recv: Duration,
    /// UDP with answers; TCP in SYN_SENT, FIN_WAIT and TIME_WAIT.
    pub usual: Duration,
    /// TCP that was first seen in its middle and from one side only; SCTP: some of its heartbeats (30 s by RFC 9260).
    pub picked_up: Duration,
    /// TCP (ESTABLISHED).
    pub established: Duration,
    /// TCP of which one side is done (CLOSE_WAIT).
    pub close_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            refusals_per_second: 1000,
            neighbors_per_second: 1000,
            ports: BTreeMap::new(),
            connections: 1 << 20,
            source_ports: SourcePorts::default(),
            timeouts: Timeouts::default(),
        }
    }
}

impl Timeouts {
    /// Of a connection in one of the states of `p4/core/constants.p4`. The pipeline tells nothing of UDP: it counts as
    /// answered.
    fn of(&self, protocol: u8, state: u8) -> Duration {
        match (protocol, state) {
            (frame::TCP, 1 | 4 | 7) => self.usual,
            (frame::TCP, 2) => self.syn_recv,
            (frame::TCP, 3) => self.established,
            (frame::TCP, 5) => self.close_wait,
            (frame::TCP, 6) => self.short,
            (frame::TCP, 8) => self.close,
            (frame::TCP | frame::SCTP, _) => self.picked_up,
            _ => self.usual,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            close: Duration::from_secs(10),
            short: Duration::from_secs(30),
            syn_recv: Duration::from_secs(60),
            usual: Duration::from_secs(120),
            picked_up: Duration::from_secs(300),
            established: Duration::from_secs(432_000),
            close_wait: Duration::from_secs(60),
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
