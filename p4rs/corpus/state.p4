// Objects that remember, and functions that compute: registers, meters, hashes, random numbers, assertions.
#include <core.p4>
#include <v1model.p4>

header h_t { bit<8> op; bit<8> index; bit<32> x; bit<32> r; }
header nine_t { bit<72> bytes; }
struct headers { h_t h; nine_t nine; }
struct metadata { bit<2> color; }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.op[7:4]) {
            1: nine;
            default: accept;
        }
    }
    state nine { p.extract(hdr.nine); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    register<bit<32>>(4) totals;
    register<bit<200>>(2) wide;
    @name("bytes") counter(4, CounterType.bytes) in_bytes;
    meter(4, MeterType.bytes) speed;
    apply {
        std.egress_spec = 1;
        bit<32> index = (bit<32>) hdr.h.index;
        bit<16> half = 0;
        bit<32> r = 0xdeadbeef;
        if (hdr.h.op == 1) {
            // An index out of range changes nothing.
            totals.read(r, index);
            totals.write(index, r + hdr.h.x);
        } else if (hdr.h.op == 2) {
            bit<200> w;
            wide.read(w, 1);
            w = (w << 32) | (bit<200>) hdr.h.x;
            wide.write(1, w);
            r = w[95:64];
        } else if (hdr.h.op == 3) {
            speed.execute_meter(index, m.color);
            r = (bit<32>) m.color;
        } else if (hdr.h.op == 4) {
            bit<8> dice;
            random(dice, 3, 6);
            r = dice >= 3 && dice <= 6 ? 32w1 : 0;
        } else if (hdr.h.op == 5) {
            random(r, 7, 7);
        } else if (hdr.h.op == 6) {
            assert(hdr.h.x != 0);
            assume(hdr.h.x != 1);
        } else if (hdr.h.op == 0x10) {
            hash(r, HashAlgorithm.crc32, 32w0, { hdr.nine.bytes }, 64w0x100000000);
        } else if (hdr.h.op == 0x11) {
            hash(half, HashAlgorithm.crc16, 16w0, { hdr.nine.bytes[71:40], hdr.nine.bytes[39:0] }, 32w0x10000);
            r = (bit<32>) half;
        } else if (hdr.h.op == 0x12) {
            hash(half, HashAlgorithm.csum16, 16w0, { hdr.nine.bytes }, 32w0x10000);
            r = (bit<32>) half;
        } else if (hdr.h.op == 0x13) {
            hash(half, HashAlgorithm.xor16, 16w0, { hdr.nine.bytes }, 32w0x10000);
            r = (bit<32>) half;
        } else if (hdr.h.op == 0x14) {
            hash(r, HashAlgorithm.identity, 32w0, { hdr.h.x }, 64w0x100000000);
        } else if (hdr.h.op == 0x15) {
            // A base and a size; the bits of a field that is no multiple of eight.
            hash(r, HashAlgorithm.crc32, 32w100, { hdr.nine.bytes[71:3], hdr.nine.bytes[2:0] }, 32w7);
        }
        in_bytes.count(index);
        hdr.h.r = r;
    }
}

#include "switch.p4i"
SWITCH(P, I)
