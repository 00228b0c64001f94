// VIP to endpoint: the frontend's verdict, the source filter, the slot, the pick.
//
// The wrapper defines SELECT_HASH_INSTANCE and SELECT_HASH (meta.hash from the packet's tuple),
// FRONTEND_COUNTER_INSTANCE, FRONTEND_COUNT and FRONTEND_COUNTER_PROPERTY (a direct counter of packets and bytes),
// AFFINITY_LEARN, AFFINITY_REFRESH and AFFINITY_PROPERTIES.

#ifndef NICPROXY_CORE_FRONTEND_P4
#define NICPROXY_CORE_FRONTEND_P4

control Frontend(inout headers_t hdr, inout metadata_t meta) {
    FRONTEND_COUNTER_INSTANCE

    @id(3)
    @name(".serve")
    action serve(bit<32> set_id, bit<16> slot_mask, bit<32> service_id, bit<16> flags) {
        hdr.local.frontend = FRONTEND_SERVE;
        hdr.local.set_id = set_id;
        hdr.local.slot_mask = slot_mask;
        meta.service_id = service_id;
        hdr.local.serve_flags = flags;
        FRONTEND_COUNT
    }

    @id(4)
    @name(".reject")
    action reject(bit<32> service_id) {
        hdr.local.frontend = FRONTEND_REJECT;
        meta.service_id = service_id;
        FRONTEND_COUNT
    }

    @id(5)
    @name(".drop")
    action drop(bit<32> service_id) {
        hdr.local.frontend = FRONTEND_DROP;
        meta.service_id = service_id;
        FRONTEND_COUNT
    }

    @id(6)
    @name(".no_frontend")
    action no_frontend() {
        hdr.local.frontend = FRONTEND_NONE;
        FRONTEND_COUNT
    }

    @id(2)
    @name(".frontend")
    table frontend {
        key = {
            meta.vpc: exact @name("vpc");
            meta.protocol: exact @name("protocol");
            meta.old.dst_hi: exact @name("dst_hi");
            meta.old.dst_lo: exact @name("dst_lo");
            meta.old.dst_port: exact @name("dst_port");
        }
        actions = {
            @tableonly serve;
            @tableonly reject;
            @tableonly drop;
            @defaultonly no_frontend;
        }
        const default_action = no_frontend();
        FRONTEND_COUNTER_PROPERTY
        size = NICPROXY_FRONTEND_SIZE;
    }

    apply {
        frontend.apply();
    }
}

control SourceFilter(inout headers_t hdr, inout metadata_t meta) {
    @id(7)
    @name(".allow")
    action allow() {
    }

    @id(8)
    @name(".deny")
    action deny() {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = VERDICT_DROP_SOURCE;
    }

    @id(3)
    @name(".source_range")
    table source_range {
        key = {
            meta.service_id: exact @name("range_id");
            meta.old.src_hi: ternary @name("src_hi");
            meta.old.src_lo: ternary @name("src_lo");
        }
        actions = {
            @tableonly allow;
            @defaultonly deny;
        }
        const default_action = deny();
        size = NICPROXY_SOURCE_RANGE_SIZE;
    }

    apply {
        source_range.apply();
    }
}

control Endpoint(inout headers_t hdr, inout metadata_t meta) {
    SELECT_HASH_INSTANCE

    @id(9)
    @name(".to_endpoint")
    action to_endpoint(bit<64> endpoint_hi, bit<64> endpoint_lo, bit<16> endpoint_port) {
        meta.new.dst_hi = endpoint_hi;
        meta.new.dst_lo = endpoint_lo;
        meta.new.dst_port = endpoint_port;
        hdr.local.picked = 1;
    }

    @id(10)
    @name(".no_endpoint")
    action no_endpoint() {
        hdr.local.picked = 0;
    }

    @id(4)
    @name(".endpoint")
    table endpoint {
        key = {
            hdr.local.set_id: exact @name("set_id");
            hdr.local.slot: exact @name("slot");
        }
        actions = {
            @tableonly to_endpoint;
            @defaultonly no_endpoint;
        }
        const default_action = no_endpoint();
        size = NICPROXY_ENDPOINT_SIZE;
    }

    @id(11)
    @name(".pin")
    action pin(bit<64> endpoint_hi, bit<64> endpoint_lo, bit<16> endpoint_port) {
        meta.new.dst_hi = endpoint_hi;
        meta.new.dst_lo = endpoint_lo;
        meta.new.dst_port = endpoint_port;
        AFFINITY_REFRESH
    }

    @id(12)
    @name(".no_affinity")
    action no_affinity() {
        AFFINITY_LEARN
    }

    @id(5)
    @name(".affinity")
    table affinity {
        key = {
            meta.service_id: exact @name("affinity_id");
            meta.old.src_hi: exact @name("client_hi");
            meta.old.src_lo: exact @name("client_lo");
        }
        actions = {
            @tableonly pin;
            @defaultonly no_affinity;
        }
        const default_action = no_affinity();
        AFFINITY_PROPERTIES
        size = NICPROXY_AFFINITY_SIZE;
    }

    apply {
        SELECT_HASH
        hdr.local.slot = meta.hash & hdr.local.slot_mask;
        endpoint.apply();
        if (hdr.local.picked == 1) {
            if ((hdr.local.serve_flags & SERVE_AFFINITY) != 0) {
                affinity.apply();
            }
        }
    }
}

#endif
