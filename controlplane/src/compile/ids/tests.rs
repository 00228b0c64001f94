//! Numbers given out, taken over and taken back.

use super::*;
use crate::tables::endpoint::Target;

const CLUSTER: TrafficPolicy = TrafficPolicy::Cluster;
const LOCAL: TrafficPolicy = TrafficPolicy::Local;

fn key(last: u8) -> frontend::Key {
    frontend::Key {
        vpc: 0,
        protocol: 6,
        address: std::net::IpAddr::from([10, 96, 0, last]).into(),
        port: 80,
    }
}

fn serve(
    owner: &str,
    inside: (u32, u16),
    outside: (u32, u16),
    service_id: u32,
) -> Owned<frontend::Action> {
    Owned {
        owner: owner.into(),
        action: frontend::Action::Serve {
            set_id: inside.0,
            slot_mask: inside.1,
            outside_set_id: outside.0,
            outside_slot_mask: outside.1,
            service_id,
            flags: 0,
            affinity_profile: frontend::NO_PROFILE,
        },
    }
}

fn endpoint(n: u8) -> (Address, u16) {
    (std::net::IpAddr::from([10, 0, 0, n]).into(), 80)
}

fn set(members: &[(u8, u32)]) -> Arc<EndpointSet> {
    let targets = members.iter().map(|(n, id)| Target {
        address: endpoint(*n).0,
        port: 80,
        flags: 0,
        endpoint_id: *id,
    });
    Arc::new(EndpointSet::new(
        targets.collect(),
        (0..members.len() as u32).collect(),
    ))
}

#[test]
fn s82_an_earlier_run_is_taken_over() {
    let mut ids = Ids::default();
    let entries = [
        (key(1), serve("a", (14, 3), (14, 3), 4)),
        (key(2), serve("b", (18, 0), (21, 1), 5)),
        // Growing was interrupted: the newer set counts.
        (key(3), serve("a", (16, 7), (16, 7), 4)),
        // Nonsense: a's number, and a mask that is none.
        (key(4), serve("c", (16, 7), (0, 0), 4)),
        (key(5), serve("d", (20, 4), (0, 0), 6)),
    ];
    let none = FxHashMap::default();
    assert!(!ids.recover(entries.iter().map(|(k, e)| (k, e)), &none));
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Arc::<str>::from);
    assert_eq!(
        ids.set(&a, Family::V4, CLUSTER),
        Some(SetRef { id: 16, size: 8 })
    );
    assert_eq!(ids.set(&a, Family::V4, LOCAL), None);
    assert_eq!(ids.set(&a, Family::V6, CLUSTER), None);
    assert_eq!(
        ids.set(&b, Family::V4, CLUSTER),
        Some(SetRef { id: 18, size: 1 })
    );
    assert_eq!(
        ids.set(&b, Family::V4, LOCAL),
        Some(SetRef { id: 21, size: 2 })
    );
    assert_eq!(ids.set(&c, Family::V4, CLUSTER), None);
    assert_eq!(ids.set(&d, Family::V4, CLUSTER), None);
    assert_eq!(
        (ids.service(&a), ids.service(&b), ids.service(&d)),
        (4, 5, 6)
    );
    assert_eq!(ids.service(&c), 7);
    let fresh = ids.new_set(&c, Family::V4, LOCAL, 4, |id| id == 23);
    assert_eq!((fresh.id, policy_of(fresh.id)), (25, LOCAL));
    // After a reconnect: an emptied device changes nothing, an owner made meanwhile is taken over.
    assert!(!ids.recover(std::iter::empty(), &none));
    let made = [(key(6), serve("e", (40, 1), (40, 1), 41))];
    assert!(!ids.recover(made.iter().map(|(k, e)| (k, e)), &none));
    let e: Arc<str> = "e".into();
    assert_eq!(
        ids.set(&e, Family::V4, CLUSTER),
        Some(SetRef { id: 40, size: 2 })
    );
    assert_eq!(ids.service(&e), 41);
    ids.retain(&[a.clone(), b.clone()].into_iter().collect());
    assert_eq!(ids.set(&e, Family::V4, CLUSTER), None);
    assert_eq!(ids.service(&a), 4);
    // Another controller gave other numbers meanwhile.
    let other = [(key(1), serve("a", (30, 3), (30, 3), 4))];
    assert!(ids.recover(other.iter().map(|(k, e)| (k, e)), &none));
    assert_eq!(
        ids.set(&a, Family::V4, CLUSTER),
        Some(SetRef { id: 30, size: 4 })
    );
}

#[test]
fn numbers_do_not_come_back_while_taken() {
    let mut ids = Ids {
        last_set: (u32::MAX >> 1) - 1,
        last_service: u32::MAX,
        ..Ids::default()
    };
    let owner: Arc<str> = "a".into();
    assert_eq!(
        ids.new_set(&owner, Family::V4, LOCAL, 1, |_| false).id,
        u32::MAX
    );
    assert_eq!(
        ids.new_set(&owner, Family::V4, CLUSTER, 1, |id| id < 6).id,
        6
    );
    assert_eq!(ids.service(&owner), 1);
    ids.release(&owner);
    assert_eq!(ids.set(&owner, Family::V4, CLUSTER), None);
    assert_eq!(ids.service(&owner), 2);
}

fn given(id: u32, owner: &Arc<str>, n: u8) -> Numbering {
    Numbering::Given {
        id,
        owner: owner.clone(),
        endpoint: endpoint(n),
    }
}

#[test]
fn endpoints_keep_their_numbers_and_free_ones_come_back_last() {
    let mut ids = Ids::default();
    ids.limit_endpoints(5);
    let [a, b] = ["a", "b"].map(Arc::<str>::from);
    assert_eq!(ids.endpoints(&a, &[endpoint(1), endpoint(2)]), [1, 2]);
    // The same endpoint of another port is another.
    assert_eq!(ids.endpoints(&b, &[endpoint(1)]), [3]);
    assert_eq!(ids.endpoints(&a, &[endpoint(2), endpoint(3)]), [2, 4]);
    let told = ids.numberings();
    assert_eq!(told[2], given(3, &b, 1));
    assert_eq!(told[3..], [given(4, &a, 3), Numbering::Taken(1)]);
    assert_eq!(ids.numberings(), []);
    // All below 5 are used up, and the one that became free is not clean yet.
    assert_eq!(ids.endpoints(&b, &[endpoint(1), endpoint(4)]), [3, 0]);
    ids.reclaim([1]);
    assert_eq!(
        ids.endpoints(&b, &[endpoint(1), endpoint(4), endpoint(5)]),
        [3, 1, 0]
    );
    ids.release(&a);
    ids.numberings();
    ids.reclaim([2, 4]);
    assert_eq!(
        ids.endpoints(&b, &[endpoint(1), endpoint(4), endpoint(5)]),
        [3, 1, 2]
    );
}

#[test]
fn endpoint_numbers_survive_a_restart() {
    let entries = [(key(1), serve("a", (2, 1), (2, 1), 1))];
    let sets: FxHashMap<u32, _> = [(2, set(&[(1, 7), (2, 1)]))].into_iter().collect();
    let mut ids = Ids::default();
    ids.recover(entries.iter().map(|(k, e)| (k, e)), &sets);
    let [a, b] = ["a", "b"].map(Arc::<str>::from);
    // What an earlier run left in the counters is no new endpoint's.
    ids.avoid(&[1, 5, 7].into_iter().collect());
    let mut told = ids.numberings();
    assert_eq!(told.pop(), Some(Numbering::Stale(5)));
    assert_eq!(told.len(), 2);
    assert!(told.contains(&given(7, &a, 1)) && told.contains(&given(1, &a, 2)));
    assert_eq!(ids.endpoints(&a, &[endpoint(1), endpoint(2)]), [7, 1]);
    // Nobody else gets them.
    let others: Vec<_> = (10..20).map(endpoint).collect();
    assert_eq!(
        ids.endpoints(&b, &others),
        [2, 3, 4, 6, 8, 9, 10, 11, 12, 13]
    );
}
