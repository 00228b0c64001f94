//! Which endpoints serve under each policy, and what becomes of connections where none does.

use super::*;
use crate::model::{Endpoint, Hints};

fn away(address: &str) -> Endpoint {
    Endpoint {
        node: Some("there".into()),
        ..endpoint(address)
    }
}

fn near(address: &str) -> Endpoint {
    Endpoint {
        node: Some("here".into()),
        ..endpoint(address)
    }
}

fn going(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        conditions: conditions(false, true, true),
        ..endpoint
    }
}

fn unready(endpoint: Endpoint) -> Endpoint {
    Endpoint {
        conditions: conditions(false, false, false),
        ..endpoint
    }
}

fn hinted(endpoint: Endpoint, zones: &[&str], nodes: &[&str]) -> Endpoint {
    let names = |all: &[&str]| all.iter().map(|name| Arc::from(*name)).collect();
    Endpoint {
        hints: Some(Box::new(Hints {
            zones: names(zones),
            nodes: names(nodes),
        })),
        ..endpoint
    }
}

/// A LoadBalancer Service with these policies and endpoints, seen from node `here` in zone `a`.
fn family(
    internal: TrafficPolicy,
    external: TrafficPolicy,
    endpoints: Vec<Endpoint>,
) -> ResolvedFamily {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.internal_traffic_policy = internal;
    cart.external_traffic_policy = external;
    cart.load_balancer_ips = vec!["203.0.113.1".parse().unwrap()];
    let mut one = slice("cart", "a", &[]);
    one.endpoints = endpoints;
    let view = NodeView {
        zone: Some("a".into()),
        ..here()
    };
    let mut resolved = run(&view, &cart, vec![one]).unwrap();
    resolved.ports[0].families.remove(0)
}

fn of(family: &ResolvedFamily, entry: EntryPoint) -> (Verdict, Verdict) {
    let found = family.frontends.iter().find(|f| f.entry == entry).unwrap();
    (found.inside, found.outside)
}

fn cluster(endpoints: Vec<Endpoint>) -> Vec<String> {
    let family = family(TrafficPolicy::Cluster, TrafficPolicy::Cluster, endpoints);
    serving(&family, TrafficPolicy::Cluster)
}

use TrafficPolicy::{Cluster, Local};

#[test]
fn s32_terminating_endpoints_serve_only_where_nothing_is_ready_and_topology_is_ignored() {
    assert_eq!(
        cluster(vec![away("10.0.0.1"), going(near("10.0.0.2"))]),
        ["10.0.0.1:8080"]
    );
    let all_going = vec![
        hinted(going(near("10.0.0.1")), &["a"], &[]),
        hinted(going(away("10.0.0.2")), &["b"], &[]),
        unready(near("10.0.0.3")),
    ];
    assert_eq!(cluster(all_going), ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn s33_the_two_policies_fall_back_independently() {
    let found = family(
        Local,
        Cluster,
        vec![away("10.0.0.1"), going(near("10.0.0.2"))],
    );
    assert_eq!(found.choice.local, Basis::Terminating);
    assert_eq!(serving(&found, Local), ["10.0.0.2:8080"]);
    assert_eq!(found.choice.cluster, Basis::Ready(Topology::Anywhere));
    assert_eq!(serving(&found, Cluster), ["10.0.0.1:8080"]);
    // Hints of another zone do not concern Local.
    let hinted_away = vec![
        hinted(near("10.0.0.1"), &["b"], &[]),
        hinted(away("10.0.0.2"), &["a"], &[]),
    ];
    let found = family(Local, Local, hinted_away);
    assert_eq!(serving(&found, Local), ["10.0.0.1:8080"]);
    assert_eq!(serving(&found, Cluster), ["10.0.0.2:8080"]);
}

#[test]
fn s34_sets_are_needed_where_a_policy_of_an_entry_point_asks() {
    let ends = || vec![near("10.0.0.1"), away("10.0.0.2")];
    for (internal, external, cluster, local) in [
        (Cluster, Cluster, true, false),
        (Local, Cluster, true, true),
        (Cluster, Local, true, true),
        // Pods and the node reach the whole cluster from inside.
        (Local, Local, true, true),
    ] {
        let found = family(internal, external, ends());
        assert_eq!(
            (found.needs(Cluster), found.needs(Local)),
            (cluster, local),
            "{internal:?} {external:?}"
        );
    }
    // Without an external entry point its policy is ignored.
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.external_traffic_policy = Local;
    let resolved = run(&here(), &cart, vec![slice("cart", "a", &["10.0.0.1"])]).unwrap();
    assert!(!resolved.ports[0].families[0].needs(Local));
}

#[test]
fn s35_each_policy_governs_its_own_entry_points() {
    let ends = || vec![near("10.0.0.1"), away("10.0.0.2")];
    for (internal, external) in [
        (Cluster, Cluster),
        (Cluster, Local),
        (Local, Cluster),
        (Local, Local),
    ] {
        let found = family(internal, external, ends());
        let (wanted, outside) = (Verdict::Serve(internal), Verdict::Serve(external));
        assert_eq!(of(&found, EntryPoint::ClusterIp), (wanted, wanted));
        assert_eq!(of(&found, EntryPoint::LoadBalancer), (READY, outside));
    }
}

#[test]
fn s36_nothing_usable_anywhere_rejects_at_every_entry_point() {
    for (internal, external) in [(Cluster, Cluster), (Local, Local)] {
        let found = family(internal, external, vec![unready(near("10.0.0.1"))]);
        let refused = (Verdict::Reject, Verdict::Reject);
        assert_eq!(of(&found, EntryPoint::ClusterIp), refused);
        assert_eq!(of(&found, EntryPoint::LoadBalancer), refused);
    }
}

#[test]
fn s37_local_policy_without_local_endpoints_drops() {
    for endpoint in [away("10.0.0.1"), going(away("10.0.0.1"))] {
        let found = family(Local, Local, vec![endpoint]);
        assert_eq!(verdict(&found), Verdict::Drop);
        assert_eq!(of(&found, EntryPoint::LoadBalancer).1, Verdict::Drop);
    }
    // One that is not ready is not usable.
    let found = family(
        Local,
        Local,
        vec![away("10.0.0.1"), unready(near("10.0.0.2"))],
    );
    assert_eq!(verdict(&found), Verdict::Drop);
}

#[test]
fn s38_internal_local_without_local_endpoints_leaves_external_entry_points_alone() {
    let found = family(Local, Cluster, vec![away("10.0.0.1")]);
    assert_eq!(
        of(&found, EntryPoint::ClusterIp),
        (Verdict::Drop, Verdict::Drop)
    );
    assert_eq!(of(&found, EntryPoint::LoadBalancer), (READY, READY));
    let found = family(Cluster, Local, vec![away("10.0.0.1")]);
    assert_eq!(of(&found, EntryPoint::ClusterIp), (READY, READY));
    assert_eq!(of(&found, EntryPoint::LoadBalancer).1, Verdict::Drop);
}

#[test]
fn s39_external_local_short_circuits_pods_and_the_node() {
    let found = family(Cluster, Local, vec![away("10.0.0.1")]);
    assert_eq!(of(&found, EntryPoint::LoadBalancer), (READY, Verdict::Drop));
    let found = family(Cluster, Local, vec![away("10.0.0.1"), near("10.0.0.2")]);
    assert_eq!(of(&found, EntryPoint::LoadBalancer), (READY, LOCAL));
}

#[test]
fn s40_neither_ready_nor_going_away_serving_gets_nothing() {
    let dead = Endpoint {
        conditions: conditions(false, false, true),
        ..near("10.0.0.1")
    };
    let asleep = Endpoint {
        conditions: conditions(false, true, false),
        ..near("10.0.0.2")
    };
    let found = family(Cluster, Cluster, vec![dead, asleep]);
    assert!(serving(&found, Cluster).is_empty());
    assert_eq!(found.choice.cluster, Basis::Nothing);
}

#[test]
fn s42_same_node_mode() {
    let ends = || {
        vec![
            hinted(near("10.0.0.1"), &["a"], &["here"]),
            hinted(away("10.0.0.2"), &["a"], &["there"]),
        ]
    };
    assert_eq!(cluster(ends()), ["10.0.0.1:8080"]);
    // Endpoints that are not ready have no say.
    let mut with_unready = ends();
    with_unready.push(unready(near("10.0.0.3")));
    assert_eq!(cluster(with_unready), ["10.0.0.1:8080"]);
    // No hint names this node: the zone counts (S45).
    let mut elsewhere = ends();
    elsewhere[0] = hinted(near("10.0.0.1"), &["b"], &["other"]);
    assert_eq!(cluster(elsewhere), ["10.0.0.2:8080"]);
}

#[test]
fn s43_same_zone_mode() {
    let ends = || {
        vec![
            hinted(near("10.0.0.1"), &["b"], &[]),
            hinted(away("10.0.0.2"), &["a"], &[]),
        ]
    };
    assert_eq!(cluster(ends()), ["10.0.0.2:8080"]);
    // A node without a zone filters nothing.
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.ports[0].name = "http".into();
    let mut one = slice("cart", "a", &[]);
    one.endpoints = ends();
    let resolved = run(&here(), &cart, vec![one]).unwrap();
    assert_eq!(serving(&resolved.ports[0].families[0], Cluster).len(), 2);
}

#[test]
fn s44_one_endpoint_without_hint_disables_and_several_zones_may_be_hinted() {
    let mut ends = vec![
        hinted(near("10.0.0.1"), &["b"], &[]),
        hinted(away("10.0.0.2"), &["c", "a"], &[]),
    ];
    assert_eq!(cluster(ends.clone()), ["10.0.0.2:8080"]);
    ends.push(away("10.0.0.3"));
    assert_eq!(cluster(ends.clone()).len(), 3);
    ends[2] = hinted(away("10.0.0.3"), &[], &["here"]);
    assert_eq!(cluster(ends).len(), 3);
    // No hint for this zone at all.
    let elsewhere = vec![hinted(near("10.0.0.1"), &["b"], &[])];
    assert_eq!(cluster(elsewhere).len(), 1);
}

#[test]
fn why_an_endpoint_is_in_or_out_can_be_said() {
    let found = family(
        Local,
        Cluster,
        vec![
            hinted(near("10.0.0.1"), &["a"], &[]),
            hinted(away("10.0.0.2"), &["b"], &[]),
            going(away("10.0.0.3")),
            unready(near("10.0.0.4")),
        ],
    );
    let say = |policy: TrafficPolicy| -> Vec<&str> {
        let basis = found.choice.basis(policy);
        let candidates = found.candidates.iter();
        candidates.map(|c| c.standing(policy, basis)).collect()
    };
    assert_eq!(
        say(Cluster),
        [
            "serves: hinted for this zone",
            "out: hinted for other zones",
            "out: terminating, and others are ready",
            "out: not ready",
        ]
    );
    assert_eq!(
        say(Local),
        [
            "serves: ready",
            "out: on another node",
            "out: on another node",
            "out: not ready",
        ]
    );
}
