//! Ports: where packets come in and go out.
//!
//! In: packets from a network interface, a file or a test. Out: the same, in batches of [`Frame`]s that the port lends from
//! its own memory. A [`Port`] is shared by the threads that receive from it, one per queue, and by every thread that sends
//! to it.
//!
//! | module | port |
//! |---|---|
//! | [`memory`] | a pair of ports connected to each other, in memory |
//! | [`pcap`] | packets from one capture file, into another |
//! | [`tap`] | a TAP interface that the port makes |
//! | [`packet`] | an existing network interface, through AF_PACKET and rings shared with the kernel |
//! | [`xdp`] | an existing network interface, through AF_XDP and memory shared with the kernel |
//! | [`busy`] | any of them, looked at for a while before its threads sleep |
//! | [`wrap`] | any of them, with faults or a trace |
//!
//! An interface that goes away is waited for (`attachment`); what a sender left undone (`vnet`, `checksum`, `segment`)
//! travels with the frame as its [`Offload`].
//!
//! Invariant: neither a malformed packet nor a full queue is an error; both are counted.

#[cfg(target_os = "linux")]
mod attachment;
mod batch;
pub mod busy;
mod checksum;
mod frame;
pub mod memory;
mod options;
#[cfg(target_os = "linux")]
pub mod packet;
pub mod pcap;
mod segment;
mod statistics;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
pub mod tap;
#[cfg(target_os = "linux")]
mod vnet;
pub mod wrap;
#[cfg(target_os = "linux")]
pub mod xdp;

use std::io;
use std::time::Duration;

pub use batch::Batch;
pub use frame::{Frame, Offload, Segmentation};
pub use options::{PacketOptions, Ring, TapOptions, XdpMode, XdpOptions};
pub(crate) use segment::{finish, is_plain};
pub(crate) use statistics::Counters;
pub use statistics::PortStatistics;

/// Longest packet that a port takes: a jumbo frame fits, everything that loopback interfaces pass, and every frame that
/// still has to be cut into segments.
pub const MAX_PACKET: usize = 65_536 + 14 + 8;

/// Frames that are taken from a port at one go, where so many wait.
pub const TURN: usize = 256;
/// Frames of one go up to which nothing is allocated for it.
const FEW: usize = 32;

/// What a port lends received frames to.
pub type Take<'a> = dyn FnMut(&[Frame<'_>]) + 'a;

/// A place where packets come in and go out.
pub trait Port: Send + Sync {
    /// For people: kind and interface or file.
    fn name(&self) -> &str;

    /// Receive queues. Each has a thread of its own that polls it; packets of one connection come in on one queue.
    fn queues(&self) -> usize {
        1
    }

    /// Whether [`Port::transmit`] takes frames whose [`Offload`] is not done yet; others are to be finished before.
    fn takes_offloads(&self) -> bool {
        false
    }

    /// Waits until a packet is in the queue, at most for `wait`, and lends what is there, at most `limit` frames, to `take`,
    /// which is called once or, where frames had to be cut, several times. The frames are the port's again afterwards.
    ///
    /// # Errors
    /// [`PortError`] when nothing will come any more; the port is then left alone.
    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError>;

    /// Sends frames in order. What finds no room is dropped and counted. The queue, any number, is a hint: threads that
    /// give different ones get into each other's way least.
    ///
    /// # Errors
    /// [`PortError`] when the port cannot send at all; the frames are lost.
    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError>;

    /// Waits until a packet is there, on any queue, at most for `wait`, and appends what is there to the batch until it is
    /// full; every packet as it would be on the wire.
    ///
    /// # Errors
    /// As [`Port::poll`].
    fn receive(&self, batch: &mut Batch, wait: Duration) -> Result<Received, PortError> {
        let queues = self.queues().max(1);
        let share = wait / u32::try_from(queues).unwrap_or(u32::MAX);
        let mut last = Received::Nothing;
        for queue in 0..queues {
            last = self.poll(queue, batch.room(), share, &mut |frames| {
                for frame in frames {
                    finish(frame, &mut |packet| batch.push(packet));
                }
            })?;
            if last == Received::Packets {
                break;
            }
        }
        Ok(last)
    }

    /// Sends whole packets in order, as [`Port::transmit`].
    ///
    /// # Errors
    /// As [`Port::transmit`].
    fn send(&self, packets: &[&[u8]]) -> Result<(), PortError> {
        let frames: Vec<Frame<'_>> = packets.iter().map(|packet| Frame::whole(packet)).collect();
        self.transmit(0, &frames)
    }

    /// Whether the link is up.
    fn is_up(&self) -> bool;

    /// What was counted so far.
    fn statistics(&self) -> PortStatistics;
}

/// What [`Port::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// At least one packet.
    Packets,
    /// None in time.
    Nothing,
    /// None, and none will come: the file is at its end, the peer is gone.
    End,
}

/// Why a port cannot be made or used. [`PortError::Io`] may pass, the others will not.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The operating system refused.
    #[error("{name}: {action}: {source}")]
    Io {
        /// The port.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A capture file that cannot be read or written.
    #[error("{name}: {source}")]
    Capture {
        /// The port.
        name: String,
        /// What is wrong with it.
        source: pcap_file::PcapError,
    },
    /// AF_XDP does not work on an interface.
    #[error("{interface}, {queue}, XDP mode {mode}: {action}: {source}; {advice}")]
    Xdp {
        /// The interface.
        interface: String,
        /// The queue, or all of them.
        queue: String,
        /// How the program was to be attached.
        mode: &'static str,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// An interface name that the kernel does not take.
    #[error("{0:?} is not an interface name: 1 to 15 bytes without `/` and spaces")]
    InterfaceName(String),
    /// No such interface.
    #[error("there is no network interface {0}; `ip link` lists them")]
    NoInterface(String),
    /// Raw sockets and TAP devices are for root.
    #[error(
        "{0}: permission denied; run as root, or give the program CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    Permission(String),
}

impl PortError {
    /// An operating system error with the port and what it was doing.
    pub(crate) fn io(name: &str, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(name.to_owned()),
            _ => Self::Io {
                name: name.to_owned(),
                action,
                source,
            },
        }
    }
}
