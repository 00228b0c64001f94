//! Services in, entries out.

mod entries;
mod wired;

use std::net::IpAddr;

use super::*;
use crate::model::sample::{cluster, port, service, slice, slice_port};
use crate::model::{Changes, Event, Model, ObjectKey, Protocol};
use crate::resolve::{NodeView, resolve};
use crate::tables::{frontend, vip};

/// Keeps a desired state as the driver does.
#[derive(Default)]
struct Compiler {
    ids: Ids,
    desired: Desired,
    wiring: Wiring,
    view: NodeView,
    balance: Balance,
}

impl Compiler {
    fn take(&mut self, model: &Model, changes: &Changes) -> Touched {
        let mut touched = Touched::default();
        for key in &changes.services {
            let resolved = model
                .service(key)
                .and_then(|s| resolve(&self.view, s, model.slices_of(key)));
            let before = self.desired.service(key);
            let state = self.desired.state();
            let context = Context {
                wiring: &self.wiring,
                balance: &self.balance,
                interface: Default::default(),
                taken: &|id| state.sets.contains_key(&id),
            };
            let compiled = resolved.map(|r| compile(&r, before, context, &mut self.ids));
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
                        outside_set_id,
                        service_id,
                        flags,
                        ..
                    } => format!(
                        "serve set {set_id} mask {slot_mask} outside {outside_set_id} id {service_id} flags {flags:#x}"
                    ),
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
            "10.96.0.10 53 17: serve set 2 mask 7 outside 2 id 1 flags 0x0 shop/dns:dns/UDP",
            "10.96.0.10 53 6: serve set 6 mask 7 outside 6 id 2 flags 0x0 shop/dns:dns-tcp/TCP",
            "fd00::a 53 17: serve set 4 mask 0 outside 4 id 1 flags 0x0 shop/dns:dns/UDP",
            "fd00::a 53 6: reject id 2 shop/dns:dns-tcp/TCP",
        ]
    );
    let sets = compiler.sets();
    assert_eq!(sets[1], "4: fd00:1::1:5353");
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
    assert_eq!(touched.sets.into_iter().collect::<Vec<_>>(), [2]);
    assert_eq!(compiler.desired.state().sets.len(), 1);
    let three = &["10.0.0.1", "10.0.0.3", "10.0.0.4"];
    let grown = model.apply(Event::ApplySlice(slice("cart", "a", three)));
    let touched = compiler.take(&model, &grown);
    assert_eq!(touched.sets.len(), 2);
    assert_eq!(
        compiler.frontends(),
        ["10.96.0.1 80 6: serve set 4 mask 15 outside 4 id 1 flags 0x0 shop/cart:http/TCP"]
    );
    assert_eq!(
        compiler.desired.state().sets.keys().collect::<Vec<_>>(),
        [&4]
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
    let shares = compiler.desired.state().sets[&2].shares();
    let mut counts: Vec<_> = shares.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 6]);
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
fn s62_sctp_corrections_are_shared_and_go_once_no_connection_needs_them() {
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
    assert!(!compiler.desired.is_draining());
    let changes = model.apply(Event::DeleteService(key("b")));
    assert!(compiler.take(&model, &changes).sctp_checksums.is_empty());
    assert_eq!(compiler.desired.state().entries(), both);

    let mut touched = Touched::default();
    let forth = u32::from(2905_u16 ^ 3000);
    let mut look = |open: &[u32]| {
        let open = open.iter().copied().collect();
        let written = compiler.desired.drained(&open, 1480, &mut touched);
        (written, compiler.desired.state().entries())
    };
    // A look that finds a connection begins anew; two that find none are needed.
    assert_eq!(look(&[]), (false, both));
    assert_eq!(look(&[forth, forth << 16]), (false, both));
    assert_eq!(look(&[forth]), (false, both));
    assert_eq!(look(&[forth]), (true, both / 2));
    assert_eq!(look(&[]), (false, both / 2));
    assert_eq!(look(&[]), (true, 0));
    assert_eq!(touched.sctp_checksums.len(), both);
    assert!(!compiler.desired.is_draining());
}
