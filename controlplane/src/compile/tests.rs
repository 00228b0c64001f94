//! Services in, entries out.

use std::net::IpAddr;

use super::*;
use crate::model::sample::{cluster, port, service, slice, slice_port};
use crate::model::{Changes, Event, Model, Node, ObjectKey, Protocol};
use crate::resolve::{NodeView, resolve};
use crate::tables::{frontend, port as ports, route, vip};

/// Keeps a desired state as the driver does.
#[derive(Default)]
struct Compiler {
    ids: Ids,
    desired: Desired,
    wiring: Wiring,
}

impl Compiler {
    fn take(&mut self, model: &Model, changes: &Changes) -> Touched {
        let mut touched = Touched::default();
        for key in &changes.services {
            let resolved = model
                .service(key)
                .and_then(|s| resolve(&NodeView::default(), s, model.slices_of(key)));
            let before = self.desired.service(key);
            let state = self.desired.state();
            let taken = |id| state.sets.contains_key(&id);
            let compiled =
                resolved.map(|r| compile(&r, before, &self.wiring, &mut self.ids, taken));
            self.desired
                .replace(key, compiled, self.wiring.mtu - 20, &mut touched);
        }
        touched
    }

    fn all(&mut self, model: &Model) -> Touched {
        let services = model.services().map(|s| s.key.clone()).collect();
        self.take(
            model,
            &Changes {
                services,
                ..Changes::default()
            },
        )
    }

    fn frontends(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .desired
            .state()
            .frontends
            .iter()
            .map(|(key, entry)| {
                let what = match entry.action {
                    frontend::Action::Serve {
                        set_id,
                        slot_mask,
                        service_id,
                        flags,
                    } => {
                        format!("serve set {set_id} mask {slot_mask} id {service_id} flags {flags}")
                    }
                    frontend::Action::Reject { service_id } => format!("reject id {service_id}"),
                    frontend::Action::Drop { service_id } => format!("drop id {service_id}"),
                };
                let (address, port, protocol) = (key.address, key.port, key.protocol);
                format!("{address} {port} {protocol}: {what} {}", entry.owner)
            })
            .collect();
        lines.sort();
        lines
    }

    fn sets(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .desired
            .state()
            .sets
            .iter()
            .map(|(id, set)| {
                let slots: Vec<String> = set
                    .iter()
                    .map(|(_, t)| format!("{}:{}", t.address, t.port))
                    .collect();
                format!("{id}: {}", slots.join(" "))
            })
            .collect();
        lines.sort();
        lines
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("shop", name)
}

#[test]
fn s10_s21_golden() {
    let mut dns = service("dns", &["10.96.0.10", "fd00::a"]);
    dns.ports = vec![
        port("dns", Protocol::Udp, 53),
        port("dns-tcp", Protocol::Tcp, 53),
    ];
    let mut four = slice("dns", "4", &["10.0.0.1", "10.0.0.2"]);
    four.ports = vec![
        slice_port("dns", Protocol::Udp, 5353),
        slice_port("dns-tcp", Protocol::Tcp, 5354),
    ];
    let mut six = slice("dns", "6", &["fd00:1::1"]);
    six.ports = vec![slice_port("dns", Protocol::Udp, 5353)];
    let mut compiler = Compiler::default();
    compiler.all(&cluster(vec![dns], vec![four, six]));
    assert_eq!(
        compiler.frontends(),
        [
            "10.96.0.10 53 17: serve set 1 mask 1 id 1 flags 0 shop/dns:dns/UDP",
            "10.96.0.10 53 6: serve set 3 mask 1 id 2 flags 0 shop/dns:dns-tcp/TCP",
            "fd00::a 53 17: serve set 2 mask 0 id 1 flags 0 shop/dns:dns/UDP",
            "fd00::a 53 6: reject id 2 shop/dns:dns-tcp/TCP",
        ]
    );
    let sets = compiler.sets();
    assert_eq!(sets[1], "2: fd00:1::1:5353");
    assert!(sets[0].contains("10.0.0.1:5353") && sets[0].contains("10.0.0.2:5353"));
    // S22: the addresses themselves, whatever the port.
    let mut vips: Vec<_> = compiler.desired.state().vips.iter().collect();
    vips.sort_by_key(|(key, _)| key.address);
    assert_eq!(vips.len(), 2);
    assert!(
        vips.iter()
            .all(|(_, v)| v.action == vip::Action::Reject && &*v.owner == "shop/dns")
    );
}

#[test]
fn s36_no_endpoint_rejects_and_s04_nothing_is_left() {
    let mut compiler = Compiler::default();
    let mut model = cluster(vec![service("cart", &["10.96.0.1"])], vec![]);
    compiler.all(&model);
    assert_eq!(
        compiler.frontends(),
        ["10.96.0.1 80 6: reject id 1 shop/cart:http/TCP"]
    );
    let mut external = service("cart", &["10.96.0.1"]);
    external.kind = crate::model::ServiceKind::ExternalName;
    let changes = model.apply(Event::ApplyService(external));
    let touched = compiler.take(&model, &changes);
    assert_eq!((touched.frontends.len(), touched.vips.len()), (1, 1));
    assert_eq!(compiler.desired.state().entries(), 0);
    // And back again.
    let changes = model.apply(Event::ApplyService(service("cart", &["10.96.0.1"])));
    compiler.take(&model, &changes);
    assert_eq!(compiler.desired.state().entries(), 2);
}

#[test]
fn growth_takes_a_new_set_and_movement_keeps_it() {
    let mut compiler = Compiler::default();
    let mut model = cluster(
        vec![service("cart", &["10.96.0.1"])],
        vec![slice("cart", "a", &["10.0.0.1", "10.0.0.2"])],
    );
    compiler.all(&model);
    let moved = model.apply(Event::ApplySlice(slice(
        "cart",
        "a",
        &["10.0.0.1", "10.0.0.3"],
    )));
    let touched = compiler.take(&model, &moved);
    assert_eq!(touched.sets.into_iter().collect::<Vec<_>>(), [1]);
    assert_eq!(compiler.desired.state().sets.len(), 1);
    let three = &["10.0.0.1", "10.0.0.3", "10.0.0.4"];
    let grown = model.apply(Event::ApplySlice(slice("cart", "a", three)));
    let touched = compiler.take(&model, &grown);
    assert_eq!(touched.sets.len(), 2);
    assert_eq!(
        compiler.frontends(),
        ["10.96.0.1 80 6: serve set 2 mask 7 id 1 flags 0 shop/cart:http/TCP"]
    );
    assert_eq!(
        compiler.desired.state().sets.keys().collect::<Vec<_>>(),
        [&2]
    );
}

#[test]
fn weights_are_shares() {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.endpoint_weights = vec![("10.0.0.1".parse::<IpAddr>().unwrap(), 3)];
    let mut compiler = Compiler::default();
    compiler.all(&cluster(
        vec![cart],
        vec![slice("cart", "a", &["10.0.0.1", "10.0.0.2"])],
    ));
    let shares = compiler.desired.state().sets[&1].shares();
    let mut counts: Vec<_> = shares.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3]);
}

#[test]
fn contested_address_goes_to_the_first_name_whatever_the_order() {
    for order in [["cart", "pay"], ["pay", "cart"]] {
        let mut compiler = Compiler::default();
        let mut model = cluster(vec![], vec![slice("pay", "a", &["10.0.0.1"])]);
        for name in order {
            let changes = model.apply(Event::ApplyService(service(name, &["10.96.0.1"])));
            compiler.take(&model, &changes);
        }
        let owner = |compiler: &Compiler| {
            let frontends = compiler.desired.state().frontends.values();
            frontends.map(|f| f.owner.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(owner(&compiler), ["shop/cart:http/TCP"]);
        let changes = model.apply(Event::DeleteService(key("cart")));
        let touched = compiler.take(&model, &changes);
        assert_eq!((touched.frontends.len(), touched.vips.len()), (1, 1));
        assert_eq!(owner(&compiler), ["shop/pay:http/TCP"]);
        assert_eq!(compiler.desired.state().vips.len(), 1);
    }
}

#[test]
fn sctp_corrections_are_shared_and_go_with_their_last_user() {
    let sctp = |name: &str, vip: &str| {
        let mut service = service(name, &[vip]);
        service.ports = vec![port("sig", Protocol::Sctp, 2905)];
        let mut slice = slice(name, "a", &["10.0.0.1"]);
        slice.ports = vec![slice_port("sig", Protocol::Sctp, 3000)];
        (service, slice)
    };
    let (a, a_slice) = sctp("a", "10.96.0.1");
    let (b, b_slice) = sctp("b", "10.96.0.2");
    let mut model = cluster(vec![a, b], vec![a_slice, b_slice]);
    let mut compiler = Compiler::default();
    compiler.all(&model);
    // Lengths 16 to 1480 in steps of 4, both directions.
    let both = 2 * ((1480 - 16) / 4 + 1);
    assert_eq!(compiler.desired.state().sctp_checksums.len(), both);
    let changes = model.apply(Event::DeleteService(key("a")));
    assert!(compiler.take(&model, &changes).sctp_checksums.is_empty());
    let changes = model.apply(Event::DeleteService(key("b")));
    assert_eq!(compiler.take(&model, &changes).sctp_checksums.len(), both);
    assert_eq!(compiler.desired.state().entries(), 0);
}

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
            labels: Default::default(),
        }));
    }
    let wired = wire(&wiring, &model);
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
