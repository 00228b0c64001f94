//! Frames as they are on the wire, from frames that their sender left unfinished.
//!
//! In: a frame and what is left to do. Out: one frame with its checksum, or the segments of a super-frame, each with its own
//! length, sequence number, flags and checksums, as the kernel cuts them. What cannot be cut (no TCP or UDP behind its
//! headers) is dropped.

use super::checksum::{self, TCP, Transport, UDP};
use super::{Frame, Offload, Segmentation};

/// TCP flags that only the last segment may carry (FIN, PSH), and only the first (CWR).
const LAST_ONLY: u8 = 0x01 | 0x08;
const FIRST_ONLY: u8 = 0x80;

/// Hands on what the frame is on the wire; returns how many packets that were.
pub(crate) fn finish(frame: &Frame<'_>, emit: &mut dyn FnMut(&[u8])) -> usize {
    match frame.offload {
        Offload::NONE => {
            emit(frame.bytes);
            1
        }
        Offload {
            segmentation: None, ..
        } => {
            let mut whole = frame.bytes.to_vec();
            checksum::complete(&mut whole);
            emit(&whole);
            1
        }
        Offload {
            segmentation: Some(how),
            ..
        } => Cut::new(frame.bytes, how).map_or(0, |cut| cut.emit(emit)),
    }
}

/// A super-frame: headers that every segment gets, and the payload to share out.
struct Cut<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    transport: Transport,
    size: usize,
}

impl<'a> Cut<'a> {
    fn new(frame: &'a [u8], how: Segmentation) -> Option<Self> {
        let transport = Transport::of(frame)?;
        let (protocol, size, header) = match how {
            Segmentation::Tcp { size, .. } => {
                let words = frame.get(transport.start + 12)? >> 4;
                (TCP, size, usize::from(words) * 4)
            }
            Segmentation::Udp { size } => (UDP, size, 8),
        };
        let whole = frame.get(..transport.end)?;
        let split = transport.start + header;
        let minimum = if protocol == TCP { 20 } else { 8 };
        let fits = header >= minimum && split <= whole.len();
        if transport.protocol != protocol || size == 0 || !fits {
            return None;
        }
        Some(Self {
            headers: &whole[..split],
            payload: &whole[split..],
            transport,
            size: usize::from(size),
        })
    }

    fn emit(&self, emit: &mut dyn FnMut(&[u8])) -> usize {
        let count = self.payload.len().div_ceil(self.size).max(1);
        let mut packet = Vec::with_capacity(self.headers.len() + self.size);
        for index in 0..count {
            let from = index * self.size;
            let to = (from + self.size).min(self.payload.len());
            packet.clear();
            packet.extend_from_slice(self.headers);
            packet.extend_from_slice(&self.payload[from..to]);
            self.network(&mut packet, index);
            if self.transport.protocol == TCP {
                self.tcp(&mut packet, from, index == 0, index + 1 == count);
            } else {
                let length = (packet.len() - self.transport.start) as u16;
                let at = self.transport.start + 4;
                packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
            }
            checksum::complete(&mut packet);
            emit(&packet);
        }
        count
    }

    /// Length, and with IPv4 identification and header checksum.
    fn network(&self, packet: &mut [u8], index: usize) {
        let at = self.transport.network;
        let length = (packet.len() - at) as u16;
        if self.transport.v6 {
            packet[at + 4..at + 6].copy_from_slice(&(length - 40).to_be_bytes());
            return;
        }
        packet[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
        let id = u16::from_be_bytes([packet[at + 4], packet[at + 5]]).wrapping_add(index as u16);
        packet[at + 4..at + 6].copy_from_slice(&id.to_be_bytes());
        packet[at + 10..at + 12].fill(0);
        let sum = checksum::header(&packet[at..self.transport.start]);
        packet[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }

    fn tcp(&self, packet: &mut [u8], from: usize, first: bool, last: bool) {
        let at = self.transport.start;
        let number = [4, 5, 6, 7].map(|byte| packet[at + byte]);
        let number = u32::from_be_bytes(number).wrapping_add(from as u32);
        packet[at + 4..at + 8].copy_from_slice(&number.to_be_bytes());
        if !last {
            packet[at + 13] &= !LAST_ONLY;
        }
        if !first {
            packet[at + 13] &= !FIRST_ONLY;
        }
    }
}

#[cfg(test)]
mod tests;
