// Statements of the parser's start state: every field that a path may read before writing. DPDK's pipeline and
// some NICs leave the previous packet's metadata in place.

        meta.role = 0;
        meta.peer_port = 0;
        meta.slow_port = 0;
        meta.network = NETWORK_OTHER;
        meta.transport = TRANSPORT_NONE;
        meta.frontend = FRONTEND_NONE;
        meta.serve_flags = 0;
        meta.set_id = 0;
        meta.slot = 0;
        meta.picked = 0;
        meta.service_id = 0;
        meta.old.src_hi = 0;
        meta.old.src_lo = 0;
        meta.old.src_port = 0;
        meta.old.dst_port = 0;
        meta.old.dst_hi = 0;
        meta.old.dst_lo = 0;
        meta.vpc = 0;
        meta.protocol = 0;
        meta.flow_found = 0;
        meta.reply_found = 0;
        meta.conflict = 0;
        meta.translated = 0;
        meta.learn = 0;
        meta.learn_profile = EXPIRE_OPENING;
        meta.refresh_profile = EXPIRE_KEEP;
        meta.checksum_change = 0;
        meta.checksum_known = 0;
        meta.route = ROUTE_NONE;
        meta.verdict = VERDICT_FORWARDED;
        meta.decided = DECIDED_NO;
