//! A device behind a P4Runtime client session.
//!
//! In: a [`Client`], which connects and arbitrates by itself. Out: a [`Device`]. A task follows the session: whenever
//! it becomes the primary it reads the program's P4Info and counts a new session; when it is primary no longer there
//! is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use p4runtime::client::{Client, ClientError, ReadError, State};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use p4runtime::wire::Updates;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::tables::affinity;
use crate::traffic::Ledger;

use super::stale::Sweeps;
use super::{Device, DeviceError, Failure, OwnAddresses, UpdateError, UpdateResult};

/// A P4Runtime session as a device. The task that follows it ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    name: String,
    client: Client,
    ready: Arc<Ready>,
    affinities: affinity::Timeouts,
    ledger: Ledger,
    sweeps: Sweeps,
    own_addresses: OwnAddresses,
    changes: watch::Receiver<Option<u64>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Ready {
    current: RwLock<Option<Current>>,
    last: AtomicU64,
    renew: Notify,
    /// The program was loaded since the last session began.
    loaded: AtomicBool,
}

/// A session that may write.
#[derive(Clone, Debug)]
struct Current {
    number: u64,
    schema: Arc<Schema>,
    /// The program was loaded for it.
    fresh: bool,
}

/// Wait between attempts to read the program of a device that has none yet.
const NO_PROGRAM_YET: Duration = Duration::from_millis(250);

impl Session {
    /// Follows a session. Must be called inside a Tokio runtime.
    pub fn new(name: impl Into<String>, client: Client) -> Self {
        let ready = Arc::new(Ready::default());
        let (announce, changes) = watch::channel(None);
        let task = tokio::spawn(follow(client.clone(), ready.clone(), announce));
        Self {
            name: name.into(),
            client,
            ready,
            affinities: affinity::Timeouts::default(),
            ledger: Ledger::default(),
            sweeps: Sweeps::default(),
            own_addresses: OwnAddresses::default(),
            changes,
            task,
        }
    }

    /// The session's number whenever it changes; see [`Device::session`].
    pub fn changes(&self) -> watch::Receiver<Option<u64>> {
        self.changes.clone()
    }

    /// To be called after another program was loaded: that empties the tables, so a new session begins.
    pub fn renew(&self) {
        *self.ready.current.write() = None;
        self.ready.loaded.store(true, Ordering::Release);
        self.ready.renew.notify_one();
    }

    /// The session itself, for packets and notifications.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn broken(&self, error: &ClientError) -> DeviceError {
        device_error(&self.name, error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(client: Client, ready: Arc<Ready>, announce: watch::Sender<Option<u64>>) {
    let mut state = client.state();
    loop {
        let now = state.borrow_and_update().clone();
        if now == State::Closed {
            break;
        }
        let mut again = false;
        let found = match now {
            State::Primary => match client.schema().await {
                Ok(schema) => Some(Current {
                    number: ready.last.fetch_add(1, Ordering::Relaxed) + 1,
                    schema: Arc::new(schema),
                    fresh: ready.loaded.swap(false, Ordering::AcqRel),
                }),
                Err(error) => {
                    tracing::debug!(%error, "the device's program cannot be read yet");
                    again = true;
                    None
                }
            },
            _ => {
                // Whoever comes next may find what others did meanwhile.
                ready.loaded.store(false, Ordering::Release);
                None
            }
        };
        // A state that came while the program was read counts more.
        if state.has_changed().unwrap_or(false) {
            continue;
        }
        let number = found.as_ref().map(|session| session.number);
        *ready.current.write() = found;
        announce.send_replace(number);
        tokio::select! {
            changed = state.changed() => if changed.is_err() { break },
            () = ready.renew.notified() => {}
            () = tokio::time::sleep(NO_PROGRAM_YET), if again => {}
        }
    }
    *ready.current.write() = None;
    announce.send_replace(None);
}

#[async_trait]
impl Device for Session {
    fn affinities(&self) -> Option<&affinity::Timeouts> {
        Some(&self.affinities)
    }

    fn ledger(&self) -> Option<&Ledger> {
        Some(&self.ledger)
    }

    fn sweeps(&self) -> Option<&Sweeps> {
        Some(&self.sweeps)
    }

    fn own_addresses(&self) -> Option<&OwnAddresses> {
        Some(&self.own_addresses)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn session(&self) -> Option<u64> {
        let current = self.ready.current.read();
        current.as_ref().map(|session| session.number)
    }

    fn is_fresh(&self) -> bool {
        let current = self.ready.current.read();
        current.as_ref().is_some_and(|session| session.fresh)
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        let current = self.ready.current.read();
        current.as_ref().map(|session| session.schema.clone())
    }

    async fn write(&self, updates: Vec<proto::Update>) -> Result<Vec<UpdateResult>, DeviceError> {
        match self.client.write(updates).await {
            Ok(results) => Ok(results.into_iter().map(update_result).collect()),
            Err(error) => Err(self.broken(&error.source)),
        }
    }

    async fn write_batch(&self, updates: Updates) -> Result<Vec<UpdateResult>, DeviceError> {
        match self.client.write_batch(updates).await {
            Ok(results) => Ok(results.into_iter().map(update_result).collect()),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn read(
        &self,
        query: Vec<proto::Entity>,
    ) -> BoxStream<'static, Result<Vec<proto::Entity>, DeviceError>> {
        let (name, client) = (self.name.clone(), self.client.clone());
        let parts = stream::once(async move {
            match client.read(query).await {
                Ok(reading) => Ok((name, reading)),
                Err(error) => Err(read_error(&name, &error)),
            }
        });
        parts
            .flat_map(|opened| match opened {
                Err(error) => stream::iter([Err(error)]).boxed(),
                Ok(opened) => stream::try_unfold(opened, |(name, mut reading)| async move {
                    match reading.next().await {
                        Ok(Some(part)) => Ok(Some((part, (name, reading)))),
                        Ok(None) => Ok(None),
                        Err(error) => Err(read_error(&name, &error)),
                    }
                })
                .boxed(),
            })
            .boxed()
    }
}

fn update_result(result: p4runtime::client::UpdateResult) -> UpdateResult {
    result.map_err(|error| UpdateError {
        kind: match error.code {
            Code::AlreadyExists => Failure::AlreadyExists,
            Code::NotFound => Failure::NotFound,
            Code::ResourceExhausted => Failure::Full,
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => {
                Failure::Busy
            }
            _ => Failure::Refused,
        },
        message: error.to_string(),
    })
}

fn device_error(name: &str, error: &ClientError) -> DeviceError {
    let device = name.to_owned();
    match error {
        _ if error.not_primary() => DeviceError::NotPrimary { device },
        ClientError::NotConnected | ClientError::Closed => DeviceError::NotConnected { device },
        _ => DeviceError::Broken {
            device,
            message: error.to_string(),
        },
    }
}

fn read_error(name: &str, error: &ReadError) -> DeviceError {
    match error {
        ReadError::Client(error) => device_error(name, error),
        ReadError::Requests { .. } => DeviceError::Broken {
            device: name.to_owned(),
            message: error.to_string(),
        },
    }
}
