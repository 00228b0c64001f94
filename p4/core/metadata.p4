// What is known of one packet. The fields of a table's key stand together and in key order where they can: DPDK and
// NIC compilers build a key from one run of bytes, and copy the fields to one where they find none.

#ifndef NICPROXY_CORE_METADATA_P4
#define NICPROXY_CORE_METADATA_P4

struct metadata_t {
    // port: key, then result
    bit<32> ingress_port;
    bit<8>  role;
    bit<32> peer_port;
    bit<32> slow_port;

    // egress key
    bit<32> egress_port;

    // parser's findings
    bit<8>  network;
    bit<8>  transport;
    bit<8>  ttl;
    bit<16> tcp_header_length;
    bit<32> ip_length;      // bytes of the IP packet, header included

    // One run of bytes that holds several keys:
    //   source_range, affinity: service_id, src_hi, src_lo
    //   frontend:               vpc, protocol, dst_hi, dst_lo, dst_port
    // and the tuple of flow and vip.
    bit<32> service_id;
    bit<64> src_hi;
    bit<64> src_lo;
    bit<16> src_port;
    bit<32> vpc;
    bit<8>  protocol;
    bit<64> dst_hi;
    bit<64> dst_lo;
    bit<16> dst_port;

    // frontend result
    bit<8>  frontend;
    bit<16> slot_mask;
    bit<16> serve_flags;

    // source_range result
    bit<8>  source_allowed;

    // endpoint key, then result
    bit<32> hash;
    bit<32> set_id;
    bit<16> slot;
    bit<64> endpoint_hi;
    bit<64> endpoint_lo;
    bit<16> endpoint_port;
    bit<8>  picked;

    // flow result: the tuple this packet is to leave with. Also what a new flow entry stores.
    bit<64> new_src_hi;
    bit<64> new_src_lo;
    bit<64> new_dst_hi;
    bit<64> new_dst_lo;
    bit<16> new_src_port;
    bit<16> new_dst_port;
    bit<8>  flow_found;
    bit<8>  translated;

    // reply key: this packet's tuple, or the tuple its answer will have
    bit<32> reply_vpc;
    bit<8>  reply_protocol;
    bit<64> reply_src_hi;
    bit<64> reply_src_lo;
    bit<64> reply_dst_hi;
    bit<64> reply_dst_lo;
    bit<16> reply_src_port;
    bit<16> reply_dst_port;

    // reply result: the tuple an answer is to leave with. Also what a new reply entry stores.
    bit<64> back_src_hi;
    bit<64> back_src_lo;
    bit<64> back_dst_hi;
    bit<64> back_dst_lo;
    bit<16> back_src_port;
    bit<16> back_dst_port;
    bit<8>  reply_found;

    // learning (architectures that can)
    bit<8>  learn;
    bit<8>  learn_profile;
    bit<8>  refresh_profile;

    // sctp_checksum key, then result
    bit<32> port_change;
    bit<16> l4_length;      // bytes from the transport header to the end of the IP packet
    bit<32> checksum_change;
    bit<8>  checksum_known;

    // one's-complement difference of the addresses, and of the whole tuple
    bit<64> address_delta;
    bit<64> sum;

    // route result
    bit<8>  route;
    bit<48> out_src_mac;
    bit<48> out_dst_mac;

    // the end
    bit<8>  verdict;
    bit<8>  decided;        // 0: still on its way; else one of the DECIDED_ values
    bit<32> out_port;       // of architectures that set it as metadata
}

const bit<8> DECIDED_NO = 0;
const bit<8> DECIDED_SEND = 1;
const bit<8> DECIDED_DROP = 2;
const bit<8> DECIDED_SLOW = 3;

const bit<8> ROUTE_NONE = 0;
const bit<8> ROUTE_FORWARD = 1;
const bit<8> ROUTE_BLACKHOLE = 2;

#endif
