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
use super::super::tables::{MatchTable, epoch::Guard, prefetch_at};
use super::Native;
use super::recall::Touched;
use super::runtime::Context;

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
/// Mark beside the word that a pass returned.
const FINISHED: u64 = 1 << 32;

/// A pass to run.
#[derive(Clone, Copy)]
struct Task {
    entry: extern "C" fn(*mut Context) -> u32,
    context: *mut Context,
    /// By table, whether its lookups are waited for.
    waits: *const [bool],
}

/// Takes tasks; hands back a stage, or the word of a finished pass.
type Fiber = Coroutine<Option<Task>, u64, (), DefaultStack>;

/// A lane as machine code's lookups see it.
#[derive(Debug)]
pub(super) struct Lane {
    yielder: *const Yielder<Option<Task>, u64>,
    waits: Cell<*const [bool]>,
    /// Lookups that are to come, by table and hash, and how many.
    expected: [Cell<(*const MatchTable, u64)>; EXPECTED],
    count: Cell<usize>,
    /// What is to be counted when the packets are finished: where, and bytes.
    counts: [Cell<(*const [AtomicU64; 2], u64)>; COUNTS],
    counted: Cell<usize>,
}

impl Lane {
    fn waits(&self, index: u32) -> bool {
        // SAFETY: the flags belong to the lanes, and are changed between tasks only.
        let waits = unsafe { &*self.waits.get() };
        waits.get(index as usize).copied().unwrap_or(false)
    }

    /// Fetches the bucket of a lookup that is to come.
    pub fn expect(&self, guard: &Guard, (index, table): (u32, &MatchTable), key: &[u64]) {
        let Some(room) = self.expected.get(self.count.get()) else {
            return;
        };
        if self.waits(index) {
            let hash = table.hash_key(key);
            table.prefetch_bucket(guard, hash);
            room.set((table, hash));
            self.count.set(self.count.get() + 1);
        }
    }

    /// Waits for the buckets of what is expected, and fetches the rows; false where nothing is.
    fn fetch_rows(&self, guard: &Guard, cut: u32) -> bool {
        let count = self.count.take();
        if count > 0 {
            self.wait(cut * 2);
        }
        for (table, hash) in self.expected.iter().take(count).map(Cell::get) {
            // SAFETY: the machine owns the table, and its tables never move.
            unsafe { &*table }.prefetch_row(guard, hash);
        }
        count > 0
    }

    /// Waits for what is expected.
    pub fn fetch_expected(&self, guard: &Guard, cut: u32) {
        if self.fetch_rows(guard, cut) {
            self.wait(cut * 2 + 1);
        }
    }

    /// Waits for what is expected, and for every earlier packet to leave what is behind the cut.
    pub fn arrive(&self, guard: &Guard, cut: u32) {
        self.fetch_rows(guard, cut);
        self.wait(cut * 2 + 1);
    }

    /// Fetches what a lookup will read, and lets other packets go on meanwhile.
    #[inline]
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
        let waits = self.waits(index);
        let stage = u32::from(cut) * 2;
        if waits {
            table.prefetch_bucket(guard, hash);
            self.wait(stage);
            table.prefetch_row(guard, hash);
        }
        if waits || LEARNER {
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

    fn wait(&self, stage: u32) {
        // SAFETY: the yielder lies at the bottom of the stack that this runs on.
        unsafe { &*self.yielder }.suspend(u64::from(stage));
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
    state: PacketState,
    out: Outputs,
    context: Context,
}

/// The lanes of one worker.
pub(crate) struct Lanes {
    tracks: Vec<Track>,
    waits: Vec<bool>,
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
                track.fiber.resume(None);
            }
        }
    }
}

/// Runs tasks, one after the other.
fn serve(yielder: &Yielder<Option<Task>, u64>, mut task: Option<Task>) {
    let lane = Lane {
        yielder,
        waits: Cell::new(&[]),
        expected: [const { Cell::new((std::ptr::null(), 0)) }; EXPECTED],
        count: Cell::new(0),
        counts: [const { Cell::new((std::ptr::null(), 0)) }; COUNTS],
        counted: Cell::new(0),
    };
    while let Some(at) = task {
        lane.waits.set(at.waits);
        lane.count.set(0);
        // SAFETY: a task's context stays in its place until the task is finished.
        unsafe { (*at.context).lane = &raw const lane };
        let word = (at.entry)(at.context);
        task = yielder.suspend(FINISHED | u64::from(word));
    }
}

/// Serves some cache lines deeper in the stack than the lane before: stacks begin on pages, and frames at the same place
/// of each would compete for the same lines of the cache.
#[inline(never)]
fn deeper(lines: usize, yielder: &Yielder<Option<Task>, u64>, task: Option<Task>) {
    let Some(less) = lines.checked_sub(1) else {
        return serve(yielder, task);
    };
    let room = [0u8; 384];
    black_box(&room);
    deeper(less, yielder, task);
    black_box(&room);
}

fn fiber(number: usize) -> std::io::Result<Fiber> {
    let stack = DefaultStack::new(STACK)?;
    Ok(Coroutine::with_stack(stack, move |yielder, task| {
        deeper(number % 8, yielder, task);
    }))
}

/// A packet on its way.
struct Flight<'r> {
    fiber: &'r mut Fiber,
    context: &'r mut Context,
    run: Run<'r>,
    packet: Received<'r>,
    stage: u32,
    word: u32,
}

impl Flight<'_> {
    /// Goes on until the next stage; true when the pass is finished.
    fn advance(&mut self, native: &Native, waits: *const [bool]) -> bool {
        let task = Task {
            entry: native.entry,
            context: &raw mut *self.context,
            waits,
        };
        let CoroutineResult::Yield(word) = self.fiber.resume(Some(task)) else {
            self.stage = DONE;
            return true;
        };
        let finished = word & FINISHED != 0;
        if finished {
            self.word = word as u32;
        }
        self.stage = if finished { DONE } else { word as u32 };
        finished
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
            if let Some(waits) = lanes.waits.get_mut(*index as usize) {
                *waits = entries(index) >= many / PART;
            }
        }
        Some(lanes)
    }

    fn new(machine: &Machine) -> std::io::Result<Self> {
        let track = |number| {
            Ok(Track {
                fiber: fiber(number)?,
                state: machine.new_state(),
                out: Outputs::default(),
                context: Context::empty(),
            })
        };
        Ok(Self {
            tracks: (0..LANES).map(track).collect::<std::io::Result<_>>()?,
            waits: vec![false; machine.tables.len()],
        })
    }

    /// The states that hits and misses were counted in.
    pub fn states(&mut self) -> impl Iterator<Item = &mut PacketState> {
        self.tracks.iter_mut().map(|track| &mut track.state)
    }

    /// What the packets that ran last touched, in order.
    pub fn touched(&self) -> impl Iterator<Item = &Touched> {
        self.tracks.iter().map(|track| &track.context.lines)
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
        let mut flights: SmallVec<[Flight<'_>; LANES]> = SmallVec::new();
        for packet in packets {
            // Headers lie in the first two lines.
            let first = packet.bytes.as_ptr();
            prefetch_at(first);
            prefetch_at(first.wrapping_add(64));
        }
        for (track, &packet) in self.tracks.iter_mut().zip(packets) {
            track.state.begin();
            let run = Run {
                machine,
                guard,
                last: LastApply::NONE,
                state: &mut track.state,
                now: packet.now,
                out: &mut track.out,
                tracer: None,
            };
            flights.push(Flight {
                fiber: &mut track.fiber,
                context: &mut track.context,
                run,
                packet,
                stage: 0,
                word: 0,
            });
        }
        // From here on no flight moves: contexts point at their runs.
        for flight in &mut flights {
            flight.run.begin_machine();
            let given = machine.arch.given(&flight.run, flight.packet.port);
            let bytes = Some(flight.packet.bytes);
            native.prepare(&mut flight.run, flight.context, given, bytes);
        }
        let mut left = flights.len();
        while left > 0 {
            let mut earliest = DONE;
            for flight in &mut flights {
                if flight.stage < earliest && flight.advance(native, &raw const *self.waits) {
                    left -= 1;
                }
                earliest = earliest.min(flight.stage);
            }
        }
        for flight in &mut flights {
            out.absorb(flight.run.out);
            // SAFETY: a lane outlives the passes in it.
            if let Some(lane) = unsafe { flight.context.lane.as_ref() } {
                lane.settle();
            }
            let mut run = Run {
                machine,
                guard,
                last: LastApply::NONE,
                state: &mut *flight.run.state,
                now: flight.packet.now,
                out: &mut *out,
                tracer: None,
            };
            let fate = native.fate(&mut run, flight.context, flight.word);
            machine.arch.conclude(&mut run, flight.packet.port, fate);
        }
    }
}
