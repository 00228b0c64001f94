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
use crate::port::{Batch, Frame, Offload, Port, finish, is_plain};
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
    unfinished: AtomicU64,
}

/// Packets of one batch that leave on one port.
type ForPort<'a> = (u32, Vec<Frame<'a>>);

/// What a thread keeps between batches: memory, and nothing else.
pub(crate) type Scratch = Made<'static>;

/// What came of a batch of frames.
#[derive(Default)]
pub(crate) struct Made<'p> {
    out: Outputs<'p>,
    /// What is left to do to each packet to transmit: as much as to the one that it was made of. Empty: nothing.
    offloads: Vec<Offload>,
}

impl<'p> Made<'p> {
    /// The memory alone, for other frames.
    fn recycle<'q>(mut self) -> Made<'q> {
        self.offloads.clear();
        Made {
            out: self.out.recycle(),
            offloads: self.offloads,
        }
    }

    /// Runs one frame. What is made of it has as much left to do as the frame had; only what has nothing left to do may be in
    /// two pieces.
    fn process(&mut self, frame: &Frame<'p>, run: impl FnOnce(&'p [u8], &mut Outputs<'p>)) {
        self.out.keep_whole(frame.offload != Offload::NONE);
        run(frame.bytes, &mut self.out);
        let made = self.out.transmitted().len();
        self.offloads.resize(made, frame.offload);
    }

    /// Packets to transmit: egress port and packet.
    fn transmitted(&self) -> impl Iterator<Item = (u32, Frame<'_>)> {
        self.out.transmitted().enumerate().map(|(index, sent)| {
            let frame = Frame {
                bytes: sent.head,
                payload: sent.payload,
                offload: self.offloads.get(index).copied().unwrap_or_default(),
            };
            (sent.port, frame)
        })
    }
}

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

    /// Takes frames from a port's queue and sends what comes of them.
    pub fn receive(&self, port: u32, queue: usize, frames: &[Frame<'_>], scratch: &mut Scratch) {
        let Some(loaded) = self.running() else {
            self.counters
                .no_program
                .fetch_add(frames.len() as u64, Ordering::Relaxed);
            return;
        };
        let mut made = std::mem::take(scratch).recycle();
        let now = self.now();
        if self.trace {
            for frame in frames {
                made.process(frame, |bytes, out| {
                    self.process(&loaded, now, port, bytes, out);
                });
            }
        } else {
            let mut worker = loaded.engine.worker();
            if frames.iter().all(|frame| frame.offload == Offload::NONE) {
                let packets = frames.iter().map(|frame| (port, frame.bytes));
                worker.batch(now, packets, &mut made.out);
            } else {
                for frame in frames {
                    made.process(frame, |bytes, out| worker.process(now, port, bytes, out));
                }
            }
        }
        self.deliver(&loaded, queue, &made);
        *scratch = made.recycle();
    }

    /// Takes a packet from a controller: it comes in on the CPU port.
    pub fn packet_out(&self, loaded: &Loaded, packet: &[u8]) -> Result<(), SwitchError> {
        let port = self.cpu_port.ok_or(SwitchError::Unsupported(
            "packet-out on a switch without a CPU port",
        ))?;
        count(&self.counters.packet_out);
        let mut made = Made::default();
        self.process(loaded, self.now(), port, packet, &mut made.out);
        self.deliver(loaded, 0, &made);
        Ok(())
    }

    /// Runs one packet as if it had come in on `port`, and returns what leaves on ports instead of sending it.
    /// Controllers get their share all the same.
    pub fn inject(&self, port: u32, packet: &[u8]) -> Vec<Sent> {
        let Some(loaded) = self.running() else {
            count(&self.counters.no_program);
            return Vec::new();
        };
        let mut made = Made::default();
        self.process(&loaded, self.now(), port, packet, &mut made.out);
        let mut left = Vec::new();
        self.tell(&loaded, &made, &mut |port, frame| {
            let bytes = frame.to_vec();
            left.push(Sent { port, bytes });
        });
        left
    }

    /// As [`DataPlane::inject`], of packets that come in together.
    pub fn inject_all(&self, port: u32, packets: &[&[u8]], sent: &mut dyn FnMut(u32, &Frame<'_>)) {
        let Some(loaded) = self.running() else {
            let lost = packets.len() as u64;
            self.counters.no_program.fetch_add(lost, Ordering::Relaxed);
            return;
        };
        let mut made = Made::default();
        let packets = packets.iter().map(|&packet| (port, packet));
        loaded
            .engine
            .worker()
            .batch(self.now(), packets, &mut made.out);
        self.tell(&loaded, &made, sent);
    }

    /// Gives controllers their share, and tells what leaves on ports.
    fn tell(&self, loaded: &Loaded, made: &Made<'_>, sent: &mut dyn FnMut(u32, &Frame<'_>)) {
        self.notify(loaded, made);
        for (port, frame) in made.transmitted() {
            if Some(port) != self.cpu_port {
                sent(port, &frame);
            }
        }
    }

    fn process<'p>(
        &self,
        loaded: &Loaded,
        now: Time,
        port: u32,
        packet: &'p [u8],
        out: &mut Outputs<'p>,
    ) {
        if self.trace {
            let mut tracer = trace::Tracer::new(loaded.engine.program());
            loaded
                .engine
                .process_traced(now, port, packet, out, &mut tracer);
        } else {
            loaded.engine.process(now, port, packet, out);
        }
    }

    fn deliver(&self, loaded: &Loaded, queue: usize, made: &Made<'_>) {
        self.notify(loaded, made);
        let mut by_port: SmallVec<[ForPort<'_>; 4]> = SmallVec::new();
        for (port, frame) in made
            .transmitted()
            .filter(|&(port, _)| Some(port) != self.cpu_port)
        {
            match by_port.iter_mut().find(|(known, _)| *known == port) {
                Some((_, frames)) => frames.push(frame),
                None => by_port.push((port, vec![frame])),
            }
        }
        for (id, frames) in by_port {
            match self.ports.get(&id) {
                Some(port) => self.transmit(id, &**port, queue, &frames),
                None => {
                    self.counters
                        .no_port
                        .fetch_add(frames.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Sends frames, finished before if the port takes no others, or none that the program put into a tunnel.
    fn transmit(&self, id: u32, port: &dyn Port, queue: usize, frames: &[Frame<'_>]) {
        let offloads = port.takes_offloads();
        let done = |frame: &Frame<'_>| match offloads {
            true => is_plain(frame),
            false => frame.offload == Offload::NONE,
        };
        let sent = if frames.iter().all(done) {
            port.transmit(queue, frames)
        } else {
            let mut batch = Batch::new(frames.len());
            for frame in frames {
                if finish(frame, &mut |packet| batch.push(packet)) == 0 {
                    count(&self.counters.unfinished);
                }
            }
            let whole: Vec<Frame<'_>> = batch.iter().map(Frame::whole).collect();
            port.transmit(queue, &whole)
        };
        if let Err(error) = sent {
            tracing::warn!(port = id, %error, "packets lost");
        }
    }

    /// Packets on the CPU port, digests and log messages.
    fn notify(&self, loaded: &Loaded, made: &Made<'_>) {
        let out = &made.out;
        for (port, frame) in made.transmitted() {
            if Some(port) == self.cpu_port {
                self.packet_in(loaded, &frame);
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

    fn packet_in(&self, loaded: &Loaded, frame: &Frame<'_>) {
        let bytes = frame.contiguous();
        let Some((metadata, payload)) = loaded.split_packet_in(&bytes) else {
            count(&self.counters.packet_in_malformed);
            return;
        };
        let payload = Frame {
            offload: frame.offload,
            ..Frame::whole(payload)
        };
        let whole = finish(&payload, &mut |packet| {
            let taken = self
                .events
                .get()
                .is_some_and(|events| events.packet_in(packet.to_vec(), &metadata.values()));
            count(if taken {
                &self.counters.packet_in
            } else {
                &self.counters.packet_in_dropped
            });
        });
        if whole == 0 {
            count(&self.counters.unfinished);
        }
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
            unfinished: load(&self.counters.unfinished),
        }
    }
}
