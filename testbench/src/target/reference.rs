//! `simple_switch_grpc` as a process of its own: P4Runtime, and packets over gRPC instead of interfaces.
//!
//! In: nothing but the switch on PATH; neither interfaces nor rights. Out: for a packet everything that left because of it,
//! in the order in which it left. The switch closes the stream of a packet when no packet is left in it, so that what did not
//! leave by then never will: nothing here waits for time to pass.
//!
//! | channel | carries |
//! |---|---|
//! | `--grpc-server-addr` | P4Runtime |
//! | `--dp-grpc-server-addr` | `p4.bm.DataplaneInterface`, of behavioral-model's `services/dataplane_interface.proto` |
//!
//! Invariant: the process ends with the value.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::TargetError;

/// The program's name on PATH.
pub const SWITCH: &str = "simple_switch_grpc";

/// P4Runtime's name of the device.
pub const DEVICE_ID: u64 = 1;

/// How long the switch may take to listen, and to be done with a packet.
const PATIENCE: Duration = Duration::from_secs(10);

/// A packet on its way in or out (`PacketStreamRequest` and `PacketStreamResponse` have the same fields).
#[derive(Clone, PartialEq, prost::Message)]
struct Datagram {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    device_id: u64,
    #[prost(uint32, tag = "3")]
    port: u32,
    #[prost(bytes = "vec", tag = "4")]
    packet: Vec<u8>,
}

/// Why the reference switch gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// It cannot be started.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It has ended.
    #[error("{SWITCH} has ended: {0}")]
    Ended(std::process::ExitStatus),
    /// It does not listen.
    #[error("{SWITCH} does not listen on {0}")]
    Silent(SocketAddr),
    /// A packet was not done with in time.
    #[error("{SWITCH} is not done with what it got")]
    Stuck,
    /// The packet stream broke.
    #[error("the packet stream: {0}")]
    Stream(Box<tonic::Status>),
    /// No connection.
    #[error("no connection for packets: {0}")]
    Connect(#[from] tonic::transport::Error),
}

/// A tool on PATH.
pub fn on_path(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// A running switch, without a program until one is pushed.
pub struct Reference {
    process: Child,
    control: SocketAddr,
    packets: Channel,
}

impl Reference {
    /// Starts a switch. `log`: a file for every step that it takes with every packet.
    ///
    /// # Errors
    /// [`ReferenceError`] when there is no such program or it does not listen in time.
    pub async fn start(log: Option<&Path>) -> Result<Self, ReferenceError> {
        let (control, packets) = (free_address()?, free_address()?);
        let mut command = Command::new(SWITCH);
        command
            .args(["--no-p4", "--device-id", &DEVICE_ID.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        match log {
            None => command.stdout(Stdio::null()),
            Some(file) => command
                .args(["--log-console", "--log-level", "trace"])
                .stdout(File::create(file).map_err(system("creating a log"))?),
        };
        command.args([
            "--",
            "--grpc-server-addr",
            &control.to_string(),
            "--dp-grpc-server-addr",
            &packets.to_string(),
        ]);
        let process = command.spawn().map_err(system("starting the switch"))?;
        let endpoint = Endpoint::from_shared(format!("http://{packets}"))?;
        let mut switch = Self {
            process,
            control,
            packets: endpoint.connect_lazy(),
        };
        for address in [packets, control] {
            switch.wait_listening(address).await?;
        }
        Ok(switch)
    }

    async fn wait_listening(&mut self, address: SocketAddr) -> Result<(), ReferenceError> {
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            self.alive()?;
            if Instant::now() > deadline {
                return Err(ReferenceError::Silent(address));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn alive(&mut self) -> Result<(), ReferenceError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(ReferenceError::Ended(status)),
            Err(error) => Err(system("asking for the switch")(error).into()),
        }
    }

    /// Processor time that each of its threads has had.
    ///
    /// # Errors
    /// [`ReferenceError::Target`] where the system does not tell.
    pub fn thread_times(&self) -> Result<BTreeMap<String, Duration>, ReferenceError> {
        let folder = PathBuf::from(format!("/proc/{}/task", self.process.id()));
        let read = |source| TargetError::File {
            path: folder.clone(),
            source,
        };
        let mut times = BTreeMap::new();
        for thread in std::fs::read_dir(&folder).map_err(read)? {
            let thread = thread.map_err(read)?;
            // Nanoseconds on a processor, nanoseconds waiting, turns.
            let text = match std::fs::read_to_string(thread.path().join("schedstat")) {
                Ok(text) => text,
                // It has ended meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(read(error).into()),
            };
            let spent = text.split(' ').next().and_then(|spent| spent.parse().ok());
            let name = thread.file_name().to_string_lossy().into_owned();
            times.insert(name, Duration::from_nanos(spent.unwrap_or(0)));
        }
        Ok(times)
    }

    /// Its P4Runtime server.
    pub fn address(&self) -> SocketAddr {
        self.control
    }

    /// Gives the switch a packet, and returns what left because of it.
    ///
    /// # Errors
    /// [`ReferenceError::Ended`] when the packet ends the switch.
    pub async fn process(
        &mut self,
        port: u32,
        packet: &[u8],
    ) -> Result<Vec<(u32, Vec<u8>)>, ReferenceError> {
        let one = vec![(port, packet.to_vec())];
        self.process_all(one, PATIENCE).await
    }

    /// Gives the switch packets one after the other, without waiting for what becomes of each, and returns what left. A port
    /// that has 64 packets waiting loses the next.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub async fn process_all(
        &mut self,
        packets: Vec<(u32, Vec<u8>)>,
        patience: Duration,
    ) -> Result<Vec<(u32, Vec<u8>)>, ReferenceError> {
        let packets = packets.into_iter().map(|(port, packet)| Datagram {
            id: 1,
            device_id: DEVICE_ID,
            port,
            packet,
        });
        let packets: Vec<Datagram> = packets.collect();
        let stream = tokio::time::timeout(patience, exchange_when_ready(&self.packets, packets));
        match stream.await {
            Ok(Ok(sent)) => Ok(sent),
            Ok(Err(status)) => {
                // A switch that just died may not have been reaped yet.
                let deadline = Instant::now() + Duration::from_secs(1);
                while Instant::now() < deadline {
                    self.alive()?;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(ReferenceError::Stream(Box::new(status)))
            }
            Err(_) => Err(ReferenceError::Stuck),
        }
    }
}

/// The switch listens before it takes packets; then it answers `not ready`.
async fn exchange_when_ready(
    channel: &Channel,
    packets: Vec<Datagram>,
) -> Result<Vec<(u32, Vec<u8>)>, tonic::Status> {
    loop {
        match exchange(channel.clone(), packets.clone()).await {
            Err(status) if status.message() == "not ready" => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
}

async fn exchange(
    channel: Channel,
    packets: Vec<Datagram>,
) -> Result<Vec<(u32, Vec<u8>)>, tonic::Status> {
    let mut call = Grpc::new(channel);
    call.ready()
        .await
        .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<Datagram, Datagram>::default();
    let path = PathAndQuery::from_static("/p4.bm.DataplaneInterface/PacketStream");
    let request = tonic::Request::new(futures::stream::iter(packets));
    let mut answers = call.streaming(request, path, codec).await?.into_inner();
    let mut sent = Vec::new();
    while let Some(answer) = answers.message().await? {
        sent.push((answer.port, answer.packet));
    }
    Ok(sent)
}

/// An address that nobody listens on.
fn free_address() -> Result<SocketAddr, TargetError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(system("finding a free port"))?;
    listener.local_addr().map_err(system("finding a free port"))
}

fn system(what: &'static str) -> impl Fn(std::io::Error) -> TargetError {
    move |source| TargetError::System { what, source }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
