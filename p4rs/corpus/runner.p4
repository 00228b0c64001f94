// What the runner itself has to deal with: tables of every kind, objects of every kind.
// A packet goes back to the port that it came from unless an entry says otherwise.
#include <core.p4>
#include <v1model.p4>

header h_t { bit<8> a; bit<8> b; }
struct headers { h_t h; }
struct seen_t { bit<8> a; bit<9> port; }
struct metadata { bit<2> color; bit<2> entry_color; bool chosen; }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    value_set<bit<8>>(4) ports;
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.a) {
            ports: in_set;
            _: accept;
        }
    }
    state in_set {
        m.chosen = true;
        transition accept;
    }
}

control V(inout headers hdr, inout metadata m) { apply { } }

control I(inout headers h, inout metadata m, inout standard_metadata_t std) {
    counter(16, CounterType.packets_and_bytes) packets;
    direct_counter(CounterType.packets_and_bytes) hits;
    direct_meter<bit<2>>(MeterType.packets) speed;
    meter(16, MeterType.packets) rates;
    register<bit<32>>(16) cells;
    action forward(bit<9> port) { std.egress_spec = port; }
    action drop() { mark_to_drop(std); }
    action counted(bit<9> port) { std.egress_spec = port; hits.count(); }
    action metered() { speed.read(m.entry_color); }
    table exacts {
        key = { h.h.a : exact; }
        actions = { forward; counted; drop; NoAction; }
        counters = hits;
    }
    table metered_ones {
        key = { h.h.a : exact; }
        actions = { metered; NoAction; }
        meters = speed;
    }
    table lpms {
        key = { h.h.a : lpm; }
        actions = { forward; drop; NoAction; }
    }
    table ternaries {
        key = { h.h.a : ternary; h.h.b : optional; }
        actions = { forward; drop; NoAction; }
    }
    table ranges {
        key = { h.h.a : range; h.h.isValid() : exact; }
        actions = { forward; drop; NoAction; }
    }
    table chosen_ones {
        key = { h.h.a : exact; h.h.b : selector; }
        actions = { forward; drop; NoAction; }
        implementation = action_selector(HashAlgorithm.crc32, 16, 32w14);
    }
    table profiled {
        key = { h.h.a : exact; }
        actions = { forward; drop; NoAction; }
        implementation = action_profile(16);
    }
    table idle {
        key = { h.h.a : exact; }
        actions = { NoAction; }
        support_timeout = true;
    }
    apply {
        std.egress_spec = std.ingress_port;
        exacts.apply();
        metered_ones.apply();
        lpms.apply();
        ternaries.apply();
        ranges.apply();
        chosen_ones.apply();
        profiled.apply();
        idle.apply();
        packets.count((bit<32>) h.h.a);
        rates.execute_meter((bit<32>) h.h.a, m.color);
        if (m.color == 2 || m.entry_color == 2) {
            mark_to_drop(std);
        }
        if (m.chosen) {
            cells.write((bit<32>) h.h.a, (bit<32>) h.h.b);
            digest<seen_t>(1, { h.h.a, std.ingress_port });
            log_msg("seen {}", { h.h.a });
        }
    }
}

control E(inout headers h, inout metadata m, inout standard_metadata_t std) { apply { } }
control C(inout headers h, inout metadata m) { apply { } }
control D(packet_out p, in headers h) { apply { p.emit(h); } }

V1Switch(P(), V(), I(), E(), C(), D()) main;
