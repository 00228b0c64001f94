//! What a deployment says of its Services: which node addresses answer, who counts as a pod, which source addresses
//! connections get, and how packets reach pods.
//!
//! In: parts of the configuration file. Out: the same as the stages take it. Invariant: as everywhere in the
//! configuration, a wrong value is named with its field and with what to do.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Config, Mac, NextHopConfig, Problem};
use crate::compile::{Attachment, MasqueradeAddress, PortRange, Vport, VportKey};
use crate::model::{Family, address};
use crate::resolve::{Detector, NodePortAddresses, Viewpoint};
use crate::slowpath::SourcePorts;
use crate::tables::tunnel;

/// `apiVersion` of configuration files.
pub const API_VERSION: &str = "nicproxy.dev/v1alpha1";
/// `kind` of configuration files.
pub const KIND: &str = "NicProxyConfiguration";

/// `primary`, or a range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortAddress {
    /// The node's primary address of each family.
    Primary,
    /// Addresses in this range.
    Range(IpNet),
}

impl FromStr for NodePortAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "primary" => Ok(Self::Primary),
            range => address::parse_net(range)
                .map(Self::Range)
                .map_err(|error| format!("{error}; write `primary` or a range as 192.0.2.0/24")),
        }
    }
}

impl std::fmt::Display for NodePortAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Primary => f.write_str("primary"),
            Self::Range(range) => range.fmt(f),
        }
    }
}

impl Serialize for NodePortAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodePortAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How pods are told from other clients (kube-proxy's `--detect-local-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum DetectLocalMode {
    /// By `cluster_cidrs`; without any, pods cannot be told from others.
    #[default]
    #[serde(rename = "ClusterCIDR")]
    #[value(name = "ClusterCIDR")]
    ClusterCidr,
    /// By `spec.podCIDRs` of this node.
    #[serde(rename = "NodeCIDR")]
    #[value(name = "NodeCIDR")]
    NodeCidr,
    /// By the port of the NIC named `pod_bridge_interface`: what routes lead to through it.
    #[value(name = "BridgeInterface")]
    BridgeInterface,
    /// By all ports of the NIC whose name begins with `pod_interface_name_prefix`.
    #[value(name = "InterfaceNamePrefix")]
    InterfaceNamePrefix,
}

/// Which addresses the NIC answers ARP requests and neighbour solicitations for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerNeighbors {
    /// None: they are routed to the NIC, or the neighbours are told by hand.
    None,
    /// `masquerade.addresses`, which nobody else has.
    #[default]
    Own,
    /// Those, and addresses of load balancers that Services have. For one NIC per link: all that are told so answer.
    LoadBalancers,
}

/// Where the NIC sits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentConfig {
    /// All packets of pods cross the NIC, as with a port per pod.
    #[default]
    Vport,
    /// Between the node and the network: packets between pods of this node do not cross it.
    BumpInTheWire,
}

/// The port of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VportConfig {
    /// The pod's address; or else `device`.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// PCI address or representor, as the CNI's annotation `k8s.v1.cni.cncf.io/network-status` names it.
    #[serde(default)]
    pub device: Option<String>,
    /// Port.
    pub port: u32,
    /// Source address of the frames; none: the port's.
    #[serde(default)]
    pub src_mac: Option<Mac>,
    /// The pod's MAC address; none: the one that the CNI's annotation names.
    #[serde(default)]
    pub dst_mac: Option<Mac>,
}

/// Source addresses that connections get.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MasqueradeConfig {
    /// Addresses other than the node's primary one. The NIC answers ARP and neighbour solicitations for them.
    pub addresses: Vec<MasqueradeAddressConfig>,
    /// Source ports of connections that get the node's primary address, which the node itself uses too.
    pub node_ports: PortRangeConfig,
}

/// One source address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasqueradeAddressConfig {
    /// The address.
    pub address: IpAddr,
    /// For connections whose client and endpoint are on one side of the NIC; else for those that leave the node.
    #[serde(default)]
    pub local: bool,
    /// Source ports; the address is the NIC's alone.
    #[serde(default = "PortRangeConfig::of_an_own_address")]
    pub ports: PortRangeConfig,
}

/// Ports from `first`; as many as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRangeConfig {
    /// The lowest port.
    pub first: u16,
    /// How many: a power of two.
    pub count: u32,
}

impl PortRangeConfig {
    fn of_an_own_address() -> Self {
        Self {
            first: 32_768,
            count: 32_768,
        }
    }

    fn range(self) -> PortRange {
        PortRange {
            base: self.first,
            mask: self.count.saturating_sub(1).min(0xffff) as u16,
        }
    }

    fn is_whole(self) -> bool {
        let fits = u64::from(self.first) + u64::from(self.count) <= 65_536;
        self.first > 0 && self.count.is_power_of_two() && fits
    }
}

impl Default for PortRangeConfig {
    fn default() -> Self {
        let PortRange { base, mask } = PortRange::default();
        Self {
            first: base,
            count: u32::from(mask) + 1,
        }
    }
}

/// How packets of Services with direct server return reach endpoints, per family of the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DsrConfig {
    /// IPv4 endpoints; none: such Services are translated.
    pub ipv4: Option<TunnelConfig>,
    /// IPv6 endpoints; none: such Services are translated.
    pub ipv6: Option<TunnelConfig>,
}

/// A way to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TunnelConfig {
    /// IP in IP.
    Ipip {
        /// Outer source address.
        source: IpAddr,
    },
    /// Generic UDP encapsulation, variant 1.
    Gue {
        /// Outer source address.
        source: IpAddr,
        /// Outer destination port.
        #[serde(default = "gue_port")]
        port: u16,
    },
    /// A frame to the endpoint: it has to be on the same link as the NIC.
    SameL2,
}

fn gue_port() -> u16 {
    6080
}

/// An expiry profile of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AffinityProfileConfig {
    /// Number in the program.
    pub profile: u8,
    /// Idle seconds that it lasts.
    pub seconds: u32,
}

impl AffinityProfileConfig {
    /// What PNA devices start with (DPDK's first five) and what softnic has beside: established and closing TCP
    /// connections, Kubernetes' default timeout and the longest one, and times between. DPDK takes no more than sixteen.
    pub fn usual() -> Vec<Self> {
        [
            (0, 10),
            (1, 30),
            (2, 60),
            (3, 120),
            (4, 300),
            (5, 432_000),
            (6, 10_800),
            (7, 60),
            (8, 86_400),
            (9, 1),
            (10, 2),
            (11, 5),
            (12, 600),
            (13, 1_800),
            (14, 3_600),
            (15, 21_600),
        ]
        .map(|(profile, seconds)| Self { profile, seconds })
        .to_vec()
    }
}

impl Config {
    /// From where the cluster is looked at.
    pub fn viewpoint(&self) -> Viewpoint {
        let mut node_ports = NodePortAddresses::default();
        for address in &self.nodeport_addresses {
            match address {
                NodePortAddress::Primary => node_ports.primary = true,
                NodePortAddress::Range(range) => node_ports.ranges.push(*range),
            }
        }
        Viewpoint {
            node: (!self.node_name.is_empty()).then(|| self.node_name.as_str().into()),
            proxy_name: (!self.proxy_name.is_empty()).then(|| self.proxy_name.as_str().into()),
            addresses: self.node_addresses.clone(),
            node_ports,
            detector: self.detector(),
            masquerade_all: self.masquerade_all,
            answers_for_load_balancers: self.answer_neighbors == AnswerNeighbors::LoadBalancers,
            tunnels: self
                .tunnels()
                .into_iter()
                .map(|(family, _)| family)
                .collect(),
        }
    }

    fn detector(&self) -> Detector {
        let named = |fits: &dyn Fn(&str) -> bool| {
            let ports = self
                .ports
                .iter()
                .filter(|p| p.name.as_deref().is_some_and(fits));
            Detector::Ports(ports.map(|port| port.port).collect())
        };
        match self.detect_local_mode {
            DetectLocalMode::ClusterCidr if self.cluster_cidrs.is_empty() => Detector::None,
            DetectLocalMode::ClusterCidr => {
                Detector::ClusterCidr(self.cluster_cidrs.iter().map(IpNet::trunc).collect())
            }
            DetectLocalMode::NodeCidr => Detector::NodeCidr,
            DetectLocalMode::BridgeInterface => named(&|name| name == self.pod_bridge_interface),
            DetectLocalMode::InterfaceNamePrefix => {
                named(&|name| name.starts_with(&self.pod_interface_name_prefix))
            }
        }
    }

    pub(super) fn tunnels(&self) -> Vec<(Family, tunnel::Action)> {
        let ways = [(Family::V4, self.dsr.ipv4), (Family::V6, self.dsr.ipv6)];
        let known = ways.into_iter().filter_map(|(family, way)| {
            let action = match way? {
                TunnelConfig::Ipip { source } => tunnel::Action::Ipip {
                    source: source.into(),
                },
                TunnelConfig::Gue { source, port } => tunnel::Action::Gue {
                    source: source.into(),
                    port,
                },
                TunnelConfig::SameL2 => tunnel::Action::SameL2,
            };
            Some((family, action))
        });
        known.collect()
    }

    pub(super) fn attachment(&self) -> Attachment {
        match self.attachment {
            AttachmentConfig::Vport => Attachment::Vport,
            AttachmentConfig::BumpInTheWire => Attachment::BumpInTheWire,
        }
    }

    pub(super) fn masquerade_addresses(&self) -> Vec<MasqueradeAddress> {
        let given = self.masquerade.addresses.iter();
        let all = given.map(|own| MasqueradeAddress {
            local: own.local,
            address: own.address,
            ports: own.ports.range(),
        });
        all.collect()
    }

    pub(super) fn masquerade_ports(&self) -> PortRange {
        self.masquerade.node_ports.range()
    }

    /// Profiles by id, with their seconds. Those that are shared with connections follow their times unless others are
    /// given.
    pub(super) fn affinity_profiles(&self) -> Vec<(u8, u32)> {
        let given = self.affinity_profiles.iter();
        let given = given.map(|one| (one.profile, one.seconds));
        if self.affinity_profiles != AffinityProfileConfig::usual() {
            return given.collect();
        }
        let second = 1_000_000_000;
        let mut all: Vec<u64> = given
            .map(|(_, seconds)| u64::from(seconds) * second)
            .collect();
        self.conntrack.profiles(&mut all);
        let seconds = |lasts: u64| u32::try_from(lasts / second).unwrap_or(u32::MAX);
        (0..)
            .zip(all)
            .map(|(profile, lasts)| (profile, seconds(lasts)))
            .collect()
    }

    /// Source ports for connections whose own is taken.
    pub fn source_ports(&self) -> SourcePorts {
        let own = self.masquerade.addresses.iter();
        SourcePorts {
            node: self.masquerade_ports(),
            own: own
                .map(|own| (own.address.into(), own.ports.range()))
                .collect(),
        }
    }

    pub(super) fn vport_table(&self) -> Vec<Vport> {
        let given = self.vports.iter().filter_map(|vport| {
            let pod = match (&vport.address, &vport.device) {
                (Some(address), _) => VportKey::Address(*address),
                (None, Some(device)) => VportKey::Device(device.as_str().into()),
                (None, None) => return None,
            };
            let hop = self.hop(&NextHopConfig {
                port: vport.port,
                src_mac: vport.src_mac,
                dst_mac: vport.dst_mac.unwrap_or(Mac([0; 6])),
            })?;
            Some(Vport { pod, hop })
        });
        given.collect()
    }

    /// The CNI's annotations have to be read: some pod's port is found by its device.
    pub fn needs_pods(&self) -> bool {
        self.vports.iter().any(|vport| vport.device.is_some())
    }

    pub(super) fn check_services(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |field: &str, what: String, advice| {
            problems.push(Problem {
                field: field.to_owned(),
                what,
                advice,
            });
        };
        for (field, given, wanted) in [
            ("apiVersion", &self.api_version, API_VERSION),
            ("kind", &self.kind, KIND),
        ] {
            if given != wanted {
                let advice = "this version reads apiVersion nicproxy.dev/v1alpha1, kind NicProxyConfiguration";
                wrong(field, format!("`{given}` is another kind of file"), advice);
            }
        }
        self.check_detector(&mut wrong);
        self.check_vports(&mut wrong);
        self.check_source_addresses(&mut wrong);
        for (field, way, family) in [
            ("dsr.ipv4", self.dsr.ipv4, Family::V4),
            ("dsr.ipv6", self.dsr.ipv6, Family::V6),
        ] {
            if let Some(TunnelConfig::Ipip { source } | TunnelConfig::Gue { source, .. }) = way
                && Family::of(source) != family
            {
                let advice = "give an address of the endpoints' family";
                wrong(
                    field,
                    format!("{source} cannot send to {family} endpoints"),
                    advice,
                );
            }
        }
        if self.affinity_profiles.is_empty() {
            let advice = "name the profiles of the device, or leave the field out";
            let what = "a device that learns would never forget a client".to_owned();
            wrong("affinity_profiles", what, advice);
        }
        for (at, one) in self.affinity_profiles.iter().enumerate() {
            if one.profile == crate::tables::frontend::NO_PROFILE || one.seconds == 0 {
                let advice =
                    "give the number of a profile of the program, below 255, and its seconds";
                let field = format!("affinity_profiles[{at}]");
                wrong(&field, "this is no profile".to_owned(), advice);
            }
        }
    }

    fn check_detector(&self, wrong: &mut impl FnMut(&str, String, &'static str)) {
        let finds_ports = !matches!(self.detector(), Detector::Ports(ports) if ports.is_empty());
        let advice = "name ports of the NIC with `ports[].name`";
        match self.detect_local_mode {
            DetectLocalMode::BridgeInterface if !finds_ports => {
                let what = format!("no port is named `{}`", self.pod_bridge_interface);
                wrong("pod_bridge_interface", what, advice);
            }
            DetectLocalMode::InterfaceNamePrefix
                if self.pod_interface_name_prefix.is_empty() || !finds_ports =>
            {
                let prefix = &self.pod_interface_name_prefix;
                let what = format!("no port has a name that begins with `{prefix}`");
                wrong("pod_interface_name_prefix", what, advice);
            }
            _ => {}
        }
    }

    fn check_vports(&self, wrong: &mut impl FnMut(&str, String, &'static str)) {
        for (at, vport) in self.vports.iter().enumerate() {
            let field = format!("vports[{at}]");
            if vport.address.is_some() == vport.device.is_some() {
                let advice = "give `address` or `device`, one of the two";
                wrong(&field, "it is unclear which pod this is".to_owned(), advice);
            }
            if vport.address.is_some() && vport.dst_mac.is_none() {
                let advice = "give `dst_mac`: the pod's MAC address";
                wrong(
                    &field,
                    "frames to the pod have no destination".to_owned(),
                    advice,
                );
            }
            match self.ports.iter().find(|port| port.port == vport.port) {
                None => {
                    let what = format!("there is no port {}", vport.port);
                    wrong(&field, what, "add it to `ports`");
                }
                Some(port) if port.mac.is_none() && vport.src_mac.is_none() => {
                    let advice = "give the port a `mac`, or this a `src_mac`";
                    wrong(
                        &field,
                        "there is no MAC address to send from".to_owned(),
                        advice,
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn check_source_addresses(&self, wrong: &mut impl FnMut(&str, String, &'static str)) {
        let advice =
            "give `first` from 1 and a `count` that is a power of two, ending at 65535 at most";
        let not_whole = "this is no range of ports";
        if !self.masquerade.node_ports.is_whole() {
            wrong("masquerade.node_ports", not_whole.to_owned(), advice);
        }
        let mut seen = Vec::new();
        for (at, own) in self.masquerade.addresses.iter().enumerate() {
            let field = format!("masquerade.addresses[{at}]");
            if !own.ports.is_whole() {
                wrong(&field, not_whole.to_owned(), advice);
            }
            let key = (Family::of(own.address), own.local);
            if seen.contains(&key) {
                let what = format!("there is another {} address before {}", key.0, own.address);
                wrong(
                    &field,
                    what,
                    "keep one per family with `local: true` and one without",
                );
            }
            seen.push(key);
        }
    }
}
