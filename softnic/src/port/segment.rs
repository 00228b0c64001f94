//! Frames as they are on the wire, from frames that their sender left unfinished.
//!
//! In: a frame and what is left to do. Out: one frame with its checksum, or the segments of a super-frame, each with its own
//! length, sequence number, flags and checksums, as the kernel cuts them, inside a tunnel as well. What cannot be cut (no
//! TCP or UDP behind its headers) is dropped.

use super::checksum::{self, Layers, TCP, Transport, UDP};
use super::{Frame, Offload, Segmentation};

/// TCP flags that only the last segment may carry (FIN, PSH), and only the first (CWR).
const LAST_ONLY: u8 = 0x01 | 0x08;
const FIRST_ONLY: u8 = 0x80;

/// Whether a kernel interface can finish the frame.
pub(crate) fn is_plain(frame: &Frame<'_>) -> bool {
    frame.offload == Offload::NONE
        || Layers::of(frame.bytes, frame.offload).is_some_and(|layers| layers.outer.is_none())
}

/// Hands on what the frame is on the wire; returns how many packets that were.
pub(crate) fn finish(frame: &Frame<'_>, emit: &mut dyn FnMut(&[u8])) -> usize {
    if frame.offload == Offload::NONE {
        emit(&frame.contiguous());
        return 1;
    }
    let Some(layers) = Layers::of(frame.bytes, frame.offload) else {
        return 0;
    };
    let Some(how) = frame.offload.segmentation else {
        let mut whole = frame.bytes.to_vec();
        finish_sums(&mut whole, &layers);
        emit(&whole);
        return 1;
    };
    Cut::new(frame.bytes, layers, how).map_or(0, |cut| cut.emit(emit))
}

/// The checksums of the packet and of the one around it, which covers it, unless that has none.
fn finish_sums(packet: &mut [u8], layers: &Layers) {
    checksum::complete_in(packet, &layers.inner);
    if let Some(outer) = layers.outer
        && let Some(field) = outer.field()
        && packet[field..field + 2] != [0, 0]
    {
        checksum::complete_in(packet, &outer);
    }
}

/// A super-frame: headers that every segment gets, and the payload to share out.
struct Cut<'a> {
    headers: &'a [u8],
    payload: &'a [u8],
    layers: Layers,
    size: usize,
}

impl<'a> Cut<'a> {
    fn new(frame: &'a [u8], layers: Layers, how: Segmentation) -> Option<Self> {
        let transport = layers.inner;
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
            layers,
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
            let mut layers = self.layers;
            for layer in [Some(&mut layers.inner), layers.outer.as_mut()]
                .into_iter()
                .flatten()
            {
                layer.end = packet.len();
                network(&mut packet, layer, index);
                if layer.protocol == UDP {
                    let length = (layer.end - layer.start) as u16;
                    let at = layer.start + 4;
                    packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
                }
            }
            if self.layers.inner.protocol == TCP {
                self.tcp(&mut packet, from, index == 0, index + 1 == count);
            }
            finish_sums(&mut packet, &layers);
            emit(&packet);
        }
        count
    }

    fn tcp(&self, packet: &mut [u8], from: usize, first: bool, last: bool) {
        let at = self.layers.inner.start;
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

/// Length, and with IPv4 identification and header checksum.
fn network(packet: &mut [u8], layer: &Transport, index: usize) {
    let at = layer.network;
    let length = (layer.end - at) as u16;
    if layer.v6 {
        packet[at + 4..at + 6].copy_from_slice(&length.saturating_sub(40).to_be_bytes());
        return;
    }
    packet[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
    let id = u16::from_be_bytes([packet[at + 4], packet[at + 5]]).wrapping_add(index as u16);
    packet[at + 4..at + 6].copy_from_slice(&id.to_be_bytes());
    packet[at + 10..at + 12].fill(0);
    let sum = checksum::header(&packet[at..layer.start]);
    packet[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests;
