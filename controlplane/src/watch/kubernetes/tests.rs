//! Watch events in, notices out; and the whole source against an API server's HTTP interface.

use futures::{StreamExt, stream};
use kube::runtime::watcher::Event;

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
        Notice::Cluster(Event::ApplyService(service)) => format!("+{}", service.key),
        Notice::Cluster(Event::DeleteService(key)) => format!("-{key}"),
        Notice::Cluster(other) => format!("{other:?}"),
    }
}

async fn heard<K>(events: Vec<Result<Event<K>, watcher::Error>>, unlisted: usize) -> Vec<String>
where
    K: Watched + Send,
    K::Object: Send,
{
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
    let service = |name: &str| named::<Service>(name);
    let events = vec![
        Ok(Event::Init),
        Ok(Event::InitApply(service("a"))),
        Ok(Event::InitApply(service("b"))),
        Ok(Event::InitDone),
        Ok(Event::Apply(service("c"))),
        Err(watcher::Error::NoResourceVersion),
        Ok(Event::Delete(service("a"))),
        Ok(Event::Init),
        Ok(Event::InitApply(service("c"))),
        Ok(Event::InitDone),
    ];
    assert_eq!(
        heard(events, 1).await,
        ["2 services", "synced", "+x/c", "-x/a", "1 services"]
    );
}

#[tokio::test]
async fn s79_only_the_last_list_synchronises() {
    let list = || vec![Ok(Event::Init), Ok(Event::InitDone)];
    assert_eq!(heard::<EndpointSlice>(list(), 2).await, ["0 slices"]);
    assert_eq!(
        heard::<EndpointSlice>(list(), 1).await,
        ["0 slices", "synced"]
    );
}

#[tokio::test]
async fn a_list_that_broke_off_is_forgotten() {
    let events = vec![
        Ok(Event::Init),
        Ok(Event::InitApply(named::<Service>("a"))),
        Err(watcher::Error::NoResourceVersion),
        Ok(Event::Init),
        Ok(Event::InitApply(named::<Service>("b"))),
        Ok(Event::InitDone),
    ];
    assert_eq!(heard(events, 1).await, ["1 services", "synced"]);
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

/// An API server that has one Service, adds another while it is watched, and has nothing else.
async fn api_server() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    use axum::extract::{Path, RawQuery};
    use axum::response::IntoResponse;

    async fn answer(
        Path(path): Path<String>,
        RawQuery(query): RawQuery,
    ) -> axum::response::Response {
        let query = query.unwrap_or_default();
        let services = path.ends_with("services");
        // An API server before Kubernetes 1.31.
        if path.ends_with("servicecidrs") {
            return axum::http::StatusCode::NOT_FOUND.into_response();
        }
        let filtered = path.ends_with("nodes")
            || query.contains("labelSelector=%21service.kubernetes.io%2Fservice-proxy-name%2C%21");
        if !filtered {
            return axum::http::StatusCode::BAD_REQUEST.into_response();
        }
        let service = |name: &str| {
            serde_json::json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name, "namespace": "x", "resourceVersion": "2"},
            })
        };
        if query.contains("watch=") {
            let event =
                serde_json::json!({"type": "ADDED", "object": service("b")}).to_string() + "\n";
            let first = services.then_some(Ok::<_, std::io::Error>(event));
            let body = axum::body::Body::from_stream(stream::iter(first).chain(stream::pending()));
            return body.into_response();
        }
        let items = if services {
            vec![service("a")]
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

#[tokio::test]
async fn a_cluster_is_listed_then_watched() {
    let (address, server) = api_server().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config");
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}],\n\
         users: [{{name: u, user: {{}}}}], clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]}}"
    );
    std::fs::write(&path, kubeconfig).unwrap();
    let client = client(&Access::Kubeconfig(Some(path))).await.unwrap();
    let (sender, mut receiver) = channel();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(run(
        client,
        Extras {
            proxy_name: String::new(),
            pods: sync::watch::channel(false).1,
            node: None,
        },
        sender,
        cancel.clone(),
    ));
    let mut heard = Vec::new();
    while !(heard.contains(&"synced".to_owned()) && heard.contains(&"+x/b".to_owned())) {
        let notice =
            tokio::time::timeout(std::time::Duration::from_secs(30), receiver.recv()).await;
        heard.push(words(&notice.expect("in time").expect("running")));
    }
    let at = |text: &str| heard.iter().position(|word| word == text).unwrap();
    for list in ["1 services", "0 slices", "0 nodes"] {
        assert!(at(list) < at("synced"), "{heard:?}");
    }
    cancel.cancel();
    task.await.unwrap();
    server.abort();
}
