//! Objects for tests, in few words.

use super::*;

/// `shop/name` with cluster IPs and TCP port 80 named `http`.
pub(crate) fn service(name: &str, vips: &[&str]) -> Service {
    Service {
        key: ObjectKey::new("shop", name),
        cluster_ips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ports: vec![port("http", Protocol::Tcp, 80)],
        ..Service::default()
    }
}

/// A port.
pub(crate) fn port(name: &str, protocol: Protocol, port: u16) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port: None,
    }
}

/// Slice `shop/service-suffix` with port `http` at 8080; the first address gives the family.
pub(crate) fn slice(service: &str, suffix: &str, addresses: &[&str]) -> EndpointSlice {
    let six = addresses
        .first()
        .is_some_and(|address| address.contains(':'));
    EndpointSlice {
        key: ObjectKey::new("shop", format!("{service}-{suffix}")),
        service: Some(service.into()),
        address_type: if six {
            AddressType::Ipv6
        } else {
            AddressType::Ipv4
        },
        ports: vec![slice_port("http", Protocol::Tcp, 8080)],
        endpoints: addresses.iter().map(|address| endpoint(address)).collect(),
        ..EndpointSlice::default()
    }
}

/// A slice's port.
pub(crate) fn slice_port(name: &str, protocol: Protocol, port: u16) -> SlicePort {
    SlicePort {
        name: Some(name.into()),
        protocol,
        port: Some(port),
    }
}

/// An endpoint about which nothing is said.
pub(crate) fn endpoint(address: &str) -> Endpoint {
    Endpoint {
        address: Some(address.parse().unwrap()),
        ..Endpoint::default()
    }
}

/// Conditions: ready, serving, terminating.
pub(crate) fn conditions(ready: bool, serving: bool, terminating: bool) -> Conditions {
    Conditions {
        ready: Some(ready),
        serving: Some(serving),
        terminating: Some(terminating),
    }
}

/// A model with these objects, its lists complete.
pub(crate) fn cluster(services: Vec<Service>, slices: Vec<EndpointSlice>) -> Model {
    let mut model = Model::new();
    model.apply(Event::ReplaceServices(services));
    model.apply(Event::ReplaceSlices(slices));
    model
}
