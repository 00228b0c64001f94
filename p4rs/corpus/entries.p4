// Entries that the program brings: of every match kind, with priorities in either sense, constant and not.
#include <core.p4>
#include <v1model.p4>

enum bit<8> Kind { NAMED = 7 }
header h_t { bit<8> table_; bit<8> key; bit<16> wide; bit<8> r; }
struct headers { h_t h; }
struct metadata { }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start { p.extract(hdr.h); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    @id(0x1000007) @custom[1, "two", true] @pairs[k = 3, other = "x"]
    action set(@id(1) bit<8> value) { hdr.h.r = value; }
    action unset() { hdr.h.r = 0xff; }
    @hidden action add(bit<8> value) { hdr.h.r = hdr.h.r + value; }
    table exacts {
        key = { hdr.h.key : exact; hdr.h.wide[7:0] : exact @name("low"); }
        actions = { set; unset; }
        const default_action = unset();
        const entries = {
            (1, 2) : set(0x12);
            (Kind.NAMED, 0xab) : set(0x7a);
        }
    }
    table prefixes {
        key = { hdr.h.wide : lpm; }
        actions = { set; unset; }
        default_action = set(0xdf);
        const entries = {
            0x1200 &&& 0xff00 : set(1);
            0x1230 &&& 0xfff0 : set(2);
            0x1234 : set(3);
            _ : set(4);
        }
    }
    // The first of those that match.
    table ternaries {
        key = { hdr.h.key : ternary; hdr.h.wide : ternary; }
        actions = { set; unset; }
        const entries = {
            (0x10 &&& 0xf0, _) : set(1);
            (0x11, 0x5) : set(2);
            (_, 0x5) : set(3);
            (_, _) : set(4);
        }
    }
    // The largest number first, and numbers that the compiler gives.
    table largest {
        largest_priority_wins = true;
        priority_delta = 10;
        key = { hdr.h.key : ternary; }
        actions = { set; unset; }
        entries = {
            const priority = 10 : 0x20 &&& 0xf0 : set(1);
            priority = 30 : 0x21 : set(2);
            0x22 &&& 0xfe : set(3);
            priority = 40 : 0x2f : set(4);
        }
    }
    // The smallest number first.
    table smallest {
        largest_priority_wins = false;
        key = { hdr.h.key : ternary; }
        actions = { set; unset; }
        entries = {
            priority = 10 : 0x30 &&& 0xf0 : set(1);
            priority = 5 : 0x31 : set(2);
            priority = 20 : 0x3f : set(3);
        }
    }
    table ranges {
        key = { hdr.h.key : range; hdr.h.wide : optional; hdr.h.isValid() : exact; }
        actions = { set; add; @tableonly unset; @defaultonly NoAction; }
        default_action = NoAction();
        const entries = {
            (1 .. 3, _, true) : set(1);
            (3 .. 9, 5, true) : set(2);
            (4, _, true) : unset();
            (_, 6, true) : add(5);
        }
    }
    apply {
        std.egress_spec = 1;
        switch (hdr.h.table_) {
            1: { exacts.apply(); }
            2: { prefixes.apply(); }
            3: { ternaries.apply(); }
            4: { largest.apply(); }
            5: { smallest.apply(); }
            6: { ranges.apply(); }
            default: { unset(); }
        }
    }
}

#include "switch.p4i"
SWITCH(P, I)
