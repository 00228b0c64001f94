//! The configuration as the stages take it.
//!
//! In: a validated configuration. Out: [`Wiring`]. What validation would have refused is left out.

use super::{AnswerNeighbors, Config, Mac, NextHopConfig, PortConfig, PortRole};
use crate::compile::{NextHop, NodeRoutes, Port, Route, Wiring};
use crate::slowpath;
use crate::tables::port::{ROLE_HOST, ROLE_NETWORK};

impl Config {
    /// Bounds of the slow path, and as whom it speaks.
    pub fn slow_path_bounds(&self) -> slowpath::Config {
        let ports = self.ports.iter().filter(|port| port.slow_path);
        let speaker = |port: &PortConfig| slowpath::Speaker {
            vpc: port.vpc,
            mac: port
                .mac
                .unwrap_or_else(|| Mac::derived(&self.node_name, port.port)),
        };
        slowpath::Config {
            refusals_per_second: self.slow_path.refusals_per_second,
            neighbors_per_second: self.slow_path.neighbors_per_second,
            ports: ports.map(|port| (port.port, speaker(port))).collect(),
            source_ports: self.source_ports(),
            timeouts: self.conntrack.timeouts(),
            ..slowpath::Config::default()
        }
    }

    /// Ports, routes and ranges.
    pub fn wiring(&self) -> Wiring {
        Wiring {
            vpc: self.vpc,
            ports: self.ports.iter().map(port).collect(),
            routes: self
                .routes
                .iter()
                .filter_map(|route| {
                    let via = match (route.port, route.dst_mac) {
                        (None, _) => None,
                        (Some(port), Some(dst_mac)) => Some(self.hop(&NextHopConfig {
                            port,
                            src_mac: route.src_mac,
                            dst_mac,
                        })?),
                        (Some(_), None) => return None,
                    };
                    Some(Route {
                        vpc: route.vpc,
                        prefix: route.prefix.trunc(),
                        via,
                    })
                })
                .collect(),
            node_routes: self.node_routes.as_ref().and_then(|routes| {
                Some(NodeRoutes {
                    node: self.node_name.as_str().into(),
                    host: self.hop(&routes.host)?,
                    network: self.hop(&routes.network)?,
                    neighbours: routes
                        .neighbours
                        .iter()
                        .map(|(ip, mac)| (*ip, mac.to_u64()))
                        .collect(),
                })
            }),
            service_cidrs: self.service_cidrs.iter().map(ipnet::IpNet::trunc).collect(),
            mtu: self.mtu,
            attachment: self.attachment(),
            vports: self.vport_table(),
            masquerade: self.masquerade_addresses(),
            masquerade_ports: self.masquerade_ports(),
            answers_neighbors: self.answer_neighbors != AnswerNeighbors::None,
            tunnels: self.tunnels(),
            affinity_profiles: self.affinity_profiles(),
        }
    }

    pub(super) fn hop(&self, hop: &NextHopConfig) -> Option<NextHop> {
        let own = || self.ports.iter().find(|port| port.port == hop.port)?.mac;
        Some(NextHop {
            port: hop.port,
            src_mac: hop.src_mac.or_else(own)?.to_u64(),
            dst_mac: hop.dst_mac.to_u64(),
        })
    }
}

fn port(from: &super::PortConfig) -> Port {
    Port {
        port: from.port,
        vpc: from.vpc,
        role: match from.role {
            PortRole::Host => ROLE_HOST,
            PortRole::Network => ROLE_NETWORK,
        },
        peer: from.peer,
        slow_path: from.slow_path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_take_the_ports_address() {
        let config = Config::parse(
            "
node_name: n1
ports: [{port: 1, role: host, mac: 02:00:00:00:00:01, peer: 2}, {port: 2, role: network, mac: 02:00:00:00:00:02}]
routes:
- {prefix: 10.1.2.3/8, port: 2, dst_mac: 02:00:00:00:00:09}
- {prefix: 10.2.0.0/16}
node_routes:
  host: {port: 1, dst_mac: 02:00:00:00:00:0a}
  network: {port: 2, dst_mac: 02:00:00:00:00:0b, src_mac: 02:00:00:00:00:0c}
",
            std::path::Path::new("x"),
        )
        .unwrap();
        config.validate().unwrap();
        let wiring = config.wiring();
        assert_eq!(wiring.ports[0].peer, Some(2));
        assert_eq!(wiring.routes[0].prefix.to_string(), "10.0.0.0/8");
        assert_eq!(
            wiring.routes[0].via,
            Some(NextHop {
                port: 2,
                src_mac: 0x0200_0000_0002,
                dst_mac: 0x0200_0000_0009
            })
        );
        assert_eq!(wiring.routes[1].via, None);
        let nodes = wiring.node_routes.unwrap();
        assert_eq!(
            (nodes.host.src_mac, nodes.network.src_mac),
            (0x0200_0000_0001, 0x0200_0000_000c)
        );
        assert_eq!(config.viewpoint().node.as_deref(), Some("n1"));
    }
}
