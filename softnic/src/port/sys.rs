//! The few system calls that no safe crate wraps: TAP devices, packet sockets, interface flags.
//!
//! In: interface names and descriptors. Out: owned descriptors and plain values; every error is an `io::Error`.
//! All unsafe code of the crate is here, each block with the reason why it is sound.
#![allow(
    unsafe_code,
    reason = "ioctl and packet sockets have no safe interface; see each block"
)]

use std::ffi::{c_int, c_short, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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
    // SAFETY: every operation used here reads and writes exactly one `ifreq`, which `request` points to.
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

/// Opens the TAP interface `name`, making it if it is not there; packets carry no extra header.
pub(super) fn open_tap(name: &str) -> io::Result<OwnedFd> {
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
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as c_short;
    control(
        fd.as_raw_fd(),
        libc::TUNSETIFF as libc::c_ulong,
        &mut request,
    )?;
    Ok(fd)
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

fn option<T>(fd: &OwnedFd, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: `value` points to a live `T` of `length` bytes, which the kernel only reads.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_PACKET, name, value, length) })
        .map(drop)
}

/// A raw socket on an interface: promiscuous, with VLAN tags told apart, without what this host sends.
pub(super) fn open_packet(interface: c_int) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0 until bound: nothing from other interfaces comes in meanwhile.
    // SAFETY: no pointers; a descriptor that is returned belongs to us alone.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    option(&fd, libc::PACKET_AUXDATA, &1i32)?;
    // Kernels before 4.20 do not know this one; `receive` filters by packet type as well.
    let _ = option(&fd, PACKET_IGNORE_OUTGOING, &1i32);
    // SAFETY: `packet_mreq` is a C struct of integers; all zeros is a value of it.
    let mut membership: libc::packet_mreq = unsafe { zeroed() };
    membership.mr_ifindex = interface;
    membership.mr_type = libc::PACKET_MR_PROMISC as _;
    option(&fd, libc::PACKET_ADD_MEMBERSHIP, &membership)?;

    // SAFETY: `sockaddr_ll` is a C struct of integers; all zeros is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    address.sll_protocol = protocol;
    address.sll_ifindex = interface;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is live and has the length given.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })?;
    Ok(fd)
}

/// Packets that the socket had no room for since the last call.
pub(super) fn dropped(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // linux/if_packet.h: `struct tpacket_stats`, packets and drops.
    let mut counts = [0u32; 2];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    let value = counts.as_mut_ptr().cast::<c_void>();
    // SAFETY: `value` points to `length` writable bytes, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            value,
            &raw mut length,
        )
    };
    check(done)?;
    Ok(u64::from(counts[1]))
}

/// linux/if_packet.h
const PACKET_IGNORE_OUTGOING: c_int = 23;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// linux/if_packet.h: `struct tpacket_auxdata`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AuxData {
    status: u32,
    length: u32,
    captured: u32,
    mac: u16,
    network: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// One received packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketInfo {
    /// Its length; more than the buffer's if it was cut.
    pub length: usize,
    /// Tag that the kernel took off: protocol and control information.
    pub vlan: Option<(u16, u16)>,
    /// The L4 checksum holds only the pseudo header's part.
    pub partial_checksum: bool,
    /// Sent by this host itself.
    pub outgoing: bool,
}

/// Receives one packet; `WouldBlock` when there is none.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<PacketInfo> {
    // SAFETY: `sockaddr_ll` and `msghdr` are C structs of integers and pointers; all zeros is a value of each.
    let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) =
        unsafe { (zeroed(), zeroed()) };
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // Aligned as control messages need to be, larger than the one that comes.
    let mut ancillary = [0u64; 16];
    message.msg_name = std::ptr::from_mut(&mut address).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as _;
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&ancillary) as _;
    // SAFETY: every pointer in `message` leads to a live buffer of the length given beside it.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let aux = aux_data(&message);
    let has = |flag: u32| aux.is_some_and(|aux| aux.status & flag != 0);
    let vlan = aux.filter(|_| has(TP_STATUS_VLAN_VALID)).map(|aux| {
        let tpid = if has(TP_STATUS_VLAN_TPID_VALID) {
            aux.vlan_tpid
        } else {
            libc::ETH_P_8021Q as u16
        };
        (tpid, aux.vlan_tci)
    });
    let outgoing = c_int::from(address.sll_pkttype) == c_int::from(libc::PACKET_OUTGOING);
    Ok(PacketInfo {
        length,
        vlan,
        partial_checksum: has(TP_STATUS_CSUMNOTREADY),
        outgoing,
    })
}

fn aux_data(message: &libc::msghdr) -> Option<AuxData> {
    // SAFETY: the kernel filled the control buffer and its length; the CMSG macros walk within it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let fits =
                (*header).cmsg_len as usize >= libc::CMSG_LEN(size_of::<AuxData>() as _) as usize;
            if (*header).cmsg_level == libc::SOL_PACKET
                && (*header).cmsg_type == libc::PACKET_AUXDATA
                && fits
            {
                let mut aux = MaybeUninit::<AuxData>::uninit();
                std::ptr::copy_nonoverlapping(
                    libc::CMSG_DATA(header),
                    aux.as_mut_ptr().cast(),
                    size_of::<AuxData>(),
                );
                // All bytes were copied, and every pattern is a value of this struct of integers.
                return Some(aux.assume_init());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
