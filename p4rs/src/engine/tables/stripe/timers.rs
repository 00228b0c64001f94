//! Timers of a stripe's entries: when they run out, and which are due.
//!
//! In: entries with timeouts, packets that start them anew. Out: entries that are due. Invariant: an entry whose time may be over
//! is queued at or before that time.

use std::sync::atomic::{Ordering, fence};

use super::super::super::Time;
use super::super::record::Entry;
use super::super::timer;
use super::{LIVE, Ledger, QUEUED, Stripe};

/// The bucket of the timer queue in which a deadline is looked at, as a place notes it.
pub(super) fn bucket(deadline: u64) -> u32 {
    timer::bucket(deadline).min(QUEUED as u32)
}

impl Stripe {
    /// Sets an entry's timeout, starts its timer and queues it.
    pub fn arm(&self, ledger: &mut Ledger, entry: u32, timeout_ns: u64, now: Time) {
        let row = self.entry(entry);
        row.set_timeout(&self.store.shape, timeout_ns);
        row.touch(&self.store.shape, now);
        self.schedule(ledger, entry);
    }

    /// Whether the entry's time is over.
    #[inline]
    pub fn is_expired(&self, row: Entry<'_>, now: Time) -> bool {
        row.deadline(&self.store.shape)
            .is_some_and(|deadline| deadline <= now.0)
    }

    /// Makes sure that the entry is looked at when its timer says.
    pub fn schedule(&self, ledger: &mut Ledger, entry: u32) {
        let place = self.place(entry);
        if place & LIVE == 0 {
            return;
        }
        let Some(deadline) = self.entry(entry).deadline(&self.store.shape) else {
            return self.set_queued(entry, 0);
        };
        let due = u64::from(bucket(deadline));
        let queued = place >> 32 & QUEUED;
        if queued == 0 || due < queued {
            self.set_queued(entry, due);
            ledger.queue.add(due as u32, entry);
        }
    }

    fn set_queued(&self, entry: u32, bucket: u64) {
        let place = self.place(entry);
        self.set_place(entry, place & !(QUEUED << 32) | bucket << 32);
    }

    /// Whether an entry whose timeout a packet has just changed must be queued anew.
    pub fn is_late(&self, row: Entry<'_>) -> bool {
        // Against the fence in `due`: either the queue sees the new timeout, or this sees that it is being looked at.
        fence(Ordering::SeqCst);
        let Some(deadline) = row.deadline(&self.store.shape) else {
            return false;
        };
        let queued = self.place(row.header().entry) >> 32 & QUEUED;
        queued == 0 || u64::from(bucket(deadline)) < queued
    }

    /// Up to `max` entries that are due by `now`; they are no longer queued: the caller removes them or arms them.
    /// The second result says whether more may be due.
    pub fn due(&self, ledger: &mut Ledger, now: Time, max: usize) -> (Vec<u32>, bool) {
        let mut due = Vec::new();
        let mut early = Vec::new();
        for _ in 0..max {
            let Some((bucket, entry)) = ledger.queue.pop(now.0) else {
                early
                    .into_iter()
                    .for_each(|entry| self.schedule(ledger, entry));
                return (due, false);
            };
            let place = self.place(entry);
            if place & LIVE == 0 || place >> 32 & QUEUED != u64::from(bucket) {
                continue;
            }
            self.set_queued(entry, 0);
            fence(Ordering::SeqCst);
            match self.entry(entry).deadline(&self.store.shape) {
                Some(deadline) if deadline <= now.0 => due.push(entry),
                Some(_) => early.push(entry),
                None => {}
            }
        }
        early
            .into_iter()
            .for_each(|entry| self.schedule(ledger, entry));
        (due, true)
    }
}
