//! Applies the updates of one batch to the engine.
//!
//! In: updates that the service has checked against P4Info. Out: engine calls; what the engine refuses comes back as the
//! specification's error. Nothing is allocated for an entry with plain match fields and one action.

use p4rs::engine::{
    self, ActionCall, EntryView, FieldMatch, GroupMember, NewEntry, NewRows, OwnedAction,
    OwnedField, Time, WeightedAction,
};
use p4runtime::schema::{ActionProfile, Register, Table};
use p4runtime::server::switch::{
    self, ActionSet, Call, CounterData, Entry, EntryAction, Fields, Group, Item, Key, Member, Op,
    Rows, SwitchError, Update,
};
use p4runtime_proto::p4::v1 as pb;
use smallvec::SmallVec;

use super::value::{
    counter_to_engine, extern_error, meter_to_engine, table_error, to_engine, watch_to_engine,
};
use super::{BoundTable, Loaded, data};

/// The engine's match fields of one key.
type EngineFields<'a> = SmallVec<[FieldMatch<'a>; 8]>;

fn engine_fields<'a>(fields: &Fields<'a>) -> EngineFields<'a> {
    fields.iter().map(to_engine).collect()
}

/// Takes one batch.
pub(super) struct Writer<'p> {
    loaded: &'p Loaded,
    now: Time,
}

impl<'p> Writer<'p> {
    pub fn new(loaded: &'p Loaded, now: Time) -> Self {
        Self { loaded, now }
    }
}

impl switch::Writer for Writer<'_> {
    fn apply(&mut self, update: &Update<'_>) -> Result<(), SwitchError> {
        let engine = &self.loaded.engine;
        match &update.item {
            Item::Entry(entry) => self.entry(update.op, entry),
            Item::DirectCounter { table, key, data } => self.direct_counter(table, key, *data),
            Item::DirectMeter { table, key, config } => {
                self.direct_meter(table, key, config.as_ref())
            }
            Item::Member(member) => self.member(update.op, member),
            Item::Group(group) => self.group(update.op, group),
            Item::Counter {
                counter,
                index,
                data,
            } => {
                let instance = self.loaded.instance(counter.id)?;
                let data = counter_to_engine(*data);
                each(*index, counter.size, |cell| {
                    engine
                        .set_counter(instance, cell, data)
                        .map_err(extern_error)
                })
            }
            Item::Meter {
                meter,
                index,
                config,
            } => {
                let instance = self.loaded.instance(meter.id)?;
                let config = config.as_ref().map(meter_to_engine).transpose()?;
                each(*index, meter.size, |cell| {
                    engine
                        .set_meter(instance, cell, config)
                        .map_err(extern_error)
                })
            }
            Item::Register {
                register,
                index,
                data,
            } => self.register(register, *index, data),
            Item::MulticastGroup(group) => self
                .loaded
                .replication
                .write_group(engine, update.op, group),
            Item::CloneSession(session) => self
                .loaded
                .replication
                .write_session(engine, update.op, session),
            Item::ValueSet { set, members } => {
                let (handle, _) = self
                    .loaded
                    .info
                    .ids
                    .value_set(set.id)
                    .ok_or(SwitchError::NotFound("the value set"))?;
                let owned = |fields: &Fields<'_>| {
                    fields
                        .iter()
                        .map(|f| OwnedField::from(to_engine(f)))
                        .collect()
                };
                let members: Vec<Vec<OwnedField>> = members.iter().map(owned).collect();
                engine.set_value_set(handle, &members).map_err(extern_error)
            }
        }
    }

    fn insert(&mut self, rows: &Rows<'_, '_>, failed: &mut dyn FnMut(usize, SwitchError)) {
        let Ok(table) = self.loaded.table(rows.table.id) else {
            let missing = || SwitchError::NotFound("the table");
            return (0..rows.len()).for_each(|at| failed(at, missing()));
        };
        let actions = &mut table.schema.actions.iter();
        // The engine says so where the table has no such action.
        let action = actions.position(|known| known.action.id == rows.action.id);
        let new = NewRows {
            action: action.unwrap_or(usize::MAX),
            keys: &rows.keys,
            params: &rows.params,
            metadata: &rows.metadata,
        };
        let engine = &self.loaded.engine;
        let mut refused = |at, error| failed(at, table_error(error));
        if let Err(error) = engine.insert_rows(self.now, table.handle, &new, &mut refused) {
            (0..rows.len()).for_each(|at| refused(at, error));
        }
    }
}

/// Calls `set` for one cell, or for every one.
fn each(
    index: Option<u64>,
    size: u64,
    mut set: impl FnMut(u64) -> Result<(), SwitchError>,
) -> Result<(), SwitchError> {
    match index {
        Some(index) => set(index),
        None => (0..size).try_for_each(set),
    }
}

/// Position of a call's action in its table's list.
fn action_index(table: &Table, call: &Call<'_>) -> Result<usize, SwitchError> {
    let id = call.action.id;
    table
        .actions
        .iter()
        .position(|a| a.action.id == id)
        .ok_or(SwitchError::Invalid("the table has no such action"))
}

fn weighted(table: &Table, set: &ActionSet<'_>) -> Result<Vec<WeightedAction>, SwitchError> {
    if set.group_action.is_some() {
        return Err(SwitchError::Unsupported("a group action"));
    }
    if set.mode != Default::default() {
        return Err(SwitchError::Unsupported("an action selection mode"));
    }
    if set.size != Default::default() {
        return Err(SwitchError::Unsupported(
            "a size semantics of one action set",
        ));
    }
    let one = |action: &switch::SetAction<'_>| {
        Ok(WeightedAction {
            action: action_index(table, &action.call)?,
            params: action.call.args.iter().map(|arg| arg.to_vec()).collect(),
            // Weight 0 reaches us only where weights are disallowed: every action counts the same.
            weight: action.weight.max(1),
            watch_port: watch_to_engine(action.watch),
        })
    };
    set.actions.iter().map(one).collect()
}

/// Tables.
impl Writer<'_> {
    fn entry(&self, op: Op, entry: &Entry<'_>) -> Result<(), SwitchError> {
        let table = self.loaded.table(entry.table.id)?;
        let Key::Entry { fields, priority } = &entry.key else {
            return self.default_entry(table, entry);
        };
        let fields = engine_fields(fields);
        if op == Op::Delete {
            return self
                .loaded
                .engine
                .delete(table.handle, &fields, *priority)
                .map_err(table_error);
        }
        match &entry.action {
            Some(EntryAction::Call(call)) => {
                let action = action_index(&table.schema, call)?;
                let call = ActionCall {
                    action,
                    params: &call.args,
                };
                self.store(
                    op,
                    table,
                    entry,
                    &fields,
                    *priority,
                    engine::EntryAction::Direct(call),
                )
            }
            Some(EntryAction::Member(member)) => self.store(
                op,
                table,
                entry,
                &fields,
                *priority,
                engine::EntryAction::Member(*member),
            ),
            Some(EntryAction::Group(group)) => self.store(
                op,
                table,
                entry,
                &fields,
                *priority,
                engine::EntryAction::Group(*group),
            ),
            Some(EntryAction::Set(set)) => {
                let set = weighted(&table.schema, set)?;
                self.store(
                    op,
                    table,
                    entry,
                    &fields,
                    *priority,
                    engine::EntryAction::OneShot(&set),
                )
            }
            None => {
                let kept = self.current_action(table, &fields, *priority)?;
                with_action(&kept, |action| {
                    self.store(op, table, entry, &fields, *priority, action)
                })
            }
        }
    }

    fn store(
        &self,
        op: Op,
        table: &BoundTable,
        entry: &Entry<'_>,
        fields: &[FieldMatch<'_>],
        priority: i32,
        action: engine::EntryAction<'_>,
    ) -> Result<(), SwitchError> {
        let new = NewEntry {
            fields,
            priority,
            action,
            metadata: entry.metadata,
            controller_metadata: entry.controller_metadata,
            idle_timeout_ns: entry.idle_timeout_ns,
            counter: entry.counter.map(counter_to_engine),
            meter: entry.meter.as_ref().map(meter_to_engine).transpose()?,
        };
        let engine = &self.loaded.engine;
        match op {
            Op::Insert => engine.insert(self.now, table.handle, &new),
            Op::Modify | Op::Delete => engine.modify(self.now, table.handle, &new),
        }
        .map_err(table_error)
    }

    /// What an entry does now, for updates that leave it as it is.
    fn current_action(
        &self,
        table: &BoundTable,
        fields: &[FieldMatch<'_>],
        priority: i32,
    ) -> Result<OwnedAction, SwitchError> {
        let mut kept = None;
        let mut show = |view: &EntryView<'_>| kept = Some(owned(&view.action));
        self.loaded
            .engine
            .get(self.now, table.handle, fields, priority, &mut show)
            .map_err(table_error)?;
        kept.ok_or(SwitchError::NotFound("the entry"))
    }

    fn default_entry(&self, table: &BoundTable, entry: &Entry<'_>) -> Result<(), SwitchError> {
        let engine = &self.loaded.engine;
        match &entry.action {
            None => engine.reset_default(table.handle).map_err(table_error),
            Some(EntryAction::Call(call)) => {
                let action = action_index(&table.schema, call)?;
                let call = ActionCall {
                    action,
                    params: &call.args,
                };
                engine
                    .set_default(table.handle, engine::EntryAction::Direct(call))
                    .map_err(table_error)
            }
            Some(_) => Err(SwitchError::Unsupported(
                "a default action that is a member, group or set",
            )),
        }
    }

    fn direct_counter(
        &self,
        table: &Table,
        key: &Key<'_>,
        data: CounterData,
    ) -> Result<(), SwitchError> {
        let Key::Entry { fields, priority } = key else {
            return Err(SwitchError::Unsupported(
                "a direct counter of the default entry",
            ));
        };
        let handle = self.loaded.table(table.id)?.handle;
        let data = counter_to_engine(data);
        self.loaded
            .engine
            .set_entry_counter(handle, &engine_fields(fields), *priority, data)
            .map_err(table_error)
    }

    fn direct_meter(
        &self,
        table: &Table,
        key: &Key<'_>,
        config: Option<&pb::MeterConfig>,
    ) -> Result<(), SwitchError> {
        let Key::Entry { fields, priority } = key else {
            return Err(SwitchError::Unsupported(
                "a direct meter of the default entry",
            ));
        };
        let handle = self.loaded.table(table.id)?.handle;
        let config = config.map(meter_to_engine).transpose()?;
        self.loaded
            .engine
            .set_entry_meter(handle, &engine_fields(fields), *priority, config)
            .map_err(table_error)
    }
}

/// A stored action, out of its table's lock.
pub(super) fn owned(action: &engine::EntryAction<'_>) -> OwnedAction {
    match action {
        engine::EntryAction::Direct(call) => OwnedAction::Direct {
            action: call.action,
            params: call.params.iter().map(|param| param.to_vec()).collect(),
        },
        engine::EntryAction::Member(member) => OwnedAction::Member(*member),
        engine::EntryAction::Group(group) => OwnedAction::Group(*group),
        engine::EntryAction::OneShot(set) => OwnedAction::OneShot(set.to_vec()),
    }
}

/// Lends an owned action out.
fn with_action<R>(action: &OwnedAction, use_it: impl FnOnce(engine::EntryAction<'_>) -> R) -> R {
    match action {
        OwnedAction::Direct { action, params } => {
            let params: SmallVec<[&[u8]; 8]> = params.iter().map(Vec::as_slice).collect();
            use_it(engine::EntryAction::Direct(ActionCall {
                action: *action,
                params: &params,
            }))
        }
        OwnedAction::Member(member) => use_it(engine::EntryAction::Member(*member)),
        OwnedAction::Group(group) => use_it(engine::EntryAction::Group(*group)),
        OwnedAction::OneShot(set) => use_it(engine::EntryAction::OneShot(set)),
    }
}

/// Action profiles, and registers.
impl Writer<'_> {
    fn member(&self, op: Op, member: &Member<'_>) -> Result<(), SwitchError> {
        let engine = &self.loaded.engine;
        let profile = self.loaded.instance(member.profile.id)?;
        if op == Op::Delete {
            return engine
                .delete_member(profile, member.id)
                .map_err(table_error);
        }
        let call = member
            .call
            .as_ref()
            .ok_or(SwitchError::Invalid("a member needs an action"))?;
        let action = self.member_action(member.profile, call)?;
        match op {
            Op::Insert => engine.insert_member(profile, member.id, &action),
            _ => engine.modify_member(profile, member.id, &action),
        }
        .map_err(|error| named(error, "the member"))
    }

    fn member_action(
        &self,
        profile: &ActionProfile,
        call: &Call<'_>,
    ) -> Result<OwnedAction, SwitchError> {
        let table = self.loaded.profile_table(&profile.table_ids)?;
        let params = call.args.iter().map(|arg| arg.to_vec()).collect();
        Ok(OwnedAction::Direct {
            action: action_index(&table.schema, call)?,
            params,
        })
    }

    fn group(&self, op: Op, group: &Group<'_>) -> Result<(), SwitchError> {
        let engine = &self.loaded.engine;
        let profile = self.loaded.instance(group.profile.id)?;
        if op == Op::Delete {
            return engine.delete_group(profile, group.id).map_err(table_error);
        }
        let member = |member: &switch::GroupMember<'_>| GroupMember {
            member: member.member,
            weight: member.weight.max(1),
            watch_port: watch_to_engine(member.watch),
        };
        let members: Vec<GroupMember> = group.members.iter().map(member).collect();
        match op {
            Op::Insert => engine.insert_group(profile, group.id, group.max_size, &members),
            _ => engine.modify_group(profile, group.id, &members),
        }
        .map_err(|error| named(error, "the group"))
    }

    fn register(
        &self,
        register: &Register,
        index: Option<u64>,
        value: &pb::P4Data,
    ) -> Result<(), SwitchError> {
        let instance = self.loaded.instance(register.id)?;
        let types = self.loaded.info.message.type_info.as_ref();
        let leaves = data::leaves(&register.cell, types, value).ok_or(SwitchError::Invalid(
            "the data does not have the register's type",
        ))?;
        let leaves: SmallVec<[&[u8]; 8]> = leaves.iter().map(Vec::as_slice).collect();
        let engine = &self.loaded.engine;
        each(index, register.size, |cell| {
            engine
                .set_register(instance, cell, &leaves)
                .map_err(extern_error)
        })
    }
}

/// Says what exists already or is missing, where it is not an entry.
fn named(error: engine::TableError, what: &'static str) -> SwitchError {
    match error {
        engine::TableError::Exists => SwitchError::AlreadyExists(what),
        engine::TableError::NotFound => SwitchError::NotFound(what),
        engine::TableError::Full { .. } => SwitchError::Full(what),
        other => table_error(other),
    }
}
