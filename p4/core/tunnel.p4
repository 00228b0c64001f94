// Direct server return: a client's packet goes to the endpoint as it is, in a tunnel, and the endpoint answers the
// client itself, with the VIP as its own address.

#ifndef NICPROXY_CORE_TUNNEL_P4
#define NICPROXY_CORE_TUNNEL_P4

// In: meta.new.dst, the endpoint. Out: the outer headers. Endpoint and packet are of one family.
control Tunnel(inout headers_t hdr, inout metadata_t meta) {
    CHECKSUM_INSTANCES

    // RFC 2003, RFC 2473
    @id(34)
    @name(".ipip")
    action ipip(bit<64> src_hi, bit<64> src_lo) {
        hdr.local.tunnel = TUNNEL_IPIP;
        hdr.local.tunnel_src_hi = src_hi;
        hdr.local.tunnel_src_lo = src_lo;
        hdr.local.tunnel_src_v4 = src_lo << 32;
    }

    // Generic UDP Encapsulation, variant 1: IP directly behind UDP.
    @id(35)
    @name(".gue")
    action gue(bit<64> src_hi, bit<64> src_lo, bit<16> dst_port) {
        hdr.local.tunnel = TUNNEL_GUE;
        hdr.local.tunnel_src_hi = src_hi;
        hdr.local.tunnel_src_lo = src_lo;
        hdr.local.tunnel_src_v4 = src_lo << 32;
        hdr.local.tunnel_dst_port = dst_port;
    }

    // Endpoint and NIC share a link: only the frame's addresses change.
    @id(36)
    @name(".same_l2")
    action same_l2() {
        hdr.local.tunnel = TUNNEL_SAME_L2;
    }

    @id(37)
    @name(".no_tunnel")
    action no_tunnel() {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = VERDICT_DROP_NO_TUNNEL;
    }

    @id(15)
    @name(".tunnel")
    table tunnel {
        key = {
            hdr.local.key_vpc: exact @name("vpc");
            hdr.local.family: exact @name("family");
        }
        actions = {
            @tableonly ipip;
            @tableonly gue;
            @tableonly same_l2;
            @defaultonly no_tunnel;
        }
        const default_action = no_tunnel();
        size = NICPROXY_TUNNEL_SIZE;
    }

    apply {
        tunnel.apply();
        // A step of its own: in one expression with what follows it would cost DPDK metadata.
        if (hdr.ipv4.isValid()) {
            hdr.local.new_dst_v4 = meta.new.dst_lo & 0xffffffff;
        }
        if (hdr.local.tunnel == TUNNEL_IPIP || hdr.local.tunnel == TUNNEL_GUE) {
            if (hdr.local.tunnel == TUNNEL_GUE) {
                hdr.outer_udp.setValid();
            }
            if (hdr.ipv4.isValid()) {
                hdr.outer_ipv4.setValid();
                hdr.outer_ipv4.version_tos = 0x4500;
                hdr.outer_ipv4.total_length = hdr.ipv4.total_length + 20;
                hdr.outer_ipv4.identification = 0;
                hdr.outer_ipv4.flags_offset = 0x4000;
                hdr.outer_ipv4.ttl_protocol = 0x4004;
                hdr.outer_ipv4.addresses = hdr.local.tunnel_src_v4 + hdr.local.new_dst_v4;
                if (hdr.local.tunnel == TUNNEL_GUE) {
                    hdr.outer_ipv4.ttl_protocol = 0x4011;
                    hdr.outer_ipv4.total_length = hdr.ipv4.total_length + 28;
                    hdr.outer_udp.length = hdr.ipv4.total_length + 8;
                }
                SUM_CLEAR(NETWORK_SUM)
                SUM_ADD_16(NETWORK_SUM, hdr.outer_ipv4.version_tos)
                SUM_ADD_16(NETWORK_SUM, hdr.outer_ipv4.total_length)
                SUM_ADD_16(NETWORK_SUM, hdr.outer_ipv4.flags_offset)
                SUM_ADD_16(NETWORK_SUM, hdr.outer_ipv4.ttl_protocol)
                SUM_ADD_64(NETWORK_SUM, hdr.outer_ipv4.addresses)
                SUM_STORE(NETWORK_SUM, hdr.outer_ipv4.checksum)
            } else {
                hdr.outer_ipv6.setValid();
                hdr.outer_ipv6.version_class = 0x60;
                hdr.outer_ipv6.class_flow = 0;
                hdr.outer_ipv6.flow = 0;
                hdr.outer_ipv6.payload_length = hdr.ipv6.payload_length + 40;
                hdr.outer_ipv6.next_header = PROTOCOL_IPV6;
                if (hdr.local.tunnel == TUNNEL_GUE) {
                    hdr.outer_ipv6.next_header = PROTOCOL_UDP;
                    hdr.outer_ipv6.payload_length = hdr.ipv6.payload_length + 48;
                    hdr.outer_udp.length = hdr.ipv6.payload_length + 48;
                }
                hdr.outer_ipv6.hop_limit = 64;
                hdr.outer_ipv6.src_hi = hdr.local.tunnel_src_hi;
                hdr.outer_ipv6.src_lo = hdr.local.tunnel_src_lo;
                hdr.outer_ipv6.dst_hi = meta.new.dst_hi;
                hdr.outer_ipv6.dst_lo = meta.new.dst_lo;
            }
            if (hdr.local.tunnel == TUNNEL_GUE) {
                // Connections take different ways through the network, each of them always the same.
                hdr.outer_udp.src_port = meta.old.src_port | 0xc000;
                hdr.outer_udp.dst_port = hdr.local.tunnel_dst_port;
                hdr.outer_udp.checksum = 0;     // as RFC 6935 allows for tunnels
            }
        }
    }
}

#endif
