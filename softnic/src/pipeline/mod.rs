//! A loaded program: what the P4Runtime service writes to and reads from, what packets run through.
//!
//! In: checked updates and queries of the service. Out: calls of the engine, and its state in the service's words.
//!
//! | module | between |
//! |---|---|
//! | [`write`](self) | updates and the engine's tables and externs |
//! | `read` | queries and chunks of what they hold |
//! | `value` | byte strings and match fields of the service and of the engine |
//! | `data` | `P4Data` and the leaf values of registers and digests |
//! | `packet_header` | controller headers and packet metadata |
//!
//! Invariant: the engine holds the entries, and nothing else does; only what the engine has no use for (how a controller
//! spelled a replica's port) is kept here.

mod data;
mod packet_header;
mod read;
mod replication;
mod snapshot;
mod value;
mod write;

use std::sync::Arc;

use p4rs::engine::{Config, Engine, IdleTimeout, LoadError, Time};
use p4rs::ir::{ExternInstance, Handle, Table as IrTable, Type};
use p4rs::p4info::P4Info;
use p4runtime::schema::{Schema, Table};
use p4runtime::server::events::Events;
use p4runtime::server::switch::{self, Entry, Key, Query, Sink, SwitchError};
use rustc_hash::FxHashMap;

use crate::data_plane::DataPlane;
use crate::program::Program;
use packet_header::HeaderLayout;
use replication::Replication;

/// A table under both names.
struct BoundTable {
    handle: Handle<IrTable>,
    schema: Arc<Table>,
}

/// A program in an engine, with its schema. Shared by the service and the threads that move packets.
pub(crate) struct Loaded {
    pub engine: Engine,
    info: Arc<P4Info>,
    tables: FxHashMap<u32, BoundTable>,
    by_handle: FxHashMap<Handle<IrTable>, u32>,
    digests: FxHashMap<Handle<Type>, u32>,
    packet_in: Option<HeaderLayout>,
    packet_out: Option<HeaderLayout>,
    replication: Replication,
}

impl Loaded {
    /// Loads a program into a new engine, with its own entries and nothing else.
    pub fn new(program: &Program, schema: &Schema, config: Config) -> Result<Self, LoadError> {
        let engine = Engine::new(Arc::clone(&program.checked), config)?;
        let info = Arc::clone(&program.info);
        let mut tables = FxHashMap::default();
        let mut by_handle = FxHashMap::default();
        for schema in &schema.tables {
            if let Some(handle) = info.ids.table(schema.id) {
                by_handle.insert(handle, schema.id);
                tables.insert(
                    schema.id,
                    BoundTable {
                        handle,
                        schema: Arc::clone(schema),
                    },
                );
            }
        }
        let header = |name| {
            info.ids
                .packet_header(name)
                .map(|header| HeaderLayout::new(&header.fields))
        };
        Ok(Self {
            packet_in: header("packet_in"),
            packet_out: header("packet_out"),
            digests: digests(&engine, &info),
            replication: Replication::default(),
            engine,
            info,
            tables,
            by_handle,
        })
    }

    fn table(&self, id: u32) -> Result<&BoundTable, SwitchError> {
        self.tables
            .get(&id)
            .ok_or(SwitchError::NotFound("the table"))
    }

    fn instance(&self, id: u32) -> Result<Handle<ExternInstance>, SwitchError> {
        self.info
            .ids
            .extern_instance(id)
            .ok_or(SwitchError::NotFound("the object"))
    }

    /// The table whose action list members of a profile refer to; all its tables have the same one.
    fn profile_table(&self, table_ids: &[u32]) -> Result<&BoundTable, SwitchError> {
        let first = table_ids.first().ok_or(SwitchError::Unsupported(
            "an action profile that no table uses",
        ))?;
        self.table(*first)
    }

    /// Tells controllers about entries that were idle for their timeout.
    pub fn report_idle(&self, idle: &[IdleTimeout], events: &Events) {
        let mut entries = Vec::with_capacity(idle.len());
        for timeout in idle {
            let Some(table) = self
                .by_handle
                .get(&timeout.table)
                .and_then(|id| self.tables.get(id))
            else {
                continue;
            };
            let fields = timeout
                .fields
                .iter()
                .map(|field| value::from_engine(field.as_match()))
                .collect();
            let mut entry = Entry::new(
                &table.schema,
                Key::Entry {
                    fields,
                    priority: timeout.priority,
                },
            );
            entry.idle_timeout_ns = timeout.idle_timeout_ns;
            entry.metadata = &timeout.metadata;
            entry.controller_metadata = timeout.controller_metadata;
            entries.push(entry);
        }
        if !entries.is_empty() {
            events.idle_timeout(&entries);
        }
    }

    /// A digest's id and data for controllers; `None` if P4Info does not show it.
    pub fn digest(
        &self,
        digest: &p4rs::engine::Digest,
    ) -> Option<(u32, p4runtime_proto::p4::v1::P4Data)> {
        let id = *self.digests.get(&digest.ty)?;
        let spec = self
            .info
            .message
            .digests
            .iter()
            .find(|d| d.preamble.as_ref().is_some_and(|p| p.id == id))?;
        let data = data::build(
            spec.type_spec.as_ref()?,
            self.info.message.type_info.as_ref(),
            &digest.fields,
        )?;
        Some((id, data))
    }

    /// Cuts the controller header off a packet that left on the CPU port; `None` if it is shorter than that.
    pub fn split_packet_in<'a>(
        &self,
        packet: &'a [u8],
    ) -> Option<(packet_header::Metadata, &'a [u8])> {
        match &self.packet_in {
            Some(layout) => layout.split(packet),
            None => Some((packet_header::Metadata::default(), packet)),
        }
    }

    /// Puts the controller header in front of a packet from a controller.
    fn join_packet_out(&self, payload: &[u8], metadata: &[&[u8]]) -> Result<Vec<u8>, SwitchError> {
        match &self.packet_out {
            Some(layout) => layout.join(payload, metadata).ok_or(SwitchError::Invalid(
                "packet metadata does not fit its header",
            )),
            None => Ok(payload.to_vec()),
        }
    }
}

/// Digest ids by the type of their data: of `digest` calls (v1model), or of `Digest` instances.
fn digests(engine: &Engine, info: &P4Info) -> FxHashMap<Handle<Type>, u32> {
    let program = engine.program();
    let mut ids = FxHashMap::default();
    for digest in &info.message.digests {
        let id = digest.preamble.as_ref().map_or(0, |preamble| preamble.id);
        let instance = info.ids.extern_instance(id);
        let argument =
            instance.and_then(|handle| program.externs[handle].type_args.first().copied());
        if let Some(ty) = info.ids.digest_type(id).or(argument) {
            ids.insert(ty, id);
        }
    }
    ids
}

/// A loaded program as the P4Runtime service drives it.
pub(crate) struct Pipeline {
    loaded: Arc<Loaded>,
    plane: Arc<DataPlane>,
}

impl Pipeline {
    pub fn new(loaded: Arc<Loaded>, plane: Arc<DataPlane>) -> Self {
        Self { loaded, plane }
    }

    fn now(&self) -> Time {
        self.plane.now()
    }
}

impl switch::Pipeline for Pipeline {
    fn activate(&self) -> Result<(), switch::LoadError> {
        self.plane.activate(Arc::clone(&self.loaded));
        Ok(())
    }

    fn writer(&self) -> Box<dyn switch::Writer + '_> {
        Box::new(write::Writer::new(&self.loaded, self.now()))
    }

    fn read(&self, query: &Query<'_>, sink: &mut Sink<'_>) -> Result<(), SwitchError> {
        read::read(&self.loaded, self.now(), query, sink)
    }

    fn packet_out(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> Result<(), SwitchError> {
        let packet = self.loaded.join_packet_out(&payload, metadata)?;
        self.plane.packet_out(&self.loaded, &packet)
    }
}
