//! 200 Services with 25 endpoints each: everything that should be in the device is, slot by slot.
//!
//! In: a generated cluster. Out: every entry read back by a client of its own and compared with the objects; a control plane
//! that takes over writes nothing, also when the one before ended in the middle of writing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

use std::collections::BTreeMap;

use nicproxy::config::Program;
use testbench::cluster::{Shape, vip};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::run::halves;
use testbench::scenario::{folder, load_all};
use testbench::target::softnic::Embedded;

const SHAPE: Shape = Shape {
    services: 200,
    endpoints: 25,
};

#[test]
fn every_slot_leads_to_an_endpoint_of_its_service_and_a_restart_writes_nothing() {
    let config = load_all(&folder()).unwrap().remove(0).config;
    let target = Embedded::start(Program::Pna, &[1, 2]).unwrap();
    let mut probe = Probe::open(&target).unwrap();
    probe.reset(1).unwrap();
    let mut cluster = Cluster::default();
    cluster.apply(&SHAPE.manifests()).unwrap();
    let plane = Plane::start(&target, &config, &cluster).unwrap();
    assert!(plane.writes() > 200 * 25, "{:?}", plane.first());

    check_every_slot(&mut probe);

    // As after kill -9: no goodbye, another process takes over.
    drop(plane);
    let second = Plane::start(&target, &config, &cluster).unwrap();
    assert_eq!(second.writes(), 0, "{:?}", second.first());

    // Half of the state is lost, as when the first had been killed while writing: exactly that half comes back.
    drop(second);
    let lost = probe.entries("endpoint").unwrap().len() / 2;
    probe.forget("endpoint", lost, 1).unwrap();
    let third = Plane::start(&target, &config, &cluster).unwrap();
    assert_eq!(third.first().inserts, lost, "{:?}", third.first());
    check_every_slot(&mut probe);
}

fn check_every_slot(probe: &mut Probe) {
    let frontends = probe.entries("frontend").unwrap();
    assert_eq!(frontends.len(), SHAPE.services);
    let mut slots: BTreeMap<u128, BTreeMap<u128, (u128, u128, u128)>> = BTreeMap::new();
    for entry in probe.entries("endpoint").unwrap() {
        let [set, slot] = entry.key[..] else {
            panic!("{entry:?}")
        };
        let [hi, lo, port] = entry.arguments[..] else {
            panic!("{entry:?}")
        };
        assert!(
            slots
                .entry(set)
                .or_default()
                .insert(slot, (hi, lo, port))
                .is_none(),
            "slot twice: {entry:?}"
        );
    }
    assert_eq!(slots.len(), SHAPE.services);
    for service in 0..SHAPE.services {
        let (_, lo) = halves(vip(service));
        let frontend = frontends.iter().find(|entry| entry.key[3] == lo).unwrap();
        assert_eq!(
            (frontend.action.as_str(), frontend.key[4]),
            ("serve", 80),
            "{frontend:?}"
        );
        let (set, mask) = (frontend.arguments[0], frontend.arguments[1]);
        let of_set = &slots[&set];
        assert!(
            (0..=mask).eq(of_set.keys().copied()),
            "service {service} has holes"
        );
        let mut share: BTreeMap<(u128, u128, u128), usize> = BTreeMap::new();
        for endpoint in of_set.values() {
            *share.entry(*endpoint).or_default() += 1;
        }
        let wanted: Vec<_> = SHAPE
            .endpoints_of(service)
            .map(|ip| {
                let (hi, lo) = halves(ip);
                (hi, lo, 8080)
            })
            .collect();
        let mut sorted = wanted.clone();
        sorted.sort_unstable();
        assert!(
            share.keys().eq(sorted.iter()),
            "service {service}: other endpoints"
        );
        // The heaviest endpoint is within 12.5 % of the mean.
        let mean = of_set.len() as f64 / wanted.len() as f64;
        let heaviest = *share.values().max().unwrap() as f64;
        assert!(
            heaviest <= (mean * 1.125).ceil(),
            "service {service}: {heaviest} of {mean}"
        );
    }
}
