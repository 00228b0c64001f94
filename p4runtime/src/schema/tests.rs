//! Schemas from P4Info: lookups, what is refused, and what `require` says.

use p4runtime_proto::text;

use super::*;

pub(crate) fn program() -> Schema {
    let text = include_str!("../../tests/service/double/program.txtpb");
    Schema::new(text::from_text(text).unwrap()).unwrap()
}

#[test]
fn lookups() {
    let schema = program();
    let table = schema.table("ingress.exact_table").unwrap();
    assert!(Arc::ptr_eq(table, schema.table("exact_table").unwrap()));
    assert!(Arc::ptr_eq(table, schema.tables.get(0x0200_0001).unwrap()));
    assert!(table.idle_timeout && !table.needs_priority && !table.is_const);
    assert_eq!(
        (table.size, table.direct_counter),
        (8, Some(CounterUnit::Both))
    );
    assert_eq!(
        table.field("address").map(|(at, field)| (at, field.width)),
        Some((1, Width::Bits(64)))
    );
    assert_eq!(table.action("NoAction").unwrap().scope, Scope::DefaultOnly);
    assert!(schema.table("ternary_table").unwrap().needs_priority);
    let named = &schema.table("named").unwrap().fields[0];
    assert_eq!(
        (named.width, named.translation.as_deref()),
        (Width::String, Some("example/label"))
    );
    assert!(
        schema
            .table("selected")
            .unwrap()
            .action_profile
            .as_ref()
            .unwrap()
            .with_selector
    );
    assert_eq!(schema.packet_in().unwrap().fields.len(), 2);
    assert!(schema.table("none").is_none() && schema.tables.get(0).is_none());
}

#[test]
fn refused() {
    let text = include_str!("../../tests/service/double/program.txtpb");
    type Expected = fn(&SchemaError) -> bool;
    let cases: [(&str, &str, Expected); 6] = [
        ("id: 0x02000002 name", "id: 0x02000001 name", |e| {
            matches!(e, SchemaError::DuplicateId { .. })
        }),
        ("id: 0x02000002 name", "id: 0 name", |e| {
            matches!(e, SchemaError::NoId { .. })
        }),
        ("bitwidth: 12", "bitwidth: -12", |e| {
            matches!(e, SchemaError::Width { .. })
        }),
        ("bitwidth: 16 match_type: RANGE", "bitwidth: 16", |e| {
            matches!(e, SchemaError::MatchKind { .. })
        }),
        (
            "implementation_id: 0x11000001",
            "implementation_id: 7",
            |e| matches!(e, SchemaError::Dangling { .. }),
        ),
        ("id: 2 name: \"mac\"", "id: 1 name: \"mac\"", |e| {
            matches!(e, SchemaError::ElementId { .. })
        }),
    ];
    for (from, to, expected) in cases {
        assert!(text.contains(from), "{from}");
        let info = text::from_text(&text.replacen(from, to, 1)).unwrap();
        let error = Schema::new(info).unwrap_err();
        assert!(expected(&error), "{to}: {error:?}");
    }
}

#[test]
fn requirements() {
    let schema = program();
    let met = [
        Requirement::table("exact_table")
            .field("vpc", MatchKind::Exact, 16)
            .field("address", MatchKind::Exact, 64)
            .uses("forward")
            .counted()
            .ages(),
        Requirement::action("forward", &[("port", 9), ("mac", 48)]),
        Requirement::packet_in(&[("ingress_port", 9), ("reason", 7)]),
        Requirement::packet_out(&[("egress_port", 9), ("padding", 7)]),
        Requirement::Counter("hits".into()),
        Requirement::Digest("learn_t".into()),
    ];
    assert_eq!(schema.require(&met), Ok(()));

    let unmet = [
        Requirement::table("ternary_table")
            .field("prefix", MatchKind::Exact, 32)
            .field("masked", MatchKind::Ternary, 10)
            .field("absent", MatchKind::Exact, 8)
            .field("ports", MatchKind::Range, 16)
            .uses("missing")
            .counted()
            .ages(),
        Requirement::table("nowhere"),
        Requirement::action("forward", &[("port", 16), ("vlan", 12)]),
        Requirement::Counter("misses".into()),
    ];
    let expected = "the device's program differs in 13 point(s)
  table ingress.ternary_table: prefix is lpm, not exact
  table ingress.ternary_table: masked is 12 bits, not 10 bits
  table ingress.ternary_table: key element absent (exact, 8 bits) is missing
  table ingress.ternary_table: ports is key element 3, not 4
  table ingress.ternary_table: key element maybe is not expected
  table ingress.ternary_table: no action missing
  table ingress.ternary_table: no direct counter
  table ingress.ternary_table: no idle timeout
  table nowhere is missing
  action forward: port is 9 bits, not 16 bits
  action forward: parameter vlan (12 bits) is missing
  action forward: parameter mac is not expected
  counter misses is missing";
    let missing = schema.require(&unmet).unwrap_err();
    assert_eq!(missing.to_string(), expected);
}
