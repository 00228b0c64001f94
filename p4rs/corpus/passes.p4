// What follows a pass: clones, resubmitted and recirculated packets with what they keep, copies, truncation.
// Egress writes into `seen` which copy (upper half) of which kind (lower half) it got.
#include <core.p4>
#include <v1model.p4>

enum bit<8> Keep { CLONED = 1, AGAIN = 2 }
header h_t { bit<8> op; bit<8> seen; bit<16> note; }
struct headers { h_t h; }
struct kept_t {
    @field_list(Keep.CLONED) bit<8> cloned;
    bit<8> lost;
    @field_list(Keep.AGAIN, 3) bit<8> again;
}
struct metadata { kept_t kept; }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start { p.extract(hdr.h); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    action keep(bit<8> cloned, bit<8> again) {
        m.kept = { cloned, 0x22, again };
        hdr.h.note = 0xaaaa;
    }
    apply {
        std.egress_spec = 1;
        if (std.instance_type == 6) {
            hdr.h.note = m.kept.again ++ m.kept.cloned;
        } else if (std.instance_type == 4) {
            hdr.h.note[7:0] = m.kept.again;
        } else if (hdr.h.op == 1 || hdr.h.op == 6) {
            keep(0x11, 0x12);
            clone_preserving_field_list(CloneType.I2E, 5, Keep.CLONED);
            if (hdr.h.op == 6) {
                mark_to_drop(std);
            }
        } else if (hdr.h.op == 3) {
            keep(0x44, 0x55);
            resubmit_preserving_field_list(Keep.AGAIN);
            mark_to_drop(std);
        } else if (hdr.h.op == 5) {
            std.mcast_grp = 7;
        } else if (hdr.h.op == 8) {
            mark_to_drop(std);
            std.egress_spec = 3;
        } else if (hdr.h.op == 9) {
            std.egress_spec = 0;
        } else if (hdr.h.op == 10) {
            clone(CloneType.I2E, 8);
            exit;
        } else if (hdr.h.op == 11) {
            std.mcast_grp = 99;
        } else if (hdr.h.op == 12) {
            std.mcast_grp = 7;
            mark_to_drop(std);
        }
    }
}

control E(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    apply {
        hdr.h.seen = std.egress_rid[3:0] ++ std.instance_type[3:0];
        if (std.instance_type == 1 || std.instance_type == 2) {
            hdr.h.note = m.kept.cloned ++ m.kept.lost;
        } else if (hdr.h.op == 2) {
            hdr.h.note = 0xbbbb;
            m.kept.cloned = 0x33;
            m.kept.lost = 0x34;
            clone_preserving_field_list(CloneType.E2E, 5, 1);
        } else if (hdr.h.op == 4 && hdr.h.note[7:0] != 0x66) {
            hdr.h.note = 0xdddd;
            m.kept.again = 0x66;
            recirculate_preserving_field_list(3);
        } else if (hdr.h.op == 7) {
            truncate(2);
        } else if (hdr.h.op == 13) {
            clone(CloneType.E2E, 5);
            mark_to_drop(std);
        }
    }
}

#include "switch.p4i"
SWITCH_WITH_EGRESS(P, I, E)
