//! One queue: a socket that receives, one that sends, and their rings.
//!
//! In: frames of the kernel, in the receive ring or, when they fit no slot, in the socket's queue. Out: the same, lent in
//! place; and frames into the send ring. Order is kept in both directions.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use smallvec::SmallVec;

use super::super::sys::packet::{self, HEADROOM, Info};
use super::super::sys::ring::{Layout, Lent, Ring};
use super::super::sys::{self, send_ring::SendRing};
use super::super::{Counters, FEW, Frame, MAX_PACKET, Offload, Take, finish, vnet};

/// Bytes of the two MAC addresses, behind which a VLAN tag stands.
const TAG_AT: usize = 12;

/// Bytes of a VLAN tag.
const TAG: usize = 4;

/// Memory for frames of one turn that fit no slot.
const LARGE: usize = 16 * (HEADROOM + MAX_PACKET);

/// The sockets of a queue.
pub(super) struct Queue {
    receive_socket: OwnedFd,
    receive: Mutex<Receive>,
    send_socket: OwnedFd,
    send: Mutex<SendRing>,
}

struct Receive {
    ring: Ring,
    /// For frames that fit no slot.
    large: Vec<u8>,
}

impl Queue {
    pub fn open(index: libc::c_int, layout: Layout, mtu: usize) -> io::Result<Self> {
        let receive_socket = packet::open(layout.version())?;
        packet::prepare_receive(&receive_socket)?;
        let ring = Ring::new(&receive_socket, layout, mtu)?;
        packet::listen_to_all(&receive_socket, index)?;
        packet::bind(&receive_socket, index, true)?;
        let send_socket = packet::open(Layout::Frames.version())?;
        let send = SendRing::new(&send_socket, mtu)?;
        packet::bind(&send_socket, index, false)?;
        Ok(Self {
            receive_socket,
            receive: Mutex::new(Receive {
                ring,
                large: vec![0; LARGE],
            }),
            send_socket,
            send: Mutex::new(send),
        })
    }

    /// Joins the sockets that share an interface's packets, or founds the group.
    pub fn join(&self, group: Option<u16>) -> io::Result<u16> {
        packet::join_group(&self.receive_socket, group)
    }

    /// Frames that found no room since the last call.
    pub fn dropped(&self) -> u64 {
        packet::dropped(&self.receive_socket).unwrap_or(0)
    }

    /// Lends what is there; the number of frames taken from the ring.
    pub fn poll(
        &self,
        limit: usize,
        wait: Duration,
        offload: bool,
        counters: &Counters,
        take: &mut Take<'_>,
    ) -> io::Result<usize> {
        let mut receive = self.receive.lock();
        let taken = self.turn(&mut receive, limit, offload, counters, take)?;
        if taken > 0 || wait.is_zero() || !sys::receivable(&self.receive_socket, wait)? {
            return Ok(taken);
        }
        self.turn(&mut receive, limit, offload, counters, take)
    }

    fn turn(
        &self,
        receive: &mut Receive,
        limit: usize,
        offload: bool,
        counters: &Counters,
        take: &mut Take<'_>,
    ) -> io::Result<usize> {
        let mut frames: SmallVec<[Frame<'_>; FEW]> = SmallVec::new();
        let mut taken = 0;
        let mut large = &mut receive.large[..];
        for lent in receive.ring.lend().take(limit) {
            let Lent { bytes, info } = lent;
            let frame = if info.queued {
                if large.len() < HEADROOM + MAX_PACKET {
                    break;
                }
                match packet::receive(&self.receive_socket, &mut large[TAG..]) {
                    Ok(info) => {
                        let used = (HEADROOM + info.length).min(large.len());
                        let (bytes, rest) = std::mem::take(&mut large).split_at_mut(used);
                        large = rest;
                        accept(bytes, &info)
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Malformed),
                    Err(e) => return Err(e),
                }
            } else {
                accept(bytes, &info)
            };
            taken += 1;
            match frame {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {}
                Err(Malformed) => counters.malformed(),
            }
        }
        counters.received_all(&frames);
        if offload || frames.iter().all(|frame| frame.offload == Offload::NONE) {
            if !frames.is_empty() {
                take(&frames);
            }
        } else {
            for frame in &frames {
                finish(frame, &mut |packet| take(&[Frame::whole(packet)]));
            }
        }
        drop(frames);
        receive.ring.release(taken);
        Ok(taken)
    }

    /// Sends frames in order.
    pub fn transmit(&self, frames: &[Frame<'_>], mtu: usize, counters: &Counters) {
        let mut ring = self.send.lock();
        let mut pushed = Pushed::default();
        for frame in frames {
            let cut = frame.offload.segmentation.is_some();
            // A VLAN tag does not count.
            let fits = frame.len() >= 14 && (cut || frame.len() <= mtu + 14 + TAG);
            let prefix = vnet::encode(frame.bytes, frame.offload).filter(|_| fits);
            let Some(prefix) = prefix else {
                counters.send_dropped(1);
                continue;
            };
            let length = vnet::LENGTH + frame.len();
            if length > ring.capacity() {
                pushed.flush(&mut ring, &self.send_socket, counters);
                self.send_large(&prefix, frame, counters);
                continue;
            }
            let write = |slot: &mut [u8]| prefix.write(frame, slot);
            if ring.push(length, write) {
                pushed.lengths.push(frame.len());
                continue;
            }
            pushed.flush(&mut ring, &self.send_socket, counters);
            if ring.push(length, write) {
                pushed.lengths.push(frame.len());
            } else {
                counters.send_dropped(1);
            }
        }
        pushed.flush(&mut ring, &self.send_socket, counters);
    }

    fn send_large(&self, prefix: &vnet::Prefix, frame: &Frame<'_>, counters: &Counters) {
        let sent = rustix::net::sendmsg(
            &self.receive_socket,
            &prefix.gather(frame),
            &mut SendAncillaryBuffer::default(),
            SendFlags::DONTWAIT,
        );
        match sent {
            Ok(_) => counters.sent(frame.len()),
            // Full queue, link down.
            Err(_) => counters.send_dropped(1),
        }
    }
}

/// Lengths of the frames in the send ring that were not sent yet.
#[derive(Default)]
struct Pushed {
    lengths: SmallVec<[usize; FEW]>,
}

impl Pushed {
    fn flush(&mut self, ring: &mut SendRing, socket: &OwnedFd, counters: &Counters) {
        if self.lengths.is_empty() {
            return;
        }
        let taken = ring.flush(socket).min(self.lengths.len());
        counters.sent_all(taken, self.lengths[..taken].iter().sum());
        counters.send_dropped((self.lengths.len() - taken) as u64);
        self.lengths.clear();
    }
}

/// A frame that was cut, or that nothing here can finish.
struct Malformed;

/// Makes a frame of what the kernel left: the virtio-net header is read, the VLAN tag put back. `None`: not a received one.
fn accept<'a>(bytes: &'a mut [u8], info: &Info) -> Result<Option<Frame<'a>>, Malformed> {
    if info.outgoing {
        return Ok(None);
    }
    if bytes.len() != HEADROOM + info.length || info.length > MAX_PACKET {
        return Err(Malformed);
    }
    let (head, frame) = bytes.split_at_mut(HEADROOM);
    let (_, header) = head
        .split_last_chunk::<{ vnet::LENGTH }>()
        .ok_or(Malformed)?;
    let offload = vnet::decode(header, frame).ok_or(Malformed)?;
    let start = match info.vlan {
        Some((tpid, tci)) if info.length >= TAG_AT => {
            let start = HEADROOM - TAG;
            bytes.copy_within(HEADROOM..HEADROOM + TAG_AT, start);
            let tag = &mut bytes[start + TAG_AT..HEADROOM + TAG_AT];
            tag[..2].copy_from_slice(&tpid.to_be_bytes());
            tag[2..].copy_from_slice(&tci.to_be_bytes());
            start
        }
        _ => HEADROOM,
    };
    Ok(Some(Frame {
        offload,
        ..Frame::whole(&bytes[start..])
    }))
}
