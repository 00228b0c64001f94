// A NIC: flows learned by the packets themselves, directions, copies, passes, objects that count and compute.
#include <core.p4>
#include <pna.p4>

header h_t { bit<8> op; bit<16> a; bit<16> b; bit<16> r; }
header ip_t { bit<32> src; bit<32> dst; bit<16> sum; }
struct headers { h_t h; ip_t ip; }
struct metadata { bit<8> profile; bit<16> saved; }
struct learned_t { bit<16> value; bit<8> stamp; }
struct told_t { bit<16> a; bit<8> op; }

parser P(packet_in p, out headers hdr, inout metadata m, in pna_main_parser_input_metadata_t istd) {
    state start {
        p.extract(hdr.h);
        transition select(hdr.h.op) {
            0x40 .. 0x4f: ip;
            default: accept;
        }
    }
    state ip { p.extract(hdr.ip); transition accept; }
}

control Pre(in headers hdr, inout metadata m, in pna_pre_input_metadata_t istd,
            inout pna_pre_output_metadata_t ostd) {
    apply { }
}

control M(inout headers hdr, inout metadata m, in pna_main_input_metadata_t istd,
          inout pna_main_output_metadata_t ostd) {
    Hash<bit<16>>(PNA_HashAlgorithm_t.CRC16) crc16;
    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) crc32;
    Counter<bit<64>, bit<16>>(8, PNA_CounterType_t.PACKETS_AND_BYTES) counted;
    DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS) sent;
    Meter<bit<16>>(8, PNA_MeterType_t.PACKETS) speed;
    Register<bit<16>, bit<16>>(8, 0x100) cells;
    Random<bit<16>>(5, 5) five;
    InternetChecksum() sum;
    ActionSelector(PNA_HashAlgorithm_t.CRC32, 16, 16) some;

    action found(bit<16> value, bit<8> stamp) {
        hdr.h.r = value;
        if (hdr.h.op == 2) {
            restart_expire_timer();
        } else if (hdr.h.op == 3) {
            set_entry_expire_time((ExpireTimeProfileId_t) 8w1);
        }
        m.profile = stamp;
    }
    action learn() {
        hdr.h.r = 0;
        if (hdr.h.op != 9) {
            bool room = add_entry(action_name = "found", action_params = (learned_t) { hdr.h.b, 7 },
                                  expire_time_profile_id = (ExpireTimeProfileId_t) 8w0);
            hdr.h.r = room ? 16w0xaaaa : 16w0xffff;
        }
    }
    table flow {
        key = { hdr.h.a : exact; }
        actions = { @tableonly found; @defaultonly learn; }
        const default_action = learn;
        add_on_miss = true;
        idle_timeout_with_auto_delete = true;
        size = 2;
    }
    action to(PortId_t port) { send_to_port(port); sent.count(); }
    action stop() { drop_packet(); sent.count(); }
    table forward {
        key = { hdr.h.a : exact; }
        actions = { to; stop; }
        const default_action = stop();
        pna_direct_counter = sent;
    }
    action pick(bit<16> value) { hdr.h.r = value; }
    table picked {
        key = { hdr.h.a : exact; hdr.h.b : selector; }
        actions = { pick; NoAction; }
        pna_implementation = some;
    }
    Digest<told_t>() tell;

    apply {
        send_to_port((PortId_t) 1);
        if (hdr.h.op < 0x10) {
            flow.apply();
        } else if (hdr.h.op == 0x10) {
            forward.apply();
        } else if (hdr.h.op == 0x11) {
            hdr.h.r = SelectByDirection(istd.direction, 16w0x1111, 16w0x2222);
        } else if (hdr.h.op == 0x12) {
            drop_packet();
            send_to_port((PortId_t) 3);
        } else if (hdr.h.op == 0x13) {
            if (istd.pass == (PassNumber_t) 2) {
                hdr.h.r = 0xeeee;
            } else {
                hdr.h.b = hdr.h.b + 1;
                recirculate();
            }
        } else if (hdr.h.op == 0x14) {
            mirror_packet((MirrorSlotId_t) 8w3, (MirrorSessionId_t) 16w5);
            hdr.h.r = 0x1414;
        } else if (hdr.h.op == 0x20) {
            hdr.h.r = crc16.get_hash({ hdr.h.a, hdr.h.b });
        } else if (hdr.h.op == 0x21) {
            hdr.h.r = (bit<16>) crc32.get_hash(32w0x10, { hdr.h.a, hdr.h.b }, 32w0x100);
        } else if (hdr.h.op == 0x22) {
            counted.count(hdr.h.a);
        } else if (hdr.h.op == 0x23) {
            hdr.h.r = speed.execute(hdr.h.a) == PNA_MeterColor_t.RED ? 16w1 : 16w2;
        } else if (hdr.h.op == 0x24) {
            m.saved = cells.read(hdr.h.a);
            cells.write(hdr.h.a, m.saved + hdr.h.b);
            hdr.h.r = m.saved;
        } else if (hdr.h.op == 0x25) {
            hdr.h.r = five.read();
        } else if (hdr.h.op == 0x26) {
            picked.apply();
        } else if (hdr.h.op == 0x27) {
            tell.pack({ hdr.h.a, hdr.h.op });
        } else if (hdr.h.op == 0x40) {
            // A changed address, the checksum mended.
            sum.clear();
            sum.set_state(~hdr.ip.sum);
            sum.subtract({ hdr.ip.dst });
            hdr.ip.dst = hdr.h.a ++ hdr.h.b;
            sum.add({ hdr.ip.dst });
            hdr.ip.sum = sum.get();
        }
    }
}

control D(packet_out p, in headers hdr, in metadata m, in pna_main_output_metadata_t ostd) {
    apply { p.emit(hdr); }
}

PNA_NIC(P(), Pre(), M(), D()) main;
