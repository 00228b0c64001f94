//! Packets from ports through the running program to ports and controllers.
//!
//! In: packets from a port, from a controller, or given by hand; time passing. Out: packets on ports, packet-in messages,
//! digests, idle-timeout notifications.
//!
//! ```text
//! port n ──▶ engine ──┬──▶ port m
//! packet-out ──▶      ├──▶ CPU port: header cut off ──▶ packet-in
//! (as if from the     └──▶ digests, drops
//!  CPU port)
//! ```
//!
//! Invariant: every packet that comes in is counted, and every packet that does not go out is counted with the reason.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use p4rs::engine::{Outputs, Time};
use p4runtime::server::events::Events;
use p4runtime::server::switch::SwitchError;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::clock::Clock;
use crate::pipeline::Loaded;
use crate::port::{Batch, Port};
use crate::statistics::{PortReport, Statistics};
use crate::trace;

/// The ports, the program that runs, and where notifications go.
pub(crate) struct DataPlane {
    ports: BTreeMap<u32, Box<dyn Port>>,
    running: RwLock<Option<Arc<Loaded>>>,
    events: OnceLock<Events>,
    clock: Arc<dyn Clock>,
    cpu_port: Option<u32>,
    trace: bool,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    packet_in: AtomicU64,
    packet_in_dropped: AtomicU64,
    packet_in_malformed: AtomicU64,
    packet_out: AtomicU64,
    no_program: AtomicU64,
    no_port: AtomicU64,
    digests: AtomicU64,
}

/// Packets of one batch that leave on one port.
type ForPort<'a> = (u32, Vec<&'a [u8]>);

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A packet that left the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Egress port.
    pub port: u32,
    /// The packet.
    pub bytes: Vec<u8>,
}

impl DataPlane {
    pub fn new(
        ports: BTreeMap<u32, Box<dyn Port>>,
        clock: Arc<dyn Clock>,
        cpu_port: Option<u32>,
        trace: bool,
    ) -> Self {
        Self {
            ports,
            running: RwLock::new(None),
            events: OnceLock::new(),
            clock,
            cpu_port,
            trace,
            counters: Counters::default(),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    pub fn cpu_port(&self) -> Option<u32> {
        self.cpu_port
    }

    pub fn ports(&self) -> impl Iterator<Item = (u32, &dyn Port)> {
        self.ports.iter().map(|(&id, port)| (id, &**port))
    }

    pub fn port(&self, id: u32) -> Option<&dyn Port> {
        self.ports.get(&id).map(|port| &**port)
    }

    /// Where notifications go from now on; the first call counts.
    pub fn attach(&self, events: Events) {
        let _ = self.events.set(events);
    }

    /// Makes this the program that packets run through. Packets under way finish in the one before.
    pub fn activate(&self, loaded: Arc<Loaded>) {
        *self.running.write() = Some(loaded);
    }

    pub fn running(&self) -> Option<Arc<Loaded>> {
        self.running.read().clone()
    }

    /// Takes a batch from a port and sends what comes of it. `out` is scratch space.
    pub fn receive(&self, port: u32, batch: &Batch, out: &mut Outputs) {
        let Some(loaded) = self.running() else {
            self.counters
                .no_program
                .fetch_add(batch.len() as u64, Ordering::Relaxed);
            return;
        };
        out.clear();
        let now = self.now();
        for packet in batch.iter() {
            self.process(&loaded, now, port, packet, out);
        }
        self.deliver(&loaded, out);
    }

    /// Takes a packet from a controller: it comes in on the CPU port.
    pub fn packet_out(&self, loaded: &Loaded, packet: &[u8]) -> Result<(), SwitchError> {
        let port = self.cpu_port.ok_or(SwitchError::Unsupported(
            "packet-out on a switch without a CPU port",
        ))?;
        count(&self.counters.packet_out);
        let mut out = Outputs::default();
        self.process(loaded, self.now(), port, packet, &mut out);
        self.deliver(loaded, &out);
        Ok(())
    }

    /// Runs one packet as if it had come in on `port`, and returns what leaves on ports instead of sending it.
    /// Controllers get their share all the same.
    pub fn inject(&self, port: u32, packet: &[u8]) -> Vec<Sent> {
        let Some(loaded) = self.running() else {
            count(&self.counters.no_program);
            return Vec::new();
        };
        let mut out = Outputs::default();
        self.process(&loaded, self.now(), port, packet, &mut out);
        self.notify(&loaded, &out);
        let leaves = out
            .transmitted()
            .filter(|&(port, _)| Some(port) != self.cpu_port);
        leaves
            .map(|(port, bytes)| Sent {
                port,
                bytes: bytes.to_vec(),
            })
            .collect()
    }

    fn process(&self, loaded: &Loaded, now: Time, port: u32, packet: &[u8], out: &mut Outputs) {
        if self.trace {
            let mut tracer = trace::Tracer::new(loaded.engine.program());
            loaded
                .engine
                .process_traced(now, port, packet, out, &mut tracer);
        } else {
            loaded.engine.process(now, port, packet, out);
        }
    }

    fn deliver(&self, loaded: &Loaded, out: &Outputs) {
        self.notify(loaded, out);
        let mut by_port: SmallVec<[ForPort<'_>; 4]> = SmallVec::new();
        for (port, bytes) in out
            .transmitted()
            .filter(|&(port, _)| Some(port) != self.cpu_port)
        {
            match by_port.iter_mut().find(|(known, _)| *known == port) {
                Some((_, packets)) => packets.push(bytes),
                None => by_port.push((port, vec![bytes])),
            }
        }
        for (id, packets) in by_port {
            match self.ports.get(&id) {
                Some(port) => {
                    if let Err(error) = port.send(&packets) {
                        tracing::warn!(port = id, %error, "packets lost");
                    }
                }
                None => {
                    self.counters
                        .no_port
                        .fetch_add(packets.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Packets on the CPU port, digests and log messages.
    fn notify(&self, loaded: &Loaded, out: &Outputs) {
        for (port, bytes) in out.transmitted() {
            if Some(port) == self.cpu_port {
                self.packet_in(loaded, bytes);
            }
        }
        for digest in &out.digests {
            if let (Some(events), Some((id, data))) = (self.events.get(), loaded.digest(digest)) {
                count(&self.counters.digests);
                events.digest(id, data);
            }
        }
        for line in &out.log {
            tracing::info!(target: "softnic::log_msg", "{line}");
        }
    }

    fn packet_in(&self, loaded: &Loaded, packet: &[u8]) {
        let Some((metadata, payload)) = loaded.split_packet_in(packet) else {
            count(&self.counters.packet_in_malformed);
            return;
        };
        let taken = self
            .events
            .get()
            .is_some_and(|events| events.packet_in(payload.to_vec(), &metadata.values()));
        count(if taken {
            &self.counters.packet_in
        } else {
            &self.counters.packet_in_dropped
        });
    }

    /// Lets timeouts pass: learned entries go away, idle ones are reported.
    pub fn tick(&self) {
        let Some(loaded) = self.running() else { return };
        let idle = loaded.engine.tick(self.now());
        if let Some(events) = self.events.get().filter(|_| !idle.is_empty()) {
            loaded.report_idle(&idle, events);
        }
    }

    pub fn statistics(&self) -> Statistics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let report = |(id, port): (u32, &dyn Port)| PortReport {
            id,
            name: port.name().to_owned(),
            up: port.is_up(),
            counters: port.statistics(),
        };
        Statistics {
            ports: self.ports().map(report).collect(),
            engine: self.running().map(|loaded| loaded.engine.statistics()),
            packet_in: load(&self.counters.packet_in),
            packet_in_dropped: load(&self.counters.packet_in_dropped),
            packet_in_malformed: load(&self.counters.packet_in_malformed),
            packet_out: load(&self.counters.packet_out),
            no_program: load(&self.counters.no_program),
            no_port: load(&self.counters.no_port),
            digests: load(&self.counters.digests),
        }
    }
}
