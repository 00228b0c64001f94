//! What is written, and what is not.

use super::*;
use crate::model::ObjectKey;
use crate::model::sample::{cluster, service, slice};

fn shop() -> Model {
    cluster(
        vec![
            service("cart", &["10.96.0.1"]),
            service("pay", &["10.96.0.2", "fd00::2"]),
        ],
        vec![
            slice("cart", "a", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
            slice("pay", "a", &["10.0.0.4"]),
        ],
    )
}

/// 3 frontends, 3 addresses, 16 + 1 slots.
const SHOP: usize = 23;

#[tokio::test]
async fn first_sync_writes_everything_and_the_next_nothing() {
    let mut bench = Bench::new(shop());
    let report = bench.sync().await;
    assert!(report.is_clean() && report.full, "{report:?}");
    assert_eq!(
        (report.inserts, report.modifies, report.deletes),
        (SHOP + WIRING, 0, 0)
    );
    assert_eq!(report.retry_after, None);
    bench.assert_settled();
    let report = bench.sync().await;
    assert_eq!((report.writes(), report.rpcs, report.full), (0, 0, false));
}

#[tokio::test]
async fn s82_restart_with_unchanged_state_writes_nothing() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench
        .apply(Event::ApplySlice(slice(
            "cart",
            "a",
            &["10.0.0.1", "10.0.0.2"],
        )))
        .await;
    bench
        .apply(Event::DeleteService(ObjectKey::new("shop", "pay")))
        .await;
    bench.device.taken();
    bench.restart();
    let report = bench.sync().await;
    assert!(report.is_clean() && report.full);
    assert_eq!((report.writes(), report.rpcs), (0, 0));
    bench.assert_settled();
}

#[tokio::test]
async fn s82_stale_entries_of_an_earlier_run_go_last() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench.device.taken();
    bench.model = cluster(
        vec![service("new", &["10.96.0.9"])],
        vec![slice("new", "a", &["10.0.0.9"])],
    );
    bench.restart();
    let report = bench.sync().await;
    assert_eq!(
        (report.inserts, report.modifies, report.deletes),
        (3, 0, SHOP)
    );
    let kinds: Vec<_> = bench.device.taken().iter().map(|u| u.r#type()).collect();
    let first_delete = kinds
        .iter()
        .position(|k| *k == proto::update::Type::Delete)
        .unwrap();
    assert_eq!(first_delete, 3);
    bench.assert_settled();
}

#[tokio::test]
async fn s79_nothing_before_the_lists_are_complete() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench.device.taken();
    bench.model = Model::new();
    bench.restart();
    let event = Event::ReplaceServices(vec![service("cart", &["10.96.0.1"])]);
    let report = bench.apply(event).await;
    assert_eq!(report.outcome, Outcome::Unsynced);
    assert!(bench.device.taken().is_empty());
}

#[tokio::test]
async fn s81_a_change_touches_its_service_only() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let report = bench
        .apply(Event::ApplySlice(slice("pay", "a", &["10.0.0.5"])))
        .await;
    assert_eq!((report.services, report.full), (1, false));
    assert_eq!(
        (report.inserts, report.modifies, report.deletes, report.rpcs),
        (0, 1, 0, 1)
    );
    bench.assert_settled();
    // S16: the same again is no change at all.
    let report = bench
        .apply(Event::ApplySlice(slice("pay", "a", &["10.0.0.5"])))
        .await;
    assert_eq!((report.services, report.rpcs), (0, 0));
}

#[tokio::test]
async fn s83_growth_fills_a_new_set_flips_and_then_removes_the_old() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    bench.device.taken();
    let report = bench
        .apply(Event::ApplySlice(slice(
            "pay",
            "a",
            &["10.0.0.4", "10.0.0.5"],
        )))
        .await;
    assert_eq!((report.inserts, report.modifies, report.deletes), (8, 1, 1));
    let (slots, frontends) = (bench.tables.endpoint.id(), bench.tables.frontend.id());
    let updates = bench.device.taken();
    let order: Vec<_> = updates.iter().map(|u| (table_of(u), u.r#type())).collect();
    use proto::update::Type::{Delete, Insert, Modify};
    let filled = std::iter::repeat_n((slots, Insert), 8);
    let flipped = [(frontends, Modify), (slots, Delete)];
    assert_eq!(order, filled.chain(flipped).collect::<Vec<_>>());
}

#[tokio::test]
async fn s36_the_last_endpoint_goes_and_comes_back() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let report = bench.apply(Event::ApplySlice(slice("pay", "a", &[]))).await;
    assert_eq!((report.inserts, report.modifies, report.deletes), (0, 1, 1));
    bench.assert_settled();
    let report = bench
        .apply(Event::ApplySlice(slice("pay", "a", &["10.0.0.4"])))
        .await;
    assert_eq!((report.inserts, report.modifies, report.deletes), (1, 1, 0));
    bench.assert_settled();
}

#[tokio::test]
async fn small_batches_write_the_same() {
    let mut bench = Bench::new(shop());
    let mut small = config();
    small.limits.updates = 3;
    bench.reconciler.configure(small);
    let report = bench.sync().await;
    assert!(report.is_clean() && report.rpcs >= 7, "{report:?}");
    bench.assert_settled();
}

#[tokio::test]
async fn settings_that_change_are_applied() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let mut other = config();
    other.wiring.routes.clear();
    bench.reconciler.configure(other);
    let report = bench.sync().await;
    assert_eq!((report.inserts, report.modifies, report.deletes), (0, 0, 1));
    bench.assert_settled();
}

#[tokio::test]
async fn views() {
    let mut bench = Bench::new(shop());
    bench.sync().await;
    let services = bench.reconciler.services();
    assert_eq!(services.len(), 2);
    assert_eq!(
        (&*services[0].name, services[0].families[0].sets[0].slots),
        ("cart", 16)
    );
    assert_eq!(services[0].families[0].sets[0].basis, "ready endpoints");
    assert_eq!(services[0].frontends[0].inside, "serve from Cluster set 2");
    assert!(
        services
            .iter()
            .flat_map(|s| &s.families)
            .all(|family| family.installed)
    );
    let actions: Vec<_> = services[1]
        .families
        .iter()
        .map(|f| f.action.as_str())
        .collect();
    assert_eq!(actions, ["serve", "reject"]);
    let endpoints = bench.reconciler.endpoints(&bench.model);
    assert_eq!(endpoints.len(), 4);
    assert_eq!(endpoints.iter().map(|e| e.slots).sum::<usize>(), 17);
    assert!(
        endpoints
            .iter()
            .all(|e| e.cluster == "serves: ready" && e.endpoint_id > 0)
    );
    let tables = bench.reconciler.tables();
    assert!(
        tables
            .iter()
            .all(|t| Some(t.desired) == t.installed && t.size.is_some())
    );
    let entries = bench.reconciler.entries("frontend", 10);
    assert_eq!(entries[0].key, "vpc=0 protocol=6 address=10.96.0.1 port=80");
    assert_eq!(
        entries[0].action,
        "serve set_id=2 slot_mask=15 outside_set_id=2 outside_slot_mask=15 service_id=1 flags=0 affinity_profile=255"
    );
    assert_eq!(bench.reconciler.entries("endpoint", 5).len(), 5);
    assert!(serde_json::to_string(&services).is_ok());
}
