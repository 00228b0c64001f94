//! The language: what a program computes must be what P4-16 says.

use super::{engine, send};

/// A program whose ingress sees a header `h` with fields of 8, 8, 16, 32 and 200 bits.
fn run(declarations: &str, locals: &str, apply: &str, packet: &[u8]) -> Vec<u8> {
    let text = format!(
        r#"
#include <core.p4>
#include <v1model.p4>
header h_t {{ bit<8> a; bit<8> b; bit<16> c; bit<32> d; bit<200> w; }}
header s_t {{ bit<8> v; }}
header v_t {{ bit<8> n; varbit<64> data; }}
header_union u_t {{ s_t s; h_t h; }}
struct headers {{ h_t h; s_t[3] s; v_t v; u_t u; }}
struct meta_t {{ bit<8> x; }}
{declarations}
parser P(packet_in p, out headers hdr, inout meta_t meta, inout standard_metadata_t std) {{
    state start {{ p.extract(hdr.h); transition select(hdr.h.a, hdr.h.b) {{
        (0xf0 &&& 0xf0, _) : stack;
        (1, 5..7) : variable;
        default : accept; }} }}
    state stack {{ p.extract(hdr.s.next); transition select(hdr.s.last.v) {{ 0: accept; default: stack; }} }}
    state variable {{ p.extract(hdr.v, (bit<32>)p.lookahead<bit<8>>() * 8); transition accept; }}
}}
control V(inout headers hdr, inout meta_t meta) {{ apply {{ }} }}
control I(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {{
    {locals}
    apply {{ {apply} }}
}}
control E(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {{ apply {{ }} }}
control C(inout headers hdr, inout meta_t meta) {{ apply {{ }} }}
control D(packet_out p, in headers hdr) {{ apply {{ p.emit(hdr.h); p.emit(hdr.s); p.emit(hdr.v); p.emit(hdr.u); }} }}
V1Switch(P(), V(), I(), E(), C(), D()) main;
"#
    );
    let sent = send(&engine(&text), 0, packet);
    assert_eq!(sent.len(), 1);
    sent.into_iter().next().unwrap().1
}

/// A packet with these first eight bytes and zeros behind, up to the header's 33.
fn packet(first: [u8; 8]) -> Vec<u8> {
    let mut bytes = first.to_vec();
    bytes.resize(33, 0);
    bytes
}

#[test]
fn arithmetic_slices_and_casts() {
    let apply = "
        hdr.h.c = (bit<16>)hdr.h.a * 16w300;
        hdr.h.d[23:16] = hdr.h.b[7:4] ++ 4w5;
        hdr.h.d[7:0] = (bit<8>)(int<8>)(-8s3) |+| 8w250;
        int<8> s = (int<8>)hdr.h.a;
        hdr.h.d[31:24] = (bit<8>)(s >> 2);
        hdr.h.a = s < 0 ? 8w1 : 8w2;
        hdr.h.b = ~hdr.h.b;";
    let sent = run("", "", apply, &packet([0x84, 0xa7, 0, 0, 0, 0, 0, 0]));
    assert_eq!(sent[..8], [1, !0xa7, 0x9a, 0xb0, 0xe1, 0xa5, 0, 0xff]);
}

#[test]
fn numbers_above_128_bits() {
    let apply = "
        hdr.h.w = (bit<200>)hdr.h.d << 150;
        hdr.h.w = hdr.h.w + (hdr.h.w >> 150) - 1;
        if (hdr.h.w > 200w5 && hdr.h.w != 0) { hdr.h.a = hdr.h.w[157:150]; hdr.h.b = (bit<8>)hdr.h.w; }
        hdr.h.w[199:192] = 0xee;";
    let sent = run("", "", apply, &packet([0, 0, 0, 0, 0, 0, 0x12, 0x34]));
    assert_eq!(sent[..2], [0x34, 0x33]);
    assert_eq!(sent[8], 0xee);
    assert_eq!(sent[30..33], [0, 0x12, 0x33]);
}

#[test]
fn stacks_grow_shift_and_index() {
    let mut bytes = packet([0xf1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([7, 8, 0, 0x55]);
    let apply = "bit<8> i = hdr.h.b; hdr.s[i + 1].v = 9; hdr.s.pop_front(1); hdr.h.c = (bit<16>)hdr.s[7 & i].v;";
    let sent = run("", "", apply, &bytes);
    assert_eq!(sent[2..4], [0, 9]);
    assert_eq!(sent[33..], [9, 0, 0x55]);
    let sent = run(
        "",
        "",
        "hdr.s.push_front(2); hdr.s[0].setValid(); hdr.s[0].v = 1; hdr.s[1].v = 5;",
        &bytes,
    );
    assert_eq!(sent[33..], [1, 7, 0x55]);
}

#[test]
fn a_full_stack_raises_an_error_and_keeps_what_was_extracted() {
    let mut bytes = packet([0xf1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([7, 8, 9, 10]);
    let sent = run(
        "",
        "",
        "if (std.parser_error == error.StackOutOfBounds) { hdr.h.b = 0xaa; }",
        &bytes,
    );
    assert_eq!(sent[1], 0xaa);
    assert_eq!(sent[33..], [7, 8, 9, 10]);
}

#[test]
fn varbits_are_extracted_and_emitted() {
    let mut bytes = packet([1, 6, 0, 0, 0, 0, 0, 0]);
    bytes.extend([3, 0xaa, 0xbb, 0xcc, 0xdd]);
    assert_eq!(
        run("", "", "hdr.h.c = 1;", &bytes)[33..],
        [3, 0xaa, 0xbb, 0xcc, 0xdd]
    );
    bytes[33] = 9;
    bytes.resize(60, 0);
    assert_eq!(
        run(
            "",
            "",
            "if (std.parser_error == error.HeaderTooShort) { hdr.h.b = 0x99; }",
            &bytes
        )[1],
        0x99
    );
}

#[test]
fn unions_hold_one_header_and_invalid_headers_read_zero() {
    let apply = "
        hdr.u.h.setValid(); hdr.u.h.a = 3;
        hdr.u.s.setValid(); hdr.u.s.v = 4;
        if (!hdr.u.h.isValid() && hdr.u.isValid()) { hdr.h.b = hdr.u.h.a + 1; }
        hdr.s[0].v = 6;
        hdr.h.c = (bit<16>)hdr.s[0].v;";
    let sent = run("", "", apply, &packet([0; 8]));
    assert_eq!(sent[1..4], [1, 0, 0]);
    assert_eq!(sent[33..], [4]);
}

#[test]
fn calls_copy_in_and_out() {
    let declarations = "
        bit<8> twice(in bit<8> x) { return x + x; }
        void swap(inout bit<8> x, inout bit<8> y) { bit<8> t = x; x = y; y = t; }
        control Sub(inout bit<8> x, out bit<8> y) { apply { y = x + 1; x = y + 1; } }";
    let locals = "
        Sub() sub;
        action act(inout bit<8> x) { x = 5; hdr.h.a = hdr.h.a + 1; return; }";
    let apply = "
        hdr.h.c[7:0] = twice(twice(hdr.h.b) + twice(1));
        swap(hdr.h.a, hdr.h.b);
        act(hdr.h.a);
        sub.apply(hdr.h.d[7:0], hdr.h.d[15:8]);
        sub.apply(hdr.h.d[31:24], hdr.h.d[23:16]);";
    let sent = run(
        declarations,
        locals,
        apply,
        &packet([1, 3, 0, 0, 0, 0, 0, 10]),
    );
    assert_eq!(sent[..8], [5, 1, 0, 16, 2, 1, 11, 12]);
}

#[test]
fn wide_slices_are_passed_by_reference() {
    let declarations = "void next(inout bit<140> x) { x = x + 1; }";
    let apply = "hdr.h.w = ((bit<200>)200w0) - 1; next(hdr.h.w[150:11]);";
    let sent = run(declarations, "", apply, &packet([0; 8]));
    // Bits 150 to 11 carried over to zero, the others stay ones.
    assert_eq!(sent[8..14], [0xff; 6]);
    assert_eq!((sent[14], sent[31], sent[32]), (0x80, 0x07, 0xff));
    assert!(sent[15..31].iter().all(|&byte| byte == 0));
}

#[test]
fn loops_break_continue_and_are_bounded() {
    let apply = "
        for (bit<8> i = 0; i < 10; i = i + 1) { if (i == 3) { continue; } if (i == 6) { break; } hdr.h.a = hdr.h.a + i; }
        for (bit<8> j in 8w2 .. 8w4) { hdr.h.b = hdr.h.b + j; }";
    assert_eq!(run("", "", apply, &packet([0; 8]))[..2], [12, 9]);
}

#[test]
fn switches_on_values() {
    let apply = "
        switch (hdr.h.a) { 1: 2: { hdr.h.b = 7; } 3: { hdr.h.b = 8; } default: { hdr.h.b = 9; } }";
    assert_eq!(run("", "", apply, &packet([1, 0, 0, 0, 0, 0, 0, 0]))[1], 7);
    assert_eq!(run("", "", apply, &packet([3, 0, 0, 0, 0, 0, 0, 0]))[1], 8);
    assert_eq!(run("", "", apply, &packet([5, 0, 0, 0, 0, 0, 0, 0]))[1], 9);
}

#[test]
fn an_endless_loop_ends_the_packet() {
    let text = "
#include <core.p4>
#include <v1model.p4>
struct headers { } struct meta_t { bit<8> x; }
parser P(packet_in p, out headers hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start { transition select(std.ingress_port) { 1: start; default: accept; } }
}
control V(inout headers hdr, inout meta_t meta) { apply { } }
control I(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) { apply { for (; meta.x == 0; ) { meta.x = 0; } } }
control E(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) { apply { } }
control C(inout headers hdr, inout meta_t meta) { apply { } }
control D(packet_out p, in headers hdr) { apply { } }
V1Switch(P(), V(), I(), E(), C(), D()) main;";
    let e = engine(text);
    let mut out = super::Outputs::default();
    e.process(super::Time(0), 0, &[1], &mut out);
    e.process(super::Time(0), 1, &[1], &mut out);
    assert_eq!(
        out.drops,
        [
            super::super::DropReason::LoopLimit,
            super::super::DropReason::ParserTimeout
        ]
    );
}
