// Emits, included inside each architecture's deparser. In scope: pkt, hdr.

        pkt.emit(hdr.packet_in);
        pkt.emit(hdr.ethernet);
        pkt.emit(hdr.vlan);
        pkt.emit(hdr.arp);
        pkt.emit(hdr.outer_ipv4);
        pkt.emit(hdr.outer_ipv6);
        pkt.emit(hdr.outer_udp);
        pkt.emit(hdr.ipv4);
        pkt.emit(hdr.ipv4_options8);
        pkt.emit(hdr.ipv4_options4);
        pkt.emit(hdr.ipv4_options2);
        pkt.emit(hdr.ipv4_options1);
        pkt.emit(hdr.ipv6);
        pkt.emit(hdr.ipv6_fragment);
        pkt.emit(hdr.tcp);
        pkt.emit(hdr.udp);
        pkt.emit(hdr.sctp);
        pkt.emit(hdr.icmp);
        pkt.emit(hdr.solicitation);
        pkt.emit(hdr.inner_ipv4);
        pkt.emit(hdr.inner_ipv6);
        pkt.emit(hdr.inner_ports);
        pkt.emit(hdr.inner_tcp);
