//! The client against the service, through real gRPC on loopback, over a switch in memory.

use std::time::Duration;

use crate::double::{Served, config, info, serve, serve_at};
use p4runtime::client::{
    Client, Config, Notifications, PipelineAction, ReadError, ResponseType, State, entry_entity,
    entry_update,
};
use p4runtime::proto::p4::v1 as proto;
use p4runtime::proto::{Any, text};
use p4runtime::schema::Schema;
use p4runtime::server::Options;
use p4runtime::server::switch::{Entry, Item};
use p4runtime::server::validate::{self, Checked};
use proto::update::Type;
use tonic::Code;

const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

fn settings(served: &Served, election_id: u128) -> Config {
    let mut config = Config::new(served.address.to_string());
    config.election_id = Some(election_id);
    config.backoff.initial = Duration::from_millis(10);
    config.backoff.max = Duration::from_millis(50);
    config
}

async fn connect(served: &Served, election_id: u128) -> (Client, Notifications) {
    Client::connect(settings(served, election_id))
        .await
        .unwrap()
}

async fn reaches(client: &Client, what: &str, wanted: impl Fn(&State) -> bool) {
    let mut state = client.state();
    soon(what, state.wait_for(|state| wanted(state)))
        .await
        .unwrap();
}

/// A served switch with the program, and its primary.
async fn ready() -> (Served, Client, Notifications, Schema) {
    let served = serve(Options::default()).await;
    let (client, notifications) = connect(&served, 1).await;
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await
        .unwrap();
    let schema = client.schema().await.unwrap();
    (served, client, notifications, schema)
}

fn exact(schema: &Schema, vpc: u16, address: u64) -> proto::TableEntry {
    let params = [("port", 3u8.into()), ("mac", 9u8.into())];
    schema
        .entry("exact_table")
        .unwrap()
        .exact("vpc", vpc)
        .exact("address", address)
        .action("forward", &params)
        .metadata(vec![vpc as u8])
        .build()
        .unwrap()
}

fn codes(results: &[p4runtime::client::UpdateResult]) -> Vec<Code> {
    results
        .iter()
        .map(|result| {
            result
                .as_ref()
                .map_or_else(|error| error.code, |()| Code::Ok)
        })
        .collect()
}

#[tokio::test]
async fn primaries_and_backups() {
    let served = serve(Options::default()).await;
    let (first, _notes) = connect(&served, 10).await;
    assert_eq!(*first.state().borrow(), State::Primary);
    first
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await
        .unwrap();

    let (second, _notes) = connect(&served, 5).await;
    assert_eq!(
        *second.state().borrow(),
        State::Backup { primary: Some(10) }
    );
    let denied = second.write(Vec::new()).await;
    assert_eq!(denied.unwrap(), []);
    let schema = second.schema().await.unwrap();
    let insert = || vec![entry_update(Type::Insert, exact(&schema, 1, 1))];
    let denied = second.write(insert()).await.unwrap_err();
    assert!(denied.source.not_primary() && denied.done.is_empty());
    let denied = second
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await
        .unwrap_err();
    assert_eq!(denied.code(), Some(Code::PermissionDenied));

    // The primary leaves: nobody takes over by itself.
    first.shutdown().await;
    reaches(&second, "no primary", |state| {
        *state == State::NoPrimary { highest: Some(10) }
    })
    .await;
    assert!(
        second
            .write(insert())
            .await
            .unwrap_err()
            .source
            .not_primary()
    );
    second.set_election_id(Some(10)).unwrap();
    reaches(&second, "primary", |state| *state == State::Primary).await;
    assert_eq!(codes(&second.write(insert()).await.unwrap()), [Code::Ok]);

    // A higher id takes over, and the old primary is told.
    let (third, _notes) = connect(&served, 11).await;
    assert_eq!(*third.state().borrow(), State::Primary);
    reaches(&second, "backup", |state| {
        *state == State::Backup { primary: Some(11) }
    })
    .await;
    assert!(
        second
            .write(insert())
            .await
            .unwrap_err()
            .source
            .not_primary()
    );
    assert_eq!(
        first
            .packet_out(proto::PacketOut::default())
            .unwrap_err()
            .to_string(),
        "not connected to the device"
    );
}

#[tokio::test]
async fn refused_streams() {
    let served = serve(Options {
        max_streams: 2,
        ..Options::default()
    })
    .await;
    let refused = async |config: Config| Client::connect(config).await.unwrap_err().code().unwrap();
    let (_first, _notes) = connect(&served, 10).await;
    assert_eq!(refused(settings(&served, 10)).await, Code::InvalidArgument);
    let (_second, _notes) = connect(&served, 9).await;
    assert_eq!(refused(settings(&served, 8)).await, Code::ResourceExhausted);
    let mut elsewhere = settings(&served, 1);
    elsewhere.device_id = 2;
    assert_eq!(refused(elsewhere).await, Code::NotFound);
    let mut role = settings(&served, 1);
    role.role = "other".into();
    role.role_config = Some(Any {
        type_url: "x".into(),
        value: b"no number".to_vec(),
    });
    assert_eq!(refused(role).await, Code::InvalidArgument);
}

#[tokio::test]
async fn roles_with_a_scope() {
    let (served, _admin, _notes, schema) = ready().await;
    let table = schema.table("exact_table").unwrap().id;
    let mut settings = settings(&served, 1);
    settings.role = "one table".into();
    settings.role_config = Some(Any {
        type_url: "x".into(),
        value: table.to_string().into_bytes(),
    });
    let (client, _notes) = Client::connect(settings).await.unwrap();
    assert_eq!(*client.state().borrow(), State::Primary);
    let other = schema
        .entry("keyless")
        .unwrap()
        .default_entry()
        .build()
        .unwrap();
    let updates = vec![
        entry_update(Type::Insert, exact(&schema, 1, 1)),
        entry_update(Type::Modify, other),
    ];
    assert_eq!(
        codes(&client.write(updates).await.unwrap()),
        [Code::Ok, Code::PermissionDenied]
    );
    let denied = client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await;
    assert_eq!(denied.unwrap_err().code(), Some(Code::PermissionDenied));
    let read = client.read_table(0).await.unwrap();
    assert_eq!(
        read.iter().map(|entry| entry.table_id).collect::<Vec<_>>(),
        [table]
    );
}

#[tokio::test]
async fn pipeline_actions() {
    let served = serve(Options::default()).await;
    let (client, _notes) = connect(&served, 1).await;
    let code = async |action, config| {
        client
            .set_pipeline(action, config)
            .await
            .err()
            .and_then(|error| error.code())
    };
    assert_eq!(client.capabilities().await.unwrap(), "1.5.0");
    assert_eq!(client.get_pipeline(ResponseType::All).await.unwrap(), None);
    let nothing = client.read_table(0).await.unwrap_err();
    assert!(
        matches!(nothing, ReadError::Client(error) if error.code() == Some(Code::FailedPrecondition))
    );

    assert_eq!(
        code(PipelineAction::Unspecified, Some(config())).await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(
        code(PipelineAction::Verify, None).await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(code(PipelineAction::Verify, Some(config())).await, None);
    assert_eq!(
        client.get_pipeline(ResponseType::All).await.unwrap(),
        None,
        "verified only"
    );
    assert_eq!(
        code(PipelineAction::Commit, None).await,
        Some(Code::NotFound)
    );
    let mut bad = config();
    bad.p4_device_config = b"?".to_vec();
    assert_eq!(
        code(PipelineAction::VerifyAndCommit, Some(bad)).await,
        Some(Code::InvalidArgument)
    );
    let mut bad = config();
    bad.p4info.as_mut().unwrap().tables[0].implementation_id = 99;
    assert_eq!(
        code(PipelineAction::VerifyAndCommit, Some(bad)).await,
        Some(Code::InvalidArgument)
    );

    assert_eq!(
        code(PipelineAction::VerifyAndSave, Some(config())).await,
        None
    );
    let active = served.switch.active.lock().clone().unwrap();
    assert!(!active.load(std::sync::atomic::Ordering::SeqCst));
    // Writes since the save are there after the commit.
    let schema = client.schema().await.unwrap();
    client
        .write(vec![entry_update(Type::Insert, exact(&schema, 1, 1))])
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    assert_eq!(
        code(PipelineAction::Commit, Some(config())).await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(code(PipelineAction::Commit, None).await, None);
    assert!(active.load(std::sync::atomic::Ordering::SeqCst));
    assert_eq!(client.read_table(0x0200_0001).await.unwrap().len(), 1);
    assert_eq!(
        code(PipelineAction::Commit, None).await,
        Some(Code::NotFound),
        "saved once, committed once"
    );

    let cookie = client
        .get_pipeline(ResponseType::CookieOnly)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            cookie.p4info,
            cookie.p4_device_config.len(),
            cookie.cookie.unwrap().cookie
        ),
        (None, 0, 7)
    );
    let device = client
        .get_pipeline(ResponseType::DeviceConfigAndCookie)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (device.p4info, device.p4_device_config),
        (None, b"program".to_vec())
    );
    let all = client
        .get_pipeline(ResponseType::All)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all, config());

    // Reconciling keeps entries that the new program can have, and refuses otherwise.
    let mut wider = config();
    wider.p4info.as_mut().unwrap().tables[0].match_fields[0].bitwidth = 32;
    assert_eq!(
        code(PipelineAction::ReconcileAndCommit, Some(wider)).await,
        None
    );
    assert_eq!(
        client.read_table(0x0200_0001).await.unwrap(),
        [exact(&schema, 1, 1)]
    );
    let mut gone = config();
    gone.p4info.as_mut().unwrap().tables[0].match_fields[0].id = 9;
    assert_eq!(
        code(PipelineAction::ReconcileAndCommit, Some(gone)).await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(
        client.read_table(0x0200_0001).await.unwrap().len(),
        1,
        "nothing changed"
    );
    assert_eq!(
        code(PipelineAction::VerifyAndCommit, Some(config())).await,
        None
    );
    assert_eq!(
        client.read_table(0x0200_0001).await.unwrap().len(),
        0,
        "everything is cleared"
    );
}

#[tokio::test]
async fn one_result_per_update() {
    let (_served, client, _notes, schema) = ready().await;
    let mut too_wide = exact(&schema, 2, 2);
    too_wide.r#match[0].field_match_type = Some(proto::field_match::FieldMatchType::Exact(
        proto::field_match::Exact {
            value: vec![1, 0, 0],
        },
    ));
    let mut padded = exact(&schema, 3, 3);
    padded.r#match[1].field_match_type = Some(proto::field_match::FieldMatchType::Exact(
        proto::field_match::Exact {
            value: vec![0, 0, 0, 3],
        },
    ));
    let updates = vec![
        entry_update(Type::Insert, exact(&schema, 1, 1)),
        entry_update(Type::Insert, exact(&schema, 1, 1)),
        entry_update(Type::Modify, exact(&schema, 9, 9)),
        entry_update(Type::Delete, exact(&schema, 9, 9)),
        entry_update(Type::Insert, too_wide),
        entry_update(Type::Insert, padded),
        proto::Update::default(),
    ];
    let results = client.write(updates).await.unwrap();
    let expected = [
        Code::Ok,
        Code::AlreadyExists,
        Code::NotFound,
        Code::NotFound,
        Code::OutOfRange,
        Code::Ok,
        Code::InvalidArgument,
    ];
    assert_eq!(codes(&results), expected);
    assert!(results[1].as_ref().unwrap_err().out_of_sync());
    let read = client.read_table(0x0200_0001).await.unwrap();
    assert_eq!(
        read,
        [exact(&schema, 1, 1), exact(&schema, 3, 3)],
        "canonical, as written"
    );

    let fill = (10..20)
        .map(|vpc| entry_update(Type::Insert, exact(&schema, vpc, 0)))
        .collect();
    let results = client.write(fill).await.unwrap();
    assert_eq!(
        codes(&results)[6..],
        [Code::ResourceExhausted; 4],
        "the table holds eight"
    );
}

#[tokio::test]
async fn ten_thousand_errors_arrive() {
    let (_served, client, _notes, schema) = ready().await;
    let updates = (0..10_000)
        .map(|n| entry_update(Type::Delete, exact(&schema, 1, n)))
        .collect();
    let results = client.write(updates).await.unwrap();
    assert_eq!(results.len(), 10_000);
    assert!(codes(&results).iter().all(|code| *code == Code::NotFound));
}

#[tokio::test]
async fn reads_with_filters() {
    let (_served, client, _notes, schema) = ready().await;
    let drop = schema
        .entry("exact_table")
        .unwrap()
        .exact("vpc", 2u8)
        .exact("address", 2u8)
        .action("drop", &[]);
    let default = schema
        .entry("exact_table")
        .unwrap()
        .default_entry()
        .action("NoAction", &[])
        .build()
        .unwrap();
    let updates = vec![
        entry_update(Type::Insert, exact(&schema, 1, 1)),
        entry_update(Type::Insert, drop.build().unwrap()),
        entry_update(Type::Modify, default.clone()),
    ];
    assert_eq!(codes(&client.write(updates).await.unwrap()), [Code::Ok; 3]);

    let read = async |request: &str| {
        let entity: proto::Entity = text::from_text(request).unwrap();
        client.read_all(vec![entity]).await
    };
    let count = async |request: &str| read(request).await.unwrap().len();
    let table = "table_id: 0x02000001";
    assert_eq!(count("table_entry { }").await, 3, "two here, one const");
    assert_eq!(count(&format!("table_entry {{ {table} }}")).await, 2);
    assert_eq!(
        count(&format!(
            "table_entry {{ {table} action {{ action {{ action_id: 0x01000003 }} }} }}"
        ))
        .await,
        1
    );
    assert_eq!(
        count(&format!("table_entry {{ {table} metadata: \"\\x01\" }}")).await,
        1
    );
    assert_eq!(
        count(&format!("table_entry {{ {table} controller_metadata: 5 }}")).await,
        0
    );
    assert_eq!(
        read(&format!(
            "table_entry {{ {table} is_default_action: true }}"
        ))
        .await
        .unwrap(),
        [entry_entity(default)]
    );
    let key = r#"match { field_id: 1 exact { value: "\x01" } } match { field_id: 2 exact { value: "\x01" } }"#;
    assert_eq!(count(&format!("table_entry {{ {table} {key} }}")).await, 1);
    let counted = read(&format!(
        "table_entry {{ {table} {key} counter_data {{ }} }}"
    ))
    .await
    .unwrap();
    let Some(proto::entity::Entity::TableEntry(counted)) = &counted[0].entity else {
        panic!("{counted:?}")
    };
    assert_eq!(counted.counter_data, Some(proto::CounterData::default()));
    assert_eq!(
        count(&format!(
            "direct_counter_entry {{ table_entry {{ {table} }} }}"
        ))
        .await,
        2
    );
    assert_eq!(count("direct_counter_entry { table_entry { } }").await, 3);
    let constant = read("table_entry { table_id: 0x02000003 }").await.unwrap();
    assert!(
        matches!(&constant[0].entity, Some(proto::entity::Entity::TableEntry(entry)) if entry.is_const)
    );

    let code = async |request: &str| match read(request).await {
        Err(ReadError::Requests { results }) => results[0].as_ref().unwrap_err().code,
        other => panic!("{request}: {other:?}"),
    };
    assert_eq!(code("").await, Code::InvalidArgument);
    assert_eq!(
        code("table_entry { priority: 1 }").await,
        Code::InvalidArgument
    );
    assert_eq!(
        code("table_entry { table_id: 7 }").await,
        Code::InvalidArgument
    );
    assert_eq!(code("extern_entry { }").await, Code::Unimplemented);
    assert_eq!(
        code("counter_entry { counter_id: 0x12000001 index { index: 4 } }").await,
        Code::OutOfRange
    );
    let missing = key.replacen("\\x01", "\\x09", 1);
    let missing = format!("direct_counter_entry {{ table_entry {{ {table} {missing} }} }}");
    assert_eq!(code(&missing).await, Code::NotFound);

    // Good requests are answered before the errors of the others.
    let mixed =
        ["table_entry { }", "extern_entry { }"].map(|request| text::from_text(request).unwrap());
    let mut reading = client.read(mixed.to_vec()).await.unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap().len(), 3);
    let Err(ReadError::Requests { results }) = reading.next().await else {
        panic!("no error")
    };
    assert_eq!(codes(&results), [Code::Ok, Code::Unimplemented]);
}

#[tokio::test]
async fn large_reads_come_in_parts() {
    let served = serve(Options {
        read_chunk: 10_000,
        ..Options::default()
    })
    .await;
    let (client, _notes) = connect(&served, 1).await;
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await
        .unwrap();
    let schema = client.schema().await.unwrap();
    let updates = (0..2000u32).map(|n| {
        let entry = schema
            .entry("ternary_table")
            .unwrap()
            .ternary("masked", 1, 1)
            .priority(n as i32 + 1);
        let params = [("port", 3u8.into()), ("mac", 9u8.into())];
        entry_update(
            Type::Insert,
            entry.action("forward", &params).build().unwrap(),
        )
    });
    let mut updates: Vec<_> = updates.collect();
    updates.truncate(1000);
    assert!(
        client
            .write(updates)
            .await
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
    let wanted = entry_entity(proto::TableEntry {
        table_id: 0x0200_0002,
        ..Default::default()
    });
    let mut reading = client.read(vec![wanted]).await.unwrap();
    let (mut parts, mut entries) = (0, 0);
    while let Some(part) = reading.next().await.unwrap() {
        (parts, entries) = (parts + 1, entries + part.len());
    }
    assert!(parts > 3 && entries == 1000, "{entries} in {parts}");
}

#[tokio::test]
async fn packets_go_both_ways() {
    let (served, client, mut notes, schema) = ready().await;
    let (backup, mut backup_notes) = connect(&served, 0).await;
    let packet = schema.build_packet_out(
        vec![1, 2, 3],
        &[("egress_port", 5u8.into()), ("padding", 0u8.into())],
    );
    let packet = packet.unwrap();
    client.packet_out(packet.clone()).unwrap();
    let back = soon("packet", notes.packets.recv()).await.unwrap();
    let view = schema.read_packet_in(&back).unwrap();
    assert_eq!(
        (
            view.payload(),
            view.field("ingress_port"),
            view.field("reason")
        ),
        (&[1, 2, 3][..], Ok(5), Ok(0))
    );

    backup.packet_out(packet.clone()).unwrap();
    let error = soon("error", backup_notes.errors.recv()).await.unwrap();
    assert_eq!(error.canonical_code, Code::PermissionDenied as i32);
    assert!(
        matches!(error.details, Some(proto::stream_error::Details::PacketOut(e)) if e.packet_out == Some(packet))
    );
    client
        .packet_out(proto::PacketOut {
            payload: vec![9],
            metadata: vec![],
        })
        .unwrap();
    let error = soon("error", notes.errors.recv()).await.unwrap();
    assert_eq!(error.canonical_code, Code::InvalidArgument as i32);
    assert!(
        backup_notes.packets.try_recv().is_err(),
        "only the primary gets packets"
    );

    client.shutdown().await;
    reaches(&backup, "no primary", |state| {
        matches!(state, State::NoPrimary { .. })
    })
    .await;
    assert!(!served.switch.events().packet_in(vec![1], &[&[1], &[0]]));
    assert!(served.service.event_totals().packets_dropped >= 1);
}

#[tokio::test]
async fn notifications_and_digests() {
    let (served, client, mut notes, schema) = ready().await;
    let update = entry_update(Type::Insert, exact(&schema, 1, 1));
    let Ok(Checked::Switch(checked)) = validate::update(&schema, &update) else {
        panic!("{update:?}")
    };
    let Item::Entry(entry) = checked.item else {
        panic!("{:?}", checked.item)
    };
    served.switch.events().idle_timeout(&[Entry {
        idle_timeout_ns: 5,
        ..entry
    }]);
    let idle = soon("notification", notes.idle.recv()).await.unwrap();
    let expected = exact(&schema, 1, 1);
    assert_eq!(
        (&idle.table_entry[0].r#match, &idle.table_entry[0].metadata),
        (&expected.r#match, &expected.metadata)
    );
    assert_eq!(
        (
            idle.table_entry[0].idle_timeout_ns,
            &idle.table_entry[0].action
        ),
        (5, &None)
    );

    let digest = |kind: Type, config: &str| {
        let request = format!(
            "type: {} entity {{ digest_entry {{ digest_id: 0x17000001 {config} }} }}",
            kind.as_str_name()
        );
        vec![text::from_text(&request).unwrap()]
    };
    let sample = |byte| proto::P4Data {
        data: Some(proto::p4_data::Data::Bitstring(vec![byte])),
    };
    let events = served.switch.events();
    events.digest(0x1700_0001, sample(1));
    let on = digest(
        Type::Insert,
        "config { max_timeout_ns: 1000000 max_list_size: 10 ack_timeout_ns: 1000000000000 }",
    );
    assert_eq!(codes(&client.write(on.clone()).await.unwrap()), [Code::Ok]);
    assert_eq!(
        codes(&client.write(on).await.unwrap()),
        [Code::AlreadyExists]
    );
    events.digest(0x1700_0001, sample(2));
    events.digest(0x1700_0001, sample(2));
    let list = soon("digest list", notes.digests.recv()).await.unwrap();
    assert_eq!(list.data, [sample(2)]);
    client.digest_ack(list.digest_id, list.list_id).unwrap();
    client.digest_ack(5, 1).unwrap();
    let error = soon("error", notes.errors.recv()).await.unwrap();
    assert_eq!(
        error.canonical_code,
        Code::InvalidArgument as i32,
        "acknowledgements are handled in order"
    );
    events.digest(0x1700_0001, sample(2));
    assert_eq!(
        soon("digest list", notes.digests.recv())
            .await
            .unwrap()
            .data,
        [sample(2)]
    );
    let read = client
        .read_all(vec![text::from_text("digest_entry { }").unwrap()])
        .await
        .unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(
        codes(&client.write(digest(Type::Delete, "")).await.unwrap()),
        [Code::Ok]
    );
    assert_eq!(client.drops(), p4runtime::client::Drops::default());
}

#[tokio::test]
async fn reconnects() {
    let served = serve(Options::default()).await;
    let address = served.address;
    let (client, _notes) = connect(&served, 3).await;
    drop(served);
    reaches(&client, "disconnect", |state| {
        matches!(state, State::Disconnected { .. })
    })
    .await;
    assert!(
        client
            .packet_out(proto::PacketOut::default())
            .unwrap_err()
            .retryable()
    );
    let again = serve_at(address, Options::default()).await;
    reaches(&client, "reconnect", |state| *state == State::Primary).await;
    client
        .set_pipeline(PipelineAction::VerifyAndCommit, Some(config()))
        .await
        .unwrap();
    assert_eq!(client.schema().await.unwrap().p4info(), &info());
    again.service.close();
    reaches(&client, "disconnect", |state| {
        matches!(state, State::Disconnected { .. })
    })
    .await;
    client.shutdown().await;
    assert_eq!(*client.state().borrow(), State::Closed);
}
