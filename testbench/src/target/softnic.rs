//! The embedded NIC in this process, with ports in memory and its P4Runtime server on loopback.
//!
//! In: which of the two programs. Out: a target that runs nothing until a controller pushes the program, as a NIC that
//! was just switched on. Each has a run time and threads of its own; both end when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nicproxy::config::{PipelineConfig, Program, SLOW_PATH_PORT};
use softnic::clock::{Clock, SystemClock};
use softnic::port::Port;
use softnic::{Running, SoftNic};
use tokio::runtime::Runtime;

use super::{Pipeline, Target, TargetError, Wire};

/// Where a program's source is.
pub fn source(program: Program) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../p4/nicproxy_{program}.p4"))
}

/// A program compiled for softnic, as a controller pushes it.
///
/// # Errors
/// [`TargetError::Program`] with what the compiler found.
pub fn compiled(program: Program) -> Result<Pipeline, TargetError> {
    let compiled = softnic::Program::open(&source(program), &[], &[])?;
    let device_config = softnic::device_config::bundle(&source(program), &[])?;
    Ok(Pipeline {
        p4info: compiled.info.message.clone(),
        device_config,
    })
}

/// A running softnic.
pub struct Embedded {
    name: String,
    program: Program,
    pipeline: PipelineConfig,
    nic: Option<Running>,
    address: SocketAddr,
    wire: Option<Wire>,
    runtime: Runtime,
}

impl Embedded {
    /// Starts a NIC with these ports.
    ///
    /// # Errors
    /// [`TargetError`] when the system refuses a socket or a thread.
    pub fn start(program: Program, ports: &[u32]) -> Result<Self, TargetError> {
        Self::start_with_clock(program, ports, Arc::new(SystemClock::default()))
    }

    /// Starts a NIC whose timeouts go by another clock.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub fn start_with_clock(
        program: Program,
        ports: &[u32],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TargetError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|source| TargetError::System {
                what: "starting a run time",
                source,
            })?;
        let mut builder = SoftNic::builder()
            .cpu_port(SLOW_PATH_PORT)
            .clock(clock)
            .tick_every(Some(Duration::from_millis(50)));
        let mut far: BTreeMap<u32, Arc<dyn Port>> = BTreeMap::new();
        for &id in ports {
            let (next, end) = builder.memory_port(id);
            builder = next;
            far.insert(id, Arc::new(end));
        }
        let nic = runtime.block_on(builder.serve(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        Ok(Self {
            name: format!("softnic {program}"),
            program,
            pipeline: PipelineConfig::Source(source(program)),
            address: nic.address(),
            nic: Some(nic),
            wire: Some(Wire::new(far)?),
            runtime,
        })
    }

    /// The NIC itself.
    pub fn nic(&self) -> Option<&Running> {
        self.nic.as_ref()
    }
}

impl Target for Embedded {
    fn name(&self) -> &str {
        &self.name
    }

    fn program(&self) -> Program {
        self.program
    }

    fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    fn device_id(&self) -> u64 {
        1
    }

    fn pipeline(&self) -> &PipelineConfig {
        &self.pipeline
    }

    fn pipeline_bytes(&self) -> Result<Pipeline, TargetError> {
        compiled(self.program)
    }

    fn ports(&self) -> Vec<u32> {
        self.wire.as_ref().map_or_else(Vec::new, Wire::ports)
    }

    fn send(&self, port: u32, frame: &[u8]) -> Result<(), TargetError> {
        self.wire
            .as_ref()
            .ok_or(TargetError::NoPort(port))?
            .send(port, frame)
    }

    fn receive(&self, deadline: Instant) -> Option<(u32, Vec<u8>)> {
        self.wire.as_ref()?.receive(deadline)
    }

    fn announced(&self) -> BTreeSet<(u32, IpAddr)> {
        self.wire.as_ref().map(Wire::announced).unwrap_or_default()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Some(nic) = self.nic.take() {
            self.runtime.block_on(nic.shutdown());
        }
        self.wire = None;
    }
}
