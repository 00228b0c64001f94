//! What a loaded program consists of at run time, and the state of one packet.
//!
//! In: packets and control-plane calls. Out: outputs. Invariant: the machine itself never changes; tables are
//! read without locks, externs carry their own.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::arch::{Arch, Intents, Job};
use super::super::bits::BitWriter;
use super::super::externs::{Color, Externs, Replication};
use super::super::native::{HotCode, Native, Passage, Places, Steps};
use super::super::outputs::{DropReason, Outputs};
use super::super::tables::{
    self, Entry, IdleTimeout, MatchTable, Profile, TableError, epoch::Guard,
};
use super::super::trace::Tracer;
use super::super::{Architecture, Config, Time};
use super::code::Code;
use super::run::Run;
use crate::ir::{ExternInstance, Handle, Program, Table};
use crate::valid::Checked;

/// A loaded program.
pub(crate) struct Machine {
    pub(super) program: Arc<Checked>,
    pub config: Config,
    pub(crate) code: Code,
    pub(crate) tables: Vec<MatchTable>,
    pub(super) profiles: Vec<Option<Arc<Profile>>>,
    pub(super) externs: Externs,
    pub(super) replication: Replication,
    pub(crate) arch: Arch,
    /// The program as machine code, unless the interpreter runs it.
    pub(crate) native: Option<Native>,
}

/// The table that was applied last; its key is the state's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastApply<'g> {
    pub table: u32,
    pub hit: bool,
    /// The entry that was hit, or learned since.
    pub entry: Option<Entry<'g>>,
    pub color: Option<Color>,
}

impl LastApply<'_> {
    /// No table yet.
    pub const NONE: Self = Self {
        table: u32::MAX,
        hit: false,
        entry: None,
        color: None,
    };
}

/// Everything that belongs to one packet; reused for the next after being cleared.
#[derive(Debug, Default)]
pub(crate) struct PacketState {
    pub slots: Vec<u128>,
    /// Bytes of the current pass.
    pub packet: Vec<u8>,
    /// Bits parsed.
    pub cursor: usize,
    pub writer: BitWriter,
    pub pack: BitWriter,
    /// Key of the table that was applied last.
    pub key: Vec<u64>,
    /// Hits and misses of each table that nobody was told of yet.
    pub applied: Vec<[u64; 2]>,
    pub budget: u32,
    pub intents: Intents,
    pub queue: VecDeque<Job>,
    pub passes: u32,
    pub steps: Steps,
}

/// A packet as it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'p> {
    pub now: Time,
    pub port: u32,
    pub bytes: &'p [u8],
}

/// Loop turns and parser states of one packet.
pub(super) const BUDGET: u32 = 1 << 20;

impl PacketState {
    /// A new packet, on its first pass.
    #[inline]
    pub fn begin(&mut self) {
        self.budget = BUDGET;
        self.passes = 1;
        if !self.queue.is_empty() {
            self.queue.clear();
        }
    }

    /// What follows the parsed part.
    pub fn payload(&self) -> &[u8] {
        self.packet
            .get(self.cursor.div_ceil(8)..)
            .unwrap_or_default()
    }
}

impl Machine {
    pub fn program(&self) -> &Program {
        self.program.program()
    }

    pub fn architecture(&self) -> Architecture {
        self.arch.architecture()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name of a parser error.
    pub fn error_name(&self, error: u32) -> &str {
        self.code
            .error_names
            .get(error as usize)
            .map_or("?", String::as_str)
    }

    pub fn externs(&self) -> &Externs {
        &self.externs
    }

    pub fn replication(&self) -> &Replication {
        &self.replication
    }

    pub fn table(&self, table: Handle<Table>) -> Result<&MatchTable, TableError> {
        self.tables
            .get(table.index())
            .ok_or(TableError::NoSuchTable)
    }

    pub fn profile(&self, profile: Handle<ExternInstance>) -> Result<&Profile, TableError> {
        self.profiles
            .get(profile.index())
            .and_then(Option::as_deref)
            .ok_or(TableError::NoSuchProfile)
    }

    pub fn new_state(&self) -> PacketState {
        PacketState {
            slots: vec![0; self.code.slots as usize],
            applied: vec![[0; 2]; self.tables.len()],
            ..PacketState::default()
        }
    }

    /// Runs a packet to completion; what its tables hand out stays while the guard lives.
    pub fn process<'p>(
        &self,
        guard: &Guard,
        state: &mut PacketState,
        packet: Received<'p>,
        out: &mut Outputs<'p>,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let mut packets = Packets::new(self, guard, state, out, None);
        packets.run.tracer = tracer.map(|tracer| tracer as &mut dyn Tracer);
        if packets.run.tracer.is_some() || packets.run.state.steps.watches() {
            packets.passage = None;
        }
        packets.process(&packet);
    }

    /// Tells the tables what packets did with them.
    pub fn tell(&self, state: &mut PacketState) {
        for (table, applied) in self.tables.iter().zip(&mut state.applied) {
            let [hits, misses] = std::mem::take(applied);
            table.count_applied(hits, misses);
        }
    }

    pub fn tick(&self, now: Time) -> Vec<IdleTimeout> {
        let mut idle = Vec::new();
        self.tables
            .iter()
            .for_each(|table| table.tick(now, &mut idle));
        tables::collect();
        idle
    }

    pub fn learn_failures(&self) -> u64 {
        self.tables.iter().map(MatchTable::learn_failures).sum()
    }
}

/// Packets that have just come in, one after the other.
pub(crate) struct Packets<'r, 'p> {
    run: Run<'r, 'p>,
    passage: Option<(&'r Native, Passage<'r>)>,
    /// The port that the passage is ready for.
    port: Option<u32>,
}

impl<'r, 'p> Packets<'r, 'p> {
    /// None yet; `hot` is code for the ways that most packets take.
    pub fn new(
        machine: &'r Machine,
        guard: &'r Guard,
        state: &'r mut PacketState,
        out: &'r mut Outputs<'p>,
        hot: Option<&'r HotCode>,
    ) -> Self {
        let native = machine.native.as_ref();
        Self {
            run: Run {
                machine,
                guard,
                last: LastApply::NONE,
                state,
                now: Time(0),
                out,
                tracer: None,
            },
            passage: native.map(|native| (native, Passage::new(guard, hot))),
            port: None,
        }
    }

    /// Runs a packet to completion.
    #[inline]
    pub fn process(&mut self, packet: &Received<'p>) {
        if packet.bytes.len() > self.run.machine.config.max_packet_len {
            self.run.out.drops.push(DropReason::TooLong);
            return;
        }
        self.run.state.begin();
        self.given(packet);
        let run = &mut self.run;
        let arch = &run.machine.arch;
        match &mut self.passage {
            Some((native, passage)) => {
                arch.run_native(run, (native, passage), packet.port, packet.bytes);
            }
            None => {
                if run.now != packet.now {
                    run.now = packet.now;
                    self.port = None;
                }
                arch.run(run, packet.port, packet.bytes);
            }
        }
    }

    /// What the architecture gives a packet that machine code runs.
    #[inline]
    pub fn given(&mut self, packet: &Received<'_>) -> Option<&[u64; 6]> {
        let run = &mut self.run;
        let (_, passage) = self.passage.as_mut()?;
        if (run.now, self.port) != (packet.now, Some(packet.port)) {
            run.now = packet.now;
            self.port = Some(packet.port);
            passage.give(run.now, &run.machine.arch.given(run, packet.port));
        }
        Some(passage.given())
    }

    /// Packets that took other ways than those with code of their own.
    pub fn others(&self) -> u32 {
        self.passage
            .as_ref()
            .map_or(0, |(_, passage)| passage.others)
    }

    /// Tells which places in large memory the next packet will probably touch, first of all.
    #[inline]
    pub fn expect(&mut self, expected: &[u64]) {
        if let Some((_, passage)) = &mut self.passage {
            passage.expect(expected);
        }
    }

    /// Places in large memory that the last packet touched, up to where the next one would be, in bytes.
    #[inline]
    pub fn touched(&self) -> Option<(&Places, u64)> {
        self.passage.as_ref().map(|(_, passage)| passage.touched())
    }
}
