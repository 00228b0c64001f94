//! A chunk of a table, copied out of its lock.
//!
//! In: views of entries while their table is locked. Out: the same entries in the service's words, once it is not. All
//! bytes of a chunk lie in one buffer, which the next chunk uses again.

use std::ops::Range;

use p4rs::engine::{self, EntryView, FieldMatch, OwnedAction, WeightedAction};
use p4runtime::schema::Table;
use p4runtime::server::switch::{
    ActionSet, Args, Call, Entry, EntryAction, Fields, Key, SetAction, Want,
};
use p4runtime::value::canonical;
use smallvec::SmallVec;
use std::sync::Arc;

use super::value::{counter_from_engine, from_engine, meter_from_engine, watch_from_engine};
use super::write::owned;

/// A place in the chunk's buffer.
type Bytes = Range<u32>;

/// A match field whose values lie in the buffer.
#[derive(Clone, Debug)]
enum Field {
    DontCare,
    Exact(Bytes),
    Lpm(Bytes, u32),
    Ternary(Bytes, Bytes),
    Range(Bytes, Bytes),
    Optional(Bytes),
}

#[derive(Clone, Debug)]
enum Action {
    Direct {
        action: usize,
        params: SmallVec<[Bytes; 8]>,
    },
    Member(u32),
    Group(u32),
    OneShot(Vec<WeightedAction>),
}

#[derive(Clone, Debug)]
struct Record {
    fields: SmallVec<[Field; 8]>,
    priority: i32,
    action: Action,
    metadata: Bytes,
    controller_metadata: u64,
    idle_timeout_ns: u64,
    since_last_hit_ns: Option<u64>,
    counter: Option<engine::CounterData>,
    meter: Option<engine::MeterConfig>,
    is_const: bool,
}

/// A chunk of entries.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

impl Snapshot {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len() as u32
    }

    fn field(&mut self, field: &FieldMatch<'_>) -> Field {
        match *field {
            FieldMatch::DontCare => Field::DontCare,
            FieldMatch::Exact(value) => Field::Exact(self.keep(value)),
            FieldMatch::Lpm { value, prefix_len } => Field::Lpm(self.keep(value), prefix_len),
            FieldMatch::Ternary { value, mask } => {
                Field::Ternary(self.keep(value), self.keep(mask))
            }
            FieldMatch::Range { low, high } => Field::Range(self.keep(low), self.keep(high)),
            FieldMatch::Optional(value) => Field::Optional(self.keep(value)),
        }
    }

    /// Copies an entry.
    pub fn push(&mut self, view: &EntryView<'_>) {
        let action = match &view.action {
            engine::EntryAction::Direct(call) => {
                let params = call.params.iter().map(|param| self.keep(param)).collect();
                Action::Direct {
                    action: call.action,
                    params,
                }
            }
            engine::EntryAction::Member(member) => Action::Member(*member),
            engine::EntryAction::Group(group) => Action::Group(*group),
            set @ engine::EntryAction::OneShot(_) => match owned(set) {
                OwnedAction::OneShot(set) => Action::OneShot(set),
                _ => return,
            },
        };
        let record = Record {
            fields: view.fields.iter().map(|field| self.field(field)).collect(),
            priority: view.priority,
            action,
            metadata: self.keep(view.metadata),
            controller_metadata: view.controller_metadata,
            idle_timeout_ns: view.idle_timeout_ns,
            since_last_hit_ns: view.since_last_hit_ns,
            counter: view.counter,
            meter: view.meter,
            is_const: view.is_const,
        };
        self.records.push(record);
    }

    fn at(&self, bytes: &Bytes) -> &[u8] {
        self.bytes
            .get(bytes.start as usize..bytes.end as usize)
            .unwrap_or_default()
    }

    fn match_fields(&self, record: &Record) -> Fields<'_> {
        let field = |field: &Field| match field {
            Field::DontCare => FieldMatch::DontCare,
            Field::Exact(value) => FieldMatch::Exact(self.at(value)),
            Field::Lpm(value, prefix_len) => FieldMatch::Lpm {
                value: self.at(value),
                prefix_len: *prefix_len,
            },
            Field::Ternary(value, mask) => FieldMatch::Ternary {
                value: self.at(value),
                mask: self.at(mask),
            },
            Field::Range(low, high) => FieldMatch::Range {
                low: self.at(low),
                high: self.at(high),
            },
            Field::Optional(value) => FieldMatch::Optional(self.at(value)),
        };
        record
            .fields
            .iter()
            .map(|stored| from_engine(field(stored)))
            .collect()
    }

    /// The entries, with the parts that were asked for.
    pub fn entries<'a>(
        &'a self,
        table: &'a Arc<Table>,
        want: Want,
    ) -> impl Iterator<Item = Entry<'a>> {
        self.records.iter().map(move |record| {
            let key = Key::Entry {
                fields: self.match_fields(record),
                priority: record.priority,
            };
            let mut entry = Entry::new(table, key);
            entry.action = match &record.action {
                Action::Direct { action, params } => {
                    let args = params
                        .iter()
                        .map(|param| canonical(self.at(param)))
                        .collect();
                    call(table, *action, args).map(EntryAction::Call)
                }
                Action::Member(member) => Some(EntryAction::Member(*member)),
                Action::Group(group) => Some(EntryAction::Group(*group)),
                Action::OneShot(set) => Some(EntryAction::Set(action_set(table, set))),
            };
            entry.metadata = self.at(&record.metadata);
            entry.controller_metadata = record.controller_metadata;
            entry.idle_timeout_ns = record.idle_timeout_ns;
            entry.is_const = record.is_const;
            entry.counter = record
                .counter
                .filter(|_| want.counter)
                .map(counter_from_engine);
            entry.meter = record.meter.filter(|_| want.meter).map(meter_from_engine);
            entry.idle_for_ns = record.since_last_hit_ns.filter(|_| want.idle);
            entry
        })
    }
}

/// An action of a table by its position there.
fn call<'a>(table: &'a Table, action: usize, args: Args<'a>) -> Option<Call<'a>> {
    Some(Call {
        action: &table.actions.get(action)?.action,
        args,
    })
}

/// An action with owned arguments.
pub(super) fn owned_call<'a>(
    table: &'a Table,
    action: usize,
    params: &'a [Vec<u8>],
) -> Option<Call<'a>> {
    call(
        table,
        action,
        params.iter().map(|param| canonical(param)).collect(),
    )
}

/// A one-shot set as it was written.
pub(super) fn action_set<'a>(table: &'a Table, set: &'a [WeightedAction]) -> ActionSet<'a> {
    // Where weights are disallowed they are written, and read, as zero.
    let unweighted = table
        .action_profile
        .as_ref()
        .is_some_and(|profile| profile.weights_disallowed);
    let one = |action: &'a WeightedAction| {
        Some(SetAction {
            call: owned_call(table, action.action, &action.params)?,
            weight: if unweighted { 0 } else { action.weight },
            watch: watch_from_engine(action.watch_port.as_deref()),
        })
    };
    let actions = set.iter().filter_map(one).collect();
    ActionSet {
        actions,
        group_action: None,
        mode: Default::default(),
        size: Default::default(),
    }
}
