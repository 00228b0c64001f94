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
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub use externs::{
    CloneSession, Color, CounterData, CounterUnit, ExternError, MeterConfig, MeterUnit, Replica,
};
pub use outputs::{Digest, DropReason, Outputs, Sent};
pub use tables::{
    ActionCall, Batch, Cursor, EntryAction, EntryView, FieldMatch, GroupMember, IdleTimeout,
    Lookup, MatchKind, NewEntry, NewRows, OwnedAction, OwnedField, TableError, WeightedAction,
};
pub use trace::{Event, KeyValue, Tracer, Verdict};
pub use worker::Worker;

use crate::ir;
use crate::valid::Checked;
use interp::{Machine, PacketState, Received};
use native::{Recall, Scouts};
use tables::epoch;
use watch::Watch;

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
    /// Entries from which on caches do not hold the tables: memory is then fetched before packets need it. What comes of them is
    /// the same.
    pub far_from: u64,
    /// Tables' entries for whose flows is remembered which memory their packets need, once it is worth while: 32 to 64 bytes for
    /// each, and twice as much besides before it grows.
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
            far_from: 1 << 14,
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
    /// Packets whose memory was fetched before they ran, since nothing was remembered of their flows.
    pub scouted: u64,
}

/// A program loaded and ready to run.
pub struct Engine {
    machine: Arc<Machine>,
    watch: Arc<Watch>,
    pool: Mutex<Vec<(PacketState, Option<Scouts>)>>,
    recall: Recall,
    received: AtomicU64,
    transmitted: AtomicU64,
    scouted: AtomicU64,
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
            scouted: AtomicU64::new(0),
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
    pub fn process<'p>(
        &self,
        now: Time,
        ingress_port: u32,
        packet: &'p [u8],
        out: &mut Outputs<'p>,
    ) {
        self.run(now, ingress_port, packet, out, None);
    }

    /// Like [`Engine::process`], and tells the tracer every step.
    pub fn process_traced<'p>(
        &self,
        now: Time,
        ingress_port: u32,
        packet: &'p [u8],
        out: &mut Outputs<'p>,
        tracer: &mut dyn Tracer,
    ) {
        self.run(now, ingress_port, packet, out, Some(tracer));
    }

    fn run<'p>(
        &self,
        now: Time,
        port: u32,
        bytes: &'p [u8],
        out: &mut Outputs<'p>,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let mut worker = self.worker();
        worker.one(&epoch::pin(), Received { now, port, bytes }, out, tracer);
    }

    /// Someone who processes packets; one per thread is best.
    pub fn worker(&self) -> Worker<'_> {
        let pooled = self.pool.lock().pop();
        let (state, scouts) = pooled.unwrap_or_else(|| (self.machine.new_state(), None));
        Worker::new(self, state, scouts)
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
            scouted: self.scouted.load(Ordering::Relaxed),
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
