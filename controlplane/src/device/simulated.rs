//! A device in memory for tests: tables as a P4Runtime server keeps them, with bounds and faults on demand.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use p4runtime::proto::p4::config::v1 as p4info;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};
use parking_lot::Mutex;
use prost::Message;

use super::stale::Sweeps;
use super::{Device, DeviceError, Failure, UpdateError, UpdateResult};
use crate::tables::{Interface, Tables};

type Fault = Box<dyn FnMut(&proto::Update) -> Option<Failure> + Send>;

/// The device.
pub(crate) struct Simulated {
    schema: Arc<Schema>,
    inner: Mutex<Inner>,
    sweeps: Sweeps,
}

#[derive(Default)]
struct Inner {
    session: Option<u64>,
    entries: BTreeMap<(u32, Vec<u8>), proto::TableEntry>,
    bounds: BTreeMap<u32, usize>,
    calls: usize,
    updates: Vec<proto::Update>,
    break_call: Option<usize>,
    fault: Option<Fault>,
}

impl Simulated {
    /// Connected and empty.
    pub fn new() -> Arc<Self> {
        Self::with(Interface::Full)
    }

    /// One whose program can do this much.
    pub fn with(interface: Interface) -> Arc<Self> {
        let inner = Inner {
            session: Some(1),
            ..Inner::default()
        };
        Arc::new(Self {
            schema: Arc::new(schema(interface)),
            inner: Mutex::new(inner),
            sweeps: Sweeps::default(),
        })
    }

    /// The tables with this device's ids.
    pub fn tables(&self) -> Tables {
        Tables::resolve(&self.schema).unwrap()
    }

    /// Another session, or none.
    pub fn reconnect(&self, session: Option<u64>) {
        self.inner.lock().session = session;
    }

    /// Room in a table.
    pub fn bound(&self, table: u32, entries: usize) {
        self.inner.lock().bounds.insert(table, entries);
    }

    /// The call after so many more breaks off, after half of its updates.
    pub fn break_after(&self, calls: usize) {
        let mut inner = self.inner.lock();
        inner.break_call = Some(inner.calls + calls);
    }

    /// Decides on every update; `None` lets it through.
    pub fn fault(&self, fault: impl FnMut(&proto::Update) -> Option<Failure> + Send + 'static) {
        self.inner.lock().fault = Some(Box::new(fault));
    }

    /// No fault any more.
    pub fn heal(&self) {
        self.inner.lock().fault = None;
    }

    /// Updates since the last time this was asked.
    pub fn taken(&self) -> Vec<proto::Update> {
        std::mem::take(&mut self.inner.lock().updates)
    }

    /// All entries.
    pub fn entries(&self) -> Vec<proto::TableEntry> {
        self.inner.lock().entries.values().cloned().collect()
    }

    /// Puts an entry in, or takes it out, behind the controller's back.
    pub fn meddle(&self, kind: proto::update::Type, entry: proto::TableEntry) {
        let update = crate::tables::entry::update(kind, entry);
        self.inner.lock().apply(&update).unwrap();
        self.inner.lock().updates.pop();
    }
}

impl Inner {
    fn apply(&mut self, update: &proto::Update) -> UpdateResult {
        if let Some(kind) = self.fault.as_mut().and_then(|fault| fault(update)) {
            return Err(error(kind));
        }
        let Some(proto::entity::Entity::TableEntry(entry)) = update
            .entity
            .as_ref()
            .and_then(|entity| entity.entity.clone())
        else {
            return Err(error(Failure::Refused));
        };
        let key = (entry.table_id, key(&entry));
        let there = self.entries.contains_key(&key);
        match update.r#type() {
            proto::update::Type::Insert if there => return Err(error(Failure::AlreadyExists)),
            proto::update::Type::Insert => {
                let bound = self
                    .bounds
                    .get(&entry.table_id)
                    .copied()
                    .unwrap_or(usize::MAX);
                if self
                    .entries
                    .keys()
                    .filter(|(table, _)| *table == entry.table_id)
                    .count()
                    >= bound
                {
                    return Err(error(Failure::Full));
                }
                self.entries.insert(key, entry);
            }
            _ if !there => return Err(error(Failure::NotFound)),
            proto::update::Type::Modify => {
                self.entries.insert(key, entry);
            }
            _ => {
                self.entries.remove(&key);
            }
        }
        self.updates.push(update.clone());
        Ok(())
    }
}

fn error(kind: Failure) -> UpdateError {
    UpdateError {
        kind,
        message: "simulated".to_owned(),
    }
}

fn key(entry: &proto::TableEntry) -> Vec<u8> {
    let key = proto::TableEntry {
        r#match: entry.r#match.clone(),
        priority: entry.priority,
        ..Default::default()
    };
    key.encode_to_vec()
}

#[async_trait]
impl Device for Simulated {
    fn name(&self) -> &str {
        "simulated"
    }

    fn session(&self) -> Option<u64> {
        self.inner.lock().session
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        Some(self.schema.clone())
    }

    fn sweeps(&self) -> Option<&Sweeps> {
        Some(&self.sweeps)
    }

    async fn write(&self, updates: Vec<proto::Update>) -> Result<Vec<UpdateResult>, DeviceError> {
        let mut inner = self.inner.lock();
        if inner.session.is_none() {
            return Err(DeviceError::NotConnected {
                device: "simulated".to_owned(),
            });
        }
        let breaks = inner.break_call == Some(inner.calls);
        inner.calls += 1;
        let count = if breaks {
            updates.len() / 2
        } else {
            updates.len()
        };
        let results = updates[..count]
            .iter()
            .map(|update| inner.apply(update))
            .collect();
        if breaks {
            return Err(DeviceError::Broken {
                device: "simulated".to_owned(),
                message: "cut".to_owned(),
            });
        }
        Ok(results)
    }

    fn read(
        &self,
        query: Vec<proto::Entity>,
    ) -> BoxStream<'static, Result<Vec<proto::Entity>, DeviceError>> {
        let inner = self.inner.lock();
        let wanted = |entry: &proto::TableEntry| {
            query.iter().any(|entity| match &entity.entity {
                Some(proto::entity::Entity::TableEntry(asked)) => {
                    asked.table_id == entry.table_id
                        && (asked.r#match.is_empty() || key(asked) == key(entry))
                }
                _ => false,
            })
        };
        let found: Vec<proto::Entity> = inner
            .entries
            .values()
            .filter(|entry| wanted(entry))
            .map(|entry| proto::Entity {
                entity: Some(proto::entity::Entity::TableEntry(entry.clone())),
            })
            .collect();
        let parts: Vec<_> = found.chunks(7).map(|part| Ok(part.to_vec())).collect();
        stream::iter(parts).boxed()
    }
}

/// The P4Info of a program that has exactly what is required.
fn schema(interface: Interface) -> Schema {
    let mut info = p4info::P4Info::default();
    let mut next = 1;
    let requirements = Tables::requirements(interface);
    for requirement in &requirements {
        if let Requirement::Action { name, params } = requirement
            && !info
                .actions
                .iter()
                .any(|action| &preamble(&action.preamble) == name)
        {
            let params = (1..)
                .zip(params)
                .map(|(id, (name, bits))| p4info::action::Param {
                    id,
                    name: name.clone(),
                    bitwidth: *bits as i32,
                    ..Default::default()
                });
            info.actions.push(p4info::Action {
                preamble: Some(named(0x0100_0000 + next, name)),
                params: params.collect(),
            });
            next += 1;
        }
    }
    for requirement in &requirements {
        if let Requirement::Table {
            name,
            fields,
            actions,
            counter,
            ..
        } = requirement
        {
            let id = 0x0200_0000 + next;
            next += 1;
            let fields = (1..)
                .zip(fields)
                .map(|(id, (name, kind, bits))| p4info::MatchField {
                    id,
                    name: name.clone(),
                    bitwidth: *bits as i32,
                    r#match: Some(p4info::match_field::Match::MatchType(match kind {
                        MatchKind::Ternary => p4info::match_field::MatchType::Ternary as i32,
                        _ => p4info::match_field::MatchType::Exact as i32,
                    })),
                    ..Default::default()
                });
            let refs = actions.iter().map(|wanted| {
                let found = info
                    .actions
                    .iter()
                    .find(|a| &preamble(&a.preamble) == wanted)
                    .unwrap();
                p4info::ActionRef {
                    id: found.preamble.as_ref().unwrap().id,
                    ..Default::default()
                }
            });
            let counters = if *counter {
                vec![0x1400_0000 + id]
            } else {
                vec![]
            };
            info.tables.push(p4info::Table {
                preamble: Some(named(id, name)),
                match_fields: fields.collect(),
                action_refs: refs.collect(),
                direct_resource_ids: counters.clone(),
                size: 1 << 20,
                ..Default::default()
            });
            info.direct_counters
                .extend(counters.iter().map(|counter| p4info::DirectCounter {
                    preamble: Some(named(*counter, &format!("{name}_counter"))),
                    spec: Some(p4info::CounterSpec {
                        unit: p4info::counter_spec::Unit::Both as i32,
                    }),
                    direct_table_id: id,
                }));
        }
    }
    Schema::new(info).unwrap()
}

fn preamble(preamble: &Option<p4info::Preamble>) -> String {
    preamble.as_ref().unwrap().name.clone()
}

fn named(id: u32, name: &str) -> p4info::Preamble {
    p4info::Preamble {
        id,
        name: name.to_owned(),
        alias: name.to_owned(),
        ..Default::default()
    }
}
