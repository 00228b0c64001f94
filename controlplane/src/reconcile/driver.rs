//! Keeps one device as the cluster wants it.
//!
//! In: the model and what changed in it. Out: writes, and a report. Invariant: what is believed to be installed is what
//! was read back or acknowledged since; whenever that is in doubt, it is read back again before anything is written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use tokio::runtime::RuntimeFlavor;

use super::asked::{count, counting, each, endpoint_ids, port_changes};
use super::diff::{Scope, diff};
use super::execute::{Execution, Progress};
use super::installed::Installed;
use super::plan::{missing, plan};
use super::report::{Outcome, Report};
use super::suspects::{self, Suspects};
use crate::compile::{
    Balance, CompiledService, Context, Desired, Ids, Owned, State, Touched, Wiring, compile, wire,
};
use crate::device::{Device, DeviceError};
use crate::model::{Changes, Model, ObjectKey};
use crate::resolve::{NodeView, Viewpoint, resolve};
use crate::tables::{Interface, Tables, vip};
use crate::traffic::Numbering;

/// What a reconciler needs to know beside the cluster.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Whose view of the cluster is programmed.
    pub view: Viewpoint,
    /// How the NIC is wired.
    pub wiring: Wiring,
    /// Bounds of one write.
    pub limits: Limits,
}

/// Bounds of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Updates in one call.
    pub updates: usize,
    /// Bytes in one call, reached by its last update.
    pub bytes: usize,
    /// Calls in flight.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            updates: 8192,
            bytes: 3 << 20,
            in_flight: 2,
        }
    }
}

/// First wait before a failed update is tried again; it doubles from failure to failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait before a failed update is tried again.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Services that are worked out before what they need is on its way.
const BLOCK: usize = 256;
/// IPv4 header: the rest of a packet is the longest SCTP packet.
const IP_HEADER: u16 = 20;

/// One device and what it should hold.
pub struct Reconciler {
    device: Arc<dyn Device>,
    pub(super) config: Config,
    /// What was seen from there last.
    pub(super) view: NodeView,
    /// What the device's program can do.
    interface: Interface,
    ids: Ids,
    balance: Balance,
    pub(super) desired: Desired,
    pub(super) link: Option<Link>,
    /// Differences that were not written yet; `None`: anything may differ.
    touched: Option<Touched>,
    /// Addresses that the device answers neighbours for.
    own: BTreeSet<vip::Key>,
    pending: Pending,
    /// Where connections may lead nowhere since the device was last told (S63).
    suspects: Suspects,
    resync: bool,
    failures: u32,
    pub(super) last: Option<Report>,
}

/// What is known of the device in its present session.
pub(super) struct Link {
    session: u64,
    pub tables: Arc<Tables>,
    pub installed: Installed,
    /// Numbers of endpoints whose counters were not 0 when the session began.
    counting: FxHashSet<u32>,
}

/// What is to be worked out.
struct Work {
    /// All there is, whether or not it changed.
    everything: bool,
    services: Vec<ObjectKey>,
}

/// What changed in the model and was not worked out yet.
#[derive(Debug, Default)]
struct Pending {
    all: bool,
    nodes: bool,
    services: BTreeSet<ObjectKey>,
}

impl Reconciler {
    /// For a device about which nothing is known yet.
    pub fn new(device: Arc<dyn Device>, config: Config) -> Self {
        Self {
            device,
            config,
            view: NodeView::default(),
            interface: Interface::default(),
            ids: Ids::default(),
            balance: Balance::default(),
            desired: Desired::default(),
            link: None,
            touched: None,
            own: BTreeSet::new(),
            pending: Pending {
                all: true,
                ..Pending::default()
            },
            suspects: Suspects::default(),
            resync: false,
            failures: 0,
            last: None,
        }
    }

    /// Takes other settings; the next [`sync`](Self::sync) works everything out again.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
        self.start_over();
    }

    /// Forces the next [`sync`](Self::sync) to read the device back and compare everything.
    pub fn resync(&mut self) {
        self.resync = true;
    }

    /// Weighs the endpoints of Services that balance by open connections anew; `true` if the next
    /// [`sync`](Self::sync) has something to do. Asks the device for its connections only if there are such Services.
    ///
    /// # Errors
    /// When the device does not answer; nothing is weighed anew then.
    pub async fn balance(&mut self) -> Result<bool, DeviceError> {
        let by_load = |service: &CompiledService| service.scheduler.is_least_connection();
        let Some(link) = &self.link else {
            return Ok(false);
        };
        if !self.desired.services().any(|(_, service)| by_load(service)) {
            return Ok(false);
        }
        let frontends = &link.installed.state().frontends;
        let open = count(&*self.device, &link.tables.flow, frontends).await?;
        for (key, service) in self.desired.services().filter(|(_, s)| by_load(s)) {
            for port in &service.ports {
                if self.balance.observe(port, &open) {
                    self.pending.services.insert(key.clone());
                }
            }
        }
        Ok(!self.pending.services.is_empty())
    }

    /// Looks which SCTP connections are open to endpoints that left, and lets go of checksum words that none needs;
    /// `true` if the next [`sync`](Self::sync) has something to do. Asks the device only while there are such words.
    ///
    /// # Errors
    /// When the device does not answer; nothing is let go then.
    pub async fn drain(&mut self) -> Result<bool, DeviceError> {
        let Some(link) = &self.link else {
            return Ok(false);
        };
        if !self.desired.is_draining() {
            return Ok(false);
        }
        let mut open = FxHashSet::default();
        each(&*self.device, &link.tables.flow, |key, to| {
            open.extend(port_changes(&key.tuple, &to));
        })
        .await?;
        let longest = self.longest_sctp();
        let mut ignored = Touched::default();
        let touched = self.touched.as_mut().unwrap_or(&mut ignored);
        Ok(self.desired.drained(&open, longest, touched))
    }

    /// The longest SCTP packet: what an IPv4 header leaves of the MTU.
    fn longest_sctp(&self) -> u16 {
        self.config.wiring.mtu.saturating_sub(IP_HEADER)
    }

    /// The device.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// What the device should hold.
    pub fn desired(&self) -> &State {
        self.desired.state()
    }

    /// What the device holds, as far as known.
    pub fn installed(&self) -> Option<&State> {
        self.link.as_ref().map(|link| link.installed.state())
    }

    /// What the last [`sync`](Self::sync) did.
    pub fn last_report(&self) -> Option<&Report> {
        self.last.as_ref()
    }

    /// Brings the device to what the model wants. `changes` is what changed since the last call.
    ///
    /// Writes nothing before the model's initial lists are complete (S79). After a new session the device is read back
    /// first. May be cancelled: the next call then reads back.
    pub async fn sync(&mut self, model: &Model, changes: &Changes) -> Report {
        let started = Instant::now();
        self.pending.nodes |= changes.nodes;
        self.pending
            .services
            .extend(changes.services.iter().cloned());
        let mut report = Report::new(Outcome::Done);
        if let Err(outcome) = self.bring(model, &mut report).await {
            report.outcome = outcome;
        }
        report.retry_after = self.retry_after(&report);
        report.duration = started.elapsed();
        self.last = Some(report.clone());
        report
    }

    async fn bring(&mut self, model: &Model, report: &mut Report) -> Result<(), Outcome> {
        if !model.is_synced() {
            return Err(Outcome::Unsynced);
        }
        let session = self.device.session().ok_or(Outcome::NotConnected)?;
        let known = self
            .link
            .take()
            .filter(|link| link.session == session && !self.resync);
        let mut link = match known {
            Some(link) => link,
            None => {
                report.full = true;
                self.touched = None;
                self.suspects.everything();
                let link = self.read_back(session).await?;
                self.resync = false;
                let found = link.installed.state();
                if self.ids.recover(found.frontends.iter(), &found.sets) {
                    self.start_over();
                }
                self.ids.avoid(&link.counting);
                if std::mem::replace(&mut self.interface, link.tables.interface)
                    != link.tables.interface
                {
                    self.start_over();
                }
                if self.interface == Interface::Basic {
                    tracing::warn!(
                        "the device's program tells no clients apart and changes no source addresses: traffic policies count as for clients from outside, S47–S53 do not hold; load a current program with --program"
                    );
                }
                link
            }
        };
        self.ids.limit_endpoints(endpoint_ids(&*self.device));
        if let Some(ledger) = self.device.ledger() {
            self.ids.reclaim(ledger.free());
        }
        match self.work_out_and_write(model, &mut link, report).await {
            Ok(()) => {
                self.link = Some(link);
                self.sweep(report);
                Ok(())
            }
            Err(error) => {
                self.touched = None;
                Err(broken(error))
            }
        }
    }

    /// Works out what changed and writes what differs. Where that is much, sets are written while others are worked out:
    /// nothing refers to them yet.
    async fn work_out_and_write(
        &mut self,
        model: &Model,
        link: &mut Link,
        report: &mut Report,
    ) -> Result<(), DeviceError> {
        let mut progress = Progress::default();
        let work = self.begin(model);
        report.services = work.services.len();
        for block in work.services.chunks(BLOCK) {
            at_length(work.everything, || {
                self.work_out(block, model, link.installed.state());
            });
            self.tell_numbers();
            if work.services.len() > BLOCK {
                progress = self.write_ahead(block, link, report, progress).await?;
            }
        }
        if work.everything {
            self.settle(link.installed.state());
            self.tell_numbers();
        }
        self.pending = Pending::default();
        if self.touched.is_none() {
            link.installed.share_all(self.desired.state());
        }
        self.write(link, report, progress).await
    }

    /// Tells who counts which endpoint has which number. Where nobody counts, numbers may come back at once.
    fn tell_numbers(&mut self) {
        let changes = self.ids.numberings();
        match self.device.ledger() {
            Some(ledger) => ledger.number(changes),
            None => self
                .ids
                .reclaim(changes.iter().filter_map(|change| match change {
                    Numbering::Taken(id) | Numbering::Stale(id) => Some(*id),
                    Numbering::Given { .. } | Numbering::Void => None,
                })),
        }
    }

    /// Has connections removed that lead nowhere, now that new ones go elsewhere; again later where the device did not
    /// take everything.
    fn sweep(&mut self, report: &Report) {
        if let Some(sweeps) = self.device.sweeps() {
            sweeps.hand_over(self.suspects.judge(&self.desired));
        }
        if report.errors.is_empty() {
            self.suspects = Suspects::default();
        }
    }

    async fn read_back(&self, session: u64) -> Result<Link, Outcome> {
        let schema = self.device.schema().ok_or(Outcome::NotConnected)?;
        let tables = match Tables::resolve(&schema) {
            Ok(tables) => Arc::new(tables),
            Err(missing) => return Err(Outcome::WrongProgram(missing.to_string())),
        };
        let installed = Installed::read(&*self.device, &tables)
            .await
            .map_err(broken)?;
        if installed.unreadable > 0 {
            tracing::warn!(
                device = self.device.name(),
                entries = installed.unreadable,
                "entries of another's making stay as they are"
            );
        }
        let counting = counting(&*self.device).await.map_err(broken)?;
        Ok(Link {
            session,
            tables,
            installed,
            counting,
        })
    }

    /// Begins to write the slots of these Services' sets that the device lacks.
    async fn write_ahead(
        &self,
        services: &[ObjectKey],
        link: &mut Link,
        report: &mut Report,
        progress: Progress,
    ) -> Result<Progress, DeviceError> {
        let desired = self.desired.state();
        let services = services.iter().filter_map(|key| self.desired.service(key));
        let missing = missing(services, desired, link.installed.state());
        let mut execution = self.execution(link, report, progress);
        execution.ahead(missing.pieces()).await?;
        Ok(execution.progress)
    }

    fn execution<'a>(
        &'a self,
        link: &'a mut Link,
        report: &'a mut Report,
        progress: Progress,
    ) -> Execution<'a> {
        Execution {
            device: &self.device,
            tables: &link.tables,
            limits: self.config.limits,
            desired: &self.desired,
            installed: &mut link.installed,
            report,
            progress,
        }
    }

    /// Writes what differs. The keys to look at are forgotten first: whoever cancels this has no link any more.
    async fn write(
        &mut self,
        link: &mut Link,
        report: &mut Report,
        progress: Progress,
    ) -> Result<(), DeviceError> {
        let touched = self.touched.take();
        let mut execution = self.execution(link, report, progress);
        // What is on its way counts as there.
        execution.arrive().await?;
        let scope = touched.as_ref().map_or(Scope::All, Scope::Keys);
        let vips = touched.as_ref().map(|touched| touched.vips.clone());
        let (desired, installed) = (self.desired.state(), execution.installed.state());
        let phases = plan(diff(desired, installed, scope));
        execution.run(phases).await?;
        let Progress { left, in_doubt, .. } = execution.progress;
        self.resync = in_doubt;
        self.touched = Some(left);
        self.tell_own(link, vips);
        Ok(())
    }

    /// Tells who answers neighbours which addresses the device has now. `changed`: only these may be others than before.
    fn tell_own(&mut self, link: &Link, changed: Option<FxHashSet<vip::Key>>) {
        let Some(told) = self.device.own_addresses() else {
            return;
        };
        let installed = &link.installed.state().vips;
        let is_own = |entry: &Owned<vip::Action>| entry.action == vip::Action::Own;
        match changed {
            None => {
                let own = installed.iter().filter(|(_, entry)| is_own(entry));
                self.own = own.map(|(key, _)| *key).collect();
            }
            Some(keys) => {
                for key in keys {
                    if installed.get(&key).is_some_and(is_own) {
                        self.own.insert(key);
                    } else {
                        self.own.remove(&key);
                    }
                }
            }
        }
        told.set(link.session, &self.own);
    }

    /// Looks where things are, and which Services are to be worked out. They stay pending until all of them are:
    /// whoever cancels in between loses nothing.
    fn begin(&mut self, model: &Model) -> Work {
        let everything = self.pending.all;
        if everything {
            let known = self.desired.services().map(|(key, _)| key.clone());
            self.pending.services.extend(known);
        }
        if everything || self.pending.nodes {
            let view = self.config.view.look(model);
            if everything || view != self.view {
                // Another zone, other addresses: everything may look different (S46).
                let all = model.services().map(|service| service.key.clone());
                self.pending.services.extend(all);
            }
            self.view = view;
            let mut wired = wire(&self.config.wiring, &self.view, model);
            if self.interface == Interface::Basic {
                wired = wired.basic();
            }
            // While anything may differ it does not matter what was touched.
            let mut ignored = Touched::default();
            let touched = self.touched.as_mut().unwrap_or(&mut ignored);
            self.desired.rewire(wired, touched);
        }
        Work {
            everything,
            // In order of name: a first start gives the same numbers wherever it happens.
            services: self.pending.services.iter().cloned().collect(),
        }
    }

    /// Resolves and compiles Services.
    fn work_out(&mut self, services: &[ObjectKey], model: &Model, installed: &State) {
        let mut touched = self.touched.take();
        let mut ignored = Touched::default();
        for key in services {
            let touched = touched.as_mut().unwrap_or(&mut ignored);
            self.work_out_one(key, model, installed, touched);
        }
        self.touched = touched;
    }

    /// Everything was worked out: what nobody needs is forgotten.
    fn settle(&mut self, installed: &State) {
        let longest = self.longest_sctp();
        self.desired
            .keep_port_changes(&installed.sctp_checksums, longest);
        // A device that was read back may know owners that are gone.
        let services = self.desired.services();
        let ports = services.flat_map(|(_, service)| &service.ports);
        let owners = ports.map(|port| port.owner.clone()).collect();
        self.ids.retain(&owners);
    }

    fn work_out_one(
        &mut self,
        key: &ObjectKey,
        model: &Model,
        installed: &State,
        touched: &mut Touched,
    ) {
        let resolved = model
            .service(key)
            .and_then(|service| resolve(&self.view, service, model.slices_of(key)));
        let before = self.desired.service(key);
        let compiled = resolved.map(|resolved| {
            let state = self.desired.state();
            let context = Context {
                wiring: &self.config.wiring,
                balance: &self.balance,
                interface: self.interface,
                taken: &|id| state.sets.contains_key(&id) || installed.sets.contains_key(&id),
            };
            compile(&resolved, before, context, &mut self.ids)
        });
        if let Some(ledger) = self.device.ledger() {
            for port in compiled.iter().flat_map(|compiled| &compiled.ports) {
                ledger.serves(&port.owner, port.service_id, port.port);
            }
        }
        self.suspects.compare(&self.desired, key, compiled.as_ref());
        let sweeps = self.device.sweeps().filter(|sweeps| sweeps.has_work());
        if let (Some(sweeps), Some(compiled)) = (sweeps, &compiled) {
            suspects::admit(sweeps, compiled);
        }
        if let Some(affinities) = self.device.affinities() {
            let ports = compiled.iter().flat_map(|compiled| &compiled.ports);
            let seconds = compiled.as_ref().and_then(|compiled| compiled.affinity);
            ports.for_each(|port| affinities.set(port.service_id, seconds));
        }
        for port in before.iter().flat_map(|before| &before.ports) {
            let stays = compiled
                .as_ref()
                .is_some_and(|now| now.ports.iter().any(|other| other.key == port.key));
            if !stays {
                self.ids.release(&port.owner);
                if let Some(ledger) = self.device.ledger() {
                    ledger.gone(&port.owner);
                }
                if let Some(affinities) = self.device.affinities() {
                    affinities.set(port.service_id, None);
                }
                self.balance.forget(&port.owner);
            }
        }
        let longest = self.longest_sctp();
        self.desired.replace(key, compiled, longest, touched);
    }

    fn start_over(&mut self) {
        self.suspects.everything();
        self.desired = Desired::default();
        self.pending.all = true;
        self.touched = None;
    }

    fn retry_after(&mut self, report: &Report) -> Option<Duration> {
        match report.outcome {
            // Whoever brings these about calls again.
            Outcome::Unsynced | Outcome::NotConnected => return None,
            Outcome::Done if report.errors.is_empty() && !self.resync && self.is_settled() => {
                self.failures = 0;
                return None;
            }
            _ => {}
        }
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        Some(wait.min(LAST_RETRY))
    }

    fn is_settled(&self) -> bool {
        self.touched.as_ref().is_some_and(Touched::is_empty)
    }
}

/// Does work that may take seconds, so that other tasks of its thread go on meanwhile.
fn at_length<T>(long: bool, work: impl FnOnce() -> T) -> T {
    let several = tokio::runtime::Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if long && several {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

fn broken(error: DeviceError) -> Outcome {
    match error {
        DeviceError::NotConnected { .. } => Outcome::NotConnected,
        error => Outcome::Broken(error.to_string()),
    }
}
