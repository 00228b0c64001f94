//! Arguments of `nicproxy run`, and those that several commands share.
//!
//! In: words of the command line. Out: typed values, and the effective [`Config`]: file first, then flags. Flags that
//! kube-proxy has keep their names.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use softnic::cli::PortSpec;

use crate::config::{
    AnswerNeighbors, Config, ConfigError, DetectLocalMode, NodePortAddress, Period, PipelineConfig,
    Problem, Program,
};
use crate::telemetry::LogFormat;
use crate::watch::kubernetes::Access;

/// Which device.
#[derive(Clone, Debug, Default, Args)]
pub struct DeviceArgs {
    /// The NIC's P4Runtime server [default: http://127.0.0.1:9559]
    #[arg(long, value_name = "URL", env = "NICPROXY_DEVICE")]
    pub device: Option<Endpoint>,
    /// For an https URL: certificates of the authorities that sign the device's [default: the system's]
    #[arg(long, value_name = "FILE", env = "NICPROXY_DEVICE_CA_FILE")]
    pub device_ca_file: Option<PathBuf>,
    /// For an https URL: the certificate to show to the device, PEM; read again for every connection
    #[arg(long, value_name = "FILE", env = "NICPROXY_DEVICE_CERT_FILE")]
    pub device_cert_file: Option<PathBuf>,
    /// For an https URL: the private key of that certificate, PEM
    #[arg(long, value_name = "FILE", env = "NICPROXY_DEVICE_KEY_FILE")]
    pub device_key_file: Option<PathBuf>,
    /// For an https URL: the name in the device's certificate [default: the host in the URL]
    #[arg(long, value_name = "NAME", env = "NICPROXY_DEVICE_SERVER_NAME")]
    pub device_server_name: Option<String>,
    /// Device id in P4Runtime messages [default: 1]
    #[arg(long, value_name = "ID")]
    pub device_id: Option<u64>,
    /// P4Runtime role [default: the default role]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
}

/// Arguments of `nicproxy run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the cluster's objects come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which device.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Run an embedded NIC with this program in this process instead of using a device
    #[arg(long, value_name = "PROGRAM", conflicts_with = "device")]
    pub embedded: Option<Program>,
    /// Where the embedded NIC serves P4Runtime
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9559",
        requires = "embedded"
    )]
    pub embedded_listen: SocketAddr,
    /// A port of the embedded NIC, as in softnic: NUMBER=tap:IFACE, NUMBER=packet:IFACE, NUMBER=xdp:IFACE,
    /// NUMBER=pcap:IN,OUT
    #[arg(long = "embedded-port", value_name = "PORT", requires = "embedded")]
    pub embedded_ports: Vec<PortSpec>,
    /// Election id; the highest of a role's clients is the primary [default: 1]
    #[arg(long, value_name = "ID")]
    pub election_id: Option<u128>,
    /// Load this when the device runs something else: pna or v1model (bundled), or a P4 file; for softnic
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["p4info", "embedded"])]
    pub program: Option<ProgramArg>,
    /// Load a compiled program: its P4Info
    #[arg(long, value_name = "FILE", requires = "device_config")]
    pub p4info: Option<PathBuf>,
    /// Load a compiled program: the device's configuration (bmv2: the compiler's JSON)
    #[arg(long, value_name = "FILE", requires = "p4info")]
    pub device_config: Option<PathBuf>,
    /// Ports, routes and all other settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the node whose view is programmed [default: the host name]
    #[arg(
        long,
        visible_alias = "node-name",
        value_name = "NAME",
        env = "NODE_NAME"
    )]
    pub hostname_override: Option<String>,
    /// Least time between two writes, after a burst
    #[arg(
        long,
        visible_aliases = ["iptables-min-sync-period", "ipvs-min-sync-period"],
        value_name = "DURATION"
    )]
    pub min_sync_period: Option<Period>,
    /// Half the time that a change may wait before the proxy counts as unhealthy
    #[arg(
        long,
        visible_aliases = ["iptables-sync-period", "ipvs-sync-period"],
        value_name = "DURATION"
    )]
    pub sync_period: Option<Period>,
    /// Ranges of pod addresses
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// Node addresses that answer NodePorts: ranges, or `primary` [default: primary]
    #[arg(long, value_name = "CIDR|primary", value_delimiter = ',')]
    pub nodeport_addresses: Vec<NodePortAddress>,
    /// How pods are told from other clients [default: ClusterCIDR]
    #[arg(long, value_name = "MODE", ignore_case = true)]
    pub detect_local_mode: Option<DetectLocalMode>,
    /// The NIC's port that pods are behind, by name, for BridgeInterface
    #[arg(long, value_name = "NAME")]
    pub pod_bridge_interface: Option<String>,
    /// What the names of the NIC's ports that pods are behind begin with, for InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX")]
    pub pod_interface_name_prefix: Option<String>,
    /// Give every connection to a cluster IP another source address
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub masquerade_all: Option<bool>,
    /// How long an established TCP connection may be idle [default: 120h]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_tcp_timeout_established: Option<Period>,
    /// How long a TCP connection may be idle of which one side is done [default: 1m]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_tcp_timeout_close_wait: Option<Period>,
    /// How long a UDP connection without an answer may be idle [default: 30s]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_udp_timeout: Option<Period>,
    /// How long a UDP connection with answers may be idle [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub conntrack_udp_timeout_stream: Option<Period>,
    /// Which addresses the NIC answers ARP and neighbour solicitations for [default: own]
    #[arg(long, value_name = "WHICH")]
    pub answer_neighbors: Option<AnswerNeighbors>,
    /// Serve Services labelled with this proxy's name, and no others
    #[arg(long, value_name = "NAME")]
    pub service_proxy_name: Option<String>,
    /// Ranges of cluster IPs: unassigned addresses in them are dropped
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub service_cidr: Vec<IpNet>,
    /// Where /healthz and /livez are served; "" for nowhere [default: 0.0.0.0:10256]
    #[arg(long, value_name = "ADDRESS")]
    pub healthz_bind_address: Option<Bind<10256>>,
    /// Where /metrics is served; "" for nowhere [default: 127.0.0.1:10249]
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_bind_address: Option<Bind<10249>>,
    /// Give each endpoint metrics of its own, beside those of its Service: six series per endpoint [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub endpoint_metrics: Option<bool>,
    /// Print the effective configuration and end
    #[arg(long)]
    pub print_config: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Where the cluster's objects come from: one of these.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
pub struct SourceArgs {
    /// A folder or file of manifests, watched for changes
    #[arg(long, value_name = "PATH")]
    pub manifests: Option<PathBuf>,
    /// A cluster, by kubeconfig; without a file $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[allow(
        clippy::option_option,
        reason = "absent, without a file, and with one are three things"
    )]
    pub kubeconfig: Option<Option<PathBuf>>,
    /// The cluster that this pod runs in
    #[arg(long)]
    pub in_cluster: bool,
}

/// Where the cluster's objects come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Files.
    Manifests(PathBuf),
    /// An API server.
    Kubernetes(Access),
}

impl SourceArgs {
    /// The source that was chosen.
    pub fn source(&self) -> Option<Source> {
        match self {
            Self {
                manifests: Some(path),
                ..
            } => Some(Source::Manifests(path.clone())),
            Self {
                kubeconfig: Some(path),
                ..
            } => Some(Source::Kubernetes(Access::Kubeconfig(path.clone()))),
            Self {
                in_cluster: true, ..
            } => Some(Source::Kubernetes(Access::InCluster)),
            Self { .. } => None,
        }
    }
}

/// A P4Runtime server's URL; `host:port` is `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: tonic::transport::Uri = url
            .parse()
            .map_err(|error| format!("{error}; write host:port"))?;
        match (uri.scheme_str(), uri.port()) {
            (Some("http" | "https"), Some(_)) => Ok(Self(url)),
            (Some("http" | "https"), None) => {
                Err("the port is missing; P4Runtime's is 9559".to_owned())
            }
            _ => Err("write http://host:port or https://host:port".to_owned()),
        }
    }
}

/// An address to serve on, with a default port; empty for nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<const PORT: u16>(pub Option<SocketAddr>);

impl<const PORT: u16> FromStr for Bind<PORT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self(Some(address)));
        }
        let ip: IpAddr = text
            .parse()
            .map_err(|_| "write address:port, for instance 0.0.0.0:10256".to_owned())?;
        Ok(Self(Some(SocketAddr::new(ip, PORT))))
    }
}

/// A bundled program's name, or a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramArg(pub PipelineConfig);

impl FromStr for ProgramArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match Program::from_str(text, false) {
            Ok(program) => PipelineConfig::Bundled(program),
            Err(_) => PipelineConfig::Source(Path::new(text).to_owned()),
        }))
    }
}

impl DeviceArgs {
    /// Puts what was given in place of what was configured.
    pub fn apply(&self, config: &mut Config) {
        if let Some(Endpoint(address)) = &self.device {
            config.device.address.clone_from(address);
        }
        let tls = &mut config.device.tls;
        for (given, field) in [
            (&self.device_ca_file, &mut tls.ca_file),
            (&self.device_cert_file, &mut tls.cert_file),
            (&self.device_key_file, &mut tls.key_file),
        ] {
            if given.is_some() {
                field.clone_from(given);
            }
        }
        if self.device_server_name.is_some() {
            tls.server_name.clone_from(&self.device_server_name);
        }
        if let Some(id) = self.device_id {
            config.device.device_id = id;
        }
        if let Some(role) = &self.role {
            config.device.role.clone_from(role);
        }
    }
}

impl RunArgs {
    /// The effective configuration.
    ///
    /// # Errors
    /// When the file is wrong, or file and flags together make no sense.
    pub fn effective(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        self.device.apply(&mut config);
        if let Some(id) = self.election_id {
            config.device.election_id = id;
        }
        if let Some(program) = self.embedded {
            config.device.address = format!("http://{}", self.embedded_listen);
            config.device.pipeline = Some(PipelineConfig::Bundled(program));
        }
        if let Some(ProgramArg(pipeline)) = &self.program {
            config.device.pipeline = Some(pipeline.clone());
        }
        if let (Some(p4info), Some(device_config)) = (&self.p4info, &self.device_config) {
            let (p4info, device_config) = (p4info.clone(), device_config.clone());
            config.device.pipeline = Some(PipelineConfig::Compiled {
                p4info,
                device_config,
            });
        }
        if config.nics.is_some() && (self.embedded.is_some() || self.device.device.is_some()) {
            return Err(ConfigError::Invalid(vec![Problem {
                field: "nics".to_owned(),
                what:
                    "--device and --embedded are about one NIC, this is about those of many nodes"
                        .to_owned(),
                advice: "leave the flag out, or `nics`",
            }]));
        }
        self.apply_settings(&mut config);
        config.validate()?;
        Ok(config)
    }

    fn apply_settings(&self, config: &mut Config) {
        if let Some(name) = &self.hostname_override {
            config.node_name.clone_from(name);
        }
        if config.node_name.is_empty() {
            config.node_name = host_name();
        }
        if let Some(period) = self.min_sync_period {
            config.sync.min_sync_period = period;
        }
        if let Some(period) = self.sync_period {
            config.sync.sync_period = period;
        }
        if !self.cluster_cidr.is_empty() {
            config.cluster_cidrs.clone_from(&self.cluster_cidr);
        }
        if !self.service_cidr.is_empty() {
            config.service_cidrs.clone_from(&self.service_cidr);
        }
        if !self.nodeport_addresses.is_empty() {
            config
                .nodeport_addresses
                .clone_from(&self.nodeport_addresses);
        }
        if let Some(mode) = self.detect_local_mode {
            config.detect_local_mode = mode;
        }
        for (given, field) in [
            (&self.pod_bridge_interface, &mut config.pod_bridge_interface),
            (
                &self.pod_interface_name_prefix,
                &mut config.pod_interface_name_prefix,
            ),
            (&self.service_proxy_name, &mut config.proxy_name),
        ] {
            if let Some(name) = given {
                field.clone_from(name);
            }
        }
        let times = &mut config.conntrack;
        for (given, field) in [
            (
                self.conntrack_tcp_timeout_established,
                &mut times.tcp_established,
            ),
            (
                self.conntrack_tcp_timeout_close_wait,
                &mut times.tcp_close_wait,
            ),
            (self.conntrack_udp_timeout, &mut times.udp),
            (self.conntrack_udp_timeout_stream, &mut times.udp_stream),
        ] {
            // As in kube-proxy, 0 leaves it as it is.
            if let Some(period) = given.filter(|period| !period.0.is_zero()) {
                *field = period;
            }
        }
        if let Some(all) = self.masquerade_all {
            config.masquerade_all = all;
        }
        if let Some(which) = self.answer_neighbors {
            config.answer_neighbors = which;
        }
        if let Some(each) = self.endpoint_metrics {
            config.endpoint_metrics = each;
        }
        if let Some(Bind(address)) = self.healthz_bind_address {
            config.healthz_bind_address = address;
        }
        if let Some(Bind(address)) = self.metrics_bind_address {
            config.metrics_bind_address = address;
        }
    }
}

/// The host's name in lower case, as kubelet registers nodes; empty if there is none.
pub(super) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_lowercase()
}
