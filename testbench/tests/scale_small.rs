//! 200 Services with 25 endpoints each: everything that should be in the device is, slot by slot.
//!
//! In: a generated cluster. Out: every entry read back by a client of its own and compared with the objects; a control plane
//! that takes over writes nothing, also when the one before ended in the middle of writing; a changed or deleted Service costs
//! the entries that are different, and no other.
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
use testbench::probe::{Entry, Probe};
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

/// Tables that hold what a Service wants.
const OF_SERVICES: [&str; 3] = ["frontend", "vip", "endpoint"];

/// Table and key.
type Place = (&'static str, Vec<u128>);
type Held = BTreeMap<Place, Entry>;

fn held(probe: &mut Probe) -> Held {
    let mut all = Held::new();
    for table in OF_SERVICES {
        for entry in probe.entries(table).unwrap() {
            let twice = all.insert((table, entry.key.clone()), entry);
            assert!(twice.is_none(), "twice in {table}: {twice:?}");
        }
    }
    all
}

/// Inserted, modified and deleted entries between two readings.
fn difference(before: &Held, after: &Held) -> (Held, Held, Held) {
    let of = |from: &Held, keep: &dyn Fn(&Place, &Entry) -> bool| {
        let kept = from.iter().filter(|(key, entry)| keep(key, entry));
        kept.map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    };
    (
        of(after, &|key, _| !before.contains_key(key)),
        of(after, &|key, entry| {
            before.get(key).is_some_and(|was| {
                (&was.action, &was.arguments, &was.metadata)
                    != (&entry.action, &entry.arguments, &entry.metadata)
            })
        }),
        of(before, &|key, _| !after.contains_key(key)),
    )
}

#[test]
fn a_change_costs_what_it_changes() {
    const CHANGED: usize = 7;
    const DELETED: usize = 11;
    let config = load_all(&folder()).unwrap().remove(0).config;
    let target = Embedded::start(Program::Pna, &[1, 2]).unwrap();
    let mut probe = Probe::open(&target).unwrap();
    probe.reset(1).unwrap();
    let shape = Shape {
        services: 20,
        ..SHAPE
    };
    let mut cluster = Cluster::default();
    cluster.apply(&shape.manifests()).unwrap();
    let mut plane = Plane::start(&target, &config, &cluster).unwrap();
    let before = held(&mut probe);
    let frontend = |held: &Held, service: usize| {
        let (_, lo) = halves(vip(service));
        let mut found = held
            .iter()
            .filter(|((table, key), _)| *table == "frontend" && key[3] == lo);
        found.next().unwrap().1.clone()
    };
    let set = frontend(&before, CHANGED).arguments[0];
    let of_set = |held: &Held, set: u128| {
        held.keys()
            .filter(|(table, key)| *table == "endpoint" && key[0] == set)
            .count()
    };

    // Another address in one slice: the slots of the endpoint that went, and a few that the fill moves.
    let (old, new) = (
        shape.endpoints_of(CHANGED).next().unwrap(),
        "100.100.0.1".parse().unwrap(),
    );
    let manifest = shape
        .service(CHANGED)
        .replace(&format!("[{old}]"), &format!("[{new}]"));
    let report = plane.change(cluster.apply(&manifest).unwrap()).unwrap();
    let after = held(&mut probe);
    let (inserted, modified, deleted) = difference(&before, &after);
    assert!(inserted.is_empty(), "{inserted:?}");
    assert!(deleted.is_empty(), "{deleted:?}");
    assert_eq!(report.writes(), modified.len(), "{report:?}");
    let (old, new) = (halves(old), halves(new));
    let mut replaced = 0;
    for ((table, key), entry) in &modified {
        assert_eq!((*table, key[0]), ("endpoint", set), "{entry:?}");
        let was = &before[&(*table, key.clone())];
        replaced += usize::from((was.arguments[0], was.arguments[1]) == old);
    }
    let leads_to = |held: &Held, (hi, lo): (u128, u128)| {
        let mut entries = held.iter().filter(|((table, _), _)| *table == "endpoint");
        entries.any(|(_, entry)| (entry.arguments[0], entry.arguments[1]) == (hi, lo))
    };
    assert!(replaced > 0 && !leads_to(&after, old) && leads_to(&after, new));
    let slots = of_set(&before, set);
    assert!(
        modified.len() <= replaced + slots / 4,
        "{} of {slots} slots were written for {replaced} of the endpoint that went",
        modified.len()
    );

    // The same again is nothing.
    let report = plane.change(cluster.apply(&manifest).unwrap()).unwrap();
    assert_eq!(report.writes(), 0, "{report:?}");

    // A deleted file takes its entries with it, and nothing else.
    let gone = frontend(&after, DELETED).arguments[0];
    let objects = [
        format!("Service/scale/s{DELETED}"),
        format!("EndpointSlice/scale/s{DELETED}-x"),
    ];
    let report = plane.change(cluster.delete(&objects).unwrap()).unwrap();
    let last = held(&mut probe);
    let (inserted, modified, deleted) = difference(&after, &last);
    assert!(inserted.is_empty(), "{inserted:?}");
    assert!(modified.is_empty(), "{modified:?}");
    assert_eq!(report.writes(), deleted.len(), "{report:?}");
    assert_eq!(of_set(&last, gone), 0);
    let (_, lo) = halves(vip(DELETED));
    for (table, key) in deleted.keys() {
        let whose = match *table {
            "frontend" => key[3] == lo,
            "vip" => key[2] == lo,
            _ => key[0] == gone,
        };
        assert!(whose, "{table} {key:?} is not of the Service that went");
    }
    assert_eq!(deleted.len(), 2 + of_set(&after, gone));
}

fn check_every_slot(probe: &mut Probe) {
    let frontends = probe.entries("frontend").unwrap();
    assert_eq!(frontends.len(), SHAPE.services);
    let mut slots: BTreeMap<u128, BTreeMap<u128, (u128, u128, u128)>> = BTreeMap::new();
    for entry in probe.entries("endpoint").unwrap() {
        let [set, slot] = entry.key[..] else {
            panic!("{entry:?}")
        };
        let [hi, lo, port, _, _] = entry.arguments[..] else {
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
