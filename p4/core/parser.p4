// Parser states, included inside each architecture's parser, whose `start` clears the metadata and comes here.
// In scope: pkt, hdr, meta.

    state parse_packet_out {
        pkt.extract(hdr.packet_out);
        transition parse_ethernet;
    }

    state parse_ethernet {
        pkt.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            ETHERTYPE_VLAN: parse_vlan;
            ETHERTYPE_IPV4: parse_ipv4;
            ETHERTYPE_IPV6: parse_ipv6;
            ETHERTYPE_ARP: parse_arp;
            default: accept;
        }
    }

    state parse_vlan {
        pkt.extract(hdr.vlan);
        transition select(hdr.vlan.type) {
            ETHERTYPE_IPV4: parse_ipv4;
            ETHERTYPE_IPV6: parse_ipv6;
            ETHERTYPE_ARP: parse_arp;
            default: accept;
        }
    }

    // Anything but a request for an IPv4 address goes on as it came.
    state parse_arp {
        pkt.extract(hdr.arp);
        transition select(hdr.arp.types) {
            ARP_ETHERNET_IPV4: parse_arp_operation;
            default: accept;
        }
    }

    state parse_arp_operation {
        transition select(hdr.arp.operation) {
            ARP_REQUEST: parse_arp_request;
            default: accept;
        }
    }

    state parse_arp_request {
        hdr.local.neighbor = 1;
        meta.old.dst_lo = hdr.arp.target & 0xffffffff;
        transition accept;
    }

    // Malformed until everything that this kind of packet must have was there.
    state parse_ipv4 {
        hdr.local.network = NETWORK_MALFORMED;
        pkt.extract(hdr.ipv4);
        meta.old.src_lo = hdr.ipv4.addresses >> 32;
        meta.old.dst_lo = hdr.ipv4.addresses & 0xffffffff;
        transition select(hdr.ipv4.version_ihl) {
            0x45: parse_ipv4_fragment;
            0x46: parse_ipv4_options1;
            0x47: parse_ipv4_options2;
            0x48: parse_ipv4_options2;
            0x49: parse_ipv4_options4;
            0x4a: parse_ipv4_options4;
            0x4b: parse_ipv4_options4;
            0x4c: parse_ipv4_options4;
            0x4d: parse_ipv4_options8;
            0x4e: parse_ipv4_options8;
            0x4f: parse_ipv4_options8;
            default: accept;
        }
    }

    state parse_ipv4_options8 {
        pkt.extract(hdr.ipv4_options8);
        transition select(hdr.ipv4.version_ihl) {
            0x4d: parse_ipv4_fragment;
            0x4e: parse_ipv4_options1;
            default: parse_ipv4_options2;
        }
    }

    state parse_ipv4_options4 {
        pkt.extract(hdr.ipv4_options4);
        transition select(hdr.ipv4.version_ihl) {
            0x49: parse_ipv4_fragment;
            0x4a: parse_ipv4_options1;
            default: parse_ipv4_options2;
        }
    }

    state parse_ipv4_options2 {
        pkt.extract(hdr.ipv4_options2);
        transition select(hdr.ipv4.version_ihl) {
            0x48: parse_ipv4_options1;
            0x4c: parse_ipv4_options1;
            default: parse_ipv4_fragment;
        }
    }

    state parse_ipv4_options1 {
        pkt.extract(hdr.ipv4_options1);
        transition parse_ipv4_fragment;
    }

    state parse_ipv4_fragment {
        meta.protocol = hdr.ipv4.protocol;
        transition select(hdr.ipv4.flags_offset) {
            0x0000 &&& 0x1fff: parse_ipv4_transport;
            default: parse_later_fragment;
        }
    }

    state parse_ipv4_transport {
        transition select(hdr.ipv4.protocol) {
            PROTOCOL_TCP: parse_tcp;
            PROTOCOL_UDP: parse_udp;
            PROTOCOL_SCTP: parse_sctp;
            PROTOCOL_ICMP: parse_icmp;
            default: parse_no_ports;
        }
    }

    state parse_ipv6 {
        hdr.local.network = NETWORK_MALFORMED;
        pkt.extract(hdr.ipv6);
        meta.protocol = hdr.ipv6.next_header;
        hdr.local.ip_length = (bit<32>)hdr.ipv6.payload_length;
        transition select(hdr.ipv6.version_class) {
            0x60 &&& 0xf0: parse_ipv6_next;
            default: accept;
        }
    }

    state parse_ipv6_next {
        transition select(hdr.ipv6.next_header) {
            PROTOCOL_TCP: parse_tcp;
            PROTOCOL_UDP: parse_udp;
            PROTOCOL_SCTP: parse_sctp;
            PROTOCOL_ICMPV6: parse_icmpv6;
            PROTOCOL_IPV6_FRAGMENT: parse_ipv6_fragment;
            default: parse_no_ports;
        }
    }

    state parse_ipv6_fragment {
        pkt.extract(hdr.ipv6_fragment);
        meta.protocol = hdr.ipv6_fragment.next_header;
        transition select(hdr.ipv6_fragment.offset_flags) {
            0x0000 &&& 0xfff8: parse_ipv6_fragment_transport;
            default: parse_later_fragment;
        }
    }

    state parse_ipv6_fragment_transport {
        transition select(hdr.ipv6_fragment.next_header) {
            PROTOCOL_TCP: parse_tcp;
            PROTOCOL_UDP: parse_udp;
            PROTOCOL_SCTP: parse_sctp;
            default: parse_no_ports;
        }
    }

    state parse_tcp {
        pkt.extract(hdr.tcp);
        meta.old.src_port = hdr.tcp.src_port;
        meta.old.dst_port = hdr.tcp.dst_port;
        // Taken apart here: elsewhere it would cost DPDK metadata.
        hdr.local.syn = hdr.tcp.flags;
        hdr.local.syn = hdr.local.syn & TCP_SYN;
        hdr.local.fin = hdr.tcp.flags;
        hdr.local.fin = hdr.local.fin & TCP_FIN;
        hdr.local.rst = hdr.tcp.flags;
        hdr.local.rst = hdr.local.rst & TCP_RST;
        hdr.local.ack = hdr.tcp.flags;
        hdr.local.ack = hdr.local.ack & TCP_ACK;
        hdr.aside.distance = hdr.tcp.sequence;
        hdr.aside.end = hdr.tcp.sequence;
        hdr.aside.answered = hdr.tcp.acknowledgment;
        hdr.local.network = NETWORK_IP;
        hdr.local.transport = TRANSPORT_PORTS;
        transition accept;
    }

    state parse_udp {
        pkt.extract(hdr.udp);
        meta.old.src_port = hdr.udp.src_port;
        meta.old.dst_port = hdr.udp.dst_port;
        hdr.local.network = NETWORK_IP;
        hdr.local.transport = TRANSPORT_PORTS;
        transition accept;
    }

    state parse_sctp {
        pkt.extract(hdr.sctp);
        meta.old.src_port = hdr.sctp.src_port;
        meta.old.dst_port = hdr.sctp.dst_port;
        hdr.local.network = NETWORK_IP;
        hdr.local.transport = TRANSPORT_PORTS;
        transition accept;
    }

    state parse_later_fragment {
        hdr.local.network = NETWORK_IP;
        hdr.local.transport = TRANSPORT_FRAGMENT;
        transition accept;
    }

    state parse_no_ports {
        hdr.local.network = NETWORK_IP;
        hdr.local.transport = TRANSPORT_NONE;
        transition accept;
    }

    // ICMP without a whole quoted header and ports is like any other packet without ports.
    state parse_icmp {
        hdr.local.network = NETWORK_IP;
        pkt.extract(hdr.icmp);
        transition select(hdr.icmp.type) {
            3: parse_inner_ipv4;        // destination unreachable
            11: parse_inner_ipv4;       // time exceeded
            12: parse_inner_ipv4;       // parameter problem
            default: accept;
        }
    }

    // A quoted packet with options goes on unaltered, and so does a quoted later fragment: it has no ports.
    state parse_inner_ipv4 {
        pkt.extract(hdr.inner_ipv4);
        hdr.aside.quoted_src = hdr.inner_ipv4.addresses >> 32;
        hdr.aside.quoted_dst = hdr.inner_ipv4.addresses & 0xffffffff;
        transition select(hdr.inner_ipv4.version_ihl) {
            0x45: parse_inner_ipv4_fragment;
            default: accept;
        }
    }

    state parse_inner_ipv4_fragment {
        transition select(hdr.inner_ipv4.flags_offset) {
            0x0000 &&& 0x1fff: parse_inner_ipv4_ports;
            default: accept;
        }
    }

    state parse_inner_ipv4_ports {
        transition select(hdr.inner_ipv4.protocol) {
            PROTOCOL_TCP: parse_inner_ipv4_tcp;
            PROTOCOL_UDP: parse_inner_ports;
            PROTOCOL_SCTP: parse_inner_ports;
            default: accept;
        }
    }

    state parse_icmpv6 {
        hdr.local.network = NETWORK_IP;
        pkt.extract(hdr.icmp);
        transition select(hdr.icmp.type) {
            1: parse_inner_ipv6;        // destination unreachable
            2: parse_inner_ipv6;        // packet too big
            3: parse_inner_ipv6;        // time exceeded
            4: parse_inner_ipv6;        // parameter problem
            135: parse_solicitation;    // neighbour solicitation
            default: accept;
        }
    }

    state parse_solicitation {
        pkt.extract(hdr.solicitation);
        transition select(hdr.ipv6.hop_limit) {
            255: parse_neighbor_solicitation;
            default: accept;            // from beyond a router: invalid (RFC 4861, 7.1.1)
        }
    }

    state parse_neighbor_solicitation {
        hdr.local.neighbor = 1;
        transition accept;
    }

    state parse_inner_ipv6 {
        pkt.extract(hdr.inner_ipv6);
        transition select(hdr.inner_ipv6.next_header) {
            PROTOCOL_TCP: parse_inner_ipv6_tcp;
            PROTOCOL_UDP: parse_inner_ports;
            PROTOCOL_SCTP: parse_inner_ports;
            default: accept;
        }
    }

    // Most errors quote no more of TCP than its ports; a checksum that is there is mended. DPDK reads past the end of a packet
    // if it is told to, so the length is asked: 66 bytes of IPv4, or behind IPv6, reach to the end of the checksum.
    state parse_inner_ipv4_tcp {
        pkt.extract(hdr.inner_ports);
        hdr.local.transport = TRANSPORT_RELATED;
        transition select(hdr.ipv4.total_length) {
            0x0000 &&& 0xffc0: accept;
            0x0040 &&& 0xfffe: accept;
            default: parse_inner_tcp;
        }
    }

    state parse_inner_ipv6_tcp {
        pkt.extract(hdr.inner_ports);
        hdr.local.transport = TRANSPORT_RELATED;
        transition select(hdr.ipv6.payload_length) {
            0x0000 &&& 0xffc0: accept;
            0x0040 &&& 0xfffe: accept;
            default: parse_inner_tcp;
        }
    }

    state parse_inner_tcp {
        pkt.extract(hdr.inner_tcp);
        transition accept;
    }

    state parse_inner_ports {
        pkt.extract(hdr.inner_ports);
        hdr.local.transport = TRANSPORT_RELATED;
        transition accept;
    }
