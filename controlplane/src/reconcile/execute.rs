//! Writes a plan: batches in flight, one result per update.
//!
//! In: phases; before them, what may be written while the rest is still worked out. Out: what took place, kept in
//! [`Installed`]; what did not, by owner, and the keys to come back to. A frontend is held back until its set is whole, a set's slots until no frontend serves from it: so what fails costs
//! its own Service and no other, and never half of one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use p4runtime::proto::p4::v1::update::Type;
use p4runtime::wire::{Mold, Updates};
use tokio::task::JoinHandle;

use super::diff::{Kind, Op};
use super::driver::Limits;
use super::installed::Installed;
use super::plan::{Edit, Phase, Piece, Slots};
use super::report::{Report, WriteFailure};
use crate::compile::{Desired, Owned, Touched};
use crate::device::{Device, DeviceError, Failure, UpdateError, UpdateResult};
use crate::tables::{Table, Tables};

/// A plan being written.
pub(super) struct Execution<'a> {
    pub device: &'a Arc<dyn Device>,
    pub tables: &'a Tables,
    pub limits: Limits,
    pub desired: &'a Desired,
    pub installed: &'a mut Installed,
    pub report: &'a mut Report,
    pub progress: Progress,
}

/// How far the writing is.
#[derive(Default)]
pub(super) struct Progress {
    /// Keys to come back to.
    pub left: Touched,
    /// The device did not hold what was believed: read it back.
    pub in_doubt: bool,
    in_flight: VecDeque<InFlight>,
    /// Updates of the last batch, and their bytes.
    last: (usize, usize),
    /// Updates that deserve a second try at once.
    again: Vec<Edit>,
    failures: BTreeMap<(String, &'static str, String), WriteFailure>,
}

type InFlight = (Vec<Piece>, Call);

/// What is left to be written.
struct Left<I: Iterator> {
    pieces: std::iter::Peekable<I>,
    /// The rest of a piece that did not fit a batch; comes next.
    rest: Option<I::Item>,
}

impl<I: Iterator<Item = Piece>> Left<I> {
    fn new(pieces: I) -> Self {
        Self {
            pieces: pieces.peekable(),
            rest: None,
        }
    }

    fn is_empty(&mut self) -> bool {
        self.rest.is_none() && self.pieces.peek().is_none()
    }

    fn next(&mut self) -> Option<Piece> {
        self.rest.take().or_else(|| self.pieces.next())
    }

    fn put_back(&mut self, rest: Piece) {
        self.rest = Some(rest);
    }
}

/// A call that goes on by itself, or the only one of its phase, which needs no task of its own.
enum Call {
    Apart(JoinHandle<Result<Vec<UpdateResult>, DeviceError>>),
    Alone(Updates),
}

impl Execution<'_> {
    /// Has pieces on their way when it returns, not all of them answered.
    pub async fn ahead(&mut self, pieces: impl Iterator<Item = Piece>) -> Result<(), DeviceError> {
        let sent = self.send(pieces, true, true).await;
        if sent.is_err() {
            // Every answer counts, also after one that broke off.
            let _ = self.settle(true).await;
        }
        sent
    }

    /// Waits for what is on its way.
    pub async fn arrive(&mut self) -> Result<(), DeviceError> {
        self.phase(std::iter::empty()).await
    }

    /// Writes all phases, one after the other.
    pub async fn run(&mut self, phases: Vec<Phase>) -> Result<(), DeviceError> {
        let mut outcome = Ok(());
        for phase in phases {
            outcome = self.phase(phase.pieces()).await;
            if outcome.is_err() {
                break;
            }
        }
        let failures = std::mem::take(&mut self.progress.failures);
        self.report.errors = failures.into_values().collect();
        outcome
    }

    async fn phase(&mut self, pieces: impl Iterator<Item = Piece>) -> Result<(), DeviceError> {
        self.batches(pieces, true).await?;
        let again = std::mem::take(&mut self.progress.again);
        if !again.is_empty() {
            let again = again.into_iter().map(Piece::Edit);
            self.batches(again, false).await?;
        }
        Ok(())
    }

    /// Sends updates until all are answered.
    async fn batches(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        first: bool,
    ) -> Result<(), DeviceError> {
        let sent = self.send(pieces, first, false).await;
        let settled = self.settle(first).await;
        sent.and(settled)
    }

    /// Sends updates; so many answers are left to wait for as calls may be in flight.
    async fn send(
        &mut self,
        pieces: impl Iterator<Item = Piece>,
        first: bool,
        more_to_come: bool,
    ) -> Result<(), DeviceError> {
        let mut pieces = Left::new(pieces);
        while !pieces.is_empty() {
            let (batch, updates) = self.batch(&mut pieces);
            if !batch.is_empty() {
                let device = self.device.clone();
                self.report.rpcs += 1;
                let last = pieces.is_empty() && !more_to_come;
                let call = if last && self.progress.in_flight.is_empty() {
                    Call::Alone(updates)
                } else {
                    Call::Apart(tokio::spawn(
                        async move { device.write_batch(updates).await },
                    ))
                };
                self.progress.in_flight.push_back((batch, call));
            }
            if self.progress.in_flight.len() >= self.limits.in_flight.max(1)
                && let Some(oldest) = self.progress.in_flight.pop_front()
            {
                self.answer(oldest, first).await?;
            }
        }
        Ok(())
    }

    /// Waits for all answers.
    async fn settle(&mut self, first: bool) -> Result<(), DeviceError> {
        let mut broken = Ok(());
        while let Some(oldest) = self.progress.in_flight.pop_front() {
            let answered = self.answer(oldest, first).await;
            broken = broken.and(answered);
        }
        broken
    }

    fn batch(&mut self, pieces: &mut Left<impl Iterator<Item = Piece>>) -> (Vec<Piece>, Updates) {
        let mut batch = Vec::new();
        // Most batches are like the one before.
        let (like, bytes) = self.progress.last;
        let mut updates = Updates::with_capacity(like, bytes);
        while !self.is_full(&updates) {
            let Some(piece) = pieces.next() else { break };
            match piece {
                Piece::Edit(edit) if self.is_held_back(&edit) => self.come_back(&edit),
                Piece::Edit(edit) => {
                    if encode(self.tables, &edit, &mut updates) {
                        batch.push(Piece::Edit(edit));
                    }
                }
                Piece::Slots(slots) if self.are_held_back(&slots) => {
                    self.progress.left.sets.insert(slots.id);
                }
                Piece::Slots(mut slots) => {
                    let pushed = self.push(&slots, &mut updates);
                    let later = slots.slots.split_off(pushed);
                    if !later.is_empty() {
                        let slots = Slots {
                            slots: later,
                            ..slots.clone()
                        };
                        pieces.put_back(Piece::Slots(slots));
                    }
                    batch.push(Piece::Slots(slots));
                }
            }
        }
        self.progress.last = (updates.len(), updates.bytes());
        (batch, updates)
    }

    fn is_full(&self, updates: &Updates) -> bool {
        updates.len() >= self.limits.updates.max(1) || updates.bytes() >= self.limits.bytes
    }

    /// Adds updates of slots to a batch until it is full; says of how many. Those that lead to one endpoint differ in
    /// their number only.
    fn push(&self, slots: &Slots, updates: &mut Updates) -> usize {
        let mut molds: Vec<Option<Mold>> = vec![None; slots.target.members().len().max(1)];
        for (at, op) in slots.ops().enumerate() {
            if self.is_full(updates) {
                return at;
            }
            let key = op.key();
            let member = slots.target.member(key.slot);
            let mold = &mut molds[member.unwrap_or(0)];
            if mold.is_none_or(|mold| !updates.push_like(mold, key.slot.into())) {
                let (kind, target) = match &op {
                    Op::Insert(_, target) => (Type::Insert, Some(target)),
                    Op::Modify(_, target) => (Type::Modify, Some(target)),
                    Op::Delete(_) => (Type::Delete, None),
                };
                let endpoint = &self.tables.endpoint;
                *mold = Some(endpoint.push_slot(updates, kind, (key, target), b""));
            }
        }
        slots.slots.len()
    }

    /// A frontend still serves from the set whose slots go.
    fn are_held_back(&self, slots: &Slots) -> bool {
        slots.kind == Kind::Delete
            && !self.desired.state().sets.contains_key(&slots.id)
            && self.installed.is_served(slots.id)
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
            _ => false,
        }
    }

    async fn answer(&mut self, (batch, call): InFlight, first: bool) -> Result<(), DeviceError> {
        let results = match call {
            Call::Alone(updates) => self.device.write_batch(updates).await?,
            Call::Apart(task) => task.await.map_err(|error| DeviceError::Broken {
                device: self.device.name().to_owned(),
                message: error.to_string(),
            })??,
        };
        let count: usize = batch.iter().map(Piece::updates).sum();
        if results.len() != count {
            return Err(DeviceError::Protocol {
                device: self.device.name().to_owned(),
                message: format!("{} results for {count} updates", results.len()),
            });
        }
        if results.iter().all(Result::is_ok) {
            self.all_done(batch);
            return Ok(());
        }
        let mut took_place = Vec::with_capacity(count);
        for (edit, result) in batch.into_iter().flat_map(Piece::edits).zip(results) {
            match result {
                Ok(()) => {
                    self.count(edit.kind(), 1);
                    took_place.push(edit);
                }
                Err(error) => match self.failed(edit, error, first) {
                    After::Again(edit) => self.progress.again.push(edit),
                    After::AsIfDone(edit) => took_place.push(edit),
                    After::Left => {}
                },
            }
        }
        self.installed.apply(&took_place, self.desired.state());
        Ok(())
    }

    fn all_done(&mut self, batch: Vec<Piece>) {
        let mut edits = Vec::new();
        for piece in batch {
            match piece {
                Piece::Edit(edit) => {
                    self.count(edit.kind(), 1);
                    edits.push(edit);
                }
                Piece::Slots(slots) => {
                    self.count(slots.kind, slots.slots.len());
                    self.installed.apply_slots(&slots, self.desired.state());
                }
            }
        }
        self.installed.apply(&edits, self.desired.state());
    }

    fn count(&mut self, kind: Kind, updates: usize) {
        match kind {
            Kind::Insert => self.report.inserts += updates,
            Kind::Modify => self.report.modifies += updates,
            Kind::Delete => self.report.deletes += updates,
        }
    }

    fn failed(&mut self, edit: Edit, error: UpdateError, first: bool) -> After {
        match (error.kind, edit.kind()) {
            (Failure::NotFound, Kind::Delete) => {
                self.progress.in_doubt = true;
                return After::AsIfDone(edit);
            }
            (Failure::AlreadyExists, Kind::Insert) if first => {
                self.progress.in_doubt = true;
                return After::Again(edit.turned(Kind::Modify));
            }
            (Failure::NotFound, Kind::Modify) if first => {
                self.progress.in_doubt = true;
                return After::Again(edit.turned(Kind::Insert));
            }
            (Failure::Busy, _) if first => return After::Again(edit),
            _ => {}
        }
        self.come_back(&edit);
        let owner = self.owner(&edit);
        let key = (owner.clone(), edit.table(), error.kind.to_string());
        let failure = self
            .progress
            .failures
            .entry(key)
            .or_insert_with(|| WriteFailure {
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
            Edit::Slot(op) => match self.desired.set_owner(op.key().set_id) {
                Some(owner) => owner.to_string(),
                None => edit.table().to_owned(),
            },
            _ => edit.table().to_owned(),
        }
    }

    /// Looks at the entry again next time.
    fn come_back(&mut self, edit: &Edit) {
        match edit {
            Edit::Port(op) => drop(self.progress.left.ports.insert(*op.key())),
            Edit::Egress(op) => drop(self.progress.left.egress.insert(*op.key())),
            Edit::Route(op) => drop(self.progress.left.routes.insert(*op.key())),
            Edit::SctpChecksum(op) => drop(self.progress.left.sctp_checksums.insert(*op.key())),
            Edit::SourceRange(op) => drop(self.progress.left.source_ranges.insert(*op.key())),
            Edit::Member(op) => drop(self.progress.left.members.insert(*op.key())),
            Edit::Tunnel(op) => drop(self.progress.left.tunnels.insert(*op.key())),
            Edit::Masquerade(op) => drop(self.progress.left.masquerades.insert(*op.key())),
            Edit::Client(op) => drop(self.progress.left.clients.insert(*op.key())),
            Edit::Frontend(op) => drop(self.progress.left.frontends.insert(*op.key())),
            Edit::Vip(op) => drop(self.progress.left.vips.insert(*op.key())),
            Edit::Slot(op) => drop(self.progress.left.sets.insert(op.key().set_id)),
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
