//! Whatever comes in, it reads and travels as with the generated code.

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::entity::Entity as Kind;
use proto::field_match::FieldMatchType;

use super::*;
use crate::value;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..10)
}

fn element() -> impl Strategy<Value = proto::FieldMatch> {
    let kind = prop_oneof![
        bytes().prop_map(|value| FieldMatchType::Exact(proto::field_match::Exact { value })),
        (bytes(), bytes()).prop_map(|(value, mask)| {
            FieldMatchType::Ternary(proto::field_match::Ternary { value, mask })
        }),
        (bytes(), any::<i32>()).prop_map(|(value, prefix_len)| {
            FieldMatchType::Lpm(proto::field_match::Lpm { value, prefix_len })
        }),
    ];
    (0u32..200, proptest::option::weighted(0.95, kind)).prop_map(|(field_id, field_match_type)| {
        proto::FieldMatch {
            field_id,
            field_match_type,
        }
    })
}

fn action() -> impl Strategy<Value = proto::TableAction> {
    use proto::table_action::Type;
    let param = (any::<u32>(), bytes());
    let param = param.prop_map(|(param_id, value)| proto::action::Param { param_id, value });
    let call = (any::<u32>(), vec(param, 0..6));
    prop_oneof![
        8 => call.prop_map(|(action_id, params)| Some(Type::Action(proto::Action { action_id, params }))),
        1 => any::<u32>().prop_map(|id| Some(Type::ActionProfileMemberId(id))),
        1 => Just(None),
    ]
    .prop_map(|r#type| proto::TableAction { r#type })
}

fn entry() -> impl Strategy<Value = proto::TableEntry> {
    let numbers = (
        any::<u32>(),
        any::<i32>(),
        prop_oneof![Just(0i64), any::<i64>()],
    );
    let rest = (proptest::option::of(action()), bytes(), any::<bool>());
    (numbers, vec(element(), 0..5), rest).prop_map(|(numbers, r#match, (action, metadata, odd))| {
        proto::TableEntry {
            table_id: numbers.0,
            priority: numbers.1,
            idle_timeout_ns: numbers.2,
            r#match,
            action,
            metadata,
            is_default_action: odd,
            ..Default::default()
        }
    })
}

fn update() -> impl Strategy<Value = proto::Update> {
    let entity = prop_oneof![
        8 => entry().prop_map(|entry| Some(Kind::TableEntry(entry))),
        1 => any::<u32>().prop_map(|counter_id| Some(Kind::CounterEntry(proto::CounterEntry {
            counter_id,
            ..Default::default()
        }))),
        1 => Just(None),
    ];
    (0i32..5, proptest::option::weighted(0.95, entity)).prop_map(|(kind, entity)| proto::Update {
        r#type: kind,
        entity: entity.map(|entity| proto::Entity { entity }),
    })
}

fn request() -> impl Strategy<Value = proto::WriteRequest> {
    let head = (any::<u64>(), 0u64..2, "[a-z]{0,3}", any::<bool>(), 0i32..3);
    (head, vec(update(), 0..5)).prop_map(
        |((device_id, role_id, role, primary, atomicity), updates)| proto::WriteRequest {
            device_id,
            role_id,
            role,
            election_id: primary.then_some(proto::Uint128 { high: 1, low: 2 }),
            updates,
            atomicity,
        },
    )
}

proptest! {
    #[test]
    fn one_message_after_the_other_is_read_as_the_generated_code_reads_it(
        cases in vec((update(), proptest::option::of((any::<prop::sample::Index>(), any::<u8>()))), 1..12)
    ) {
        let mut scratch = Scratch::default();
        for (update, damage) in cases {
            let mut bytes = update.encode_to_vec();
            if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let plain = proto::Update::decode(&bytes[..]);
            let read = scratch.load(&bytes);
            prop_assert_eq!(read.is_ok(), plain.is_ok());
            if let (Ok(read), Ok(plain)) = (read, plain) {
                prop_assert_eq!(read, &plain);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_as_the_generated_code_reads_them(parts in vec(vec(any::<u8>(), 0..40), 1..4)) {
        let mut scratch = Scratch::default();
        for bytes in parts {
            match (scratch.load(&bytes), proto::Update::decode(&bytes[..])) {
                (Ok(read), Ok(plain)) => prop_assert_eq!(read, &plain),
                (read, plain) => prop_assert_eq!(read.is_ok(), plain.is_ok()),
            }
        }
    }

    #[test]
    fn a_request_is_the_same_on_the_wire(request in request()) {
        let plain = request.encode_to_vec();
        let ours = WriteRequest::from(request.clone());
        prop_assert_eq!(ours.encoded_len(), plain.len());
        prop_assert_eq!(proto::WriteRequest::decode(&ours.encode_to_vec()[..]).unwrap(), request.clone());
        let read = WriteRequest::decode(&plain[..]).unwrap();
        prop_assert_eq!(read.updates.decode().unwrap(), request.updates);
        prop_assert_eq!(
            (read.device_id, read.role_id, read.role, read.election_id, read.atomicity),
            (request.device_id, request.role_id, request.role, request.election_id, request.atomicity)
        );
    }

    #[test]
    fn an_exact_entry_is_the_message(
        table in 1u32.., key in vec((1u32.., any::<u64>()), 0..4), metadata in bytes(), small in any::<bool>(),
        action in proptest::option::of((1u32.., vec((1u32.., any::<u64>()), 0..6))),
    ) {
        let short = |value: u64| if small { value % 3 } else { value };
        let key: Vec<(u32, u64)> = key.into_iter().map(|(id, value)| (id, short(value))).collect();
        let wide = |value| value::from_u64(value, 64).unwrap();
        let message = proto::TableEntry {
            table_id: table,
            r#match: key.iter().map(|&(field_id, value)| proto::FieldMatch {
                field_id,
                field_match_type: Some(FieldMatchType::Exact(proto::field_match::Exact { value: wide(value) })),
            }).collect(),
            action: action.as_ref().map(|(action_id, arguments)| proto::TableAction {
                r#type: Some(proto::table_action::Type::Action(proto::Action {
                    action_id: *action_id,
                    params: arguments.iter().map(|&(param_id, value)| proto::action::Param {
                        param_id,
                        value: wide(value),
                    }).collect(),
                })),
            }),
            metadata: metadata.clone(),
            ..Default::default()
        };
        let mut updates = Updates::default();
        updates.push_exact(proto::update::Type::Modify, &ExactEntry {
            table,
            key: &key,
            action: action.as_ref().map(|(id, arguments)| (*id, arguments.as_slice())),
            metadata: &metadata,
        });
        let expected = crate::client::entry_update(proto::update::Type::Modify, message);
        prop_assert_eq!(updates.iter().next().unwrap(), &expected.encode_to_vec()[..]);
    }

    #[test]
    fn a_mold_makes_what_would_be_encoded(
        first in 1u32.., key in vec((1u32.., any::<u64>()), 1..4), values in vec(prop_oneof![0u64..300, any::<u64>()], 1..20),
        arguments in vec((1u32.., any::<u64>()), 0..6),
    ) {
        let entry = |key: &[(u32, u64)], to: &mut Updates| {
            let action = Some((7, &arguments[..]));
            to.push_exact(proto::update::Type::Insert, &ExactEntry { table: first, key, action, metadata: b"x" })
        };
        let (mut molded, mut plain) = (Updates::default(), Updates::default());
        let mold = entry(&key, &mut molded);
        entry(&key, &mut plain);
        let length = |value: u64| value::from_u64(value, 64).unwrap().len();
        let own = key.last().unwrap().1;
        for value in values {
            let alike = molded.push_like(mold, value);
            prop_assert_eq!(alike, length(value) == length(own));
            if alike {
                let mut other = key.clone();
                other.last_mut().unwrap().1 = value;
                entry(&other, &mut plain);
            }
        }
        prop_assert_eq!(molded, plain);
        prop_assert!(!Updates::default().push_like(mold, own));
    }
}

#[test]
fn a_malformed_update_spoils_its_request_before_anything_is_done() {
    let good = proto::WriteRequest {
        updates: vec![proto::Update::default(); 2],
        ..Default::default()
    };
    let mut bytes = good.encode_to_vec();
    // Field 4, one byte long: a key without its value.
    bytes.extend([0x22, 1, 0x08]);
    assert!(proto::WriteRequest::decode(&bytes[..]).is_err());
    assert!(WriteRequest::decode(&bytes[..]).is_err());
}
