//! A switch on loopback and controllers for it.
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::Duration;

use p4runtime::client::{Client, Config, Notifications, UpdateResult, entry_update};
use p4runtime::proto::p4::v1 as pb;
use p4runtime::schema::Schema;
use pb::update::Type;
use softnic::{Builder, ManualClock, Program, Running, SoftNic};

pub const EVERYTHING: &str = include_str!("../programs/everything.p4");
pub const LEARNING: &str = include_str!("../programs/learning.p4");
pub const CPU: u32 = 510;

/// Longest wait for something that must happen.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Rig {
    pub nic: Running,
    pub clock: Arc<ManualClock>,
    pub program: Program,
    pub schema: Schema,
}

impl Rig {
    /// A switch that runs the program from the start.
    pub async fn start(text: &str) -> Self {
        Self::start_with(text, |builder| builder).await
    }

    pub async fn start_with(text: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let program = Program::from_text("test.p4", text).unwrap_or_else(|error| panic!("{error}"));
        let clock = Arc::new(ManualClock::default());
        let builder = SoftNic::builder()
            .program(program.clone())
            .cpu_port(CPU)
            .clock(clock.clone())
            .tick_every(None);
        let nic = change(builder)
            .serve("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let schema = Schema::new(program.info.message.clone()).unwrap();
        Self {
            nic,
            clock,
            program,
            schema,
        }
    }

    pub fn config(&self, election_id: Option<u128>) -> Config {
        Config {
            election_id,
            ..Config::new(self.nic.address().to_string())
        }
    }

    /// The primary controller.
    pub async fn primary(&self) -> (Client, Notifications) {
        let (client, notifications) = Client::connect(self.config(Some(1))).await.unwrap();
        assert!(client.wait_primary(SOON).await);
        (client, notifications)
    }

    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.nic.tick();
    }

    /// What the probe's result field is when it comes out on port 2; `None` when it does not.
    pub fn ask(&self, op: u8, key: u16, address: u32) -> Option<u16> {
        let sent = self.nic.inject(1, &probe(op, key, address));
        let sent = sent.iter().find(|sent| sent.port == 2)?;
        Some(u16::from_be_bytes([sent.bytes[7], sent.bytes[8]]))
    }
}

pub fn probe(op: u8, key: u16, address: u32) -> Vec<u8> {
    let mut packet = vec![op];
    packet.extend(key.to_be_bytes());
    packet.extend(address.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(*b"payload");
    packet
}

pub async fn one(client: &Client, kind: Type, entry: pb::TableEntry) -> UpdateResult {
    client
        .write(vec![entry_update(kind, entry)])
        .await
        .unwrap()
        .remove(0)
}

pub async fn one_entity(client: &Client, kind: Type, entity: pb::entity::Entity) -> UpdateResult {
    let update = pb::Update {
        r#type: kind.into(),
        entity: Some(pb::Entity {
            entity: Some(entity),
        }),
    };
    client.write(vec![update]).await.unwrap().remove(0)
}

pub async fn read(client: &Client, entity: pb::entity::Entity) -> Vec<pb::entity::Entity> {
    let all = client
        .read_all(vec![pb::Entity {
            entity: Some(entity),
        }])
        .await
        .unwrap();
    all.into_iter().filter_map(|entity| entity.entity).collect()
}

/// A pipeline configuration for a text, as a controller pushes it.
pub fn pushed(text: &str) -> pb::ForwardingPipelineConfig {
    let sources = p4rs::front::preprocess::Sources::from_bundle(
        p4rs::source::SourceBundle::single("pushed.p4", text),
    );
    let program = Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"));
    pb::ForwardingPipelineConfig {
        p4info: Some(program.info.message.clone()),
        p4_device_config: softnic::device_config::encode(&sources),
        cookie: Some(pb::forwarding_pipeline_config::Cookie { cookie: 77 }),
    }
}

pub use p4runtime::client::PipelineAction as Action;
