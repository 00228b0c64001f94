//! One program on both engines.

use std::fmt;
use std::sync::Arc;

use p4rs::engine::{
    ActionCall, Cursor, Engine, Execution, FieldMatch, MatchKind, NewEntry, Outputs, OwnedField,
    Time, entries_text,
};
use p4rs::front::Sources;
use p4rs::ir::{Direction, Handle, Table, Type};

use crate::random::Random;

/// What the engines did not do alike.
#[derive(Debug)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As many packets may come again.
const BEFORE: usize = 12;

/// A program on the native engine and on the interpreter.
pub struct Twin {
    engines: [Engine; 2],
    time: u64,
    /// Packets that may come again.
    before: Vec<(u32, Vec<u8>)>,
    /// Packets that left.
    pub sent: usize,
    /// Whether usual ways have code of their own.
    pub hot: bool,
}

impl Twin {
    /// Loads a program; `None` when it does not compile or is not one that the engine runs. What packets of flows touch
    /// is remembered for as many entries; after so many packets have been watched the ways that they took have code of their own, and
    /// scouts go ahead of packets of flows that are not known.
    pub fn load(sources: &Sources, remembered_entries: u64, watched_packets: u32) -> Option<Self> {
        let checked = Arc::new(p4rs::compile(sources).ok()?.checked);
        let engine = |execution| {
            let config = p4rs::engine::Config {
                execution,
                host_ports: vec![1],
                far_from: 0,
                remembered_entries,
                watched_packets,
                watched_one_in: 1,
                ..Default::default()
            };
            Engine::new(Arc::clone(&checked), config).ok()
        };
        Some(Self {
            engines: [engine(Execution::Native)?, engine(Execution::Interpreted)?],
            time: 0,
            before: Vec::new(),
            sent: 0,
            hot: false,
        })
    }

    /// Whether machine code runs on one side.
    pub fn native(&self) -> bool {
        self.engines[0].is_native()
    }

    /// Packets there for which scouts were sent.
    pub fn scouted(&self) -> u64 {
        self.engines[0].statistics().scouted
    }

    fn tables(&self) -> Vec<Handle<Table>> {
        self.engines[0]
            .program()
            .tables
            .iter()
            .map(|(handle, _)| handle)
            .collect()
    }

    /// Puts some random entries into every table.
    pub fn fill(&mut self, random: &mut Random) {
        for table in self.tables() {
            for _ in 0..random.below(12) {
                self.insert(random, table);
            }
        }
    }

    fn insert(&self, random: &mut Random, table: Handle<Table>) {
        let program = self.engines[0].program();
        let Ok(keys) = self.engines[0].key_fields(table) else {
            return;
        };
        let references = &program.tables[table].actions;
        if references.is_empty() {
            return;
        }
        let index = random.below(references.len());
        let action = &program.actions[references[index].action];
        let bound = references[index].args.len();
        let directed = action
            .params
            .iter()
            .filter(|p| p.direction != Direction::None)
            .count();
        let data = action
            .params
            .iter()
            .filter(|p| p.direction == Direction::None);
        let params: Vec<Vec<u8>> = data
            .skip(bound.saturating_sub(directed))
            .map(|param| {
                let ty = program.resolve(program.vars[param.var].ty);
                random.value(match &program.types[ty] {
                    Type::Bits { width, .. } => *width,
                    Type::Bool => 1,
                    _ => 32,
                })
            })
            .collect();
        let mut prioritised = false;
        let fields: Vec<OwnedField> = keys
            .iter()
            .map(|&(kind, width)| {
                let value = random.value(width);
                match kind {
                    MatchKind::Exact => OwnedField::Exact(value),
                    MatchKind::Lpm => {
                        OwnedField::Lpm(value, random.below(width as usize + 1) as u32)
                    }
                    MatchKind::Ternary => {
                        prioritised = true;
                        // Often the same masks, so that groups have several rows.
                        let mut mask = random.value(width);
                        if random.once_in(3) {
                            mask.fill(0);
                        }
                        let value = value.iter().zip(&mask).map(|(v, m)| v & m).collect();
                        OwnedField::Ternary(value, mask)
                    }
                    MatchKind::Range => {
                        prioritised = true;
                        let other = random.value(width);
                        let (low, high) = if value <= other {
                            (value, other)
                        } else {
                            (other, value)
                        };
                        OwnedField::Range(low, high)
                    }
                    MatchKind::Optional => {
                        prioritised = true;
                        OwnedField::Optional(value)
                    }
                }
            })
            .collect();
        let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
        let params: Vec<&[u8]> = params.iter().map(Vec::as_slice).collect();
        let call = ActionCall {
            action: index,
            params: &params,
        };
        let mut entry = NewEntry::new(&fields, call);
        entry.priority = if prioritised {
            1 + random.below(8) as i32
        } else {
            0
        };
        let [a, b] = &self.engines;
        let results = [a, b].map(|engine| engine.insert(Time(self.time), table, &entry));
        assert_eq!(
            results[0], results[1],
            "the control plane does not depend on the engine"
        );
    }

    /// Puts entries into both.
    pub fn load_entries(&mut self, text: &str) {
        for engine in &self.engines {
            entries_text::load(engine, Time(self.time), text).expect("entries");
        }
    }

    /// Sends one random packet through both, or a batch of some.
    pub fn packet(&mut self, random: &mut Random) -> Result<(), Difference> {
        self.time += random.next() % 2_000_000_000;
        if random.once_in(20) {
            let ticked = self
                .engines
                .each_ref()
                .map(|engine| engine.tick(Time(self.time)).len());
            if ticked[0] != ticked[1] {
                return Err(Difference(format!("{ticked:?} entries idle")));
            }
        }
        let count = if random.once_in(3) {
            2 + random.below(24)
        } else {
            1
        };
        let mut packets: Vec<(u32, Vec<u8>)> = Vec::new();
        for _ in 0..count {
            let again = random.once_in(3) && !packets.is_empty();
            let next = if again {
                random.of(&packets).clone()
            } else if !random.once_in(3) && !self.before.is_empty() {
                random.of(&self.before).clone()
            } else {
                (random.below(4) as u32, packet(random))
            };
            packets.push(next);
        }
        // Some come again in later batches, so that there are ways which many of them take.
        if self.before.len() < BEFORE {
            self.before.push(random.of(&packets).clone());
        }
        self.batch(&packets)
    }

    /// Sends packets through both: as one batch through machine code, one after the other through the interpreter.
    pub fn batch(&mut self, packets: &[(u32, Vec<u8>)]) -> Result<(), Difference> {
        let mut outputs = [Outputs::default(), Outputs::default()];
        let borrowed = packets
            .iter()
            .map(|(port, bytes)| (*port, bytes.as_slice()));
        let mut worker = self.engines[0].worker();
        worker.batch(Time(self.time), borrowed, &mut outputs[0]);
        drop(worker);
        self.hot |= self.engines[0].settle();
        for (port, bytes) in packets {
            self.engines[1].process(Time(self.time), *port, bytes, &mut outputs[1]);
        }
        let [native, interpreted] = outputs.each_ref().map(|out| {
            let sent: Vec<(u32, Vec<u8>)> = out
                .transmitted()
                .map(|sent| (sent.port, sent.to_vec()))
                .collect();
            (
                sent,
                out.drops.clone(),
                out.digests.clone(),
                out.log.clone(),
            )
        });
        self.sent += native.0.len();
        if native == interpreted {
            return Ok(());
        }
        Err(Difference(format!(
            "ports and packets {packets:02x?}:\nnative      {native:02x?}\ninterpreter {interpreted:02x?}"
        )))
    }

    /// Lets time pass.
    pub fn wait(&mut self, nanoseconds: u64) {
        self.time += nanoseconds;
    }

    /// Compares entries, counters and registers.
    pub fn state(&self) -> Result<(), Difference> {
        let [native, interpreted] = self.engines.each_ref().map(|engine| self.dump(engine));
        match native.iter().zip(&interpreted).find(|(a, b)| a != b) {
            Some((native, interpreted)) => Err(Difference(format!(
                "state:\nnative      {native}\ninterpreter {interpreted}"
            ))),
            None if native.len() != interpreted.len() => Err(Difference(format!(
                "{} against {} lines of state",
                native.len(),
                interpreted.len()
            ))),
            None => Ok(()),
        }
    }

    fn dump(&self, engine: &Engine) -> Vec<String> {
        let mut lines = Vec::new();
        for table in self.tables() {
            let mut entries = Vec::new();
            let now = Time(self.time);
            let mut show = |entry: &p4rs::engine::EntryView<'_>| entries.push(format!("{entry:?}"));
            let _ = engine.read(now, table, Cursor::default(), usize::MAX, &mut show);
            entries.sort();
            lines.push(format!("{table:?} {:?}", engine.lookups(table)));
            lines.extend(entries);
        }
        for (instance, _) in engine.program().externs.iter() {
            let size = engine.array_size(instance).unwrap_or(0).min(64);
            for index in 0..size {
                let counter = engine.counter(instance, index);
                let register = engine.register(instance, index);
                lines.push(format!("{instance:?}[{index}] {counter:?} {register:?}"));
            }
        }
        lines
    }
}

/// A packet: noise, or something that parsers of usual protocols go through, with noise in it.
fn packet(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    if random.once_in(4) {
        (0..random.below(120)).for_each(|_| bytes.push(random.next() as u8));
        return bytes;
    }
    let small = |random: &mut Random| random.below(6) as u8;
    for _ in 0..12 {
        bytes.push(small(random));
    }
    let kind = *random.of(&[0x0800u16, 0x0800, 0x0800, 0x86dd, 0x8100, 0x8847, 0x1234]);
    bytes.extend(kind.to_be_bytes());
    if kind == 0x8100 {
        bytes.extend([0, small(random), 8, 0]);
    }
    if kind == 0x86dd {
        bytes.extend([0x60, 0, 0, 0, 0, 40, *random.of(&[6, 17, 58, 44]), 64]);
        (0..32).for_each(|_| bytes.push(small(random)));
    } else {
        let ihl = if random.once_in(6) { 0x46 } else { 0x45 };
        bytes.extend([ihl, 0, 0, 60, 0, 1, 0, 0, small(random) * 13]);
        bytes.extend([*random.of(&[6u8, 17, 1, 132, 4]), 0, 0]);
        (0..8).for_each(|_| bytes.push(small(random)));
    }
    let longest = if random.once_in(2) { 60 } else { 300 };
    let transport = 20 + random.below(longest);
    for _ in 0..transport {
        let byte = if random.once_in(3) {
            random.next() as u8
        } else {
            small(random)
        };
        bytes.push(byte);
    }
    if random.once_in(4) {
        let at = random.below(bytes.len());
        bytes[at] = random.next() as u8;
    }
    if random.once_in(5) {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}
