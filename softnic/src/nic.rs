//! Building and running a switch.
//!
//! In: program, ports, limits. Out: a [`Running`] switch with a P4Runtime server, threads that move packets, and a way to give
//! it packets by hand. Invariant: when [`Running::shutdown`] returns, its port is free again and no thread is left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p4rs::engine::Config;
use p4runtime::server::{EventTotals, Options, P4RuntimeService};
use p4runtime::tls::{self, ServerTls, TlsError};
use p4runtime_proto::p4::v1::ForwardingPipelineConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use crate::clock::{Clock, SystemClock};
use crate::data_plane::{DataPlane, Scratch, Sent};
use crate::port::memory::{self, MemoryPort};
use crate::port::{Frame, Port};
use crate::program::Program;
use crate::runner::Runner;
use crate::statistics::Statistics;
use crate::switch::SoftSwitch;

/// P4Runtime's TCP port.
pub const DEFAULT_GRPC_PORT: u16 = 9559;

/// Flow control window of HTTP/2: large enough that big batches do not wait for updates of it.
const WINDOW: u32 = 8 << 20;

/// How long clients get to finish their calls at shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// The embedded NIC.
#[derive(Debug)]
pub struct SoftNic;

/// Why a switch does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsError),
    /// Two ports with one number.
    #[error("port {0} is given twice")]
    DuplicatePort(u32),
    /// The CPU port has no cable.
    #[error("port {0} is the CPU port; it cannot be attached to an interface")]
    CpuPortAttached(u32),
    /// Device ids begin at 1.
    #[error("the device id must not be 0")]
    DeviceId,
    /// The service refused the program.
    #[error("the program cannot be installed: {0}")]
    Install(String),
    /// The system gives no thread.
    #[error("cannot start a packet thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl SoftNic {
    /// Starts describing a switch.
    pub fn builder() -> Builder {
        Builder {
            program: None,
            device_config: Vec::new(),
            options: Options::default(),
            tls: None,
            config: Config::default(),
            ports: Vec::new(),
            clock: Arc::new(SystemClock::default()),
            tick: Some(Duration::from_millis(100)),
            trace: false,
        }
    }
}

/// A switch that is not running yet.
pub struct Builder {
    program: Option<Program>,
    device_config: Vec<u8>,
    options: Options,
    tls: Option<ServerTls>,
    config: Config,
    ports: Vec<(u32, Box<dyn Port>)>,
    clock: Arc<dyn Clock>,
    tick: Option<Duration>,
    trace: bool,
}

impl Builder {
    /// The program to run from the start, and whenever a controller pushes an empty device configuration.
    pub fn program(mut self, program: Program) -> Self {
        self.program = Some(program);
        self
    }

    /// What controllers read back as the device configuration of that program: its source bundle.
    pub fn device_config(mut self, bundle: Vec<u8>) -> Self {
        self.device_config = bundle;
        self
    }

    /// The device id by which controllers address the switch; 1 unless set.
    pub fn device_id(mut self, id: u64) -> Self {
        self.options.device_id = id;
        self
    }

    /// Serves P4Runtime over TLS only. The files are read again for every connection.
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The port behind which the controllers are.
    pub fn cpu_port(mut self, port: u32) -> Self {
        self.config.cpu_port = Some(port);
        self
    }

    /// Attaches a port.
    pub fn port(mut self, id: u32, port: Box<dyn Port>) -> Self {
        self.ports.push((id, port));
        self
    }

    /// Attaches a port in memory and returns its far end.
    pub fn memory_port(self, id: u32) -> (Self, MemoryPort) {
        let (near, far) = memory::pair(&id.to_string(), memory::DEFAULT_CAPACITY);
        (self.port(id, Box::new(near)), far)
    }

    /// PNA: puts a port on the host's side.
    pub fn host_port(mut self, id: u32) -> Self {
        self.config.host_ports.push(id);
        self
    }

    /// The engine's other choices; CPU port and host ports given before are kept.
    pub fn engine(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Limits of the P4Runtime service.
    pub fn service(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Another clock than the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How often timeouts are looked at; `None`: only when [`Running::tick`] is called.
    pub fn tick_every(mut self, tick: Option<Duration>) -> Self {
        self.tick = tick;
        self
    }

    /// Logs every step of every packet.
    pub fn trace(mut self, trace: bool) -> Self {
        self.trace = trace;
        self
    }

    /// Starts the switch. Port 0 in the address takes a free one. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn serve(self, address: SocketAddr) -> Result<Running, StartError> {
        if self.options.device_id == 0 {
            return Err(StartError::DeviceId);
        }
        let mut ports = BTreeMap::new();
        for (id, port) in self.ports {
            if self.config.cpu_port == Some(id) {
                return Err(StartError::CpuPortAttached(id));
            }
            if ports.insert(id, port).is_some() {
                return Err(StartError::DuplicatePort(id));
            }
        }
        let listen = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let incoming = match &self.tls {
            None => Incoming::Plain(TcpIncoming::from(listener).with_nodelay(Some(true))),
            Some(tls) => Incoming::Tls(tls::Incoming::new(listener, tls)?),
        };

        let plane = Arc::new(DataPlane::new(
            ports,
            self.clock,
            self.config.cpu_port,
            self.trace,
        ));
        let switch = SoftSwitch::new(Arc::clone(&plane), self.program.clone(), self.config);
        let service = P4RuntimeService::new(Arc::new(switch), self.options);
        if let Some(program) = &self.program {
            let config = ForwardingPipelineConfig {
                p4info: Some(program.info.message.clone()),
                p4_device_config: self.device_config,
                ..Default::default()
            };
            service
                .install(config)
                .await
                .map_err(|status| StartError::Install(status.message().to_owned()))?;
        }
        let runner = Runner::start(&plane, self.tick).map_err(StartError::Thread)?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(incoming, service.clone(), stop.clone()));
        Ok(Running {
            address,
            plane,
            service,
            runner,
            server: Some(server),
            stop,
        })
    }
}

/// Where controllers come in.
enum Incoming {
    Plain(TcpIncoming),
    Tls(tls::Incoming),
}

async fn serve(
    incoming: Incoming,
    service: P4RuntimeService,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let router = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(service.into_server());
    let stopped = stop.cancelled_owned();
    match incoming {
        Incoming::Plain(incoming) => router.serve_with_incoming_shutdown(incoming, stopped).await,
        Incoming::Tls(incoming) => router.serve_with_incoming_shutdown(incoming, stopped).await,
    }
}

/// A switch that runs. Dropping it stops it without waiting for clients.
pub struct Running {
    address: SocketAddr,
    plane: Arc<DataPlane>,
    service: P4RuntimeService,
    runner: Runner,
    server: Option<JoinHandle<Result<(), tonic::transport::Error>>>,
    stop: CancellationToken,
}

impl Running {
    /// Where the P4Runtime server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs one packet as if it had come in on `port`, and returns what leaves on ports; attached ports see nothing of
    /// it. Packets to the CPU port and digests go to the controllers as ever.
    pub fn inject(&self, port: u32, packet: &[u8]) -> Vec<Sent> {
        self.plane.inject(port, packet)
    }

    /// As [`Running::inject`], of packets that come in together, as a port hands them over: `sent` is told each packet that leaves,
    /// and on which port. Nothing of it is traced.
    pub fn inject_all(&self, port: u32, packets: &[&[u8]], sent: &mut dyn FnMut(u32, &Frame<'_>)) {
        self.plane.inject_all(port, packets, sent);
    }

    /// Runs one packet as if it had come in on `port`, and sends what leaves on the attached ports.
    pub fn receive(&self, port: u32, packet: &[u8]) {
        self.plane
            .receive(port, 0, &[Frame::whole(packet)], &mut Scratch::default());
    }

    /// A handle for [`Running::inject`] and [`Running::tick`] that other threads can keep.
    pub fn injector(&self) -> Injector {
        Injector {
            plane: Arc::clone(&self.plane),
        }
    }

    /// Lets timeouts pass now: learned entries go away, idle ones are reported.
    pub fn tick(&self) {
        self.plane.tick();
    }

    /// What was counted.
    pub fn statistics(&self) -> Statistics {
        self.plane.statistics()
    }

    /// The P4Runtime service itself, for calls within this process that need no connection.
    pub fn service(&self) -> P4RuntimeService {
        self.service.clone()
    }

    /// Messages to controllers, sent and lost.
    pub fn event_totals(&self) -> EventTotals {
        self.service.event_totals()
    }

    /// The CPU port, if there is one.
    pub fn cpu_port(&self) -> Option<u32> {
        self.plane.cpu_port()
    }

    /// Stops: no packet moves any more, open calls of clients end.
    pub async fn shutdown(mut self) {
        self.service.close();
        self.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(GRACE, &mut server).await.is_err()
        {
            server.abort();
        }
        // The threads end within the time that a port waits for a packet.
        self.runner.stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.close();
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

/// Gives packets to a running switch from any thread.
#[derive(Clone)]
pub struct Injector {
    plane: Arc<DataPlane>,
}

impl Injector {
    /// As [`Running::inject`].
    pub fn inject(&self, port: u32, packet: &[u8]) -> Vec<Sent> {
        self.plane.inject(port, packet)
    }

    /// As [`Running::tick`].
    pub fn tick(&self) {
        self.plane.tick();
    }
}
