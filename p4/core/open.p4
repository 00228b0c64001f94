// A new connection: whether it is served, by which endpoint, and from which source.

#ifndef NICPROXY_CORE_OPEN_P4
#define NICPROXY_CORE_OPEN_P4

// In: what `frontend` said of a packet of no open connection. Out: the pick in meta.new and hdr.local.learn 1, where the data plane is to
// set the connection up; a verdict, where the control plane is, or the packet is dropped.
control Open(inout headers_t hdr, inout metadata_t meta) {
    SourceFilter() source_stage;
    Client() client_stage;
    Endpoint() endpoint_stage;
    Masquerade() masquerade_stage;

    action drop_because(bit<8> verdict) {
        hdr.local.decided = DECIDED_DROP;
        hdr.local.verdict = verdict;
    }

    action ask_because(bit<8> verdict) {
        hdr.local.decided = DECIDED_SLOW;
        hdr.local.verdict = verdict;
    }

    // Once for all: each test of a bit costs DPDK metadata.
    action take_flags_apart() {
        hdr.local.check_source = hdr.local.serve_flags & SERVE_CHECK_SOURCE;
        hdr.local.remember = hdr.local.serve_flags & SERVE_AFFINITY;
        hdr.local.masquerade_pod = hdr.local.serve_flags & SERVE_MASQUERADE_POD;
        hdr.local.masquerade_node = hdr.local.serve_flags & SERVE_MASQUERADE_NODE;
        hdr.local.masquerade_outside = hdr.local.serve_flags & SERVE_MASQUERADE_OUTSIDE;
        hdr.local.hash_client = hdr.local.serve_flags & SERVE_HASH_CLIENT;
        hdr.local.hash_vip = hdr.local.serve_flags & SERVE_HASH_VIP;
        hdr.local.classify = hdr.local.serve_flags & SERVE_CLASSIFY;
        hdr.local.refuse = hdr.local.serve_flags & SERVE_REFUSE;
    }

    apply {
        if (hdr.local.frontend == FRONTEND_SERVE) {
            take_flags_apart();
            if (hdr.local.check_source != 0) {
                source_stage.apply(hdr, meta);
            }
            if (hdr.local.frontend == FRONTEND_SERVE) {
                client_stage.apply(hdr, meta);
            }
        }
        if (hdr.local.frontend == FRONTEND_REJECT) {
            ask_because(VERDICT_REJECT);
        }
        if (hdr.local.frontend == FRONTEND_DROP) {
            drop_because(VERDICT_DROP_POLICY);
        }
        if (hdr.local.frontend == FRONTEND_BARRED) {
            drop_because(VERDICT_DROP_SOURCE);
        }
        if (hdr.local.frontend == FRONTEND_SERVE) {
            endpoint_stage.apply(hdr, meta);
            if (hdr.local.picked == 0) {
                drop_because(VERDICT_DROP_NO_ENDPOINT);
            } else {
                if (hdr.local.dsr == 0) {
                    masquerade_stage.apply(hdr, meta);
                }
#if NEW_FLOW_BY_SLOW_PATH
                hdr.local.ask = 1;
#endif
                if (hdr.local.masquerade == 1) {
                    drop_because(VERDICT_DROP_NO_MASQUERADE);
                } else {
                    if (hdr.local.ask == 1) {
                        ask_because(VERDICT_NEW_FLOW);
                    } else {
                        hdr.local.learn = 1;
                    }
                }
            }
        }
    }
}

#endif
