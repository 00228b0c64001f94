//! Grace periods: when memory that packets may still look at can be used again.
//!
//! In: threads that pin themselves for a batch of packets, writers that take things out of sight. Out: whether every
//! thread that could have seen a thing is gone.
//!
//! A thread announces the epoch at which its batch begins and takes the announcement back at its end: two stores and
//! one fence per batch, none per lookup. A writer takes a thing out of sight, then gets a [`stamp`], which also opens
//! a new epoch; the thing is free when no announced epoch is at or below the stamp. A thread between batches holds
//! nothing up, and threads that come later cannot see the thing.
//!
//! Invariant: between [`pin`] and the drop of its guard nothing that the thread could reach is used again.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use parking_lot::RwLock;

/// Announced by threads that look at nothing.
const IDLE: u64 = 0;

/// The epoch that a thread pinning now announces.
static EPOCH: AtomicU64 = AtomicU64::new(1);
static READERS: RwLock<Vec<Arc<Reader>>> = RwLock::new(Vec::new());

/// One thread's announcement, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Reader {
    announced: AtomicU64,
    taken: AtomicBool,
}

#[derive(Debug)]
struct Local {
    reader: Arc<Reader>,
    number: usize,
    depth: Cell<u32>,
}

thread_local! {
    static LOCAL: Rc<Local> = Local::register();
    static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl Local {
    fn register() -> Rc<Self> {
        let mut readers = READERS.write();
        let free = |reader: &Arc<Reader>| !reader.taken.load(Ordering::Acquire);
        let number = readers.iter().position(free).unwrap_or(readers.len());
        if number == readers.len() {
            readers.push(Arc::default());
        }
        let reader = Arc::clone(&readers[number]);
        reader.taken.store(true, Ordering::Release);
        // A guard that outlives its thread's locals gets a fresh number, never one that is in use.
        let _ = NUMBER.try_with(|own| own.set(number));
        Rc::new(Self {
            reader,
            number,
            depth: Cell::new(0),
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = NUMBER.try_with(|own| own.set(usize::MAX));
        self.reader.announced.store(IDLE, Ordering::Release);
        self.reader.taken.store(false, Ordering::Release);
    }
}

/// A thread's stay in the tables: one per batch of packets. Guards of one thread may nest.
#[derive(Debug)]
pub(crate) struct Guard {
    local: Rc<Local>,
}

impl Guard {
    /// The number of the guard's thread: see [`thread_number`].
    #[inline]
    pub fn number(&self) -> usize {
        self.local.number
    }
}

/// Begins a stay.
pub(crate) fn pin() -> Guard {
    let local = LOCAL
        .try_with(Rc::clone)
        .unwrap_or_else(|_| Local::register());
    let depth = local.depth.get();
    if depth == 0 {
        let epoch = EPOCH.load(Ordering::Acquire);
        local.reader.announced.store(epoch, Ordering::Release);
        // Either a writer's `oldest` sees the announcement, or this thread sees what the writer took away.
        fence(Ordering::SeqCst);
    }
    local.depth.set(depth + 1);
    Guard { local }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let depth = self.local.depth.get() - 1;
        self.local.depth.set(depth);
        if depth == 0 {
            self.local.reader.announced.store(IDLE, Ordering::Release);
        }
    }
}

/// The number of this thread among those alive that ever pinned themselves; `None` before its first [`pin`].
/// No two living threads have the same.
pub(crate) fn thread_number() -> Option<usize> {
    NUMBER
        .try_with(Cell::get)
        .ok()
        .filter(|&number| number != usize::MAX)
}

/// Call after taking something out of sight: it may be used again once [`oldest`] is above the result.
pub(crate) fn stamp() -> u64 {
    fence(Ordering::SeqCst);
    EPOCH.fetch_add(1, Ordering::SeqCst)
}

/// The oldest epoch in which a thread still looks at things.
pub(crate) fn oldest() -> u64 {
    fence(Ordering::SeqCst);
    READERS
        .read()
        .iter()
        .map(|reader| reader.announced.load(Ordering::Acquire))
        .filter(|&epoch| epoch != IDLE)
        .min()
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_passes_when_the_guards_of_its_time_are_gone() {
        let outer = pin();
        let inner = pin();
        let before = stamp();
        drop(outer);
        assert!(oldest() <= before);
        drop(inner);
        let after = pin();
        // Other tests pin too: wait for theirs.
        while oldest() <= before {
            std::thread::yield_now();
        }
        drop(after);
    }

    #[test]
    fn threads_have_numbers_of_their_own() {
        let _guard = pin();
        let mine = thread_number();
        assert!(mine.is_some());
        let theirs = std::thread::spawn(|| {
            assert_eq!(thread_number(), None);
            let _guard = pin();
            thread_number()
        })
        .join()
        .unwrap();
        assert!(theirs.is_some());
        assert_ne!(mine, theirs);
    }
}
