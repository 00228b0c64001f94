//! etcd and kube-apiserver, ready in seconds, on loopback.
//!
//! In: the programs. Out: an address, a certificate authority, kubeconfigs for any user. The API server can be taken away
//! and brought back with its state, which is what an upgrade of a control plane looks like to its clients.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::assets::Assets;
use super::certificates::{Authority, token_keys};
use super::process::Process;

/// Cluster IPs of the first family.
pub const SERVICE_CIDR_V4: &str = "10.96.0.0/12";
/// Cluster IPs of the second family.
pub const SERVICE_CIDR_V6: &str = "fd00:10:96::/108";
/// How long the server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no API server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Files, sockets, processes.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A certificate.
    #[error("a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// It ended by itself.
    #[error("{name} ended ({status}):\n{log}")]
    Ended {
        /// Which program.
        name: String,
        /// How.
        status: std::process::ExitStatus,
        /// Its last lines.
        log: String,
    },
    /// It does not become ready.
    #[error("kube-apiserver is not ready after {0:?}:\n{1}")]
    NotReady(Duration, String),
    /// The credentials.
    #[error("a kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// A running API server and its store.
#[derive(Debug)]
pub struct ApiServer {
    // Before its store: dropped first, it ends while the store still answers.
    server: Option<Process>,
    _store: Process,
    assets: Assets,
    folder: tempfile::TempDir,
    address: SocketAddr,
    store: SocketAddr,
    authority: Authority,
}

impl ApiServer {
    /// Starts both and waits until the API is ready.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn start(assets: &Assets) -> Result<Self, ServerError> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new()?;
        write_certificates(folder.path(), &authority)?;
        let [store, peer, address] = free_addresses()?;
        let mut server = Self {
            server: None,
            _store: start_store(assets, folder.path(), store, peer)?,
            assets: assets.clone(),
            folder,
            address,
            store,
            authority,
        };
        server.resume().await?;
        Ok(server)
    }

    /// Takes the API server away, as a crash would; the store keeps its state.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn outage(&mut self) -> Result<(), ServerError> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
        }
        Ok(())
    }

    /// Brings it back at the same address.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn resume(&mut self) -> Result<(), ServerError> {
        if self.server.is_none() {
            self.server = Some(self.start_server()?);
        }
        let deadline = Instant::now() + PATIENCE;
        let client = self.client().await?;
        while !self.is_ready(&client).await {
            if let Some(server) = &mut self.server
                && let Some(status) = server.ended()?
            {
                return Err(ServerError::Ended {
                    name: server.name().to_owned(),
                    status,
                    log: server.last_words(),
                });
            }
            if Instant::now() >= deadline {
                let words = self.server.as_ref().map(Process::last_words);
                return Err(ServerError::NotReady(PATIENCE, words.unwrap_or_default()));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn is_ready(&self, client: &Client) -> bool {
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
            return false;
        };
        client
            .request_text(request)
            .await
            .is_ok_and(|text| text == "ok")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of kube-apiserver, while there is one.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Process::id)
    }

    /// A kubeconfig for a user in groups, as a file that lives as long as the server.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> Result<PathBuf, ServerError> {
        let identity = self.authority.client(user, groups)?;
        let path = self
            .folder
            .path()
            .join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        std::fs::write(path.with_extension("crt"), identity.certificate)?;
        std::fs::write(path.with_extension("key"), identity.key)?;
        std::fs::write(&path, self.kubeconfig_text(&path))?;
        Ok(path)
    }

    /// A kubeconfig for a service account, as its token would identify it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf, ServerError> {
        self.kubeconfig(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &[
                "system:serviceaccounts",
                &format!("system:serviceaccounts:{namespace}"),
            ],
        )
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// When the credentials cannot be made.
    pub async fn client(&self) -> Result<Client, ServerError> {
        let path = self.kubeconfig("admin", &["system:masters"])?;
        let kubeconfig = Kubeconfig::read_from(path)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// JSON is YAML: no quoting to get wrong.
    fn kubeconfig_text(&self, credentials: &Path) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority": self.folder.path().join("ca.crt"),
            }}],
            "users": [{"name": "test", "user": {
                "client-certificate": credentials.with_extension("crt"),
                "client-key": credentials.with_extension("key"),
            }}],
        })
        .to_string()
    }

    fn start_server(&self) -> Result<Process, ServerError> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(&self.assets.kube_apiserver);
        command.args([
            format!("--etcd-servers=http://{}", self.store),
            format!("--bind-address={}", self.address.ip()),
            format!("--secure-port={}", self.address.port()),
            format!("--advertise-address={}", Ipv4Addr::new(192, 0, 2, 1)),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--service-account-key-file={}", file("token.pub")),
            format!("--service-account-signing-key-file={}", file("token.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={SERVICE_CIDR_V4},{SERVICE_CIDR_V6}"),
            "--authorization-mode=RBAC".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // Tests have one client, which may ask as fast as it can.
            "--enable-priority-and-fairness=false".to_owned(),
            "--max-requests-inflight=2000".to_owned(),
            "--max-mutating-requests-inflight=1000".to_owned(),
            format!("--cert-dir={}", file("generated")),
        ]);
        let log = self.folder.path().join("kube-apiserver.log");
        Ok(Process::start("kube-apiserver", &mut command, &log)?)
    }
}

fn start_store(
    assets: &Assets,
    folder: &Path,
    client: SocketAddr,
    peer: SocketAddr,
) -> io::Result<Process> {
    let mut command = Command::new(&assets.etcd);
    command.args([
        "--name=test".to_owned(),
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=test=http://{peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
    ]);
    Process::start("etcd", &mut command, &folder.join("etcd.log"))
}

fn write_certificates(folder: &Path, authority: &Authority) -> Result<(), ServerError> {
    let server = authority.server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
    let (token_key, token_public_key) = token_keys()?;
    for (name, text) in [
        ("ca.crt", authority.certificate()),
        ("server.crt", &server.certificate),
        ("server.key", &server.key),
        ("token.key", &token_key),
        ("token.pub", &token_public_key),
    ] {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

/// Addresses that nothing listens on; all are held until all are found, so that they differ.
fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut held = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}
