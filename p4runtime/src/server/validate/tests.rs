//! Validation, case by case: text of an update, expected code or item.

mod plain;

use p4runtime_proto::text;
use proptest::prelude::*;
use prost::Message;

use super::super::encode;
use super::super::switch::Want;
use super::*;
use crate::schema::tests::program;

fn check(update: &str) -> Result<String, Code> {
    let schema = program();
    let update: proto::Update = text::from_text(update).unwrap_or_else(|e| panic!("{update}: {e}"));
    match super::update(&schema, &update) {
        Ok(Checked::Nothing) => Ok("nothing".to_owned()),
        Ok(Checked::Switch(update)) => Ok(format!("{:?} {:?}", update.op, update.item)),
        Ok(Checked::Digest { op, .. }) => Ok(format!("{op:?} digest")),
        Err(invalid) => Err(invalid.code()),
    }
}

const FORWARD: &str = r#"action { action { action_id: 0x01000001
    params { param_id: 1 value: "\x01" } params { param_id: 2 value: "\x02" } } }"#;
const EXACT: &str = r#"match { field_id: 1 exact { value: "\x01" } } match { field_id: 2 exact { value: "\x02" } }"#;

fn entry(kind: &str, table: u32, rest: &str) -> String {
    format!(
        "type: {kind} entity {{ table_entry {{ table_id: {} {rest} }} }}",
        0x0200_0000 + table
    )
}

fn exact(kind: &str, rest: &str) -> String {
    entry(kind, 1, &format!("{EXACT} {rest}"))
}

fn ternary(field: &str) -> String {
    entry(
        "INSERT",
        2,
        &format!("match {{ {field} }} priority: 1 {FORWARD}"),
    )
}

#[test]
fn exact_entries() {
    use Code::*;
    let cases: Vec<(String, Option<Code>)> = vec![
        (exact("INSERT", FORWARD), None),
        (exact("MODIFY", FORWARD), None),
        (exact("MODIFY", ""), None),
        (exact("DELETE", ""), None),
        (
            exact(
                "DELETE",
                "action { } idle_timeout_ns: -1 counter_data { byte_count: -1 }",
            ),
            None,
        ),
        (exact("UNSPECIFIED", FORWARD), Some(InvalidArgument)),
        (exact("INSERT", ""), Some(InvalidArgument)),
        (exact("INSERT", "action { }"), Some(InvalidArgument)),
        (
            exact("INSERT", &format!("{FORWARD} priority: 1")),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", &format!("{FORWARD} is_const: true")),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", &format!("{FORWARD} idle_timeout_ns: 5")),
            None,
        ),
        (
            exact("INSERT", &format!("{FORWARD} idle_timeout_ns: -5")),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", &format!("{FORWARD} time_since_last_hit {{ }}")),
            Some(InvalidArgument),
        ),
        (
            exact(
                "INSERT",
                &format!("{FORWARD} counter_data {{ packet_count: 5 }}"),
            ),
            None,
        ),
        (
            exact(
                "INSERT",
                &format!("{FORWARD} counter_data {{ packet_count: -5 }}"),
            ),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", &format!("{FORWARD} meter_config {{ cir: 5 }}")),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", "action { action_profile_member_id: 1 }"),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", "action { action { action_id: 0x01000002 } }"),
            Some(PermissionDenied),
        ),
        (
            exact("INSERT", "action { action { action_id: 0x01000003 } }"),
            None,
        ),
        (
            exact("INSERT", "action { action { action_id: 0x01000009 } }"),
            Some(InvalidArgument),
        ),
        (
            exact("INSERT", "action { action { action_id: 0x01000001 } }"),
            Some(InvalidArgument),
        ),
        (entry("INSERT", 1, FORWARD), Some(InvalidArgument)),
        (entry("INSERT", 9, FORWARD), Some(InvalidArgument)),
        (entry("INSERT", 4, FORWARD), Some(InvalidArgument)),
        (
            entry(
                "INSERT",
                6,
                &format!("match {{ field_id: 1 exact {{ value: \"eth0\" }} }} {FORWARD}"),
            ),
            None,
        ),
        (
            entry(
                "INSERT",
                6,
                &format!("match {{ field_id: 1 exact {{ }} }} {FORWARD}"),
            ),
            Some(InvalidArgument),
        ),
        ("type: INSERT".into(), Some(InvalidArgument)),
        ("type: INSERT entity { }".into(), Some(InvalidArgument)),
        (
            "type: INSERT entity { extern_entry { } }".into(),
            Some(Unimplemented),
        ),
    ];
    for (update, expected) in cases {
        assert_eq!(check(&update).err(), expected, "{update}");
    }
}

#[test]
fn values() {
    use Code::*;
    let with = |field_two: &str| {
        let first = r#"match { field_id: 1 exact { value: "\x00\x00\x01" } }"#;
        entry("INSERT", 1, &format!("{first} {field_two} {FORWARD}"))
    };
    let cases = [
        (
            r#"match { field_id: 2 exact { value: "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" } }"#,
            None,
        ),
        (
            r#"match { field_id: 2 exact { value: "\x01\x00\x00\x00\x00\x00\x00\x00\x00" } }"#,
            Some(OutOfRange),
        ),
        (
            r#"match { field_id: 2 exact { value: "" } }"#,
            Some(InvalidArgument),
        ),
        (r#"match { field_id: 2 }"#, Some(InvalidArgument)),
        (
            r#"match { field_id: 2 ternary { value: "\x01" mask: "\x01" } }"#,
            Some(InvalidArgument),
        ),
        (
            r#"match { field_id: 1 exact { value: "\x01" } }"#,
            Some(InvalidArgument),
        ),
        (
            r#"match { field_id: 3 exact { value: "\x01" } }"#,
            Some(InvalidArgument),
        ),
    ];
    for (field, expected) in cases {
        assert_eq!(check(&with(field)).err(), expected, "{field}");
    }
    let shown = check(&with(cases[0].0)).unwrap();
    assert!(shown.contains("[Exact([1]), Exact([7])]"), "{shown}");
}

#[test]
fn ternary_entries() {
    use Code::*;
    let cases = [
        (
            r#"field_id: 1 lpm { value: "\x0a\x00\x00\x00" prefix_len: 8 }"#,
            None,
        ),
        (
            r#"field_id: 1 lpm { value: "\x0a\x00\x00\x01" prefix_len: 8 }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 1 lpm { value: "\x00" prefix_len: 0 }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 1 lpm { value: "\x00" prefix_len: -1 }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 1 lpm { value: "\x00" prefix_len: 33 }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 1 lpm { prefix_len: 3 }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 2 ternary { value: "\x0f\x00" mask: "\x0f\x00" }"#,
            None,
        ),
        (
            r#"field_id: 2 ternary { value: "\x00" mask: "\x00" }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 2 ternary { value: "\x02" mask: "\x01" }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 2 ternary { value: "\x00" mask: "\x10\x00" }"#,
            Some(OutOfRange),
        ),
        (
            r#"field_id: 3 range { low: "\x01" high: "\xff\xff" }"#,
            None,
        ),
        (
            r#"field_id: 3 range { low: "\x00" high: "\xff\xff" }"#,
            Some(InvalidArgument),
        ),
        (
            r#"field_id: 3 range { low: "\x02" high: "\x01" }"#,
            Some(InvalidArgument),
        ),
        (r#"field_id: 4 optional { value: "\x01" }"#, None),
        (
            r#"field_id: 4 optional { value: "\x02" }"#,
            Some(OutOfRange),
        ),
    ];
    for (field, expected) in cases {
        assert_eq!(check(&ternary(field)).err(), expected, "{field}");
    }
    let all = |rest: &str| check(&entry("INSERT", 2, &format!("{rest} {FORWARD}"))).err();
    assert_eq!(all("priority: 1"), None, "everything is left out");
    assert_eq!(all(""), Some(InvalidArgument), "a priority is needed");
    assert_eq!(all("priority: -1"), Some(InvalidArgument));
    let single = "priority: 1 meter_config { cir: 1 pir: 1 cburst: 2 pburst: 2 }";
    assert_eq!(all(single), None);
    assert_eq!(
        all("priority: 1 meter_config { cir: 1 pir: 2 }"),
        Some(InvalidArgument)
    );
    assert_eq!(
        all("priority: 1 meter_config { eburst: 2 }"),
        Some(InvalidArgument)
    );
    assert_eq!(
        all("priority: 1 meter_counter_data { }"),
        Some(Unimplemented)
    );
}

#[test]
fn default_and_const_entries() {
    use Code::*;
    let default = "is_default_action: true";
    let no_action = "action { action { action_id: 0x01000002 } }";
    let drop = "action { action { action_id: 0x01000003 } }";
    let kind = r#"match { field_id: 1 exact { value: "\x01" } }"#;
    let cases = [
        (entry("MODIFY", 1, default), None),
        (entry("MODIFY", 1, &format!("{default} {FORWARD}")), None),
        (entry("MODIFY", 1, &format!("{default} {no_action}")), None),
        (
            entry("MODIFY", 1, &format!("{default} {drop}")),
            Some(PermissionDenied),
        ),
        (
            entry("MODIFY", 1, &format!("{default} idle_timeout_ns: 1")),
            Some(InvalidArgument),
        ),
        (
            entry("MODIFY", 1, &format!("{default} priority: 1")),
            Some(InvalidArgument),
        ),
        (
            entry("MODIFY", 1, &format!("{default} {EXACT}")),
            Some(InvalidArgument),
        ),
        (
            entry("INSERT", 1, &format!("{default} {FORWARD}")),
            Some(InvalidArgument),
        ),
        (entry("DELETE", 1, default), Some(InvalidArgument)),
        (entry("MODIFY", 4, &format!("{default} {FORWARD}")), None),
        (
            entry("MODIFY", 3, &format!("{default} {FORWARD}")),
            Some(PermissionDenied),
        ),
        (
            entry("MODIFY", 5, &format!("{default} {FORWARD}")),
            Some(PermissionDenied),
        ),
        (
            entry("INSERT", 3, &format!("{kind} {FORWARD}")),
            Some(PermissionDenied),
        ),
        (entry("DELETE", 3, kind), Some(PermissionDenied)),
        (
            entry("MODIFY", 3, &format!("{kind} {FORWARD}")),
            Some(PermissionDenied),
        ),
        (
            entry("MODIFY", 3, &format!("{kind} counter_data {{ }}")),
            None,
        ),
    ];
    for (update, expected) in cases {
        assert_eq!(check(&update).err(), expected, "{update}");
    }
}

#[test]
fn sets_members_and_groups() {
    use Code::*;
    let one = |weight: i32| {
        format!("action_profile_actions {{ {FORWARD} weight: {weight} watch_port: \"\\x01\" }}")
            .replacen("action { action {", "action {", 1)
    };
    // One brace of FORWARD is gone with its outer message.
    let one = |weight| one(weight).replacen("} } }", "} }", 1);
    let set = |actions: &str| {
        let key = r#"match { field_id: 1 exact { value: "\x01" } }"#;
        entry(
            "INSERT",
            5,
            &format!("{key} action {{ action_profile_action_set {{ {actions} }} }}"),
        )
    };
    assert_eq!(check(&set("")).err(), None, "empty sets are allowed");
    assert_eq!(check(&set(&format!("{} {}", one(1), one(3)))).err(), None);
    assert_eq!(check(&set(&one(0))).err(), Some(InvalidArgument));
    assert_eq!(check(&set(&one(-1))).err(), Some(InvalidArgument));
    assert_eq!(
        check(&set(&one(5))).err(),
        Some(InvalidArgument),
        "above max_group_size"
    );
    let members = format!("{} size_semantics: SUM_OF_MEMBERS", one(5));
    assert_eq!(check(&set(&members)).err(), None);
    assert_eq!(
        check(&set("action_profile_actions { weight: 1 }")).err(),
        Some(InvalidArgument)
    );

    let member = |kind: &str, rest: &str| {
        let profile = "action_profile_id: 0x11000001";
        check(&format!(
            "type: {kind} entity {{ action_profile_member {{ {profile} {rest} }} }}"
        ))
        .err()
    };
    let action = r#"action { action_id: 0x01000001 params { param_id: 1 value: "\x01" } params { param_id: 2 value: "\x02" } }"#;
    assert_eq!(member("INSERT", &format!("member_id: 1 {action}")), None);
    assert_eq!(member("INSERT", "member_id: 1"), Some(InvalidArgument));
    assert_eq!(member("INSERT", action), Some(InvalidArgument));
    assert_eq!(member("DELETE", "member_id: 1"), None);

    let group = |rest: &str| {
        let profile = "action_profile_id: 0x11000001 group_id: 7";
        check(&format!(
            "type: INSERT entity {{ action_profile_group {{ {profile} {rest} }} }}"
        ))
        .err()
    };
    assert_eq!(
        group("members { member_id: 1 weight: 2 } members { member_id: 2 weight: 2 }"),
        None
    );
    assert_eq!(
        group("members { member_id: 1 weight: 2 } members { member_id: 1 weight: 2 }"),
        Some(InvalidArgument)
    );
    assert_eq!(
        group("members { member_id: 1 weight: 5 }"),
        Some(ResourceExhausted)
    );
    assert_eq!(
        group("max_size: 2 members { member_id: 1 weight: 3 }"),
        Some(ResourceExhausted)
    );
    assert_eq!(group("members { member_id: 1 }"), Some(InvalidArgument));
    assert_eq!(group("max_size: 5"), Some(InvalidArgument));
}

#[test]
fn arrays_and_replication() {
    use Code::*;
    let cases = [
        (
            "MODIFY",
            "counter_entry { counter_id: 0x12000001 index { index: 3 } data { } }",
            None,
        ),
        (
            "MODIFY",
            "counter_entry { counter_id: 0x12000001 data { } }",
            None,
        ),
        (
            "INSERT",
            "counter_entry { counter_id: 0x12000001 data { } }",
            Some(InvalidArgument),
        ),
        (
            "DELETE",
            "counter_entry { counter_id: 0x12000001 data { } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "counter_entry { counter_id: 0x12000001 index { index: 4 } }",
            Some(OutOfRange),
        ),
        (
            "MODIFY",
            "counter_entry { counter_id: 0x12000001 index { index: -1 } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "counter_entry { counter_id: 7 }",
            Some(InvalidArgument),
        ),
        ("MODIFY", "meter_entry { meter_id: 0x14000001 }", None),
        (
            "MODIFY",
            "meter_entry { meter_id: 0x14000001 config { cir: -1 } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "meter_entry { meter_id: 0x14000001 config { eburst: 1 } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "register_entry { register_id: 0x16000001 data { bitstring: \"\\x00\\x0f\" } }",
            None,
        ),
        (
            "MODIFY",
            "register_entry { register_id: 0x16000001 data { bitstring: \"\\x10\\x00\\x00\" } }",
            Some(OutOfRange),
        ),
        (
            "MODIFY",
            "register_entry { register_id: 0x16000001 data { bool: true } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "register_entry { register_id: 0x16000001 }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "value_set_entry { value_set_id: 0x03000001 }",
            None,
        ),
        (
            "MODIFY",
            "value_set_entry { value_set_id: 0x03000001 members { match { field_id: 1 exact { value: \"\\x01\" } } } members { match { field_id: 1 exact { value: \"\\x00\\x01\" } } } }",
            Some(AlreadyExists),
        ),
        (
            "MODIFY",
            "value_set_entry { value_set_id: 0x03000001 members { } members { } members { } }",
            Some(ResourceExhausted),
        ),
        (
            "INSERT",
            "digest_entry { digest_id: 0x17000001 config { } }",
            None,
        ),
        (
            "INSERT",
            "digest_entry { digest_id: 0x17000001 config { max_list_size: -1 } }",
            Some(InvalidArgument),
        ),
        (
            "INSERT",
            "digest_entry { digest_id: 1 }",
            Some(InvalidArgument),
        ),
        ("MODIFY", "direct_counter_entry { }", Some(InvalidArgument)),
        (
            "MODIFY",
            "direct_counter_entry { table_entry { table_id: 0x02000002 priority: 1 } }",
            Some(InvalidArgument),
        ),
        (
            "MODIFY",
            "direct_meter_entry { table_entry { table_id: 0x02000002 priority: 1 } }",
            None,
        ),
        (
            "INSERT",
            "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 0 } }",
            Some(InvalidArgument),
        ),
        (
            "INSERT",
            "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { port: \"\\x01\" instance: 1 } replicas { port: \"\\x01\" instance: 2 } } }",
            None,
        ),
        (
            "INSERT",
            "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { port: \"\\x01\" instance: 1 } replicas { port: \"\\x00\\x01\" instance: 1 } } }",
            Some(InvalidArgument),
        ),
        (
            "INSERT",
            "packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { instance: 1 } } }",
            Some(InvalidArgument),
        ),
        (
            "INSERT",
            "packet_replication_engine_entry { clone_session_entry { session_id: 1 packet_length_bytes: -1 } }",
            Some(InvalidArgument),
        ),
        (
            "DELETE",
            "packet_replication_engine_entry { clone_session_entry { session_id: 1 packet_length_bytes: -1 } }",
            None,
        ),
    ];
    for (kind, entity, expected) in cases {
        let update = format!("type: {kind} entity {{ {entity} }}");
        assert_eq!(check(&update).err(), expected, "{update}");
    }
}

#[test]
fn packets() {
    let schema = program();
    let code = |metadata: &[(u32, &[u8])]| {
        let metadata = metadata.iter().map(|(id, value)| proto::PacketMetadata {
            metadata_id: *id,
            value: value.to_vec(),
        });
        let packet = proto::PacketOut {
            payload: vec![],
            metadata: metadata.collect(),
        };
        packet_out(&schema, &packet)
            .map(|args| args.iter().map(|a| a.to_vec()).collect::<Vec<_>>())
            .map_err(|e| e.code())
    };
    assert_eq!(
        code(&[(2, &[0, 3]), (1, &[1, 0])]),
        Ok(vec![vec![1, 0], vec![3]])
    );
    assert_eq!(code(&[(1, &[1])]), Err(Code::InvalidArgument));
    assert_eq!(
        code(&[(1, &[1]), (2, &[1]), (3, &[1])]),
        Err(Code::InvalidArgument)
    );
    assert_eq!(code(&[(1, &[1]), (1, &[1])]), Err(Code::InvalidArgument));
    assert_eq!(code(&[(1, &[2, 0]), (2, &[1])]), Err(Code::OutOfRange));
}

/// Small numbers, so that ids and widths are often right.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![0]),
        Just(vec![1]),
        proptest::collection::vec(any::<u8>(), 0..10)
    ]
}

fn field_match() -> impl Strategy<Value = proto::FieldMatch> {
    use proto::field_match::*;
    let kind = prop_oneof![
        bytes().prop_map(|value| FieldMatchType::Exact(Exact { value })),
        (bytes(), bytes())
            .prop_map(|(value, mask)| FieldMatchType::Ternary(Ternary { value, mask })),
        (bytes(), -1..40i32)
            .prop_map(|(value, prefix_len)| FieldMatchType::Lpm(Lpm { value, prefix_len })),
        (bytes(), bytes()).prop_map(|(low, high)| FieldMatchType::Range(Range { low, high })),
        bytes().prop_map(|value| FieldMatchType::Optional(Optional { value })),
    ];
    (0..6u32, proptest::option::of(kind)).prop_map(|(field_id, field_match_type)| {
        proto::FieldMatch {
            field_id,
            field_match_type,
        }
    })
}

fn call() -> impl Strategy<Value = proto::Action> {
    let params = proptest::collection::vec((0..4u32, bytes()), 0..4);
    (0..5u32, params).prop_map(|(action, params)| proto::Action {
        action_id: 0x0100_0000 + action,
        params: params
            .into_iter()
            .map(|(param_id, value)| proto::action::Param { param_id, value })
            .collect(),
    })
}

fn table_entry() -> impl Strategy<Value = proto::TableEntry> {
    use proto::table_action::Type;
    let set = proptest::collection::vec((proptest::option::of(call()), -2..6i32), 0..4).prop_map(
        |actions| {
            let one = |(action, weight)| proto::ActionProfileAction {
                action,
                weight,
                watch_kind: None,
            };
            let action_profile_actions = actions.into_iter().map(one).collect();
            Type::ActionProfileActionSet(proto::ActionProfileActionSet {
                action_profile_actions,
                ..Default::default()
            })
        },
    );
    let action = prop_oneof![
        call().prop_map(Type::Action),
        any::<u32>().prop_map(Type::ActionProfileMemberId),
        any::<u32>().prop_map(Type::ActionProfileGroupId),
        set
    ];
    let rest = (
        -1..3i32,
        any::<bool>(),
        -1..3i64,
        any::<bool>(),
        any::<bool>(),
    );
    (
        0..8u32,
        proptest::collection::vec(field_match(), 0..5),
        proptest::option::of(action),
        rest,
    )
        .prop_map(
            |(
                table,
                r#match,
                action,
                (priority, is_default_action, idle_timeout_ns, is_const, counted),
            )| {
                proto::TableEntry {
                    table_id: 0x0200_0000 + table,
                    r#match,
                    action: action.map(|kind| proto::TableAction { r#type: Some(kind) }),
                    priority,
                    is_default_action,
                    idle_timeout_ns,
                    is_const,
                    counter_data: counted.then(proto::CounterData::default),
                    ..Default::default()
                }
            },
        )
}

const SPECIFIED: [Code; 6] = [
    Code::InvalidArgument,
    Code::OutOfRange,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::AlreadyExists,
    Code::Unimplemented,
];

fn never_panics(schema: &Schema, update: &proto::Update) -> Result<(), TestCaseError> {
    plain::is_the_same(schema, &update.encode_to_vec())?;
    match super::update(schema, update) {
        Err(invalid) => prop_assert!(SPECIFIED.contains(&invalid.code()), "{invalid:?}"),
        Ok(Checked::Switch(checked)) => {
            // What was accepted is canonical: written out and read in again it is the same.
            let want = Want {
                counter: true,
                meter: true,
                idle: true,
            };
            let entity = encode::entity(&checked.item, want);
            let again = proto::Update {
                r#type: update.r#type,
                entity: Some(entity.clone()),
            };
            match super::update(schema, &again) {
                Ok(Checked::Switch(same)) => {
                    prop_assert_eq!(encode::entity(&same.item, want), entity)
                }
                other => prop_assert!(checked.op == Op::Delete, "{:?} became {:?}", again, other),
            }
        }
        Ok(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_table_entry(kind in 0..4i32, entry in table_entry()) {
        let entity = proto::Entity { entity: Some(Kind::TableEntry(entry)) };
        never_panics(&program(), &proto::Update { r#type: kind, entity: Some(entity) })?;
    }

    #[test]
    fn any_bytes(kind in 0..4i32, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(entity) = proto::Entity::decode(bytes.as_slice()) {
            never_panics(&program(), &proto::Update { r#type: kind, entity: Some(entity) })?;
        }
        if let Ok(packet) = proto::PacketOut::decode(bytes.as_slice()) {
            let _ = packet_out(&program(), &packet);
        }
    }

    #[test]
    fn mutated_bytes(at in 0usize..400, to: u8, which in 0usize..6) {
        let texts = [
            exact("INSERT", FORWARD),
            ternary(r#"field_id: 1 lpm { value: "\x0a\x00\x00\x00" prefix_len: 8 }"#),
            "type: MODIFY entity { counter_entry { counter_id: 0x12000001 index { index: 3 } data { } } }".into(),
            "type: INSERT entity { packet_replication_engine_entry { multicast_group_entry { multicast_group_id: 1 replicas { port: \"\\x01\" instance: 1 } } } }".into(),
            "type: MODIFY entity { register_entry { register_id: 0x16000001 data { bitstring: \"\\x0f\" } } }".into(),
            "type: INSERT entity { action_profile_group { action_profile_id: 0x11000001 group_id: 7 members { member_id: 1 weight: 2 } } }".into(),
        ];
        let update: proto::Update = text::from_text(&texts[which]).unwrap();
        let mut bytes = update.encode_to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        plain::is_the_same(&program(), &bytes)?;
        if let Ok(update) = proto::Update::decode(bytes.as_slice()) {
            never_panics(&program(), &update)?;
        }
    }
}
