// Stacks, unions, stacks of unions and headers of variable length: taken apart, changed, put together again.
#include <core.p4>
#include <v1model.p4>

header first_t { bit<8> what; bit<8> count; }
header label_t { bit<7> value; bit<1> last; }
header short_t { bit<8> x; }
header long_t { bit<16> x; }
header_union either_t { short_t short; long_t long; }
header options_t { bit<8> words; varbit<32> data; }
struct headers {
    first_t first;
    label_t[4] labels;
    either_t either;
    either_t[2] both;
    options_t options;
}
struct metadata { bit<32> top; bit<8> last; }

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start {
        p.extract(hdr.first);
        transition select(hdr.first.what) {
            1: labels;
            2: short_one;
            3: long_one;
            4: short_then_long;
            5: options;
            6: skip_and_look;
            default: accept;
        }
    }
    state labels {
        p.extract(hdr.labels.next);
        m.top = hdr.labels.lastIndex;
        m.last = (bit<8>) hdr.labels.last.value;
        transition select(hdr.labels.last.last) {
            0: labels;
            default: accept;
        }
    }
    state short_one { p.extract(hdr.either.short); transition accept; }
    state long_one { p.extract(hdr.either.long); transition accept; }
    state short_then_long {
        p.extract(hdr.both.next.short);
        p.extract(hdr.both.next.long);
        transition accept;
    }
    state options {
        bit<8> words = p.lookahead<bit<8>>();
        p.extract(hdr.options, (bit<32>) words << 3);
        transition accept;
    }
    state skip_and_look {
        p.advance(8);
        m.last = p.lookahead<short_t>().x;
        p.advance(16);
        transition accept;
    }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    apply {
        std.egress_spec = 1;
        if (std.parser_error == error.StackOutOfBounds) {
            hdr.first.what = 0xe1;
        } else if (std.parser_error == error.HeaderTooShort) {
            hdr.first.what = 0xe2;
        } else if (std.parser_error == error.PacketTooShort) {
            hdr.first.what = 0xe3;
        }
        if (hdr.labels[0].isValid()) {
            hdr.labels[m.top].value = 0x11;
            switch (hdr.first.count) {
                1: { hdr.labels.push_front(1); hdr.labels[0] = { 0x22, 0 }; }
                2: { hdr.labels.pop_front(1); }
                3: { hdr.labels[1].setInvalid(); }
                4: {
                    bit<8> sum = m.last;
                    for (label_t label in hdr.labels) {
                        if (label.isValid()) {
                            sum = sum + (bit<8>) label.value;
                        }
                    }
                    hdr.first.count = sum;
                }
                default: { }
            }
        }
        if (hdr.either.short.isValid()) {
            bit<8> x = hdr.either.short.x;
            hdr.either.long.setValid();
            hdr.either.long.x = 0xab00 + (bit<16>) x;
        } else if (hdr.either.isValid()) {
            hdr.either.short = { hdr.either.long.x[7:0] };
        }
        if (hdr.both[1].isValid()) {
            hdr.both[0].short.x = hdr.both[1].long.x[15:8];
        }
        if (hdr.first.what == 6) {
            hdr.first.count = m.last;
        }
        if (hdr.first.count == 0x99) {
            hdr.first = (first_t) {#};
        }
    }
}

#include "switch.p4i"
SWITCH(P, I)
