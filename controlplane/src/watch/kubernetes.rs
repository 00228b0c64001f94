//! Services, EndpointSlices and Nodes from an API server.
//!
//! In: a kubeconfig or the pod's service account. Out: notices. The watches resume where they were after an
//! interruption; where that is impossible the whole list is fetched again and replaces what was known (`reflect`). Lists
//! come in the encoding that costs the server and this program least (`protobuf`), changes as JSON.
//! Invariant: [`Notice::Synced`] follows the first complete list of every kind (S79).

mod protobuf;
mod reflect;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use reflect::{Event, ReflectError, Selection, reflect};
use serde::de::DeserializeOwned;
use tokio::sync::{self, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Notice;
use super::convert::{self, ConvertError, Converted};
use crate::model;

/// What a proxy may see (S01, S02): an empty name is the default proxy's.
fn served_by(proxy: &str) -> String {
    use crate::model::{HEADLESS, SERVICE_PROXY_NAME};
    match proxy {
        "" => format!("!{SERVICE_PROXY_NAME},!{HEADLESS}"),
        name => format!("{SERVICE_PROXY_NAME}={name},!{HEADLESS}"),
    }
}

/// First and longest wait before a failed watch is tried again. Changes must be caught up with within a second of the
/// API server's return; client-go's 30 s would let a cluster's Services go stale long after that. Jitter, which spreads nodes,
/// adds up to as much again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

fn retry() -> watcher::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(RETRY.0)
        .with_max_delay(RETRY.1)
        .with_jitter()
        .without_max_times()
        .into()
}

/// How the API server is found.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// A kubeconfig file; none: `$KUBECONFIG`, then `~/.kube/config`.
    Kubeconfig(Option<PathBuf>),
    /// The service account of the pod that this runs in.
    InCluster,
}

/// Why there is no API server to talk to.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// The kubeconfig is missing or wrong.
    #[error("cannot use the kubeconfig{}: {source}; check --kubeconfig, or use --in-cluster or --manifests",
        path.as_deref().map(|p| format!(" {}", p.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, if one was named.
        path: Option<PathBuf>,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// Not in a pod, or without a service account.
    #[error(
        "this does not run in a pod with a service account: {0}; use --kubeconfig or --manifests"
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The connection cannot be set up, for instance for want of a valid certificate.
    #[error(
        "cannot set up the connection to the API server: {0}; check the cluster's address and certificates"
    )]
    Client(#[source] kube::Error),
}

/// Makes a client.
///
/// # Errors
/// When the credentials cannot be read. Whether the server answers shows later, in the watches.
pub async fn client(access: &Access) -> Result<Client, KubernetesError> {
    let config = match access {
        Access::InCluster => kube::Config::incluster().map_err(KubernetesError::InCluster)?,
        Access::Kubeconfig(path) => {
            kubeconfig(path.as_deref())
                .await
                .map_err(|source| KubernetesError::Kubeconfig {
                    path: path.clone(),
                    source,
                })?
        }
    };
    Client::try_from(config).map_err(KubernetesError::Client)
}

async fn kubeconfig(path: Option<&Path>) -> Result<kube::Config, kube::config::KubeconfigError> {
    let options = KubeConfigOptions::default();
    match path {
        None => kube::Config::from_kubeconfig(&options).await,
        Some(path) => {
            kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await
        }
    }
}

/// Which Services are watched, and what beside Services, slices and nodes.
#[derive(Clone, Debug)]
pub struct Extras {
    /// Name of the proxy whose Services are watched; empty: the default proxy's.
    pub proxy_name: String,
    /// Whether pods are watched: where a NIC has a port per pod and the CNI says which. May turn to `true` later.
    pub pods: sync::watch::Receiver<bool>,
    /// The node whose pods these are; none: those of all nodes.
    pub node: Option<String>,
}

/// Watches until cancelled. ServiceCIDRs are watched where the API server has them (Kubernetes 1.31 and later).
pub async fn run(
    client: Client,
    mut extras: Extras,
    notices: mpsc::Sender<Notice>,
    cancel: CancellationToken,
) {
    let pods = *extras.pods.borrow_and_update();
    let count = 4 + usize::from(pods);
    let unlisted = Arc::new(AtomicUsize::new(count));
    let mut tasks = JoinSet::new();
    let mut watch = Watch {
        client: &client,
        notices: &notices,
        unlisted: &unlisted,
        tasks: &mut tasks,
    };
    let served = Selection {
        labels: Some(served_by(&extras.proxy_name)),
        fields: None,
    };
    watch.start::<Service>(served.clone());
    watch.start::<EndpointSlice>(served);
    watch.start::<Node>(Selection::default());
    watch.start_ranges();
    let of_pods = Selection {
        labels: None,
        fields: extras.node.map(|node| format!("spec.nodeName={node}")),
    };
    if pods {
        watch.start::<Pod>(of_pods);
    } else {
        let notices = notices.clone();
        tasks.spawn(async move {
            // Whoever might ask for them later may have gone: nobody will.
            if extras.pods.wait_for(|wanted| *wanted).await.is_err() {
                return std::future::pending().await;
            }
            let stream = reflect::<Pod>(&client, of_pods).backoff(retry());
            // No initial list waits for them any more.
            follow(stream, notices, Arc::new(AtomicUsize::new(usize::MAX))).await;
        });
    }
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = tasks.join_next() => {}
    }
}

/// Whether the API server knows ServiceCIDRs; asks until it answers.
async fn has_service_cidrs(client: &Client) -> bool {
    let api = Api::<ServiceCIDR>::all(client.clone());
    loop {
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(_) => return true,
            Err(kube::Error::Api(status)) if status.code == 404 => return false,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::warn!(
                    "ServiceCIDRs may not be read: unassigned cluster IPs are dropped in --service-cidr only"
                );
                return false;
            }
            Err(error) => {
                metrics::counter!("nicproxy_watch_errors_total", "kind" => "ServiceCIDR")
                    .increment(1);
                tracing::warn!(%error, "cannot ask for ServiceCIDRs; trying again");
                tokio::time::sleep(RETRY.1).await;
            }
        }
    }
}

/// What all watches share.
struct Watch<'a> {
    client: &'a Client,
    notices: &'a mpsc::Sender<Notice>,
    unlisted: &'a Arc<AtomicUsize>,
    tasks: &'a mut JoinSet<()>,
}

impl Watch<'_> {
    fn start<K: Watched>(&mut self, wanted: Selection) {
        let stream = reflect::<K>(self.client, wanted).backoff(retry());
        self.tasks
            .spawn(follow(stream, self.notices.clone(), self.unlisted.clone()));
    }

    /// ServiceCIDRs, where there are any.
    fn start_ranges(&mut self) {
        let (client, notices) = (self.client.clone(), self.notices.clone());
        let unlisted = self.unlisted.clone();
        self.tasks.spawn(async move {
            if has_service_cidrs(&client).await {
                let stream = reflect::<ServiceCIDR>(&client, Selection::default());
                return follow(stream.backoff(retry()), notices, unlisted).await;
            }
            // None will ever be listed.
            if listed(&notices, &unlisted).await.is_ok() {
                std::future::pending().await
            }
        });
    }
}

/// One kind of object and its place in the model.
trait Watched:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Its model object.
    type Object: Debug + Send + 'static;
    /// As lists have it.
    type Wire: protobuf::Item<Object = Self> + Send;
    /// For messages.
    const KIND: &'static str;
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError>;
    fn apply(object: Self::Object) -> model::Event;
    fn replace(objects: Vec<Self::Object>) -> model::Event;
    fn delete(object: Self::Object) -> model::Event;
}

impl Watched for Service {
    type Object = model::Service;
    type Wire = protobuf::Service;
    const KIND: &'static str = "Service";
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError> {
        convert::service(self)
    }
    fn apply(object: Self::Object) -> model::Event {
        model::Event::ApplyService(object)
    }
    fn replace(objects: Vec<Self::Object>) -> model::Event {
        model::Event::ReplaceServices(objects)
    }
    fn delete(object: Self::Object) -> model::Event {
        model::Event::DeleteService(object.key)
    }
}

impl Watched for EndpointSlice {
    type Object = model::EndpointSlice;
    type Wire = protobuf::EndpointSlice;
    const KIND: &'static str = "EndpointSlice";
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError> {
        convert::slice(self)
    }
    fn apply(object: Self::Object) -> model::Event {
        model::Event::ApplySlice(object)
    }
    fn replace(objects: Vec<Self::Object>) -> model::Event {
        model::Event::ReplaceSlices(objects)
    }
    fn delete(object: Self::Object) -> model::Event {
        model::Event::DeleteSlice(object.key)
    }
}

impl Watched for Node {
    type Object = model::Node;
    type Wire = protobuf::Node;
    const KIND: &'static str = "Node";
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError> {
        convert::node(self)
    }
    fn apply(object: Self::Object) -> model::Event {
        model::Event::ApplyNode(object)
    }
    fn replace(objects: Vec<Self::Object>) -> model::Event {
        model::Event::ReplaceNodes(objects)
    }
    fn delete(object: Self::Object) -> model::Event {
        model::Event::DeleteNode(object.name)
    }
}

impl Watched for ServiceCIDR {
    type Object = model::ServiceCidr;
    type Wire = protobuf::ServiceCidr;
    const KIND: &'static str = "ServiceCIDR";
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError> {
        convert::service_cidr(self)
    }
    fn apply(object: Self::Object) -> model::Event {
        model::Event::ApplyServiceCidr(object)
    }
    fn replace(objects: Vec<Self::Object>) -> model::Event {
        model::Event::ReplaceServiceCidrs(objects)
    }
    fn delete(object: Self::Object) -> model::Event {
        model::Event::DeleteServiceCidr(object.name)
    }
}

impl Watched for Pod {
    type Object = model::Pod;
    type Wire = protobuf::Pod;
    const KIND: &'static str = "Pod";
    fn convert(&self) -> Result<Converted<Self::Object>, ConvertError> {
        convert::pod(self)
    }
    fn apply(object: Self::Object) -> model::Event {
        model::Event::ApplyPod(object)
    }
    fn replace(objects: Vec<Self::Object>) -> model::Event {
        model::Event::ReplacePods(objects)
    }
    fn delete(object: Self::Object) -> model::Event {
        model::Event::DeletePod(object.key)
    }
}

/// Passes one kind's events on until they or the receiver end.
async fn follow<K, S>(stream: S, notices: mpsc::Sender<Notice>, unlisted: Arc<AtomicUsize>)
where
    K: Watched,
    S: Stream<Item = Result<Event<K>, ReflectError>> + Send,
{
    let mut stream = std::pin::pin!(stream);
    let mut was_listed = false;
    loop {
        let event = match stream.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                metrics::counter!("nicproxy_watch_errors_total", "kind" => K::KIND).increment(1);
                tracing::warn!(kind = K::KIND, %error, "the watch failed; trying again");
                continue;
            }
        };
        let is_list = matches!(event, Event::Listed(_));
        let notice = Notice::Cluster(match event {
            Event::Listed(objects) => K::replace(objects),
            Event::Applied(object) => K::apply(object),
            Event::Deleted(object) => K::delete(object),
        });
        if notices.send(notice).await.is_err() {
            return;
        }
        // Counted only after the list is on its way: whoever is last knows that all of them are.
        let first = is_list && !std::mem::replace(&mut was_listed, true);
        if first && listed(&notices, &unlisted).await.is_err() {
            return;
        }
    }
}

/// One kind is listed; the last one says so.
async fn listed(
    notices: &mpsc::Sender<Notice>,
    unlisted: &AtomicUsize,
) -> Result<(), mpsc::error::SendError<Notice>> {
    match unlisted.fetch_sub(1, Ordering::AcqRel) {
        1 => notices.send(Notice::Synced).await,
        _ => Ok(()),
    }
}

fn read<K: Watched>(object: &K) -> Option<K::Object> {
    match object.convert() {
        Ok(converted) => {
            converted.report(K::KIND);
            Some(converted.object)
        }
        Err(error) => {
            tracing::warn!(kind = K::KIND, %error, "an object is left out");
            None
        }
    }
}
