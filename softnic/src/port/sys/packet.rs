//! Packet sockets.
//!
//! In: an interface's index. Out: sockets, single frames, counts. linux/if_packet.h, packet(7).
#![allow(
    unsafe_code,
    reason = "packet sockets have no safe interface; see each block"
)]

use std::ffi::c_int;
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{SOL_PACKET, SOL_SOCKET, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID};

use super::{check, option, read_option};

/// Bytes that are left free before a received frame, for a virtio-net header and a VLAN tag.
pub(in crate::port) const HEADROOM: usize = super::super::vnet::LENGTH + 4;

/// Memory for super-frames that do not fit a slot of the ring.
const BUFFER: c_int = 16 << 20;

/// A socket that receives nothing yet.
pub(in crate::port) fn open(version: c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Protocol 0 until bound: nothing from other interfaces comes in meanwhile.
    // SAFETY: no pointers; a descriptor that is returned belongs to us alone.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    option(&fd, SOL_PACKET, libc::PACKET_VERSION, &version)?;
    option(&fd, SOL_PACKET, libc::PACKET_VNET_HDR, &1i32)?;
    Ok(fd)
}

/// Prepares receiving: VLAN tags told apart, without what this host sends, large frames through the socket's queue.
pub(in crate::port) fn prepare_receive(fd: &OwnedFd) -> io::Result<()> {
    option(fd, SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
    // Kernels before 4.20 do not know this one; received frames are filtered by their type as well.
    let _ = option(fd, SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32);
    option(fd, SOL_PACKET, libc::PACKET_RESERVE, &(HEADROOM as u32))?;
    option(fd, SOL_PACKET, libc::PACKET_COPY_THRESH, &1i32)?;
    // The first needs CAP_NET_ADMIN, the second is cut at net.core.rmem_max.
    option(fd, SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)
        .or_else(|_| option(fd, SOL_SOCKET, libc::SO_RCVBUF, &BUFFER))
}

/// Takes every frame on the wire, not only those to the interface's own address.
pub(in crate::port) fn listen_to_all(fd: &OwnedFd, interface: c_int) -> io::Result<()> {
    // SAFETY: `packet_mreq` is a C struct of integers; all zeros is a value of it.
    let mut membership: libc::packet_mreq = unsafe { zeroed() };
    membership.mr_ifindex = interface;
    membership.mr_type = libc::PACKET_MR_PROMISC as _;
    option(fd, SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Binds the socket to an interface: to receive everything, or nothing.
pub(in crate::port) fn bind(fd: &OwnedFd, interface: c_int, receive: bool) -> io::Result<()> {
    // SAFETY: `sockaddr_ll` is a C struct of integers; all zeros is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as _;
    if receive {
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    }
    address.sll_ifindex = interface;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is live and has the length given.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) })
        .map(drop)
}

/// Shares an interface's packets out between sockets by connection; returns the group that others join.
pub(in crate::port) fn join_group(fd: &OwnedFd, group: Option<u16>) -> io::Result<u16> {
    let outgoing = libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    let new = if group.is_none() {
        libc::PACKET_FANOUT_FLAG_UNIQUEID
    } else {
        0
    };
    let words =
        |flags: u32| u32::from(group.unwrap_or(0)) | (libc::PACKET_FANOUT_HASH | flags | new) << 16;
    // Older kernels do not know the first; received frames are filtered by their type as well.
    option(fd, SOL_PACKET, libc::PACKET_FANOUT, &words(outgoing))
        .or_else(|_| option(fd, SOL_PACKET, libc::PACKET_FANOUT, &words(0)))?;
    let mut joined = 0u32;
    read_option(fd, SOL_PACKET, libc::PACKET_FANOUT, &mut joined)?;
    Ok(joined as u16)
}

/// Packets that the socket had no room for since the last call.
pub(in crate::port) fn dropped(fd: &OwnedFd) -> io::Result<u64> {
    // `struct tpacket_stats_v3`: packets, drops and stalls; the first two are all that the other versions have.
    let mut counts = [0u32; 3];
    read_option(fd, SOL_PACKET, libc::PACKET_STATISTICS, &mut counts)?;
    Ok(u64::from(counts[1]))
}

/// One received frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::port) struct Info {
    /// Its length; more than what is there if it was cut.
    pub length: usize,
    /// Tag that the kernel took off: protocol and control information.
    pub vlan: Option<(u16, u16)>,
    /// Sent by this host itself.
    pub outgoing: bool,
    /// It did not fit; all of it waits in the socket's queue.
    pub queued: bool,
}

/// The tag that the kernel took off.
pub(super) fn vlan(status: u32, tci: u16, tpid: u16) -> Option<(u16, u16)> {
    let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 {
        tpid
    } else {
        libc::ETH_P_8021Q as u16
    };
    (status & TP_STATUS_VLAN_VALID != 0).then_some((tpid, tci))
}

/// Receives one frame from the socket's queue, behind its virtio-net header; `WouldBlock` when there is none.
pub(in crate::port) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Info> {
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
    Ok(Info {
        length: length.saturating_sub(super::super::vnet::LENGTH),
        vlan: aux.and_then(|aux| vlan(aux.tp_status, aux.tp_vlan_tci, aux.tp_vlan_tpid)),
        outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
        queued: false,
    })
}

fn aux_data(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    let length = size_of::<libc::tpacket_auxdata>();
    // SAFETY: the kernel filled the control buffer and its length; the CMSG macros walk within it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let fits = (*header).cmsg_len as usize >= libc::CMSG_LEN(length as _) as usize;
            if (*header).cmsg_level == SOL_PACKET
                && (*header).cmsg_type == libc::PACKET_AUXDATA
                && fits
            {
                let mut aux = MaybeUninit::<libc::tpacket_auxdata>::uninit();
                std::ptr::copy_nonoverlapping(
                    libc::CMSG_DATA(header),
                    aux.as_mut_ptr().cast(),
                    length,
                );
                // All bytes were copied, and every pattern is a value of this struct of integers.
                return Some(aux.assume_init());
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
