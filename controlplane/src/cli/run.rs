//! `nicproxy run`: the daemon with its source, its devices and its servers, until SIGTERM or SIGINT.

use std::sync::Arc;

use anyhow::{Context, bail};
use softnic::Running;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch as news};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::args::{RunArgs, Source};
use super::reload::Reload;
use super::{embedded, output};
use crate::config::Config;
use crate::pipeline::{Image, ImageError};
use crate::run::Daemon;
use crate::run::cluster::Cluster;
use crate::run::fleet::Fleet;
use crate::run::link::Link;
use crate::telemetry::counters::DeviceCounters;
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::telemetry::registry::Registry;
use crate::telemetry::roster::{Roster, Shown};
use crate::telemetry::{self, metric, server};
use crate::watch::manifest::ManifestSource;
use crate::watch::{self, Notice, kubernetes};

/// Runs until told to stop.
///
/// # Errors
/// When something that cannot come right by itself is wrong at start: arguments, files, addresses.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut config = args.effective()?;
    if args.print_config {
        return output::write_out(config.to_yaml().trim_end());
    }
    let Some(source) = args.source.source() else {
        bail!("no source of objects; give --manifests PATH, --kubeconfig [FILE] or --in-cluster");
    };
    telemetry::log_to_stderr(args.log_format, telemetry::USUAL);
    tracing::info!("effective configuration:\n{}", config.to_yaml());
    if config.nics.is_some() {
        let stop = stop_signals()?;
        return serve_many(args, config, &source, stop).await;
    }
    let pipeline = config.device.pipeline.clone();
    let image = pipeline.map(|from| tokio::task::spawn_blocking(move || Image::load(&from)));
    let nic = match args.embedded {
        Some(_) => {
            let mut ports = Vec::new();
            for spec in &args.embedded_ports {
                ports.push((spec.id, spec.open()?));
            }
            let nic = embedded::start(&config, args.embedded_listen, ports).await?;
            embedded::attach(&mut config, &nic);
            tracing::info!(address = config.device.address, "the embedded NIC runs");
            Some(nic)
        }
        None => None,
    };
    let stop = stop_signals()?;
    let served = serve(Arc::new(config), &source, image, nic.as_ref(), stop).await;
    if let Some(nic) = nic {
        nic.shutdown().await;
    }
    served
}

/// A program that is being compiled.
type Loading = JoinHandle<Result<Image, ImageError>>;

/// The daemon of one NIC and its servers, until cancelled. The source begins while the program is still compiled.
async fn serve(
    config: Arc<Config>,
    source: &Source,
    image: Option<Loading>,
    nic: Option<&Running>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let health = Arc::new(Health::new(config.sync.sync_period.0));
    let counters = Arc::new(DeviceCounters::new(config.endpoint_metrics));
    let handle = metric::install();
    metric::begin_nic();
    let (notices, heard) = watch::channel();
    let mut tasks = JoinSet::new();
    let pods = news::channel(config.needs_pods()).1;
    let node = Some(config.node_name.clone());
    let wanted = Wanted { pods, node };
    let (_manifests, events) =
        start_source(source, &config, wanted, notices, &stop, &mut tasks).await?;
    let image = match image {
        Some(loading) => Some(loading.await.context("the compiler broke off")??),
        None => None,
    };
    let link =
        Link::start_beside(&config, image, nic).context("cannot use the address of --device")?;
    let (mut daemon, _status) = Daemon::new(&config, link.device.clone(), heard, health.clone());
    let explainer = server::Explainer::new(link.client.clone(), daemon.inquiries());
    let roster = Roster::alone(Shown {
        health,
        registry: Registry::default(),
        device: counters.clone(),
        slow_path: Some(link.slow_path.clone()),
        client: Some(link.client.clone()),
        explainer: Some(Arc::new(explainer)),
    });
    let shown = server::Shown {
        handle,
        roster: Arc::new(roster),
        config: news::channel(config.clone()).1,
    };
    start_servers(&config, shown, &stop).await?;
    tasks.spawn(crate::run::counters::keep_reading(
        link.device.clone(),
        counters,
        stop.clone(),
    ));
    daemon.report_to(events);
    daemon.run(stop.clone()).await;
    let asked = stop.is_cancelled();
    stop.cancel();
    tasks.shutdown().await;
    link.shutdown().await;
    ended(asked)
}

/// The NICs of many nodes and the servers, until cancelled.
async fn serve_many(
    args: RunArgs,
    config: Config,
    source: &Source,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let handle = metric::install();
    let roster = Arc::new(Roster::many());
    let cluster = Arc::new(Cluster::default());
    let mut fleet = Fleet::new(cluster.clone(), roster.clone());
    let config = Arc::new(config);
    let (newest, now) = news::channel(config.clone());
    let shown = server::Shown {
        handle,
        roster,
        config: now,
    };
    start_servers(&config, shown, &stop).await?;
    let (notices, heard) = watch::channel();
    let mut tasks = JoinSet::new();
    let pods = fleet.needs_pods();
    fleet.bring(config.each_nic().unwrap_or_default()).await;
    let wanted = Wanted { pods, node: None };
    let (_manifests, _events) =
        start_source(source, &config, wanted, notices, &stop, &mut tasks).await?;
    let mut reload = Reload::new(args, config);
    let following = cluster.follow(heard, stop.clone());
    let keeping = async {
        loop {
            let config = reload.changed().await;
            fleet.bring(config.each_nic().unwrap_or_default()).await;
            newest.send_replace(config);
        }
    };
    tokio::select! {
        () = following => {}
        () = keeping => {}
    }
    let asked = stop.is_cancelled();
    stop.cancel();
    tasks.shutdown().await;
    fleet.end().await;
    ended(asked)
}

fn ended(asked: bool) -> anyhow::Result<()> {
    if !asked {
        bail!("the source of objects ended; see the log above");
    }
    tracing::info!("stopped; what is in the devices stays");
    Ok(())
}

async fn start_servers(
    config: &Config,
    shown: server::Shown,
    stop: &CancellationToken,
) -> Result<(), server::ServeError> {
    if let Some(address) = config.healthz_bind_address {
        server::probes(address, shown.roster.clone(), stop.clone()).await?;
    }
    if let Some(address) = config.metrics_bind_address {
        server::metrics(address, shown, stop.clone()).await?;
    }
    Ok(())
}

/// What is wanted of a source beside Services, slices and nodes.
struct Wanted {
    pods: news::Receiver<bool>,
    node: Option<String>,
}

async fn start_source(
    source: &Source,
    config: &Config,
    wanted: Wanted,
    notices: mpsc::Sender<Notice>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Option<ManifestSource>, Events)> {
    match source {
        Source::Manifests(path) => {
            let source = ManifestSource::start(path, notices)?;
            Ok((Some(source), Events::default()))
        }
        Source::Kubernetes(access) => {
            let client = kubernetes::client(access).await?;
            let extras = kubernetes::Extras {
                proxy_name: config.proxy_name.clone(),
                pods: wanted.pods,
                node: wanted.node,
            };
            let (events, warnings) = Events::queue();
            tasks.spawn(watch::events::run(
                client.clone(),
                config.node_name.clone(),
                warnings,
                stop.clone(),
            ));
            tasks.spawn(kubernetes::run(client, extras, notices, stop.clone()));
            Ok((None, events))
        }
    }
}

/// A token that SIGTERM and SIGINT cancel.
///
/// # Errors
/// When the system takes no handlers.
pub fn stop_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        }
    });
    Ok(stop)
}
