//! The oracle's cluster as Kubernetes has it.
//!
//! In: a world. Out: its objects by name, each as one manifest; JSON, which is YAML too.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::world::{
    Endpoint, Kind, NODES, Protocol, Service, Slice, World, cluster_ip, external_ip, ingress_ip,
    node_ip, pod_ip,
};

/// Manifests by `Kind/namespace/name`.
pub fn objects(world: &World) -> BTreeMap<String, String> {
    let services = world
        .services
        .iter()
        .map(|of| (format!("Service/o/s{}", of.number), service(of)));
    let slices = world
        .slices
        .iter()
        .map(|of| (format!("EndpointSlice/o/x{}", of.number), slice(of)));
    let node = ("Node//worker-a".to_owned(), node(world));
    let all = services.chain(slices).chain([node]);
    all.map(|(name, value)| (name, value.to_string())).collect()
}

fn protocol(of: Protocol) -> &'static str {
    match of {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn service(of: &Service) -> Value {
    let families: Vec<bool> = [(of.v4, false), (of.v6, true)]
        .into_iter()
        .filter_map(|(has, six)| has.then_some(six))
        .collect();
    let open = matches!(of.kind, Kind::NodePort | Kind::LoadBalancer);
    let ports: Vec<Value> = of
        .ports
        .iter()
        .map(|port| {
            let mut value =
                json!({"name": port.name, "protocol": protocol(port.protocol), "port": port.port});
            if open {
                value["nodePort"] = json!(port.node_port);
            }
            value
        })
        .collect();
    let of_all = |address: fn(u8, bool) -> std::net::IpAddr| -> Vec<String> {
        families
            .iter()
            .map(|six| address(of.number, *six).to_string())
            .collect()
    };
    let cluster_ips = match of.kind {
        Kind::Headless => vec!["None".to_owned()],
        _ => of_all(cluster_ip),
    };
    let policy = |local: bool| if local { "Local" } else { "Cluster" };
    let kind = match of.kind {
        Kind::ClusterIp | Kind::Headless => "ClusterIP",
        Kind::NodePort => "NodePort",
        Kind::LoadBalancer => "LoadBalancer",
        Kind::ExternalName => "ExternalName",
    };
    let mut value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("s{}", of.number), "namespace": "o", "labels": labels(of.label, None)},
        "spec": {
            "type": kind, "clusterIP": cluster_ips[0], "clusterIPs": cluster_ips, "ports": ports,
            "internalTrafficPolicy": policy(of.internal_local),
        },
    });
    if of.kind == Kind::ExternalName {
        value["spec"]["externalName"] = json!("example.org");
    }
    if open || of.external_ips {
        value["spec"]["externalTrafficPolicy"] = json!(policy(of.external_local));
    }
    if of.external_ips {
        value["spec"]["externalIPs"] = json!(of_all(external_ip));
    }
    if of.kind == Kind::LoadBalancer {
        let mode = if of.ingress_proxy { "Proxy" } else { "VIP" };
        let ingress = of_all(ingress_ip)
            .into_iter()
            .map(|ip| json!({"ip": ip, "ipMode": mode}));
        value["status"] = json!({"loadBalancer": {"ingress": ingress.collect::<Vec<_>>()}});
        value["spec"]["loadBalancerSourceRanges"] = json!(of.ranges);
    }
    value
}

fn labels(hidden: Option<&str>, service: Option<u8>) -> Value {
    let mut labels = json!({});
    if let Some(label) = hidden {
        labels[label] = json!("elsewhere");
    }
    if let Some(number) = service {
        labels["kubernetes.io/service-name"] = json!(format!("s{number}"));
    }
    labels
}

fn slice(of: &Slice) -> Value {
    let mut ports = Vec::new();
    for (at, name) in ["p0", "p1"].into_iter().enumerate() {
        for of_all in super::world::PROTOCOLS {
            // Named as the Service's port, whatever protocol that has.
            ports.push(
                json!({"name": name, "protocol": protocol(of_all), "port": of.target + at as u16}),
            );
        }
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("x{}", of.number), "namespace": "o", "labels": labels(of.label, Some(of.service)),
        },
        "addressType": if of.v6 { "IPv6" } else { "IPv4" },
        "ports": ports,
        "endpoints": of.endpoints.iter().map(|endpoint| self::endpoint(endpoint, of.v6)).collect::<Vec<_>>(),
    })
}

fn endpoint(of: &Endpoint, six: bool) -> Value {
    let mut conditions = json!({});
    let said = [
        ("ready", of.ready),
        ("serving", of.serving),
        ("terminating", of.terminating),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            conditions[name] = json!(value);
        }
    }
    let mut value = json!({
        "addresses": [pod_ip(of.place, of.host, six).to_string()], "conditions": conditions,
    });
    if of.named {
        value["nodeName"] = json!(NODES[usize::from(of.place)]);
    }
    let named =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| json!({"name": name})).collect() };
    let mut hints = json!({});
    if !of.zones.is_empty() {
        hints["forZones"] = json!(named(&of.zones));
    }
    if !of.nodes.is_empty() {
        hints["forNodes"] = json!(named(&of.nodes));
    }
    if hints != json!({}) {
        value["hints"] = hints;
    }
    value
}

fn node(world: &World) -> Value {
    let mut labels = json!({});
    if let Some(zone) = world.zone {
        labels["topology.kubernetes.io/zone"] = json!(zone);
    }
    let address = |six| json!({"type": "InternalIP", "address": node_ip(0, six).to_string()});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODES[0], "labels": labels},
        "spec": {"podCIDRs": ["10.244.0.0/24", "fd00:10:244::/64"]},
        "status": {"addresses": [address(false), address(true)]},
    })
}
