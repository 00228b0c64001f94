// Action profiles and selectors: a hash of some fields chooses among an entry's actions.
#include <core.p4>
#include <v1model.p4>

header h_t { bit<8> key; bit<8> flow; bit<8> r; }
struct headers { h_t h; }
struct metadata { }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start { p.extract(hdr.h); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    action_selector(HashAlgorithm.crc32, 64, 16) shared;
    action_profile(8) listed;
    direct_counter(CounterType.packets) hits;
    action set(bit<8> value) { hdr.h.r = value; }
    table choosing {
        key = { hdr.h.key : lpm; hdr.h.flow : selector; }
        actions = { set; NoAction; }
        implementation = shared;
    }
    @name("profiled") table one_of {
        key = { hdr.h.key : ternary; }
        actions = { set; NoAction; }
        implementation = listed;
        counters = hits;
    }
    apply {
        std.egress_spec = 1;
        if (!choosing.apply().hit) {
            one_of.apply();
        }
    }
}

#include "switch.p4i"
SWITCH(P, I)
