//! Removes connections and pins that lead nowhere (S63–S67).
//!
//! In: what may be stale, and the connections to it where the control plane knows them all; where the device learns by
//! itself they are read from it (P4Runtime reads a table with exact keys whole or one entry of it). Out: fewer entries.
//! Takes time linear in the table.
//!
//! ```text
//! handed over ▶ find (a task of its own) ▶ delete, a batch between two batches of packets ▶ settle ▶ those on their way
//! ```
//!
//! Invariant: an entry is judged again when it is deleted, by what serves then, and between that and its deletion nobody
//! here writes it: what leads to an endpoint that answers stays.

use std::time::{Duration, Instant};

use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use proto::update::Type as Kind;
use rustc_hash::FxHashSet;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, warn};

use super::connections::reply_key;
use super::counters::Counters;
use super::worker::{SlowPath, is_direct};
use crate::device::stale::{Stale, Sweeps};
use crate::device::{Device, DeviceError};
use crate::model::Family;
use crate::tables::endpoint::Target;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Table, Tables, affinity, entry};
use crate::telemetry::metric;

/// Entries removed in one call: connections, or pins.
const BATCH: usize = 1024;
/// Wait before what could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a packet may be on its way to here that was sent before the device knew of a change.
const SETTLE: Duration = Duration::from_secs(1);

/// What a clean-up did.
#[derive(Debug)]
pub struct Swept {
    /// Connections whose entries were deleted, IPv4 and IPv6.
    pub deleted: [u64; 2],
    /// How long it took.
    pub duration: Duration,
}

/// The clean-up of one device.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    finding: JoinSet<Result<Found, DeviceError>>,
    doing: Option<Doing>,
    /// When to look again.
    pub(super) at: Option<Instant>,
    /// When the last one began.
    since: Option<Instant>,
}

/// Entries that seemed to lead nowhere when they were read.
#[derive(Debug, Default)]
pub(super) struct Found {
    connections: Vec<(Key, Tuple)>,
    pins: Vec<(affinity::Key, Target)>,
}

/// A clean-up that goes on.
#[derive(Debug)]
struct Doing {
    started: Instant,
    found: Option<Found>,
    /// Pins that lead elsewhere since.
    rewritten: FxHashSet<affinity::Key>,
    deleted: [u64; 2],
}

impl Sweep {
    /// A pin has been written.
    pub(super) fn wrote(&mut self, pin: affinity::Key) {
        if let Some(doing) = &mut self.doing {
            doing.rewritten.insert(pin);
        }
    }

    /// Waits until there is a batch to delete.
    pub(super) async fn ready(&mut self) -> Ready {
        if self
            .doing
            .as_ref()
            .is_some_and(|doing| doing.found.is_some())
        {
            return Ready::Batch;
        }
        match self.finding.join_next().await {
            Some(found) => Ready::Found(found),
            None => std::future::pending().await,
        }
    }

    fn take_batch(&mut self) -> Option<Found> {
        let found = self.doing.as_mut()?.found.as_mut()?;
        let mut batch = Found::default();
        if found.connections.is_empty() {
            batch.pins = found.pins.split_off(found.pins.len().saturating_sub(BATCH));
        } else {
            let left = found.connections.len().saturating_sub(BATCH);
            batch.connections = found.connections.split_off(left);
        }
        Some(batch)
    }
}

/// What a clean-up can go on with.
#[derive(Debug)]
pub(super) enum Ready {
    /// What was read from the device.
    Found(Result<Result<Found, DeviceError>, JoinError>),
    /// More to delete, or nothing any more.
    Batch,
}

/// Waits until there is something to clean up; for ever on devices of which nobody tells.
pub(super) async fn handed_over(device: &dyn Device) {
    match device.sweeps() {
        Some(sweeps) => sweeps.handed_over().await,
        None => std::future::pending().await,
    }
}

impl SlowPath {
    /// Begins to remove connections that lead nowhere, unless that goes on already.
    pub(super) async fn sweep(&mut self, now: Instant) {
        let device = self.device.clone();
        let Some(sweeps) = device.sweeps().filter(|_| self.sweep.doing.is_none()) else {
            return;
        };
        if !self.prepare(now).await {
            self.sweep.at = sweeps.has_work().then_some(now + RETRY);
            return;
        }
        let Some(program) = &self.program else { return };
        let Some(stale) = sweeps.begin() else {
            if self.sweep.at.is_some_and(|at| at <= now) {
                self.sweep.at = None;
                self.settle(sweeps, now).await;
            }
            return;
        };
        self.sweep.at = None;
        let known = match program.learns {
            true => None,
            false => Some(self.connections.stale(&stale, None)),
        };
        let tables = program.tables.clone();
        self.sweep.doing = Some(Doing {
            started: now,
            found: None,
            rewritten: FxHashSet::default(),
            deleted: [0; 2],
        });
        self.sweep
            .finding
            .spawn(async move { find(&*device, &tables, known, &stale).await });
    }

    /// Goes on with a clean-up.
    pub(super) async fn go_on(&mut self, ready: Ready, now: Instant) {
        let outcome = match ready {
            Ready::Found(Ok(Ok(found))) => {
                if let Some(doing) = &mut self.sweep.doing {
                    doing.found = Some(found);
                }
                return;
            }
            Ready::Found(Ok(Err(error))) => Err(error.to_string()),
            Ready::Found(Err(error)) => Err(error.to_string()),
            Ready::Batch => match self.delete_batch().await {
                Ok(true) => return,
                Ok(false) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
        };
        self.finish(outcome, now);
    }

    /// The clean-up has done what it could.
    fn finish(&mut self, outcome: Result<(), String>, now: Instant) {
        let (Some(doing), Some(sweeps)) = (self.sweep.doing.take(), self.device.sweeps()) else {
            return;
        };
        let swept = Swept {
            deleted: doing.deleted,
            duration: now.saturating_duration_since(doing.started),
        };
        metric::swept(&swept);
        match outcome {
            Ok(()) => {
                self.sweep.since = Some(doing.started);
                self.sweep.at = Some(now + SETTLE);
                sweeps.settle();
            }
            Err(error) => {
                warn!(%error, "connections that lead nowhere could not be removed; trying again");
                self.sweep.at = Some(now + RETRY);
                sweeps.give_up();
            }
        }
        if doing.deleted != [0; 2] {
            debug!(connections = ?doing.deleted, duration = ?swept.duration, "removed connections that lead nowhere");
        }
    }

    /// Deletes some of what was found; false: there is no more.
    async fn delete_batch(&mut self) -> Result<bool, DeviceError> {
        let stale = self.device.sweeps().and_then(Sweeps::present);
        let (Some(program), Some(stale)) = (&self.program, stale) else {
            return Ok(false);
        };
        let (tables, learns) = (program.tables.clone(), program.learns);
        let Some(mut batch) = self.sweep.take_batch() else {
            return Ok(false);
        };
        if batch.connections.is_empty() && batch.pins.is_empty() {
            return Ok(false);
        }
        batch.connections.retain(|(flow, new)| {
            let same = learns || self.connections.installed(flow) == Some(*new);
            same && stale.has(flow, *new)
        });
        self.disconnect(&tables, &batch.connections).await?;
        let rewritten = self.sweep.doing.as_ref().map(|doing| &doing.rewritten);
        batch.pins.retain(|(key, to)| {
            stale.has_pin(key.affinity_id, to)
                && !rewritten.is_some_and(|known| known.contains(key))
        });
        let keys = batch.pins.iter().map(|(key, _)| tables.affinity.key(key));
        let updates: Vec<_> = keys.map(|key| entry::update(Kind::Delete, key)).collect();
        if !updates.is_empty() {
            self.device.write(updates).await?;
        }
        Ok(true)
    }

    /// Deletes connections.
    async fn disconnect(
        &mut self,
        tables: &Tables,
        connections: &[(Key, Tuple)],
    ) -> Result<(), DeviceError> {
        if connections.is_empty() {
            return Ok(());
        }
        // The keys of `flow` first: their results tell which connections there were.
        let flows = connections.iter().map(|(flow, _)| tables.flow.key(flow));
        let answered = connections.iter().filter(|(_, new)| !is_direct(*new));
        let replies = answered.map(|(flow, new)| tables.reply.key(&reply_key(flow, *new)));
        let updates = flows
            .chain(replies)
            .map(|entry| entry::update(Kind::Delete, entry));
        let results = self.device.write(updates.collect()).await?;
        let mut deleted = [0; 2];
        for ((flow, _), result) in connections.iter().zip(results) {
            self.connections.remove(flow);
            deleted[usize::from(flow.tuple.dst.family() == Family::V6)] +=
                u64::from(result.is_ok());
        }
        Counters::add(&self.counters.stale, deleted.iter().sum());
        if let Some(doing) = &mut self.sweep.doing {
            let sums = doing.deleted.iter_mut().zip(deleted);
            sums.for_each(|(sum, more)| *sum += more);
        }
        Ok(())
    }

    /// Removes connections whose first packets were on their way here when the device learned of the change.
    async fn settle(&mut self, sweeps: &Sweeps, now: Instant) {
        let (Some(program), Some(stale)) = (&self.program, sweeps.present()) else {
            return;
        };
        let tables = program.tables.clone();
        let found = self.connections.stale(&stale, self.sweep.since);
        match self.disconnect(&tables, &found).await {
            Ok(()) => sweeps.end(),
            Err(error) => {
                warn!(%error, "connections that lead nowhere could not be removed; trying again");
                self.sweep.at = Some(now + RETRY);
            }
        }
    }

    /// Waits for the clean-up that goes on.
    #[cfg(test)]
    pub(super) async fn finish_sweep(&mut self) {
        while self.sweep.doing.is_some() {
            let ready = self.sweep.ready().await;
            self.go_on(ready, Instant::now()).await;
        }
    }
}

/// What seems to lead nowhere. `known` are all such connections, where the control plane set all up.
async fn find(
    device: &dyn Device,
    tables: &Tables,
    known: Option<Vec<(Key, Tuple)>>,
    stale: &Stale,
) -> Result<Found, DeviceError> {
    let mut found = Found::default();
    match known {
        Some(known) => found.connections = known,
        None if stale.concerns_connections() => {
            let judge = |entry: &proto::TableEntry| {
                let connection = tables.flow.decode(entry);
                connection.filter(|(flow, new)| stale.has(flow, *new))
            };
            found.connections = matching(device, tables.flow.id(), judge).await?;
        }
        None => {}
    }
    if stale.concerns_pins() {
        let judge = |entry: &proto::TableEntry| {
            let pin = tables.affinity.decode(entry);
            pin.filter(|(key, to)| stale.has_pin(key.affinity_id, to))
        };
        found.pins = matching(device, tables.affinity.id(), judge).await?;
    }
    Ok(found)
}

/// What `judge` makes of the entries of a table, as they come.
async fn matching<T>(
    device: &dyn Device,
    table: u32,
    judge: impl Fn(&proto::TableEntry) -> Option<T>,
) -> Result<Vec<T>, DeviceError> {
    let mut found = Vec::new();
    let mut answer = device.read(vec![entry::all_of(table)]);
    while let Some(part) = answer.next().await {
        for entity in part? {
            if let Some(proto::entity::Entity::TableEntry(entry)) = &entity.entity {
                found.extend(judge(entry));
            }
        }
    }
    Ok(found)
}
