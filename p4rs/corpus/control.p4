// Control flow: loops, switches, exits, returns, subcontrols and subparsers with constructor parameters.
#include <core.p4>
#include <v1model.p4>

error { BadMagic }
header h_t { bit<8> op; bit<8> a; bit<8> b; bit<8> r; }
header tail_t { bit<8> x; }
struct headers { h_t h; tail_t tail; }
struct metadata { bit<8> steps; }

parser Tail(packet_in p, out tail_t tail, in bit<8> op)(bit<8> magic, bool strict) {
    state start {
        transition select(op, strict) {
            (0x80 &&& 0xc0, _): read;
            (0xc0 .. 0xcf, true): look;
            (_, _): accept;
        }
    }
    state look {
        verify(p.lookahead<bit<8>>() == magic, error.BadMagic);
        transition read;
    }
    state read {
        p.extract(tail);
        transition accept;
    }
}

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    Tail(0x5a, true) strict_tail;
    Tail(magic = 0, strict = false) lax_tail;
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.a) {
            0xff: lax;
            default: strict;
        }
    }
    state strict { strict_tail.apply(p, hdr.tail, hdr.h.op); transition accept; }
    state lax { lax_tail.apply(p, hdr.tail, hdr.h.op); transition accept; }
}

// Steps until one, 0xff for too many.
bit<8> collatz(in bit<8> from) {
    bit<16> n = (bit<16>) from;
    for (bit<8> i = 0; i < 50; i = i + 1) {
        if (n == 1) {
            return i;
        }
        n = n[0:0] == 0 ? n >> 1 : n + n + n + 1;
    }
    return 0xff;
}

control Adder(inout bit<8> x, out bit<8> steps)(bit<8> amount) {
    action add(bit<8> more) { x = x + amount + more; }
    action leave() { steps = 0xee; exit; }
    table adding {
        key = { x : exact @name("operand"); }
        actions = { add; leave; @defaultonly NoAction; }
    }
    apply {
        steps = 1;
        if (adding.apply().hit) {
            steps = 2;
            return;
        }
        steps = steps + 2;
    }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    Adder(1) by_one;
    @name("tens") Adder(amount = 10) by_ten;
    action one() { hdr.h.r = 1; }
    action two() { hdr.h.r = 2; }
    action three() { hdr.h.r = 3; }
    table choose {
        key = { hdr.h.b : exact; }
        actions = { one; two; three; NoAction; }
    }
    apply {
        std.egress_spec = 1;
        if (std.parser_error == error.BadMagic) {
            hdr.h.r = 0xba;
            return;
        }
        switch (hdr.h.op) {
            1: {
                switch (choose.apply().action_run) {
                    one:
                    two: { hdr.h.a = 0x12; }
                    three: { hdr.h.a = 0x30; }
                    default: { hdr.h.a = 0xdf; }
                }
            }
            2: { by_one.apply(hdr.h.a, hdr.h.r); }
            3: { by_ten.apply(hdr.h.a, hdr.h.r); hdr.h.b = 0x33; }
            4:
            5: { hdr.h.r = collatz(hdr.h.a); }
            6: {
                hdr.h.r = 0;
                for (bit<8> i in 1 .. hdr.h.a) {
                    if (i == 3) { continue; }
                    if (i == 6) { break; }
                    hdr.h.r = hdr.h.r + i;
                }
            }
            7: { if (!choose.apply().miss) { hdr.h.a = 0x77; } else { exit; } hdr.h.r = hdr.h.r | 0x70; }
            default: { hdr.h.r = 0xdf; }
        }
        m.steps = m.steps + 1;
        hdr.h.b = hdr.h.b + m.steps;
    }
}

#include "switch.p4i"
SWITCH(P, I)
