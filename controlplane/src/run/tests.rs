//! The daemon on a folder of manifests and an embedded NIC, over real P4Runtime.

mod central;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use softnic::{Running, SoftNic};
use tokio::task::JoinHandle;

use super::link::Link;
use super::*;
use crate::cli::args::{DeviceArgs, Endpoint};
use crate::cli::get::{self, Wanted};
use crate::cli::reader::Reader;
use crate::config::{PipelineConfig, Program, SLOW_PATH_PORT};
use crate::demo::shop;
use crate::pipeline::Image;
use crate::watch::manifest::ManifestSource;

const DEADLINE: Duration = Duration::from_secs(60);

struct Playing {
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    link: Link,
    _source: ManifestSource,
}

async fn nic() -> Running {
    let builder = SoftNic::builder().cpu_port(SLOW_PATH_PORT);
    builder.serve("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

fn config(nic: &Running) -> Config {
    let mut config = shop::config().unwrap();
    config.device.address = format!("http://{}", nic.address());
    config.device.pipeline = Some(PipelineConfig::Bundled(Program::Pna));
    config
}

async fn start(config: &Config, image: &Image, folder: &Path) -> Playing {
    let link = Link::start(config, Some(image.clone())).unwrap();
    let (notices, heard) = crate::watch::channel();
    let source = ManifestSource::start(folder, notices).unwrap();
    let health = Arc::new(Health::new(config.sync.sync_period.0));
    let (daemon, status) = Daemon::new(config, link.device.clone(), heard, health);
    let stop = CancellationToken::new();
    let task = tokio::spawn(daemon.run(stop.clone()));
    let mut running = Playing {
        status,
        stop,
        task,
        link,
        _source: source,
    };
    running
        .until(|status| status.last.as_ref().is_some_and(Report::is_clean))
        .await;
    running
}

impl Playing {
    async fn until(&mut self, fits: impl Fn(&Status) -> bool) -> Status {
        let found =
            tokio::time::timeout(DEADLINE, self.status.wait_for(|status| fits(status))).await;
        found.expect("in time").expect("running").clone()
    }

    /// The report of the first synchronisation that writes after `change` and is done.
    async fn after(&mut self, change: impl FnOnce()) -> Report {
        let before = self.status.borrow_and_update().last.clone();
        change();
        loop {
            tokio::time::timeout(DEADLINE, self.status.changed())
                .await
                .expect("in time")
                .expect("running");
            let last = self.status.borrow_and_update().last.clone();
            if let Some(report) = last.filter(|report| {
                report.is_clean()
                    && report.writes() > 0
                    && !report.full
                    && Some(report) != before.as_ref()
            }) {
                return report;
            }
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.link.shutdown().await;
    }
}

async fn reader(nic: &Running) -> Reader {
    let device = Some(Endpoint(format!("http://{}", nic.address())));
    Reader::open(&DeviceArgs {
        device,
        ..DeviceArgs::default()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_become_tables_and_a_restart_writes_nothing() {
    let nic = nic().await;
    let config = config(&nic);
    let image = Image::load(config.device.pipeline.as_ref().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shop::write(folder.path()).unwrap();
    let mut daemon = start(&config, &image, folder.path()).await;

    let reader = reader(&nic).await;
    let rows = get::services(&reader, Wanted(None)).await.unwrap();
    let promised: BTreeSet<_> = shop::objects()
        .unwrap()
        .promises()
        .iter()
        .map(|p| (p.service.to_string(), p.vip, p.shares.len()))
        .collect();
    let programmed: BTreeSet<_> = rows
        .iter()
        .map(|row| {
            (
                format!("{}/{}", row.namespace, row.name),
                (row.vip, row.port).into(),
                row.endpoints,
            )
        })
        .collect();
    assert_eq!(programmed, promised);
    let search = get::endpoints(&reader, Wanted(Some("shop/search")))
        .await
        .unwrap();
    assert_eq!(search.iter().map(|row| row.share).fold(0.0, f64::max), 0.5);
    assert_eq!(
        get::services(&reader, Wanted(Some("database")))
            .await
            .unwrap(),
        []
    );

    // Only what changed is written.
    let report = daemon.after(|| shop::scale(folder.path()).unwrap()).await;
    assert_eq!(report.services, 1, "{report:?}");
    let cart = get::endpoints(&reader, Wanted(Some("cart"))).await.unwrap();
    assert_eq!(cart.len(), 12, "six of each family");
    let report = daemon
        .after(|| fs::remove_file(folder.path().join("inventory.yaml")).unwrap())
        .await;
    assert_eq!(report.inserts, 0, "{report:?}");
    assert_eq!(
        get::services(&reader, Wanted(Some("inventory")))
            .await
            .unwrap(),
        []
    );
    daemon.end().await;

    // Nothing of it is lost when the daemon ends, and nothing has to be written when it comes back.
    let mut daemon = start(&config, &image, folder.path()).await;
    let last = daemon
        .until(|status| status.last.is_some())
        .await
        .last
        .unwrap();
    assert_eq!((last.writes(), last.full), (0, true), "{last:?}");
    daemon.end().await;

    // What went away meanwhile is removed.
    fs::remove_file(folder.path().join("search.yaml")).unwrap();
    let daemon = start(&config, &image, folder.path()).await;
    assert_eq!(
        get::services(&reader, Wanted(Some("search")))
            .await
            .unwrap(),
        []
    );
    daemon.end().await;
    nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_starts_anew_is_programmed_anew() {
    let first = nic().await;
    let address = first.address();
    let config = config(&first);
    let image = Image::load(config.device.pipeline.as_ref().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shop::write(folder.path()).unwrap();
    let mut daemon = start(&config, &image, folder.path()).await;
    first.shutdown().await;
    daemon
        .until(|status| status.last.as_ref().is_some_and(|last| !last.is_clean()) || status.listed)
        .await;
    let second = SoftNic::builder()
        .cpu_port(SLOW_PATH_PORT)
        .serve(address)
        .await
        .unwrap();
    let written = |status: &Status| {
        status
            .last
            .as_ref()
            .is_some_and(|last| last.is_clean() && last.full && last.inserts > 0)
    };
    // The first synchronisation was such a one too: wait for another.
    daemon.status.mark_unchanged();
    tokio::time::timeout(DEADLINE, daemon.status.changed())
        .await
        .expect("in time")
        .unwrap();
    daemon.until(written).await;
    let reader = reader(&second).await;
    let complete = async {
        while get::services(&reader, Wanted(None)).await.unwrap().len()
            < shop::objects().unwrap().promises().len()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, complete)
        .await
        .expect("in time");
    daemon.end().await;
    second.shutdown().await;
}

mod observed;
