//! Watch events in, notices out; no API server.

use futures::stream;
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
        Notice::NodeEligible { node, eligible } => format!("node {node} {eligible}"),
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
        "me".into(),
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
async fn this_nodes_eligibility_is_told() {
    let node = |name: &str| named::<Node>(name);
    let events = vec![
        Ok(Event::Init),
        Ok(Event::InitApply(node("me"))),
        Ok(Event::InitApply(node("other"))),
        Ok(Event::InitDone),
    ];
    assert_eq!(
        heard(events, 1).await,
        ["node me true", "2 nodes", "synced"]
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
