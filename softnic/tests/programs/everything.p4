// A v1model program with one of each thing that a controller can write. The packet is one header.
#include <core.p4>
#include <v1model.p4>

@controller_header("packet_in")
header packet_in_t { bit<9> ingress_port; bit<7> pad; bit<8> reason; }

@controller_header("packet_out")
header packet_out_t { bit<9> egress_port; bit<7> pad; }

header probe_t {
    bit<8>  op;      // which table acts
    bit<16> key;
    bit<32> address;
    bit<16> result;
}

struct headers { packet_in_t packet_in; packet_out_t packet_out; probe_t probe; }
struct metadata { bit<16> selected; bit<2> color; }
struct note_t { bit<16> key; bit<32> address; }

#define CPU 510

parser P(packet_in pkt, out headers hdr, inout metadata meta, inout standard_metadata_t std) {
    value_set<bit<8>>(4) special;
    state start {
        transition select(std.ingress_port) { CPU: from_cpu; default: probe; }
    }
    state from_cpu { pkt.extract(hdr.packet_out); transition probe; }
    state probe {
        pkt.extract(hdr.probe);
        transition select(hdr.probe.op) { special: marked; default: accept; }
    }
    state marked { hdr.probe.result = 0xbeef; transition accept; }
}

control V(inout headers hdr, inout metadata meta) { apply { } }

control I(inout headers hdr, inout metadata meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) hits;
    counter(8, CounterType.packets) seen;
    meter(4, MeterType.packets) police;
    register<bit<32>>(8) memory;
    @max_group_size(8) action_selector(HashAlgorithm.crc16, 32w16, 32w16) spread;

    action answer(bit<16> value) { hdr.probe.result = value; std.egress_spec = 2; }
    action send(bit<9> port) { std.egress_spec = port; }
    action drop() { mark_to_drop(std); }
    action copy(bit<16> group) { std.mcast_grp = group; }

    table exact_match {
        key = { hdr.probe.key : exact @name("key"); }
        actions = { answer; send; @defaultonly drop; }
        default_action = drop();
        counters = hits;
        support_timeout = true;
        size = 64;
    }
    table longest {
        key = { hdr.probe.address : lpm @name("address"); }
        actions = { answer; NoAction; }
        size = 64;
    }
    table first {
        key = { hdr.probe.key : ternary @name("key"); hdr.probe.address : optional @name("address"); }
        actions = { answer; drop; }
        const default_action = drop();
        size = 64;
    }
    table fixed {
        key = { hdr.probe.key : exact @name("key"); }
        actions = { answer; drop; }
        const default_action = drop();
        const entries = { 1 : answer(101); 2 : answer(102); }
    }
    table started {
        key = { hdr.probe.key : exact @name("key"); }
        actions = { answer; drop; }
        default_action = drop();
        entries = { const 1 : answer(201); 2 : answer(202); }
    }
    table balanced {
        key = { hdr.probe.key : exact @name("key"); hdr.probe.address : selector; }
        actions = { answer; drop; }
        implementation = spread;
        size = 64;
    }
    table keyless {
        actions = { send; drop; }
        default_action = send(3);
    }
    table replicate {
        key = { hdr.probe.key : exact @name("key"); }
        actions = { copy; drop; }
        default_action = drop();
    }
    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
        } else if (hdr.probe.op == 0) {
            exact_match.apply();
        } else if (hdr.probe.op == 1) {
            longest.apply();
        } else if (hdr.probe.op == 2) {
            first.apply();
        } else if (hdr.probe.op == 3) {
            fixed.apply();
        } else if (hdr.probe.op == 4) {
            started.apply();
        } else if (hdr.probe.op == 5) {
            balanced.apply();
        } else if (hdr.probe.op == 6) {
            keyless.apply();
        } else if (hdr.probe.op == 7) {
            replicate.apply();
        } else if (hdr.probe.op == 8) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = std.ingress_port;
            hdr.packet_in.reason = 42;
            std.egress_spec = CPU;
        } else if (hdr.probe.op == 9) {
            digest<note_t>(1, { hdr.probe.key, hdr.probe.address });
            mark_to_drop(std);
        } else if (hdr.probe.op == 10) {
            bit<32> old;
            memory.read(old, (bit<32>)hdr.probe.key);
            memory.write((bit<32>)hdr.probe.key, hdr.probe.address);
            hdr.probe.address = old;
            seen.count((bit<32>)hdr.probe.key);
            std.egress_spec = 2;
        } else if (hdr.probe.op == 11) {
            police.execute_meter((bit<32>)hdr.probe.key, meta.color);
            hdr.probe.result = (bit<16>)meta.color;
            std.egress_spec = 2;
        } else if (hdr.probe.op == 12) {
            clone(CloneType.I2E, 5);
            std.egress_spec = 2;
        } else {
            std.egress_spec = 4;
        }
    }
}

control E(inout headers hdr, inout metadata meta, inout standard_metadata_t std) { apply { } }
control C(inout headers hdr, inout metadata meta) { apply { } }
control D(packet_out pkt, in headers hdr) { apply { pkt.emit(hdr.packet_in); pkt.emit(hdr.probe); } }

V1Switch(P(), V(), I(), E(), C(), D()) main;
