// Checksums: verified, computed, with and without what is behind the headers, with conditions, over variable length.
#include <core.p4>
#include <v1model.p4>

header h_t { bit<8> what; bit<8> verdict; bit<16> a; bit<16> b; bit<16> sum; bit<16> whole; }
header extra_t { bit<16> x; bit<16> sum; }
struct headers { h_t h; extra_t extra; }
struct metadata { }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.what[7:7]) {
            1: extra;
            default: accept;
        }
    }
    state extra { p.extract(hdr.extra); transition accept; }
}

control Verify(inout headers hdr, inout metadata m) {
    apply {
        verify_checksum(hdr.h.what[0:0] == 1, { hdr.h.a, hdr.h.b }, hdr.h.sum, HashAlgorithm.csum16);
        verify_checksum_with_payload(hdr.h.what[3:3] == 1, { hdr.h.a, hdr.h.b, hdr.h.sum }, hdr.h.whole,
                                     HashAlgorithm.csum16);
        verify_checksum(true, { hdr.extra.x }, hdr.extra.sum, HashAlgorithm.csum16);
    }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    apply {
        std.egress_spec = 1;
        hdr.h.verdict = std.checksum_error == 1 ? 8w0xce : 0;
        if (hdr.h.what[4:4] == 1) {
            hdr.h.a = hdr.h.a + 1;
        }
    }
}

control Compute(inout headers hdr, inout metadata m) {
    apply {
        update_checksum(hdr.h.what[1:1] == 1, { hdr.h.a, hdr.h.b }, hdr.h.sum, HashAlgorithm.csum16);
        update_checksum_with_payload(hdr.h.what[2:2] == 1, { hdr.h.a, hdr.h.b, hdr.h.sum }, hdr.h.whole,
                                     HashAlgorithm.csum16);
        update_checksum(true, { hdr.extra.x, 16w0xff }, hdr.extra.sum, HashAlgorithm.csum16);
    }
}

#include "switch.p4i"
V1Switch(P(), Verify(), I(), NoEgress(), Compute(), EmitAll()) main;
