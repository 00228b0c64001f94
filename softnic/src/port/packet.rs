//! An existing network interface, through AF_PACKET sockets and rings shared with the kernel.
//!
//! In: every frame that the interface receives, promiscuously, with the VLAN tag put back that the kernel took off. Out:
//! frames. TCP's super-frames and unfinished checksums of senders on the same host pass through as they are (see
//! [`Offload`](super::Offload)); with `offload` off they are cut and completed before the program sees them.
//!
//! ```text
//! kernel ─▶ receive ring ─▶ (in place) ─▶ poll          one socket pair per queue; a fanout group
//! kernel ◀─ send ring ◀── one copy ◀───── transmit      shares connections out between them
//!        ◀─ gathering send, for what fits no slot
//! ```
//!
//! Needs CAP_NET_RAW.

mod queue;

use std::time::Duration;

use super::attachment::{Attachment, Link, Opened};
use super::sys::ring::Layout;
use super::tap::check_name;
use super::{Frame, PacketOptions, Port, PortError, PortStatistics, Received, Ring, Take};
use queue::Queue;

/// A port over a network interface.
pub struct PacketPort {
    options: PacketOptions,
    attachment: Attachment<Sockets>,
}

/// The sockets of one interface.
struct Sockets {
    link: Link,
    queues: Vec<Queue>,
}

impl Opened for Sockets {
    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn dropped(&self) -> u64 {
        self.queues.iter().map(Queue::dropped).sum()
    }
}

impl Sockets {
    fn open(name: &str, interface: &str, options: PacketOptions) -> Result<Self, PortError> {
        let error = |action| move |source| PortError::io(name, action, source);
        let link = Link::find(name, interface)?;
        let layout = match options.ring {
            Ring::Frames => Layout::Frames,
            Ring::Blocks => Layout::Blocks,
        };
        let mut queues = Vec::new();
        let mut group = None;
        for _ in 0..options.queues.max(1) {
            let queue = Queue::open(link.index, layout, link.mtu())
                .map_err(error("opening a packet socket with its rings"))?;
            if options.queues > 1 {
                group = Some(
                    queue
                        .join(group)
                        .map_err(error("sharing packets out between queues"))?,
                );
            }
            queues.push(queue);
        }
        Ok(Self { link, queues })
    }
}

impl PacketPort {
    /// Opens the interface with one queue.
    ///
    /// # Errors
    /// As [`PacketPort::open_with`].
    pub fn open(interface: &str) -> Result<Self, PortError> {
        Self::open_with(interface, PacketOptions::default())
    }

    /// Opens the interface.
    ///
    /// # Errors
    /// [`PortError::NoInterface`], or [`PortError::Permission`] without CAP_NET_RAW.
    pub fn open_with(interface: &str, options: PacketOptions) -> Result<Self, PortError> {
        check_name(interface)?;
        let name = format!("packet:{interface}");
        let (of_port, of_interface) = (name.clone(), interface.to_owned());
        let open = move || Sockets::open(&of_port, &of_interface, options);
        Ok(Self {
            options,
            attachment: Attachment::new(&name, interface, Box::new(open))?,
        })
    }
}

impl Port for PacketPort {
    fn name(&self) -> &str {
        self.attachment.name()
    }

    fn queues(&self) -> usize {
        usize::from(self.options.queues.max(1))
    }

    fn takes_offloads(&self) -> bool {
        true
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let Some(sockets) = self.attachment.get_or_reopen(wait) else {
            return Ok(Received::Nothing);
        };
        let Some(queue) = sockets.queues.get(queue) else {
            return Ok(Received::End);
        };
        let offload = self.options.offload;
        match queue.poll(limit, wait, offload, &self.attachment.counters, take) {
            Ok(0) => Ok(Received::Nothing),
            Ok(_) => Ok(Received::Packets),
            // Told once after the interface went down; it may come up again, or be gone.
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => Ok(Received::Nothing),
            Err(e) => {
                self.attachment.lose(&sockets, &e);
                Ok(Received::Nothing)
            }
        }
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        let counters = &self.attachment.counters;
        let Some(sockets) = self.attachment.get() else {
            counters.send_dropped(frames.len() as u64);
            return Ok(());
        };
        if let Some(of_queue) = sockets.queues.get(queue % sockets.queues.len().max(1)) {
            of_queue.transmit(frames, sockets.link.mtu(), counters);
        }
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
        match PacketPort::open("no-such-if0") {
            Err(PortError::NoInterface(name)) => assert_eq!(name, "no-such-if0"),
            Err(PortError::Permission(_) | PortError::Io { .. }) => {}
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("it is there"),
        }
    }
}
