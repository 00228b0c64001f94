// Where a TCP connection stands, as Linux' connection tracking has it: what its packets say decides how long its entries
// may stay unused, and a reset counts only if it can be the endpoint's own (RFC 9293, 3.10.7; RFC 5961).
//
// A packet knows its own tuple before any table has said which connection it is of, so each direction has a place of its
// own in the registers, found by the hash of its tuple. A packet reads its place, decides, and writes both: its own and
// that of the answers. What stands there is relative to the direction: twice the state, and 1 where it was the other side
// that brought it about (who sent the SYN, or the FIN).
//
// ```text
//   SYN ▶ SYN_SENT ─ SYN+ACK ▶ SYN_RECV ─ ACK ▶ ESTABLISHED ─ FIN ▶ FIN_WAIT ─ ACK ▶ CLOSE_WAIT ─ FIN ▶ LAST_ACK ─ ACK ▶ TIME_WAIT
//   first seen in its middle ▶ PICKED_UP ─ answer ▶ ESTABLISHED        RST within what was sent and not acknowledged ▶ CLOSE
// ```
//
// A place that another connection has taken is not written to by a packet that opens none: the entries of the connection
// that lost it keep the time that they have.

#ifndef NICPROXY_CORE_TRACKING_P4
#define NICPROXY_CORE_TRACKING_P4

// What stands in a direction's place.
const bit<32> TRACK_NONE = 0;
const bit<32> TRACK_SYN_SENT = 2;           // from here, and from the other side
const bit<32> TRACK_SYN_SENT_THERE = 3;
const bit<32> TRACK_SYN_RECV = 4;           // the one that sent the SYN, and the one that answered it
const bit<32> TRACK_SYN_RECV_THERE = 5;
const bit<32> TRACK_ESTABLISHED = 6;
const bit<32> TRACK_FIN_WAIT = 8;           // the FIN came from here, and from the other side
const bit<32> TRACK_FIN_WAIT_THERE = 9;
const bit<32> TRACK_CLOSE_WAIT = 10;        // the side that is done, and the one that is not
const bit<32> TRACK_CLOSE_WAIT_THERE = 11;
const bit<32> TRACK_LAST_ACK = 12;
const bit<32> TRACK_TIME_WAIT = 14;
const bit<32> TRACK_CLOSE = 16;
const bit<32> TRACK_PICKED_UP = 18;         // seen from here only, and from the other side only
const bit<32> TRACK_PICKED_UP_THERE = 19;

// More than any sender has under way: what is farther off is no packet of the connection.
const bit<32> TRACK_WINDOW = 0x1000000;

// The tuple of a packet in two words, and that of its answers.
control OwnTuple(inout headers_t hdr, inout metadata_t meta) {
    apply {
        hdr.aside.fold = meta.old.src_lo;
        SETTLED(hdr.aside.fold = hdr.aside.fold << 32;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.old.src_hi;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.old.dst_hi;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.old.dst_lo;)
        SETTLED(hdr.aside.ports = (bit<32>)meta.old.src_port;)
        SETTLED(hdr.aside.ports = hdr.aside.ports << 16;)
        SETTLED(hdr.aside.ports = hdr.aside.ports ^ (bit<32>)meta.old.dst_port;)
    }
}

control AnswersTuple(inout headers_t hdr, inout metadata_t meta) {
    apply {
        hdr.aside.fold = meta.new.dst_lo;
        SETTLED(hdr.aside.fold = hdr.aside.fold << 32;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.new.dst_hi;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.new.src_hi;)
        SETTLED(hdr.aside.fold = hdr.aside.fold ^ meta.new.src_lo;)
        SETTLED(hdr.aside.ports = (bit<32>)meta.new.dst_port;)
        SETTLED(hdr.aside.ports = hdr.aside.ports << 16;)
        SETTLED(hdr.aside.ports = hdr.aside.ports ^ (bit<32>)meta.new.src_port;)
    }
}

// The place of a tuple, by a hash of one field: of several, p4c-dpdk makes a copy in metadata for every hash. Two IPv4
// addresses fill the field, of IPv6 their lower halves count most; the ports are told apart exactly. There are fewer places
// than hashes: the half with one port is folded into the half with the other, so that connections of one client to one
// address, which differ in one of the two, have places of their own.
control Place(inout headers_t hdr, inout metadata_t meta) {
    PLACE_HASH_INSTANCE

    apply {
        PLACE_HASH
        SETTLED(meta.place_hash = meta.place_hash ^ hdr.aside.ports;)
        SETTLED(hdr.aside.place = meta.place_hash >> 16;)
        SETTLED(hdr.aside.place = hdr.aside.place ^ meta.place_hash;)
    }
}

// In: hdr.aside.code and what stands beside it in the packet's place. Out: code and peer_code; tracked (1: the packet
// is one of its connection's), changed (1: the codes are to be written).
control Transition(inout headers_t hdr, inout metadata_t meta) {
    action become(bit<32> own, bit<32> peer) {
        hdr.aside.code = own;
        hdr.aside.peer_code = peer;
        hdr.aside.changed = 1;
    }

    // Nothing that the connection's state allows: it neither changes it nor keeps it alive.
    action ignore() {
        hdr.aside.tracked = 0;
        meta.refresh_profile = EXPIRE_UNTOUCHED;
    }

    apply {
        if (hdr.aside.owner != hdr.aside.own_hash) {
            hdr.aside.code = TRACK_NONE;
        }
        hdr.aside.was = hdr.aside.code;
        hdr.aside.tracked = 1;
        if (hdr.local.rst != 0) {
            // Between the last byte that was acknowledged and the last that was sent. Who was sent a SYN and has sent
            // nothing yet has to acknowledge it.
            if (hdr.aside.was == TRACK_SYN_SENT_THERE) {
                hdr.aside.distance = hdr.tcp.acknowledgment;
            }
            hdr.aside.distance = hdr.aside.distance - hdr.aside.acked;
            if (hdr.aside.was == TRACK_NONE) {
                hdr.aside.code = TRACK_CLOSE;
            } else {
                if (hdr.aside.distance > hdr.aside.sent) {
                    ignore();
                } else {
                    become(TRACK_CLOSE, TRACK_CLOSE);
                }
            }
        } else {
            if (hdr.local.syn != 0) {
                if (hdr.local.opening == 1) {
                    if (hdr.aside.was == TRACK_NONE || hdr.aside.was == TRACK_SYN_SENT ||
                        hdr.aside.was == TRACK_TIME_WAIT || hdr.aside.was == TRACK_CLOSE ||
                        hdr.aside.was == TRACK_PICKED_UP || hdr.aside.was == TRACK_PICKED_UP_THERE) {
                        become(TRACK_SYN_SENT, TRACK_SYN_SENT_THERE);
                    } else {
                        ignore();
                    }
                } else {
                    if (hdr.aside.was == TRACK_SYN_SENT_THERE || hdr.aside.was == TRACK_SYN_RECV_THERE) {
                        become(TRACK_SYN_RECV_THERE, TRACK_SYN_RECV);
                    } else {
                        if (hdr.aside.was != TRACK_NONE) {
                            ignore();
                        }
                    }
                }
            } else {
                // Bytes within an open connection, what most packets are, change nothing.
                if (hdr.local.fin != 0 || (hdr.aside.was != TRACK_ESTABLISHED && hdr.aside.was != TRACK_PICKED_UP)) {
                    if (hdr.aside.was == TRACK_SYN_SENT || hdr.aside.was == TRACK_SYN_SENT_THERE) {
                        if (hdr.local.dsr == 0) {
                            ignore();
                        } else {
                            // The answers go another way.
                            become(TRACK_ESTABLISHED, TRACK_ESTABLISHED);
                        }
                    }
                    if (hdr.local.fin != 0) {
                        if (hdr.aside.was == TRACK_NONE) {
                            hdr.aside.code = TRACK_FIN_WAIT;
                        }
                        if (hdr.aside.was == TRACK_SYN_RECV || hdr.aside.was == TRACK_SYN_RECV_THERE ||
                            hdr.aside.was == TRACK_ESTABLISHED || hdr.aside.was == TRACK_PICKED_UP ||
                            hdr.aside.was == TRACK_PICKED_UP_THERE) {
                            become(TRACK_FIN_WAIT, TRACK_FIN_WAIT_THERE);
                        }
                        if (hdr.aside.was == TRACK_FIN_WAIT_THERE || hdr.aside.was == TRACK_CLOSE_WAIT_THERE) {
                            become(TRACK_LAST_ACK, TRACK_LAST_ACK);
                        }
                    } else {
                        if (hdr.aside.was == TRACK_NONE) {
                            become(TRACK_PICKED_UP, TRACK_PICKED_UP_THERE);
                        }
                        if (hdr.aside.was == TRACK_SYN_RECV || hdr.aside.was == TRACK_PICKED_UP_THERE) {
                            become(TRACK_ESTABLISHED, TRACK_ESTABLISHED);
                        }
                        if (hdr.aside.was == TRACK_FIN_WAIT_THERE) {
                            become(TRACK_CLOSE_WAIT_THERE, TRACK_CLOSE_WAIT);
                        }
                        if (hdr.aside.was == TRACK_LAST_ACK) {
                            become(TRACK_TIME_WAIT, TRACK_TIME_WAIT);
                        }
                    }
                }
            }
        }
    }
}

// How long the entries may stay unused in that state. Where nothing is known of the connection, an entry keeps its time.
control Profile(inout headers_t hdr, inout metadata_t meta) {
    action expire(bit<8> profile) {
        meta.learn_profile = profile;
        hdr.local.reply_profile = profile;
    }

    apply {
        expire(EXPIRE_USUAL);
        if (hdr.aside.code == TRACK_NONE || hdr.aside.code == TRACK_PICKED_UP || hdr.aside.code == TRACK_PICKED_UP_THERE) {
            expire(EXPIRE_PICKED_UP);
        }
        if (hdr.aside.code == TRACK_SYN_RECV || hdr.aside.code == TRACK_SYN_RECV_THERE) {
            expire(EXPIRE_SYN_RECV);
        }
        if (hdr.aside.code == TRACK_ESTABLISHED) {
            expire(EXPIRE_ESTABLISHED);
        }
        if (hdr.aside.code == TRACK_CLOSE_WAIT || hdr.aside.code == TRACK_CLOSE_WAIT_THERE) {
            expire(EXPIRE_CLOSE_WAIT);
        }
        if (hdr.aside.code == TRACK_LAST_ACK) {
            expire(EXPIRE_SHORT);
        }
        if (hdr.aside.code == TRACK_CLOSE) {
            expire(EXPIRE_CLOSE);
        }
        if (hdr.aside.was == TRACK_NONE && hdr.local.opening == 0) {
            hdr.local.reply_profile = EXPIRE_KEEP;
        }
        if (hdr.aside.tracked == 0 || hdr.local.rst != 0 && hdr.aside.changed == 0) {
            hdr.local.reply_profile = EXPIRE_UNTOUCHED;
        }
        meta.refresh_profile = hdr.local.reply_profile;
    }
}

// Which bytes each side sent and has acknowledged. Numbers that cannot be are left out, so that who does not see the
// connection cannot move them.
control Numbers(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.aside.was == TRACK_NONE) {
            // The control plane has just set the connection up, or the data plane has: else the place is another's.
            if (hdr.local.opening == 0 && hdr.local.injected == 0) {
                if (hdr.local.flow_found == 1 || hdr.local.verdict == VERDICT_REPLIED) {
                    hdr.aside.changed = 0;
                }
            }
            if (hdr.aside.changed == 0) {
                hdr.aside.tracked = 0;
            }
            hdr.aside.peer_acked = hdr.tcp.acknowledgment;
            hdr.aside.peer_sent = 0;
        }
        if (hdr.local.syn != 0 || hdr.aside.was == TRACK_NONE) {
            hdr.aside.acked = hdr.tcp.sequence;
            hdr.aside.sent = 0;
        }
        if (hdr.local.syn != 0 || hdr.local.fin != 0) {
            hdr.aside.end = hdr.aside.end + 1;
        }
        SETTLED(hdr.aside.header_length = (bit<32>)hdr.tcp.data_offset;)
        SETTLED(hdr.aside.header_length = hdr.aside.header_length & 0xf0;)
        SETTLED(hdr.aside.header_length = hdr.aside.header_length >> 2;)
        hdr.aside.end = hdr.aside.end + (bit<32>)hdr.local.l4_length;
        hdr.aside.end = hdr.aside.end - hdr.aside.header_length;
        if (hdr.local.opening == 1) {
            // What a refusal has to acknowledge: the SYN, with what came in it or without.
            SETTLED(hdr.aside.peer_acked = hdr.tcp.sequence;)
            SETTLED(hdr.aside.peer_acked = hdr.aside.peer_acked + 1;)
            SETTLED(hdr.aside.peer_sent = hdr.aside.end;)
            hdr.aside.peer_sent = hdr.aside.peer_sent - hdr.aside.peer_acked;
        }
        if (hdr.local.rst == 0) {
            hdr.aside.end = hdr.aside.end - hdr.aside.acked;
            if (hdr.aside.end > hdr.aside.sent) {
                if (hdr.aside.end < TRACK_WINDOW) {
                    hdr.aside.sent = hdr.aside.end;
                }
            }
            if (hdr.local.ack != 0) {
                hdr.aside.answered = hdr.aside.answered - hdr.aside.peer_acked;
                if (hdr.aside.answered > hdr.aside.peer_sent) {
                    hdr.aside.answered = 0;
                }
                hdr.aside.peer_acked = hdr.aside.peer_acked + hdr.aside.answered;
                hdr.aside.peer_sent = hdr.aside.peer_sent - hdr.aside.answered;
            }
        }
    }
}

#endif
