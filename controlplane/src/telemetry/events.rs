//! Warnings about Services, for whoever owns them.
//!
//! In: a Service, a reason and a note. Out: a log line, and with a cluster an event (`events.k8s.io/v1`) on the Service,
//! sent by [`crate::watch::events`]. Invariant: whoever warns never waits; what does not fit into the queue is only in
//! the log.

use tokio::sync::mpsc;

use crate::model::ObjectKey;

/// Warnings that may wait for the API server.
const QUEUE: usize = 256;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// About which Service.
    pub service: ObjectKey,
    /// For programs, in `PascalCase`.
    pub reason: &'static str,
    /// For people.
    pub note: String,
}

/// Where warnings go.
#[derive(Clone, Debug, Default)]
pub struct Events {
    queue: Option<mpsc::Sender<Warning>>,
}

impl Events {
    /// To the log and to whoever reads the queue. [`Events::default`] is the log alone.
    pub fn queue() -> (Self, mpsc::Receiver<Warning>) {
        let (sender, told) = mpsc::channel(QUEUE);
        let queue = Some(sender);
        (Self { queue }, told)
    }

    /// Warns.
    pub fn warn(&self, service: &ObjectKey, reason: &'static str, note: String) {
        tracing::warn!(%service, reason, "{note}");
        let Some(queue) = &self.queue else { return };
        let warning = Warning {
            service: service.clone(),
            reason,
            note,
        };
        if queue.try_send(warning).is_err() {
            metrics::counter!("nicproxy_events_lost_total").increment(1);
        }
    }
}
