//! How to reach a device, as whom, and within which limits.

use std::time::Duration;

use p4runtime_proto::Any;
use tonic::transport::{Channel, Endpoint};

use super::backoff::Backoff;
use super::error::ClientError;
use crate::server::P4RuntimeService;
use crate::status::metadata_allowance;
use crate::tls::{ClientTls, Connector};

/// A silent peer is asked after this time whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Settings of a session.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` or a URI.
    pub endpoint: String,
    /// TLS; none: as the scheme of the endpoint says, with the system's authorities.
    pub tls: Option<ClientTls>,
    /// The device behind the endpoint.
    pub device_id: u64,
    /// Empty is the default role: the whole pipeline.
    pub role: String,
    /// Configuration of the role, in a form that the device understands.
    pub role_config: Option<Any>,
    /// `None` stays backup for ever.
    pub election_id: Option<u128>,
    /// Largest answer in bytes.
    pub max_message: usize,
    /// Updates in one Write.
    pub batch_updates: usize,
    /// Bytes of one Write.
    pub batch_bytes: usize,
    /// Packets, notifications and errors that wait for their readers, each.
    pub queue: usize,
    /// Time for a connection and for the first arbitration answer.
    pub connect_timeout: Duration,
    /// Time for an answer, except for reads and pipelines.
    pub call_timeout: Duration,
    /// Time for a device to take a program.
    pub pipeline_timeout: Duration,
    /// Waits between attempts to connect.
    pub backoff: Backoff,
    /// Seed of the waits' jitter.
    pub seed: u64,
    /// The service behind the endpoint, where it is in this process: batches of writes are handed over to it as they are,
    /// and need not travel.
    pub local: Option<P4RuntimeService>,
}

impl Config {
    /// Device 1 at `endpoint`, default role, election id 1.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            tls: None,
            device_id: 1,
            role: String::new(),
            role_config: None,
            election_id: Some(1),
            max_message: 256 << 20,
            batch_updates: 10_000,
            // Servers must take 4 MB, as gRPC does unless told otherwise.
            batch_bytes: 3 << 20,
            queue: 8192,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(60),
            pipeline_timeout: Duration::from_secs(300),
            backoff: Backoff::default(),
            seed: u64::from(std::process::id()),
            local: None,
        }
    }

    pub(super) fn channel(&self) -> Result<Channel, ClientError> {
        let (scheme, address) = self
            .endpoint
            .split_once("://")
            .unwrap_or(("http", &self.endpoint));
        let tls = match &self.tls {
            None if scheme == "https" => Some(ClientTls::default()),
            tls => tls.clone(),
        };
        let headers = u32::try_from(metadata_allowance(self.batch_updates)).unwrap_or(u32::MAX);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(KEEPALIVE))
            .http2_max_header_list_size(headers)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        let Some(tls) = tls else {
            return Ok(endpoint.connect_lazy());
        };
        // The connector below does the handshake; requests say all the same that they are made over TLS.
        let origin = Endpoint::from_shared(format!("https://{address}"))?;
        Ok(endpoint
            .origin(origin.uri().clone())
            .connect_with_connector_lazy(Connector::new(&tls, KEEPALIVE)))
    }
}
