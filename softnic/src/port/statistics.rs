//! What one port counted.
//!
//! In: events of a port, from any thread. Out: a copy of the counts at one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Frame;

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
    /// Received, but longer than [`MAX_PACKET`](super::MAX_PACKET) or cut.
    pub rx_malformed: u64,
    /// How often the interface went away and was opened anew.
    pub reopened: u64,
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

    /// Several at one go.
    pub fn received_all(&self, frames: &[Frame<'_>]) {
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        self.rx_packets
            .fetch_add(frames.len() as u64, Ordering::Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn sent(&self, bytes: usize) {
        self.sent_all(1, bytes);
    }

    /// Several at one go.
    pub fn sent_all(&self, packets: usize, bytes: usize) {
        self.tx_packets.fetch_add(packets as u64, Ordering::Relaxed);
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
            reopened: 0,
        }
    }
}
