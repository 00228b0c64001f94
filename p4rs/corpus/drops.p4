// What is marked to be dropped: the metadata at hand, which an action may have got as a parameter or as a copy.
#include <core.p4>
#include <v1model.p4>

header op_t { bit<8> op; }
struct headers { op_t op; }
struct metadata { }

#include "switch.p4i"

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start { p.extract(hdr.op); transition accept; }
}

action drop(inout standard_metadata_t of) { mark_to_drop(of); }
action send(inout standard_metadata_t of, bit<9> port) { of.egress_spec = port; }

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    table by_parameter {
        key = { hdr.op.op: exact; }
        actions = { drop(std); send(std); }
        default_action = send(std, 2);
        const entries = { 0: drop(std); }
    }
    apply {
        by_parameter.apply();
        if (hdr.op.op == 1) {
            drop(std);
        } else if (hdr.op.op == 2) {
            standard_metadata_t copy = std;
            mark_to_drop(copy);
            std.egress_rid = copy.egress_rid;
        } else if (hdr.op.op == 3) {
            drop(std);
            send(std, 5);
        } else if (hdr.op.op == 4) {
            std.mcast_grp = 1;
            drop(std);
        } else if (hdr.op.op == 5) {
            std.mcast_grp = 1;
            drop(std);
            std.egress_spec = 6;
        }
    }
}

SWITCH(P, I)
