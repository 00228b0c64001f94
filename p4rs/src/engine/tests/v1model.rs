//! The order of events of v1model.

use super::super::{CloneSession, CounterData, DropReason, FieldMatch, Outputs, Replica, Time};
use super::{add, engine, send, send_at, table};

/// A program around an ingress and an egress body. The header is one byte of command and two of data.
fn program(ingress: &str, egress: &str) -> String {
    format!(
        r#"
#include <core.p4>
#include <v1model.p4>
header h_t {{ bit<8> op; bit<8> a; bit<8> b; }}
struct headers {{ h_t h; }}
struct meta_t {{ @field_list(1) bit<8> kept; bit<8> lost; @field_list(1, 2) bit<9> port; }}
parser P(packet_in p, out headers hdr, inout meta_t meta, inout standard_metadata_t std) {{
    state start {{ p.extract(hdr.h); transition accept; }}
}}
control V(inout headers hdr, inout meta_t meta) {{ apply {{ }} }}
control I(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {{
    apply {{ {ingress} }}
}}
control E(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {{
    apply {{ {egress} }}
}}
control C(inout headers hdr, inout meta_t meta) {{ apply {{ }} }}
control D(packet_out p, in headers hdr) {{ apply {{ p.emit(hdr.h); }} }}
V1Switch(P(), V(), I(), E(), C(), D()) main;
"#
    )
}

fn session(engine: &super::Engine, id: u32, port: u32) {
    let data = CloneSession {
        replicas: vec![Replica { port, instance: 7 }],
        ..CloneSession::default()
    };
    engine.insert_clone_session(id, &data).unwrap();
}

#[test]
fn unicast_keeps_payload_and_short_packets_reach_ingress() {
    let e = engine(&program(
        "std.egress_spec = 3; if (std.parser_error == error.PacketTooShort) { std.egress_spec = 4; }",
        "",
    ));
    assert_eq!(send(&e, 1, &[1, 2, 3, 4, 5]), [(3, vec![1, 2, 3, 4, 5])]);
    assert_eq!(send(&e, 1, &[1, 2]), [(4, vec![1, 2])]);
    assert_eq!(send(&e, 1, &[]), [(4, vec![])]);
}

#[test]
fn nothing_done_sends_to_port_0_and_drops_are_counted() {
    let e = engine(&program(
        "if (hdr.h.op == 1) { mark_to_drop(std); } if (hdr.h.op == 2) { mark_to_drop(std); std.egress_spec = 5; }",
        "if (hdr.h.op == 3) { mark_to_drop(std); }",
    ));
    assert_eq!(send(&e, 1, &[0, 0, 0]), [(0, vec![0, 0, 0])]);
    assert_eq!(send(&e, 1, &[1, 0, 0]), []);
    assert_eq!(send(&e, 1, &[2, 0, 0]), [(5, vec![2, 0, 0])]);
    assert_eq!(send(&e, 1, &[3, 0, 0]), []);
    let statistics = e.statistics();
    assert_eq!((statistics.received, statistics.transmitted), (4, 2));
    assert!(statistics.drops.contains(&(DropReason::Ingress, 1)));
    assert!(statistics.drops.contains(&(DropReason::Egress, 1)));
}

#[test]
fn ingress_clone_carries_the_bytes_as_received_and_only_the_field_list() {
    let e = engine(&program(
        "if (std.instance_type == 0) { meta.kept = 0x11; meta.lost = 0x22; hdr.h.a = 0xee; std.egress_spec = 2;
           clone_preserving_field_list(CloneType.I2E, 100, 1); }",
        "if (std.instance_type == 1) { hdr.h.op = meta.kept; hdr.h.b = meta.lost; if (std.ingress_port == 0) { hdr.h.a = hdr.h.a + 1; } }",
    ));
    session(&e, 100, 9);
    assert_eq!(
        send(&e, 5, &[1, 2, 3, 4]),
        [(9, vec![0x11, 3, 0, 4]), (2, vec![1, 0xee, 3, 4])]
    );
}

#[test]
fn clones_are_made_even_of_dropped_packets_and_unknown_sessions_make_none() {
    let e = engine(&program("clone(CloneType.I2E, 5); mark_to_drop(std);", ""));
    assert_eq!(send(&e, 1, &[1, 2, 3]), []);
    session(&e, 5, 4);
    assert_eq!(send(&e, 1, &[1, 2, 3]), [(4, vec![1, 2, 3])]);
}

#[test]
fn egress_clone_carries_headers_as_changed() {
    let e = engine(&program(
        "std.egress_spec = 2; meta.kept = 5; meta.lost = 6;",
        "if (std.instance_type == 0) { hdr.h.a = 0x77; clone_preserving_field_list(CloneType.E2E, 6, 1); mark_to_drop(std); }
         else { hdr.h.op = meta.kept; hdr.h.b = meta.lost; }",
    ));
    session(&e, 6, 8);
    assert_eq!(send(&e, 1, &[1, 2, 3, 9]), [(8, vec![5, 0x77, 0, 9])]);
}

#[test]
fn resubmit_brings_back_the_original_bytes() {
    let e = engine(&program(
        "if (std.instance_type == 0) { hdr.h.a = 9; meta.kept = 1; meta.lost = 1; meta.port = std.ingress_port; resubmit_preserving_field_list(1); std.egress_spec = 7; }
         else { hdr.h.op = (bit<8>)std.instance_type; hdr.h.b = meta.kept ++ 7w0 == 15w0 ? 8w0 : meta.kept; std.egress_spec = meta.port + (bit<9>)std.ingress_port; }",
        "",
    ));
    assert_eq!(send(&e, 3, &[1, 2, 3]), [(3, vec![6, 2, 1])]);
}

#[test]
fn recirculate_brings_back_the_deparsed_bytes_and_is_bounded() {
    let e = engine(&program(
        "std.egress_spec = 1; hdr.h.a = hdr.h.a + 1;",
        "if (hdr.h.a < 5) { recirculate_preserving_field_list(1); }",
    ));
    assert_eq!(send(&e, 3, &[1, 2, 3]), [(1, vec![1, 5, 3])]);
    let e = engine(&program("", "recirculate_preserving_field_list(1);"));
    let mut out = Outputs::default();
    e.process(Time(0), 0, &[0, 0, 0], &mut out);
    assert_eq!(out.transmitted().len(), 0);
    assert_eq!(out.drops, [DropReason::PassLimit]);
}

#[test]
fn multicast_makes_one_copy_per_replica() {
    let e = engine(&program(
        "std.mcast_grp = (bit<16>)hdr.h.op;",
        "hdr.h.a = (bit<8>)std.egress_rid; hdr.h.b = (bit<8>)std.instance_type;",
    ));
    e.insert_multicast_group(
        1,
        &[
            Replica {
                port: 2,
                instance: 20,
            },
            Replica {
                port: 3,
                instance: 30,
            },
        ],
    )
    .unwrap();
    assert_eq!(
        send(&e, 0, &[1, 0, 0]),
        [(2, vec![1, 20, 5]), (3, vec![1, 30, 5])]
    );
    let mut out = Outputs::default();
    e.process(Time(0), 0, &[9, 0, 0], &mut out);
    assert_eq!(out.drops, [DropReason::NoReplica]);
}

#[test]
fn digests_and_logs_are_handed_out() {
    let e = engine(&program(
        "digest(3, { hdr.h.a, hdr.h.b }); log_msg(\"a={} b={}\", { hdr.h.a, hdr.h.b }); mark_to_drop(std);",
        "",
    ));
    let mut out = Outputs::default();
    e.process(Time(0), 0, &[1, 20, 30], &mut out);
    assert_eq!(out.digests.len(), 1);
    assert_eq!(out.digests[0].receiver, 3);
    assert_eq!(out.digests[0].fields, [[20], [30]]);
    assert_eq!(out.log, ["a=20 b=30"]);
}

#[test]
fn exit_ends_ingress_only() {
    let e = engine(&program(
        "std.egress_spec = 2; if (hdr.h.op == 1) { exit; } hdr.h.a = 1;",
        "hdr.h.b = 9;",
    ));
    assert_eq!(send(&e, 0, &[1, 0, 0]), [(2, vec![1, 0, 9])]);
    assert_eq!(send(&e, 0, &[2, 0, 0]), [(2, vec![2, 1, 9])]);
}

const TABLES: &str = r#"
#include <core.p4>
#include <v1model.p4>
header h_t { bit<8> op; bit<16> a; bit<16> sum; }
struct headers { h_t h; }
struct meta_t { bit<2> color; }
parser P(packet_in p, out headers hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start { p.extract(hdr.h); transition accept; }
}
control V(inout headers hdr, inout meta_t meta) {
    apply { verify_checksum(hdr.h.op != 0, { hdr.h.op, 8w0, hdr.h.a }, hdr.h.sum, HashAlgorithm.csum16); }
}
control I(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) hits;
    counter(4, CounterType.packets) ops;
    register<bit<16>>(8) last;
    action forward(bit<9> port) { std.egress_spec = port; hits.count(); }
    action drop() { mark_to_drop(std); }
    action note() { }
    table exact_t {
        key = { hdr.h.op : exact; hdr.h.a : exact @name("second"); }
        actions = { forward; drop; @defaultonly NoAction; }
        counters = hits;
        support_timeout = true;
        size = 3;
    }
    table fixed {
        key = { hdr.h.a : ternary; }
        actions = { note; drop; NoAction; }
        const entries = { 0x1200 &&& 0xff00 : note(); 0x1234 : drop(); _ : NoAction(); }
    }
    apply {
        ops.count((bit<32>)hdr.h.op);
        if (std.checksum_error == 1) { hdr.h.sum = 0xbad; }
        bit<16> before;
        last.read(before, (bit<32>)hdr.h.op);
        last.write((bit<32>)hdr.h.op, hdr.h.a);
        switch (fixed.apply().action_run) {
            note: { hdr.h.op = hdr.h.op | 0x80; exit; }
            default: { }
        }
        if (!exact_t.apply().hit) { std.egress_spec = 100; hdr.h.a = before; }
    }
}
control E(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) { apply { } }
control C(inout headers hdr, inout meta_t meta) {
    apply { update_checksum(hdr.h.op == 2, { hdr.h.op, 8w0, hdr.h.a }, hdr.h.sum, HashAlgorithm.csum16); }
}
control D(packet_out p, in headers hdr) { apply { p.emit(hdr.h); } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
"#;

#[test]
fn tables_counters_registers_checksums() {
    let e = engine(TABLES);
    add(
        &e,
        "exact_t",
        &[FieldMatch::Exact(&[2]), FieldMatch::Exact(&[1])],
        0,
        "forward",
        &[&[1, 0]],
    );
    let sum = !(0x0200u16 + 1);
    let [hi, lo] = sum.to_be_bytes();
    assert_eq!(
        send(&e, 0, &[2, 0, 1, hi, lo]),
        [(256, vec![2, 0, 1, hi, lo])]
    );
    // A wrong checksum is seen, and written anew in the compute control.
    assert_eq!(
        send(&e, 0, &[2, 0, 1, 0, 0]),
        [(256, vec![2, 0, 1, hi, lo])]
    );
    // A miss; the register holds the value of the packet before.
    assert_eq!(
        send(&e, 0, &[3, 0, 9, 0, 0]),
        [(100, vec![3, 0, 0, 0x0b, 0xad])]
    );
    assert_eq!(
        send(&e, 0, &[3, 0, 8, 0, 0]),
        [(100, vec![3, 0, 9, 0x0b, 0xad])]
    );
    let handle = table(&e, "exact_t");
    let mut seen = Vec::new();
    let fields = [FieldMatch::Exact(&[2]), FieldMatch::Exact(&[0, 1])];
    e.get(Time(0), handle, &fields, 0, &mut |view| {
        seen.push(view.counter)
    })
    .unwrap();
    assert_eq!(
        seen,
        [Some(CounterData {
            packets: 2,
            bytes: 10
        })]
    );
    let externs = &e.program().externs;
    let find = |kind: &str| {
        externs
            .iter()
            .find(|(_, object)| object.kind == kind)
            .unwrap()
            .0
    };
    assert_eq!(e.counter(find("counter"), 3).unwrap().packets, 2);
    assert_eq!(e.array_size(find("counter")), Ok(4));
    assert_eq!(e.register(find("register"), 3), Ok(vec![vec![0, 8]]));
    assert_eq!(e.lookups(handle), Ok((2, 2)));
}

#[test]
fn const_entries_go_in_order_and_cannot_be_written() {
    let e = engine(TABLES);
    // note, by the first entry although the second is narrower; exit skips the rest.
    assert_eq!(send(&e, 0, &[3, 0x12, 0x34, 0, 0])[0].1[0], 0x83);
    let handle = table(&e, "fixed");
    let mut views = Vec::new();
    let done = e.read(
        Time(0),
        handle,
        super::super::Cursor::default(),
        10,
        &mut |v| views.push((v.priority, v.is_const)),
    );
    assert_eq!(done, Ok(None));
    assert_eq!(views, [(3, true), (2, true), (1, true)]);
    assert_eq!(
        e.delete(handle, &[FieldMatch::DontCare], 1),
        Err(super::super::TableError::ReadOnly)
    );
}

#[test]
fn idle_entries_are_reported_again_after_each_timeout() {
    let e = engine(TABLES);
    let handle = table(&e, "exact_t");
    let fields = [FieldMatch::Exact(&[2]), FieldMatch::Exact(&[1])];
    let call = super::super::ActionCall {
        action: 1,
        params: &[],
    };
    let entry = super::super::NewEntry {
        idle_timeout_ns: 10_000_000_000,
        metadata: b"owner",
        ..super::super::NewEntry::new(&fields, call)
    };
    e.insert(Time(0), handle, &entry).unwrap();
    assert!(e.tick(Time::from_secs(9)).is_empty());
    send_at(&e, Time::from_secs(9), 0, &[2, 0, 1, 0, 0]);
    assert!(e.tick(Time::from_secs(18)).is_empty());
    let idle = e.tick(Time::from_secs(20));
    assert_eq!(idle.len(), 1);
    assert_eq!(
        (idle[0].table, idle[0].metadata.as_slice()),
        (handle, &b"owner"[..])
    );
    assert_eq!(idle[0].fields[1].as_match(), FieldMatch::Exact(&[0, 1]));
    assert!(e.tick(Time::from_secs(29)).is_empty());
    assert_eq!(e.tick(Time::from_secs(31)).len(), 1);
}

#[test]
fn entries_come_from_text() {
    use super::super::entries_text::{EntryFault, load};
    let e = engine(TABLES);
    let text =
        "# forwarding\nadd exact_t op=0x2 second=1 => forward(port=7)\ndefault exact_t => drop()\n";
    assert_eq!(load(&e, Time(0), text), Ok(2));
    assert_eq!(send(&e, 0, &[2, 0, 1, 0, 0])[0].0, 7);
    let fault = |text: &str| load(&e, Time(0), text).unwrap_err().fault;
    assert_eq!(fault("put x => y()"), EntryFault::Verb("put".into()));
    assert_eq!(
        fault("add nothing => y()"),
        EntryFault::Table("nothing".into())
    );
    assert_eq!(fault("add exact_t op=1 second=2"), EntryFault::NoAction);
    assert_eq!(
        fault("add exact_t op=1 third=2 => drop()"),
        EntryFault::Name("third".into())
    );
    assert_eq!(
        fault("add exact_t op=1 second=2 => fly()"),
        EntryFault::Action("fly".into())
    );
    let missing = super::super::TableError::FieldKind {
        field: 1,
        expected: super::super::MatchKind::Exact,
    };
    assert_eq!(
        fault("add exact_t op=1 => drop()"),
        EntryFault::Refused(missing)
    );
}
