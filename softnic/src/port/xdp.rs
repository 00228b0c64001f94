//! An existing network interface, through AF_XDP sockets: past the kernel's stack.
//!
//! In: every packet of the interface's queues, each through a socket of its own. Out: packets. Received chunks are lent to
//! the program in place and go back to the kernel afterwards; what is sent is copied once, into a chunk. The driver hands
//! packets over without copies where it can.
//!
//! ```text
//! queue n ─▶ five instructions ─▶ received ─▶ (in place) ─▶ poll
//!                                 fill ◀─────────────────── released
//! queue n ◀──────────────────── to send ◀── one copy ◀───── transmit
//! ```
//!
//! XDP says nothing about unfinished checksums. A sender on the same host (veth) leaves the pseudo header's sum in the
//! field: it is recognised by its value, and completed. Super-frames cannot be taken: in native mode veth makes its peer
//! send none; elsewhere turn them off (`ethtool -K PEER tso off gso off`, `ethtool -K IFACE gro off lro off`).
//!
//! The program goes when the port, or the process, does. Needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and Linux 5.9; 6.6 for
//! frames longer than a page.

mod queue;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::attachment::{Attachment, Link, Opened};
use super::sys;
use super::sys::bpf::{Attach, Redirect};
use super::sys::xsk::{Bind, CHUNK, Socket};
use super::tap::check_name;
use super::{Frame, Port, PortError, PortStatistics, Received, Take, XdpMode, XdpOptions};
use queue::Queue;

/// What the kernel keeps free in a page around a packet: `XDP_PACKET_HEADROOM` and `skb_shared_info`.
const AROUND: usize = 256 + 320;

/// Ethernet header and a VLAN tag.
const LINK: usize = 18;

/// How long a queue may be busy with a socket that was just closed: the kernel tidies up in its own time.
const BUSY: Duration = Duration::from_secs(1);

/// A port over a network interface.
pub struct XdpPort {
    queues: usize,
    attachment: Attachment<Attached>,
}

/// The program on an interface, and its sockets.
struct Attached {
    queues: Vec<Queue>,
    link: Link,
    _redirect: Redirect,
}

impl Opened for Attached {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn dropped(&self) -> u64 {
        self.queues.iter().map(Queue::dropped).sum()
    }
}

/// One way to attach.
#[derive(Clone, Copy)]
struct Way {
    attach: Attach,
    zero_copy: Option<bool>,
    name: &'static str,
}

/// The ways to try, one after the other.
fn ways(mode: XdpMode) -> &'static [Way] {
    const NATIVE: Way = Way {
        attach: Attach::Native,
        zero_copy: None,
        name: "native",
    };
    const GENERIC: Way = Way {
        attach: Attach::Generic,
        zero_copy: Some(false),
        name: "generic",
    };
    const ZERO_COPY: Way = Way {
        attach: Attach::Native,
        zero_copy: Some(true),
        name: "zero-copy",
    };
    match mode {
        XdpMode::Automatic => &[NATIVE, GENERIC],
        XdpMode::Native => &[NATIVE],
        XdpMode::Generic => &[GENERIC],
        XdpMode::ZeroCopy => &[ZERO_COPY],
    }
}

/// What an operator can do about an error of the kernel.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "run as root, or give the program CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"
        }
        Some(libc::ENOMEM | libc::ENOBUFS) => {
            "raise the limit of locked memory (ulimit -l), or give the program CAP_IPC_LOCK"
        }
        Some(libc::EBUSY | libc::EEXIST) => {
            "another program or socket has it: see `ip link show` and `ss --xdp`"
        }
        Some(libc::EOPNOTSUPP) => "the driver does not have this mode; try mode=generic",
        Some(libc::ERANGE) => "the MTU is too large for XDP; make it smaller or try mode=generic",
        Some(libc::ENOSYS | libc::EAFNOSUPPORT) => {
            "the kernel needs CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS"
        }
        Some(libc::EINVAL) => {
            "this takes Linux 5.9 (6.6 for frames above 3.5 KB), and a queue that the interface has: see `ethtool -l`"
        }
        _ => "try mode=generic",
    }
}

/// Opens an interface in one way.
struct Opening<'a> {
    interface: &'a str,
    queues: u32,
    way: Way,
}

impl Opening<'_> {
    fn error(&self, queue: Option<u32>, action: &'static str, source: io::Error) -> PortError {
        PortError::Xdp {
            interface: self.interface.to_owned(),
            queue: queue.map_or_else(|| "all queues".to_owned(), |n| format!("queue {n}")),
            mode: self.way.name,
            action,
            advice: advice(&source),
            source,
        }
    }

    fn open(&self, link: Link) -> Result<Attached, PortError> {
        let fragments = link.mtu() + LINK + AROUND > CHUNK;
        let redirect = Redirect::attach(link.index, self.queues, self.way.attach, fragments)
            .map_err(|e| self.error(None, "attaching the XDP program", e))?;
        let there = sys::receive_queues(self.interface);
        if self.queues < there {
            tracing::warn!(
                interface = self.interface,
                "{} of the interface's {there} queues are served; what comes in on the others goes to the host: give \
                 more queues, or the interface fewer (`ethtool -L`)",
                self.queues
            );
        }
        let mut queues = Vec::new();
        for queue in 0..self.queues {
            let bind = Bind {
                interface: link.index,
                queue,
                zero_copy: self.way.zero_copy,
                fragments,
            };
            let socket = patiently(|| Socket::open(bind))
                .map_err(|e| self.error(Some(queue), "opening the AF_XDP socket", e))?;
            redirect
                .enter(queue, &socket.fd)
                .map_err(|e| self.error(Some(queue), "entering the socket into the map", e))?;
            tracing::info!(
                interface = self.interface,
                queue,
                mode = self.way.name,
                zero_copy = socket.zero_copy,
                "AF_XDP socket open"
            );
            queues.push(Queue::new(socket, fragments));
        }
        Ok(Attached {
            queues,
            link,
            _redirect: redirect,
        })
    }
}

/// Tries again while something is busy, for a while.
fn patiently<T>(attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + BUSY;
    loop {
        match attempt() {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Opens an interface in the first way that works; at most so many queues.
fn open(interface: &str, mode: XdpMode, queues: u32) -> Result<Attached, PortError> {
    let name = format!("xdp:{interface}");
    let mut failure = PortError::NoInterface(interface.to_owned());
    for &way in ways(mode) {
        let opening = Opening {
            interface,
            queues,
            way,
        };
        match opening.open(Link::find(&name, interface)?) {
            Ok(attached) => return Ok(attached),
            Err(error) => {
                tracing::debug!(%error, "not this way");
                failure = error;
            }
        }
    }
    Err(failure)
}

impl XdpPort {
    /// Opens the interface.
    ///
    /// # Errors
    /// [`PortError::NoInterface`], or [`PortError::Xdp`], which says what to do about it.
    pub fn open(interface: &str, options: XdpOptions) -> Result<Self, PortError> {
        check_name(interface)?;
        let name = format!("xdp:{interface}");
        let wanted = match options.queues {
            0 => sys::receive_queues(interface),
            queues => u32::from(queues),
        };
        let of_interface = interface.to_owned();
        let again = AtomicBool::new(false);
        let open = move || {
            // An interface that comes back may have fewer queues than the threads that serve it.
            let queues = match again.swap(true, Ordering::Relaxed) {
                false => wanted,
                true => wanted.min(sys::receive_queues(&of_interface)),
            };
            open(&of_interface, options.mode, queues)
        };
        Ok(Self {
            queues: wanted as usize,
            attachment: Attachment::new(&name, interface, Box::new(open))?,
        })
    }
}

impl Port for XdpPort {
    fn name(&self) -> &str {
        self.attachment.name()
    }

    fn queues(&self) -> usize {
        self.queues
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let Some(attached) = self.attachment.get_or_reopen(wait) else {
            return Ok(Received::Nothing);
        };
        let Some(of_queue) = attached.queues.get(queue) else {
            std::thread::sleep(wait);
            return Ok(Received::Nothing);
        };
        let longest = attached.link.mtu() + LINK;
        match of_queue.poll(limit, wait, longest, &self.attachment.counters, take) {
            Ok(0) => Ok(Received::Nothing),
            Ok(_) => Ok(Received::Packets),
            Err(e) => {
                self.attachment.lose(&attached, &e);
                Ok(Received::Nothing)
            }
        }
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        let attached = self.attachment.get();
        let Some((attached, of_queue)) = attached.as_ref().and_then(|attached| {
            let queues = &attached.queues;
            Some((attached, queues.get(queue % queues.len().max(1))?))
        }) else {
            self.attachment.counters.send_dropped(frames.len() as u64);
            return Ok(());
        };
        let longest = attached.link.mtu() + LINK;
        of_queue.transmit(frames, longest, &self.attachment.counters);
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.attachment.is_up()
    }

    fn statistics(&self) -> PortStatistics {
        self.attachment.statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_said_so() {
        match XdpPort::open("no-such-if0", XdpOptions::default()).err() {
            Some(PortError::NoInterface(name)) => assert_eq!(name, "no-such-if0"),
            Some(PortError::Permission(_) | PortError::Io { .. }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        let opening = Opening {
            interface: "eth0",
            queues: 2,
            way: ways(XdpMode::ZeroCopy)[0],
        };
        let source = io::Error::from_raw_os_error(libc::ENOBUFS);
        let text = opening
            .error(Some(1), "opening the AF_XDP socket", source)
            .to_string();
        for part in [
            "eth0",
            "queue 1",
            "zero-copy",
            "opening the AF_XDP socket",
            "ulimit -l",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
