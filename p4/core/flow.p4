// State of one connection: `flow` keeps its endpoint, `reply` leads the answers back.
//
// The wrapper defines FLOW_LEARN and REPLY_LEARN (what a miss does when meta.learn is 1), FLOW_REFRESH and
// REPLY_REFRESH (what a hit does to the entry's timer) and FLOW_PROPERTIES.
//
// `reply` is applied once per packet with the key that fits: a client's packet looks for the entry that its answer
// will need, any other packet looks for its own. Only the latter is translated by what is found.

#ifndef NICPROXY_CORE_FLOW_P4
#define NICPROXY_CORE_FLOW_P4

control Flow(inout headers_t hdr, inout metadata_t meta) {
    @id(13)
    @name(".translate")
    action translate(bit<64> src_hi, bit<64> src_lo, bit<64> dst_hi, bit<64> dst_lo,
                     bit<16> src_port, bit<16> dst_port) {
        meta.new_src_hi = src_hi;
        meta.new_src_lo = src_lo;
        meta.new_dst_hi = dst_hi;
        meta.new_dst_lo = dst_lo;
        meta.new_src_port = src_port;
        meta.new_dst_port = dst_port;
        meta.flow_found = 1;
        FLOW_REFRESH
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
            meta.src_hi: exact @name("src_hi");
            meta.src_lo: exact @name("src_lo");
            meta.dst_hi: exact @name("dst_hi");
            meta.dst_lo: exact @name("dst_lo");
            meta.src_port: exact @name("src_port");
            meta.dst_port: exact @name("dst_port");
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

control Reply(inout headers_t hdr, inout metadata_t meta) {
    @id(15)
    @name(".translate_back")
    action translate_back(bit<64> src_hi, bit<64> src_lo, bit<64> dst_hi, bit<64> dst_lo,
                          bit<16> src_port, bit<16> dst_port) {
        meta.back_src_hi = src_hi;
        meta.back_src_lo = src_lo;
        meta.back_dst_hi = dst_hi;
        meta.back_dst_lo = dst_lo;
        meta.back_src_port = src_port;
        meta.back_dst_port = dst_port;
        meta.reply_found = 1;
        REPLY_REFRESH
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
            meta.reply_vpc: exact @name("vpc");
            meta.reply_protocol: exact @name("protocol");
            meta.reply_src_hi: exact @name("src_hi");
            meta.reply_src_lo: exact @name("src_lo");
            meta.reply_dst_hi: exact @name("dst_hi");
            meta.reply_dst_lo: exact @name("dst_lo");
            meta.reply_src_port: exact @name("src_port");
            meta.reply_dst_port: exact @name("dst_port");
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
        if (meta.translated == 1) {
            meta.reply_vpc = meta.vpc;
            meta.reply_protocol = meta.protocol;
            meta.reply_src_hi = meta.new_dst_hi;
            meta.reply_src_lo = meta.new_dst_lo;
            meta.reply_src_port = meta.new_dst_port;
            meta.reply_dst_hi = meta.new_src_hi;
            meta.reply_dst_lo = meta.new_src_lo;
            meta.reply_dst_port = meta.new_src_port;
            meta.back_src_hi = meta.dst_hi;
            meta.back_src_lo = meta.dst_lo;
            meta.back_src_port = meta.dst_port;
            meta.back_dst_hi = meta.src_hi;
            meta.back_dst_lo = meta.src_lo;
            meta.back_dst_port = meta.src_port;
        } else {
            meta.reply_vpc = meta.vpc;
            meta.reply_protocol = meta.protocol;
            meta.reply_src_hi = meta.src_hi;
            meta.reply_src_lo = meta.src_lo;
            meta.reply_src_port = meta.src_port;
            meta.reply_dst_hi = meta.dst_hi;
            meta.reply_dst_lo = meta.dst_lo;
            meta.reply_dst_port = meta.dst_port;
            meta.learn = 0;
        }
        reply.apply();
    }
}

#endif
