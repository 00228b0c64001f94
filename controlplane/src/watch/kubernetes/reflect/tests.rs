//! Against an API server that answers as it is told to, one request after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::{RawQuery, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as Answer};
use k8s_openapi::api::core::v1::Service;
use parking_lot::Mutex;

use super::super::protobuf::tests::{list_of, service};
use super::*;

/// What is asked, and the answers to come.
#[derive(Clone, Default)]
struct Script {
    asked: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Reply>>>,
}

enum Reply {
    Protobuf(Vec<u8>),
    Text(StatusCode, String),
    /// Events of a watch, which then ends, or stays open.
    Events(Vec<serde_json::Value>, bool),
}

async fn answer(
    Shared(script): Shared<Script>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = query.unwrap_or_default();
    let accepts = headers
        .get(header::ACCEPT)
        .map(|value| value.to_str().unwrap());
    let is_watch = query.contains("watch=true");
    let binary = accepts.is_some_and(|accepts| accepts.starts_with(PROTOBUF));
    assert_eq!(binary, !is_watch, "{query}: {accepts:?}");
    let words: Vec<&str> = query
        .split('&')
        .filter(|word| word.starts_with("resourceVersion") || word.starts_with("labelSelector"))
        .collect();
    let what = if is_watch { "watch" } else { "list" };
    script
        .asked
        .lock()
        .push(format!("{what} {}", words.join(" ")));
    let reply = script.answers.lock().pop_front();
    match reply {
        None => StatusCode::IM_A_TEAPOT.into_response(),
        Some(Reply::Protobuf(bytes)) => ([(header::CONTENT_TYPE, PROTOBUF)], bytes).into_response(),
        Some(Reply::Text(code, text)) => {
            (code, [(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Some(Reply::Events(events, stays)) => {
            let lines: Vec<_> = events
                .into_iter()
                .map(|event| Ok::<_, std::io::Error>(event.to_string() + "\n"))
                .collect();
            let lines = futures::stream::iter(lines);
            let body = match stays {
                true => axum::body::Body::from_stream(lines.chain(futures::stream::pending())),
                false => axum::body::Body::from_stream(lines),
            };
            body.into_response()
        }
    }
}

fn object(name: &str, version: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "x", "resourceVersion": version},
    })
}

fn event(kind: &str, object: serde_json::Value) -> serde_json::Value {
    serde_json::json!({"type": kind, "object": object})
}

fn gone() -> serde_json::Value {
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired",
        "message": "too old", "code": 410,
    })
}

fn words(event: Result<Event<Service>, ReflectError>) -> String {
    match event {
        Ok(Event::Listed(all)) => {
            let names: Vec<String> = all.iter().map(|one| one.key.to_string()).collect();
            format!("listed {}", names.join(" "))
        }
        Ok(Event::Applied(object)) => format!("applied {}", object.key),
        Ok(Event::Deleted(object)) => format!("deleted {}", object.key),
        Err(error) => format!("failed {:?}", error.code()),
    }
}

/// The first events, and what was asked for them.
async fn played(answers: Vec<Reply>, events: usize) -> (Vec<String>, Vec<String>) {
    let script = Script {
        answers: Arc::new(Mutex::new(answers.into())),
        ..Script::default()
    };
    let router = axum::Router::new()
        .route("/{*path}", axum::routing::get(answer))
        .with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let url = format!("http://{address}").parse().unwrap();
    let client = Client::try_from(kube::Config::new(url)).unwrap();
    let wanted = Selection {
        labels: Some("a=b".to_owned()),
        fields: None,
    };
    let heard = reflect::<Service>(&client, wanted)
        .take(events)
        .map(words)
        .collect::<Vec<_>>();
    let heard = tokio::time::timeout(Duration::from_secs(60), heard).await;
    server.abort();
    let asked = script.asked.lock().clone();
    (heard.unwrap(), asked)
}

#[tokio::test]
async fn what_came_in_between_is_listed_again_where_the_server_has_forgotten_it() {
    let list = serde_json::json!({
        "kind": "ServiceList", "metadata": {"resourceVersion": "9"}, "items": [object("c", "8")],
    });
    let answers = vec![
        Reply::Protobuf(list_of("5", &[service("a", "x"), service("b", "x")])),
        Reply::Events(
            vec![
                event("ADDED", object("c", "6")),
                event("DELETED", object("a", "7")),
                event("ERROR", gone()),
            ],
            true,
        ),
        Reply::Text(StatusCode::GONE, gone().to_string()),
        Reply::Text(StatusCode::OK, list.to_string()),
        Reply::Events(vec![event("MODIFIED", object("c", "10"))], true),
    ];
    let (heard, asked) = played(answers, 7).await;
    let expected = [
        "listed x/a x/b",
        "applied x/c",
        "deleted x/a",
        "failed Some(410)",
        "failed Some(410)",
        "listed x/c",
        "applied x/c",
    ];
    assert_eq!(heard, expected);
    let expected = [
        "list labelSelector=a%3Db resourceVersion=0 resourceVersionMatch=NotOlderThan",
        "watch labelSelector=a%3Db resourceVersion=5",
        "list labelSelector=a%3Db resourceVersion=7 resourceVersionMatch=NotOlderThan",
        "list labelSelector=a%3Db",
        "watch labelSelector=a%3Db resourceVersion=9",
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_watch_goes_on_where_it_ended() {
    let mark = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"resourceVersion": "12"},
    });
    let broken = Status::failure("broken", "InternalError").with_code(500);
    let answers = vec![
        Reply::Protobuf(list_of("5", &[])),
        Reply::Text(
            StatusCode::INTERNAL_SERVER_ERROR,
            serde_json::to_string(&broken).unwrap(),
        ),
        Reply::Events(vec![event("ADDED", object("a", "6"))], false),
        Reply::Events(vec![event("BOOKMARK", mark)], false),
        Reply::Events(vec![event("ADDED", object("b", "13"))], true),
    ];
    let (heard, asked) = played(answers, 4).await;
    assert_eq!(
        heard,
        ["listed ", "failed Some(500)", "applied x/a", "applied x/b"]
    );
    let versions: Vec<&str> = asked
        .iter()
        .filter_map(|one| one.rsplit('=').next())
        .collect();
    assert_eq!(versions, ["NotOlderThan", "5", "5", "6", "12"]);
}

#[tokio::test]
async fn half_a_list_is_none() {
    let mut half = list_of("5", &[service("a", "x"), service("b", "x")]);
    half.truncate(half.len() - 20);
    let answers = vec![
        Reply::Protobuf(half),
        Reply::Protobuf(b"not at all".to_vec()),
        Reply::Protobuf(list_of("", &[])),
        Reply::Protobuf(list_of("5", &[service("a", "x")])),
    ];
    let (heard, asked) = played(answers, 4).await;
    assert_eq!(
        heard,
        ["failed None", "failed None", "failed None", "listed x/a"]
    );
    assert!(
        asked.iter().all(|one| one.contains("resourceVersion=0")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_version_that_cannot_be_listed_is_not_insisted_on() {
    let broken = Status::failure("broken", "InternalError").with_code(500);
    let broken = serde_json::to_string(&broken).unwrap();
    let answers = vec![
        Reply::Text(StatusCode::INTERNAL_SERVER_ERROR, broken.clone()),
        Reply::Protobuf(list_of("5", &[])),
        Reply::Events(vec![event("ERROR", gone())], true),
        Reply::Text(StatusCode::INTERNAL_SERVER_ERROR, broken),
        Reply::Protobuf(list_of("9", &[service("a", "x")])),
    ];
    let (heard, asked) = played(answers, 5).await;
    let expected = [
        "failed Some(500)",
        "listed ",
        "failed Some(410)",
        "failed Some(500)",
        "listed x/a",
    ];
    assert_eq!(heard, expected);
    let versions: Vec<bool> = asked
        .iter()
        .map(|one| one.contains("resourceVersion="))
        .collect();
    assert_eq!(versions, [true, true, true, true, false]);
}
