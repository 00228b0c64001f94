//! A TAP interface that the port makes: the host's kernel sits at the other end.
//!
//! In: what the kernel sends into the interface. Out: what it then receives. Without the virtio header, so the kernel
//! finishes checksums and cuts large segments before the packets come here. Needs CAP_NET_ADMIN.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Batch, Counters, MAX_PACKET, Port, PortError, PortStatistics, Received, sys};

/// A port over a TAP interface. The interface goes away with the port, unless it was made persistent beforehand.
#[derive(Debug)]
pub struct TapPort {
    name: String,
    interface: String,
    fd: OwnedFd,
    counters: Counters,
}

/// Refuses what the kernel would not take as an interface name, so that it is never cut silently.
pub(super) fn check_name(name: &str) -> Result<(), PortError> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'/';
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(plain) {
        return Err(PortError::InterfaceName(name.to_owned()));
    }
    Ok(())
}

/// Waits until the descriptor can be read; `false` when time is over or a signal came.
pub(super) fn readable(fd: &OwnedFd, wait: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl TapPort {
    /// Makes the interface, or attaches to a persistent one, and sets it up.
    ///
    /// # Errors
    /// [`PortError::Permission`] without CAP_NET_ADMIN; [`PortError::Io`] when the name is taken or there is no
    /// `/dev/net/tun`.
    pub fn open(interface: &str) -> Result<Self, PortError> {
        check_name(interface)?;
        let name = format!("tap:{interface}");
        let fd = sys::open_tap(interface)
            .map_err(|e| PortError::io(&name, "making the TAP interface", e))?;
        sys::set_up(interface).map_err(|e| PortError::io(&name, "setting the interface up", e))?;
        Ok(Self {
            name,
            interface: interface.to_owned(),
            fd,
            counters: Counters::default(),
        })
    }
}

impl Port for TapPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, batch: &mut Batch, wait: Duration) -> Result<Received, PortError> {
        let error = |e: io::Error| PortError::io(&self.name, "receiving", e);
        if !readable(&self.fd, wait).map_err(error)? {
            return Ok(Received::Nothing);
        }
        let before = batch.len();
        let mut buffer = [0; MAX_PACKET];
        while !batch.is_full() {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(length) => {
                    self.counters.received(length);
                    batch.push(&buffer[..length]);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                // The interface was set down: nothing comes until it is up again.
                Err(rustix::io::Errno::IO) => {
                    std::thread::sleep(wait);
                    break;
                }
                Err(other) => return Err(error(other.into())),
            }
        }
        Ok(if batch.len() > before {
            Received::Packets
        } else {
            Received::Nothing
        })
    }

    fn send(&self, packets: &[&[u8]]) -> Result<(), PortError> {
        for packet in packets {
            match rustix::io::write(&self.fd, packet) {
                Ok(_) => self.counters.sent(packet.len()),
                // Full queue, interface down, or shorter than an Ethernet header.
                Err(_) => self.counters.send_dropped(1),
            }
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        sys::flags(&self.interface).is_ok_and(|flags| flags & libc::IFF_UP != 0)
    }

    fn statistics(&self) -> PortStatistics {
        self.counters.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_cut_or_refuse_are_refused() {
        for name in ["", "a-name-of-16-bytes", "a/b", "a b", "ä"] {
            assert!(
                matches!(TapPort::open(name), Err(PortError::InterfaceName(_))),
                "{name}"
            );
        }
    }
}
