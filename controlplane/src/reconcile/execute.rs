//! Writes a plan: batches in flight, one result per update.
//!
//! In: phases. Out: what took place, kept in [`Installed`]; what did not, by owner, and the keys to come back to. A
//! frontend is held back until its set is whole, a set's slots until no frontend serves from it: so what fails costs
//! its own Service and no other, and never half of one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use p4runtime::proto::p4::v1::update::Type;
use p4runtime::wire::Updates;
use tokio::task::JoinHandle;

use super::diff::{Kind, Op};
use super::driver::Limits;
use super::installed::Installed;
use super::plan::{Edit, Phase};
use super::report::{Report, WriteFailure};
use crate::compile::{Owned, State, Touched};
use crate::device::{Device, DeviceError, Failure, UpdateError, UpdateResult};
use crate::tables::{Table, Tables};

/// A plan being written.
pub(super) struct Execution<'a> {
    pub device: &'a Arc<dyn Device>,
    pub tables: &'a Tables,
    pub limits: Limits,
    pub desired: &'a State,
    pub set_owner: &'a (dyn Fn(u32) -> Option<Arc<str>> + Sync),
    pub installed: &'a mut Installed,
    pub report: &'a mut Report,
    /// Keys to come back to.
    pub left: Touched,
    /// The device did not hold what was believed: read it back.
    pub in_doubt: bool,
    failures: BTreeMap<(String, &'static str, String), WriteFailure>,
}

type InFlight = (Vec<Edit>, Call);

/// A call that goes on by itself, or the only one of its phase, which needs no task of its own.
enum Call {
    Apart(JoinHandle<Result<Vec<UpdateResult>, DeviceError>>),
    Alone(Updates),
}

impl<'a> Execution<'a> {
    pub fn new(
        device: &'a Arc<dyn Device>,
        tables: &'a Tables,
        limits: Limits,
        desired: &'a State,
        set_owner: &'a (dyn Fn(u32) -> Option<Arc<str>> + Sync),
        installed: &'a mut Installed,
        report: &'a mut Report,
    ) -> Self {
        Self {
            device,
            tables,
            limits,
            desired,
            set_owner,
            installed,
            report,
            left: Touched::default(),
            in_doubt: false,
            failures: BTreeMap::new(),
        }
    }

    /// Writes all phases, one after the other.
    pub async fn run(&mut self, phases: Vec<Phase>) -> Result<(), DeviceError> {
        let mut outcome = Ok(());
        for phase in phases {
            outcome = self.phase(phase.edits()).await;
            if outcome.is_err() {
                break;
            }
        }
        self.report.errors = std::mem::take(&mut self.failures).into_values().collect();
        outcome
    }

    async fn phase(&mut self, edits: impl Iterator<Item = Edit>) -> Result<(), DeviceError> {
        let again = self.batches(edits, true).await?;
        if !again.is_empty() {
            self.batches(again.into_iter(), false).await?;
        }
        Ok(())
    }

    /// Sends updates and returns those that deserve a second try at once.
    async fn batches(
        &mut self,
        edits: impl Iterator<Item = Edit>,
        first: bool,
    ) -> Result<Vec<Edit>, DeviceError> {
        let mut edits = edits.peekable();
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let mut again = Vec::new();
        let mut broken = None;
        while edits.peek().is_some() && broken.is_none() {
            let (batch, updates) = self.batch(&mut edits);
            if !batch.is_empty() {
                let device = self.device.clone();
                self.report.rpcs += 1;
                let call = if edits.peek().is_none() && in_flight.is_empty() {
                    Call::Alone(updates)
                } else {
                    Call::Apart(tokio::spawn(
                        async move { device.write_batch(updates).await },
                    ))
                };
                in_flight.push_back((batch, call));
            }
            if in_flight.len() >= self.limits.in_flight.max(1)
                && let Some(oldest) = in_flight.pop_front()
            {
                broken = self.answer(oldest, first, &mut again).await.err();
            }
        }
        // Every answer counts, also after one that broke off.
        while let Some(oldest) = in_flight.pop_front() {
            if let Err(error) = self.answer(oldest, first, &mut again).await {
                broken.get_or_insert(error);
            }
        }
        broken.map_or(Ok(again), Err)
    }

    fn batch(
        &mut self,
        edits: &mut std::iter::Peekable<impl Iterator<Item = Edit>>,
    ) -> (Vec<Edit>, Updates) {
        let capacity = self.limits.updates.max(1);
        let mut batch = Vec::new();
        let mut updates = Updates::default();
        while batch.len() < capacity && updates.bytes() < self.limits.bytes {
            let Some(edit) = edits.next() else { break };
            if self.is_held_back(&edit) {
                self.come_back(&edit);
                continue;
            }
            if encode(self.tables, &edit, &mut updates) {
                batch.push(edit);
            }
        }
        (batch, updates)
    }

    /// What it refers to is not whole, or what refers to it is still there.
    fn is_held_back(&self, edit: &Edit) -> bool {
        match edit {
            Edit::Frontend(Op::Insert(_, entry) | Op::Modify(_, entry)) => {
                let whole = |(id, mask): (u32, u16)| {
                    let set = self.installed.state().sets.get(&id);
                    set.is_some_and(|set| set.covers(usize::from(mask) + 1))
                };
                !entry.action.sets().into_iter().flatten().all(whole)
            }
            Edit::Slot(Op::Delete(key)) => {
                !self.desired.sets.contains_key(&key.set_id) && self.installed.is_served(key.set_id)
            }
            _ => false,
        }
    }

    async fn answer(
        &mut self,
        (batch, call): InFlight,
        first: bool,
        again: &mut Vec<Edit>,
    ) -> Result<(), DeviceError> {
        let results = match call {
            Call::Alone(updates) => self.device.write_batch(updates).await?,
            Call::Apart(task) => task.await.map_err(|error| DeviceError::Broken {
                device: self.device.name().to_owned(),
                message: error.to_string(),
            })??,
        };
        if results.len() != batch.len() {
            return Err(DeviceError::Protocol {
                device: self.device.name().to_owned(),
                message: format!("{} results for {} updates", results.len(), batch.len()),
            });
        }
        if results.iter().all(Result::is_ok) {
            batch.iter().for_each(|edit| self.count(edit));
            self.installed.apply(&batch, self.desired);
            return Ok(());
        }
        let mut took_place = Vec::with_capacity(batch.len());
        for (edit, result) in batch.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    self.count(&edit);
                    took_place.push(edit);
                }
                Err(error) => match self.failed(edit, error, first) {
                    After::Again(edit) => again.push(edit),
                    After::AsIfDone(edit) => took_place.push(edit),
                    After::Left => {}
                },
            }
        }
        self.installed.apply(&took_place, self.desired);
        Ok(())
    }

    fn count(&mut self, edit: &Edit) {
        match edit.kind() {
            Kind::Insert => self.report.inserts += 1,
            Kind::Modify => self.report.modifies += 1,
            Kind::Delete => self.report.deletes += 1,
        }
    }

    fn failed(&mut self, edit: Edit, error: UpdateError, first: bool) -> After {
        match (error.kind, edit.kind()) {
            (Failure::NotFound, Kind::Delete) => {
                self.in_doubt = true;
                return After::AsIfDone(edit);
            }
            (Failure::AlreadyExists, Kind::Insert) if first => {
                self.in_doubt = true;
                return After::Again(edit.turned(Kind::Modify));
            }
            (Failure::NotFound, Kind::Modify) if first => {
                self.in_doubt = true;
                return After::Again(edit.turned(Kind::Insert));
            }
            (Failure::Busy, _) if first => return After::Again(edit),
            _ => {}
        }
        self.come_back(&edit);
        let owner = self.owner(&edit);
        let key = (owner.clone(), edit.table(), error.kind.to_string());
        let failure = self.failures.entry(key).or_insert_with(|| WriteFailure {
            owner,
            table: edit.table(),
            kind: error.kind,
            entries: 0,
            message: error.message,
        });
        failure.entries += 1;
        After::Left
    }

    fn owner(&self, edit: &Edit) -> String {
        match edit {
            Edit::Frontend(Op::Insert(_, entry) | Op::Modify(_, entry)) => entry.owner.to_string(),
            Edit::Frontend(Op::Delete(key)) => {
                let known = self.installed.state().frontends.get(key);
                known.map_or_else(String::new, |entry| entry.owner.to_string())
            }
            Edit::Vip(Op::Insert(_, entry) | Op::Modify(_, entry)) => entry.owner.to_string(),
            Edit::Vip(Op::Delete(key)) => {
                let known = self.installed.state().vips.get(key);
                known.map_or_else(String::new, |entry| entry.owner.to_string())
            }
            Edit::Slot(op) => match (self.set_owner)(op.key().set_id) {
                Some(owner) => owner.to_string(),
                None => edit.table().to_owned(),
            },
            _ => edit.table().to_owned(),
        }
    }

    /// Looks at the entry again next time.
    fn come_back(&mut self, edit: &Edit) {
        match edit {
            Edit::Port(op) => drop(self.left.ports.insert(*op.key())),
            Edit::Egress(op) => drop(self.left.egress.insert(*op.key())),
            Edit::Route(op) => drop(self.left.routes.insert(*op.key())),
            Edit::SctpChecksum(op) => drop(self.left.sctp_checksums.insert(*op.key())),
            Edit::SourceRange(op) => drop(self.left.source_ranges.insert(*op.key())),
            Edit::Member(op) => drop(self.left.members.insert(*op.key())),
            Edit::Tunnel(op) => drop(self.left.tunnels.insert(*op.key())),
            Edit::Masquerade(op) => drop(self.left.masquerades.insert(*op.key())),
            Edit::Client(op) => drop(self.left.clients.insert(*op.key())),
            Edit::Frontend(op) => drop(self.left.frontends.insert(*op.key())),
            Edit::Vip(op) => drop(self.left.vips.insert(*op.key())),
            Edit::Slot(op) => drop(self.left.sets.insert(op.key().set_id)),
        }
    }
}

/// What becomes of an update that failed.
enum After {
    Again(Edit),
    AsIfDone(Edit),
    Left,
}

/// Adds the update to a batch; `false` if the program has no such table: nothing of it is wanted then.
fn encode(tables: &Tables, edit: &Edit, to: &mut Updates) -> bool {
    match edit {
        Edit::Port(op) => update(&tables.port, op, b"port", to),
        Edit::Egress(op) => update(&tables.egress, op, b"port", to),
        Edit::Route(op) => update(&tables.route, op, b"route", to),
        Edit::SctpChecksum(op) => update(&tables.sctp_checksum, op, b"", to),
        Edit::SourceRange(op) => update(&tables.source_range, op, b"", to),
        Edit::Member(op) => return optional(tables.member.as_ref(), op, b"", to),
        Edit::Tunnel(op) => return optional(tables.tunnel.as_ref(), op, b"tunnel", to),
        Edit::Masquerade(op) => {
            return optional(tables.masquerade.as_ref(), op, b"masquerade", to);
        }
        Edit::Client(op) => return optional(tables.client.as_ref(), op, b"client", to),
        Edit::Slot(op) => update(&tables.endpoint, op, b"", to),
        Edit::Frontend(op) => owned(&tables.frontend, op, to),
        Edit::Vip(op) => owned(&tables.vip, op, to),
    }
    true
}

fn optional<T: Table>(
    table: Option<&T>,
    op: &Op<T::Key, T::Action>,
    owner: &[u8],
    to: &mut Updates,
) -> bool {
    table.map(|table| update(table, op, owner, to)).is_some()
}

fn update<T: Table>(table: &T, op: &Op<T::Key, T::Action>, owner: &[u8], to: &mut Updates) {
    match op {
        Op::Insert(key, action) => table.push(to, Type::Insert, (key, Some(action)), owner),
        Op::Modify(key, action) => table.push(to, Type::Modify, (key, Some(action)), owner),
        Op::Delete(key) => table.push(to, Type::Delete, (key, None), b""),
    }
}

fn owned<T: Table>(table: &T, op: &Op<T::Key, Owned<T::Action>>, to: &mut Updates) {
    let (kind, key, entry) = match op {
        Op::Insert(key, entry) => (Type::Insert, key, entry),
        Op::Modify(key, entry) => (Type::Modify, key, entry),
        Op::Delete(key) => return table.push(to, Type::Delete, (key, None), b""),
    };
    let what = (key, Some(&entry.action));
    table.push(to, kind, what, entry.owner.as_bytes());
}
