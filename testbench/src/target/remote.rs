//! A switch of another process, as far as reading its tables goes.
//!
//! In: a P4Runtime address, the program that runs there. Out: a [`Target`] for a [`Probe`](crate::probe::Probe). It has no
//! ports: frames go nowhere and none come.

use std::net::SocketAddr;
use std::time::Instant;

use nicproxy::config::{PipelineConfig, Program};

use super::softnic::{compiled, source};
use super::{Pipeline, Target, TargetError};

/// Where it is and what it runs.
#[derive(Clone, Debug)]
pub struct Remote {
    address: SocketAddr,
    program: Program,
    pipeline: PipelineConfig,
}

impl Remote {
    /// Device 1 at the address.
    pub fn new(address: SocketAddr, program: Program) -> Self {
        Self {
            address,
            program,
            pipeline: PipelineConfig::Source(source(program)),
        }
    }
}

impl Target for Remote {
    fn name(&self) -> &str {
        "softnic"
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
        Vec::new()
    }

    fn send(&self, port: u32, _: &[u8]) -> Result<(), TargetError> {
        Err(TargetError::NoPort(port))
    }

    fn receive(&self, _: Instant) -> Option<(u32, Vec<u8>)> {
        None
    }
}
