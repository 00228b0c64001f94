//! Metrics that the daemon counts itself.
//!
//! In: reports of the reconciler. Out: Prometheus metrics: kube-proxy's where the meaning is the same (S85, S86), and
//! `nicproxy_*`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::reconcile::{Outcome, Report};

const SYNC_DURATION: &str = "kubeproxy_sync_proxy_rules_duration_seconds";
const FULL_SYNC_DURATION: &str = "kubeproxy_sync_full_proxy_rules_duration_seconds";
const PARTIAL_SYNC_DURATION: &str = "kubeproxy_sync_partial_proxy_rules_duration_seconds";
const LAST_SYNC: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
const LAST_QUEUED: &str = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
const SERVICE_CHANGES: &str = "kubeproxy_sync_proxy_rules_service_changes_total";
const SERVICE_PENDING: &str = "kubeproxy_sync_proxy_rules_service_changes_pending";
const HEALTHZ: &str = "kubeproxy_proxy_healthz_total";
const LIVEZ: &str = "kubeproxy_proxy_livez_total";
const WRITES: &str = "nicproxy_writes_total";
const WRITE_ERRORS: &str = "nicproxy_write_errors_total";
const RPCS: &str = "nicproxy_write_rpcs_total";
const SYNC_FAILURES: &str = "nicproxy_sync_failures_total";
const CONNECTED: &str = "nicproxy_device_connected";

/// kube-proxy's: 1 ms doubled fifteen times.
const DURATION_BUCKETS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384,
];

/// Takes over the process's metrics and returns the handle that renders them. `None` if something else has them.
pub fn install() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let mut builder = PrometheusBuilder::new();
            for name in [SYNC_DURATION, FULL_SYNC_DURATION, PARTIAL_SYNC_DURATION] {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(name.to_owned()), &DURATION_BUCKETS)
                    .ok()?;
            }
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            Some(handle)
        })
        .clone()
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(SYNC_DURATION, "Time that a synchronisation took");
    describe_histogram!(FULL_SYNC_DURATION, "Time that a full synchronisation took");
    describe_histogram!(
        PARTIAL_SYNC_DURATION,
        "Time that a synchronisation of what changed took"
    );
    describe_gauge!(LAST_SYNC, "When the last synchronisation succeeded");
    describe_gauge!(LAST_QUEUED, "When a synchronisation was last queued");
    describe_counter!(
        SERVICE_CHANGES,
        "Services that changed, or whose endpoints did"
    );
    describe_gauge!(SERVICE_PENDING, "Services whose change is not written yet");
    describe_counter!(HEALTHZ, "Answers of /healthz by status");
    describe_counter!(LIVEZ, "Answers of /livez by status");
    describe_counter!(WRITES, "Table entries written, by operation");
    describe_counter!(
        WRITE_ERRORS,
        "Table entries that the device refused, by table and kind"
    );
    describe_counter!(RPCS, "Write calls to the device");
    describe_counter!(SYNC_FAILURES, "Synchronisations that failed, by reason");
    describe_gauge!(CONNECTED, "1 while there is a session that may write");
}

/// A change was taken in; so many Services wait.
pub fn queued(changed: usize, pending: usize, now: SystemTime) {
    metrics::counter!(SERVICE_CHANGES).increment(changed as u64);
    metrics::gauge!(SERVICE_PENDING).set(pending as f64);
    metrics::gauge!(LAST_QUEUED).set(seconds(now));
}

/// A synchronisation ended; so many Services still wait.
pub fn synced(report: &Report, pending: usize, now: SystemTime) {
    let duration = report.duration.as_secs_f64();
    metrics::histogram!(SYNC_DURATION).record(duration);
    metrics::histogram!(if report.full {
        FULL_SYNC_DURATION
    } else {
        PARTIAL_SYNC_DURATION
    })
    .record(duration);
    for (operation, count) in [
        ("insert", report.inserts),
        ("modify", report.modifies),
        ("delete", report.deletes),
    ] {
        metrics::counter!(WRITES, "operation" => operation).increment(count as u64);
    }
    metrics::counter!(RPCS).increment(report.rpcs as u64);
    for error in &report.errors {
        metrics::counter!(WRITE_ERRORS, "table" => error.table, "kind" => error.kind.to_string())
            .increment(error.entries as u64);
    }
    let failure = match &report.outcome {
        Outcome::Done | Outcome::Unsynced => None,
        Outcome::NotConnected => Some("not_connected"),
        Outcome::WrongProgram(_) => Some("wrong_program"),
        Outcome::Broken(_) => Some("broken"),
    };
    if let Some(reason) = failure {
        metrics::counter!(SYNC_FAILURES, "reason" => reason).increment(1);
    }
    metrics::gauge!(CONNECTED).set(if report.outcome == Outcome::NotConnected {
        0.0
    } else {
        1.0
    });
    metrics::gauge!(SERVICE_PENDING).set(pending as f64);
    if report.is_clean() {
        metrics::gauge!(LAST_SYNC).set(seconds(now));
    }
}

/// A probe was answered.
pub fn probed(livez: bool, status: u16) {
    metrics::counter!(if livez { LIVEZ } else { HEALTHZ }, "code" => status.to_string())
        .increment(1);
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs_f64()
}
