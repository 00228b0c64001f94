//! Probes over HTTP against loopback addresses in place of a node's.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::events::Warning;
use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

fn locality(port: u16, ready: usize) -> Locality {
    Locality {
        health_check_port: Some(port),
        families: [true, false],
        ready: [ready, 0],
        ..Locality::default()
    }
}

/// A port that was free a moment ago.
fn free() -> u16 {
    let socket = std::net::TcpListener::bind((HERE, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

async fn start() -> (
    ServiceHealth,
    Arc<Health>,
    tokio::sync::mpsc::Receiver<Warning>,
) {
    let health = Arc::new(Health::new(Duration::from_secs(30)));
    let (events, told) = Events::queue();
    let mut servers = ServiceHealth::new(health.clone(), events);
    servers.listen_on(vec![HERE]).await;
    (servers, health, told)
}

/// Status, head and body; `None` when nobody listens.
async fn ask(port: u16, request: &str) -> Option<(u16, String, serde_json::Value)> {
    let mut stream = TcpStream::connect((HERE, port)).await.ok()?;
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = serde_json::from_str(body).ok()?;
    Some((status, head.to_lowercase(), body))
}

#[tokio::test]
async fn s70_servers_open_move_and_close_with_their_service() {
    let (mut servers, _, _) = start().await;
    let (first, second) = (free(), free());
    servers.update(&key("cart"), &locality(first, 1)).await;
    assert_eq!(ask(first, "GET /").await.unwrap().0, 200);
    servers.update(&key("cart"), &locality(second, 1)).await;
    assert!(
        ask(first, "GET /").await.is_none(),
        "the old port is closed"
    );
    assert_eq!(ask(second, "GET /").await.unwrap().0, 200);
    servers.update(&key("cart"), &Locality::default()).await;
    assert!(ask(second, "GET /").await.is_none());
    // At once again on the same port.
    servers.update(&key("cart"), &locality(second, 1)).await;
    assert_eq!(ask(second, "GET /").await.unwrap().0, 200);
    // Only on addresses that answer node ports, and only of families that the Service has.
    servers.listen_on(vec!["127.0.0.2".parse().unwrap()]).await;
    assert!(ask(second, "GET /").await.is_none());
    servers.listen_on(vec![HERE]).await;
    let mut six = locality(second, 1);
    six.families = [false, true];
    servers.update(&key("cart"), &six).await;
    assert!(ask(second, "GET /").await.is_none());
}

#[tokio::test]
async fn s71_s72_answers_tell_local_endpoints_and_the_proxys_health() {
    let (mut servers, health, _) = start().await;
    let port = free();
    servers.update(&key("cart"), &locality(port, 3)).await;
    for request in ["GET /", "POST /healthz?x", "DELETE /a/b"] {
        let (status, head, body) = ask(port, request).await.unwrap();
        assert_eq!(status, 200, "{request}");
        for line in [
            "content-type: application/json",
            "x-content-type-options: nosniff",
            "x-load-balancing-endpoint-weight: 3",
        ] {
            assert!(head.contains(line), "{line}\n{head}");
        }
        assert_eq!(
            body,
            serde_json::json!({
                "service": {"namespace": "shop", "name": "cart"},
                "localEndpoints": 3,
                "serviceProxyHealthy": true,
            })
        );
    }
    servers.update(&key("cart"), &locality(port, 0)).await;
    let (status, head, _) = ask(port, "GET /").await.unwrap();
    assert_eq!(status, 503);
    assert!(head.contains("x-load-balancing-endpoint-weight: 0"));
    servers.update(&key("cart"), &locality(port, 1)).await;
    health.node_eligible(false);
    assert_eq!(
        ask(port, "GET /").await.unwrap().0,
        200,
        "the node's fate is /healthz's"
    );
    health.queued(SystemTime::UNIX_EPOCH);
    let (status, _, body) = ask(port, "GET /").await.unwrap();
    assert_eq!((status, &body["serviceProxyHealthy"]), (503, &false.into()));
}

#[tokio::test]
async fn s74_a_port_in_use_costs_one_service_a_warning_and_is_tried_again() {
    let (mut servers, _, mut told) = start().await;
    let taken = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let (port, other) = (taken.local_addr().unwrap().port(), free());
    servers.update(&key("unlucky"), &locality(port, 1)).await;
    servers.update(&key("cart"), &locality(other, 1)).await;
    let warning = told.try_recv().unwrap();
    assert_eq!(
        (warning.service, warning.reason),
        (key("unlucky"), FAILED_TO_START)
    );
    assert!(warning.note.contains(&port.to_string()), "{}", warning.note);
    assert_eq!(ask(other, "GET /").await.unwrap().0, 200);
    assert!(servers.wants_retry());
    servers.retry().await;
    servers.update(&key("unlucky"), &locality(port, 2)).await;
    assert!(told.try_recv().is_err(), "said once");
    drop(taken);
    servers.retry().await;
    assert!(!servers.wants_retry());
    assert_eq!(ask(port, "GET /").await.unwrap().2["localEndpoints"], 2);
}
