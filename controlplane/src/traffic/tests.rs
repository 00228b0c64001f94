//! Totals that only grow, and numbers that come back clean.

use super::*;

fn given(id: u32, owner: &str, last: u8) -> Numbering {
    let address = std::net::IpAddr::from([10, 0, 0, last]).into();
    Numbering::Given {
        id,
        owner: owner.into(),
        endpoint: (address, 80),
    }
}

const NONE: [u32; 0] = [];

fn cells(packets: u64) -> Traffic {
    Traffic {
        packets,
        bytes: packets * 100,
        reply_packets: packets / 2,
        reply_bytes: packets * 10,
        connections: 1,
    }
}

fn reading(found: &[(u32, u64)], flows: &[(u32, u64)]) -> Reading {
    Reading {
        cells: found.iter().map(|(id, n)| (*id, cells(*n))).collect(),
        flows: Some(flows.iter().copied().collect()),
        remembered: FxHashSet::default(),
    }
}

fn packets(ledger: &Ledger) -> Vec<(String, u64)> {
    let all = ledger.endpoints().into_iter();
    all.map(|total| (total.endpoint.to_string(), total.traffic.packets))
        .collect()
}

#[test]
fn a_number_is_given_out_again_only_after_its_connections_are_gone_and_its_cells_are_clear() {
    let ledger = Ledger::default();
    ledger.serves(&"a/b:/TCP".into(), 7, 80);
    ledger.number([given(1, "a/b:/TCP", 1), given(2, "a/b:/TCP", 2)]);
    assert_eq!(ledger.take(&reading(&[(1, 10), (2, 20)], &[(1, 3)])), NONE);
    ledger.number([Numbering::Taken(1)]);
    // A connection of it is open: it is counted on.
    assert_eq!(ledger.take(&reading(&[(1, 15), (2, 20)], &[(1, 1)])), NONE);
    assert_eq!(ledger.services()[0].traffic.packets, 35);
    assert_eq!(ledger.services()[0].flows, 1);
    assert_eq!(ledger.wanted(), (vec![1, 2], true));
    // Closed: the last count is taken, then the cells are to be cleared.
    assert_eq!(ledger.take(&reading(&[(1, 18), (2, 20)], &[])), [1]);
    assert_eq!(ledger.free(), NONE, "not before the device has done it");
    ledger.cleared(&[1]);
    assert_eq!(ledger.free(), [1]);
    assert_eq!(ledger.free(), NONE, "once only");
    assert_eq!(packets(&ledger), [("10.0.0.2:80".to_owned(), 20)]);
    assert_eq!(
        ledger.services()[0].traffic.packets,
        38,
        "the Service's total stays"
    );
    // Another endpoint has it: it starts at 0.
    ledger.number([given(1, "a/b:/TCP", 3)]);
    assert_eq!(ledger.take(&reading(&[(1, 4), (2, 20)], &[])), NONE);
    assert_eq!(packets(&ledger)[1], ("10.0.0.3:80".to_owned(), 4));
    assert_eq!(ledger.services()[0].traffic.packets, 42);
}

#[test]
fn an_endpoint_that_comes_back_goes_on_from_its_total() {
    let ledger = Ledger::default();
    ledger.number([given(1, "a/b:/TCP", 1)]);
    ledger.take(&reading(&[(1, 10)], &[(1, 1)]));
    ledger.number([Numbering::Taken(1), given(2, "a/b:/TCP", 1)]);
    // Old connections count under the old number, new ones under the new.
    ledger.take(&reading(&[(1, 12), (2, 5)], &[(1, 1)]));
    assert_eq!(packets(&ledger), [("10.0.0.1:80".to_owned(), 17)]);
    let done = ledger.take(&reading(&[(1, 12), (2, 5)], &[(2, 1)]));
    assert_eq!(done, [1]);
    ledger.cleared(&done);
    assert_eq!(packets(&ledger), [("10.0.0.1:80".to_owned(), 17)]);
}

#[test]
fn clients_that_are_remembered_hold_a_number_too() {
    let ledger = Ledger::default();
    ledger.number([given(1, "a/b:/TCP", 1), Numbering::Taken(1)]);
    let mut found = reading(&[(1, 1)], &[]);
    found.remembered.insert(1);
    assert_eq!(ledger.take(&found), NONE);
    found.remembered.clear();
    found.flows = None;
    assert_eq!(ledger.take(&found), NONE, "connections were not counted");
    assert_eq!(ledger.take(&reading(&[(1, 1)], &[])), [1]);
}

#[test]
fn totals_survive_a_device_that_begins_anew_and_a_restart_goes_on_from_its_cells() {
    let ledger = Ledger::default();
    ledger.number([given(1, "a/b:/TCP", 1)]);
    ledger.take(&reading(&[(1, 1000)], &[]));
    assert_eq!(packets(&ledger)[0].1, 1000, "found there");
    ledger.take(&reading(&[(1, 30)], &[]));
    assert_eq!(packets(&ledger)[0].1, 1030);
    ledger.take(&reading(&[(1, 31)], &[]));
    assert_eq!(packets(&ledger)[0].1, 1031);
}

#[test]
fn what_an_earlier_run_left_is_cleared_and_never_counted() {
    let ledger = Ledger::default();
    ledger.number([Numbering::Stale(9)]);
    assert_eq!(ledger.wanted(), (vec![], true));
    assert_eq!(ledger.take(&reading(&[], &[(9, 1)])), NONE);
    assert_eq!(ledger.take(&reading(&[], &[])), [9]);
    ledger.cleared(&[9]);
    assert_eq!(ledger.free(), [9]);
    assert_eq!(ledger.wanted(), (vec![], false));
}

#[test]
fn the_slow_path_counts_too_and_services_stay_until_their_last_connection() {
    let ledger = Ledger::default();
    let owner: Arc<str> = "a/b:/TCP".into();
    ledger.serves(&owner, 7, 80);
    ledger.number([given(1, "a/b:/TCP", 1)]);
    ledger.opened(1);
    ledger.opened(2);
    ledger.rejected(7);
    ledger.rejected(8);
    let total = &ledger.services()[0];
    assert_eq!(
        (total.traffic.connections, total.rejects, total.port),
        (1, 1, 80)
    );
    ledger.gone(&owner);
    ledger.number([Numbering::Taken(1)]);
    ledger.rejected(7);
    assert_eq!(ledger.services().len(), 1);
    let done = ledger.take(&reading(&[(1, 0)], &[]));
    ledger.cleared(&done);
    assert_eq!(ledger.services(), []);
    assert_eq!(ledger.endpoints(), []);
}
