//! Counters, meters, registers, digests, value sets, replication, and packets to and from controllers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod rig;

use p4runtime::proto::p4::v1 as pb;
use pb::entity::Entity;
use pb::update::Type::{Delete, Insert, Modify};
use rig::{EVERYTHING, Rig, SOON, one, one_entity, probe, read};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_registers_are_what_packets_left() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    rig.ask(10, 3, 0xaabb_ccdd);
    rig.ask(10, 3, 0x1122_3344);
    let seen = rig.schema.counters.named("seen").unwrap();
    let at = |index| Some(pb::Index { index });
    let cell = pb::CounterEntry {
        counter_id: seen.id,
        index: at(3),
        data: None,
    };
    let found = read(&client, Entity::CounterEntry(cell)).await;
    let [Entity::CounterEntry(found)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(found.data.as_ref().unwrap().packet_count, 2);
    let all = read(
        &client,
        Entity::CounterEntry(pb::CounterEntry {
            index: None,
            ..cell
        }),
    )
    .await;
    assert_eq!(all.len(), 8);
    let beyond = pb::CounterEntry {
        index: at(8),
        data: Some(pb::CounterData::default()),
        ..cell
    };
    let refused = one_entity(&client, Modify, Entity::CounterEntry(beyond))
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::OutOfRange);
    let reset = pb::CounterEntry {
        data: Some(pb::CounterData {
            packet_count: 40,
            byte_count: 0,
        }),
        ..cell
    };
    one_entity(&client, Modify, Entity::CounterEntry(reset))
        .await
        .unwrap();
    rig.ask(10, 3, 0);
    let found = read(&client, Entity::CounterEntry(cell)).await;
    let [Entity::CounterEntry(found)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(found.data.as_ref().unwrap().packet_count, 41);

    let memory = rig.schema.registers.named("memory").unwrap();
    let data = |value: &[u8]| {
        Some(pb::P4Data {
            data: Some(pb::p4_data::Data::Bitstring(value.to_vec())),
        })
    };
    let cell = pb::RegisterEntry {
        register_id: memory.id,
        index: at(5),
        data: data(&[7]),
    };
    one_entity(&client, Modify, Entity::RegisterEntry(cell.clone()))
        .await
        .unwrap();
    let sent = rig.nic.inject(1, &probe(10, 5, 99));
    assert_eq!(sent[0].bytes[3..7], [0, 0, 0, 7]);
    let found = read(
        &client,
        Entity::RegisterEntry(pb::RegisterEntry { data: None, ..cell }),
    )
    .await;
    let [Entity::RegisterEntry(found)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(found.data, data(&[99]));
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_turns_red_when_its_rate_is_used_up() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    assert_eq!(rig.ask(11, 1, 0), Some(0));
    let config = pb::MeterConfig {
        cir: 1,
        cburst: 1,
        pir: 1,
        pburst: 2,
        ..Default::default()
    };
    let meter_id = rig.schema.meters.named("police").unwrap().id;
    let cell = pb::MeterEntry {
        meter_id,
        index: Some(pb::Index { index: 1 }),
        config: Some(config),
        ..Default::default()
    };
    one_entity(&client, Modify, Entity::MeterEntry(cell))
        .await
        .unwrap();
    let colors: Vec<_> = (0..4).map(|_| rig.ask(11, 1, 0).unwrap()).collect();
    assert_eq!(colors, [0, 1, 2, 2]);
    let found = read(
        &client,
        Entity::MeterEntry(pb::MeterEntry {
            config: None,
            ..cell
        }),
    )
    .await;
    assert_eq!(found, [Entity::MeterEntry(cell)]);
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_go_to_and_come_from_controllers_with_metadata() {
    let rig = Rig::start_with(EVERYTHING, |builder| builder).await;
    let (client, mut notifications) = rig.primary().await;
    let packet = probe(8, 1, 2);
    assert!(rig.nic.inject(5, &packet).is_empty());
    let told = tokio::time::timeout(SOON, notifications.packets.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(told.payload, packet);
    let view = rig.schema.read_packet_in(&told).unwrap();
    assert_eq!(
        (
            view.field("ingress_port").unwrap(),
            view.field("reason").unwrap()
        ),
        (5, 42)
    );
    rig.nic.shutdown().await;

    let mut far = None;
    let rig = Rig::start_with(EVERYTHING, |builder| {
        let (builder, end) = builder.memory_port(6);
        far = Some(end);
        builder
    })
    .await;
    let (client2, _notifications) = rig.primary().await;
    let fields = [("egress_port", 6u128.into()), ("pad", 0u128.into())];
    client2
        .packet_out(
            rig.schema
                .build_packet_out(packet.clone(), &fields)
                .unwrap(),
        )
        .unwrap();
    let far = far.unwrap();
    let sent = tokio::task::spawn_blocking(move || far.pop(SOON))
        .await
        .unwrap();
    assert_eq!(sent, Some(packet));
    assert_eq!(rig.nic.statistics().packet_out, 1);
    drop(client);
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_reach_the_controller_that_asked_for_them() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, mut notifications) = rig.primary().await;
    let digest_id = rig.schema.digests.iter().next().unwrap().id;
    let config = pb::digest_entry::Config {
        max_timeout_ns: 0,
        max_list_size: 1,
        ack_timeout_ns: 0,
    };
    let entry = pb::DigestEntry {
        digest_id,
        config: Some(config),
    };
    one_entity(&client, Insert, Entity::DigestEntry(entry))
        .await
        .unwrap();
    rig.nic.inject(1, &probe(9, 0x1234, 0x0a00_0001));
    let list = tokio::time::timeout(SOON, notifications.digests.recv())
        .await
        .unwrap()
        .unwrap();
    let bits = |value: &[u8]| pb::P4Data {
        data: Some(pb::p4_data::Data::Bitstring(value.to_vec())),
    };
    let members = vec![bits(&[0x12, 0x34]), bits(&[10, 0, 0, 1])];
    assert_eq!(
        list.data,
        [pb::P4Data {
            data: Some(pb::p4_data::Data::Struct(pb::P4StructLike { members }))
        }]
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn multicast_and_clones_go_where_they_were_told_to() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let replica = |port: u8| pb::Replica {
        instance: 1,
        port_kind: Some(pb::replica::PortKind::Port(vec![port])),
        ..Default::default()
    };
    let group = pb::MulticastGroupEntry {
        multicast_group_id: 9,
        replicas: vec![replica(11), replica(12)],
        metadata: b"mine".to_vec(),
    };
    let engine = |kind| pb::PacketReplicationEngineEntry { r#type: Some(kind) };
    use pb::packet_replication_engine_entry::Type::{CloneSessionEntry, MulticastGroupEntry};
    let group_entity = Entity::PacketReplicationEngineEntry(engine(MulticastGroupEntry(group)));
    one_entity(&client, Insert, group_entity.clone())
        .await
        .unwrap();
    assert_eq!(
        one_entity(&client, Insert, group_entity.clone())
            .await
            .unwrap_err()
            .code,
        Code::AlreadyExists
    );
    let entry = rig.schema.entry("replicate").unwrap().exact("key", 1u128);
    let entry = entry
        .action("copy", &[("group", 9u128.into())])
        .build()
        .unwrap();
    one(&client, Insert, entry).await.unwrap();
    let mut ports: Vec<u32> = rig
        .nic
        .inject(1, &probe(7, 1, 0))
        .iter()
        .map(|sent| sent.port)
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [11, 12]);
    let found = read(&client, group_entity.clone()).await;
    assert_eq!(found, std::slice::from_ref(&group_entity));

    let session = pb::CloneSessionEntry {
        session_id: 5,
        replicas: vec![replica(13)],
        ..Default::default()
    };
    let session = Entity::PacketReplicationEngineEntry(engine(CloneSessionEntry(session)));
    one_entity(&client, Insert, session.clone()).await.unwrap();
    let mut ports: Vec<u32> = rig
        .nic
        .inject(1, &probe(12, 1, 0))
        .iter()
        .map(|sent| sent.port)
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [2, 13]);
    one_entity(&client, Delete, session).await.unwrap();
    one_entity(&client, Delete, group_entity.clone())
        .await
        .unwrap();
    assert_eq!(
        one_entity(&client, Delete, group_entity)
            .await
            .unwrap_err()
            .code,
        Code::NotFound
    );
    rig.nic.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_set_changes_what_the_parser_takes() {
    let rig = Rig::start(EVERYTHING).await;
    let (client, _notifications) = rig.primary().await;
    let set = rig.schema.value_sets.iter().next().unwrap();
    let marked = |rig: &Rig| rig.nic.inject(1, &probe(200, 0, 0))[0].bytes[7..9] == [0xbe, 0xef];
    assert!(!marked(&rig));
    let exact = pb::field_match::FieldMatchType::Exact(pb::field_match::Exact { value: vec![200] });
    let field = pb::FieldMatch {
        field_id: set.fields[0].id,
        field_match_type: Some(exact),
    };
    let members = vec![pb::ValueSetMember {
        r#match: vec![field],
    }];
    let entity = Entity::ValueSetEntry(pb::ValueSetEntry {
        value_set_id: set.id,
        members,
    });
    one_entity(&client, Modify, entity.clone()).await.unwrap();
    assert!(marked(&rig));
    assert_eq!(read(&client, entity.clone()).await, [entity]);
    rig.nic.shutdown().await;
}
