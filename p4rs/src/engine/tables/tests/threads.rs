//! One writer against packets of several threads: nothing torn, nothing lost, nothing used again too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::super::super::externs::HashAlgorithm;
use super::*;

/// Entries that are there all the time; as many others come and go.
const STAY: u64 = 150;
const ROUNDS: u64 = 40;

/// Each entry's data: its number, its generation, and a word that no other pair has.
pub(super) fn racing(keys: &[(MatchKind, u32)]) -> TableConfig {
    TableConfig {
        actions: vec![ActionPlan {
            params: vec![64, 64, 128],
            scope: ActionScope::TableAndDefault,
        }],
        default: (0, vec![vec![0]; 3]),
        ..config(keys)
    }
}

fn seal(number: u64, generation: u64) -> u64 {
    (number ^ generation.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub(super) fn data_of(number: u64, generation: u64) -> [Vec<u8>; 3] {
    let seal = [[0; 8], seal(number, generation).to_be_bytes()].concat();
    let bytes = |n: u64| n.to_be_bytes().to_vec();
    [bytes(number), bytes(generation), seal]
}

/// Number and generation of what was found; fails when they do not belong together.
pub(super) fn opened(found: &Found<'_>) -> (u64, u64) {
    let [number, generation, seal_low, seal_high] =
        std::array::from_fn(|i| found.data[i].load(Ordering::Relaxed));
    assert_eq!((seal_low, seal_high), (seal(number, generation), 0));
    (number, generation)
}

/// A kind of table, as the race needs it.
#[derive(Clone, Copy)]
struct Kind {
    keys: &'static [(MatchKind, u32)],
    /// Match and priority of an entry.
    entry: fn(u64) -> (Vec<OwnedField>, i32),
    /// A packet's key; packet `n` belongs to entry `n`.
    packet: fn(u64) -> Vec<u8>,
    /// Whether packet `n` may find this.
    allowed: fn(u64, Option<u64>) -> bool,
}

fn change(t: &MatchTable, kind: Kind, number: u64, generation: u64, known: bool) {
    let (fields, priority) = (kind.entry)(number);
    let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
    let data = data_of(number, generation);
    let params: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let call = ActionCall {
        action: 0,
        params: &params,
    };
    let entry = NewEntry {
        priority,
        ..NewEntry::new(&fields, call)
    };
    let done = if known {
        t.modify(Time(0), &entry)
    } else {
        t.insert(Time(0), &entry)
    };
    assert_eq!(done, Ok(()));
}

/// Looks up in batches until told to stop; every result is checked when found and again at the batch's end.
fn look_up(t: &MatchTable, kind: Kind, stop: &AtomicBool) {
    let query = Query {
        now: Time(0),
        selector: &[],
        bytes: 64,
    };
    let mut newest = vec![0; 2 * STAY as usize];
    let mut last = false;
    while !last {
        last = stop.load(Ordering::Acquire);
        for first in (0..2 * STAY).step_by(25) {
            let guard = epoch::pin();
            let keys: Vec<_> = (first..first + 25)
                .map(|n| (n, t.plan.pack(&(kind.packet)(n))))
                .collect();
            let mut batch = Vec::new();
            for (n, key) in &keys {
                let hash = t.hash_key(key);
                t.prefetch(&guard, key, hash);
                t.prefetch_row(&guard, hash);
                let found = t.lookup_hashed(&guard, key, hash, &query);
                let seen = found.hit.then(|| opened(&found));
                assert!(
                    (kind.allowed)(*n, seen.map(|s| s.0)),
                    "packet {n} found {seen:?}"
                );
                if let Some((number, generation)) = seen {
                    let newest = &mut newest[number as usize];
                    assert!(generation >= *newest, "entry {number} went back");
                    *newest = generation;
                    batch.push((found, (number, generation)));
                }
            }
            batch
                .iter()
                .for_each(|(found, seen)| assert_eq!(opened(found), *seen));
        }
    }
}

fn race(kind: Kind) {
    let t = MatchTable::new(racing(kind.keys)).unwrap();
    (0..STAY).for_each(|n| change(&t, kind, n, 0, false));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| look_up(&t, kind, &stop)))
            .collect();
        for round in 1..=ROUNDS {
            for n in 0..STAY {
                let (fields, priority) = (kind.entry)(STAY + n);
                let fields: Vec<_> = fields.iter().map(OwnedField::as_match).collect();
                if round % 2 == 1 {
                    change(&t, kind, STAY + n, round, false);
                } else {
                    assert_eq!(t.delete(&fields, priority), Ok(()));
                }
                change(&t, kind, n, round, true);
            }
        }
        stop.store(true, Ordering::Release);
        readers.into_iter().for_each(|r| r.join().unwrap());
    });
    assert_eq!(t.len(), STAY);
}

/// The entry itself or none, for those that come and go.
fn own(n: u64, found: Option<u64>) -> bool {
    found == Some(n) || (found.is_none() && n >= STAY)
}

/// Packets `n` and `STAY + n` may find the lasting entry, or the one over it.
fn own_or_over(n: u64, found: Option<u64>) -> bool {
    found == Some(n % STAY) || found == Some(n % STAY + STAY)
}

#[test]
fn exact_entries_are_whole() {
    race(Kind {
        keys: &[(MatchKind::Exact, 64), (MatchKind::Exact, 32)],
        entry: |n| {
            let number = n.to_be_bytes().to_vec();
            (
                vec![OwnedField::Exact(number), OwnedField::Exact(vec![7])],
                0,
            )
        },
        packet: |n| [&n.to_be_bytes()[..], &[0, 0, 0, 7]].concat(),
        allowed: own,
    });
}

#[test]
fn prefixes_are_whole() {
    race(Kind {
        keys: &[(MatchKind::Lpm, 32)],
        entry: |n| {
            let place = (n % STAY) as u8;
            let (value, length) = if n < STAY {
                (vec![10, place, 0, 0], 16)
            } else {
                (vec![10, place, 7, 0], 22 + u32::from(place % 3))
            };
            let masked = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
            let masked = masked & !(u32::MAX.checked_shr(length).unwrap_or(0));
            (
                vec![OwnedField::Lpm(masked.to_be_bytes().to_vec(), length)],
                0,
            )
        },
        packet: |n| vec![10, (n % STAY) as u8, 7, n as u8],
        allowed: own_or_over,
    });
}

#[test]
fn masked_entries_are_whole() {
    race(Kind {
        keys: &[(MatchKind::Ternary, 32), (MatchKind::Range, 16)],
        entry: |n| {
            let place = (n % STAY) as u8;
            let all = OwnedField::Range(vec![0], vec![200]);
            if n < STAY {
                let field = OwnedField::Ternary(vec![place, 0, 0, 0], vec![255, 0, 0, 0]);
                return (vec![field, all], 3);
            }
            let mask = [255, 0, 0, 1 << (place % 7)];
            let field = OwnedField::Ternary(vec![place, 0, 0, 0], mask.to_vec());
            (vec![field, all], 4 + i32::from(place % 4))
        },
        packet: |n| vec![(n % STAY) as u8, 1, 2, 0, 0, 100],
        allowed: own_or_over,
    });
}

/// Members of a set's generation.
fn size_of(generation: u64) -> u64 {
    3 + generation % 5
}

/// Looks up with every hash until told to stop; `check` gets hash, number and generation.
fn pick_until(t: &MatchTable, stop: &AtomicBool, check: fn(u64, u64, u64)) {
    let mut last = false;
    while !last {
        last = stop.load(Ordering::Acquire);
        for hash in 0..=255 {
            let guard = epoch::pin();
            let query = Query {
                now: Time(0),
                selector: &[hash],
                bytes: 64,
            };
            let found = t.lookup(&guard, &t.plan.pack(&[1]), &query);
            assert!(found.hit && found.action == Some(0));
            let (number, generation) = opened(&found);
            check(u64::from(hash), number, generation);
        }
    }
}

fn selected(profile: &Arc<Profile>) -> MatchTable {
    MatchTable::new(TableConfig {
        profile: Some(Arc::clone(profile)),
        ..racing(&[(MatchKind::Exact, 8)])
    })
    .unwrap()
}

fn profile() -> Arc<Profile> {
    let actions = racing(&[]).actions;
    Arc::new(Profile::new(
        actions,
        Some(HashAlgorithm::Identity),
        1000,
        1000,
    ))
}

fn write_set(t: &MatchTable, action: EntryAction<'_>, known: bool) {
    let fields = [FieldMatch::Exact(&[1])];
    let nothing = ActionCall {
        action: 0,
        params: &[],
    };
    let entry = NewEntry {
        action,
        ..NewEntry::new(&fields, nothing)
    };
    let done = if known {
        t.modify(Time(0), &entry)
    } else {
        t.insert(Time(0), &entry)
    };
    assert_eq!(done, Ok(()));
}

#[test]
fn one_shot_sets_are_whole() {
    let t = selected(&profile());
    let put = |generation: u64| {
        let set: Vec<WeightedAction> = (0..size_of(generation))
            .map(|n| WeightedAction {
                action: 0,
                params: data_of(n, generation).to_vec(),
                weight: 1,
                watch_port: None,
            })
            .collect();
        write_set(&t, EntryAction::OneShot(&set), generation > 0);
    };
    put(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            pick_until(&t, &stop, |hash, number, generation| {
                assert_eq!(number, hash % size_of(generation));
            });
        });
        (1..1000).for_each(put);
        stop.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn groups_change_as_a_whole() {
    let profile = profile();
    let t = selected(&profile);
    // Generation `g` has members of its own, made before the group names them and taken away afterwards.
    let members = |generation: u64| {
        let member = move |n| GroupMember {
            member: (generation % 3 * 100 + n) as u32,
            weight: 1,
            watch_port: None,
        };
        (0..size_of(generation)).map(member).collect::<Vec<_>>()
    };
    let make = |generation: u64| {
        for (n, member) in members(generation).iter().enumerate() {
            let action = OwnedAction::Direct {
                action: 0,
                params: data_of(n as u64, generation).to_vec(),
            };
            profile.insert_member(member.member, &action).unwrap();
        }
    };
    make(0);
    profile.insert_group(5, 0, &members(0)).unwrap();
    write_set(&t, EntryAction::Group(5), false);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            pick_until(&t, &stop, |hash, number, generation| {
                assert_eq!(number, hash % size_of(generation));
            });
        });
        for generation in 1..1000 {
            make(generation);
            profile.modify_group(5, &members(generation)).unwrap();
            for member in members(generation - 1) {
                profile.delete_member(member.member).unwrap();
            }
        }
        stop.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

#[test]
fn packets_learn_side_by_side_while_entries_age() {
    const KEYS: u64 = 3000;
    const CAPACITY: u64 = 2000;
    let t = MatchTable::new(TableConfig {
        learner: true,
        capacity: Some(CAPACITY),
        ..racing(&[(MatchKind::Exact, 64)])
    })
    .unwrap();
    let (t, clock) = (&t, &AtomicU64::new(0));
    let worker = move |seed: u64| {
        let mut learnt = 0;
        for step in 0..30_000 {
            let key = seal(seed, step) % KEYS;
            let now = Time(clock.load(Ordering::Relaxed));
            let guard = epoch::pin();
            let query = Query {
                now,
                selector: &[],
                bytes: 64,
            };
            let found = t.lookup(&guard, &[key], &query);
            if found.hit {
                assert_eq!(opened(&found).0, key);
                found.entry.iter().for_each(|&entry| t.restart(now, entry));
                continue;
            }
            let data = [key, step, seal(key, step), 0];
            let draft = Draft::direct(0, &data, (500_000_000, now));
            let learned = t.learn(&guard, (&[key], t.hash_key(&[key])), &draft);
            // It may have aged, or been learned by the other worker, meanwhile.
            let again = t.lookup(&guard, &[key], &query);
            assert!(!again.hit || opened(&again).0 == key);
            learnt += u64::from(learned.is_some());
            assert!(t.len() <= CAPACITY);
        }
        assert!(learnt > 0);
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|seed| scope.spawn(move || worker(seed)))
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            let now = clock.fetch_add(50_000_000, Ordering::Relaxed);
            t.tick(Time(now), &mut Vec::new());
            std::thread::yield_now();
        }
        workers.into_iter().for_each(|w| w.join().unwrap());
    });
    let end = Time(clock.load(Ordering::Relaxed) + 1_000_000_000);
    t.tick(end, &mut Vec::new());
    assert_eq!(t.len(), 0);
    let guard = epoch::pin();
    for key in 0..CAPACITY {
        let data = [key, 0, seal(key, 0), 0];
        let draft = Draft::direct(0, &data, (0, end));
        let learned = t.learn(&guard, (&[key], t.hash_key(&[key])), &draft);
        assert!(learned.is_some());
    }
}
