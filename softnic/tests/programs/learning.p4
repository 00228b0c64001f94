// A PNA program that learns: the first packet of a key stores its value, later ones carry it.
#include <core.p4>
#include <pna.p4>

header probe_t { bit<8> op; bit<16> key; bit<16> value; }
struct headers { probe_t probe; }
struct metadata { bit<16> found; }
struct learned_t { bit<16> value; }

parser P(packet_in pkt, out headers hdr, inout metadata meta, in pna_main_parser_input_metadata_t istd) {
    state start { pkt.extract(hdr.probe); transition accept; }
}
control Pre(in headers hdr, inout metadata meta, in pna_pre_input_metadata_t istd,
            inout pna_pre_output_metadata_t ostd) { apply { } }
control M(inout headers hdr, inout metadata meta, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    action found(bit<16> value) {
        hdr.probe.value = value;
        restart_expire_timer();
    }
    action learn() {
        add_entry(action_name = "found", action_params = (learned_t){ hdr.probe.value },
                  expire_time_profile_id = (ExpireTimeProfileId_t)8w0);
        hdr.probe.value = 0;
    }
    table flow {
        key = { hdr.probe.key : exact @name("key"); }
        actions = { @tableonly found; @defaultonly learn; }
        const default_action = learn;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 1024;
    }
    apply { flow.apply(); send_to_port((PortId_t)1); }
}
control D(packet_out pkt, in headers hdr, in metadata meta, in pna_main_output_metadata_t ostd) {
    apply { pkt.emit(hdr.probe); }
}
PNA_NIC(P(), Pre(), M(), D()) main;
