//! Times and sizes at the scale of a large cluster. Run with `--release -- --ignored --nocapture scale`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::Schema;
use p4runtime::wire::Updates;

use super::*;
use crate::device::{Device, DeviceError, UpdateResult};
use crate::model::sample::{cluster, service, slice};
use crate::model::{EndpointSlice, Service};

const SERVICES: usize = 10_000;
const ENDPOINTS: usize = 25;

/// Takes everything: what remains is the work of this side, the encoding included.
struct Sink(Arc<Simulated>);

#[async_trait]
impl Device for Sink {
    fn name(&self) -> &str {
        "sink"
    }

    fn session(&self) -> Option<u64> {
        Some(1)
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        self.0.schema()
    }

    async fn write(&self, updates: Vec<proto::Update>) -> Result<Vec<UpdateResult>, DeviceError> {
        self.write_batch(updates.as_slice().into()).await
    }

    async fn write_batch(&self, updates: Updates) -> Result<Vec<UpdateResult>, DeviceError> {
        let (bytes, count) = (updates.bytes(), updates.len());
        assert!(
            bytes < 3 << 20,
            "{bytes} bytes in a call of {count} updates"
        );
        Ok(vec![Ok(()); count])
    }

    fn read(
        &self,
        _: Vec<proto::Entity>,
    ) -> BoxStream<'static, Result<Vec<proto::Entity>, DeviceError>> {
        stream::empty().boxed()
    }
}

fn objects() -> (Vec<Service>, Vec<EndpointSlice>) {
    let mut services = Vec::new();
    let mut slices = Vec::new();
    for n in 0..SERVICES {
        let name = format!("s{n}");
        services.push(service(
            &name,
            &[&format!("10.96.{}.{}", n / 250, n % 250 + 1)],
        ));
        let pods = (0..ENDPOINTS).map(|e| {
            let pod = n * ENDPOINTS + e;
            format!(
                "10.{}.{}.{}",
                100 + pod / 65_536,
                pod / 256 % 256,
                pod % 256
            )
        });
        let pods: Vec<String> = pods.collect();
        let pods: Vec<&str> = pods.iter().map(String::as_str).collect();
        slices.push(slice(&name, "a", &pods));
    }
    (services, slices)
}

/// Resident memory of this process, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.unwrap_or(0) / 1024
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: worth its time in release only"]
async fn scale() {
    let (services, slices) = objects();
    let start = resident();
    let mut model = cluster(services, slices);
    let with_model = resident();
    let device = Arc::new(Sink(Simulated::new()));
    let mut reconciler = Reconciler::new(device, config());
    let report = reconciler.sync(&model, &Changes::default()).await;
    let first = report.duration;
    println!(
        "{} writes in {} calls, {first:?}; {start} MB at start, {with_model} MB with the model, {} MB after",
        report.writes(),
        report.rpcs,
        resident()
    );
    assert_eq!(reconciler.desired().slots(), SERVICES * 256);
    let mut slowest = Duration::ZERO;
    for n in 0..100 {
        let changed = slice(&format!("s{n}"), "a", &["10.200.0.1", "10.200.0.2"]);
        let started = Instant::now();
        let changes = model.apply(Event::ApplySlice(changed));
        let report = reconciler.sync(&model, &changes).await;
        assert!(report.is_clean());
        slowest = slowest.max(started.elapsed());
    }
    println!("one change of {ENDPOINTS} endpoints to 2: {slowest:?} at worst");
    reconciler.configure(config());
    let report = reconciler.sync(&model, &Changes::default()).await;
    println!(
        "all worked out again and compared: {:?}, {} writes",
        report.duration,
        report.writes()
    );
}
