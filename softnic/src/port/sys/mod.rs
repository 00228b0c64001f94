//! The few system calls that no safe crate wraps: TAP devices, packet sockets and their rings, interface flags.
//!
//! In: interface names and descriptors. Out: owned descriptors and plain values; every error is an `io::Error`.
//! All unsafe code of the crate is here, each block with the reason why it is sound.
//!
//! | module | holds |
//! |---|---|
//! | `mapping` | memory shared with the kernel |
//! | [`packet`] | packet sockets |
//! | [`ring`] | their rings of received frames |
//! | [`send_ring`] | their ring of frames to send |
//! | [`xsk`] | AF_XDP sockets |
//! | [`bpf`] | the program that hands packets to them |
#![allow(
    unsafe_code,
    reason = "ioctl and packet sockets have no safe interface; see each block"
)]

pub(super) mod bpf;
mod mapping;
pub(super) mod packet;
pub(super) mod ring;
pub(super) mod send_ring;
pub(super) mod xsk;

use std::ffi::{c_int, c_short, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Makes an error of a negative result.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// An `ifreq` with the name filled in; the caller has checked that it is short enough.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is a C struct of integers and a union of such; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .zip(name.bytes().take(libc::IFNAMSIZ - 1))
    {
        *to = from as libc::c_char;
    }
    request
}

fn control(fd: c_int, operation: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every operation used here reads and writes exactly one `ifreq`, which `request` points to, and what that
    // points to, if anything, is as large as the operation wants it.
    check(unsafe { libc::ioctl(fd, operation as _, std::ptr::from_mut(request)) }).map(drop)
}

/// A datagram socket, only to ask about interfaces.
fn any_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; a descriptor that is returned belongs to us alone.
    let fd =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a TAP interface is opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// Frames carry a virtio-net header, and may be unfinished.
    pub offload: bool,
    /// One of several queues.
    pub multiple: bool,
}

/// Opens a queue of the TAP interface `name`, making the interface if it is not there.
pub(super) fn open_tap(name: &str, how: Tap) -> io::Result<OwnedFd> {
    let device = c"/dev/net/tun";
    // SAFETY: the path is a string with a zero byte at its end, and outlives the call.
    let fd = check(unsafe {
        libc::open(
            device.as_ptr(),
            libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC,
        )
    })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut request = request(name);
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI;
    if how.offload {
        flags |= libc::IFF_VNET_HDR;
    }
    if how.multiple {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = flags as c_short;
    control(
        fd.as_raw_fd(),
        libc::TUNSETIFF as libc::c_ulong,
        &mut request,
    )?;
    if how.offload {
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
        let all = tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6;
        // Kernels before 6.2 cut no UDP datagrams, and refuse to be asked.
        set_offloads(&fd, all).or_else(|_| set_offloads(&fd, tcp))?;
    }
    Ok(fd)
}

/// What the reader of a TAP interface finishes itself.
fn set_offloads(fd: &OwnedFd, offloads: u32) -> io::Result<()> {
    // SAFETY: this operation takes a number, no pointer.
    let done = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD as _,
            libc::c_ulong::from(offloads),
        )
    };
    check(done).map(drop)
}

/// The interface's flags (`IFF_UP`, `IFF_RUNNING`, …).
pub(super) fn flags(name: &str) -> io::Result<c_int> {
    let mut request = request(name);
    control(any_socket()?.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS fills this member of the union.
    Ok(c_int::from(unsafe { request.ifr_ifru.ifru_flags }))
}

/// Sets the interface up.
pub(super) fn set_up(name: &str) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (flags(name)? | libc::IFF_UP) as c_short;
    control(any_socket()?.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request)
}

/// The interface's index.
pub(super) fn index(name: &str) -> io::Result<c_int> {
    let mut request = request(name);
    control(any_socket()?.as_raw_fd(), libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX fills this member of the union.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// Largest packet of the interface, without the Ethernet header.
pub(super) fn mtu(name: &str) -> io::Result<usize> {
    let mut request = request(name);
    control(any_socket()?.as_raw_fd(), libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU fills this member of the union.
    Ok(usize::try_from(unsafe { request.ifr_ifru.ifru_mtu }).unwrap_or(0))
}

/// ethtool's question for the number of queues: `struct ethtool_channels`, of which the first word is the command, the
/// sixth and the ninth how many queues there are that receive, and that do both.
const ETHTOOL_CHANNELS: u32 = 0x3c;

/// Queues of the interface that receive; 1 where the driver does not say.
pub(super) fn receive_queues(name: &str) -> u32 {
    let mut channels = [0u32; 9];
    channels[0] = ETHTOOL_CHANNELS;
    let mut request = request(name);
    request.ifr_ifru.ifru_data = channels.as_mut_ptr().cast();
    let asked = any_socket()
        .and_then(|socket| control(socket.as_raw_fd(), libc::SIOCETHTOOL, &mut request));
    match asked {
        Ok(()) => (channels[5] + channels[8]).max(1),
        Err(_) => 1,
    }
}

/// Sets a socket option.
fn option<T>(fd: &OwnedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: `value` points to a live `T` of `length` bytes, which the kernel only reads.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, length) }).map(drop)
}

/// Reads a socket option into a struct of integers, of which any bytes are a value.
fn read_option<T: Plain>(fd: &OwnedFd, level: c_int, name: c_int, value: &mut T) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_mut(value).cast::<c_void>();
    // SAFETY: `value` points to `length` writable bytes; the kernel writes no more, and any bytes are a `T`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value, &raw mut length) })
        .map(drop)
}

/// Types of which any bytes are a value.
///
/// # Safety
/// It must be so.
unsafe trait Plain {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: integers.
unsafe impl<const N: usize> Plain for [u32; N] {}

/// Waits until the descriptor can be read or has an error; `false` when time is over or a signal came.
pub(super) fn readable(fd: &OwnedFd, wait: Duration) -> io::Result<bool> {
    Ok(!ready(fd, wait)?.is_empty())
}

/// Waits until the socket can be read; `false` when time is over or a signal came. Its error, if it has one, is told.
pub(super) fn receivable(socket: &OwnedFd, wait: Duration) -> io::Result<bool> {
    let ready = ready(socket, wait)?;
    if ready.contains(PollFlags::ERR) {
        rustix::net::sockopt::socket_error(socket)?.map_err(io::Error::from)?;
    }
    Ok(!ready.is_empty())
}

fn ready(fd: &OwnedFd, wait: Duration) -> io::Result<PollFlags> {
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(fds[0].revents()),
        Err(rustix::io::Errno::INTR) => Ok(PollFlags::empty()),
        Err(error) => Err(error.into()),
    }
}
