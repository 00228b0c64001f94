//! Where a port answers, who gets another source address there, and who is admitted.

use super::*;
use crate::model::{Event, Forwarding, Model, Node};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| ip(text)).collect()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// `entry address:port` of all frontends of a family.
fn answers(resolved: &Resolved, family: usize) -> Vec<String> {
    let frontends = &resolved.ports[0].families[family].frontends;
    let show = |f: &Frontend| format!("{} {} {}", f.entry, f.address, f.port);
    frontends.iter().map(show).collect()
}

fn find(resolved: &Resolved, entry: EntryPoint) -> Frontend {
    let frontends = &resolved.ports[0].families[0].frontends;
    frontends.iter().find(|f| f.entry == entry).unwrap().clone()
}

/// Every kind of entry point, two local and remote endpoints.
fn everything(external: TrafficPolicy) -> Service {
    let mut cart = service("cart", &["10.96.0.1", "fd00::1"]);
    cart.kind = ServiceKind::LoadBalancer;
    cart.external_traffic_policy = external;
    cart.ports[0].node_port = Some(30080);
    cart.external_ips = ips(&["198.51.100.1", "2001:db8::1"]);
    cart.load_balancer_ips = ips(&["203.0.113.1", "203.0.113.2"]);
    cart
}

fn seen(view: &NodeView, service: &Service) -> Resolved {
    let mut one = slice("cart", "a", &["10.0.0.1", "10.0.0.2"]);
    one.endpoints[0].node = Some("here".into());
    run(view, service, vec![one]).unwrap()
}

fn node() -> NodeView {
    NodeView {
        addresses: ips(&["192.0.2.1", "fd00:5::1", "192.0.2.99"]),
        node_port_addresses: ips(&["192.0.2.1", "fd00:5::1"]),
        ..here()
    }
}

fn detecting() -> NodeView {
    NodeView {
        pods: PodRanges::Ranges(nets(&["10.0.0.0/8"])),
        ..node()
    }
}

#[test]
fn s07_s21_s23_s26_s27_entry_points_per_family() {
    let resolved = seen(&node(), &everything(TrafficPolicy::Cluster));
    assert_eq!(
        answers(&resolved, 0),
        [
            "ClusterIP 10.96.0.1 80",
            "LoadBalancer 203.0.113.1 80",
            "LoadBalancer 203.0.113.2 80",
            "externalIP 198.51.100.1 80",
            "NodePort 192.0.2.1 30080",
        ]
    );
    assert_eq!(
        answers(&resolved, 1),
        [
            "ClusterIP fd00::1 80",
            "externalIP 2001:db8::1 80",
            "NodePort fd00:5::1 30080",
        ]
    );
}

#[test]
fn s25_s31_other_addresses_of_the_node_are_left_alone() {
    let resolved = seen(&node(), &everything(TrafficPolicy::Cluster));
    assert!(
        !answers(&resolved, 0)
            .iter()
            .any(|line| line.contains("192.0.2.99"))
    );
}

#[test]
fn s28_s29_without_a_node_port_there_is_no_rule_for_nodes() {
    let mut cart = everything(TrafficPolicy::Cluster);
    cart.ports[0].node_port = None;
    let resolved = seen(&node(), &cart);
    assert!(
        !answers(&resolved, 0)
            .iter()
            .any(|line| line.contains("NodePort"))
    );
    assert!(
        answers(&resolved, 0)
            .iter()
            .any(|line| line.contains("LoadBalancer"))
    );
}

#[test]
fn s23_s24_which_addresses_answer_node_ports() {
    let own = ips(&["192.0.2.1", "198.18.0.1", "fd00:5::1", "fd00:6::1"]);
    let select = |primary, ranges: &[&str]| {
        let ranges = nets(ranges);
        let found = NodePortAddresses { primary, ranges }.select(&own);
        found
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(select(false, &[]), "192.0.2.1 fd00:5::1");
    assert_eq!(select(true, &[]), "192.0.2.1 fd00:5::1");
    assert_eq!(
        select(false, &["0.0.0.0/0", "::/0"]),
        "192.0.2.1 198.18.0.1 fd00:5::1 fd00:6::1"
    );
    // A range of the other family does not count; none left is all of the family.
    assert_eq!(
        select(false, &["198.18.0.0/15"]),
        "198.18.0.1 fd00:5::1 fd00:6::1"
    );
    assert_eq!(
        select(true, &["198.18.0.0/15"]),
        "192.0.2.1 198.18.0.1 fd00:5::1"
    );
    assert_eq!(select(false, &["10.0.0.0/8", "fd00:6::/64"]), "fd00:6::1");
}

#[test]
fn s23_s24_s46_the_view_follows_the_node_object() {
    let mut model = Model::new();
    let mut worker = Node {
        name: "here".into(),
        internal_ips: ips(&["127.0.0.1", "192.0.2.1"]),
        external_ips: ips(&["203.0.113.9"]),
        labels: [("topology.kubernetes.io/zone".to_owned(), "a".to_owned())].into(),
        pod_cidrs: nets(&["10.0.1.0/24"]),
        ..Node::default()
    };
    model.apply(Event::ApplyNode(worker.clone()));
    let all = Viewpoint {
        node: Some("here".into()),
        node_ports: NodePortAddresses {
            primary: false,
            ranges: nets(&["0.0.0.0/0"]),
        },
        detector: Detector::NodeCidr,
        ..Viewpoint::default()
    };
    let view = all.look(&model);
    // Loopback never answers.
    assert_eq!(view.node_port_addresses, ips(&["192.0.2.1", "203.0.113.9"]));
    assert_eq!(view.zone.as_deref(), Some("a"));
    assert!(view.detects(Family::V4) && !view.detects(Family::V6));
    worker.labels.clear();
    model.apply(Event::ApplyNode(worker));
    let moved = all.look(&model);
    assert_ne!(moved, view);
    assert_eq!(moved.zone, None);
    // What is configured counts more.
    let given = Viewpoint {
        addresses: ips(&["192.0.2.7"]),
        ..all
    };
    assert_eq!(given.look(&model).node_port_addresses, ips(&["192.0.2.7"]));
    assert_eq!(
        given.look(&model).primary(Family::V4),
        Some(ip("192.0.2.7"))
    );
}

const NOBODY: Masquerade = Masquerade {
    pod: false,
    node: false,
    outside: false,
};
const EVERYBODY: Masquerade = Masquerade {
    pod: true,
    node: true,
    outside: true,
};

#[test]
fn s47_cluster_ip_masquerades_all_but_pods() {
    let cart = everything(TrafficPolicy::Cluster);
    let not_pods = Masquerade {
        pod: false,
        ..EVERYBODY
    };
    let found = find(&seen(&detecting(), &cart), EntryPoint::ClusterIp);
    assert_eq!((found.masquerade, found.classifies()), (not_pods, true));
    let all = NodeView {
        masquerade_all: true,
        ..detecting()
    };
    let found = find(&seen(&all, &cart), EntryPoint::ClusterIp);
    assert_eq!((found.masquerade, found.classifies()), (EVERYBODY, false));
    // It concerns cluster IPs only.
    let local = everything(TrafficPolicy::Local);
    let found = find(&seen(&all, &local), EntryPoint::NodePort);
    assert_eq!(
        found.masquerade,
        Masquerade {
            node: true,
            ..NOBODY
        }
    );
}

#[test]
fn s48_without_a_detector_nobody_is_masqueraded_at_the_cluster_ip() {
    let found = find(
        &seen(&node(), &everything(TrafficPolicy::Cluster)),
        EntryPoint::ClusterIp,
    );
    assert_eq!((found.masquerade, found.classifies()), (NOBODY, false));
    // A range of the other family is no detector of this one.
    let six = NodeView {
        pods: PodRanges::Ranges(nets(&["fd00::/8"])),
        ..node()
    };
    let found = find(
        &seen(&six, &everything(TrafficPolicy::Cluster)),
        EntryPoint::ClusterIp,
    );
    assert_eq!(found.masquerade, NOBODY);
}

#[test]
fn s49_external_cluster_policy_masquerades_everybody() {
    let resolved = seen(&detecting(), &everything(TrafficPolicy::Cluster));
    for entry in [
        EntryPoint::NodePort,
        EntryPoint::ExternalIp,
        EntryPoint::LoadBalancer,
    ] {
        let found = find(&resolved, entry);
        assert_eq!((found.masquerade, found.classifies()), (EVERYBODY, false));
    }
}

#[test]
fn s50_external_local_policy_masquerades_the_node_only() {
    let resolved = seen(&detecting(), &everything(TrafficPolicy::Local));
    for entry in [
        EntryPoint::NodePort,
        EntryPoint::ExternalIp,
        EntryPoint::LoadBalancer,
    ] {
        let found = find(&resolved, entry);
        assert_eq!(
            found.masquerade,
            Masquerade {
                node: true,
                ..NOBODY
            }
        );
        assert_eq!((found.inside, found.outside), (READY, LOCAL));
        assert!(found.classifies());
    }
}

#[test]
fn s51_internal_policy_has_no_say_in_masquerading() {
    let mut cart = everything(TrafficPolicy::Cluster);
    let before = find(&seen(&detecting(), &cart), EntryPoint::ClusterIp);
    cart.internal_traffic_policy = TrafficPolicy::Local;
    let after = find(&seen(&detecting(), &cart), EntryPoint::ClusterIp);
    assert_eq!(before.masquerade, after.masquerade);
    assert_eq!(after.inside, LOCAL);
}

fn admitted(view: &NodeView, ranges: &[&str]) -> (Vec<String>, bool, bool) {
    let mut cart = everything(TrafficPolicy::Cluster);
    cart.source_ranges = nets(ranges);
    let resolved = seen(view, &cart);
    let shown = &resolved.ports[0].families[0].admitted;
    for entry in [
        EntryPoint::ClusterIp,
        EntryPoint::NodePort,
        EntryPoint::ExternalIp,
    ] {
        assert!(!find(&resolved, entry).check_source, "{entry}");
    }
    let balancer = find(&resolved, EntryPoint::LoadBalancer);
    let text = shown.iter().map(ToString::to_string).collect();
    (text, balancer.check_source, balancer.classifies())
}

#[test]
fn neighbours_hear_of_load_balancers_that_no_node_has_and_that_answer_here() {
    let cart = everything(TrafficPolicy::Cluster);
    assert!(seen(&node(), &cart).answered.is_empty(), "not asked for");
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let asked = |except: &[&str]| NodeView {
        answers_except: Some(except.iter().map(|text| ip(text)).collect()),
        ..node()
    };
    let all = [ip("203.0.113.1"), ip("203.0.113.2")];
    assert_eq!(seen(&asked(&["192.0.2.1"]), &cart).answered, all);
    assert_eq!(seen(&asked(&["203.0.113.1"]), &cart).answered, all[1..]);
    // Policy Local without an endpoint on this node: another node's NIC has the address.
    let away = NodeView {
        node: Some("elsewhere".into()),
        ..asked(&[])
    };
    assert!(
        seen(&away, &everything(TrafficPolicy::Local))
            .answered
            .is_empty()
    );
    assert_eq!(seen(&away, &cart).answered, all);
}

#[test]
fn nodes_keep_their_addresses_whatever_a_load_balancer_says() {
    let mut model = Model::new();
    model.apply(Event::ApplyNode(Node {
        name: "other".into(),
        internal_ips: vec!["192.0.2.7".parse().unwrap()],
        ..Node::default()
    }));
    let mut viewpoint = Viewpoint {
        addresses: vec!["192.0.2.9".parse().unwrap()],
        ..Viewpoint::default()
    };
    assert_eq!(viewpoint.look(&model).answers_except, None);
    viewpoint.answers_for_load_balancers = true;
    let all = ["192.0.2.7", "192.0.2.9"].map(|text| text.parse().unwrap());
    assert_eq!(viewpoint.look(&model).answers_except, Some(all.to_vec()));
}

#[test]
fn s54_source_ranges_apply_to_load_balancer_addresses_only() {
    let (ranges, checks, _) = admitted(&node(), &["198.51.100.0/24", "203.0.114.0/24"]);
    assert_eq!(ranges, ["198.51.100.0/24", "203.0.114.0/24"]);
    assert!(checks);
}

#[test]
fn s55_a_node_within_a_range_admits_the_address_itself() {
    let (ranges, checks, _) = admitted(&node(), &["192.0.2.0/24"]);
    assert_eq!(ranges, ["192.0.2.0/24", "203.0.113.1/32", "203.0.113.2/32"]);
    assert!(checks);
}

#[test]
fn s56_ranges_of_the_other_family_restrict_nothing() {
    assert_eq!(
        admitted(&node(), &["2001:db8::/32"]),
        (vec![], false, false)
    );
    assert_eq!(admitted(&node(), &[]), (vec![], false, false));
}

#[test]
fn s56_the_filter_stands_without_endpoints() {
    let mut cart = everything(TrafficPolicy::Cluster);
    cart.source_ranges = nets(&["198.51.100.0/24"]);
    let resolved = run(&node(), &cart, vec![]).unwrap();
    let balancer = find(&resolved, EntryPoint::LoadBalancer);
    assert_eq!(
        (balancer.outside, balancer.check_source),
        (Verdict::Reject, true)
    );
}

#[test]
fn an_address_that_is_two_things_keeps_its_filter() {
    let mut cart = everything(TrafficPolicy::Cluster);
    cart.external_ips = cart.load_balancer_ips.clone();
    cart.source_ranges = nets(&["198.51.100.0/24"]);
    let resolved = seen(&node(), &cart);
    assert!(find(&resolved, EntryPoint::LoadBalancer).check_source);
    assert!(
        !answers(&resolved, 0)
            .iter()
            .any(|line| line.contains("externalIP"))
    );
}

#[test]
fn direct_return_is_for_load_balancer_addresses_and_keeps_sources() {
    let mut cart = everything(TrafficPolicy::Cluster);
    cart.forwarding = Forwarding::Dsr;
    // Without a way to the endpoints it is as if nothing had been asked for, and said aloud.
    let resolved = seen(&detecting(), &cart);
    assert!(!find(&resolved, EntryPoint::LoadBalancer).direct);
    assert_eq!(resolved.issues, [Issue::NoTunnel(Family::V4)]);
    let view = NodeView {
        tunnels: vec![Family::V4],
        ..detecting()
    };
    let resolved = seen(&view, &cart);
    let balancer = find(&resolved, EntryPoint::LoadBalancer);
    assert_eq!((balancer.direct, balancer.masquerade), (true, NOBODY));
    let external = find(&resolved, EntryPoint::ExternalIp);
    assert_eq!((external.direct, external.masquerade), (false, EVERYBODY));
}

#[test]
fn s57_s58_affinity_and_scheduler_are_passed_on() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.session_affinity = SessionAffinity::ClientIp {
        timeout_seconds: 30,
    };
    cart.scheduler = Scheduler::SourceHash;
    let resolved = seen(&here(), &cart);
    assert_eq!(
        (resolved.affinity, resolved.scheduler),
        (Some(30), Scheduler::SourceHash)
    );
    cart.session_affinity = SessionAffinity::None;
    assert_eq!(seen(&here(), &cart).affinity, None);
}

#[test]
fn rr_and_lc_know_no_weights_but_zero() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.endpoint_weights = vec![(ip("10.0.0.1"), 7), (ip("10.0.0.2"), 0)];
    let weights = |cart: &Service| -> Vec<u32> {
        let mut one = slice("cart", "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        one.endpoints[2].weight = Some(5);
        let resolved = run(&here(), cart, vec![one]).unwrap();
        let candidates = &resolved.ports[0].families[0].candidates;
        candidates.iter().map(|c| c.weight).collect()
    };
    assert_eq!(weights(&cart), [7, 0, 5]);
    cart.scheduler = Scheduler::RoundRobin;
    assert_eq!(weights(&cart), [1, 0, 1]);
    cart.scheduler = Scheduler::LeastConnection;
    assert_eq!(weights(&cart), [1, 0, 1]);
}
