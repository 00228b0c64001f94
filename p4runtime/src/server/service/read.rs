//! Read: wildcards over objects are expanded here, filters applied, answers cut into parts of bounded size.
//!
//! Writes wait while a read runs, so that it sees whole batches only; a reader that stalls is cut off.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use p4runtime_proto::p4::v1 as proto;
use prost::Message;
use proto::entity::Entity as Kind;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::write::UpdateError;
use super::{Loaded, Shared, no_pipeline, role_name};
use crate::schema::Table;
use crate::server::encode;
use crate::server::events::Hub;
use crate::server::switch::{EntryAction, Item, Key, Query, RoleScope, Select, SwitchError, Want};
use crate::server::validate::{Invalid, entry_key};
use crate::status::batch_failed;

pub(super) type ReadStream =
    Pin<Box<dyn tokio_stream::Stream<Item = Result<proto::ReadResponse, Status>> + Send>>;

impl Shared {
    pub(super) async fn read(&self, request: proto::ReadRequest) -> Result<ReadStream, Status> {
        self.check_device(request.device_id)?;
        let pipelines = self.pipelines.clone().read_owned().await;
        let loaded = pipelines.target().cloned().ok_or_else(no_pipeline)?;
        let scope = self.hub.role_scope(&role_name(&request.role, 0));
        let (hub, chunk, stall) = (
            self.hub.clone(),
            self.options.read_chunk,
            self.options.read_stall,
        );
        let (parts, stream) = mpsc::channel(4);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            let _no_writes = pipelines;
            let mut out = Parts {
                parts,
                runtime,
                chunk,
                stall,
                part: Vec::new(),
                bytes: 0,
                gone: false,
            };
            let reader = Reader {
                loaded: &loaded,
                hub: &hub,
                scope: scope.as_deref(),
            };
            reader.all(&request.entities, &mut out);
        });
        Ok(Box::pin(ReceiverStream::new(stream)))
    }
}

/// The answer on its way.
struct Parts {
    parts: mpsc::Sender<Result<proto::ReadResponse, Status>>,
    runtime: Handle,
    chunk: usize,
    stall: Duration,
    part: Vec<proto::Entity>,
    bytes: usize,
    gone: bool,
}

impl Parts {
    fn push(&mut self, entity: proto::Entity) -> ControlFlow<()> {
        self.bytes += entity.encoded_len() + 4;
        self.part.push(entity);
        if self.bytes >= self.chunk {
            self.flush();
        }
        if self.gone {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn flush(&mut self) {
        let entities = std::mem::take(&mut self.part);
        self.bytes = 0;
        if !entities.is_empty() {
            self.send(Ok(proto::ReadResponse { entities }));
        }
    }

    fn send(&mut self, message: Result<proto::ReadResponse, Status>) {
        if self.gone {
            return;
        }
        let room = self
            .runtime
            .block_on(tokio::time::timeout(self.stall, self.parts.reserve()));
        match room {
            Ok(Ok(permit)) => permit.send(message),
            Ok(Err(_)) | Err(_) => self.gone = true,
        }
    }
}

struct Reader<'a> {
    loaded: &'a Loaded,
    hub: &'a Hub,
    scope: Option<&'a RoleScope>,
}

impl Reader<'_> {
    fn all(&self, requests: &[proto::Entity], out: &mut Parts) {
        let mut errors = Vec::new();
        for (at, request) in requests.iter().enumerate() {
            if let Err(error) = self.one(request, out) {
                errors.push((at, error.code(), error.to_string()));
            }
            if out.gone {
                return;
            }
        }
        out.flush();
        if !errors.is_empty() {
            out.send(Err(batch_failed(requests.len(), errors)));
        }
    }

    fn one(&self, request: &proto::Entity, out: &mut Parts) -> Result<(), UpdateError> {
        let schema = &self.loaded.schema;
        match request.entity.as_ref().ok_or(Invalid::Missing("entity"))? {
            Kind::TableEntry(entry) => self.entries(entry, Form::Entry, out),
            Kind::DirectCounterEntry(entry) => {
                let entry = entry
                    .table_entry
                    .as_ref()
                    .ok_or(Invalid::Missing("table entry"))?;
                self.entries(entry, Form::Counter, out)
            }
            Kind::DirectMeterEntry(entry) => {
                let entry = entry
                    .table_entry
                    .as_ref()
                    .ok_or(Invalid::Missing("table entry"))?;
                self.entries(entry, Form::Meter, out)
            }
            Kind::ActionProfileMember(member) => {
                let id = some(member.member_id);
                self.each(
                    &schema.action_profiles,
                    "action profile",
                    member.action_profile_id,
                    out,
                    |p| Ok(Query::Members(p, id)),
                )
            }
            Kind::ActionProfileGroup(group) => {
                let id = some(group.group_id);
                self.each(
                    &schema.action_profiles,
                    "action profile",
                    group.action_profile_id,
                    out,
                    |p| Ok(Query::Groups(p, id)),
                )
            }
            Kind::CounterEntry(entry) => self.each(
                &schema.counters,
                "counter",
                entry.counter_id,
                out,
                |counter| {
                    Ok(Query::Counter(
                        counter,
                        index(&counter.name, entry.index.as_ref(), counter.size)?,
                    ))
                },
            ),
            Kind::MeterEntry(entry) => {
                self.each(&schema.meters, "meter", entry.meter_id, out, |meter| {
                    Ok(Query::Meter(
                        meter,
                        index(&meter.name, entry.index.as_ref(), meter.size)?,
                    ))
                })
            }
            Kind::RegisterEntry(entry) => self.each(
                &schema.registers,
                "register",
                entry.register_id,
                out,
                |register| {
                    Ok(Query::Register(
                        register,
                        index(&register.name, entry.index.as_ref(), register.size)?,
                    ))
                },
            ),
            Kind::ValueSetEntry(entry) => self.each(
                &schema.value_sets,
                "value set",
                entry.value_set_id,
                out,
                |set| Ok(Query::ValueSet(set)),
            ),
            Kind::PacketReplicationEngineEntry(entry) => self.replication(entry, out),
            Kind::DigestEntry(entry) => self.digests(entry.digest_id, out),
            Kind::ExternEntry(_) => Err(Invalid::Unsupported("extern entries").into()),
        }
    }

    /// One object, or all of its kind.
    fn each<T>(
        &self,
        objects: &crate::schema::Index<T>,
        kind: &'static str,
        id: u32,
        out: &mut Parts,
        query: impl for<'q> Fn(&'q Arc<T>) -> Result<Query<'q>, Invalid>,
    ) -> Result<(), UpdateError> {
        if id != 0 {
            let object = objects.get(id).ok_or(Invalid::UnknownId { kind, id })?;
            return self.plain(&query(object)?, out);
        }
        for object in objects {
            // An index that only some objects have selects nothing in the others.
            match query(object) {
                Ok(query) => self.plain(&query, out)?,
                Err(Invalid::Index { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn plain(&self, query: &Query<'_>, out: &mut Parts) -> Result<(), UpdateError> {
        let mut sink = |item: Item<'_>| out.push(encode::entity(&item, Want::default()));
        match self.loaded.pipeline.read(query, &mut sink) {
            // Wildcards over what the switch does not have find nothing.
            Err(SwitchError::Unsupported(_)) if is_wildcard(query) => Ok(()),
            result => Ok(result?),
        }
    }

    fn replication(
        &self,
        entry: &proto::PacketReplicationEngineEntry,
        out: &mut Parts,
    ) -> Result<(), UpdateError> {
        use proto::packet_replication_engine_entry::Type;
        match entry
            .r#type
            .as_ref()
            .ok_or(Invalid::Missing("replication engine entry"))?
        {
            Type::MulticastGroupEntry(group) => {
                self.plain(&Query::MulticastGroups(some(group.multicast_group_id)), out)
            }
            Type::CloneSessionEntry(session) => {
                self.plain(&Query::CloneSessions(some(session.session_id)), out)
            }
        }
    }

    fn digests(&self, id: u32, out: &mut Parts) -> Result<(), UpdateError> {
        if id != 0 {
            self.loaded
                .schema
                .digests
                .get(id)
                .ok_or(Invalid::UnknownId { kind: "digest", id })?;
        }
        for entry in self.hub.with_digests(|queues| queues.entries(some(id))) {
            if out
                .push(proto::Entity {
                    entity: Some(Kind::DigestEntry(entry)),
                })
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn entries(
        &self,
        request: &proto::TableEntry,
        form: Form,
        out: &mut Parts,
    ) -> Result<(), UpdateError> {
        let filter = Filter::new(request, form);
        if request.table_id != 0 {
            let id = request.table_id;
            let table = self
                .loaded
                .schema
                .tables
                .get(id)
                .ok_or(Invalid::UnknownId { kind: "table", id })?;
            form.check(table)?;
            return self.table(table, request, &filter, out);
        }
        if filter.narrows() || !request.r#match.is_empty() || request.is_default_action {
            return Err(Invalid::Unexpected("a filter without a table").into());
        }
        for table in self
            .loaded
            .schema
            .tables
            .iter()
            .filter(|table| form.check(table).is_ok())
        {
            self.table(table, request, &filter, out)?;
            if out.gone {
                break;
            }
        }
        Ok(())
    }

    fn table(
        &self,
        table: &Arc<Table>,
        request: &proto::TableEntry,
        filter: &Filter<'_>,
        out: &mut Parts,
    ) -> Result<(), UpdateError> {
        if self.scope.is_some_and(|scope| !scope.may_write(table.id)) {
            return Ok(());
        }
        let select = select(table, request)?;
        let one = matches!(select, Select::One(_));
        let query = Query::Entries {
            table,
            select,
            want: filter.want,
        };
        let mut found = false;
        let mut sink = |item: Item<'_>| match &item {
            Item::Entry(entry) if filter.takes(entry) => {
                found = true;
                out.push(filter.form.entity(entry, filter.want))
            }
            _ => ControlFlow::Continue(()),
        };
        self.loaded.pipeline.read(&query, &mut sink)?;
        if one && !found && filter.form != Form::Entry {
            return Err(SwitchError::NotFound("table entry").into());
        }
        Ok(())
    }
}

fn select<'a>(table: &Table, request: &'a proto::TableEntry) -> Result<Select<'a>, Invalid> {
    if request.is_default_action {
        return if request.r#match.is_empty() {
            Ok(Select::One(Key::Default))
        } else {
            Err(Invalid::Unexpected("the match of a default entry"))
        };
    }
    if request.r#match.is_empty() {
        return Ok(Select::All);
    }
    entry_key(table, request).map(Select::One)
}

fn some(id: u32) -> Option<u32> {
    Some(id).filter(|id| *id != 0)
}

fn is_wildcard(query: &Query<'_>) -> bool {
    matches!(
        query,
        Query::Members(_, None)
            | Query::Groups(_, None)
            | Query::Counter(_, None)
            | Query::Meter(_, None)
            | Query::Register(_, None)
            | Query::MulticastGroups(None)
            | Query::CloneSessions(None)
            | Query::ValueSet(_)
    )
}

fn index(object: &str, index: Option<&proto::Index>, size: u64) -> Result<Option<u64>, Invalid> {
    crate::server::validate::index(object, index, size)
}

/// Which kind of entity was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Entry,
    Counter,
    Meter,
}

impl Form {
    fn check(self, table: &Table) -> Result<(), Invalid> {
        let reason = match self {
            Form::Counter if table.direct_counter.is_none() => "the table has no direct counter",
            Form::Meter if table.direct_meter.is_none() => "the table has no direct meter",
            _ => return Ok(()),
        };
        Err(Invalid::Rule {
            object: table.name.clone(),
            reason,
        })
    }

    fn entity(self, entry: &crate::server::switch::Entry<'_>, want: Want) -> proto::Entity {
        let (table, key) = (entry.table, entry.key.clone());
        match self {
            Form::Entry => proto::Entity {
                entity: Some(Kind::TableEntry(encode::table_entry(entry, want))),
            },
            Form::Counter => {
                let data = entry.counter.unwrap_or_default();
                encode::entity(&Item::DirectCounter { table, key, data }, want)
            }
            Form::Meter => encode::entity(
                &Item::DirectMeter {
                    table,
                    key,
                    config: entry.meter,
                },
                want,
            ),
        }
    }
}

/// What an entry must have beside its key.
struct Filter<'a> {
    form: Form,
    want: Want,
    action: Option<u32>,
    priority: i32,
    metadata: &'a [u8],
    controller_metadata: u64,
}

impl<'a> Filter<'a> {
    fn new(request: &'a proto::TableEntry, form: Form) -> Self {
        let action = match request
            .action
            .as_ref()
            .and_then(|action| action.r#type.as_ref())
        {
            Some(proto::table_action::Type::Action(action)) if form == Form::Entry => {
                some(action.action_id)
            }
            _ => None,
        };
        let want = Want {
            counter: form == Form::Counter || request.counter_data.is_some(),
            meter: form == Form::Meter || request.meter_config.is_some(),
            idle: request.time_since_last_hit.is_some(),
        };
        Self {
            form,
            want,
            action,
            priority: request.priority,
            metadata: &request.metadata,
            controller_metadata: request.controller_metadata,
        }
    }

    fn narrows(&self) -> bool {
        self.action.is_some()
            || self.priority != 0
            || !self.metadata.is_empty()
            || self.controller_metadata != 0
    }

    fn takes(&self, entry: &crate::server::switch::Entry<'_>) -> bool {
        let priority = match &entry.key {
            Key::Entry { priority, .. } => *priority,
            Key::Default => 0,
        };
        let action = match &entry.action {
            Some(EntryAction::Call(call)) => Some(call.action.id),
            _ => None,
        };
        (self.priority == 0 || self.priority == priority)
            && (self.action.is_none() || self.action == action)
            && (self.metadata.is_empty() || self.metadata == entry.metadata)
            && (self.controller_metadata == 0
                || self.controller_metadata == entry.controller_metadata)
    }
}
