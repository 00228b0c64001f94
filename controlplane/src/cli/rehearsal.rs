//! A folder of manifests in an embedded NIC, to ask what would become of packets.
//!
//! In: manifests, a configuration, a program. Out: everything programmed as `nicproxy run` would, over the same stages and
//! P4Runtime, on loopback and in this process; no port of the NIC leads anywhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use softnic::Running;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::args::host_name;
use super::embedded;
use crate::config::{Config, PipelineConfig, Program};
use crate::pipeline::Image;
use crate::run::Daemon;
use crate::run::inquiry::Inquiries;
use crate::run::link::Link;
use crate::telemetry::health::Health;
use crate::trace::{Request, Traced, Tracer};
use crate::watch::manifest::ManifestSource;

/// Longest time that programming may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The NIC of a node of which nothing is known: a bump in the wire between the node and the network.
const ASSUMED: &str = "
ports:
  - {port: 1, role: host, peer: 2, mac: 02:00:00:00:00:01}
  - {port: 2, role: network, peer: 1, mac: 02:00:00:00:00:02}
routes:
  - {prefix: 0.0.0.0/0, port: 2, dst_mac: 02:00:00:00:00:fe}
  - {prefix: '::/0', port: 2, dst_mac: 02:00:00:00:00:fe}
node_routes:
  host: {port: 1, dst_mac: 02:00:00:00:00:fd}
  network: {port: 2, dst_mac: 02:00:00:00:00:fe}
";

/// Everything that runs.
pub struct Rehearsal {
    nic: Running,
    link: Link,
    inquiries: Inquiries,
    daemon: JoinHandle<()>,
    stop: CancellationToken,
    _source: ManifestSource,
}

impl Rehearsal {
    /// Starts everything and waits until the manifests are programmed.
    ///
    /// # Errors
    /// When files are wrong, or the NIC cannot take what they ask for.
    pub async fn start(
        manifests: &Path,
        config: Option<&Path>,
        node: Option<&str>,
        program: Program,
    ) -> anyhow::Result<Self> {
        let mut config = match config {
            Some(path) => Config::read(path)?,
            None => Config::parse(ASSUMED, Path::new("the assumed NIC"))?,
        };
        if let Some(node) = node {
            node.clone_into(&mut config.node_name);
        }
        if config.node_name.is_empty() {
            config.node_name = host_name();
        }
        if let Some(mut nics) = config.each_nic() {
            let nodes: Vec<String> = nics.keys().cloned().collect();
            config = nics.remove(&config.node_name).with_context(|| {
                let (node, nodes) = (&config.node_name, nodes.join(", "));
                format!("the configuration has no NIC of node {node}; name one of {nodes} with --node-name")
            })?;
        }
        config.device.pipeline = Some(PipelineConfig::Bundled(program));
        let nic = embedded::start(&config, "127.0.0.1:0".parse()?, Vec::new()).await?;
        embedded::attach(&mut config, &nic);
        config.validate()?;
        let pipeline = config.device.pipeline.clone();
        let image =
            tokio::task::spawn_blocking(move || pipeline.as_ref().map(Image::load).transpose());
        let image = image.await.context("the compiler died")??;
        let link = Link::start_beside(&config, image, Some(&nic))
            .context("cannot reach the embedded NIC")?;
        let (notices, heard) = crate::watch::channel();
        let source = ManifestSource::start(manifests, notices)?;
        let health = Arc::new(Health::new(config.sync.sync_period.0));
        let (daemon, mut status) = Daemon::new(&config, link.device.clone(), heard, health);
        let inquiries = daemon.inquiries();
        let stop = CancellationToken::new();
        let daemon = tokio::spawn(daemon.run(stop.clone()));
        let programmed = status.wait_for(|status| {
            let last = status.last.as_ref();
            status.listed && last.is_some_and(crate::reconcile::Report::is_clean)
        });
        if !matches!(tokio::time::timeout(PATIENCE, programmed).await, Ok(Ok(_))) {
            let last = status.borrow().last.clone();
            bail!("the manifests could not be programmed; last: {last:?}");
        }
        Ok(Self {
            nic,
            link,
            inquiries,
            daemon,
            stop,
            _source: source,
        })
    }

    /// Traces packets.
    ///
    /// # Errors
    /// When the NIC does not answer.
    pub async fn trace(&self, request: &Request) -> anyhow::Result<Vec<Traced>> {
        let tracer = Tracer::new(self.link.client.clone());
        Ok(tracer.trace(request, Some(&self.inquiries)).await?)
    }

    /// Ends everything.
    pub async fn end(self) {
        self.stop.cancel();
        // A daemon that died has said so itself.
        let _ = self.daemon.await;
        self.link.shutdown().await;
        self.nic.shutdown().await;
    }
}
