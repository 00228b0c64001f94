// The architecture of bmv2's simple_switch: parser, checksum verification, ingress, egress, checksum computation, deparser.
// Names, types and the order of members are those that P4 programs, P4Info and simple_switch agree on.

#ifndef _V1_MODEL_P4_
#define _V1_MODEL_P4_

#include "core.p4"

// Programs set this before the inclusion. From 20200408 on ports have a type name, and counters, meters and registers are
// indexed by a type of the program's choice.
#ifndef V1MODEL_VERSION
#define V1MODEL_VERSION 20180101
#endif

match_kind {
    range,      // between two values, both included
    optional,   // equal, or anything at all
    selector    // not matched: goes into the choice of an action_selector's member
}

const bit<32> __v1model_version = V1MODEL_VERSION;

#if V1MODEL_VERSION >= 20200408
typedef bit<9> PortId_t;
#define P4RS_V1_PORT PortId_t
#define P4RS_V1_INDEX I
#define P4RS_V1_INDEXED <I>
#define P4RS_V1_INDEXED_VALUE <T, I>
#else
#define P4RS_V1_PORT bit<9>
#define P4RS_V1_INDEX bit<32>
#define P4RS_V1_INDEXED
#define P4RS_V1_INDEXED_VALUE <T>
#endif

// What simple_switch knows of a packet apart from its bytes.
@metadata @name("standard_metadata")
struct standard_metadata_t {
    P4RS_V1_PORT ingress_port;
    P4RS_V1_PORT egress_spec;       // where the packet shall go; 511 drops it
    P4RS_V1_PORT egress_port;       // where it goes, in egress
    bit<32> instance_type;          // 0 as received, then: clone, recirculated, replicated, resubmitted
    bit<32> packet_length;          // bytes
    @alias("queueing_metadata.enq_timestamp")
    bit<32> enq_timestamp;          // microseconds
    @alias("queueing_metadata.enq_qdepth")
    bit<19> enq_qdepth;             // packets
    @alias("queueing_metadata.deq_timedelta")
    bit<32> deq_timedelta;          // microseconds
    @alias("queueing_metadata.deq_qdepth")
    bit<19> deq_qdepth;             // packets
    @alias("intrinsic_metadata.ingress_global_timestamp")
    bit<48> ingress_global_timestamp;   // microseconds
    @alias("intrinsic_metadata.egress_global_timestamp")
    bit<48> egress_global_timestamp;    // microseconds
    @alias("intrinsic_metadata.mcast_grp")
    bit<16> mcast_grp;              // replicate to this group; 0 means none
    @alias("intrinsic_metadata.egress_rid")
    bit<16> egress_rid;             // which of the replicas this is
    bit<1> checksum_error;          // 1 if a verify_checksum call failed
    error parser_error;
    @alias("intrinsic_metadata.priority")
    bit<3> priority;                // queue
}

enum CounterType {
    packets,
    bytes,
    packets_and_bytes
}

enum MeterType {
    packets,
    bytes
}

extern counter P4RS_V1_INDEXED {
    counter(bit<32> size, CounterType type);
    void count(in P4RS_V1_INDEX index);
}

// One counter per entry of the table that names it in its `counters` property.
extern direct_counter {
    direct_counter(CounterType type);
    void count();
}

#define V1MODEL_METER_COLOR_GREEN 0
#define V1MODEL_METER_COLOR_YELLOW 1
#define V1MODEL_METER_COLOR_RED 2

extern meter P4RS_V1_INDEXED {
    meter(bit<32> size, MeterType type);
    void execute_meter<T>(in P4RS_V1_INDEX index, out T result);
}

// One meter per entry of the table that names it in its `meters` property.
extern direct_meter<T> {
    direct_meter(MeterType type);
    void read(out T result);
}

extern register P4RS_V1_INDEXED_VALUE {
    register(bit<32> size);
    @noSideEffects
    void read(out T result, in P4RS_V1_INDEX index);
    void write(in P4RS_V1_INDEX index, in T value);
}

// The `implementation` of tables whose actions stand in members that entries share.
extern action_profile {
    action_profile(bit<32> size);
}

// A number from lo to hi, both included.
extern void random<T>(out T result, in T lo, in T hi);

// Tells the control plane about data; `receiver` is not used.
extern void digest<T>(in bit<32> receiver, in T data);

enum HashAlgorithm {
    crc32,
    crc32_custom,
    crc16,
    crc16_custom,
    random,
    identity,
    csum16,
    xor16
}

@deprecated("Name the metadata that is to change: mark_to_drop(standard_metadata).")
extern void mark_to_drop();
// Sets egress_spec to the drop port and mcast_grp to none.
@pure
extern void mark_to_drop(inout standard_metadata_t standard_metadata);

// result = base + hash(data) mod max
@pure
extern void hash<O, T, D, M>(out O result, in HashAlgorithm algo, in T base, in D data, in M max);

// The `implementation` of tables whose entries name groups of members, one of which is chosen by a hash.
extern action_selector {
    action_selector(HashAlgorithm algorithm, bit<32> size, bit<32> outputWidth);
}

enum CloneType {
    I2E,
    E2E
}

@deprecated("Use verify_checksum and update_checksum.")
extern Checksum16 {
    Checksum16();
    bit<16> get<D>(in D data);
}

// Only in the checksum controls.
extern void verify_checksum<T, O>(in bool condition, in T data, in O checksum, HashAlgorithm algo);
@pure
extern void update_checksum<T, O>(in bool condition, in T data, inout O checksum, HashAlgorithm algo);
extern void verify_checksum_with_payload<T, O>(in bool condition, in T data, in O checksum, HashAlgorithm algo);
@noSideEffects
extern void update_checksum_with_payload<T, O>(in bool condition, in T data, inout O checksum, HashAlgorithm algo);

// Another round for the packet or a copy of it. What user metadata is kept: the fields whose @field_list names the index.
extern void clone(in CloneType type, in bit<32> session);
@deprecated("Use resubmit_preserving_field_list.")
extern void resubmit<T>(in T data);
extern void resubmit_preserving_field_list(bit<8> index);
@deprecated("Use recirculate_preserving_field_list.")
extern void recirculate<T>(in T data);
extern void recirculate_preserving_field_list(bit<8> index);
@deprecated("Use clone_preserving_field_list.")
extern void clone3<T>(in CloneType type, in bit<32> session, in T data);
extern void clone_preserving_field_list(in CloneType type, in bit<32> session, bit<8> index);

// Cuts the packet to a number of bytes when it leaves.
extern void truncate(in bit<32> length);

extern void assert(in bool check);
extern void assume(in bool check);

// Each `{}` in the message stands for a member of the data.
extern void log_msg(string msg);
extern void log_msg<T>(string msg, in T data);

parser Parser<H, M>(
    packet_in b,
    out H parsedHdr,
    inout M meta,
    inout standard_metadata_t standard_metadata);

control VerifyChecksum<H, M>(inout H hdr, inout M meta);

@pipeline
control Ingress<H, M>(inout H hdr, inout M meta, inout standard_metadata_t standard_metadata);

@pipeline
control Egress<H, M>(inout H hdr, inout M meta, inout standard_metadata_t standard_metadata);

control ComputeChecksum<H, M>(inout H hdr, inout M meta);

@deparser
control Deparser<H>(packet_out b, in H hdr);

package V1Switch<H, M>(
    Parser<H, M> p,
    VerifyChecksum<H, M> vr,
    Ingress<H, M> ig,
    Egress<H, M> eg,
    ComputeChecksum<H, M> ck,
    Deparser<H> dep);

#undef P4RS_V1_PORT
#undef P4RS_V1_INDEX
#undef P4RS_V1_INDEXED
#undef P4RS_V1_INDEXED_VALUE

#endif
