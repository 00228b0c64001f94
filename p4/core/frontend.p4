// VIP to endpoint: the frontend's verdict, the source filter, the client's class, the slot, the pick.
//
// The wrapper defines SELECT_HASH_INSTANCE and SELECT_HASH (meta.slot_hash from the hash_ fields),
// FRONTEND_COUNTER_INSTANCE, FRONTEND_COUNT and FRONTEND_COUNTER_PROPERTY (a direct counter of packets and bytes),
// AFFINITY_LEARN, AFFINITY_REFRESH and AFFINITY_PROPERTIES.

#ifndef NICPROXY_CORE_FRONTEND_P4
#define NICPROXY_CORE_FRONTEND_P4

control Frontend(inout headers_t hdr, inout metadata_t meta) {
    FRONTEND_COUNTER_INSTANCE

    @id(3)
    @name(".serve")
    action serve(bit<32> set_id, bit<16> slot_mask, bit<32> outside_set_id, bit<16> outside_slot_mask,
                 bit<32> service_id, bit<16> flags, bit<8> affinity_profile) {
        hdr.local.frontend = FRONTEND_SERVE;
        hdr.local.set_id = set_id;
        hdr.local.slot_mask = slot_mask;
        hdr.local.outside_set_id = outside_set_id;
        hdr.local.outside_slot_mask = outside_slot_mask;
        hdr.local.affinity_profile = affinity_profile;
        meta.service_id = service_id;
        hdr.local.serve_flags = flags;
        hdr.local.dsr = flags & SERVE_DSR;
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
        hdr.local.frontend = FRONTEND_BARRED;
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

// Pods and this node may be served from another set than everybody else, and keep their source address or not
// (externalTrafficPolicy, S39; source NAT, S47-S50).
control Client(inout headers_t hdr, inout metadata_t meta) {
    @id(27)
    @name(".client_is")
    action client_is(bit<8> class) {
        hdr.local.class = class;
    }

    @id(28)
    @name(".is_outside")
    action is_outside() {
        hdr.local.class = CLIENT_OUTSIDE;
    }

    // Entry priority = prefix length + 1. The first key field is in the place that holds the VPC just then: it stands
    // beside the source, so that DPDK finds the key in one run of bytes.
    @id(12)
    @name(".client")
    table client {
        key = {
            meta.service_id: exact @name("vpc");
            meta.old.src_hi: ternary @name("src_hi");
            meta.old.src_lo: ternary @name("src_lo");
        }
        actions = {
            @tableonly client_is;
            @defaultonly is_outside;
        }
        const default_action = is_outside();
        size = NICPROXY_CLIENT_SIZE;
    }

    apply {
        if (hdr.local.classify != 0) {
            hdr.local.service_id = meta.service_id;
            meta.service_id = meta.vpc;
            client.apply();
            meta.service_id = hdr.local.service_id;
        }
        if (hdr.local.class == CLIENT_OUTSIDE) {
            hdr.local.set_id = hdr.local.outside_set_id;
            hdr.local.slot_mask = hdr.local.outside_slot_mask;
            if (hdr.local.masquerade_outside != 0) {
                hdr.local.masquerade = 1;
            }
        }
        if (hdr.local.class == CLIENT_POD) {
            if (hdr.local.masquerade_pod != 0) {
                hdr.local.masquerade = 1;
            }
        }
        if (hdr.local.class == CLIENT_NODE) {
            if (hdr.local.masquerade_node != 0) {
                hdr.local.masquerade = 1;
            }
        }
        if (hdr.local.set_id == 0) {
            if (hdr.local.refuse != 0) {
                hdr.local.frontend = FRONTEND_REJECT;
            } else {
                hdr.local.frontend = FRONTEND_DROP;
            }
        }
    }
}

control Endpoint(inout headers_t hdr, inout metadata_t meta) {
    SELECT_HASH_INSTANCE

    @id(9)
    @name(".to_endpoint")
    action to_endpoint(bit<64> endpoint_hi, bit<64> endpoint_lo, bit<16> endpoint_port, bit<8> flags,
                       bit<32> endpoint_id) {
        meta.new.dst_hi = endpoint_hi;
        meta.new.dst_lo = endpoint_lo;
        meta.new.dst_port = endpoint_port;
        hdr.local.endpoint_flags = flags;
        hdr.local.endpoint_local = flags & ENDPOINT_LOCAL;
        hdr.local.endpoint_id = endpoint_id;
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
        hdr.local.pinned_hi = endpoint_hi;
        hdr.local.pinned_lo = endpoint_lo;
        hdr.local.pinned_port = endpoint_port;
        hdr.local.pinned = 1;
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

    @id(29)
    @name(".is_member")
    action is_member(bit<8> flags, bit<32> endpoint_id) {
        hdr.local.member = 1;
        hdr.local.endpoint_flags = flags;
        hdr.local.endpoint_local = flags & ENDPOINT_LOCAL;
        hdr.local.endpoint_id = endpoint_id;
    }

    @id(30)
    @name(".no_member")
    action no_member() {
        hdr.local.member = 0;
    }

    // A remembered endpoint counts only while it is in the set that the client is served from (S59), with what is known
    // of it now: where it is, and by which number it is counted.
    @id(13)
    @name(".member")
    table member {
        key = {
            hdr.local.set_id: exact @name("set_id");
            hdr.local.pinned_hi: exact @name("endpoint_hi");
            hdr.local.pinned_lo: exact @name("endpoint_lo");
            hdr.local.pinned_port: exact @name("endpoint_port");
        }
        actions = {
            @tableonly is_member;
            @defaultonly no_member;
        }
        const default_action = no_member();
        size = NICPROXY_MEMBER_SIZE;
    }

    apply {
        hdr.local.hash_src = meta.old.src_hi;
        SETTLED(hdr.local.hash_src = hdr.local.hash_src ^ meta.old.src_lo;)
        hdr.local.hash_src_port = meta.old.src_port;
        hdr.local.hash_dst_lo = meta.old.dst_lo;
        if (hdr.local.hash_client != 0) {
            hdr.local.hash_src_port = 0;
            hdr.local.hash_dst_lo = 0;
        }
        if (hdr.local.hash_vip != 0) {
            hdr.local.hash_src = 0;
            hdr.local.hash_src_port = 0;
        }
        SELECT_HASH
        hdr.local.slot = meta.slot_hash & hdr.local.slot_mask;
        endpoint.apply();
        if (hdr.local.picked == 1) {
            if (hdr.local.remember != 0) {
                // In the place that holds the connection's time: DPDK takes times from metadata only.
                hdr.local.connection_profile = meta.learn_profile;
                meta.learn_profile = hdr.local.affinity_profile;
                affinity.apply();
                meta.learn_profile = hdr.local.connection_profile;
                if (hdr.local.pinned == 1) {
                    member.apply();
                    if (hdr.local.member == 1) {
                        meta.new.dst_hi = hdr.local.pinned_hi;
                        meta.new.dst_lo = hdr.local.pinned_lo;
                        meta.new.dst_port = hdr.local.pinned_port;
                    } else {
                        hdr.local.ask = 1;
                    }
                } else {
                    if (hdr.local.affinity_profile == NO_PROFILE) {
                        hdr.local.ask = 1;
                    }
                }
            }
            // Direct server return: the flow remembers the endpoint and no port.
            if (hdr.local.dsr != 0) {
                meta.new.dst_port = 0;
            }
        }
        // Nobody to ask: the fresh pick will do.
        if (hdr.local.slow_port == 0) {
            hdr.local.ask = 0;
        }
    }
}

#endif
