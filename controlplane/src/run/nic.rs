//! One NIC of the daemon: keeps its device as the cluster wants it, whatever becomes of the others.
//!
//! In: what its inbox tells, the cluster, a device. Out: writes, health, metrics, a [`Status`].
//! Invariant: nothing is written before the initial lists are complete (S79); a lone change is written at once, many
//! are taken together (S80); what fails is tried again by this NIC alone.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Status;
use super::account::Account;
use super::cluster::Cluster;
use super::inbox::Inbox;
use super::inquiry::{Inquiries, Inquiry};
use crate::config::Config;
use crate::device::Device;
use crate::model::Changes;
use crate::pacing::Pacer;
use crate::reconcile::{self, Outcome, Reconciler, Report};
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::telemetry::metric::{self, Changed};

/// How often a session is looked for that came or went without being asked for.
const LOOK: Duration = Duration::from_millis(50);
/// How often open connections are looked at: to weigh endpoints by them, and to let go of what closed ones needed.
const CONNECTIONS: Duration = Duration::from_secs(10);
/// Wait after a failure whose report names none.
const RETRY: Duration = Duration::from_secs(1);

/// One NIC and what it was told.
pub struct Nic {
    inbox: Arc<Inbox>,
    cluster: Arc<Cluster>,
    reconciler: Reconciler,
    device: Arc<dyn Device>,
    inquiries: (Inquiries, mpsc::Receiver<Inquiry>),
    health: Arc<Health>,
    status: watch::Sender<Status>,
    node: String,
    account: Account,
    pacer: Pacer,
    resync_period: Duration,
    pending: Changes,
    session: Option<u64>,
    /// When to try again although nothing changed.
    again: Option<Instant>,
    resync_at: Instant,
}

/// Whose NIC it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of the node that this process runs on, whose addresses answer health checks of Services.
    Here,
    /// Of any node.
    Anywhere,
}

impl Nic {
    /// The NIC of the configuration's node.
    pub fn new(
        config: &Config,
        place: Place,
        cluster: Arc<Cluster>,
        device: Arc<dyn Device>,
        health: Arc<Health>,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, seen) = watch::channel(Status::default());
        let settings = reconcile::Config {
            view: config.viewpoint(),
            wiring: config.wiring(),
            limits: reconcile::Limits::default(),
        };
        let (here, now) = (place == Place::Here, SystemTime::now());
        let nic = Self {
            inbox: cluster.subscribe(),
            cluster,
            reconciler: Reconciler::new(device.clone(), settings),
            device,
            inquiries: Inquiries::new(),
            account: Account::new(config.viewpoint(), health.clone(), here, now),
            health,
            status,
            node: config.node_name.clone(),
            pacer: Pacer::new(config.sync.min_sync_period.0, config.sync.burst),
            resync_period: config.sync.resync_period.0,
            pending: Changes::default(),
            session: None,
            again: None,
            resync_at: Instant::now() + config.sync.resync_period.0,
        };
        (nic, seen)
    }

    /// Where questions about packets are put.
    pub fn inquiries(&self) -> Inquiries {
        self.inquiries.0.clone()
    }

    /// Tells warnings about Services there, too; without this only to the log.
    pub fn report_to(&mut self, events: Events) {
        self.account.report_to(events);
    }

    /// Runs until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connections = tokio::time::interval(CONNECTIONS);
        connections.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let inbox = self.inbox.clone();
        loop {
            let due = self.due(Instant::now());
            let wait = until(due.unwrap_or_else(|| Instant::now() + RETRY));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = inbox.news() => self.take(),
                () = wait, if due.is_some() => {
                    let cancelled = tokio::select! {
                        () = cancel.cancelled() => true,
                        () = self.sync() => false,
                    };
                    if cancelled {
                        return;
                    }
                }
                Some(Inquiry { question, answer }) = self.inquiries.1.recv() => {
                    // Whoever asked may have left.
                    let _ = answer.send(self.reconciler.why(&self.cluster.now(), &question));
                }
                _ = look.tick() => {
                    self.look();
                    self.account.retry(Instant::now()).await;
                }
                _ = connections.tick() => self.look_at_connections().await,
            }
        }
    }

    /// When the next synchronisation is to happen; `None`: when something changes.
    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.status.borrow().listed {
            return None;
        }
        let changed = (!self.pending.is_empty()).then(|| self.pacer.ready_at(now));
        [changed, self.again, Some(self.resync_at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes in what was told.
    fn take(&mut self) {
        let Some(told) = self.inbox.take() else {
            return;
        };
        let changed = told.changed();
        if told.changes.nodes || told.listed {
            let cluster = self.cluster.now();
            // A node that is not known yet, or not any more, says nothing.
            if let Some(node) = cluster.node(&self.node) {
                self.health.node_eligible(node.is_eligible());
            }
        }
        if told.listed {
            self.again = Some(Instant::now());
        }
        if changed {
            let now = SystemTime::now();
            self.health.queued(now);
            self.account.take(&told);
            let new = Changed {
                services: told.services,
                endpoints: told.endpoints,
            };
            metric::queued(new, self.account.heard(), now);
        }
        self.status.send_modify(|status| {
            // What changes nothing needs no write.
            let settled = status.programmed == status.noticed && self.pending.is_empty();
            status.listed |= told.listed;
            status.noticed += told.noticed;
            if settled && !changed && !told.listed {
                status.programmed = status.noticed;
            }
        });
        self.pending.merge(told.changes);
    }

    /// Notices sessions that come by themselves.
    fn look(&mut self) {
        let session = self.device.session();
        if session != self.session && session.is_some() {
            self.again = Some(Instant::now());
        }
    }

    /// Weighs endpoints by their open connections, and lets go of what closed ones needed.
    async fn look_at_connections(&mut self) {
        for outcome in [
            self.reconciler.balance().await,
            self.reconciler.drain().await,
        ] {
            match outcome {
                Ok(true) => self.again = Some(Instant::now()),
                Ok(false) => {}
                Err(error) => tracing::warn!("cannot look at open connections: {error}"),
            }
        }
    }

    async fn sync(&mut self) {
        let now = Instant::now();
        if now >= self.resync_at {
            self.reconciler.resync();
            self.resync_at = now + self.resync_period;
        }
        self.again = None;
        self.session = self.device.session();
        let changes = std::mem::take(&mut self.pending);
        let noticed = self.status.borrow().noticed;
        if !changes.is_empty() {
            self.pacer.wrote(now);
        }
        let cluster = self.cluster.now();
        let report = self.reconciler.sync(&cluster, &changes).await;
        self.follow_up(&report);
        tell(&report);
        let now = SystemTime::now();
        self.account.synced(&report, now);
        metric::synced(&report, self.account.heard(), now);
        self.account.tell(&cluster, &changes).await;
        // Who waits for the status may be about to change the cluster, which would have to be copied.
        drop(cluster);
        self.status.send_modify(|status| {
            if report.is_clean() {
                status.programmed = noticed;
            }
            status.last = Some(report);
        });
    }

    /// The reconciler remembers what it could not write; here is decided when it tries again.
    fn follow_up(&mut self, report: &Report) {
        if report.is_clean() {
            self.health.updated(SystemTime::now());
            return;
        }
        if report.outcome == Outcome::NotConnected {
            // The next session wakes us.
            self.session = None;
        }
        self.again = Some(Instant::now() + report.retry_after.unwrap_or(RETRY));
    }
}

/// A timer goes by whole milliseconds: what is due is not to wait for one.
async fn until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due.into()).await;
    }
}

fn tell(report: &Report) {
    match &report.outcome {
        Outcome::Done if report.writes() > 0 || report.full => tracing::info!(
            inserted = report.inserts,
            modified = report.modifies,
            deleted = report.deletes,
            calls = report.rpcs,
            services = report.services,
            full = report.full,
            duration = ?report.duration,
            "synchronised"
        ),
        Outcome::Done | Outcome::Unsynced => {}
        Outcome::NotConnected => {
            tracing::debug!("no session that may write; what changed is remembered")
        }
        Outcome::WrongProgram(differs) => {
            tracing::error!(
                "the device runs another program: {differs}; give the right one with --program"
            );
        }
        Outcome::Broken(reason) => {
            tracing::warn!("the device broke off: {reason}; reading back and trying again")
        }
    }
    for error in &report.errors {
        tracing::warn!(
            owner = error.owner,
            table = error.table,
            entries = error.entries,
            "{}",
            error.message
        );
    }
}
