//! The cluster as it is now, once for all NICs of the process.
//!
//! In: notices of one source. Out: the [`Model`] as of any moment, and an `Inbox` per NIC that says what changed.
//! Invariant: whoever looks holds up nobody: a look is a snapshot, which shares its objects with the next one, and what a
//! NIC is told is never ahead of the model that it sees then.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::account::Heard;
use super::inbox::{Inbox, Told};
use crate::model::Model;
use crate::watch::Notice;

/// Notices taken in together at most.
const GULP: usize = 512;

/// The cluster, and who follows it.
#[derive(Debug, Default)]
pub struct Cluster {
    now: Mutex<Arc<Model>>,
    /// An inbox goes with its NIC.
    followers: Mutex<Vec<Weak<Inbox>>>,
}

impl Cluster {
    /// The cluster as it is now.
    pub fn now(&self) -> Arc<Model> {
        self.now.lock().clone()
    }

    /// What changes from now on, for someone who has yet to look.
    pub(super) fn subscribe(&self) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::default());
        // Nothing is told in between: either the intake knows this inbox, or the model has it already.
        let mut followers = self.followers.lock();
        let listed = self.now.lock().is_synced();
        if listed {
            inbox.put(Told {
                listed,
                ..Told::default()
            });
        }
        followers.push(Arc::downgrade(&inbox));
        inbox
    }

    /// Takes notices in until cancelled, or until the source ends.
    pub async fn follow(&self, mut notices: mpsc::Receiver<Notice>, cancel: CancellationToken) {
        loop {
            let first = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                first = notices.recv() => first,
            };
            let Some(first) = first else { return };
            let mut some = vec![first];
            while some.len() < GULP
                && let Ok(next) = notices.try_recv()
            {
                some.push(next);
            }
            self.take(some);
        }
    }

    fn take(&self, notices: Vec<Notice>) {
        let mut followers = self.followers.lock();
        let mut told = Told::default();
        {
            let mut now = self.now.lock();
            // Copied only while somebody looks at the one before.
            let model = Arc::make_mut(&mut now);
            for notice in notices {
                take_one(model, notice, &mut told);
            }
        }
        followers.retain(|follower| match follower.upgrade() {
            Some(inbox) => {
                inbox.put(told.clone());
                true
            }
            None => false,
        });
    }
}

fn take_one(model: &mut Model, notice: Notice, told: &mut Told) {
    match notice {
        Notice::Cluster(event) => {
            let heard = Heard::of(&event);
            let mut changes = model.apply(event);
            told.count(heard, changes.services.len());
            for problem in changes.problems.drain(..) {
                tracing::warn!("{problem}");
            }
            told.changes.merge(changes);
        }
        Notice::Together(several) => {
            for notice in several {
                take_one(model, notice, told);
            }
            return;
        }
        Notice::Synced => {
            tracing::info!(
                services = model.services().len(),
                slices = model.slices().len(),
                nodes = model.nodes().len(),
                "the initial lists are complete"
            );
            told.listed = true;
        }
    }
    told.noticed += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::slice;
    use crate::model::{Event, ObjectKey};

    #[test]
    fn a_look_stays_as_it_was_and_who_comes_late_knows_that_all_is_there() {
        let cluster = Cluster::default();
        let early = cluster.subscribe();
        assert!(early.take().is_none());
        let before = cluster.now();
        cluster.take(vec![
            Notice::Cluster(Event::ReplaceServices(Vec::new())),
            Notice::Cluster(Event::ReplaceSlices(vec![slice(
                "cart",
                "a",
                &["10.0.0.1"],
            )])),
            Notice::Synced,
        ]);
        let told = early.take().unwrap();
        assert!(told.listed && told.noticed == 3);
        assert_eq!(before.slices().len(), 0);
        assert_eq!(cluster.now().slices().len(), 1);
        let late = cluster.subscribe();
        let told = late.take().unwrap();
        assert!(told.listed && told.changes.is_empty());
        drop(early);
        cluster.take(vec![Notice::Cluster(Event::DeleteSlice(ObjectKey::new(
            "default", "a",
        )))]);
        assert_eq!(cluster.followers.lock().len(), 1);
        assert_eq!(late.take().unwrap().noticed, 1);
    }
}
