//! Tests of this stage: programs in, findings or printed IR out.

use crate::diag::Severity;
use crate::front::{self, Sources};
use crate::ir;
use crate::ir::print::print;
use crate::source::SourceBundle;

/// What comes out: the program, or code and text under the main label of each error.
fn lower(text: &str) -> Result<ir::Program, Vec<(&'static str, String)>> {
    let parsed = front::parse(&Sources::from_bundle(SourceBundle::single("test.p4", text)));
    let syntax: Vec<&str> = parsed
        .diagnostics
        .list()
        .iter()
        .map(|d| d.message.as_str())
        .collect();
    assert!(
        !parsed.diagnostics.has_errors(),
        "syntax: {syntax:?} in {text}"
    );
    super::lower(&parsed.program, &parsed.map).map_err(|found| {
        let errors = found.iter().filter(|d| d.severity == Severity::Error);
        errors
            .map(|d| {
                (
                    d.code,
                    d.span()
                        .map_or("", |span| parsed.map.text(span))
                        .to_string(),
                )
            })
            .collect()
    })
}

/// A control with these locals and statements, on `h` (a header with fields `a`, `b` of 8 and `w` of 16 bits) and `m`.
fn control(locals: &str, body: &str) -> String {
    format!(
        "#include <core.p4>
         header H {{ bit<8> a; bit<8> b; bit<16> w; }}
         struct Hs {{ H h; H[4] s; }}
         struct M {{ bit<8> x; int<8> i; bool t; bit<32> wide; }}
         enum Color {{ Red, Green }}
         enum bit<8> Kind {{ One = 1, Two = 2 }}
         bit<8> inc(in bit<8> v) {{ return v + 1; }}
         extern Reg<T> {{ Reg(bit<32> size); T read(in bit<32> at); void write(in bit<32> at, in T value); }}
         control C(inout Hs hs, inout M m) {{
           {locals}
           apply {{ {body} }}
         }}
         control Type<A, B>(inout A a, inout B b);
         package Top<A, B>(Type<A, B> c);
         Top(C()) main;"
    )
}

fn printed(locals: &str, body: &str) -> String {
    match lower(&control(locals, body)) {
        Ok(program) => print(&program),
        Err(found) => panic!("{found:?} in {locals} {body}"),
    }
}

/// Errors of a program around these locals and statements.
fn errors(locals: &str, body: &str) -> Vec<(&'static str, String)> {
    lower(&control(locals, body)).map_or_else(|found| found, |_| Vec::new())
}

#[test]
fn statements_become_what_they_mean() {
    let cases = [
        ("m.x = 1 + 2;", "m#1.x = 8w0x3;"),
        ("m.x = hs.h.a + 1;", "m#1.x = Add(hs#0.h.a, 8w0x1);"),
        ("m.x = 300;", "m#1.x = 8w0x2c;"),
        ("m.i = -1;", "m#1.i = 8s-1;"),
        ("m.x[3:0] = hs.h.b[7:4];", "m#1.x[3:0] = hs#0.h.b[7:4];"),
        (
            "m.wide = hs.h.a ++ hs.h.b ++ hs.h.w;",
            "m#1.wide = Concat(Concat(hs#0.h.a, hs#0.h.b), hs#0.h.w);",
        ),
        ("m.x = (bit<8>) hs.h.w;", "m#1.x = (bit<8>)hs#0.h.w;"),
        ("m.x |+|= 2;", "m#1.x = SatAdd(m#1.x, 8w0x2);"),
        (
            "m.t = hs.h.isValid() && m.x == 0;",
            "m#1.t = And(IsValid(hs#0.h), Eq(m#1.x, 8w0x0));",
        ),
        ("hs.h.setValid();", "SetValid(&hs#0.h);"),
        ("hs.s.push_front(1);", "PushFront(&hs#0.s, 32w0x1);"),
        (
            "hs.h = { 1, 2, 3 };",
            "hs#0.h = H { 8w0x1, 8w0x2, 16w0x3 };",
        ),
        (
            "hs.h = { w = 3, ... };",
            "hs#0.h = H { 8w0x0, 8w0x0, 16w0x3 };",
        ),
        ("hs.h = {#};", "hs#0.h = (H){#};"),
        ("hs.s[1] = hs.h;", "hs#0.s[32w0x1] = hs#0.h;"),
        ("m.x = inc(m.x);", "m#1.x = inc#0(m#1.x);"),
        ("m.x = Kind.Two;", "m#1.x = 8w0x2;"),
        ("m.x = m.t ? 8w1 : 2;", "m#1.x = (m#1.t ? 8w0x1 : 8w0x2);"),
        ("m.x = m.x << 3;", "m#1.x = Shl(m#1.x, 32w0x3);"),
    ];
    for (body, wanted) in cases {
        let text = printed("", body);
        assert!(text.contains(wanted), "{body}: wanted {wanted} in\n{text}");
    }
}

#[test]
fn errors_have_stable_codes_and_places() {
    let cases: &[(&str, &str, &str, &str)] = &[
        ("", "m.nothing = 1;", "E0103", "nothing"),
        ("", "unknown = 1;", "E0101", "unknown"),
        ("bit<8> v; bit<8> v;", "", "E0102", "v"),
        ("", "m.x = hs.h.w;", "E0202", "hs.h.w"),
        ("", "m.x = m.x / 0;", "E0302", "m.x / 0"),
        ("", "m.x = m.x << -1;", "E0303", "m.x << -1"),
        ("", "m.x = m.i + m.x;", "E0401", "m.i + m.x"),
        ("const bit<8> k = 1;", "k = m.x;", "E0402", "k"),
        (
            "table t { key = { m.x: lpm; } actions = { NoAction; } entries = { 5 &&& 5: NoAction(); } }",
            "t.apply();",
            "E0804",
            "5 &&& 5",
        ),
        ("", "m.x = hs.h.a[8:0];", "E0404", "hs.h.a[8:0]"),
        ("", "hs.s[4] = hs.h;", "E0404", "4"),
        ("", "hs.h = { 1, 2 };", "E0405", "{ 1, 2 }"),
        ("", "hs.s.next = hs.h;", "E0406", "hs.s.next"),
        ("", "m.x = inc();", "E0502", "inc()"),
        ("", "m.x = inc(v = 1, v = 2);", "E0502", "v"),
        ("", "break;", "E0601", "break;"),
        ("", "return 1;", "E0602", "1"),
        ("", "m.i = (int<8>) hs.h.w;", "E0208", "(int<8>) hs.h.w"),
        ("int v;", "", "E0204", "int"),
        (
            "table t { key = { m.x: exact; } }",
            "t.apply();",
            "E0801",
            "t",
        ),
        (
            "table t { key = { m.x + 1: exact; } actions = { NoAction; } }",
            "t.apply();",
            "E0802",
            "m.x + 1",
        ),
        (
            "table t { key = { m.x: perhaps; } actions = { NoAction; } }",
            "t.apply();",
            "E0802",
            "perhaps",
        ),
        (
            "action a() {} table t { actions = { NoAction; } default_action = a; }",
            "t.apply();",
            "E0803",
            "a",
        ),
        (
            "table t { actions = { NoAction; NoAction; } }",
            "t.apply();",
            "E0102",
            "NoAction",
        ),
        ("Reg<bit<8>>(m.wide) r;", "", "E0301", "m.wide"),
        ("C() again;", "", "E0101", "C"),
    ];
    for (locals, body, code, place) in cases {
        let found = errors(locals, body);
        let wanted = (*code, (*place).to_string());
        assert!(
            found.contains(&wanted),
            "{locals} {body}: wanted {wanted:?} in {found:?}"
        );
    }
}

#[test]
fn one_mistake_is_reported_once_and_several_are_all_reported() {
    let found = errors(
        "bit<8> v = nowhere;",
        "m.x = v + v; m.x = elsewhere; hs.h = { elsewhere2, 1, 2 };",
    );
    let codes: Vec<&str> = found.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["E0101"; 3], "{found:?}");
}

#[test]
fn keys_are_named_as_the_reference_compiler_names_them() {
    let keys = "hs.h.a: exact; m.wide[15:8]: exact; hs.h.isValid(): exact; hs.s[0].w: exact; m.x & 0xf: ternary;
                m.i + 1: exact @name(\"sum\");";
    let locals = format!(
        "action set(bit<8> v) {{ m.x = v; }} table t {{ key = {{ {keys} }} actions = {{ set; }} }}"
    );
    let program = lower(&control(&locals, "t.apply();")).expect("lowered");
    let (_, table) = program.tables.iter().next().expect("a table");
    let names: Vec<&str> = table.keys.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "hs.h.a",
            "m.wide[15:8]",
            "hs.h.$valid$",
            "hs.s[0].w",
            "m.x & 0xf",
            "sum"
        ]
    );
    assert_eq!(table.name.control_plane, "C.t");
    let actions: Vec<&str> = table
        .actions
        .iter()
        .map(|a| program.actions[a.action].name.control_plane.as_str())
        .collect();
    assert_eq!(actions, ["C.set", "NoAction"]);
    assert_eq!(table.actions[1].scope, ir::ActionScope::DefaultOnly);
    assert_eq!(table.default_action.action, 1);
}

#[test]
fn instances_are_copies_with_paths_of_their_own() {
    let text = "#include <core.p4>
        struct M { bit<8> x; }
        control Sub(inout M m)(bit<8> by) {
          action add() { m.x = m.x + by; }
          @name(\"tbl\") table t { key = { m.x: exact; } actions = { add; @defaultonly NoAction; } }
          apply { t.apply(); }
        }
        control C(inout M m) {
          Sub(1) one; @name(\"second\") Sub(2) two;
          apply { one.apply(m); two.apply(m); Sub2.apply(m); }
        }
        control Type<A>(inout A a);
        package Top<A>(Type<A> c);
        Top(C()) main;"
        .replace(
            "control C(",
            "control Sub2(inout M m) { apply { m.x = 9; } } control C(",
        );
    let program = lower(&text).expect("lowered");
    let tables: Vec<&str> = program
        .tables
        .iter()
        .map(|(_, t)| t.name.control_plane.as_str())
        .collect();
    assert_eq!(tables, ["C.one.tbl", "C.second.tbl"]);
    let text = print(&program);
    for wanted in [
        "action C.one.add()",
        "action C.second.add()",
        ".x, 8w0x2);",
        "C.one.apply(&m#",
        "control C.Sub2(",
    ] {
        assert!(text.contains(wanted), "wanted {wanted} in\n{text}");
    }
}

#[test]
fn generic_functions_are_specialised() {
    let text = "T pick<T>(in bool first, in T a, in T b) { if (first) { return a; } return b; }
        struct M { bit<8> x; bit<16> y; bool t; }
        control C(inout M m) { apply { m.x = pick(m.t, m.x, 1); m.y = pick(m.t, m.y, m.y); m.x = pick<bit<8>>(true, 1, 2); } }
        control Type<A>(inout A a);
        package Top<A>(Type<A> c);
        Top(C()) main;";
    let program = lower(text).expect("lowered");
    let kinds: Vec<String> = program
        .functions
        .iter()
        .map(|(_, f)| ir::print::print_type(&program, f.ret))
        .collect();
    assert_eq!(kinds, ["bit<8>", "bit<16>"]);
}

#[test]
fn parsers_become_states_by_index() {
    let text = "#include <core.p4>
        header E { bit<16> kind; }
        struct Hs { E e; E[2] s; }
        parser P(packet_in p, out Hs hs) {
          value_set<bit<16>>(4) vs;
          state start { p.extract(hs.e); transition select(hs.e.kind, p.lookahead<bit<8>>()) {
            (0x800, _): next; (1 &&& 3, 2 .. 5): accept; default: reject; } }
          state next { p.extract(hs.s.next); transition select(hs.e.kind) { vs: next; 7: start; } }
        }
        parser Type<A>(packet_in p, out A a);
        package Top<A>(Type<A> p);
        Top(P()) main;";
    let program = lower(text).expect("lowered");
    let printed = print(&program);
    for wanted in [
        "packet.Extract<E>(&hs#1.e);",
        "transition select(hs#1.e.kind, packet.Lookahead<bit<8>>())",
        "(16w0x800, _): next;",
        "(16w0x1 &&& 16w0x3, 8w0x2 .. 8w0x5): accept;",
        "(_): reject;",
        "(P.vs): next;",
        "packet.Extract<E>(&hs#1.s.next);",
    ] {
        assert!(printed.contains(wanted), "wanted {wanted} in\n{printed}");
    }
}

#[test]
fn uninstantiated_code_is_checked_too() {
    let text = "control Never<T>(inout T t, inout bit<8> x)(bit<8> by) { apply { x = by; t = t; x = true; } }";
    assert_eq!(
        lower(text).expect_err("refused"),
        [("E0202", "true".to_string())]
    );
}

#[test]
fn recursion_and_endless_instances_are_refused() {
    let direct = "bit<8> f(in bit<8> x) { return f(x); }";
    assert_eq!(lower(direct).expect_err("refused")[0].0, "E0101");
    let mut text = String::from("control c0() { apply {} }\n");
    for index in 1..200 {
        text.push_str(&format!(
            "control c{index}() {{ c{}() inner; apply {{ inner.apply(); }} }}\n",
            index - 1
        ));
    }
    text.push_str("control T(); package Top(T t); Top(c199()) main;");
    assert_eq!(lower(&text).expect_err("refused")[0].0, "E0906");
}

#[test]
fn programs_that_explode_are_refused_in_time() {
    let mut tuples = String::from("typedef bit<8> T0;\n");
    let mut structs = String::from("struct S0 { bit<8> a; }\n");
    let mut controls = String::from("control c0() { apply {} }\n");
    for index in 1..60 {
        let before = index - 1;
        tuples.push_str(&format!("typedef tuple<T{before}, T{before}> T{index};\n"));
        structs.push_str(&format!(
            "struct S{index} {{ S{before} a; S{before} b; }}\n"
        ));
        controls.push_str(&format!(
            "control c{index}() {{ c{before}() a; c{before}() b; apply {{ a.apply(); b.apply(); }} }}\n"
        ));
    }
    controls.push_str("control T(); package Top(T t); Top(c59()) main;");
    for text in [tuples, structs, controls] {
        let found = lower(&text).expect_err("refused");
        assert!(found.iter().any(|(code, _)| *code == "E0906"), "{found:?}");
    }
}

#[test]
fn libraries_without_main_have_no_package() {
    assert!(
        lower("#include <core.p4>\nconst bit<8> x = 3;")
            .expect("lowered")
            .package
            .is_none()
    );
}

#[test]
fn externs_keep_arguments_and_abstract_methods() {
    let text = "extern Virtual { Virtual(bit<8> size); abstract bit<8> f(in bit<8> x); }
        struct M { bit<8> x; }
        control C(inout M m) {
          Virtual(4) v = { bit<8> f(in bit<8> x) { return x + m.x; } };
          apply { }
        }
        control Type<A>(inout A a);
        package Top<A>(Type<A> c);
        Top(C()) main;";
    let program = lower(text).expect("lowered");
    let (_, instance) = program.externs.iter().next().expect("an instance");
    assert_eq!(
        (instance.kind.as_str(), instance.name.control_plane.as_str()),
        ("Virtual", "C.v")
    );
    assert_eq!(
        instance.args,
        [("size".to_string(), ir::Const::Int(4.into()))]
    );
    assert_eq!(instance.methods[0].0, "f");
}

#[test]
fn codes_are_unique() {
    let text = include_str!("code.rs");
    let mut codes: Vec<&str> = text
        .split('"')
        .filter(|part| part.len() == 5 && part[1..].parse::<u32>().is_ok())
        .collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert!(count > 40);
    assert_eq!(codes.len(), count);
}
