//! What this node has of a Service.
//!
//! In: a Service, its slices, the node's name. Out: [`Locality`]: what health checks answer (S70, S73) and whether a
//! policy `Local` finds nothing here (S90). Nothing is remembered.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{
    Endpoint, EndpointSlice, Family, Service, ServiceKind, ServicePort, TrafficPolicy,
};

/// What this node has of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Where the load balancer asks; none: it does not.
    pub health_check_port: Option<u16>,
    /// Families of its cluster IPs, IPv4 first.
    pub families: [bool; 2],
    /// Distinct addresses of ready endpoints on this node, by family.
    pub ready: [usize; 2],
    /// `internalTrafficPolicy: Local`, and endpoints only elsewhere.
    pub internal_unserved: bool,
    /// `externalTrafficPolicy: Local`, and endpoints only elsewhere.
    pub external_unserved: bool,
}

impl Locality {
    /// Of a Service; slices that this proxy must not see are left out by the caller.
    pub fn of(service: &Service, slices: &[&EndpointSlice], node: Option<&str>) -> Self {
        let mut now = Self::default();
        for ip in &service.cluster_ips {
            now.families[usize::from(Family::of(*ip) == Family::V6)] = true;
        }
        let external_local = service.external_traffic_policy == TrafficPolicy::Local;
        if service.kind == ServiceKind::LoadBalancer && external_local {
            now.health_check_port = service.health_check_node_port;
        }
        let internal_local = service.internal_traffic_policy == TrafficPolicy::Local;
        let external_local = external_local && is_external(service);
        if now.health_check_port.is_none() && !internal_local && !external_local {
            return now;
        }
        for (at, family) in [Family::V4, Family::V6].into_iter().enumerate() {
            if !now.families[at] {
                continue;
            }
            let of_family = || {
                let own =
                    move |slice: &&&EndpointSlice| slice.address_type.family() == Some(family);
                slices.iter().filter(own).copied()
            };
            now.ready[at] = of_family()
                .filter(|slice| slice.ports.iter().any(|port| port.port.is_some()))
                .flat_map(|slice| &slice.endpoints)
                .filter(|endpoint| is_here(endpoint, node) && endpoint.conditions.is_ready())
                .filter_map(|endpoint| endpoint.address)
                .collect::<BTreeSet<IpAddr>>()
                .len();
            let unserved = service.ports.iter().any(|port| {
                let named = |slice: &&EndpointSlice| serves(slice, port);
                let endpoints = || of_family().filter(named).flat_map(|slice| &slice.endpoints);
                is_usable(endpoints()) && !is_usable(endpoints().filter(|e| is_here(e, node)))
            });
            now.internal_unserved |= internal_local && unserved;
            now.external_unserved |= external_local && unserved;
        }
        now
    }
}

/// S29.
fn is_external(service: &Service) -> bool {
    service.ports.iter().any(|port| port.node_port.is_some())
        || !service.load_balancer_ips.is_empty()
        || !service.external_ips.is_empty()
}

fn is_here(endpoint: &Endpoint, node: Option<&str>) -> bool {
    endpoint
        .node
        .as_deref()
        .is_some_and(|name| Some(name) == node)
}

fn serves(slice: &EndpointSlice, port: &ServicePort) -> bool {
    slice.ports.iter().any(|own| {
        own.name.as_deref() == Some(&*port.name)
            && own.protocol == port.protocol
            && own.port.is_some()
    })
}

/// One is ready, or answers while it goes away.
fn is_usable<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> bool {
    let mut endpoints = endpoints.filter(|endpoint| endpoint.address.is_some());
    endpoints.any(|endpoint| {
        let now = endpoint.conditions;
        now.is_ready() || (now.is_serving() && now.is_terminating())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::{endpoint, slice};
    use crate::model::{Conditions, ObjectKey, Protocol};

    fn service() -> Service {
        Service {
            key: ObjectKey::new("shop", "cart"),
            kind: ServiceKind::LoadBalancer,
            cluster_ips: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30080),
            }],
            external_traffic_policy: TrafficPolicy::Local,
            health_check_node_port: Some(32000),
            ..Service::default()
        }
    }

    fn on(node: &str, address: &str, conditions: Conditions) -> Endpoint {
        Endpoint {
            node: Some(node.into()),
            conditions,
            ..endpoint(address)
        }
    }

    fn with(suffix: &str, endpoints: Vec<Endpoint>) -> EndpointSlice {
        EndpointSlice {
            endpoints,
            ..slice("cart", suffix, &["10.0.0.1"])
        }
    }

    fn draining() -> Conditions {
        Conditions {
            ready: Some(false),
            serving: Some(true),
            terminating: Some(true),
        }
    }

    #[test]
    fn s70_only_load_balancers_with_policy_local_are_asked() {
        let port = |change: fn(&mut Service)| {
            let mut service = service();
            change(&mut service);
            Locality::of(&service, &[], Some("n1")).health_check_port
        };
        assert_eq!(port(|_| {}), Some(32000));
        assert_eq!(port(|s| s.kind = ServiceKind::NodePort), None);
        assert_eq!(port(|s| s.health_check_node_port = None), None);
        assert_eq!(
            port(|s| s.external_traffic_policy = TrafficPolicy::Cluster),
            None
        );
    }

    #[test]
    fn s73_count_is_distinct_ready_local_ips() {
        let ready = Conditions::default();
        let slices = [
            with(
                "a",
                vec![
                    on("n1", "10.0.0.1", ready),
                    on("n2", "10.0.0.2", ready),
                    on("n1", "10.0.0.3", draining()),
                    endpoint("10.0.0.4"),
                ],
            ),
            // The same pod at another port, and one more.
            with(
                "b",
                vec![on("n1", "10.0.0.1", ready), on("n1", "10.0.0.5", ready)],
            ),
            EndpointSlice {
                ports: Vec::new(),
                ..with("c", vec![on("n1", "10.0.0.6", ready)])
            },
        ];
        let all: Vec<&EndpointSlice> = slices.iter().collect();
        assert_eq!(Locality::of(&service(), &all, Some("n1")).ready, [2, 0]);
        assert_eq!(Locality::of(&service(), &all, Some("n2")).ready, [1, 0]);
        assert_eq!(Locality::of(&service(), &all, None).ready, [0, 0]);
    }

    #[test]
    fn s90_unserved_means_endpoints_elsewhere_only() {
        let unserved = |endpoints: Vec<Endpoint>| {
            let slice = with("a", endpoints);
            let now = Locality::of(&service(), &[&slice], Some("n1"));
            assert!(!now.internal_unserved, "that policy is Cluster");
            now.external_unserved
        };
        let ready = Conditions::default();
        assert!(!unserved(vec![]), "no endpoints at all");
        assert!(unserved(vec![on("n2", "10.0.0.1", ready)]));
        assert!(!unserved(vec![
            on("n2", "10.0.0.1", ready),
            on("n1", "10.0.0.2", ready)
        ]));
        assert!(
            !unserved(vec![
                on("n2", "10.0.0.1", ready),
                on("n1", "10.0.0.2", draining())
            ]),
            "it still answers here"
        );
        let slice = with("a", vec![on("n2", "10.0.0.1", ready)]);
        let mut internal = service();
        internal.internal_traffic_policy = TrafficPolicy::Local;
        internal.ports[0].node_port = None;
        let now = Locality::of(&internal, &[&slice], Some("n1"));
        assert!(now.internal_unserved && !now.external_unserved);
    }
}
