//! nicproxy's control plane against a target: session, reconciler and slow path, as the daemon has them.
//!
//! In: a cluster as manifests, a configuration, a target. Out: a device that holds what the cluster wants when
//! [`Plane::start`] and [`Plane::change`] return. Dropping a plane ends it as abruptly as the process could end: nothing is
//! written, tasks stop where they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nicproxy::config::Config;
use nicproxy::device::stale::Sweeps;
use nicproxy::device::{Device, DeviceError, Session};
use nicproxy::model::{Changes, Event, Model, Node, ObjectKey, Pod, Service, ServiceCidr};
use nicproxy::pipeline::{EnsureError, Image, ImageError};
use nicproxy::reconcile::{self, Limits, Reconciler, Report};
use nicproxy::slowpath::SlowPath;
use nicproxy::watch::manifest::document::{DocumentError, Object, read_yaml};
use p4runtime::client::{self, Client, ClientError};
use tokio::runtime::Runtime;

use crate::target::Target;

/// How long the device may take to hold what is wanted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// No run time.
    #[error("starting a run time: {0}")]
    Runtime(#[from] std::io::Error),
    /// No session.
    #[error("the session: {0}")]
    Client(#[from] ClientError),
    /// No program.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The device does not take the program.
    #[error(transparent)]
    Ensure(#[from] EnsureError),
    /// Another client is the primary.
    #[error("the session did not become the primary in time")]
    NotPrimary,
    /// The device does not answer.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A manifest with a mistake.
    #[error("a manifest, {0}")]
    Manifest(#[from] DocumentError),
    /// A name that is no object of the cluster.
    #[error(
        "there is no object {0:?}; write Kind/namespace/name, or Kind/name of a Node or ServiceCIDR"
    )]
    NoObject(String),
    /// The device does not hold what is wanted.
    #[error("not programmed in time: {0:?}")]
    NotProgrammed(Box<Report>),
    /// Connections that lead nowhere are still there.
    #[error("connections that lead nowhere were not removed in time")]
    NotSwept,
}

/// The cluster's objects.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    services: BTreeMap<String, Service>,
    slices: BTreeMap<String, nicproxy::model::EndpointSlice>,
    nodes: BTreeMap<String, Node>,
    service_cidrs: BTreeMap<String, ServiceCidr>,
    pods: BTreeMap<String, Pod>,
}

fn name(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

impl Cluster {
    /// Takes the objects of a file; what changed, as a watch would tell.
    ///
    /// # Errors
    /// [`PlaneError::Manifest`] with the line.
    pub fn apply(&mut self, manifests: &str) -> Result<Vec<Event>, PlaneError> {
        let mut events = Vec::new();
        for object in read_yaml(manifests)? {
            events.push(match object {
                Object::Service(service) => {
                    self.services.insert(name(&service.key), service.clone());
                    Event::ApplyService(service)
                }
                Object::Slice(slice) => {
                    self.slices.insert(name(&slice.key), slice.clone());
                    Event::ApplySlice(slice)
                }
                Object::Node(node) => {
                    self.nodes.insert(node.name.to_string(), node.clone());
                    Event::ApplyNode(node)
                }
                Object::ServiceCidr(range) => {
                    self.service_cidrs
                        .insert(range.name.to_string(), range.clone());
                    Event::ApplyServiceCidr(range)
                }
                Object::Pod(pod) => {
                    self.pods.insert(name(&pod.key), pod.clone());
                    Event::ApplyPod(pod)
                }
            });
        }
        Ok(events)
    }

    /// Removes objects, named as `Kind/namespace/name`, or `Kind/name` where there are no namespaces.
    ///
    /// # Errors
    /// [`PlaneError::NoObject`] for one that is not there.
    pub fn delete(&mut self, objects: &[String]) -> Result<Vec<Event>, PlaneError> {
        let gone = |object: &String| PlaneError::NoObject(object.clone());
        let delete = |object: &String| {
            let (kind, key) = object.split_once('/').ok_or_else(|| gone(object))?;
            match kind {
                "Service" => self
                    .services
                    .remove(key)
                    .map(|service| Event::DeleteService(service.key)),
                "EndpointSlice" => self
                    .slices
                    .remove(key)
                    .map(|slice| Event::DeleteSlice(slice.key)),
                "Pod" => self.pods.remove(key).map(|pod| Event::DeletePod(pod.key)),
                "Node" => self
                    .nodes
                    .remove(key)
                    .map(|node| Event::DeleteNode(node.name)),
                "ServiceCIDR" => self
                    .service_cidrs
                    .remove(key)
                    .map(|range| Event::DeleteServiceCidr(range.name)),
                _ => None,
            }
            .ok_or_else(|| gone(object))
        };
        objects.iter().map(delete).collect()
    }

    /// The initial lists.
    pub fn lists(&self) -> [Event; 5] {
        [
            Event::ReplaceNodes(self.nodes.values().cloned().collect()),
            Event::ReplaceServiceCidrs(self.service_cidrs.values().cloned().collect()),
            Event::ReplacePods(self.pods.values().cloned().collect()),
            Event::ReplaceServices(self.services.values().cloned().collect()),
            Event::ReplaceSlices(self.slices.values().cloned().collect()),
        ]
    }
}

/// A running control plane.
pub struct Plane {
    device: Arc<Session>,
    model: Model,
    reconciler: Reconciler,
    first: Report,
    rpcs: usize,
    runtime: Option<Runtime>,
}

impl Plane {
    /// Starts one and waits until the device holds what the cluster wants.
    ///
    /// # Errors
    /// [`PlaneError`] says at which stage it ended.
    pub fn start(
        target: &dyn Target,
        config: &Config,
        cluster: &Cluster,
    ) -> Result<Self, PlaneError> {
        let mut model = Model::new();
        let mut changes = Changes::default();
        for event in cluster.lists() {
            changes.merge(model.apply(event));
        }
        Self::with_model(target, config, model, &changes)
    }

    /// As [`Plane::start`], with a model that was filled already.
    ///
    /// # Errors
    /// As [`Plane::start`].
    pub fn with_model(
        target: &dyn Target,
        config: &Config,
        model: Model,
        changes: &Changes,
    ) -> Result<Self, PlaneError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let image = Image::load(target.pipeline())?;
        let settings = client::Config {
            device_id: target.device_id(),
            ..client::Config::new(target.address())
        };
        let (device, reconciler) = runtime.block_on(async {
            let (client, notifications) = Client::start(settings)?;
            if !client.wait_primary(PATIENCE).await {
                return Err(PlaneError::NotPrimary);
            }
            nicproxy::pipeline::ensure(&client, Some(&image)).await?;
            let device = Arc::new(Session::new(target.name(), client.clone()));
            let bounds = config.slow_path_bounds();
            let slow_path = SlowPath::new(device.clone(), Arc::new(client), bounds);
            tokio::spawn(slow_path.run(notifications.packets, notifications.idle));
            let settings = reconcile::Config {
                view: config.viewpoint(),
                wiring: config.wiring(),
                limits: Limits::default(),
            };
            Ok((device.clone(), Reconciler::new(device, settings)))
        })?;
        let mut plane = Self {
            device,
            model,
            reconciler,
            first: Report::new(reconcile::Outcome::NotConnected),
            rpcs: 0,
            runtime: Some(runtime),
        };
        plane.first = plane.sync(changes)?;
        Ok(plane)
    }

    /// Takes what changed, and waits until the device holds it.
    ///
    /// # Errors
    /// [`PlaneError::NotProgrammed`] with the last report.
    pub fn change(&mut self, events: Vec<Event>) -> Result<Report, PlaneError> {
        let mut changes = Changes::default();
        for event in events {
            changes.merge(self.model.apply(event));
        }
        self.sync(&changes)
    }

    /// Weighs endpoints by the device's open connections, where a Service asks for it; whether that changed anything.
    ///
    /// # Errors
    /// [`PlaneError::Device`] where the device does not say, else as [`Plane::change`].
    pub fn balance(&mut self) -> Result<bool, PlaneError> {
        let Some(runtime) = &self.runtime else {
            return Err(PlaneError::NotPrimary);
        };
        let changes = runtime.block_on(self.reconciler.balance())?;
        self.sync(&Changes::default())?;
        Ok(changes)
    }

    /// Waits until connections and pins that lead nowhere are gone from the device (S63).
    ///
    /// # Errors
    /// [`PlaneError::NotSwept`].
    pub fn swept(&self) -> Result<(), PlaneError> {
        let deadline = Instant::now() + PATIENCE;
        let idle = || self.device.sweeps().is_none_or(Sweeps::is_idle);
        while !idle() {
            if Instant::now() >= deadline {
                return Err(PlaneError::NotSwept);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// What the first synchronisation did.
    pub fn first(&self) -> &Report {
        &self.first
    }

    /// Updates that the device took in the first synchronisation.
    pub fn writes(&self) -> usize {
        self.first.writes()
    }

    /// Write calls so far.
    pub fn rpcs(&self) -> usize {
        self.rpcs
    }

    fn sync(&mut self, changes: &Changes) -> Result<Report, PlaneError> {
        let Some(runtime) = &self.runtime else {
            return Err(PlaneError::NotPrimary);
        };
        let deadline = Instant::now() + PATIENCE;
        let nothing = Changes::default();
        let mut next = changes;
        loop {
            let report = runtime.block_on(self.reconciler.sync(&self.model, next));
            self.rpcs += report.rpcs;
            if report.is_clean() {
                return Ok(report);
            }
            if Instant::now() >= deadline {
                return Err(PlaneError::NotProgrammed(Box::new(report)));
            }
            next = &nothing;
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
