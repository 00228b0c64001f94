//! An existing network interface, through an AF_PACKET socket.
//!
//! In: every frame that the interface receives, promiscuously, with the VLAN tag put back that the kernel took off and the
//! checksum finished that a peer on the same host (veth) left to hardware. Out: frames sent as they are.
//!
//! Frames above the MTU come in when the interface or its peer merges or does not cut segments; turn that off with
//! `ethtool -K IFACE gro off lro off` here and `ethtool -K PEER tso off gso off` at a veth peer. Needs CAP_NET_RAW.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::SendFlags;

use super::tap::{check_name, readable};
use super::{
    Batch, Counters, MAX_PACKET, Port, PortError, PortStatistics, Received, checksum, sys,
};

/// Bytes of the two MAC addresses, behind which a VLAN tag stands.
const TAG_AT: usize = 12;

/// A port over a network interface.
#[derive(Debug)]
pub struct PacketPort {
    name: String,
    interface: String,
    fd: OwnedFd,
    counters: Counters,
}

impl PacketPort {
    /// Opens the interface.
    ///
    /// # Errors
    /// [`PortError::NoInterface`], or [`PortError::Permission`] without CAP_NET_RAW.
    pub fn open(interface: &str) -> Result<Self, PortError> {
        check_name(interface)?;
        let name = format!("packet:{interface}");
        let index = sys::index(interface).map_err(|e| match e.raw_os_error() {
            Some(libc::ENODEV) => PortError::NoInterface(interface.to_owned()),
            _ => PortError::io(&name, "looking the interface up", e),
        })?;
        let fd = sys::open_packet(index)
            .map_err(|e| PortError::io(&name, "opening the packet socket", e))?;
        Ok(Self {
            name,
            interface: interface.to_owned(),
            fd,
            counters: Counters::default(),
        })
    }

    /// Takes one frame out of the receive buffer into the batch.
    fn accept(&self, info: &sys::PacketInfo, buffer: &mut [u8], batch: &mut Batch) {
        // Room for a tag was left at the front of the buffer.
        let Some(frame) = buffer.get_mut(..4 + info.length) else {
            self.counters.malformed();
            return;
        };
        if info.partial_checksum {
            checksum::complete(&mut frame[4..]);
        }
        let frame = match info.vlan {
            Some((tpid, tci)) if info.length >= TAG_AT => {
                frame.copy_within(4..4 + TAG_AT, 0);
                frame[TAG_AT..TAG_AT + 2].copy_from_slice(&tpid.to_be_bytes());
                frame[TAG_AT + 2..TAG_AT + 4].copy_from_slice(&tci.to_be_bytes());
                &frame[..]
            }
            _ => &frame[4..],
        };
        self.counters.received(frame.len());
        batch.push(frame);
    }
}

impl Port for PacketPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&self, batch: &mut Batch, wait: Duration) -> Result<Received, PortError> {
        let error = |e: io::Error| PortError::io(&self.name, "receiving", e);
        if !readable(&self.fd, wait).map_err(error)? {
            return Ok(Received::Nothing);
        }
        let before = batch.len();
        let mut buffer = [0; MAX_PACKET + 4];
        while !batch.is_full() {
            match sys::receive(self.fd.as_fd(), &mut buffer[4..]) {
                Ok(info) if info.outgoing => {}
                Ok(info) => self.accept(&info, &mut buffer, batch),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => break,
                // Told once after the interface went down; it may come back.
                Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => break,
                Err(e) => return Err(error(e)),
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
            match rustix::net::send(&self.fd, packet, SendFlags::DONTWAIT) {
                Ok(_) => self.counters.sent(packet.len()),
                // Full queue, link down, or longer than the MTU.
                Err(_) => self.counters.send_dropped(1),
            }
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        let running = libc::IFF_UP | libc::IFF_RUNNING;
        sys::flags(&self.interface).is_ok_and(|flags| flags & running == running)
    }

    fn statistics(&self) -> PortStatistics {
        if let Ok(dropped) = sys::dropped(self.fd.as_fd()) {
            self.counters.receive_dropped(dropped);
        }
        self.counters.get()
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
            other => panic!("{other:?}"),
        }
    }
}
