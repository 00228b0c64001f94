//! From Kubernetes' own types to the model, in one place.
//!
//! In: objects as an API server or a file gives them. Out: the model's objects and what could not be used of them.
//! Invariant: lenient. A value that cannot be read is left out and reported; the rest of the object counts. Only an
//! object without a name is refused.

mod pod;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{self, ObjectKey, address};

pub use pod::pod;

/// Kubernetes' default of `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_TIMEOUT: u32 = 10_800;
/// Labels of nodes that matter to the model.
const TOPOLOGY: &str = "topology.kubernetes.io/";

/// A model object, and what could not be read of its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted<T> {
    /// The object.
    pub object: T,
    /// Values that were left out.
    pub left_out: Vec<LeftOut>,
}

impl<T> Converted<T> {
    /// Logs and counts what was left out.
    pub fn report(&self, kind: &'static str) {
        for left_out in &self.left_out {
            metrics::counter!("nicproxy_values_left_out_total", "kind" => kind).increment(1);
            tracing::warn!(kind, "{left_out}");
        }
    }
}

/// A value that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}; the value is ignored")]
pub struct LeftOut {
    /// Path of the field within the object.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// Why an object is not taken at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// It cannot be told from others.
    #[error("the {kind} has no metadata.name; give it one")]
    NoName {
        /// Kind of object.
        kind: &'static str,
    },
}

/// Values left out so far.
#[derive(Default)]
struct Reader {
    left_out: Vec<LeftOut>,
}

impl Reader {
    fn take<T, E: std::fmt::Display>(
        &mut self,
        field: impl FnOnce() -> String,
        value: Result<T, E>,
    ) -> Option<T> {
        value
            .map_err(|error| self.leave_out(field(), error.to_string()))
            .ok()
    }

    fn leave_out(&mut self, field: String, reason: String) {
        self.left_out.push(LeftOut { field, reason });
    }

    fn addresses(&mut self, field: &str, texts: &[String]) -> Vec<IpAddr> {
        let mut found = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            if let Some(address) = self.take(|| format!("{field}[{at}]"), address::parse(text))
                && !found.contains(&address)
            {
                found.push(address);
            }
        }
        found
    }

    /// A port; 0 and absent are none.
    fn port(&mut self, field: impl FnOnce() -> String, value: Option<i32>) -> Option<u16> {
        match value {
            None | Some(0) => None,
            Some(number) => self.take(
                field,
                u16::try_from(number).map_err(|_| format!("{number} is not a port number")),
            ),
        }
    }

    fn protocol(
        &mut self,
        field: impl FnOnce() -> String,
        name: Option<&str>,
    ) -> Option<model::Protocol> {
        match name {
            None | Some("") => Some(model::Protocol::Tcp),
            Some(name) => self.take(
                field,
                model::Protocol::from_name(name)
                    .ok_or_else(|| format!("`{name}` is not TCP, UDP or SCTP")),
            ),
        }
    }

    fn traffic_policy(&mut self, field: &str, text: Option<&str>) -> model::TrafficPolicy {
        match text {
            None | Some("" | "Cluster") => model::TrafficPolicy::Cluster,
            Some("Local") => model::TrafficPolicy::Local,
            Some(other) => {
                self.leave_out(
                    field.to_owned(),
                    format!("`{other}` is not Cluster or Local"),
                );
                model::TrafficPolicy::Cluster
            }
        }
    }
}

/// A Service.
///
/// # Errors
/// When it has no name.
pub fn service(from: &core::Service) -> Result<Converted<model::Service>, ConvertError> {
    let mut reader = Reader::default();
    let spec = from.spec.as_ref();
    let mut object = model::Service {
        key: key(&from.metadata, "Service")?,
        proxy_name: label(&from.metadata, model::SERVICE_PROXY_NAME),
        headless_label: label(&from.metadata, model::HEADLESS).is_some(),
        ..model::Service::default()
    };
    object.endpoint_weights = weights(&from.metadata, &mut reader);
    object.scheduler = annotation(&from.metadata, model::SCHEDULER, &mut reader, |name| {
        model::Scheduler::from_name(name).ok_or("not one of rr, wrr, lc, wlc, sh, dh, mh")
    });
    object.forwarding = annotation(
        &from.metadata,
        model::FORWARDING,
        &mut reader,
        |name| match name {
            "nat" => Ok(model::Forwarding::Nat),
            "dsr" => Ok(model::Forwarding::Dsr),
            _ => Err("not nat or dsr"),
        },
    );
    if let Some(spec) = spec {
        object.kind = service_kind(spec.type_.as_deref(), &mut reader);
        (object.cluster_ips, object.headless) = cluster_ips(spec, &mut reader);
        object.ports = service_ports(spec, &mut reader);
        object.session_affinity = session_affinity(spec, &mut reader);
        object.internal_traffic_policy = reader.traffic_policy(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
        );
        object.external_traffic_policy = reader.traffic_policy(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
        );
        object.external_ips = reader.addresses(
            "spec.externalIPs",
            spec.external_ips.as_deref().unwrap_or_default(),
        );
        object.source_ranges = spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(at, text)| {
                reader.take(
                    || format!("spec.loadBalancerSourceRanges[{at}]"),
                    address::parse_net(text),
                )
            })
            .collect();
        object.health_check_node_port = reader.port(
            || "spec.healthCheckNodePort".to_owned(),
            spec.health_check_node_port,
        );
    }
    object.load_balancer_ips = load_balancer_ips(from, &mut reader);
    Ok(Converted {
        object,
        left_out: reader.left_out,
    })
}

/// What an annotation says; the default where it is absent or cannot be read.
fn annotation<T: Default>(
    metadata: &ObjectMeta,
    name: &str,
    reader: &mut Reader,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> T {
    let text = metadata.annotations.as_ref().and_then(|all| all.get(name));
    let value = text.and_then(|text| {
        let value = read(text.trim()).map_err(|reason| format!("`{text}` is {reason}"));
        reader.take(|| format!("metadata.annotations[{name}]"), value)
    });
    value.unwrap_or_default()
}

/// Weights by address, of a Service or a slice.
fn weights(metadata: &ObjectMeta, reader: &mut Reader) -> Vec<(IpAddr, u32)> {
    let name = model::ENDPOINT_WEIGHTS;
    let text = metadata.annotations.as_ref().and_then(|all| all.get(name));
    let read = text.and_then(|text| {
        reader.take(
            || format!("metadata.annotations[{name}]"),
            model::parse_weights(text),
        )
    });
    read.unwrap_or_default()
}

fn service_kind(text: Option<&str>, reader: &mut Reader) -> model::ServiceKind {
    match text {
        None | Some("" | "ClusterIP") => model::ServiceKind::ClusterIp,
        Some("NodePort") => model::ServiceKind::NodePort,
        Some("LoadBalancer") => model::ServiceKind::LoadBalancer,
        Some("ExternalName") => model::ServiceKind::ExternalName,
        Some(other) => {
            reader.leave_out(
                "spec.type".to_owned(),
                format!("`{other}` is no type of Service"),
            );
            model::ServiceKind::ClusterIp
        }
    }
}

/// `clusterIPs`, or `clusterIP` where an old client left the list out; and whether the Service is headless (S03).
fn cluster_ips(spec: &core::ServiceSpec, reader: &mut Reader) -> (Vec<IpAddr>, bool) {
    let list: Vec<String> = match spec.cluster_ips.as_deref() {
        Some(list) if !list.is_empty() => list.to_vec(),
        _ => spec.cluster_ip.iter().cloned().collect(),
    };
    let headless = list.iter().any(|text| text == "None");
    let given: Vec<String> = list
        .into_iter()
        .filter(|text| text != "None" && !text.is_empty())
        .collect();
    (reader.addresses("spec.clusterIPs", &given), headless)
}

fn service_ports(spec: &core::ServiceSpec, reader: &mut Reader) -> Vec<model::ServicePort> {
    let mut ports = Vec::new();
    for (at, port) in spec.ports.iter().flatten().enumerate() {
        let protocol = reader.protocol(
            || format!("spec.ports[{at}].protocol"),
            port.protocol.as_deref(),
        );
        let number = reader.port(|| format!("spec.ports[{at}].port"), Some(port.port));
        let node_port = reader.port(|| format!("spec.ports[{at}].nodePort"), port.node_port);
        if let (Some(protocol), Some(number)) = (protocol, number) {
            let name = port.name.as_deref().unwrap_or_default().into();
            ports.push(model::ServicePort {
                name,
                protocol,
                port: number,
                node_port,
            });
        }
    }
    ports
}

fn session_affinity(spec: &core::ServiceSpec, reader: &mut Reader) -> model::SessionAffinity {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => model::SessionAffinity::None,
        Some("ClientIP") => {
            let config = spec
                .session_affinity_config
                .as_ref()
                .and_then(|config| config.client_ip.as_ref());
            let given = config.and_then(|client_ip| client_ip.timeout_seconds);
            let timeout_seconds = given.and_then(|seconds| {
                reader.take(
                    || "spec.sessionAffinityConfig.clientIP.timeoutSeconds".to_owned(),
                    u32::try_from(seconds)
                        .ok()
                        .filter(|seconds| (1..=86_400).contains(seconds))
                        .ok_or_else(|| format!("{seconds} is not between 1 and 86400")),
                )
            });
            model::SessionAffinity::ClientIp {
                timeout_seconds: timeout_seconds.unwrap_or(AFFINITY_TIMEOUT),
            }
        }
        Some(other) => {
            reader.leave_out(
                "spec.sessionAffinity".to_owned(),
                format!("`{other}` is not None or ClientIP"),
            );
            model::SessionAffinity::None
        }
    }
}

/// Addresses of the load balancer that packets arrive with (S27).
fn load_balancer_ips(from: &core::Service, reader: &mut Reader) -> Vec<IpAddr> {
    let status = from
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let texts: Vec<String> = status
        .and_then(|balancer| balancer.ingress.as_ref())
        .into_iter()
        .flatten()
        .filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"))
        .filter_map(|ingress| ingress.ip.clone())
        .filter(|text| !text.is_empty())
        .collect();
    reader.addresses("status.loadBalancer.ingress", &texts)
}

/// An EndpointSlice.
///
/// # Errors
/// When it has no name.
pub fn slice(
    from: &discovery::EndpointSlice,
) -> Result<Converted<model::EndpointSlice>, ConvertError> {
    let mut reader = Reader::default();
    let ports = from
        .ports
        .iter()
        .flatten()
        .enumerate()
        .filter_map(|(at, port)| {
            Some(model::SlicePort {
                name: Some(port.name.as_deref().unwrap_or_default().into()),
                protocol: reader
                    .protocol(|| format!("ports[{at}].protocol"), port.protocol.as_deref())?,
                port: reader.port(|| format!("ports[{at}].port"), port.port),
            })
        })
        .collect();
    let object = model::EndpointSlice {
        key: key(&from.metadata, "EndpointSlice")?,
        service: label(&from.metadata, model::SERVICE_NAME),
        address_type: match from.address_type.as_str() {
            "IPv4" => model::AddressType::Ipv4,
            "IPv6" => model::AddressType::Ipv6,
            _ => model::AddressType::Other,
        },
        ports,
        endpoints: endpoints(from, &mut reader),
        proxy_name: label(&from.metadata, model::SERVICE_PROXY_NAME),
        headless_label: label(&from.metadata, model::HEADLESS).is_some(),
        changed_at: changed_at(&from.metadata, &mut reader),
    };
    Ok(Converted {
        object,
        left_out: reader.left_out,
    })
}

/// When the change happened that the slice follows from (S89).
fn changed_at(metadata: &ObjectMeta, reader: &mut Reader) -> Option<SystemTime> {
    let text = metadata.annotations.as_ref()?.get(model::LAST_CHANGE)?;
    let field = || format!("metadata.annotations[{}]", model::LAST_CHANGE);
    let time = reader.take(field, text.parse::<jiff::Timestamp>())?;
    Some(time.into())
}

fn endpoints(from: &discovery::EndpointSlice, reader: &mut Reader) -> Vec<model::Endpoint> {
    let readable = matches!(from.address_type.as_str(), "IPv4" | "IPv6");
    let weights = weights(&from.metadata, reader);
    let mut found = Vec::with_capacity(from.endpoints.as_ref().map_or(0, Vec::len));
    for (at, endpoint) in from.endpoints.iter().flatten().enumerate() {
        let address = endpoint
            .addresses
            .first()
            .filter(|_| readable)
            .and_then(|text| {
                reader.take(
                    || format!("endpoints[{at}].addresses[0]"),
                    address::parse(text),
                )
            });
        let conditions = endpoint.conditions.as_ref();
        found.push(model::Endpoint {
            address,
            conditions: model::Conditions {
                ready: conditions.and_then(|c| c.ready),
                serving: conditions.and_then(|c| c.serving),
                terminating: conditions.and_then(|c| c.terminating),
            },
            node: endpoint.node_name.as_deref().map(Arc::from),
            zone: endpoint.zone.as_deref().map(Arc::from),
            hints: hints(endpoint),
            weight: address.and_then(|own| {
                let named = weights.iter().rev().find(|(ip, _)| *ip == own);
                named.map(|(_, weight)| *weight)
            }),
        });
    }
    found
}

fn hints(endpoint: &discovery::Endpoint) -> Option<Box<model::Hints>> {
    let hints = endpoint.hints.as_ref()?;
    let zones: Vec<Arc<str>> = hints
        .for_zones
        .iter()
        .flatten()
        .map(|zone| zone.name.as_str().into())
        .collect();
    let nodes: Vec<Arc<str>> = hints
        .for_nodes
        .iter()
        .flatten()
        .map(|node| node.name.as_str().into())
        .collect();
    (!zones.is_empty() || !nodes.is_empty()).then(|| Box::new(model::Hints { zones, nodes }))
}

/// A Node.
///
/// # Errors
/// When it has no name.
pub fn node(from: &core::Node) -> Result<Converted<model::Node>, ConvertError> {
    let mut reader = Reader::default();
    let name = from
        .metadata
        .name
        .as_deref()
        .filter(|name| !name.is_empty());
    let name = name.ok_or(ConvertError::NoName { kind: "Node" })?;
    let spec = from.spec.as_ref();
    let mut cidrs: Vec<String> = spec
        .and_then(|spec| spec.pod_cidrs.clone())
        .unwrap_or_default();
    if cidrs.is_empty() {
        cidrs.extend(spec.and_then(|spec| spec.pod_cidr.clone()));
    }
    let pod_cidrs = cidrs
        .iter()
        .enumerate()
        .filter_map(|(at, text)| {
            reader.take(|| format!("spec.podCIDRs[{at}]"), address::parse_net(text))
        })
        .collect();
    let mut addresses = |kind: &str| -> Vec<IpAddr> {
        let texts: Vec<String> = from
            .status
            .iter()
            .flat_map(|status| status.addresses.iter().flatten())
            .filter(|address| address.type_ == kind)
            .map(|address| address.address.clone())
            .collect();
        reader.addresses("status.addresses", &texts)
    };
    let internal_ips = addresses("InternalIP");
    let external_ips = addresses("ExternalIP");
    let object = model::Node {
        name: name.into(),
        internal_ips,
        external_ips,
        pod_cidrs,
        labels: from
            .metadata
            .labels
            .iter()
            .flatten()
            .filter(|(name, _)| name.starts_with(TOPOLOGY))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        taints: spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten())
            .map(|taint| taint.key.as_str().into())
            .collect(),
        deleting: from.metadata.deletion_timestamp.is_some(),
    };
    Ok(Converted {
        object,
        left_out: reader.left_out,
    })
}

/// A ServiceCIDR.
///
/// # Errors
/// When it has no name.
pub fn service_cidr(
    from: &networking::ServiceCIDR,
) -> Result<Converted<model::ServiceCidr>, ConvertError> {
    let mut reader = Reader::default();
    let key = key(&from.metadata, "ServiceCIDR")?;
    let given = from.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    let cidrs = given
        .into_iter()
        .flatten()
        .enumerate()
        .filter_map(|(at, text)| {
            reader.take(|| format!("spec.cidrs[{at}]"), address::parse_net(text))
        })
        .collect();
    Ok(Converted {
        object: model::ServiceCidr {
            name: key.name,
            cidrs,
        },
        left_out: reader.left_out,
    })
}

/// Namespace and name. A manifest may leave the namespace out: `default`.
pub fn key(metadata: &ObjectMeta, kind: &'static str) -> Result<ObjectKey, ConvertError> {
    let name = metadata
        .name
        .as_deref()
        .filter(|name| !name.is_empty())
        .ok_or(ConvertError::NoName { kind })?;
    let namespace = metadata
        .namespace
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or("default");
    Ok(ObjectKey::new(namespace, name))
}

fn label(metadata: &ObjectMeta, name: &str) -> Option<Arc<str>> {
    metadata
        .labels
        .as_ref()?
        .get(name)
        .map(|value| value.as_str().into())
}
