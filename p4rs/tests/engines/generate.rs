//! Random v1model programs: headers of odd widths, nested conditions, arithmetic of every kind, tables, functions,
//! loops, stacks, registers, hashes, exits.

use std::fmt::Write as _;

use crate::random::Random;

const WIDTHS: [u32; 14] = [1, 3, 7, 8, 9, 16, 17, 32, 33, 48, 63, 64, 65, 128];

/// Names that may be read and written, with their widths.
struct Scope {
    fields: Vec<(String, u32)>,
    plain: bool,
}

/// A program's text; `kinds` where its parser tells the usual kinds of packets from others, `plain` where all of it can become
/// machine code.
pub fn program(random: &mut Random, kinds: bool, plain: bool) -> String {
    let mut text = String::from("#include <core.p4>\n#include <v1model.p4>\n");
    let mut scope = Scope {
        fields: Vec::new(),
        plain,
    };
    let headers = 2 + random.below(3);
    for header in 0..headers {
        writeln!(text, "header h{header}_t {{").unwrap();
        let mut bits = 0;
        for field in 0..2 + random.below(5) {
            let width = *random.of(&WIDTHS);
            bits += width;
            writeln!(text, "    bit<{width}> f{field};").unwrap();
            scope
                .fields
                .push((format!("hdr.h{header}.f{field}"), width));
        }
        // Sometimes not whole bytes: then the interpreter moves the bits.
        if !random.once_in(20) && !bits.is_multiple_of(8) {
            writeln!(text, "    bit<{}> pad;", 8 - bits % 8).unwrap();
        }
        writeln!(text, "}}").unwrap();
    }
    text.push_str("header e_t { bit<8> k; bit<16> v; }\n");
    text.push_str(KIND);
    text.push_str("struct headers {\n    kind_t kind;\n");
    for header in 0..headers {
        writeln!(text, "    h{header}_t h{header};").unwrap();
    }
    text.push_str("    e_t[3] s;\n}\nstruct meta_t {\n");
    for field in 0..4 {
        let width = *random.of(&WIDTHS);
        writeln!(text, "    bit<{width}> m{field};").unwrap();
        scope.fields.push((format!("meta.m{field}"), width));
    }
    text.push_str("}\n");
    let stack = if plain { "accept" } else { "stack" };
    parser(random, &mut text, (headers, kinds, stack), &scope);
    if kinds {
        scope.fields.push((String::from("hdr.kind.protocol"), 8));
        scope.fields.push((String::from("hdr.kind.type"), 16));
    }
    text.push_str("control V(inout headers hdr, inout meta_t meta) { apply { } }\n");
    ingress(random, &mut text, &scope);
    text.push_str(
        "control E(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) { apply { } }\n\
         control C(inout headers hdr, inout meta_t meta) { apply { } }\n\
         control D(packet_out p, in headers hdr) { apply {\n",
    );
    text.push_str("    p.emit(hdr.kind);\n");
    for header in 0..headers {
        writeln!(text, "    p.emit(hdr.h{header});").unwrap();
    }
    text.push_str("    p.emit(hdr.s);\n} }\nV1Switch(P(), V(), I(), E(), C(), D()) main;\n");
    text
}

/// What tells the usual kinds of packets from others, where their protocols have it.
pub const KIND: &str =
    "header kind_t { bit<96> addresses; bit<16> type; bit<72> between; bit<8> protocol; }\n";

/// States that lead from `start` to `first`, by different ways for the usual kinds of packets.
pub const KINDS: &str = "    state start { p.extract(hdr.kind); transition select(hdr.kind.type) {\n\
     0x0806: accept; 0x0800: network; 0x86dd: network; default: first; } }\n\
     state network { transition select(hdr.kind.protocol) { 17: udp; 6: tcp; 1: accept; default: first; } }\n\
     state tcp { transition first; }\n\
     state udp { transition select(p.lookahead<bit<8>>()) { 1: reject; default: first; } }\n";

fn parser(
    random: &mut Random,
    text: &mut String,
    (headers, kinds, stack): (usize, bool, &'static str),
    scope: &Scope,
) {
    text.push_str(
        "parser P(packet_in p, out headers hdr, inout meta_t meta, inout standard_metadata_t std) {\n",
    );
    text.push_str(if kinds {
        KINDS
    } else {
        "    state start { transition first; }\n"
    });
    text.push_str("    state first { p.extract(hdr.h0); transition next0; }\n");
    for header in 0..headers - 1 {
        let of_header = format!("hdr.h{header}.");
        let known: Vec<&(String, u32)> = scope
            .fields
            .iter()
            .filter(|(name, _)| name.starts_with(&of_header))
            .collect();
        let (name, width) = random.of(&known);
        let next = header + 1;
        let value = random.below(4) as u64 & mask(*width);
        writeln!(
            text,
            "    state next{header} {{ transition select({name}) {{\n        {width}w{value}: h{next};\n        {width}w0 &&& {width}w1: h{next};\n        default: {}; }} }}",
            random.of(&["accept", stack, "reject"])
        )
        .unwrap();
        writeln!(
            text,
            "    state h{next} {{ p.extract(hdr.h{next}); transition next{next}; }}"
        )
        .unwrap();
    }
    writeln!(
        text,
        "    state next{} {{ transition {}; }}",
        headers - 1,
        random.of(&["accept", stack])
    )
    .unwrap();
    text.push_str(
        "    state stack { p.extract(hdr.s.next); transition select(hdr.s.last.k) { 0 &&& 1: stack; default: accept; } }\n}\n",
    );
}

fn ingress(random: &mut Random, text: &mut String, scope: &Scope) {
    text.push_str(
        "control I(inout headers hdr, inout meta_t meta, inout standard_metadata_t std) {\n",
    );
    text.push_str(
        "    register<bit<32>>(16) cells;\n    counter(16, CounterType.packets_and_bytes) count;\n",
    );
    for action in 0..3 {
        let (width, other) = (*random.of(&WIDTHS), *random.of(&WIDTHS));
        let mut inner = Scope {
            fields: scope.fields.clone(),
            plain: scope.plain,
        };
        inner.fields.push((String::from("x"), width));
        inner.fields.push((String::from("y"), other));
        writeln!(
            text,
            "    action a{action}(bit<{width}> x, bit<{other}> y) {{"
        )
        .unwrap();
        for _ in 0..1 + random.below(4) {
            let assign = assignment(random, &inner, &scope.fields, 2);
            writeln!(text, "        {assign}").unwrap();
        }
        text.push_str("    }\n");
    }
    for table in 0..2 {
        let kind = random.of(&["exact", "lpm", "ternary", "range"]);
        let kind = if scope.plain && *kind == "range" {
            &"exact"
        } else {
            kind
        };
        let (name, _) = random.of(&scope.fields);
        let (other, _) = random.of(&scope.fields);
        let more = if *kind == "lpm" || random.once_in(2) {
            String::new()
        } else {
            format!("{other}: exact @name(\"other\"); ")
        };
        writeln!(
            text,
            "    table t{table} {{ key = {{ {name}: {kind} @name(\"k\"); {more}}} actions = {{ a0; a1; a2; NoAction; }} default_action = NoAction(); }}"
        )
        .unwrap();
    }
    text.push_str("    apply {\n        std.egress_spec = 3;\n");
    let mut depth = 3;
    for _ in 0..4 + random.below(8) {
        statement(random, text, scope, &mut depth, 2);
    }
    text.push_str("    }\n}\n");
}

fn statement(
    random: &mut Random,
    text: &mut String,
    scope: &Scope,
    applied: &mut usize,
    indent: usize,
) {
    let pad = "    ".repeat(indent);
    match random.below(14) {
        0..=5 => writeln!(text, "{pad}{}", assignment(random, scope, &scope.fields, 3)).unwrap(),
        6 | 7 if indent < 5 => {
            writeln!(text, "{pad}if ({}) {{", condition(random, scope, 2)).unwrap();
            statement(random, text, scope, applied, indent + 1);
            writeln!(text, "{pad}}} else {{").unwrap();
            statement(random, text, scope, applied, indent + 1);
            writeln!(text, "{pad}}}").unwrap();
        }
        8 | 9 if *applied > 1 => {
            *applied -= 1;
            let table = *applied - 1;
            match random.below(3) {
                0 => writeln!(text, "{pad}t{table}.apply();").unwrap(),
                1 => {
                    let assign = assignment(random, scope, &scope.fields, 2);
                    writeln!(text, "{pad}if (!t{table}.apply().hit) {{ {assign} }}").unwrap();
                }
                _ => {
                    let (first, second) = (
                        assignment(random, scope, &scope.fields, 2),
                        assignment(random, scope, &scope.fields, 2),
                    );
                    writeln!(
                        text,
                        "{pad}switch (t{table}.apply().action_run) {{ a0: {{ {first} exit; }} a1: {{ {second} }} default: {{ }} }}"
                    )
                    .unwrap();
                }
            }
        }
        10 => {
            let index = expression(random, scope, 8, 1);
            let value = expression(random, scope, 32, 2);
            writeln!(text, "{pad}cells.write((bit<32>)({index} & 15), {value});").unwrap();
        }
        11 => {
            let index = expression(random, scope, 8, 1);
            writeln!(text, "{pad}count.count((bit<32>)({index}));").unwrap();
        }
        12 => {
            let header = random.below(2);
            writeln!(
                text,
                "{pad}hdr.h{header}.{}();",
                random.of(&["setValid", "setInvalid"])
            )
            .unwrap();
        }
        _ => {
            let algorithm = random.of(&["crc32", "crc16", "csum16", "xor16", "identity"]);
            let (a, b) = (
                random.of(&scope.fields).0.clone(),
                random.of(&scope.fields).0.clone(),
            );
            // Fields of two headers, of which one may be invalid, have no fixed place.
            let b = if scope.plain { a.clone() } else { b };
            let (to, width) = random.of(&scope.fields).clone();
            if width <= 64 {
                writeln!(
                    text,
                    "{pad}hash({to}, HashAlgorithm.{algorithm}, {width}w0, {{ {a}, {b} }}, 32w77);"
                )
                .unwrap();
            } else {
                writeln!(text, "{pad}{}", assignment(random, scope, &scope.fields, 2)).unwrap();
            }
        }
    }
}

fn assignment(random: &mut Random, scope: &Scope, to: &[(String, u32)], depth: usize) -> String {
    let (name, width) = random.of(to).clone();
    if width > 4 && random.once_in(4) {
        let (hi, lo) = (width - 2, random.below(width as usize - 2) as u32);
        let value = expression(random, scope, hi - lo + 1, depth);
        return format!("{name}[{hi}:{lo}] = {value};");
    }
    format!("{name} = {};", expression(random, scope, width, depth))
}

fn condition(random: &mut Random, scope: &Scope, depth: usize) -> String {
    if depth == 0 {
        return format!("hdr.h{}.isValid()", random.below(2));
    }
    let width = *random.of(&WIDTHS);
    match random.below(7) {
        0 => format!(
            "({} && {})",
            condition(random, scope, depth - 1),
            condition(random, scope, depth - 1)
        ),
        1 => format!(
            "({} || {})",
            condition(random, scope, depth - 1),
            condition(random, scope, depth - 1)
        ),
        2 => format!("!({})", condition(random, scope, depth - 1)),
        _ => {
            let operator = random.of(&["==", "!=", "<", "<=", ">", ">="]);
            let cast = if random.once_in(3) && width > 1 {
                format!("(int<{width}>)")
            } else {
                String::new()
            };
            format!(
                "({cast}({}) {operator} {cast}({}))",
                expression(random, scope, width, depth - 1),
                expression(random, scope, width, depth - 1)
            )
        }
    }
}

/// An expression of `width` bits.
fn expression(random: &mut Random, scope: &Scope, width: u32, depth: usize) -> String {
    if depth == 0 || random.once_in(5) {
        if random.once_in(3) {
            return format!("{width}w{}", random.next() & mask(width));
        }
        let (name, of) = random.of(&scope.fields).clone();
        return if of == width {
            name
        } else {
            format!("(bit<{width}>)({name})")
        };
    }
    let inner = |random: &mut Random| expression(random, scope, width, depth - 1);
    match random.below(14) {
        0 => format!("({} + {})", inner(random), inner(random)),
        1 => format!("({} - {})", inner(random), inner(random)),
        2 => format!("({} * {})", inner(random), inner(random)),
        3 => format!("({} & {})", inner(random), inner(random)),
        4 => format!("({} | {})", inner(random), inner(random)),
        5 => format!("({} ^ {})", inner(random), inner(random)),
        6 => format!("(~{})", inner(random)),
        7 => format!("({} |+| {})", inner(random), inner(random)),
        8 => format!("({} |-| {})", inner(random), inner(random)),
        9 => format!(
            "({} << {})",
            inner(random),
            expression(random, scope, 8, depth - 1)
        ),
        10 => format!(
            "({} >> {})",
            inner(random),
            expression(random, scope, 8, depth - 1)
        ),
        11 if width > 1 => {
            let low = 1 + random.below(width as usize - 1) as u32;
            let high = expression(random, scope, width - low, depth - 1);
            format!("({high} ++ {})", expression(random, scope, low, depth - 1))
        }
        12 => format!(
            "({} ? {} : {})",
            condition(random, scope, 1),
            inner(random),
            inner(random)
        ),
        _ => {
            let (name, of) = random.of(&scope.fields).clone();
            if of >= width {
                let lo = random.below((of - width) as usize + 1) as u32;
                return format!("{name}[{}:{lo}]", lo + width - 1);
            }
            let signed = format!("(bit<{width}>)(int<{width}>)(int<{of}>)({name})");
            if of > 1 { signed } else { inner(random) }
        }
    }
}

fn mask(width: u32) -> u64 {
    if width >= 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    }
}
