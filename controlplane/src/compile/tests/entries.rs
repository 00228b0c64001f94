//! Policies, affinity, schedulers and direct return in; actions, members and ranges out.

use super::*;
use crate::model::{EndpointSlice, Forwarding, Scheduler, Service, SessionAffinity, TrafficPolicy};
use crate::resolve::PodRanges;
use crate::tables::frontend::{
    AFFINITY, CHECK_SOURCE, CLASSIFY, DSR, HASH_CLIENT, HASH_VIP, MASQUERADE_NODE,
    MASQUERADE_OUTSIDE, MASQUERADE_POD, REFUSE,
};
use crate::tables::member;

/// Seen from `here`, which has 192.0.2.1; pods are in 10.0.0.0/8.
fn compiler() -> Compiler {
    Compiler {
        view: NodeView {
            node: Some("here".into()),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            node_port_addresses: vec!["192.0.2.1".parse().unwrap()],
            pods: PodRanges::Ranges(vec!["10.0.0.0/8".parse().unwrap()]),
            tunnels: vec![crate::model::Family::V4],
            ..NodeView::default()
        },
        ..Compiler::default()
    }
}

fn cart() -> Service {
    let mut cart = service("cart", &["10.96.0.1"]);
    cart.load_balancer_ips = vec!["203.0.113.1".parse().unwrap()];
    cart.ports[0].node_port = Some(30_080);
    cart
}

fn ends(local: &[usize], addresses: &[&str]) -> EndpointSlice {
    let mut one = slice("cart", "a", addresses);
    for at in local {
        one.endpoints[*at].node = Some("here".into());
    }
    one
}

fn action(compiler: &Compiler, address: &str) -> frontend::Action {
    let address: IpAddr = address.parse().unwrap();
    let mut all = compiler.desired.state().frontends.iter();
    all.find(|(key, _)| key.address == address.into())
        .unwrap()
        .1
        .action
}

/// Inside set, outside set, flags.
fn served(compiler: &Compiler, address: &str) -> (u32, u32, u16) {
    match action(compiler, address) {
        frontend::Action::Serve {
            set_id,
            outside_set_id,
            flags,
            ..
        } => (set_id, outside_set_id, flags),
        other => panic!("{other:?}"),
    }
}

fn compiled(service: Service, slice: EndpointSlice) -> Compiler {
    let mut compiler = compiler();
    compiler.all(&cluster(vec![service], vec![slice]));
    compiler
}

#[test]
fn s35_s39_s50_inside_and_outside_sets() {
    let mut external = cart();
    external.external_traffic_policy = TrafficPolicy::Local;
    let both = compiled(external.clone(), ends(&[0], &["10.0.0.1", "10.0.0.2"]));
    let (inside, outside, flags) = served(&both, "203.0.113.1");
    assert_eq!(flags, MASQUERADE_NODE | CLASSIFY);
    assert_eq!(policy_of(inside), TrafficPolicy::Cluster);
    assert_eq!(policy_of(outside), TrafficPolicy::Local);
    let sets = &both.desired.state().sets;
    assert_eq!(
        (sets[&inside].shares().len(), sets[&outside].shares().len()),
        (2, 1)
    );
    // NodePort and load balancer share sets; the cluster IP serves all.
    assert_eq!(served(&both, "192.0.2.1"), (inside, outside, flags));
    let all = MASQUERADE_NODE | MASQUERADE_OUTSIDE | CLASSIFY;
    assert_eq!(served(&both, "10.96.0.1"), (inside, inside, all));
    // S39: nobody here: from outside nothing, from inside everything.
    let away = compiled(external, ends(&[], &["10.0.0.1"]));
    let (inside, outside, flags) = served(&away, "203.0.113.1");
    assert!(inside != 0 && outside == 0 && flags & CLASSIFY != 0);
}

#[test]
fn s37_s38_local_policy_without_local_endpoints_drops() {
    let mut internal = cart();
    internal.internal_traffic_policy = TrafficPolicy::Local;
    let compiler = compiled(internal, ends(&[], &["10.0.0.1"]));
    assert!(matches!(
        action(&compiler, "10.96.0.1"),
        frontend::Action::Drop { .. }
    ));
    let everybody = MASQUERADE_POD | MASQUERADE_NODE | MASQUERADE_OUTSIDE;
    assert_eq!(served(&compiler, "203.0.113.1").2, everybody);
}

#[test]
fn policies_with_the_same_endpoints_share_a_set() {
    let mut local = cart();
    local.external_traffic_policy = TrafficPolicy::Local;
    let mut model = cluster(vec![local], vec![ends(&[0], &["10.0.0.1"])]);
    let mut compiler = compiler();
    compiler.all(&model);
    let (inside, outside, _) = served(&compiler, "203.0.113.1");
    assert_eq!((inside, compiler.desired.state().sets.len()), (outside, 1));
    let apart = model.apply(Event::ApplySlice(ends(&[0], &["10.0.0.1", "10.0.0.2"])));
    compiler.take(&model, &apart);
    let (inside, outside, _) = served(&compiler, "203.0.113.1");
    assert_ne!(inside, outside);
}

#[test]
fn s54_s56_source_ranges() {
    let mut guarded = cart();
    guarded.source_ranges = vec!["198.51.100.0/24".parse().unwrap()];
    let mut model = cluster(vec![guarded.clone()], vec![ends(&[], &["10.0.0.1"])]);
    let mut compiler = compiler();
    compiler.all(&model);
    assert!(served(&compiler, "203.0.113.1").2 & CHECK_SOURCE != 0);
    assert_eq!(served(&compiler, "192.0.2.1").2 & CHECK_SOURCE, 0);
    let ranges: Vec<String> = compiler
        .desired
        .state()
        .source_ranges
        .keys()
        .map(|key| format!("{} {}", key.range_id, key.source))
        .collect();
    assert_eq!(ranges, ["1 198.51.100.0/24"]);
    // Without endpoints the admitted are refused and the others dropped.
    let gone = model.apply(Event::DeleteSlice(key("cart-a")));
    compiler.take(&model, &gone);
    let (inside, outside, flags) = served(&compiler, "203.0.113.1");
    assert_eq!((inside, outside), (0, 0));
    assert_eq!(flags & (CHECK_SOURCE | REFUSE), CHECK_SOURCE | REFUSE);
    assert!(matches!(
        action(&compiler, "192.0.2.1"),
        frontend::Action::Reject { .. }
    ));
    guarded.source_ranges.clear();
    let open = model.apply(Event::ApplyService(guarded));
    let touched = compiler.take(&model, &open);
    assert_eq!(touched.source_ranges.len(), 1);
    assert!(compiler.desired.state().source_ranges.is_empty());
}

#[test]
fn s57_s59_s60_s61_affinity_has_members_and_can_be_switched() {
    let mut sticky = cart();
    sticky.session_affinity = SessionAffinity::ClientIp {
        timeout_seconds: 30,
    };
    let mut model = cluster(
        vec![sticky.clone()],
        vec![ends(&[], &["10.0.0.1", "10.0.0.2"])],
    );
    let mut compiler = compiler();
    compiler.wiring.affinity_profiles = vec![(7, 10_800), (8, 30)];
    compiler.all(&model);
    let profile = |compiler: &Compiler| match action(compiler, "10.96.0.1") {
        frontend::Action::Serve {
            affinity_profile, ..
        } => affinity_profile,
        other => panic!("{other:?}"),
    };
    // Every entry point of the port has the same id.
    for address in ["10.96.0.1", "203.0.113.1", "192.0.2.1"] {
        assert!(served(&compiler, address).2 & AFFINITY != 0);
        assert_eq!(action(&compiler, address).service_id(), 1);
    }
    assert_eq!(profile(&compiler), 8);
    let set = served(&compiler, "10.96.0.1").0;
    let members = |compiler: &Compiler| {
        let mut all: Vec<member::Key> = compiler.desired.state().members.keys().copied().collect();
        all.sort();
        all
    };
    assert_eq!(members(&compiler).len(), 2);
    assert!(
        members(&compiler)
            .iter()
            .all(|key| key.set_id == set && key.port == 8080)
    );
    // An endpoint that leaves is no member any more.
    let left = model.apply(Event::ApplySlice(ends(&[], &["10.0.0.1"])));
    compiler.take(&model, &left);
    assert_eq!(members(&compiler).len(), 1);
    // A timeout of no profile takes the next longer one, or the longest.
    sticky.session_affinity = SessionAffinity::ClientIp {
        timeout_seconds: 31,
    };
    let other = model.apply(Event::ApplyService(sticky.clone()));
    compiler.take(&model, &other);
    assert_eq!(profile(&compiler), 7);
    sticky.session_affinity = SessionAffinity::None;
    let off = model.apply(Event::ApplyService(sticky));
    compiler.take(&model, &off);
    assert_eq!(served(&compiler, "10.96.0.1").2 & AFFINITY, 0);
    assert!(members(&compiler).is_empty());
}

#[test]
fn schedulers_choose_what_is_hashed() {
    for (scheduler, flag) in [
        (Scheduler::RoundRobin, 0),
        (Scheduler::WeightedRoundRobin, 0),
        (Scheduler::LeastConnection, 0),
        (Scheduler::WeightedLeastConnection, 0),
        (Scheduler::SourceHash, HASH_CLIENT),
        (Scheduler::Maglev, HASH_CLIENT),
        (Scheduler::DestinationHash, HASH_VIP),
    ] {
        let mut cart = cart();
        cart.scheduler = scheduler;
        let compiler = compiled(cart, ends(&[], &["10.0.0.1", "10.0.0.2"]));
        let flags = served(&compiler, "10.96.0.1").2;
        assert_eq!(flags & (HASH_CLIENT | HASH_VIP), flag, "{scheduler}");
    }
}

#[test]
fn direct_return_at_load_balancer_addresses() {
    let mut direct = cart();
    direct.forwarding = Forwarding::Dsr;
    let compiler = compiled(direct, ends(&[], &["10.0.0.1"]));
    assert_eq!(served(&compiler, "203.0.113.1").2, DSR);
    assert_eq!(served(&compiler, "192.0.2.1").2 & DSR, 0);
}

#[test]
fn s52_endpoints_on_this_node_are_marked_behind_a_bump_in_the_wire() {
    let flags = |attachment| {
        let mut compiler = compiler();
        compiler.wiring.attachment = attachment;
        compiler.all(&cluster(
            vec![cart()],
            vec![ends(&[0], &["10.0.0.1", "10.0.0.2"])],
        ));
        let set = served(&compiler, "10.96.0.1").0;
        let set = compiler.desired.state().sets[&set].clone();
        set.members()
            .iter()
            .map(|target| target.flags)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(Attachment::BumpInTheWire), [1, 0]);
    assert_eq!(flags(Attachment::Vport), [0, 0]);
}

/// A hundred connections at every endpoint, but `more` times as many at one.
fn counted(heavy: u8, more: u64) -> OpenConnections {
    let owner: std::sync::Arc<str> = "shop/cart:http/TCP".into();
    let all = (1..5).map(|n| {
        let address = IpAddr::from([10, 0, 0, n]).into();
        let count = if n == heavy { 100 * more } else { 100 };
        ((owner.clone(), address, 8080), count)
    });
    all.collect()
}

#[test]
fn least_connection_moves_slots_away_from_the_loaded_and_does_not_flap() {
    let mut least = cart();
    least.scheduler = Scheduler::LeastConnection;
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let model = cluster(vec![least], vec![ends(&[], &addresses)]);
    let mut compiler = compiler();
    compiler.all(&model);
    let observe = |compiler: &mut Compiler, open: OpenConnections| {
        let Compiler {
            desired, balance, ..
        } = compiler;
        let port = &desired.service(&key("cart")).unwrap().ports[0];
        balance.observe(port, &open)
    };
    let share = |compiler: &Compiler, id: u32| {
        let set = served(compiler, "10.96.0.1").0;
        let shares = compiler.desired.state().sets[&set].shares();
        let total: usize = shares.values().sum();
        let own = shares
            .iter()
            .find(|(target, _)| target.endpoint_id == id)
            .unwrap();
        *own.1 as f64 / total as f64
    };
    // As many everywhere is no reason to move anything.
    for heavy in [1, 2, 3, 4, 1, 2] {
        assert!(!observe(&mut compiler, counted(heavy, 1)));
    }
    let mut moved = 0;
    for _ in 0..20 {
        moved += usize::from(observe(&mut compiler, counted(1, 4)));
    }
    assert!(
        (1..=4).contains(&moved),
        "{moved} changes on the way to a steady load"
    );
    compiler.all(&model);
    assert!(share(&compiler, 1) < 0.15, "{}", share(&compiler, 1));
    assert!(share(&compiler, 2) > 0.25);
    compiler.balance.forget("shop/cart:http/TCP");
    compiler.all(&model);
    assert_eq!(share(&compiler, 1), 0.25);
}
