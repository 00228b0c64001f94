// Selectors over several fields of odd widths, with every algorithm; a field of a header that is not valid among them.
#include <core.p4>
#include <v1model.p4>

header h_t { bit<8> key; bit<4> a; bit<12> b; bit<8> more; bit<8> r0; bit<8> r1; bit<8> r2; bit<8> r3; }
header more_t { bit<24> c; }
struct headers { h_t h; more_t more; }
struct metadata { }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.more) { 1: more; default: accept; }
    }
    state more { p.extract(hdr.more); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    action_selector(HashAlgorithm.crc32, 64, 32) by_crc32;
    action_selector(HashAlgorithm.crc16, 64, 16) by_crc16;
    action_selector(HashAlgorithm.csum16, 64, 16) by_csum16;
    action_selector(HashAlgorithm.identity, 64, 16) by_identity;
    direct_counter(CounterType.packets_and_bytes) hits;
    counter(16, CounterType.packets_and_bytes) seen;
    action set0(bit<8> value) { hdr.h.r0 = value; }
    action set1(bit<8> value) { hdr.h.r1 = value; }
    action set2(bit<8> value) { hdr.h.r2 = value; }
    action set3(bit<8> value) { hdr.h.r3 = value; seen.count((bit<32>)value); }
    table crc32 {
        key = { hdr.h.key: exact; hdr.h.a: selector; hdr.h.b: selector; hdr.more.c: selector; }
        actions = { set0; NoAction; }
        implementation = by_crc32;
    }
    table crc16 {
        key = { hdr.h.key: lpm; hdr.h.b: selector; hdr.h.a: selector; }
        actions = { set1; NoAction; }
        implementation = by_crc16;
    }
    table csum16 {
        key = { hdr.h.key: ternary; hdr.more.c: selector; hdr.h.b: selector; }
        actions = { set2; NoAction; }
        implementation = by_csum16;
    }
    table identity {
        key = { hdr.h.key: range; hdr.h.a: selector; }
        actions = { set3; NoAction; }
        implementation = by_identity;
        counters = hits;
    }
    apply {
        std.egress_spec = 1;
        crc32.apply();
        crc16.apply();
        csum16.apply();
        identity.apply();
    }
}

#include "switch.p4i"
SWITCH(P, I)
