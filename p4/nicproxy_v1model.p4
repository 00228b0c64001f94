// nicproxy for bmv2 and any v1model target.
//
// v1model learns nothing by itself: the first packet of a connection goes to the control plane. Entries of `flow`
// and `reply` carry an idle timeout that P4Runtime reports.

#include <core.p4>
#include <v1model.p4>

// bmv2 takes some 60 bytes for each, in each of four registers.
#ifndef NICPROXY_TRACK_SIZE
#define NICPROXY_TRACK_SIZE 262144
#endif
#include "core/constants.p4"
#include "core/headers.p4"

#define ARCHITECTURE_METADATA \
    bit<9>  out_port; \
    bit<64> network_sum; \
    bit<64> transport_sum;
#include "core/metadata.p4"

#define NEW_FLOW_BY_SLOW_PATH 1

#define SELECT_HASH_INSTANCE
#define SELECT_HASH \
        hash(meta.slot_hash, HashAlgorithm.crc32, (bit<32>)0, \
             { hdr.local.hash_src, hdr.local.hash_src_port, hdr.local.hash_dst_lo }, \
             (bit<32>)65536);

#define FRONTEND_COUNTER_INSTANCE \
    @id(1) @name(".frontend_counter") direct_counter(CounterType.packets_and_bytes) frontend_counter;
#define FRONTEND_COUNT frontend_counter.count();
#define FRONTEND_COUNTER_PROPERTY counters = frontend_counter;

#define AFFINITY_LEARN
#define AFFINITY_REFRESH
#define AFFINITY_PROPERTIES support_timeout = true;

#define SEND_TO_PORT(port) meta.out_port = (bit<9>)port;

#define FLOW_LEARN
#define REPLY_LEARN
#define REFRESH
#define FLOW_PROPERTIES support_timeout = true;

// One's-complement sums in 64 bits: they take billions of words before they overflow. All ones is zero.
#define PLACE_HASH_INSTANCE
#define PLACE_HASH hash(meta.place_hash, HashAlgorithm.crc32, (bit<32>)0, { hdr.aside.fold }, (bit<32>)0x80000000);
#define TRACK_REGISTER(name) register<bit<32>>(NICPROXY_TRACK_SIZE) name;
#define TRACK_READ(name, result, place) name.read(result, place);

#define CHECKSUM_INSTANCES
#define NETWORK_SUM meta.network_sum
#define TRANSPORT_SUM meta.transport_sum
#define SUM_CLEAR(s) s = 0xffff;
#define SUM_ADD_16(s, x) s = s + (bit<64>)x;
#define SUM_ADD_64(s, x) s = s + (x >> 32) + (x & 0xffffffff);
#define SUM_SUBTRACT_16(s, x) s = s + (bit<64>)(x ^ 0xffff);
#define SUM_SUBTRACT_64(s, x) s = s + ((x >> 32) ^ 0xffffffff) + ((x & 0xffffffff) ^ 0xffffffff);
// The conditions keep the compiler from substituting each fold into the next, which doubles the expression each time.
#define SUM_STORE(s, field) \
        if (s > 0xffffffff) { \
            s = (s >> 32) + (s & 0xffffffff); \
        } \
        if (s > 0xffff) { \
            s = (s >> 16) + (s & 0xffff); \
        } \
        if (s > 0xffff) { \
            s = (s >> 16) + (s & 0xffff); \
        } \
        if (s > 0xffff) { \
            s = (s >> 16) + (s & 0xffff); \
        } \
        field = (bit<16>)s ^ 0xffff;

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

parser NicParser(packet_in pkt, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
#include "core/clear.p4"
        hdr.local.ingress_port = (bit<32>)standard.ingress_port;
        transition select(standard.ingress_port) {
            NICPROXY_SLOW_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }

#include "core/parser.p4"
}

control NicVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control NicIngress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    Pipeline() pipeline;
    @id(1)
    @name(".verdicts")
    counter(NICPROXY_VERDICTS, CounterType.packets) verdicts;
    @id(2)
    @name(".endpoint_counter")
    counter(NICPROXY_ENDPOINT_COUNTERS, CounterType.packets_and_bytes) endpoint_counter;
    @id(3)
    @name(".endpoint_replies")
    counter(NICPROXY_ENDPOINT_COUNTERS, CounterType.packets_and_bytes) endpoint_replies;

    apply {
        pipeline.apply(hdr, meta);
        verdicts.count((bit<32>)hdr.local.verdict);
        if (hdr.local.verdict == VERDICT_TRANSLATED || hdr.local.verdict == VERDICT_TUNNELLED) {
            endpoint_counter.count(hdr.local.endpoint_id);
        }
        if (hdr.local.verdict == VERDICT_REPLIED) {
            endpoint_replies.count(hdr.local.endpoint_id);
        }
        if (hdr.local.decided == DECIDED_SLOW) {
            meta.out_port = NICPROXY_SLOW_PORT;
        }
        standard.egress_spec = meta.out_port;
        if (hdr.local.decided == DECIDED_DROP) {
            mark_to_drop(standard);
        }
    }
}

control NicEgress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply { }
}

control NicComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control NicDeparser(packet_out pkt, in headers_t hdr) {
    apply {
#include "core/deparser.p4"
    }
}

V1Switch(NicParser(), NicVerifyChecksum(), NicIngress(), NicEgress(), NicComputeChecksum(), NicDeparser()) main;
