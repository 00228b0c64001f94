//! Objects in, endpoints and verdicts out.

mod entry;
mod policy;

use std::sync::Arc;

use super::*;
use crate::model::sample::{conditions, endpoint, port, service, slice, slice_port};
use crate::model::{AddressType, EndpointSlice};

fn run(view: &NodeView, service: &Service, slices: Vec<EndpointSlice>) -> Option<Resolved> {
    let slices: Vec<Arc<EndpointSlice>> = slices.into_iter().map(Arc::new).collect();
    resolve(view, service, slices.iter())
}

fn here() -> NodeView {
    NodeView {
        node: Some("here".into()),
        ..NodeView::default()
    }
}

/// `address:port` of the endpoints that get connections, of the first port's only family.
fn backends(service: &Service, slices: Vec<EndpointSlice>) -> (Verdict, Vec<String>) {
    let resolved = run(&here(), service, slices).unwrap();
    let family = &resolved.ports[0].families[0];
    (verdict(family), targets(family))
}

/// Of the cluster IP, which asks nobody who he is.
fn verdict(family: &ResolvedFamily) -> Verdict {
    let frontend = &family.frontends[0];
    assert_eq!(frontend.entry, EntryPoint::ClusterIp);
    assert_eq!(frontend.inside, frontend.outside);
    frontend.inside
}

/// `address:port` of the endpoints that serve at the cluster IP.
fn targets(family: &ResolvedFamily) -> Vec<String> {
    match verdict(family) {
        Verdict::Serve(policy) => serving(family, policy),
        Verdict::Drop | Verdict::Reject => Vec::new(),
    }
}

fn serving(family: &ResolvedFamily, policy: TrafficPolicy) -> Vec<String> {
    family
        .backends(policy)
        .map(|b| format!("{}:{}", b.address, b.port))
        .collect()
}

const READY: Verdict = Verdict::Serve(TrafficPolicy::Cluster);
const LOCAL: Verdict = Verdict::Serve(TrafficPolicy::Local);

#[test]
fn s01_objects_of_another_proxy_are_invisible() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.proxy_name = Some("other".into());
    assert!(run(&here(), &cart, vec![]).is_none());
    let other = NodeView {
        proxy_name: Some("other".into()),
        ..here()
    };
    // The other proxy serves it, from its own slices.
    let mut own = slice("cart", "a", &["10.0.0.1"]);
    own.proxy_name = Some("other".into());
    let resolved = run(&other, &cart, vec![own, slice("cart", "b", &["10.0.0.2"])]).unwrap();
    assert_eq!(targets(&resolved.ports[0].families[0]), ["10.0.0.1:8080"]);
}

#[test]
fn s02_headless_label_hides_services_and_slices() {
    let mut cart = service("cart", &["10.96.0.1"]);
    let mut hidden = slice("cart", "a", &["10.0.0.1"]);
    hidden.headless_label = true;
    let (verdict, found) = backends(&cart, vec![hidden]);
    assert_eq!((verdict, found.len()), (Verdict::Reject, 0));
    cart.headless_label = true;
    assert!(run(&here(), &cart, vec![]).is_none());
}

#[test]
fn s03_headless_and_addressless_services_have_nothing() {
    let mut cart = service("cart", &[]);
    assert!(run(&here(), &cart, vec![]).is_none());
    cart = service("cart", &["10.96.0.1"]);
    cart.headless = true;
    assert!(run(&here(), &cart, vec![]).is_none());
}

#[test]
fn s04_external_name_has_nothing_even_with_an_address() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.kind = ServiceKind::ExternalName;
    assert!(run(&here(), &cart, vec![slice("cart", "a", &["10.0.0.1"])]).is_none());
}

#[test]
fn s06_s07_families_are_apart() {
    let cart = service("cart", &["10.96.0.1", "fd00::1", "10.96.0.1"]);
    let mut names = slice("cart", "c", &["10.0.0.9"]);
    names.address_type = AddressType::Other;
    let slices = vec![
        slice("cart", "a", &["10.0.0.1"]),
        slice("cart", "b", &["fd00:1::1", "fd00:1::2"]),
        names,
    ];
    let resolved = run(&here(), &cart, slices.clone()).unwrap();
    let families = &resolved.ports[0].families;
    assert_eq!(families[0].frontends.len(), 1);
    assert_eq!(targets(&families[0]), ["10.0.0.1:8080"]);
    assert_eq!(targets(&families[1]), ["fd00:1::1:8080", "fd00:1::2:8080"]);
    let only_six = run(&here(), &service("cart", &["fd00::1"]), slices).unwrap();
    assert_eq!(only_six.ports[0].families.len(), 1);
    assert_eq!(only_six.ports[0].families[0].family, Family::V6);
}

#[test]
fn s09_s10_s11_s30_ports_are_matched_by_name_and_protocol_each_on_its_own() {
    let mut dns = service("dns", &["10.96.0.10"]);
    dns.ports = vec![
        port("dns", Protocol::Udp, 53),
        port("dns-tcp", Protocol::Tcp, 53),
        port("dns", Protocol::Sctp, 53),
    ];
    let mut first = slice("dns", "a", &["10.0.0.1"]);
    first.ports = vec![
        slice_port("dns", Protocol::Udp, 5353),
        slice_port("dns-tcp", Protocol::Tcp, 5354),
    ];
    // Pods of another revision use another number behind the same name.
    let mut second = slice("dns", "b", &["10.0.0.2"]);
    second.ports = vec![slice_port("dns", Protocol::Udp, 1053)];
    let resolved = run(&here(), &dns, vec![first, second]).unwrap();
    let names: Vec<_> = resolved.ports.iter().map(|p| p.key.to_string()).collect();
    assert_eq!(
        names,
        [
            "shop/dns:dns/UDP",
            "shop/dns:dns-tcp/TCP",
            "shop/dns:dns/SCTP"
        ]
    );
    let of = |at: usize| targets(&resolved.ports[at].families[0]);
    assert_eq!(of(0), ["10.0.0.1:5353", "10.0.0.2:1053"]);
    assert_eq!(of(1), ["10.0.0.1:5354"]);
    assert_eq!(verdict(&resolved.ports[2].families[0]), Verdict::Reject);
}

#[test]
fn s12_slice_ports_without_name_or_number_do_not_count() {
    let mut broken = slice("cart", "a", &["10.0.0.1"]);
    broken.ports = vec![
        crate::model::SlicePort {
            name: None,
            ..slice_port("", Protocol::Tcp, 1)
        },
        crate::model::SlicePort {
            port: None,
            ..slice_port("http", Protocol::Tcp, 1)
        },
        slice_port("http", Protocol::Tcp, 0),
    ];
    assert_eq!(
        backends(&service("cart", &["10.96.0.1"]), vec![broken]).0,
        Verdict::Reject
    );
}

#[test]
fn s13_addresses_of_the_wrong_family_or_none_are_left_out() {
    let cart = service("cart", &["10.96.0.1", "fd00::1"]);
    let mut mixed = slice("cart", "a", &["10.0.0.1", "fd00:1::1"]);
    mixed.endpoints.push(crate::model::Endpoint::default());
    let resolved = run(&here(), &cart, vec![mixed]).unwrap();
    assert_eq!(targets(&resolved.ports[0].families[0]), ["10.0.0.1:8080"]);
    assert_eq!(verdict(&resolved.ports[0].families[1]), Verdict::Reject);
    assert!(matches!(
        resolved.issues[..],
        [Issue::WrongFamily {
            family: Family::V4,
            ..
        }]
    ));
}

#[test]
fn s14_s15_s18_copies_count_once_and_the_local_one_wins() {
    let cart = service("cart", &["10.96.0.1"]);
    let mut local = slice("cart", "b", &["10.0.0.1"]);
    local.endpoints[0].node = Some("here".into());
    local.endpoints[0].conditions = conditions(true, true, false);
    let mut remote = slice("cart", "a", &["10.0.0.1", "10.0.0.2"]);
    remote.endpoints[0].node = Some("there".into());
    remote.endpoints[0].conditions = conditions(false, false, false);
    for slices in [vec![remote.clone(), local.clone()], vec![local, remote]] {
        let resolved = run(&here(), &cart, slices).unwrap();
        let candidates = &resolved.ports[0].families[0].candidates;
        assert_eq!(candidates.len(), 2);
        assert!(candidates[0].local && candidates[0].ready);
        // No node name is nobody's node.
        assert!(!candidates[1].local);
    }
    let nowhere = NodeView::default();
    let resolved = run(&nowhere, &cart, vec![slice("cart", "a", &["10.0.0.1"])]).unwrap();
    assert!(!resolved.ports[0].families[0].candidates[0].local);
}

#[test]
fn s17_s32_s36_s40_conditions() {
    let cart = service("cart", &["10.96.0.1"]);
    let with = |states: &[(bool, bool, bool)]| {
        let mut one = slice("cart", "a", &[]);
        one.endpoints = (1..)
            .zip(states)
            .map(
                |(n, (ready, serving, terminating))| crate::model::Endpoint {
                    conditions: conditions(*ready, *serving, *terminating),
                    ..endpoint(&format!("10.0.0.{n}"))
                },
            )
            .collect();
        backends(&cart, vec![one])
    };
    // Nothing said means ready.
    assert_eq!(
        backends(&cart, vec![slice("cart", "a", &["10.0.0.1"])]).0,
        READY
    );
    let ready_wins = with(&[(true, true, false), (false, true, true)]);
    assert_eq!(ready_wins, (READY, vec!["10.0.0.1:8080".to_owned()]));
    let fallback = with(&[
        (false, true, true),
        (false, false, true),
        (false, true, false),
    ]);
    assert_eq!(fallback, (READY, vec!["10.0.0.1:8080".to_owned()]));
    assert_eq!(with(&[(false, false, false)]).0, Verdict::Reject);
    assert_eq!(with(&[]).0, Verdict::Reject);
}

#[test]
fn weights_are_by_address_and_zero_takes_nothing() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.endpoint_weights = vec![
        ("10.0.0.1".parse().unwrap(), 3),
        ("10.0.0.2".parse().unwrap(), 0),
    ];
    let slices = vec![slice("cart", "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"])];
    let resolved = run(&here(), &cart, slices).unwrap();
    let family = &resolved.ports[0].families[0];
    let weights: Vec<_> = family
        .backends(TrafficPolicy::Cluster)
        .map(|b| b.weight)
        .collect();
    assert_eq!(weights, [3, 1]);
    assert_eq!(family.candidates.len(), 3);
    // Nothing but such endpoints is nothing.
    let (verdict, _) = backends(&cart, vec![slice("cart", "a", &["10.0.0.2"])]);
    assert_eq!(verdict, Verdict::Reject);
}

#[test]
fn ports_that_are_there_twice_count_once() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.ports.push(port("http", Protocol::Tcp, 81));
    cart.ports.push(port("web", Protocol::Tcp, 80));
    let resolved = run(&here(), &cart, vec![]).unwrap();
    assert_eq!(resolved.ports.len(), 1);
    assert_eq!(resolved.issues.len(), 2);
}
