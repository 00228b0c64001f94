//! Clusters of any size, made of numbers.
//!
//! In: how many Services, how many endpoints each. Out: manifests as a user would have them, and what they say. The same
//! shape always gives the same cluster.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use nicproxy::config::Config;

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

/// Adds the way to all endpoints to a scenario's configuration: they are where its third route leads to, on another node.
pub fn lead_to_endpoints(config: &mut Config) {
    if let Some(mut far) = config.routes.get(2).cloned() {
        let network = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
        far.prefix = IpNet::V4(network);
        config.routes.push(far);
    }
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
