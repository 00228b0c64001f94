//! Scenarios: a cluster, packets sent, packets expected.
//!
//! In: folders. Out: [`Scenario`]s, and running one against a target ([`run::run`]).
//!
//! ```text
//! scenarios/<name>/objects.yaml   Kubernetes manifests that are there from the start
//!                  steps.yaml     what happens, in order
//!                  *.yaml         further manifests, which steps apply
//!                  config.yaml    nicproxy's configuration, where it differs from scenarios/config.yaml
//! ```
//!
//! A scenario is the same on every target. Where a target cannot do what a scenario needs, `skip` in its steps.yaml
//! says so with the reason, and the run reports it.

pub mod error;
pub mod expect;
pub mod run;
pub mod step;
pub mod template;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use nicproxy::config::{Config, ConfigError, PortConfig};

use crate::packet::{MacBytes, PacketError};
use step::Steps;
use template::TemplateError;

/// One folder.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// nicproxy's configuration: ports and routes.
    pub config: Config,
    /// What happens.
    pub steps: Steps,
}

/// A scenario that cannot be read, or that the target did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file that does not say what it should.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A configuration that nicproxy refuses.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A packet that cannot be built.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A packet that cannot be built.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The target failed, not the check.
    #[error(transparent)]
    Target(#[from] crate::target::TargetError),
    /// The target's tables cannot be read.
    #[error(transparent)]
    Probe(#[from] crate::probe::ProbeError),
    /// The control plane failed.
    #[error(transparent)]
    Plane(#[from] crate::plane::PlaneError),
    /// What happened is not what the scenario says.
    #[error("{0}")]
    Differs(String),
}

/// A step that did not go as it should.
#[derive(Debug, thiserror::Error)]
#[error("{scenario}, step {step} ({what}): {source}")]
pub struct Failure {
    /// Scenario.
    pub scenario: String,
    /// Number of the step, from 1; 0 is the beginning.
    pub step: usize,
    /// The step in short.
    pub what: String,
    /// What went wrong.
    pub source: Box<ScenarioError>,
}

/// The folder of all scenarios that come with the project.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// All scenarios of a folder, in order of name.
///
/// # Errors
/// [`ScenarioError`] for the first one that cannot be read.
pub fn load_all(root: &Path) -> Result<Vec<Scenario>, ScenarioError> {
    let error = |source| ScenarioError::File {
        path: root.to_owned(),
        source,
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    folders
        .iter()
        .map(|folder| Scenario::load(folder))
        .collect()
}

impl Scenario {
    /// Reads one folder.
    ///
    /// # Errors
    /// [`ScenarioError`] names the file and what is wrong with it.
    pub fn load(folder: &Path) -> Result<Self, ScenarioError> {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let own = folder.join("config.yaml");
        let shared = folder.parent().unwrap_or(folder).join("config.yaml");
        let config = Config::read(if own.exists() { &own } else { &shared })?;
        config.validate()?;
        let path = folder.join("steps.yaml");
        let text = read(&path)?;
        let steps = serde_saphyr::from_str(&text).map_err(|error| ScenarioError::Format {
            path,
            reason: error.to_string(),
        })?;
        Ok(Self {
            name,
            folder: folder.to_owned(),
            config,
            steps,
        })
    }

    /// Manifests of one file of the folder.
    ///
    /// # Errors
    /// [`ScenarioError::File`].
    pub fn manifests(&self, file: &str) -> Result<String, ScenarioError> {
        read(&self.folder.join(file))
    }

    /// A port as the configuration has it.
    pub fn port(&self, number: u32) -> Option<&PortConfig> {
        self.config.ports.iter().find(|port| port.port == number)
    }

    /// The address that hosts behind a port send to.
    pub fn router_mac(&self, number: u32) -> MacBytes {
        let mac = self.port(number).and_then(|port| port.mac);
        mac.map_or([0x02, 0, 0, 0, 0xff, 0xff], |mac| mac.0)
    }

    /// Where a packet to this destination leaves, and with which addresses: port, source, destination.
    pub fn hop(&self, to: std::net::IpAddr) -> Option<(u32, MacBytes, MacBytes)> {
        let covering = self
            .config
            .routes
            .iter()
            .filter(|route| route.prefix.contains(&to));
        let route = covering.max_by_key(|route| route.prefix.prefix_len())?;
        let port = route.port?;
        let src = route.src_mac.or(self.port(port)?.mac)?;
        Some((port, src.0, route.dst_mac?.0))
    }
}

fn read(path: &Path) -> Result<String, ScenarioError> {
    std::fs::read_to_string(path).map_err(|source| ScenarioError::File {
        path: path.to_owned(),
        source,
    })
}
