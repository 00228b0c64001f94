//! PNA: learning and expiry, ports and directions, recirculation, mirroring, hashes and checksums.

use std::sync::Arc;

use super::super::{CloneSession, Config, DropReason, Engine, FieldMatch, Outputs, Replica, Time};
use super::{add, engine, engine_with, send, send_at, table};
use crate::front::Sources;
use crate::source::SourceBundle;

fn program(declarations: &str, apply: &str) -> String {
    format!(
        r#"
#include <core.p4>
#include <pna.p4>
header h_t {{ bit<8> op; bit<16> a; bit<16> b; }}
struct headers {{ h_t h; }}
struct meta_t {{ bit<8> x; bit<16> y; bit<32> z; }}
struct learned_t {{ bit<16> value; }}
parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {{
    state start {{ p.extract(hdr.h); transition accept; }}
}}
control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) {{ apply {{ }} }}
control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {{
    {declarations}
    apply {{ {apply} }}
}}
control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) {{ apply {{ p.emit(hdr.h); }} }}
PNA_NIC(P(), Pre(), M(), D()) main;
"#
    )
}

const FLOWS: &str = r#"
    action found(bit<16> value) {
        hdr.h.b = value;
        if (hdr.h.op == 2) { restart_expire_timer(); }
        if (hdr.h.op == 3) { set_entry_expire_time((ExpireTimeProfileId_t)8w1); }
    }
    action learn() {
        hdr.h.b = 0;
        if (hdr.h.op != 9) {
            add_entry(action_name = "found", action_params = (learned_t){ hdr.h.a + 1 }, expire_time_profile_id = (ExpireTimeProfileId_t)8w0);
        }
    }
    table flow {
        key = { hdr.h.a : exact; }
        actions = { @tableonly found; @defaultonly learn; }
        const default_action = learn;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 4;
    }
"#;

#[test]
fn flows_are_learned_and_expire() {
    let e = engine(&program(FLOWS, "flow.apply(); send_to_port((PortId_t)1);"));
    let at = |secs: u64, op: u8, key: u8| {
        let sent = send_at(&e, Time::from_secs(secs), 0, &[op, 0, key, 7, 7]);
        u16::from_be_bytes([sent[0].1[3], sent[0].1[4]])
    };
    assert_eq!(at(0, 9, 1), 0);
    assert_eq!(at(0, 1, 1), 0);
    assert_eq!(at(1, 1, 1), 2);
    assert_eq!(at(9, 1, 1), 2);
    // A hit alone does not rearm: profile 0 is 10 s from the start.
    assert_eq!(at(10, 9, 1), 0);
    assert_eq!(at(10, 1, 1), 0);
    assert_eq!(at(19, 2, 1), 2);
    assert_eq!(at(28, 3, 1), 2);
    assert_eq!(at(57, 1, 1), 2);
    let handle = table(&e, "flow");
    assert_eq!(e.entry_count(handle), Ok(1));
    e.tick(Time::from_secs(57));
    assert_eq!(e.entry_count(handle), Ok(1));
    e.tick(Time::from_secs(59));
    assert_eq!(e.entry_count(handle), Ok(0));
}

#[test]
fn a_full_learner_refuses_and_counts() {
    let e = engine(&program(FLOWS, "flow.apply(); send_to_port((PortId_t)1);"));
    for key in 0..6 {
        send(&e, 0, &[1, 0, key, 0, 0]);
    }
    let handle = table(&e, "flow");
    assert_eq!(e.entry_count(handle), Ok(4));
    assert_eq!(e.statistics().learn_failures, 2);
    // The control plane sees, adds and removes entries too.
    e.delete(handle, &[FieldMatch::Exact(&[2])], 0).unwrap();
    add(
        &e,
        "flow",
        &[FieldMatch::Exact(&[200])],
        0,
        "found",
        &[&[0xab, 0xcd]],
    );
    assert_eq!(send(&e, 0, &[1, 0, 200, 0, 0])[0].1[3..], [0xab, 0xcd]);
    let mut seen = 0;
    let mut cursor = super::super::Cursor::default();
    while let Some(next) = e
        .read(Time(0), handle, cursor, 1, &mut |_| seen += 1)
        .unwrap()
    {
        cursor = next;
    }
    assert_eq!(seen, 4);
    e.clear(handle).unwrap();
    assert_eq!(e.entry_count(handle), Ok(0));
}

#[test]
fn an_entry_is_learned_with_what_its_action_takes() {
    let wider = "found(bit<32> given) { bit<16> value = given[15:0];";
    for action in ["found(bit<16> value, bit<8> more) {", wider] {
        let flows = FLOWS.replace("found(bit<16> value) {", action);
        let text = program(&flows, "flow.apply(); send_to_port((PortId_t)1);");
        let sources = Sources::from_bundle(SourceBundle::single("main.p4", text));
        let checked = Arc::new(crate::compile(&sources).unwrap().checked);
        let refused = Engine::new(checked, Config::default()).unwrap_err();
        let why = refused.to_string();
        assert!(
            why.contains("`add_entry` with values of [16] bits for `found`"),
            "{why}"
        );
    }
}

#[test]
fn the_last_of_send_and_drop_wins_and_neither_is_a_drop() {
    let e = engine(&program(
        "",
        "if (hdr.h.op != 0) { send_to_port((PortId_t)(bit<32>)hdr.h.a); } if (hdr.h.op == 2) { drop_packet(); } if (hdr.h.op == 3) { drop_packet(); send_to_port((PortId_t)9); }",
    ));
    assert_eq!(send(&e, 0, &[1, 1, 0, 0, 0]), [(256, vec![1, 1, 0, 0, 0])]);
    assert_eq!(send(&e, 0, &[3, 1, 0, 0, 0])[0].0, 9);
    let mut out = Outputs::default();
    e.process(Time(0), 0, &[0, 0, 0, 0, 0], &mut out);
    e.process(Time(0), 0, &[2, 0, 0, 0, 0], &mut out);
    assert_eq!(out.drops, [DropReason::NoDestination, DropReason::Ingress]);
}

#[test]
fn direction_follows_the_port() {
    let apply = "hdr.h.op = SelectByDirection(istd.direction, 8w1, 8w2); if (istd.direction == PNA_Direction_t.HOST_TO_NET) { hdr.h.a = 5; } send_to_port((PortId_t)1);";
    let e = engine_with(
        &program("", apply),
        Config {
            host_ports: vec![4],
            ..Config::default()
        },
    );
    assert_eq!(send(&e, 3, &[0, 0, 0, 0, 0])[0].1, [1, 0, 0, 0, 0]);
    assert_eq!(send(&e, 4, &[0, 0, 0, 0, 0])[0].1, [2, 0, 5, 0, 0]);
    e.set_host_port(3, true);
    assert_eq!(send(&e, 3, &[0, 0, 0, 0, 0])[0].1[0], 2);
}

#[test]
fn recirculation_counts_passes_and_mirrors_carry_the_deparsed_packet() {
    let apply = "hdr.h.op = hdr.h.op + 1; if (hdr.h.op < 4) { recirculate(); } else { mirror_packet((MirrorSlotId_t)8w1, (MirrorSessionId_t)16w3); send_to_port((PortId_t)1); }";
    let e = engine(&program("", apply));
    let data = CloneSession {
        replicas: vec![Replica {
            port: 8,
            instance: 0,
        }],
        packet_length_bytes: 2,
        ..CloneSession::default()
    };
    e.insert_clone_session(3, &data).unwrap();
    assert_eq!(
        send(&e, 0, &[0, 0, 0, 0, 0]),
        [(8, vec![4, 0]), (1, vec![4, 0, 0, 0, 0])]
    );
}

#[test]
fn hashes_checksums_registers_counters() {
    let declarations = r#"
        Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) crc;
        InternetChecksum() sum;
        Register<bit<16>, bit<8>>(4, 16w77) reg;
        Counter<bit<64>, bit<8>>(4, PNA_CounterType_t.PACKETS_AND_BYTES) counter;
    "#;
    let apply = r#"
        meta.z = crc.get_hash({ 72w0x313233343536373839 });
        hdr.h.op = (bit<8>)crc.get_hash(32w16, { 72w0x313233343536373839 }, 32w8);
        sum.clear();
        sum.add({ hdr.h.a });
        sum.subtract({ hdr.h.b });
        hdr.h.b = sum.get();
        hdr.h.a = (bit<16>)meta.z;
        meta.y = reg.read(8w1);
        reg.write(8w1, meta.y + 1);
        counter.count(8w3);
        send_to_port((PortId_t)(bit<32>)meta.y);
    "#;
    let e = engine(&program(declarations, apply));
    let sent = send(&e, 0, &[0, 0, 9, 0, 2]);
    assert_eq!(sent, [(77, vec![16 + 6, 0x39, 0x26, 0xff, 0xf8])]);
    assert_eq!(send(&e, 0, &[0, 0, 9, 0, 2])[0].0, 78);
    let counter = e
        .program()
        .externs
        .iter()
        .find(|(_, object)| object.kind == "Counter")
        .unwrap()
        .0;
    assert_eq!(e.counter(counter, 3).unwrap().bytes, 10);
}
