//! Scouts: sent ahead of packets to fetch the memory that these will need.
//!
//! In: some packets of flows of which nothing is remembered, code for usual ways. Out: the same packets' tables, buckets and cells
//! at hand, and the places of rows told. A scout decides what its packet would decide and changes nothing: where it would wait for
//! memory, it asks for it, and the next scout goes on.
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

use smallvec::SmallVec;

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

/// The scouts of one worker.
pub(crate) struct Scouts {
    all: Vec<(Box<Context>, Box<Scout>)>,
    /// For which packets they are out, or were last.
    of: Vec<usize>,
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
        let scout = |_| (Box::new(Context::empty()), Box::default());
        Self {
            all: (0..SCOUTS).map(scout).collect(),
            of: Vec::with_capacity(SCOUTS),
        }
    }
}

impl Scouts {
    /// All may be sent again.
    pub fn gather(&mut self) {
        self.of.clear();
    }

    /// Sends a scout for packet `at`, behind those before it, unless all are out: what the architecture gives the packet, and its
    /// bytes.
    #[inline]
    pub fn send(&mut self, at: usize, (now, given): (Time, &[u64; 6]), bytes: &[u8]) {
        let Some((context, scout)) = self.all.get_mut(self.of.len()) else {
            return;
        };
        (scout.frame.stage, scout.frame.counted) = (0, 0);
        (scout.budget, scout.cursor) = (BUDGET, 0);
        context.frame = &raw mut scout.frame;
        context.budget = &raw mut scout.budget;
        context.cursor = &raw mut scout.cursor;
        context.packet = bytes.as_ptr();
        context.bits = bytes.len() as u64 * 8;
        context.places = Places::default();
        context.begin_at(now, given);
        // Headers lie in the first two lines.
        prefetch_at(context.packet);
        prefetch_at(context.packet.wrapping_add(LINE_BYTES));
        self.of.push(at);
    }

    /// Lets the scouts that were sent go on until all are back. The packets are still there.
    pub fn run(&mut self, guard: &Guard, part: &Part) {
        let shard = shard_offset(guard.number());
        let fetch = |address| prefetch_at(std::ptr::without_provenance(address));
        let mut away: SmallVec<[*mut Context; SCOUTS]> = SmallVec::new();
        for (context, _) in self.all.iter_mut().take(self.of.len()) {
            context.shard = shard;
            away.push(&raw mut **context);
        }
        while !away.is_empty() {
            let mut still = 0;
            for at in 0..away.len() {
                let context = away[at];
                let waits = part.run(context) == outcome::WAITS;
                // SAFETY: the context and its frame are a scout's, which nobody else uses.
                let frame = unsafe { &*(*context).frame };
                if waits {
                    frame.asked.into_iter().for_each(fetch);
                    away[still] = context;
                    still += 1;
                } else {
                    let counts = frame.counts.into_iter();
                    counts.take(frame.counted as usize).for_each(fetch);
                }
            }
            away.truncate(still);
        }
    }

    /// What the packets for which scouts were sent will probably touch, in their order.
    pub fn found(&self) -> impl Iterator<Item = (usize, &Places)> {
        let all = self.of.iter().zip(&self.all);
        all.map(|(&at, (context, _))| (at, &context.places))
    }
}
