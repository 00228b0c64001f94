// The Service path: what happens to a packet with ports, and to any packet sent to a VIP.
//
// NEW_FLOW_BY_SLOW_PATH is 1 where the architecture cannot learn: there the first packet of a connection goes to the
// control plane, which installs `flow` and `reply` and sends the packet back in.

#ifndef NICPROXY_CORE_SERVICE_P4
#define NICPROXY_CORE_SERVICE_P4

// Whether a packet of an open connection goes through the pick nevertheless: one that the control plane has sent back in
// brings the time of the pin that it wrote.
#if NEW_FLOW_BY_SLOW_PATH
#define PICKS_FOR_OPEN false
#else
#define PICKS_FOR_OPEN hdr.local.injected == 1
#endif

control Service(inout headers_t hdr, inout metadata_t meta) {
    Frontend() frontend_stage;
    Open() open_stage;
    Flow() flow_stage;
    Reply() reply_stage;
    RelatedKey() related_key_stage;
    UnrelatedKey() unrelated_key_stage;
    OwnTuple() own_tuple;
    AnswersTuple() answers_tuple;
    Place() place_stage;
    Transition() transition_stage;
    Profile() profile_stage;
    Numbers() numbers_stage;

    // Whose a place is, and what stands there (tracking.p4).
    @id(1)
    @name(".track_owner")
    TRACK_REGISTER(track_owner)
    @id(2)
    @name(".track_code")
    TRACK_REGISTER(track_code)
    @id(3)
    @name(".track_acked")
    TRACK_REGISTER(track_acked)
    @id(4)
    @name(".track_sent")
    TRACK_REGISTER(track_sent)

    action find_place() {
        hdr.aside.own_hash = meta.place_hash;
        hdr.aside.own_place = hdr.aside.place & (NICPROXY_TRACK_SIZE - 1);
    }

    action read_place() {
        TRACK_READ(track_owner, hdr.aside.owner, hdr.aside.own_place)
        TRACK_READ(track_code, hdr.aside.code, hdr.aside.own_place)
        TRACK_READ(track_acked, hdr.aside.acked, hdr.aside.own_place)
        TRACK_READ(track_sent, hdr.aside.sent, hdr.aside.own_place)
    }

    action read_peer() {
        hdr.aside.peer_hash = meta.place_hash;
        hdr.aside.peer_place = hdr.aside.place & (NICPROXY_TRACK_SIZE - 1);
        TRACK_READ(track_acked, hdr.aside.peer_acked, hdr.aside.peer_place)
        TRACK_READ(track_sent, hdr.aside.peer_sent, hdr.aside.peer_place)
    }

#if !NEW_FLOW_BY_SLOW_PATH
    // The tuple of the packet's answers in place of its own.
    action exchange_tuples() {
        hdr.aside.outer_src_hi = meta.old.src_hi;
        hdr.aside.outer_src_lo = meta.old.src_lo;
        hdr.aside.outer_dst_hi = meta.old.dst_hi;
        hdr.aside.outer_dst_lo = meta.old.dst_lo;
        hdr.aside.outer_src_port = meta.old.src_port;
        hdr.aside.outer_dst_port = meta.old.dst_port;
        meta.old.src_hi = meta.new.dst_hi;
        meta.old.src_lo = meta.new.dst_lo;
        meta.old.dst_hi = meta.new.src_hi;
        meta.old.dst_lo = meta.new.src_lo;
        meta.old.src_port = meta.new.dst_port;
        meta.old.dst_port = meta.new.src_port;
    }

    action restore_tuple() {
        meta.old.src_hi = hdr.aside.outer_src_hi;
        meta.old.src_lo = hdr.aside.outer_src_lo;
        meta.old.dst_hi = hdr.aside.outer_dst_hi;
        meta.old.dst_lo = hdr.aside.outer_dst_lo;
        meta.old.src_port = hdr.aside.outer_src_port;
        meta.old.dst_port = hdr.aside.outer_dst_port;
    }
#endif

    action write_codes() {
        track_owner.write(hdr.aside.own_place, hdr.aside.own_hash);
        track_code.write(hdr.aside.own_place, hdr.aside.code);
        track_owner.write(hdr.aside.peer_place, hdr.aside.peer_hash);
        track_code.write(hdr.aside.peer_place, hdr.aside.peer_code);
    }

    action write_numbers() {
        track_acked.write(hdr.aside.own_place, hdr.aside.acked);
        track_sent.write(hdr.aside.own_place, hdr.aside.sent);
        track_acked.write(hdr.aside.peer_place, hdr.aside.peer_acked);
        track_sent.write(hdr.aside.peer_place, hdr.aside.peer_sent);
    }

    @id(17)
    @name(".reject_unserved")
    action reject_unserved() {
        hdr.local.decided = DECIDED_SLOW;
        hdr.local.verdict = VERDICT_REJECT;
    }

    @id(18)
    @name(".drop_unserved")
    action drop_unserved() {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = VERDICT_DROP_POLICY;
    }

    // An address of the NIC itself, such as one that stands for clients: it tells neighbours its MAC address. What is no
    // answer to a client goes on to whoever is there.
    @id(33)
    @name(".own")
    action own() {
        hdr.local.own = 1;
    }

    @id(19)
    @name(".no_vip")
    action no_vip() {
    }

    // Addresses that belong to Services: what no frontend serves there must not wander on (S22).
    @id(8)
    @name(".vip")
    table vip {
        key = {
            meta.vpc: exact @name("vpc");
            meta.old.dst_hi: exact @name("dst_hi");
            meta.old.dst_lo: exact @name("dst_lo");
        }
        actions = {
            @tableonly reject_unserved;
            @tableonly drop_unserved;
            @tableonly own;
            @defaultonly no_vip;
        }
        const default_action = no_vip();
        size = NICPROXY_VIP_SIZE;
    }

    apply {
        if (hdr.local.transport == TRANSPORT_RELATED) {
            related_key_stage.apply(hdr, meta);
        }
        if (hdr.local.transport == TRANSPORT_PORTS || hdr.local.transport == TRANSPORT_RELATED) {
            if (hdr.tcp.isValid()) {
                own_tuple.apply(hdr, meta);
                place_stage.apply(hdr, meta);
                find_place();
            }
            if (hdr.local.transport == TRANSPORT_PORTS) {
                frontend_stage.apply(hdr, meta);
            }
            if (hdr.tcp.isValid()) {
                read_place();
                transition_stage.apply(hdr, meta);
                profile_stage.apply(hdr, meta);
#if NEW_FLOW_BY_SLOW_PATH
                hdr.local.state = (bit<8>)(hdr.aside.code >> 1);
#endif
            }
            // An open connection goes on whatever has become of its frontend, or of its Service (S62); a new one obeys.
            flow_stage.apply(hdr, meta);
            if (hdr.local.frontend != FRONTEND_NONE) {
                if (hdr.local.flow_found == 0 || PICKS_FOR_OPEN) {
                    open_stage.apply(hdr, meta);
                }
            }
#if !NEW_FLOW_BY_SLOW_PATH
            // The connection is there already, whatever was picked beside it.
            if (hdr.local.flow_found == 1 && hdr.local.injected == 1) {
                hdr.local.decided = DECIDED_NO;
                hdr.local.verdict = VERDICT_FORWARDED;
                hdr.local.learn = 1;
            }
            // Where another packet has been faster, what it has learned counts.
            if (hdr.local.learn == 1) {
                flow_stage.apply(hdr, meta);
                hdr.local.translated = 1;
            }
#endif
            if (hdr.local.flow_found == 1) {
                hdr.local.translated = 1;
                hdr.local.learn = 1;
            }
            if (hdr.local.translated == 1 && meta.new.dst_port == 0) {
                hdr.local.direct = 1;
                hdr.local.verdict = VERDICT_TUNNELLED;
            }
            if (hdr.local.decided == DECIDED_NO && hdr.local.direct == 0) {
                // An error's quoted tuple is in one of the two tables.
                if (hdr.local.transport == TRANSPORT_PORTS || hdr.local.translated == 0) {
                    reply_stage.apply(hdr, meta);
                }
            }
            if (hdr.local.transport == TRANSPORT_PORTS && hdr.local.translated == 1 && hdr.local.decided == DECIDED_NO) {
#if !NEW_FLOW_BY_SLOW_PATH
                // An answer keeps both entries alive.
                if (hdr.local.verdict == VERDICT_REPLIED) {
                    exchange_tuples();
                    flow_stage.apply(hdr, meta);
                    restore_tuple();
                }
#endif
                if (hdr.aside.tracked == 1) {
                    answers_tuple.apply(hdr, meta);
                    place_stage.apply(hdr, meta);
                    read_peer();
                    numbers_stage.apply(hdr, meta);
                    if (hdr.aside.changed == 1) {
                        write_codes();
                    }
                    if (hdr.aside.tracked == 1) {
                        write_numbers();
                    }
                }
#if NEW_FLOW_BY_SLOW_PATH
                if (hdr.aside.changed == 1 && hdr.aside.code != hdr.aside.was && hdr.aside.was != TRACK_NONE &&
                    hdr.local.slow_port != 0) {
                    hdr.local.decided = DECIDED_SLOW;
                    hdr.local.verdict = VERDICT_STATE;
                }
#endif
            }
            if (hdr.local.transport == TRANSPORT_RELATED) {
                if (hdr.local.translated == 1) {
                    hdr.local.verdict = VERDICT_RELATED;
                } else {
                    unrelated_key_stage.apply(hdr, meta);
                }
            }
        }
        if (hdr.local.decided == DECIDED_NO && hdr.local.translated == 0) {
            vip.apply();
            // The host answers for all addresses but the NIC's own.
            if (hdr.local.neighbor == 1) {
                if (hdr.local.own == 1) {
                    hdr.local.decided = DECIDED_SLOW;
                    hdr.local.verdict = VERDICT_NEIGHBOR;
                } else {
                    hdr.local.decided = DECIDED_NO;
                    hdr.local.verdict = VERDICT_FORWARDED;
                }
            }
            if (hdr.local.transport == TRANSPORT_FRAGMENT) {
                if (hdr.local.decided == DECIDED_NO) {
                    hdr.local.verdict = VERDICT_FRAGMENT;
                } else {
                    hdr.local.decided = DECIDED_DROP;
                    hdr.local.verdict = VERDICT_DROP_FRAGMENT;
                }
            }
        }
    }
}

#endif
