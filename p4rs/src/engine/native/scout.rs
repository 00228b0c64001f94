//! Scouts: sent ahead of packets to fetch the memory that these will need.
//!
//! In: some packets of flows of which nothing is remembered, code for usual ways. Out: the same packets' tables, buckets and cells
//! at hand, and the places of rows told. A scout decides what its packet would decide and changes nothing: where it would wait for
//! memory, it asks for it, and the next scout goes on; few of them go on while packets before theirs run.
//!
//! ```text
//! scout 0  ── parse ─ ask for a bucket ┐          ┌ ask for its row ┐          ┌ next table …
//! scout 1                              └ parse ─ …┘                 └ ask for …┘                   then the packets, one after the other
//! ```
//!
//! Its code is cut into stages where it waits ([`super::stages`]). Packets before it may still
//! change what a scout has seen; then its packet finds something else at hand than it needs, and waits.
//!
//! Invariant: a scout's code writes to its stack, its context and its frame alone.
#![allow(unsafe_code)]

use super::super::Time;
use super::super::externs::shard_offset;
use super::super::tables::{epoch::Guard, prefetch_at};
use super::context::{Context, Frame, LINE_BYTES};
use super::part::Part;
use super::program::outcome;
use super::recall::Places;

/// Scouts side by side: about as many as a core has memory accesses under way.
pub(crate) const SCOUTS: usize = 16;
/// Transitions of a parser that a scout may take.
const BUDGET: u32 = 1 << 10;

/// What a scout's context points to while it is out.
#[derive(Default)]
struct Scout {
    frame: Frame,
    budget: u32,
    cursor: usize,
}

/// The scouts of one worker, by the packets for which they are sent: those of packets that follow each other are different ones.
pub(crate) struct Scouts {
    all: [(Box<Context>, Box<Scout>); SCOUTS],
    /// The packets for which they were sent last, and which of them are not back: a bit of each.
    of: [Option<usize>; SCOUTS],
    away: u32,
}

// SAFETY: the pointers in a context are those of an errand that is done, set anew when a scout is sent, and those of rows, which stay
// where they are for as long as the engine lives whose scouts these are.
unsafe impl Send for Scouts {}

impl std::fmt::Debug for Scouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scouts").finish_non_exhaustive()
    }
}

impl Default for Scouts {
    /// [`SCOUTS`] of them.
    fn default() -> Self {
        Self {
            all: std::array::from_fn(|_| (Box::new(Context::empty()), Box::default())),
            of: [None; SCOUTS],
            away: 0,
        }
    }
}

impl Scouts {
    /// Those of one batch; none is sent yet.
    pub fn begin<'s>(&'s mut self, guard: &'s Guard, part: &'s Part) -> Errands<'s> {
        self.of = [None; SCOUTS];
        self.away = 0;
        Errands {
            scouts: self,
            part,
            shard: shard_offset(guard.number()),
            sent: 0,
        }
    }
}

/// The scouts that are sent for the packets of a batch, which stay where they are meanwhile.
pub(crate) struct Errands<'s> {
    scouts: &'s mut Scouts,
    part: &'s Part,
    shard: u64,
    sent: u64,
}

impl Errands<'_> {
    /// Sends a scout for packet `at`: what the architecture gives the packet, and its bytes. What it found before is forgotten.
    #[inline]
    pub fn send(&mut self, at: usize, (now, given): (Time, &[u64; 6]), bytes: &[u8]) {
        let number = at % SCOUTS;
        let (context, scout) = &mut self.scouts.all[number];
        (scout.frame.stage, scout.frame.counted) = (0, 0);
        (scout.budget, scout.cursor) = (BUDGET, 0);
        context.frame = &raw mut scout.frame;
        context.budget = &raw mut scout.budget;
        context.cursor = &raw mut scout.cursor;
        context.packet = bytes.as_ptr();
        context.bits = bytes.len() as u64 * 8;
        context.places = Places::default();
        context.shard = self.shard;
        context.begin_at(now, given);
        // Headers lie in the first two lines.
        prefetch_at(context.packet);
        prefetch_at(context.packet.wrapping_add(LINE_BYTES));
        self.scouts.of[number] = Some(at);
        self.scouts.away |= 1 << number;
        self.sent += 1;
    }

    /// Whether one was sent for packet `at`, which has not run yet.
    #[inline]
    pub fn is_sent(&self, at: usize) -> bool {
        self.scouts.of[at % SCOUTS] == Some(at)
    }

    /// How many were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them are not back.
    #[inline]
    pub fn away(&self) -> u32 {
        self.scouts.away.count_ones()
    }

    /// Lets those that are not back go on, each to where it waits next.
    pub fn step(&mut self) {
        let fetch = |address| prefetch_at(std::ptr::without_provenance(address));
        let mut left = self.scouts.away;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            let (context, _) = &mut self.scouts.all[number];
            let waits = self.part.run(&raw mut **context) == outcome::WAITS;
            // SAFETY: the context and its frame are a scout's, which nobody else uses.
            let frame = unsafe { &*context.frame };
            if waits {
                frame.asked.into_iter().for_each(fetch);
            } else {
                let counts = frame.counts.into_iter();
                counts.take(frame.counted as usize).for_each(fetch);
                self.scouts.away &= !(1 << number);
            }
        }
    }

    /// Lets all go on until they are back.
    pub fn run(&mut self) {
        while self.scouts.away != 0 {
            self.step();
        }
    }

    /// What packet `at` will probably touch, if a scout was sent for it; one that is not back yet goes no further.
    #[inline]
    pub fn found(&mut self, at: usize) -> Option<&Places> {
        let number = at % SCOUTS;
        self.scouts.of[number].take_if(|of| *of == at)?;
        self.scouts.away &= !(1 << number);
        Some(&self.scouts.all[number].0.places)
    }
}
