// The way out: the longest route of the packet's VPC that covers the new destination.

#ifndef NICPROXY_CORE_ROUTE_P4
#define NICPROXY_CORE_ROUTE_P4

control Route(inout headers_t hdr, inout metadata_t meta) {
    @id(22)
    @name(".forward")
    action forward(bit<32> port, bit<48> src_mac, bit<48> dst_mac) {
        hdr.local.route = ROUTE_FORWARD;
        SEND_TO_PORT(port)
        hdr.local.out_src_mac = src_mac;
        hdr.local.out_dst_mac = dst_mac;
    }

    @id(23)
    @name(".blackhole")
    action blackhole() {
        hdr.local.route = ROUTE_BLACKHOLE;
    }

    @id(24)
    @name(".no_route")
    action no_route() {
        hdr.local.route = ROUTE_NONE;
    }

    // Entry priority = prefix length + 1 (P4Runtime priorities start at 1).
    @id(10)
    @name(".route")
    table route {
        key = {
            meta.vpc: exact @name("vpc");
            meta.new.dst_hi: ternary @name("dst_hi");
            meta.new.dst_lo: ternary @name("dst_lo");
        }
        actions = {
            @tableonly forward;
            @tableonly blackhole;
            @defaultonly no_route;
        }
        const default_action = no_route();
        size = NICPROXY_ROUTE_SIZE;
    }

    apply {
        route.apply();
    }
}

#endif
