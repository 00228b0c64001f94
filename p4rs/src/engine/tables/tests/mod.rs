//! Tables against a naive list of entries, and the rules of the control plane's side.

mod prefixes;
mod rules;
mod threads;

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::Time;
use super::*;
use crate::ir::{ActionScope, Handle};

/// A table with two actions: 0 without data, 1 with parameters of 16 and 9 bits.
fn config(keys: &[(MatchKind, u32)]) -> TableConfig {
    let action = |params: &[u32]| ActionPlan {
        params: params.to_vec(),
        scope: ActionScope::TableAndDefault,
    };
    TableConfig {
        far_lines: u64::MAX,
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

fn put(
    table: &MatchTable,
    fields: &[OwnedField],
    priority: i32,
    tag: u16,
) -> Result<(), TableError> {
    write(table, fields, priority, tag, false)
}

fn write(
    table: &MatchTable,
    fields: &[OwnedField],
    priority: i32,
    tag: u16,
    known: bool,
) -> Result<(), TableError> {
    let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
    let tag = tag.to_be_bytes();
    let params: [&[u8]; 2] = [&tag, &[1]];
    let call = ActionCall {
        action: 1,
        params: &params,
    };
    let entry = NewEntry {
        priority,
        ..NewEntry::new(&fields, call)
    };
    if known {
        table.modify(Time(0), &entry)
    } else {
        table.insert(Time(0), &entry)
    }
}

/// What a packet with this packed key gets: whether it hit, the action, its data's first two words.
fn look(table: &MatchTable, key: &[u8], selector: &[u8]) -> (bool, Option<u16>, [u64; 2]) {
    let guard = epoch::pin();
    let query = Query {
        now: Time(0),
        selector,
        bytes: 100,
    };
    let found = table.lookup(&guard, &table.plan.pack(key), &query);
    let word = |i: usize| found.data.get(i).map_or(0, |w| w.load(Ordering::Relaxed));
    (found.hit, found.action, [word(0), word(1)])
}

/// The tag of the entry that the key hits.
fn hit(table: &MatchTable, key: &[u8]) -> Option<u16> {
    let (hit, _, [tag, _]) = look(table, key, &[]);
    hit.then_some(tag as u16)
}

fn ones(width: u32) -> u128 {
    u128::MAX.checked_shr(128 - width).unwrap_or(0)
}

/// The upper `prefix` of `width` bits.
fn prefix_mask(width: u32, prefix: u32) -> u128 {
    ones(width) & !ones(width - prefix)
}

fn covers(field: &OwnedField, value: u128, width: u32) -> bool {
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |sum, &b| sum << 8 | u128::from(b));
    match field {
        OwnedField::DontCare => true,
        OwnedField::Exact(want) | OwnedField::Optional(want) => number(want) == value,
        OwnedField::Lpm(want, prefix) => value & prefix_mask(width, *prefix) == number(want),
        OwnedField::Ternary(want, mask) => value & number(mask) == number(want),
        OwnedField::Range(low, high) => (number(low)..=number(high)).contains(&value),
    }
}

/// Few different values, with bits at both ends, so that entries and keys meet.
fn value(width: u32) -> BoxedStrategy<u128> {
    if width <= 11 {
        return (0..=ones(width)).boxed();
    }
    let third = width / 3;
    (0u128..4, 0u128..4, 0u128..4)
        .prop_map(move |(top, middle, low)| (top << (width - 2)) | (middle << third) | low)
        .boxed()
}

fn field(kind: MatchKind, width: u32) -> BoxedStrategy<OwnedField> {
    let bytes = |value: u128| value.to_be_bytes().to_vec();
    let values = value(width);
    match kind {
        MatchKind::Exact => values
            .prop_map(move |v| OwnedField::Exact(bytes(v)))
            .boxed(),
        MatchKind::Optional => prop_oneof![
            Just(OwnedField::DontCare),
            values.prop_map(move |v| OwnedField::Optional(bytes(v)))
        ]
        .boxed(),
        MatchKind::Lpm => (values, 0u32..=width)
            .prop_map(move |(v, prefix)| match prefix {
                0 => OwnedField::DontCare,
                _ => OwnedField::Lpm(bytes(v & prefix_mask(width, prefix)), prefix),
            })
            .boxed(),
        MatchKind::Ternary => (values.clone(), values)
            .prop_map(move |(v, m)| match m {
                0 => OwnedField::DontCare,
                _ => OwnedField::Ternary(bytes(v & m), bytes(m)),
            })
            .boxed(),
        MatchKind::Range => (values.clone(), values)
            .prop_map(move |(a, b)| match (a.min(b), a.max(b)) {
                (0, high) if high == ones(width) => OwnedField::DontCare,
                (low, high) => OwnedField::Range(bytes(low), bytes(high)),
            })
            .boxed(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<OwnedField>, i32),
    Change(usize),
    Remove(usize),
    Look(Vec<u128>),
}

fn steps(keys: &'static [(MatchKind, u32)]) -> impl Strategy<Value = Vec<Step>> {
    let fields: Vec<_> = keys
        .iter()
        .map(|&(kind, width)| field(kind, width))
        .collect();
    let prioritised = keys
        .iter()
        .any(|(k, _)| !matches!(k, MatchKind::Exact | MatchKind::Lpm));
    let priority = if prioritised { 1..4 } else { 0..1 };
    let key: Vec<_> = keys.iter().map(|&(_, width)| value(width)).collect();
    let step = prop_oneof![
        3 => (fields, priority).prop_map(|(fields, priority)| Step::Put(fields, priority)),
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Change(i.index(64))),
        1 => any::<prop::sample::Index>().prop_map(|i| Step::Remove(i.index(64))),
        4 => key.prop_map(Step::Look),
    ];
    prop::collection::vec(step, 1..120)
}

/// The entry that must win: longest prefix, else highest priority, else the first one stored.
fn winner(
    keys: &[(MatchKind, u32)],
    entries: &[(Vec<OwnedField>, i32, u16)],
    key: &[u128],
) -> Option<u16> {
    let mut best: Option<(i64, u16)> = None;
    for (fields, priority, tag) in entries {
        let all = fields
            .iter()
            .zip(keys)
            .zip(key)
            .all(|((field, &(_, width)), &value)| covers(field, value, width));
        let prefix = fields
            .iter()
            .map(|f| {
                if let OwnedField::Lpm(_, prefix) = f {
                    *prefix
                } else {
                    0
                }
            })
            .sum::<u32>();
        let rank = if *priority > 0 {
            i64::from(*priority)
        } else {
            i64::from(prefix)
        };
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
                let known = entries
                    .iter()
                    .any(|(f, p, _)| *f == fields && *p == priority);
                let expected = if known {
                    Err(TableError::Exists)
                } else {
                    Ok(())
                };
                prop_assert_eq!(put(&table, &fields, priority, tag as u16), expected);
                if !known {
                    entries.push((fields, priority, tag as u16));
                }
            }
            Step::Change(at) if at < entries.len() => {
                let (fields, priority, old) = &mut entries[at];
                *old = tag as u16;
                prop_assert_eq!(write(&table, fields, *priority, *old, true), Ok(()));
            }
            Step::Remove(at) if at < entries.len() => {
                let (fields, priority, _) = entries.remove(at);
                let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
                prop_assert_eq!(table.delete(&fields, priority), Ok(()));
                prop_assert_eq!(table.delete(&fields, priority), Err(TableError::NotFound));
            }
            Step::Change(_) | Step::Remove(_) => {}
            Step::Look(key) => {
                let bytes: Vec<u8> = keys
                    .iter()
                    .zip(&key)
                    .flat_map(|(&(_, width), value)| {
                        value.to_be_bytes()[16 - action::param_len(width)..].to_vec()
                    })
                    .collect();
                prop_assert_eq!(hit(&table, &bytes), winner(keys, &entries, &key));
            }
        }
    }
    prop_assert_eq!(table.len(), entries.len() as u64);
    let mut read: Vec<(Vec<OwnedField>, i32)> = Vec::new();
    let mut cursor = Cursor::default();
    let mut show = |view: &EntryView<'_>| {
        read.push((
            view.fields.iter().map(|&f| shorten(f.into())).collect(),
            view.priority,
        ));
    };
    while let Some(next) = table.read(Time(0), cursor, 3, &mut show) {
        cursor = next;
    }
    let mut wanted: Vec<(Vec<OwnedField>, i32)> = entries
        .into_iter()
        .map(|(f, p, _)| (f.into_iter().map(shorten).collect(), p))
        .collect();
    let order = |a: &(Vec<OwnedField>, i32), b: &(Vec<OwnedField>, i32)| {
        format!("{a:?}").cmp(&format!("{b:?}"))
    };
    read.sort_by(order);
    wanted.sort_by(order);
    prop_assert_eq!(read, wanted);
    Ok(())
}

/// Without leading zeros.
fn shorten(field: OwnedField) -> OwnedField {
    let cut = |bytes: Vec<u8>| {
        bytes
            .iter()
            .position(|&b| b != 0)
            .map_or(Vec::new(), |at| bytes[at..].to_vec())
    };
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
const WIDE: &[(MatchKind, u32)] = &[
    (MatchKind::Exact, 128),
    (MatchKind::Exact, 8),
    (MatchKind::Exact, 65),
];
const LPM: &[(MatchKind, u32)] = &[(MatchKind::Exact, 2), (MatchKind::Lpm, 11)];
const LPM_32: &[(MatchKind, u32)] = &[(MatchKind::Lpm, 32)];
const LPM_128: &[(MatchKind, u32)] = &[(MatchKind::Lpm, 128)];
const TERNARY: &[(MatchKind, u32)] = &[
    (MatchKind::Ternary, 4),
    (MatchKind::Exact, 1),
    (MatchKind::Optional, 3),
];
const TERNARY_WIDE: &[(MatchKind, u32)] = &[
    (MatchKind::Ternary, 128),
    (MatchKind::Lpm, 48),
    (MatchKind::Optional, 32),
];
const RANGE: &[(MatchKind, u32)] = &[
    (MatchKind::Range, 5),
    (MatchKind::Ternary, 3),
    (MatchKind::Lpm, 4),
];
const RANGE_WIDE: &[(MatchKind, u32)] = &[(MatchKind::Range, 100), (MatchKind::Range, 64)];

proptest! {
    #[test]
    fn exact_is_a_map(steps in steps(EXACT)) {
        check(EXACT, steps)?;
    }

    #[test]
    fn exact_of_any_width(steps in steps(WIDE)) {
        check(WIDE, steps)?;
    }

    #[test]
    fn lpm_takes_the_longest(steps in steps(LPM)) {
        check(LPM, steps)?;
    }

    #[test]
    fn lpm_with_a_wide_first_step(steps in steps(LPM_32)) {
        check(LPM_32, steps)?;
    }

    #[test]
    fn lpm_of_128_bits(steps in steps(LPM_128)) {
        check(LPM_128, steps)?;
    }

    #[test]
    fn ternary_takes_the_highest_priority(steps in steps(TERNARY)) {
        check(TERNARY, steps)?;
    }

    #[test]
    fn ternary_of_any_width(steps in steps(TERNARY_WIDE)) {
        check(TERNARY_WIDE, steps)?;
    }

    #[test]
    fn ranges_too(steps in steps(RANGE)) {
        check(RANGE, steps)?;
    }

    #[test]
    fn ranges_of_any_width(steps in steps(RANGE_WIDE)) {
        check(RANGE_WIDE, steps)?;
    }
}
