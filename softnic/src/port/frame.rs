//! A packet as a port lends it, with the work that its sender left to hardware.
//!
//! In: bytes of a ring, a buffer or a batch. Out: the same, borrowed. Between two kernel interfaces a TCP sender's 64 KB
//! super-frame goes through the program as one packet: its checksum field then holds nothing of use to the program (the
//! pseudo header's sum, RFC 9293 §3.1), so it is written anew from the rewritten addresses on the way out. A packet that
//! the program put into a tunnel is finished here: no kernel interface takes it otherwise.

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
    /// From the destination's Ethernet address on, without the check sequence.
    pub bytes: &'a [u8],
    /// What is left to do.
    pub offload: Offload,
}

impl<'a> Frame<'a> {
    /// A packet as it is on the wire.
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            offload: Offload::NONE,
        }
    }
}
