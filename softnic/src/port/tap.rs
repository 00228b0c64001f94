//! A TAP interface that the port makes: the host's kernel sits at the other end.
//!
//! In: what the kernel sends into the interface. Out: what it then receives. TCP's super-frames and unfinished checksums
//! of the host pass through as they are (see [`Offload`](super::Offload)); with `offload` off the kernel cuts and
//! completes them before they come here. Needs CAP_NET_ADMIN.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::attachment::{Attachment, Link, Opened};
use super::{
    FEW, Frame, MAX_PACKET, Port, PortError, PortStatistics, Received, Take, TapOptions, sys, vnet,
};

/// Memory for the frames of one turn: many that fit the MTU, or some super-frames.
const BUFFER: usize = 16 * (vnet::LENGTH + MAX_PACKET);

/// A port over a TAP interface. The interface goes away with the port, unless it was made persistent beforehand; when
/// somebody deletes it, it is made anew.
pub struct TapPort {
    interface: String,
    options: TapOptions,
    attachment: Attachment<Queues>,
}

struct Queues(Vec<Queue>);

struct Queue {
    fd: OwnedFd,
    buffer: Mutex<Vec<u8>>,
}

impl Opened for Queues {
    fn link(&self) -> Option<&Link> {
        None
    }

    fn dropped(&self) -> u64 {
        0
    }
}

/// Refuses what the kernel would not take as an interface name, so that it is never cut silently.
pub(super) fn check_name(name: &str) -> Result<(), PortError> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'/';
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(plain) {
        return Err(PortError::InterfaceName(name.to_owned()));
    }
    Ok(())
}

fn open_queues(name: &str, interface: &str, options: TapOptions) -> Result<Queues, PortError> {
    let how = sys::Tap {
        offload: options.offload,
        multiple: options.queues > 1,
    };
    let queues = (0..options.queues.max(1))
        .map(|_| {
            Ok(Queue {
                fd: sys::open_tap(interface, how)
                    .map_err(|e| PortError::io(name, "making the TAP interface", e))?,
                buffer: Mutex::new(vec![0; BUFFER]),
            })
        })
        .collect::<Result<_, PortError>>()?;
    sys::set_up(interface).map_err(|e| PortError::io(name, "setting the interface up", e))?;
    Ok(Queues(queues))
}

impl TapPort {
    /// Makes the interface with one queue.
    ///
    /// # Errors
    /// As [`TapPort::open_with`].
    pub fn open(interface: &str) -> Result<Self, PortError> {
        Self::open_with(interface, TapOptions::default())
    }

    /// Makes the interface, or attaches to a persistent one, and sets it up.
    ///
    /// # Errors
    /// [`PortError::Permission`] without CAP_NET_ADMIN; [`PortError::Io`] when the name is taken or there is no
    /// `/dev/net/tun`.
    pub fn open_with(interface: &str, options: TapOptions) -> Result<Self, PortError> {
        check_name(interface)?;
        let name = format!("tap:{interface}");
        let (of_port, of_interface) = (name.clone(), interface.to_owned());
        let open = move || open_queues(&of_port, &of_interface, options);
        Ok(Self {
            attachment: Attachment::new(&name, interface, Box::new(open))?,
            interface: interface.to_owned(),
            options,
        })
    }

    /// Reads frames into the buffer until nothing is there, the buffer is full or the turn is over.
    fn read<'a>(
        &self,
        fd: &OwnedFd,
        limit: usize,
        mut buffer: &'a mut [u8],
    ) -> Result<SmallVec<[Frame<'a>; FEW]>, rustix::io::Errno> {
        use rustix::io::Errno;
        let header = if self.options.offload {
            vnet::LENGTH
        } else {
            0
        };
        let mut frames = SmallVec::new();
        while frames.len() < limit && buffer.len() >= header + MAX_PACKET {
            let length = match rustix::io::read(fd, &mut *buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN | Errno::INTR) => break,
                // What was read before is not lost; the error comes again.
                Err(_) if !frames.is_empty() => break,
                Err(error) => return Err(error),
            };
            let (bytes, rest) = std::mem::take(&mut buffer).split_at_mut(length);
            buffer = rest;
            match self.frame(bytes) {
                Some(frame) => frames.push(frame),
                None => self.attachment.counters.malformed(),
            }
        }
        Ok(frames)
    }

    fn frame<'a>(&self, bytes: &'a mut [u8]) -> Option<Frame<'a>> {
        if !self.options.offload {
            return Some(Frame::whole(bytes));
        }
        let (header, frame) = bytes.split_first_chunk_mut::<{ vnet::LENGTH }>()?;
        let offload = vnet::decode(header, frame)?;
        Some(Frame {
            offload,
            ..Frame::whole(frame)
        })
    }
}

impl Port for TapPort {
    fn name(&self) -> &str {
        self.attachment.name()
    }

    fn queues(&self) -> usize {
        usize::from(self.options.queues.max(1))
    }

    fn takes_offloads(&self) -> bool {
        self.options.offload
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let Some(queues) = self.attachment.get_or_reopen(wait) else {
            return Ok(Received::Nothing);
        };
        let Some(queue) = queues.0.get(queue) else {
            return Ok(Received::End);
        };
        let error = |e: io::Error| PortError::io(self.attachment.name(), "receiving", e);
        let mut buffer = queue.buffer.lock();
        let mut read = self.read(&queue.fd, limit, &mut buffer);
        if read.as_ref().is_ok_and(|frames| frames.is_empty()) {
            drop(read);
            if !sys::readable(&queue.fd, wait).map_err(error)? {
                return Ok(Received::Nothing);
            }
            read = self.read(&queue.fd, limit, &mut buffer);
        }
        match read {
            Ok(frames) if frames.is_empty() => Ok(Received::Nothing),
            Ok(frames) => {
                self.attachment.counters.received_all(&frames);
                take(&frames);
                Ok(Received::Packets)
            }
            // The interface was set down: nothing comes until it is up again.
            Err(rustix::io::Errno::IO) => {
                std::thread::sleep(wait);
                Ok(Received::Nothing)
            }
            // The interface was deleted.
            Err(other) => {
                self.attachment.lose(&queues, &other);
                Ok(Received::Nothing)
            }
        }
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        let queues = self.attachment.get();
        let Some(queue) = queues
            .as_ref()
            .and_then(|queues| queues.0.get(queue % queues.0.len().max(1)))
        else {
            self.attachment.counters.send_dropped(frames.len() as u64);
            return Ok(());
        };
        for frame in frames {
            let sent = if self.options.offload {
                vnet::encode(frame.bytes, frame.offload).is_some_and(|prefix| {
                    rustix::io::writev(&queue.fd, &prefix.gather(frame)).is_ok()
                })
            } else {
                let pieces = [frame.bytes, frame.payload].map(IoSlice::new);
                rustix::io::writev(&queue.fd, &pieces).is_ok()
            };
            if sent {
                self.attachment.counters.sent(frame.len());
            } else {
                // Full queue, interface down, shorter than an Ethernet header, or nothing that the kernel can finish.
                self.attachment.counters.send_dropped(1);
            }
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.attachment.get().is_some()
            && sys::flags(&self.interface).is_ok_and(|flags| flags & libc::IFF_UP != 0)
    }

    fn statistics(&self) -> PortStatistics {
        self.attachment.statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_cut_or_refuse_are_refused() {
        for name in ["", "a-name-of-16-bytes", "a/b", "a b", "ä"] {
            let refused = TapPort::open(name).err();
            assert!(
                matches!(refused, Some(PortError::InterfaceName(_))),
                "{name}"
            );
        }
    }
}
