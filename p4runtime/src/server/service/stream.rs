//! StreamChannel: one task reads a client's messages, the hub fills its outbox.
//!
//! Arbitration notices go before packets. The stream ends when the client leaves, when its arbitration is refused
//! (with that error), when it does not read its notices, and when the service closes.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use p4runtime_proto::p4::v1 as proto;
use proto::stream_error::Details;
use proto::stream_message_request::Update as Request;
use proto::stream_message_response::Update as Message;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Code, Status, Streaming};

use super::{Shared, lost_thread, role_name};
use crate::server::arbitration::{Claim, Notice, StreamId, from_proto};
use crate::server::events::{Hub, Outgoing};
use crate::server::switch::RoleScope;
use crate::server::validate;

/// Arbitration notices that a client may leave unread.
const UNREAD_NOTICES: usize = 256;

/// What one client receives.
pub struct OutboxStream {
    control: mpsc::Receiver<Outgoing>,
    data: mpsc::Receiver<Outgoing>,
    over: bool,
}

impl tokio_stream::Stream for OutboxStream {
    type Item = Outgoing;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.control.poll_recv(cx) {
            Poll::Ready(message) => {
                self.over = !matches!(message, Some(Ok(_)));
                Poll::Ready(message)
            }
            // The senders of both live and die together, and `control` tells.
            Poll::Pending => match self.data.poll_recv(cx) {
                Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// Starts serving a stream.
pub(super) fn open(
    shared: Arc<Shared>,
    requests: Streaming<proto::StreamMessageRequest>,
) -> Result<OutboxStream, Status> {
    if *shared.closed.borrow() {
        return Err(Status::unavailable("the device is shutting down"));
    }
    let (control, control_receiver) = mpsc::channel(UNREAD_NOTICES);
    let (data, data_receiver) = mpsc::channel(shared.options.outbox);
    let weak = control.downgrade();
    let (id, removed) = shared.hub.join(control, data);
    tokio::spawn(
        Session {
            shared,
            id,
            control: weak,
        }
        .run(requests, removed),
    );
    Ok(OutboxStream {
        control: control_receiver,
        data: data_receiver,
        over: false,
    })
}

struct Session {
    shared: Arc<Shared>,
    id: StreamId,
    /// Weak: the stream ends when the hub lets go of it.
    control: mpsc::WeakSender<Outgoing>,
}

impl Session {
    async fn run(
        self,
        mut requests: Streaming<proto::StreamMessageRequest>,
        mut removed: oneshot::Receiver<()>,
    ) {
        loop {
            let request = tokio::select! {
                request = requests.message() => request,
                _ = &mut removed => break,
            };
            let Ok(Some(request)) = request else { break };
            if let Err(status) = self.handle(request).await {
                if let Some(control) = self.control.upgrade() {
                    let _ = control.try_send(Err(status));
                }
                break;
            }
        }
        self.shared.hub.leave(self.id);
    }

    async fn handle(&self, request: proto::StreamMessageRequest) -> Result<(), Status> {
        match request.update {
            Some(Request::Arbitration(update)) => self.arbitrate(update).await,
            Some(Request::Packet(packet)) => self.packet_out(packet).await,
            Some(Request::DigestAck(ack)) => {
                self.digest_ack(ack);
                Ok(())
            }
            Some(Request::Other(other)) => {
                let details = Details::Other(proto::StreamOtherError { other: Some(other) });
                self.report(
                    Code::Unimplemented,
                    "messages of this kind are not supported".into(),
                    details,
                );
                Ok(())
            }
            // A kind of message newer than this server.
            None => Ok(()),
        }
    }

    async fn arbitrate(&self, update: proto::MasterArbitrationUpdate) -> Result<(), Status> {
        let claim = self.claim(update)?;
        let refused = |error: crate::server::arbitration::ArbitrationError| {
            Status::new(error.code(), error.to_string())
        };
        let notices = self.shared.hub.claim(self.id, claim).map_err(refused)?;
        if !notices.is_empty() {
            self.after_writes(notices).await;
        }
        Ok(())
    }

    /// A new primary is told when the writes of the old one are over.
    async fn after_writes(&self, notices: Vec<Notice>) {
        drop(self.shared.pipelines.read().await);
        self.shared.hub.send_notices(notices);
    }

    fn claim(&self, update: proto::MasterArbitrationUpdate) -> Result<Claim, Status> {
        let role = update.role.unwrap_or_default();
        let name = role_name(&role.name, role.id);
        let scope = match &role.config {
            None => RoleScope::default(),
            // The device comes first: a role of a device that is not here means nothing.
            Some(_) if update.device_id != self.shared.options.device_id => RoleScope::default(),
            Some(config) => {
                let read = self.shared.switch.role(&name, config);
                read.map_err(|error| Status::invalid_argument(error.to_string()))?
            }
        };
        Ok(Claim {
            device_id: update.device_id,
            role: name,
            config: role.config,
            scope: Arc::new(scope),
            election_id: update.election_id.as_ref().map(from_proto),
        })
    }

    async fn packet_out(&self, packet: proto::PacketOut) -> Result<(), Status> {
        if let Err((code, message, packet)) = self.try_packet_out(packet).await? {
            let details = Details::PacketOut(proto::PacketOutError {
                packet_out: Some(packet),
            });
            self.report(code, message, details);
        }
        Ok(())
    }

    /// The inner error goes to the client with its packet.
    async fn try_packet_out(
        &self,
        packet: proto::PacketOut,
    ) -> Result<Result<(), (Code, String, proto::PacketOut)>, Status> {
        if !self.shared.hub.is_primary(self.id) {
            return Ok(Err((
                Code::PermissionDenied,
                "not the primary of the role".into(),
                packet,
            )));
        }
        // Not behind the lock of the pipelines: packets must not wait for batches and long reads.
        let loaded = self.shared.running.lock().clone();
        let Some(loaded) = loaded else {
            return Ok(Err((
                Code::FailedPrecondition,
                "no forwarding pipeline config is set".into(),
                packet,
            )));
        };
        let send = move || {
            let sent = match validate::packet_out(&loaded.schema, &packet) {
                Ok(values) => loaded
                    .pipeline
                    .packet_out(packet.payload.clone(), &values)
                    .map_err(|error| (error.code(), error.to_string())),
                Err(invalid) => Err((invalid.code(), invalid.to_string())),
            };
            sent.map_err(|(code, message)| (code, message, packet))
        };
        tokio::task::spawn_blocking(send).await.map_err(lost_thread)
    }

    fn digest_ack(&self, ack: proto::DigestListAck) {
        let refuse = |code, message: &str| {
            let details = Details::DigestListAck(proto::DigestListAckError {
                digest_list_ack: Some(ack),
            });
            self.report(code, message.to_owned(), details);
        };
        if !self.shared.hub.is_primary(self.id) {
            return refuse(Code::PermissionDenied, "not the primary of the role");
        }
        if !self.shared.hub.has_digest(ack.digest_id) {
            return refuse(Code::InvalidArgument, "no such digest");
        }
        self.shared
            .hub
            .with_digests(|queues| queues.ack(ack.digest_id, ack.list_id));
    }

    fn report(&self, code: Code, message: String, details: Details) {
        let error = proto::StreamError {
            canonical_code: code as i32,
            message,
            details: Some(details),
            ..Default::default()
        };
        self.shared.hub.reply(self.id, Message::Error(error));
    }
}

/// Sends digest lists when their time has come, until the service is gone or closed.
pub(super) async fn digest_timer(hub: Weak<Hub>, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(strong) = hub.upgrade() else { return };
        let next = strong.flush_digests();
        let opened = strong.digest_opened.notified();
        tokio::select! {
            _ = opened => {}
            _ = sleep(next) => {}
            _ = closed.wait_for(|closed| *closed) => return,
        }
    }
}

async fn sleep(duration: Option<std::time::Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
