//! What nodes and programs change for all Services.

use super::*;
use crate::compile::{MasqueradeAddress, PortRange};
use crate::model::sample::{cluster, endpoint as end, service, slice};
use crate::model::{
    EndpointSlice, Hints, Node, Scheduler, Service, SessionAffinity, TrafficPolicy,
};
use crate::resolve::{Detector, Viewpoint};
use crate::tables::Interface;
use crate::tables::flow::{self, Tuple};

fn node(zone: &str, address: &str) -> Node {
    Node {
        name: "here".into(),
        internal_ips: vec![address.parse().unwrap()],
        labels: [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into(),
        ..Node::default()
    }
}

fn hinted() -> EndpointSlice {
    let mut one = slice("cart", "a", &[]);
    one.endpoints = ["a", "b"]
        .into_iter()
        .zip(["10.0.0.1", "10.0.0.2"])
        .map(|(zone, address)| crate::model::Endpoint {
            hints: Some(Box::new(Hints {
                zones: vec![zone.into()],
                nodes: vec![],
            })),
            ..end(address)
        })
        .collect();
    one
}

fn cart() -> Service {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.ports[0].node_port = Some(30_080);
    cart.external_traffic_policy = TrafficPolicy::Local;
    cart.session_affinity = SessionAffinity::ClientIp {
        timeout_seconds: 10_800,
    };
    cart
}

fn bench(interface: Interface) -> Bench {
    let mut model = cluster(vec![cart()], vec![hinted()]);
    model.apply(Event::ApplyNode(node("a", "192.0.2.1")));
    let device = Simulated::with(interface);
    let config = Config {
        view: Viewpoint {
            node: Some("here".into()),
            detector: Detector::ClusterCidr(vec!["10.0.0.0/8".parse().unwrap()]),
            ..Viewpoint::default()
        },
        wiring: Wiring {
            masquerade: vec![MasqueradeAddress {
                local: true,
                address: "192.0.2.200".parse().unwrap(),
                ports: PortRange::default(),
            }],
            ..config().wiring
        },
        ..config()
    };
    Bench {
        tables: device.tables(),
        reconciler: Reconciler::new(device.clone(), config),
        device,
        model,
    }
}

/// Addresses of the endpoints that the cluster IP serves.
fn serving(bench: &Bench) -> Vec<String> {
    let set = bench.reconciler.services()[0].families[0].sets[0].id;
    let mut found: Vec<String> = bench
        .slots(set)
        .into_iter()
        .map(|(_, target)| target.address.to_string())
        .collect();
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
async fn s46_another_zone_makes_everything_look_different() {
    let mut bench = bench(Interface::Full);
    assert!(bench.sync().await.is_clean());
    assert_eq!(serving(&bench), ["10.0.0.1"]);
    let moved = bench.apply(Event::ApplyNode(node("b", "192.0.2.1"))).await;
    assert_eq!((moved.services, moved.full), (1, false));
    assert_eq!(serving(&bench), ["10.0.0.2"]);
    // A label that is nobody's concern is no change.
    let mut same = node("b", "192.0.2.1");
    same.taints = vec!["x".into()];
    let report = bench.apply(Event::ApplyNode(same)).await;
    assert_eq!((report.services, report.writes()), (0, 0));
    bench.assert_settled();
}

#[tokio::test]
async fn s23_node_ports_follow_the_nodes_addresses() {
    let mut bench = bench(Interface::Full);
    bench.sync().await;
    let node_ports = |bench: &Bench| -> Vec<String> {
        let mut found = bench.frontends();
        found.retain(|(key, _)| key.port == 30_080);
        found
            .iter()
            .map(|(key, _)| key.address.to_string())
            .collect()
    };
    assert_eq!(node_ports(&bench), ["192.0.2.1"]);
    let report = bench.apply(Event::ApplyNode(node("a", "192.0.2.7"))).await;
    assert!(report.is_clean());
    assert_eq!(node_ports(&bench), ["192.0.2.7"]);
    bench.assert_settled();
}

#[tokio::test]
async fn s82_a_restart_finds_policies_source_addresses_and_classes_as_they_are() {
    let mut bench = bench(Interface::Full);
    assert!(bench.sync().await.is_clean());
    let tables = bench.reconciler.tables();
    let of = |name: &str| tables.iter().find(|t| t.table == name).unwrap().desired;
    assert_eq!((of("client"), of("masquerade")), (2, 2));
    let config = bench.reconciler.config.clone();
    bench.reconciler = Reconciler::new(bench.device.clone(), config);
    let report = bench.sync().await;
    assert!(report.full);
    assert_eq!(report.writes(), 0, "{report:?}");
}

#[tokio::test]
async fn a_program_that_tells_no_clients_apart_gets_what_it_can_do() {
    let mut bench = bench(Interface::Basic);
    let report = bench.sync().await;
    assert!(report.is_clean(), "{report:?}");
    bench.assert_settled();
    // From outside: the policy asks for this node, and nobody is here.
    let outside = bench
        .frontends()
        .into_iter()
        .find(|(key, _)| key.port == 30_080);
    assert!(matches!(outside, Some((_, frontend::Action::Drop { .. }))));
    assert_eq!(serving(&bench), ["10.0.0.1"]);
    // S59 could not be kept: rather no pins than pins to endpoints that are gone.
    let inside = bench
        .frontends()
        .into_iter()
        .find(|(key, _)| key.port == 80);
    let plain = frontend::Action::Serve {
        set_id: 2,
        slot_mask: 0,
        outside_set_id: 2,
        outside_slot_mask: 0,
        service_id: 1,
        flags: 0,
        affinity_profile: frontend::NO_PROFILE,
    };
    assert_eq!(inside.map(|(_, action)| action), Some(plain));
    let problems = &bench.reconciler.services()[0].problems;
    assert!(problems[0].contains("sessionAffinity"), "{problems:?}");
    let config = bench.reconciler.config.clone();
    bench.reconciler = Reconciler::new(bench.device.clone(), config);
    assert_eq!(bench.sync().await.writes(), 0);
}

#[tokio::test]
async fn least_connection_is_weighed_from_counts() {
    let mut least = service("cart", &["10.96.0.1"]);
    least.scheduler = Scheduler::LeastConnection;
    let ends = slice("cart", "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let mut bench = Bench::new(cluster(vec![least], vec![ends]));
    bench.sync().await;
    let slots = |bench: &Bench| {
        let endpoints = bench.reconciler.endpoints(&bench.model);
        let loaded = endpoints.iter().min_by_key(|e| e.slots).unwrap().slots;
        (loaded, endpoints.iter().map(|e| e.slots).sum::<usize>())
    };
    let (before, all) = slots(&bench);
    assert!(before * 4 > all);
    assert!(
        !bench.reconciler.balance().await.unwrap(),
        "nothing is open"
    );
    // A thousand connections, all at one endpoint.
    let loaded = bench.slots(2)[0].1;
    for client in 0..1000 {
        let tuple = |dst, dst_port| Tuple {
            src: std::net::IpAddr::from([10, 9, 0, 1]).into(),
            src_port: 1024 + client,
            dst,
            dst_port,
        };
        let vip = std::net::IpAddr::from([10, 96, 0, 1]).into();
        let key = flow::Key {
            vpc: 0,
            protocol: 6,
            tuple: tuple(vip, 80),
        };
        let entry = bench
            .tables
            .flow
            .entry(&key, &tuple(loaded.address, loaded.port));
        bench.device.meddle(proto::update::Type::Insert, entry);
    }
    assert!(bench.reconciler.balance().await.unwrap());
    let report = bench.sync().await;
    assert!(report.is_clean() && report.modifies + report.inserts > 0);
    let (after, all) = slots(&bench);
    assert!(after * 8 < all, "{after} of {all} slots for the loaded one");
    assert!(
        !bench.reconciler.balance().await.unwrap(),
        "the same counts change nothing"
    );
}

#[tokio::test]
async fn why_a_set_serves() {
    use crate::trace::why::Question;
    let mut bench = bench(Interface::Full);
    bench.sync().await;
    let vip = std::net::IpAddr::from([192, 0, 2, 1]).into();
    let key = frontend::Key {
        vpc: 0,
        protocol: 6,
        address: vip,
        port: 30_080,
    };
    let action = bench.reconciler.desired().frontends[&key].action;
    let frontend::Action::Serve { set_id, .. } = action else {
        panic!("{action:?}");
    };
    let slot = bench.reconciler.desired().sets[&set_id]
        .get(0)
        .copied()
        .unwrap();
    let question = Question {
        frontend: key,
        set: Some(set_id),
        endpoint: Some((slot.address.ip(), slot.port)),
    };
    let why = bench.reconciler.why(&bench.model, &question).unwrap();
    assert_eq!(why.entry, "NodePort");
    assert_eq!(
        why.basis.as_deref(),
        Some("ready endpoints hinted for this zone")
    );
    assert!(why.serving > 0 && why.serving < why.endpoints, "{why:?}");
    let picked = why.picked.unwrap();
    assert_eq!(picked.state, "ready");
    assert!(picked.share.is_some_and(|share| share > 0.0));
    // Nobody's frontend, and an endpoint that has left.
    let other = Question {
        frontend: frontend::Key { port: 1, ..key },
        ..question.clone()
    };
    assert_eq!(bench.reconciler.why(&bench.model, &other), None);
    let left = Question {
        endpoint: Some((slot.address.ip(), 1)),
        ..question
    };
    let why = bench.reconciler.why(&bench.model, &left).unwrap();
    assert_eq!(why.picked.unwrap().state, "gone");
}

/// An SCTP Service whose port is another than its endpoint's, and one connection to it.
fn signalling() -> (Model, flow::Key, Tuple) {
    let mut sig = service("sig", &["10.96.0.9"]);
    sig.ports[0].protocol = crate::model::Protocol::Sctp;
    sig.ports[0].port = 2905;
    let mut one = slice("sig", "a", &["10.0.0.1"]);
    one.ports[0].protocol = crate::model::Protocol::Sctp;
    one.ports[0].port = Some(3000);
    let address = |text: &str| text.parse::<std::net::IpAddr>().unwrap().into();
    let called = Tuple {
        src: address("10.0.0.5"),
        dst: address("10.96.0.9"),
        src_port: 40_000,
        dst_port: 2905,
    };
    let translated = Tuple {
        dst: address("10.0.0.1"),
        dst_port: 3000,
        ..called
    };
    let key = flow::Key {
        vpc: 0,
        protocol: 132,
        tuple: called,
    };
    (cluster(vec![sig], vec![one]), key, translated)
}

#[tokio::test]
async fn s62_checksum_words_stay_while_sctp_connections_drain() {
    let (model, key, translated) = signalling();
    let mut bench = Bench::new(model);
    bench.sync().await;
    let words = |bench: &Bench| bench.reconciler.desired().sctp_checksums.len();
    let both = words(&bench);
    assert!(both > 0);
    let mut open = bench.tables.flow.key(&key);
    open.action = Some(bench.tables.flow.action(&translated));
    bench
        .device
        .meddle(proto::update::Type::Insert, open.clone());

    let gone = Event::DeleteService(crate::model::ObjectKey::new("shop", "sig"));
    bench.apply(gone).await;
    for _ in 0..3 {
        assert!(!bench.reconciler.drain().await.unwrap());
    }
    // A restart does not know what the words are for, but keeps them as long.
    bench.restart();
    let report = bench.sync().await;
    assert_eq!((report.writes(), words(&bench)), (0, both));
    assert!(!bench.reconciler.drain().await.unwrap());

    bench.device.meddle(proto::update::Type::Delete, open);
    assert!(!bench.reconciler.drain().await.unwrap());
    assert!(bench.reconciler.drain().await.unwrap());
    let report = bench.sync().await;
    assert_eq!((report.deletes, words(&bench)), (both, 0));
    bench.assert_settled();
}
