//! Configuration, nodes and pods in; ways out, classes and source addresses out.

use std::net::IpAddr;

use super::*;
use crate::model::{self, Node, Pod, ServiceCidr};
use crate::resolve::PodRanges;
use crate::tables::{client, masquerade, port as ports, route};

#[test]
fn s22_wiring() {
    let hop = |port, dst_mac| NextHop {
        port,
        src_mac: 9,
        dst_mac,
    };
    let wiring = Wiring {
        ports: vec![Port {
            port: 1,
            vpc: 0,
            role: ports::ROLE_HOST,
            peer: Some(2),
            slow_path: true,
        }],
        routes: vec![Route {
            vpc: 0,
            prefix: "10.0.1.0/24".parse().unwrap(),
            via: Some(hop(1, 7)),
        }],
        node_routes: Some(NodeRoutes {
            node: "here".into(),
            host: hop(1, 1),
            network: hop(2, 2),
            neighbours: [("192.0.2.3".parse().unwrap(), 3)].into(),
        }),
        service_cidrs: vec!["10.96.0.0/12".parse().unwrap()],
        ..Wiring::default()
    };
    let mut model = cluster(vec![], vec![]);
    for (name, ip, cidr) in [
        ("here", "192.0.2.1", "10.0.1.0/24"),
        ("there", "192.0.2.2", "10.0.2.0/24"),
        ("known", "192.0.2.3", "10.0.3.0/24"),
    ] {
        model.apply(Event::ApplyNode(Node {
            name: name.into(),
            internal_ips: vec![ip.parse().unwrap()],
            pod_cidrs: vec![cidr.parse().unwrap()],
            ..Node::default()
        }));
    }
    model.apply(Event::ApplyServiceCidr(ServiceCidr {
        name: "more".into(),
        cidrs: vec!["10.112.0.0/16".parse().unwrap()],
    }));
    let wired = wire(&wiring, &NodeView::default(), &model);
    let routes: Vec<String> = wired
        .routes
        .iter()
        .map(|(key, action)| match action {
            route::Action::Forward { port, dst_mac, .. } => {
                format!("{} port {port} to {dst_mac}", key.prefix)
            }
            route::Action::Blackhole => format!("{} blackhole", key.prefix),
        })
        .collect();
    assert_eq!(
        routes,
        [
            "10.0.1.0/24 port 1 to 7",
            "10.0.2.0/24 port 2 to 2",
            "10.0.3.0/24 port 2 to 3",
            "10.96.0.0/12 blackhole",
            "10.112.0.0/16 blackhole",
            "192.0.2.1/32 port 1 to 1",
            "192.0.2.2/32 port 2 to 2",
            "192.0.2.3/32 port 2 to 3",
        ]
    );
    let attached: Vec<_> = wired.ports.values().collect();
    assert_eq!(
        (attached[0].peer_port, attached[0].slow_port),
        (2, ports::SLOW_PORT)
    );
    assert_eq!(wired.egress.len(), 1);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Node 192.0.2.1 and fd00:5::1 with pods in 10.244.0.0/16.
fn view() -> NodeView {
    NodeView {
        addresses: vec![ip("192.0.2.1"), ip("fd00:5::1")],
        pods: PodRanges::Ranges(vec!["10.244.0.0/16".parse().unwrap()]),
        ..NodeView::default()
    }
}

fn classes(wired: &Wired) -> Vec<String> {
    let of = |(key, class): (&client::Key, &client::Class)| format!("{} {class:?}", key.source);
    wired.clients.iter().map(of).collect()
}

#[test]
fn s48_s50_who_is_a_pod_and_who_is_this_node() {
    let wired = wire(&Wiring::default(), &view(), &cluster(vec![], vec![]));
    assert_eq!(
        classes(&wired),
        [
            "10.244.0.0/16 Pod",
            "192.0.2.1/32 Node",
            "fd00:5::1/128 Node"
        ]
    );
    // By ports: what routes lead to through them, but not through others, and not everything.
    let hop = |port| NextHop {
        port,
        src_mac: 1,
        dst_mac: 2,
    };
    let route = |prefix: &str, port| Route {
        vpc: 0,
        prefix: prefix.parse().unwrap(),
        via: Some(hop(port)),
    };
    let wiring = Wiring {
        routes: vec![
            route("10.244.1.0/24", 1),
            route("10.244.2.0/24", 2),
            route("0.0.0.0/0", 1),
        ],
        vports: vec![Vport {
            pod: VportKey::Address(ip("10.9.9.9")),
            hop: hop(1),
        }],
        ..Wiring::default()
    };
    let by_port = NodeView {
        pods: PodRanges::BehindPorts(vec![1]),
        addresses: vec![],
        ..view()
    };
    let wired = wire(&wiring, &by_port, &cluster(vec![], vec![]));
    assert_eq!(classes(&wired), ["10.9.9.9/32 Pod", "10.244.1.0/24 Pod"]);
}

fn sources(wiring: &Wiring) -> (Vec<String>, Vec<String>) {
    let wired = wire(wiring, &view(), &cluster(vec![], vec![]));
    let of = |(key, action): (&masquerade::Key, &masquerade::Action)| {
        let local = if key.local { "local" } else { "leaving" };
        format!(
            "{} {local} {} {}+{:#x}",
            key.family, action.address, action.port_base, action.port_mask
        )
    };
    let own = wired
        .own
        .iter()
        .map(|key| key.address.to_string())
        .collect();
    (wired.masquerades.iter().map(of).collect(), own)
}

#[test]
fn s52_s53_source_addresses_per_family() {
    let node = "192.0.2.1 61440+0xfff";
    let node_six = "fd00:5::1 61440+0xfff";
    let mut wiring = Wiring::default();
    assert_eq!(
        sources(&wiring).0,
        [
            format!("IPv4 leaving {node}"),
            format!("IPv4 local {node}"),
            format!("IPv6 leaving {node_six}"),
            format!("IPv6 local {node_six}"),
        ]
    );
    // The node's address does not find back through a bump in the wire.
    wiring.attachment = Attachment::BumpInTheWire;
    let (without, own) = sources(&wiring);
    assert_eq!(
        without,
        [
            format!("IPv4 leaving {node}"),
            format!("IPv6 leaving {node_six}")
        ]
    );
    assert!(own.is_empty(), "the NIC does not answer for the node");
    let address = |text, local| MasqueradeAddress {
        local,
        address: ip(text),
        ports: PortRange {
            base: 32_768,
            mask: 0x7fff,
        },
    };
    wiring.masquerade = vec![address("192.0.2.200", true), address("fd00:5::200", false)];
    let (found, own) = sources(&wiring);
    assert_eq!(
        found,
        [
            format!("IPv4 leaving {node}"),
            "IPv4 local 192.0.2.200 32768+0x7fff".to_owned(),
            "IPv6 leaving fd00:5::200 32768+0x7fff".to_owned(),
            "IPv6 local fd00:5::200 32768+0x7fff".to_owned(),
        ]
    );
    assert_eq!(own, ["192.0.2.200", "fd00:5::200"]);
    wiring.answers_neighbors = false;
    assert!(sources(&wiring).1.is_empty(), "nothing is answered for");
}

#[test]
fn pods_have_ports_by_address_or_by_the_device_of_their_cni() {
    let hop = |port, dst_mac| NextHop {
        port,
        src_mac: 1,
        dst_mac,
    };
    let by = |pod, port, dst_mac| Vport {
        pod,
        hop: hop(port, dst_mac),
    };
    let wiring = Wiring {
        vports: vec![
            by(VportKey::Address(ip("10.244.1.5")), 5, 0xa),
            by(VportKey::Device("0000:18:02.5".into()), 6, 0),
            by(VportKey::Device("0000:18:02.6".into()), 7, 0),
        ],
        ..Wiring::default()
    };
    let mut model = cluster(vec![], vec![]);
    let pod = |name: &str, device: &str, address: &str, mac: Option<&str>| Pod {
        key: key(name),
        node: None,
        attachments: vec![model::Attachment {
            devices: vec![device.into()],
            addresses: vec![ip(address)],
            mac: mac.map(Into::into),
        }],
    };
    let known = pod("a", "0000:18:02.5", "10.244.1.6", Some("02:00:00:00:00:0b"));
    assert!(model.apply(Event::ApplyPod(known)).nodes);
    // Nobody knows to whom frames would go.
    model.apply(Event::ApplyPod(pod(
        "b",
        "0000:18:02.6",
        "10.244.1.7",
        None,
    )));
    // Another node's NIC has a device of that name, too.
    let other = Pod {
        node: Some("other".into()),
        ..pod("c", "0000:18:02.5", "10.244.2.6", Some("02:00:00:00:00:0c"))
    };
    model.apply(Event::ApplyPod(other));
    let view = NodeView {
        node: Some("this".into()),
        ..NodeView::default()
    };
    let wired = wire(&wiring, &view, &model);
    let routes: Vec<String> = wired
        .routes
        .iter()
        .filter_map(|(key, action)| match action {
            route::Action::Forward { port, dst_mac, .. } => {
                Some(format!("{} port {port} to {dst_mac:#x}", key.prefix))
            }
            route::Action::Blackhole => None,
        })
        .collect();
    assert_eq!(
        routes,
        [
            "10.244.1.5/32 port 5 to 0xa",
            "10.244.1.6/32 port 6 to 0x2000000000b"
        ]
    );
}
