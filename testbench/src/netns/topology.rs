//! A small cluster on one machine: a client node whose NIC is a bump in the wire, two backend nodes, an outside client.
//!
//! ```text
//!  pod ── node-a ══ host│ NIC │network ══╗
//!                                         ╠══ fabric (bridge) ══ outside
//!  pods ── node-b ════════════════════════╣
//!  pods ── node-c ════════════════════════╝
//! ```
//!
//! In: how the cables are. Out: namespaces with IPv4 and IPv6 addresses; pods are addresses of their node but for the
//! client pod, which has a namespace of its own. The NIC's namespace has the two interfaces and nothing else.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::cable::{End, Quality, connect};
use super::{Namespace, NetnsError};

/// Interface of the NIC on the node's side.
pub const HOST_PORT: &str = "host";
/// Interface of the NIC on the network's side.
pub const NETWORK_PORT: &str = "network";
/// The address that stands for a gateway in routes through the NIC: the NIC rewrites whatever goes there.
const GATEWAY_MAC: &str = "02:00:00:00:00:fe";

/// A node's place in the address plan: number 0 is the client node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u8);

impl Place {
    /// Where the outside client is: in the nodes' network, without pods.
    pub const OUTSIDE: Self = Self(99);

    /// Address of the host.
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 7, self.0 + 1)
    }

    /// Address of the host.
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, u16::from(self.0) + 1)
    }

    /// Address of one of its pods.
    pub fn pod_v4(self, pod: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.0, pod)
    }

    /// Address of one of its pods.
    pub fn pod_v6(self, pod: u8) -> Ipv6Addr {
        Ipv6Addr::new(
            0xfd00,
            0x10,
            0x244,
            u16::from(self.0),
            0,
            0,
            0,
            u16::from(pod),
        )
    }

    /// Ethernet address of its interface.
    pub fn mac(self) -> String {
        format!("02:00:00:00:07:{:02x}", self.0 + 1)
    }
}

/// The namespaces.
#[derive(Debug)]
pub struct Topology {
    /// The client pod of the client node.
    pub pod: Namespace,
    /// The client node.
    pub node: Namespace,
    /// The NIC between the client node and the rest.
    pub nic: Namespace,
    /// The backend nodes.
    pub backends: Vec<Namespace>,
    /// A host of the same network that is no node.
    pub outside: Namespace,
    _fabric: Namespace,
}

/// Backend nodes, and pods on each.
const BACKENDS: u8 = 2;
/// Pods per backend node.
pub const PODS: u8 = 2;

impl Topology {
    /// Builds it.
    ///
    /// # Errors
    /// When the system lets us make no namespaces or interfaces.
    pub fn new(quality: Quality) -> Result<Self, NetnsError> {
        let fabric = Namespace::new("fabric")?;
        fabric.ip("link add bridge type bridge")?;
        fabric.ip("link set bridge up")?;
        let topology = Self {
            pod: Namespace::new("pod")?,
            node: Namespace::new("node")?,
            nic: Namespace::new("nic")?,
            backends: (0..BACKENDS)
                .map(|_| Namespace::new("backend"))
                .collect::<Result<_, _>>()?,
            outside: Namespace::new("outside")?,
            _fabric: fabric,
        };
        topology.cable(quality)?;
        topology.address()?;
        Ok(topology)
    }

    fn cable(&self, quality: Quality) -> Result<(), NetnsError> {
        fn end<'a>(namespace: &'a Namespace, interface: &'a str, mac: &'a str) -> End<'a> {
            End {
                namespace,
                interface,
                mac,
            }
        }
        let node_mac = Place(0).mac();
        connect(
            end(&self.node, "eth0", &node_mac),
            end(&self.nic, HOST_PORT, "02:00:00:00:00:01"),
            quality,
        )?;
        connect(
            end(&self.pod, "eth0", "02:00:00:00:00:10"),
            end(&self.node, "pod0", "02:00:00:00:00:11"),
            quality,
        )?;
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
                end(&self._fabric, &port, &port_mac),
                quality,
            )?;
            self._fabric.ip(&format!("link set {port} master bridge"))?;
        }
        Ok(())
    }

    fn address(&self) -> Result<(), NetnsError> {
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
            for pod in 1..=PODS {
                backend.ip(&format!("addr add {}/32 dev lo", Place(at).pod_v4(pod)))?;
                backend.ip(&format!(
                    "addr add {}/128 dev lo nodad",
                    Place(at).pod_v6(pod)
                ))?;
            }
        }
        let (pod_v4, pod_v6) = (Place(0).pod_v4(1), Place(0).pod_v6(1));
        self.pod.ip(&format!("addr add {pod_v4}/24 dev eth0"))?;
        self.pod
            .ip(&format!("addr add {pod_v6}/64 dev eth0 nodad"))?;
        self.node
            .ip(&format!("addr add {}/24 dev pod0", Place(0).pod_v4(254)))?;
        self.node.ip(&format!(
            "addr add {}/64 dev pod0 nodad",
            Place(0).pod_v6(254)
        ))?;
        self.pod
            .ip(&format!("route add default via {}", Place(0).pod_v4(254)))?;
        self.pod.ip(&format!(
            "-6 route add default via {}",
            Place(0).pod_v6(254)
        ))?;
        Ok(())
    }

    /// Routes a range of the node's traffic through the NIC, to no host in particular.
    ///
    /// # Errors
    /// When the range is none.
    pub fn route_through_nic(&self, range: &str) -> Result<(), NetnsError> {
        let (gateway, family) = if range.contains(':') {
            ("fd00:7::fe", "-6 ")
        } else {
            ("192.168.7.254", "")
        };
        self.node.ip(&format!(
            "{family}neigh replace {gateway} lladdr {GATEWAY_MAC} dev eth0"
        ))?;
        self.node.ip(&format!(
            "{family}route replace {range} via {gateway} dev eth0"
        ))?;
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

    /// nicproxy's configuration for the NIC: ports, and routes to every host.
    pub fn config(&self) -> String {
        let mut text = String::from(
            "node_name: node-a\nports:\n  \
             - {port: 1, role: host, peer: 2, mac: \"02:00:00:00:00:01\"}\n  \
             - {port: 2, role: network, peer: 1, mac: \"02:00:00:00:00:02\"}\nroutes:\n",
        );
        let hosts = (0..=BACKENDS).map(Place).chain([Place::OUTSIDE]);
        for place in hosts {
            let port = if place == Place(0) { 1 } else { 2 };
            let mac = place.mac();
            let mut prefixes = vec![format!("{}/32", place.v4()), format!("{}/128", place.v6())];
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

    /// A command that runs in the NIC's namespace; `softnic` opens the ports by [`HOST_PORT`] and [`NETWORK_PORT`].
    pub fn on_nic(&self, program: &Path) -> std::process::Command {
        self.nic.command(program)
    }
}
