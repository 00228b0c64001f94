//! Tables against a naive list of entries, and the rules of the control plane's side.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::Time;
use super::super::externs::{CounterData, HashAlgorithm};
use super::*;
use crate::ir::{ActionScope, Handle};

/// A table with two actions: 0 without data, 1 with parameters of 16 and 9 bits.
fn config(keys: &[(MatchKind, u32)]) -> TableConfig {
    let action = |params: &[u32]| ActionPlan { params: params.to_vec(), scope: ActionScope::TableAndDefault };
    TableConfig {
        handle: Handle::new(0),
        keys: keys.to_vec(),
        actions: vec![action(&[]), action(&[16, 9])],
        default: (0, Vec::new()),
        const_default: false,
        const_entries: false,
        capacity: Some(1000),
        idle_timeouts: false,
        learner: false,
        direct_counter: false,
        counts_hits: true,
        direct_meter: None,
        profile: None,
    }
}

fn table(keys: &[(MatchKind, u32)]) -> MatchTable {
    MatchTable::new(config(keys)).unwrap()
}

fn put(table: &MatchTable, fields: &[OwnedField], priority: i32, tag: u16) -> Result<(), TableError> {
    let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
    let tag = tag.to_be_bytes();
    let params: [&[u8]; 2] = [&tag, &[1]];
    let entry = NewEntry { priority, ..NewEntry::new(&fields, ActionCall { action: 1, params: &params }) };
    table.insert(Time(0), &entry)
}

/// The tag of the entry that the key hits.
fn hit(table: &MatchTable, key: &[u8]) -> Option<u16> {
    let mut data = Vec::new();
    let found = table.lookup(&Query { now: Time(0), key, selector: &[], bytes: 100 }, &mut data);
    found.hit.then(|| u16::from_be_bytes([data[0], data[1]]))
}

fn covers(field: &OwnedField, value: u32, width: u32) -> bool {
    let number = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &b| sum << 8 | u32::from(b));
    match field {
        OwnedField::DontCare => true,
        OwnedField::Exact(want) | OwnedField::Optional(want) => number(want) == value,
        OwnedField::Lpm(want, prefix) => {
            let mask = ((1u64 << width) - (1u64 << (width - prefix))) as u32;
            value & mask == number(want)
        }
        OwnedField::Ternary(want, mask) => value & number(mask) == number(want),
        OwnedField::Range(low, high) => (number(low)..=number(high)).contains(&value),
    }
}

/// Small values, so that entries and keys meet.
fn field(kind: MatchKind, width: u32) -> BoxedStrategy<OwnedField> {
    let top = (1u32 << width) - 1;
    let bytes = |value: u32| value.to_be_bytes().to_vec();
    let value = 0u32..=top.min(7);
    match kind {
        MatchKind::Exact => value.prop_map(move |v| OwnedField::Exact(bytes(v))).boxed(),
        MatchKind::Optional => prop_oneof![
            Just(OwnedField::DontCare),
            value.prop_map(move |v| OwnedField::Optional(bytes(v)))
        ]
        .boxed(),
        MatchKind::Lpm => (0u32..=top, 0u32..=width)
            .prop_map(move |(v, prefix)| {
                let mask = ((1u64 << width) - (1u64 << (width - prefix))) as u32;
                if prefix == 0 { OwnedField::DontCare } else { OwnedField::Lpm(bytes(v & mask), prefix) }
            })
            .boxed(),
        MatchKind::Ternary => (0u32..=top, 0u32..=top)
            .prop_map(move |(v, m)| if m == 0 { OwnedField::DontCare } else { OwnedField::Ternary(bytes(v & m), bytes(m)) })
            .boxed(),
        MatchKind::Range => (0u32..=top, 0u32..=top)
            .prop_map(move |(a, b)| {
                if a.min(b) == 0 && a.max(b) == top {
                    OwnedField::DontCare
                } else {
                    OwnedField::Range(bytes(a.min(b)), bytes(a.max(b)))
                }
            })
            .boxed(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<OwnedField>, i32),
    Remove(usize),
    Look(Vec<u32>),
}

fn steps(keys: &'static [(MatchKind, u32)]) -> impl Strategy<Value = Vec<Step>> {
    let fields: Vec<_> = keys.iter().map(|&(kind, width)| field(kind, width)).collect();
    let prioritised = keys.iter().any(|(k, _)| !matches!(k, MatchKind::Exact | MatchKind::Lpm));
    let priority = if prioritised { 1..4 } else { 0..1 };
    let key: Vec<_> = keys.iter().map(|&(_, width)| 0u32..(1 << width)).collect();
    let step = prop_oneof![
        3 => (fields, priority).prop_map(|(fields, priority)| Step::Put(fields, priority)),
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Remove(i.index(64))),
        4 => key.prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..120)
}

/// The entry that must win: longest prefix, else highest priority, else the first one stored.
fn winner(keys: &[(MatchKind, u32)], entries: &[(Vec<OwnedField>, i32, u16)], key: &[u32]) -> Option<u16> {
    let mut best: Option<(i64, u16)> = None;
    for (fields, priority, tag) in entries {
        let all = fields.iter().zip(keys).zip(key).all(|((field, &(_, width)), &value)| covers(field, value, width));
        let prefix = fields.iter().map(|f| if let OwnedField::Lpm(_, prefix) = f { *prefix } else { 0 }).sum::<u32>();
        let rank = if *priority > 0 { i64::from(*priority) } else { i64::from(prefix) };
        if all && best.is_none_or(|(have, _)| rank > have) {
            best = Some((rank, *tag));
        }
    }
    best.map(|(_, tag)| tag)
}

fn check(keys: &'static [(MatchKind, u32)], steps: Vec<Step>) -> Result<(), TestCaseError> {
    let table = table(keys);
    let mut entries: Vec<(Vec<OwnedField>, i32, u16)> = Vec::new();
    for (tag, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(fields, priority) => {
                let known = entries.iter().any(|(f, p, _)| *f == fields && *p == priority);
                let expected = if known { Err(TableError::Exists) } else { Ok(()) };
                prop_assert_eq!(put(&table, &fields, priority, tag as u16), expected);
                if !known {
                    entries.push((fields, priority, tag as u16));
                }
            }
            Step::Remove(at) if at < entries.len() => {
                let (fields, priority, _) = entries.remove(at);
                let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
                prop_assert_eq!(table.delete(&fields, priority), Ok(()));
                prop_assert_eq!(table.delete(&fields, priority), Err(TableError::NotFound));
            }
            Step::Remove(_) => {}
            Step::Look(key) => {
                let bytes: Vec<u8> = keys
                    .iter()
                    .zip(&key)
                    .flat_map(|(&(_, width), value)| value.to_be_bytes()[4 - param_len(width)..].to_vec())
                    .collect();
                prop_assert_eq!(hit(&table, &bytes), winner(keys, &entries, &key));
            }
        }
    }
    prop_assert_eq!(table.len(), entries.len() as u64);
    let mut read: Vec<(Vec<OwnedField>, i32)> = Vec::new();
    let mut cursor = Cursor::default();
    let mut show = |view: &EntryView<'_>| {
        read.push((view.fields.iter().map(|&f| shorten(f.into())).collect(), view.priority));
    };
    while let Some(next) = table.read(Time(0), cursor, 3, &mut show) {
        cursor = next;
    }
    let mut wanted: Vec<(Vec<OwnedField>, i32)> =
        entries.into_iter().map(|(f, p, _)| (f.into_iter().map(shorten).collect(), p)).collect();
    let order = |a: &(Vec<OwnedField>, i32), b: &(Vec<OwnedField>, i32)| format!("{a:?}").cmp(&format!("{b:?}"));
    read.sort_by(order);
    wanted.sort_by(order);
    prop_assert_eq!(read, wanted);
    Ok(())
}

/// Without leading zeros.
fn shorten(field: OwnedField) -> OwnedField {
    let cut = |bytes: Vec<u8>| bytes.iter().position(|&b| b != 0).map_or(Vec::new(), |at| bytes[at..].to_vec());
    match field {
        OwnedField::DontCare => OwnedField::DontCare,
        OwnedField::Exact(v) => OwnedField::Exact(cut(v)),
        OwnedField::Lpm(v, prefix) => OwnedField::Lpm(cut(v), prefix),
        OwnedField::Ternary(v, m) => OwnedField::Ternary(cut(v), cut(m)),
        OwnedField::Range(l, h) => OwnedField::Range(cut(l), cut(h)),
        OwnedField::Optional(v) => OwnedField::Optional(cut(v)),
    }
}

const EXACT: &[(MatchKind, u32)] = &[(MatchKind::Exact, 3), (MatchKind::Exact, 9)];
const LPM: &[(MatchKind, u32)] = &[(MatchKind::Exact, 2), (MatchKind::Lpm, 11)];
const TERNARY: &[(MatchKind, u32)] = &[(MatchKind::Ternary, 4), (MatchKind::Exact, 1), (MatchKind::Optional, 3)];
const RANGE: &[(MatchKind, u32)] = &[(MatchKind::Range, 5), (MatchKind::Ternary, 3), (MatchKind::Lpm, 4)];

proptest! {
    #[test]
    fn exact_is_a_map(steps in steps(EXACT)) {
        check(EXACT, steps)?;
    }

    #[test]
    fn lpm_takes_the_longest(steps in steps(LPM)) {
        check(LPM, steps)?;
    }

    #[test]
    fn ternary_takes_the_highest_priority(steps in steps(TERNARY)) {
        check(TERNARY, steps)?;
    }

    #[test]
    fn ranges_too(steps in steps(RANGE)) {
        check(RANGE, steps)?;
    }
}

#[test]
fn malformed_entries_are_refused() {
    let t = table(&[(MatchKind::Exact, 9), (MatchKind::Ternary, 8), (MatchKind::Lpm, 8), (MatchKind::Range, 8)]);
    let good = [
        FieldMatch::Exact(&[1, 255]),
        FieldMatch::Ternary { value: &[8], mask: &[0, 0, 12] },
        FieldMatch::Lpm { value: &[0xf0], prefix_len: 4 },
        FieldMatch::Range { low: &[1], high: &[9] },
    ];
    let call = ActionCall { action: 0, params: &[] };
    let attempt = |at: usize, field: FieldMatch<'_>| {
        let mut fields = good;
        if let Some(place) = fields.get_mut(at) {
            *place = field;
        }
        t.insert(Time(0), &NewEntry { priority: 1, ..NewEntry::new(&fields, call) })
    };
    assert_eq!(attempt(0, FieldMatch::Exact(&[2, 0])), Err(TableError::FieldTooWide { field: 0, width: 9 }));
    let exact = TableError::FieldKind { field: 0, expected: MatchKind::Exact };
    assert_eq!(attempt(0, FieldMatch::DontCare), Err(exact));
    let masked = FieldMatch::Ternary { value: &[3], mask: &[1] };
    assert_eq!(attempt(1, masked), Err(TableError::FieldMalformed { field: 1 }));
    let long = FieldMatch::Lpm { value: &[0], prefix_len: 9 };
    assert_eq!(attempt(2, long), Err(TableError::FieldMalformed { field: 2 }));
    let host_bits = FieldMatch::Lpm { value: &[1], prefix_len: 4 };
    assert_eq!(attempt(2, host_bits), Err(TableError::FieldMalformed { field: 2 }));
    let turned = FieldMatch::Range { low: &[9], high: &[1] };
    assert_eq!(attempt(3, turned), Err(TableError::FieldMalformed { field: 3 }));
    assert_eq!(t.insert(Time(0), &NewEntry::new(&good, call)), Err(TableError::Priority { priority: 0 }));
    let few = NewEntry { priority: 1, ..NewEntry::new(&good[..2], call) };
    assert_eq!(t.insert(Time(0), &few), Err(TableError::FieldCount { expected: 4, got: 2 }));
    assert_eq!(attempt(9, FieldMatch::DontCare), Ok(()));
    assert_eq!(attempt(9, FieldMatch::DontCare), Err(TableError::Exists));
}

#[test]
fn malformed_actions_are_refused() {
    let t = table(&[(MatchKind::Exact, 8)]);
    let attempt = |action: usize, params: &[&[u8]]| {
        t.insert(Time(0), &NewEntry::new(&[FieldMatch::Exact(&[1])], ActionCall { action, params }))
    };
    assert_eq!(attempt(2, &[]), Err(TableError::NoSuchAction { action: 2 }));
    assert_eq!(attempt(1, &[&[1]]), Err(TableError::ParamCount { expected: 2, got: 1 }));
    assert_eq!(attempt(1, &[&[1], &[2, 0]]), Err(TableError::ParamTooWide { param: 1, width: 9 }));
    assert_eq!(attempt(1, &[&[0, 0, 0, 1], &[]]), Ok(()));
    let one_shot = EntryAction::OneShot(&[]);
    let entry = NewEntry { action: one_shot, ..NewEntry::new(&[FieldMatch::Exact(&[2])], ActionCall { action: 0, params: &[] }) };
    assert_eq!(t.insert(Time(0), &entry), Err(TableError::ActionForm));
    let timed = NewEntry { idle_timeout_ns: 5, ..NewEntry::new(&[FieldMatch::Exact(&[2])], ActionCall { action: 0, params: &[] }) };
    assert_eq!(t.insert(Time(0), &timed), Err(TableError::IdleTimeout));
}

#[test]
fn capacity_defaults_and_metadata() {
    let t = MatchTable::new(TableConfig { capacity: Some(2), direct_counter: true, ..config(&[(MatchKind::Exact, 8)]) }).unwrap();
    assert_eq!(put(&t, &[OwnedField::Exact(vec![1])], 0, 1), Ok(()));
    assert_eq!(put(&t, &[OwnedField::Exact(vec![2])], 0, 2), Ok(()));
    assert_eq!(put(&t, &[OwnedField::Exact(vec![3])], 0, 3), Err(TableError::Full { capacity: 2 }));
    let fields = [FieldMatch::Exact(&[2])];
    let long = [7; 300];
    for metadata in [&b"123456789012"[..], &long, b""] {
        let call = ActionCall { action: 1, params: &[&[9], &[1, 1]] };
        let entry = NewEntry { metadata, controller_metadata: 77, ..NewEntry::new(&fields, call) };
        t.modify(Time(0), &entry).unwrap();
        let mut seen = false;
        t.get(Time(0), &fields, 0, &mut |view| {
            seen = true;
            assert_eq!((view.metadata, view.controller_metadata), (metadata, 77));
            let EntryAction::Direct(call) = view.action else { panic!("{:?}", view.action) };
            assert_eq!((call.action, call.params), (1, &[&[0u8, 9][..], &[1, 1]][..]));
        })
        .unwrap();
        assert!(seen);
    }
    assert_eq!(hit(&t, &[2]), Some(9));
    t.set_counter(&fields, 0, CounterData { packets: 10, bytes: 20 }).unwrap();
    assert_eq!(hit(&t, &[2]), Some(9));
    t.get(Time(0), &fields, 0, &mut |view| assert_eq!(view.counter, Some(CounterData { packets: 11, bytes: 120 }))).unwrap();
    t.set_default(EntryAction::Direct(ActionCall { action: 1, params: &[&[5], &[6]] })).unwrap();
    let mut data = Vec::new();
    let found = t.lookup(&Query { now: Time(0), key: &[9], selector: &[], bytes: 1 }, &mut data);
    assert_eq!((found.hit, found.action, data), (false, Some(1), vec![0, 5, 0, 6]));
    assert_eq!(t.default_action(), OwnedAction::Direct { action: 1, params: vec![vec![0, 5], vec![0, 6]] });
    t.reset_default().unwrap();
    assert_eq!(t.default_action(), OwnedAction::Direct { action: 0, params: vec![] });
    t.clear();
    assert_eq!((t.len(), hit(&t, &[2])), (0, None));
    assert_eq!(put(&t, &[OwnedField::Exact(vec![3])], 0, 3), Ok(()));
}

fn selector_table() -> MatchTable {
    let plain = config(&[(MatchKind::Exact, 8)]);
    let profile = Profile::new(plain.actions.clone(), Some(HashAlgorithm::Identity), 16, 8);
    MatchTable::new(TableConfig { profile: Some(Arc::new(profile)), ..plain }).unwrap()
}

fn pick(table: &MatchTable, hash: u8) -> Option<u16> {
    let mut data = Vec::new();
    let found = table.lookup(&Query { now: Time(0), key: &[1], selector: &[hash], bytes: 1 }, &mut data);
    assert!(found.hit);
    found.action.map(|_| u16::from_be_bytes([data[0], data[1]]))
}

#[test]
fn one_shot_sets_spread_by_weight() {
    let t = selector_table();
    let member = |tag: u8, weight| WeightedAction { action: 1, params: vec![vec![tag], vec![]], weight, watch_port: None };
    let fields = [FieldMatch::Exact(&[1])];
    let insert = |set: &[WeightedAction]| {
        let call = ActionCall { action: 0, params: &[] };
        t.insert(Time(0), &NewEntry { action: EntryAction::OneShot(set), ..NewEntry::new(&fields, call) })
    };
    assert_eq!(insert(&[member(1, 0)]), Err(TableError::ZeroWeight));
    assert_eq!(insert(&[member(1, 9)]), Err(TableError::GroupTooBig { size: 9, max: 8 }));
    let set = [member(1, 3), member(2, 1), member(1, 1)];
    assert_eq!(insert(&set), Ok(()));
    let picks: Vec<_> = (0..10).map(|hash| pick(&t, hash).unwrap()).collect();
    assert_eq!(picks, [1, 1, 1, 2, 1, 1, 1, 1, 2, 1]);
    t.get(Time(0), &fields, 0, &mut |view| assert_eq!(view.action, EntryAction::OneShot(&set))).unwrap();
    let direct = NewEntry::new(&fields, ActionCall { action: 0, params: &[] });
    assert_eq!(t.modify(Time(0), &direct), Err(TableError::ActionForm));
}

#[test]
fn members_and_groups_are_referenced() {
    let plain = config(&[(MatchKind::Exact, 8)]);
    let profile = Arc::new(Profile::new(plain.actions.clone(), Some(HashAlgorithm::Identity), 2, 8));
    let t = MatchTable::new(TableConfig { profile: Some(Arc::clone(&profile)), ..plain }).unwrap();
    let act = |tag: u8| OwnedAction::Direct { action: 1, params: vec![vec![tag], vec![]] };
    profile.insert_member(10, &act(1)).unwrap();
    profile.insert_member(20, &act(2)).unwrap();
    assert_eq!(profile.insert_member(10, &act(3)), Err(TableError::Exists));
    assert_eq!(profile.insert_member(30, &act(3)), Err(TableError::Full { capacity: 2 }));
    let member = |member, weight| GroupMember { member, weight, watch_port: None };
    assert_eq!(profile.insert_group(1, 0, &[member(30, 1)]), Err(TableError::NoSuchMember(30)));
    assert_eq!(profile.insert_group(1, 0, &[member(10, 1), member(10, 1)]), Err(TableError::DuplicateMember(10)));
    profile.insert_group(1, 0, &[member(10, 1), member(20, 1)]).unwrap();
    let fields = [FieldMatch::Exact(&[1])];
    let entry = |action| NewEntry { action, ..NewEntry::new(&fields, ActionCall { action: 0, params: &[] }) };
    assert_eq!(t.insert(Time(0), &entry(EntryAction::Group(9))), Err(TableError::NoSuchGroup(9)));
    t.insert(Time(0), &entry(EntryAction::Group(1))).unwrap();
    assert_eq!((pick(&t, 0), pick(&t, 1)), (Some(1), Some(2)));
    assert_eq!(profile.delete_group(1), Err(TableError::InUse));
    assert_eq!(profile.delete_member(10), Err(TableError::InUse));
    profile.modify_group(1, &[member(20, 1)]).unwrap();
    profile.delete_member(10).unwrap();
    profile.modify_group(1, &[]).unwrap();
    assert_eq!(pick(&t, 0), None);
    t.modify(Time(0), &entry(EntryAction::Member(20))).unwrap();
    assert_eq!(pick(&t, 0), Some(2));
    profile.delete_group(1).unwrap();
    assert_eq!(t.insert(Time(0), &entry(EntryAction::OneShot(&[]))), Err(TableError::Exists));
    t.clear();
    profile.delete_member(20).unwrap();
    assert_eq!(profile.members(), []);
}

#[test]
fn learned_entries_survive_restarts_and_die_in_time() {
    let keys = [(MatchKind::Exact, 32)];
    let t = MatchTable::new(TableConfig { learner: true, capacity: None, ..config(&keys) }).unwrap();
    let learner = t.learner().unwrap();
    let second = 1_000_000_000;
    for key in 0u32..10_000 {
        assert!(learner.learn(Time(0), &key.to_be_bytes(), 0, &[], u64::from(key % 10 + 1) * second));
    }
    for now in 0..=11u64 {
        t.tick(Time(now * second + second / 2), &mut Vec::new());
        assert_eq!(t.len(), 10_000 - now.min(10) * 1000);
    }
    assert!(learner.learn(Time(0), &[1, 1, 1, 1], 0, &[], 100 * second));
    learner.restart(Time(second), &[1, 1, 1, 1], Some(2 * second));
    t.tick(Time(4 * second), &mut Vec::new());
    assert_eq!(t.len(), 0);
}
