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

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::attachment::{Attachment, Watch};
use super::sys::{self, ring::Layout};
use super::tap::check_name;
use super::{
    Counters, Frame, PacketOptions, Port, PortError, PortStatistics, Received, Ring, Take,
};
use queue::Queue;

/// A port over a network interface.
pub struct PacketPort {
    name: String,
    interface: String,
    options: PacketOptions,
    attachment: Attachment<Sockets>,
    watch: Watch,
    counters: Counters,
}

/// The sockets of one interface.
struct Sockets {
    index: libc::c_int,
    mtu: AtomicUsize,
    queues: Vec<Queue>,
}

impl Sockets {
    fn open(name: &str, interface: &str, options: PacketOptions) -> Result<Self, PortError> {
        let error = |action| move |source| PortError::io(name, action, source);
        let index = sys::index(interface).map_err(|e| match e.raw_os_error() {
            Some(libc::ENODEV) => PortError::NoInterface(interface.to_owned()),
            _ => PortError::io(name, "looking the interface up", e),
        })?;
        let mtu = sys::mtu(interface).map_err(error("asking for the MTU"))?;
        let layout = match options.ring {
            Ring::Frames => Layout::Frames,
            Ring::Blocks => Layout::Blocks,
        };
        let mut queues = Vec::new();
        let mut group = None;
        for _ in 0..options.queues.max(1) {
            let queue = Queue::open(index, layout, mtu)
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
        Ok(Self {
            index,
            mtu: AtomicUsize::new(mtu),
            queues,
        })
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
            attachment: Attachment::new(&name, Box::new(open))?,
            name,
            interface: interface.to_owned(),
            options,
            watch: Watch::new(interface),
            counters: Counters::default(),
        })
    }

    /// Notices another MTU, and that the interface went away.
    fn watch(&self, sockets: &Arc<Sockets>) {
        if !self.watch.is_due() {
            return;
        }
        match self.watch.look(sockets.index) {
            Ok(()) => {
                if let Ok(mtu) = sys::mtu(&self.interface) {
                    sockets.mtu.store(mtu, Ordering::Relaxed);
                }
            }
            Err(why) => self.attachment.lose(sockets, &why),
        }
    }

    fn count_drops(&self, sockets: &Sockets) {
        for queue in &sockets.queues {
            self.counters.receive_dropped(queue.dropped());
        }
    }
}

impl Port for PacketPort {
    fn name(&self) -> &str {
        &self.name
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
        self.watch(&sockets);
        let Some(queue) = sockets.queues.get(queue) else {
            return Ok(Received::End);
        };
        let offload = self.options.offload;
        match queue.poll(limit, wait, offload, &self.counters, take) {
            Ok(0) => Ok(Received::Nothing),
            Ok(_) => Ok(Received::Packets),
            // Told once after the interface went down; it may come up again, or be gone.
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => Ok(Received::Nothing),
            Err(e) => {
                self.count_drops(&sockets);
                self.attachment.lose(&sockets, &e);
                Ok(Received::Nothing)
            }
        }
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        let Some(sockets) = self.attachment.get() else {
            self.counters.send_dropped(frames.len() as u64);
            return Ok(());
        };
        if let Some(of_queue) = sockets.queues.get(queue % sockets.queues.len().max(1)) {
            of_queue.transmit(frames, sockets.mtu.load(Ordering::Relaxed), &self.counters);
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        let running = libc::IFF_UP | libc::IFF_RUNNING;
        self.attachment.get().is_some()
            && sys::flags(&self.interface).is_ok_and(|flags| flags & running == running)
    }

    fn statistics(&self) -> PortStatistics {
        if let Some(sockets) = self.attachment.get() {
            self.count_drops(&sockets);
        }
        PortStatistics {
            reopened: self.attachment.reopened(),
            ..self.counters.get()
        }
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
