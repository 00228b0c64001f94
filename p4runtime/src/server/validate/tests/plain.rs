//! The quick way of plain insertions: what it takes, and that it says the same.

use super::super::super::switch::RoleScope;
use super::*;

/// What the quick way takes comes out as by the other.
pub(super) fn is_the_same(schema: &Schema, bytes: &[u8]) -> Result<(), TestCaseError> {
    let scope = RoleScope::default();
    let mut plain = Collector::new(schema, &scope);
    if !plain.take(bytes) {
        return Ok(());
    }
    let rows = plain.finish().unwrap();
    prop_assert_eq!(rows.len(), 1);
    let mut values = Vec::new();
    let row = Item::Entry(rows.entry(0, &mut values));
    let update = proto::Update::decode(bytes).unwrap();
    match super::super::update(schema, &update) {
        Ok(Checked::Switch(checked)) => {
            prop_assert_eq!(checked.op, Op::Insert);
            prop_assert_eq!(format!("{:?}", checked.item), format!("{row:?}"));
        }
        other => prop_assert!(false, "{other:?}"),
    }
    Ok(())
}

#[test]
fn only_plain_insertions_are_taken_the_quick_way() {
    let schema = program();
    let everything = RoleScope::default();
    let others = RoleScope {
        writable: Some([0x0200_0002].into()),
        ..RoleScope::default()
    };
    let takes = |text: &str, scope: &RoleScope| {
        let update: proto::Update = text::from_text(text).unwrap();
        Collector::new(&schema, scope).take(&update.encode_to_vec())
    };
    let good = exact("INSERT", FORWARD);
    assert!(takes(&good, &everything));
    assert!(takes(
        &exact("INSERT", &format!("{FORWARD} metadata: \"owner\"")),
        &everything
    ));
    assert!(!takes(&good, &others));
    for bad in [
        exact("MODIFY", FORWARD),
        exact("DELETE", ""),
        exact("INSERT", ""),
        exact("INSERT", &format!("{FORWARD} priority: 1")),
        exact("INSERT", &format!("{FORWARD} idle_timeout_ns: 5")),
        good.replace("field_id: 2", "field_id: 1"),
        good.replace("param_id: 2", "param_id: 1"),
        good.replace("0x01000001", "0x01000009"),
        good.replace("exact { value: \"\\x01\" }", "exact { value: \"\" }"),
        good.replace(
            "exact { value: \"\\x01\" }",
            "exact { value: \"\\x7f\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\" }",
        ),
        ternary(r#"field_id: 1 lpm { value: "\x0a\x00\x00\x00" prefix_len: 8 }"#),
    ] {
        assert!(!takes(&bad, &everything), "{bad}");
    }
}

#[test]
fn what_follows_is_gathered_while_it_is_of_one_kind() {
    let (schema, scope) = (program(), RoleScope::default());
    let bytes = |text: &str| {
        let update: proto::Update = text::from_text(text).unwrap();
        update.encode_to_vec()
    };
    let good = bytes(&exact("INSERT", FORWARD));
    let other = bytes(&exact("DELETE", ""));
    let mut plain = Collector::new(&schema, &scope);
    assert!(plain.finish().is_none());
    assert!(plain.take(&good) && plain.take(&good) && !plain.take(&other));
    let rows = plain.finish().unwrap();
    assert_eq!(
        (rows.len(), &*rows.keys, &*rows.params),
        (2, &[1, 2, 1, 2][..], &[1, 2, 1, 2][..])
    );
    assert!(plain.finish().is_none() && !plain.take(&other));
}
