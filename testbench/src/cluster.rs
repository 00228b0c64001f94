//! Clusters of any size, made of numbers.
//!
//! In: how many Services, how many endpoints each. Out: manifests as a user would have them, and what they say. The same
//! shape always gives the same cluster.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use nicproxy::config::{Config, PortRole};

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Services, each with one TCP port.
    pub services: usize,
    /// Endpoints of every Service, in one slice.
    pub endpoints: usize,
}

/// The cluster IP of a Service, in 10.96.0.0/12 behind the first 256, from which API servers serve themselves.
pub fn vip(service: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a60_0100 + service as u32))
}

/// A configuration in which nothing leads to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no route of the configuration leads to another node: one has to go out of a port to the network, to a MAC address"
)]
pub struct NoWay;

/// Adds the way to all endpoints to a scenario's configuration: that of its first route to another node.
///
/// # Errors
/// [`NoWay`].
pub fn lead_to_endpoints(config: &mut Config) -> Result<(), NoWay> {
    let to_network = |number: u32| {
        let mut ports = config.ports.iter();
        ports.any(|port| port.port == number && port.role == PortRole::Network)
    };
    let mut routes = config.routes.iter();
    let far = routes.find(|route| route.port.is_some_and(to_network) && route.dst_mac.is_some());
    let mut far = far.cloned().ok_or(NoWay)?;
    let network = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
    far.prefix = IpNet::V4(network);
    config.routes.push(far);
    Ok(())
}

impl Shape {
    /// Addresses of a Service's endpoints, in 100.64.0.0/10 as far as they reach.
    pub fn endpoints_of(self, service: usize) -> impl Iterator<Item = IpAddr> {
        let first = 0x6440_0000 + (service * self.endpoints) as u32;
        (0..self.endpoints as u32).map(move |at| IpAddr::V4(Ipv4Addr::from(first + at)))
    }

    /// One Service and its slice.
    pub fn service(self, service: usize) -> String {
        let vip = vip(service);
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: scale}}\nspec:\n  \
             clusterIP: {vip}\n  clusterIPs: [{vip}]\n  ports:\n    - {{port: 80, targetPort: 8080}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{service}-x\n  namespace: scale\n  \
             labels: {{kubernetes.io/service-name: s{service}}}\naddressType: IPv4\n\
             ports:\n  - {{name: \"\", protocol: TCP, port: 8080}}\nendpoints:\n"
        );
        for ip in self.endpoints_of(service) {
            let _ = writeln!(
                text,
                "  - {{addresses: [{ip}], nodeName: worker-b, conditions: {{ready: true}}}}"
            );
        }
        text
    }

    /// All of them, one document after another.
    pub fn manifests(self) -> String {
        (0..self.services)
            .map(|service| self.service(service))
            .collect::<Vec<_>>()
            .join("---\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_behind_the_network_or_it_is_said_that_they_are_nowhere() {
        let scenarios = crate::scenario::load_all(&crate::scenario::folder()).unwrap();
        for scenario in scenarios {
            let mut config = scenario.config;
            lead_to_endpoints(&mut config).unwrap();
            let way = config.routes.last().unwrap();
            assert!(way.prefix.contains(&IpAddr::from([100, 64, 0, 1])));
            let port = config.ports.iter().find(|port| Some(port.port) == way.port);
            assert_eq!(port.unwrap().role, PortRole::Network, "{}", scenario.name);
            config.routes.clear();
            assert_eq!(lead_to_endpoints(&mut config), Err(NoWay));
        }
    }
}
