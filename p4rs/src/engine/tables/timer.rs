//! When entries are due: buckets of coarse time, each naming the entries to look at then.
//!
//! In: entry numbers with deadlines. Out: the entries whose bucket has come, one by one, so that the caller may stop.
//! A restarted timer is not moved: its entry is looked at in its old bucket and queued again, so a hit costs one store
//! and a tick costs what is due.
//! Invariant: every entry with a timeout is named by the bucket that its table noted; other mentions are stale.

use std::collections::BTreeMap;

/// log2 of a bucket's nanoseconds: about 67 ms.
const SHIFT: u32 = 26;

/// The buckets.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    buckets: BTreeMap<u32, Vec<u32>>,
    /// The bucket to which entries were added last, taken out of the others: the next ones mostly belong there, too.
    open: (u32, Vec<u32>),
}

/// The bucket after the one in which the deadline lies, so that a due entry is never looked at too early. Never 0.
pub(crate) fn bucket(deadline: u64) -> u32 {
    u32::try_from((deadline >> SHIFT) + 1).unwrap_or(u32::MAX)
}

impl TimerQueue {
    /// Names an entry in a bucket.
    pub fn add(&mut self, bucket: u32, entry: u32) {
        if self.open.0 != bucket {
            self.open(bucket);
        }
        self.open.1.push(entry);
    }

    #[inline(never)]
    fn open(&mut self, bucket: u32) {
        self.close();
        self.open = (bucket, self.buckets.remove(&bucket).unwrap_or_default());
    }

    /// Puts the open bucket back to the others.
    fn close(&mut self) {
        let (bucket, entries) = std::mem::take(&mut self.open);
        if !entries.is_empty() {
            self.buckets.insert(bucket, entries);
        }
    }

    /// Takes one mention out of the buckets that have come by `now`.
    pub fn pop(&mut self, now: u64) -> Option<(u32, u32)> {
        self.close();
        loop {
            let mut first = self.buckets.first_entry()?;
            let bucket = *first.key();
            if u64::from(bucket) > now >> SHIFT {
                return None;
            }
            match first.get_mut().pop() {
                Some(entry) => return Some((bucket, entry)),
                None => drop(first.remove()),
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
