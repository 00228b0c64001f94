//! In which order a difference is written.
//!
//! In: a `Diff`. Out: phases. Within a phase the order does not matter; between phases everything has to be answered
//! first. Invariant: nothing refers to what is not there yet, or is gone already, and an address that served before
//! and serves afterwards has a whole set of endpoints at every moment in between.
//!
//! ```text
//! make    ways out, checksums, ranges, classes, members,
//!         slots that are missing                          nothing refers to them yet
//! move    slots of sets in use                            each leads to a live endpoint before and after
//! face    frontends: new ones, and those that change set  their sets are whole
//! claim   addresses, ranges that swallow the rest; ports  what they do not catch is served
//! release addresses, ports                                the way back
//! hide    frontends
//! remove  slots, checksums, ways out                      nothing refers to them any more; an earlier run's, too
//! ```

use std::sync::Arc;

use super::diff::{self, Diff, Kind, Op, SetChange};
use crate::compile::{CompiledService, EndpointSet, Owned, State};
use crate::tables::{
    Table, client, egress, endpoint, frontend, masquerade, member, port, route, sctp_checksum,
    source_range, tunnel, vip,
};

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Of table `port`.
    Port(Op<port::Key, port::Action>),
    /// Of table `egress`.
    Egress(Op<egress::Key, egress::Action>),
    /// Of table `route`.
    Route(Op<route::Key, route::Action>),
    /// Of table `sctp_checksum`.
    SctpChecksum(Op<sctp_checksum::Key, sctp_checksum::Action>),
    /// Of table `source_range`.
    SourceRange(Op<source_range::Key, source_range::Allow>),
    /// Of table `client`.
    Client(Op<client::Key, client::Class>),
    /// Of table `masquerade`.
    Masquerade(Op<masquerade::Key, masquerade::Action>),
    /// Of table `tunnel`.
    Tunnel(Op<tunnel::Key, tunnel::Action>),
    /// Of table `member`.
    Member(Op<member::Key, member::IsMember>),
    /// Of table `frontend`.
    Frontend(Op<frontend::Key, Owned<frontend::Action>>),
    /// Of table `vip`.
    Vip(Op<vip::Key, Owned<vip::Action>>),
    /// Of table `endpoint`.
    Slot(Op<endpoint::Key, endpoint::Target>),
}

impl Edit {
    /// What it does.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Port(op) => op.kind(),
            Self::Egress(op) => op.kind(),
            Self::Route(op) => op.kind(),
            Self::SctpChecksum(op) => op.kind(),
            Self::SourceRange(op) => op.kind(),
            Self::Member(op) => op.kind(),
            Self::Tunnel(op) => op.kind(),
            Self::Masquerade(op) => op.kind(),
            Self::Client(op) => op.kind(),
            Self::Frontend(op) => op.kind(),
            Self::Vip(op) => op.kind(),
            Self::Slot(op) => op.kind(),
        }
    }

    /// The table's name.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Port(_) => port::Port::NAME,
            Self::Egress(_) => egress::Egress::NAME,
            Self::Route(_) => route::Route::NAME,
            Self::SctpChecksum(_) => sctp_checksum::SctpChecksum::NAME,
            Self::SourceRange(_) => source_range::SourceRange::NAME,
            Self::Member(_) => member::Member::NAME,
            Self::Tunnel(_) => tunnel::Tunnel::NAME,
            Self::Masquerade(_) => masquerade::Masquerade::NAME,
            Self::Client(_) => client::Client::NAME,
            Self::Frontend(_) => frontend::Frontend::NAME,
            Self::Vip(_) => vip::Vip::NAME,
            Self::Slot(_) => endpoint::Endpoint::NAME,
        }
    }

    /// The same entry by another kind of operation; a deletion stays one.
    pub fn turned(self, kind: Kind) -> Self {
        match self {
            Self::Port(op) => Self::Port(turn(op, kind)),
            Self::Egress(op) => Self::Egress(turn(op, kind)),
            Self::Route(op) => Self::Route(turn(op, kind)),
            Self::SctpChecksum(op) => Self::SctpChecksum(turn(op, kind)),
            Self::SourceRange(op) => Self::SourceRange(turn(op, kind)),
            Self::Member(op) => Self::Member(turn(op, kind)),
            Self::Tunnel(op) => Self::Tunnel(turn(op, kind)),
            Self::Masquerade(op) => Self::Masquerade(turn(op, kind)),
            Self::Client(op) => Self::Client(turn(op, kind)),
            Self::Frontend(op) => Self::Frontend(turn(op, kind)),
            Self::Vip(op) => Self::Vip(turn(op, kind)),
            Self::Slot(op) => Self::Slot(turn(op, kind)),
        }
    }
}

fn turn<K, A>(op: Op<K, A>, kind: Kind) -> Op<K, A> {
    match (op, kind) {
        (Op::Insert(key, action) | Op::Modify(key, action), Kind::Insert) => {
            Op::Insert(key, action)
        }
        (Op::Insert(key, action) | Op::Modify(key, action), Kind::Modify) => {
            Op::Modify(key, action)
        }
        (Op::Insert(key, _) | Op::Modify(key, _) | Op::Delete(key), _) => Op::Delete(key),
    }
}

/// Updates whose order does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    edits: Vec<Edit>,
    slots: Vec<Slots>,
}

/// Slots of one set to which the same is done. Millions of them are kept as numbers: an [`Edit`] is made only of those
/// that need one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// The set.
    pub id: u32,
    /// What the set should be.
    pub target: Arc<EndpointSet>,
    /// What is done.
    pub kind: Kind,
    /// To which slots, in order.
    pub slots: Vec<u16>,
}

impl Slots {
    /// One update per slot.
    pub fn ops(&self) -> impl Iterator<Item = Op<endpoint::Key, endpoint::Target>> + '_ {
        self.slots.iter().filter_map(|&slot| {
            let key = endpoint::Key {
                set_id: self.id,
                slot,
            };
            Some(match self.kind {
                Kind::Insert => Op::Insert(key, *self.target.get(slot)?),
                Kind::Modify => Op::Modify(key, *self.target.get(slot)?),
                Kind::Delete => Op::Delete(key),
            })
        })
    }

    /// Writes the wanted set as a whole.
    pub fn is_whole(&self) -> bool {
        let whole = self.slots.len() == self.target.len();
        self.kind != Kind::Delete && whole && self.slots.is_sorted_by(|one, next| one < next)
    }
}

/// What is written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One update.
    Edit(Edit),
    /// Slots of one set.
    Slots(Slots),
}

impl Piece {
    /// How many updates.
    pub fn updates(&self) -> usize {
        match self {
            Self::Edit(_) => 1,
            Self::Slots(slots) => slots.slots.len(),
        }
    }

    /// One update after the other.
    pub fn edits(self) -> impl Iterator<Item = Edit> {
        let (edit, slots) = match self {
            Self::Edit(edit) => (Some(edit), Vec::new()),
            Self::Slots(slots) => (None, slots.ops().collect()),
        };
        edit.into_iter().chain(slots.into_iter().map(Edit::Slot))
    }
}

impl Phase {
    /// How many updates.
    pub fn len(&self) -> usize {
        self.edits.len()
            + self
                .slots
                .iter()
                .map(|slots| slots.slots.len())
                .sum::<usize>()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The updates.
    pub fn pieces(self) -> impl Iterator<Item = Piece> {
        let edits = self.edits.into_iter().map(Piece::Edit);
        edits.chain(self.slots.into_iter().map(Piece::Slots))
    }

    /// The updates, one after the other: slots of one set follow one another.
    #[cfg(test)]
    pub fn edits(self) -> impl Iterator<Item = Edit> {
        self.pieces().flat_map(Piece::edits)
    }

    fn take<K, A>(
        &mut self,
        ops: &mut Vec<Op<K, A>>,
        wrap: impl Fn(Op<K, A>) -> Edit,
        wanted: impl Fn(&Op<K, A>) -> bool,
    ) {
        self.edits
            .extend(ops.extract_if(.., |op| wanted(op)).map(wrap));
    }

    fn slots(&mut self, sets: &[SetChange], kind: Kind, of: impl Fn(&SetChange) -> &Vec<u16>) {
        let changes = sets.iter().filter(|change| !of(change).is_empty());
        self.slots.extend(changes.map(|change| Slots {
            id: change.id,
            target: change.target.clone(),
            kind,
            slots: of(change).clone(),
        }));
    }
}

/// Slots of these Services' sets that are not there and should be: nothing refers to them yet, so they may be written
/// before anything else.
pub fn missing<'s>(
    services: impl Iterator<Item = &'s CompiledService>,
    desired: &State,
    installed: &State,
) -> Phase {
    let families = services
        .flat_map(|service| &service.ports)
        .flat_map(|port| &port.families);
    let sets = families.flat_map(|family| &family.sets);
    let changes = sets.filter_map(|set| {
        diff::set(
            set.id,
            desired.sets.get(&set.id),
            installed.sets.get(&set.id),
        )
    });
    let mut phase = Phase::default();
    let changes: Vec<SetChange> = changes.collect();
    phase.slots(&changes, Kind::Insert, |change| &change.insert);
    phase
}

/// Puts a difference in order; phases without updates are left out.
pub fn plan(diff: Diff) -> Vec<Phase> {
    let Diff {
        mut ports,
        mut egress,
        mut routes,
        mut sctp_checksums,
        mut source_ranges,
        mut clients,
        mut masquerades,
        mut tunnels,
        mut members,
        mut frontends,
        mut vips,
        sets,
    } = diff;
    let mut phases: [Phase; 7] = Default::default();
    let [make, moves, face, claim, release, hide, remove] = &mut phases;

    make.take(&mut routes, Edit::Route, is_way_out);
    make.take(&mut egress, Edit::Egress, is_write);
    make.take(&mut sctp_checksums, Edit::SctpChecksum, is_write);
    make.take(&mut source_ranges, Edit::SourceRange, is_write);
    make.take(&mut clients, Edit::Client, is_write);
    make.take(&mut masquerades, Edit::Masquerade, is_write);
    make.take(&mut tunnels, Edit::Tunnel, is_write);
    make.take(&mut members, Edit::Member, is_write);
    make.slots(&sets, Kind::Insert, |change| &change.insert);
    moves.slots(&sets, Kind::Modify, |change| &change.modify);
    face.take(&mut frontends, Edit::Frontend, is_write);
    claim.take(&mut vips, Edit::Vip, is_write);
    claim.take(&mut routes, Edit::Route, is_write);
    claim.take(&mut ports, Edit::Port, is_write);

    release.take(&mut ports, Edit::Port, |_| true);
    release.take(&mut vips, Edit::Vip, |_| true);
    hide.take(&mut frontends, Edit::Frontend, |_| true);
    remove.slots(&sets, Kind::Delete, |change| &change.delete);
    remove.take(&mut source_ranges, Edit::SourceRange, |_| true);
    remove.take(&mut clients, Edit::Client, |_| true);
    remove.take(&mut masquerades, Edit::Masquerade, |_| true);
    remove.take(&mut tunnels, Edit::Tunnel, |_| true);
    remove.take(&mut members, Edit::Member, |_| true);
    remove.take(&mut sctp_checksums, Edit::SctpChecksum, |_| true);
    remove.take(&mut egress, Edit::Egress, |_| true);
    remove.take(&mut routes, Edit::Route, |_| true);
    phases
        .into_iter()
        .filter(|phase| !phase.is_empty())
        .collect()
}

fn is_write<K, A>(op: &Op<K, A>) -> bool {
    op.kind() != Kind::Delete
}

fn is_way_out(op: &Op<route::Key, route::Action>) -> bool {
    matches!(
        op,
        Op::Insert(_, route::Action::Forward { .. }) | Op::Modify(_, route::Action::Forward { .. })
    )
}

/// Applies updates that took place; slots of one set that follow one another cost least.
pub fn apply<'e>(state: &mut State, edits: impl Iterator<Item = &'e Edit>) {
    let mut edits = edits.peekable();
    while let Some(edit) = edits.next() {
        match edit {
            Edit::Port(op) => one(&mut state.ports, op),
            Edit::Egress(op) => one(&mut state.egress, op),
            Edit::Route(op) => one(&mut state.routes, op),
            Edit::SctpChecksum(op) => one(&mut state.sctp_checksums, op),
            Edit::SourceRange(op) => one(&mut state.source_ranges, op),
            Edit::Member(op) => one(&mut state.members, op),
            Edit::Tunnel(op) => one(&mut state.tunnels, op),
            Edit::Masquerade(op) => one(&mut state.masquerades, op),
            Edit::Client(op) => one(&mut state.clients, op),
            Edit::Frontend(op) => one(&mut state.frontends, op),
            Edit::Vip(op) => one(&mut state.vips, op),
            Edit::Slot(first) => {
                let id = first.key().set_id;
                let set = Arc::make_mut(state.sets.entry(id).or_default());
                let mut next = Some(first);
                set.assign(std::iter::from_fn(|| {
                    let op = next.take()?;
                    if let Some(Edit::Slot(following)) =
                        edits.next_if(|e| matches!(e, Edit::Slot(op) if op.key().set_id == id))
                    {
                        next = Some(following);
                    }
                    Some(match op {
                        Op::Insert(key, target) | Op::Modify(key, target) => {
                            (key.slot, Some(target))
                        }
                        Op::Delete(key) => (key.slot, None),
                    })
                }));
                if set.is_empty() {
                    state.sets.remove(&id);
                }
            }
        }
    }
}

fn one<K: std::hash::Hash + Eq + Copy, A: Clone>(
    entries: &mut crate::compile::Entries<K, A>,
    op: &Op<K, A>,
) {
    match op {
        Op::Insert(key, action) | Op::Modify(key, action) => {
            entries.insert(*key, action.clone());
        }
        Op::Delete(key) => {
            entries.remove(key);
        }
    }
}
