// Values of every type and the operators on them: each operation has a number, its result goes into `r`.
#include <core.p4>
#include <v1model.p4>

type bit<8> Shade;
enum bit<8> Kind { ONE = 1, TWO = 2, BOTH = 3 }
enum Shape { ROUND, SQUARE }
const int BIG = 1 << 100;
const bit<16> SMALL = (bit<16>) (BIG >> 92);
struct pair<T, U> { T first; U second; }

header h_t { bit<8> op; bit<8> a; bit<8> b; bit<16> r; }
struct headers { h_t h; }
struct metadata { }

T second<T, U>(in U x, in T y) { return y; }
pair<U, T> swapped<T, U>(in pair<T, U> p) { return { p.second, p.first }; }
bit<16> halve(inout bit<8> x, out bit<8> rest) {
    rest = x & 1;
    x = x >> 1;
    if (rest == 1) {
        return 0x100;
    }
    return 0x200;
}

parser P(packet_in p, out headers hdr, inout metadata m, inout standard_metadata_t std) {
    state start { p.extract(hdr.h); transition accept; }
}

control I(inout headers hdr, inout metadata m, inout standard_metadata_t std) {
    bit<8> a;
    bit<8> b;
    bit<16> r = 0xdead;
    action numbers() {
        a = hdr.h.a;
        b = hdr.h.b;
        std.egress_spec = 1;
    }
    apply {
        numbers();
        switch (hdr.h.op) {
            // Saturation, unsigned and signed.
            1: { r = (bit<16>) (a |+| b); }
            2: { r = (bit<16>) (a |-| b); }
            3: { r = (bit<16>) (bit<8>) ((int<8>) a |+| (int<8>) b); }
            4: { r = (bit<16>) (bit<8>) ((int<8>) a |-| (int<8>) b); }
            // Bits put together and taken apart.
            5: { r = a ++ b; }
            6: { r = 0; r[15:12] = a[3:0]; r[3:0] = b[7:4]; }
            7: { r = (bit<16>) ((int<16>) (int<8>) a >> 2); }
            8: { r = ((bit<16>) a << 4) >> 1; }
            9: { r = (bit<16>) (bit<8>) (a == b ? 8w1 : 8w2); }
            10: { r = (int<8>) a < (int<8>) b && a > b ? 16w1 : 16w0; }
            // Generic functions and structs, inferred and said.
            11: { r = second(a, 16w0x1234); }
            12: {
                pair<bit<8>, bit<16>> p = { first = a, second = 0x55aa };
                pair<bit<16>, bit<8>> q = swapped(p);
                r = q.first + (bit<16>) q.second;
            }
            // Tuples, defaults, structure-valued expressions.
            13: {
                tuple<bit<8>, bit<16>> t = { a, 16w0x700 };
                r = t[1] + (bit<16>) t[0];
            }
            14: {
                pair<bit<8>, bit<16>> p = { first = a, ... };
                r = p.second + (bit<16>) p.first;
            }
            15: {
                pair<bit<8>, bit<8>> p = { a, b };
                pair<bit<8>, bit<8>> q = (pair<bit<8>, bit<8>>) { first = 7, second = 9 };
                r = p == q ? 16w1 : 16w0;
            }
            // Constants of any size, types with a name of their own, enums.
            16: { r = SMALL; }
            17: { Shade shade = (Shade) a; Shade next = 1; r = (bit<16>) ((bit<8>) shade + (bit<8>) next); }
            18: { Kind kind = (Kind) a; r = kind == Kind.BOTH ? 16w1 : (bit<16>) (bit<8>) Kind.TWO; }
            19: {
                Shape shape = a == 1 ? Shape.ROUND : Shape.SQUARE;
                switch (shape) {
                    Shape.ROUND: { r = 0xc; }
                    Shape.SQUARE: { r = 4; }
                }
            }
            // Numbers wider than a machine word.
            20: {
                bit<200> w = ((bit<200>) a << 150) + ((bit<200>) b << 150);
                w = w - (200w1 << 148);
                r = (bit<16>) (w >> 148);
            }
            21: {
                bit<128> w = a ++ 112w0 ++ b;
                r = w[127:112] | (bit<16>) w[7:0];
            }
            22: { r = (bit<16>) a * (bit<16>) b; }
            // Assignments with an operator.
            23: { r = 1; r += (bit<16>) a; r <<= 2; r |= 1; r ^= 0xff; }
            24: { r = 0xfff0; r |+|= (bit<16>) a; }
            25: { r = -(~(bit<16>) a); }
            // Copying in and out.
            26: { bit<8> rest; r = halve(a, rest); r = r + (bit<16>) a + (bit<16>) rest; }
            default: { }
        }
        hdr.h.r = r;
    }
}

#include "switch.p4i"
SWITCH(P, I)
