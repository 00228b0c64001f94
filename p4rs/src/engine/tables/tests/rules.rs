//! The control plane's rules: what is refused, what is kept, action sets, learning.

use std::sync::Arc;

use super::super::super::externs::{CounterData, HashAlgorithm};
use super::*;

#[test]
fn malformed_entries_are_refused() {
    let t = table(&[
        (MatchKind::Exact, 9),
        (MatchKind::Ternary, 8),
        (MatchKind::Lpm, 8),
        (MatchKind::Range, 8),
    ]);
    let good = [
        FieldMatch::Exact(&[1, 255]),
        FieldMatch::Ternary {
            value: &[8],
            mask: &[0, 0, 12],
        },
        FieldMatch::Lpm {
            value: &[0xf0],
            prefix_len: 4,
        },
        FieldMatch::Range {
            low: &[1],
            high: &[9],
        },
    ];
    let call = ActionCall {
        action: 0,
        params: &[],
    };
    let attempt = |at: usize, field: FieldMatch<'_>| {
        let mut fields = good;
        if let Some(place) = fields.get_mut(at) {
            *place = field;
        }
        t.insert(
            Time(0),
            &NewEntry {
                priority: 1,
                ..NewEntry::new(&fields, call)
            },
        )
    };
    assert_eq!(
        attempt(0, FieldMatch::Exact(&[2, 0])),
        Err(TableError::FieldTooWide { field: 0, width: 9 })
    );
    let exact = TableError::FieldKind {
        field: 0,
        expected: MatchKind::Exact,
    };
    assert_eq!(attempt(0, FieldMatch::DontCare), Err(exact));
    let masked = FieldMatch::Ternary {
        value: &[3],
        mask: &[1],
    };
    assert_eq!(
        attempt(1, masked),
        Err(TableError::FieldMalformed { field: 1 })
    );
    let long = FieldMatch::Lpm {
        value: &[0],
        prefix_len: 9,
    };
    assert_eq!(
        attempt(2, long),
        Err(TableError::FieldMalformed { field: 2 })
    );
    let host_bits = FieldMatch::Lpm {
        value: &[1],
        prefix_len: 4,
    };
    assert_eq!(
        attempt(2, host_bits),
        Err(TableError::FieldMalformed { field: 2 })
    );
    let turned = FieldMatch::Range {
        low: &[9],
        high: &[1],
    };
    assert_eq!(
        attempt(3, turned),
        Err(TableError::FieldMalformed { field: 3 })
    );
    assert_eq!(
        t.insert(Time(0), &NewEntry::new(&good, call)),
        Err(TableError::Priority { priority: 0 })
    );
    let few = NewEntry {
        priority: 1,
        ..NewEntry::new(&good[..2], call)
    };
    assert_eq!(
        t.insert(Time(0), &few),
        Err(TableError::FieldCount {
            expected: 4,
            got: 2
        })
    );
    assert_eq!(attempt(9, FieldMatch::DontCare), Ok(()));
    assert_eq!(attempt(9, FieldMatch::DontCare), Err(TableError::Exists));
}

#[test]
fn malformed_actions_are_refused() {
    let t = table(&[(MatchKind::Exact, 8)]);
    let attempt = |action: usize, params: &[&[u8]]| {
        t.insert(
            Time(0),
            &NewEntry::new(&[FieldMatch::Exact(&[1])], ActionCall { action, params }),
        )
    };
    assert_eq!(attempt(2, &[]), Err(TableError::NoSuchAction { action: 2 }));
    assert_eq!(
        attempt(1, &[&[1]]),
        Err(TableError::ParamCount {
            expected: 2,
            got: 1
        })
    );
    assert_eq!(
        attempt(1, &[&[1], &[2, 0]]),
        Err(TableError::ParamTooWide { param: 1, width: 9 })
    );
    assert_eq!(attempt(1, &[&[0, 0, 0, 1], &[]]), Ok(()));
    let one_shot = EntryAction::OneShot(&[]);
    let entry = NewEntry {
        action: one_shot,
        ..NewEntry::new(
            &[FieldMatch::Exact(&[2])],
            ActionCall {
                action: 0,
                params: &[],
            },
        )
    };
    assert_eq!(t.insert(Time(0), &entry), Err(TableError::ActionForm));
    let timed = NewEntry {
        idle_timeout_ns: 5,
        ..NewEntry::new(
            &[FieldMatch::Exact(&[2])],
            ActionCall {
                action: 0,
                params: &[],
            },
        )
    };
    assert_eq!(t.insert(Time(0), &timed), Err(TableError::IdleTimeout));
}

#[test]
fn capacity_defaults_and_metadata() {
    let t = MatchTable::new(TableConfig {
        capacity: Some(2),
        direct_counter: true,
        ..config(&[(MatchKind::Exact, 8)])
    })
    .unwrap();
    assert_eq!(put(&t, &[OwnedField::Exact(vec![1])], 0, 1), Ok(()));
    assert_eq!(put(&t, &[OwnedField::Exact(vec![2])], 0, 2), Ok(()));
    assert_eq!(
        put(&t, &[OwnedField::Exact(vec![3])], 0, 3),
        Err(TableError::Full { capacity: 2 })
    );
    let fields = [FieldMatch::Exact(&[2])];
    let long = [7; 300];
    for metadata in [&b"123456789012"[..], &long, b""] {
        let call = ActionCall {
            action: 1,
            params: &[&[9], &[1, 1]],
        };
        let entry = NewEntry {
            metadata,
            controller_metadata: 77,
            ..NewEntry::new(&fields, call)
        };
        t.modify(Time(0), &entry).unwrap();
        let mut seen = false;
        t.get(Time(0), &fields, 0, &mut |view| {
            seen = true;
            assert_eq!((view.metadata, view.controller_metadata), (metadata, 77));
            let EntryAction::Direct(call) = view.action else {
                panic!("{:?}", view.action)
            };
            assert_eq!(
                (call.action, call.params),
                (1, &[&[0u8, 9][..], &[1, 1]][..])
            );
        })
        .unwrap();
        assert!(seen);
    }
    assert_eq!(hit(&t, &[2]), Some(9));
    t.set_counter(
        &fields,
        0,
        CounterData {
            packets: 10,
            bytes: 20,
        },
    )
    .unwrap();
    assert_eq!(hit(&t, &[2]), Some(9));
    t.get(Time(0), &fields, 0, &mut |view| {
        assert_eq!(
            view.counter,
            Some(CounterData {
                packets: 11,
                bytes: 120
            })
        )
    })
    .unwrap();
    t.set_default(EntryAction::Direct(ActionCall {
        action: 1,
        params: &[&[5], &[6]],
    }))
    .unwrap();
    assert_eq!(look(&t, &[9], &[]), (false, Some(1), [5, 6]));
    assert_eq!(
        t.default_action(),
        OwnedAction::Direct {
            action: 1,
            params: vec![vec![0, 5], vec![0, 6]]
        }
    );
    t.reset_default().unwrap();
    assert_eq!(
        t.default_action(),
        OwnedAction::Direct {
            action: 0,
            params: vec![]
        }
    );
    t.clear();
    assert_eq!((t.len(), hit(&t, &[2])), (0, None));
    assert_eq!(put(&t, &[OwnedField::Exact(vec![3])], 0, 3), Ok(()));
}

fn selector_table() -> MatchTable {
    let plain = config(&[(MatchKind::Exact, 8)]);
    let profile = Profile::new(plain.actions.clone(), Some(HashAlgorithm::Identity), 16, 8);
    MatchTable::new(TableConfig {
        profile: Some(Arc::new(profile)),
        ..plain
    })
    .unwrap()
}

fn pick(table: &MatchTable, hash: u8) -> Option<u16> {
    let (hit, action, [tag, _]) = look(table, &[1], &[hash]);
    assert!(hit);
    action.map(|_| tag as u16)
}

#[test]
fn one_shot_sets_spread_by_weight() {
    let t = selector_table();
    let member = |tag: u8, weight| WeightedAction {
        action: 1,
        params: vec![vec![tag], vec![]],
        weight,
        watch_port: None,
    };
    let fields = [FieldMatch::Exact(&[1])];
    let insert = |set: &[WeightedAction]| {
        let call = ActionCall {
            action: 0,
            params: &[],
        };
        t.insert(
            Time(0),
            &NewEntry {
                action: EntryAction::OneShot(set),
                ..NewEntry::new(&fields, call)
            },
        )
    };
    assert_eq!(insert(&[member(1, 0)]), Err(TableError::ZeroWeight));
    assert_eq!(
        insert(&[member(1, 9)]),
        Err(TableError::GroupTooBig { size: 9, max: 8 })
    );
    let set = [member(1, 3), member(2, 1), member(1, 1)];
    assert_eq!(insert(&set), Ok(()));
    let picks: Vec<_> = (0..10).map(|hash| pick(&t, hash).unwrap()).collect();
    assert_eq!(picks, [1, 1, 1, 2, 1, 1, 1, 1, 2, 1]);
    t.get(Time(0), &fields, 0, &mut |view| {
        assert_eq!(view.action, EntryAction::OneShot(&set))
    })
    .unwrap();
    let direct = NewEntry::new(
        &fields,
        ActionCall {
            action: 0,
            params: &[],
        },
    );
    assert_eq!(t.modify(Time(0), &direct), Err(TableError::ActionForm));
}

#[test]
fn members_and_groups_are_referenced() {
    let plain = config(&[(MatchKind::Exact, 8)]);
    let profile = Arc::new(Profile::new(
        plain.actions.clone(),
        Some(HashAlgorithm::Identity),
        2,
        8,
    ));
    let t = MatchTable::new(TableConfig {
        profile: Some(Arc::clone(&profile)),
        ..plain
    })
    .unwrap();
    let act = |tag: u8| OwnedAction::Direct {
        action: 1,
        params: vec![vec![tag], vec![]],
    };
    profile.insert_member(10, &act(1)).unwrap();
    profile.insert_member(20, &act(2)).unwrap();
    assert_eq!(profile.insert_member(10, &act(3)), Err(TableError::Exists));
    assert_eq!(
        profile.insert_member(30, &act(3)),
        Err(TableError::Full { capacity: 2 })
    );
    let member = |member, weight| GroupMember {
        member,
        weight,
        watch_port: None,
    };
    assert_eq!(
        profile.insert_group(1, 0, &[member(30, 1)]),
        Err(TableError::NoSuchMember(30))
    );
    assert_eq!(
        profile.insert_group(1, 0, &[member(10, 1), member(10, 1)]),
        Err(TableError::DuplicateMember(10))
    );
    profile
        .insert_group(1, 0, &[member(10, 1), member(20, 1)])
        .unwrap();
    let fields = [FieldMatch::Exact(&[1])];
    let entry = |action| NewEntry {
        action,
        ..NewEntry::new(
            &fields,
            ActionCall {
                action: 0,
                params: &[],
            },
        )
    };
    assert_eq!(
        t.insert(Time(0), &entry(EntryAction::Group(9))),
        Err(TableError::NoSuchGroup(9))
    );
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
    assert_eq!(
        t.insert(Time(0), &entry(EntryAction::OneShot(&[]))),
        Err(TableError::Exists)
    );
    t.clear();
    profile.delete_member(20).unwrap();
    assert_eq!(profile.members(), []);
}

fn learner(capacity: Option<u64>) -> MatchTable {
    MatchTable::new(TableConfig {
        learner: true,
        direct_counter: true,
        capacity,
        ..config(&[(MatchKind::Exact, 32)])
    })
    .unwrap()
}

/// Learns a key for some seconds; whether there was room.
fn learn(t: &MatchTable, now: Time, key: u64, seconds: u64) -> bool {
    let guard = epoch::pin();
    let (key, timeout) = ([key], Time::from_secs(seconds).0);
    let data = [key[0] & 0xffff, 9];
    let draft = Draft::direct(1, &data, (timeout, now));
    t.learn(&guard, (&key, t.hash_key(&key)), &draft).is_some()
}

/// The entry of a key, shown to `seen` as packets hold it.
fn with_entry(t: &MatchTable, now: Time, key: u64, seen: impl FnOnce(Entry<'_>)) -> bool {
    let guard = epoch::pin();
    let query = Query {
        now,
        selector: &[],
        bytes: 64,
    };
    let found = t.lookup(&guard, &[key], &query);
    found.entry.map(seen).is_some()
}

#[test]
fn learned_entries_survive_restarts_and_die_in_time() {
    let t = learner(None);
    let second = 1_000_000_000;
    for key in 0..10_000 {
        assert!(learn(&t, Time(0), key, key % 10 + 1));
    }
    for now in 0..=11u64 {
        t.tick(Time(now * second + second / 2), &mut Vec::new());
        assert_eq!(t.len(), 10_000 - now.min(10) * 1000);
    }
    assert!(learn(&t, Time(0), 7, 100));
    assert!(with_entry(&t, Time(second), 7, |entry| t.set_expiry(
        Time(second),
        entry,
        2 * second
    )));
    let later = Time(2 * second);
    assert!(with_entry(&t, later, 7, |entry| t.restart(later, entry)));
    t.tick(Time(4 * second - 1), &mut Vec::new());
    assert_eq!(t.len(), 1);
    t.tick(Time(5 * second), &mut Vec::new());
    assert_eq!(t.len(), 0);
}

#[test]
fn hits_in_quick_succession_shorten_a_life_by_a_small_part_at_most() {
    let t = learner(None);
    let second = 1_000_000_000;
    assert!(learn(&t, Time(0), 1, 100));
    // Thousands of hits, each close behind the one before.
    for milli in 0..20_000 {
        let now = Time(milli * 1_000_000);
        assert!(with_entry(&t, now, 1, |entry| t.restart(now, entry)));
    }
    let last = 19_999 * 1_000_000;
    let soon = Time(last + 100 * second - 100 * second / 256 - 1);
    assert!(with_entry(&t, soon, 1, |_| ()));
    assert!(!with_entry(&t, Time(last + 100 * second), 1, |_| ()));
}

#[test]
fn an_entry_whose_time_is_over_is_gone_before_anyone_cleans_up() {
    let t = learner(Some(1));
    assert!(learn(&t, Time(0), 1, 5));
    assert!(!learn(&t, Time(0), 2, 5));
    assert_eq!(t.learn_failures(), 1);
    let count = |entry: Entry<'_>| {
        let (cells, cell) = t.entry_counter(entry).unwrap();
        cells.count(cell, 10);
    };
    assert!(with_entry(&t, Time::from_secs(4), 1, count));
    assert!(!with_entry(&t, Time::from_secs(5), 1, |_| ()));
    // Learned anew it starts from nothing, in the place that it had.
    assert!(learn(&t, Time::from_secs(6), 1, 5));
    let shown = t.get(
        Time::from_secs(6),
        &[FieldMatch::Exact(&[1])],
        0,
        &mut |view| {
            assert_eq!(view.counter, Some(CounterData::default()));
            assert_eq!(
                (view.idle_timeout_ns, view.since_last_hit_ns),
                (5_000_000_000, Some(0))
            );
        },
    );
    assert_eq!((shown, t.len()), (Ok(()), 1));
}

#[test]
fn batches_find_what_single_lookups_find() {
    let t = learner(None);
    let batch = Batch::new(&t);
    let mut keys = Vec::new();
    for n in 0..100u32 {
        batch.push_key(&[&n.to_be_bytes()], &mut keys).unwrap();
    }
    for key in keys.iter().step_by(2) {
        assert!(batch.learn(Time(0), &[*key], 1, &[key + 1000, 9], 0));
    }
    assert!(
        !batch.learn(Time(0), &[1], 1, &[7], 0),
        "a parameter missing"
    );
    assert!(
        !batch.learn(Time(0), &[1, 2], 1, &[7, 8], 0),
        "a word too many"
    );
    assert!(!batch.learn(Time(0), &[1], 2, &[], 0), "no such action");
    let mut next = 0;
    batch.lookup(Time(0), &keys, &[], &mut |found| {
        let hit = next % 2 == 0;
        let expected = Lookup {
            key: next,
            hit,
            action: Some(usize::from(hit)),
            first: if hit { next as u64 + 1000 } else { 0 },
        };
        assert_eq!(found, expected);
        next += 1;
    });
    assert_eq!(next, 100);
    let wide = batch.push_key(&[&[1, 0, 0, 0, 0]], &mut keys);
    assert_eq!(
        wide,
        Err(TableError::FieldTooWide {
            field: 0,
            width: 32
        })
    );
}

#[test]
fn large_sets_spread_as_written() {
    let plain = config(&[(MatchKind::Exact, 8)]);
    let profile = Profile::new(
        plain.actions.clone(),
        Some(HashAlgorithm::Identity),
        9000,
        1 << 40,
    );
    let profile = Arc::new(profile);
    let t = MatchTable::new(TableConfig {
        profile: Some(Arc::clone(&profile)),
        ..plain
    })
    .unwrap();
    let weights: Vec<u32> = (0..5000u32)
        .map(|i| if i == 17 { 100_000 } else { i % 3 + 1 })
        .collect();
    let set: Vec<WeightedAction> = weights
        .iter()
        .enumerate()
        .map(|(i, &weight)| WeightedAction {
            action: 1,
            params: vec![(i as u16).to_be_bytes().to_vec(), vec![]],
            weight,
            watch_port: None,
        })
        .collect();
    let fields = [FieldMatch::Exact(&[1])];
    let nothing = ActionCall {
        action: 0,
        params: &[],
    };
    let entry = NewEntry {
        action: EntryAction::OneShot(&set),
        ..NewEntry::new(&fields, nothing)
    };
    t.insert(Time(0), &entry).unwrap();
    let mut hash = 0u32;
    for (owner, &weight) in weights.iter().enumerate() {
        for slot in [hash, hash + weight - 1] {
            let (_, _, [tag, _]) = look(&t, &[1], &slot.to_be_bytes());
            assert_eq!(tag, owner as u64, "slot {slot}");
        }
        hash += weight;
    }
}

/// All entries: the order of a learner's parts is another one in every table.
fn contents(table: &MatchTable) -> Vec<String> {
    let mut all = Vec::new();
    let mut show = |view: &EntryView<'_>| all.push(format!("{view:?}"));
    let end = table.read(Time(9), Cursor::default(), usize::MAX, &mut show);
    assert_eq!(end, None);
    all.sort();
    all
}

proptest! {
    #[test]
    fn rows_at_once_are_rows_one_by_one(
        rows in prop::collection::vec((0u64..40, prop_oneof![0u64..4, Just(u64::MAX)], 0u64..70_000, 0u64..600), 0..150),
        (learner, action, capacity, before) in (any::<bool>(), 0usize..2, 5u64..200, 0usize..20),
    ) {
        // One field of less than a word, one of more; values that do not fit are among the rows.
        let keys = [(MatchKind::Exact, 5), (MatchKind::Exact, 70)];
        let make = || {
            let config = TableConfig { learner, capacity: Some(capacity), ..config(&keys) };
            MatchTable::new(config).unwrap()
        };
        let (whole, single) = (make(), make());
        let wide = |value: u64| value.to_be_bytes();
        let insert = |table: &MatchTable, action: usize, &(a, b, p, q): &(u64, u64, u64, u64), note: &[u8]| {
            let (a, b, p, q) = (wide(a), wide(b), wide(p), wide(q));
            let fields = [FieldMatch::Exact(&a), FieldMatch::Exact(&b)];
            let params: [&[u8]; 2] = [&p, &q];
            let params = if action == 1 { &params[..] } else { &[] };
            let entry = NewEntry { metadata: note, ..NewEntry::new(&fields, ActionCall { action, params }) };
            table.insert(Time(3), &entry)
        };
        // Some are there already.
        for row in rows.iter().take(before) {
            for table in [&whole, &single] {
                let _ = insert(table, 0, row, &[]);
            }
        }
        let notes: Vec<Vec<u8>> = (0..rows.len()).map(|at| vec![at as u8; at % 20]).collect();
        let new = NewRows {
            action,
            keys: &rows.iter().flat_map(|row| [row.0, row.1]).collect::<Vec<_>>(),
            params: &rows.iter().filter(|_| action == 1).flat_map(|row| [row.2, row.3]).collect::<Vec<_>>(),
            metadata: &notes.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        };
        let mut refused = Vec::new();
        whole.insert_rows(Time(3), &new, &mut |at, error| refused.push((at, error)));
        let expected: Vec<(usize, TableError)> = rows.iter().zip(&notes).enumerate()
            .filter_map(|(at, (row, note))| Some((at, insert(&single, action, row, note).err()?)))
            .collect();
        prop_assert_eq!(refused, expected);
        prop_assert_eq!(contents(&whole), contents(&single));
        prop_assert_eq!(whole.len(), single.len());
    }
}

#[test]
fn rows_that_make_no_sense_together_are_all_refused() {
    let refused = |table: &MatchTable, rows: &NewRows<'_>| {
        let mut errors = Vec::new();
        table.insert_rows(Time(0), rows, &mut |at, error| errors.push((at, error)));
        assert_eq!(table.len(), 0);
        errors
    };
    let rows = NewRows {
        action: 0,
        keys: &[1, 2],
        params: &[],
        metadata: &[&[], &[]],
    };
    let twice = |error| vec![(0, error), (1, error)];
    let exact = [(MatchKind::Exact, 8)];
    let kind = TableError::FieldKind {
        field: 1,
        expected: MatchKind::Lpm,
    };
    let prefix = table(&[(MatchKind::Exact, 8), (MatchKind::Lpm, 8)]);
    assert_eq!(refused(&prefix, &rows), twice(kind));
    assert_eq!(refused(&table(&[]), &rows), twice(TableError::Keyless));
    let keys = &[1, 2, 3][..];
    let count = TableError::FieldCount {
        expected: 1,
        got: 3,
    };
    let odd = NewRows { keys, ..rows };
    assert_eq!(refused(&table(&exact), &odd), twice(count));
    let params = TableError::ParamCount {
        expected: 2,
        got: 0,
    };
    let short = NewRows { action: 1, ..rows };
    assert_eq!(refused(&table(&exact), &short), twice(params));
    let none = NewRows { action: 2, ..rows };
    let missing = TableError::NoSuchAction { action: 2 };
    assert_eq!(refused(&table(&exact), &none), twice(missing));
    let fixed = MatchTable::new(TableConfig {
        const_entries: true,
        ..config(&exact)
    });
    assert_eq!(refused(&fixed.unwrap(), &rows), twice(TableError::ReadOnly));
}
