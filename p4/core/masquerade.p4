// Source NAT: a new source address where the answer would not come back otherwise (S47-S53).

#ifndef NICPROXY_CORE_MASQUERADE_P4
#define NICPROXY_CORE_MASQUERADE_P4

// In: hdr.local.masquerade is 1 when policy asks for it; the pick is in meta.new. Out: meta.new with another source, and
// hdr.local.masquerade 2; 0 when the source is kept; 1 when there is no address to take.
control Masquerade(inout headers_t hdr, inout metadata_t meta) {
    // The port is a proposal: a hash of the connection. When another connection has the reply tuple already, the
    // control plane finds a free one.
    @id(31)
    @name(".masquerade_as")
    action masquerade_as(bit<64> src_hi, bit<64> src_lo, bit<16> port_base, bit<16> port_mask) {
        meta.new.src_hi = src_hi;
        meta.new.src_lo = src_lo;
        meta.new.src_port = (hdr.local.port_hash & port_mask) + port_base;
        hdr.local.masquerade = 2;
    }

    @id(32)
    @name(".no_masquerade")
    action no_masquerade() {
    }

    @id(14)
    @name(".masquerade")
    table masquerade {
        key = {
            hdr.local.key_vpc: exact @name("vpc");
            hdr.local.family: exact @name("family");
            hdr.local.local_reason: exact @name("local");
        }
        actions = {
            @tableonly masquerade_as;
            @defaultonly no_masquerade;
        }
        const default_action = no_masquerade();
        size = NICPROXY_MASQUERADE_SIZE;
    }

    apply {
        // An endpoint that calls itself (S52), and one whose answers would not cross the NIC otherwise.
        if (meta.new.dst_hi == meta.old.src_hi && meta.new.dst_lo == meta.old.src_lo) {
            hdr.local.local_reason = 1;
            hdr.local.masquerade = 1;
        }
        if (hdr.local.endpoint_local != 0) {
            if (hdr.local.role == ROLE_HOST) {
                hdr.local.local_reason = 1;
                hdr.local.masquerade = 1;
            } else {
                // Answers to the node's own address would not cross the NIC, those to the client itself do.
                if (hdr.local.masquerade == 1 && hdr.local.local_reason == 0) {
                    hdr.local.local_reason = 1;
                    hdr.local.masquerade = 3;
                }
            }
        }
        if (hdr.local.masquerade != 0) {
            // The bits that chose the endpoint are alike in all its connections: the client's port spreads them.
            hdr.local.port_hash = meta.slot_hash ^ meta.old.src_port;
            masquerade.apply();
            if (hdr.local.masquerade == 3) {
                hdr.local.masquerade = 0;
            }
            // The checksum of SCTP is tabulated for the Services' own port changes.
            if (hdr.local.masquerade == 2 && meta.protocol == PROTOCOL_SCTP) {
                meta.new.src_port = meta.old.src_port;
            }
        }
    }
}

#endif
