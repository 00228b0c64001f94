//! The daemon: a source of objects on one side, a device on the other, and the loop between them.
//!
//! In: configuration, notices, a device. Out: a device that holds what the cluster wants, health, metrics, a
//! [`Status`] that others can wait on. Invariant: nothing is written before the initial lists are complete (S79); a
//! lone change is written at once, many are taken together (S80); ending writes nothing, so traffic goes on.

mod account;
pub mod counters;
pub mod inquiry;
pub mod link;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::device::Device;
use crate::model::{Changes, Model};
use crate::pacing::Pacer;
use crate::reconcile::{self, Outcome, Reconciler, Report};
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::telemetry::metric;
use crate::watch::Notice;
use account::Account;
use inquiry::{Inquiries, Inquiry};

/// How often a session is looked for that came or went without being asked for.
const LOOK: Duration = Duration::from_millis(50);
/// How often open connections are looked at: to weigh endpoints by them, and to let go of what closed ones needed.
const CONNECTIONS: Duration = Duration::from_secs(10);
/// Notices taken in before the device has its turn.
const GULP: usize = 512;
/// Wait after a failure whose report names none.
const RETRY: Duration = Duration::from_secs(1);

/// Where the daemon is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The initial lists are complete.
    pub listed: bool,
    /// Notices taken in.
    pub noticed: u64,
    /// Notices whose effect the device holds.
    pub programmed: u64,
    /// The last synchronisation.
    pub last: Option<Report>,
}

/// The loop's parts.
pub struct Daemon {
    reconciler: Reconciler,
    device: Arc<dyn Device>,
    notices: mpsc::Receiver<Notice>,
    inquiries: (Inquiries, mpsc::Receiver<Inquiry>),
    health: Arc<Health>,
    status: watch::Sender<Status>,
    node: String,
    account: Account,
    pacer: Pacer,
    resync_period: Duration,
    model: Model,
    pending: Changes,
    session: Option<u64>,
    /// When to try again although nothing changed.
    again: Option<Instant>,
    resync_at: Instant,
}

impl Daemon {
    /// A daemon that has heard nothing yet.
    pub fn new(
        config: &Config,
        device: Arc<dyn Device>,
        notices: mpsc::Receiver<Notice>,
        health: Arc<Health>,
    ) -> (Self, watch::Receiver<Status>) {
        let (status, seen) = watch::channel(Status::default());
        let settings = reconcile::Config {
            view: config.viewpoint(),
            wiring: config.wiring(),
            limits: reconcile::Limits::default(),
        };
        let daemon = Self {
            reconciler: Reconciler::new(device.clone(), settings),
            device,
            notices,
            inquiries: Inquiries::new(),
            account: Account::new(config.viewpoint(), health.clone(), SystemTime::now()),
            health,
            status,
            node: config.node_name.clone(),
            pacer: Pacer::new(config.sync.min_sync_period.0, config.sync.burst),
            resync_period: config.sync.resync_period.0,
            model: Model::new(),
            pending: Changes::default(),
            session: None,
            again: None,
            resync_at: Instant::now() + config.sync.resync_period.0,
        };
        (daemon, seen)
    }

    /// Where questions about packets are put.
    pub fn inquiries(&self) -> Inquiries {
        self.inquiries.0.clone()
    }

    /// Tells warnings about Services there, too; without this only to the log.
    pub fn report_to(&mut self, events: Events) {
        self.account.report_to(events);
    }

    /// Runs until cancelled, or until the source ends.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut connections = tokio::time::interval(CONNECTIONS);
        connections.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = self.due(Instant::now());
            let wait =
                tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + RETRY).into());
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                notice = self.notices.recv() => match notice {
                    Some(notice) => self.take(notice),
                    None => return,
                },
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
                    let _ = answer.send(self.reconciler.why(&self.model, &question));
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

    /// Takes in a notice, and those behind it.
    fn take(&mut self, first: Notice) {
        let mut next = Some(first);
        let before = self.account.heard();
        let mut changed = 0;
        for _ in 0..GULP {
            let Some(notice) = next.take() else { break };
            changed += self.take_one(notice);
            next = self.notices.try_recv().ok();
        }
        if let Some(notice) = next {
            changed += self.take_one(notice);
        }
        if changed > 0 {
            let now = SystemTime::now();
            self.health.queued(now);
            let heard = self.account.heard();
            let new = metric::Changed {
                services: heard.services - before.services,
                endpoints: heard.endpoints - before.endpoints,
            };
            metric::queued(new, heard, now);
        }
    }

    fn take_one(&mut self, notice: Notice) -> usize {
        let mut changed = 0;
        let listed = matches!(notice, Notice::Synced);
        match notice {
            Notice::Cluster(event) => {
                let heard = account::Heard::of(&event);
                let changes = self.model.apply(event);
                self.account.take(heard, changes.services.len());
                for problem in &changes.problems {
                    tracing::warn!("{problem}");
                }
                changed = changes.services.len() + usize::from(changes.nodes);
                self.pending.merge(changes);
                self.pending.problems.clear();
            }
            Notice::NodeEligible { node, eligible } if *node == *self.node => {
                self.health.node_eligible(eligible)
            }
            Notice::NodeEligible { .. } => {}
            Notice::Together(several) => {
                return several
                    .into_iter()
                    .map(|notice| self.take_one(notice))
                    .sum();
            }
            Notice::Synced => {
                tracing::info!(
                    services = self.model.services().len(),
                    slices = self.model.slices().len(),
                    nodes = self.model.nodes().len(),
                    "the initial lists are complete"
                );
                self.again = Some(Instant::now());
            }
        }
        self.status.send_modify(|status| {
            status.listed |= listed;
            status.noticed += 1;
            // What changes nothing needs no write.
            if changed == 0
                && self.pending.is_empty()
                && !listed
                && status.programmed + 1 == status.noticed
            {
                status.programmed = status.noticed;
            }
        });
        changed
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
        let report = self.reconciler.sync(&self.model, &changes).await;
        self.follow_up(&report, noticed);
        tell(&report);
        let now = SystemTime::now();
        self.account.synced(&report, now);
        metric::synced(&report, self.account.heard(), now);
        self.account.tell(&self.model, &changes).await;
        self.status.send_modify(|status| {
            if report.is_clean() {
                status.programmed = noticed;
            }
            status.last = Some(report);
        });
    }

    /// The reconciler remembers what it could not write; here is decided when it tries again.
    fn follow_up(&mut self, report: &Report, _noticed: u64) {
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
