//! One queue: an AF_XDP socket.
//!
//! In: chunks of received packets. Out: the packets, lent in place when they are in one chunk; packets into chunks. Order
//! is kept in both directions.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::super::sys;
use super::super::sys::xsk::{self, CHUNK, Receiver, Sender, Socket};
use super::super::{Counters, FEW, Frame, MAX_PACKET, Take, checksum};

/// Memory for packets of one turn that are in several chunks.
const LARGE: usize = 16 * MAX_PACKET;

/// A socket and its halves.
pub(super) struct Queue {
    fd: Arc<OwnedFd>,
    receive: Mutex<Receive>,
    send: Mutex<Sender>,
    fragments: bool,
    dropped: AtomicU64,
}

struct Receive {
    receiver: Receiver,
    /// For packets in several chunks.
    large: Vec<u8>,
}

impl Queue {
    pub fn new(socket: Socket, fragments: bool) -> Self {
        Self {
            fd: socket.fd,
            receive: Mutex::new(Receive {
                receiver: socket.receiver,
                large: vec![0; if fragments { LARGE } else { 0 }],
            }),
            send: Mutex::new(socket.sender),
            fragments,
            dropped: AtomicU64::new(0),
        }
    }

    /// Packets lost since the last call.
    pub fn dropped(&self) -> u64 {
        let now = xsk::dropped(&self.fd).unwrap_or(0);
        now.saturating_sub(self.dropped.fetch_max(now, Ordering::Relaxed))
    }

    /// Lends what is there; the number of chunks taken.
    pub fn poll(
        &self,
        limit: usize,
        wait: Duration,
        longest: usize,
        counters: &Counters,
        take: &mut Take<'_>,
    ) -> io::Result<usize> {
        let mut receive = self.receive.lock();
        let taken = receive.turn(limit, longest, counters, take);
        if taken > 0 || wait.is_zero() || !sys::receivable(&self.fd, wait)? {
            return Ok(taken);
        }
        Ok(receive.turn(limit, longest, counters, take))
    }

    /// Sends packets in order.
    pub fn transmit(&self, frames: &[Frame<'_>], longest: usize, counters: &Counters) {
        let longest = if self.fragments {
            longest
        } else {
            longest.min(CHUNK)
        };
        let mut sender = self.send.lock();
        let (mut packets, mut bytes) = (0, 0);
        for frame in frames {
            let fits = (14..=longest).contains(&frame.len());
            let pushed = fits
                && (sender.push(frame) || {
                    sender.flush(&self.fd);
                    sender.push(frame)
                });
            if pushed {
                packets += 1;
                bytes += frame.len();
            } else {
                counters.send_dropped(1);
            }
        }
        sender.flush(&self.fd);
        counters.sent_all(packets, bytes);
    }
}

impl Receive {
    fn turn(
        &mut self,
        limit: usize,
        longest: usize,
        counters: &Counters,
        take: &mut Take<'_>,
    ) -> usize {
        let mut frames: SmallVec<[Frame<'_>; FEW]> = SmallVec::new();
        let mut large = &mut self.large[..];
        // Chunks of whole packets; of the one that is being put together; its bytes.
        let (mut taken, mut pieces, mut gathered) = (0, 0, 0);
        for chunk in self.receiver.lend() {
            if frames.len() == limit || (chunk.continued && large.len() < MAX_PACKET) {
                break;
            }
            pieces += 1;
            let frame = if pieces == 1 && !chunk.continued {
                Some(chunk.bytes)
            } else {
                let end = gathered + chunk.bytes.len();
                if let Some(place) = large.get_mut(gathered..end) {
                    place.copy_from_slice(chunk.bytes);
                }
                gathered = end;
                if chunk.continued {
                    continue;
                }
                let fits = gathered <= large.len();
                let (whole, rest) =
                    std::mem::take(&mut large).split_at_mut(if fits { gathered } else { 0 });
                large = rest;
                fits.then_some(whole)
            };
            taken += pieces;
            (pieces, gathered) = (0, 0);
            match frame.filter(|bytes| bytes.len() <= longest) {
                Some(bytes) => {
                    checksum::complete_unfinished(bytes);
                    frames.push(Frame::whole(bytes));
                }
                None => counters.malformed(),
            }
        }
        counters.received_all(&frames);
        if !frames.is_empty() {
            take(&frames);
        }
        drop(frames);
        self.receiver.release(taken);
        taken
    }
}
