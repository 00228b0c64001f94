//! The task that owns the stream: arbitration, reconnection, and distribution of what the device sends.
//!
//! In: messages of the clients and of the device. Out: the state of the session, and bounded queues per kind of
//! message; what does not fit a queue is dropped and counted. The task ends when the last client is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use p4runtime_proto::google::rpc;
use p4runtime_proto::p4::v1 as proto;
use parking_lot::Mutex;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Response;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::backoff::Jitter;
use super::config::Config;
use crate::rpc::p4_runtime_client::P4RuntimeClient;
use crate::server::arbitration::{from_proto, to_proto};

/// What the session is to the device.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No answer to the arbitration yet.
    Connecting,
    /// Writes are accepted.
    Primary,
    /// Another client is the primary.
    Backup {
        /// Its election id.
        primary: Option<u128>,
    },
    /// Nobody is the primary; it takes an election id of at least this one.
    NoPrimary {
        /// The highest id that the device saw.
        highest: Option<u128>,
    },
    /// The stream broke; another attempt follows.
    Disconnected {
        /// What the stream ended with.
        code: Code,
        /// For people.
        reason: String,
        /// Attempts since the last success.
        attempt: u32,
    },
    /// The session was shut down.
    Closed,
}

impl State {
    /// A stream exists and the device has answered.
    pub fn connected(&self) -> bool {
        matches!(
            self,
            State::Primary | State::Backup { .. } | State::NoPrimary { .. }
        )
    }
}

/// What the device tells without being asked. Each queue is bounded.
#[derive(Debug)]
pub struct Notifications {
    /// Packets.
    pub packets: mpsc::Receiver<proto::PacketIn>,
    /// Digest lists, to be acknowledged.
    pub digests: mpsc::Receiver<proto::DigestList>,
    /// Entries that were not hit.
    pub idle: mpsc::Receiver<proto::IdleTimeoutNotification>,
    /// Messages that the device could not serve.
    pub errors: mpsc::Receiver<proto::StreamError>,
}

/// Messages lost because nobody took them in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drops {
    /// Packets from the device.
    pub packets: u64,
    /// Digest lists.
    pub digests: u64,
    /// Idle-timeout notifications.
    pub idle: u64,
    /// Error reports.
    pub errors: u64,
    /// Messages to the device, given up when the stream broke.
    pub outgoing: u64,
}

#[derive(Debug, Default)]
pub(super) struct DropCounters {
    packets: AtomicU64,
    digests: AtomicU64,
    idle: AtomicU64,
    errors: AtomicU64,
    outgoing: AtomicU64,
}

impl DropCounters {
    pub(super) fn totals(&self) -> Drops {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Drops {
            packets: read(&self.packets),
            digests: read(&self.digests),
            idle: read(&self.idle),
            errors: read(&self.errors),
            outgoing: read(&self.outgoing),
        }
    }
}

/// From clients to the task.
#[derive(Debug)]
pub(super) enum Command {
    Send(Request),
    Arbitrate,
}

pub(super) struct Queues {
    packets: mpsc::Sender<proto::PacketIn>,
    digests: mpsc::Sender<proto::DigestList>,
    idle: mpsc::Sender<proto::IdleTimeoutNotification>,
    errors: mpsc::Sender<proto::StreamError>,
}

pub(super) fn queues(length: usize) -> (Queues, Notifications) {
    let (packets, packets_out) = mpsc::channel(length);
    let (digests, digests_out) = mpsc::channel(length);
    let (idle, idle_out) = mpsc::channel(length);
    let (errors, errors_out) = mpsc::channel(length);
    let notifications = Notifications {
        packets: packets_out,
        digests: digests_out,
        idle: idle_out,
        errors: errors_out,
    };
    (
        Queues {
            packets,
            digests,
            idle,
            errors,
        },
        notifications,
    )
}

/// The task's side of a session.
pub(super) struct Session {
    pub(super) config: Arc<Config>,
    pub(super) rpc: P4RuntimeClient<tonic::transport::Channel>,
    pub(super) election_id: Arc<Mutex<Option<u128>>>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) state: watch::Sender<State>,
    pub(super) queues: Queues,
    pub(super) drops: Arc<DropCounters>,
}

/// Why a connection is over.
enum End {
    Broken(Status),
    Shutdown,
}

impl Session {
    pub(super) async fn run(mut self) {
        let mut jitter = Jitter(self.config.seed);
        let mut attempt = 0;
        loop {
            let status = match self.connection().await {
                End::Shutdown => break,
                End::Broken(status) => status,
            };
            if self.state.borrow().connected() {
                attempt = 0;
            }
            let (code, reason) = (status.code(), crate::status::reason(&status));
            tracing::debug!(endpoint = %self.config.endpoint, ?code, %reason, attempt, "stream to the device broke");
            self.state.send_replace(State::Disconnected {
                code,
                reason,
                attempt,
            });
            let delay = self.config.backoff.delay(attempt, jitter.next());
            attempt = attempt.saturating_add(1);
            if !self.wait(delay).await {
                break;
            }
        }
        self.state.send_replace(State::Closed);
    }

    /// Sleeps; messages to the device are given up meanwhile. `false` when the session is over.
    async fn wait(&mut self, delay: std::time::Duration) -> bool {
        let sleep = tokio::time::sleep(delay);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                command = self.commands.recv() => match command {
                    None => return false,
                    Some(Command::Send(_)) => {
                        self.drops.outgoing.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(Command::Arbitrate) => {}
                },
            }
        }
    }

    async fn connection(&mut self) -> End {
        // As deep as the other queues: packets come back in bursts, and what does not fit here is lost.
        let (requests, outgoing) = mpsc::channel(self.config.queue.max(64));
        // The first message goes ahead of the call: servers may answer only when they have it.
        if requests.try_send(self.arbitration()).is_err() {
            return End::Broken(Status::internal("a new queue is full"));
        }
        let mut rpc = self.rpc.clone();
        let open = rpc.stream_channel(ReceiverStream::new(outgoing));
        let opened = tokio::select! {
            opened = tokio::time::timeout(self.config.connect_timeout, open) => opened,
            () = closed(&mut self.commands, &self.drops) => return End::Shutdown,
        };
        let mut responses = match opened {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return End::Broken(status),
            Err(_) => return End::Broken(Status::deadline_exceeded("no answer from the device")),
        };
        self.serve(&requests, &mut responses).await
    }

    async fn serve(
        &mut self,
        requests: &mpsc::Sender<proto::StreamMessageRequest>,
        responses: &mut Streaming<proto::StreamMessageResponse>,
    ) -> End {
        let first_answer = tokio::time::sleep(self.config.connect_timeout);
        tokio::pin!(first_answer);
        let mut answered = false;
        loop {
            tokio::select! {
                response = responses.message() => match response {
                    Ok(Some(response)) => answered |= self.take(response),
                    Ok(None) => return End::Broken(Status::unavailable("the device closed the stream")),
                    Err(status) => return End::Broken(status),
                },
                command = self.commands.recv() => {
                    let request = match command {
                        None => return End::Shutdown,
                        Some(Command::Arbitrate) => self.arbitration(),
                        Some(Command::Send(update)) => proto::StreamMessageRequest { update: Some(update) },
                    };
                    // A device that does not read must not stop this task from reading.
                    if requests.try_send(request).is_err() {
                        self.drops.outgoing.fetch_add(1, Ordering::Relaxed);
                    }
                }
                () = &mut first_answer, if !answered => {
                    return End::Broken(Status::deadline_exceeded("no answer to the arbitration"));
                }
            }
        }
    }

    fn arbitration(&self) -> proto::StreamMessageRequest {
        let config = &self.config;
        let role = (!config.role.is_empty() || config.role_config.is_some()).then(|| proto::Role {
            name: config.role.clone(),
            config: config.role_config.clone(),
            ..Default::default()
        });
        let update = proto::MasterArbitrationUpdate {
            device_id: config.device_id,
            role,
            election_id: self.election_id.lock().map(to_proto),
            status: None,
        };
        proto::StreamMessageRequest {
            update: Some(Request::Arbitration(update)),
        }
    }

    /// Hands a message on; `true` if it was an answer to the arbitration.
    fn take(&mut self, response: proto::StreamMessageResponse) -> bool {
        let (queues, drops) = (&self.queues, &self.drops);
        match response.update {
            Some(Response::Arbitration(update)) => {
                self.state.send_replace(state(&update));
                return true;
            }
            Some(Response::Packet(packet)) => put(&queues.packets, packet, &drops.packets),
            Some(Response::Digest(list)) => put(&queues.digests, list, &drops.digests),
            Some(Response::IdleTimeoutNotification(idle)) => put(&queues.idle, idle, &drops.idle),
            Some(Response::Error(error)) => put(&queues.errors, error, &drops.errors),
            Some(Response::Other(_)) | None => {}
        }
        false
    }
}

fn put<T>(queue: &mpsc::Sender<T>, message: T, dropped: &AtomicU64) {
    if queue.try_send(message).is_err() {
        dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn state(update: &proto::MasterArbitrationUpdate) -> State {
    let id = update.election_id.as_ref().map(from_proto);
    let code = update.status.as_ref().map_or(0, |status| status.code);
    match rpc::Code::try_from(code) {
        Ok(rpc::Code::Ok) => State::Primary,
        Ok(rpc::Code::NotFound) => State::NoPrimary { highest: id },
        _ => State::Backup { primary: id },
    }
}

/// Waits for the last client to go; gives up messages meanwhile.
async fn closed(commands: &mut mpsc::Receiver<Command>, drops: &DropCounters) {
    while let Some(command) = commands.recv().await {
        if matches!(command, Command::Send(_)) {
            drops.outgoing.fetch_add(1, Ordering::Relaxed);
        }
    }
}
