//! A batch of received packets in one buffer.
//!
//! In: packets, appended by a port. Out: the same in order. Invariant: a cleared batch keeps its memory, so that
//! receiving allocates nothing in steady state.

/// Packets received at one go.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    limit: usize,
}

impl Batch {
    /// A batch of at most `limit` packets.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::with_capacity(limit),
            limit: limit.max(1),
        }
    }

    /// Appends a packet.
    pub fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
    }

    /// Whether no more packets should be appended.
    pub fn is_full(&self) -> bool {
        self.ends.len() >= self.limit
    }

    /// Packets that still fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.ends.len())
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The packets in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.ends.iter().enumerate().map(|(index, &end)| {
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.bytes[start..end]
        })
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_in_order_until_the_batch_is_full() {
        let mut batch = Batch::new(3);
        for packet in [&b"one"[..], b"", b"three"] {
            assert!(!batch.is_full());
            batch.push(packet);
        }
        assert!(batch.is_full());
        assert_eq!(
            batch.iter().collect::<Vec<_>>(),
            [&b"one"[..], b"", b"three"]
        );
        batch.clear();
        assert!(batch.is_empty() && batch.room() == 3);
    }
}
