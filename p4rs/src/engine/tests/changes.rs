//! Entries that come, go and change on one thread while machine code looks others up on another.

use super::super::{ActionCall, Config, FieldMatch, NewEntry, Outputs, Time};
use super::{Engine, action, engine_with, table};

const PROGRAM: &str = r#"
#include <core.p4>
#include <pna.p4>
header h_t { bit<32> k; bit<64> x; bit<32> a; bit<32> b; bit<32> c; bit<32> d; }
struct headers { h_t h; }
struct meta_t { }
parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {
    state start { p.extract(hdr.h); transition accept; }
}
control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) { apply { } }
control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {
    action first(bit<32> a, bit<32> b) { hdr.h.a = a; hdr.h.b = b; }
    action second(bit<32> c, bit<32> d) { hdr.h.c = c; hdr.h.d = d; }
    table plain {
        key = { hdr.h.k: exact; hdr.h.x: exact; }
        actions = { first; }
        size = 65536;
    }
    table masked {
        key = { hdr.h.k: exact; hdr.h.x: ternary; }
        actions = { second; }
        size = 65536;
    }
    apply { plain.apply(); masked.apply(); send_to_port((PortId_t)1); }
}
control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) { apply { p.emit(hdr.h); } }
PNA_NIC(P(), Pre(), M(), D()) main;
"#;

/// The key that is always there, in both tables.
const KEPT: u32 = 7;
const X: u64 = 0x1234_5678_9abc_def0;
/// Priority of its ternary entry.
const HIGH: i32 = 100;

/// What is to be done with an entry.
#[derive(Clone, Copy)]
enum Change {
    Insert,
    Modify,
    Delete,
}

/// Changes the entries of a key in both tables: they give a number and its complement.
fn change(engine: &Engine, change: Change, (key, mask, priority): (u32, u64, i32), number: u32) {
    let (key, value, mask) = (
        key.to_be_bytes(),
        (X & mask).to_be_bytes(),
        mask.to_be_bytes(),
    );
    let params = [number.to_be_bytes(), (!number).to_be_bytes()];
    let params: Vec<&[u8]> = params.iter().map(<[u8; 4]>::as_slice).collect();
    let exact = FieldMatch::Exact(&key);
    let whole = X.to_be_bytes();
    let ternary = FieldMatch::Ternary {
        value: &value,
        mask: &mask,
    };
    for (name, act, fields, priority) in [
        ("plain", "first", [exact, FieldMatch::Exact(&whole)], 0),
        ("masked", "second", [exact, ternary], priority),
    ] {
        let table = table(engine, name);
        let call = ActionCall {
            action: action(engine, table, act),
            params: &params,
        };
        let entry = NewEntry {
            priority,
            ..NewEntry::new(&fields, call)
        };
        match change {
            Change::Insert => engine.insert(Time(0), table, &entry),
            Change::Modify => engine.modify(Time(0), table, &entry),
            Change::Delete => engine.delete(table, &fields, priority),
        }
        .unwrap();
    }
}

/// Fills and empties both tables, and changes the entries that stay.
fn keep_changing(engine: &Engine) {
    let others = if cfg!(debug_assertions) { 600 } else { 6_000 };
    // Groups of rows with other masks come and go, before and behind that of the entry which stays; some have one row.
    let other = |n: u32| {
        let priority = 1 + (n * 37 % 200) as i32;
        (1000 + n, u64::MAX << (n % 40), priority)
    };
    for round in 0..3 {
        for n in 0..others {
            change(engine, Change::Insert, other(n), n);
            change(engine, Change::Modify, (KEPT, u64::MAX, HIGH), n + round);
        }
        for n in 0..others {
            change(engine, Change::Delete, other(n), n);
        }
    }
}

/// The two pairs of numbers that a packet leaves with.
fn answers(engine: &Engine, key: u32) -> [(u32, u32); 2] {
    let mut packet = key.to_be_bytes().to_vec();
    packet.extend(X.to_be_bytes());
    packet.extend([0; 16]);
    let mut out = Outputs::default();
    engine.worker().process(Time(1), 0, &packet, &mut out);
    let bytes = out.transmitted().next().unwrap().to_vec();
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    [(number(12), number(16)), (number(20), number(24))]
}

#[test]
fn packets_find_what_is_there_while_other_entries_come_and_go() {
    find_while_changing(Config::default());
}

#[test]
fn packets_of_remembered_flows_find_what_is_there_while_other_entries_come_and_go() {
    find_while_changing(remembering());
}

/// Every lookup of an exact key begins where the flow's last packet found the entry.
fn remembering() -> Config {
    Config {
        far_from: 0,
        ..Config::default()
    }
}

fn find_while_changing(config: Config) {
    let engine = engine_with(PROGRAM, config);
    assert!(engine.is_native());
    change(&engine, Change::Insert, (KEPT, u64::MAX, HIGH), 1);
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| keep_changing(&engine));
        let mut turn = 0;
        loop {
            let last = changes.is_finished();
            for (a, b) in answers(&engine, KEPT) {
                assert_eq!(a, !b, "the entry that stays, old or new");
            }
            turn = (turn + 1) % 600;
            for (a, b) in answers(&engine, 1000 + turn) {
                // The table's own default leaves the packet as it was.
                assert!(
                    (a, b) == (turn, !turn) || (a, b) == (0, 0),
                    "all of an entry or nothing: {a} {b}"
                );
            }
            if last {
                break;
            }
        }
    });
    assert_eq!(answers(&engine, 1000), [(0, 0), (0, 0)]);
}

#[test]
fn what_a_flow_found_counts_only_while_it_is_there() {
    let engine = engine_with(PROGRAM, remembering());
    let set = |what, key: u32, number| {
        change(&engine, what, (key, u64::MAX, HIGH), number);
    };
    let found = |key, number: Option<u32>| {
        let expected = number.map_or((0, 0), |number| (number, !number));
        for packet in 0..3 {
            assert_eq!(answers(&engine, key), [expected; 2], "packet {packet}");
        }
    };
    found(KEPT, None);
    set(Change::Insert, KEPT, 1);
    found(KEPT, Some(1));
    set(Change::Modify, KEPT, 2);
    found(KEPT, Some(2));
    set(Change::Delete, KEPT, 2);
    found(KEPT, None);
    // Rows are used again, for other keys first.
    for turn in 0..200 {
        for key in 100..110 {
            set(Change::Insert, key, key + turn);
            found(key, Some(key + turn));
        }
        found(KEPT, None);
        for key in 100..110 {
            set(Change::Delete, key, 0);
            found(key, None);
        }
    }
    set(Change::Insert, KEPT, 9);
    found(KEPT, Some(9));
}

/// The program with a table that is asked for the packet's port in the place of one that is asked for what the packet says.
fn by_port() -> Engine {
    let program = PROGRAM.replace("hdr.h.k: exact; hdr.h.x: exact;", "istd.input_port: exact;");
    let config = Config {
        watched_packets: 64,
        watched_one_in: 1,
        ..Config::default()
    };
    engine_with(&program, config)
}

/// Changes the entry of a port.
fn change_port(engine: &Engine, change: Change, port: u32, number: u32) {
    let (key, params) = (
        port.to_be_bytes(),
        [number.to_be_bytes(), (!number).to_be_bytes()],
    );
    let params: Vec<&[u8]> = params.iter().map(<[u8; 4]>::as_slice).collect();
    let plain = table(engine, "plain");
    let call = ActionCall {
        action: action(engine, plain, "first"),
        params: &params,
    };
    let fields = [FieldMatch::Exact(&key)];
    let entry = NewEntry::new(&fields, call);
    match change {
        Change::Insert => engine.insert(Time(0), plain, &entry),
        Change::Modify => engine.modify(Time(0), plain, &entry),
        Change::Delete => engine.delete(plain, &fields, 0),
    }
    .unwrap();
}

/// What packets of these ports leave with, one batch of them.
fn answers_of(engine: &Engine, ports: &[u32]) -> Vec<(u32, u32)> {
    let packet = [0; 28];
    let mut out = Outputs::default();
    let packets = ports.iter().map(|&port| (port, packet.as_slice()));
    engine.worker().batch(Time(1), packets, &mut out);
    let number =
        |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let answers = out.transmitted().map(|sent| {
        let bytes = sent.to_vec();
        (number(&bytes, 12), number(&bytes, 16))
    });
    answers.collect()
}

/// Sends packets until their way has code of its own.
fn usual_by_port(engine: &Engine, port: u32) {
    for _ in 0..100 {
        answers_of(engine, &[port]);
    }
    assert!(engine.settle(), "the way has code of its own");
}

#[test]
fn the_row_of_a_port_counts_for_its_port_and_while_it_is_there() {
    let engine = by_port();
    for port in 0..3 {
        change_port(&engine, Change::Insert, port, 10 + port);
    }
    usual_by_port(&engine, 0);
    let answer = |number: u32| (number, !number);
    let ports: Vec<u32> = (0..64).map(|packet| packet / 3 % 4).collect();
    let expected = |of: &dyn Fn(u32) -> (u32, u32)| -> Vec<(u32, u32)> {
        ports.iter().map(|&port| of(port)).collect()
    };
    let first = expected(&|port| if port < 3 { answer(10 + port) } else { (0, 0) });
    assert_eq!(answers_of(&engine, &ports), first);
    change_port(&engine, Change::Modify, 0, 20);
    change_port(&engine, Change::Delete, 1, 0);
    change_port(&engine, Change::Insert, 3, 13);
    let then = expected(&|port| [answer(20), (0, 0), answer(12), answer(13)][port as usize]);
    assert_eq!(answers_of(&engine, &ports), then);
}

#[test]
fn the_row_of_a_port_is_whole_while_it_changes() {
    let engine = by_port();
    change_port(&engine, Change::Insert, 5, 1);
    usual_by_port(&engine, 5);
    let changes = if cfg!(debug_assertions) {
        3_000
    } else {
        30_000
    };
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for number in 2..changes {
                change_port(&engine, Change::Modify, 5, number);
                if number % 16 == 0 {
                    change_port(&engine, Change::Delete, 5, number);
                    // Its row may be used again.
                    change_port(&engine, Change::Insert, 6, 0);
                    change_port(&engine, Change::Insert, 5, number);
                    change_port(&engine, Change::Delete, 6, 0);
                }
            }
        });
        let mut newest = 0;
        loop {
            let last = changes.is_finished();
            for (a, b) in answers_of(&engine, &[5; 64]) {
                assert!(
                    a == !b || (a, b) == (0, 0),
                    "all of an entry or nothing: {a} {b}"
                );
                assert!(
                    a == 0 || a >= newest,
                    "never an older one: {a} after {newest}"
                );
                newest = newest.max(a);
            }
            if last {
                break;
            }
        }
    });
    assert_eq!(
        answers_of(&engine, &[5; 64]),
        [(changes - 1, !(changes - 1)); 64]
    );
}
