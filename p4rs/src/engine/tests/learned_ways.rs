//! Entries that usual ways add, and scouts ahead of packets whose flows nobody knows.

use super::super::{Config, Execution, Outputs, Time};
use super::{Engine, engine_with, table};

/// Two tables that learn, of which the second one's key comes of what the first one says; kind 5 asks the first one again.
const PROGRAM: &str = r#"
#include <core.p4>
#include <pna.p4>
header h_t { bit<8> kind; bit<32> key; bit<32> seen; }
struct headers { h_t h; }
struct meta_t { bit<32> other; bit<8> found; }
struct one_t { bit<32> value; }
struct two_t { bit<64> wide; bit<16> narrow; }
parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {
    state start { p.extract(hdr.h); transition accept; }
}
control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) { apply { } }
control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {
    Register<bit<32>, bit<32>>(65536) packets;
    action known(bit<32> value) { meta.other = value; meta.found = 1; restart_expire_timer(); }
    action learn() {
        meta.other = hdr.h.key ^ 0x5a;
        add_entry(action_name = "known", action_params = (one_t){ hdr.h.key ^ 0x5a }, expire_time_profile_id = (ExpireTimeProfileId_t)8w0);
    }
    table first {
        key = { hdr.h.key: exact; }
        actions = { @tableonly known; @defaultonly learn; }
        const default_action = learn;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 3000;
    }
    action back(bit<64> wide, bit<16> narrow) { hdr.h.seen = (bit<32>)wide + (bit<32>)narrow; }
    action learn_back() {
        if (hdr.h.kind != 4) {
            add_entry(action_name = "back", action_params = (two_t){ (bit<64>)hdr.h.key + 7, hdr.h.key[15:0] }, expire_time_profile_id = (ExpireTimeProfileId_t)hdr.h.kind);
        }
    }
    table second {
        key = { meta.other: exact; hdr.h.kind: exact; }
        actions = { @tableonly back; @defaultonly learn_back; }
        const default_action = learn_back;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 2000;
    }
    apply {
        bit<32> cell = hdr.h.key & 0xffff;
        bit<32> count = packets.read(cell);
        packets.write(cell, count + 1);
        first.apply();
        if (count == 0 || meta.found == 1) { second.apply(); }
        if (hdr.h.kind == 5) { first.apply(); }
        hdr.h.seen = hdr.h.seen + count;
        send_to_port((PortId_t)1);
    }
}
control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) { apply { p.emit(hdr.h); } }
PNA_NIC(P(), Pre(), M(), D()) main;
"#;

fn loaded(execution: Execution, watched_packets: u32, remembered_entries: u64) -> Engine {
    let config = Config {
        execution,
        watched_packets,
        watched_one_in: 1,
        remembered_entries,
        far_from: 0,
        ..Config::default()
    };
    engine_with(PROGRAM, config)
}

fn packet(kind: u8, key: u32) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.extend(key.to_be_bytes());
    packet.extend([0, 0, 0, 0, 0xee]);
    packet
}

/// What comes of packets in batches of 40.
fn run(engine: &Engine, now: Time, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut worker, mut sent) = (engine.worker(), Vec::new());
    for batch in packets.chunks(40) {
        let mut out = Outputs::default();
        let batch = batch.iter().map(|packet| (3, packet.as_slice()));
        worker.batch(now, batch, &mut out);
        sent.extend(out.transmitted().map(|sent| sent.to_vec()));
    }
    drop(worker);
    engine.settle();
    sent
}

fn counts(engine: &Engine) -> ([u64; 2], u64) {
    let entries = ["first", "second"].map(|name| {
        let table = table(engine, name);
        engine.entry_count(table).unwrap()
    });
    (entries, engine.statistics().learn_failures)
}

#[test]
fn first_packets_on_usual_ways_leave_behind_what_they_would_have() {
    for remembered in [0, 1000] {
        let engines = [
            loaded(Execution::Native, 64, remembered),
            loaded(Execution::Interpreted, 0, 0),
        ];
        assert!(engines[0].is_native());
        let mut keys = 0..;
        for round in 0..40u64 {
            // Mostly new keys, some of them twice in one batch; and tables that become full, with entries whose time is over.
            let packets: Vec<Vec<u8>> = (0..200u32)
                .map(|at| {
                    let new: u32 = keys.next().unwrap_or(0);
                    let key = if at % 5 == 4 { new - 2 } else { new };
                    packet(
                        if at % 50 == 9 {
                            4 + (round % 2) as u8
                        } else {
                            0
                        },
                        key,
                    )
                })
                .collect();
            let now = Time::from_secs(round / 10 * 8);
            let sent = engines.each_ref().map(|engine| run(engine, now, &packets));
            assert_eq!(sent[0], sent[1], "round {round}");
            for engine in &engines {
                engine.tick(now);
            }
            let left = engines.each_ref().map(counts);
            assert_eq!(left[0], left[1], "round {round}");
        }
        let (_, failures) = counts(&engines[0]);
        assert!(failures > 0, "some entries found no room");
        assert!(engines[0].watch.made() > 0, "ways that learn have code");
        assert!(engines[0].statistics().scouted > 1000, "scouts were sent");
        assert_eq!(engines[1].statistics().scouted, 0);
    }
}

#[test]
fn scouts_are_not_sent_where_packets_take_other_ways() {
    let engine = loaded(Execution::Native, 16, 0);
    let packets = |kind, from: u32| {
        (from..from + 640)
            .map(|key| packet(kind, key))
            .collect::<Vec<_>>()
    };
    run(&engine, Time(0), &packets(0, 0));
    assert!(engine.settle());
    let before = engine.statistics().scouted;
    run(&engine, Time(0), &packets(0, 10_000));
    let usual = engine.statistics().scouted - before;
    assert!(usual >= 600, "{usual} of packets on usual ways");
    run(&engine, Time(0), &packets(5, 20_000));
    let other = engine.statistics().scouted - before - usual;
    assert!(other <= 120, "{other} of packets on other ways");
}

#[test]
fn one_packet_of_a_new_flow_among_known_ones_has_a_scout() {
    let engine = loaded(Execution::Native, 64, 10_000);
    let known: Vec<Vec<u8>> = (0..200).map(|key| packet(0, key)).collect();
    for _ in 0..20 {
        run(&engine, Time(0), &known);
    }
    assert!(engine.watch.made() > 0, "their ways have code");
    let before = engine.statistics().scouted;
    run(&engine, Time(0), &known);
    let again = engine.statistics().scouted - before;
    assert!(again <= 10, "{again} of packets of known flows");
    let mut mixed = known;
    for (at, packet_of) in mixed.iter_mut().skip(30).step_by(40).enumerate() {
        *packet_of = packet(0, 1_000 + at as u32);
    }
    let sent = run(&engine, Time(0), &mixed);
    assert_eq!(sent.len(), mixed.len());
    let new = engine.statistics().scouted - before - 2 * again;
    assert!((5..=10).contains(&new), "{new} of 5 packets of new flows");
}
