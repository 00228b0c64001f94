// The new tuple written into the packet, with every checksum mended by the difference (RFC 1624): a recomputation
// would need bytes that a NIC, or a first fragment, does not have.

#ifndef NICPROXY_CORE_REWRITE_P4
#define NICPROXY_CORE_REWRITE_P4

// Eight 32-bit words of all ones: zero in one's-complement arithmetic, and no sum of eight words is larger.
#define EIGHT_WORDS_OF_ONES 0x7fffffff8
#define WORDS(x) ((x >> 32) + (x & 0xffffffff))

// Folds meta.sum to 16 bits. A positive sum never becomes 0. The conditions also keep compilers from substituting each
// step into the next one, which doubles the expression every time.
#define FOLD \
        if (meta.sum > 0xffffffff) { \
            meta.sum = (meta.sum >> 32) + (meta.sum & 0xffffffff); \
        } \
        if (meta.sum > 0xffff) { \
            meta.sum = (meta.sum >> 16) + (meta.sum & 0xffff); \
        } \
        if (meta.sum > 0xffff) { \
            meta.sum = (meta.sum >> 16) + (meta.sum & 0xffff); \
        } \
        if (meta.sum > 0xffff) { \
            meta.sum = (meta.sum >> 16) + (meta.sum & 0xffff); \
        }

// The CRC32c of SCTP (RFC 9260, 6.8) covers the ports and not the addresses. A CRC is linear: changing the ports
// changes it by a word that depends only on the two ports' difference and on the packet's length. The control plane
// tabulates that word for the port pairs in use.
control SctpChecksum(inout headers_t hdr, inout metadata_t meta) {
    @id(20)
    @name(".change_checksum")
    action change_checksum(bit<32> change) {
        meta.checksum_change = change;
        meta.checksum_known = 1;
    }

    @id(21)
    @name(".unknown_change")
    action unknown_change() {
        meta.checksum_known = 0;
    }

    @id(9)
    @name(".sctp_checksum")
    table sctp_checksum {
        key = {
            meta.port_change: exact @name("port_change");
            meta.l4_length: exact @name("length");
        }
        actions = {
            @tableonly change_checksum;
            @defaultonly unknown_change;
        }
        const default_action = unknown_change();
        size = NICPROXY_SCTP_CHECKSUM_SIZE;
    }

    apply {
        meta.port_change = (bit<32>)(meta.src_port ^ meta.new_src_port) << 16;
        meta.port_change = meta.port_change + (bit<32>)(meta.dst_port ^ meta.new_dst_port);
        if (meta.port_change != 0) {
            sctp_checksum.apply();
            if (meta.checksum_known == 0) {
                meta.decided = DECIDED_DROP;
                meta.verdict = VERDICT_DROP_CHECKSUM;
            }
        }
    }
}

// Addresses and ports. The caller knows that meta.translated is 1.
control Translate(inout headers_t hdr, inout metadata_t meta) {
    apply {
        meta.address_delta = EIGHT_WORDS_OF_ONES
            + WORDS(meta.new_src_hi) + WORDS(meta.new_src_lo) + WORDS(meta.new_dst_hi) + WORDS(meta.new_dst_lo)
            - WORDS(meta.src_hi) - WORDS(meta.src_lo) - WORDS(meta.dst_hi) - WORDS(meta.dst_lo);

        if (hdr.ipv4.isValid()) {
            meta.sum = meta.address_delta + (bit<64>)(0xffff - hdr.ipv4.checksum);
            FOLD
            hdr.ipv4.checksum = 0xffff - (bit<16>)meta.sum;
            hdr.ipv4.src = (bit<32>)meta.new_src_lo;
            hdr.ipv4.dst = (bit<32>)meta.new_dst_lo;
        }
        if (hdr.ipv6.isValid()) {
            hdr.ipv6.src_hi = meta.new_src_hi;
            hdr.ipv6.src_lo = meta.new_src_lo;
            hdr.ipv6.dst_hi = meta.new_dst_hi;
            hdr.ipv6.dst_lo = meta.new_dst_lo;
        }

        meta.sum = meta.address_delta
            + (bit<64>)meta.new_src_port + (bit<64>)meta.new_dst_port
            + (bit<64>)(0xffff - meta.src_port) + (bit<64>)(0xffff - meta.dst_port);
        if (hdr.tcp.isValid()) {
            meta.sum = meta.sum + (bit<64>)(0xffff - hdr.tcp.checksum);
            FOLD
            hdr.tcp.checksum = 0xffff - (bit<16>)meta.sum;
            hdr.tcp.src_port = meta.new_src_port;
            hdr.tcp.dst_port = meta.new_dst_port;
        }
        if (hdr.udp.isValid()) {
            // 0 says that there is no checksum (RFC 768; RFC 6935 for IPv6 tunnels): it stays.
            // A checksum that comes out as 0 is sent as all ones.
            if (hdr.udp.checksum != 0) {
                meta.sum = meta.sum + (bit<64>)(0xffff - hdr.udp.checksum);
                FOLD
                hdr.udp.checksum = 0xffff - (bit<16>)meta.sum;
                if (hdr.udp.checksum == 0) {
                    hdr.udp.checksum = 0xffff;
                }
            }
            hdr.udp.src_port = meta.new_src_port;
            hdr.udp.dst_port = meta.new_dst_port;
        }
        if (hdr.sctp.isValid()) {
            hdr.sctp.checksum = hdr.sctp.checksum ^ meta.checksum_change;
            hdr.sctp.src_port = meta.new_src_port;
            hdr.sctp.dst_port = meta.new_dst_port;
        }
    }
}

// One hop less. The caller knows that it is above 1.
control DecrementTtl(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.ipv4.isValid()) {
            // The word of TTL and protocol shrinks by 0x0100, so the checksum grows by it.
            meta.sum = (bit<64>)(0xffff - hdr.ipv4.checksum) + 0xfeff;
            FOLD
            hdr.ipv4.checksum = 0xffff - (bit<16>)meta.sum;
            hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
        }
        if (hdr.ipv6.isValid()) {
            hdr.ipv6.hop_limit = hdr.ipv6.hop_limit - 1;
        }
    }
}

#endif
