//! The packet path of both programs: mutated packets over entries whose values are random.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nicproxy::config::{Program, SLOW_PATH_PORT};
use p4rs::engine::{Config, Engine, Outputs, Time};
use p4rs::ir::Direction;
use testbench::packet::show::unhex;

use super::input::{Corpus, Random, Turns};

/// Good packets to begin with: TCP, UDP, SCTP, ICMP, fragments, options, VLAN, IPv6 with a fragment header, ARP.
const SEEDS: [&str; 8] = [
    "0200000000010200000000ee08004500002800010000400600000af400050a60000a9c400050000003e8000000005002fa0000000000",
    "0200000000010200000000ee08004500002000010000401100000af400050a60000a9c400035000c00000102030405",
    "0200000000010200000000ee080045000024000100004084 00000af400050a60000a9c4026ab00000007000000000b000004",
    "0200000000010200000000ee0800460000240001200040110000 0af400050a60000a94040000 9c40003500080000",
    "0200000000010200000000ee08004500002400010005401100000af400050a60000a0102030405060708090a0b0c0d0e0f10",
    "0200000000010200000000ee8100006486dd6000000000140640fd000010024400000000000000000005fd0000100096000000000000000000109c400050000003e8000000005002fa0000000000",
    "0200000000010200000000ee86dd6000000000102c40fd000010024400000000000000000005fd0000100096000000000000000000101100000100000007 9c40003500080000",
    "ffffffffffff0200000000ee08060001080006040001020000000000ee010af400050000000000000af40001",
];

pub struct Bench {
    engines: Vec<Engine>,
    entries: AtomicUsize,
}

impl Bench {
    pub fn new() -> Self {
        let engines = [Program::Pna, Program::V1model].map(|program| {
            let compiled =
                softnic::Program::compile(&nicproxy::pipeline::sources(program)).unwrap();
            let config = Config {
                cpu_port: Some(SLOW_PATH_PORT),
                ..Config::default()
            };
            Engine::new(compiled.checked, config).unwrap()
        });
        Self {
            engines: engines.into(),
            entries: AtomicUsize::new(0),
        }
    }

    /// An input is the seed of the entries and then the packet; both programs get it.
    pub fn try_one(&self, input: &[u8]) {
        let Some((seed, packet)) = input.split_first_chunk::<8>() else {
            return;
        };
        let mut random = Random(u64::from_be_bytes(*seed));
        for engine in &self.engines {
            if random.below(64) == 0 {
                for (table, _) in engine.program().tables.iter() {
                    let _ = engine.clear(table);
                }
            }
            self.entries
                .fetch_add(entries(engine, &mut random), Ordering::Relaxed);
            let mut out = Outputs::default();
            for (step, port) in [1, 2, SLOW_PATH_PORT, random.next() as u32]
                .into_iter()
                .enumerate()
            {
                let before = engine.statistics().received;
                engine.process(
                    Time(random.next() >> 16 | step as u64),
                    port,
                    packet,
                    &mut out,
                );
                assert_eq!(engine.statistics().received, before + 1);
                for (_, bytes) in out.transmitted() {
                    assert!(
                        bytes.len() <= packet.len() + 64,
                        "{} bytes out of {}",
                        bytes.len(),
                        packet.len()
                    );
                }
                out.clear();
            }
            engine.tick(Time(random.next() >> 8));
        }
    }
}

/// Tries to put one entry into every table; how many were taken.
fn entries(engine: &Engine, random: &mut Random) -> usize {
    use p4rs::engine::{ActionCall, FieldMatch, MatchKind, NewEntry};

    let mut taken = 0;
    for (table, known) in engine.program().tables.iter() {
        let fields = engine.key_fields(table).unwrap();
        let values: Vec<(Vec<u8>, Vec<u8>)> = fields
            .iter()
            .map(|&(_, width)| {
                let bytes = width.div_ceil(8) as usize;
                let mut value = vec![0; bytes];
                // Small numbers meet those of packets more often.
                if let Some(last) = value.last_mut() {
                    *last = random.below(20) as u8;
                }
                if random.below(4) == 0 {
                    value = random.bytes(bytes);
                }
                (value, vec![0xff; bytes])
            })
            .collect();
        let matches: Vec<FieldMatch<'_>> = fields
            .iter()
            .zip(&values)
            .map(|(&(kind, _), (value, mask))| match kind {
                MatchKind::Exact => FieldMatch::Exact(value),
                _ if random.below(2) == 0 => FieldMatch::DontCare,
                _ => FieldMatch::Ternary { value, mask },
            })
            .collect();
        let action = random.below(known.actions.len() + 1);
        let mut count = known.actions.get(action).map_or(0, |reference| {
            let action = engine.program().actions.get(reference.action);
            action.map_or(0, |action| {
                action
                    .params
                    .iter()
                    .filter(|p| p.direction == Direction::None)
                    .count()
            })
        });
        if random.below(8) == 0 {
            count = random.below(9);
        }
        let params: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let length = [1, 1, 1, 1, 2, 8][random.below(6)];
                random.bytes(length)
            })
            .collect();
        let params: Vec<&[u8]> = params.iter().map(Vec::as_slice).collect();
        let mut entry = NewEntry::new(
            &matches,
            ActionCall {
                action,
                params: &params,
            },
        );
        entry.priority = random.below(200) as i32;
        // Many are refused, and must be refused politely.
        taken += usize::from(engine.insert(Time(0), table, &entry).is_ok());
        let _ = engine.modify(Time(0), table, &entry);
        if random.below(4) == 0 {
            let _ = engine.delete(table, &matches, entry.priority);
        }
    }
    taken
}

pub fn run(mut turns: Turns) {
    let corpus = Corpus::new("packets");
    let bench = Bench::new();
    let seeds: Vec<Vec<u8>> = SEEDS.iter().map(|text| unhex(text).unwrap()).collect();
    while let Some(mut random) = turns.next() {
        let mut packet = seeds[random.below(seeds.len())].clone();
        if random.below(6) == 0 {
            // As a packet_out.
            packet.splice(0..0, [0, 0, 0, 1, 0, 0, 0, random.below(3) as u8]);
        }
        random.mutate(
            &mut packet,
            &[
                &[0x81, 0, 0, 1],
                &[8, 0],
                &[0x86, 0xdd],
                &[0x4f],
                &[0xff; 64],
            ],
        );
        let input = [&random.next().to_be_bytes()[..], &packet].concat();
        corpus.guard(&input, Duration::from_secs(5), || bench.try_one(&input));
    }
    println!(
        "packets: {} entries were taken",
        bench.entries.load(Ordering::Relaxed)
    );
}
