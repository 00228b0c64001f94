//! What a deployment says about its NIC, its node and its timing.
//!
//! In: a YAML file (`--config`) and flags that override it. Out: one [`Config`], checked as a whole: every problem is
//! reported at once, with the field it stands in and what to do about it.
//! Invariant: a `Config` that passed [`Config::validate`] refers to no port that it does not define.

mod conntrack;
mod duration;
mod mac;
mod nics;
mod services;
mod tls;
mod wiring;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use conntrack::ConntrackConfig;
pub use duration::{DurationError, Period};
pub use mac::{Mac, MacError};
pub use nics::{NicConfig, NicDeviceConfig};
pub use services::{
    API_VERSION, AffinityProfileConfig, AnswerNeighbors, AttachmentConfig, DetectLocalMode,
    DsrConfig, KIND, MasqueradeAddressConfig, MasqueradeConfig, NodePortAddress, PortRangeConfig,
    TunnelConfig, VportConfig,
};
pub use tls::DeviceTlsConfig;

/// Ports with a meaning of their own: 0 is "none" in table entries, 511 is bmv2's drop port.
const RESERVED_PORTS: [u32; 3] = [0, SLOW_PATH_PORT, 511];

/// The port behind which the control plane sits in both programs.
pub const SLOW_PATH_PORT: u32 = 255;

/// Everything that can be set. Fields that a file leaves out have the value shown by `nicproxy run --print-config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of this file's form.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// What this file is.
    pub kind: String,
    /// The node whose view of the cluster is programmed. Empty: the host name.
    pub node_name: String,
    /// The NIC's P4Runtime server.
    pub device: DeviceConfig,
    /// The NICs of many nodes, by node, all of them programmed by this process (central mode). None: the NIC of this node
    /// alone. What is said outside of this map holds for each of them where it says nothing else. The file is read again
    /// when it changes: NICs come and go without a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nics: Option<BTreeMap<String, NicConfig>>,
    /// Ports of the NIC that carry traffic.
    pub ports: Vec<PortConfig>,
    /// Where packets leave.
    pub routes: Vec<RouteConfig>,
    /// Routes that follow from Node objects; none: nodes make no routes.
    pub node_routes: Option<NodeRoutesConfig>,
    /// Virtual network that the cluster's Services belong to.
    pub vpc: u32,
    /// Ranges that cluster IPs come from: traffic to an unassigned address in them is dropped.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of pod addresses (kube-proxy's `--cluster-cidr`).
    pub cluster_cidrs: Vec<IpNet>,
    /// Serve the Services that carry this in their label `service.kubernetes.io/service-proxy-name`, and no others.
    /// Empty: those that carry no such label.
    pub proxy_name: String,
    /// The node's addresses, the primary one of each family first. Empty: those of its Node object.
    pub node_addresses: Vec<IpAddr>,
    /// Which of them answer NodePorts (kube-proxy's `--nodeport-addresses`). Empty: the primary ones.
    pub nodeport_addresses: Vec<NodePortAddress>,
    /// How pods are told from other clients (kube-proxy's `--detect-local-mode`).
    pub detect_local_mode: DetectLocalMode,
    /// Name of the port that pods are behind, for `BridgeInterface`.
    pub pod_bridge_interface: String,
    /// What names of ports that pods are behind begin with, for `InterfaceNamePrefix`.
    pub pod_interface_name_prefix: String,
    /// Every connection to a cluster IP gets another source address (kube-proxy's `--masquerade-all`).
    pub masquerade_all: bool,
    /// Source addresses that connections get.
    pub masquerade: MasqueradeConfig,
    /// Which addresses the NIC answers ARP requests and neighbour solicitations for.
    pub answer_neighbors: AnswerNeighbors,
    /// Where the NIC sits.
    pub attachment: AttachmentConfig,
    /// Ports of pods.
    pub vports: Vec<VportConfig>,
    /// How packets of Services with direct server return reach endpoints.
    pub dsr: DsrConfig,
    /// Expiry profiles with which a data plane that learns remembers clients. A Service whose timeout is none of these gets
    /// the next longer one. Elsewhere the control plane gives its pins the Service's own timeout.
    pub affinity_profiles: Vec<AffinityProfileConfig>,
    /// How long connections may be idle.
    pub conntrack: ConntrackConfig,
    /// Longest IP packet on any port, in bytes. SCTP corrections are programmed up to this length.
    pub mtu: u16,
    /// When changes are written.
    pub sync: SyncConfig,
    /// Flow set-up and refusals that the NIC hands to the control plane.
    pub slow_path: SlowPathConfig,
    /// Where `/healthz` and `/livez` are served; none: not at all.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where `/metrics` is served; none: not at all.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Whether each endpoint has metrics of its own, beside those of its Service.
    pub endpoint_metrics: bool,
}

/// The P4Runtime server and what it should run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceConfig {
    /// Its address, as `http://host:port` or `https://host:port`.
    pub address: String,
    /// TLS, for an `https` address.
    pub tls: DeviceTlsConfig,
    /// Device id in every P4Runtime message.
    pub device_id: u64,
    /// Election id. The highest of a role's clients is the primary.
    pub election_id: u128,
    /// Role; empty is the default role.
    pub role: String,
    /// What to load when the device runs nothing or something else; none: only check what runs.
    pub pipeline: Option<PipelineConfig>,
}

/// Where the program comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PipelineConfig {
    /// A program that comes with nicproxy: for softnic, which compiles it.
    Bundled(Program),
    /// A P4 source file: for softnic.
    Source(PathBuf),
    /// A compiler's output: P4Info (text or binary) and the device's own configuration.
    Compiled {
        /// P4Info file.
        p4info: PathBuf,
        /// Device configuration, as the device's compiler wrote it (bmv2: the JSON).
        device_config: PathBuf,
    },
}

/// The two programs of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// For NICs: the data plane learns connections itself.
    Pna,
    /// For bmv2: the control plane sets connections up.
    V1model,
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pna => "pna",
            Self::V1model => "v1model",
        })
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Number in the data plane.
    pub port: u32,
    /// Name, for `detect_local_mode`.
    #[serde(default)]
    pub name: Option<String>,
    /// Virtual network that its packets belong to.
    #[serde(default)]
    pub vpc: u32,
    /// What is behind it.
    pub role: PortRole,
    /// Where packets go that no route covers: the other side of a bump in the wire.
    #[serde(default)]
    pub peer: Option<u32>,
    /// The port's own address, the source of packets sent out of it, and the answer to who asks for addresses of the NIC;
    /// none: an address made of the node's name is answered.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// Whether packets from here may go to the control plane.
    #[serde(default = "yes")]
    pub slow_path: bool,
}

fn yes() -> bool {
    true
}

/// What is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// Pods of this node, or the node itself.
    Host,
    /// Everything else.
    Network,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Destinations.
    pub prefix: IpNet,
    /// Virtual network.
    #[serde(default)]
    pub vpc: u32,
    /// Where they leave; none drops them.
    #[serde(default)]
    pub port: Option<u32>,
    /// Source address of the frames; none: the port's.
    #[serde(default)]
    pub src_mac: Option<Mac>,
    /// Destination address of the frames: the next hop's.
    #[serde(default)]
    pub dst_mac: Option<Mac>,
}

/// Routes to every node's addresses and pods, worked out from Node objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRoutesConfig {
    /// To this node and its pods.
    pub host: NextHopConfig,
    /// To all other nodes.
    pub network: NextHopConfig,
    /// Nodes that answer to another MAC address than `network` says, by internal address.
    #[serde(default)]
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextHopConfig {
    /// Port.
    pub port: u32,
    /// Source address of the frames; none: the port's.
    #[serde(default)]
    pub src_mac: Option<Mac>,
    /// Destination address of the frames: the next hop's.
    pub dst_mac: Mac,
}

/// When changes are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// At most `burst` writes within this time; changes in between are taken together.
    pub min_sync_period: Period,
    /// Writes that may follow one another at once.
    pub burst: u32,
    /// A change that waits longer than twice this makes the proxy unhealthy.
    pub sync_period: Period,
    /// The device is read back and compared with what it should hold this often.
    pub resync_period: Period,
}

/// Bounds of the slow path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlowPathConfig {
    /// Packets that may wait; more are dropped and counted.
    pub queue: usize,
    /// Refusals (TCP RST, ICMP errors) per second; more are dropped and counted.
    pub refusals_per_second: u32,
    /// Answers to ARP requests and neighbour solicitations per second; more are dropped and counted.
    pub neighbors_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            node_name: String::new(),
            device: DeviceConfig::default(),
            nics: None,
            ports: Vec::new(),
            routes: Vec::new(),
            node_routes: None,
            vpc: 0,
            service_cidrs: Vec::new(),
            cluster_cidrs: Vec::new(),
            proxy_name: String::new(),
            node_addresses: Vec::new(),
            nodeport_addresses: Vec::new(),
            detect_local_mode: DetectLocalMode::default(),
            pod_bridge_interface: String::new(),
            pod_interface_name_prefix: String::new(),
            masquerade_all: false,
            masquerade: MasqueradeConfig::default(),
            answer_neighbors: AnswerNeighbors::default(),
            attachment: AttachmentConfig::default(),
            vports: Vec::new(),
            dsr: DsrConfig::default(),
            affinity_profiles: AffinityProfileConfig::usual(),
            conntrack: ConntrackConfig::default(),
            mtu: 1500,
            sync: SyncConfig::default(),
            slow_path: SlowPathConfig::default(),
            healthz_bind_address: Some(SocketAddr::from(([0, 0, 0, 0], 10256))),
            metrics_bind_address: Some(SocketAddr::from(([127, 0, 0, 1], 10249))),
            endpoint_metrics: true,
        }
    }
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:9559".to_owned(),
            tls: DeviceTlsConfig::default(),
            device_id: 1,
            election_id: 1,
            role: String::new(),
            pipeline: None,
        }
    }
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            min_sync_period: Period::from_millis(1000),
            burst: 2,
            sync_period: Period::from_millis(30_000),
            resync_period: Period::from_millis(600_000),
        }
    }
}

impl Default for SlowPathConfig {
    fn default() -> Self {
        Self {
            queue: 4096,
            refusals_per_second: 1000,
            neighbors_per_second: 1000,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; check --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not such a configuration.
    #[error("{}:{line}: {reason}; `nicproxy run --print-config` shows every field", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line of the mistake.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// Values that do not go together.
    #[error("the configuration does not hold together:{}", .0.iter().map(|p| format!("\n  - {p}")).collect::<String>())]
    Invalid(Vec<Problem>),
}

/// One value that does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field}: {what}; {advice}")]
pub struct Problem {
    /// Where, as a path into the configuration.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub advice: &'static str,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Its path, the line and what is wrong there.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// The line and what is wrong there.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            line: error.location().map_or(1, |at| at.line()),
            reason: first_line(&error.without_snippet().to_string()),
        })
    }

    /// Checks that the values go together.
    ///
    /// # Errors
    /// Every problem found, not only the first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = match &self.nics {
            None => self.problems(),
            Some(nics) => self.check_nics(nics),
        };
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// What is wrong with the settings of one NIC.
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_device(&mut problems);
        self.check_ports(&mut problems);
        self.check_routes(&mut problems);
        self.check_node_routes(&mut problems);
        self.check_services(&mut problems);
        if self.mtu < 576 {
            problems.push(Problem {
                field: "mtu".to_owned(),
                what: format!("{} bytes is less than IP allows", self.mtu),
                advice: "give the MTU of the NIC's ports, 576 at least",
            });
        }
        self.conntrack.check(&mut problems);
        if self.sync.burst == 0 {
            problems.push(Problem {
                field: "sync.burst".to_owned(),
                what: "0 would never write anything".to_owned(),
                advice: "give 1 or more",
            });
        }
        problems
    }

    fn check_device(&self, problems: &mut Vec<Problem>) {
        let address = &self.device.address;
        if !address.starts_with("http://") && !address.starts_with("https://") {
            problems.push(Problem {
                field: "device.address".to_owned(),
                what: format!("`{address}` has no scheme"),
                advice: "write http://host:port, or https://host:port for TLS",
            });
        }
        self.device.tls.check("device.tls", address, problems);
        if self.device.election_id == 0 {
            problems.push(Problem {
                field: "device.election_id".to_owned(),
                what: "0 makes this client a backup for ever".to_owned(),
                advice: "give 1 or more",
            });
        }
    }

    fn check_ports(&self, problems: &mut Vec<Problem>) {
        let mut seen = BTreeSet::new();
        for (at, port) in self.ports.iter().enumerate() {
            if RESERVED_PORTS.contains(&port.port) {
                problems.push(Problem {
                    field: format!("ports[{at}].port"),
                    what: format!("{} is taken by the switch itself", port.port),
                    advice: "0, 255 and 511 cannot carry traffic: number the port otherwise",
                });
            }
            if !seen.insert(port.port) {
                problems.push(Problem {
                    field: format!("ports[{at}].port"),
                    what: format!("{} is there twice", port.port),
                    advice: "keep one of the two",
                });
            }
            if let Some(peer) = port.peer
                && !self.ports.iter().any(|other| other.port == peer)
            {
                problems.push(Problem {
                    field: format!("ports[{at}].peer"),
                    what: format!("there is no port {peer}"),
                    advice: "add it to `ports` or leave `peer` out",
                });
            }
        }
    }

    fn check_routes(&self, problems: &mut Vec<Problem>) {
        let mut seen = BTreeSet::new();
        for (at, route) in self.routes.iter().enumerate() {
            if !seen.insert((route.vpc, route.prefix.trunc())) {
                problems.push(Problem {
                    field: format!("routes[{at}].prefix"),
                    what: format!("{} is there twice in VPC {}", route.prefix, route.vpc),
                    advice: "keep one of the two",
                });
            }
            let Some(port) = route.port else { continue };
            let Some(found) = self.ports.iter().find(|known| known.port == port) else {
                problems.push(Problem {
                    field: format!("routes[{at}].port"),
                    what: format!("there is no port {port}"),
                    advice: "add it to `ports`",
                });
                continue;
            };
            if route.src_mac.is_none() && found.mac.is_none() {
                problems.push(Problem {
                    field: format!("routes[{at}].src_mac"),
                    what: format!(
                        "neither the route nor port {port} has a MAC address to send from"
                    ),
                    advice: "give the port a `mac`, or the route a `src_mac`",
                });
            }
            if route.dst_mac.is_none() {
                problems.push(Problem {
                    field: format!("routes[{at}].dst_mac"),
                    what: "the next hop's MAC address is missing".to_owned(),
                    advice: "give the address that the next hop answers to",
                });
            }
        }
    }

    fn check_node_routes(&self, problems: &mut Vec<Problem>) {
        let Some(routes) = &self.node_routes else {
            return;
        };
        for (name, hop) in [("host", &routes.host), ("network", &routes.network)] {
            match self.ports.iter().find(|known| known.port == hop.port) {
                None => problems.push(Problem {
                    field: format!("node_routes.{name}.port"),
                    what: format!("there is no port {}", hop.port),
                    advice: "add it to `ports`",
                }),
                Some(port) if port.mac.is_none() && hop.src_mac.is_none() => {
                    problems.push(Problem {
                        field: format!("node_routes.{name}.src_mac"),
                        what: format!(
                            "neither it nor port {} has a MAC address to send from",
                            hop.port
                        ),
                        advice: "give the port a `mac`, or this a `src_mac`",
                    })
                }
                Some(_) => {}
            }
        }
    }

    /// The whole configuration as YAML, defaults included.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self)
            .unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// What a parser says, without the position and the excerpt: file and line are named already.
pub(crate) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.split(" at line ")
        .next()
        .unwrap_or_default()
        .trim_end_matches([';', '.'])
        .to_owned()
}
