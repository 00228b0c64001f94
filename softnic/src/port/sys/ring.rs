//! Rings of received frames, shared with the kernel.
//!
//! In: a packet socket. Out: frames in the kernel's order, lent in place until they are released. Two kinds:
//!
//! ```text
//! frames (TPACKET_V2)  │slot│slot│slot│…      a frame is ours as soon as it is there
//! blocks (TPACKET_V3)  │f f f f f│f f f│…     a block is ours when it is full, or a millisecond after its first frame
//! ```
//!
//! Invariant: what is lent is not the kernel's: its status word said so, and changes only when it is released.
#![allow(unsafe_code, reason = "shared memory; see each block")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{SOL_PACKET, TP_STATUS_COPY, TP_STATUS_KERNEL, TP_STATUS_USER};

use super::mapping::Mapping;
use super::option;
use super::packet::{HEADROOM, Info, vlan};

/// Memory of a ring.
const SIZE: usize = 8 << 20;
/// Unit in which the kernel allocates a ring of frames.
const FRAME_BLOCK: usize = 128 << 10;
/// A block of frames: super-frames fit.
const BLOCK: usize = 256 << 10;
/// Milliseconds after which a block is handed over that is not full: the least that there is.
const BLOCK_TIMEOUT: u32 = 1;
/// Largest slot; longer frames go through the socket's queue.
const LARGEST_SLOT: usize = 16 << 10;

/// How a ring is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::port) enum Layout {
    /// A slot for each frame.
    Frames,
    /// Frames packed into blocks.
    Blocks,
}

impl Layout {
    /// The version that the socket has to be opened with.
    pub fn version(self) -> libc::c_int {
        match self {
            Self::Frames => libc::tpacket_versions::TPACKET_V2 as _,
            Self::Blocks => libc::tpacket_versions::TPACKET_V3 as _,
        }
    }
}

/// Bytes of a slot for frames of an interface; a slot begins with its header.
pub(super) fn slot_size(mtu: usize) -> usize {
    // Ethernet, two VLAN tags, the kernel's header with its padding, and what we left free.
    let needed = mtu + 22 + libc::TPACKET2_HDRLEN + 32 + HEADROOM;
    needed.next_multiple_of(256).clamp(2048, LARGEST_SLOT)
}

/// The kernel's description of a ring of slots in so much memory.
pub(super) fn slots(size: usize, slot: usize) -> libc::tpacket_req {
    let blocks = size / FRAME_BLOCK;
    libc::tpacket_req {
        tp_block_size: FRAME_BLOCK as u32,
        tp_block_nr: blocks as u32,
        tp_frame_size: slot as u32,
        tp_frame_nr: (FRAME_BLOCK / slot * blocks) as u32,
    }
}

/// Where slot `index` of such a ring is.
pub(super) fn slot_at(index: usize, slot: usize) -> usize {
    let per_block = FRAME_BLOCK / slot;
    index / per_block * FRAME_BLOCK + index % per_block * slot
}

/// A frame, ours until it is released.
pub(in crate::port) struct Lent<'a> {
    /// [`HEADROOM`] bytes, of which the last ten are the virtio-net header, and the frame, as far as it fits.
    pub bytes: &'a mut [u8],
    /// About it.
    pub info: Info,
}

/// A ring and how far it was read.
#[derive(Debug)]
pub(in crate::port) struct Ring {
    memory: Mapping,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Slot size, number of slots, the next to read.
    Frames(usize, usize, usize),
    /// The next block to read, and within it, when it is being read: frames left and where the next is.
    Blocks(usize, Option<(u32, usize)>),
}

impl Ring {
    /// Makes the socket's ring; it was opened with the layout's version.
    pub fn new(fd: &OwnedFd, layout: Layout, mtu: usize) -> io::Result<Self> {
        let place = match layout {
            Layout::Frames => {
                let slot = slot_size(mtu);
                let request = slots(SIZE, slot);
                option(fd, SOL_PACKET, libc::PACKET_RX_RING, &request)?;
                Place::Frames(slot, request.tp_frame_nr as usize, 0)
            }
            Layout::Blocks => {
                let request = libc::tpacket_req3 {
                    tp_block_size: BLOCK as u32,
                    tp_block_nr: (SIZE / BLOCK) as u32,
                    tp_frame_size: 2048,
                    tp_frame_nr: (SIZE / 2048) as u32,
                    tp_retire_blk_tov: BLOCK_TIMEOUT,
                    tp_sizeof_priv: 0,
                    tp_feature_req_word: 0,
                };
                option(fd, SOL_PACKET, libc::PACKET_RX_RING, &request)?;
                Place::Blocks(0, None)
            }
        };
        Ok(Self {
            memory: Mapping::shared(fd, SIZE, 0)?,
            place,
        })
    }

    /// The frames that are there, in order. Each call begins with the first that was not released.
    pub fn lend(&mut self) -> Lend<'_> {
        if let Place::Blocks(block, within @ None) = &mut self.place {
            let at = *block * BLOCK;
            if status(&self.memory, at + 8).load(Ordering::Acquire) & TP_STATUS_USER != 0 {
                let word = |offset| self.memory.word(at + offset).load(Ordering::Relaxed);
                *within = Some((word(12), at + word(16) as usize));
            }
        }
        let (left, at) = match &self.place {
            Place::Frames(slot, count, next) => (*count as u32, slot_at(*next, *slot)),
            Place::Blocks(_, within) => within.unwrap_or((0, 0)),
        };
        Lend {
            memory: &self.memory,
            place: &self.place,
            index: 0,
            left,
            at,
            only: PhantomData,
        }
    }

    /// Gives the first frames that were lent back.
    pub fn release(&mut self, count: usize) {
        match &mut self.place {
            Place::Frames(slot, slots, next) => {
                for _ in 0..count {
                    let at = slot_at(*next, *slot);
                    status(&self.memory, at).store(TP_STATUS_KERNEL, Ordering::Release);
                    *next = (*next + 1) % *slots;
                }
            }
            Place::Blocks(block, within) => {
                let Some((left, at)) = within else { return };
                for _ in 0..count {
                    *at += self.memory.word(*at).load(Ordering::Relaxed) as usize;
                    *left = left.saturating_sub(1);
                }
                if *left == 0 {
                    let of_block = status(&self.memory, *block * BLOCK + 8);
                    of_block.store(TP_STATUS_KERNEL, Ordering::Release);
                    *block = (*block + 1) % (SIZE / BLOCK);
                    *within = None;
                }
            }
        }
    }
}

fn status(memory: &Mapping, at: usize) -> &AtomicU32 {
    memory.word(at)
}

/// Frames that are there.
pub(in crate::port) struct Lend<'a> {
    memory: &'a Mapping,
    place: &'a Place,
    index: usize,
    left: u32,
    at: usize,
    /// The ring is borrowed for good, so that no frame is lent twice at a time.
    only: PhantomData<&'a mut Ring>,
}

impl<'a> Iterator for Lend<'a> {
    type Item = Lent<'a>;

    fn next(&mut self) -> Option<Lent<'a>> {
        if self.left == 0 {
            return None;
        }
        let at = self.at;
        let lent = match self.place {
            Place::Frames(slot, slots, next) => {
                let lent = self.frame(at)?;
                self.index += 1;
                self.at = slot_at((next + self.index) % slots, *slot);
                lent
            }
            Place::Blocks(..) => {
                self.at += self.memory.word(at).load(Ordering::Relaxed) as usize;
                self.block_frame(at)
            }
        };
        self.left -= 1;
        Some(lent)
    }
}

impl<'a> Lend<'a> {
    /// `struct tpacket2_hdr`: status, length, captured, MAC and network offset, time, VLAN tag.
    fn frame(&self, at: usize) -> Option<Lent<'a>> {
        let status = self.memory.word(at).load(Ordering::Acquire);
        if status & TP_STATUS_USER == 0 {
            return None;
        }
        let word = |offset| self.memory.word(at + offset).load(Ordering::Relaxed);
        let [tci, tpid] = halves(word(24));
        let mac = usize::from(halves(word(12))[0]);
        // Behind the header, aligned: `sockaddr_ll`, the packet type in its eleventh byte.
        let kind = word(32 + 8).to_ne_bytes()[2];
        let info = Info {
            length: word(4) as usize,
            vlan: vlan(status, tci, tpid),
            outgoing: kind == libc::PACKET_OUTGOING,
            queued: status & TP_STATUS_COPY != 0,
        };
        Some(self.lend(at, mac, word(8), info))
    }

    /// `struct tpacket3_hdr`: next, time, captured, length, status, MAC and network offset, hash, VLAN tag.
    fn block_frame(&self, at: usize) -> Lent<'a> {
        let word = |offset| self.memory.word(at + offset).load(Ordering::Relaxed);
        let mac = usize::from(halves(word(24))[0]);
        let kind = word(48 + 8).to_ne_bytes()[2];
        let info = Info {
            length: word(16) as usize,
            vlan: vlan(word(20), word(32) as u16, halves(word(36))[0]),
            outgoing: kind == libc::PACKET_OUTGOING,
            queued: false,
        };
        self.lend(at, mac, word(12), info)
    }

    fn lend(&self, at: usize, mac: usize, captured: u32, info: Info) -> Lent<'a> {
        let start = at + mac.saturating_sub(HEADROOM);
        let length = HEADROOM + captured as usize;
        // SAFETY: the status said that the frame, and the free bytes before it, are ours until they are released, and
        // `Ring::release` takes the ring, which this borrows, exclusively. The iterator lends each frame once, and
        // frames lie apart.
        let bytes = unsafe { self.memory.bytes(start, length) };
        Lent { bytes, info }
    }
}

/// A word as the two halves that stand one behind the other in memory.
fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}
