//! AF_XDP sockets: memory for frames, and the four rings by which they change hands.
//!
//! ```text
//!            fill ──▶ kernel ──▶ received            chunks 0..RECEIVE
//!  to send ──▶ kernel ──▶ completion                 chunks RECEIVE..
//! ```
//!
//! In: an interface's index and a queue. Out: received chunks lent in place; chunks to send. Invariant: a chunk is in one
//! place at a time: in one of the rings, lent, or in the list of free ones.
#![allow(unsafe_code, reason = "shared memory; see each block")]

use std::ffi::c_int;
use std::io;
use std::marker::PhantomData;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libc::{SOL_XDP, xdp_ring_offset};

use super::super::Frame;
use super::mapping::Mapping;
use super::{Plain, check, option, read_option};

/// Bytes of a chunk: a page, which every driver takes.
pub(in crate::port) const CHUNK: usize = 4096;
/// Chunks for received frames, and as many for frames to send; a power of two.
const CHUNKS: u32 = 2048;
/// linux/if_xdp.h, `XDP_MAX_TX_SKB_BUDGET`: packets that one system call sends where they are copied.
const PER_CALL: c_int = 9;
/// linux/if_xdp.h: the packet goes on in the next descriptor.
const CONTINUED: u32 = libc::XDP_PKT_CONTD;

// SAFETY: integers.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: integers.
unsafe impl Plain for libc::xdp_options {}

/// One of the rings. Indices count up for ever and wrap around.
#[derive(Debug)]
struct Ring {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    entry: usize,
}

impl Ring {
    fn new(
        fd: &OwnedFd,
        at: &xdp_ring_offset,
        page: libc::off_t,
        entry: usize,
    ) -> io::Result<Self> {
        let entries = at.desc as usize;
        let length = entries + CHUNKS as usize * entry;
        Ok(Self {
            memory: Mapping::shared(fd, length, page)?,
            producer: at.producer as usize,
            consumer: at.consumer as usize,
            flags: at.flags as usize,
            entries,
            entry,
        })
    }

    /// Where an entry is.
    fn entry(&self, index: u32) -> usize {
        self.entries + (index % CHUNKS) as usize * self.entry
    }

    fn produced(&self) -> u32 {
        self.memory.word(self.producer).load(Ordering::Acquire)
    }

    fn consumed(&self) -> u32 {
        self.memory.word(self.consumer).load(Ordering::Acquire)
    }

    fn produce(&self, count: u32) {
        let to = self.produced().wrapping_add(count);
        self.memory.word(self.producer).store(to, Ordering::Release);
    }

    fn consume(&self, count: u32) {
        let to = self.consumed().wrapping_add(count);
        self.memory.word(self.consumer).store(to, Ordering::Release);
    }

    fn needs_wakeup(&self) -> bool {
        let flags = self.memory.word(self.flags).load(Ordering::Relaxed);
        flags & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn address(&self, index: u32) -> u64 {
        let at = self.entry(index);
        self.memory.long(at).load(Ordering::Relaxed)
    }

    fn set_address(&self, index: u32, address: u64) {
        let at = self.entry(index);
        self.memory.long(at).store(address, Ordering::Relaxed);
    }
}

/// What a socket is bound with.
#[derive(Clone, Copy, Debug)]
pub(in crate::port) struct Bind {
    /// Interface index.
    pub interface: c_int,
    /// Its queue.
    pub queue: u32,
    /// `Some(true)`: without copies or not at all; `Some(false)`: with copies; `None`: as the driver can.
    pub zero_copy: Option<bool>,
    /// Packets may be spread over several chunks.
    pub fragments: bool,
}

/// A bound socket.
#[derive(Debug)]
pub(in crate::port) struct Socket {
    /// The socket.
    pub fd: Arc<OwnedFd>,
    /// Its receiving half.
    pub receiver: Receiver,
    /// Its sending half.
    pub sender: Sender,
    /// The driver uses the chunks themselves.
    pub zero_copy: bool,
}

impl Socket {
    /// Makes and binds a socket with memory of its own.
    pub fn open(bind: Bind) -> io::Result<Self> {
        // SAFETY: no pointers; a descriptor that is returned belongs to us alone.
        let fd =
            check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let chunks = Arc::new(Mapping::anonymous(2 * CHUNKS as usize * CHUNK)?);
        register(&fd, &chunks)?;
        for ring in [
            libc::XDP_UMEM_FILL_RING,
            libc::XDP_UMEM_COMPLETION_RING,
            libc::XDP_RX_RING,
            libc::XDP_TX_RING,
        ] {
            option(&fd, SOL_XDP, ring, &CHUNKS)?;
        }
        // A call sends all that there is; kernels before 6.17 do not know this, and send 32.
        let _ = option(&fd, SOL_XDP, PER_CALL, &CHUNKS);
        // SAFETY: integers, of which zeros are values.
        let mut at: libc::xdp_mmap_offsets = unsafe { zeroed() };
        read_option(&fd, SOL_XDP, libc::XDP_MMAP_OFFSETS, &mut at)?;
        let fill_page = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let completion_page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let descriptor = size_of::<libc::xdp_desc>();
        let receiver = Receiver {
            ring: Ring::new(&fd, &at.rx, libc::XDP_PGOFF_RX_RING, descriptor)?,
            fill: Ring::new(&fd, &at.fr, fill_page, size_of::<u64>())?,
            chunks: Arc::clone(&chunks),
        };
        for index in 0..CHUNKS {
            receiver
                .fill
                .set_address(index, u64::from(index) * CHUNK as u64);
        }
        receiver.fill.produce(CHUNKS);
        let sender = Sender {
            ring: Ring::new(&fd, &at.tx, libc::XDP_PGOFF_TX_RING, descriptor)?,
            completion: Ring::new(&fd, &at.cr, completion_page, size_of::<u64>())?,
            free: (CHUNKS..2 * CHUNKS)
                .map(|n| u64::from(n) * CHUNK as u64)
                .collect(),
            chunks,
        };
        bind_to(&fd, bind)?;
        // SAFETY: integers, of which zeros are values.
        let mut options: libc::xdp_options = unsafe { zeroed() };
        read_option(&fd, SOL_XDP, libc::XDP_OPTIONS, &mut options)?;
        Ok(Self {
            fd: Arc::new(fd),
            receiver,
            sender,
            zero_copy: options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0,
        })
    }
}

fn register(fd: &OwnedFd, chunks: &Mapping) -> io::Result<()> {
    // SAFETY: integers, of which zeros are values.
    let mut memory: libc::xdp_umem_reg = unsafe { zeroed() };
    memory.addr = chunks.address();
    memory.len = chunks.length() as u64;
    memory.chunk_size = CHUNK as u32;
    option(fd, SOL_XDP, libc::XDP_UMEM_REG, &memory)
}

fn bind_to(fd: &OwnedFd, bind: Bind) -> io::Result<()> {
    let copies = match bind.zero_copy {
        Some(true) => libc::XDP_ZEROCOPY,
        Some(false) => libc::XDP_COPY,
        None => 0,
    };
    let fragments = if bind.fragments { libc::XDP_USE_SG } else { 0 };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_USE_NEED_WAKEUP | copies | fragments,
        sxdp_ifindex: bind.interface as u32,
        sxdp_queue_id: bind.queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the address is live and has the length given.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })
        .map(drop)
}

/// Packets that the socket lost since it was bound.
pub(in crate::port) fn dropped(fd: &OwnedFd) -> io::Result<u64> {
    // SAFETY: integers, of which zeros are values.
    let mut counts: libc::xdp_statistics = unsafe { zeroed() };
    read_option(fd, SOL_XDP, libc::XDP_STATISTICS, &mut counts)?;
    Ok(counts.rx_dropped + counts.rx_ring_full)
}

/// The receiving half.
#[derive(Debug)]
pub(in crate::port) struct Receiver {
    ring: Ring,
    fill: Ring,
    chunks: Arc<Mapping>,
}

/// A chunk of a received packet.
pub(in crate::port) struct Chunk<'a> {
    /// Its part of the packet.
    pub bytes: &'a mut [u8],
    /// The packet goes on in the next one.
    pub continued: bool,
}

impl Receiver {
    /// The chunks that are there, in order. Each call begins with the first that was not released.
    pub fn lend(&mut self) -> Lend<'_> {
        let next = self.ring.consumed();
        Lend {
            left: self.ring.produced().wrapping_sub(next).min(CHUNKS),
            next,
            receiver: self,
            only: PhantomData,
        }
    }

    /// Gives the first chunks that were lent back, to be filled again.
    pub fn release(&mut self, count: usize) {
        let count = count as u32;
        let (from, to) = (self.ring.consumed(), self.fill.produced());
        for index in 0..count {
            let address = self.ring.address(from.wrapping_add(index));
            let chunk = address & !(CHUNK as u64 - 1);
            self.fill.set_address(to.wrapping_add(index), chunk);
        }
        // As many chunks as entries: there is always room.
        self.fill.produce(count);
        self.ring.consume(count);
    }
}

/// Chunks that are there.
pub(in crate::port) struct Lend<'a> {
    receiver: &'a Receiver,
    next: u32,
    left: u32,
    /// The receiver is borrowed for good, so that no chunk is lent twice at a time.
    only: PhantomData<&'a mut Receiver>,
}

impl<'a> Iterator for Lend<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        let ring = &self.receiver.ring;
        let at = ring.entry(self.next);
        let address = ring.address(self.next) as usize;
        self.next = self.next.wrapping_add(1);
        let length = ring.memory.word(at + 8).load(Ordering::Relaxed) as usize;
        let options = ring.memory.word(at + 12).load(Ordering::Relaxed);
        // SAFETY: the kernel has put the chunk into the ring and leaves it alone until it is in the fill ring again,
        // which takes `Receiver::release`, and that the receiver exclusively. The iterator lends each entry once, and
        // no chunk is in the ring twice.
        let bytes = unsafe { self.receiver.chunks.bytes(address, length) };
        Some(Chunk {
            bytes,
            continued: options & CONTINUED != 0,
        })
    }
}

/// The sending half.
#[derive(Debug)]
pub(in crate::port) struct Sender {
    ring: Ring,
    completion: Ring,
    free: Vec<u64>,
    chunks: Arc<Mapping>,
}

impl Sender {
    /// Takes chunks back that were sent.
    fn reclaim(&mut self) {
        let from = self.completion.consumed();
        let count = self.completion.produced().wrapping_sub(from).min(CHUNKS);
        for index in 0..count {
            self.free
                .push(self.completion.address(from.wrapping_add(index)));
        }
        self.completion.consume(count);
    }

    /// Copies a packet into as many chunks as it needs; `false` when there are not so many.
    pub fn push(&mut self, packet: &Frame<'_>) -> bool {
        let length = packet.len();
        let count = length.div_ceil(CHUNK);
        if self.free.len() < count {
            self.reclaim();
        }
        let next = self.ring.produced();
        let room = CHUNKS - next.wrapping_sub(self.ring.consumed()).min(CHUNKS);
        if self.free.len() < count || (room as usize) < count {
            return false;
        }
        for index in 0..count {
            let piece = CHUNK.min(length - index * CHUNK);
            let Some(address) = self.free.pop() else {
                return false;
            };
            // SAFETY: a chunk of the free list is in no ring, and `&mut self` says that nobody else writes to it.
            let chunk = unsafe { self.chunks.bytes(address as usize, piece) };
            packet.read(index * CHUNK, chunk);
            let at = next.wrapping_add(index as u32);
            self.ring.set_address(at, address);
            let at = self.ring.entry(at);
            let options = if index + 1 < count { CONTINUED } else { 0 };
            let set = |offset, word| {
                self.ring
                    .memory
                    .word(at + offset)
                    .store(word, Ordering::Relaxed)
            };
            set(8, piece as u32);
            set(12, options);
        }
        self.ring.produce(count as u32);
        true
    }

    /// Sees to it that the kernel sends what was pushed. What it does not take now, it takes the next time, or when the
    /// socket is polled.
    pub fn flush(&mut self, fd: &OwnedFd) {
        // With copies, an older kernel sends a few dozen packets per call; what is not so many calls will not be done soon.
        for _ in 0..CHUNKS / 16 {
            let waiting = self.ring.produced().wrapping_sub(self.ring.consumed());
            if waiting == 0 || !self.ring.needs_wakeup() {
                break;
            }
            // SAFETY: no bytes are given: the frames are in the ring.
            let sent =
                unsafe { libc::send(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT) };
            let error = (sent < 0).then(io::Error::last_os_error);
            let again = error.and_then(|error| error.raw_os_error());
            if again.is_some_and(|error| error != libc::EAGAIN && error != libc::EBUSY) {
                break;
            }
        }
        self.reclaim();
    }
}
