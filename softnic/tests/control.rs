//! Controllers and programs: arbitration between several of them, pipelines in every way, restarts, malformed calls.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use std::time::Duration;

use p4runtime::client::{Client, ResponseType, entry_update};
use p4runtime::proto::p4::v1 as pb;
use p4runtime::rpc::p4_runtime_client::P4RuntimeClient;
use pb::update::Type::Insert;
use proptest::prelude::*;
use rig::{Action, EVERYTHING, LEARNING, Rig, SOON, one, pushed};
use softnic::{Program, SoftNic};
use tonic::Code;

fn entry(rig: &Rig, key: u128) -> pb::TableEntry {
    let builder = rig.schema.entry("exact_match").unwrap().exact("key", key);
    builder
        .action("answer", &[("value", key.into())])
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_primary_writes_and_a_higher_election_id_takes_over() {
    let rig = Rig::start(EVERYTHING).await;
    let (first, _first_notifications) = rig.primary().await;
    let (second, _second_notifications) = Client::connect(rig.config(Some(2))).await.unwrap();
    assert!(second.wait_primary(SOON).await);
    let refused = first
        .write(vec![entry_update(Insert, entry(&rig, 1))])
        .await
        .unwrap_err();
    assert_eq!(refused.source.code(), Some(Code::PermissionDenied));
    one(&second, Insert, entry(&rig, 1)).await.unwrap();
    let (backup, _notifications) = Client::connect(rig.config(None)).await.unwrap();
    assert!(
        backup
            .write(vec![entry_update(Insert, entry(&rig, 2))])
            .await
            .is_err()
    );
    assert_eq!(
        backup
            .read_table(entry(&rig, 1).table_id)
            .await
            .unwrap()
            .len(),
        1
    );

    // The primary leaves: nobody moves up until somebody comes with an id that is as high.
    second.shutdown().await;
    first.set_election_id(Some(2)).unwrap();
    assert!(first.wait_primary(SOON).await);
    one(&first, Insert, entry(&rig, 3)).await.unwrap();
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_device_is_not_found() {
    let rig = Rig::start(EVERYTHING).await;
    let mut rpc = P4RuntimeClient::connect(format!("http://{}", rig.nic.address()))
        .await
        .unwrap();
    let request = pb::ReadRequest {
        device_id: 9,
        ..Default::default()
    };
    assert_eq!(rpc.read(request).await.unwrap_err().code(), Code::NotFound);
    let version = rpc
        .capabilities(pb::CapabilitiesRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(version.p4runtime_api_version.starts_with("1."));
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_without_a_program_waits_for_one() {
    let nic = SoftNic::builder()
        .serve("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    assert!(nic.inject(1, b"lost").is_empty());
    nic.inject_all(1, &[b"lost", b"too"], &mut |_, _| panic!("it left"));
    assert_eq!(nic.statistics().no_program, 3);
    let config = p4runtime::client::Config::new(nic.address().to_string());
    let (client, _notifications) = Client::connect(config).await.unwrap();
    assert!(client.wait_primary(SOON).await);
    assert!(
        client
            .get_pipeline(ResponseType::All)
            .await
            .unwrap()
            .is_none()
    );
    let error = client.set_pipeline(Action::Commit, None).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));

    let config = pushed(LEARNING);
    client
        .set_pipeline(Action::VerifyAndCommit, Some(config.clone()))
        .await
        .unwrap();
    assert_eq!(nic.inject(1, &[0, 0, 1, 0, 9]).len(), 1);
    // Together, packets do what they do one by one, in their order, once the program has learned what they tell.
    let packets: [&[u8]; 3] = [&[0, 0, 1, 0, 9], &[0, 0, 2, 0, 8], &[0, 0, 1, 0, 9, 7]];
    for packet in packets {
        assert_eq!(nic.inject(1, packet).len(), 1);
    }
    let one_by_one: Vec<_> = packets
        .iter()
        .flat_map(|packet| nic.inject(1, packet))
        .map(|sent| (sent.port, sent.bytes))
        .collect();
    let mut together = Vec::new();
    nic.inject_all(1, &packets, &mut |port, frame| {
        together.push((port, frame.to_vec()));
    });
    assert_eq!(together.len(), 3);
    assert_eq!(together, one_by_one);
    assert_eq!(
        client.get_pipeline(ResponseType::All).await.unwrap(),
        Some(config)
    );
    nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_are_verified_saved_committed_and_reconciled() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    one(&client, Insert, entry(&rig, 7)).await.unwrap();

    let other = pushed(LEARNING);
    client
        .set_pipeline(Action::Verify, Some(other.clone()))
        .await
        .unwrap();
    assert_eq!(rig.ask(0, 7, 0), Some(7));

    // The same program again: entries stay with RECONCILE, and go with VERIFY_AND_COMMIT.
    let same = pushed(EVERYTHING);
    client
        .set_pipeline(Action::ReconcileAndCommit, Some(same.clone()))
        .await
        .unwrap();
    assert_eq!(rig.ask(0, 7, 0), Some(7));
    client
        .set_pipeline(Action::VerifyAndCommit, Some(same))
        .await
        .unwrap();
    assert_eq!(rig.ask(0, 7, 0), None);

    client
        .set_pipeline(Action::VerifyAndSave, Some(other))
        .await
        .unwrap();
    assert_eq!(rig.ask(3, 1, 0), Some(101));
    client.set_pipeline(Action::Commit, None).await.unwrap();
    assert_eq!(rig.nic.inject(1, &[0, 0, 1, 0, 9])[0].port, 1);
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_not_the_programs_is_refused_with_the_reason() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let refused = |config| {
        let client = client.clone();
        async move {
            let error = client
                .set_pipeline(Action::VerifyAndCommit, Some(config))
                .await
                .unwrap_err();
            assert_eq!(error.code(), Some(Code::InvalidArgument));
            error.to_string()
        }
    };
    let mut config = pushed(EVERYTHING);
    config.p4_device_config = b"some other switch's binary".to_vec();
    assert!(refused(config).await.contains("source bundle"));
    let mut config = pushed(EVERYTHING);
    config.p4info.as_mut().unwrap().tables[0].size += 1;
    assert!(refused(config).await.contains("size"));
    let mut config = pushed(EVERYTHING);
    config.p4_device_config = pushed(LEARNING).p4_device_config;
    assert!(refused(config).await.contains("is not the program's"));
    assert_eq!(rig.ask(3, 1, 0), Some(101));
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_switch_is_empty_and_takes_the_same_address() {
    let rig = Rig::start(EVERYTHING).await;
    let address = rig.nic.address();
    let (client, _notifications) = rig.primary().await;
    let wanted = entry(&rig, 7);
    one(&client, Insert, wanted.clone()).await.unwrap();
    rig.nic.shutdown().await;
    let program = Program::from_text("test.p4", EVERYTHING).unwrap();
    let nic = SoftNic::builder()
        .program(program)
        .cpu_port(rig::CPU)
        .serve(address)
        .await
        .unwrap();
    // The same session comes back by itself.
    let deadline = tokio::time::Instant::now() + SOON;
    let entries = loop {
        match client.read_table(wanted.table_id).await {
            Ok(entries) => break entries,
            Err(_) if tokio::time::Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(entries.is_empty());
    nic.shutdown().await;
}

/// Arbitrary entities, near enough to real ones to get past the first check now and then.
fn entity() -> impl Strategy<Value = pb::Entity> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    let program = Program::from_text("test.p4", EVERYTHING).unwrap();
    let tables: Vec<u32> = program
        .info
        .message
        .tables
        .iter()
        .map(|table| table.preamble.as_ref().unwrap().id)
        .collect();
    let actions: Vec<u32> = program
        .info
        .message
        .actions
        .iter()
        .map(|action| action.preamble.as_ref().unwrap().id)
        .collect();
    let id = |ids: Vec<u32>| prop_oneof![4 => proptest::sample::select(ids), 1 => any::<u32>()];
    let field =
        (0u32..4, 0u8..5, bytes(), bytes(), -3i32..40).prop_map(|(field_id, kind, a, b, n)| {
            use pb::field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};
            let kind = match kind {
                0 => FieldMatchType::Exact(Exact { value: a }),
                1 => FieldMatchType::Lpm(Lpm {
                    value: a,
                    prefix_len: n,
                }),
                2 => FieldMatchType::Ternary(Ternary { value: a, mask: b }),
                3 => FieldMatchType::Range(Range { low: a, high: b }),
                _ => FieldMatchType::Optional(Optional { value: a }),
            };
            pb::FieldMatch {
                field_id,
                field_match_type: Some(kind),
            }
        });
    let param =
        (0u32..4, bytes()).prop_map(|(param_id, value)| pb::action::Param { param_id, value });
    let action =
        (id(actions), proptest::collection::vec(param, 0..3)).prop_map(|(action_id, params)| {
            pb::TableAction {
                r#type: Some(pb::table_action::Type::Action(pb::Action {
                    action_id,
                    params,
                })),
            }
        });
    let parts = (
        id(tables),
        proptest::collection::vec(field, 0..3),
        proptest::option::of(action),
        any::<i32>(),
        any::<i64>(),
        any::<bool>(),
    );
    parts.prop_map(
        |(table_id, r#match, action, priority, idle_timeout_ns, is_default_action)| {
            let entry = pb::TableEntry {
                table_id,
                r#match,
                action,
                priority,
                idle_timeout_ns,
                is_default_action,
                ..Default::default()
            };
            pb::Entity {
                entity: Some(pb::entity::Entity::TableEntry(entry)),
            }
        },
    )
}

#[test]
fn no_call_however_malformed_breaks_the_switch() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::start(EVERYTHING));
    let (client, _notifications) = runtime.block_on(rig.primary());
    let rpc = runtime
        .block_on(P4RuntimeClient::connect(format!(
            "http://{}",
            rig.nic.address()
        )))
        .unwrap();
    let cases = (
        proptest::collection::vec((entity(), 0i32..5), 1..6),
        any::<bool>(),
    );
    proptest!(ProptestConfig::with_cases(256), |((updates, honest) in cases)| {
        let updates = updates.into_iter().map(|(entity, kind)| pb::Update { r#type: kind, entity: Some(entity) });
        let updates: Vec<pb::Update> = updates.collect();
        let reads = updates.iter().filter_map(|update| update.entity.clone()).collect();
        if honest {
            let _ = runtime.block_on(client.write(updates));
        } else {
            let write = pb::WriteRequest { device_id: 1, updates, ..Default::default() };
            let status = runtime.block_on(rpc.clone().write(write)).unwrap_err();
            prop_assert_eq!(status.code(), Code::PermissionDenied);
        }
        let read = pb::ReadRequest { device_id: 1, entities: reads, ..Default::default() };
        match runtime.block_on(rpc.clone().read(read)) {
            Ok(mut parts) => while let Ok(Some(_)) = runtime.block_on(parts.get_mut().message()) {},
            Err(status) => prop_assert_ne!(status.code(), Code::Internal),
        }
        // Still there, and still the same program.
        prop_assert_eq!(rig.ask(3, 1, 0), Some(101));
    });
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), rig.nic.shutdown()).await })
        .unwrap();
}

#[test]
fn no_packet_however_malformed_breaks_the_switch() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::start(EVERYTHING));
    proptest!(ProptestConfig::with_cases(2000), |(port in 0u32..600, packet: Vec<u8>)| {
        rig.nic.inject(port, &packet);
    });
    assert_eq!(rig.ask(3, 1, 0), Some(101));
    runtime.block_on(rig.nic.shutdown());
}
