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
            SETTLED(hdr.local.ip_header = (bit<16>)hdr.ipv4.version_ihl;)
            SETTLED(hdr.local.ip_header = hdr.local.ip_header & 0x0f;)
            SETTLED(hdr.local.ip_header = hdr.local.ip_header << 2;)
            hdr.local.l4_length = hdr.ipv4.total_length - hdr.local.ip_header;
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
        // Looked up where packets to the address asked for are; the packet itself goes where it was going.
        if (hdr.local.neighbor == 1) {
            if (hdr.arp.isValid()) {
                meta.old.dst_lo = meta.old.dst_lo + IPV4_MAPPED_PREFIX;
            } else {
                meta.old.dst_hi = hdr.solicitation.target_hi;
                meta.old.dst_lo = hdr.solicitation.target_lo;
            }
        }
    }
}

// Whether the packet may open a connection, and how long entries of a protocol without states may stay unused: UDP's first
// packet, and its answers.
control Expiry(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.tcp.isValid()) {
            if (hdr.local.syn == 0 || hdr.local.ack != 0) {
                hdr.local.opening = 0;
            }
        }
        if (hdr.udp.isValid()) {
            meta.learn_profile = EXPIRE_SHORT;
            hdr.local.reply_profile = EXPIRE_USUAL;
        }
    }
}

#endif
