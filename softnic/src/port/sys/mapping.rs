//! Memory that the kernel reads and writes as well.
//!
//! In: a descriptor and a length. Out: words to synchronise by, and bytes in between. Invariant: whatever offset is asked
//! for, nothing outside the mapping is touched.
#![allow(unsafe_code, reason = "shared memory is raw pointers; see each block")]

use std::ffi::c_int;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// A mapping; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to the process, not to a thread; what goes through shared references is atomic words, and
// `bytes` leaves it to its caller that nobody else has the same bytes.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps what is behind the descriptor.
    pub fn shared(fd: &OwnedFd, length: usize, offset: libc::off_t) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Self::new(length, flags, fd.as_raw_fd(), offset)
    }

    /// Memory of our own, to share.
    pub fn anonymous(length: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::new(length, flags, -1, 0)
    }

    fn new(length: usize, flags: c_int, fd: c_int, offset: libc::off_t) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so nothing that exists is mapped over.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// Where it is, for the kernel.
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Bytes in all.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The word at an offset; the last one if the offset is outside or not a multiple of four.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        let at = at.min(self.length.saturating_sub(4)) & !3;
        // SAFETY: in the mapping, which is larger than a word and begins at a page, so aligned; never accessed but
        // atomically on our side.
        unsafe { &*self.start.as_ptr().add(at).cast::<AtomicU32>() }
    }

    /// The long word at an offset, under the same condition.
    pub fn long(&self, at: usize) -> &AtomicU64 {
        let at = at.min(self.length.saturating_sub(8)) & !7;
        // SAFETY: as for `word`.
        unsafe { &*self.start.as_ptr().add(at).cast::<AtomicU64>() }
    }

    /// The bytes of a range; none if it is not inside.
    ///
    /// # Safety
    /// Neither the kernel nor anybody here touches them while the reference lives.
    #[allow(
        clippy::mut_from_ref,
        reason = "the caller sees to it that ranges are disjoint"
    )]
    pub unsafe fn bytes(&self, at: usize, length: usize) -> &mut [u8] {
        if at.checked_add(length).is_none_or(|end| end > self.length) {
            return &mut [];
        }
        // SAFETY: inside the mapping; exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` and by nobody unmapped since; references into it do not outlive `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
