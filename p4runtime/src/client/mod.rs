//! A controller's session with one device.
//!
//! In: a [`Config`]. Out: a [`Client`] for calls, whose clones share the session, and [`Notifications`]. One task owns
//! the stream, answers for arbitration and reconnects; calls go beside it over the same connection. Writes are cut
//! into batches that any server takes, and every update has its own result.
//!
//! ```text
//! Client ── write, read, set_pipeline, … ─────────────▶ device
//!    └─ packet_out, election id ─▶ task ⇄ StreamChannel ⇄ device
//!                                   ├─▶ State (watch)
//!                                   └─▶ Notifications (bounded queues, drops counted)
//! ```

mod backoff;
mod config;
mod error;
mod session;

use std::sync::Arc;
use std::time::Duration;

use p4runtime_proto::p4::config::v1 as p4info;
use p4runtime_proto::p4::v1 as proto;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Streaming};

pub use backoff::Backoff;
pub use config::Config;
pub use error::{ClientError, ReadError, UpdateError, UpdateResult, WriteError, retryable};
pub use proto::get_forwarding_pipeline_config_request::ResponseType;
pub use proto::set_forwarding_pipeline_config_request::Action as PipelineAction;
pub use session::{Drops, Notifications, State};

use crate::rpc::p4_runtime_client::P4RuntimeClient;
use crate::rpc::p4_runtime_server::P4Runtime;
use crate::schema::Schema;
use crate::server::arbitration::to_proto;
use crate::status::batch_errors;
use crate::wire::{Updates, WriteRequest};
use session::{Command, DropCounters, Session};

type Rpc = P4RuntimeClient<tonic::transport::Channel>;

/// A session with a device. Clones share it; it ends when the last one is dropped or [`Client::shutdown`] is called.
#[derive(Clone)]
pub struct Client {
    config: Arc<Config>,
    rpc: Rpc,
    election_id: Arc<Mutex<Option<u128>>>,
    commands: Arc<Mutex<Option<mpsc::Sender<Command>>>>,
    state: watch::Receiver<State>,
    drops: Arc<DropCounters>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.borrow().clone();
        f.debug_struct("Client")
            .field("endpoint", &self.config.endpoint)
            .field("state", &state)
            .finish()
    }
}

impl Client {
    /// Starts a session; returns at once and connects in the background, for as long as it takes.
    ///
    /// Must be called inside a Tokio runtime.
    pub fn start(config: Config) -> Result<(Self, Notifications), ClientError> {
        let rpc = P4RuntimeClient::new(config.channel()?)
            .max_decoding_message_size(config.max_message)
            .max_encoding_message_size(usize::MAX);
        let config = Arc::new(config);
        let election_id = Arc::new(Mutex::new(config.election_id));
        let drops = Arc::new(DropCounters::default());
        let (commands, received) = mpsc::channel(config.queue.max(1));
        let (state_in, state) = watch::channel(State::Connecting);
        let (queues, notifications) = session::queues(config.queue.max(1));
        let session = Session {
            config: config.clone(),
            rpc: rpc.clone(),
            election_id: election_id.clone(),
            commands: received,
            state: state_in,
            queues,
            drops: drops.clone(),
        };
        let task = Arc::new(Mutex::new(Some(tokio::spawn(session.run()))));
        let commands = Arc::new(Mutex::new(Some(commands)));
        Ok((
            Self {
                config,
                rpc,
                election_id,
                commands,
                state,
                drops,
                task,
            },
            notifications,
        ))
    }

    /// Starts a session and waits for the first arbitration answer, or for the reason why there is none.
    pub async fn connect(config: Config) -> Result<(Self, Notifications), ClientError> {
        let (client, notifications) = Self::start(config)?;
        let decided = |state: &State| !matches!(state, State::Connecting);
        let state = client
            .state
            .clone()
            .wait_for(decided)
            .await
            .map_err(|_| ClientError::Closed)?
            .clone();
        match state {
            State::Disconnected { code, reason, .. } => {
                client.shutdown().await;
                Err(ClientError::rpc("StreamChannel")(tonic::Status::new(
                    code, reason,
                )))
            }
            _ => Ok((client, notifications)),
        }
    }

    /// What the session is to the device, now and after every change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Waits until this session is the primary; `false` if that did not happen in time.
    pub async fn wait_primary(&self, timeout: Duration) -> bool {
        let mut state = self.state.clone();
        let primary = state.wait_for(|state| matches!(state, State::Primary));
        matches!(tokio::time::timeout(timeout, primary).await, Ok(Ok(_)))
    }

    /// The device.
    pub fn device_id(&self) -> u64 {
        self.config.device_id
    }

    /// Claims another election id, now and after reconnections.
    pub fn set_election_id(&self, id: Option<u128>) -> Result<(), ClientError> {
        *self.election_id.lock() = id;
        self.command(Command::Arbitrate)
    }

    /// Messages lost so far.
    pub fn drops(&self) -> Drops {
        self.drops.totals()
    }

    /// Ends the session and waits for its task. Other clones get [`ClientError::Closed`] for stream messages.
    pub async fn shutdown(&self) {
        self.commands.lock().take();
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "the session's task died");
        }
    }

    fn command(&self, command: Command) -> Result<(), ClientError> {
        let commands = self.commands.lock();
        let sender = commands.as_ref().ok_or(ClientError::Closed)?;
        sender.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ClientError::Full,
            mpsc::error::TrySendError::Closed(_) => ClientError::Closed,
        })
    }

    fn send(&self, update: proto::stream_message_request::Update) -> Result<(), ClientError> {
        if !self.state.borrow().connected() {
            return Err(ClientError::NotConnected);
        }
        self.command(Command::Send(update))
    }

    /// Queues a packet for the device; errors of the device come as notifications.
    pub fn packet_out(&self, packet: proto::PacketOut) -> Result<(), ClientError> {
        self.send(proto::stream_message_request::Update::Packet(packet))
    }

    /// Acknowledges a digest list.
    pub fn digest_ack(&self, digest_id: u32, list_id: u64) -> Result<(), ClientError> {
        let ack = proto::DigestListAck { digest_id, list_id };
        self.send(proto::stream_message_request::Update::DigestAck(ack))
    }

    /// Version of P4Runtime that the device speaks.
    pub async fn capabilities(&self) -> Result<String, ClientError> {
        let request = self.timed(
            proto::CapabilitiesRequest::default(),
            self.config.call_timeout,
        );
        let response = self
            .rpc
            .clone()
            .capabilities(request)
            .await
            .map_err(ClientError::rpc("Capabilities"))?;
        Ok(response.into_inner().p4runtime_api_version)
    }

    /// Verifies, saves or realises a program.
    pub async fn set_pipeline(
        &self,
        action: PipelineAction,
        config: Option<proto::ForwardingPipelineConfig>,
    ) -> Result<(), ClientError> {
        let request = proto::SetForwardingPipelineConfigRequest {
            device_id: self.config.device_id,
            role: self.config.role.clone(),
            election_id: self.election_id.lock().map(to_proto),
            action: action as i32,
            config,
            ..Default::default()
        };
        let request = self.timed(request, self.config.pipeline_timeout);
        let call = ClientError::rpc("SetForwardingPipelineConfig");
        self.rpc
            .clone()
            .set_forwarding_pipeline_config(request)
            .await
            .map_err(call)?;
        Ok(())
    }

    /// The device's program; `None` when it has none.
    pub async fn get_pipeline(
        &self,
        parts: ResponseType,
    ) -> Result<Option<proto::ForwardingPipelineConfig>, ClientError> {
        let request = proto::GetForwardingPipelineConfigRequest {
            device_id: self.config.device_id,
            response_type: parts as i32,
        };
        let request = self.timed(request, self.config.call_timeout);
        match self
            .rpc
            .clone()
            .get_forwarding_pipeline_config(request)
            .await
        {
            Ok(response) => Ok(response.into_inner().config),
            // Some servers say it this way.
            Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
            Err(status) => Err(ClientError::rpc("GetForwardingPipelineConfig")(status)),
        }
    }

    /// The schema of the device's program.
    pub async fn schema(&self) -> Result<Schema, ClientError> {
        let config = self.get_pipeline(ResponseType::P4infoAndCookie).await?;
        let info = config
            .and_then(|config| config.p4info)
            .ok_or(ClientError::NoPipeline)?;
        Ok(Schema::new(info)?)
    }

    /// Applies updates in batches, one after the other; one result per update, in order.
    pub async fn write(
        &self,
        updates: Vec<proto::Update>,
    ) -> Result<Vec<UpdateResult>, WriteError> {
        let total = updates.len();
        let mut done = Vec::with_capacity(total);
        let mut batches = Batches {
            updates: updates.into_iter(),
            held: None,
            config: &self.config,
        };
        loop {
            let batch = match batches.next() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(done),
                Err(source) => {
                    return Err(WriteError {
                        done,
                        total,
                        source,
                    });
                }
            };
            match self.write_batch(batch.as_slice().into()).await {
                Ok(results) => done.extend(results),
                Err(source) => {
                    return Err(WriteError {
                        done,
                        total,
                        source,
                    });
                }
            }
        }
    }

    /// Applies one batch that is encoded already; one result per update, in order.
    ///
    /// # Errors
    /// When the batch is refused as a whole, or there is no answer.
    pub async fn write_batch(&self, updates: Updates) -> Result<Vec<UpdateResult>, ClientError> {
        let count = updates.len();
        let mut request = WriteRequest::default();
        request.device_id = self.config.device_id;
        request.role.clone_from(&self.config.role);
        request.election_id = self.election_id.lock().map(to_proto);
        request.updates = updates;
        let request = self.timed(request, self.config.call_timeout);
        let answer = match &self.config.local {
            Some(service) => service.write(request).await,
            None => self.rpc.clone().write(request).await,
        };
        match answer {
            Ok(_) => Ok(vec![Ok(()); count]),
            Err(status) => match batch_errors(&status) {
                Some(errors) if errors.len() == count => {
                    Ok(errors.iter().map(error::update_result).collect())
                }
                _ => Err(ClientError::rpc("Write")(status)),
            },
        }
    }

    /// Reads entities; unset parts of a request are wildcards.
    pub async fn read(&self, entities: Vec<proto::Entity>) -> Result<Reading, ReadError> {
        let request = proto::ReadRequest {
            device_id: self.config.device_id,
            role: self.config.role.clone(),
            entities,
        };
        let stream = self
            .rpc
            .clone()
            .read(request)
            .await
            .map_err(read_error)?
            .into_inner();
        Ok(Reading { stream })
    }

    /// Reads entities into one list.
    pub async fn read_all(
        &self,
        entities: Vec<proto::Entity>,
    ) -> Result<Vec<proto::Entity>, ReadError> {
        let mut reading = self.read(entities).await?;
        let mut all = Vec::new();
        while let Some(part) = reading.next().await? {
            all.extend(part);
        }
        Ok(all)
    }

    /// Reads the entries of a table, or of all tables for id 0.
    pub async fn read_table(&self, table_id: u32) -> Result<Vec<proto::TableEntry>, ReadError> {
        let wanted = proto::TableEntry {
            table_id,
            ..Default::default()
        };
        let mut reading = self.read(vec![entry_entity(wanted)]).await?;
        let mut all = Vec::new();
        while let Some(part) = reading.next().await? {
            all.extend(part.into_iter().filter_map(|entity| match entity.entity {
                Some(proto::entity::Entity::TableEntry(entry)) => Some(entry),
                _ => None,
            }));
        }
        Ok(all)
    }

    fn timed<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        request
    }
}

/// An answer that arrives in parts.
#[derive(Debug)]
pub struct Reading {
    stream: Streaming<proto::ReadResponse>,
}

impl Reading {
    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<proto::Entity>>, ReadError> {
        match self.stream.message().await {
            Ok(part) => Ok(part.map(|part| part.entities)),
            Err(status) => Err(read_error(status)),
        }
    }
}

fn read_error(status: tonic::Status) -> ReadError {
    match batch_errors(&status) {
        Some(errors) => ReadError::Requests {
            results: errors.iter().map(error::update_result).collect(),
        },
        None => ReadError::Client(ClientError::rpc("Read")(status)),
    }
}

/// A table entry as an entity.
pub fn entry_entity(entry: proto::TableEntry) -> proto::Entity {
    proto::Entity {
        entity: Some(proto::entity::Entity::TableEntry(entry)),
    }
}

/// An update of a table entry.
pub fn entry_update(kind: proto::update::Type, entry: proto::TableEntry) -> proto::Update {
    proto::Update {
        r#type: kind as i32,
        entity: Some(entry_entity(entry)),
    }
}

/// A program for the device.
pub fn pipeline_config(
    p4info: p4info::P4Info,
    device_config: Vec<u8>,
    cookie: Option<u64>,
) -> proto::ForwardingPipelineConfig {
    proto::ForwardingPipelineConfig {
        p4info: Some(p4info),
        p4_device_config: device_config,
        cookie: cookie.map(|cookie| proto::forwarding_pipeline_config::Cookie { cookie }),
    }
}

/// Cuts updates into batches within both bounds.
struct Batches<'a> {
    updates: std::vec::IntoIter<proto::Update>,
    held: Option<(proto::Update, usize)>,
    config: &'a Config,
}

impl Batches<'_> {
    fn next(&mut self) -> Result<Option<Vec<proto::Update>>, ClientError> {
        let limit = self.config.batch_bytes;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < self.config.batch_updates.max(1) {
            let Some((update, size)) = self.held.take().or_else(|| self.measured()) else {
                break;
            };
            if size > limit {
                return Err(ClientError::TooLarge { bytes: size, limit });
            }
            if bytes + size > limit {
                self.held = Some((update, size));
                break;
            }
            bytes += size;
            batch.push(update);
        }
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    fn measured(&mut self) -> Option<(proto::Update, usize)> {
        let update = self.updates.next()?;
        // Tag and length of the field.
        let size = update.encoded_len() + 8;
        Some((update, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(bytes: usize) -> proto::Update {
        entry_update(
            proto::update::Type::Insert,
            proto::TableEntry {
                metadata: vec![1; bytes],
                ..Default::default()
            },
        )
    }

    fn sizes(config: &Config, updates: Vec<proto::Update>) -> Vec<usize> {
        let mut batches = Batches {
            updates: updates.into_iter(),
            held: None,
            config,
        };
        std::iter::from_fn(|| batches.next().unwrap())
            .map(|batch| batch.len())
            .collect()
    }

    #[test]
    fn batches_keep_both_bounds() {
        let mut config = Config::new("localhost:1");
        config.batch_updates = 3;
        config.batch_bytes = 1000;
        assert_eq!(
            sizes(&config, (0..7).map(|_| update(1)).collect()),
            [3, 3, 1]
        );
        assert_eq!(
            sizes(&config, (0..3).map(|_| update(600)).collect()),
            [1, 1, 1]
        );
        assert_eq!(sizes(&config, Vec::new()), [0; 0]);
        let mut batches = Batches {
            updates: vec![update(2000)].into_iter(),
            held: None,
            config: &config,
        };
        assert!(matches!(
            batches.next(),
            Err(ClientError::TooLarge { limit: 1000, .. })
        ));
    }
}
