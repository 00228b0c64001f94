// Wire formats. Fields are whole bytes up to 64 bits wide: what every NIC compiler takes.

#ifndef NICPROXY_CORE_HEADERS_P4
#define NICPROXY_CORE_HEADERS_P4

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header vlan_t {
    bit<16> tci;
    bit<16> type;
}

// RFC 791
header ipv4_t {
    bit<8>  version_ihl;
    bit<8>  tos;
    bit<16> total_length;
    bit<16> identification;
    bit<16> flags_offset;
    bit<8>  ttl;
    bit<8>  protocol;
    bit<16> checksum;
    bit<64> addresses;      // source, then destination: one field costs DPDK fewer temporaries than two
}

// IPv4 options: 1 to 10 words, taken as 8 + 4 + 2 + 1 so that no header has a variable length.
header ipv4_options8_t {
    bit<64> words0;
    bit<64> words1;
    bit<64> words2;
    bit<64> words3;
}

header ipv4_options4_t {
    bit<64> words0;
    bit<64> words1;
}

header ipv4_options2_t {
    bit<64> words;
}

header ipv4_options1_t {
    bit<32> word;
}

// RFC 8200
header ipv6_t {
    bit<8>  version_class;
    bit<8>  class_flow;
    bit<16> flow;
    bit<16> payload_length;
    bit<8>  next_header;
    bit<8>  hop_limit;
    bit<64> src_hi;
    bit<64> src_lo;
    bit<64> dst_hi;
    bit<64> dst_lo;
}

// RFC 8200, 4.5
header ipv6_fragment_t {
    bit<8>  next_header;
    bit<8>  reserved;
    bit<16> offset_flags;
    bit<32> identification;
}

// RFC 9293
header tcp_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> sequence;
    bit<32> acknowledgment;
    bit<8>  data_offset;
    bit<8>  flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent;
}

// RFC 768
header udp_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<16> length;
    bit<16> checksum;
}

// RFC 9260
header sctp_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<32> verification_tag;
    bit<32> checksum;
}

// Before a packet that goes to the control plane unaltered: why, and what the pipeline would have done.
@controller_header("packet_in")
header packet_in_t {
    bit<32> ingress_port;
    bit<8>  verdict;
    bit<8>  role;
    bit<32> vpc;
    bit<32> service_id;
    bit<32> set_id;
    bit<16> slot;
    bit<64> endpoint_hi;
    bit<64> endpoint_lo;
    bit<16> endpoint_port;
}

// Before a packet from the control plane.
@controller_header("packet_out")
header packet_out_t {
    bit<32> ingress_port;   // treat it as received here when egress_port is 0
    bit<32> egress_port;    // send it here as it is
}

// What is known of a packet beside its tuples (see metadata.p4). Valid from the first to the last step, never sent.
header local_t {
    // port: key, then result
    bit<32> ingress_port;
    bit<8>  role;
    bit<32> peer_port;
    bit<32> slow_port;

    // parser's findings
    bit<8>  network;
    bit<8>  transport;
    bit<8>  ttl;
    bit<32> ip_length;      // bytes of the IP packet, header included

    // frontend result
    bit<8>  frontend;
    bit<16> slot_mask;
    bit<16> serve_flags;

    // endpoint key, then result
    bit<32> set_id;
    bit<16> slot;
    bit<8>  picked;

    // flow and reply results
    bit<8>  flow_found;
    bit<8>  reply_found;
    bit<8>  conflict;
    bit<8>  translated;
    bit<8>  learn;

    // sctp_checksum key, then result
    bit<16> src_port_change;
    bit<16> dst_port_change;
    bit<16> l4_length;      // bytes from the transport header to the end of the IP packet
    bit<32> checksum_change;
    bit<8>  checksum_known;

    // route result
    bit<8>  route;
    bit<48> out_src_mac;
    bit<48> out_dst_mac;

    // the end
    bit<8>  verdict;
    bit<8>  decided;        // one of the DECIDED_ values
}

struct headers_t {
    local_t         local;
    packet_in_t     packet_in;
    packet_out_t    packet_out;
    ethernet_t      ethernet;
    vlan_t          vlan;
    ipv4_t          ipv4;
    ipv4_options8_t ipv4_options8;
    ipv4_options4_t ipv4_options4;
    ipv4_options2_t ipv4_options2;
    ipv4_options1_t ipv4_options1;
    ipv6_t          ipv6;
    ipv6_fragment_t ipv6_fragment;
    tcp_t           tcp;
    udp_t           udp;
    sctp_t          sctp;
}

#endif
