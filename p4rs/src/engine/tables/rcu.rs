//! A value that packets read while it is replaced.
//!
//! In: whole new values. Out: references that live as long as the reader's guard. A replaced value is dropped when
//! every guard of its time is gone: by whoever replaces something next, or by the tick.
//! Invariant: a value is never changed after it became visible, and never dropped while a guard may reach it.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;

use super::epoch::{self, Guard};

/// Replaced values with their stamps.
static GARBAGE: Mutex<Vec<(u64, Box<dyn Send>)>> = Mutex::new(Vec::new());

/// A replaceable value, or nothing.
#[derive(Debug)]
pub(crate) struct Rcu<T> {
    current: AtomicPtr<T>,
}

impl<T> Default for Rcu<T> {
    fn default() -> Self {
        Self {
            current: AtomicPtr::default(),
        }
    }
}

// SAFETY: an `Rcu` owns its value and gives out shared references from any thread, like `Arc`.
unsafe impl<T: Send + Sync> Send for Rcu<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Rcu<T> {}

impl<T: Send + Sync + 'static> Rcu<T> {
    /// With a first value.
    pub fn new(value: T) -> Self {
        Self {
            current: AtomicPtr::new(Box::into_raw(Box::new(value))),
        }
    }

    /// Where machine code finds the address of the value in force; null where there is none.
    pub fn place(&self) -> *const u64 {
        std::ptr::from_ref(&self.current).cast()
    }

    /// The value in force.
    #[inline]
    pub fn load<'g>(&'g self, _guard: &'g Guard) -> Option<&'g T> {
        // SAFETY: the pointer is null or came from `Box::into_raw`. The value behind it is dropped only by `collect`
        // after `epoch::oldest` passed the stamp that `put` took after replacing it, thus not before this guard, which
        // the calling thread holds pinned, is gone; or by `drop`, which the borrow of `self` excludes.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Puts a value in place of the one in force.
    pub fn put(&self, value: T) {
        self.swap(Box::into_raw(Box::new(value)));
    }

    /// Takes the value away.
    pub fn clear(&self) {
        self.swap(std::ptr::null_mut());
    }

    fn swap(&self, new: *mut T) {
        let old = self.current.swap(new, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: the pointer came from `Box::into_raw`, and this swap was the only one that returned it.
            retire(unsafe { Box::from_raw(old) });
        }
    }
}

impl<T> Drop for Rcu<T> {
    fn drop(&mut self) {
        let last = *self.current.get_mut();
        if !last.is_null() {
            // SAFETY: the pointer came from `Box::into_raw`; `&mut self` excludes readers and other writers.
            drop(unsafe { Box::from_raw(last) });
        }
    }
}

/// Drops the value when its readers are gone, and with it older ones whose readers are.
fn retire(value: Box<dyn Send>) {
    let stamp = epoch::stamp();
    GARBAGE.lock().push((stamp, value));
    collect();
}

/// Drops replaced values whose readers are gone.
pub(crate) fn collect() {
    let mut garbage = GARBAGE.lock();
    if garbage.is_empty() {
        return;
    }
    let oldest = epoch::oldest();
    let gone: Vec<_> = garbage
        .extract_if(.., |(stamp, _)| *stamp < oldest)
        .collect();
    drop(garbage);
    drop(gone);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn readers_see_whole_values_that_stay() {
        let cell = Arc::new(Rcu::new([0u64; 16]));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut seen = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let guard = epoch::pin();
                        let first = cell.load(&guard).unwrap();
                        let later = cell.load(&guard).unwrap();
                        assert!(first.iter().all(|&word| word == first[0]));
                        assert!(later[0] >= first[0] && first[0] >= seen);
                        seen = first[0];
                    }
                })
            })
            .collect();
        for value in 1..if cfg!(miri) { 100 } else { 20_000 } {
            cell.put([value; 16]);
        }
        stop.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|r| r.join().unwrap());
        cell.clear();
        assert!(cell.load(&epoch::pin()).is_none());
    }
}
