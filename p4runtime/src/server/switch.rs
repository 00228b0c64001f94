//! What a P4Runtime server needs from the switch behind it.
//!
//! In: updates that already passed every check that P4Info allows, with values in canonical form, in key and parameter
//! order. Out: what the switch holds, in the same form. The switch owns the entries: the service keeps no copy.
//! Checks that need the entries themselves (exists, full, in use) are the switch's, with the codes of [`SwitchError`].
//!
//! ```text
//! Switch ── load(config) ──▶ Pipeline (not running yet: takes writes, answers reads)
//!                               │ activate()
//!                               ▼
//!                            running ◀── writer().apply(update), read(query), packet_out(packet)
//!                               └──▶ Events: packet_in, idle_timeout, digest
//! ```

// One value per update, on the stack, by reference: boxing the large variant would cost an allocation per update.
#![allow(clippy::large_enum_variant)]

use std::ops::ControlFlow;
use std::sync::Arc;

use p4runtime_proto::Any;
use p4runtime_proto::p4::v1 as proto;
use tonic::Code;

use super::events::Events;
pub use super::list::List;
use crate::schema::{Action, ActionProfile, Counter, Meter, Register, Schema, Table, ValueSet};
use crate::value::canonical;

/// A device that programs can be loaded into.
pub trait Switch: Send + Sync + 'static {
    /// Compiles a program into a pipeline with its initial entries. Must not change what the switch does with packets.
    fn load(
        &self,
        config: &proto::ForwardingPipelineConfig,
        schema: &Arc<Schema>,
    ) -> Result<Arc<dyn Pipeline>, LoadError>;

    /// Called once, before any other call: where packets to the controller and notifications go.
    fn attach(&self, events: Events);

    /// Reads the configuration of a role. Roles without configuration may do everything and never come here.
    fn role(&self, name: &str, config: &Any) -> Result<RoleScope, LoadError> {
        let _ = config;
        Err(LoadError::Invalid {
            reason: format!("role {name}: role configurations are not supported"),
        })
    }
}

/// What a role may do.
#[derive(Debug, Clone, Default)]
pub struct RoleScope {
    /// Ids of the objects it may write; `None` is all.
    pub writable: Option<std::collections::HashSet<u32>>,
    /// It gets no packets.
    pub no_packets: bool,
}

impl RoleScope {
    /// Whether the role may write this object.
    pub fn may_write(&self, id: u32) -> bool {
        self.writable.as_ref().is_none_or(|ids| ids.contains(&id))
    }
}

/// A loaded program and its tables, running or not.
///
/// The service calls `writer` and `activate` alone, never beside `read`; `packet_out` may come at any time.
/// All calls may block; none comes from an async task.
pub trait Pipeline: Send + Sync + 'static {
    /// Makes this the pipeline that packets take, in place of the one before.
    fn activate(&self) -> Result<(), LoadError>;

    /// Starts a batch of updates; dropped when the batch is over.
    fn writer(&self) -> Box<dyn Writer + '_>;

    /// Gives every item of the query to the sink, until it breaks.
    ///
    /// The sink may block while the reader is slow: hold no lock that packets need while calling it.
    fn read(&self, query: &Query<'_>, sink: &mut Sink<'_>) -> Result<(), SwitchError>;

    /// Sends a packet, with the fields of the packet_out header in order (none if the program has no such header).
    fn packet_out(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> Result<(), SwitchError>;
}

/// Takes the updates of one batch.
pub trait Writer {
    /// Applies one update. A failed one leaves no trace and does not stop the others.
    fn apply(&mut self, update: &Update<'_>) -> Result<(), SwitchError>;

    /// Inserts entries as if by [`apply`](Self::apply), one after the other, and tells which failed, by position.
    fn insert(&mut self, rows: &Rows<'_, '_>, failed: &mut dyn FnMut(usize, SwitchError)) {
        for at in 0..rows.len() {
            let mut bytes = Vec::new();
            let entry = rows.entry(at, &mut bytes);
            let update = Update {
                op: Op::Insert,
                item: Item::Entry(entry),
            };
            if let Err(error) = self.apply(&update) {
                failed(at, error);
            }
        }
    }
}

/// New entries of one table that run one action: exact keys, and values of at most 64 bits, which all fit.
#[derive(Debug, Clone)]
pub struct Rows<'s, 'u> {
    /// The table.
    pub table: &'s Arc<Table>,
    /// The action.
    pub action: &'s Arc<Action>,
    /// The first entry's key, one number per element in the table's order; then the second's.
    pub keys: Vec<u64>,
    /// The first entry's arguments, one number per parameter in the action's order; then the second's.
    pub params: Vec<u64>,
    /// The controller's notes, returned as written: there are as many entries as these.
    pub metadata: Vec<&'u [u8]>,
}

impl<'s, 'u> Rows<'s, 'u> {
    /// None yet.
    pub fn new(table: &'s Arc<Table>, action: &'s Arc<Action>) -> Self {
        Self {
            table,
            action,
            keys: Vec::new(),
            params: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.metadata.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty()
    }

    /// One of them as an entry whose values lie in `bytes`. Positions go up to [`len`](Self::len).
    pub fn entry<'e>(&'e self, at: usize, bytes: &'e mut Vec<[u8; 8]>) -> Entry<'e> {
        let numbers = |all: &'e [u64], each: usize| &all[at * each..][..each];
        let key = numbers(&self.keys, self.table.fields.len());
        let params = numbers(&self.params, self.action.params.len());
        bytes.clear();
        bytes.extend(key.iter().chain(params).map(|number| number.to_be_bytes()));
        let (key, params) = bytes.split_at(key.len());
        let fields = key.iter().map(|bytes| Match::Exact(canonical(bytes)));
        let key = Key::Entry {
            fields: fields.collect(),
            priority: 0,
        };
        let mut entry = Entry::new(self.table, key);
        entry.action = Some(EntryAction::Call(Call {
            action: self.action,
            args: params.iter().map(|bytes| canonical(bytes)).collect(),
        }));
        entry.metadata = self.metadata[at];
        entry
    }
}

/// Where `read` puts what it finds.
pub type Sink<'s> = dyn FnMut(Item<'_>) -> ControlFlow<()> + 's;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Make; `SwitchError::AlreadyExists` if it is there.
    Insert,
    /// Change; `SwitchError::NotFound` if it is not there.
    Modify,
    /// Remove; `SwitchError::NotFound` if it is not there.
    Delete,
}

/// One checked update. Of a `Delete` only the identity of the item counts.
#[derive(Debug, Clone)]
pub struct Update<'a> {
    /// What to do.
    pub op: Op,
    /// With what.
    pub item: Item<'a>,
}

/// Anything that is written or read.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    /// An entry or default entry of a table.
    Entry(Entry<'a>),
    /// The counter of an entry; only `Modify`, never read (read entries instead).
    DirectCounter {
        /// The table.
        table: &'a Arc<Table>,
        /// The entry.
        key: Key<'a>,
        /// New value.
        data: CounterData,
    },
    /// The meter of an entry; only `Modify`, never read.
    DirectMeter {
        /// The table.
        table: &'a Arc<Table>,
        /// The entry.
        key: Key<'a>,
        /// New configuration; `None` is always green.
        config: Option<proto::MeterConfig>,
    },
    /// A member of an action profile.
    Member(Member<'a>),
    /// A group of an action selector.
    Group(Group<'a>),
    /// A cell of a counter; only `Modify`.
    Counter {
        /// The counter.
        counter: &'a Arc<Counter>,
        /// The cell; `None` in a write is every cell.
        index: Option<u64>,
        /// The value.
        data: CounterData,
    },
    /// A cell of a meter; only `Modify`.
    Meter {
        /// The meter.
        meter: &'a Arc<Meter>,
        /// The cell; `None` in a write is every cell.
        index: Option<u64>,
        /// The configuration; `None` is always green.
        config: Option<proto::MeterConfig>,
    },
    /// A cell of a register; only `Modify`.
    Register {
        /// The register.
        register: &'a Arc<Register>,
        /// The cell; `None` in a write is every cell.
        index: Option<u64>,
        /// The value.
        data: std::borrow::Cow<'a, proto::P4Data>,
    },
    /// A multicast group.
    MulticastGroup(MulticastGroup<'a>),
    /// A clone session.
    CloneSession(CloneSession<'a>),
    /// All members of a value set; only `Modify`.
    ValueSet {
        /// The set.
        set: &'a Arc<ValueSet>,
        /// Its members.
        members: Vec<Fields<'a>>,
    },
}

/// Values of a key, one for each key element, in the table's order.
pub type Fields<'a> = List<Match<'a>>;

/// Values of parameters, one for each parameter, in the action's order.
pub type Args<'a> = List<&'a [u8]>;

/// The value of one key element; byte strings are canonical (shortest, at least one byte), big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Match<'a> {
    /// Equal.
    Exact(&'a [u8]),
    /// Leading bits; the others are zero in the value. At least one.
    Lpm {
        /// The value.
        value: &'a [u8],
        /// Number of leading bits.
        prefix: u32,
    },
    /// Under a mask that is not zero; other bits are zero in the value.
    Ternary {
        /// The value.
        value: &'a [u8],
        /// The mask.
        mask: &'a [u8],
    },
    /// From low to high, not everything.
    Range {
        /// Least value.
        low: &'a [u8],
        /// Greatest value.
        high: &'a [u8],
    },
    /// Equal, of an optional element.
    Optional(&'a [u8]),
    /// Left out: matches everything. Never of an exact element.
    #[default]
    Any,
}

/// Identity of an entry within its table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// The default entry.
    Default,
    /// An entry by key and priority.
    Entry {
        /// One value for each key element.
        fields: Fields<'a>,
        /// Larger wins; 0 in tables without priorities.
        priority: i32,
    },
}

/// An entry of a table.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The table.
    pub table: &'a Arc<Table>,
    /// Which entry.
    pub key: Key<'a>,
    /// What it does. `None` in a `Modify` keeps the action; for the default entry it restores the program's.
    pub action: Option<EntryAction<'a>>,
    /// 0 never expires.
    pub idle_timeout_ns: u64,
    /// The controller's, returned as written.
    pub metadata: &'a [u8],
    /// The controller's, returned as written; older form.
    pub controller_metadata: u64,
    /// Direct counter: `Some` sets it; in reads what it counted.
    pub counter: Option<CounterData>,
    /// Direct meter: `None` is always green, in writes too.
    pub meter: Option<proto::MeterConfig>,
    /// Reads only: no write may change it.
    pub is_const: bool,
    /// Reads only: nanoseconds since the last hit.
    pub idle_for_ns: Option<u64>,
}

impl<'a> Entry<'a> {
    /// An entry with a key and nothing else.
    pub fn new(table: &'a Arc<Table>, key: Key<'a>) -> Self {
        Self {
            table,
            key,
            action: None,
            idle_timeout_ns: 0,
            metadata: &[],
            controller_metadata: 0,
            counter: None,
            meter: None,
            is_const: false,
            idle_for_ns: None,
        }
    }
}

/// What an entry does.
#[derive(Debug, Clone)]
pub enum EntryAction<'a> {
    /// An action.
    Call(Call<'a>),
    /// A member of the table's profile; `NotFound` if there is none.
    Member(u32),
    /// A group of the table's selector; `NotFound` if there is none.
    Group(u32),
    /// A group of its own, written in one shot; must be read back as written.
    Set(ActionSet<'a>),
}

/// An action with a value for each parameter.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The action.
    pub action: &'a Arc<Action>,
    /// Canonical values in parameter order.
    pub args: Args<'a>,
}

/// A one-shot action set.
#[derive(Debug, Clone)]
pub struct ActionSet<'a> {
    /// The actions, as given: the same one may stand more than once.
    pub actions: Vec<SetAction<'a>>,
    /// Runs before the chosen action.
    pub group_action: Option<Call<'a>>,
    /// How one is chosen.
    pub mode: proto::action_profile_action_set::ActionSelectionMode,
    /// What is counted against the profile's bounds.
    pub size: proto::action_profile_action_set::SizeSemantics,
}

/// One action of a set.
#[derive(Debug, Clone)]
pub struct SetAction<'a> {
    /// The action.
    pub call: Call<'a>,
    /// Its weight; 0 only where weights are disallowed.
    pub weight: u32,
    /// The port whose state it depends on.
    pub watch: Watch<'a>,
}

/// The port whose state a member depends on, in the form the controller used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch<'a> {
    /// None.
    None,
    /// By canonical bytes.
    Port(&'a [u8]),
    /// By the older number.
    Number(i32),
}

/// A member of an action profile.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// The profile.
    pub profile: &'a Arc<ActionProfile>,
    /// Id, never 0.
    pub id: u32,
    /// The action; `None` only in a `Delete`.
    pub call: Option<Call<'a>>,
}

/// A group of an action selector.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The selector.
    pub profile: &'a Arc<ActionProfile>,
    /// Id, never 0.
    pub id: u32,
    /// Members, no id twice.
    pub members: Vec<GroupMember<'a>>,
    /// Bound of this group; fixed at `Insert`.
    pub max_size: u32,
}

/// One member of a group.
#[derive(Debug, Clone)]
pub struct GroupMember<'a> {
    /// Id of the member; `NotFound` if there is none.
    pub member: u32,
    /// Its weight.
    pub weight: u32,
    /// The port whose state it depends on.
    pub watch: Watch<'a>,
}

/// A multicast group.
#[derive(Debug, Clone)]
pub struct MulticastGroup<'a> {
    /// Id, never 0.
    pub id: u32,
    /// Copies; no (port, instance) twice.
    pub replicas: Vec<Replica<'a>>,
    /// The controller's, returned as written.
    pub metadata: &'a [u8],
}

/// A clone session.
#[derive(Debug, Clone)]
pub struct CloneSession<'a> {
    /// Id, never 0.
    pub id: u32,
    /// Copies.
    pub replicas: Vec<Replica<'a>>,
    /// Class of service of the copies.
    pub class_of_service: u32,
    /// Copies are cut to this length; 0 does not cut.
    pub packet_length: u32,
}

/// One copy of a packet.
#[derive(Debug, Clone)]
pub struct Replica<'a> {
    /// Where it goes.
    pub port: ReplicaPort<'a>,
    /// Tells copies on one port apart.
    pub instance: u32,
    /// Ports to use when those before are down, in order.
    pub backups: &'a [proto::BackupReplica],
}

/// The port of a copy, in the form the controller used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaPort<'a> {
    /// By canonical bytes.
    Port(&'a [u8]),
    /// By the older number.
    Number(u32),
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterData {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// What to read. The service expands wildcards over objects and filters the rest itself.
#[derive(Debug)]
pub enum Query<'a> {
    /// Entries of a table.
    Entries {
        /// The table.
        table: &'a Arc<Table>,
        /// Which entries.
        select: Select<'a>,
        /// Parts that cost something.
        want: Want,
    },
    /// Members of a profile: one, or all.
    Members(&'a Arc<ActionProfile>, Option<u32>),
    /// Groups of a selector: one, or all.
    Groups(&'a Arc<ActionProfile>, Option<u32>),
    /// Cells of a counter: one, or all.
    Counter(&'a Arc<Counter>, Option<u64>),
    /// Cells of a meter: one, or all.
    Meter(&'a Arc<Meter>, Option<u64>),
    /// Cells of a register: one, or all.
    Register(&'a Arc<Register>, Option<u64>),
    /// Multicast groups: one, or all.
    MulticastGroups(Option<u32>),
    /// Clone sessions: one, or all.
    CloneSessions(Option<u32>),
    /// A value set.
    ValueSet(&'a Arc<ValueSet>),
}

/// Which entries of a table.
#[derive(Debug)]
pub enum Select<'a> {
    /// All but the default entry.
    All,
    /// One, which may be the default entry; nothing if it is not there.
    One(Key<'a>),
}

/// Parts of an entry that are filled only when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    /// The direct counter.
    pub counter: bool,
    /// The direct meter.
    pub meter: bool,
    /// Time since the last hit.
    pub idle: bool,
}

/// Why the switch did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// `Insert` of what is there.
    #[error("{0} exists already")]
    AlreadyExists(&'static str),
    /// `Modify` or `Delete` of what is not there, or a reference to it.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// No room.
    #[error("no room for {0}")]
    Full(&'static str),
    /// `Delete` of something that others refer to.
    #[error("{0} is in use")]
    InUse(&'static str),
    /// A const entry.
    #[error("{0} is const")]
    Const(&'static str),
    /// An index that the object does not have.
    #[error("index {index} is beyond {size}")]
    OutOfRange {
        /// Asked for.
        index: u64,
        /// Number of cells.
        size: u64,
    },
    /// Well-formed, but wrong for the state of the switch (mixed programming modes, unknown watch port).
    #[error("{0}")]
    Invalid(&'static str),
    /// The switch cannot do this at all.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Something broke behind the switch.
    #[error("{context}: {source}")]
    Failed {
        /// What was tried.
        context: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SwitchError {
    /// The code that the specification wants.
    pub fn code(&self) -> Code {
        match self {
            Self::AlreadyExists(_) => Code::AlreadyExists,
            Self::NotFound(_) => Code::NotFound,
            Self::Full(_) => Code::ResourceExhausted,
            Self::InUse(_) => Code::FailedPrecondition,
            Self::Const(_) => Code::PermissionDenied,
            Self::OutOfRange { .. } => Code::OutOfRange,
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Failed { .. } => Code::Internal,
        }
    }
}

/// Why a program or role cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The configuration is wrong.
    #[error("{reason}")]
    Invalid {
        /// In words, possibly several lines (compiler diagnostics).
        reason: String,
    },
    /// The program needs more than there is.
    #[error("no room for {0}")]
    Full(&'static str),
    /// The switch cannot do this at all.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// Something broke behind the switch.
    #[error("{context}: {source}")]
    Failed {
        /// What was tried.
        context: &'static str,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LoadError {
    /// The code that the specification wants.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } => Code::InvalidArgument,
            Self::Full(_) => Code::ResourceExhausted,
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Failed { .. } => Code::Internal,
        }
    }
}
