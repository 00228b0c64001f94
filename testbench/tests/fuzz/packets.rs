//! The packet path of both programs: mutated packets over entries whose values are random.
//!
//! In: packets and entries. Out: nothing that panics; every packet ends in an output or a counted drop; an output whose packet
//! came in with right checksums has right ones, whatever was translated. SCTP is left out of that: its checksum follows
//! entries, which are random here.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use nicproxy::config::{Program, SLOW_PATH_PORT};
use p4rs::engine::{
    ActionCall, Config, Engine, FieldMatch, MatchKind, NewEntry, Outputs, TableError, Time,
};
use p4rs::ir::{ActionRef, Direction};
use testbench::packet::check::{CheckError, verify};
use testbench::packet::show::{dump, unhex};
use testbench::random::Random;

use super::input::{Corpus, Mutate, Turns};

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
    rewritten: AtomicUsize,
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
            rewritten: AtomicUsize::new(0),
        }
    }

    /// An input is the seed of the entries and then the packet; both programs get it.
    pub fn try_one(&self, input: &[u8]) {
        let Some((seed, packet)) = input.split_first_chunk::<8>() else {
            return;
        };
        let mut random = Random::new(u64::from_be_bytes(*seed));
        for engine in &self.engines {
            if random.below(64) == 0 {
                for (table, _) in engine.program().tables.iter() {
                    let _ = engine.clear(table);
                }
            }
            service(engine, &mut random);
            self.entries
                .fetch_add(entries(engine, &mut random), Ordering::Relaxed);
            let mut out = Outputs::default();
            let right = has_checksums(packet) && verify(packet).is_ok();
            for (step, port) in [1, 2, SLOW_PATH_PORT, random.number() as u32]
                .into_iter()
                .enumerate()
            {
                let before = engine.statistics().received;
                engine.process(
                    Time(random.number() >> 16 | step as u64),
                    port,
                    packet,
                    &mut out,
                );
                assert_eq!(engine.statistics().received, before + 1);
                assert!(
                    out.transmitted().len() + out.drops.len() > 0,
                    "a packet that is nowhere"
                );
                for sent in out.transmitted() {
                    let bytes = sent.to_vec();
                    if right && port != SLOW_PATH_PORT && sent.port != SLOW_PATH_PORT {
                        self.check(packet, &bytes);
                    }
                    assert!(
                        bytes.len() <= packet.len() + 64,
                        "{} bytes out of {}",
                        bytes.len(),
                        packet.len()
                    );
                }
                out.clear();
            }
            engine.tick(Time(random.number() >> 8));
        }
    }
}

/// IPv4 or IPv6 with TCP, UDP or ICMP.
fn has_checksums(packet: &[u8]) -> bool {
    SlicedPacket::from_ethernet(packet).is_ok_and(|sliced| sliced.transport.is_some())
}

impl Bench {
    fn check(&self, packet: &[u8], output: &[u8]) {
        // Past every field that forwarding changes, tagged or not: addresses and ports.
        if output.get(30..) != packet.get(30..) {
            self.rewritten.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(error) = verify(output) {
            panic!("{error}\n{}\nbecame\n{}", dump(packet), dump(output));
        }
    }
}

/// Puts right checksums into a packet that has them.
fn repair(packet: &mut [u8]) {
    // The IP header's first, then the transport's.
    for _ in 0..2 {
        let Err(CheckError::Checksum { layer, right, .. }) = verify(packet) else {
            return;
        };
        let Some(at) = checksum_at(packet, layer) else {
            return;
        };
        if let (Some(field), Ok(right)) = (packet.get_mut(at..at + 2), u16::try_from(right)) {
            field.copy_from_slice(&right.to_be_bytes());
        }
    }
}

fn checksum_at(packet: &[u8], layer: &str) -> Option<usize> {
    let sliced = SlicedPacket::from_ethernet(packet).ok()?;
    let place = |part: &[u8]| (part.as_ptr() as usize).checked_sub(packet.as_ptr() as usize);
    match (layer, &sliced.net, &sliced.transport) {
        ("IPv4", Some(NetSlice::Ipv4(ip)), _) => Some(place(ip.header().slice())? + 10),
        (_, _, Some(TransportSlice::Tcp(tcp))) => Some(place(tcp.slice())? + 16),
        (_, _, Some(TransportSlice::Udp(udp))) => Some(place(udp.slice())? + 6),
        (_, _, Some(TransportSlice::Icmpv4(icmp))) => Some(place(icmp.slice())? + 2),
        (_, _, Some(TransportSlice::Icmpv6(icmp))) => Some(place(icmp.slice())? + 2),
        _ => None,
    }
}

/// Address as the tables have it.
type Halves = (u128, u128);

/// Client, VIP, protocol and port of the seeds.
const CALLS: [(Halves, Halves, u128, u128); 4] = [
    (CLIENT_4, VIP_4, 6, 80),
    (CLIENT_4, VIP_4, 17, 53),
    (CLIENT_4, VIP_4, 132, 9899),
    (CLIENT_6, VIP_6, 6, 80),
];
const CLIENT_4: Halves = (0, 0xffff_0af4_0005);
const VIP_4: Halves = (0, 0xffff_0a60_000a);
const CLIENT_6: Halves = (0xfd00_0010_0244_0000, 5);
const VIP_6: Halves = (0xfd00_0010_0096_0000, 0x10);
const CLIENT_PORT: u128 = 40_000;

/// Services behind the seeds' addresses, with endpoints that are new each time, and connections that are set up: so that
/// packets come as far as being translated.
fn service(engine: &Engine, random: &mut Random) {
    let slow = u128::from(SLOW_PATH_PORT) * (random.number() as u128 & 1);
    for port in [1, 2] {
        put(engine, "port", "attach", &[port], &[0, port, 0, slow]);
    }
    put(
        engine,
        "route",
        "forward",
        &[0],
        &[2, 0x0200_0000_0001, 0x0200_0000_0002],
    );
    for (number, (client, vip, protocol, port)) in CALLS.into_iter().enumerate() {
        // Far from the numbers of random entries: an endpoint of the other family is not what a control plane writes.
        let set = 0x7000_0000 + number as u128;
        let to = if vip.0 == 0 {
            (0, 0xffff_0000_0000 | u128::from(random.number() as u32))
        } else {
            (u128::from(random.number()), u128::from(random.number()))
        };
        let to_port = u128::from(random.number() as u16);
        let key = [0, protocol, vip.0, vip.1, port];
        let serve = [set, 0, set, 0, set, 0, 0xff];
        put(engine, "frontend", "serve", &key, &serve);
        let arguments = [to.0, to.1, to_port, 0, number as u128];
        put(engine, "endpoint", "to_endpoint", &[set, 0], &arguments);
        if random.below(2) == 0 {
            continue;
        }
        let (from, with) = (client, CLIENT_PORT);
        let key = [0, protocol, from.0, from.1, vip.0, vip.1, with, port];
        let new = [from.0, from.1, with, to_port, to.0, to.1, 1];
        put(engine, "flow", "translate", &key, &new);
        let key = [0, protocol, to.0, to.1, from.0, from.1, to_port, with];
        let back = [vip.0, vip.1, port, with, from.0, from.1, 1];
        put(engine, "reply", "translate_back", &key, &back);
    }
}

/// Inserts, or writes over; key fields that are not given may have any value.
fn put(engine: &Engine, table: &str, action: &str, key: &[u128], arguments: &[u128]) {
    let program = engine.program();
    let (table, known) = program
        .tables
        .iter()
        .find(|(_, known)| known.name.control_plane == table)
        .unwrap();
    let named = |reference: &ActionRef| {
        let action_of = program.actions.get(reference.action);
        action_of.is_some_and(|known| known.name.control_plane == action)
    };
    let action = known.actions.iter().position(named).unwrap();
    let key: Vec<[u8; 16]> = key.iter().map(|value| value.to_be_bytes()).collect();
    let mut matches: Vec<FieldMatch<'_>> = key.iter().map(|v| FieldMatch::Exact(v)).collect();
    matches.resize(known.keys.len(), FieldMatch::DontCare);
    let arguments: Vec<[u8; 16]> = arguments.iter().map(|value| value.to_be_bytes()).collect();
    let params: Vec<&[u8]> = arguments.iter().map(<[u8; 16]>::as_slice).collect();
    let call = ActionCall {
        action,
        params: &params,
    };
    let mut entry = NewEntry::new(&matches, call);
    entry.priority = i32::from(key.len() < known.keys.len());
    match engine.insert(Time(0), table, &entry) {
        Ok(()) | Err(TableError::Full { .. }) => {}
        Err(TableError::Exists) => engine.modify(Time(0), table, &entry).unwrap(),
        Err(error) => panic!("{} refuses: {error}", known.name.control_plane),
    }
}

/// Tries to put one entry into every table; how many were taken.
fn entries(engine: &Engine, random: &mut Random) -> usize {
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
        let untouched = random.below(4) == 0;
        let mut mutant = packet.clone();
        random.mutate(
            &mut mutant,
            &[
                &[0x81, 0, 0, 1],
                &[8, 0],
                &[0x86, 0xdd],
                &[0x4f],
                &[0xff; 64],
            ],
        );
        if !untouched {
            packet = mutant;
        }
        if random.below(3) > 0 {
            repair(&mut packet);
        }
        let input = [&random.number().to_be_bytes()[..], &packet].concat();
        corpus.guard(&input, Duration::from_secs(5), || bench.try_one(&input));
    }
    println!(
        "packets: {} entries were taken, {} outputs with right checksums were rewritten",
        bench.entries.load(Ordering::Relaxed),
        bench.rewritten.load(Ordering::Relaxed)
    );
}
