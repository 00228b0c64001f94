//! A packet as a port lends it, with the work that its sender left to hardware.
//!
//! In: bytes of a ring, a buffer or a batch. Out: the same, borrowed. Between two kernel interfaces a TCP sender's 64 KB
//! super-frame goes through the program as one packet: its checksum field then holds nothing of use to the program (the
//! pseudo header's sum, RFC 9293 §3.1), so it is written anew from the rewritten addresses on the way out. A packet that
//! the program put into a tunnel is finished here: no kernel interface takes it otherwise.

use std::borrow::Cow;

/// How a super-frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segmentation {
    /// TCP segments of so many bytes of payload each.
    Tcp {
        /// Bytes of payload per segment.
        size: u16,
        /// The congestion window was reduced (CWR): to be said by the first segment only.
        congestion: bool,
    },
    /// UDP datagrams of so many bytes of payload each.
    Udp {
        /// Bytes of payload per datagram.
        size: u16,
    },
}

/// What has to be done to a packet before it is one on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The TCP or UDP checksum is to be computed.
    pub checksum: bool,
    /// The packet is to be cut; its checksum is to be computed then as well.
    pub segmentation: Option<Segmentation>,
    /// Bytes from the transport header to the frame's end: by them it is found again when the program has put another
    /// packet's headers around this one.
    pub behind: usize,
    /// Bytes of the network header before it.
    pub network: usize,
}

impl Offload {
    /// Nothing is left to do.
    pub const NONE: Self = Self {
        checksum: false,
        segmentation: None,
        behind: 0,
        network: 0,
    };
}

/// A packet that somebody else holds.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the destination's Ethernet address on, without the check sequence; all of the packet, if it was received or if
    /// anything is left to do.
    pub bytes: &'a [u8],
    /// What follows in a packet to send whose payload is elsewhere.
    pub payload: &'a [u8],
    /// What is left to do.
    pub offload: Offload,
}

impl<'a> Frame<'a> {
    /// A packet as it is on the wire.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            payload: &[],
            offload: Offload::NONE,
        }
    }

    /// Bytes of the packet.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.payload.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packet in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.bytes, self.payload].concat()
    }

    /// The packet in one piece, copied only where it lies in two.
    pub fn contiguous(&self) -> Cow<'a, [u8]> {
        match self.payload {
            [] => Cow::Borrowed(self.bytes),
            _ => Cow::Owned(self.to_vec()),
        }
    }

    /// Copies bytes of the packet from `at` on: as many as there is room for, and not more than it has.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        let first = self.bytes.get(at..).unwrap_or_default();
        let behind = at.saturating_sub(self.bytes.len());
        let second = self.payload.get(behind..).unwrap_or_default();
        let (start, rest) = to.split_at_mut(first.len().min(to.len()));
        start.copy_from_slice(&first[..start.len()]);
        let length = second.len().min(rest.len());
        rest[..length].copy_from_slice(&second[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_packet_in_two_pieces_can_be_read() {
        let whole: Vec<u8> = (0..10).collect();
        for cut in 0..=whole.len() {
            let (bytes, payload) = whole.split_at(cut);
            let frame = Frame {
                payload,
                ..Frame::whole(bytes)
            };
            assert_eq!((frame.to_vec(), frame.len()), (whole.clone(), 10));
            for at in 0..12 {
                for room in 0..12 {
                    let mut to = vec![0xff; room];
                    frame.read(at, &mut to);
                    let there = whole.get(at..).unwrap_or_default();
                    let there = &there[..there.len().min(room)];
                    assert_eq!(&to[..there.len()], there);
                    assert!(to[there.len()..].iter().all(|&byte| byte == 0xff));
                }
            }
        }
    }
}
