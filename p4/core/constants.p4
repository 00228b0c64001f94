// Every number that a table entry, a packet header or a person may see. Sizes can be overridden with -D.

#ifndef NICPROXY_CORE_CONSTANTS_P4
#define NICPROXY_CORE_CONSTANTS_P4

// A statement of whose result the compiler knows nothing afterwards: p4c would put the expression in the place of every use,
// and p4c-dpdk a temporary in metadata for each.
#define SETTLED(statement) if (hdr.local.isValid()) { statement }

// The port behind which the control plane sits. 0 and 511 are taken in bmv2.
#ifndef NICPROXY_SLOW_PORT
#define NICPROXY_SLOW_PORT 255
#endif

// Table sizes. Powers of two: NIC compilers want them so.
#ifndef NICPROXY_PORT_SIZE
#define NICPROXY_PORT_SIZE 1024
#endif
#ifndef NICPROXY_FRONTEND_SIZE
#define NICPROXY_FRONTEND_SIZE 131072
#endif
#ifndef NICPROXY_VIP_SIZE
#define NICPROXY_VIP_SIZE 65536
#endif
#ifndef NICPROXY_SOURCE_RANGE_SIZE
#define NICPROXY_SOURCE_RANGE_SIZE 4096
#endif
#ifndef NICPROXY_AFFINITY_SIZE
#define NICPROXY_AFFINITY_SIZE 65536
#endif
#ifndef NICPROXY_ENDPOINT_SIZE
#define NICPROXY_ENDPOINT_SIZE 4194304
#endif
// Endpoints that are counted one by one: endpoint_id is below this.
#ifndef NICPROXY_ENDPOINT_COUNTERS
#define NICPROXY_ENDPOINT_COUNTERS 262144
#endif
// As many connections as Linux tracks by default (nf_conntrack_max).
#ifndef NICPROXY_FLOW_SIZE
#define NICPROXY_FLOW_SIZE 262144
#endif
#ifndef NICPROXY_SCTP_CHECKSUM_SIZE
#define NICPROXY_SCTP_CHECKSUM_SIZE 65536
#endif
#ifndef NICPROXY_CLIENT_SIZE
#define NICPROXY_CLIENT_SIZE 1024
#endif
#ifndef NICPROXY_MEMBER_SIZE
#define NICPROXY_MEMBER_SIZE 65536
#endif
#ifndef NICPROXY_MASQUERADE_SIZE
#define NICPROXY_MASQUERADE_SIZE 1024
#endif
#ifndef NICPROXY_TUNNEL_SIZE
#define NICPROXY_TUNNEL_SIZE 1024
#endif
#ifndef NICPROXY_ROUTE_SIZE
#define NICPROXY_ROUTE_SIZE 16384
#endif
// Places for TCP connections, two for each: a power of two.
#ifndef NICPROXY_TRACK_SIZE
#define NICPROXY_TRACK_SIZE 524288
#endif

// EtherTypes (IEEE 802 numbers).
const bit<16> ETHERTYPE_IPV4 = 0x0800;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;
const bit<16> ETHERTYPE_ARP = 0x0806;
const bit<16> ETHERTYPE_VLAN = 0x8100;

// An ARP request for an IPv4 address on Ethernet, up to the operation (RFC 826).
const bit<32> ARP_ETHERNET_IPV4 = 0x00010800;
const bit<32> ARP_REQUEST = 0x06040001;

// Protocol numbers (IANA).
const bit<8> PROTOCOL_ICMP = 1;
const bit<8> PROTOCOL_TCP = 6;
const bit<8> PROTOCOL_UDP = 17;
const bit<8> PROTOCOL_IPV6 = 41;
const bit<8> PROTOCOL_IPV6_FRAGMENT = 44;
const bit<8> PROTOCOL_ICMPV6 = 58;
const bit<8> PROTOCOL_SCTP = 132;

// An IPv4 address a.b.c.d is carried as hi = 0, lo = 0x0000ffff_aabbccdd (RFC 4291, 2.5.5.2).
const bit<64> IPV4_MAPPED_PREFIX = 0x0000ffff00000000;

// What is behind a port.
const bit<8> ROLE_HOST = 1;            // 2: the network

// What the parser found behind Ethernet.
const bit<8> NETWORK_OTHER = 0;
const bit<8> NETWORK_IP = 1;
const bit<8> NETWORK_MALFORMED = 2;

// What the parser found behind IP.
const bit<8> TRANSPORT_NONE = 0;        // no ports: ICMP, ESP, ...
const bit<8> TRANSPORT_PORTS = 1;       // TCP, UDP or SCTP header present
const bit<8> TRANSPORT_FRAGMENT = 2;    // a later fragment: its ports travelled in the first one
const bit<8> TRANSPORT_RELATED = 3;     // an ICMP error that quotes a packet with ports

// What a frontend says.
const bit<8> FRONTEND_NONE = 0;
const bit<8> FRONTEND_SERVE = 1;
const bit<8> FRONTEND_REJECT = 2;
const bit<8> FRONTEND_DROP = 3;
const bit<8> FRONTEND_BARRED = 4;       // served, but not for this source

// Flags of `serve`.
const bit<16> SERVE_CHECK_SOURCE = 0x0001;  // consult source_range (loadBalancerSourceRanges)
const bit<16> SERVE_AFFINITY = 0x0002;      // consult affinity (sessionAffinity: ClientIP)
const bit<16> SERVE_MASQUERADE_POD = 0x0004;     // another source address for clients that are pods,
const bit<16> SERVE_MASQUERADE_NODE = 0x0008;    // this node,
const bit<16> SERVE_MASQUERADE_OUTSIDE = 0x0010; // anybody else
const bit<16> SERVE_DSR = 0x0020;           // to the endpoint as it is; the endpoint answers the client itself
const bit<16> SERVE_HASH_CLIENT = 0x0040;   // the client's address alone picks the slot
const bit<16> SERVE_HASH_VIP = 0x0080;      // the address called alone picks the slot
const bit<16> SERVE_CLASSIFY = 0x0100;      // consult client; without it everybody counts as from outside
const bit<16> SERVE_REFUSE = 0x0200;        // where there is no set, refuse aloud instead of dropping

// Who a client is, as far as a Service's policy goes.
const bit<8> CLIENT_OUTSIDE = 0;
const bit<8> CLIENT_POD = 1;
const bit<8> CLIENT_NODE = 2;

// Flags of an endpoint.
const bit<8> ENDPOINT_LOCAL = 0x01;         // its answers to clients on the host's side do not cross the NIC

// affinity_profile where the control plane writes the pins.
const bit<8> NO_PROFILE = 0xff;

// Where a TCP connection stands (tracking.p4).
const bit<8> STATE_NONE = 0;          // not told by this packet
const bit<8> STATE_SYN_SENT = 1;
const bit<8> STATE_SYN_RECV = 2;
const bit<8> STATE_ESTABLISHED = 3;
const bit<8> STATE_FIN_WAIT = 4;
const bit<8> STATE_CLOSE_WAIT = 5;
const bit<8> STATE_LAST_ACK = 6;
const bit<8> STATE_TIME_WAIT = 7;
const bit<8> STATE_CLOSE = 8;
const bit<8> STATE_PICKED_UP = 9;     // seen in its middle, and from one side only

// How long a learned entry may stay unused: the profile ids that every PNA target starts with, and the seconds that
// they are to have: conntrack's defaults.
const bit<8> EXPIRE_CLOSE = 0;        // 10
const bit<8> EXPIRE_SHORT = 1;        // 30: LAST_ACK; UDP without an answer
const bit<8> EXPIRE_SYN_RECV = 2;     // 60
const bit<8> EXPIRE_USUAL = 3;        // 120: SYN_SENT, FIN_WAIT, TIME_WAIT; UDP with answers
const bit<8> EXPIRE_PICKED_UP = 4;    // 300; SCTP, too
const bit<8> EXPIRE_ESTABLISHED = 5;  // 432,000
                                      // 6 is 10,800: affinity
const bit<8> EXPIRE_CLOSE_WAIT = 7;   // 60
const bit<8> EXPIRE_KEEP = 0xff;      // the time that the entry has, from now on
const bit<8> EXPIRE_UNTOUCHED = 0xfe; // the timer runs on

const bit<8> TCP_FIN = 0x01;
const bit<8> TCP_SYN = 0x02;
const bit<8> TCP_RST = 0x04;
const bit<8> TCP_ACK = 0x10;

// The end of every packet: the index of the `verdicts` counter and the reason in a packet_in.
const bit<8> VERDICT_FORWARDED = 0;         // routed, not a Service packet
const bit<8> VERDICT_TRANSLATED = 1;        // client to endpoint
const bit<8> VERDICT_REPLIED = 2;           // endpoint to client
const bit<8> VERDICT_BRIDGED = 3;           // to the peer port unaltered: not IP, or no route
const bit<8> VERDICT_INJECTED = 4;          // packet_out straight to a port
const bit<8> VERDICT_NEW_FLOW = 5;          // slow path: flow and reply are to be installed
const bit<8> VERDICT_REJECT = 6;            // slow path: answer with TCP RST or ICMP unreachable
const bit<8> VERDICT_CONFLICT = 7;          // slow path: another connection holds the reply tuple
const bit<8> VERDICT_TTL_EXPIRED = 8;       // slow path: answer with ICMP time exceeded
const bit<8> VERDICT_DROP_POLICY = 9;       // frontend or vip says drop
const bit<8> VERDICT_DROP_SOURCE = 10;      // source outside loadBalancerSourceRanges
const bit<8> VERDICT_DROP_NO_ENDPOINT = 11; // the slot is empty
const bit<8> VERDICT_DROP_FRAGMENT = 12;    // later fragment sent to a VIP
const bit<8> VERDICT_DROP_MALFORMED = 13;   // headers cut short or not making sense
const bit<8> VERDICT_DROP_NO_ROUTE = 14;    // translated or unbridgeable, and no route
const bit<8> VERDICT_DROP_CHECKSUM = 15;    // SCTP port change whose CRC32c correction is unknown
const bit<8> VERDICT_DROP_NO_SLOW_PATH = 16; // the slow path was needed and the port has none
const bit<8> VERDICT_DROP_BLACKHOLE = 17;   // route says drop
const bit<8> VERDICT_DROP_PORT = 18;        // ingress port not configured
const bit<8> VERDICT_FRAGMENT = 19;         // later fragment forwarded unaltered
const bit<8> VERDICT_TUNNELLED = 20;        // client to endpoint in a tunnel (direct server return)
const bit<8> VERDICT_DROP_NO_MASQUERADE = 21; // no source address to put in place of the client's
const bit<8> VERDICT_DROP_NO_TUNNEL = 22;   // no way given to reach endpoints that answer directly
const bit<8> VERDICT_RELATED = 23;          // ICMP error about a translated packet, translated back with it
const bit<8> VERDICT_STATE = 24;            // slow path: a connection's state changed, and with it how long it may be idle
const bit<8> VERDICT_NEIGHBOR = 25;         // slow path: somebody asks for the MAC address of one of the NIC's own addresses
#define NICPROXY_VERDICTS 32

#endif
