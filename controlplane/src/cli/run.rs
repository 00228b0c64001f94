//! `nicproxy run`: the daemon with its source, its device and its servers, until SIGTERM or SIGINT.

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::args::{RunArgs, Source};
use super::{embedded, output};
use crate::config::Config;
use crate::pipeline::Image;
use crate::run::Daemon;
use crate::run::link::Link;
use crate::telemetry::counters::DeviceCounters;
use crate::telemetry::events::Events;
use crate::telemetry::health::Health;
use crate::telemetry::{self, metric, server};
use crate::watch::manifest::ManifestSource;
use crate::watch::{self, Notice, kubernetes};

/// Runs until told to stop.
///
/// # Errors
/// When something that cannot come right by itself is wrong at start: arguments, files, addresses.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let config = args.effective()?;
    if args.print_config {
        return output::write_out(config.to_yaml().trim_end());
    }
    let Some(source) = args.source.source() else {
        bail!("no source of objects; give --manifests PATH, --kubeconfig [FILE] or --in-cluster");
    };
    telemetry::log_to_stderr(args.log_format, "info");
    tracing::info!("effective configuration:\n{}", config.to_yaml());
    let image = config
        .device
        .pipeline
        .as_ref()
        .map(Image::load)
        .transpose()?;
    let nic = match args.embedded {
        Some(_) => {
            let mut ports = Vec::new();
            for spec in &args.embedded_ports {
                ports.push((spec.id, spec.open()?));
            }
            Some(embedded::start(&config, args.embedded_listen, ports).await?)
        }
        None => None,
    };
    let stop = stop_signals()?;
    let served = serve(Arc::new(config), &source, image, stop).await;
    if let Some(nic) = nic {
        nic.shutdown().await;
    }
    served
}

/// The daemon and its servers, until cancelled.
async fn serve(
    config: Arc<Config>,
    source: &Source,
    image: Option<Image>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let health = Arc::new(Health::new(config.sync.sync_period.0));
    let counters = Arc::new(DeviceCounters::new(config.endpoint_metrics));
    let handle = metric::install();
    if let Some(address) = config.healthz_bind_address {
        server::probes(address, health.clone(), stop.clone()).await?;
    }
    let link = Link::start(&config, image).context("cannot use the address of --device")?;
    let (notices, heard) = watch::channel();
    let (mut daemon, _status) = Daemon::new(&config, link.device.clone(), heard, health.clone());
    if let Some(address) = config.metrics_bind_address {
        let shown = server::Shown {
            handle,
            device: counters.clone(),
            slow_path: Some(link.slow_path.clone()),
            client: Some(link.client.clone()),
            health,
            config: config.clone(),
            explainer: Some(Arc::new(server::Explainer::new(
                link.client.clone(),
                daemon.inquiries(),
            ))),
        };
        server::metrics(address, shown, stop.clone()).await?;
    }
    let mut tasks = JoinSet::new();
    let (_manifests, events) = start_source(source, &config, notices, &stop, &mut tasks).await?;
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
    if !asked {
        bail!("the source of objects ended; see the log above");
    }
    tracing::info!("stopped; the device keeps its entries");
    Ok(())
}

async fn start_source(
    source: &Source,
    config: &Config,
    notices: mpsc::Sender<Notice>,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<(Option<ManifestSource>, Events)> {
    let node: Arc<str> = config.node_name.as_str().into();
    match source {
        Source::Manifests(path) => {
            let source = ManifestSource::start(path, node, notices)?;
            Ok((Some(source), Events::default()))
        }
        Source::Kubernetes(access) => {
            let client = kubernetes::client(access).await?;
            let extras = kubernetes::Extras {
                proxy_name: config.proxy_name.clone(),
                pods: config.needs_pods(),
            };
            let (events, warnings) = Events::queue();
            tasks.spawn(watch::events::run(
                client.clone(),
                config.node_name.clone(),
                warnings,
                stop.clone(),
            ));
            tasks.spawn(kubernetes::run(client, node, extras, notices, stop.clone()));
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
