// Which port and VPC a packet belongs to, and its tuple in the one form that both address families share.

#ifndef NICPROXY_CORE_CLASSIFY_P4
#define NICPROXY_CORE_CLASSIFY_P4

// The wrapper defines SEND_TO_PORT(port): the packet leaves there unless a later call or a drop decides otherwise.

control Attachment(inout headers_t hdr, inout metadata_t meta) {
    // peer_port: where traffic goes that the NIC does not route, 0 for nowhere.
    // slow_port: NICPROXY_SLOW_PORT, or 0 when no control plane answers for this port.
    @id(1)
    @name(".attach")
    action attach(bit<32> vpc, bit<8> role, bit<32> peer_port, bit<32> slow_port) {
        meta.vpc = vpc;
        hdr.local.key_vpc = vpc;
        hdr.local.role = role;
        hdr.local.peer_port = peer_port;
        hdr.local.slow_port = slow_port;
        SEND_TO_PORT(peer_port)
    }

    @id(2)
    @name(".unattached")
    action unattached() {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = VERDICT_DROP_PORT;
    }

    @id(1)
    @name(".port")
    table port {
        key = {
            hdr.local.ingress_port: exact @name("ingress_port");
        }
        actions = {
            @tableonly attach;
            @defaultonly unattached;
        }
        const default_action = unattached();
        size = NICPROXY_PORT_SIZE;
    }

    apply {
        port.apply();
    }
}

// A packet_out for one port.
control Injection(inout headers_t hdr, inout metadata_t meta) {
    @id(25)
    @name(".emit_on")
    action emit_on(bit<32> port) {
        hdr.local.decided = DECIDED_SEND;
        hdr.local.verdict = VERDICT_INJECTED;
        SEND_TO_PORT(port)
    }

    @id(26)
    @name(".no_egress")
    action no_egress() {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = VERDICT_DROP_PORT;
    }

    @id(11)
    @name(".egress")
    table egress {
        key = {
            hdr.packet_out.egress_port: exact @name("egress_port");
        }
        actions = {
            @tableonly emit_on;
            @defaultonly no_egress;
        }
        const default_action = no_egress();
        size = NICPROXY_PORT_SIZE;
    }

    apply {
        egress.apply();
    }
}

control Classify(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.ipv4.isValid()) {
            hdr.local.family = 4;
            meta.old.src_lo = meta.old.src_lo + IPV4_MAPPED_PREFIX;
            meta.old.dst_lo = meta.old.dst_lo + IPV4_MAPPED_PREFIX;
            hdr.local.ttl = hdr.ipv4.ttl;
            hdr.local.ip_length = (bit<32>)hdr.ipv4.total_length;
            hdr.local.l4_length = hdr.ipv4.total_length - ((bit<16>)(hdr.ipv4.version_ihl & 0x0f) << 2);
        }
        if (hdr.ipv6.isValid()) {
            hdr.local.family = 6;
            meta.old.src_hi = hdr.ipv6.src_hi;
            meta.old.src_lo = hdr.ipv6.src_lo;
            meta.old.dst_hi = hdr.ipv6.dst_hi;
            meta.old.dst_lo = hdr.ipv6.dst_lo;
            hdr.local.ttl = hdr.ipv6.hop_limit;
            hdr.local.ip_length = hdr.local.ip_length + 40;
            hdr.local.l4_length = hdr.ipv6.payload_length;
        }
        if (hdr.ipv6_fragment.isValid()) {
            hdr.local.l4_length = hdr.ipv6.payload_length - 8;
        }
        meta.new = meta.old;
    }
}

// What the packet says of its connection's state, as the time that its entries may stay unused.
control Expiry(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.udp.isValid()) {
            meta.learn_profile = EXPIRE_UNANSWERED;
            meta.refresh_profile = EXPIRE_TALKING;
        }
        if (hdr.tcp.isValid()) {
            hdr.local.opening = 0;
            if ((hdr.tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
                hdr.local.opening = 1;
            }
            // Data promotes, a bare acknowledgment does not: the one that ends a handshake cannot be told from the
            // one that follows the last FIN.
            if (hdr.local.l4_length > (bit<16>)(hdr.tcp.data_offset >> 4) << 2) {
                meta.learn_profile = EXPIRE_ESTABLISHED;
                meta.refresh_profile = EXPIRE_ESTABLISHED;
            }
            if ((hdr.tcp.flags & TCP_SYN) != 0) {
                meta.learn_profile = EXPIRE_OPENING;
                meta.refresh_profile = EXPIRE_OPENING;
            }
            if ((hdr.tcp.flags & TCP_FIN) != 0) {
                meta.learn_profile = EXPIRE_TALKING;
                meta.refresh_profile = EXPIRE_TALKING;
            }
            if ((hdr.tcp.flags & TCP_RST) != 0) {
                meta.learn_profile = EXPIRE_RESET;
                meta.refresh_profile = EXPIRE_RESET;
            }
        }
    }
}

#endif
