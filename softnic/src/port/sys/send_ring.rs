//! The ring of frames to send, shared with the kernel.
//!
//! In: frames, copied into slots in order. Out: one system call per batch. Invariant: the next slot that is filled is the
//! next that the kernel looks at; what it did not take is withdrawn, so that nothing is sent late.
#![allow(unsafe_code, reason = "shared memory; see each block")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use libc::{SOL_PACKET, TP_STATUS_AVAILABLE, TP_STATUS_SEND_REQUEST};

use super::mapping::Mapping;
use super::option;
use super::ring::{slot_at, slot_size, slots};

/// Memory of a ring.
const SIZE: usize = 2 << 20;
/// Where a frame begins in its slot: behind `tpacket2_hdr`, aligned.
const DATA: usize = libc::TPACKET2_HDRLEN - size_of::<libc::sockaddr_ll>();

/// A ring and how far it was filled.
#[derive(Debug)]
pub(in crate::port) struct SendRing {
    memory: Mapping,
    slot: usize,
    slots: usize,
    next: usize,
    pending: usize,
}

impl SendRing {
    /// Makes the ring of a socket of version 2.
    pub fn new(fd: &OwnedFd, mtu: usize) -> io::Result<Self> {
        // What the kernel cannot send must not stop what is behind it.
        option(fd, SOL_PACKET, libc::PACKET_LOSS, &1i32)?;
        let slot = slot_size(mtu);
        let request = slots(SIZE, slot);
        option(fd, SOL_PACKET, libc::PACKET_TX_RING, &request)?;
        Ok(Self {
            memory: Mapping::shared(fd, SIZE, 0)?,
            slot,
            slots: request.tp_frame_nr as usize,
            next: 0,
            pending: 0,
        })
    }

    /// Bytes that a slot takes, virtio-net header and frame.
    pub fn capacity(&self) -> usize {
        self.slot - DATA
    }

    /// Fills the next slot with what `write` puts into so many bytes; `false` when no slot is free.
    pub fn push(&mut self, length: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let at = slot_at(self.next, self.slot);
        let status = self.memory.word(at);
        let free = status.load(Ordering::Acquire) == TP_STATUS_AVAILABLE;
        if !free || self.pending == self.slots || length > self.capacity() {
            return false;
        }
        // SAFETY: the status says that the slot is ours, and `&mut self` that nobody else is writing to it.
        write(unsafe { self.memory.bytes(at + DATA, length) });
        self.memory
            .word(at + 4)
            .store(length as u32, Ordering::Relaxed);
        status.store(TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        self.pending += 1;
        true
    }

    /// Sends what was pushed since the last time; returns how many of the frames the kernel took, the first ones, and
    /// withdraws the others.
    pub fn flush(&mut self, fd: &OwnedFd) -> usize {
        if self.pending == 0 {
            return 0;
        }
        // SAFETY: no bytes are given: the frames are in the ring. What was not taken is seen there.
        unsafe { libc::send(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
        let first = (self.next + self.slots - self.pending) % self.slots;
        let slot = |index: usize| slot_at((first + index) % self.slots, self.slot);
        let requested = |index: &usize| {
            let status = self.memory.word(slot(*index)).load(Ordering::Acquire);
            status & TP_STATUS_SEND_REQUEST != 0
        };
        let taken = (0..self.pending).find(requested).unwrap_or(self.pending);
        for index in taken..self.pending {
            let status = self.memory.word(slot(index));
            status.store(TP_STATUS_AVAILABLE, Ordering::Release);
        }
        self.next = (first + taken) % self.slots;
        self.pending = 0;
        taken
    }
}
