//! What a switch holds, asked by a client of its own.
//!
//! In: a P4Runtime address. Out: counters and table entries by name, and the switch emptied by pushing its program anew
//! ([`Probe::reset`]). Deliberately plain: generated stubs and P4Info, nothing of nicproxy's session, so that what the
//! control plane believes to have written is compared with what somebody else reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use p4runtime::proto::p4::v1 as pb;
use p4runtime::rpc::p4_runtime_client::P4RuntimeClient;
use p4runtime::schema::{Schema, SchemaError};
use p4runtime::value;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::target::{Pipeline, Target, TargetError};

/// Longest message taken: a whole table of the scale test fits.
const MESSAGE: usize = 256 << 20;

/// How long a switch may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long until a switch that refused is asked again.
const AGAIN: Duration = Duration::from_millis(50);

/// A client that reads.
pub struct Probe {
    client: P4RuntimeClient<Channel>,
    device_id: u64,
    schema: Arc<Schema>,
    pipeline: Pipeline,
    runtime: Runtime,
}

/// One entry, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key values in order of P4Info, masks and priority left out.
    pub key: Vec<u128>,
    /// Action's name.
    pub action: String,
    /// Arguments in order of P4Info.
    pub arguments: Vec<u128>,
    /// Owner bytes.
    pub metadata: Vec<u8>,
}

/// Why a switch could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The switch answered with an error.
    #[error("{what}: {status}")]
    Call {
        /// What was asked.
        what: &'static str,
        /// The answer.
        status: Box<tonic::Status>,
    },
    /// The switch did not answer.
    #[error("{0}: no answer")]
    Silent(&'static str),
    /// The program has no such object.
    #[error("the program has no {kind} {name}")]
    Unknown {
        /// Kind of object.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An answer that does not fit the program.
    #[error("{what} in the answer does not fit P4Info")]
    Answer {
        /// Which part.
        what: &'static str,
    },
    /// P4Info that is none.
    #[error("P4Info: {0}")]
    Schema(#[from] SchemaError),
    /// The target's files.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No run time.
    #[error("starting a run time: {0}")]
    Runtime(#[from] std::io::Error),
}

fn call(what: &'static str) -> impl Fn(tonic::Status) -> ProbeError {
    move |status| ProbeError::Call {
        what,
        status: Box::new(status),
    }
}

/// The two halves of an open stream.
type Stream = (
    tokio::sync::mpsc::Sender<pb::StreamMessageRequest>,
    tonic::Streaming<pb::StreamMessageResponse>,
);

/// Opens a stream and waits for the answer to its first message.
async fn enter(
    client: &mut P4RuntimeClient<Channel>,
    hello: pb::MasterArbitrationUpdate,
) -> Result<Stream, ProbeError> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let hello = pb::StreamMessageRequest {
        update: Some(pb::stream_message_request::Update::Arbitration(hello)),
    };
    let _ = sender.send(hello).await;
    let requests = futures::stream::unfold(receiver, |mut r| async move {
        r.recv().await.map(|message| (message, r))
    });
    let answers = client.stream_channel(requests).await;
    let mut answers = answers.map_err(call("opening a stream"))?.into_inner();
    let first = tokio::time::timeout(PATIENCE, answers.next()).await;
    first
        .map_err(|_| ProbeError::Silent("arbitration"))?
        .ok_or(ProbeError::Silent("arbitration"))?
        .map_err(call("arbitration"))?;
    Ok((sender, answers))
}

impl Probe {
    /// Connects to a target's server, trying until it is there.
    ///
    /// # Errors
    /// [`ProbeError::Connect`] when nobody listens in time.
    pub fn open(target: &dyn Target) -> Result<Self, ProbeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let pipeline = target.pipeline_bytes()?;
        let schema = Arc::new(Schema::new(pipeline.p4info.clone())?);
        let address = target.address();
        let client = runtime.block_on(connect(address))?;
        let client = client
            .max_decoding_message_size(MESSAGE)
            .max_encoding_message_size(MESSAGE);
        Ok(Self {
            client,
            device_id: target.device_id(),
            schema,
            pipeline,
            runtime,
        })
    }

    /// The program's objects.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// What is loaded into the switch.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Pushes the program, which empties every table and counter, and goes away again.
    ///
    /// # Errors
    /// [`ProbeError::Call`] with the switch's reason.
    pub fn reset(&mut self, election_id: u64) -> Result<(), ProbeError> {
        let pipeline = self.pipeline.clone();
        self.as_primary(
            election_id,
            async move |mut client, device_id, election_id| {
                let request = pb::SetForwardingPipelineConfigRequest {
                    device_id,
                    election_id,
                    action: pb::set_forwarding_pipeline_config_request::Action::VerifyAndCommit
                        as i32,
                    config: Some(pb::ForwardingPipelineConfig {
                        p4info: Some(pipeline.p4info),
                        p4_device_config: pipeline.device_config,
                        ..Default::default()
                    }),
                    ..Default::default()
                };
                client
                    .set_forwarding_pipeline_config(request)
                    .await
                    .map_err(call("pushing the program"))
                    .map(drop)
            },
        )
    }

    /// Does something while holding the primary's stream.
    fn as_primary(
        &self,
        election_id: u64,
        act: impl AsyncFnOnce(
            P4RuntimeClient<Channel>,
            u64,
            Option<pb::Uint128>,
        ) -> Result<(), ProbeError>,
    ) -> Result<(), ProbeError> {
        let (mut client, device_id) = (self.client.clone(), self.device_id);
        self.runtime.block_on(async move {
            let election = Some(pb::Uint128 {
                high: 0,
                low: election_id,
            });
            let hello = pb::MasterArbitrationUpdate {
                device_id,
                election_id: election,
                ..Default::default()
            };
            // Whoever had this election id before may be gone without the switch knowing yet.
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let stream = loop {
                match enter(&mut client, hello.clone()).await {
                    Err(ProbeError::Call { status, .. })
                        if status.code() == tonic::Code::InvalidArgument
                            && tokio::time::Instant::now() < deadline =>
                    {
                        tokio::time::sleep(AGAIN).await;
                    }
                    result => break result?,
                }
            };
            let result = act(client, device_id, election).await;
            drop(stream);
            result
        })
    }

    /// Packets counted by one cell of an indexed counter.
    ///
    /// # Errors
    /// [`ProbeError::Unknown`] for a counter that the program has not, [`ProbeError::Call`] for the switch's.
    pub fn counter(&mut self, name: &str, index: i64) -> Result<u64, ProbeError> {
        let counter = self.schema.counters.named(name);
        let counter_id = counter.ok_or_else(|| unknown("counter", name))?.id;
        let asked = pb::CounterEntry {
            counter_id,
            index: Some(pb::Index { index }),
            data: None,
        };
        let answers = self.read(pb::entity::Entity::CounterEntry(asked))?;
        let packets = answers.into_iter().find_map(|entity| match entity {
            pb::entity::Entity::CounterEntry(entry) => entry.data.map(|data| data.packet_count),
            _ => None,
        });
        packets
            .map(|count| count as u64)
            .ok_or(ProbeError::Answer { what: "counter" })
    }

    /// Packets and bytes counted by the entry of a table with this key, exact fields in order of P4Info.
    ///
    /// # Errors
    /// As [`Probe::counter`]; NOT_FOUND when there is no such entry.
    pub fn direct_counter(&mut self, table: &str, key: &[u128]) -> Result<(u64, u64), ProbeError> {
        let found = self
            .schema
            .table(table)
            .ok_or_else(|| unknown("table", table))?;
        let fields = found.fields.iter().zip(key).map(|(field, &key)| {
            let width = field.width.bits().unwrap_or(128);
            let bytes =
                value::from_u128(key, width).map_err(|_| ProbeError::Answer { what: "key" })?;
            let exact = pb::field_match::Exact { value: bytes };
            Ok(pb::FieldMatch {
                field_id: field.id,
                field_match_type: Some(pb::field_match::FieldMatchType::Exact(exact)),
            })
        });
        let entry = pb::TableEntry {
            table_id: found.id,
            r#match: fields.collect::<Result<_, ProbeError>>()?,
            ..Default::default()
        };
        let asked = pb::DirectCounterEntry {
            table_entry: Some(entry),
            data: None,
        };
        let answers = self.read(pb::entity::Entity::DirectCounterEntry(asked))?;
        let data = answers.into_iter().find_map(|entity| match entity {
            pb::entity::Entity::DirectCounterEntry(entry) => entry.data,
            _ => None,
        });
        let data = data.ok_or(ProbeError::Answer {
            what: "direct counter",
        })?;
        Ok((data.packet_count as u64, data.byte_count as u64))
    }

    /// All entries of a table but the default one.
    ///
    /// # Errors
    /// As [`Probe::counter`].
    pub fn entries(&mut self, table: &str) -> Result<Vec<Entry>, ProbeError> {
        let table_id = self
            .schema
            .table(table)
            .ok_or_else(|| unknown("table", table))?
            .id;
        let asked = pb::TableEntry {
            table_id,
            ..Default::default()
        };
        let answers = self.read(pb::entity::Entity::TableEntry(asked))?;
        let entries = answers.into_iter().filter_map(|entity| match entity {
            pb::entity::Entity::TableEntry(entry) if !entry.is_default_action => Some(entry),
            _ => None,
        });
        entries.map(|entry| self.named(&entry)).collect()
    }

    /// Deletes entries of a table behind the control plane's back, with the rights of this election id.
    ///
    /// # Errors
    /// As [`Probe::counter`].
    pub fn forget(
        &mut self,
        table: &str,
        count: usize,
        election_id: u64,
    ) -> Result<(), ProbeError> {
        let table_id = self
            .schema
            .table(table)
            .ok_or_else(|| unknown("table", table))?
            .id;
        let asked = pb::TableEntry {
            table_id,
            ..Default::default()
        };
        let found = self.read(pb::entity::Entity::TableEntry(asked))?;
        let updates = found
            .into_iter()
            .filter(|entity| !matches!(entity, pb::entity::Entity::TableEntry(entry) if entry.is_default_action))
            .take(count)
            .map(|entity| pb::Update {
                r#type: pb::update::Type::Delete as i32,
                entity: Some(pb::Entity { entity: Some(entity) }),
            });
        let updates: Vec<pb::Update> = updates.collect();
        self.as_primary(
            election_id,
            async move |mut client, device_id, election_id| {
                let request = pb::WriteRequest {
                    device_id,
                    election_id,
                    updates,
                    ..Default::default()
                };
                client
                    .write(request)
                    .await
                    .map_err(call("deleting"))
                    .map(drop)
            },
        )
    }

    fn named(&self, entry: &pb::TableEntry) -> Result<Entry, ProbeError> {
        let wrong = |what| ProbeError::Answer { what };
        let table = self
            .schema
            .tables
            .get(entry.table_id)
            .ok_or(wrong("table id"))?;
        let number = |bytes: &[u8]| value::to_u128(bytes).map_err(|_| wrong("value"));
        let mut key = vec![0; table.fields.len()];
        for field in &entry.r#match {
            let (at, _) = table.field_by_id(field.field_id).ok_or(wrong("field id"))?;
            key[at] = match &field.field_match_type {
                Some(pb::field_match::FieldMatchType::Exact(exact)) => number(&exact.value)?,
                Some(pb::field_match::FieldMatchType::Ternary(ternary)) => number(&ternary.value)?,
                Some(pb::field_match::FieldMatchType::Lpm(lpm)) => number(&lpm.value)?,
                _ => return Err(wrong("match kind")),
            };
        }
        let Some(pb::TableAction {
            r#type: Some(pb::table_action::Type::Action(action)),
        }) = &entry.action
        else {
            return Err(wrong("action"));
        };
        let known = self
            .schema
            .actions
            .get(action.action_id)
            .ok_or(wrong("action id"))?;
        let mut arguments = vec![0; known.params.len()];
        for param in &action.params {
            let (at, _) = known
                .param_by_id(param.param_id)
                .ok_or(wrong("parameter id"))?;
            arguments[at] = number(&param.value)?;
        }
        Ok(Entry {
            key,
            action: known.name.clone(),
            arguments,
            metadata: entry.metadata.clone(),
        })
    }

    fn read(&mut self, entity: pb::entity::Entity) -> Result<Vec<pb::entity::Entity>, ProbeError> {
        let request = pb::ReadRequest {
            device_id: self.device_id,
            entities: vec![pb::Entity {
                entity: Some(entity),
            }],
            ..Default::default()
        };
        let client = &mut self.client;
        self.runtime.block_on(async move {
            let mut answers = client
                .read(request)
                .await
                .map_err(call("reading"))?
                .into_inner();
            let mut entities = Vec::new();
            while let Some(answer) = answers.next().await {
                let answer = answer.map_err(call("reading"))?;
                entities.extend(
                    answer
                        .entities
                        .into_iter()
                        .filter_map(|entity| entity.entity),
                );
            }
            Ok(entities)
        })
    }
}

async fn connect(address: String) -> Result<P4RuntimeClient<Channel>, ProbeError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match P4RuntimeClient::connect(address.clone()).await {
            Ok(client) => return Ok(client),
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Err(source) => return Err(ProbeError::Connect { address, source }),
        }
    }
}

fn unknown(kind: &'static str, name: &str) -> ProbeError {
    ProbeError::Unknown {
        kind,
        name: name.to_owned(),
    }
}
