//! Ports: where packets come in and go out.
//!
//! In: packets from a network interface, a file or a test. Out: the same, in batches. A [`Port`] is shared by the thread that
//! receives from it and by every thread that sends to it.
//!
//! | module | port |
//! |---|---|
//! | [`memory`] | a pair of ports connected to each other, in memory |
//! | [`pcap`] | packets from one capture file, into another |
//! | [`tap`] | a TAP interface that the port makes |
//! | [`packet`] | an existing network interface, through AF_PACKET |
//! | [`wrap`] | any of them, with faults or a trace |
//!
//! Invariant: neither a malformed packet nor a full queue is an error; both are counted.

mod batch;
mod checksum;
pub mod memory;
#[cfg(target_os = "linux")]
pub mod packet;
pub mod pcap;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
pub mod tap;
pub mod wrap;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use batch::Batch;

/// Longest packet that a port takes: a jumbo frame fits, and everything that loopback interfaces pass.
pub const MAX_PACKET: usize = 65_535;

/// A place where packets come in and go out.
pub trait Port: Send + Sync {
    /// For people: kind and interface or file.
    fn name(&self) -> &str;

    /// Waits until a packet is there, at most for `wait`, and appends what is there to the batch until it is full.
    ///
    /// # Errors
    /// [`PortError`] when nothing will come any more; the port is then left alone.
    fn receive(&self, batch: &mut Batch, wait: Duration) -> Result<Received, PortError>;

    /// Sends packets in order. What finds no room is dropped and counted.
    ///
    /// # Errors
    /// [`PortError`] when the port cannot send at all; the packets are lost.
    fn send(&self, packets: &[&[u8]]) -> Result<(), PortError>;

    /// Whether the link is up.
    fn is_up(&self) -> bool;

    /// What was counted so far.
    fn statistics(&self) -> PortStatistics;
}

/// What [`Port::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At least one packet.
    Packets,
    /// None in time.
    Nothing,
    /// None, and none will come: the file is at its end, the peer is gone.
    End,
}

/// Why a port cannot be made or used. [`PortError::Io`] may pass, the others will not.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The operating system refused.
    #[error("{name}: {action}: {source}")]
    Io {
        /// The port.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A capture file that cannot be read or written.
    #[error("{name}: {source}")]
    Capture {
        /// The port.
        name: String,
        /// What is wrong with it.
        source: pcap_file::PcapError,
    },
    /// An interface name that the kernel does not take.
    #[error("{0:?} is not an interface name: 1 to 15 bytes without `/` and spaces")]
    InterfaceName(String),
    /// No such interface.
    #[error("there is no network interface {0}; `ip link` lists them")]
    NoInterface(String),
    /// Raw sockets and TAP devices are for root.
    #[error(
        "{0}: permission denied; run as root, or give the program CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    Permission(String),
}

impl PortError {
    /// An operating system error with the port and what it was doing.
    pub(crate) fn io(name: &str, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(name.to_owned()),
            _ => Self::Io {
                name: name.to_owned(),
                action,
                source,
            },
        }
    }
}

/// Packets and bytes of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStatistics {
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Lost on the way in: a full queue, as far as the port knows.
    pub rx_dropped: u64,
    /// Lost on the way out: a full queue, a link that is down, a packet that the interface does not take.
    pub tx_dropped: u64,
    /// Received, but longer than [`MAX_PACKET`] or cut.
    pub rx_malformed: u64,
}

/// Counts for a port; any thread, any time.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    rx_dropped: AtomicU64,
    tx_dropped: AtomicU64,
    rx_malformed: AtomicU64,
}

impl Counters {
    pub fn received(&self, bytes: usize) {
        self.rx_packets.fetch_add(1, Ordering::Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn sent(&self, bytes: usize) {
        self.tx_packets.fetch_add(1, Ordering::Relaxed);
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn receive_dropped(&self, packets: u64) {
        self.rx_dropped.fetch_add(packets, Ordering::Relaxed);
    }

    pub fn send_dropped(&self, packets: u64) {
        self.tx_dropped.fetch_add(packets, Ordering::Relaxed);
    }

    pub fn malformed(&self) {
        self.rx_malformed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> PortStatistics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortStatistics {
            rx_packets: load(&self.rx_packets),
            rx_bytes: load(&self.rx_bytes),
            tx_packets: load(&self.tx_packets),
            tx_bytes: load(&self.tx_bytes),
            rx_dropped: load(&self.rx_dropped),
            tx_dropped: load(&self.tx_dropped),
            rx_malformed: load(&self.rx_malformed),
        }
    }
}
