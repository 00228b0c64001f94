//! A device's program in an engine of our own, with as much of the device's entries as packets meet.
//!
//! In: packets. Out: what every table said, and what leaves. A packet runs; where an exact table misses, or a ternary one
//! was not read yet, the device is asked, and the packet runs again, until it meets nothing unknown. What a learning
//! program learned on the way is forgotten before each new try, so that only the last one counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use p4rs::engine::{
    ActionCall, Config as EngineConfig, Engine, Event, Execution, FieldMatch, KeyValue, NewEntry,
    Outputs, TableError, Time,
};
use p4runtime::client::{Client, ClientError, ReadError, ResponseType, entry_entity};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Schema, Table as SchemaTable};
use p4runtime::value;
use proto::field_match::FieldMatchType;

use super::seen::Seen;
use super::{TraceError, packet};
use crate::config::{Program, SLOW_PATH_PORT};
use crate::pipeline;
use crate::tables::flow::{Key, Tuple};
use crate::tables::route::{Action as Way, Prefix};
use crate::tables::{Address, Table, Tables, port};
use crate::telemetry::counters::VERDICTS;

/// Tries of one packet: more than there are tables, each of which can be met unprepared once.
const TRIES: usize = 64;

/// One packet's way.
pub(super) struct Ran {
    /// What the tables said, in order.
    pub seen: Vec<Seen>,
    /// How it ended.
    pub verdict: &'static str,
    /// What leaves, and where.
    pub leaves: Vec<(u32, Vec<u8>)>,
}

/// The device's twin.
pub(super) struct Twin {
    client: Client,
    program: Arc<softnic::Program>,
    engine: Engine,
    schema: Schema,
    tables: Tables,
    /// Entries taken over, by table.
    entries: HashMap<u32, Vec<proto::TableEntry>>,
    /// Keys of exact tables that the device was asked for.
    asked: HashSet<(u32, Vec<Vec<u8>>)>,
    /// Tables that were read as a whole.
    whole: HashSet<u32>,
}

/// What the device has to be asked for.
enum Unknown {
    Key(u32, Vec<Vec<u8>>),
    Whole(u32),
}

impl Twin {
    /// A twin that knows no entry yet.
    pub(super) fn new(client: Client, program: Arc<softnic::Program>) -> Result<Self, TraceError> {
        let config = EngineConfig {
            cpu_port: Some(SLOW_PATH_PORT),
            unlimited_tables: true,
            // Each packet runs a few times only: compiling would take longer.
            execution: Execution::Interpreted,
            ..EngineConfig::default()
        };
        let load = |error: &dyn std::fmt::Display| TraceError::Load(error.to_string());
        let engine = Engine::new(program.checked.clone(), config).map_err(|e| load(&e))?;
        let schema = Schema::new(program.info.message.clone()).map_err(|e| load(&e))?;
        let tables = Tables::resolve(&schema).map_err(|e| load(&e))?;
        Ok(Self {
            client,
            program,
            engine,
            schema,
            tables,
            entries: HashMap::new(),
            asked: HashSet::new(),
            whole: HashSet::new(),
        })
    }

    /// Runs a packet.
    pub(super) async fn run(&mut self, port: u32, bytes: &[u8]) -> Result<Ran, TraceError> {
        for _ in 0..TRIES {
            let (ran, unknown) = self.attempt(port, bytes);
            if unknown.is_empty() {
                return Ok(ran);
            }
            self.forget(&ran);
            for unknown in unknown {
                match unknown {
                    Unknown::Key(table, key) => self.ask(table, key).await?,
                    Unknown::Whole(table) => self.read(table).await?,
                }
            }
        }
        Ok(self.attempt(port, bytes).0)
    }

    /// Where the sender of a packet is: the port that its address is routed to, else the first one that is configured.
    pub(super) async fn port_of(&mut self, bytes: &[u8]) -> Result<u32, TraceError> {
        self.read(self.tables.route.id()).await?;
        self.read(self.tables.port.id()).await?;
        if let Some(sender) = packet::sender(bytes).map(Address::from) {
            let routes = self
                .entries
                .get(&self.tables.route.id())
                .into_iter()
                .flatten();
            let routes = routes.filter_map(|entry| self.tables.route.decode(entry));
            let covering = routes.filter(|(key, _)| key.prefix.covers(sender));
            if let Some((_, Way::Forward { port, .. })) =
                covering.max_by_key(|(key, _)| key.prefix.length)
            {
                return Ok(port);
            }
        }
        let ports = self
            .entries
            .get(&self.tables.port.id())
            .into_iter()
            .flatten();
        let ports = ports.filter_map(|entry| self.tables.port.decode(entry));
        // Whom no route leads to is most often outside.
        let first = ports.min_by_key(|(key, is)| (is.role == port::ROLE_HOST, key.ingress_port));
        Ok(first.map_or(1, |(key, _)| key.ingress_port))
    }

    /// What becomes of a packet after the control plane opened its connection; `None` if it was not asked to.
    pub(super) async fn opened(&mut self, ran: &Ran, port: u32) -> Result<Option<Ran>, TraceError> {
        if ran.verdict != "new_flow" {
            return Ok(None);
        }
        let missed = ran.seen.iter().find(|seen| seen.table == "flow");
        let sent = ran.leaves.iter().find(|(port, _)| *port == SLOW_PATH_PORT);
        let (Some(missed), Some((_, bytes))) = (missed, sent) else {
            return Ok(None);
        };
        let Some((said, frame)) = self.said(bytes) else {
            return Ok(None);
        };
        let number = |name: &str| said.get(name).copied().unwrap_or_default();
        let address = |name: &str| Address {
            hi: number(&format!("{name}_hi")) as u64,
            lo: number(&format!("{name}_lo")) as u64,
        };
        let key = Key {
            vpc: missed.key("vpc") as u32,
            protocol: missed.key("protocol") as u8,
            tuple: Tuple {
                src: missed.key_address("src"),
                dst: missed.key_address("dst"),
                src_port: missed.key("src_port") as u16,
                dst_port: missed.key("dst_port") as u16,
            },
        };
        let new = Tuple {
            src: address("source"),
            dst: address("endpoint"),
            src_port: number("source_port") as u16,
            dst_port: number("endpoint_port") as u16,
        };
        let answer = Key {
            tuple: new.reversed(),
            ..key
        };
        let frame = frame.to_vec();
        let flow = self.tables.flow.entry(&key, &new);
        let reply = self.tables.reply.entry(&answer, &key.tuple.reversed());
        self.insert(self.tables.flow.id(), flow)?;
        if new.dst_port != 0 {
            self.insert(self.tables.reply.id(), reply)?;
        }
        self.run(port, &frame).await.map(Some)
    }

    /// What the header before a packet for the control plane says, and the packet.
    fn said<'a>(&self, bytes: &'a [u8]) -> Option<(HashMap<String, u128>, &'a [u8])> {
        let mut said = HashMap::new();
        let mut rest = bytes;
        for field in &self.schema.packet_in()?.fields {
            let width = usize::try_from(field.width.bits()?.div_ceil(8)).ok()?;
            let (number, behind) = rest.split_at_checked(width)?;
            said.insert(field.name.clone(), value::to_u128(number).ok()?);
            rest = behind;
        }
        Some((said, rest))
    }

    /// Runs a packet with what is known; says what is not.
    fn attempt(&self, port: u32, bytes: &[u8]) -> (Ran, Vec<Unknown>) {
        let before = self.verdicts();
        let mut out = Outputs::default();
        let (mut seen, mut unknown) = (Vec::new(), Vec::new());
        let mut tracer = |event: &Event<'_>| {
            if let Event::TableApply {
                table,
                keys,
                hit,
                priority,
                action,
                data,
            } = event
            {
                let name = &self.engine.program().tables[*table].name.control_plane;
                let Some(schema) = self.schema.table(name) else {
                    return;
                };
                unknown.extend(self.unknown(schema, keys, *hit));
                let entry = self.entry(schema, keys, *priority).filter(|_| *hit);
                let owner =
                    entry.map(|entry| String::from_utf8_lossy(&entry.metadata).into_owned());
                let action = schema.action(action);
                seen.push(Seen {
                    table: schema.alias.clone(),
                    keys: keys.to_vec(),
                    hit: *hit,
                    action: action
                        .map(|action| action.action.alias.clone())
                        .unwrap_or_default(),
                    data: data.to_vec(),
                    owner: owner.unwrap_or_default(),
                    range: entry.and_then(|entry| range(schema, entry)),
                });
            }
        };
        self.engine
            .process_traced(Time::default(), port, bytes, &mut out, &mut tracer);
        let after = self.verdicts();
        let counted = after.iter().zip(&before).position(|(now, then)| now > then);
        let ran = Ran {
            seen,
            verdict: counted
                .and_then(|at| VERDICTS.get(at))
                .copied()
                .unwrap_or("unknown"),
            leaves: out
                .transmitted()
                .map(|sent| (sent.port, sent.to_vec()))
                .collect(),
        };
        (ran, unknown)
    }

    fn unknown(&self, table: &SchemaTable, keys: &[KeyValue], hit: bool) -> Option<Unknown> {
        if self.whole.contains(&table.id) {
            return None;
        }
        if table
            .fields
            .iter()
            .any(|field| field.kind != MatchKind::Exact)
        {
            return Some(Unknown::Whole(table.id));
        }
        let key = values(keys);
        (!hit && !self.asked.contains(&(table.id, key.clone())))
            .then_some(Unknown::Key(table.id, key))
    }

    /// Forgets what a try learned: an entry where there was none.
    fn forget(&self, ran: &Ran) {
        for seen in ran.seen.iter().filter(|seen| !seen.hit) {
            let table = self.schema.table(&seen.table);
            let Some(handle) = table.and_then(|table| self.program.info.ids.table(table.id)) else {
                continue;
            };
            let fields: Vec<FieldMatch<'_>> = seen
                .keys
                .iter()
                .map(|key| FieldMatch::Exact(&key.value))
                .collect();
            if table.is_some_and(|table| is_exact(table)) {
                // Not found is as good: then nothing was learned.
                let _ = self.engine.delete(handle, &fields, 0);
            }
        }
    }

    /// Asks the device for one entry.
    async fn ask(&mut self, table: u32, key: Vec<Vec<u8>>) -> Result<(), TraceError> {
        let Some(schema) = self.schema.tables.get(table) else {
            return Ok(());
        };
        let matches = schema.fields.iter().zip(&key);
        let matches = matches.map(|(field, bytes)| proto::FieldMatch {
            field_id: field.id,
            field_match_type: Some(FieldMatchType::Exact(proto::field_match::Exact {
                value: shortest(bytes),
            })),
        });
        let wanted = proto::TableEntry {
            table_id: table,
            r#match: matches.collect(),
            ..Default::default()
        };
        self.asked.insert((table, key));
        for entry in self.fetch(wanted).await? {
            self.insert(table, entry)?;
        }
        Ok(())
    }

    /// Reads a table as a whole.
    async fn read(&mut self, table: u32) -> Result<(), TraceError> {
        if !self.whole.insert(table) {
            return Ok(());
        }
        let wanted = proto::TableEntry {
            table_id: table,
            ..Default::default()
        };
        for entry in self.fetch(wanted).await? {
            self.insert(table, entry)?;
        }
        Ok(())
    }

    async fn fetch(&self, wanted: proto::TableEntry) -> Result<Vec<proto::TableEntry>, TraceError> {
        let found = match self.client.read_all(vec![entry_entity(wanted)]).await {
            // Some servers say so of an entry that is not there.
            Err(ReadError::Requests { .. }) => Vec::new(),
            Err(ReadError::Client(ClientError::Rpc { status, .. }))
                if status.code() == tonic::Code::NotFound =>
            {
                Vec::new()
            }
            found => found?,
        };
        let entries = found.into_iter().filter_map(|entity| match entity.entity {
            Some(proto::entity::Entity::TableEntry(entry)) if !entry.is_default_action => {
                Some(entry)
            }
            _ => None,
        });
        Ok(entries.collect())
    }

    fn insert(&mut self, id: u32, entry: proto::TableEntry) -> Result<(), TraceError> {
        let Some(table) = self.schema.tables.get(id) else {
            return Ok(());
        };
        let fault = |reason: &str| TraceError::Entry {
            table: table.alias.clone(),
            reason: reason.to_owned(),
        };
        let handle = self.program.info.ids.table(id);
        let handle = handle.ok_or_else(|| fault("the program has no such table"))?;
        let Some(proto::table_action::Type::Action(action)) =
            entry.action.as_ref().and_then(|a| a.r#type.as_ref())
        else {
            return Err(fault("it has no action of its own"));
        };
        let mut known = table.actions.iter();
        let index = known.position(|known| known.action.id == action.action_id);
        let index = index.ok_or_else(|| fault("its action is not one of the table's"))?;
        let params: Vec<&[u8]> = table.actions[index]
            .action
            .params
            .iter()
            .map(|param| {
                let mut given = action.params.iter();
                let given = given.find(|given| given.param_id == param.id);
                given.map_or(&[0][..], |given| &given.value)
            })
            .collect();
        let fields: Vec<FieldMatch<'_>> = table
            .fields
            .iter()
            .map(|field| {
                let mut given = entry.r#match.iter();
                given
                    .find(|given| given.field_id == field.id)
                    .and_then(|given| given.field_match_type.as_ref())
                    .map_or(FieldMatch::DontCare, engine_match)
            })
            .collect();
        let call = ActionCall {
            action: index,
            params: &params,
        };
        let mut new = NewEntry::new(&fields, call);
        new.priority = entry.priority;
        match self.engine.insert(Time::default(), handle, &new) {
            // The program's own entries are there already, and what a packet before this one learned goes on.
            Ok(()) | Err(TableError::Exists) => {}
            Err(error) => return Err(fault(&error.to_string())),
        }
        self.entries.entry(id).or_default().push(entry);
        Ok(())
    }

    /// Cells of the counter of verdicts.
    fn verdicts(&self) -> Vec<u64> {
        let counter = self.schema.counters.named("verdicts");
        let instance =
            counter.and_then(|counter| self.program.info.ids.extern_instance(counter.id));
        let Some(instance) = instance else {
            return Vec::new();
        };
        (0..VERDICTS.len() as u64)
            .map(|cell| {
                let found = self.engine.counter(instance, cell);
                found.map_or(0, |data| data.packets)
            })
            .collect()
    }

    /// The entry that answered.
    fn entry(
        &self,
        table: &SchemaTable,
        keys: &[KeyValue],
        priority: Option<i32>,
    ) -> Option<&proto::TableEntry> {
        let mut entries = self.entries.get(&table.id)?.iter();
        entries.find(|entry| {
            priority.is_none_or(|priority| entry.priority == priority)
                && table.fields.iter().zip(keys).all(|(field, key)| {
                    let mut given = entry.r#match.iter();
                    let given = given.find(|given| given.field_id == field.id);
                    given.is_none_or(|given| fits(given, &key.value))
                })
        })
    }
}

/// The cookie of the device's program.
pub(super) async fn cookie(client: &Client) -> Result<Option<u64>, TraceError> {
    let found = client.get_pipeline(ResponseType::CookieOnly).await?;
    Ok(found
        .and_then(|config| config.cookie)
        .map(|cookie| cookie.cookie))
}

/// The device's program: what it was given, if that is source; else the bundled program with the same interface.
pub(super) async fn program(client: &Client) -> Result<softnic::Program, TraceError> {
    let config = client.get_pipeline(ResponseType::All).await?;
    let config = config.unwrap_or_default();
    if let Ok(program) = softnic::Program::from_device_config(&config.p4_device_config) {
        return Ok(program);
    }
    let theirs = config.p4info.unwrap_or_default();
    for known in [Program::Pna, Program::V1model] {
        let program = softnic::Program::compile(&pipeline::sources(known))
            .map_err(|error| TraceError::Load(error.to_string()))?;
        let ours = &program.info.message;
        let same = ours.tables == theirs.tables
            && ours.actions == theirs.actions
            && ours.pkg_info.as_ref().map(|p| &p.arch) == theirs.pkg_info.as_ref().map(|p| &p.arch);
        if same {
            return Ok(program);
        }
    }
    Err(TraceError::Program)
}

fn is_exact(table: &SchemaTable) -> bool {
    table
        .fields
        .iter()
        .all(|field| field.kind == MatchKind::Exact)
}

fn values(keys: &[KeyValue]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| key.value.clone()).collect()
}

/// The canonical form: no leading zeros, one byte at least.
fn shortest(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    match bytes.get(zeros..) {
        Some(rest) if !rest.is_empty() => rest.to_vec(),
        _ => vec![0],
    }
}

fn engine_match(given: &FieldMatchType) -> FieldMatch<'_> {
    match given {
        FieldMatchType::Exact(exact) => FieldMatch::Exact(&exact.value),
        FieldMatchType::Ternary(ternary) => FieldMatch::Ternary {
            value: &ternary.value,
            mask: &ternary.mask,
        },
        FieldMatchType::Lpm(lpm) => FieldMatch::Lpm {
            value: &lpm.value,
            prefix_len: u32::try_from(lpm.prefix_len).unwrap_or(0),
        },
        FieldMatchType::Range(range) => FieldMatch::Range {
            low: &range.low,
            high: &range.high,
        },
        FieldMatchType::Optional(optional) => FieldMatch::Optional(&optional.value),
        FieldMatchType::Other(_) => FieldMatch::DontCare,
    }
}

/// Whether a match of the pipeline's tables, exact or ternary, covers a value.
fn fits(given: &proto::FieldMatch, found: &[u8]) -> bool {
    let number = |bytes: &[u8]| value::to_u128(bytes).unwrap_or_default();
    match &given.field_match_type {
        Some(FieldMatchType::Exact(exact)) => number(&exact.value) == number(found),
        Some(FieldMatchType::Ternary(ternary)) => {
            number(&ternary.value) == number(found) & number(&ternary.mask)
        }
        _ => true,
    }
}

/// The range of addresses that an entry of a ternary table covers: its last two fields are the halves.
fn range(table: &SchemaTable, entry: &proto::TableEntry) -> Option<Prefix> {
    let [.., hi, lo] = &table.fields[..] else {
        return None;
    };
    if hi.kind != MatchKind::Ternary {
        return None;
    }
    let half = |id: u32| {
        let mut given = entry.r#match.iter();
        match given
            .find(|given| given.field_id == id)?
            .field_match_type
            .as_ref()?
        {
            FieldMatchType::Ternary(ternary) => Some((
                value::to_u128(&ternary.value).ok()? as u64,
                value::to_u128(&ternary.mask).ok()? as u64,
            )),
            _ => None,
        }
    };
    // A half that is left out matches everything.
    let (hi, lo) = (
        half(hi.id).unwrap_or_default(),
        half(lo.id).unwrap_or_default(),
    );
    let address = Address { hi: hi.0, lo: lo.0 };
    Prefix::from_mask(address, Address { hi: hi.1, lo: lo.1 })
}
