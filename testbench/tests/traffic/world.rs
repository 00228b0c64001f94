//! A cluster to send traffic through: namespaces, an API server, nicproxy with its NIC, servers in the pods.
//!
//! In: a program. Out: a world whose Services can be called with curl. The test's own thread moves into the NIC's
//! namespace, so that the API server listens on that namespace's loopback and the daemon reaches it there.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::process::Process;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::cable::Quality;
use testbench::netns::topology::{HOST_PORT, NETWORK_PORT, PODS, Place, Topology};
use testbench::netns::{Namespace, run};
use tokio::runtime::Runtime;

/// How long anything may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Port of the servers in the pods.
pub const TARGET_PORT: u16 = 8080;
const SERVER: &str = include_str!("server.py");
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");

/// Everything; dropped in this order.
pub struct World {
    pub daemon: Process,
    _servers: Vec<Process>,
    pub api: ApiServer,
    pub applier: Applier,
    pub topology: Topology,
    pub runtime: Runtime,
    _folder: tempfile::TempDir,
}

fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets::find().unwrap_or_else(|error| panic!("{error}")))
}

/// Our own binary: the release build, whose speed tests of traffic need.
fn nicproxy() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "nicproxy", "--bin", "nicproxy"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "nicproxy does not build");
        let here = std::env::current_exe().unwrap();
        here.parent().unwrap().parent().unwrap().join("nicproxy")
    })
}

/// Runs a test on a thread of its own: it moves into a namespace and cannot move back.
pub fn in_a_world(program: Program, test: impl FnOnce(&mut World) + Send + 'static) {
    let (assets, binary) = (assets(), nicproxy());
    std::thread::spawn(move || {
        let mut world = World::new(program, assets, binary);
        test(&mut world);
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl World {
    fn new(program: Program, assets: &Assets, binary: &Path) -> Self {
        let topology = Topology::new(Quality::default()).unwrap_or_else(|error| panic!("{error}"));
        for range in [
            "10.96.0.0/12",
            "fd00:10:96::/108",
            "203.0.113.0/24",
            "2001:db8:1::/64",
        ] {
            topology.route_through_nic(range).unwrap();
        }
        for range in ["203.0.113.0/24", "2001:db8:1::/64"] {
            topology.route_to_node(range).unwrap();
        }
        topology.nic.enter().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (api, applier) = runtime.block_on(async {
            let api = ApiServer::start(assets).await.unwrap();
            let applier = Applier::new(api.client().await.unwrap()).await.unwrap();
            applier.apply(RBAC).await.unwrap();
            applier.apply(&nodes()).await.unwrap();
            (api, applier)
        });
        let config = folder.path().join("config.yaml");
        std::fs::write(&config, topology.config()).unwrap();
        let mut command = Command::new(binary);
        command.arg("run").arg("--config").arg(config);
        command
            .arg("--kubeconfig")
            .arg(api.service_account("kube-system", "nicproxy").unwrap())
            .args([
                format!("--embedded={program}"),
                format!("--embedded-port=1=packet:{HOST_PORT}"),
                format!("--embedded-port=2=packet:{NETWORK_PORT}"),
                "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48".to_owned(),
            ]);
        let log = folder.path().join("nicproxy.log");
        let daemon = Process::start("nicproxy", &mut command, &log).unwrap();
        let servers = start_servers(&topology, folder.path());
        wait_for_servers(&topology);
        Self {
            daemon,
            _servers: servers,
            api,
            applier,
            topology,
            runtime,
            _folder: folder,
        }
    }

    /// Applies objects, as `kubectl apply --server-side` does.
    pub fn apply(&self, manifests: &str) {
        self.runtime
            .block_on(self.applier.apply(manifests))
            .unwrap();
    }

    /// Waits until something comes out as wanted; says what it was otherwise.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Result<T, String>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let failure = match attempt(self) {
                Ok(value) => return value,
                Err(failure) => failure,
            };
            let ended = self.daemon.ended().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{what}: {failure}\n{}",
                self.daemon.last_words()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a call brought back: who served, and as whom the client was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    pub by: IpAddr,
    pub client: IpAddr,
}

/// One HTTP request with curl from a namespace.
pub fn curl(from: &Namespace, address: IpAddr, port: u16) -> Result<Served, String> {
    let host = match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let answer = run(from.command("curl").args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "3",
        "--globoff",
        &format!("http://{host}:{port}/"),
    ]))
    .map_err(|error| error.to_string())?;
    let mut words = answer
        .split_whitespace()
        .map(|word| word.trim_start_matches("::ffff:").parse());
    match (words.next(), words.next()) {
        (Some(Ok(by)), Some(Ok(client))) => Ok(Served { by, client }),
        _ => Err(format!("an unexpected answer: {answer}")),
    }
}

fn start_servers(topology: &Topology, folder: &Path) -> Vec<Process> {
    let script = folder.join("server.py");
    std::fs::write(&script, SERVER).unwrap();
    let mut servers = Vec::new();
    for (backend, at) in topology.backends.iter().zip(1..) {
        for pod in 1..=PODS {
            let addresses = [
                IpAddr::V4(Place(at).pod_v4(pod)),
                IpAddr::V6(Place(at).pod_v6(pod)),
            ];
            for (kind, address) in ["http", "udp"]
                .into_iter()
                .flat_map(|kind| addresses.map(|a| (kind, a)))
            {
                let name = format!("{kind}@{address}");
                let mut command = backend.command("python3");
                command
                    .arg(&script)
                    .args([kind, &address.to_string(), &TARGET_PORT.to_string()]);
                let log = folder.join(format!("{}.log", name.replace([':', '@'], "-")));
                servers.push(Process::start(&name, &mut command, &log).unwrap());
            }
        }
    }
    servers
}

/// Waits until every pod answers to its node: what refuses a connection from here on is no server that is still starting.
fn wait_for_servers(topology: &Topology) {
    let deadline = Instant::now() + PATIENCE;
    for (backend, at) in topology.backends.iter().zip(1..) {
        for pod in 1..=PODS {
            let addresses = [
                IpAddr::V4(Place(at).pod_v4(pod)),
                IpAddr::V6(Place(at).pod_v6(pod)),
            ];
            for address in addresses {
                while curl(backend, address, TARGET_PORT).is_err() {
                    assert!(Instant::now() < deadline, "no server at {address}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

/// The cluster's nodes, as kubelets would have registered them.
fn nodes() -> String {
    let node = |name: &str, place: Place| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec:\n  podCIDRs: [\"{}/24\", \"{}/64\"]\n\
             status:\n  addresses:\n    - {{type: InternalIP, address: \"{}\"}}\n    \
             - {{type: InternalIP, address: \"{}\"}}\n---\n",
            place.pod_v4(0),
            place.pod_v6(0),
            place.v4(),
            place.v6()
        )
    };
    [
        ("node-a", Place(0)),
        ("node-b", Place(1)),
        ("node-c", Place(2)),
    ]
    .map(|(name, place)| node(name, place))
    .concat()
}
