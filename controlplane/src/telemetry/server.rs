//! The two HTTP servers: probes, and metrics.
//!
//! In: health, metrics, configuration. Out: kube-proxy's paths: `/healthz` and `/livez` on one address; `/metrics`,
//! `/metrics/slis`, `/healthz`, `/proxyMode` and `/configz` on the other (S78), and there also `/trace`, which takes packets
//! and tells what becomes of them (see [`crate::trace`]). Where one process programs the NICs of many nodes, `/healthz/NODE`,
//! `/livez/NODE` and `/trace/NODE` are those of one of them, and `/nodes` lists them. Nothing that is served changes a device.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use p4runtime::client::Client;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::health::Answer;
use super::metric;
use super::roster::Roster;
use crate::config::Config;
use crate::run::inquiry::Inquiries;
use crate::trace::{Request, TraceError, Tracer};

/// Type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Feature gates of kube-proxy, all of them stable, whose behaviour this proxy has (S91).
const FEATURES: [&str; 2] = [
    "KubeProxyDrainingTerminatingNodes",
    "ProxyTerminatingEndpoints",
];

/// Bytes of a question about packets, at most.
const QUESTION: usize = 8 << 20;

/// The address is taken or not ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve {what} on {address}: {source}; choose another address with {flag}, or \"\" for none"
)]
pub struct ServeError {
    /// What was to be served.
    pub what: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The flag that says so.
    pub flag: &'static str,
    /// Why not.
    pub source: std::io::Error,
}

/// A server that runs until cancelled.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends after cancellation.
    pub task: JoinHandle<()>,
}

/// Serves the probes.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn probes(
    address: SocketAddr,
    roster: Arc<Roster>,
    cancel: CancellationToken,
) -> Result<Server, ServeError> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/healthz/{node}", get(healthz_of))
        .route("/livez/{node}", get(livez_of))
        .with_state(roster);
    serve(
        "the probes",
        "--healthz-bind-address",
        address,
        router,
        cancel,
    )
    .await
}

/// What the metrics server shows.
#[derive(Clone)]
pub struct Shown {
    /// Metrics that the process counts; none if another part of the process has them.
    pub handle: Option<PrometheusHandle>,
    /// The NICs.
    pub roster: Arc<Roster>,
    /// The effective configuration.
    pub config: watch::Receiver<Arc<Config>>,
}

/// Explains packets, one request at a time.
pub struct Explainer {
    tracer: Tracer,
    knowing: Inquiries,
    busy: Semaphore,
}

impl Explainer {
    /// For the device of a session, with a daemon that knows the cluster.
    pub fn new(client: Client, knowing: Inquiries) -> Self {
        Self {
            tracer: Tracer::new(client),
            knowing,
            busy: Semaphore::new(1),
        }
    }
}

/// Serves metrics.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn metrics(
    address: SocketAddr,
    shown: Shown,
    cancel: CancellationToken,
) -> Result<Server, ServeError> {
    let router =
        Router::new()
            .route("/metrics", get(scrape))
            .route("/metrics/slis", get(indicators))
            .route(
                "/healthz",
                get(|State(shown): State<Shown>| async move { healthz(State(shown.roster)).await }),
            )
            .route(
                "/trace",
                post(explain).layer(DefaultBodyLimit::max(QUESTION)),
            )
            .route(
                "/trace/{node}",
                post(explain_of).layer(DefaultBodyLimit::max(QUESTION)),
            )
            .route(
                "/nodes",
                get(|State(shown): State<Shown>| async move { Json(shown.roster.nodes()) }),
            )
            .route("/proxyMode", get(|| async { "p4" }))
            .route(
                "/configz",
                get(|State(shown): State<Shown>| async move {
                    Json(Config::clone(&shown.config.borrow()))
                }),
            )
            .with_state(shown);
    serve("metrics", "--metrics-bind-address", address, router, cancel).await
}

async fn serve(
    what: &'static str,
    flag: &'static str,
    address: SocketAddr,
    router: Router,
    cancel: CancellationToken,
) -> Result<Server, ServeError> {
    let error = |source| ServeError {
        what,
        address,
        flag,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    let task = tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, what, "the server ended");
        }
    });
    Ok(Server { address, task })
}

async fn healthz(State(roster): State<Arc<Roster>>) -> Response {
    answer(roster.healthz(SystemTime::now()), false)
}

async fn livez(State(roster): State<Arc<Roster>>) -> Response {
    answer(roster.livez(SystemTime::now()), true)
}

async fn healthz_of(State(roster): State<Arc<Roster>>, Path(node): Path<String>) -> Response {
    match roster.nic(&node) {
        Some(nic) => answer(nic.health.healthz(SystemTime::now()), false),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn livez_of(State(roster): State<Arc<Roster>>, Path(node): Path<String>) -> Response {
    match roster.nic(&node) {
        Some(nic) => answer(nic.health.livez(SystemTime::now()), true),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer(answer: Answer, livez: bool) -> Response {
    let status = if answer.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    metric::probed(livez, status.as_u16());
    (
        status,
        [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")],
        Json(answer),
    )
        .into_response()
}

/// Service level indicators (S91, KEP-3466): the checks as they are now.
async fn indicators(State(shown): State<Shown>) -> Response {
    let now = SystemTime::now();
    let mut text = String::from(
        "# HELP kubernetes_healthcheck Result of a health check: 1 is good, 0 is bad\n# TYPE kubernetes_healthcheck gauge\n",
    );
    for (kind, answer) in [
        ("healthz", shown.roster.healthz(now)),
        ("livez", shown.roster.livez(now)),
    ] {
        let value = u8::from(answer.healthy);
        text.push_str(&format!(
            "kubernetes_healthcheck{{name=\"proxy\",type=\"{kind}\"}} {value}\n"
        ));
    }
    ([(header::CONTENT_TYPE, PROMETHEUS)], text).into_response()
}

async fn explain(state: State<Shown>, request: Json<Request>) -> Response {
    explain_of(state, Path(String::new()), request).await
}

async fn explain_of(
    State(shown): State<Shown>,
    Path(node): Path<String>,
    Json(request): Json<Request>,
) -> Response {
    let nic = shown.roster.nic(&node);
    let Some(explainer) = nic.and_then(|nic| nic.explainer) else {
        let text = match shown.roster.nodes() {
            nodes if nodes.iter().all(|node| node.is_empty()) => "no device to ask".to_owned(),
            nodes => format!("name a node: there are {}", nodes.join(", ")),
        };
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let Ok(_turn) = explainer.busy.try_acquire() else {
        let text = "another trace is running; try again";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let traced = explainer.tracer.trace(&request, Some(&explainer.knowing));
    match traced.await {
        Ok(traced) => Json(traced).into_response(),
        Err(error @ (TraceError::Hex(_) | TraceError::TooMany(_))) => {
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn scrape(State(shown): State<Shown>) -> Response {
    let own = shown.handle.map(|handle| handle.render());
    let mut text = shown.roster.render(own.unwrap_or_default()).await;
    text.push_str("# HELP kubernetes_feature_enabled Behaviour of a feature gate that is there\n# TYPE kubernetes_feature_enabled gauge\n");
    for name in FEATURES {
        text.push_str(&format!(
            "kubernetes_feature_enabled{{name=\"{name}\",stage=\"\"}} 1\n"
        ));
    }
    ([(header::CONTENT_TYPE, PROMETHEUS)], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::counters::DeviceCounters;
    use super::super::health::Health;
    use super::super::registry::Registry;
    use super::super::roster::Shown as ShownNic;
    use super::*;
    use crate::reconcile::{Outcome, Report};

    async fn get(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        (status, text)
    }

    #[tokio::test]
    async fn s78_s85_to_s91_probes_and_metrics_over_http() {
        let cancel = CancellationToken::new();
        let health = Arc::new(Health::new(Duration::from_secs(30)));
        let device = Arc::new(DeviceCounters::default());
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let handle = metric::install();
        metric::begin_nic();
        let roster = Arc::new(Roster::alone(ShownNic {
            health: health.clone(),
            registry: Registry::default(),
            device: device.clone(),
            slow_path: Some(Arc::default()),
            client: None,
            explainer: None,
        }));
        let probes = probes(free, roster.clone(), cancel.clone()).await.unwrap();
        let config = Arc::new(Config {
            node_name: "worker-x".into(),
            ..Config::default()
        });
        let shown = Shown {
            handle,
            roster,
            config: watch::channel(config).1,
        };
        let metrics = metrics(free, shown, cancel.clone()).await.unwrap();

        let (status, text) = get(probes.address, "/healthz").await;
        assert_eq!(status, 200);
        assert!(
            text.contains("x-content-type-options: nosniff")
                && text.contains("\"nodeEligible\":true"),
            "{text}"
        );
        health.node_eligible(false);
        assert_eq!(get(probes.address, "/healthz").await.0, 503);
        assert_eq!(get(probes.address, "/livez").await.0, 200);
        assert_eq!(get(probes.address, "/nothing").await.0, 404);
        assert_eq!(get(probes.address, "/healthz/worker-x").await.0, 404);

        let mut report = Report::new(Outcome::Done);
        report.inserts = 3;
        metric::synced(&report, metric::Changed::default(), SystemTime::now());
        metric::programmed(Duration::from_millis(300));
        device.replace(super::super::counters::Snapshot {
            verdicts: vec![4],
            ..Default::default()
        });
        let (status, text) = get(metrics.address, "/metrics").await;
        assert_eq!(status, 200);
        for part in [
            "nicproxy_writes_total{operation=\"insert\"} 3",
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket",
            "nicproxy_packets_total{verdict=\"forwarded\"} 4",
            "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        // Names, types and values as Prometheus reads them: every line is a comment or a series of a known type.
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let mut types = std::collections::BTreeMap::new();
        for line in body.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(types.insert(name, kind), None, "{name} is described twice");
            } else if !line.starts_with("# HELP ") {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let name = series.split('{').next().unwrap();
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .filter(|stem| types.get(stem) == Some(&"histogram"));
                assert!(types.contains_key(family.unwrap_or(name)), "{line}");
            }
        }
        for (name, kind) in [
            ("sync_proxy_rules_duration_seconds", "histogram"),
            ("network_programming_duration_seconds", "histogram"),
            ("sync_proxy_rules_last_timestamp_seconds", "gauge"),
            ("sync_proxy_rules_endpoint_changes_pending", "gauge"),
            ("sync_proxy_rules_service_changes_pending", "gauge"),
            ("sync_proxy_rules_no_local_endpoints_total", "gauge"),
            ("sync_proxy_rules_iptables_total", "gauge"),
            ("sync_proxy_rules_iptables_last", "gauge"),
            (
                "sync_proxy_rules_iptables_restore_failures_total",
                "counter",
            ),
            ("sync_proxy_rules_nftables_sync_failures_total", "counter"),
            (
                "sync_proxy_rules_nftables_cleanup_failures_total",
                "counter",
            ),
            ("conntrack_reconciler_deleted_entries_total", "counter"),
            ("proxy_healthz_total", "counter"),
            ("proxy_livez_total", "counter"),
        ] {
            let name = format!("kubeproxy_{name}");
            assert_eq!(types.get(&*name), Some(&kind), "{name}");
        }
        assert!(body.contains("kubernetes_feature_enabled{"));
        let (status, text) = get(metrics.address, "/metrics/slis").await;
        assert_eq!(status, 200);
        for line in [
            "kubernetes_healthcheck{name=\"proxy\",type=\"healthz\"} 0",
            "kubernetes_healthcheck{name=\"proxy\",type=\"livez\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(
            get(metrics.address, "/configz")
                .await
                .1
                .contains("worker-x")
        );
        assert!(get(metrics.address, "/proxyMode").await.1.ends_with("p4"));

        let taken = serve("x", "--x", metrics.address, Router::new(), cancel.clone())
            .await
            .unwrap_err();
        assert!(
            taken
                .to_string()
                .contains("choose another address with --x")
        );
        cancel.cancel();
        probes.task.await.unwrap();
        metrics.task.await.unwrap();
    }
}
