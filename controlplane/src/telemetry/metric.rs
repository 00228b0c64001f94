//! Metrics that the daemon counts itself.
//!
//! In: reports of the reconciler. Out: Prometheus metrics: kube-proxy's (S85-S90), and `nicproxy_*`.
//!
//! kube-proxy has one instance per address family and labels its metrics with `ip_family`; here one synchronisation
//! serves both and counts under both. What has no counterpart on a NIC (chains, restores, packets that a chain
//! counted) stands at 0 so that dashboards and alerts that sum over it stay whole; failures of a synchronisation
//! count as `nftables_sync_failures_total`.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::reconcile::{Outcome, Report};
use crate::slowpath::Swept;

const SYNC_DURATION: &str = "kubeproxy_sync_proxy_rules_duration_seconds";
const FULL_SYNC_DURATION: &str = "kubeproxy_sync_full_proxy_rules_duration_seconds";
const PARTIAL_SYNC_DURATION: &str = "kubeproxy_sync_partial_proxy_rules_duration_seconds";
const LAST_SYNC: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
const LAST_QUEUED: &str = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds";
const SERVICE_CHANGES: &str = "kubeproxy_sync_proxy_rules_service_changes_total";
const SERVICE_PENDING: &str = "kubeproxy_sync_proxy_rules_service_changes_pending";
const ENDPOINT_CHANGES: &str = "kubeproxy_sync_proxy_rules_endpoint_changes_total";
const ENDPOINT_PENDING: &str = "kubeproxy_sync_proxy_rules_endpoint_changes_pending";
const NO_LOCAL: &str = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
const PROGRAMMING: &str = "kubeproxy_network_programming_duration_seconds";
const NFTABLES_FAILURES: &str = "kubeproxy_sync_proxy_rules_nftables_sync_failures_total";
const SWEEP_DURATION: &str = "kubeproxy_conntrack_reconciler_sync_duration_seconds";
const SWEPT: &str = "kubeproxy_conntrack_reconciler_deleted_entries_total";
/// Counters of iptables and nftables.
const WITHOUT_COUNTERPART: [&str; 5] = [
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
    "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
    "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
];
/// Gauges of iptables, by table.
const IPTABLES_RULES: [&str; 2] = [
    "kubeproxy_sync_proxy_rules_iptables_total",
    "kubeproxy_sync_proxy_rules_iptables_last",
];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
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

/// kube-proxy's: 0.25, 0.5, seconds to 59, every five to 115, every thirty to 300.
fn programming_buckets() -> Vec<f64> {
    let seconds = (1..60)
        .chain((60..120).step_by(5))
        .chain((120..=300).step_by(30));
    [0.25, 0.5]
        .into_iter()
        .chain(seconds.map(f64::from))
        .collect()
}

/// Takes over the process's metrics and returns the handle that renders them. `None` if something else has them.
pub fn install() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = recorder()?;
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe();
            for name in [HEALTHZ, LIVEZ] {
                for code in ["200", "503"] {
                    metrics::counter!(name, "code" => code).absolute(0);
                }
            }
            Some(handle)
        })
        .clone()
}

/// What counts, with kube-proxy's buckets.
pub(super) fn recorder() -> Option<PrometheusRecorder> {
    let mut builder = PrometheusBuilder::new();
    for name in [
        SYNC_DURATION,
        FULL_SYNC_DURATION,
        PARTIAL_SYNC_DURATION,
        SWEEP_DURATION,
    ] {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), &DURATION_BUCKETS)
            .ok()?;
    }
    let programming = Matcher::Full(PROGRAMMING.to_owned());
    builder = builder
        .set_buckets_for_metric(programming, &programming_buckets())
        .ok()?;
    Some(builder.build_recorder())
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
    describe_counter!(SERVICE_CHANGES, "Services that changed");
    describe_gauge!(SERVICE_PENDING, "Services whose change is not written yet");
    describe_counter!(ENDPOINT_CHANGES, "EndpointSlices that changed");
    describe_gauge!(
        ENDPOINT_PENDING,
        "EndpointSlices whose change is not written yet"
    );
    describe_gauge!(
        NO_LOCAL,
        "Services with a traffic policy Local whose endpoints are all on other nodes"
    );
    describe_histogram!(
        PROGRAMMING,
        "From the change of a Service or Pod to the entries in the device"
    );
    describe_counter!(NFTABLES_FAILURES, "Synchronisations that failed");
    describe_histogram!(
        SWEEP_DURATION,
        "Time that it took to remove connections that lead nowhere"
    );
    describe_counter!(
        SWEPT,
        "Connections removed because their endpoint or their Service is gone"
    );
    for name in WITHOUT_COUNTERPART {
        describe_counter!(name, "Always 0: a NIC has no such thing");
    }
    for name in IPTABLES_RULES {
        describe_gauge!(name, "Always 0: a NIC has no such thing");
    }
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

/// Series that a NIC has from the start, so that rates over them begin with it.
pub fn begin_nic() {
    describe();
    for family in FAMILIES {
        for name in WITHOUT_COUNTERPART
            .into_iter()
            .chain([NFTABLES_FAILURES, SWEPT])
        {
            metrics::counter!(name, "ip_family" => family).absolute(0);
        }
        for (name, table) in IPTABLES_RULES
            .into_iter()
            .flat_map(|name| [(name, "filter"), (name, "nat")])
        {
            metrics::gauge!(name, "ip_family" => family, "table" => table).set(0.0);
        }
    }
    unserved(0, 0);
    waiting(Changed::default());
}

/// Changes, by what changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services.
    pub services: usize,
    /// EndpointSlices, or the Services that they belong to where a whole list came.
    pub endpoints: usize,
}

/// Changes were taken in; so many wait by now.
pub fn queued(changed: Changed, pending: Changed, now: SystemTime) {
    for family in FAMILIES {
        metrics::counter!(SERVICE_CHANGES, "ip_family" => family)
            .increment(changed.services as u64);
        metrics::counter!(ENDPOINT_CHANGES, "ip_family" => family)
            .increment(changed.endpoints as u64);
        metrics::gauge!(LAST_QUEUED, "ip_family" => family).set(seconds(now));
    }
    waiting(pending);
}

fn waiting(pending: Changed) {
    for family in FAMILIES {
        metrics::gauge!(SERVICE_PENDING, "ip_family" => family).set(pending.services as f64);
        metrics::gauge!(ENDPOINT_PENDING, "ip_family" => family).set(pending.endpoints as f64);
    }
}

/// Services whose policy asks for this node, which has none of their endpoints (S90).
pub fn unserved(internal: usize, external: usize) {
    for family in FAMILIES {
        for (policy, count) in [("internal", internal), ("external", external)] {
            metrics::gauge!(NO_LOCAL, "ip_family" => family, "traffic_policy" => policy)
                .set(count as f64);
        }
    }
}

/// A change that happened so long ago is programmed (S89).
pub fn programmed(latency: Duration) {
    for family in FAMILIES {
        metrics::histogram!(PROGRAMMING, "ip_family" => family).record(latency.as_secs_f64());
    }
}

/// A synchronisation ended; so many changes still wait.
pub fn synced(report: &Report, pending: Changed, now: SystemTime) {
    let duration = report.duration.as_secs_f64();
    let kind = if report.full {
        FULL_SYNC_DURATION
    } else {
        PARTIAL_SYNC_DURATION
    };
    for family in FAMILIES {
        metrics::histogram!(SYNC_DURATION, "ip_family" => family).record(duration);
        metrics::histogram!(kind, "ip_family" => family).record(duration);
        if !report.is_clean() {
            metrics::counter!(NFTABLES_FAILURES, "ip_family" => family).increment(1);
        } else {
            metrics::gauge!(LAST_SYNC, "ip_family" => family).set(seconds(now));
        }
    }
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
    waiting(pending);
}

/// Connections that lead nowhere were removed (S67).
pub fn swept(swept: &Swept) {
    for (family, deleted) in FAMILIES.into_iter().zip(swept.deleted) {
        metrics::histogram!(SWEEP_DURATION, "ip_family" => family)
            .record(swept.duration.as_secs_f64());
        metrics::counter!(SWEPT, "ip_family" => family).increment(deleted);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s89_buckets_are_kube_proxys() {
        let buckets = programming_buckets();
        assert_eq!(buckets.len(), 2 + 59 + 12 + 7);
        assert_eq!(buckets[..4], [0.25, 0.5, 1.0, 2.0]);
        assert_eq!(buckets[60..63], [59.0, 60.0, 65.0]);
        assert_eq!(
            buckets[72..],
            [115.0, 120.0, 150.0, 180.0, 210.0, 240.0, 270.0, 300.0]
        );
        assert!(buckets.is_sorted());
    }
}
