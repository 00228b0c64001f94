//! A BPF program that hands an interface's packets to AF_XDP sockets.
//!
//! In: an interface, a mode. Out: the program loaded and attached, and a map in which sockets stand by queue. It is five
//! instructions, so they stand here as such: no compiler, no object file. The kernel takes program and map away when
//! their descriptors are closed, however the process ends (BPF_LINK_CREATE, Linux 5.9).
#![allow(unsafe_code, reason = "bpf(2) has no safe interface; see each block")]

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// linux/bpf.h, `enum bpf_cmd`.
const MAP_CREATE: c_int = 0;
const MAP_UPDATE: c_int = 2;
const PROG_LOAD: c_int = 5;
const LINK_CREATE: c_int = 28;

/// `BPF_MAP_TYPE_XSKMAP`.
const MAP_TYPE_XSK: u32 = 17;
/// `BPF_PROG_TYPE_XDP`.
const PROG_TYPE_XDP: u32 = 6;
/// `BPF_XDP` of `enum bpf_attach_type`.
const ATTACH_XDP: u32 = 37;
/// `BPF_F_XDP_HAS_FRAGS`: the program takes packets that are spread over several buffers.
const HAS_FRAGMENTS: u32 = 1 << 5;
/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`.
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// `struct bpf_insn`: operation, registers (source in the upper half), offset, immediate.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction(u8, u8, i16, i32);

/// Calls bpf(2).
///
/// # Safety
/// `attributes` is the part of `union bpf_attr` that the command reads, and what it points to is alive.
unsafe fn bpf<T>(command: c_int, attributes: &T) -> io::Result<c_int> {
    let pointer = std::ptr::from_ref(attributes);
    // SAFETY: the pointer leads to a live value of the size given; the rest is the caller's word.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size_of::<T>()) };
    super::check(result as c_int)
}

/// As [`bpf`], for commands that return a descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_fd<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: by the caller's word.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::port) enum Attach {
    /// In the driver.
    Native,
    /// Behind the driver, on packets as the kernel's stack has them.
    Generic,
}

/// An attached program. Packets of queues without socket go on into the kernel's stack.
#[derive(Debug)]
pub(in crate::port) struct Redirect {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Loads and attaches it; `fragments`: packets may be longer than a page.
    pub fn attach(
        interface: c_int,
        queues: u32,
        mode: Attach,
        fragments: bool,
    ) -> io::Result<Self> {
        let map = MapCreate {
            kind: MAP_TYPE_XSK,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            ..MapCreate::default()
        };
        // SAFETY: the attributes of this command, without pointers.
        let map = unsafe { bpf_fd(MAP_CREATE, &map) }?;
        let instructions = program(map.as_raw_fd());
        let load = ProgLoad {
            kind: PROG_TYPE_XDP,
            count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"Apache-2.0".as_ptr() as u64,
            flags: if fragments { HAS_FRAGMENTS } else { 0 },
            name: *b"softnic\0\0\0\0\0\0\0\0\0",
            attach_type: ATTACH_XDP,
            ..ProgLoad::default()
        };
        // SAFETY: the attributes of this command; instructions and license outlive the call.
        let program = unsafe { bpf_fd(PROG_LOAD, &load) }?;
        let link = LinkCreate {
            program: program.as_raw_fd() as u32,
            interface: interface as u32,
            attach_type: ATTACH_XDP,
            flags: match mode {
                Attach::Native => NATIVE,
                Attach::Generic => GENERIC,
            },
        };
        // SAFETY: the attributes of this command, without pointers.
        let link = unsafe { bpf_fd(LINK_CREATE, &link) }?;
        Ok(Self { map, _link: link })
    }

    /// Hands a queue's packets to a socket from now on.
    pub fn enter(&self, queue: u32, socket: &OwnedFd) -> io::Result<()> {
        let value = socket.as_raw_fd() as u32;
        let update = MapUpdate {
            map: self.map.as_raw_fd() as u32,
            padding: 0,
            key: std::ptr::from_ref(&queue) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
        // SAFETY: the attributes of this command; key and value are four bytes each, as the map has it, and alive.
        unsafe { bpf(MAP_UPDATE, &update) }.map(drop)
    }
}

/// `return bpf_redirect_map(&sockets, context->rx_queue_index, XDP_PASS);`
fn program(map: c_int) -> [Instruction; 6] {
    [
        // r2 = *(u32 *)(r1 + 16): the queue (`struct xdp_md`).
        Instruction(0x61, 0x12, 16, 0),
        // r1 = the map, a 64-bit constant in two instructions (BPF_PSEUDO_MAP_FD).
        Instruction(0x18, 0x11, 0, map),
        Instruction(0, 0, 0, 0),
        // r3 = XDP_PASS: what happens when the queue has no socket.
        Instruction(0xb7, 0x03, 0, 2),
        // call bpf_redirect_map
        Instruction(0x85, 0, 0, 51),
        // exit
        Instruction(0x95, 0, 0, 0),
    ]
}
