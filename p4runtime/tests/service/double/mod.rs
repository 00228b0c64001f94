//! A switch in memory, for the tests: stores updates under their identity and loops packets back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use p4runtime::proto::p4::config::v1::P4Info;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::proto::{Any, text};
use p4runtime::schema::Schema;
use p4runtime::server::events::Events;
use p4runtime::server::switch::{
    Entry, Item, Key, LoadError, Op, Pipeline, Query, RoleScope, Select, Sink, Switch, SwitchError,
    Update, Want, Writer,
};
use p4runtime::server::validate::{self, Checked};
use p4runtime::server::{P4RuntimeService, encode};
use parking_lot::Mutex;
use tokio::net::TcpListener;

pub const PROGRAM: &str = include_str!("program.txtpb");

pub fn info() -> P4Info {
    text::from_text(PROGRAM).unwrap()
}

pub fn config() -> proto::ForwardingPipelineConfig {
    p4runtime::client::pipeline_config(info(), b"program".to_vec(), Some(7))
}

#[derive(Default)]
pub struct Memory {
    pub events: Mutex<Option<Events>>,
    pub active: Mutex<Option<Arc<AtomicBool>>>,
}

impl Memory {
    pub fn events(&self) -> Events {
        self.events.lock().clone().unwrap()
    }
}

impl Switch for Memory {
    fn load(
        &self,
        config: &proto::ForwardingPipelineConfig,
        schema: &Arc<Schema>,
    ) -> Result<Arc<dyn Pipeline>, LoadError> {
        if config.p4_device_config != b"program" {
            return Err(LoadError::Invalid {
                reason: "not a program".into(),
            });
        }
        let pipeline = Tables {
            schema: schema.clone(),
            stored: Mutex::default(),
            events: self.events(),
            active: Arc::default(),
        };
        if let Some(table) = schema.table("const_table") {
            let entry = schema
                .entry(&table.name)
                .unwrap()
                .exact("kind", 1u8)
                .action("NoAction", &[])
                .build()
                .unwrap();
            pipeline
                .stored
                .lock()
                .insert("const".into(), update(proto::update::Type::Insert, entry));
        }
        *self.active.lock() = Some(pipeline.active.clone());
        Ok(Arc::new(pipeline))
    }

    fn attach(&self, events: Events) {
        *self.events.lock() = Some(events);
    }

    fn role(&self, _name: &str, config: &Any) -> Result<RoleScope, LoadError> {
        // The test's scheme: one table id as text.
        let id = std::str::from_utf8(&config.value)
            .ok()
            .and_then(|text| text.parse().ok());
        let id = id.ok_or_else(|| LoadError::Invalid {
            reason: "not a role".into(),
        })?;
        Ok(RoleScope {
            writable: Some([id].into()),
            no_packets: true,
        })
    }
}

fn update(kind: proto::update::Type, entry: proto::TableEntry) -> proto::Update {
    p4runtime::client::entry_update(kind, entry)
}

struct Tables {
    schema: Arc<Schema>,
    stored: Mutex<BTreeMap<String, proto::Update>>,
    events: Events,
    active: Arc<AtomicBool>,
}

fn identity(item: &Item<'_>) -> String {
    match item {
        Item::Entry(entry) => format!("entry {} {:?}", entry.table.id, entry.key),
        Item::DirectCounter { table, key, .. } | Item::DirectMeter { table, key, .. } => {
            format!("entry {} {key:?}", table.id)
        }
        Item::Member(member) => format!("member {} {}", member.profile.id, member.id),
        Item::Group(group) => format!("group {} {}", group.profile.id, group.id),
        Item::Counter { counter, index, .. } => format!("counter {} {index:?}", counter.id),
        Item::Meter { meter, index, .. } => format!("meter {} {index:?}", meter.id),
        Item::Register {
            register, index, ..
        } => format!("register {} {index:?}", register.id),
        Item::MulticastGroup(group) => format!("multicast {}", group.id),
        Item::CloneSession(session) => format!("clone {}", session.id),
        Item::ValueSet { set, .. } => format!("value set {}", set.id),
    }
}

impl Tables {
    fn apply(&self, update: &Update<'_>) -> Result<(), SwitchError> {
        let id = identity(&update.item);
        let mut stored = self.stored.lock();
        let always = match &update.item {
            Item::Entry(entry) => entry.key == Key::Default,
            Item::Member(_) | Item::Group(_) | Item::MulticastGroup(_) | Item::CloneSession(_) => {
                false
            }
            _ => true,
        };
        match (update.op, stored.contains_key(&id)) {
            (Op::Insert, true) => return Err(SwitchError::AlreadyExists("entity")),
            (Op::Modify | Op::Delete, false) if !always => {
                return Err(SwitchError::NotFound("entity"));
            }
            (Op::Delete, _) => {
                stored.remove(&id);
                return Ok(());
            }
            _ => {}
        }
        if let (Op::Insert, Item::Entry(entry)) = (update.op, &update.item) {
            let prefix = format!("entry {} Entry", entry.table.id);
            let count = stored
                .keys()
                .filter(|key| key.starts_with(&prefix))
                .take(9)
                .count() as u64;
            if (1..=8).contains(&entry.table.size) && count >= entry.table.size {
                return Err(SwitchError::Full("table entry"));
            }
        }
        if matches!(
            update.item,
            Item::DirectCounter { .. } | Item::DirectMeter { .. }
        ) {
            return stored
                .contains_key(&id)
                .then_some(())
                .ok_or(SwitchError::NotFound("entity"));
        }
        if matches!(&update.item, Item::Entry(Entry { action: None, .. }))
            && update.op == Op::Modify
        {
            // Nothing but the action is looked at by the tests.
            return Ok(());
        }
        let entity = encode::entity(
            &update.item,
            Want {
                counter: true,
                meter: true,
                idle: false,
            },
        );
        let kind = if always {
            proto::update::Type::Modify
        } else {
            proto::update::Type::Insert
        };
        stored.insert(
            id,
            proto::Update {
                r#type: kind as i32,
                entity: Some(entity),
            },
        );
        Ok(())
    }
}

impl Pipeline for Tables {
    fn activate(&self) -> Result<(), LoadError> {
        self.active.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn writer(&self) -> Box<dyn Writer + '_> {
        Box::new(Batch(self))
    }

    fn read(&self, query: &Query<'_>, sink: &mut Sink<'_>) -> Result<(), SwitchError> {
        if let Query::Entries {
            table,
            select: Select::One(Key::Default),
            ..
        } = query
        {
            let stored =
                self.stored
                    .lock()
                    .contains_key(&format!("entry {} {:?}", table.id, Key::Default));
            if !stored {
                let _ = sink(Item::Entry(Entry::new(table, Key::Default)));
                return Ok(());
            }
        }
        let stored: Vec<_> = self
            .stored
            .lock()
            .iter()
            .map(|(id, u)| (id.clone(), u.clone()))
            .collect();
        for (id, update) in stored {
            let mut update = update;
            let constant = id == "const";
            let schema = if constant {
                not_const()
            } else {
                self.schema.clone()
            };
            if constant {
                update.r#type = proto::update::Type::Insert as i32;
            }
            let Ok(Checked::Switch(checked)) = validate::update(&schema, &update) else {
                panic!("{id}: {update:?}")
            };
            let mut item = checked.item;
            if let Item::Entry(entry) = &mut item {
                entry.is_const = constant;
                if entry.table.direct_counter.is_some() {
                    entry.counter = Some(entry.counter.unwrap_or_default());
                }
            }
            if wanted(query, &item) && matches!(sink(item), ControlFlow::Break(())) {
                break;
            }
        }
        Ok(())
    }

    fn packet_out(&self, payload: Vec<u8>, metadata: &[&[u8]]) -> Result<(), SwitchError> {
        self.events.packet_in(payload, &[metadata[0], &[0, 0]]);
        Ok(())
    }
}

/// The program with its const table open, to read back what is stored for it.
fn not_const() -> Arc<Schema> {
    let mut info = info();
    info.tables
        .iter_mut()
        .for_each(|table| table.is_const_table = false);
    info.tables[2]
        .action_refs
        .iter_mut()
        .for_each(|a| a.scope = 0);
    Arc::new(Schema::new(info).unwrap())
}

fn wanted(query: &Query<'_>, item: &Item<'_>) -> bool {
    let one = |wanted: &Option<u32>, id| wanted.is_none_or(|wanted| wanted == id);
    match (query, item) {
        (Query::Entries { table, select, .. }, Item::Entry(entry)) => {
            let right = match select {
                Select::All => entry.key != Key::Default,
                Select::One(key) => entry.key == *key,
            };
            table.id == entry.table.id && right
        }
        (Query::Members(profile, id), Item::Member(member)) => {
            profile.id == member.profile.id && one(id, member.id)
        }
        (Query::Groups(profile, id), Item::Group(group)) => {
            profile.id == group.profile.id && one(id, group.id)
        }
        (Query::Counter(counter, _), Item::Counter { counter: other, .. }) => {
            counter.id == other.id
        }
        (Query::Meter(meter, _), Item::Meter { meter: other, .. }) => meter.id == other.id,
        (
            Query::Register(register, _),
            Item::Register {
                register: other, ..
            },
        ) => register.id == other.id,
        (Query::MulticastGroups(id), Item::MulticastGroup(group)) => one(id, group.id),
        (Query::CloneSessions(id), Item::CloneSession(session)) => one(id, session.id),
        (Query::ValueSet(set), Item::ValueSet { set: other, .. }) => set.id == other.id,
        _ => false,
    }
}

struct Batch<'a>(&'a Tables);

impl Writer for Batch<'_> {
    fn apply(&mut self, update: &Update<'_>) -> Result<(), SwitchError> {
        self.0.apply(update)
    }
}

/// A served switch; stops when dropped.
pub struct Served {
    pub address: std::net::SocketAddr,
    pub switch: Arc<Memory>,
    pub service: P4RuntimeService,
    _running: tokio::sync::oneshot::Sender<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        // The streams end, and with `_running` the server and its connections.
        self.service.close();
    }
}

pub async fn serve(options: p4runtime::server::Options) -> Served {
    serve_at("127.0.0.1:0".parse().unwrap(), options).await
}

pub async fn serve_at(
    address: std::net::SocketAddr,
    options: p4runtime::server::Options,
) -> Served {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let switch = Arc::new(Memory::default());
    let service = P4RuntimeService::new(switch.clone(), options);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_service(service.clone().into_server());
    let (running, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    tokio::spawn(async move {
        server
            .serve_with_incoming_shutdown(incoming, stopped)
            .await
            .unwrap()
    });
    Served {
        address,
        switch,
        service,
        _running: running,
    }
}
