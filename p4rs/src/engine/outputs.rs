//! What one run of a packet leaves behind: packets to transmit, digests, drops, log messages.
//!
//! In: the interpreter appends. Out: the caller reads, then clears for the next packet.
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

/// What the processing of one packet produced.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The packets, and room behind `end`.
    bytes: Vec<u8>,
    end: usize,
    sent: Vec<(u32, usize)>,
    /// Digests, in the order in which their passes ended.
    pub digests: Vec<Digest>,
    /// Packets (copies included) that ended here, with the reason.
    pub drops: Vec<DropReason>,
    /// `log_msg` texts.
    pub log: Vec<String>,
}

impl Outputs {
    /// Packets to transmit, in order: egress port and bytes.
    pub fn transmitted(&self) -> impl ExactSizeIterator<Item = (u32, &[u8])> {
        self.sent.iter().enumerate().map(|(i, &(port, start))| {
            let end = self.sent.get(i + 1).map_or(self.end, |next| next.1);
            (port, self.bytes.get(start..end).unwrap_or_default())
        })
    }

    /// Forgets everything but keeps the buffers.
    pub fn clear(&mut self) {
        self.end = 0;
        self.sent.clear();
        self.digests.clear();
        self.drops.clear();
        self.log.clear();
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

    /// Appends the packet whose first bytes, so many, were written where [`Outputs::room`] said, room enough for all of it.
    #[inline]
    pub(crate) fn seal(&mut self, port: u32, head: usize, payload: &[u8]) {
        let start = self.end;
        let (behind, end) = (start + head, start + head + payload.len());
        if let Some(to) = self.bytes.get_mut(behind..end) {
            to.copy_from_slice(payload);
            self.sent.push((port, start));
            self.end = end;
        }
    }

    /// Appends one packet made of two pieces.
    pub(crate) fn push(&mut self, port: u32, head: &[u8], payload: &[u8]) {
        let room = self.room(head.len() + payload.len());
        if let Some(to) = room.get_mut(..head.len()) {
            to.copy_from_slice(head);
        }
        self.seal(port, head.len(), payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_lie_one_behind_the_other_however_they_were_made() {
        let mut out = Outputs::default();
        for round in 0..3u8 {
            out.room(100)[..3].copy_from_slice(&[round, 1, 2]);
            out.seal(7, 3, &[3, 4]);
            out.push(8, &[5], &[]);
            out.push(9, &[], &vec![6; 5000]);
            let sent: Vec<(u32, &[u8])> = out.transmitted().collect();
            assert_eq!(sent[0], (7, [round, 1, 2, 3, 4].as_slice()));
            assert_eq!(sent[1], (8, [5].as_slice()));
            assert_eq!(sent[2], (9, vec![6; 5000].as_slice()));
            out.clear();
            assert_eq!(out.transmitted().len(), 0);
        }
    }
}
