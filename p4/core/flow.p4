// State of one connection: `flow` keeps its endpoint, `reply` leads the answers back.
//
// The wrapper defines FLOW_LEARN and REPLY_LEARN (what a miss does when hdr.local.learn is 1), REFRESH (what a hit does to the
// entry's timer) and FLOW_PROPERTIES.

#ifndef NICPROXY_CORE_FLOW_P4
#define NICPROXY_CORE_FLOW_P4

// What a SYN to no Service is told whose answers' tuple another connection has.
#if NEW_FLOW_BY_SLOW_PATH
#define VERDICT_TUPLE_TAKEN VERDICT_NEW_FLOW
#else
#define VERDICT_TUPLE_TAKEN VERDICT_CONFLICT
#endif

control Flow(inout headers_t hdr, inout metadata_t meta) {
    @id(13)
    @name(".translate")
    action translate(bit<64> src_hi, bit<64> src_lo, bit<16> src_port, bit<16> dst_port, bit<64> dst_hi, bit<64> dst_lo,
                     bit<32> endpoint_id) {
        // An answer has come to keep the entry alive.
        if (hdr.local.translated == 0) {
            meta.new.src_hi = src_hi;
            meta.new.src_lo = src_lo;
            meta.new.src_port = src_port;
            meta.new.dst_port = dst_port;
            meta.new.dst_hi = dst_hi;
            meta.new.dst_lo = dst_lo;
            hdr.local.endpoint_id = endpoint_id;
            hdr.local.flow_found = 1;
        }
        REFRESH
    }

    @id(14)
    @name(".no_flow")
    action no_flow() {
        FLOW_LEARN
    }

    @id(6)
    @name(".flow")
    table flow {
        key = {
            meta.vpc: exact @name("vpc");
            meta.protocol: exact @name("protocol");
            meta.old.src_hi: exact @name("src_hi");
            meta.old.src_lo: exact @name("src_lo");
            meta.old.dst_hi: exact @name("dst_hi");
            meta.old.dst_lo: exact @name("dst_lo");
            meta.old.src_port: exact @name("src_port");
            meta.old.dst_port: exact @name("dst_port");
        }
        actions = {
            @tableonly translate;
            @defaultonly no_flow;
        }
        const default_action = no_flow();
        FLOW_PROPERTIES
        size = NICPROXY_FLOW_SIZE;
    }

    apply {
        flow.apply();
    }
}

// The key is the tuple that an answer to meta.new has. A client's packet has meta.new from the frontend: it finds, or
// makes, the entry that its answers need. Any other packet may itself be an answer: it looks itself up. But for a SYN,
// which is nobody's answer: it looks up its own, which would be taken for those of a connection that its client made to a
// Service, from the same port, and that ended up at the same endpoint. The control plane finds it another port then.
control Reply(inout headers_t hdr, inout metadata_t meta) {
    @id(15)
    @name(".translate_back")
    action translate_back(bit<64> src_hi, bit<64> src_lo, bit<16> src_port, bit<16> dst_port, bit<64> dst_hi, bit<64> dst_lo,
                          bit<32> endpoint_id) {
        if (hdr.local.translated == 1) {
            // Another connection's answers would come back to us, or ours to it.
            if (src_hi != meta.old.dst_hi || src_lo != meta.old.dst_lo || src_port != meta.old.dst_port ||
                dst_hi != meta.old.src_hi || dst_lo != meta.old.src_lo || dst_port != meta.old.src_port) {
                hdr.local.conflict = 1;
            }
        } else {
            meta.new.src_hi = src_hi;
            meta.new.src_lo = src_lo;
            meta.new.src_port = src_port;
            meta.new.dst_port = dst_port;
            meta.new.dst_hi = dst_hi;
            meta.new.dst_lo = dst_lo;
            hdr.local.endpoint_id = endpoint_id;
            if (hdr.local.transport == TRANSPORT_PORTS) {
                meta.refresh_profile = hdr.local.reply_profile;
            }
        }
        hdr.local.reply_found = 1;
        REFRESH
    }

    @id(16)
    @name(".no_reply")
    action no_reply() {
        REPLY_LEARN
    }

    @id(7)
    @name(".reply")
    table reply {
        key = {
            meta.vpc: exact @name("vpc");
            meta.protocol: exact @name("protocol");
            meta.new.dst_hi: exact @name("src_hi");
            meta.new.dst_lo: exact @name("src_lo");
            meta.new.src_hi: exact @name("dst_hi");
            meta.new.src_lo: exact @name("dst_lo");
            meta.new.dst_port: exact @name("src_port");
            meta.new.src_port: exact @name("dst_port");
        }
        actions = {
            @tableonly translate_back;
            @defaultonly no_reply;
        }
        const default_action = no_reply();
        FLOW_PROPERTIES
        size = NICPROXY_FLOW_SIZE;
    }

    apply {
        hdr.local.begins = 0;
        if (hdr.local.translated == 0) {
            hdr.local.learn = 0;
            if (hdr.tcp.isValid() && hdr.local.opening == 1 && hdr.local.slow_port != 0) {
                hdr.local.begins = 1;
                hdr.local.translated = 1;
                meta.new = meta.old;
                meta.refresh_profile = EXPIRE_UNTOUCHED;
            } else {
                meta.new.src_hi = meta.old.dst_hi;
                meta.new.src_lo = meta.old.dst_lo;
                meta.new.src_port = meta.old.dst_port;
                meta.new.dst_port = meta.old.src_port;
                meta.new.dst_hi = meta.old.src_hi;
                meta.new.dst_lo = meta.old.src_lo;
            }
        }
        reply.apply();
        if (hdr.local.begins == 1) {
            hdr.local.translated = 0;
            hdr.local.reply_found = 0;
            if (hdr.local.conflict == 1) {
                hdr.local.decided = DECIDED_SLOW;
                hdr.local.verdict = VERDICT_TUPLE_TAKEN;
            }
        }
        if (hdr.local.translated == 0) {
            if (hdr.local.reply_found == 1) {
                hdr.local.translated = 1;
                hdr.local.verdict = VERDICT_REPLIED;
            } else {
                meta.new = meta.old;
            }
        } else {
            hdr.local.verdict = VERDICT_TRANSLATED;
            if (hdr.local.conflict == 1) {
                hdr.local.decided = DECIDED_SLOW;
                hdr.local.verdict = VERDICT_CONFLICT;
            }
#if NEW_FLOW_BY_SLOW_PATH
            if (hdr.local.reply_found == 0) {
                hdr.local.decided = DECIDED_SLOW;
                hdr.local.verdict = VERDICT_NEW_FLOW;
            }
#endif
        }
    }
}

#endif
