//! What fails costs its own Service and nothing else, and is mended.

use std::time::Duration;

use super::*;
use crate::device::Failure;
use crate::model::ObjectKey;
use crate::model::sample::{cluster, service, slice};

fn shop() -> Model {
    cluster(
        vec![
            service("cart", &["10.96.0.1"]),
            service("pay", &["10.96.0.2"]),
        ],
        vec![
            slice("cart", "a", &["10.0.0.1", "10.0.0.2"]),
            slice("pay", "a", &["10.0.0.4", "10.0.0.5"]),
        ],
    )
}

#[tokio::test]
async fn full_table_holds_back_the_frontend_and_is_retried() {
    let mut bench = Bench::new(shop());
    bench.device.bound(bench.tables.endpoint.id(), 15);
    let report = bench.sync().await;
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(report.errors.len(), 1);
    let failure = &report.errors[0];
    assert_eq!((failure.kind, failure.entries), (Failure::Full, 1));
    assert_eq!(
        (&*failure.owner, failure.table),
        ("shop/pay:http/TCP", "endpoint")
    );
    assert!(report.retry_after.is_some());
    // The other Service works; the VIP of this one refuses instead of serving half a set.
    assert_eq!(bench.frontends().len(), 1);
    assert!(bench.reconciler.services()[1].problems[0].contains("table full"));
    assert!(!bench.reconciler.services()[1].families[0].installed);
    // Waits grow.
    let again = bench.sync().await;
    assert!(again.retry_after > report.retry_after);
    // Something goes, and there is room.
    let report = bench
        .apply(Event::DeleteService(ObjectKey::new("shop", "cart")))
        .await;
    assert!(report.retry_after.is_some());
    let report = bench.sync().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.retry_after, None);
    bench.assert_settled();
}

#[tokio::test]
async fn growth_that_finds_no_room_keeps_the_old_set() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench.device.bound(bench.tables.endpoint.id(), 20);
    let before = bench.frontends();
    let three = &["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let report = bench
        .apply(Event::ApplySlice(slice("cart", "a", three)))
        .await;
    assert_eq!(report.errors.len(), 1);
    assert_eq!(bench.frontends(), before);
    assert_eq!(bench.slots(2).len(), 8, "the set in use must stay whole");
    bench.device.bound(bench.tables.endpoint.id(), 100);
    let report = bench.sync().await;
    assert!(report.is_clean(), "{report:?}");
    bench.assert_settled();
    assert_eq!(bench.slots(2).len(), 0);
}

#[tokio::test]
async fn refused_frontend_blocks_nobody() {
    let mut bench = Bench::new(shop());
    let table = bench.tables.frontend.id();
    let mut count = 0;
    bench.device.fault(move |update| {
        if table_of(update) == table {
            count += 1;
        }
        (table_of(update) == table && count == 1).then_some(Failure::Refused)
    });
    let report = bench.sync().await;
    assert_eq!(
        (report.errors.len(), report.errors[0].kind),
        (1, Failure::Refused)
    );
    assert_eq!(bench.frontends().len(), 1);
    bench.device.heal();
    assert!(bench.sync().await.is_clean());
    bench.assert_settled();
}

#[tokio::test]
async fn busy_is_tried_again_at_once() {
    let mut bench = Bench::new(shop());
    let mut left = 3;
    bench.device.fault(move |_| {
        left -= 1;
        (left >= 0).then_some(Failure::Busy)
    });
    let report = bench.sync().await;
    assert!(report.is_clean(), "{report:?}");
    bench.assert_settled();
}

/// S84: what is still referred to stays, and is tried again later instead of at once for ever.
#[tokio::test]
async fn s84_a_set_is_deleted_only_after_the_frontend_that_serves_from_it() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let (frontends, endpoints) = (bench.tables.frontend.id(), bench.tables.endpoint.id());
    let before = bench.slots(2);
    assert_eq!(before.len(), 8);
    bench.device.taken();
    bench
        .device
        .fault(move |update| (table_of(update) == frontends).then_some(Failure::Busy));
    let gone = Event::DeleteService(ObjectKey::new("shop", "cart"));
    let mut wait = bench.apply(gone).await.retry_after.unwrap();
    for _ in 0..3 {
        let next = bench.sync().await.retry_after.unwrap();
        assert!(next > wait, "waits grow");
        wait = next;
        assert_eq!(bench.slots(2), before, "the frontend still serves from it");
    }
    let touched = bench.device.taken();
    assert!(touched.iter().all(|update| table_of(update) != endpoints));
    bench.device.heal();
    assert!(bench.sync().await.is_clean());
    assert_eq!(bench.slots(2), []);
    bench.assert_settled();
}

#[tokio::test]
async fn meddling_is_found_and_mended() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let entries = bench.device.entries();
    // Taken out behind our back: a slot that is to be changed, and a frontend that is to go.
    let slots: Vec<_> = entries
        .iter()
        .filter(|e| e.table_id == bench.tables.endpoint.id())
        .collect();
    let gone = bench.tables.endpoint.decode(slots[0]).unwrap();
    assert_eq!(gone.0.set_id, 2);
    bench
        .device
        .meddle(proto::update::Type::Delete, slots[0].clone());
    let other = &["10.0.0.8", "10.0.0.9"];
    let report = bench
        .apply(Event::ApplySlice(slice("cart", "a", other)))
        .await;
    assert_eq!(report.outcome, Outcome::Done);
    assert!(
        report.errors.is_empty() && report.retry_after.is_some(),
        "{report:?}"
    );
    let report = bench.sync().await;
    assert!(report.full && report.is_clean());
    bench.assert_settled();
    // Put in behind our back: the slot that is to be made.
    let target = endpoint::Target {
        address: Default::default(),
        port: 1,
        flags: 0,
        endpoint_id: 0,
    };
    let key = endpoint::Key { set_id: 6, slot: 0 };
    bench.device.meddle(
        proto::update::Type::Insert,
        bench.tables.endpoint.entry(&key, &target),
    );
    let pay = &["10.0.0.4", "10.0.0.5", "10.0.0.6"];
    let report = bench.apply(Event::ApplySlice(slice("pay", "a", pay))).await;
    assert!(report.errors.is_empty(), "{report:?}");
    assert!(bench.sync().await.full);
    bench.assert_settled();
}

#[tokio::test]
async fn broken_call_is_followed_by_reading_back() {
    for call in 0..6 {
        let mut bench = Bench::new(shop());
        let mut small = config();
        small.limits.updates = 4;
        bench.reconciler.configure(small);
        bench.device.break_after(call);
        let report = bench.sync().await;
        if report.outcome == Outcome::Done {
            continue;
        }
        assert!(matches!(report.outcome, Outcome::Broken(_)), "{report:?}");
        assert!(report.retry_after.is_some());
        assert!(bench.reconciler.installed().is_none());
        let report = bench.sync().await;
        assert!(report.full && report.is_clean(), "{report:?}");
        bench.assert_settled();
    }
}

#[tokio::test]
async fn reconnect_reads_back_and_writes_the_difference() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench.device.reconnect(None);
    let report = bench
        .apply(Event::ApplySlice(slice(
            "pay",
            "a",
            &["10.0.0.4", "10.0.0.6"],
        )))
        .await;
    assert_eq!(
        (report.outcome, report.retry_after),
        (Outcome::NotConnected, None::<Duration>)
    );
    // The device lost an entry while it was away.
    let frontends = bench.tables.frontend.id();
    let lost = bench
        .device
        .entries()
        .into_iter()
        .find(|e| e.table_id == frontends)
        .unwrap();
    bench.device.meddle(proto::update::Type::Delete, lost);
    bench.device.reconnect(Some(2));
    let report = bench.sync().await;
    assert!(report.full && report.is_clean(), "{report:?}");
    assert_eq!((report.inserts, report.deletes), (1, 0));
    // The slots of the endpoint that was replaced, and few others.
    assert!((4..=6).contains(&report.modifies), "{report:?}");
    bench.assert_settled();
}

#[tokio::test]
async fn another_controller_had_other_numbers_meanwhile() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    // It made every set anew under another number.
    for entry in bench.device.entries() {
        let renumbered = if let Some((key, target)) = bench.tables.endpoint.decode(&entry) {
            let key = endpoint::Key {
                set_id: key.set_id + 50,
                ..key
            };
            Some((true, bench.tables.endpoint.entry(&key, &target)))
        } else if let Some((
            key,
            frontend::Action::Serve {
                set_id,
                slot_mask,
                service_id,
                flags,
                affinity_profile,
                ..
            },
        )) = bench.tables.frontend.decode(&entry)
        {
            let set_id = set_id + 50;
            let action = frontend::Action::Serve {
                set_id,
                slot_mask,
                outside_set_id: set_id,
                outside_slot_mask: slot_mask,
                service_id,
                flags,
                affinity_profile,
            };
            let mut moved = bench.tables.frontend.entry(&key, &action);
            moved.metadata = entry.metadata.clone();
            Some((false, moved))
        } else {
            None
        };
        match renumbered {
            Some((true, moved)) => {
                bench.device.meddle(proto::update::Type::Delete, entry);
                bench.device.meddle(proto::update::Type::Insert, moved);
            }
            Some((false, moved)) => bench.device.meddle(proto::update::Type::Modify, moved),
            None => {}
        }
    }
    bench.device.reconnect(Some(2));
    let report = bench.sync().await;
    assert!(report.full && report.is_clean());
    assert_eq!(report.writes(), 0);
    bench.assert_settled();
}
