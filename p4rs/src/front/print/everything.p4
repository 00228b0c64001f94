#include <core.p4>

@pkginfo(name = "everything", version = "1.0")
@deep[a = 1, b = "two", c = 3 + 4]
@list[1, 2 + 3, "x"]
@empty[]
@free(any (balanced) tokens: 8w1 .. + ' `)
const bit<8> ONE = 1;
const bit<8> EMPTY_ANNOTATION = 8w0b1;
@pragma name some tokens up to the end
const int BIG = 0xFFFF_FFFF_FFFF_FFFF_FFFF;
error { MyError, Other }
match_kind { my_kind, }
typedef bit<32> addr_t;
typedef bit<8> bytes_t[4];
typedef struct inner_t { bit<8> x; } renamed_t;
typedef enum bit<8> colour_t { RED = 1, BLUE = 1 + 1 } paint_t;
@p4runtime_translation("my/port", 32)
type bit<9> port_t;
enum plain_t { A, B, }
enum bit<4> serial_t { A = 0, B = 4w3 }
struct pair_t<A, B> { A first; @name("second") B second; }
header h_t { bit<8> a; bit<(1 << 3)> b; int<4> c; varbit<32> d; bool e; port_t f; }
header generic_t<T> { T t; }
header_union u_t { h_t one; h_t two; }
struct headers_t { h_t h; h_t[3] stack; u_t u; tuple<bit<8>, bool, addr_t> t; pair_t<bit<8>, addr_t> p; }
extern forward_t;
extern forward_t {
    forward_t(bit<8> size);
    forward_t();
    abstract bit<8> run(in bit<8> x);
    @pure T get<T>(in T x, @optional in bit<8> y, out bool z, inout int<8> w, bit<8> d = 3);
    void done();
}
extern box<T, S> { box(list<tuple<T, S>> values); T read(in S index); }
extern T identity<T>(in T x);
extern void nothing(string text);
parser proto_t<H>(packet_in p, out H h);
control ctl_t<H>(inout H h);
package top_t<H>(proto_t<H> p, ctl_t<H> c, @optional ctl_t<_> d);

bit<8> largest(in bit<8> a, in bit<8> b) {
    if (a > b) { return a; } else return b;
}
T same<T>(in T x) { return (T) x; }

action top_action(inout bit<8> x) { x = x + 1; }

parser p_t<T>(packet_in packet, out headers_t h)(bit<8> size, bool flag) {
    const bit<8> LIMIT = 3;
    bit<8> counter = 0;
    box<bit<8>, bit<1>>({{ 1, 1w0 }, { 2, 1w1 }}) values;
    value_set<bit<16>>(4) ports;
    @name("pairs") value_set<tuple<bit<8>, bit<8>>>(ONE + 2) pairs;
    state start {
        packet.extract(h.h);
        packet.extract<h_t>(h.stack.next);
        bit<8> local = packet.lookahead<bit<8>>();
        { counter = counter |+| 1; }
        if (local == 0) counter = 2; else { counter = 3; }
        transition select(h.h.a, h.h.b) {
            (1, 2): next;
            (8w0x0F &&& 0x0F, _): next;
            (1 .. 5, default): next;
            (pairs): next;
            pairs: next;
            _: accept;
            default: reject;
        }
    }
    @unrolled state next {
        verify(h.h.isValid(), error.MyError);
        transition select(h.h.a) { (1) + 2: accept; (bit<8>) 5: start; 3 &&& (4): next; ports: last; default: last; }
    }
    state last { transition accept; }
    state stuck { }
}

control c_t(inout headers_t h, inout bit<8> m)(forward_t f, bit<8> size) {
    forward_t(8) impl = {
        @name("inner") forward_t() nested;
        bit<8> run(in bit<8> x) { return x; }
    };
    bit<8> v;
    h_t[2] array = {{ 1, 2, 3, (varbit<32>) 0, true, (port_t) 9w1 }, ... };
    @hidden action a(in bit<8> x, bit<8> data) { v = x; }
    action b() @atomic { v = 0; exit; }
    @name("my.table") table t {
        key = {
            h.h.a : exact;
            h.h.b & 0xF : ternary @name("masked") @optional;
            h.stack[0].isValid() : my_kind;
        }
        actions = { a(v); @tableonly .top_action(v); @defaultonly b; NoAction; }
        const entries = {
            (1, 2 &&& 3, true) : a(1, 2) @priority(3);
            const priority = 10 : (_, default, false) : b();
            priority = (1 + 2) : (1 .. 4, _, _) : b;
        }
        const default_action = b();
        @annotated size = 1024;
        const custom = { 1, 2 };
    }
    table keyless { actions = { b; } entries = { } }
    apply {
        ;
        bit<8> x = (bit<8>) h.h.b[3:0] ++ h.h.a[m +: 4];
        const bit<8> K = 3;
        x += 1; x -= 1; x *= 2; x /= 2; x %= 2; x <<= 1; x >>= 1; x &= 1; x |= 1; x ^= 1; x |+|= 1; x |-|= 1;
        x[3:0] = 4w1;
        h.h = { a = 1, b = 2, ... };
        h.h = {#};
        h.stack[1].setInvalid();
        x = -x + ~x * +x - (x << 2 >> 1) & x | x ^ x;
        bool yes = !(x < 1) && x <= 2 || x >= 3 && x != 4 || x > 5;
        x = yes ? x > 3 ? 1 : 2 : (x == 3 ? 4 : 5);
        nothing("a \"quoted\" text");
        f.get<bit<8>>(x, z = _, w = _, y = 3);
        x = f.get(x, z = _, y = 3, w = _);
        x = identity<pair_t<bit<8>, bool>>({ first = 1, second = true }).first;
        t.apply();
        if (t.apply().hit) { return; } else if (t.apply().miss) exit; else ;
        switch (t.apply().action_run) { a: b: { x = 1; } default: { } }
        switch (x) { 1: { } 2: @name("case") { x = 2; } default: }
        @atomic { x = 3; }
        for (bit<8> i = 0, bit<8> j = 1; i < 10; i = i + 1, j += 2) { if (i == 5) break; continue; }
        @unroll for (; x < 3; ) x += 1;
        for (bit<8> i in 1 .. 5) { x = i; }
        for (@name("k") bit<8> k in { 1, 2, 3 }) { x = k; }
        .top_action(x);
        c_t.apply(h, m);
        generic_c<bit<8>>.apply(x);
        x = serial_t.B == (serial_t) 3 ? 1 : 0;
    }
}

control generic_c<T>(inout T t) { apply { } }

@main top_t(p_t<bit<8>>(3, true), c_t(forward_t(4), size = 3)) main;
