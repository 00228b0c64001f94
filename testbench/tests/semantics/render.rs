//! The oracle's cluster as Kubernetes has it, and its NIC as nicproxy is configured for it.
//!
//! In: a world. Out: its objects by name, each as one manifest (JSON, which is YAML too), and the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nicproxy::config::{
    AttachmentConfig, Config, DetectLocalMode, Mac, MasqueradeAddressConfig, PortRangeConfig,
    RouteConfig, TunnelConfig,
};
use serde_json::{Value, json};
use testbench::scenario::folder;

use super::world::{
    Detect, Endpoint, Hidden, Ingress, Kind, NODES, Protocol, Scheduler, Service, Settings, Slice,
    World, cluster_ip, external_ip, ingress_ip, pod_ip, tunnel_ip, wire_ip,
};

pub const GUE_PORT: u16 = 6080;

/// The configuration that says these settings.
pub fn config(settings: &Settings) -> Config {
    let mut config = Config::read(&folder().join("config.yaml")).unwrap();
    let routes = [
        ("192.0.2.1/32", 1),
        ("192.0.2.17/32", 1),
        ("192.0.2.200/32", 1),
        ("192.0.2.0/24", 2),
        ("198.51.100.0/24", 2),
        ("203.0.113.0/24", 2),
        ("2001:db8::1/128", 1),
        ("2001:db8::11/128", 1),
        ("2001:db8::200/128", 1),
        ("2001:db8::/32", 2),
    ];
    config
        .routes
        .extend(routes.map(|(prefix, port)| RouteConfig {
            prefix: prefix.parse().unwrap(),
            vpc: 0,
            port: Some(port),
            src_mac: None,
            dst_mac: Some(Mac([2, 0, 0, 0, 0xf, port as u8])),
        }));
    config.slow_path.refusals_per_second = 1_000_000;
    config.ports[0].name = Some("pods0".to_owned());
    match settings.detect {
        Detect::ClusterCidr => {}
        Detect::NodeCidr => config.detect_local_mode = DetectLocalMode::NodeCidr,
        Detect::Interface => {
            config.detect_local_mode = DetectLocalMode::InterfaceNamePrefix;
            config.pod_interface_name_prefix = "pods".to_owned();
        }
        Detect::Nothing => config.cluster_cidrs.clear(),
    }
    config.masquerade_all = settings.masquerade_all;
    let given = settings.node_ports.iter();
    config.nodeport_addresses = given.map(|text| text.parse().unwrap()).collect();
    if settings.bump {
        config.attachment = AttachmentConfig::BumpInTheWire;
        config.masquerade.addresses = [false, true]
            .map(|six| MasqueradeAddressConfig {
                address: wire_ip(six),
                local: true,
                ports: PortRangeConfig {
                    first: 32_768,
                    count: 32_768,
                },
            })
            .to_vec();
    }
    if settings.tunnels {
        let source = tunnel_ip;
        config.dsr.ipv4 = Some(TunnelConfig::Ipip {
            source: source(false),
        });
        config.dsr.ipv6 = Some(TunnelConfig::Gue {
            source: source(true),
            port: GUE_PORT,
        });
    }
    config.validate().unwrap();
    config
}

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
            if port.node_port != 0 {
                value["nodePort"] = json!(port.node_port);
            }
            value
        })
        .collect();
    let of_all = |address: fn(u8, bool) -> IpAddr| -> Vec<String> {
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
        "metadata": {
            "name": format!("s{}", of.number), "namespace": "o", "labels": labels(of.hidden, None),
            "annotations": annotations(of),
        },
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
    if let Some(seconds) = of.affinity {
        value["spec"]["sessionAffinity"] = json!("ClientIP");
        value["spec"]["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": seconds}});
    }
    if of.kind == Kind::LoadBalancer {
        value["status"] = json!({"loadBalancer": {"ingress": ingress(of, &families)}});
        value["spec"]["loadBalancerSourceRanges"] = json!(of.ranges);
        if of.external_local && of.health_port != 0 {
            value["spec"]["healthCheckNodePort"] = json!(of.health_port);
        }
    }
    value
}

fn ingress(of: &Service, families: &[bool]) -> Vec<Value> {
    let mut all = Vec::new();
    for (at, mode) in of.ingress.iter().enumerate() {
        for six in families {
            let ip = ingress_ip(of.number, at as u8, *six);
            all.push(match mode {
                Ingress::Plain => json!({"ip": ip}),
                Ingress::Vip => json!({"ip": ip, "ipMode": "VIP"}),
                Ingress::Proxy => json!({"ip": ip, "ipMode": "Proxy"}),
                Ingress::Name => json!({"hostname": "balancer.example.org"}),
            });
        }
    }
    all
}

fn annotations(of: &Service) -> Value {
    let mut all = json!({});
    if !of.weights.is_empty() {
        let mut weights = Vec::new();
        for (place, weight) in &of.weights {
            for host in 10..14 {
                for six in [false, true] {
                    weights.push(format!("{}={weight}", pod_ip(*place, host, six)));
                }
            }
        }
        all["nicproxy.dev/endpoint-weights"] = json!(weights.join(","));
    }
    if let Some(scheduler) = of.scheduler {
        all["nicproxy.dev/scheduler"] = json!(match scheduler {
            Scheduler::RoundRobin => "rr",
            Scheduler::WeightedRoundRobin => "wrr",
            Scheduler::SourceHash => "sh",
            Scheduler::DestinationHash => "dh",
            Scheduler::Maglev => "mh",
        });
    }
    if of.direct {
        all["nicproxy.dev/forwarding"] = json!("dsr");
    }
    all
}

fn labels(hidden: Option<Hidden>, service: Option<u8>) -> Value {
    let mut labels = json!({});
    match hidden {
        Some(Hidden::OtherProxy) => {
            labels["service.kubernetes.io/service-proxy-name"] = json!("elsewhere");
        }
        Some(Hidden::HeadlessLabel) => labels["service.kubernetes.io/headless"] = json!(""),
        None => {}
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
            let mut port = json!({"name": name, "protocol": protocol(of_all)});
            if at == 0 || !of.only_p0 {
                port["port"] = json!(of.target + at as u16);
            }
            ports.push(port);
        }
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("x{}", of.number), "namespace": "o", "labels": labels(of.hidden, of.service),
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
    let named = |names: &[String]| -> Vec<Value> {
        names.iter().map(|name| json!({"name": name})).collect()
    };
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
    if let Some(zone) = &world.node.zone {
        labels["topology.kubernetes.io/zone"] = json!(zone);
    }
    let addresses = [false, true].map(|six| world.node.addresses(six)).concat();
    let addresses: Vec<Value> = addresses
        .into_iter()
        .map(|ip| json!({"type": "InternalIP", "address": ip}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODES[0], "labels": labels},
        "spec": {"podCIDRs": ["10.244.0.0/24", "fd00:10:244::/64"]},
        "status": {"addresses": addresses},
    })
}
