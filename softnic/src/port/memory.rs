//! Two ports connected to each other in memory.
//!
//! In: packets sent on either. Out: the same on the other, in order. Each direction is a queue with a bound; what does not
//! fit is dropped and counted by the sender. When one end is dropped, the other sees [`Received::End`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;

use super::{Counters, FEW, Frame, Port, PortError, PortStatistics, Received, Take};

/// Packets that a direction holds unless told otherwise.
pub const DEFAULT_CAPACITY: usize = 4096;

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    packets: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Queue {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            capacity,
        })
    }

    /// Appends a packet; `false` when there is no room or nobody reads any more.
    fn push(&self, packet: &Frame<'_>) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.packets.len() >= self.capacity {
            return false;
        }
        state.packets.push_back(packet.to_vec());
        drop(state);
        self.ready.notify_one();
        true
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.ready.notify_all();
    }

    /// Waits until there is a packet, the queue is closed or time is over.
    fn wait(&self, wait: Duration) -> parking_lot::MutexGuard<'_, State> {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock();
        while state.packets.is_empty() && !state.closed {
            if self.ready.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state
    }
}

/// One end of the pair.
#[derive(Debug)]
pub struct MemoryPort {
    name: String,
    incoming: Arc<Queue>,
    outgoing: Arc<Queue>,
    counters: Counters,
}

/// Two ports, each of which receives what the other sends; at most `capacity` packets wait in each direction.
pub fn pair(name: &str, capacity: usize) -> (MemoryPort, MemoryPort) {
    let (there, back) = (Queue::new(capacity), Queue::new(capacity));
    let end = |side: &str, incoming: &Arc<Queue>, outgoing: &Arc<Queue>| MemoryPort {
        name: format!("memory:{name}{side}"),
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        counters: Counters::default(),
    };
    (end("", &back, &there), end(" (far end)", &there, &back))
}

impl MemoryPort {
    /// Sends one packet; `false` if the other end's queue is full or gone.
    pub fn push(&self, packet: &[u8]) -> bool {
        self.push_frame(&Frame::whole(packet))
    }

    fn push_frame(&self, packet: &Frame<'_>) -> bool {
        let sent = self.outgoing.push(packet);
        if sent {
            self.counters.sent(packet.len());
        } else {
            self.counters.send_dropped(1);
        }
        sent
    }

    /// Receives one packet, waiting at most for `wait`.
    pub fn pop(&self, wait: Duration) -> Option<Vec<u8>> {
        let packet = self.incoming.wait(wait).packets.pop_front()?;
        self.counters.received(packet.len());
        Some(packet)
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

impl Port for MemoryPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(
        &self,
        _queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let mut state = self.incoming.wait(wait);
        if state.packets.is_empty() {
            return Ok(if state.closed {
                Received::End
            } else {
                Received::Nothing
            });
        }
        let count = state.packets.len().min(limit);
        let packets: SmallVec<[Vec<u8>; FEW]> = state.packets.drain(..count).collect();
        drop(state);
        let frames: SmallVec<[Frame<'_>; FEW]> =
            packets.iter().map(|packet| Frame::whole(packet)).collect();
        self.counters.received_all(&frames);
        take(&frames);
        Ok(Received::Packets)
    }

    fn transmit(&self, _queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        for frame in frames {
            self.push_frame(frame);
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        !self.outgoing.state.lock().closed
    }

    fn statistics(&self) -> PortStatistics {
        self.counters.get()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Batch;
    use super::*;

    #[test]
    fn what_one_end_sends_the_other_receives_until_it_is_full() {
        let (near, far) = pair("t", 2);
        near.send(&[b"a", b"b", b"c"]).unwrap();
        assert_eq!(near.statistics().tx_packets, 2);
        assert_eq!(near.statistics().tx_dropped, 1);
        let mut batch = Batch::new(8);
        assert_eq!(
            far.receive(&mut batch, Duration::ZERO).unwrap(),
            Received::Packets
        );
        assert_eq!(batch.iter().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(
            far.receive(&mut batch, Duration::ZERO).unwrap(),
            Received::Nothing
        );
    }

    #[test]
    fn a_dropped_end_ends_the_other_after_what_is_queued() {
        let (near, far) = pair("t", 2);
        assert!(near.push(b"last"));
        drop(near);
        assert!(!far.is_up());
        assert_eq!(far.pop(Duration::ZERO).as_deref(), Some(&b"last"[..]));
        let mut batch = Batch::new(1);
        assert_eq!(
            far.receive(&mut batch, Duration::from_secs(60)).unwrap(),
            Received::End
        );
    }
}
