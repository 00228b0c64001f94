//! A cluster to send traffic through: namespaces, an API server, nicproxy with its NIC, servers in the pods.
//!
//! In: a program, a NIC, where it is. Out: a world whose Services can be called with curl. The test's own thread moves
//! into the NIC's namespace, so that the API server listens on that namespace's loopback and the daemon reaches it there.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nicproxy::config::{Program, SLOW_PATH_PORT};
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::process::Process;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::cable::Quality;
use testbench::netns::topology::{Attachment, PODS, Place, Topology};
use testbench::netns::{Namespace, run};
use testbench::own;
use testbench::site::is_programmed;
use tokio::runtime::Runtime;

/// How long anything may take to become true.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Port of the servers in the pods.
pub const TARGET_PORT: u16 = 8080;
/// Where a NIC of its own is found, in its namespace.
const DEVICE: &str = "127.0.0.1:9559";
const SERVER: &str = include_str!("server.py");
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");

/// What is the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// softnic in nicproxy's process.
    Embedded,
    /// softnic as a process of its own.
    Softnic,
    /// simple_switch_grpc with the program as p4c-bm2-ss compiles it; both from PATH.
    Bmv2,
}

/// Which world.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub program: Program,
    pub nic: Nic,
    pub attachment: Attachment,
    /// Kind of softnic's ports, with options behind a comma.
    pub ports: &'static str,
    /// Whether hosts leave checksums and segmentation to hardware that is not there.
    pub offloads: bool,
}

impl Setup {
    /// An embedded NIC as a bump in the wire.
    pub fn embedded(program: Program) -> Self {
        Self {
            program,
            nic: Nic::Embedded,
            attachment: Attachment::BumpInTheWire,
            ports: "packet",
            offloads: false,
        }
    }
}

/// A program that can be started again.
pub struct Restartable {
    pub process: Process,
    command: Command,
    log: PathBuf,
}

impl Restartable {
    fn start(name: &str, mut command: Command, log: PathBuf) -> Self {
        let process = Process::start(name, &mut command, &log).unwrap();
        Self {
            process,
            command,
            log,
        }
    }

    /// kill -9, and again.
    pub fn restart(&mut self) {
        self.process.kill().unwrap();
        self.resume();
    }

    /// Starts it after it was killed.
    pub fn resume(&mut self) {
        let name = self.process.name().to_owned();
        self.process = Process::start(&name, &mut self.command, &self.log).unwrap();
    }
}

/// Everything; dropped in this order.
pub struct World {
    pub daemon: Restartable,
    /// The NIC, when it is a process of its own.
    pub nic: Option<Restartable>,
    _servers: Vec<Process>,
    pub api: ApiServer,
    pub applier: Applier,
    pub topology: Topology,
    pub runtime: Runtime,
    folder: tempfile::TempDir,
}

fn assets() -> &'static Assets {
    static ASSETS: OnceLock<Assets> = OnceLock::new();
    ASSETS.get_or_init(|| Assets::find().unwrap_or_else(|error| panic!("{error}")))
}

/// Runs a test with an embedded NIC.
pub fn in_a_world(program: Program, test: impl FnOnce(&mut World) + Send + 'static) {
    in_a_world_of(Setup::embedded(program), test);
}

/// Runs a test on a thread of its own: it moves into a namespace and cannot move back.
pub fn in_a_world_of(setup: Setup, test: impl FnOnce(&mut World) + Send + 'static) {
    let assets = assets();
    std::thread::spawn(move || {
        let mut world = World::new(setup, assets);
        test(&mut world);
    })
    .join()
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl World {
    fn new(setup: Setup, assets: &Assets) -> Self {
        let quality = Quality {
            offloads: setup.offloads,
            ..Quality::default()
        };
        let topology =
            Topology::new(quality, setup.attachment).unwrap_or_else(|error| panic!("{error}"));
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
        let log = |name: &str| folder.path().join(format!("{name}.log"));
        let nic = nic(setup, &topology, folder.path())
            .map(|command| Restartable::start("nic", command, log("nic")));
        let mut command = Command::new(own::program("nicproxy").unwrap());
        command.arg("run").arg("--config").arg(config);
        command
            .arg("--kubeconfig")
            .arg(api.service_account("kube-system", "nicproxy").unwrap())
            .args(device(setup, &topology, folder.path()))
            .arg("--cluster-cidr=10.244.0.0/16,fd00:10:244::/48");
        let daemon = Restartable::start("nicproxy", command, log("nicproxy"));
        let servers = start_servers(&topology, folder.path());
        wait_for_servers(&topology);
        Self {
            daemon,
            nic,
            _servers: servers,
            api,
            applier,
            topology,
            runtime,
            folder,
        }
    }

    /// Applies objects, as `kubectl apply --server-side` does.
    pub fn apply(&self, manifests: &str) {
        self.runtime
            .block_on(self.applier.apply(manifests))
            .unwrap();
    }

    /// A server in the client node's other pod, which is awake when this returns.
    pub fn serve_beside(&self, address: IpAddr) -> Process {
        let peer = &self.topology.peer;
        let server = serve(peer, self.folder.path(), "http", address);
        let deadline = Instant::now() + PATIENCE;
        while curl(peer, address, TARGET_PORT).is_err() {
            assert!(Instant::now() < deadline, "no server at {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Waits until nicproxy, just started again, says that it has programmed everything.
    pub fn until_programmed(&mut self) {
        self.until("nicproxy is programmed again", |_| {
            is_programmed().then_some(()).ok_or_else(String::new)
        });
    }

    /// A server more, on a backend node.
    pub fn serve(&self, backend: usize, kind: &str, address: IpAddr) -> Process {
        serve(
            &self.topology.backends[backend],
            self.folder.path(),
            kind,
            address,
        )
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
            let ended = self.daemon.process.ended().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{what}: {failure}\n{}",
                self.daemon.process.last_words()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The NIC's process, if it has one.
fn nic(setup: Setup, topology: &Topology, folder: &Path) -> Option<Command> {
    match setup.nic {
        Nic::Embedded => None,
        Nic::Softnic => {
            let mut command = Command::new(own::program("softnic").unwrap());
            command.arg(format!("--cpu-port={SLOW_PATH_PORT}"));
            for spec in topology.port_specs(setup.ports) {
                command.arg(format!("--port={spec}"));
            }
            Some(command)
        }
        Nic::Bmv2 => {
            assert_eq!(setup.program, Program::V1model);
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../p4/nicproxy_v1model.p4");
            run(Command::new("p4c-bm2-ss")
                .args(["--std", "p4-16", "-o"])
                .arg(folder.join("nicproxy.json"))
                .arg("--p4runtime-files")
                .arg(folder.join("nicproxy.p4info.txtpb"))
                .arg(source))
            .unwrap();
            // It looks for its ports in the namespace's own /sys, which `ip netns exec` mounts.
            let mut command = topology.nic.command("simple_switch_grpc");
            command.args(["--no-p4", "--device-id", "1"]);
            for (port, interface) in topology.ports() {
                command.args(["-i", &format!("{port}@{interface}")]);
            }
            command.args(["--", "--grpc-server-addr", DEVICE, "--cpu-port"]);
            command.arg(SLOW_PATH_PORT.to_string());
            Some(command)
        }
    }
}

/// nicproxy's flags for the NIC.
fn device(setup: Setup, topology: &Topology, folder: &Path) -> Vec<String> {
    match setup.nic {
        Nic::Embedded => {
            let mut flags = vec![format!("--embedded={}", setup.program)];
            for spec in topology.port_specs(setup.ports) {
                flags.push(format!("--embedded-port={spec}"));
            }
            flags
        }
        Nic::Softnic => vec![
            format!("--device={DEVICE}"),
            format!("--program={}", setup.program),
        ],
        Nic::Bmv2 => vec![
            format!("--device={DEVICE}"),
            format!(
                "--p4info={}",
                folder.join("nicproxy.p4info.txtpb").display()
            ),
            format!("--device-config={}", folder.join("nicproxy.json").display()),
        ],
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

fn serve(backend: &Namespace, folder: &Path, kind: &str, address: IpAddr) -> Process {
    let name = format!("{kind}@{address}");
    let mut command = backend.command("python3");
    command.arg(folder.join("server.py"));
    command.args([kind, &address.to_string(), &TARGET_PORT.to_string()]);
    let log = folder.join(format!("{}.log", name.replace([':', '@'], "-")));
    Process::start(&name, &mut command, &log).unwrap()
}

fn start_servers(topology: &Topology, folder: &Path) -> Vec<Process> {
    std::fs::write(folder.join("server.py"), SERVER).unwrap();
    let mut servers = Vec::new();
    for (backend, at) in topology.backends.iter().zip(1..) {
        for address in (1..=PODS).flat_map(|pod| Place(at).pods(pod)) {
            for kind in ["http", "udp"] {
                servers.push(serve(backend, folder, kind, address));
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
