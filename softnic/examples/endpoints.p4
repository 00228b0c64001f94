// One exact table of the shape of a load balancer's endpoints.
#include <core.p4>
#include <v1model.p4>

struct headers { }
struct metadata { bit<32> set_id; bit<16> slot; bit<64> hi; bit<64> lo; bit<16> port; }

parser P(packet_in p, out headers h, inout metadata m, inout standard_metadata_t s) {
    state start { transition accept; }
}
control V(inout headers h, inout metadata m) { apply { } }
control I(inout headers h, inout metadata m, inout standard_metadata_t s) {
    action to_endpoint(bit<64> hi, bit<64> lo, bit<16> port) { m.hi = hi; m.lo = lo; m.port = port; }
    table endpoint {
        key = { m.set_id : exact @name("set"); m.slot : exact @name("slot"); }
        actions = { to_endpoint; NoAction; }
        size = 4194304;
    }
    apply { endpoint.apply(); }
}
control E(inout headers h, inout metadata m, inout standard_metadata_t s) { apply { } }
control C(inout headers h, inout metadata m) { apply { } }
control D(packet_out p, in headers h) { apply { } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
