//! Dashboard and alerts speak of metrics that nicproxy has.

use std::collections::BTreeSet;

use nicproxy::config::Program;
use testbench::kubernetes::ApiServer;
use testbench::kubernetes::objects::Applier;
use tokio::runtime::Runtime;

use crate::daemon::{Daemon, assets};

const DASHBOARD: &str = include_str!("../../../controlplane/deploy/chart/files/dashboard.json");
const ALERTS: &str = include_str!("../../../controlplane/deploy/chart/files/alerts.yaml");
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");

/// Counters that begin with the first event of their kind: where they are counted.
const AFTER_AN_EVENT: [(&str, &str); 5] = [
    (
        "kubeproxy_network_programming_duration_seconds",
        include_str!("../../../controlplane/src/telemetry/metric.rs"),
    ),
    (
        "nicproxy_sync_failures_total",
        include_str!("../../../controlplane/src/telemetry/metric.rs"),
    ),
    (
        "nicproxy_write_errors_total",
        include_str!("../../../controlplane/src/telemetry/metric.rs"),
    ),
    (
        "nicproxy_watch_errors_total",
        include_str!("../../../controlplane/src/watch/kubernetes.rs"),
    ),
    (
        "nicproxy_values_left_out_total",
        include_str!("../../../controlplane/src/watch/convert.rs"),
    ),
];

/// Every word of the text that is the name of a metric.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            ["nicproxy_", "kubeproxy_", "kubernetes_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        })
        .collect()
}

#[test]
fn the_dashboard_is_one() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 15);
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            let expr = target["expr"].as_str().unwrap();
            assert!(!metrics(expr).is_empty(), "{title}: {expr}");
            let balanced = |open, close| {
                expr.matches::<char>(open).count() == expr.matches::<char>(close).count()
            };
            assert!(balanced('(', ')') && balanced('{', '}'), "{title}: {expr}");
        }
    }
    let alerts: serde_json::Value = serde_saphyr::from_str(ALERTS).unwrap();
    for rule in alerts[0]["rules"].as_array().unwrap() {
        assert!(
            !metrics(rule["expr"].as_str().unwrap()).is_empty(),
            "{rule}"
        );
    }
}

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn every_metric_of_dashboard_and_alerts_is_exported() {
    let runtime = Runtime::new().unwrap();
    let api = runtime.block_on(async {
        let api = ApiServer::start(assets()).await.unwrap();
        let applier = Applier::new(api.client().await.unwrap()).await.unwrap();
        applier.apply(RBAC).await.unwrap();
        api
    });
    let mut daemon = Daemon::start(&api, Program::Pna);
    let mut named = metrics(DASHBOARD);
    named.extend(metrics(ALERTS));
    assert!(named.len() > 20, "{named:?}");
    let constant: Vec<&str> = named
        .into_iter()
        .filter(|name| {
            let series = name.strip_suffix("_bucket").unwrap_or(name);
            match AFTER_AN_EVENT.iter().find(|(known, _)| *known == series) {
                Some((_, source)) => {
                    assert!(source.contains(&format!("\"{series}\"")), "{series}");
                    false
                }
                None => true,
            }
        })
        .collect();
    daemon.wait("every metric is there", |daemon| {
        let missing: Vec<_> = constant
            .iter()
            .filter(|name| daemon.metric(name).is_none())
            .collect();
        if !missing.is_empty() {
            println!("not there yet: {missing:?}");
        }
        missing.is_empty()
    });
}
