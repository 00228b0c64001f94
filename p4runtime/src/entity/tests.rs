//! Entries and packets by name, there and back.

use super::*;
use crate::schema::tests::program;

#[test]
fn exact_entry_there_and_back() {
    let schema = program();
    let entry = schema
        .entry("exact_table")
        .unwrap()
        .exact("address", 0x1_0000u64)
        .exact("vpc", 7u16)
        .action(
            "forward",
            &[("mac", 0x0200_0000_0001u64.into()), ("port", 5u8.into())],
        )
        .metadata("me")
        .idle_timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    assert_eq!(
        entry.r#match.iter().map(|m| m.field_id).collect::<Vec<_>>(),
        [1, 2],
        "key order"
    );
    assert_eq!(entry.idle_timeout_ns, 30_000_000_000);

    let view = schema.read_entry(&entry).unwrap();
    assert_eq!(
        (view.exact("vpc"), view.exact("address")),
        (Ok(7), Ok(0x1_0000))
    );
    let call = view.action().unwrap().unwrap();
    assert_eq!(
        (call.action.alias.as_str(), call.param("port")),
        ("forward", Ok(5))
    );
    assert_eq!(call.param("mac"), Ok(0x0200_0000_0001));

    let key = ExactKey::new(schema.table("exact_table").unwrap(), &["address", "vpc"]).unwrap();
    let calls = Calls::new(schema.action("forward").unwrap(), &["port", "mac"]).unwrap();
    let mut fast = key.entry(&[0x1_0000, 7]).unwrap();
    fast.r#match.reverse();
    assert_eq!(fast.r#match, entry.r#match);
    assert_eq!(calls.call(&[5, 0x0200_0000_0001]).ok(), entry.action);
}

#[test]
fn everything_is_left_out() {
    let schema = program();
    let entry = || schema.entry("ternary_table").unwrap();
    let all = entry()
        .lpm("prefix", 5, 0)
        .ternary("masked", 5, 0)
        .range("ports", 0, 0xffff)
        .build()
        .unwrap();
    assert!(all.r#match.is_empty());
    let some = entry()
        .lpm("prefix", 0x0a01_0203, 8)
        .ternary("masked", 0xff, 0x0f)
        .build()
        .unwrap();
    let view = schema.read_entry(&some).unwrap();
    assert_eq!(view.masked("prefix"), Ok((0x0a00_0000, 0xff00_0000)));
    assert_eq!(view.masked("masked"), Ok((0x0f, 0x0f)));
    assert_eq!(view.value("maybe"), Ok(None));
}

#[test]
fn first_error_is_told() {
    let schema = program();
    let entry = || schema.entry("exact_table").unwrap();
    assert!(matches!(
        schema.entry("no").unwrap_err(),
        EntityError::Unknown { .. }
    ));
    let error = entry()
        .exact("vpc", 0x1_0000u32)
        .exact("nothing", 1u8)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "ingress.exact_table: vpc: the value needs 17 bits, 16 are there"
    );
    assert!(matches!(
        entry().lpm("vpc", 1, 1).build(),
        Err(EntityError::Kind { .. })
    ));
    assert!(matches!(
        entry().action("forward", &[("port", 1u8.into())]).build(),
        Err(EntityError::NotGiven { .. })
    ));
    assert!(matches!(
        entry().action("other", &[]).build(),
        Err(EntityError::UnknownElement { .. })
    ));
    assert!(ExactKey::new(schema.table("exact_table").unwrap(), &["vpc"]).is_err());
    assert!(ExactKey::new(schema.table("ternary_table").unwrap(), &["prefix"]).is_err());
}

#[test]
fn packets() {
    let schema = program();
    let packet = schema
        .build_packet_out(
            vec![1],
            &[("padding", 0u8.into()), ("egress_port", 300u16.into())],
        )
        .unwrap();
    assert_eq!(packet.metadata[0].value, [1, 44]);
    assert!(
        schema
            .build_packet_out(
                vec![],
                &[("egress_port", 512u16.into()), ("padding", 0u8.into())]
            )
            .is_err()
    );
    assert!(
        schema
            .build_packet_out(vec![], &[("egress_port", 1u16.into())])
            .is_err()
    );
    let metadata = vec![proto::PacketMetadata {
        metadata_id: 1,
        value: vec![0, 9],
    }];
    let packet = proto::PacketIn {
        payload: vec![5],
        metadata,
    };
    let view = schema.read_packet_in(&packet).unwrap();
    assert_eq!(
        (view.payload(), view.field("ingress_port")),
        (&[5u8][..], Ok(9))
    );
    assert!(matches!(
        view.field("reason"),
        Err(EntityError::NotGiven { .. })
    ));
}
