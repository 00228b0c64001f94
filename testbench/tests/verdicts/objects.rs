//! The objects: one Service per case, dual-stack, TCP and UDP, with every kind of address.
//!
//! In: nothing. Out: manifests. Service number n has the cluster IPs 10.96.7.n and fd00:10:96::7:n, the load balancer's
//! 203.0.113.n and 2001:db8:1::n, the external 198.51.100.n and 2001:db8:2::n, the node ports 30000+n (TCP) and 30100+n
//! (UDP).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use testbench::netns::place::Place;
use testbench::site::TARGET_PORT;

/// The cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Case {
    /// Policy Cluster, four endpoints on other nodes.
    Web = 1,
    /// externalTrafficPolicy Local, endpoints here and elsewhere.
    Local,
    /// externalTrafficPolicy Local, endpoints elsewhere only.
    LocalAway,
    /// internalTrafficPolicy Local, endpoints here and elsewhere.
    Internal,
    /// internalTrafficPolicy Local, endpoints elsewhere only.
    InternalAway,
    /// No endpoint at all.
    Empty,
    /// Both policies Local, no endpoint at all.
    EmptyLocal,
    /// Source ranges that have every client.
    Admitted,
    /// Source ranges that have no client.
    Barred,
    /// Source ranges that have no client, and no endpoint.
    BarredEmpty,
    /// The client pod itself is the only endpoint.
    Hairpin,
    /// The other pod of the client's node is the only endpoint.
    Beside,
    /// All endpoints terminate, and serve.
    Terminating,
    /// No endpoint is ready.
    Unready,
    /// Clients keep their endpoint.
    Sticky,
    /// The load balancer is a proxy: its address is none of ours.
    Proxied,
    /// Both policies Local, an endpoint here and others elsewhere, clients keep their endpoint.
    StickyLocal,
}

impl Case {
    pub const ALL: [Self; 17] = [
        Self::Web,
        Self::Local,
        Self::LocalAway,
        Self::Internal,
        Self::InternalAway,
        Self::Empty,
        Self::EmptyLocal,
        Self::Admitted,
        Self::Barred,
        Self::BarredEmpty,
        Self::Hairpin,
        Self::Beside,
        Self::Terminating,
        Self::Unready,
        Self::Sticky,
        Self::Proxied,
        Self::StickyLocal,
    ];

    fn number(self) -> u8 {
        self as u8
    }

    /// Name of the Service.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Its cluster IP of a family.
    pub fn cluster_ip(self, v6: bool) -> IpAddr {
        address(v6, [10, 96, 7], [0xfd00, 0x10, 0x96, 7], self.number())
    }

    /// Its load balancer's address.
    pub fn load_balancer(self, v6: bool) -> IpAddr {
        address(v6, [203, 0, 113], [0x2001, 0xdb8, 1, 0], self.number())
    }

    /// Its external address.
    pub fn external(self, v6: bool) -> IpAddr {
        address(v6, [198, 51, 100], [0x2001, 0xdb8, 2, 0], self.number())
    }

    /// Its node port.
    pub fn node_port(self, udp: bool) -> u16 {
        let base = if udp { 30_100 } else { 30_000 };
        base + u16::from(self.number())
    }

    /// What the case adds to the Service's spec.
    fn spec(self) -> &'static str {
        match self {
            Self::Local | Self::LocalAway => "  externalTrafficPolicy: Local\n",
            Self::Internal | Self::InternalAway => "  internalTrafficPolicy: Local\n",
            Self::EmptyLocal => "  externalTrafficPolicy: Local\n  internalTrafficPolicy: Local\n",
            Self::Admitted => {
                "  loadBalancerSourceRanges: [192.168.7.0/24, 10.244.0.0/16, \"fd00:7::/64\", \"fd00:10:244::/48\"]\n"
            }
            Self::Barred | Self::BarredEmpty => {
                "  loadBalancerSourceRanges: [198.18.0.0/15, \"2001:db8:ffff::/48\"]\n"
            }
            Self::Sticky => "  sessionAffinity: ClientIP\n",
            Self::StickyLocal => {
                "  sessionAffinity: ClientIP\n  externalTrafficPolicy: Local\n  internalTrafficPolicy: Local\n"
            }
            _ => "",
        }
    }

    /// Nodes and pods of its endpoints.
    fn endpoints(self) -> &'static [(u8, u8)] {
        match self {
            Self::Empty | Self::EmptyLocal | Self::BarredEmpty => &[],
            Self::Local | Self::Internal | Self::StickyLocal => &[(0, 2), (1, 1), (2, 1)],
            Self::Hairpin => &[(0, 1)],
            Self::Beside => &[(0, 2)],
            _ => &[(1, 1), (1, 2), (2, 1), (2, 2)],
        }
    }

    fn conditions(self) -> &'static str {
        match self {
            Self::Terminating => "{ready: false, serving: true, terminating: true}",
            Self::Unready => "{ready: false, serving: false, terminating: false}",
            _ => "{ready: true, serving: true, terminating: false}",
        }
    }
}

fn address(v6: bool, v4: [u8; 3], halves: [u16; 4], number: u8) -> IpAddr {
    if v6 {
        let [a, b, c, d] = halves;
        Ipv6Addr::new(a, b, c, 0, 0, 0, d, u16::from(number)).into()
    } else {
        Ipv4Addr::new(v4[0], v4[1], v4[2], number).into()
    }
}

const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

/// The cluster's nodes, as kubelets would have registered them.
pub fn nodes() -> String {
    let mut text = String::from("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n");
    for (place, name) in (0..).map(Place).zip(NODES) {
        let [v4, v6] = place.hosts();
        let (pods_v4, pods_v6) = (place.pod_v4(0), place.pod_v6(0));
        let _ = writeln!(
            text,
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
             spec: {{podCIDRs: [\"{pods_v4}/24\", \"{pods_v6}/64\"]}}\n\
             status: {{addresses: [{{type: InternalIP, address: \"{v4}\"}}, {{type: InternalIP, address: \"{v6}\"}}]}}"
        );
    }
    text
}

/// All Services with their slices.
pub fn services() -> String {
    Case::ALL.into_iter().map(service).collect()
}

fn service(case: Case) -> String {
    let name = case.name();
    let mode = match case {
        Case::Proxied => "Proxy",
        _ => "VIP",
    };
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         type: LoadBalancer\n  clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n  \
         ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]\n  \
         externalIPs: [{e4}, \"{e6}\"]\n{spec}  ports:\n    \
         - {{name: web, port: 80, targetPort: {TARGET_PORT}, nodePort: {tcp}}}\n    \
         - {{name: echo, port: 7, targetPort: {TARGET_PORT}, protocol: UDP, nodePort: {udp}}}\n\
         status:\n  loadBalancer:\n    ingress: [{{ip: {l4}, ipMode: {mode}}}, {{ip: \"{l6}\", ipMode: {mode}}}]\n",
        v4 = case.cluster_ip(false),
        v6 = case.cluster_ip(true),
        e4 = case.external(false),
        e6 = case.external(true),
        l4 = case.load_balancer(false),
        l6 = case.load_balancer(true),
        spec = case.spec(),
        tcp = case.node_port(false),
        udp = case.node_port(true),
    );
    for (family, v6) in [("IPv4", false), ("IPv6", true)] {
        let _ = writeln!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {name}-{suffix}\n  namespace: shop\n  labels: {{kubernetes.io/service-name: {name}}}\n\
             addressType: {family}\nports:\n  \
             - {{name: web, protocol: TCP, port: {TARGET_PORT}}}\n  \
             - {{name: echo, protocol: UDP, port: {TARGET_PORT}}}\nendpoints:",
            suffix = family.to_lowercase(),
        );
        for &(node, pod) in case.endpoints() {
            let address = Place(node).pods(pod)[usize::from(v6)];
            let _ = writeln!(
                text,
                "  - {{addresses: [\"{address}\"], nodeName: {}, conditions: {}}}",
                NODES[usize::from(node)],
                case.conditions(),
            );
        }
        if case.endpoints().is_empty() {
            text.push_str("  []\n");
        }
    }
    text
}
