//! Writes connections and pins into the device, many in one call.
//!
//! In: connections as [`Connections`](super::connections::Connections) opened them. Out: entries of `flow`, `reply` and
//! `affinity`. Invariant: a connection that the device does not take whole is forgotten, and what it took of it is
//! removed again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use p4runtime::proto::p4::v1 as proto;
use proto::update::Type as Kind;
use tracing::warn;

use super::connections::{Opening, reply_key};
use super::counters::Counters;
use super::worker::{SlowPath, is_direct};
use crate::device::{Failure, UpdateResult};
use crate::tables::endpoint::Target;
use crate::tables::flow::{Key, Tuple};
use crate::tables::{Table, affinity, entry};

/// Attempts to find a reply tuple that a learning device has free.
const ATTEMPTS: usize = 16;
/// How long a pin stays whose Service is not known yet: Kubernetes' default.
const AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

impl SlowPath {
    /// Writes both entries of new connections. A connection that the device does not take is forgotten, and its
    /// packets are dropped with it.
    pub(super) async fn install(&mut self, opened: &[(Key, Tuple)], now: Instant) {
        if opened.is_empty() {
            return;
        }
        let updates = opened
            .iter()
            .flat_map(|(flow, new)| self.entries(flow, *new, self.state_of(flow), Kind::Insert))
            .collect();
        let mut results = match self.device.write(updates).await {
            Ok(results) => results.into_iter(),
            Err(error) => {
                warn!(%error, "new connections could not be installed");
                opened
                    .iter()
                    .for_each(|(flow, _)| self.connections.remove(flow));
                Counters::add(&self.counters.write_errors, opened.len() as u64);
                return;
            }
        };
        let (mut again, mut undo) = (Vec::new(), Vec::new());
        for (flow, new) in opened {
            let entries = if is_direct(*new) { 1 } else { 2 };
            let own: Vec<_> = results.by_ref().take(entries).collect();
            match worst(&own) {
                None => self.opened(flow),
                Some(Failure::AlreadyExists) => again.push((*flow, *new)),
                Some(_) => {
                    // A half pair would translate one way only.
                    let halves = self.keys(flow, *new).into_iter();
                    let written = halves.zip(&own).filter(|(_, result)| result.is_ok());
                    undo.extend(written.map(|(half, _)| entry::update(Kind::Delete, half)));
                    self.not_installed(flow);
                }
            }
        }
        self.undo(undo).await;
        self.overwrite(again, now).await;
    }

    /// Entries are in the way. A device that learns may hold another connection's answers there, so another source port is
    /// tried; in others it is a former life of the same connection, which is replaced: all connections are known here.
    async fn overwrite(&mut self, again: Vec<(Key, Tuple)>, now: Instant) {
        let learns = self.program.as_ref().is_some_and(|program| program.learns);
        let (taken, own): (Vec<_>, Vec<_>) = again
            .into_iter()
            .partition(|(_, new)| learns && !is_direct(*new));
        let taken = taken.into_iter().map(|(flow, new)| {
            let endpoint_id = self.connections.endpoint_id(&flow);
            (flow, new, endpoint_id)
        });
        let taken = taken.collect();
        self.resolve_conflicts(taken, now).await;
        let updates: Vec<_> = own
            .iter()
            .flat_map(|(flow, new)| self.entries(flow, *new, self.state_of(flow), Kind::Modify))
            .collect();
        let mut taken = self.upsert(updates).await.into_iter();
        for (flow, new) in own {
            let entries = if is_direct(new) { 1 } else { 2 };
            if taken
                .by_ref()
                .take(entries)
                .fold(true, |all, one| all & one)
            {
                self.opened(&flow);
            } else {
                self.not_installed(&flow);
            }
        }
    }

    /// Writes entries that may or may not be there, first as the updates say; which of them the device has now.
    async fn upsert(&self, mut updates: Vec<proto::Update>) -> Vec<bool> {
        let mut done = vec![false; updates.len()];
        // The third time helps where an entry expired, or was learned, between the first two.
        for _ in 0..3 {
            let left: Vec<usize> = (0..done.len()).filter(|at| !done[*at]).collect();
            if left.is_empty() {
                break;
            }
            let batch = left.iter().map(|at| updates[*at].clone()).collect();
            let results = match self.device.write(batch).await {
                Ok(results) => results,
                Err(error) => {
                    warn!(%error, "entries could not be written");
                    break;
                }
            };
            for (at, result) in left.into_iter().zip(results) {
                match result.map_err(|error| error.kind) {
                    Ok(()) => done[at] = true,
                    Err(Failure::AlreadyExists) => updates[at].r#type = Kind::Modify as i32,
                    Err(Failure::NotFound) => updates[at].r#type = Kind::Insert as i32,
                    Err(_) => {}
                }
            }
        }
        done
    }

    /// A learning device found that other connections have these ones' reply tuples, and already learned their `flow`.
    /// All look for another port at once, until each has one or gives up.
    /// Each comes with the number by which its packets are counted.
    pub(super) async fn resolve_conflicts(&mut self, taken: Vec<(Key, Tuple, u32)>, now: Instant) {
        // Several packets may be of one connection.
        let taken = taken.into_iter();
        let mut looking: HashMap<Key, (Tuple, u32)> = taken
            .map(|(flow, natural, endpoint_id)| (flow, (natural, endpoint_id)))
            .collect();
        let mut found = Vec::new();
        for _ in 0..ATTEMPTS {
            let mut tried = Vec::new();
            looking.retain(|flow, (natural, endpoint_id)| {
                let opening = self.connections.reopen(*flow, *natural, now);
                let Opening::Install(new) = opening else {
                    self.unresolved(flow);
                    return false;
                };
                let endpoint = (natural.dst, natural.dst_port);
                self.connections.count_for(flow, endpoint, *endpoint_id);
                tried.push((*flow, new));
                true
            });
            if tried.is_empty() {
                break;
            }
            let replies = tried.iter().filter_map(|(flow, new)| {
                let program = self.program.as_ref()?;
                let key = reply_key(flow, *new);
                let table = &program.tables.reply;
                let reply = table.entry(&key, &flow.tuple.reversed());
                let reply = table.counted(reply, self.connections.endpoint_id(flow));
                Some(entry::update(Kind::Insert, reply))
            });
            let results = match self.device.write(replies.collect()).await {
                Ok(results) => results,
                Err(error) => {
                    warn!(%error, "conflicts could not be resolved");
                    break;
                }
            };
            for ((flow, new), result) in tried.into_iter().zip(results) {
                match result.map_err(|error| error.kind) {
                    Ok(()) => {
                        looking.remove(&flow);
                        found.push((flow, new));
                    }
                    Err(Failure::AlreadyExists) => {}
                    Err(_) => {
                        looking.remove(&flow);
                        self.unresolved(&flow);
                    }
                }
            }
        }
        looking.keys().for_each(|flow| self.unresolved(flow));
        self.complete(found).await;
    }

    /// Writes the `flow` of connections that have their `reply`.
    async fn complete(&mut self, found: Vec<(Key, Tuple)>) {
        let Some(program) = &self.program else { return };
        let table = &program.tables.flow;
        let flows = found.iter().map(|(flow, new)| {
            let entry = table.entry(flow, new);
            let entry = table.counted(entry, self.connections.endpoint_id(flow));
            entry::update(Kind::Modify, entry)
        });
        let done = self.upsert(flows.collect()).await;
        let mut undo = Vec::new();
        for ((flow, new), done) in found.into_iter().zip(done) {
            if done {
                Counters::count(&self.counters.port_changes);
                self.opened(&flow);
                continue;
            }
            let halves = self.keys(&flow, new).into_iter().skip(1);
            undo.extend(halves.map(|half| entry::update(Kind::Delete, half)));
            self.unresolved(&flow);
        }
        self.undo(undo).await;
    }

    async fn undo(&self, undo: Vec<proto::Update>) {
        if undo.is_empty() {
            return;
        }
        if let Err(error) = self.device.write(undo).await {
            warn!(%error, "halves of connections that found no room could not be removed");
        }
    }

    fn unresolved(&mut self, flow: &Key) {
        self.connections.remove(flow);
        Counters::count(&self.counters.unresolved_conflicts);
    }

    /// What a connection has in the device: `flow` and, where answers come back this way, `reply` behind it.
    fn entries(&self, flow: &Key, new: Tuple, state: u8, kind: Kind) -> Vec<proto::Update> {
        let Some(program) = &self.program else {
            return Vec::new();
        };
        let (flow_table, reply_table) = (&program.tables.flow, &program.tables.reply);
        let idle_timeout_ns = match program.learns {
            true => 0,
            false => nanoseconds(self.config.timeouts.of(flow.protocol, state)),
        };
        let endpoint_id = self.connections.endpoint_id(flow);
        let reply = (!is_direct(new)).then(|| {
            let entry = reply_table.entry(&reply_key(flow, new), &flow.tuple.reversed());
            reply_table.counted(entry, endpoint_id)
        });
        [flow_table.counted(flow_table.entry(flow, &new), endpoint_id)]
            .into_iter()
            .chain(reply)
            .map(|entry| {
                entry::update(
                    kind,
                    proto::TableEntry {
                        idle_timeout_ns,
                        ..entry
                    },
                )
            })
            .collect()
    }

    /// The keys of a connection's entries, in the order of [`entries`](Self::entries).
    fn keys(&self, flow: &Key, new: Tuple) -> Vec<proto::TableEntry> {
        self.program.as_ref().map_or_else(Vec::new, |program| {
            let tables = &program.tables;
            vec![
                tables.flow.key(flow),
                tables.reply.key(&reply_key(flow, new)),
            ]
        })
    }

    /// Pins clients to their new endpoints (S57), in place of endpoints that are in their sets no more (S59). A pin that
    /// cannot be written costs the client's next connection its endpoint, not this one.
    pub(super) async fn remember(&mut self, pins: Vec<(affinity::Key, Target)>) {
        let Some(program) = &self.program else { return };
        // Of a client's several connections the last one counts.
        let pins: HashMap<_, _> = pins.into_iter().collect();
        pins.keys().for_each(|pin| self.sweep.wrote(*pin));
        let entries = pins.iter().map(|(key, endpoint)| {
            let timeout = self
                .device
                .affinities()
                .and_then(|known| known.get(key.affinity_id));
            let idle_timeout_ns = match program.learns {
                true => 0,
                false => nanoseconds(timeout.unwrap_or(AFFINITY_TIMEOUT)),
            };
            let entry = proto::TableEntry {
                idle_timeout_ns,
                ..program.tables.affinity.entry(key, endpoint)
            };
            entry::update(Kind::Insert, entry)
        });
        let done = self.upsert(entries.collect()).await;
        let failed = done.iter().filter(|done| !**done).count();
        Counters::add(&self.counters.write_errors, failed as u64);
    }

    /// Gives connections the idle timeouts of their new states.
    pub(super) async fn turn(&mut self, turned: HashMap<Key, u8>) {
        let known = turned.into_iter().filter_map(|(flow, state)| {
            let new = self.connections.installed(&flow)?;
            Some((flow, new, state))
        });
        let known: Vec<_> = known.collect();
        let updates: Vec<_> = known
            .iter()
            .flat_map(|(flow, new, state)| self.entries(flow, *new, *state, Kind::Modify))
            .collect();
        if updates.is_empty() {
            return;
        }
        // What expired meanwhile is set up anew by its next packet.
        if let Err(error) = self.device.write(updates).await {
            warn!(%error, "connections keep the idle timeouts of their former states");
            return;
        }
        Counters::add(&self.counters.state_changes, known.len() as u64);
    }

    fn opened(&self, flow: &Key) {
        Counters::count(&self.counters.connections);
        if let Some(ledger) = self.device.ledger() {
            ledger.opened(self.connections.endpoint_id(flow));
        }
    }

    fn state_of(&self, flow: &Key) -> u8 {
        self.opening.get(flow).copied().unwrap_or_default()
    }

    fn not_installed(&mut self, flow: &Key) {
        self.connections.remove(flow);
        Counters::count(&self.counters.write_errors);
    }
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// The failure that matters most of a connection's two entries.
fn worst(results: &[UpdateResult]) -> Option<Failure> {
    let mut failures = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(|error| error.kind);
    let first = failures.next()?;
    Some(failures.fold(first, |worst, kind| {
        if worst == Failure::AlreadyExists {
            kind
        } else {
            worst
        }
    }))
}
