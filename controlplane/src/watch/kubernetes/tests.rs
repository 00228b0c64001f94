//! Watch events in, notices out; and the whole source against an API server's HTTP interface.

use futures::{StreamExt, stream};

use super::*;
use crate::watch::channel;

fn named<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(
        serde_json::json!({"metadata": {"name": name, "namespace": "x"}, "addressType": "IPv4"}),
    )
    .unwrap()
}

fn words(notice: &Notice) -> String {
    use model::Event;
    match notice {
        Notice::Synced => "synced".into(),
        Notice::Together(several) => format!("{} together", several.len()),
        Notice::Cluster(Event::ReplaceServices(all)) => format!("{} services", all.len()),
        Notice::Cluster(Event::ReplaceSlices(all)) => format!("{} slices", all.len()),
        Notice::Cluster(Event::ReplaceNodes(all)) => format!("{} nodes", all.len()),
        Notice::Cluster(Event::ReplacePods(all)) => format!("{} pods", all.len()),
        Notice::Cluster(Event::ApplyService(service)) => format!("+{}", service.key),
        Notice::Cluster(Event::DeleteService(key)) => format!("-{key}"),
        Notice::Cluster(other) => format!("{other:?}"),
    }
}

async fn heard<K: Watched>(
    events: Vec<Result<Event<K>, ReflectError>>,
    unlisted: usize,
) -> Vec<String> {
    let (sender, mut receiver) = channel();
    follow(
        stream::iter(events),
        sender,
        Arc::new(AtomicUsize::new(unlisted)),
    )
    .await;
    let mut heard = Vec::new();
    while let Ok(notice) = receiver.try_recv() {
        heard.push(words(&notice));
    }
    heard
}

#[tokio::test]
async fn lists_replace_and_changes_follow() {
    let service = |name: &str| read(&named::<Service>(name)).unwrap();
    let events: Vec<Result<Event<Service>, ReflectError>> = vec![
        Err(ReflectError::Stalled),
        Ok(Event::Listed(vec![service("a"), service("b")])),
        Ok(Event::Applied(service("c"))),
        Err(ReflectError::NoVersion),
        Ok(Event::Deleted(service("a"))),
        Ok(Event::Listed(vec![service("c")])),
    ];
    assert_eq!(
        heard(events, 1).await,
        ["2 services", "synced", "+x/c", "-x/a", "1 services"]
    );
}

#[tokio::test]
async fn s79_only_the_last_list_synchronises() {
    let list = || vec![Ok(Event::Listed(Vec::new()))];
    assert_eq!(heard::<EndpointSlice>(list(), 2).await, ["0 slices"]);
    assert_eq!(
        heard::<EndpointSlice>(list(), 1).await,
        ["0 slices", "synced"]
    );
}

#[tokio::test]
async fn a_missing_kubeconfig_says_what_to_do() {
    let error = client(&Access::Kubeconfig(Some("/no/such/config".into())))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains("/no/such/config") && text.contains("--kubeconfig"),
        "{text}"
    );
}

/// An API server that has one Service, adds another while it is watched, and has beside that only a pod, of node `n1`.
async fn api_server() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    use axum::extract::{Path, RawQuery};
    use axum::response::IntoResponse;

    async fn answer(
        Path(path): Path<String>,
        RawQuery(query): RawQuery,
    ) -> axum::response::Response {
        let query = query.unwrap_or_default();
        let services = path.ends_with("services");
        let pods = path.ends_with("pods");
        // An API server before Kubernetes 1.31.
        if path.ends_with("servicecidrs") {
            return axum::http::StatusCode::NOT_FOUND.into_response();
        }
        let filtered = path.ends_with("nodes")
            || (pods && query.contains("fieldSelector=spec.nodeName%3Dn1"))
            || query.contains("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name%2C%21");
        if !filtered {
            return axum::http::StatusCode::BAD_REQUEST.into_response();
        }
        let kind = if pods { "Pod" } else { "Service" };
        let object = |name: &str| {
            serde_json::json!({
                "apiVersion": "v1", "kind": kind,
                "metadata": {"name": name, "namespace": "x", "resourceVersion": "2"},
            })
        };
        if query.contains("watch=") {
            let event =
                serde_json::json!({"type": "ADDED", "object": object("b")}).to_string() + "\n";
            let first = services.then_some(Ok::<_, std::io::Error>(event));
            let body = axum::body::Body::from_stream(stream::iter(first).chain(stream::pending()));
            return body.into_response();
        }
        let items = if services || pods {
            vec![object("a")]
        } else {
            Vec::new()
        };
        let list = serde_json::json!({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items});
        axum::Json(list).into_response()
    }

    let router = axum::Router::new().route("/{*path}", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        address,
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
    )
}

/// A source on that API server.
struct Source {
    notices: mpsc::Receiver<Notice>,
    heard: Vec<String>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<()>,
}

impl Source {
    async fn start(pods: sync::watch::Receiver<bool>, node: Option<&str>) -> Self {
        let (address, server) = api_server().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}],\n\
             users: [{{name: u, user: {{}}}}], clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]}}"
        );
        std::fs::write(&path, kubeconfig).unwrap();
        let client = client(&Access::Kubeconfig(Some(path))).await.unwrap();
        let (sender, notices) = channel();
        let cancel = CancellationToken::new();
        let extras = Extras {
            proxy_name: String::new(),
            pods,
            node: node.map(str::to_owned),
        };
        let task = tokio::spawn(run(client, extras, sender, cancel.clone()));
        Self {
            notices,
            heard: Vec::new(),
            cancel,
            task,
            server,
        }
    }

    /// Listens until all of these were heard.
    async fn until(&mut self, all: &[&str]) {
        while !all.iter().all(|text| self.at(text).is_some()) {
            let notice = tokio::time::timeout(Duration::from_secs(120), self.notices.recv()).await;
            let notice = notice.unwrap_or_else(|_| panic!("{:?}", self.heard));
            self.heard.push(words(&notice.expect("running")));
        }
    }

    fn at(&self, text: &str) -> Option<usize> {
        self.heard.iter().position(|word| word == text)
    }

    async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
        self.server.abort();
    }
}

#[tokio::test]
async fn a_cluster_is_listed_then_watched() {
    let pods = sync::watch::channel(false).1;
    let mut source = Source::start(pods, None).await;
    source.until(&["synced", "+x/b"]).await;
    for list in ["1 services", "0 slices", "0 nodes"] {
        assert!(source.at(list) < source.at("synced"), "{:?}", source.heard);
    }
    source.end().await;
}

#[tokio::test]
async fn pods_are_listed_before_all_is_there_where_they_are_wanted_from_the_start() {
    let pods = sync::watch::channel(true).1;
    let mut source = Source::start(pods, Some("n1")).await;
    source.until(&["synced"]).await;
    assert!(source.at("1 pods").is_some(), "{:?}", source.heard);
    source.end().await;
}

#[tokio::test]
async fn pods_are_followed_from_when_somebody_wants_them() {
    let (want, pods) = sync::watch::channel(false);
    let mut source = Source::start(pods, Some("n1")).await;
    source.until(&["synced", "+x/b"]).await;
    assert_eq!(source.at("1 pods"), None);
    want.send_replace(true);
    source.until(&["1 pods"]).await;
    // All was there already: that is said once.
    let synced = source.heard.iter().filter(|word| *word == "synced");
    assert_eq!(synced.count(), 1);
    source.end().await;
}

#[tokio::test]
async fn a_source_goes_on_when_nobody_can_want_pods_any_more() {
    let (want, pods) = sync::watch::channel(false);
    drop(want);
    let mut source = Source::start(pods, None).await;
    source.until(&["synced", "+x/b"]).await;
    assert!(!source.task.is_finished());
    source.end().await;
}
