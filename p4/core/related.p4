// ICMP errors about a translated packet (S69): who sent the packet must find it in the error as it was sent.

#ifndef NICPROXY_CORE_RELATED_P4
#define NICPROXY_CORE_RELATED_P4

// The tuple that an answer to the quoted packet would have takes the place of the error's own: what `flow` or `reply`
// say of it is where the error must go.
control RelatedKey(inout headers_t hdr, inout metadata_t meta) {
    apply {
        hdr.aside.outer_src_hi = meta.old.src_hi;
        hdr.aside.outer_src_lo = meta.old.src_lo;
        hdr.aside.outer_dst_hi = meta.old.dst_hi;
        hdr.aside.outer_dst_lo = meta.old.dst_lo;
        if (hdr.inner_ipv4.isValid()) {
            meta.protocol = hdr.inner_ipv4.protocol;
            meta.old.src_lo = hdr.aside.quoted_dst + IPV4_MAPPED_PREFIX;
            meta.old.dst_lo = hdr.aside.quoted_src + IPV4_MAPPED_PREFIX;
        }
        if (hdr.inner_ipv6.isValid()) {
            meta.protocol = hdr.inner_ipv6.next_header;
            meta.old.src_hi = hdr.inner_ipv6.dst_hi;
            meta.old.src_lo = hdr.inner_ipv6.dst_lo;
            meta.old.dst_hi = hdr.inner_ipv6.src_hi;
            meta.old.dst_lo = hdr.inner_ipv6.src_lo;
        }
        meta.old.src_port = hdr.inner_ports.dst_port;
        meta.old.dst_port = hdr.inner_ports.src_port;
        meta.new = meta.old;
        // An error is no packet of the connection: its timers run on.
        meta.refresh_profile = EXPIRE_UNTOUCHED;
    }
}

// The error of a packet that is nobody's: as it came.
control UnrelatedKey(inout headers_t hdr, inout metadata_t meta) {
    apply {
        meta.old.src_hi = hdr.aside.outer_src_hi;
        meta.old.src_lo = hdr.aside.outer_src_lo;
        meta.old.dst_hi = hdr.aside.outer_dst_hi;
        meta.old.dst_lo = hdr.aside.outer_dst_lo;
        meta.old.src_port = 0;
        meta.old.dst_port = 0;
        meta.new = meta.old;
    }
}

// The quoted packet gets the reverse of meta.new; the error goes to meta.new's destination. Its source is hidden where
// the connection hides the one it speaks of, be it that or a router, as Linux does. Checksums are mended by the
// difference; SCTP's, of which an error mostly quotes nothing, stays. Translate, which comes next, writes the error's own
// addresses.
control TranslateQuoted(inout headers_t hdr, inout metadata_t meta) {
    CHECKSUM_INSTANCES

    apply {
        // A step of its own: in one expression with what follows it would cost DPDK metadata.
        if (hdr.inner_ipv4.isValid()) {
            hdr.local.new_src_v4 = meta.new.dst_lo << 32;
            hdr.local.new_dst_v4 = meta.new.src_lo & 0xffffffff;
        }
        hdr.inner_ports.src_port = meta.new.dst_port;
        hdr.inner_ports.dst_port = meta.new.src_port;
        // An IPv4 address's prefix stands on both sides of the difference.
        SUM_CLEAR(NETWORK_SUM)
        SUM_SUBTRACT_64(NETWORK_SUM, meta.old.src_lo)
        SUM_SUBTRACT_64(NETWORK_SUM, meta.old.dst_lo)
        SUM_ADD_64(NETWORK_SUM, meta.new.src_lo)
        SUM_ADD_64(NETWORK_SUM, meta.new.dst_lo)
        SUM_CLEAR(TRANSPORT_SUM)
        SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.icmp.checksum)
        SUM_SUBTRACT_16(TRANSPORT_SUM, meta.old.src_port)
        SUM_SUBTRACT_16(TRANSPORT_SUM, meta.old.dst_port)
        SUM_ADD_16(TRANSPORT_SUM, meta.new.src_port)
        SUM_ADD_16(TRANSPORT_SUM, meta.new.dst_port)
        // The words of an IPv4 header add up to the same before and after: ICMP's checksum does not see it change.
        if (hdr.inner_ipv4.isValid()) {
            hdr.inner_ipv4.addresses = hdr.local.new_src_v4 + hdr.local.new_dst_v4;
            SUM_SUBTRACT_16(NETWORK_SUM, hdr.inner_ipv4.checksum)
            SUM_STORE(NETWORK_SUM, hdr.inner_ipv4.checksum)
        }
        if (hdr.inner_ipv6.isValid()) {
            hdr.inner_ipv6.src_hi = meta.new.dst_hi;
            hdr.inner_ipv6.src_lo = meta.new.dst_lo;
            hdr.inner_ipv6.dst_hi = meta.new.src_hi;
            hdr.inner_ipv6.dst_lo = meta.new.src_lo;
            SUM_SUBTRACT_64(TRANSPORT_SUM, meta.old.src_hi)
            SUM_SUBTRACT_64(TRANSPORT_SUM, meta.old.src_lo)
            SUM_SUBTRACT_64(TRANSPORT_SUM, meta.old.dst_hi)
            SUM_SUBTRACT_64(TRANSPORT_SUM, meta.old.dst_lo)
            SUM_ADD_64(TRANSPORT_SUM, meta.new.src_hi)
            SUM_ADD_64(TRANSPORT_SUM, meta.new.src_lo)
            SUM_ADD_64(TRANSPORT_SUM, meta.new.dst_hi)
            SUM_ADD_64(TRANSPORT_SUM, meta.new.dst_lo)
        }
        // Of UDP 0 says that there is no checksum; TCP's is cut off most often.
        hdr.aside.mend = 0;
        if (meta.protocol == PROTOCOL_UDP && hdr.inner_ports.checksum != 0) {
            hdr.aside.quoted_checksum = hdr.inner_ports.checksum;
            hdr.aside.mend = 1;
        }
        if (hdr.inner_tcp.isValid()) {
            hdr.aside.quoted_checksum = hdr.inner_tcp.checksum;
            hdr.aside.mend = 1;
        }
        if (hdr.aside.mend == 1) {
            SUM_SUBTRACT_16(TRANSPORT_SUM, hdr.aside.quoted_checksum)
            SUM_CLEAR(NETWORK_SUM)
            SUM_SUBTRACT_16(NETWORK_SUM, hdr.aside.quoted_checksum)
            SUM_SUBTRACT_16(NETWORK_SUM, meta.old.src_port)
            SUM_SUBTRACT_16(NETWORK_SUM, meta.old.dst_port)
            SUM_ADD_16(NETWORK_SUM, meta.new.src_port)
            SUM_ADD_16(NETWORK_SUM, meta.new.dst_port)
            if (hdr.inner_ipv6.isValid()) {
                SUM_SUBTRACT_64(NETWORK_SUM, meta.old.src_hi)
                SUM_SUBTRACT_64(NETWORK_SUM, meta.old.dst_hi)
                SUM_ADD_64(NETWORK_SUM, meta.new.src_hi)
                SUM_ADD_64(NETWORK_SUM, meta.new.dst_hi)
            }
            SUM_SUBTRACT_64(NETWORK_SUM, meta.old.src_lo)
            SUM_SUBTRACT_64(NETWORK_SUM, meta.old.dst_lo)
            SUM_ADD_64(NETWORK_SUM, meta.new.src_lo)
            SUM_ADD_64(NETWORK_SUM, meta.new.dst_lo)
            SUM_STORE(NETWORK_SUM, hdr.aside.quoted_checksum)
            if (hdr.inner_tcp.isValid()) {
                hdr.inner_tcp.checksum = hdr.aside.quoted_checksum;
            } else {
                if (hdr.aside.quoted_checksum == 0) {
                    hdr.aside.quoted_checksum = 0xffff;
                }
                hdr.inner_ports.checksum = hdr.aside.quoted_checksum;
            }
            SUM_ADD_16(TRANSPORT_SUM, hdr.aside.quoted_checksum)
        }
        SUM_STORE(TRANSPORT_SUM, hdr.icmp.checksum)
        if (meta.new.src_hi == meta.old.src_hi && meta.new.src_lo == meta.old.src_lo) {
            meta.new.src_hi = hdr.aside.outer_src_hi;
            meta.new.src_lo = hdr.aside.outer_src_lo;
        }
    }
}

#endif
