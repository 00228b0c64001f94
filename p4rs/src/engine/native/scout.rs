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
//! Each has a stack of its own, so that it may be left in the middle of a lookup and entered there again. Packets before it may still
//! change what a scout has seen; then its packet finds something else at hand than it needs, and waits.
//!
//! Invariant: a scout's code writes to its stack and its context alone.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::hint::black_box;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};

use super::super::externs::shard_offset;
use super::super::tables::{epoch::Guard, prefetch_at};
use super::part::Part;
use super::recall::Touched;
use super::runtime::{Context, LINE_BYTES};

/// Scouts side by side: about as many as a core has memory accesses under way.
pub(crate) const SCOUTS: usize = 16;
/// Bytes of a scout's stack.
const STACK: usize = 256 << 10;
/// Transitions of a parser that a scout may take.
const BUDGET: u32 = 1 << 10;

/// Runs errands; hands back whether one is done.
type Fiber = Coroutine<(), bool, (), DefaultStack>;

/// What a scout runs.
#[derive(Clone, Copy, Debug)]
struct Errand {
    part: *const Part,
    context: *mut Context,
}

/// What machine code sees of a scout.
#[derive(Debug)]
pub(super) struct Post {
    /// Set when the fiber begins.
    yielder: Cell<*const Yielder<(), bool>>,
    /// What to run next; nothing when the fiber is to end.
    errand: Cell<Option<Errand>>,
}

impl Post {
    /// Lets other scouts go on.
    #[inline(always)]
    pub fn wait(&self) {
        // SAFETY: machine code calls on an errand only, and then the yielder lies at the bottom of the stack that it runs on.
        unsafe { &*self.yielder.get() }.suspend(false);
    }
}

struct Scout {
    fiber: Fiber,
    post: Box<Post>,
    context: Box<Context>,
    /// What the context points to.
    budget: Box<u32>,
    cursor: Box<usize>,
}

/// The scouts of one worker.
pub(crate) struct Scouts(Vec<Scout>);

// SAFETY: between calls every scout waits for an errand, in a loop that holds nothing of a thread, and the pointers in its
// context are those of an errand that is done.
unsafe impl Send for Scouts {}

impl std::fmt::Debug for Scouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scouts").field(&self.0.len()).finish()
    }
}

impl Drop for Scouts {
    fn drop(&mut self) {
        for scout in &mut self.0 {
            if scout.fiber.started() && !scout.fiber.done() {
                scout.post.errand.set(None);
                scout.fiber.resume(());
            }
        }
    }
}

/// Runs errands, one after the other.
fn serve(yielder: &Yielder<(), bool>, post: &Post) {
    post.yielder.set(yielder);
    while let Some(errand) = post.errand.take() {
        // SAFETY: the machine code outlives the errands that run it.
        unsafe { &*errand.part }.run(errand.context);
        yielder.suspend(true);
    }
}

/// Serves some cache lines deeper in the stack than the scout before: stacks begin on pages, and frames at the same place
/// of each would compete for the same lines of the cache.
#[inline(never)]
fn deeper(lines: usize, yielder: &Yielder<(), bool>, post: &Post) {
    let Some(less) = lines.checked_sub(1) else {
        return serve(yielder, post);
    };
    let room = [0u8; 384];
    black_box(&room);
    deeper(less, yielder, post);
    black_box(&room);
}

/// A fiber for a post that outlives it.
fn fiber(number: usize, post: *const Post) -> std::io::Result<Fiber> {
    let stack = DefaultStack::new(STACK)?;
    Ok(Coroutine::with_stack(stack, move |yielder, ()| {
        // SAFETY: as the caller says.
        deeper(number % 8, yielder, unsafe { &*post });
    }))
}

/// A packet to scout for: what the architecture gives it, and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<'p> {
    pub now: super::super::Time,
    pub given: [u64; 6],
    pub bytes: &'p [u8],
}

impl Scouts {
    /// [`SCOUTS`] of them; an error where there is no memory for their stacks.
    pub fn new() -> std::io::Result<Self> {
        let scout = |number| {
            let post = Box::new(Post {
                yielder: Cell::new(std::ptr::null()),
                errand: Cell::new(None),
            });
            let (mut budget, mut cursor) = (Box::new(BUDGET), Box::new(0));
            let mut context = Box::new(Context::empty());
            context.budget = &raw mut *budget;
            context.cursor = &raw mut *cursor;
            context.scout = &raw const *post;
            Ok(Scout {
                fiber: fiber(number, &raw const *post)?,
                post,
                context,
                budget,
                cursor,
            })
        };
        let scouts = (0..SCOUTS).map(scout);
        Ok(Self(scouts.collect::<std::io::Result<_>>()?))
    }

    /// Scouts for up to [`SCOUTS`] packets; what each will probably touch.
    pub fn run<'p>(
        &mut self,
        guard: &Guard,
        part: &Part,
        packets: impl Iterator<Item = Ahead<'p>> + Clone,
    ) -> impl Iterator<Item = &Touched> {
        for packet in packets.clone().take(SCOUTS) {
            // Headers lie in the first two lines.
            let first = packet.bytes.as_ptr();
            prefetch_at(first);
            prefetch_at(first.wrapping_add(LINE_BYTES));
        }
        let shard = shard_offset(guard.number());
        let mut out: smallvec::SmallVec<[u8; SCOUTS]> = smallvec::SmallVec::new();
        for (number, (scout, packet)) in (0..).zip(self.0.iter_mut().zip(packets)) {
            *scout.budget = BUDGET;
            *scout.cursor = 0;
            let context = &mut *scout.context;
            context.packet = packet.bytes.as_ptr();
            context.bits = packet.bytes.len() as u64 * 8;
            context.shard = shard;
            context.places = Touched::default();
            context.begin_at(packet.now, &packet.given);
            scout.post.errand.set(Some(Errand {
                part,
                context: &raw mut *context,
            }));
            out.push(number);
        }
        let sent = out.len();
        while !out.is_empty() {
            let scouts = &mut self.0;
            out.retain(|number| {
                let scout = scouts.get_mut(usize::from(*number));
                scout.is_some_and(|scout| match scout.fiber.resume(()) {
                    corosensei::CoroutineResult::Yield(done) => !done,
                    corosensei::CoroutineResult::Return(()) => false,
                })
            });
        }
        self.0.iter().take(sent).map(|scout| &scout.context.places)
    }
}
