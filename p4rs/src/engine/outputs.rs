//! What one run of a packet leaves behind: packets to transmit, digests, drops, log messages.
//!
//! In: the engines append. Out: the caller reads, then clears for the next packets. What follows a packet's headers stays where it
//! came in, if it can.
//! Invariant: buffers are reused, so a cleared `Outputs` allocates nothing in steady state.

use std::fmt;

use crate::ir::{Handle, Type};

/// Why a packet ended without being transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    /// The program asked for it in ingress (v1model) or in the main control (PNA).
    Ingress,
    /// The program asked for it in egress.
    Egress,
    /// A multicast group or clone session that has no members, or does not exist.
    NoReplica,
    /// The program neither sent nor dropped the packet (PNA).
    NoDestination,
    /// A parser made no progress for too many states.
    ParserTimeout,
    /// Resubmitted, recirculated or copied too often.
    PassLimit,
    /// A statement loop ran too long.
    LoopLimit,
    /// `assert` or `assume` failed.
    Assertion,
    /// Longer than the engine takes.
    TooLong,
}

impl DropReason {
    /// Every reason, in counter order.
    pub const ALL: [Self; 9] = [
        Self::Ingress,
        Self::Egress,
        Self::NoReplica,
        Self::NoDestination,
        Self::ParserTimeout,
        Self::PassLimit,
        Self::LoopLimit,
        Self::Assertion,
        Self::TooLong,
    ];

    /// Name in counters and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::NoReplica => "no-replica",
            Self::NoDestination => "no-destination",
            Self::ParserTimeout => "parser-timeout",
            Self::PassLimit => "pass-limit",
            Self::LoopLimit => "loop-limit",
            Self::Assertion => "assertion",
            Self::TooLong => "too-long",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One digest message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Type of the data, as P4Info names the digest.
    pub ty: Handle<Type>,
    /// The `receiver` argument (v1model); 0 where there is none.
    pub receiver: u32,
    /// Leaf fields in declaration order, each as big-endian bytes of its full width.
    pub fields: Vec<Vec<u8>>,
}

/// A packet to transmit, in two pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Egress port.
    pub port: u32,
    /// The packet's first bytes.
    pub head: &'a [u8],
    /// Those that follow, where they came in; none where `head` is all of the packet.
    pub payload: &'a [u8],
}

impl Sent<'_> {
    /// Bytes of the packet.
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.head, self.payload].concat()
    }
}

/// What the processing of packets produced. Those that are sent may refer to bytes of those that came in, for `'p`.
#[derive(Debug, Default)]
pub struct Outputs<'p> {
    /// First bytes of packets, one behind the other, and room behind `end`.
    bytes: Vec<u8>,
    end: usize,
    /// Port, where the first bytes begin, and the others.
    sent: Vec<(u32, usize, &'p [u8])>,
    whole: bool,
    /// Digests, in the order in which their passes ended.
    pub digests: Vec<Digest>,
    /// Packets (copies included) that ended here, with the reason.
    pub drops: Vec<DropReason>,
    /// `log_msg` texts.
    pub log: Vec<String>,
}

impl<'p> Outputs<'p> {
    /// Packets to transmit, in order.
    pub fn transmitted(&self) -> impl ExactSizeIterator<Item = Sent<'_>> {
        let sent = self.sent.iter().enumerate();
        sent.map(|(i, &(port, start, payload))| {
            let end = self.sent.get(i + 1).map_or(self.end, |next| next.1);
            let head = self.bytes.get(start..end).unwrap_or_default();
            Sent {
                port,
                head,
                payload,
            }
        })
    }

    /// From now on, packets are copied into one piece each, or not.
    pub fn keep_whole(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// Forgets everything but keeps the buffers.
    pub fn clear(&mut self) {
        self.end = 0;
        self.sent.clear();
        self.digests.clear();
        self.drops.clear();
        self.log.clear();
    }

    /// The same buffers without contents, for what comes of other packets.
    pub fn recycle<'q>(mut self) -> Outputs<'q> {
        self.clear();
        // Nothing is left to be mapped, and the memory stays.
        let none = |(port, start, _): (u32, usize, &[u8])| (port, start, <&[u8]>::default());
        Outputs {
            bytes: self.bytes,
            end: 0,
            sent: self.sent.into_iter().map(none).collect(),
            whole: false,
            digests: self.digests,
            drops: self.drops,
            log: self.log,
        }
    }

    /// Room for so many bytes at least, where the next packet will begin.
    #[inline]
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.bytes.len().wrapping_sub(self.end) < bytes {
            self.more_room(bytes);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    #[cold]
    fn more_room(&mut self, bytes: usize) {
        let end = self.end.saturating_add(bytes);
        self.bytes.resize(end.next_power_of_two(), 0);
    }

    /// Appends the packet whose first bytes, so many, were written where [`Outputs::room`] said.
    #[inline]
    pub(crate) fn seal(&mut self, port: u32, head: usize, payload: &'p [u8]) {
        if self.whole {
            return self.seal_copy(port, head, payload);
        }
        self.sent.push((port, self.end, payload));
        self.end += head;
    }

    /// The same with a copy of the other bytes.
    #[inline(never)]
    pub(crate) fn seal_copy(&mut self, port: u32, head: usize, payload: &[u8]) {
        let length = head + payload.len();
        if let Some(to) = self.room(length).get_mut(head..length) {
            to.copy_from_slice(payload);
        }
        self.sent.push((port, self.end, &[]));
        self.end += length;
    }

    /// Appends a copy of one packet made of two pieces.
    pub(crate) fn push(&mut self, port: u32, head: &[u8], payload: &[u8]) {
        if let Some(to) = self.room(head.len()).get_mut(..head.len()) {
            to.copy_from_slice(head);
        }
        self.seal_copy(port, head.len(), payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_one_behind_the_other_however_they_were_made() {
        let (payload, long) = ([3, 4], vec![6; 5000]);
        let mut out = Outputs::default();
        for (round, whole) in [(0u8, false), (1, true), (2, false)] {
            out.keep_whole(whole);
            out.room(100)[..3].copy_from_slice(&[round, 1, 2]);
            out.seal(7, 3, &payload);
            out.push(8, &[5], &[]);
            out.push(9, &[], &long);
            let sent: Vec<Sent<'_>> = out.transmitted().collect();
            assert_eq!(
                (sent[0].port, sent[0].to_vec()),
                (7, vec![round, 1, 2, 3, 4])
            );
            assert_eq!(sent[0].payload.is_empty(), whole, "referred to");
            assert_eq!((sent[1].port, sent[1].head), (8, &[5][..]));
            assert_eq!((sent[2].port, sent[2].head), (9, &long[..]));
            out.clear();
            assert_eq!(out.transmitted().len(), 0);
        }
    }

    #[test]
    fn buffers_are_used_again_for_other_packets() {
        let mut out = Outputs::default();
        {
            let payload = vec![1; 100];
            out.room(10);
            out.seal(1, 10, &payload);
            out = Outputs::recycle(out);
        }
        assert_eq!(out.transmitted().len(), 0);
        assert!(out.sent.capacity() > 0 && !out.bytes.is_empty());
    }
}
