//! A program's objects by name and by id.
//!
//! In: P4Info. Out: tables, actions and the other objects with everything that reading and writing entries needs:
//! positions, ids, widths, kinds, scopes. Everything an object refers to is resolved once, here: a schema that exists
//! has no dangling id, no id or name twice within a kind, and no field without a width.

mod build;
mod require;

use std::collections::HashMap;
use std::sync::Arc;

use p4runtime_proto::p4::config::v1 as p4info;

pub use build::SchemaError;
pub use require::{Mismatch, Missing, Requirement};

/// The objects of one program. Shared by `Arc`; never changes.
#[derive(Debug)]
pub struct Schema {
    info: p4info::P4Info,
    /// Tables in order of P4Info.
    pub tables: Index<Table>,
    /// Actions in order of P4Info.
    pub actions: Index<Action>,
    /// Action profiles and selectors.
    pub action_profiles: Index<ActionProfile>,
    /// Indexed counters.
    pub counters: Index<Counter>,
    /// Indexed meters.
    pub meters: Index<Meter>,
    /// Registers.
    pub registers: Index<Register>,
    /// Digests.
    pub digests: Index<Digest>,
    /// Parser value sets.
    pub value_sets: Index<ValueSet>,
    packet_in: Option<Arc<PacketHeader>>,
    packet_out: Option<Arc<PacketHeader>>,
}

impl Schema {
    /// Resolves a P4Info; says what is wrong with it otherwise.
    pub fn new(info: p4info::P4Info) -> Result<Self, SchemaError> {
        build::build(info)
    }

    /// The P4Info this was made of, unchanged.
    pub fn p4info(&self) -> &p4info::P4Info {
        &self.info
    }

    /// A table by full name or alias.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.named(name)
    }

    /// An action by full name or alias.
    pub fn action(&self, name: &str) -> Option<&Arc<Action>> {
        self.actions.named(name)
    }

    /// The header in front of packets to the controller.
    pub fn packet_in(&self) -> Option<&Arc<PacketHeader>> {
        self.packet_in.as_ref()
    }

    /// The header in front of packets from the controller.
    pub fn packet_out(&self) -> Option<&Arc<PacketHeader>> {
        self.packet_out.as_ref()
    }

    /// Checks that the program has what the caller needs; the error lists everything that is missing or differs.
    pub fn require(&self, requirements: &[Requirement]) -> Result<(), Missing> {
        require::require(self, requirements)
    }
}

/// Objects of one kind, found by id, full name or alias.
#[derive(Debug)]
pub struct Index<T> {
    all: Vec<Arc<T>>,
    by_id: HashMap<u32, usize>,
    by_name: HashMap<String, usize>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            by_id: HashMap::new(),
            by_name: HashMap::new(),
        }
    }
}

impl<T> Index<T> {
    /// By id.
    pub fn get(&self, id: u32) -> Option<&Arc<T>> {
        self.by_id.get(&id).map(|at| &self.all[*at])
    }

    /// By full name or alias.
    pub fn named(&self, name: &str) -> Option<&Arc<T>> {
        self.by_name.get(name).map(|at| &self.all[*at])
    }

    /// All, in order of P4Info.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<T>> {
        self.all.iter()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<'a, T> IntoIterator for &'a Index<T> {
    type Item = &'a Arc<T>;
    type IntoIter = std::slice::Iter<'a, Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What a controller writes for a key element, a parameter or a packet field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// A number of so many bits (of the controller's view, when the type is translated).
    Bits(u32),
    /// A string: a translated type without a number.
    String,
}

impl Width {
    /// Bits, if it is a number.
    pub fn bits(self) -> Option<u32> {
        match self {
            Width::Bits(bits) => Some(bits),
            Width::String => None,
        }
    }
}

impl std::fmt::Display for Width {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Width::Bits(bits) => write!(f, "{bits} bits"),
            Width::String => f.write_str("string"),
        }
    }
}

/// How a key element compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// Equal; must be given.
    Exact,
    /// Leading bits.
    Lpm,
    /// Under a mask.
    Ternary,
    /// Between two bounds.
    Range,
    /// Equal or not given.
    Optional,
}

impl MatchKind {
    /// Entries need a priority.
    pub fn needs_priority(self) -> bool {
        matches!(
            self,
            MatchKind::Ternary | MatchKind::Range | MatchKind::Optional
        )
    }
}

impl std::fmt::Display for MatchKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MatchKind::Exact => "exact",
            MatchKind::Lpm => "lpm",
            MatchKind::Ternary => "ternary",
            MatchKind::Range => "range",
            MatchKind::Optional => "optional",
        })
    }
}

/// One element of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchField {
    /// Id within the table.
    pub id: u32,
    /// Name as in the program.
    pub name: String,
    /// What is written for it.
    pub width: Width,
    /// How it compares.
    pub kind: MatchKind,
    /// Name of the type made by `type`, if any.
    pub type_name: Option<String>,
    /// URI of the translation, if the type is translated.
    pub translation: Option<String>,
}

/// Where an action of a table may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In entries and as the default.
    TableAndDefault,
    /// In entries.
    TableOnly,
    /// As the default.
    DefaultOnly,
    /// In front of a group's chosen action.
    GroupAction,
}

/// An action that a table may use.
#[derive(Debug, Clone)]
pub struct ActionRef {
    /// The action.
    pub action: Arc<Action>,
    /// Where it may stand.
    pub scope: Scope,
}

/// What a counter counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterUnit {
    /// Octets.
    Bytes,
    /// Packets.
    Packets,
    /// Both.
    Both,
}

/// What a meter measures and which configurations it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeterSpec {
    /// Rates count octets; else packets.
    pub bytes: bool,
    /// The marker.
    pub kind: MeterKind,
}

/// The marker of a meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeterKind {
    /// RFC 2698: `eburst` unset.
    TwoRateThreeColor,
    /// RFC 2697: `cir == pir`, `cburst == pburst`.
    SingleRateThreeColor,
    /// RFC 2697 without excess burst: as before and `eburst` unset.
    SingleRateTwoColor,
}

/// A match-action table.
#[derive(Debug)]
pub struct Table {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Key elements in order.
    pub fields: Vec<MatchField>,
    /// Actions in order.
    pub actions: Vec<ActionRef>,
    /// The default action if it is const.
    pub const_default_action: Option<u32>,
    /// The profile, for a table without direct actions.
    pub action_profile: Option<Arc<ActionProfile>>,
    /// Unit of the direct counter.
    pub direct_counter: Option<CounterUnit>,
    /// The direct meter.
    pub direct_meter: Option<MeterSpec>,
    /// Entries the program asks for; 0 leaves it to the target.
    pub size: u64,
    /// Entries may have an idle timeout.
    pub idle_timeout: bool,
    /// Entries come from `const entries`.
    pub is_const: bool,
    /// Entries have a priority.
    pub needs_priority: bool,
}

impl Table {
    /// Position and definition of a key element by id.
    pub fn field_by_id(&self, id: u32) -> Option<(usize, &MatchField)> {
        // Ids are 1.. in order unless the program numbers them itself.
        let guess = (id as usize).wrapping_sub(1);
        match self.fields.get(guess) {
            Some(field) if field.id == id => Some((guess, field)),
            _ => self.fields.iter().enumerate().find(|(_, f)| f.id == id),
        }
    }

    /// Position and definition of a key element by name.
    pub fn field(&self, name: &str) -> Option<(usize, &MatchField)> {
        self.fields.iter().enumerate().find(|(_, f)| f.name == name)
    }

    /// An action of this table by id.
    pub fn action_by_id(&self, id: u32) -> Option<&ActionRef> {
        self.actions.iter().find(|a| a.action.id == id)
    }

    /// An action of this table by full name or alias.
    pub fn action(&self, name: &str) -> Option<&ActionRef> {
        self.actions
            .iter()
            .find(|a| a.action.name == name || a.action.alias == name)
    }
}

/// An action.
#[derive(Debug)]
pub struct Action {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Parameters in order.
    pub params: Vec<Param>,
}

impl Action {
    /// Position and definition of a parameter by id.
    pub fn param_by_id(&self, id: u32) -> Option<(usize, &Param)> {
        let guess = (id as usize).wrapping_sub(1);
        match self.params.get(guess) {
            Some(param) if param.id == id => Some((guess, param)),
            _ => self.params.iter().enumerate().find(|(_, p)| p.id == id),
        }
    }

    /// Position and definition of a parameter by name.
    pub fn param(&self, name: &str) -> Option<(usize, &Param)> {
        self.params.iter().enumerate().find(|(_, p)| p.name == name)
    }
}

/// A parameter of an action, or a field of a packet header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Id within the action or header.
    pub id: u32,
    /// Name as in the program.
    pub name: String,
    /// What is written for it.
    pub width: Width,
    /// Name of the type made by `type`, if any.
    pub type_name: Option<String>,
    /// URI of the translation, if the type is translated.
    pub translation: Option<String>,
}

/// An action profile or selector.
#[derive(Debug)]
pub struct ActionProfile {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Ids of the tables that use it.
    pub table_ids: Vec<u32>,
    /// Groups and one-shot sets are possible.
    pub with_selector: bool,
    /// Bound of members or weights over all groups; 0 leaves it to the target.
    pub size: u64,
    /// Bound of one group; 0 leaves it to the target.
    pub max_group_size: u32,
    /// What the bounds count.
    pub semantics: SizeSemantics,
    /// Weights must be left out.
    pub weights_disallowed: bool,
}

/// What the bounds of a selector count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeSemantics {
    /// The sum of weights.
    Weights,
    /// The number of members, each of at most this weight (0: no bound).
    Members {
        /// Largest weight of one member.
        max_member_weight: u32,
    },
}

/// An indexed counter.
#[derive(Debug)]
pub struct Counter {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// What it counts.
    pub unit: CounterUnit,
    /// Number of cells.
    pub size: u64,
}

/// An indexed meter.
#[derive(Debug)]
pub struct Meter {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// What it measures.
    pub spec: MeterSpec,
    /// Number of cells.
    pub size: u64,
}

/// A register.
#[derive(Debug)]
pub struct Register {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Number of cells.
    pub size: u64,
    /// Type of a cell.
    pub cell: p4info::P4DataTypeSpec,
}

/// A digest.
#[derive(Debug)]
pub struct Digest {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Type of a message.
    pub message: p4info::P4DataTypeSpec,
}

/// A parser value set.
#[derive(Debug)]
pub struct ValueSet {
    /// Id.
    pub id: u32,
    /// Full name.
    pub name: String,
    /// Short name.
    pub alias: String,
    /// Elements of a member.
    pub fields: Vec<MatchField>,
    /// Largest number of members.
    pub size: u64,
}

/// The header in front of packets to or from the controller.
#[derive(Debug)]
pub struct PacketHeader {
    /// Id.
    pub id: u32,
    /// `packet_in` or `packet_out`.
    pub name: String,
    /// Fields in header order.
    pub fields: Vec<Param>,
}

impl PacketHeader {
    /// Position and definition of a field by id.
    pub fn field_by_id(&self, id: u32) -> Option<(usize, &Param)> {
        self.fields.iter().enumerate().find(|(_, f)| f.id == id)
    }

    /// Position and definition of a field by name.
    pub fn field(&self, name: &str) -> Option<(usize, &Param)> {
        self.fields.iter().enumerate().find(|(_, f)| f.name == name)
    }
}

#[cfg(test)]
pub(crate) mod tests;
