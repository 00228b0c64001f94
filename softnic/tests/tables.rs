//! Tables of every kind, written and read over P4Runtime, seen in what packets become.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::time::Duration;

use p4runtime::client::entry_entity;
use p4runtime::proto::p4::v1 as pb;
use pb::update::Type::{Delete, Insert, Modify};
use rig::{EVERYTHING, LEARNING, Rig, SOON, one, probe, read};
use tonic::Code;

fn entry(rig: &Rig, table: &str, key: u128, value: u128) -> pb::TableEntry {
    let builder = rig.schema.entry(table).unwrap().exact("key", key);
    builder
        .action("answer", &[("value", value.into())])
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_entries_come_and_go() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    assert_eq!(rig.ask(0, 7, 0), None);
    one(&client, Insert, entry(&rig, "exact_match", 7, 1234))
        .await
        .unwrap();
    assert_eq!(rig.ask(0, 7, 0), Some(1234));
    let twice = one(&client, Insert, entry(&rig, "exact_match", 7, 1))
        .await
        .unwrap_err();
    assert_eq!(twice.code, Code::AlreadyExists);
    one(&client, Modify, entry(&rig, "exact_match", 7, 9))
        .await
        .unwrap();
    assert_eq!(rig.ask(0, 7, 0), Some(9));

    let mut wanted = entry(&rig, "exact_match", 7, 9);
    let entries = client.read_table(wanted.table_id).await.unwrap();
    assert_eq!(entries, [wanted.clone()]);
    wanted.counter_data = Some(pb::CounterData::default());
    wanted.action = None;
    let found = read(&client, entry_entity(wanted.clone()).entity.unwrap()).await;
    let [pb::entity::Entity::TableEntry(found)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(found.counter_data.as_ref().unwrap().packet_count, 2);

    wanted.counter_data = None;
    one(&client, Delete, wanted.clone()).await.unwrap();
    assert_eq!(rig.ask(0, 7, 0), None);
    assert_eq!(
        one(&client, Delete, wanted).await.unwrap_err().code,
        Code::NotFound
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_prefix_and_the_highest_priority_win() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    for (value, prefix, answer) in [(0x0a00_0000, 8, 8u128), (0x0a01_0000, 16, 16)] {
        let builder = rig
            .schema
            .entry("longest")
            .unwrap()
            .lpm("address", value, prefix);
        let entry = builder
            .action("answer", &[("value", answer.into())])
            .build()
            .unwrap();
        one(&client, Insert, entry).await.unwrap();
    }
    assert_eq!(rig.ask(1, 0, 0x0a01_0203), Some(16));
    assert_eq!(rig.ask(1, 0, 0x0a02_0203), Some(8));

    let first = |priority, mask: u128, answer: u128| {
        let builder = rig
            .schema
            .entry("first")
            .unwrap()
            .ternary("key", 0x1200, mask)
            .priority(priority);
        builder
            .action("answer", &[("value", answer.into())])
            .build()
            .unwrap()
    };
    one(&client, Insert, first(10, 0xff00, 1)).await.unwrap();
    one(&client, Insert, first(20, 0xfff0, 2)).await.unwrap();
    assert_eq!(rig.ask(2, 0x1201, 5), Some(2));
    assert_eq!(rig.ask(2, 0x12ff, 5), Some(1));
    assert_eq!(
        one(&client, Insert, first(0, 0xffff, 3))
            .await
            .unwrap_err()
            .code,
        Code::InvalidArgument
    );
    assert_eq!(
        client
            .read_table(first(1, 1, 1).table_id)
            .await
            .unwrap()
            .len(),
        2
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_program_are_there_and_const_ones_stay() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    assert_eq!(
        (rig.ask(3, 2, 0), rig.ask(4, 1, 0), rig.ask(4, 2, 0)),
        (Some(102), Some(201), Some(202))
    );
    let fixed = client
        .read_table(entry(&rig, "fixed", 1, 1).table_id)
        .await
        .unwrap();
    assert!(fixed.len() == 2 && fixed.iter().all(|entry| entry.is_const));
    assert_eq!(
        one(&client, Insert, entry(&rig, "fixed", 3, 1))
            .await
            .unwrap_err()
            .code,
        Code::PermissionDenied
    );
    assert_eq!(
        one(&client, Modify, entry(&rig, "started", 1, 7))
            .await
            .unwrap_err()
            .code,
        Code::PermissionDenied
    );
    one(&client, Modify, entry(&rig, "started", 2, 7))
        .await
        .unwrap();
    one(&client, Delete, entry(&rig, "started", 2, 7))
        .await
        .unwrap();
    assert_eq!((rig.ask(4, 1, 0), rig.ask(4, 2, 0)), (Some(201), None));
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn default_actions_change_and_come_back() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let port = |rig: &Rig| {
        rig.nic
            .inject(1, &probe(6, 0, 0))
            .first()
            .map(|sent| sent.port)
    };
    assert_eq!(port(&rig), Some(3));
    let builder = || rig.schema.entry("keyless").unwrap().default_entry();
    let changed = builder()
        .action("send", &[("port", 7u128.into())])
        .build()
        .unwrap();
    one(&client, Modify, changed.clone()).await.unwrap();
    assert_eq!(port(&rig), Some(7));
    let found = read(
        &client,
        entry_entity(builder().build().unwrap()).entity.unwrap(),
    )
    .await;
    assert_eq!(found, [pb::entity::Entity::TableEntry(changed.clone())]);
    one(&client, Modify, builder().build().unwrap())
        .await
        .unwrap();
    assert_eq!(port(&rig), Some(3));
    assert_eq!(
        one(&client, Insert, changed).await.unwrap_err().code,
        Code::InvalidArgument
    );
    let fixed = rig.schema.entry("fixed").unwrap().default_entry();
    let fixed = fixed
        .action("answer", &[("value", 1u128.into())])
        .build()
        .unwrap();
    assert_eq!(
        one(&client, Modify, fixed).await.unwrap_err().code,
        Code::PermissionDenied
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_shot_sets_spread_and_read_back_as_written() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let values: Vec<[(&str, p4runtime::entity::Value<'_>); 1]> = [11u128, 12]
        .iter()
        .map(|&value| [("value", value.into())])
        .collect();
    let set = [("answer", &values[0][..], 1), ("answer", &values[1][..], 3)];
    let entry = rig
        .schema
        .entry("balanced")
        .unwrap()
        .exact("key", 5u128)
        .action_set(&set)
        .build()
        .unwrap();
    one(&client, Insert, entry.clone()).await.unwrap();
    let mut counts = [0; 2];
    for address in 0..4000u32 {
        match rig.ask(5, 5, address.wrapping_mul(0x9e37_79b9)) {
            Some(11) => counts[0] += 1,
            Some(12) => counts[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((700..1300).contains(&counts[0]), "{counts:?}");
    assert_eq!(client.read_table(entry.table_id).await.unwrap(), [entry]);
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_table_and_values_that_do_not_fit_are_told_apart() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let updates = (0..70)
        .map(|key| p4runtime::client::entry_update(Insert, entry(&rig, "exact_match", key, 1)));
    let results = client.write(updates.collect()).await.unwrap();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 64);
    assert!(
        results[64..]
            .iter()
            .all(|r| r.as_ref().unwrap_err().code == Code::ResourceExhausted)
    );

    let mut wide = entry(&rig, "exact_match", 3, 1);
    let Some(pb::field_match::FieldMatchType::Exact(exact)) = &mut wide.r#match[0].field_match_type
    else {
        panic!()
    };
    exact.value = vec![1, 0, 0];
    assert_eq!(
        one(&client, Insert, wide).await.unwrap_err().code,
        Code::OutOfRange
    );
    let mut unknown = entry(&rig, "exact_match", 3, 1);
    unknown.table_id = 0x0200_0001;
    assert_eq!(
        one(&client, Insert, unknown).await.unwrap_err().code,
        Code::InvalidArgument
    );
    let mut keyless = entry(&rig, "exact_match", 3, 1);
    keyless.r#match.clear();
    assert_eq!(
        one(&client, Insert, keyless).await.unwrap_err().code,
        Code::InvalidArgument
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_entries_are_reported_and_hits_keep_them_quiet() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, mut notifications) = rig.primary().await;
    let mut idle = entry(&rig, "exact_match", 7, 1);
    idle.idle_timeout_ns = 10_000_000_000;
    idle.metadata = b"owner".to_vec();
    one(&client, Insert, idle.clone()).await.unwrap();
    let second = Duration::from_secs(1);
    for _ in 0..20 {
        rig.pass(second);
        rig.ask(0, 7, 0);
    }
    assert!(notifications.idle.try_recv().is_err());
    rig.pass(second * 5);
    let mut query = idle.clone();
    query.action = None;
    query.time_since_last_hit = Some(pb::table_entry::IdleTimeout::default());
    let found = read(&client, entry_entity(query).entity.unwrap()).await;
    let [pb::entity::Entity::TableEntry(found)] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(found.time_since_last_hit.as_ref().unwrap().elapsed_ns >= 5_000_000_000);
    rig.pass(second * 6);
    let told = tokio::time::timeout(SOON, notifications.idle.recv())
        .await
        .unwrap()
        .unwrap();
    let [reported] = &told.table_entry[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (reported.r#match.clone(), &reported.metadata[..]),
        (idle.r#match.clone(), &b"owner"[..])
    );
    assert_eq!(reported.idle_timeout_ns, idle.idle_timeout_ns);
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn learned_entries_can_be_read_deleted_and_age_out() {
    let rig = Rig::start(LEARNING).await;
    let (client, _notifications) = rig.primary().await;
    let ask = |key: u16, value: u16| {
        let mut packet = vec![0];
        packet.extend(key.to_be_bytes());
        packet.extend(value.to_be_bytes());
        let sent = rig.nic.inject(0, &packet);
        u16::from_be_bytes([sent[0].bytes[3], sent[0].bytes[4]])
    };
    assert_eq!(
        (ask(1, 111), ask(1, 5), ask(2, 222), ask(2, 5)),
        (0, 111, 0, 222)
    );
    let table = rig.schema.table("flow").unwrap().id;
    let entries = client.read_table(table).await.unwrap();
    let mut values: Vec<u128> = Vec::new();
    for entry in &entries {
        let view = rig.schema.read_entry(entry).unwrap();
        values.push(view.action().unwrap().unwrap().param("value").unwrap());
    }
    values.sort_unstable();
    assert_eq!(values, [111, 222]);
    one(&client, Delete, entries[0].clone()).await.unwrap();
    assert_eq!(client.read_table(table).await.unwrap().len(), 1);
    rig.pass(Duration::from_secs(11));
    assert!(client.read_table(table).await.unwrap().is_empty());
    assert_eq!(ask(1, 5), 0);
    rig.nic.shutdown().await;
}
