//! The HTTP servers behind `healthCheckNodePort` (S70-S74).
//!
//! In: per Service the port that its load balancer probes and how many endpoints this node has ([`Locality`]). Out: one
//! server per Service and node address, which answers every path: 200 while this node has ready endpoints and the
//! proxy works, else 503. Invariant: an address that cannot be listened on costs that Service a warning, no other one
//! anything, and is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::events::Events;
use super::health::Health;
use super::locality::Locality;
use crate::model::{Family, ObjectKey};

/// What tells a load balancer how much of its traffic this node should get.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");
/// Reason of the event about a port that is taken; kube-proxy's.
pub const FAILED_TO_START: &str = "FailedToStartServiceHealthcheck";

/// All servers of this node.
#[derive(Debug)]
pub struct ServiceHealth {
    health: Arc<Health>,
    events: Events,
    addresses: Vec<IpAddr>,
    services: BTreeMap<ObjectKey, Served>,
}

/// One Service's servers.
#[derive(Debug)]
struct Served {
    port: u16,
    families: [bool; 2],
    counts: Arc<Counts>,
    open: BTreeMap<IpAddr, Open>,
    /// Addresses that could not be listened on.
    failed: BTreeSet<IpAddr>,
}

/// Distinct addresses of ready local endpoints (S73), by family.
#[derive(Debug, Default)]
struct Counts([AtomicUsize; 2]);

/// One server.
#[derive(Debug)]
struct Open {
    /// Ends the server when it is dropped.
    stop: DropGuard,
    /// Errs when the socket is closed.
    closed: oneshot::Receiver<()>,
}

impl Open {
    async fn close(self) {
        drop(self.stop);
        // The sender goes away together with the socket.
        let _ = self.closed.await;
    }
}

/// A socket that says when it is closed.
struct Held {
    socket: TcpListener,
    _open: oneshot::Sender<()>,
}

impl axum::serve::Listener for Held {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        axum::serve::Listener::accept(&mut self.socket).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl ServiceHealth {
    /// No server yet.
    pub fn new(health: Arc<Health>, events: Events) -> Self {
        Self {
            health,
            events,
            addresses: Vec::new(),
            services: BTreeMap::new(),
        }
    }

    /// Tells warnings to someone else from now on.
    pub fn report_to(&mut self, events: Events) {
        self.events = events;
    }

    /// The node's addresses that answer node ports; servers on others close.
    pub async fn listen_on(&mut self, addresses: Vec<IpAddr>) {
        if addresses == self.addresses {
            return;
        }
        self.addresses = addresses;
        let keys: Vec<ObjectKey> = self.services.keys().cloned().collect();
        for key in keys {
            self.bring(&key).await;
        }
    }

    /// A Service as it is now; servers open, close and move with it.
    pub async fn update(&mut self, key: &ObjectKey, now: &Locality) {
        let Some(port) = now.health_check_port else {
            if let Some(gone) = self.services.remove(key) {
                close(gone.open).await;
            }
            return;
        };
        let known = self.services.get_mut(key);
        if let Some(known) = known.filter(|known| known.port != port) {
            let open = std::mem::take(&mut known.open);
            known.port = port;
            known.failed.clear();
            close(open).await;
        }
        let served = self.services.entry(key.clone()).or_insert_with(|| Served {
            port,
            families: now.families,
            counts: Arc::default(),
            open: BTreeMap::new(),
            failed: BTreeSet::new(),
        });
        served.families = now.families;
        for (cell, count) in served.counts.0.iter().zip(now.ready) {
            cell.store(count, Ordering::Relaxed);
        }
        self.bring(key).await;
    }

    /// Some server could not be opened.
    pub fn wants_retry(&self) -> bool {
        self.services
            .values()
            .any(|served| !served.failed.is_empty())
    }

    /// Tries again what could not be opened.
    pub async fn retry(&mut self) {
        let failed = self.services.iter().filter(|(_, s)| !s.failed.is_empty());
        let keys: Vec<ObjectKey> = failed.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.bring(&key).await;
        }
    }

    /// Opens what is missing, closes what is too much.
    async fn bring(&mut self, key: &ObjectKey) {
        let Some(served) = self.services.get_mut(key) else {
            return;
        };
        let families = served.families;
        let wanted: BTreeSet<IpAddr> = self
            .addresses
            .iter()
            .copied()
            .filter(|ip| families[index(*ip)])
            .collect();
        let surplus: Vec<IpAddr> = served.open.keys().copied().collect();
        for ip in surplus.into_iter().filter(|ip| !wanted.contains(ip)) {
            if let Some(open) = served.open.remove(&ip) {
                open.close().await;
            }
        }
        let mut failed = BTreeSet::new();
        for ip in wanted {
            if served.open.contains_key(&ip) {
                continue;
            }
            let answers = Answers {
                key: key.clone(),
                counts: served.counts.clone(),
                family: index(ip),
                health: self.health.clone(),
            };
            match open(SocketAddr::new(ip, served.port), answers).await {
                Ok(open) => {
                    served.open.insert(ip, open);
                }
                Err(error) => {
                    failed.insert(ip);
                    // Said once, not with every attempt.
                    if !served.failed.contains(&ip) {
                        let at = SocketAddr::new(ip, served.port);
                        let note = format!("cannot serve the health check on {at}: {error}");
                        self.events.warn(key, FAILED_TO_START, note);
                    }
                }
            }
        }
        served.failed = failed;
    }
}

async fn close(servers: BTreeMap<IpAddr, Open>) {
    for open in servers.into_values() {
        open.close().await;
    }
}

fn index(ip: IpAddr) -> usize {
    usize::from(Family::of(ip) == Family::V6)
}

/// What one server knows.
#[derive(Clone, Debug)]
struct Answers {
    key: ObjectKey,
    counts: Arc<Counts>,
    family: usize,
    health: Arc<Health>,
}

async fn open(address: SocketAddr, answers: Answers) -> io::Result<Open> {
    let socket = TcpListener::bind(address).await?;
    let (held, closed) = oneshot::channel();
    let stop = CancellationToken::new();
    let router = Router::new().fallback(answer).with_state(answers);
    let listener = Held {
        socket,
        _open: held,
    };
    let served =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(%error, %address, "a health check's server ended");
        }
    });
    Ok(Open {
        stop: stop.drop_guard(),
        closed,
    })
}

/// S71, S72: any method, any path.
async fn answer(State(now): State<Answers>) -> Response {
    let count = now.counts.0[now.family].load(Ordering::Relaxed);
    // Whether the node is eligible does not matter here: the load balancer asks /healthz for that.
    let healthy = now.health.livez(SystemTime::now()).healthy;
    let status = if count > 0 && healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "service": {"namespace": &*now.key.namespace, "name": &*now.key.name},
        "localEndpoints": count,
        "serviceProxyHealthy": healthy,
    });
    let headers = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (WEIGHT, count.to_string()),
    ];
    (status, headers, Json(body)).into_response()
}

#[cfg(test)]
mod tests;
