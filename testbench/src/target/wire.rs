//! The far ends of a switch's ports: where the testbench sends and receives.
//!
//! In: ports of softnic's kind, one per port of the switch. Out: frames of all ports in one queue, each with its port;
//! announcements of addresses, which come at times of the switch's own, are kept apart from what is sent through it.
//! One thread per port waits for frames; it ends when the wire is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use softnic::port::{Batch, Port, Received};

use super::TargetError;

/// How long a thread waits for a frame before it looks whether it should end.
const TURN: Duration = Duration::from_millis(50);

/// Frames that a thread takes at one go.
const BATCH: usize = 64;

/// The far ends of all ports.
pub struct Wire {
    ports: BTreeMap<u32, Arc<dyn Port>>,
    frames: Mutex<Receiver<(u32, Vec<u8>)>>,
    announced: Mutex<BTreeSet<(u32, IpAddr)>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Wire {
    /// Begins to receive.
    ///
    /// # Errors
    /// [`TargetError::System`] when there is no thread to be had.
    pub fn new(ports: BTreeMap<u32, Arc<dyn Port>>) -> Result<Self, TargetError> {
        let (sender, frames) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let mut wire = Self {
            ports,
            frames: Mutex::new(frames),
            announced: Mutex::default(),
            stop,
            threads: Vec::new(),
        };
        for (&id, port) in &wire.ports {
            let (port, sender, stop) = (Arc::clone(port), sender.clone(), Arc::clone(&wire.stop));
            let thread = std::thread::Builder::new()
                .name(format!("wire-{id}"))
                .spawn(move || listen(id, port.as_ref(), &sender, &stop))
                .map_err(|source| TargetError::System {
                    what: "starting a thread",
                    source,
                })?;
            wire.threads.push(thread);
        }
        Ok(wire)
    }

    /// Numbers of the ports.
    pub fn ports(&self) -> Vec<u32> {
        self.ports.keys().copied().collect()
    }

    /// Sends a frame into a port.
    ///
    /// # Errors
    /// [`TargetError`] when there is no such port or it takes nothing.
    pub fn send(&self, port: u32, frame: &[u8]) -> Result<(), TargetError> {
        let port = self.ports.get(&port).ok_or(TargetError::NoPort(port))?;
        Ok(port.send(&[frame])?)
    }

    /// The next frame of any port that announces no address.
    pub fn receive(&self, deadline: Instant) -> Option<(u32, Vec<u8>)> {
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let (port, frame) = self.frames.lock().recv_timeout(wait).ok()?;
            match announces(&frame) {
                Some(address) => drop(self.announced.lock().insert((port, address))),
                None => return Some((port, frame)),
            }
        }
    }

    /// Addresses that were announced, with the ports, among the frames taken so far.
    pub fn announced(&self) -> BTreeSet<(u32, IpAddr)> {
        self.announced.lock().clone()
    }
}

/// The address that a frame announces: an ARP request of its own owner, or an advertisement that nobody solicited.
fn announces(frame: &[u8]) -> Option<IpAddr> {
    let arp = frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    if arp && frame.get(28..32)? == frame.get(38..42)? {
        return Some(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?.into());
    }
    let six = frame.get(12..14)? == [0x86, 0xdd] && frame.get(20..22)? == [58, 255];
    let unsolicited = frame.get(54)? == &136 && frame.get(58)? & 0x40 == 0;
    if six && unsolicited && frame.get(22..38)? == frame.get(62..78)? {
        return Some(<[u8; 16]>::try_from(frame.get(62..78)?).ok()?.into());
    }
    None
}

fn listen(id: u32, port: &dyn Port, frames: &Sender<(u32, Vec<u8>)>, stop: &AtomicBool) {
    let mut batch = Batch::new(BATCH);
    while !stop.load(Ordering::Relaxed) {
        batch.clear();
        match port.receive(&mut batch, TURN) {
            Ok(Received::Packets) => {
                for frame in batch.iter() {
                    if frames.send((id, frame.to_vec())).is_err() {
                        return;
                    }
                }
            }
            Ok(Received::Nothing) => {}
            Ok(Received::End) | Err(_) => return,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
