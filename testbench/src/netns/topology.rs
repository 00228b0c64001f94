//! A small cluster on one machine: a client node with its NIC, two backend nodes, an outside client.
//!
//! ```text
//!  bump in the wire, wire                       vports
//!
//!  pod ─┐                                       pod ──────────── vport1│
//!       ├ node-a ══ host│ NIC │network ══╗      peer ─────────── vport2│ NIC │network ══╗
//!  peer ┘                                ║      node-a ══════════ host │                ║
//!                                        ╠══ fabric (bridge) ══ outside                 ╠══ as left
//!  pods ── node-b ═══════════════════════╣
//!  pods ── node-c ═══════════════════════╝
//! ```
//!
//! In: how the cables are, where the NIC is. Out: namespaces with IPv4 and IPv6 addresses; pods are addresses of their
//! node but for the two pods of the client node, which have namespaces of their own. The NIC's namespace has the NIC's
//! interfaces and nothing else; as a plain wire it is a bridge, for what needs no NIC.

use super::cable::{End, Quality, connect};
pub use super::place::Place;
use super::{Namespace, NetnsError};

/// Interface of the NIC on the node's side.
pub const HOST_PORT: &str = "host";
/// Interface of the NIC on the network's side.
pub const NETWORK_PORT: &str = "network";
/// Interfaces of the NIC at the client node's pods.
pub const POD_PORTS: [&str; 2] = ["vport1", "vport2"];
/// The address that stands for a gateway in routes through the NIC: the NIC rewrites whatever goes there.
const GATEWAY_MAC: &str = "02:00:00:00:00:fe";
/// Source addresses that belong to the NIC, on the node's link: for connections whose client and endpoint are on the node.
pub const NIC_ADDRESSES: [&str; 2] = ["192.168.7.250", "fd00:7::fa"];
/// The node as pods' gateway, on every cable to a pod.
const POD_GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::fe"];
/// Addresses that the client node has beside its primary ones.
pub const NODE_SECOND_ADDRESSES: [&str; 2] = ["172.16.0.1", "2001:db8:99::1"];
/// Ethernet addresses of the client node's pods.
const POD_MACS: [&str; 2] = ["02:00:00:00:00:10", "02:00:00:00:00:12"];

/// Where the NIC is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// Between the node and the network.
    BumpInTheWire,
    /// Between everything: each pod of the node has a port.
    Vports,
    /// Nowhere: node and network are connected.
    Wire,
}

/// The namespaces.
#[derive(Debug)]
pub struct Topology {
    /// The client pod of the client node.
    pub pod: Namespace,
    /// Another pod of the client node.
    pub peer: Namespace,
    /// The client node.
    pub node: Namespace,
    /// The NIC of the client node.
    pub nic: Namespace,
    /// The backend nodes.
    pub backends: Vec<Namespace>,
    /// A host of the same network that is no node.
    pub outside: Namespace,
    attachment: Attachment,
    fabric: Namespace,
}

/// Backend nodes, and pods on each.
const BACKENDS: u8 = 2;
/// Pods per backend node.
pub const PODS: u8 = 2;

fn end<'a>(namespace: &'a Namespace, interface: &'a str, mac: &'a str) -> End<'a> {
    End {
        namespace,
        interface,
        mac,
    }
}

/// What `ip` wants to hear before words about this address.
fn family(address: &str) -> &'static str {
    if address.contains(':') { "-6 " } else { "" }
}

/// An address as a range of its own.
fn alone(address: std::net::IpAddr) -> String {
    ipnet::IpNet::from(address).to_string()
}

impl Topology {
    /// Builds it.
    ///
    /// # Errors
    /// When the system lets us make no namespaces or interfaces.
    pub fn new(quality: Quality, attachment: Attachment) -> Result<Self, NetnsError> {
        let fabric = Namespace::new("fabric")?;
        fabric.ip("link add bridge type bridge")?;
        fabric.ip("link set bridge up")?;
        let topology = Self {
            pod: Namespace::new("pod")?,
            peer: Namespace::new("peer")?,
            node: Namespace::new("node")?,
            nic: Namespace::new("nic")?,
            backends: (0..BACKENDS)
                .map(|_| Namespace::new("backend"))
                .collect::<Result<_, _>>()?,
            outside: Namespace::new("outside")?,
            attachment,
            fabric,
        };
        topology.cable(quality)?;
        topology.address_hosts()?;
        topology.address_pods()?;
        if attachment == Attachment::Wire {
            topology.bridge_the_nic()?;
        }
        Ok(topology)
    }

    fn cable(&self, quality: Quality) -> Result<(), NetnsError> {
        let node_mac = Place(0).mac();
        connect(
            end(&self.node, "eth0", &node_mac),
            end(&self.nic, HOST_PORT, "02:00:00:00:00:01"),
            quality,
        )?;
        for (at, pod) in [&self.pod, &self.peer].into_iter().enumerate() {
            let (port, port_mac) = (format!("pod{at}"), format!("02:00:00:00:09:{at:02x}"));
            let far = match self.attachment {
                Attachment::Vports => end(&self.nic, POD_PORTS[at], &port_mac),
                _ => end(&self.node, &port, &port_mac),
            };
            connect(end(pod, "eth0", POD_MACS[at]), far, quality)?;
        }
        // The NIC's interfaces are its ports: the namespace's own stack keeps out of them.
        self.nic.sysctl("net.ipv4.ip_forward", "0")?;
        self.nic.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        let outside_mac = Place::OUTSIDE.mac();
        let mut far = vec![
            (&self.nic, NETWORK_PORT, "02:00:00:00:00:02".to_owned()),
            (&self.outside, "eth0", outside_mac),
        ];
        for (at, backend) in self.backends.iter().enumerate() {
            far.push((backend, "eth0", Place(at as u8 + 1).mac()));
        }
        for (at, (namespace, interface, mac)) in far.iter().enumerate() {
            let (port, port_mac) = (format!("port{at}"), format!("02:00:00:00:08:{at:02x}"));
            connect(
                end(namespace, interface, mac),
                end(&self.fabric, &port, &port_mac),
                quality,
            )?;
            self.fabric.ip(&format!("link set {port} master bridge"))?;
        }
        Ok(())
    }

    fn address_hosts(&self) -> Result<(), NetnsError> {
        let everybody = |f: &dyn Fn(&Namespace, Place) -> Result<(), NetnsError>| {
            f(&self.node, Place(0))?;
            f(&self.outside, Place::OUTSIDE)?;
            self.backends
                .iter()
                .zip(1..)
                .try_for_each(|(backend, at)| f(backend, Place(at)))
        };
        everybody(&|host, place| {
            host.ip(&format!("addr add {}/24 dev eth0", place.v4()))?;
            host.ip(&format!("addr add {}/64 dev eth0 nodad", place.v6()))
                .map(drop)
        })?;
        // Everybody reaches every node's pods by the node.
        everybody(&|host, place| {
            for other in (0..=BACKENDS).map(Place).filter(|&other| other != place) {
                let (v4, v6) = (other.pod_v4(0), other.pod_v6(0));
                host.ip(&format!("route add {v4}/24 via {}", other.v4()))?;
                host.ip(&format!("route add {v6}/64 via {}", other.v6()))?;
            }
            Ok(())
        })?;
        for (backend, at) in self.backends.iter().zip(1..) {
            for address in (1..=PODS).flat_map(|pod| Place(at).pods(pod)) {
                backend.ip(&format!("addr add {} dev lo", alone(address)))?;
            }
        }
        Ok(())
    }

    fn address_pods(&self) -> Result<(), NetnsError> {
        for (address, range) in NODE_SECOND_ADDRESSES.into_iter().zip(["/32", "/128"]) {
            self.node
                .ip(&format!("addr add {address}{range} dev eth0"))?;
            self.route_to_node(&format!("{address}{range}"))?;
        }
        for (at, pod) in [&self.pod, &self.peer].into_iter().enumerate() {
            let number = at as u8 + 1;
            if self.attachment != Attachment::Vports {
                self.node.ip(&format!(
                    "addr add {}/32 dev pod{at} scope link",
                    POD_GATEWAYS[0]
                ))?;
                self.node.ip(&format!(
                    "addr add {}/64 dev pod{at} nodad",
                    POD_GATEWAYS[1]
                ))?;
            }
            for (address, gateway) in Place(0).pods(number).into_iter().zip(POD_GATEWAYS) {
                let (own, v6) = (alone(address), family(gateway));
                pod.ip(&format!("addr add {own} dev eth0"))?;
                if self.attachment == Attachment::Vports {
                    pod.ip(&format!(
                        "{v6}neigh replace {gateway} lladdr {GATEWAY_MAC} dev eth0"
                    ))?;
                    self.route_through_nic(&own)?;
                } else {
                    self.node.ip(&format!("{v6}route add {own} dev pod{at}"))?;
                }
                if v6.is_empty() {
                    pod.ip(&format!("route add {gateway} dev eth0"))?;
                }
                pod.ip(&format!("{v6}route add default via {gateway} dev eth0"))?;
            }
        }
        Ok(())
    }

    fn bridge_the_nic(&self) -> Result<(), NetnsError> {
        self.nic.ip("link add wire type bridge")?;
        for port in [HOST_PORT, NETWORK_PORT] {
            self.nic.ip(&format!("link set {port} master wire"))?;
        }
        self.nic.ip("link set wire up").map(drop)
    }

    /// Routes a range of the node's traffic through the NIC, to no host in particular.
    ///
    /// # Errors
    /// When the range is none.
    pub fn route_through_nic(&self, range: &str) -> Result<(), NetnsError> {
        let v6 = family(range);
        let gateway = match v6.is_empty() {
            true => "192.168.7.254",
            false => "fd00:7::fe",
        };
        self.node.ip(&format!(
            "{v6}neigh replace {gateway} lladdr {GATEWAY_MAC} dev eth0"
        ))?;
        self.node
            .ip(&format!("{v6}route replace {range} via {gateway} dev eth0"))?;
        Ok(())
    }

    /// Sends a range of the outside client's traffic to the client node, as a router of load balancer addresses does.
    ///
    /// # Errors
    /// When the range is none.
    pub fn route_to_node(&self, range: &str) -> Result<(), NetnsError> {
        let node = match range.contains(':') {
            true => Place(0).v6().to_string(),
            false => Place(0).v4().to_string(),
        };
        self.outside
            .ip(&format!("route replace {range} via {node}"))
            .map(drop)
    }

    /// The NIC's interfaces, by port.
    pub fn ports(&self) -> Vec<(u32, &'static str)> {
        let mut ports = vec![(1, HOST_PORT), (2, NETWORK_PORT)];
        if self.attachment == Attachment::Vports {
            ports.extend((3..).zip(POD_PORTS));
        }
        ports
    }

    /// The NIC's ports as softnic's `--port` takes them: a kind of port, its options behind a comma.
    pub fn port_specs(&self, kind: &str) -> Vec<String> {
        let (kind, options) = match kind.split_once(',') {
            Some((kind, options)) => (kind, format!(",{options}")),
            None => (kind, String::new()),
        };
        let spec = |(port, interface)| format!("{port}={kind}:{interface}{options}");
        self.ports().into_iter().map(spec).collect()
    }

    /// nicproxy's configuration for the NIC: ports, and routes to every host.
    pub fn config(&self) -> String {
        let mut text = String::from(
            "node_name: node-a\nports:\n  \
             - {port: 1, role: host, peer: 2, mac: \"02:00:00:00:00:01\"}\n  \
             - {port: 2, role: network, peer: 1, mac: \"02:00:00:00:00:02\"}\n",
        );
        if self.attachment == Attachment::Vports {
            for (at, port) in (0..).zip(3..=4) {
                text.push_str(&format!(
                    "  - {{port: {port}, role: host, mac: \"02:00:00:00:09:{at:02x}\"}}\n"
                ));
            }
            text.push_str("attachment: vport\nvports:\n");
            for (at, mac) in POD_MACS.iter().enumerate() {
                for address in Place(0).pods(at as u8 + 1) {
                    let port = at + 3;
                    text.push_str(&format!(
                        "  - {{address: \"{address}\", port: {port}, dst_mac: \"{mac}\"}}\n"
                    ));
                }
            }
        } else {
            text.push_str("attachment: bump_in_the_wire\nmasquerade:\n  addresses:\n");
            for address in NIC_ADDRESSES {
                text.push_str(&format!("    - {{address: \"{address}\", local: true}}\n"));
            }
        }
        text + &self.routes()
    }

    fn routes(&self) -> String {
        let mut text = String::from("routes:\n");
        let hosts = (0..=BACKENDS).map(Place).chain([Place::OUTSIDE]);
        for place in hosts {
            let port = if place == Place(0) { 1 } else { 2 };
            let mac = place.mac();
            let mut prefixes = place.hosts().map(alone).to_vec();
            if place == Place(0) {
                let [v4, v6] = NODE_SECOND_ADDRESSES;
                prefixes.extend([format!("{v4}/32"), format!("{v6}/128")]);
            }
            if place != Place::OUTSIDE {
                prefixes.push(format!("{}/24", place.pod_v4(0)));
                prefixes.push(format!("{}/64", place.pod_v6(0)));
            }
            for prefix in prefixes {
                text.push_str(&format!(
                    "  - {{prefix: \"{prefix}\", port: {port}, dst_mac: \"{mac}\"}}\n"
                ));
            }
        }
        text
    }
}
