//! A switch that scenarios run on.
//!
//! In: frames sent on ports. Out: frames that come out of ports, with their port, until a deadline. What controls the
//! switch is nicproxy, over the P4Runtime address that the target names.
//!
//! | target | program | ports |
//! |---|---|---|
//! | [`softnic`] | either, compiled in this process | in memory |
//! | [`remote`] | either, in another process | none |
//! | [`switch`] | v1model, as p4c compiled it | network interfaces (veth pairs) |
//!
//! [`mod@reference`] is no target of scenarios: the reference switch as a process, for comparing it packet by packet.
//!
//! Invariant: frames of one port come in the order in which the switch sent them.

pub mod reference;
pub mod remote;
pub mod softnic;
pub mod switch;
mod wire;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use nicproxy::config::{PipelineConfig, Program};

pub use wire::Wire;

/// A switch with ports.
pub trait Target: Send + Sync {
    /// For people.
    fn name(&self) -> &str;

    /// The program it runs.
    fn program(&self) -> Program;

    /// Its P4Runtime server, as `http://host:port`.
    fn address(&self) -> String;

    /// Its device id.
    fn device_id(&self) -> u64;

    /// What is loaded into it.
    fn pipeline(&self) -> &PipelineConfig;

    /// The same as bytes: P4Info and device configuration, for whoever loads it without nicproxy.
    fn pipeline_bytes(&self) -> Result<Pipeline, TargetError>;

    /// Ports that frames can be sent on.
    fn ports(&self) -> Vec<u32>;

    /// Puts a frame on the wire of a port.
    ///
    /// # Errors
    /// [`TargetError`] when there is no such port or it takes nothing.
    fn send(&self, port: u32, frame: &[u8]) -> Result<(), TargetError>;

    /// The next frame that comes out of any port and announces no address; `None` when none came until the deadline.
    fn receive(&self, deadline: Instant) -> Option<(u32, Vec<u8>)>;

    /// Addresses that were announced on ports, among what [`receive`](Self::receive) saw so far; none where there are no
    /// frames to be had.
    fn announced(&self) -> BTreeSet<(u32, IpAddr)> {
        BTreeSet::new()
    }
}

/// What a controller pushes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The program's P4Info.
    pub p4info: p4runtime::proto::p4::config::v1::P4Info,
    /// The device's own configuration.
    pub device_config: Vec<u8>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The embedded NIC does not start.
    #[error("softnic does not start: {0}")]
    Start(#[from] ::softnic::StartError),
    /// A program that does not compile.
    #[error("{0}")]
    Program(#[from] ::softnic::ProgramError),
    /// A port that cannot be opened or does not send.
    #[error(transparent)]
    Port(#[from] ::softnic::port::PortError),
    /// No such port.
    #[error("the target has no port {0}")]
    NoPort(u32),
    /// Threads or a run time that the system does not give.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// P4Info that cannot be read.
    #[error("{}: not P4Info: {reason}", path.display())]
    P4Info {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        reason: String,
    },
    /// An environment variable that names the target is missing or wrong.
    #[error("{variable}: {problem}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
