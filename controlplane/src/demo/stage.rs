//! What the demo plays on: a NIC, a folder of manifests, and the daemon between them.
//!
//! In: the demo's arguments. Out: everything running and programmed. Invariant: whatever is programmed went through the
//! folder, the watch, the stages and P4Runtime, as in a deployment; nothing is written behind their backs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use p4runtime::proto::p4::v1 as proto;
use softnic::Running;
use softnic::port::{Port, memory};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plan::Promise;
use super::traffic::{HOST, NETWORK, Sides};
use super::{DemoArgs, shop};
use crate::cli::embedded;
use crate::config::{Config, PipelineConfig};
use crate::device::Device;
use crate::pipeline::Image;
use crate::run::Daemon;
use crate::run::link::Link;
use crate::slowpath;
use crate::tables::{Table, Tables};
use crate::telemetry::health::Health;
use crate::watch::manifest::ManifestSource;

/// Longest time that programming may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the device is asked whether it is programmed.
const LOOK: Duration = Duration::from_millis(3);
/// Packets that may wait at each side.
const QUEUE: usize = 8192;

/// Everything that runs.
pub struct Stage {
    /// The two sides of the NIC, while traffic does not have them.
    pub sides: Option<Sides>,
    /// The configuration that the daemon runs with.
    pub config: Config,
    nic: Option<Running>,
    link: Link,
    _source: ManifestSource,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    daemon: JoinHandle<()>,
}

impl Stage {
    /// Starts everything and waits until the shop is programmed.
    ///
    /// # Errors
    /// When a part does not start, or the device is not programmed in time.
    pub async fn set(args: &DemoArgs) -> anyhow::Result<Self> {
        let mut config = shop::config().context("the bundled configuration")?;
        config.sync.burst = 8;
        config.device.pipeline = Some(PipelineConfig::Bundled(args.program));
        if let (Some(p4info), Some(device_config)) = (&args.p4info, &args.device_config) {
            let (p4info, device_config) = (p4info.clone(), device_config.clone());
            config.device.pipeline = Some(PipelineConfig::Compiled {
                p4info,
                device_config,
            });
        }
        let (sides, nic) = match &args.target {
            Some(target) => {
                config.device.address.clone_from(&target.0);
                (external(args)?, None)
            }
            None => {
                let (sides, nic) = embedded_nic(&config, args.listen).await?;
                embedded::attach(&mut config, &nic);
                (sides, Some(nic))
            }
        };
        config.validate()?;
        let pipeline = config.device.pipeline.clone();
        let image =
            tokio::task::spawn_blocking(move || pipeline.as_ref().map(Image::load).transpose());
        let image = image.await.context("the compiler died")??;
        let folder = tempfile::tempdir().context("cannot make a folder for the manifests")?;
        shop::write(folder.path()).context("cannot write the manifests")?;
        let link = Link::start(&config, image).context("cannot use the address of --target")?;
        let (notices, heard) = crate::watch::channel();
        let source = ManifestSource::start(folder.path(), notices)?;
        let health = Arc::new(Health::new(config.sync.sync_period.0));
        let (daemon, mut status) = Daemon::new(&config, link.device.clone(), heard, health);
        let stop = CancellationToken::new();
        let daemon = tokio::spawn(daemon.run(stop.clone()));
        let programmed = status
            .wait_for(|status| status.listed && status.last.as_ref().is_some_and(|r| r.is_clean()));
        if tokio::time::timeout(PATIENCE, programmed).await.is_err() {
            let last = status.borrow().last.clone();
            bail!(
                "{} was not programmed within {PATIENCE:?}; last: {last:?}",
                config.device.address
            );
        }
        Ok(Self {
            sides: Some(sides),
            config,
            nic,
            link,
            _source: source,
            folder,
            stop,
            daemon,
        })
    }

    /// Where the device is.
    pub fn address(&self) -> String {
        self.config.device.address.clone()
    }

    /// The folder of manifests.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the slow path did.
    pub fn slow_path(&self) -> slowpath::Snapshot {
        self.link.slow_path.snapshot()
    }

    /// Edits the manifests and waits until the device serves what they promise now.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn scale(&self, promises: &[Promise]) -> anyhow::Result<()> {
        shop::scale(self.folder.path()).context("cannot edit the manifests")?;
        let wanted: BTreeSet<SocketAddr> = promises
            .iter()
            .filter(|p| super::report::is_scaled(p))
            .flat_map(|p| p.shares.keys().copied())
            .collect();
        let wait = async {
            while !self.serves(&wanted).await? {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(done) => done,
            Err(_) => bail!("the scaled Service was not programmed within {PATIENCE:?}"),
        }
    }

    /// Whether the scaled Service's sets hold exactly these endpoints.
    async fn serves(&self, wanted: &BTreeSet<SocketAddr>) -> anyhow::Result<bool> {
        let device = &*self.link.device;
        let Some(schema) = device.schema() else {
            return Ok(false);
        };
        let tables = Tables::resolve(&schema)?;
        let owner = format!("/{}:", shop::SCALED_SERVICE);
        let mut sets = BTreeSet::new();
        for entry in read(device, tables.frontend.id()).await? {
            if String::from_utf8_lossy(&entry.metadata).contains(&owner)
                && let Some((_, action)) = tables.frontend.decode(&entry)
            {
                sets.extend(action.sets().into_iter().flatten().map(|(set, _)| set));
            }
        }
        let mut found = BTreeSet::new();
        for entry in read(device, tables.endpoint.id()).await? {
            if let Some((key, target)) = tables.endpoint.decode(&entry)
                && sets.contains(&key.set_id)
            {
                found.insert(SocketAddr::new(target.address.ip(), target.port));
            }
        }
        Ok(found == *wanted)
    }

    /// Stops everything.
    pub async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.daemon.await {
            tracing::error!(%error, "the daemon died");
        }
        self.link.shutdown().await;
        drop(self.sides);
        if let Some(nic) = self.nic {
            nic.shutdown().await;
        }
    }
}

async fn read(device: &dyn Device, table_id: u32) -> anyhow::Result<Vec<proto::TableEntry>> {
    let query = proto::TableEntry {
        table_id,
        ..Default::default()
    };
    let mut answers = device.read(vec![p4runtime::client::entry_entity(query)]);
    let mut entries = Vec::new();
    while let Some(part) = answers.next().await {
        entries.extend(part?.into_iter().filter_map(|entity| match entity.entity {
            Some(proto::entity::Entity::TableEntry(entry)) => Some(entry),
            _ => None,
        }));
    }
    Ok(entries)
}

async fn embedded_nic(config: &Config, listen: SocketAddr) -> anyhow::Result<(Sides, Running)> {
    let (host, clients) = memory::pair("host", QUEUE);
    let (network, endpoints) = memory::pair("network", QUEUE);
    let ports: Vec<(u32, Box<dyn Port>)> =
        vec![(HOST, Box::new(host)), (NETWORK, Box::new(network))];
    let nic = embedded::start(config, listen, ports).await?;
    Ok((
        Sides {
            host: Box::new(clients),
            network: Box::new(endpoints),
        },
        nic,
    ))
}

#[cfg(target_os = "linux")]
fn external(args: &DemoArgs) -> anyhow::Result<Sides> {
    let side = |number: u32| -> anyhow::Result<Box<dyn Port>> {
        let found = args.target_ports.iter().find(|port| port.number == number);
        let port = found.with_context(|| {
            format!("port {number} is missing; give --target-port {number}=IFACE")
        })?;
        Ok(Box::new(softnic::port::packet::PacketPort::open(
            &port.interface,
        )?))
    };
    Ok(Sides {
        host: side(HOST)?,
        network: side(NETWORK)?,
    })
}

#[cfg(not(target_os = "linux"))]
fn external(_: &DemoArgs) -> anyhow::Result<Sides> {
    bail!("--target needs packet sockets, which only Linux has")
}
