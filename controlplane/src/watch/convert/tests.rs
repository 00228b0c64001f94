//! Objects in, model objects and what was left out of them out.

use std::net::IpAddr;

use super::*;
use crate::model::{Protocol, ServiceKind, SessionAffinity, TrafficPolicy};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn a_service_with_everything() {
    let converted = service(&parse(
        "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  labels: {service.kubernetes.io/service-proxy-name: other}
  annotations: {nicproxy.dev/endpoint-weights: '10.0.0.1=3,10.0.0.2=1'}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  clusterIPs: [010.096.000.001, 'fd00::1']
  externalIPs: [192.0.2.1]
  loadBalancerSourceRanges: [' 203.0.113.0/24 ']
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  sessionAffinity: ClientIP
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP}
status:
  loadBalancer:
    ingress:
    - {ip: 198.51.100.1}
    - {ip: 198.51.100.2, ipMode: Proxy}
    - {ip: 198.51.100.3, ipMode: VIP}
    - {hostname: lb.example.com}
",
    ))
    .unwrap();
    assert_eq!(converted.left_out, []);
    let object = converted.object;
    assert_eq!(object.key.to_string(), "shop/web");
    assert_eq!(object.kind, ServiceKind::LoadBalancer);
    assert_eq!(
        object.cluster_ips,
        [ip("10.96.0.1"), ip("fd00::1")],
        "S08: leading zeros are decimal"
    );
    assert_eq!(object.external_ips, [ip("192.0.2.1")]);
    assert_eq!(
        object.load_balancer_ips,
        [ip("198.51.100.1"), ip("198.51.100.3")],
        "S27"
    );
    assert_eq!(object.source_ranges[0].to_string(), "203.0.113.0/24");
    assert_eq!(object.internal_traffic_policy, TrafficPolicy::Local);
    assert_eq!(object.external_traffic_policy, TrafficPolicy::Local);
    assert_eq!(object.health_check_node_port, Some(32000));
    assert_eq!(
        object.session_affinity,
        SessionAffinity::ClientIp {
            timeout_seconds: 10_800
        }
    );
    assert_eq!(object.proxy_name.as_deref(), Some("other"));
    assert_eq!(
        object.endpoint_weights,
        [(ip("10.0.0.1"), 3), (ip("10.0.0.2"), 1)]
    );
    let ports: Vec<_> = object
        .ports
        .iter()
        .map(|p| (&*p.name, p.protocol, p.port, p.node_port))
        .collect();
    assert_eq!(
        ports,
        [
            ("http", Protocol::Tcp, 80, Some(30080)),
            ("dns", Protocol::Udp, 53, None)
        ]
    );
}

#[test]
fn headless_external_and_bare() {
    let of = |yaml: &str| service(&parse(yaml)).unwrap().object;
    let headless = of("{metadata: {name: a}, spec: {clusterIP: None, clusterIPs: [None]}}");
    assert!(headless.headless && headless.cluster_ips.is_empty());
    assert_eq!(headless.key.to_string(), "default/a");
    assert_eq!(
        of("{metadata: {name: a}, spec: {type: ExternalName}}").kind,
        ServiceKind::ExternalName
    );
    assert_eq!(
        of("{metadata: {name: a}, spec: {clusterIP: 10.0.0.1}}").cluster_ips,
        [ip("10.0.0.1")]
    );
    assert_eq!(of("{metadata: {name: a}}").ports, []);
    assert_eq!(
        service(&parse("{metadata: {}}")),
        Err(ConvertError::NoName { kind: "Service" })
    );
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    let converted = service(&parse(
        "
metadata: {name: a, annotations: {nicproxy.dev/endpoint-weights: 'x'}}
spec:
  type: Odd
  clusterIPs: [10.0.0.1, 10.0.0.300]
  externalTrafficPolicy: Nearby
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}
  loadBalancerSourceRanges: [nowhere]
  ports:
  - {port: 70000}
  - {port: 80, protocol: QUIC}
  - {port: 81}
",
    ))
    .unwrap();
    let fields: Vec<_> = converted
        .left_out
        .iter()
        .map(|left_out| left_out.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "metadata.annotations[nicproxy.dev/endpoint-weights]",
            "spec.type",
            "spec.clusterIPs[1]",
            "spec.ports[0].port",
            "spec.ports[1].protocol",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "spec.externalTrafficPolicy",
            "spec.loadBalancerSourceRanges[0]",
        ]
    );
    assert_eq!(converted.object.cluster_ips, [ip("10.0.0.1")]);
    assert_eq!(converted.object.ports.len(), 1);
}

#[test]
fn slices() {
    let converted = slice(&parse(
        "
metadata: {name: a-1, namespace: x, labels: {kubernetes.io/service-name: a, service.kubernetes.io/headless: ''}}
addressType: IPv4
ports:
- {port: 8080}
- {name: dns, port: 53, protocol: UDP}
- {name: off}
endpoints:
- {addresses: [10.0.0.1, 10.0.0.2], nodeName: n1, zone: z1, conditions: {ready: true}, hints: {forZones: [{name: z2}]}}
- {addresses: [], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [fd00::1]}
- {addresses: [what]}
",
    ))
    .unwrap();
    let fields: Vec<_> = converted
        .left_out
        .iter()
        .map(|left_out| left_out.field.as_str())
        .collect();
    assert_eq!(fields, ["endpoints[3].addresses[0]"]);
    let object = converted.object;
    assert_eq!(object.service_key().unwrap().to_string(), "x/a");
    assert!(object.headless_label);
    let ports: Vec<_> = object
        .ports
        .iter()
        .map(|p| (p.name.as_deref(), p.protocol, p.port))
        .collect();
    assert_eq!(
        ports,
        [
            (Some(""), Protocol::Tcp, Some(8080)),
            (Some("dns"), Protocol::Udp, Some(53)),
            (Some("off"), Protocol::Tcp, None),
        ]
    );
    let first = &object.endpoints[0];
    assert_eq!(
        first.address,
        Some(ip("10.0.0.1")),
        "S13: the first address only"
    );
    assert_eq!(
        (first.node.as_deref(), first.zone.as_deref()),
        (Some("n1"), Some("z1"))
    );
    assert_eq!(&*first.hints.as_ref().unwrap().zones[0], "z2");
    assert!(
        first.conditions.is_ready()
            && first.conditions.is_serving()
            && !first.conditions.is_terminating()
    );
    assert_eq!(object.endpoints[1].address, None);
    assert!(
        !object.endpoints[1].conditions.is_ready()
            && object.endpoints[1].conditions.is_terminating()
    );
    assert!(object.endpoints[2].conditions.is_ready(), "S17");
}

#[test]
fn fqdn_slices_have_no_addresses() {
    let yaml =
        "{metadata: {name: a}, addressType: FQDN, endpoints: [{addresses: [a.example.com]}]}";
    let converted = slice(&parse(yaml)).unwrap();
    assert_eq!(converted.left_out, []);
    assert_eq!(converted.object.address_type, model::AddressType::Other);
    assert_eq!(converted.object.endpoints[0].address, None);
}

#[test]
fn nodes() {
    let from: k8s_openapi::api::core::v1::Node = parse(
        "
metadata:
  name: n1
  labels: {topology.kubernetes.io/zone: z1, other: x}
spec: {podCIDR: 10.244.0.0/24, podCIDRs: [10.244.0.0/24, 'fd00::/64', bad]}
status:
  addresses:
  - {type: InternalIP, address: 192.168.0.1}
  - {type: ExternalIP, address: 192.0.2.1}
  - {type: Hostname, address: n1}
",
    );
    let converted = node(&from).unwrap();
    assert_eq!(converted.left_out.len(), 1);
    let object = converted.object;
    assert_eq!(object.internal_ips, [ip("192.168.0.1")]);
    assert_eq!(object.pod_cidrs.len(), 2);
    assert_eq!(object.zone(), Some("z1"));
    assert_eq!(object.labels.len(), 1);
    assert_eq!(object.external_ips, [ip("192.0.2.1")]);
    let node_eligible = |from| node(&from).unwrap().object.is_eligible();
    assert!(node_eligible(from));
    let tainted = "{metadata: {name: a}, spec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}}";
    assert!(!node_eligible(parse(tainted)));
    let other = "{metadata: {name: a}, spec: {taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute}]}}";
    assert!(
        node_eligible(parse(other)),
        "S75: other taints do not matter"
    );
    assert!(!node_eligible(parse(
        "{metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}}"
    )));
}

/// What the controller makes of the fields is in the slices: the fields themselves change nothing.
#[test]
fn s19_s45_spec_fields_that_controllers_read_are_nothing_to_the_proxy() {
    let with = |more: &str| {
        let text = format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1]
  ports: [{{port: 80}}]
{more}"
        );
        service(&parse(&text)).unwrap()
    };
    let without = with("");
    for more in [
        "  publishNotReadyAddresses: true",
        "  trafficDistribution: PreferSameNode",
        "  trafficDistribution: PreferClose",
    ] {
        assert_eq!(with(more), without, "{more}");
    }
}

#[test]
fn s22_service_cidrs() {
    let converted = service_cidr(&parse(
        "{metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16, bad]}}",
    ))
    .unwrap();
    assert_eq!(converted.left_out.len(), 1);
    assert_eq!(converted.object.cidrs, ["10.96.0.0/16".parse().unwrap()]);
}

#[test]
fn annotations_choose_scheduler_forwarding_and_weights() {
    let converted = service(&parse(
        "
metadata:
  name: a
  annotations: {nicproxy.dev/scheduler: wlc, nicproxy.dev/forwarding: dsr, nicproxy.dev/endpoint-weights: 10.0.0.1=3}
",
    ))
    .unwrap();
    assert_eq!(converted.left_out, []);
    assert_eq!(
        converted.object.scheduler,
        model::Scheduler::WeightedLeastConnection
    );
    assert_eq!(converted.object.forwarding, model::Forwarding::Dsr);
    assert_eq!(converted.object.endpoint_weights.len(), 1);
    let wrong = service(&parse(
        "{metadata: {name: a, annotations: {nicproxy.dev/scheduler: sed, nicproxy.dev/forwarding: tun}}}",
    ))
    .unwrap();
    assert_eq!(wrong.left_out.len(), 2);
    assert!(
        wrong.left_out[0].to_string().contains("rr, wrr, lc"),
        "{:?}",
        wrong.left_out
    );
    assert_eq!(wrong.object.scheduler, model::Scheduler::default());
    let slice = slice(&parse(
        "
metadata: {name: a-1, annotations: {nicproxy.dev/endpoint-weights: '10.0.0.2=0, 10.0.0.9=4'}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}]
",
    ))
    .unwrap();
    let weights: Vec<_> = slice.object.endpoints.iter().map(|e| e.weight).collect();
    assert_eq!(weights, [None, Some(0)]);
}

#[test]
fn pods_are_attached_where_the_cni_says() {
    let converted = pod(&parse(
        r#"
metadata:
  name: a
  annotations:
    k8s.v1.cni.cncf.io/network-status: |
      [{"name": "cbr0", "interface": "eth0", "ips": ["10.244.1.9"], "default": true},
       {"name": "sriov", "interface": "net1", "ips": ["10.244.1.10", "fd00::a"], "mac": "02:00:00:00:01:0a",
        "device-info": {"type": "pci", "version": "1.1.0",
                        "pci": {"pci-address": "0000:18:02.5", "representor-device": "pf0vf5"}}}]
spec: {nodeName: here, containers: []}
"#,
    ))
    .unwrap();
    assert_eq!(converted.left_out, []);
    let [only] = &converted.object.attachments[..] else {
        panic!("{:?}", converted.object)
    };
    let devices: Vec<&str> = only.devices.iter().map(|name| &**name).collect();
    assert_eq!(devices, ["0000:18:02.5", "pf0vf5"]);
    assert_eq!(only.addresses, [ip("10.244.1.10"), ip("fd00::a")]);
    assert_eq!(only.mac.as_deref(), Some("02:00:00:00:01:0a"));
    let broken = "{metadata: {name: a, annotations: {k8s.v1.cni.cncf.io/network-status: 'soon'}}}";
    let converted = pod(&parse(broken)).unwrap();
    assert_eq!(
        (converted.left_out.len(), converted.object.attachments.len()),
        (1, 0)
    );
}
