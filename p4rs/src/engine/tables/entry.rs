//! The words in which the control plane and a table talk: match fields, actions, entries, errors.
//!
//! In: borrowed big-endian byte strings of any length. Out: borrowed views of what is stored.
//! Invariant: a value that does not fit its field or parameter is refused, never cut.

use super::super::externs::{CounterData, MeterConfig};

/// How a key field is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// Equal.
    Exact,
    /// Longest prefix.
    Lpm,
    /// Value and mask.
    Ternary,
    /// Inclusive range.
    Range,
    /// Equal or don't care.
    Optional,
}

/// One key field of an entry. Byte strings are big-endian, of any length whose value fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldMatch<'a> {
    /// Matches everything; the only form for a field left out. Not allowed for [`MatchKind::Exact`].
    DontCare,
    /// For [`MatchKind::Exact`].
    Exact(&'a [u8]),
    /// For [`MatchKind::Lpm`].
    Lpm {
        /// Network part; bits behind the prefix must be zero.
        value: &'a [u8],
        /// Prefix length in bits.
        prefix_len: u32,
    },
    /// For [`MatchKind::Ternary`].
    Ternary {
        /// Value; bits outside the mask must be zero.
        value: &'a [u8],
        /// Mask, ones where the value counts.
        mask: &'a [u8],
    },
    /// For [`MatchKind::Range`], both ends included.
    Range {
        /// Lowest value.
        low: &'a [u8],
        /// Highest value.
        high: &'a [u8],
    },
    /// For [`MatchKind::Optional`]; don't care is [`FieldMatch::DontCare`].
    Optional(&'a [u8]),
}

/// An action with its data, as stored or to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionCall<'a> {
    /// Index into the table's `actions`.
    pub action: usize,
    /// Action data in parameter order, big-endian, any length whose value fits.
    pub params: &'a [&'a [u8]],
}

/// One action of a one-shot action set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedAction {
    /// Index into the table's `actions`.
    pub action: usize,
    /// Action data in parameter order.
    pub params: Vec<Vec<u8>>,
    /// Share of the selector's hash space, at least 1.
    pub weight: u32,
    /// A port whose being down takes the action out, as the control plane wrote it (opaque here).
    pub watch_port: Option<Vec<u8>>,
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryAction<'a> {
    /// One action.
    Direct(ActionCall<'a>),
    /// A member of the table's action profile or selector.
    Member(u32),
    /// A group of the table's action selector.
    Group(u32),
    /// A set of weighted actions that belongs to this entry alone.
    OneShot(&'a [WeightedAction]),
}

/// An entry to insert or to put in place of another.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// One per key field of the table, selector keys left out.
    pub fields: &'a [FieldMatch<'a>],
    /// Above zero for tables with a ternary, range or optional key, else zero. Larger wins.
    pub priority: i32,
    /// What to do.
    pub action: EntryAction<'a>,
    /// Opaque bytes of the control plane.
    pub metadata: &'a [u8],
    /// Opaque number of the control plane (the older form of `metadata`).
    pub controller_metadata: u64,
    /// Nanoseconds without a hit after which the entry is reported; 0 never.
    pub idle_timeout_ns: u64,
    /// Start value of the direct counter; zero when absent (insert), kept when absent (modify).
    pub counter: Option<CounterData>,
    /// Configuration of the direct meter; always green when absent.
    pub meter: Option<MeterConfig>,
}

impl<'a> NewEntry<'a> {
    /// An entry with one action and nothing else set.
    pub fn new(fields: &'a [FieldMatch<'a>], action: ActionCall<'a>) -> Self {
        Self {
            fields,
            priority: 0,
            action: EntryAction::Direct(action),
            metadata: &[],
            controller_metadata: 0,
            idle_timeout_ns: 0,
            counter: None,
            meter: None,
        }
    }
}

/// A stored entry, seen while its table is locked: byte strings have the full width of their field or parameter.
#[derive(Clone, Copy, Debug)]
pub struct EntryView<'a> {
    /// One per key field of the table, selector keys left out.
    pub fields: &'a [FieldMatch<'a>],
    /// Zero for tables without priorities.
    pub priority: i32,
    /// What it does.
    pub action: EntryAction<'a>,
    /// The control plane's bytes.
    pub metadata: &'a [u8],
    /// The control plane's number.
    pub controller_metadata: u64,
    /// Zero when the entry has none. Of a learned entry: its current expiry time.
    pub idle_timeout_ns: u64,
    /// Nanoseconds since the last hit, for entries with an idle timeout and for learned ones.
    pub since_last_hit_ns: Option<u64>,
    /// The direct counter, where the table has one.
    pub counter: Option<CounterData>,
    /// The direct meter's configuration, where one was set.
    pub meter: Option<MeterConfig>,
    /// The program's own `const` entry.
    pub is_const: bool,
}

/// Where a chunked read of a table goes on. Entries that stay in the table from the first chunk to the last are
/// seen exactly once; those that come or go meanwhile may be seen or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor(pub(crate) u64);

/// An entry that was not hit for its idle timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdleTimeout {
    /// The table.
    pub table: crate::ir::Handle<crate::ir::Table>,
    /// Match fields, owned: see [`FieldMatch`].
    pub fields: Vec<OwnedField>,
    /// Priority, zero for tables without.
    pub priority: i32,
    /// The entry's timeout.
    pub idle_timeout_ns: u64,
    /// The entry's metadata.
    pub metadata: Vec<u8>,
    /// The entry's older metadata number.
    pub controller_metadata: u64,
}

/// A [`FieldMatch`] that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OwnedField {
    /// See [`FieldMatch::DontCare`].
    DontCare,
    /// See [`FieldMatch::Exact`].
    Exact(Vec<u8>),
    /// See [`FieldMatch::Lpm`]: value and prefix length.
    Lpm(Vec<u8>, u32),
    /// See [`FieldMatch::Ternary`]: value and mask.
    Ternary(Vec<u8>, Vec<u8>),
    /// See [`FieldMatch::Range`]: low and high.
    Range(Vec<u8>, Vec<u8>),
    /// See [`FieldMatch::Optional`].
    Optional(Vec<u8>),
}

impl OwnedField {
    /// The same field, borrowed.
    pub fn as_match(&self) -> FieldMatch<'_> {
        match self {
            Self::DontCare => FieldMatch::DontCare,
            Self::Exact(value) => FieldMatch::Exact(value),
            Self::Lpm(value, prefix_len) => FieldMatch::Lpm {
                value,
                prefix_len: *prefix_len,
            },
            Self::Ternary(value, mask) => FieldMatch::Ternary { value, mask },
            Self::Range(low, high) => FieldMatch::Range { low, high },
            Self::Optional(value) => FieldMatch::Optional(value),
        }
    }
}

impl From<FieldMatch<'_>> for OwnedField {
    fn from(field: FieldMatch<'_>) -> Self {
        match field {
            FieldMatch::DontCare => Self::DontCare,
            FieldMatch::Exact(value) => Self::Exact(value.to_vec()),
            FieldMatch::Lpm { value, prefix_len } => Self::Lpm(value.to_vec(), prefix_len),
            FieldMatch::Ternary { value, mask } => Self::Ternary(value.to_vec(), mask.to_vec()),
            FieldMatch::Range { low, high } => Self::Range(low.to_vec(), high.to_vec()),
            FieldMatch::Optional(value) => Self::Optional(value.to_vec()),
        }
    }
}

/// Why a table refused an operation. None of them can succeed on retry without another change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No such table in this program.
    #[error("the program has no such table")]
    NoSuchTable,
    /// Insert of a match that is there.
    #[error("an entry with this match exists")]
    Exists,
    /// Modify, delete or get of a match that is not there.
    #[error("no entry has this match")]
    NotFound,
    /// No room.
    #[error("the table is full ({capacity} entries)")]
    Full {
        /// Entries it can hold.
        capacity: u64,
    },
    /// Not one field per key.
    #[error("{got} match fields for a key of {expected}")]
    FieldCount {
        /// Key fields.
        expected: usize,
        /// Fields given.
        got: usize,
    },
    /// A match of another kind than the key field's, or an exact field left out.
    #[error("match field {field} must be {expected:?}")]
    FieldKind {
        /// Index of the key field.
        field: usize,
        /// Kind of the key field.
        expected: MatchKind,
    },
    /// A value, mask or bound wider than the field.
    #[error("match field {field} has {width} bits, the value needs more")]
    FieldTooWide {
        /// Index of the key field.
        field: usize,
        /// Width in bits.
        width: u32,
    },
    /// Prefix length above the width, bits outside mask or prefix, or low above high.
    #[error("match field {field} is malformed")]
    FieldMalformed {
        /// Index of the key field.
        field: usize,
    },
    /// Priority missing where one is needed, or given where none belongs.
    #[error("priority {priority} does not suit this table")]
    Priority {
        /// As given.
        priority: i32,
    },
    /// Not an index of the table's actions.
    #[error("the table has no action {action}")]
    NoSuchAction {
        /// As given.
        action: usize,
    },
    /// `@tableonly` as default or `@defaultonly` in an entry.
    #[error("action {action} is not allowed here")]
    ActionScope {
        /// As given.
        action: usize,
    },
    /// Not one value per action parameter.
    #[error("{got} arguments for an action of {expected}")]
    ParamCount {
        /// Parameters.
        expected: usize,
        /// Arguments given.
        got: usize,
    },
    /// An argument wider than its parameter.
    #[error("action parameter {param} has {width} bits, the value needs more")]
    ParamTooWide {
        /// Index of the parameter.
        param: usize,
        /// Width in bits.
        width: u32,
    },
    /// `const entries`, or an entry that the program made const.
    #[error("the program made these entries constant")]
    ReadOnly,
    /// `const default_action`.
    #[error("the program made the default action constant")]
    ConstDefault,
    /// Insert into a table without a key.
    #[error("the table has no key, only a default action")]
    Keyless,
    /// An idle timeout on a table that does not support them.
    #[error("the table does not support idle timeouts")]
    IdleTimeout,
    /// Direct counter or meter data for a table without.
    #[error("the table has no such direct resource")]
    NoDirectResource,
    /// A direct action for a table with an implementation, or the reverse.
    #[error("this form of action does not suit the table's implementation")]
    ActionForm,
    /// Entry names a member that is not there.
    #[error("no member {0}")]
    NoSuchMember(u32),
    /// Entry names a group that is not there.
    #[error("no group {0}")]
    NoSuchGroup(u32),
    /// Delete of a member or group in use.
    #[error("still in use")]
    InUse,
    /// A member twice in one group.
    #[error("member {0} is in the group twice")]
    DuplicateMember(u32),
    /// Weight 0.
    #[error("a weight must be at least 1")]
    ZeroWeight,
    /// Sum of weights above what the selector takes.
    #[error("the group's size {size} is above {max}")]
    GroupTooBig {
        /// Sum of weights, or members.
        size: u64,
        /// Largest.
        max: u64,
    },
    /// Entries that were written with members and groups and one-shot sets in one profile.
    #[error("one-shot sets and members or groups cannot be mixed")]
    MixedForms,
    /// Not an action profile or selector of this program.
    #[error("the program has no such action profile")]
    NoSuchProfile,
}
