//! What one NIC has yet to hear of the cluster.
//!
//! In: what the intake tells all NICs. Out: all of it together, once the NIC asks. Invariant: a NIC that does not answer
//! holds up nobody: what is told meanwhile is merged, so it grows with the cluster, not with time.

use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::account::Heard;
use crate::model::Changes;

/// Moments of changes kept while a device cannot be written to; they only serve to tell latencies.
pub(super) const MOMENTS: usize = 100_000;

/// Some notices, taken in together.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// How many notices.
    pub noticed: u64,
    /// The initial lists are complete.
    pub listed: bool,
    /// What changed by them.
    pub changes: Changes,
    /// Services that Services' events changed.
    pub services: usize,
    /// Services that slices' events changed.
    pub endpoints: usize,
    /// When the changes behind slices' events were made.
    pub moments: Vec<SystemTime>,
}

impl Told {
    /// Counts an event that changed so many Services.
    pub fn count(&mut self, heard: Heard, changed: usize) {
        match heard {
            _ if changed == 0 => {}
            Heard::Services => self.services += changed,
            Heard::Slices(moments) => {
                self.endpoints += changed;
                let room = MOMENTS.saturating_sub(self.moments.len());
                self.moments.extend(moments.into_iter().take(room));
            }
            Heard::Other => {}
        }
    }

    /// Something is to be written.
    pub fn changed(&self) -> bool {
        !self.changes.is_empty()
    }

    fn merge(&mut self, later: Told) {
        self.noticed += later.noticed;
        self.listed |= later.listed;
        self.changes.merge(later.changes);
        self.services += later.services;
        self.endpoints += later.endpoints;
        let room = MOMENTS.saturating_sub(self.moments.len());
        self.moments.extend(later.moments.into_iter().take(room));
    }
}

/// One NIC's.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    told: Mutex<Option<Told>>,
    news: Notify,
}

impl Inbox {
    /// Tells the NIC.
    pub fn put(&self, told: Told) {
        let mut waiting = self.told.lock();
        match &mut *waiting {
            Some(before) => before.merge(told),
            None => *waiting = Some(told),
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Waits for news. May be cancelled: nothing is lost.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// All that was told since the last time.
    pub fn take(&self) -> Option<Told> {
        self.told.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;

    #[test]
    fn what_nobody_asks_for_is_merged() {
        let inbox = Inbox::default();
        let key = |name: &str| ObjectKey::new("default", name);
        for name in ["a", "b", "a"] {
            let mut told = Told {
                noticed: 2,
                ..Told::default()
            };
            told.changes.services.insert(key(name));
            told.count(Heard::Slices(vec![SystemTime::UNIX_EPOCH]), 1);
            told.count(Heard::Services, 0);
            inbox.put(told);
        }
        let told = inbox.take().unwrap();
        assert_eq!((told.noticed, told.endpoints, told.services), (6, 3, 0));
        assert_eq!(told.changes.services, [key("a"), key("b")].into());
        assert_eq!(told.moments.len(), 3);
        assert!(inbox.take().is_none());
    }
}
