//! Code for the ways that most packets take: when it is made, and that packets which leave such a way late change nothing twice.

use super::super::{ActionCall, Config, FieldMatch, NewEntry, Outputs, Time};
use super::{Engine, action, engine_with, table};

const PROGRAM: &str = r#"
#include <core.p4>
#include <pna.p4>
header h_t { bit<8> kind; bit<8> late; bit<32> key; bit<32> seen; }
struct headers { h_t h; }
struct meta_t { }
parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {
    state start { p.extract(hdr.h); transition accept; }
}
control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) { apply { } }
control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {
    Register<bit<32>, bit<32>>(16) seen;
    Counter<bit<64>, bit<8>>(256, PNA_CounterType_t.PACKETS_AND_BYTES) packets;
    action known() { hdr.h.seen = hdr.h.seen + 100; }
    table keys {
        key = { hdr.h.key: exact; }
        actions = { known; NoAction; }
        default_action = NoAction();
        size = 65536;
    }
    apply {
        bit<32> cell = (bit<32>)hdr.h.kind;
        hdr.h.seen = seen.read(cell);
        hdr.h.seen = hdr.h.seen + 1;
        seen.write(cell, hdr.h.seen);
        packets.count(hdr.h.kind);
        keys.apply();
        if (hdr.h.kind == 1) { hdr.h.key = 5; }
        if (hdr.h.kind == 2) { hdr.h.key = 6; }
        send_to_port((PortId_t)1);
        if (hdr.h.late == 1) { drop_packet(); }
        if (hdr.h.late == 2) { seen.write(cell, 1000); }
        if (hdr.h.late == 3) { hdr.h.seen = seen.read((bit<32>)hdr.h.late); }
    }
}
control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) { apply { p.emit(hdr.h); } }
PNA_NIC(P(), Pre(), M(), D()) main;
"#;

fn loaded(watched_packets: u32) -> Engine {
    let config = Config {
        watched_packets,
        watched_one_in: 1,
        far_from: 1 << 10,
        ..Config::default()
    };
    engine_with(PROGRAM, config)
}

fn packet(kind: u8, late: u8) -> Vec<u8> {
    vec![kind, late, 0, 0, 0, 9, 0, 0, 0, 0, 0xee]
}

/// Sends so many packets in batches of 64.
fn send(engine: &Engine, kind: u8, many: usize) {
    let packet = packet(kind, 0);
    let (mut worker, mut out) = (engine.worker(), Outputs::default());
    for _ in 0..many / 64 {
        out.clear();
        worker.batch(Time(0), (0..64).map(|_| (3, packet.as_slice())), &mut out);
        assert_eq!(out.transmitted().len(), 64);
    }
}

/// Sends packets until code was made so many times, and no more than so many of them; whether it was.
fn made(engine: &Engine, kind: u8, times: u32, most: usize) -> bool {
    for _ in 0..most / 8192 {
        if engine.watch.made() >= times {
            break;
        }
        send(engine, kind, 8192);
        engine.settle();
    }
    engine.watch.made() == times
}

#[test]
fn traffic_that_changes_gets_other_code_and_traffic_that_does_not_keeps_it() {
    let engine = loaded(32);
    assert!(
        made(&engine, 1, 1, 1 << 14),
        "the first packets are watched"
    );
    assert!(made(&engine, 2, 2, 1 << 17), "most packets take other ways");
    send(&engine, 2, 1 << 17);
    engine.settle();
    assert_eq!(engine.watch.made(), 2, "nothing has changed");
    let unwatched = loaded(0);
    send(&unwatched, 1, 1 << 14);
    assert!(!unwatched.settle());
}

#[test]
fn tables_that_outgrow_the_caches_get_other_code() {
    let engine = loaded(32);
    assert!(made(&engine, 1, 1, 1 << 14));
    let keys = table(&engine, "keys");
    for number in 100..6000u32 {
        let key = number.to_be_bytes();
        let fields = [FieldMatch::Exact(&key)];
        let call = ActionCall {
            action: action(&engine, keys, "known"),
            params: &[],
        };
        engine
            .insert(Time(0), keys, &NewEntry::new(&fields, call))
            .unwrap();
    }
    assert!(made(&engine, 1, 2, 1 << 17), "the table is large now");
}

#[test]
fn packets_that_are_dropped_take_usual_ways_too() {
    let engines = [loaded(32), loaded(0)];
    // Every other packet is dropped, one of eight has no way with code.
    let packets: Vec<Vec<u8>> = (0..256u32)
        .map(|at| packet(3, if at % 8 == 7 { 2 } else { (at % 2) as u8 }))
        .collect();
    for round in 0..8 {
        let outs = engines.each_ref().map(|engine| {
            let (mut worker, mut out) = (engine.worker(), Outputs::default());
            for packets in packets.chunks(16) {
                let packets = packets.iter().map(|packet| (3, packet.as_slice()));
                worker.batch(Time(0), packets, &mut out);
            }
            drop(worker);
            engine.settle();
            let sent: Vec<Vec<u8>> = out.transmitted().map(|sent| sent.to_vec()).collect();
            (sent, std::mem::take(&mut out.drops))
        });
        assert_eq!(outs[0], outs[1], "round {round}");
        assert!(outs[0].1.len() >= 64, "some are dropped");
    }
    assert_eq!(engines.each_ref().map(|engine| engine.watch.made()), [1, 0]);
    let [ours, theirs] = engines.each_ref().map(state);
    assert_eq!(ours, theirs);
}

/// What packets of kind 3 left behind.
fn state(engine: &Engine) -> String {
    let externs: Vec<_> = engine.program().externs.iter().map(|(it, _)| it).collect();
    let read = |&it: &_| (engine.register(it, 3).ok(), engine.counter(it, 3).ok());
    format!("{:?}", externs.iter().map(read).collect::<Vec<_>>())
}

#[test]
fn a_packet_that_leaves_a_usual_way_late_changes_nothing_twice() {
    let engines = [loaded(32), loaded(0)];
    let mut sent = 0;
    for engine in &engines {
        send(engine, 3, 1 << 12);
        engine.settle();
    }
    assert_eq!(engines.each_ref().map(|engine| engine.watch.made()), [1, 0]);
    for late in [1, 2, 3, 0, 4, 1, 0] {
        let outs = engines.each_ref().map(|engine| {
            let mut out = Outputs::default();
            let mut worker = engine.worker();
            let packet = packet(3, late);
            worker.batch(Time(0), [(3, packet.as_slice()); 2], &mut out);
            let sent: Vec<Vec<u8>> = out.transmitted().map(|sent| sent.to_vec()).collect();
            (sent, std::mem::take(&mut out.drops))
        });
        assert_eq!(outs[0], outs[1], "late {late}");
        sent += outs[0].0.len();
    }
    assert_eq!(sent, 10);
    let state = engines.each_ref().map(state);
    assert_eq!(state[0], state[1]);
}

/// Fields of one header in fields of another: of the same width and side by side there, too, or wider, or in another order.
const COPIED: &str = r#"
#include <core.p4>
#include <pna.p4>
header from_t { bit<8> a; bit<8> b; bit<8> c; bit<4> d; bit<4> e; bit<16> f; bit<24> g; }
header to_t { bit<16> wide; bit<8> c; bit<4> d; bit<4> e; bit<8> b; bit<16> f; bit<24> g; bit<8> a; bit<8> narrow; }
struct headers { from_t from; to_t to; }
struct meta_t { }
parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {
    state start { p.extract(hdr.from); transition accept; }
}
control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) { apply { } }
control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {
    apply {
        hdr.to.setValid();
        hdr.to.wide = (bit<16>)hdr.from.a;
        hdr.to.c = hdr.from.c;
        hdr.to.d = hdr.from.d;
        hdr.to.e = hdr.from.e;
        hdr.to.b = hdr.from.b;
        hdr.to.f = hdr.from.f;
        hdr.to.g = hdr.from.g;
        hdr.to.a = hdr.from.a;
        hdr.to.narrow = (bit<8>)hdr.from.d;
        if (hdr.from.a == 0xa0) { hdr.from.b = hdr.from.a; }
        send_to_port((PortId_t)1);
    }
}
control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) { apply { p.emit(hdr.from); p.emit(hdr.to); } }
PNA_NIC(P(), Pre(), M(), D()) main;
"#;

#[test]
fn fields_are_read_together_only_where_they_lie_side_by_side() {
    for watched_packets in [0, 4] {
        let config = Config {
            watched_packets,
            watched_one_in: 1,
            ..Config::default()
        };
        let engine = engine_with(COPIED, config);
        for round in 0..8 {
            let (mut worker, mut out) = (engine.worker(), Outputs::default());
            let packet = [0xa0, 0xb1, 0xc2, 0xde, 0xf1, 0xf2, 1, 2, 3, 0xee];
            worker.batch(Time(0), [(3, packet.as_slice())], &mut out);
            let sent: Vec<Vec<u8>> = out.transmitted().map(|sent| sent.to_vec()).collect();
            let mut expected = vec![0xa0, 0xa0, 0xc2, 0xde, 0xf1, 0xf2, 1, 2, 3];
            expected.extend([
                0, 0xa0, 0xc2, 0xde, 0xb1, 0xf1, 0xf2, 1, 2, 3, 0xa0, 0xd, 0xee,
            ]);
            assert_eq!(sent, [expected], "round {round}");
            drop(worker);
            engine.settle();
        }
        assert_eq!(engine.watch.made(), watched_packets / 4);
    }
}
