//! The objects, as far as they are looked at.
//!
//! In: an item's bytes. Out: the same as Kubernetes' own type. An empty text is as good as none: API servers write
//! texts that are not given as empty ones.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::jiff::Timestamp;
use prost::Message;

/// An item of a list.
pub trait Item: Message + Default {
    /// Kubernetes' own type.
    type Object;
    /// As that.
    fn into_object(self) -> Self::Object;
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

/// `meta.v1.Time`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `meta.v1.ObjectMeta`.
#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

impl ObjectMeta {
    fn into_object(self) -> meta::ObjectMeta {
        let map = |map: BTreeMap<String, String>| Some(map).filter(|map| !map.is_empty());
        meta::ObjectMeta {
            name: given(self.name),
            namespace: given(self.namespace),
            deletion_timestamp: self.deletion_timestamp.map(|time| {
                // That there is one counts, whatever it says.
                meta::Time(Timestamp::new(time.seconds, time.nanos).unwrap_or_default())
            }),
            labels: map(self.labels),
            annotations: map(self.annotations),
            ..meta::ObjectMeta::default()
        }
    }
}

/// `core.v1.Service`.
#[derive(Clone, PartialEq, Message)]
pub struct Service {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<ServiceSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<ServiceStatus>,
}

/// `core.v1.ServiceSpec`.
#[derive(Clone, PartialEq, Message)]
struct ServiceSpec {
    #[prost(message, repeated, tag = "1")]
    ports: Vec<ServicePort>,
    #[prost(string, tag = "3")]
    cluster_ip: String,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(string, repeated, tag = "5")]
    external_ips: Vec<String>,
    #[prost(string, tag = "7")]
    session_affinity: String,
    #[prost(string, repeated, tag = "9")]
    load_balancer_source_ranges: Vec<String>,
    #[prost(string, tag = "11")]
    external_traffic_policy: String,
    #[prost(int32, tag = "12")]
    health_check_node_port: i32,
    #[prost(message, optional, tag = "14")]
    session_affinity_config: Option<SessionAffinityConfig>,
    #[prost(string, repeated, tag = "18")]
    cluster_ips: Vec<String>,
    #[prost(string, tag = "22")]
    internal_traffic_policy: String,
}

/// `core.v1.ServicePort`.
#[derive(Clone, PartialEq, Message)]
struct ServicePort {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    protocol: String,
    #[prost(int32, tag = "3")]
    port: i32,
    #[prost(int32, tag = "5")]
    node_port: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionAffinityConfig {
    #[prost(message, optional, tag = "1")]
    client_ip: Option<ClientIpConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ClientIpConfig {
    #[prost(int32, optional, tag = "1")]
    timeout_seconds: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceStatus {
    #[prost(message, optional, tag = "1")]
    load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct LoadBalancerStatus {
    #[prost(message, repeated, tag = "1")]
    ingress: Vec<LoadBalancerIngress>,
}

#[derive(Clone, PartialEq, Message)]
struct LoadBalancerIngress {
    #[prost(string, tag = "1")]
    ip: String,
    #[prost(string, tag = "3")]
    ip_mode: String,
}

impl Item for Service {
    type Object = core::Service;

    fn into_object(self) -> core::Service {
        let ingress = self
            .status
            .and_then(|status| status.load_balancer)
            .map(|balancer| balancer.ingress)
            .unwrap_or_default();
        let ingress = ingress.into_iter().map(|one| core::LoadBalancerIngress {
            ip: given(one.ip),
            ip_mode: given(one.ip_mode),
            ..core::LoadBalancerIngress::default()
        });
        core::Service {
            metadata: self.metadata.unwrap_or_default().into_object(),
            spec: self.spec.map(ServiceSpec::into_object),
            status: Some(core::ServiceStatus {
                load_balancer: Some(core::LoadBalancerStatus {
                    ingress: some(ingress.collect()),
                }),
                ..core::ServiceStatus::default()
            }),
        }
    }
}

impl ServiceSpec {
    fn into_object(self) -> core::ServiceSpec {
        let timeout = self
            .session_affinity_config
            .and_then(|config| config.client_ip)
            .map(|client| core::SessionAffinityConfig {
                client_ip: Some(core::ClientIPConfig {
                    timeout_seconds: client.timeout_seconds,
                }),
            });
        let ports = self.ports.into_iter().map(|port| core::ServicePort {
            name: given(port.name),
            protocol: given(port.protocol),
            port: port.port,
            node_port: Some(port.node_port),
            ..core::ServicePort::default()
        });
        core::ServiceSpec {
            ports: some(ports.collect()),
            cluster_ip: given(self.cluster_ip),
            cluster_ips: some(self.cluster_ips),
            type_: given(self.kind),
            external_ips: some(self.external_ips),
            session_affinity: given(self.session_affinity),
            session_affinity_config: timeout,
            load_balancer_source_ranges: some(self.load_balancer_source_ranges),
            external_traffic_policy: given(self.external_traffic_policy),
            internal_traffic_policy: given(self.internal_traffic_policy),
            health_check_node_port: Some(self.health_check_node_port),
            ..core::ServiceSpec::default()
        }
    }
}

/// `discovery.v1.EndpointSlice`.
#[derive(Clone, PartialEq, Message)]
pub struct EndpointSlice {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, repeated, tag = "2")]
    endpoints: Vec<Endpoint>,
    #[prost(message, repeated, tag = "3")]
    ports: Vec<EndpointPort>,
    #[prost(string, tag = "4")]
    address_type: String,
}

/// `discovery.v1.Endpoint`.
#[derive(Clone, PartialEq, Message)]
struct Endpoint {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
    #[prost(message, optional, tag = "2")]
    conditions: Option<EndpointConditions>,
    #[prost(string, optional, tag = "6")]
    node_name: Option<String>,
    #[prost(string, optional, tag = "7")]
    zone: Option<String>,
    #[prost(message, optional, tag = "8")]
    hints: Option<EndpointHints>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct EndpointConditions {
    #[prost(bool, optional, tag = "1")]
    ready: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    serving: Option<bool>,
    #[prost(bool, optional, tag = "3")]
    terminating: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
struct EndpointHints {
    #[prost(message, repeated, tag = "1")]
    for_zones: Vec<Named>,
    #[prost(message, repeated, tag = "2")]
    for_nodes: Vec<Named>,
}

/// `ForZone` and `ForNode`.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct EndpointPort {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    protocol: Option<String>,
    #[prost(int32, optional, tag = "3")]
    port: Option<i32>,
}

impl Item for EndpointSlice {
    type Object = discovery::EndpointSlice;

    fn into_object(self) -> discovery::EndpointSlice {
        let ports = self.ports.into_iter().map(|port| discovery::EndpointPort {
            name: port.name,
            protocol: port.protocol,
            port: port.port,
            ..discovery::EndpointPort::default()
        });
        let endpoints = self.endpoints.into_iter().map(Endpoint::into_object);
        discovery::EndpointSlice {
            metadata: self.metadata.unwrap_or_default().into_object(),
            address_type: self.address_type,
            ports: some(ports.collect()),
            endpoints: some(endpoints.collect()),
        }
    }
}

impl Endpoint {
    fn into_object(self) -> discovery::Endpoint {
        let conditions = self.conditions.map(|given| discovery::EndpointConditions {
            ready: given.ready,
            serving: given.serving,
            terminating: given.terminating,
        });
        let hints = self.hints.map(|hints| {
            let zones = hints.for_zones.into_iter();
            let nodes = hints.for_nodes.into_iter();
            discovery::EndpointHints {
                for_zones: some(
                    zones
                        .map(|one| discovery::ForZone { name: one.name })
                        .collect(),
                ),
                for_nodes: some(
                    nodes
                        .map(|one| discovery::ForNode { name: one.name })
                        .collect(),
                ),
            }
        });
        discovery::Endpoint {
            addresses: self.addresses,
            conditions,
            node_name: self.node_name,
            zone: self.zone,
            hints,
            ..discovery::Endpoint::default()
        }
    }
}

/// `core.v1.Node`.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<NodeSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<NodeStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeSpec {
    #[prost(string, tag = "1")]
    pod_cidr: String,
    #[prost(message, repeated, tag = "5")]
    taints: Vec<Taint>,
    #[prost(string, repeated, tag = "7")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Taint {
    #[prost(string, tag = "1")]
    key: String,
}

#[derive(Clone, PartialEq, Message)]
struct NodeStatus {
    #[prost(message, repeated, tag = "5")]
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeAddress {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    address: String,
}

impl Item for Node {
    type Object = core::Node;

    fn into_object(self) -> core::Node {
        let spec = self.spec.map(|spec| {
            let taints = spec.taints.into_iter().map(|taint| core::Taint {
                key: taint.key,
                ..core::Taint::default()
            });
            core::NodeSpec {
                pod_cidr: given(spec.pod_cidr),
                pod_cidrs: some(spec.pod_cidrs),
                taints: some(taints.collect()),
                ..core::NodeSpec::default()
            }
        });
        let addresses = self
            .status
            .map(|status| status.addresses)
            .unwrap_or_default();
        let addresses = addresses.into_iter().map(|one| core::NodeAddress {
            type_: one.kind,
            address: one.address,
        });
        core::Node {
            metadata: self.metadata.unwrap_or_default().into_object(),
            spec,
            status: Some(core::NodeStatus {
                addresses: some(addresses.collect()),
                ..core::NodeStatus::default()
            }),
        }
    }
}

/// `networking.v1.ServiceCIDR`.
#[derive(Clone, PartialEq, Message)]
pub struct ServiceCidr {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<ServiceCidrSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceCidrSpec {
    #[prost(string, repeated, tag = "1")]
    cidrs: Vec<String>,
}

impl Item for ServiceCidr {
    type Object = networking::ServiceCIDR;

    fn into_object(self) -> networking::ServiceCIDR {
        networking::ServiceCIDR {
            metadata: self.metadata.unwrap_or_default().into_object(),
            spec: self.spec.map(|spec| networking::ServiceCIDRSpec {
                cidrs: some(spec.cidrs),
            }),
            ..networking::ServiceCIDR::default()
        }
    }
}

/// `core.v1.Pod`.
#[derive(Clone, PartialEq, Message)]
pub struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PodSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSpec {
    #[prost(string, tag = "10")]
    node_name: String,
}

impl Item for Pod {
    type Object = core::Pod;

    fn into_object(self) -> core::Pod {
        core::Pod {
            metadata: self.metadata.unwrap_or_default().into_object(),
            spec: self.spec.map(|spec| core::PodSpec {
                node_name: given(spec.node_name),
                ..core::PodSpec::default()
            }),
            ..core::Pod::default()
        }
    }
}
