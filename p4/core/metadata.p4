// What is known of one packet.
//
// The order is no matter of taste. DPDK's pipeline addresses metadata with 8 bits, so all of it, with what the compiler
// adds, must fit in 256 bytes; and it builds a table's key from one run of bytes, which the compiler copies together
// where it finds none. Hence the run in the middle, of which every key is a part.

#ifndef NICPROXY_CORE_METADATA_P4
#define NICPROXY_CORE_METADATA_P4

struct tuple_t {
    bit<64> src_hi;
    bit<64> src_lo;
    bit<16> src_port;
    bit<16> dst_port;
    bit<64> dst_hi;
    bit<64> dst_lo;
}

struct metadata_t {
    ARCHITECTURE_METADATA

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
    bit<32> hash;
    bit<32> set_id;
    bit<16> slot;
    bit<8>  picked;

    // The run. Keys: affinity and source_range = service_id, old source; flow = old, vpc, protocol; vip = old
    // destination, vpc; frontend = old destination with port, vpc, protocol; reply = vpc, protocol, new.
    bit<32> service_id;
    tuple_t old;            // the packet as it came
    bit<32> vpc;
    bit<8>  protocol;
    tuple_t new;            // the packet as it is to leave

    // flow and reply results
    bit<8>  flow_found;
    bit<8>  reply_found;
    bit<8>  conflict;
    bit<8>  translated;

    // learning, where the architecture can
    bit<8>  learn;
    bit<8>  learn_profile;
    bit<8>  refresh_profile;

    // sctp_checksum key, then result
    bit<32> port_change;
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

const bit<8> DECIDED_NO = 0;
const bit<8> DECIDED_SEND = 1;
const bit<8> DECIDED_DROP = 2;
const bit<8> DECIDED_SLOW = 3;

const bit<8> ROUTE_NONE = 0;
const bit<8> ROUTE_FORWARD = 1;
const bit<8> ROUTE_BLACKHOLE = 2;

#endif
