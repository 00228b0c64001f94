//! The gRPC service: six calls over one switch.
//!
//! In: requests. Out: responses, and calls into [`Switch`] and [`super::switch::Pipeline`]. Invariant: batches of
//! updates run one after the other and never beside a read (one lock over the pipelines), and what calls the switch
//! runs on blocking threads, to its end even if the client goes away.

mod pipeline;
mod read;
mod stream;
mod write;

use std::sync::Arc;
use std::time::Duration;

use p4runtime_proto::p4::v1 as proto;
use parking_lot::Mutex;
use tokio::sync::{RwLock, watch};
use tonic::{Code, Request, Response, Status, Streaming};

use super::arbitration::from_proto;
use super::events::{EventTotals, Events, Hub};
use super::switch::{Pipeline, RoleScope, Switch};
use crate::rpc::p4_runtime_server::{P4Runtime, P4RuntimeServer};
use crate::schema::Schema;
use crate::wire::WriteRequest;

/// Limits of the service.
#[derive(Debug, Clone)]
pub struct Options {
    /// The device; never 0.
    pub device_id: u64,
    /// Streams per role.
    pub max_streams: usize,
    /// Packets and notifications waiting for one controller.
    pub outbox: usize,
    /// Largest request in bytes.
    pub max_message: usize,
    /// Size that a part of a read's answer is cut at, in bytes.
    pub read_chunk: usize,
    /// A reader that takes nothing for so long loses its read.
    pub read_stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            device_id: 1,
            max_streams: 16,
            outbox: 4096,
            max_message: 256 << 20,
            read_chunk: 1 << 20,
            read_stall: Duration::from_secs(30),
        }
    }
}

/// The service over one switch. Cheap to clone; clones are the same service.
#[derive(Clone)]
pub struct P4RuntimeService {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for P4RuntimeService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("P4RuntimeService")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

struct Shared {
    options: Options,
    switch: Arc<dyn Switch>,
    hub: Arc<Hub>,
    pipelines: Arc<RwLock<Pipelines>>,
    /// The live pipeline once more, for packets.
    running: Arc<Mutex<Option<Loaded>>>,
    closed: watch::Sender<bool>,
}

/// The program that runs, and the one that was saved to run next.
#[derive(Default)]
struct Pipelines {
    live: Option<Loaded>,
    saved: Option<Loaded>,
}

impl Pipelines {
    /// The one that entities refer to.
    fn target(&self) -> Option<&Loaded> {
        self.saved.as_ref().or(self.live.as_ref())
    }
}

#[derive(Clone)]
struct Loaded {
    pipeline: Arc<dyn Pipeline>,
    schema: Arc<Schema>,
    config: Arc<proto::ForwardingPipelineConfig>,
}

impl P4RuntimeService {
    /// A service over `switch`, which is told where its events go.
    ///
    /// Must be called inside a Tokio runtime: digest lists are sent by a timer, which lives as long as the service.
    pub fn new(switch: Arc<dyn Switch>, options: Options) -> Self {
        let hub = Arc::new(Hub::new(options.device_id, options.max_streams));
        switch.attach(Events::new(hub.clone()));
        let (closed, _) = watch::channel(false);
        tokio::spawn(stream::digest_timer(
            Arc::downgrade(&hub),
            closed.subscribe(),
        ));
        let (pipelines, running) = (Arc::default(), Arc::default());
        Self {
            shared: Arc::new(Shared {
                options,
                switch,
                hub,
                pipelines,
                running,
                closed,
            }),
        }
    }

    /// What a tonic server serves, with the message limits of the options.
    pub fn into_server(self) -> P4RuntimeServer<Self> {
        let limit = self.shared.options.max_message;
        P4RuntimeServer::new(self)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
    }

    /// What was sent to controllers and lost so far.
    pub fn event_totals(&self) -> EventTotals {
        Events::new(self.shared.hub.clone()).totals()
    }

    /// Ends all streams and their tasks; the service accepts no new streams.
    ///
    /// Call it before or with the graceful shutdown of the gRPC server, which otherwise waits for the streams.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
        self.shared
            .hub
            .close(&Status::unavailable("the device is shutting down"));
    }

    /// Loads and starts a program without a controller, as `VERIFY_AND_COMMIT` does.
    pub async fn install(&self, config: proto::ForwardingPipelineConfig) -> Result<(), Status> {
        self.shared
            .set_pipeline(
                proto::set_forwarding_pipeline_config_request::Action::VerifyAndCommit,
                Some(config),
            )
            .await
    }

    /// The schema that entities refer to now.
    pub async fn schema(&self) -> Option<Arc<Schema>> {
        self.shared
            .pipelines
            .read()
            .await
            .target()
            .map(|loaded| loaded.schema.clone())
    }
}

impl Shared {
    fn check_device(&self, device_id: u64) -> Result<(), Status> {
        if device_id == self.options.device_id && device_id != 0 {
            return Ok(());
        }
        Err(Status::not_found(format!(
            "device {device_id} is not known"
        )))
    }

    /// The scope of the primary that sent this, or why it is none.
    fn check_primary(
        &self,
        role: &str,
        role_id: u64,
        election_id: Option<&proto::Uint128>,
    ) -> Result<Arc<RoleScope>, Status> {
        self.hub
            .primary_scope(&role_name(role, role_id), election_id.map(from_proto))
            .ok_or_else(|| Status::permission_denied("not the primary of the role"))
    }
}

/// Roles by number are an older form of roles by name.
fn role_name(name: &str, id: u64) -> String {
    if name.is_empty() && id != 0 {
        id.to_string()
    } else {
        name.to_owned()
    }
}

fn no_pipeline() -> Status {
    Status::failed_precondition("no forwarding pipeline config is set")
}

fn lost_thread(error: tokio::task::JoinError) -> Status {
    tracing::error!(%error, "a request died");
    Status::new(Code::Internal, "the request could not be completed")
}

#[tonic::async_trait]
impl P4Runtime for P4RuntimeService {
    async fn write(
        &self,
        request: Request<WriteRequest>,
    ) -> Result<Response<proto::WriteResponse>, Status> {
        self.shared.write(request.into_inner()).await?;
        Ok(Response::new(proto::WriteResponse {}))
    }

    type ReadStream = read::ReadStream;

    async fn read(
        &self,
        request: Request<proto::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        self.shared
            .read(request.into_inner())
            .await
            .map(Response::new)
    }

    async fn set_forwarding_pipeline_config(
        &self,
        request: Request<proto::SetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::SetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        self.shared.check_device(request.device_id)?;
        let scope = self.shared.check_primary(
            &request.role,
            request.role_id,
            request.election_id.as_ref(),
        )?;
        if scope.writable.is_some() {
            return Err(Status::permission_denied(
                "the role may not set the pipeline",
            ));
        }
        let action = request.action();
        self.shared.set_pipeline(action, request.config).await?;
        Ok(Response::new(proto::SetForwardingPipelineConfigResponse {}))
    }

    async fn get_forwarding_pipeline_config(
        &self,
        request: Request<proto::GetForwardingPipelineConfigRequest>,
    ) -> Result<Response<proto::GetForwardingPipelineConfigResponse>, Status> {
        let request = request.into_inner();
        self.shared.check_device(request.device_id)?;
        let config = self.shared.get_pipeline(request.response_type()).await;
        Ok(Response::new(proto::GetForwardingPipelineConfigResponse {
            config,
        }))
    }

    type StreamChannelStream = stream::OutboxStream;

    async fn stream_channel(
        &self,
        request: Request<Streaming<proto::StreamMessageRequest>>,
    ) -> Result<Response<Self::StreamChannelStream>, Status> {
        stream::open(self.shared.clone(), request.into_inner()).map(Response::new)
    }

    async fn capabilities(
        &self,
        request: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::CapabilitiesResponse>, Status> {
        match request.into_inner().device_id {
            0 => {}
            device_id => self.shared.check_device(device_id)?,
        }
        let p4runtime_api_version = p4runtime_proto::SPEC_VERSION.to_owned();
        Ok(Response::new(proto::CapabilitiesResponse {
            p4runtime_api_version,
            experimental: None,
        }))
    }
}
