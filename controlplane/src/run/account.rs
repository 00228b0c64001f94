//! What is told of the cluster beside tables: health checks of Services, latencies, Services without local endpoints.
//!
//! In: what was told, reports, the model. Out: metrics and the servers of [`ServiceHealth`]. Invariant: a change's latency is
//! counted once, when the device holds it (S89); what changes nothing counts nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::inbox::{MOMENTS, Told};
use crate::model::{Changes, EndpointSlice, Event, Model, ObjectKey};
use crate::reconcile::Report;
use crate::resolve::{NodeView, Viewpoint, is_served};
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::telemetry::locality::Locality;
use crate::telemetry::metric::{self, Changed};
use crate::telemetry::service_health::ServiceHealth;

/// How often a port that was taken is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// What an event is about, as far as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Services.
    Services,
    /// Slices, with the moments of the changes behind them.
    Slices(Vec<SystemTime>),
    /// Anything else.
    Other,
}

impl Heard {
    /// Of an event.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::ApplyService(_) | Event::DeleteService(_) | Event::ReplaceServices(_) => {
                Self::Services
            }
            Event::ApplySlice(slice) => Self::Slices(slice.changed_at.into_iter().collect()),
            Event::ReplaceSlices(slices) => {
                Self::Slices(slices.iter().filter_map(|slice| slice.changed_at).collect())
            }
            // A slice that goes away says nothing of when.
            Event::DeleteSlice(_) => Self::Slices(Vec::new()),
            // kube-proxy counts changes of these two kinds only.
            _ => Self::Other,
        }
    }
}

/// The account of one NIC.
#[derive(Debug)]
pub struct Account {
    from: Viewpoint,
    view: NodeView,
    servers: ServiceHealth,
    started: SystemTime,
    /// The node is the one that this process runs on.
    here: bool,
    /// Changes that are not written yet.
    waiting: Changed,
    moments: Vec<SystemTime>,
    internal: BTreeSet<ObjectKey>,
    external: BTreeSet<ObjectKey>,
    told: bool,
    retry_at: Option<Instant>,
}

impl Account {
    /// Nothing happened yet. Another node's addresses are not ours to answer health checks on: `here` says whose they are.
    pub fn new(from: Viewpoint, health: Arc<Health>, here: bool, started: SystemTime) -> Self {
        Self {
            from,
            view: NodeView::default(),
            servers: ServiceHealth::new(health, Events::default()),
            started,
            here,
            waiting: Changed::default(),
            moments: Vec::new(),
            internal: BTreeSet::new(),
            external: BTreeSet::new(),
            told: false,
            retry_at: None,
        }
    }

    /// Tells warnings there.
    pub fn report_to(&mut self, events: Events) {
        self.servers.report_to(events);
    }

    /// Changes that are not written yet.
    pub fn heard(&self) -> Changed {
        self.waiting
    }

    /// Takes in what was told.
    pub fn take(&mut self, told: &Told) {
        self.waiting.services += told.services;
        self.waiting.endpoints += told.endpoints;
        let room = MOMENTS.saturating_sub(self.moments.len());
        let started = self.started;
        let known = told.moments.iter().filter(|moment| **moment >= started);
        self.moments.extend(known.take(room));
    }

    /// A synchronisation ended.
    pub fn synced(&mut self, report: &Report, now: SystemTime) {
        if !report.is_clean() {
            return;
        }
        self.waiting = Changed::default();
        for moment in self.moments.drain(..) {
            metric::programmed(now.duration_since(moment).unwrap_or_default());
        }
    }

    /// Brings servers and metrics to what the model says now.
    pub async fn tell(&mut self, model: &Model, changes: &Changes) {
        if !model.is_synced() {
            return;
        }
        if changes.nodes || !self.told {
            self.view = self.from.look(model);
            if self.here {
                let addresses = self.view.node_port_addresses.clone();
                self.servers.listen_on(addresses).await;
            }
        }
        if std::mem::replace(&mut self.told, true) {
            for key in &changes.services {
                self.tell_one(model, key).await;
            }
        } else {
            let keys: Vec<_> = model.services().map(|one| one.key.clone()).collect();
            for key in &keys {
                self.tell_one(model, key).await;
            }
        }
        metric::unserved(self.internal.len(), self.external.len());
    }

    async fn tell_one(&mut self, model: &Model, key: &ObjectKey) {
        let view = &self.view;
        let served = model.service(key).filter(|one| is_served(view, one));
        let now = served.map_or_else(Locality::default, |service| {
            let slices: Vec<&EndpointSlice> = model
                .slices_of(key)
                .map(|slice| &**slice)
                .filter(|slice| slice.proxy_name == view.proxy_name && !slice.headless_label)
                .collect();
            Locality::of(service, &slices, view.node.as_deref())
        });
        for (set, unserved) in [
            (&mut self.internal, now.internal_unserved),
            (&mut self.external, now.external_unserved),
        ] {
            if unserved {
                set.insert(key.clone());
            } else {
                set.remove(key);
            }
        }
        self.servers.update(key, &now).await;
    }

    /// Tries again what could not be served, every few seconds.
    pub async fn retry(&mut self, now: Instant) {
        if !self.servers.wants_retry() {
            self.retry_at = None;
            return;
        }
        let at = *self.retry_at.get_or_insert(now + RETRY);
        if now >= at {
            self.retry_at = None;
            self.servers.retry().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::slice;
    use crate::reconcile::Outcome;

    fn account(started: SystemTime) -> Account {
        let health = Arc::new(Health::new(Duration::from_secs(30)));
        Account::new(Viewpoint::default(), health, true, started)
    }

    #[test]
    fn s89_latency_counts_once_and_only_changes_since_the_start() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut account = account(start);
        let at = |seconds: u64| {
            let mut one = slice("cart", "a", &["10.0.0.1"]);
            one.changed_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            Heard::of(&Event::ApplySlice(one))
        };
        let told = |heard, changed| {
            let mut told = Told::default();
            told.count(heard, changed);
            told
        };
        account.take(&told(at(999), 1));
        assert!(account.moments.is_empty(), "older than the proxy");
        account.take(&told(at(1001), 0));
        assert!(account.moments.is_empty(), "nothing changed");
        account.take(&told(at(1001), 1));
        let deleted = Heard::of(&Event::DeleteSlice(ObjectKey::default()));
        account.take(&told(deleted, 1));
        assert_eq!(account.moments.len(), 1, "a deletion has no moment");
        let now = start + Duration::from_secs(5);
        account.synced(&Report::new(Outcome::NotConnected), now);
        assert_eq!(account.moments.len(), 1, "not programmed yet");
        assert_eq!(account.heard().endpoints, 3);
        account.synced(&Report::new(Outcome::Done), now);
        assert!(account.moments.is_empty());
        assert_eq!(account.heard(), Changed::default());
    }
}
