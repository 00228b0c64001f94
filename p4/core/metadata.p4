// What is known of one packet.
//
// The shape is no matter of taste. DPDK's pipeline addresses metadata with 8 bits, so all of it, with the many temporaries
// that the compiler adds, must fit in 256 bytes: whatever need not be here is in the header `local`, which is never sent.
// And a table's key is built from one run of bytes, which the compiler copies together where it finds none: hence the
// run in the middle, of which the big keys are parts.

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

    // What hashes give: DPDK's pipeline puts it nowhere but into the first 32 bytes (in p4/README.md more of what it takes).
    bit<32> place_hash;
    bit<16> slot_hash;

    // The run. Keys: affinity and source_range = service_id, old source; flow = old, vpc, protocol; vip = old
    // destination, vpc; frontend = old destination with port, vpc, protocol; reply = vpc, protocol, new.
    bit<32> service_id;
    tuple_t old;            // the packet as it came
    bit<32> vpc;
    bit<8>  protocol;
    tuple_t new;            // the packet as it is to leave

    // learning, where the architecture can
    bit<8>  learn_profile;
    bit<8>  refresh_profile;
}

const bit<8> DECIDED_NO = 0;
const bit<8> DECIDED_SEND = 1;
const bit<8> DECIDED_DROP = 2;
const bit<8> DECIDED_SLOW = 3;

const bit<8> TUNNEL_NONE = 0;
const bit<8> TUNNEL_IPIP = 1;
const bit<8> TUNNEL_GUE = 2;
const bit<8> TUNNEL_SAME_L2 = 3;

const bit<8> ROUTE_NONE = 0;
const bit<8> ROUTE_FORWARD = 1;
const bit<8> ROUTE_BLACKHOLE = 2;

#endif
