// nicproxy for bmv2 and any v1model target.
//
// v1model learns nothing by itself: the first packet of a connection goes to the control plane. Entries of `flow`
// and `reply` carry an idle timeout that P4Runtime reports.

#include <core.p4>
#include <v1model.p4>

#include "core/constants.p4"
#include "core/headers.p4"
#include "core/metadata.p4"

#define NEW_FLOW_BY_SLOW_PATH 1

#define SELECT_HASH_INSTANCE
#define SELECT_HASH \
        hash(meta.hash, HashAlgorithm.crc32, (bit<32>)0, \
             { meta.protocol, meta.src_hi, meta.src_lo, meta.dst_hi, meta.dst_lo, meta.src_port, meta.dst_port }, \
             (bit<32>)65536);

#define FRONTEND_COUNTER_INSTANCE \
    @id(1) @name(".frontend_counter") direct_counter(CounterType.packets_and_bytes) frontend_counter;
#define FRONTEND_COUNT frontend_counter.count();
#define FRONTEND_COUNTER_PROPERTY counters = frontend_counter;

#define AFFINITY_LEARN
#define AFFINITY_REFRESH
#define AFFINITY_PROPERTIES support_timeout = true;

#define SEND_TO_PORT(port) meta.out_port = port;

#define FLOW_LEARN
#define REPLY_LEARN
#define FLOW_REFRESH
#define REPLY_REFRESH
#define FLOW_PROPERTIES support_timeout = true;

#include "core/classify.p4"
#include "core/frontend.p4"
#include "core/flow.p4"
#include "core/service.p4"
#include "core/rewrite.p4"
#include "core/route.p4"
#include "core/pipeline.p4"

parser NicParser(packet_in pkt, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
#include "core/clear.p4"
        meta.ingress_port = (bit<32>)standard.ingress_port;
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

    apply {
        pipeline.apply(hdr, meta);
        verdicts.count((bit<32>)meta.verdict);
        if (meta.decided == DECIDED_SLOW) {
            meta.out_port = NICPROXY_SLOW_PORT;
        }
        standard.egress_spec = (bit<9>)meta.out_port;
        if (meta.decided == DECIDED_DROP) {
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
