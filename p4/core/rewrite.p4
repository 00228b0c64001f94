// The new tuple written into the packet, with every checksum mended by the difference (RFC 1624): a recomputation
// would need bytes that a NIC, or a first fragment, does not have.
//
// The wrapper defines two one's-complement accumulators, NETWORK_SUM and TRANSPORT_SUM, by CHECKSUM_INSTANCES and
// SUM_CLEAR(s), SUM_SUBTRACT_16/64(s, x), SUM_ADD_16/64(s, x) and SUM_STORE(s, field): the complement of the sum.

#ifndef NICPROXY_CORE_REWRITE_P4
#define NICPROXY_CORE_REWRITE_P4

// The CRC32c of SCTP (RFC 9260, 6.8) covers the ports and not the addresses. A CRC is linear: changing the ports
// changes it by a word that depends only on the two ports' difference and on the packet's length. The control plane
// tabulates that word for the port pairs in use.
control SctpChecksum(inout headers_t hdr, inout metadata_t meta) {
    @id(20)
    @name(".change_checksum")
    action change_checksum(bit<32> change) {
        hdr.local.checksum_change = change;
        hdr.local.checksum_known = 1;
    }

    @id(21)
    @name(".unknown_change")
    action unknown_change() {
        hdr.local.checksum_known = 0;
    }

    @id(9)
    @name(".sctp_checksum")
    table sctp_checksum {
        key = {
            hdr.local.src_port_change: exact @name("src_port_change");
            hdr.local.dst_port_change: exact @name("dst_port_change");
            hdr.local.l4_length: exact @name("length");
        }
        actions = {
            @tableonly change_checksum;
            @defaultonly unknown_change;
        }
        const default_action = unknown_change();
        size = NICPROXY_SCTP_CHECKSUM_SIZE;
    }

    apply {
        SETTLED(hdr.local.src_port_change = meta.old.src_port ^ meta.new.src_port;)
        SETTLED(hdr.local.dst_port_change = meta.old.dst_port ^ meta.new.dst_port;)
        if (hdr.local.src_port_change != 0 || hdr.local.dst_port_change != 0) {
            sctp_checksum.apply();
            if (hdr.local.checksum_known == 0) {
                hdr.local.decided = DECIDED_DROP;
                hdr.local.verdict = VERDICT_DROP_CHECKSUM;
            }
        }
    }
}

// Addresses and ports. The caller knows that hdr.local.translated is 1.
control Translate(inout headers_t hdr, inout metadata_t meta) {
    CHECKSUM_INSTANCES

    apply {
        // A step of its own: in one expression with what follows it would cost DPDK metadata.
        if (hdr.ipv4.isValid()) {
            hdr.local.new_src_v4 = meta.new.src_lo << 32;
            hdr.local.new_dst_v4 = meta.new.dst_lo & 0xffffffff;
        }
        SUM_CLEAR(TRANSPORT_SUM)
        if (hdr.ipv4.isValid()) {
            SUM_CLEAR(NETWORK_SUM)
            SUM_SUBTRACT_16(NETWORK_SUM, hdr.ipv4.checksum)
            SUM_SUBTRACT_64(NETWORK_SUM, hdr.ipv4.addresses)
            SUM_SUBTRACT_64(TRANSPORT_SUM, hdr.ipv4.addresses)
            hdr.ipv4.addresses = hdr.local.new_src_v4 + hdr.local.new_dst_v4;
            SUM_ADD_64(NETWORK_SUM, hdr.ipv4.addresses)
            SUM_ADD_64(TRANSPORT_SUM, hdr.ipv4.addresses)
            SUM_STORE(NETWORK_SUM, hdr.ipv4.checksum)
        }
        if (hdr.ipv6.isValid()) {
            SUM_SUBTRACT_64(TRANSPORT_SUM, hdr.ipv6.src_hi)
            SUM_SUBTRACT_64(TRANSPORT_SUM, hdr.ipv6.src_lo)
            SUM_SUBTRACT_64(TRANSPORT_SUM, hdr.ipv6.dst_hi)
            SUM_SUBTRACT_64(TRANSPORT_SUM, hdr.ipv6.dst_lo)
            hdr.ipv6.src_hi = meta.new.src_hi;
            hdr.ipv6.src_lo = meta.new.src_lo;
            hdr.ipv6.dst_hi = meta.new.dst_hi;
            hdr.ipv6.dst_lo = meta.new.dst_lo;
            SUM_ADD_64(TRANSPORT_SUM, hdr.ipv6.src_hi)
            SUM_ADD_64(TRANSPORT_SUM, hdr.ipv6.src_lo)
            SUM_ADD_64(TRANSPORT_SUM, hdr.ipv6.dst_hi)
            SUM_ADD_64(TRANSPORT_SUM, hdr.ipv6.dst_lo)
        }
        if (hdr.tcp.isValid()) {
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.tcp.checksum)
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.tcp.src_port)
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.tcp.dst_port)
            hdr.tcp.src_port = meta.new.src_port;
            hdr.tcp.dst_port = meta.new.dst_port;
            SUM_ADD_16(TRANSPORT_SUM, hdr.tcp.src_port)
            SUM_ADD_16(TRANSPORT_SUM, hdr.tcp.dst_port)
            SUM_STORE(TRANSPORT_SUM, hdr.tcp.checksum)
        }
        if (hdr.udp.isValid()) {
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.udp.checksum)
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.udp.src_port)
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.udp.dst_port)
            hdr.udp.src_port = meta.new.src_port;
            hdr.udp.dst_port = meta.new.dst_port;
            SUM_ADD_16(TRANSPORT_SUM, hdr.udp.src_port)
            SUM_ADD_16(TRANSPORT_SUM, hdr.udp.dst_port)
            // 0 says that there is no checksum (RFC 768; RFC 6935 for IPv6 tunnels): it stays.
            // A checksum that comes out as 0 is sent as all ones.
            if (hdr.udp.checksum != 0) {
                SUM_STORE(TRANSPORT_SUM, hdr.udp.checksum)
                if (hdr.udp.checksum == 0) {
                    hdr.udp.checksum = 0xffff;
                }
            }
        }
        // ICMPv6 covers the addresses (RFC 4443, 2.3), ICMP does not.
        if (hdr.inner_ipv6.isValid()) {
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.icmp.checksum)
            SUM_STORE(TRANSPORT_SUM, hdr.icmp.checksum)
        }
        if (hdr.sctp.isValid()) {
            hdr.sctp.checksum = hdr.sctp.checksum ^ hdr.local.checksum_change;
            hdr.sctp.src_port = meta.new.src_port;
            hdr.sctp.dst_port = meta.new.dst_port;
        }
    }
}

// One hop less. The caller knows that it is above 1.
control DecrementTtl(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.ipv4.isValid()) {
            hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
            // The word of TTL and protocol shrinks by 0x0100, so the checksum grows by it, with the carry added back.
            if (hdr.ipv4.checksum < 0xfeff) {
                hdr.ipv4.checksum = hdr.ipv4.checksum + 0x0100;
            } else {
                hdr.ipv4.checksum = hdr.ipv4.checksum + 0x0101;
            }
        }
        if (hdr.ipv6.isValid()) {
            hdr.ipv6.hop_limit = hdr.ipv6.hop_limit - 1;
        }
    }
}

#endif
