//! Measuring one table of one kind and size.
//!
//! In: a size, a seed. Out: a [`Row`]. Keys are made before the clock starts; every lookup's result is checked. The clock
//! is the thread's time on a processor, so that other work on the machine does not count.

use std::fmt;

use p4rs::engine::{
    ActionCall, Engine, EntryAction, FieldMatch, NewEntry, OwnedField, Time, WeightedAction,
};
use p4rs::ir::{Handle, Table};

use crate::prefixes::{even_v4, even_v6, pods_v6, routed_v4, routed_v6};
use crate::program::{Random, Tables, load, mix, processor_time, resident};

/// Lookups of one measurement.
const LOOKUPS: u64 = 2_000_000;
/// Keys under one guard.
const BATCH: usize = 256;

pub const HEADER: &str = "kind         entries   insert/s  delete/s  bytes/entry  hit uniform  hit Zipf  hit single  other keys   (lookups: million/s)";

/// One line. Rates are per second; `None` where the kind has no such thing.
#[derive(Default)]
pub struct Row {
    kind: &'static str,
    entries: u64,
    insert: f64,
    delete: f64,
    bytes: f64,
    uniform: Option<f64>,
    zipf: Option<f64>,
    single: Option<f64>,
    other: Option<f64>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = |rate: Option<f64>| match rate {
            Some(rate) => format!("{:.2}", rate / 1e6),
            None => String::from("-"),
        };
        write!(
            f,
            "{:<11} {:>8} {:>10.0} {:>9.0} {:>12.1} {:>12} {:>9} {:>11} {:>11}",
            self.kind,
            self.entries,
            self.insert,
            self.delete,
            self.bytes,
            millions(self.uniform),
            millions(self.zipf),
            millions(self.single),
            millions(self.other)
        )
    }
}

/// Per second since a [`processor_time`].
fn rate(count: u64, start: f64) -> f64 {
    count as f64 / (processor_time() - start).max(1e-9)
}

/// Packed keys of so many words each.
struct Keys {
    words: usize,
    packed: Vec<u64>,
}

/// A table to be measured: entry `i`'s match and priority, and a key that entry `i` covers.
struct Subject<'a> {
    kind: &'static str,
    engine: Engine,
    table: Handle<Table>,
    entry: &'a dyn Fn(u64) -> (Vec<OwnedField>, i32),
    key: &'a dyn Fn(u64, &mut Random) -> Vec<Vec<u8>>,
    other: &'a dyn Fn(&mut Random) -> Vec<Vec<u8>>,
}

impl Subject<'_> {
    fn keys(&self, mut one: impl FnMut() -> Vec<Vec<u8>>) -> Result<Keys, String> {
        let batch = self.engine.batch(self.table).map_err(text)?;
        let (mut packed, mut words) = (Vec::new(), 0);
        for _ in 0..LOOKUPS {
            let fields = one();
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            let before = packed.len();
            batch.push_key(&fields, &mut packed).map_err(text)?;
            words = packed.len() - before;
        }
        Ok(Keys { words, packed })
    }

    /// Lookups per second, `at_once` keys in each call; all of them must hit, if `all`.
    fn look(&self, now: Time, keys: &Keys, at_once: usize, all: bool) -> Result<f64, String> {
        let mut hits = 0;
        let start = processor_time();
        for keys_of_batch in keys.packed.chunks(keys.words * BATCH) {
            let batch = self.engine.batch(self.table).map_err(text)?;
            for part in keys_of_batch.chunks(keys.words * at_once) {
                batch.lookup(now, part, &[], &mut |found| hits += u64::from(found.hit));
            }
        }
        let rate = rate(LOOKUPS, start);
        if all && hits != LOOKUPS {
            return Err(format!("{}: {hits} hits of {LOOKUPS}", self.kind));
        }
        Ok(rate)
    }

    fn lookups(&self, row: &mut Row, now: Time, seed: u64) -> Result<(), String> {
        let random = &mut Random(seed);
        let size = row.entries;
        let keys = self.keys(|| (self.key)(random.uniform(size), random))?;
        row.uniform = Some(self.look(now, &keys, BATCH, true)?);
        row.single = Some(self.look(now, &keys, 1, true)?);
        let keys = self.keys(|| (self.key)(random.zipf(size), random))?;
        row.zipf = Some(self.look(now, &keys, BATCH, true)?);
        let keys = self.keys(|| (self.other)(random))?;
        row.other = Some(self.look(now, &keys, BATCH, false)?);
        Ok(())
    }

    /// A table that the control plane fills.
    fn measure(&self, size: u64, seed: u64) -> Result<Row, String> {
        let mut row = Row {
            kind: self.kind,
            entries: size,
            ..Row::default()
        };
        let before = resident();
        let start = processor_time();
        for i in 0..size {
            let (fields, priority) = (self.entry)(i);
            let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
            let (next, port) = (mix(i).to_be_bytes(), (i as u32).to_be_bytes());
            let call = ActionCall {
                action: 0,
                params: &[&next, &port],
            };
            let entry = NewEntry {
                priority,
                ..NewEntry::new(&fields, call)
            };
            let done = self.engine.insert(Time(0), self.table, &entry);
            done.map_err(|e| format!("{} entry {i}: {e}", self.kind))?;
        }
        row.insert = rate(size, start);
        row.bytes = resident().saturating_sub(before) as f64 / size as f64;
        self.lookups(&mut row, Time(0), seed)?;
        let start = processor_time();
        for i in 0..size {
            let (fields, priority) = (self.entry)(mix(i) % size);
            let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
            // Some come twice: then they are gone already.
            let _ = self.engine.delete(self.table, &fields, priority);
        }
        row.delete = rate(size, start);
        Ok(row)
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Five fields of an IPv4 connection.
fn connection(protocol: u8, i: u64) -> Vec<Vec<u8>> {
    let (a, b) = (mix(i), mix(i ^ 0x5555_0000_0000));
    vec![
        vec![protocol],
        ((a >> 32) as u32).to_be_bytes().to_vec(),
        (a as u32).to_be_bytes().to_vec(),
        (b as u16).to_be_bytes().to_vec(),
        ((b >> 16) as u16).to_be_bytes().to_vec(),
    ]
}

pub fn exact(size: u64, seed: u64) -> Result<Row, String> {
    let (engine, table) = load(Tables::Plain, "exact_flow")?;
    let subject = Subject {
        kind: "exact",
        engine,
        table,
        entry: &|i| {
            let fields = connection(6, i).into_iter().map(OwnedField::Exact);
            (fields.collect(), 0)
        },
        key: &|i, _| connection(6, i),
        other: &|random| connection(17, random.next()),
    };
    subject.measure(size, seed)
}

fn v4(
    kind: &'static str,
    prefix: &dyn Fn(u64) -> (u32, u32),
    size: u64,
    seed: u64,
) -> Result<Row, String> {
    let (engine, table) = load(Tables::Plain, "lpm_v4")?;
    let subject = Subject {
        kind,
        engine,
        table,
        entry: &|i| {
            let (value, length) = prefix(i);
            (
                vec![OwnedField::Lpm(value.to_be_bytes().to_vec(), length)],
                0,
            )
        },
        key: &|i, random| {
            let (value, length) = prefix(i);
            let host = (random.next() as u32).checked_shr(length).unwrap_or(0);
            vec![(value | host).to_be_bytes().to_vec()]
        },
        other: &|random| vec![(random.next() as u32).to_be_bytes().to_vec()],
    };
    subject.measure(size, seed)
}

/// Prefixes of 32 bits, spread evenly.
pub fn lpm_v4(size: u64, seed: u64) -> Result<Row, String> {
    v4("lpm 32", &even_v4, size, seed)
}

/// Prefixes of 32 bits as routers have them.
pub fn routes_v4(size: u64, seed: u64) -> Result<Row, String> {
    let routes = routed_v4(size, seed);
    v4("routes 32", &|i| routes[i as usize], size, seed)
}

fn v6(
    kind: &'static str,
    prefix: &dyn Fn(u64) -> (u128, u32),
    size: u64,
    seed: u64,
) -> Result<Row, String> {
    let (engine, table) = load(Tables::Plain, "lpm_v6")?;
    let vpc = || vec![0, 0, 0, 7];
    let high = prefix(0).0 >> 112;
    let subject = Subject {
        kind,
        engine,
        table,
        entry: &|i| {
            let (value, length) = prefix(i);
            let prefix = OwnedField::Lpm(value.to_be_bytes().to_vec(), length);
            (vec![OwnedField::Exact(vpc()), prefix], 0)
        },
        key: &|i, random| {
            let (value, length) = prefix(i);
            let host = u128::from(random.next() >> 1);
            let host = host.min(u128::MAX.checked_shr(length).unwrap_or(0));
            vec![vpc(), (value | host).to_be_bytes().to_vec()]
        },
        other: &|random| {
            let address = high << 112 | u128::from(random.next()) << 48;
            vec![vpc(), address.to_be_bytes().to_vec()]
        },
    };
    subject.measure(size, seed)
}

/// Prefixes of 128 bits, spread evenly.
pub fn lpm_v6(size: u64, seed: u64) -> Result<Row, String> {
    v6("lpm 128", &even_v6, size, seed)
}

/// Prefixes of 128 bits as routers have them.
pub fn routes_v6(size: u64, seed: u64) -> Result<Row, String> {
    let routes = routed_v6(size, seed);
    v6("routes 128", &|i| routes[i as usize], size, seed)
}

/// Addresses of pods.
pub fn hosts_v6(size: u64, seed: u64) -> Result<Row, String> {
    let pods = pods_v6(size);
    v6("pods 128", &|i| pods[i as usize], size, seed)
}

/// Masked entry `i`: values and masks of two addresses, a range of ports.
fn masked(i: u64) -> [(u32, u32); 3] {
    let mask = |length: u64| u32::MAX << (32 - length);
    let (src, dst) = (mask(12 + 2 * (i % 8)), mask(8 + 8 * (i / 8 % 4)));
    let value = mix(i);
    let low = (value >> 7) as u32 % 30_000;
    [
        ((value >> 32) as u32 & src, src),
        (value as u32 & dst, dst),
        (low, low + (i % 50) as u32),
    ]
}

pub fn ternary(size: u64, seed: u64) -> Result<Row, String> {
    let (engine, table) = load(Tables::Plain, "ternary_acl")?;
    let bytes = |n: u32| n.to_be_bytes().to_vec();
    let subject = Subject {
        kind: "ternary",
        engine,
        table,
        entry: &|i| {
            let [(src, src_mask), (dst, dst_mask), (low, high)] = masked(i);
            let fields = vec![
                OwnedField::Ternary(bytes(src), bytes(src_mask)),
                OwnedField::Ternary(bytes(dst), bytes(dst_mask)),
                OwnedField::Range(bytes(low), bytes(high)),
            ];
            (fields, i as i32 + 1)
        },
        key: &|i, _| masked(i).iter().map(|(value, _)| bytes(*value)).collect(),
        other: &|random| {
            let (a, b) = (random.next(), random.next() as u32 & 0xffff);
            vec![bytes((a >> 32) as u32), bytes(a as u32), bytes(b)]
        },
    };
    subject.measure(size, seed)
}

/// Eight fields of a connection in IPv4-mapped form.
fn flow(vpc: u32, i: u64) -> Vec<Vec<u8>> {
    let mut fields = connection(6, i);
    let mut address = |at: usize| {
        let host = std::mem::take(&mut fields[at]);
        [&[0, 0, 0xff, 0xff][..], &host].concat()
    };
    let (src, dst) = (address(1), address(2));
    let (src_port, dst_port) = (fields[3].clone(), fields[4].clone());
    let vpc = vpc.to_be_bytes().to_vec();
    vec![vpc, vec![6], vec![0], src, vec![0], dst, src_port, dst_port]
}

pub fn learner(size: u64, seed: u64) -> Result<Row, String> {
    const HOUR: u64 = 3_600_000_000_000;
    let (engine, table) = load(Tables::Learner, "flow")?;
    let subject = Subject {
        kind: "learner",
        engine,
        table,
        entry: &|_| (Vec::new(), 0),
        key: &|i, _| flow(0, i),
        other: &|random| flow(1, random.next()),
    };
    let mut row = Row {
        kind: subject.kind,
        entries: size,
        ..Row::default()
    };
    let before = resident();
    let (mut learning, mut keys) = (0.0, Vec::new());
    for first in (0..size).step_by(BATCH) {
        let batch = subject.engine.batch(table).map_err(text)?;
        keys.clear();
        let count = (size - first).min(BATCH as u64);
        for i in first..first + count {
            let fields = flow(0, i);
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            batch.push_key(&fields, &mut keys).map_err(text)?;
        }
        let start = processor_time();
        for key in keys.chunks(keys.len() / count as usize) {
            if !batch.learn(Time(first), key, 0, &[1, 2, 3, 4, 5, 6], HOUR) {
                return Err(String::from("a flow was not learned"));
            }
        }
        learning += processor_time() - start;
    }
    row.insert = size as f64 / learning;
    row.bytes = resident().saturating_sub(before) as f64 / size as f64;
    subject.lookups(&mut row, Time(size), seed)?;
    let start = processor_time();
    subject.engine.tick(Time(2 * HOUR));
    row.delete = rate(size, start);
    match subject.engine.entry_count(table) {
        Ok(0) => Ok(row),
        left => Err(format!("entries after their time: {left:?}")),
    }
}

/// Sets of so many members, a million in all. Members are inserted, sets deleted per second.
pub fn selector(members: u64, seed: u64) -> Result<Row, String> {
    let count = (1_000_000 / members.max(1)).max(10);
    let (engine, table) = load(Tables::Plain, "set")?;
    let mut row = Row {
        kind: "selector",
        entries: members,
        ..Row::default()
    };
    let actions = |set: u64| -> Vec<WeightedAction> {
        let action = |i: u64| WeightedAction {
            action: 0,
            params: vec![mix(i).to_be_bytes().to_vec(), vec![set as u8]],
            weight: 1 + (i % 3) as u32,
            watch_port: None,
        };
        (0..members).map(action).collect()
    };
    let sets: Vec<_> = (0..count).map(actions).collect();
    let before = resident();
    let start = processor_time();
    for (i, set) in (0u32..).zip(&sets) {
        let vpc = i.to_be_bytes();
        let fields = [FieldMatch::Exact(&vpc)];
        let nothing = ActionCall {
            action: 0,
            params: &[],
        };
        let entry = NewEntry {
            action: EntryAction::OneShot(set),
            ..NewEntry::new(&fields, nothing)
        };
        engine.insert(Time(0), table, &entry).map_err(text)?;
    }
    row.insert = rate(count * members, start);
    row.bytes = resident().saturating_sub(before) as f64 / (count * members) as f64;
    let random = &mut Random(seed);
    let picks: Vec<(u64, [u8; 8])> = (0..LOOKUPS)
        .map(|_| (random.uniform(count), random.next().to_be_bytes()))
        .collect();
    let (start, mut hits) = (processor_time(), 0);
    for picks in picks.chunks(BATCH) {
        let batch = engine.batch(table).map_err(text)?;
        for (set, selector) in picks {
            batch.lookup(Time(0), &[*set], &selector[2..], &mut |found| {
                hits += u64::from(found.hit && found.first != 0);
            });
        }
    }
    row.single = Some(rate(LOOKUPS, start));
    if hits < LOOKUPS / 2 {
        return Err(format!("{hits} picks of {LOOKUPS}"));
    }
    let start = processor_time();
    for i in 0..count as u32 {
        let gone = engine.delete(table, &[FieldMatch::Exact(&i.to_be_bytes())], 0);
        gone.map_err(text)?;
    }
    row.delete = rate(count, start);
    Ok(row)
}
