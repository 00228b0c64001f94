//! The NICs of many nodes, as the configuration names them.
//!
//! In: the settings of each NIC, again whenever they change; the cluster. Out: a [`Link`] and a [`Nic`] for each, and its
//! place in the [`Roster`]. Invariant: a NIC whose settings stay is not touched when another one comes, goes or changes; who
//! leaves writes nothing, so its traffic goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::link::Link;
use super::nic::{Nic, Place};
use super::{Status, counters, standby};
use crate::config::{Config, PipelineConfig};
use crate::pipeline::{Draft, Image, ImageError};
use crate::telemetry::counters::DeviceCounters;
use crate::telemetry::health::Health;
use crate::telemetry::registry::Registry;
use crate::telemetry::roster::{Roster, Shown};
use crate::telemetry::server::Explainer;

/// Wait after a NIC could not be begun with.
const RETRY: Duration = Duration::from_secs(5);

/// All of them.
pub struct Fleet {
    cluster: Arc<Cluster>,
    roster: Arc<Roster>,
    images: Arc<Images>,
    /// Some NIC has to know of pods.
    pods: watch::Sender<bool>,
    members: BTreeMap<String, Member>,
}

/// One of them.
struct Member {
    config: Config,
    stop: CancellationToken,
    task: JoinHandle<()>,
    status: watch::Sender<Option<watch::Receiver<Status>>>,
}

impl Fleet {
    /// No NIC yet.
    pub fn new(cluster: Arc<Cluster>, roster: Arc<Roster>) -> Self {
        Self {
            cluster,
            roster,
            images: Arc::default(),
            pods: watch::Sender::new(false),
            members: BTreeMap::new(),
        }
    }

    /// Whether pods have to be watched; never turns back.
    pub fn needs_pods(&self) -> watch::Receiver<bool> {
        self.pods.subscribe()
    }

    /// Brings the NICs to what is wanted: some leave, some come, those whose settings changed begin anew.
    pub async fn bring(&mut self, wanted: BTreeMap<String, Config>) {
        let leaves = |node: &String, member: &mut Member| wanted.get(node) != Some(&member.config);
        let left: Vec<(String, Member)> = self.members.extract_if(.., leaves).collect();
        for (_, member) in &left {
            member.stop.cancel();
        }
        for (node, member) in left {
            // One that died has said so itself.
            let _ = member.task.await;
            tracing::info!(node, "the NIC is left as it is");
        }
        if wanted.values().any(Config::needs_pods) {
            self.pods.send_replace(true);
        }
        for (node, config) in wanted {
            if !self.members.contains_key(&node) {
                tracing::info!(node, device = config.device.address, "a NIC is taken on");
                let member = self.join(&node, config);
                self.members.insert(node, member);
            }
        }
    }

    fn join(&self, node: &str, config: Config) -> Member {
        let stop = CancellationToken::new();
        let status = watch::Sender::new(None);
        let work = Work {
            node: node.to_owned(),
            config: config.clone(),
            cluster: self.cluster.clone(),
            roster: self.roster.clone(),
            images: self.images.clone(),
            status: status.clone(),
            registry: Registry::of_nic(),
        };
        let task = tokio::spawn({
            let stop = stop.clone();
            async move {
                let registry = work.registry.clone();
                registry.scope(work.run(stop)).await;
            }
        });
        Member {
            config,
            stop,
            task,
            status,
        }
    }

    /// How far a node's NIC is; `None` if there is none, or if it has not begun.
    pub fn status(&self, node: &str) -> Option<watch::Receiver<Status>> {
        self.members.get(node)?.status.borrow().clone()
    }

    /// Leaves them all.
    pub async fn end(mut self) {
        self.bring(BTreeMap::new()).await;
    }
}

/// What keeps one NIC.
struct Work {
    node: String,
    config: Config,
    cluster: Arc<Cluster>,
    roster: Arc<Roster>,
    images: Arc<Images>,
    status: watch::Sender<Option<watch::Receiver<Status>>>,
    registry: Registry,
}

impl Work {
    async fn run(self, stop: CancellationToken) {
        let begun = tokio::select! {
            () = stop.cancelled() => return,
            begun = self.link() => begun,
        };
        let health = Arc::new(Health::new(self.config.sync.sync_period.0));
        let device = Arc::new(DeviceCounters::new(self.config.endpoint_metrics));
        let (nic, status) = Nic::new(
            &self.config,
            Place::Anywhere,
            self.cluster.clone(),
            begun.device.clone(),
            health.clone(),
        );
        let explainer = Explainer::new(begun.client.clone(), nic.inquiries());
        let shown = Shown {
            health: health.clone(),
            registry: self.registry.clone(),
            device: device.clone(),
            slow_path: Some(begun.slow_path.clone()),
            client: Some(begun.client.clone()),
            explainer: Some(Arc::new(explainer)),
        };
        self.roster.join(&self.node, shown);
        self.status.send_replace(Some(status));
        let mut tasks = JoinSet::new();
        tasks.spawn(counters::keep_reading(
            begun.device.clone(),
            device,
            stop.clone(),
        ));
        let first = self.config.device.election_id;
        tasks.spawn(standby::follow(begun.client.clone(), first, health));
        nic.run(stop).await;
        self.roster.leave(&self.node);
        tasks.shutdown().await;
        begun.shutdown().await;
    }

    /// The session, as soon as there is a program for it.
    async fn link(&self) -> Link {
        loop {
            match self.images.load(self.config.device.pipeline.clone()).await {
                Ok(image) => match Link::start(&self.config, image) {
                    Ok(link) => return link,
                    Err(error) => {
                        tracing::error!(node = self.node, "cannot use the device: {error}");
                    }
                },
                Err(error) => tracing::error!(node = self.node, "{error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Programs, each compiled once however many NICs run it, and again when its files have changed.
#[derive(Default)]
struct Images(Mutex<Vec<(Draft, Image)>>);

impl Images {
    async fn load(
        self: &Arc<Self>,
        wanted: Option<PipelineConfig>,
    ) -> Result<Option<Image>, ImageError> {
        let Some(wanted) = wanted else {
            return Ok(None);
        };
        let images = self.clone();
        let loaded = tokio::task::spawn_blocking(move || images.load_now(&wanted));
        match loaded.await {
            Ok(loaded) => loaded.map(Some),
            // The process is ending.
            Err(_) => std::future::pending().await,
        }
    }

    fn load_now(&self, wanted: &PipelineConfig) -> Result<Image, ImageError> {
        let draft = Draft::read(wanted)?;
        let mut images = self.0.lock();
        if let Some((_, image)) = images.iter().find(|(known, _)| *known == draft) {
            return Ok(image.clone());
        }
        let image = draft.clone().compile()?;
        // What the same files held before is of no use any more.
        images.retain(|(known, _)| known.name() != draft.name());
        images.push((draft, image.clone()));
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Program;

    #[test]
    fn a_program_is_compiled_once_and_again_when_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("main.p4");
        let sources = crate::pipeline::sources(Program::Pna).bundle;
        for (name, text) in &sources.files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let main = sources.files.get(&sources.main).unwrap();
        std::fs::write(&path, main).unwrap();
        let images = Images::default();
        let wanted = PipelineConfig::Source(path.clone());
        let first = images.load_now(&wanted).unwrap();
        let bundled = images
            .load_now(&PipelineConfig::Bundled(Program::Pna))
            .unwrap();
        assert_eq!(images.load_now(&wanted).unwrap().cookie, first.cookie);
        assert_eq!(images.0.lock().len(), 2);

        std::fs::write(&path, format!("{main}\n// A new version.\n")).unwrap();
        let second = images.load_now(&wanted).unwrap();
        assert_ne!(second.cookie, first.cookie);
        assert_eq!(images.0.lock().len(), 2);
        let again = images
            .load_now(&PipelineConfig::Bundled(Program::Pna))
            .unwrap();
        assert_eq!(again.cookie, bundled.cookie);
        std::fs::write(&path, "this is no program").unwrap();
        assert!(images.load_now(&wanted).is_err());
    }

    #[tokio::test]
    async fn pods_are_wanted_once_a_nic_joins_that_finds_ports_by_device() {
        let mut fleet = Fleet::new(Arc::new(Cluster::default()), Arc::new(Roster::many()));
        let mut pods = fleet.needs_pods();
        let nics = |vports: &str| {
            let text = format!(
                "nics:\n  a:\n    device: {{address: 'http://127.0.0.1:9'}}\n    \
                 ports: [{{port: 1, role: host, mac: 02:00:00:00:00:01}}]\n{vports}"
            );
            let path = std::path::Path::new("many.yaml");
            Config::parse(&text, path).unwrap().each_nic().unwrap()
        };
        fleet.bring(nics("")).await;
        assert!(!*pods.borrow_and_update());
        fleet
            .bring(nics("    vports: [{device: '0000:18:02.5', port: 1}]\n"))
            .await;
        assert!(pods.has_changed().unwrap() && *pods.borrow_and_update());
        // It may come back: they stay watched.
        fleet.bring(nics("")).await;
        assert!(*pods.borrow());
        fleet.end().await;
    }
}
