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

// RFC 826, for Ethernet and IPv4, cut where 64 bits take the most.
header arp_t {
    bit<32> types;          // of both addresses
    bit<32> operation;      // with both addresses' lengths
    bit<48> sender_mac;
    bit<32> sender;
    bit<16> target_mac;
    bit<64> target;         // the rest of the MAC address, then the address asked for
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

// The outer header of a tunnel: RFC 791 by words.
header outer_ipv4_t {
    bit<16> version_tos;
    bit<16> total_length;
    bit<16> identification;
    bit<16> flags_offset;
    bit<16> ttl_protocol;
    bit<16> checksum;
    bit<64> addresses;
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

// RFC 792, RFC 4443: an error; the packet that caused it follows.
header icmp_t {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
    bit<32> rest;
}

// RFC 4861, 4.3: whose MAC address is asked for; options follow.
header solicitation_t {
    bit<64> target_hi;
    bit<64> target_lo;
}

// What every ICMP error quotes of TCP, UDP or SCTP; the checksum is UDP's.
header quoted_ports_t {
    bit<16> src_port;
    bit<16> dst_port;
    bit<16> word;
    bit<16> checksum;
}

// What a quoted TCP header has behind that, up to its checksum.
header quoted_tcp_t {
    bit<64> words;
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
    bit<16> endpoint_port;  // 0: in a tunnel
    bit<64> source_hi;      // the source that the packet would have had
    bit<64> source_lo;
    bit<16> source_port;
    bit<16> serve_flags;
    bit<8>  endpoint_flags;
    bit<32> endpoint_id;
    bit<8>  state;          // one of the STATE_ values
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
    bit<8>  neighbor;       // asks for the MAC address of whoever has the old destination
    bit<8>  own;            // which is the NIC
    bit<32> ip_length;      // bytes of the IP packet, header included

    // frontend result
    bit<8>  frontend;
    bit<16> slot_mask;
    bit<16> serve_flags;
    bit<16> check_source;   // one flag each: not 0 when it is set
    bit<16> remember;
    bit<16> masquerade_pod;
    bit<16> masquerade_node;
    bit<16> masquerade_outside;
    bit<16> dsr;
    bit<16> hash_client;
    bit<16> hash_vip;
    bit<16> classify;
    bit<16> refuse;
    bit<32> outside_set_id;
    bit<16> outside_slot_mask;
    bit<8>  affinity_profile;
    bit<8>  connection_profile; // how long the connection's entries may stay unused, meanwhile

    // client result
    bit<32> service_id;
    bit<8>  class;

    // what picks the slot
    bit<64> hash_src;       // both halves as one
    bit<16> hash_src_port;
    bit<64> hash_dst_lo;

    // endpoint key, then result; affinity result; member key: set and pin
    bit<16> slot;
    bit<32> set_id;
    bit<64> pinned_hi;
    bit<64> pinned_lo;
    bit<16> pinned_port;
    bit<8>  pinned;
    bit<8>  member;
    bit<8>  picked;
    bit<8>  endpoint_flags;
    bit<8>  endpoint_local;
    bit<32> endpoint_id;
    bit<8>  opening;        // the packet may be a connection's first
    bit<8>  ask;            // a new connection is the control plane's to set up

    // masquerade key, whose first fields are tunnel's too; masquerade result
    bit<32> key_vpc;
    bit<8>  family;
    bit<8>  local_reason;
    bit<16> port_hash;
    bit<8>  masquerade;     // 1: needed, 2: done, 3: wanted if there is an address for it

    // tunnel result
    bit<8>  direct;         // direct server return
    bit<8>  tunnel;
    bit<64> tunnel_src_hi;
    bit<64> tunnel_src_lo;
    bit<64> tunnel_src_v4;
    bit<16> tunnel_dst_port;

    // flow and reply results
    bit<8>  flow_found;
    bit<8>  reply_found;
    bit<8>  conflict;
    bit<8>  begins;         // a TCP connection to no Service
    bit<8>  translated;
    bit<8>  learn;

    // a TCP packet: what it says
    bit<8>  syn;
    bit<8>  fin;
    bit<8>  rst;
    bit<8>  ack;
    bit<8>  injected;       // sent back in by the control plane
    bit<8>  state;          // one of the STATE_ values, where the control plane times out
    bit<8>  reply_profile;  // what an answer does to the timers

    bit<16> ip_header;      // bytes of an IPv4 header

    // sctp_checksum key, then result
    bit<16> src_port_change;
    bit<16> dst_port_change;
    bit<16> l4_length;      // bytes from the transport header to the end of the IP packet
    bit<32> checksum_change;
    bit<8>  checksum_known;

    // IPv4 addresses on their way into one field
    bit<64> new_src_v4;
    bit<64> new_dst_v4;

    // route result
    bit<8>  route;
    bit<48> out_src_mac;
    bit<48> out_dst_mac;

    // the end
    bit<8>  verdict;
    bit<8>  decided;        // one of the DECIDED_ values
}

// What is known of some packets only. DPDK's pipeline addresses a header's fields with 8 bits: neither of the two headers
// may have more than 256 bytes. Valid and never sent like the first.
header aside_t {
    // a TCP packet: its place in the registers and what stands there, the place of the answers
    bit<32> header_length;  // bytes
    bit<64> fold;           // the addresses of a tuple, and its ports
    bit<32> ports;
    bit<32> place;
    bit<32> own_hash;
    bit<32> own_place;
    bit<32> peer_hash;
    bit<32> peer_place;
    bit<32> owner;
    bit<32> code;
    bit<32> was;            // the code before this packet
    bit<32> peer_code;
    bit<32> acked;          // what the other side expects next
    bit<32> sent;           // bytes sent from there on
    bit<32> peer_acked;
    bit<32> peer_sent;
    bit<32> distance;       // the packet's start and end, from there on
    bit<32> end;
    bit<32> answered;       // bytes that it acknowledges
    bit<8>  tracked;
    bit<8>  changed;

    // an ICMP error's own addresses, while the quoted tuple stands in their place
    bit<64> outer_src_hi;
    bit<64> outer_src_lo;
    bit<64> outer_dst_hi;
    bit<64> outer_dst_lo;
    bit<16> outer_src_port;
    bit<16> outer_dst_port;
    bit<64> quoted_src;     // IPv4, without the prefix
    bit<64> quoted_dst;
    bit<16> quoted_checksum;
    bit<8>  mend;           // there is one
}

struct headers_t {
    local_t         local;
    aside_t         aside;
    packet_in_t     packet_in;
    packet_out_t    packet_out;
    ethernet_t      ethernet;
    vlan_t          vlan;
    arp_t           arp;
    outer_ipv4_t    outer_ipv4;
    ipv6_t          outer_ipv6;
    udp_t           outer_udp;
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
    icmp_t          icmp;
    solicitation_t  solicitation;
    ipv4_t          inner_ipv4;
    ipv6_t          inner_ipv6;
    quoted_ports_t  inner_ports;
    quoted_tcp_t    inner_tcp;
}

#endif
