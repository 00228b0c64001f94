//! What the bundled manifests promise: which address is served by which endpoints, in which shares.
//!
//! In: model objects, as a source read them. Out: one [`Promise`] per VIP, port and protocol. Worked out here from the
//! rules of Services and not by the control plane's stages, so that the two can be compared.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::model::{EndpointSlice, Family, ObjectKey, Protocol, Service, ServiceKind};

/// One VIP and port.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// Service.
    pub service: ObjectKey,
    /// Name of the port.
    pub port: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Where clients connect.
    pub vip: SocketAddr,
    /// Endpoints and the share of connections that each is to get; none: connections are refused.
    pub shares: BTreeMap<SocketAddr, f64>,
}

/// Every promise, in order of Service, port and family.
pub fn promises<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl Fn(&ObjectKey) -> Vec<&'a EndpointSlice>,
) -> Vec<Promise> {
    let mut promises = Vec::new();
    for service in services {
        if service.kind == ServiceKind::ExternalName || service.headless {
            continue;
        }
        let slices = slices(&service.key);
        for port in &service.ports {
            for vip in &service.cluster_ips {
                promises.push(Promise {
                    service: service.key.clone(),
                    port: port.name.to_string(),
                    protocol: port.protocol,
                    vip: SocketAddr::new(*vip, port.port),
                    shares: shares(
                        service,
                        &port.name,
                        port.protocol,
                        Family::of(*vip),
                        &slices,
                    ),
                });
            }
        }
    }
    promises.sort_by(|a, b| (&a.service, &a.port, a.vip).cmp(&(&b.service, &b.port, b.vip)));
    promises
}

fn shares(
    service: &Service,
    port: &str,
    protocol: Protocol,
    family: Family,
    slices: &[&EndpointSlice],
) -> BTreeMap<SocketAddr, f64> {
    let mut weights = BTreeMap::new();
    for slice in slices
        .iter()
        .filter(|slice| slice.address_type.family() == Some(family))
    {
        let number = slice
            .ports
            .iter()
            .find(|known| {
                known.name.as_deref().unwrap_or_default() == port && known.protocol == protocol
            })
            .and_then(|known| known.port);
        let Some(number) = number else { continue };
        for endpoint in slice
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.conditions.is_ready())
        {
            let Some(address) = endpoint.address else {
                continue;
            };
            let weight = service
                .endpoint_weights
                .iter()
                .find(|(known, _)| *known == address)
                .map_or(1, |(_, w)| *w);
            if weight > 0 {
                weights.insert(SocketAddr::new(address, number), f64::from(weight));
            }
        }
    }
    let total: f64 = weights.values().sum();
    weights.values_mut().for_each(|weight| *weight /= total);
    weights
}

/// How far a count may be from what its share says: slots are whole, so a share may be off by an eighth; and chance.
pub fn tolerance(connections: u64, share: f64) -> f64 {
    let expected = connections as f64 * share;
    expected * 0.125 + 5.0 * (expected * (1.0 - share)).max(0.0).sqrt() + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::shop;

    #[test]
    fn the_shop() {
        let shop = shop::objects().unwrap();
        let promises = shop.promises();
        let services: std::collections::BTreeSet<_> =
            promises.iter().map(|promise| &promise.service).collect();
        assert!(services.len() >= 12, "{services:?}");
        assert!(
            promises.iter().any(|p| p.vip.is_ipv6()) && promises.iter().any(|p| p.vip.is_ipv4())
        );
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            assert!(promises.iter().any(|promise| promise.protocol == protocol));
        }
        assert!(promises.iter().any(|promise| promise.shares.is_empty()));
        for promise in &promises {
            let total: f64 = promise.shares.values().sum();
            assert!(
                promise.shares.is_empty() || (total - 1.0).abs() < 1e-9,
                "{promise:?}"
            );
        }
        let of = |name: &str| {
            promises
                .iter()
                .find(|promise| &*promise.service.name == name)
                .unwrap()
        };
        assert_eq!(
            of("recommendations").shares.len(),
            4,
            "neither terminating nor unready endpoints count"
        );
        assert_eq!(
            of("search").shares.values().copied().fold(0.0, f64::max),
            0.5
        );
        assert_eq!(
            of("catalog")
                .shares
                .keys()
                .filter(|endpoint| endpoint.port() == 3000)
                .count(),
            4
        );
        assert!(
            promises
                .iter()
                .all(|promise| !["database", "bank"].contains(&&*promise.service.name))
        );
    }

    #[test]
    fn tolerances() {
        assert!(tolerance(1000, 0.25) < 130.0 && tolerance(1000, 0.25) > 31.0);
        assert!(tolerance(0, 0.5) <= 1.0);
    }
}
