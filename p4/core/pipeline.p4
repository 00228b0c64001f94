// The whole way of a packet, for every architecture.
//
// ```text
// packet_out ──▶ injection ───────────────────────────────────────────────────────▶ send
// attachment ▶ classify ▶ expiry ▶ service ▶ route ▶ TTL ▶ SCTP checksum ▶ translate ▶ decrement ▶ send
//     │            │                  │        │      │          │
//     └─ drop      └─ bridge, drop    └────────┴──────┴──────────┴─ slow path (unaltered), bridge or drop
// ```
//
// Out: hdr.local.decided, hdr.local.verdict, and the port last given to SEND_TO_PORT. Nothing of the packet is changed
// before its fate is known, so the control plane sees what the sender sent.

#ifndef NICPROXY_CORE_PIPELINE_P4
#define NICPROXY_CORE_PIPELINE_P4

control Pipeline(inout headers_t hdr, inout metadata_t meta) {
    Injection() injection;
    Attachment() attachment;
    Classify() classify;
    Expiry() expiry;
    Service() service;
    Route() route_stage;
    Tunnel() tunnel_stage;
    SctpChecksum() sctp_checksum_stage;
    Translate() translate_stage;
    TranslateQuoted() quoted_stage;
    DecrementTtl() ttl_stage;

    action bridge() {
        hdr.local.decided = DECIDED_SEND;
        hdr.local.verdict = VERDICT_BRIDGED;
    }

    action drop_packet_because(bit<8> verdict) {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = verdict;
    }

    apply {
        if (hdr.packet_out.isValid()) {
            hdr.local.ingress_port = hdr.packet_out.ingress_port;
            hdr.local.injected = 1;
            if (hdr.packet_out.egress_port != 0) {
                injection.apply(hdr, meta);
            }
            hdr.packet_out.setInvalid();
        }
        if (hdr.local.decided == DECIDED_NO) {
            attachment.apply(hdr, meta);
        }
        if (hdr.local.decided == DECIDED_NO) {
            if (hdr.local.network == NETWORK_MALFORMED) {
                drop_packet_because(VERDICT_DROP_MALFORMED);
            }
        }
        if (hdr.local.decided == DECIDED_NO) {
            if (hdr.local.network == NETWORK_IP || hdr.local.neighbor == 1) {
                classify.apply(hdr, meta);
                expiry.apply(hdr, meta);
                service.apply(hdr, meta);
            }
        }
        if (hdr.local.decided == DECIDED_NO && hdr.local.network == NETWORK_OTHER) {
            if (hdr.local.peer_port != 0) {
                bridge();
            } else {
                drop_packet_because(VERDICT_DROP_NO_ROUTE);
            }
        }
        // Neighbour discovery on the link that the NIC is a wire of: whoever routes it makes it invalid (RFC 4861, 7.1).
        if (hdr.local.decided == DECIDED_NO && hdr.local.translated == 0) {
            if (meta.protocol == PROTOCOL_ICMPV6 && hdr.local.ttl == 255) {
                if (hdr.local.peer_port != 0) {
                    bridge();
                }
            }
        }
        if (hdr.local.decided == DECIDED_NO) {
            route_stage.apply(hdr, meta);
            if (hdr.local.route == ROUTE_BLACKHOLE) {
                drop_packet_because(VERDICT_DROP_BLACKHOLE);
            }
            if (hdr.local.route == ROUTE_NONE) {
                if (hdr.local.translated == 0 && hdr.local.peer_port != 0) {
                    bridge();
                } else {
                    drop_packet_because(VERDICT_DROP_NO_ROUTE);
                }
            }
        }
        // Nested: p4c-dpdk (1.2.5.16) loses the `<` of an `&&`.
        if (hdr.local.decided == DECIDED_NO) {
            if (hdr.local.ttl < 2) {
                hdr.local.decided = DECIDED_SLOW;
                hdr.local.verdict = VERDICT_TTL_EXPIRED;
            }
        }
        if (hdr.local.decided == DECIDED_NO && hdr.local.direct == 1) {
            tunnel_stage.apply(hdr, meta);
        }
        if (hdr.local.decided == DECIDED_NO && hdr.local.translated == 1 && hdr.local.direct == 0) {
            if (hdr.local.transport == TRANSPORT_RELATED) {
                quoted_stage.apply(hdr, meta);
            }
            if (hdr.sctp.isValid()) {
                sctp_checksum_stage.apply(hdr, meta);
            }
            if (hdr.local.decided == DECIDED_NO) {
                translate_stage.apply(hdr, meta);
            }
        }
        if (hdr.local.decided == DECIDED_NO) {
            ttl_stage.apply(hdr, meta);
            hdr.ethernet.src = hdr.local.out_src_mac;
            hdr.ethernet.dst = hdr.local.out_dst_mac;
            hdr.local.decided = DECIDED_SEND;
        }
        if (hdr.local.decided == DECIDED_SLOW) {
            if (hdr.local.slow_port == 0) {
                drop_packet_because(VERDICT_DROP_NO_SLOW_PATH);
            } else {
                hdr.packet_in.setValid();
                hdr.packet_in.ingress_port = hdr.local.ingress_port;
                hdr.packet_in.verdict = hdr.local.verdict;
                hdr.packet_in.role = hdr.local.role;
                hdr.packet_in.vpc = meta.vpc;
                hdr.packet_in.service_id = meta.service_id;
                hdr.packet_in.set_id = hdr.local.set_id;
                hdr.packet_in.slot = hdr.local.slot;
                hdr.packet_in.endpoint_hi = meta.new.dst_hi;
                hdr.packet_in.endpoint_lo = meta.new.dst_lo;
                hdr.packet_in.endpoint_port = meta.new.dst_port;
                hdr.packet_in.source_hi = meta.new.src_hi;
                hdr.packet_in.source_lo = meta.new.src_lo;
                hdr.packet_in.source_port = meta.new.src_port;
                hdr.packet_in.serve_flags = hdr.local.serve_flags;
                hdr.packet_in.endpoint_flags = hdr.local.endpoint_flags;
                hdr.packet_in.endpoint_id = hdr.local.endpoint_id;
                hdr.packet_in.state = hdr.local.state;
            }
        }
    }
}

#endif
