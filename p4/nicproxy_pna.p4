// nicproxy for NICs: the Portable NIC Architecture as `p4c-dpdk --arch pna` takes it.
//
// The data plane learns `flow` and `reply` itself and times them out itself; the control plane is asked only in
// conflicts and for answers that the NIC cannot make.

#include <core.p4>
#include <pna.p4>

#include "core/constants.p4"
#include "core/headers.p4"

#define ARCHITECTURE_METADATA
#include "core/metadata.p4"

#define NEW_FLOW_BY_SLOW_PATH 0

struct pick_t {
    bit<64> endpoint_hi;
    bit<64> endpoint_lo;
    bit<16> endpoint_port;
}

struct translation_t {
    bit<64> src_hi;
    bit<64> src_lo;
    bit<16> src_port;
    bit<16> dst_port;
    bit<64> dst_hi;
    bit<64> dst_lo;
    bit<32> endpoint_id;
}

#define SELECT_HASH_INSTANCE Hash<bit<16>>(PNA_HashAlgorithm_t.CRC32) select_hash;
#define SELECT_HASH \
        meta.slot_hash = select_hash.get_hash((bit<32>)0, \
            { hdr.local.hash_src, hdr.local.hash_src_port, hdr.local.hash_dst_lo }, \
            (bit<32>)65536);

#define FRONTEND_COUNTER_INSTANCE \
    @id(1) @name(".frontend_counter") DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES) frontend_counter;
#define FRONTEND_COUNT frontend_counter.count(hdr.local.ip_length);
#define FRONTEND_COUNTER_PROPERTY pna_direct_counter = frontend_counter;

// PNA takes a port from action data or a constant only; the last call wins.
#define SEND_TO_PORT(port) send_to_port((PortId_t)port);

#define LEARNING_TABLE \
        add_on_miss = true; \
        idle_timeout_with_auto_delete = true; \
        default_idle_timeout_for_data_plane_added_entries = 1;

#define AFFINITY_LEARN \
        if (hdr.local.opening == 1 && hdr.local.affinity_profile != NO_PROFILE) { \
            add_entry(action_name = "pin", \
                      action_params = (pick_t){ meta.new.dst_hi, meta.new.dst_lo, meta.new.dst_port }, \
                      expire_time_profile_id = (ExpireTimeProfileId_t)meta.learn_profile); \
        }
// A pin that the control plane wrote has no time of its own: the packet that it sends back in brings it.
#define AFFINITY_REFRESH \
        if (hdr.local.opening == 1 || hdr.local.injected == 1) { \
            if (hdr.local.affinity_profile == NO_PROFILE) { \
                restart_expire_timer(); \
            } else { \
                set_entry_expire_time((ExpireTimeProfileId_t)meta.learn_profile); \
            } \
        }
#define AFFINITY_PROPERTIES LEARNING_TABLE

#define FLOW_LEARN \
        if (hdr.local.learn == 1) { \
            add_entry(action_name = "translate", \
                      action_params = (translation_t){ meta.new.src_hi, meta.new.src_lo, meta.new.src_port, \
                                                       meta.new.dst_port, meta.new.dst_hi, meta.new.dst_lo, \
                                                       hdr.local.endpoint_id }, \
                      expire_time_profile_id = (ExpireTimeProfileId_t)meta.learn_profile); \
        }
#define REPLY_LEARN \
        if (hdr.local.learn == 1) { \
            add_entry(action_name = "translate_back", \
                      action_params = (translation_t){ meta.old.dst_hi, meta.old.dst_lo, meta.old.dst_port, \
                                                       meta.old.src_port, meta.old.src_hi, meta.old.src_lo, \
                                                       hdr.local.endpoint_id }, \
                      expire_time_profile_id = (ExpireTimeProfileId_t)meta.learn_profile); \
        }
#define REFRESH \
        if (meta.refresh_profile == EXPIRE_KEEP) { \
            restart_expire_timer(); \
        } else { \
            if (meta.refresh_profile != EXPIRE_UNTOUCHED) { \
                set_entry_expire_time((ExpireTimeProfileId_t)meta.refresh_profile); \
            } \
        }
#define FLOW_PROPERTIES LEARNING_TABLE

#define PLACE_HASH_INSTANCE Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) place_hash;
#define PLACE_HASH meta.place_hash = place_hash.get_hash((bit<32>)0, { hdr.aside.fold }, (bit<32>)0x80000000);
#define TRACK_REGISTER(name) Register<bit<32>, bit<32>>(NICPROXY_TRACK_SIZE) name;
#define TRACK_READ(name, result, place) result = name.read(place);

#define CHECKSUM_INSTANCES \
    InternetChecksum() network_sum; \
    InternetChecksum() transport_sum;
#define NETWORK_SUM network_sum
#define TRANSPORT_SUM transport_sum
#define SUM_CLEAR(s) s.clear();
#define SUM_ADD_16(s, x) s.add(x);
#define SUM_ADD_64(s, x) s.add(x);
#define SUM_SUBTRACT_16(s, x) s.subtract(x);
#define SUM_SUBTRACT_64(s, x) s.subtract(x);
#define SUM_STORE(s, field) field = s.get();

#include "core/classify.p4"
#include "core/frontend.p4"
#include "core/masquerade.p4"
#include "core/open.p4"
#include "core/flow.p4"
#include "core/related.p4"
#include "core/tracking.p4"
#include "core/tunnel.p4"
#include "core/service.p4"
#include "core/rewrite.p4"
#include "core/route.p4"
#include "core/pipeline.p4"

parser NicParser(packet_in pkt, out headers_t hdr, inout metadata_t meta, in pna_main_parser_input_metadata_t standard) {
    state start {
#include "core/clear.p4"
        transition select((bit<32>)standard.input_port) {
            NICPROXY_SLOW_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }

#include "core/parser.p4"
}

control NicPreControl(in headers_t hdr, inout metadata_t meta, in pna_pre_input_metadata_t standard,
                      inout pna_pre_output_metadata_t out_standard) {
    apply { }
}

control NicControl(inout headers_t hdr, inout metadata_t meta, in pna_main_input_metadata_t standard,
                   inout pna_main_output_metadata_t out_standard) {
    Pipeline() pipeline;
    @id(1)
    @name(".verdicts")
    Counter<bit<64>, bit<8>>(NICPROXY_VERDICTS, PNA_CounterType_t.PACKETS) verdicts;
    @id(2)
    @name(".endpoint_counter")
    Counter<bit<64>, bit<32>>(NICPROXY_ENDPOINT_COUNTERS, PNA_CounterType_t.PACKETS_AND_BYTES) endpoint_counter;
    @id(3)
    @name(".endpoint_replies")
    Counter<bit<64>, bit<32>>(NICPROXY_ENDPOINT_COUNTERS, PNA_CounterType_t.PACKETS_AND_BYTES) endpoint_replies;
    @id(4)
    @name(".endpoint_connections")
    Counter<bit<64>, bit<32>>(NICPROXY_ENDPOINT_COUNTERS, PNA_CounterType_t.PACKETS) endpoint_connections;

    apply {
        hdr.local.ingress_port = (bit<32>)standard.input_port;
        pipeline.apply(hdr, meta);
        verdicts.count(hdr.local.verdict);
        if (hdr.local.verdict == VERDICT_TRANSLATED || hdr.local.verdict == VERDICT_TUNNELLED) {
            endpoint_counter.count(hdr.local.endpoint_id, hdr.local.ip_length);
            // Learnt by this packet.
            if (hdr.local.flow_found == 0) {
                endpoint_connections.count(hdr.local.endpoint_id);
            }
        }
        if (hdr.local.verdict == VERDICT_REPLIED) {
            endpoint_replies.count(hdr.local.endpoint_id, hdr.local.ip_length);
        }
        if (hdr.local.decided == DECIDED_DROP) {
            drop_packet();
        }
        if (hdr.local.decided == DECIDED_SLOW) {
            send_to_port((PortId_t)NICPROXY_SLOW_PORT);
        }
    }
}

control NicDeparser(packet_out pkt, in headers_t hdr, in metadata_t meta, in pna_main_output_metadata_t standard) {
    apply {
#include "core/deparser.p4"
    }
}

PNA_NIC(NicParser(), NicPreControl(), NicControl(), NicDeparser()) main;
