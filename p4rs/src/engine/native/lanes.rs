//! Packets of a batch side by side: where one would wait for memory, the next one goes on.
//!
//! In: some packets, a compiled program, tables too large for the caches. Out: what running the packets one after the
//! other would have left behind.
//!
//! ```text
//! lane 0  ── parse ─ fetch bucket ┐          ┌ fetch row ┐          ┌ look up, act ─ fetch bucket ┐ …
//! lane 1                          └ parse ─ …┘           └ fetch …──┘
//! ```
//!
//! Each lane has a stack of its own, so that a pass may be left in the middle of a lookup and entered there again: what
//! machine code keeps for later lies on its stack anyway. A lane that waits stands at a *stage*, a number that only
//! grows along the program.
//!
//! Invariant: a packet goes on from a stage only when every packet before it stands at a later one, or is finished.
//! What packets leave behind for later ones lies between two stages ([`super::order`] finds out what), and is therefore
//! read and written in the packets' order.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use smallvec::SmallVec;

use super::super::externs::add_alone;
use super::super::interp::{LastApply, Machine, PacketState, Received, Run};
use super::super::outputs::Outputs;
use super::super::tables::{MatchTable, Probe, epoch::Guard, prefetch_at};
use super::program::outcome;
use super::recall::Touched;
use super::runtime::Context;
use super::{Native, send};

/// Packets side by side: about as many as a core has memory accesses under way.
pub(crate) const LANES: usize = 16;
/// Bytes of a lane's stack, taken when used: what a thread has.
const STACK: usize = 2 << 20;
/// A table's lookups are waited for when it has this part of all the entries that make waiting worth while.
const PART: u64 = 16;
/// Most lookups that are fetched for ahead of one stretch.
const EXPECTED: usize = 16;
/// Most counts of a packet that are left for later.
const COUNTS: usize = 8;
/// The stage of a finished pass.
const DONE: u32 = u32::MAX;

/// A pass to run.
#[derive(Clone, Copy, Debug)]
struct Task {
    native: *const Native,
    context: *mut Context,
}

/// Runs tasks; hands back the stage at which one waits, or [`DONE`].
type Fiber = Coroutine<(), u32, (), DefaultStack>;

/// A lane as machine code's lookups see it.
#[derive(Debug)]
pub(super) struct Lane {
    /// Set when the fiber begins.
    yielder: Cell<*const Yielder<(), u32>>,
    /// What to run next; nothing when the fiber is to end.
    task: Cell<Option<Task>>,
    /// What the last pass returned.
    word: Cell<u32>,
    /// By table, whether its lookups are waited for.
    waits: *const [Cell<bool>],
    /// Lookups that are to come, and how many.
    expected: [Cell<Option<Probe<'static>>>; EXPECTED],
    count: Cell<usize>,
    /// What is to be counted when the packets are finished: where, and bytes.
    counts: [Cell<(*const [AtomicU64; 2], u64)>; COUNTS],
    counted: Cell<usize>,
}

impl Lane {
    fn new(waits: *const [Cell<bool>]) -> Self {
        Self {
            yielder: Cell::new(std::ptr::null()),
            task: Cell::new(None),
            word: Cell::new(0),
            waits,
            expected: [const { Cell::new(None) }; EXPECTED],
            count: Cell::new(0),
            counts: [const { Cell::new((std::ptr::null(), 0)) }; COUNTS],
            counted: Cell::new(0),
        }
    }

    #[inline(always)]
    fn waits(&self, index: u32) -> bool {
        // SAFETY: the flags belong to the lanes that this is one of.
        let waits = unsafe { &*self.waits };
        waits.get(index as usize).is_some_and(Cell::get)
    }

    /// Fetches the bucket of a lookup that is to come.
    #[inline(always)]
    pub fn expect(&self, guard: &Guard, (index, table): (u32, &MatchTable), hash: u64) {
        if !self.waits(index) {
            return;
        }
        let (probe, count) = (table.probe(guard, hash), self.count.get());
        if let (Some(probe), Some(room)) = (probe, self.expected.get(count)) {
            prefetch_at(probe.bucket());
            // SAFETY: what the guard keeps stays until the pass is over, and with it what is expected.
            let probe = unsafe { std::mem::transmute::<Probe<'_>, Probe<'static>>(probe) };
            room.set(Some(probe));
            self.count.set(count + 1);
        }
    }

    /// Waits for the buckets of what is expected, and fetches the rows; false where nothing is.
    #[inline]
    fn fetch_rows(&self, cut: u32) -> bool {
        let count = self.count.take();
        if count == 0 {
            return false;
        }
        self.wait(cut * 2);
        for probe in self.expected.iter().take(count) {
            if let Some(probe) = probe.get() {
                probe.lines(prefetch_at);
            }
        }
        true
    }

    /// Waits for what is expected.
    #[inline]
    pub fn fetch_expected(&self, cut: u32) {
        if self.fetch_rows(cut) {
            self.wait(cut * 2 + 1);
        }
    }

    /// Waits for what is expected, and for every earlier packet to leave what is behind the cut.
    pub fn arrive(&self, cut: u32) {
        self.fetch_rows(cut);
        self.wait(cut * 2 + 1);
    }

    /// Fetches what a lookup will read, and lets other packets go on meanwhile. A call, so that packets that run alone have
    /// nothing of it.
    #[inline(never)]
    pub fn fetch<const LEARNER: bool>(
        &self,
        guard: &Guard,
        (index, table): (u32, &MatchTable),
        hash: u64,
        cut: u16,
    ) {
        if cut == 0 {
            return;
        }
        let stage = u32::from(cut) * 2;
        if self.waits(index) {
            let probe = table.probe(guard, hash);
            if let Some(probe) = probe {
                prefetch_at(probe.bucket());
            }
            self.wait(stage);
            if let Some(probe) = probe {
                probe.lines(prefetch_at);
            }
            self.wait(stage + 1);
        } else if LEARNER {
            self.wait(stage + 1);
        }
    }

    /// Counts a packet in a cell of this thread once it is at hand: nobody asks in between.
    pub fn count(&self, cell: &[AtomicU64; 2], bytes: u64) {
        match self.counts.get(self.counted.get()) {
            Some(room) => {
                prefetch_at(std::ptr::from_ref(cell).cast());
                room.set((cell, bytes));
                self.counted.set(self.counted.get() + 1);
            }
            None => add_packet(cell, bytes),
        }
    }

    /// Counts what was left for later.
    fn settle(&self) {
        for count in self.counts.iter().take(self.counted.take()) {
            let (cell, bytes) = count.get();
            // SAFETY: counters belong to the machine whose packets' passes have just ended, and never move.
            add_packet(unsafe { &*cell }, bytes);
        }
    }

    #[inline(always)]
    fn wait(&self, stage: u32) {
        // SAFETY: machine code calls in a task only, and then the yielder lies at the bottom of the stack that it runs on.
        unsafe { &*self.yielder.get() }.suspend(stage);
    }
}

/// Adds a packet to a cell that no other thread writes.
fn add_packet([packets, total]: &[AtomicU64; 2], bytes: u64) {
    add_alone(packets, 1);
    add_alone(total, bytes);
}

/// One lane with what belongs to its packet.
struct Track {
    fiber: Fiber,
    lane: Box<Lane>,
    state: PacketState,
    out: Outputs,
    context: Context,
}

/// The lanes of one worker.
pub(crate) struct Lanes {
    tracks: Vec<Track>,
    waits: Box<[Cell<bool>]>,
    /// How many of them have run since somebody asked what they counted.
    ran: usize,
}

// SAFETY: between calls every lane waits for a task, in a loop that holds nothing of a thread, and the pointers in its
// context are those of a pass that is over.
unsafe impl Send for Lanes {}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes")
            .field("lanes", &self.tracks.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        for track in &mut self.tracks {
            if track.fiber.started() && !track.fiber.done() {
                track.lane.task.set(None);
                track.fiber.resume(());
            }
        }
    }
}

/// Runs tasks, one after the other.
fn serve(yielder: &Yielder<(), u32>, lane: &Lane) {
    lane.yielder.set(yielder);
    while let Some(task) = lane.task.take() {
        // SAFETY: the machine code outlives the tasks that run it.
        lane.word.set(unsafe { &*task.native }.enter(task.context));
        yielder.suspend(DONE);
    }
}

/// Serves some cache lines deeper in the stack than the lane before: stacks begin on pages, and frames at the same place
/// of each would compete for the same lines of the cache.
#[inline(never)]
fn deeper(lines: usize, yielder: &Yielder<(), u32>, lane: &Lane) {
    let Some(less) = lines.checked_sub(1) else {
        return serve(yielder, lane);
    };
    let room = [0u8; 384];
    black_box(&room);
    deeper(less, yielder, lane);
    black_box(&room);
}

/// A fiber for a lane that outlives it.
fn fiber(number: usize, lane: *const Lane) -> std::io::Result<Fiber> {
    let stack = DefaultStack::new(STACK)?;
    Ok(Coroutine::with_stack(stack, move |yielder, ()| {
        // SAFETY: as the caller says.
        deeper(number % 8, yielder, unsafe { &*lane });
    }))
}

/// A packet on its way.
struct Flight<'r> {
    fiber: &'r mut Fiber,
    lane: &'r Lane,
    context: &'r mut Context,
    run: Run<'r>,
}

impl Flight<'_> {
    /// Goes on until the next stage, or the end.
    #[inline(always)]
    fn advance(&mut self) -> u32 {
        match self.fiber.resume(()) {
            CoroutineResult::Yield(stage) => stage,
            CoroutineResult::Return(()) => DONE,
        }
    }
}

impl Lanes {
    /// Lanes for a machine whose tables are so large that waiting for them is worth while; `None` where they are not,
    /// where the order of packets matters too much, or where there is no memory for stacks.
    pub fn for_machine<'l>(
        lanes: &'l mut Option<Box<Self>>,
        machine: &Machine,
    ) -> Option<&'l mut Self> {
        let native = machine.native.as_ref()?;
        if !native.side_by_side() {
            return None;
        }
        let entries = |&index: &u32| {
            machine
                .tables
                .get(index as usize)
                .map_or(0, MatchTable::len)
        };
        let many = machine.config().side_by_side_from;
        if native.cuts().iter().map(entries).sum::<u64>() < many {
            return None;
        }
        if lanes.is_none() {
            *lanes = Self::new(machine).ok().map(Box::new);
        }
        let lanes = lanes.as_deref_mut()?;
        for index in native.cuts() {
            if let Some(waits) = lanes.waits.get(*index as usize) {
                waits.set(entries(index) >= many / PART);
            }
        }
        Some(lanes)
    }

    fn new(machine: &Machine) -> std::io::Result<Self> {
        let waits: Box<[_]> = machine.tables.iter().map(|_| Cell::new(false)).collect();
        let track = |number| {
            let lane = Box::new(Lane::new(&raw const *waits));
            Ok(Track {
                fiber: fiber(number, &raw const *lane)?,
                lane,
                state: machine.new_state(),
                out: Outputs::default(),
                context: Context::empty(),
            })
        };
        Ok(Self {
            tracks: (0..LANES).map(track).collect::<std::io::Result<_>>()?,
            waits,
            ran: 0,
        })
    }

    /// The states that hits and misses were counted in since this was asked last.
    pub fn states(&mut self) -> impl Iterator<Item = &mut PacketState> {
        let ran = std::mem::take(&mut self.ran);
        let tracks = self.tracks.iter_mut().take(ran);
        tracks.map(|track| &mut track.state)
    }

    /// What the packets that ran last touched, in order.
    pub fn touched(&self) -> impl Iterator<Item = &Touched> {
        self.tracks.iter().map(|track| &track.context.places)
    }

    /// Runs up to [`LANES`] packets, none too long, and appends to `out` in their order.
    pub fn run(
        &mut self,
        machine: &Machine,
        native: &Native,
        guard: &Guard,
        packets: &[Received<'_>],
        out: &mut Outputs,
    ) {
        for packet in packets {
            // Headers lie in the first two lines.
            let first = packet.bytes.as_ptr();
            prefetch_at(first);
            prefetch_at(first.wrapping_add(64));
        }
        self.ran = self.ran.max(packets.len());
        let mut flights: SmallVec<[Flight<'_>; LANES]> = SmallVec::new();
        for (track, packet) in self.tracks.iter_mut().zip(packets) {
            flights.push(Flight {
                fiber: &mut track.fiber,
                lane: &track.lane,
                context: &mut track.context,
                run: Run {
                    machine,
                    guard,
                    last: LastApply::NONE,
                    state: &mut track.state,
                    now: packet.now,
                    out: &mut track.out,
                    tracer: None,
                },
            });
        }
        // From here on no flight moves: contexts point at their runs.
        let mut known = None;
        for (flight, packet) in flights.iter_mut().zip(packets) {
            flight.run.state.begin();
            flight.run.begin_machine();
            let from = (packet.now, packet.port);
            let given = match known {
                Some((same, given)) if same == from => given,
                _ => machine.arch.given(&flight.run, packet.port),
            };
            known = Some((from, given));
            native.prepare(&mut flight.run, flight.context, &given, Some(packet.bytes));
            flight.context.lane = flight.lane;
            flight.lane.count.set(0);
            flight.lane.task.set(Some(Task {
                native,
                context: &raw mut *flight.context,
            }));
        }
        fly(&mut flights);
        for (flight, packet) in flights.iter_mut().zip(packets) {
            out.absorb(flight.run.out);
            flight.lane.settle();
            let word = flight.lane.word.get();
            if word == outcome::SEND && flight.run.state.queue.is_empty() {
                send(flight.run.state, flight.context, out);
                continue;
            }
            let mut run = Run {
                machine,
                guard,
                last: LastApply::NONE,
                state: &mut *flight.run.state,
                now: packet.now,
                out: &mut *out,
                tracer: None,
            };
            let fate = native.fate(&mut run, flight.context, word);
            machine.arch.conclude(&mut run, packet.port, fate);
        }
    }
}

/// Lets packets go on, each up to where an earlier one stands, until all are finished.
fn fly(flights: &mut [Flight<'_>]) {
    let mut stages = [0; LANES];
    loop {
        let mut earliest = DONE;
        for (flight, stage) in flights.iter_mut().zip(&mut stages) {
            if *stage < earliest {
                *stage = flight.advance();
            }
            earliest = earliest.min(*stage);
        }
        if earliest == DONE {
            return;
        }
    }
}
