//! When entries are due: buckets of coarse time, each naming the entries to look at then.
//!
//! In: entry indices with deadlines. Out: the entries whose bucket has come. A restarted timer is not moved: its
//! entry is looked at in its old bucket and queued again, so a hit costs one store and a tick costs what is due.
//! Invariant: every entry with a timeout is named by the bucket that its timer's `queued` says; other mentions are stale.

use std::collections::BTreeMap;

use super::store::Store;

/// log2 of a bucket's nanoseconds: about 67 ms.
const SHIFT: u32 = 26;

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    buckets: BTreeMap<u64, Vec<u32>>,
}

/// The bucket after the one in which the deadline lies, so that a due entry is never looked at too early.
fn bucket(deadline: u64) -> u64 {
    (deadline >> SHIFT) + 1
}

impl TimerQueue {
    /// Makes sure that the entry is looked at when its timer says. Call after every change that may shorten it.
    pub fn schedule(&mut self, store: &mut Store, index: u32) {
        let Some(timer) = store.timer_mut(index) else {
            return;
        };
        let Some(deadline) = timer.deadline() else {
            timer.queued = 0;
            return;
        };
        let due = bucket(deadline);
        if timer.queued == 0 || due < timer.queued {
            timer.queued = due;
            self.buckets.entry(due).or_default().push(index);
        }
    }

    /// The entries that are due by `now`. Those looked at too early are queued again; the others are no longer
    /// queued: the caller removes them or restarts and schedules them.
    pub fn due(&mut self, store: &mut Store, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        while let Some(first) = self.buckets.first_entry() {
            if *first.key() > now >> SHIFT {
                break;
            }
            let (bucket, indices) = first.remove_entry();
            for index in indices {
                let Some(timer) = store.timer_mut(index) else {
                    continue;
                };
                if timer.queued != bucket {
                    continue;
                }
                timer.queued = 0;
                match timer.deadline() {
                    Some(deadline) if deadline <= now => due.push(index),
                    Some(_) => self.schedule(store, index),
                    None => {}
                }
            }
        }
        due
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
    }
}
