//! The execution engine: runs packets through a checked program and lets a control plane fill its tables.
//!
//! In: a [`Checked`] program, packets with their ingress port, control-plane writes. Out: [`Outputs`] per packet,
//! table and extern state on request.
//!
//! ```text
//! Checked ── lower ──▶ code (resolved slots) ──┐
//!                                              ├── process(now, port, packet) ──▶ Outputs, Tracer events
//! control plane ──▶ tables, externs ───────────┘
//! ```
//!
//! Invariants: every packet ends in `Outputs` or in a counted drop; nothing a packet or an entry holds can panic
//! the engine or loop without bound; nothing of one packet is visible to the next except through tables and externs.
//! Every method takes `&self`: packets and control plane run at the same time from any number of threads.

mod arch;
mod bits;
mod control;
pub mod entries_text;
mod externs;
mod interp;
mod layout;
mod native;
mod outputs;
mod tables;
mod trace;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use externs::{
    CloneSession, Color, CounterData, CounterUnit, ExternError, MeterConfig, MeterUnit, Replica,
};
pub use outputs::{Digest, DropReason, Outputs};
pub use tables::{
    ActionCall, Batch, Cursor, EntryAction, EntryView, FieldMatch, GroupMember, IdleTimeout,
    Lookup, MatchKind, NewEntry, NewRows, OwnedAction, OwnedField, TableError, WeightedAction,
};
pub use trace::{Event, KeyValue, Tracer, Verdict};

use crate::ir;
use crate::valid::Checked;
use interp::{Machine, PacketState, Packets, Received};
use native::{HotPart, LANES, Lanes, Recall, Sets, Touched, flow_of, is_known};
use smallvec::SmallVec;
use tables::MatchTable;
use tables::epoch::{self, Guard};
use watch::{TELL, Watch};

/// Nanoseconds since the engine's owner started counting. Never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// A time in whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }
}

/// Choices made at load time.
#[derive(Clone, Debug)]
pub struct Config {
    /// The port whose packets are packet-in and packet-out. Only reported, the engine treats it like any other.
    pub cpu_port: Option<u32>,
    /// v1model's drop port.
    pub drop_port: u32,
    /// Start of the pseudo-random sequence of `random` and `Random`.
    pub seed: u64,
    /// Entries of a table without `size`; `None` is unlimited. p4c's default is 1024.
    pub default_table_size: Option<u64>,
    /// Ignore the declared `size` too.
    pub unlimited_tables: bool,
    /// PNA: ports on the host's side; every other port is the network's.
    pub host_ports: Vec<u32>,
    /// Expiry time profiles of learner tables in nanoseconds, by profile id.
    pub expire_profiles_ns: Vec<u64>,
    /// Passes and copies that one received packet may cause.
    pub max_passes: u32,
    /// Longest packet in bytes.
    pub max_packet_len: usize,
    /// What runs the packets.
    pub execution: Execution,
    /// Entries from which on machine code runs the packets of a batch side by side, so that they wait for memory
    /// together. What comes of them is the same.
    pub side_by_side_from: u64,
    /// Tables' entries for whose flows is remembered which memory their packets need, once it is worth while: 32 bytes for each.
    pub remembered_entries: u64,
    /// Packets that the interpreter runs, at first and whenever most packets take other ways than before, to find out which
    /// ways those are: they get machine code of their own then. None for 0.
    pub watched_packets: u32,
    /// Of so many packets one is watched then, at most one of a batch.
    pub watched_one_in: u32,
}

/// What runs the packets; both do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Execution {
    /// Machine code, made when the program is loaded; the interpreter where there is none for the program.
    #[default]
    Native,
    /// The interpreter.
    #[value(name = "interpreter")]
    Interpreted,
}

impl Default for Config {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            cpu_port: None,
            drop_port: 511,
            seed: 1,
            default_table_size: Some(1024),
            unlimited_tables: false,
            host_ports: Vec::new(),
            // DPDK takes as many as these: its own first, then times of connections, then those of clients.
            expire_profiles_ns: [
                10, 30, 60, 120, 300, 432_000, 10_800, 60, 86_400, 1, 2, 5, 600, 1_800, 3_600,
                21_600,
            ]
            .map(|s| s * SECOND)
            .to_vec(),
            max_passes: 256,
            max_packet_len: 65_535,
            execution: Execution::default(),
            side_by_side_from: 1 << 14,
            remembered_entries: 1 << 23,
            watched_packets: 256,
            watched_one_in: 64,
        }
    }
}

/// Why a checked program cannot be run by this engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A library without `main`.
    #[error("the program has no main package")]
    NoPackage,
    /// A package that is neither `V1Switch` nor `PNA_NIC`.
    #[error("architecture `{0}` is not supported by the engine")]
    Architecture(String),
    /// The package lacks a block of this name.
    #[error("the package has no `{0}`")]
    MissingBlock(&'static str),
    /// A block's parameter has another type than the architecture's.
    #[error("block `{block}` lacks parameter {index}")]
    BlockParameter {
        /// Block name.
        block: String,
        /// Position.
        index: usize,
    },
    /// An extern that the engine does not know.
    #[error("extern `{0}` is not supported by the engine")]
    Extern(String),
    /// A match kind that the engine does not know.
    #[error("match kind `{kind}` of table `{table}` is not supported by the engine")]
    MatchKind {
        /// Table name.
        table: String,
        /// As in the source.
        kind: String,
    },
    /// A hash or checksum algorithm that the engine does not know.
    #[error("hash algorithm `{0}` is not supported by the engine")]
    HashAlgorithm(String),
    /// A construct that validation should have refused.
    #[error("{what}")]
    Construct {
        /// What it is.
        what: String,
        /// Where it stands.
        span: crate::source::Span,
    },
    /// An entry of the program that does not fit its table.
    #[error("entry {index} of table `{table}`: {source}")]
    Entry {
        /// Table name.
        table: String,
        /// Position in the list.
        index: usize,
        /// What is wrong.
        source: TableError,
    },
    /// The program's variables need more room than the engine gives to one packet.
    #[error("the program needs {0} value slots per packet")]
    TooBig(u64),
}

/// The architectures that the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `V1Switch`, as `simple_switch` runs it.
    V1Model,
    /// `PNA_NIC`, as `p4c-dpdk --arch pna` takes it.
    Pna,
}

impl Architecture {
    /// The architecture of a package type; `None` for those that the engine does not run.
    pub fn of(package: &str) -> Option<Self> {
        match package {
            "V1Switch" => Some(Self::V1Model),
            "PNA_NIC" => Some(Self::Pna),
            _ => None,
        }
    }
}

/// What the engine counted since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Packets given to [`Engine::process`].
    pub received: u64,
    /// Packets transmitted, copies included.
    pub transmitted: u64,
    /// Drops by reason.
    pub drops: Vec<(DropReason, u64)>,
    /// Learned entries that found no room.
    pub learn_failures: u64,
}

/// A program loaded and ready to run.
pub struct Engine {
    machine: Arc<Machine>,
    watch: Arc<Watch>,
    pool: Mutex<Vec<(PacketState, Option<Box<Lanes>>)>>,
    recall: Recall,
    received: AtomicU64,
    transmitted: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

/// States kept for reuse; more than the threads that process packets at one time is of no use.
const POOL: usize = 64;

impl Engine {
    /// Loads a program: lowers it, makes its tables and externs, installs its own entries.
    ///
    /// # Errors
    /// When the program uses something that this engine does not run; see [`LoadError`].
    pub fn new(program: Arc<Checked>, config: Config) -> Result<Self, LoadError> {
        let machine = Machine::load(program, config)?;
        Ok(Self {
            watch: Arc::new(Watch::new(&machine)),
            machine: Arc::new(machine),
            pool: Mutex::new(Vec::new()),
            recall: Recall::default(),
            received: AtomicU64::new(0),
            transmitted: AtomicU64::new(0),
            drops: Default::default(),
        })
    }

    /// The program that runs.
    pub fn program(&self) -> &ir::Program {
        self.machine.program()
    }

    /// The architecture that runs.
    pub fn architecture(&self) -> Architecture {
        self.machine.architecture()
    }

    /// Whether machine code runs the packets.
    pub fn is_native(&self) -> bool {
        self.machine.native.is_some()
    }

    /// Whether machine code runs the packets of a batch side by side once tables are large.
    pub fn is_side_by_side(&self) -> bool {
        let native = self.machine.native.as_ref();
        native.is_some_and(native::Native::side_by_side)
    }

    /// Watches the next packets, see [`Config::watched_packets`]; the engine does so by itself where it is worth while.
    pub fn watch(&self) {
        self.watch.again();
    }

    /// Waits until the ways that most packets have taken so far have code of their own, if that is being made; whether they have.
    pub fn settle(&self) -> bool {
        self.watch.settle();
        self.watch.made() > 0
    }

    /// The choices made at load time.
    pub fn config(&self) -> &Config {
        self.machine.config()
    }

    /// Runs one packet to completion: all passes, clones, copies and recirculations. Appends to `out`.
    pub fn process(&self, now: Time, ingress_port: u32, packet: &[u8], out: &mut Outputs) {
        self.run(now, ingress_port, packet, out, None);
    }

    /// Like [`Engine::process`], and tells the tracer every step.
    pub fn process_traced(
        &self,
        now: Time,
        ingress_port: u32,
        packet: &[u8],
        out: &mut Outputs,
        tracer: &mut dyn Tracer,
    ) {
        self.run(now, ingress_port, packet, out, Some(tracer));
    }

    fn run(
        &self,
        now: Time,
        port: u32,
        bytes: &[u8],
        out: &mut Outputs,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let mut worker = self.worker();
        worker.one(&epoch::pin(), Received { now, port, bytes }, out, tracer);
    }

    /// Someone who processes packets; one per thread is best.
    pub fn worker(&self) -> Worker<'_> {
        let pooled = self.pool.lock().pop();
        let (state, lanes) = pooled.unwrap_or_else(|| (self.machine.new_state(), None));
        Worker {
            engine: self,
            state,
            lanes,
            sets: None,
            steady: false,
            hot: None,
            version: 0,
            ran: [0; 2],
            counted: Counted::default(),
        }
    }

    /// Lets time pass: learned entries expire, idle entries are reported and their timers start anew.
    /// Call it a few times per second; the cost follows the entries that are due, not those that exist.
    pub fn tick(&self, now: Time) -> Vec<IdleTimeout> {
        self.machine.tick(now)
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            received: self.received.load(Ordering::Relaxed),
            transmitted: self.transmitted.load(Ordering::Relaxed),
            drops: DropReason::ALL
                .iter()
                .map(|&r| (r, self.drops[r as usize].load(Ordering::Relaxed)))
                .collect(),
            learn_failures: self.machine.learn_failures(),
        }
    }
}

/// What a worker counted and has not told yet.
#[derive(Debug, Default)]
struct Counted {
    received: u64,
    transmitted: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counted {
    /// Packets that came in; transmitted and dropped ones are those that `out` has beyond `before`.
    fn add(&mut self, received: usize, before: (usize, usize), out: &Outputs) {
        self.received += received as u64;
        self.transmitted += (out.transmitted().len() - before.0) as u64;
        for &reason in out.drops.get(before.1..).unwrap_or_default() {
            self.drops[reason as usize] += 1;
        }
    }
}

/// Packets whose flows are looked for together.
const TOGETHER: usize = 4 * LANES;
/// How many packets ahead of the one that runs memory is fetched.
const AHEAD: usize = 4;

/// Processes packets, with a packet's working memory of its own. Its counts reach [`Engine::statistics`] after every
/// batch.
#[derive(Debug)]
pub struct Worker<'e> {
    engine: &'e Engine,
    state: PacketState,
    /// For packets side by side, once tables are large.
    lanes: Option<Box<Lanes>>,
    /// What packets of known flows touch.
    sets: Option<Arc<Sets>>,
    /// Most of the last packets touched what their flows' packets had touched before.
    steady: bool,
    /// Code for the ways that most packets take, and which one it is.
    hot: Option<Arc<HotPart>>,
    version: u32,
    /// Packets that ran one after the other, and those of them that took other ways, since that was told.
    ran: [u32; 2],
    counted: Counted,
}

impl Worker<'_> {
    /// Runs one packet to completion, as [`Engine::process`] does.
    pub fn process(&mut self, now: Time, port: u32, packet: &[u8], out: &mut Outputs) {
        self.batch(now, [(port, packet)], out);
    }

    /// Runs packets to completion, one after the other: ingress port and bytes of each. Appends to `out`. Tables are
    /// pinned once for all of them, so a batch should be short: some tens of packets.
    pub fn batch<'p>(
        &mut self,
        now: Time,
        packets: impl IntoIterator<Item = (u32, &'p [u8])>,
        out: &mut Outputs,
    ) {
        let guard = epoch::pin();
        let packets = packets.into_iter();
        let mut packets = packets.map(|(port, bytes)| Received { now, port, bytes });
        self.engine.watch.renew(&mut self.version, &mut self.hot);
        let received = &self.engine.received;
        if self.engine.watch.wants_one(received) {
            match packets.next() {
                Some(packet) => self.watched(&guard, packet, out),
                None => self.engine.watch.add(&self.engine.machine, None),
            }
        }
        let machine = &self.engine.machine;
        if Lanes::for_machine(&mut self.lanes, machine).is_none() {
            let before = (out.transmitted().len(), out.drops.len());
            let hot = self.hot.as_deref();
            let mut one = Packets::new(machine, &guard, &mut self.state, out, hot);
            let mut received = 0;
            packets.for_each(|packet| {
                one.process(packet);
                received += 1;
            });
            let others = one.others();
            self.counted.add(received, before, out);
            self.ran[0] += received as u32;
            self.ran[1] += others;
        } else {
            let entries: u64 = machine.tables.iter().map(MatchTable::len).sum();
            let entries = entries.min(machine.config().remembered_entries);
            if entries > 0 {
                self.engine.recall.renew(entries, &mut self.sets);
            }
            loop {
                let some: SmallVec<[_; TOGETHER]> = packets.by_ref().take(TOGETHER).collect();
                if some.is_empty() {
                    break;
                }
                self.together(&guard, &some, out);
            }
        }
        drop(guard);
        self.tell();
    }

    /// Runs packets that need more memory than caches hold.
    fn together(&mut self, guard: &Guard, packets: &[Received<'_>], out: &mut Outputs) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        let longest = machine.config().max_packet_len;
        let mut flows = [0; TOGETHER];
        if let Some(sets) = &self.sets {
            for (packet, flow) in packets.iter().zip(&mut flows) {
                *flow = flow_of(packet.port, packet.bytes);
                sets.fetch_set(*flow);
            }
        }
        for (packets, flows) in packets.chunks(LANES).zip(flows.chunks(LANES)) {
            let flows = &flows[..packets.len()];
            let fit = packets.iter().all(|packet| packet.bytes.len() <= longest);
            let enough = (packets.len() * 3 / 4).max(1);
            let mut known = [Touched::default(); LANES];
            let mut steady = self.steady;
            if let Some(sets) = &self.sets {
                let touched = known.iter_mut().zip(flows);
                let known = touched.map(|(known, &flow)| {
                    *known = sets.touched(flow);
                    usize::from(is_known(known))
                });
                steady &= known.sum::<usize>() >= enough;
            }
            let same = match (&mut self.lanes, &machine.native) {
                (Some(lanes), Some(native)) if fit && !steady && packets.len() > 1 => {
                    lanes.run(machine, native, guard, packets, out);
                    self.sets.as_ref().map_or(0, |sets| {
                        let same = |((&flow, known), touched)| sets.note(flow, known, touched);
                        let flows = flows.iter().zip(&known).zip(lanes.touched());
                        flows.map(same).filter(|&same| same).count()
                    })
                }
                _ => self.ahead(guard, packets, (flows, &known), out),
            };
            self.steady = same >= enough;
        }
        self.counted.add(packets.len(), before, out);
    }

    /// Runs packets one after the other and fetches ahead what their flows' last ones touched; how many touched the same.
    fn ahead(
        &mut self,
        guard: &Guard,
        packets: &[Received<'_>],
        (flows, known): (&[u64], &[Touched; LANES]),
        out: &mut Outputs,
    ) -> usize {
        let machine = &self.engine.machine;
        let hot = self.hot.as_deref();
        let mut one = Packets::new(machine, guard, &mut self.state, out, hot);
        self.ran[0] += packets.len() as u32;
        let Some(sets) = &self.sets else {
            packets.iter().for_each(|&packet| one.process(packet));
            self.ran[1] += one.others();
            return 0;
        };
        let fetch = |known| {
            if let Some(native) = &machine.native {
                native.fetch(guard, known);
            }
        };
        known.iter().take(AHEAD).for_each(fetch);
        let mut same = 0;
        for (at, ((&packet, &flow), known_of)) in packets.iter().zip(flows).zip(known).enumerate() {
            known.get(at + AHEAD).into_iter().for_each(fetch);
            one.expect(known_of);
            one.process(packet);
            let touched = one.touched();
            same += usize::from(touched.is_some_and(|touched| sets.note(flow, known_of, touched)));
        }
        self.ran[1] += one.others();
        same
    }

    fn one(
        &mut self,
        guard: &Guard,
        packet: Received<'_>,
        out: &mut Outputs,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        machine.process(guard, &mut self.state, packet, out, tracer);
        self.counted.add(1, before, out);
    }

    /// Runs a packet by the interpreter and takes note of its way.
    #[inline(never)]
    fn watched(&mut self, guard: &Guard, packet: Received<'_>, out: &mut Outputs) {
        self.state.steps.watch();
        self.one(guard, packet, out, None);
        let taken = self.state.steps.end();
        let engine = self.engine;
        engine.watch.add(&engine.machine, taken.as_deref());
    }

    /// Tells how many packets took ways with code of their own.
    fn tell_ways(&mut self, from: u32) {
        if self.ran[0] >= from {
            let [ran, others] = std::mem::take(&mut self.ran);
            self.engine.watch.tell(&self.engine.machine, ran, others);
        }
    }

    fn tell(&mut self) {
        self.tell_ways(TELL);
        for state in self.lanes.iter_mut().flat_map(|lanes| lanes.states()) {
            state.count_into(&mut self.state);
        }
        self.engine.machine.tell(&mut self.state);
        let counted = std::mem::take(&mut self.counted);
        let add = |to: &AtomicU64, count: u64| {
            if count > 0 {
                to.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.engine.received, counted.received);
        add(&self.engine.transmitted, counted.transmitted);
        for (to, count) in self.engine.drops.iter().zip(counted.drops) {
            add(to, count);
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.tell();
        self.tell_ways(1);
        let mut pool = self.engine.pool.lock();
        if pool.len() < POOL {
            pool.push((std::mem::take(&mut self.state), self.lanes.take()));
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("architecture", &self.architecture())
            .finish_non_exhaustive()
    }
}
