// Statements of the parser's start state: every field that a path may read before writing. DPDK's pipeline and
// some NICs leave the previous packet's metadata in place.

        hdr.local.setValid();
        hdr.local.role = 0;
        hdr.local.peer_port = 0;
        hdr.local.slow_port = 0;
        hdr.local.network = NETWORK_OTHER;
        hdr.local.transport = TRANSPORT_NONE;
        hdr.local.ip_length = 0;
        hdr.local.frontend = FRONTEND_NONE;
        hdr.local.serve_flags = 0;
        hdr.local.set_id = 0;
        hdr.local.slot = 0;
        hdr.local.picked = 0;
        meta.service_id = 0;
        meta.old.src_hi = 0;
        meta.old.src_lo = 0;
        meta.old.src_port = 0;
        meta.old.dst_port = 0;
        meta.old.dst_hi = 0;
        meta.old.dst_lo = 0;
        meta.vpc = 0;
        meta.protocol = 0;
        hdr.local.flow_found = 0;
        hdr.local.reply_found = 0;
        hdr.local.conflict = 0;
        hdr.local.translated = 0;
        hdr.local.learn = 0;
        meta.learn_profile = EXPIRE_OPENING;
        meta.refresh_profile = EXPIRE_KEEP;
        hdr.local.checksum_change = 0;
        hdr.local.checksum_known = 0;
        hdr.local.route = ROUTE_NONE;
        hdr.local.verdict = VERDICT_FORWARDED;
        hdr.local.decided = DECIDED_NO;
