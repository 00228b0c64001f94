// The Service path: what happens to a packet with ports, and to any packet sent to a VIP.
//
// NEW_FLOW_BY_SLOW_PATH is 1 where the architecture cannot learn: there the first packet of a connection goes to the
// control plane, which installs `flow` and `reply` and sends the packet back in.

#ifndef NICPROXY_CORE_SERVICE_P4
#define NICPROXY_CORE_SERVICE_P4

control Service(inout headers_t hdr, inout metadata_t meta) {
    Frontend() frontend_stage;
    SourceFilter() source_stage;
    Endpoint() endpoint_stage;
    Flow() flow_stage;
    Reply() reply_stage;

    @id(17)
    @name(".reject_unserved")
    action reject_unserved() {
        meta.decided = DECIDED_SLOW;
        meta.verdict = VERDICT_REJECT;
    }

    @id(18)
    @name(".drop_unserved")
    action drop_unserved() {
        meta.decided = DECIDED_DROP;
        meta.verdict = VERDICT_DROP_POLICY;
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
            @defaultonly no_vip;
        }
        const default_action = no_vip();
        size = NICPROXY_VIP_SIZE;
    }

    apply {
        if (meta.transport == TRANSPORT_PORTS) {
            frontend_stage.apply(hdr, meta);
            if (meta.frontend == FRONTEND_SERVE) {
                if ((meta.serve_flags & SERVE_CHECK_SOURCE) != 0) {
                    source_stage.apply(hdr, meta);
                }
                if (meta.decided == DECIDED_NO) {
                    endpoint_stage.apply(hdr, meta);
                    meta.learn = meta.picked;
                }
            }
            // An open connection goes on whatever the frontend has become; a new one obeys it.
            if (meta.frontend != FRONTEND_NONE && meta.decided == DECIDED_NO) {
                flow_stage.apply(hdr, meta);
                if (meta.flow_found == 1) {
                    meta.translated = 1;
                    meta.learn = 1;
                } else {
                    if (meta.frontend == FRONTEND_REJECT) {
                        meta.decided = DECIDED_SLOW;
                        meta.verdict = VERDICT_REJECT;
                    }
                    if (meta.frontend == FRONTEND_DROP) {
                        meta.decided = DECIDED_DROP;
                        meta.verdict = VERDICT_DROP_POLICY;
                    }
                    if (meta.frontend == FRONTEND_SERVE) {
                        if (meta.picked == 0) {
                            meta.decided = DECIDED_DROP;
                            meta.verdict = VERDICT_DROP_NO_ENDPOINT;
                        } else {
#if NEW_FLOW_BY_SLOW_PATH
                            meta.decided = DECIDED_SLOW;
                            meta.verdict = VERDICT_NEW_FLOW;
#else
                            meta.translated = 1;
#endif
                        }
                    }
                }
            }
            if (meta.decided == DECIDED_NO) {
                reply_stage.apply(hdr, meta);
            }
        }
        if (meta.decided == DECIDED_NO && meta.translated == 0) {
            vip.apply();
            if (meta.transport == TRANSPORT_FRAGMENT) {
                if (meta.decided == DECIDED_NO) {
                    meta.verdict = VERDICT_FRAGMENT;
                } else {
                    meta.decided = DECIDED_DROP;
                    meta.verdict = VERDICT_DROP_FRAGMENT;
                }
            }
        }
    }
}

#endif
