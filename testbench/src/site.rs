//! A Service proxy among its hosts: nicproxy with its NIC, the real kube-proxy, or none, on the client node of a small
//! cluster.
//!
//! In: an API server, which proxy. Out: namespaces with the same addresses whichever proxy it is, servers in every pod,
//! and the proxy, if any, waited for until it has programmed both families. What one leaves in a kernel is not there for the
//! next: everything goes when the site is dropped.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nicproxy::config::Program;

use crate::kubernetes::process::Process;
use crate::kubernetes::{ApiServer, Assets, ServerError};
use crate::netns::cable::Quality;
use crate::netns::place::Place;
use crate::netns::relay::Relay;
use crate::netns::responder::Responder;
use crate::netns::topology::{Attachment, PODS, Topology};
use crate::netns::{Namespace, NetnsError};
use crate::own::{self, OwnError};
use crate::target::reference::on_path;

/// How long the proxy may take to have programmed everything.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Both proxies' name for the time of the last programming, one line per family.
const PROGRAMMED: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds{";
/// Both proxies' port for metrics.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);
const CLUSTER_CIDR: &str = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48";
/// Port of the servers in the pods.
pub const TARGET_PORT: u16 = 8080;
/// Ranges that the network routes to the node, and the node, having no better idea, to its gateway: cluster IPs, load
/// balancers' addresses, external addresses.
const RANGES: [&str; 6] = [
    "10.96.0.0/12",
    "fd00:10:96::/108",
    "203.0.113.0/24",
    "2001:db8:1::/64",
    "198.51.100.0/24",
    "2001:db8:2::/64",
];

/// Why there is no site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Namespaces and interfaces.
    #[error(transparent)]
    Network(#[from] NetnsError),
    /// Files, sockets, processes.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Credentials.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// nicproxy.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// kube-proxy is not among the programs of `setup-envtest`.
    #[error(
        "there is no kube-proxy; unset KUBEBUILDER_ASSETS to build it with Go, or add it to that folder"
    )]
    NoKubeProxy,
    /// The proxy ended, or did not program everything in time.
    #[error("{proxy} is not ready:\n{log}")]
    NotReady {
        /// Which.
        proxy: Proxy,
        /// What it printed.
        log: String,
    },
}

/// A proxy, its mode, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    /// None: the kernel routes, and nobody translates.
    Routing,
    /// kube-proxy, nftables mode.
    Nftables,
    /// kube-proxy, iptables mode.
    Iptables,
    /// nicproxy, a port of the NIC per pod, the program that learns.
    Vports,
    /// nicproxy between node and network, the program that learns.
    Bump,
    /// nicproxy between node and network, the program that the control plane learns for.
    BumpV1model,
}

impl Proxy {
    /// All that serve Services.
    pub const ALL: [Self; 5] = [
        Self::Nftables,
        Self::Iptables,
        Self::Vports,
        Self::Bump,
        Self::BumpV1model,
    ];

    /// Where the NIC is.
    pub fn attachment(self) -> Attachment {
        match self {
            Self::Routing | Self::Nftables | Self::Iptables => Attachment::Wire,
            Self::Vports => Attachment::Vports,
            Self::Bump | Self::BumpV1model => Attachment::BumpInTheWire,
        }
    }

    /// kube-proxy.
    pub fn is_kube_proxy(self) -> bool {
        self.kube_proxy_mode().is_some()
    }

    /// kube-proxy's name for its mode.
    fn kube_proxy_mode(self) -> Option<&'static str> {
        match self {
            Self::Nftables => Some("nftables"),
            Self::Iptables => Some("iptables"),
            Self::Routing | Self::Vports | Self::Bump | Self::BumpV1model => None,
        }
    }

    /// A program that it runs and that is not on this machine.
    pub fn lacks(self) -> Option<&'static str> {
        let runs: &[&str] = match self {
            Self::Nftables => &["nft"],
            Self::Iptables => &[
                "iptables",
                "iptables-save",
                "iptables-restore",
                "ip6tables",
                "ip6tables-save",
                "ip6tables-restore",
            ],
            Self::Routing | Self::Vports | Self::Bump | Self::BumpV1model => &[],
        };
        (runs.iter().copied()).find(|program| on_path(program).is_none())
    }

    fn program(self) -> Program {
        match self {
            Self::BumpV1model => Program::V1model,
            _ => Program::Pna,
        }
    }
}

impl std::fmt::Display for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Routing => "kernel routing",
            Self::Nftables => "kube-proxy nftables",
            Self::Iptables => "kube-proxy iptables",
            Self::Vports => "nicproxy vports",
            Self::Bump => "nicproxy bump",
            Self::BumpV1model => "nicproxy bump v1model",
        })
    }
}

/// How a site is built.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Which proxy.
    pub proxy: Proxy,
    /// How the cables are.
    pub quality: Quality,
    /// How the NIC takes its interfaces: `packet`, or another kind of port of softnic's, with options behind a comma.
    pub ports: &'static str,
}

impl Build {
    /// A proxy on cables of the usual kind.
    pub fn new(proxy: Proxy) -> Self {
        Self {
            proxy,
            quality: Quality::default(),
            ports: "packet",
        }
    }
}

/// A running proxy and its hosts; dropped in this order.
#[derive(Debug)]
pub struct Site {
    proxy: Proxy,
    running: Option<Running>,
    _responders: Vec<Responder>,
    /// The hosts.
    pub topology: Topology,
    _folder: tempfile::TempDir,
}

/// The proxy's process, and its way to the API server.
#[derive(Debug)]
struct Running {
    process: Process,
    _relay: Relay,
}

impl Site {
    /// Starts it and waits until all is programmed. The calling thread is in the namespace of the API server.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub fn start(build: Build, assets: &Assets, api: &ApiServer) -> Result<Self, SiteError> {
        let proxy = build.proxy;
        let topology = Topology::new(build.quality, proxy.attachment())?;
        for range in RANGES {
            topology.route_through_nic(range)?;
            topology.route_to_node(range)?;
        }
        let folder = tempfile::tempdir()?;
        let running = match proxy {
            Proxy::Routing => None,
            _ => Some(start(build, &topology, folder.path(), assets, api)?),
        };
        let mut site = Self {
            proxy,
            running,
            _responders: respond(&topology)?,
            topology,
            _folder: folder,
        };
        site.wait_until_programmed()?;
        Ok(site)
    }

    fn wait_until_programmed(&mut self) -> Result<(), SiteError> {
        if self.running.is_none() {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            if home(self.proxy, &self.topology).inside(is_programmed)? {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                return Err(self.not_ready());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The proxy still runs.
    ///
    /// # Errors
    /// When it ended, with its last words.
    pub fn check(&mut self) -> Result<(), SiteError> {
        match &mut self.running {
            Some(running) => match running.process.ended()? {
                Some(_) => Err(self.not_ready()),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// CPU time that the proxy, and its NIC if it has one, have used.
    ///
    /// # Errors
    /// When it ended.
    pub fn cpu_time(&self) -> std::io::Result<Duration> {
        self.running
            .as_ref()
            .map_or(Ok(Duration::ZERO), |running| running.process.cpu_time())
    }

    fn not_ready(&self) -> SiteError {
        let log = self.running.as_ref().map(|running| running.process.log());
        SiteError::NotReady {
            proxy: self.proxy,
            log: log.unwrap_or_default(),
        }
    }
}

fn start(
    build: Build,
    topology: &Topology,
    folder: &Path,
    assets: &Assets,
    api: &ApiServer,
) -> Result<Running, SiteError> {
    let proxy = build.proxy;
    let (mut command, kubeconfig) = if let Some(mode) = proxy.kube_proxy_mode() {
        let kubeconfig = api.kubeconfig("kube-proxy", &["system:masters"])?;
        (kube_proxy(mode, assets)?, kubeconfig)
    } else {
        let kubeconfig = api.service_account("kube-system", "nicproxy")?;
        (nicproxy(build, topology, folder)?, kubeconfig)
    };
    command.arg("--kubeconfig").arg(kubeconfig);
    command.args(["--hostname-override=node-a", CLUSTER_CIDR]);
    let home = home(proxy, topology);
    let relay = Relay::start(home, api.address())?;
    let log = folder.join("log");
    let process = home.inside(|| Process::start(&proxy.to_string(), &mut command, &log))??;
    Ok(Running {
        process,
        _relay: relay,
    })
}

/// Where the proxy runs: kube-proxy on the node, nicproxy with its NIC.
fn home(proxy: Proxy, topology: &Topology) -> &Namespace {
    if proxy.is_kube_proxy() {
        &topology.node
    } else {
        &topology.nic
    }
}

fn kube_proxy(mode: &str, assets: &Assets) -> Result<Command, SiteError> {
    let program = assets.kube_proxy.as_ref().ok_or(SiteError::NoKubeProxy)?;
    let mut command = Command::new(program);
    command.arg(format!("--proxy-mode={mode}")).args([
        // Kernel settings of the whole machine are not ours to change.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    ]);
    Ok(command)
}

fn nicproxy(build: Build, topology: &Topology, folder: &Path) -> Result<Command, SiteError> {
    let config = folder.join("config.yaml");
    std::fs::write(&config, topology.config())?;
    let mut command = Command::new(own::program("nicproxy")?);
    command.arg("run").arg("--config").arg(config);
    command.arg(format!("--embedded={}", build.proxy.program()));
    for spec in topology.port_specs(build.ports) {
        command.arg(format!("--embedded-port={spec}"));
    }
    Ok(command)
}

/// Servers at every pod.
fn respond(topology: &Topology) -> std::io::Result<Vec<Responder>> {
    let serve = |namespace: &Namespace, addresses: Vec<IpAddr>| {
        let sockets: Vec<SocketAddr> = addresses
            .into_iter()
            .map(|address| SocketAddr::new(address, TARGET_PORT))
            .collect();
        Responder::start(namespace, &sockets)
    };
    let mut responders = vec![
        serve(&topology.pod, Place(0).pods(1).to_vec())?,
        serve(&topology.peer, Place(0).pods(2).to_vec())?,
    ];
    for (backend, at) in topology.backends.iter().zip(1..) {
        let pods = (1..=PODS).flat_map(|pod| Place(at).pods(pod));
        responders.push(serve(backend, pods.collect())?);
    }
    Ok(responders)
}

/// Whether the proxy in the calling thread's namespace says that it has programmed both families.
pub fn is_programmed() -> bool {
    let text = ask(METRICS, "/metrics").unwrap_or_default();
    ["IPv4", "IPv6"].into_iter().all(|family| {
        let lines = text.lines().filter(|line| line.starts_with(PROGRAMMED));
        lines
            .filter(|line| line.contains(family))
            .any(|line| !line.ends_with(" 0"))
    })
}

/// What an HTTP server says about a path, headers before it. HTTP/1.0: an answer in chunks has their lengths in the
/// middle of lines.
///
/// # Errors
/// When there is no connection, or no text.
pub fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
