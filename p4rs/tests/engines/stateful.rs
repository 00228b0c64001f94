//! Random PNA programs whose packets leave something behind for later ones: registers, tables that packets add entries
//! to, in several places, in actions, in controls within controls, in loops, before and after `exit`.

use std::fmt::Write as _;

use crate::generate::{KIND, KINDS};
use crate::random::Random;

/// A program's text; `kinds` where its parser tells the usual kinds of packets from others.
pub fn program(random: &mut Random, kinds: bool) -> String {
    let mut text = String::from("#include <core.p4>\n#include <pna.p4>\n");
    text.push_str(KIND);
    text.push_str(
        "\
         header h_t { bit<8> a; bit<8> b; bit<8> c; bit<8> d; bit<16> e; bit<32> f; }\n\
         header t_t { bit<32> v0; bit<32> v1; bit<32> v2; bit<32> v3; }\n\
         struct headers { kind_t kind; h_t h; t_t t; }\n\
         struct meta_t { bit<32> v0; bit<32> v1; bit<32> v2; bit<32> v3; bit<8> k0; bit<8> k1; bit<8> fate; }\n\
         struct learned_t { bit<32> x; bit<32> y; }\n\
         parser P(packet_in p, out headers hdr, inout meta_t meta, in pna_main_parser_input_metadata_t istd) {\n\
             state first {\n\
                 meta.v0 = 0; meta.v1 = 1; meta.v2 = 2; meta.v3 = 3; meta.k0 = 0; meta.k1 = 0; meta.fate = 0;\n\
                 p.extract(hdr.h); transition accept; }\n",
    );
    text.push_str(if kinds {
        KINDS
    } else {
        "    state start { transition first; }\n"
    });
    text.push_str(
        "}\n\
         control Pre(in headers hdr, inout meta_t meta, in pna_pre_input_metadata_t istd, inout pna_pre_output_metadata_t ostd) { apply { } }\n",
    );
    let parts = random.below(3);
    for part in 0..parts {
        writeln!(
            text,
            "control Part{part}(inout headers hdr, inout meta_t meta) {{"
        )
        .unwrap();
        let mut control = Control::declare(random, &mut text, Vec::new());
        control.apply(random, &mut text);
        text.push_str("    }\n}\n");
    }
    text.push_str(
        "control M(inout headers hdr, inout meta_t meta, in pna_main_input_metadata_t istd, inout pna_main_output_metadata_t ostd) {\n",
    );
    for part in 0..parts {
        writeln!(text, "    Part{part}() part{part};").unwrap();
    }
    let parts = (0..parts).map(|part| format!("part{part}")).collect();
    let mut control = Control::declare(random, &mut text, parts);
    // Before anything may exit.
    let begin = "send_to_port((PortId_t)2); hdr.t.setValid();";
    text.push_str("    action leave() { hdr.t.v0 = meta.v0; hdr.t.v1 = meta.v1; hdr.t.v2 = meta.v2; hdr.t.v3 = meta.v3; }\n");
    // What is known of a kind decides which statements there are for it.
    let known = if kinds {
        "if (hdr.kind.isValid() && hdr.kind.protocol != 1) { meta.k1 = hdr.kind.protocol & 3; }"
    } else {
        ""
    };
    control.begin = format!("{begin} meta.k0 = hdr.h.b & 3; meta.k1 = hdr.h.c & 3; {known}");
    control.apply(random, &mut text);
    text.push_str(
        "        leave();\n    }\n}\n\
         control D(packet_out p, in headers hdr, in meta_t meta, in pna_main_output_metadata_t ostd) { apply { p.emit(hdr.kind); p.emit(hdr.h); p.emit(hdr.t); } }\n\
         PNA_NIC(P(), Pre(), M(), D()) main;\n",
    );
    text
}

/// Registers that a control may have: width and size.
const REGISTERS: [(u32, u32); 5] = [(32, 16), (32, 16), (64, 16), (8, 5), (100, 16)];

/// A control's own things, by name.
struct Control {
    registers: Vec<(String, u32)>,
    tables: Vec<usize>,
    parts: Vec<String>,
    begin: String,
    loops: usize,
}

impl Control {
    fn declare(random: &mut Random, text: &mut String, parts: Vec<String>) -> Self {
        let mut control = Self {
            registers: Vec::new(),
            tables: Vec::new(),
            parts,
            begin: String::new(),
            loops: 0,
        };
        for register in 0..random.below(4) {
            let (width, size) = *random.of(&REGISTERS);
            writeln!(
                text,
                "    Register<bit<{width}>, bit<32>>({size}) r{register};"
            )
            .unwrap();
            control.registers.push((format!("r{register}"), width));
        }
        text.push_str(
            "    Hash<bit<32>>(PNA_HashAlgorithm_t.CRC32) fold;\n    \
             Counter<bit<32>, bit<8>>(8, PNA_CounterType_t.PACKETS) count;\n",
        );
        for table in 0..random.below(4) {
            control.table(random, text, table);
        }
        control
    }

    /// A table; most are ones that packets add entries to.
    fn table(&mut self, random: &mut Random, text: &mut String, table: usize) {
        let learns = !random.once_in(4);
        let counter = random.once_in(2).then(|| {
            let line = "DirectCounter<bit<64>>(PNA_CounterType_t.PACKETS_AND_BYTES)";
            writeln!(text, "    {line} c{table};").unwrap();
            format!("c{table}")
        });
        writeln!(
            text,
            "    action hit{table}(bit<32> x, bit<32> y) {{ {} = x + y;",
            value(random)
        )
        .unwrap();
        if random.once_in(2) {
            let line = self.register(random);
            writeln!(text, "        {line}").unwrap();
        }
        let count = |random: &mut Random| {
            let counter = counter.as_ref().filter(|_| !random.once_in(4));
            counter.map_or_else(String::new, |c| format!("{c}.count({});", operand(random)))
        };
        writeln!(text, "        {}", count(random)).unwrap();
        if learns {
            let of_packet = format!(
                "set_entry_expire_time((ExpireTimeProfileId_t)(bit<8>)({}));",
                operand(random)
            );
            let timers = [
                "restart_expire_timer();",
                "set_entry_expire_time((ExpireTimeProfileId_t)8w1);",
                &of_packet,
                "",
            ];
            let timer = random.of(&timers);
            writeln!(text, "        if (hdr.h.d > 2) {{ {timer} }}").unwrap();
        }
        let (x, y) = (operand(random), operand(random));
        let learn = format!(
            "if (hdr.h.a != 5) {{ add_entry(action_name = \"hit{table}\", action_params = (learned_t){{ {x}, {y} }}, \
             expire_time_profile_id = (ExpireTimeProfileId_t)8w{}); }} {}",
            random.below(3),
            random.of(&["", "", "restart_expire_timer();"])
        );
        let missed = if learns { learn } else { String::new() };
        let missed = format!("{} {missed}", count(random));
        writeln!(
            text,
            "    }}\n    action miss{table}() {{ {} = 7; meta.fate = 1; {missed} }}",
            value(random)
        )
        .unwrap();
        let key = random.of(&["meta.k0", "meta.k1", "meta.v0", "hdr.h.b", "hdr.h.e"]);
        let more = random.of(&["", "meta.k1: exact @name(\"more\");"]);
        let kind = if learns {
            "add_on_miss = true; idle_timeout_with_auto_delete = true; \
             default_idle_timeout_for_data_plane_added_entries = 1;"
        } else {
            ""
        };
        let counted = counter.map_or_else(String::new, |c| format!("pna_direct_counter = {c};"));
        writeln!(
            text,
            "    table t{table} {{ key = {{ {key}: exact @name(\"k\"); {more} }} \
             actions = {{ @tableonly hit{table}; @defaultonly miss{table}; }} \
             const default_action = miss{table}(); {kind} {counted} size = {}; }}",
            3 + random.below(20)
        )
        .unwrap();
        self.tables.push(table);
    }

    fn apply(&mut self, random: &mut Random, text: &mut String) {
        writeln!(text, "    apply {{ {}", self.begin).unwrap();
        for turn in 0..3 + random.below(8) {
            // What most conditions ask for, so that ways part there.
            if random.once_in(3) {
                let fate = turn % 3;
                writeln!(
                    text,
                    "        if ({}) {{ meta.fate = {fate}; }}",
                    condition(random)
                )
                .unwrap();
            }
            if random.once_in(2) {
                self.statement(random, text, 2);
                continue;
            }
            writeln!(
                text,
                "        if (meta.fate {} 0) {{",
                random.of(&["==", "==", "!="])
            )
            .unwrap();
            self.statement(random, text, 3);
            text.push_str("        }\n");
        }
    }

    /// A register's cell is read or written.
    fn register(&self, random: &mut Random) -> String {
        if self.registers.is_empty() {
            return format!("{} = {};", value(random), operand(random));
        }
        let (register, width) = random.of(&self.registers);
        // Sometimes out of range.
        let mask = random.of(&[3, 15, 31]);
        let index = format!("({} & {mask})", operand(random));
        if random.once_in(2) {
            format!("{} = (bit<32>){register}.read({index});", value(random))
        } else {
            format!(
                "{register}.write({index}, (bit<{width}>){});",
                operand(random)
            )
        }
    }

    fn statement(&mut self, random: &mut Random, text: &mut String, indent: usize) {
        let pad = "    ".repeat(indent);
        let deep = indent > 5;
        match random.below(16) {
            0..=4 => writeln!(text, "{pad}{}", self.register(random)).unwrap(),
            5 | 6 if !deep => {
                writeln!(text, "{pad}if ({}) {{", condition(random)).unwrap();
                self.statement(random, text, indent + 1);
                self.statement(random, text, indent + 1);
                writeln!(text, "{pad}}} else {{").unwrap();
                self.statement(random, text, indent + 1);
                writeln!(text, "{pad}}}").unwrap();
            }
            7..=9 if !self.tables.is_empty() => {
                let table = *random.of(&self.tables);
                match random.below(4) {
                    0 | 1 => writeln!(text, "{pad}t{table}.apply();").unwrap(),
                    2 => {
                        writeln!(text, "{pad}if (t{table}.apply().hit) {{").unwrap();
                        self.statement(random, text, indent + 1);
                        writeln!(text, "{pad}}}").unwrap();
                    }
                    _ => writeln!(
                        text,
                        "{pad}switch (t{table}.apply().action_run) {{ hit{table}: {{ {} }} default: {{ {} }} }}",
                        self.register(random),
                        self.register(random)
                    )
                    .unwrap(),
                }
            }
            10 if !self.parts.is_empty() => {
                let part = random.of(&self.parts);
                writeln!(text, "{pad}{part}.apply(hdr, meta);").unwrap();
            }
            11 if !deep && random.once_in(2) => {
                self.loops += 1;
                writeln!(
                    text,
                    "{pad}for (bit<8> i{} in 8w0..8w{}) {{",
                    self.loops,
                    random.below(3)
                )
                .unwrap();
                self.statement(random, text, 9);
                writeln!(text, "{pad}}}").unwrap();
            }
            12 if random.once_in(2) => {
                let way = random.of(&["exit", "return", "drop_packet()"]);
                writeln!(text, "{pad}if ({}) {{ {way}; }}", condition(random)).unwrap();
            }
            13 => {
                let (a, b) = (operand(random), operand(random));
                let data = match random.below(6) {
                    0 => "hdr.h.a".to_string(),
                    1 => "hdr.h.e, hdr.h.d[2:0]".to_string(),
                    2 => format!("{a}, {b}"),
                    3 => format!("{a}, {b}, hdr.h.c, {b}, {a}"),
                    _ => format!("{a}, hdr.h.e"),
                };
                writeln!(
                    text,
                    "{pad}{} = fold.get_hash((bit<32>)0, {{ {data} }}, (bit<32>){});",
                    value(random),
                    random.of(&[16, 1_000_003])
                )
                .unwrap();
            }
            14 => writeln!(text, "{pad}count.count((bit<8>)({}));", operand(random)).unwrap(),
            _ => writeln!(
                text,
                "{pad}{} = {} {} {};",
                random.of(&["meta.v0", "meta.v1", "meta.v2", "meta.v3", "hdr.h.f"]),
                operand(random),
                random.of(&["+", "-", "^", "&"]),
                operand(random)
            )
            .unwrap(),
        }
    }
}

fn value(random: &mut Random) -> &'static str {
    let values: [&'static str; 4] = ["meta.v0", "meta.v1", "meta.v2", "meta.v3"];
    values[random.below(values.len())]
}

fn operand(random: &mut Random) -> &'static str {
    let operands: [&'static str; 9] = [
        "meta.v0",
        "meta.v1",
        "meta.v2",
        "meta.v3",
        "(bit<32>)hdr.h.a",
        "(bit<32>)hdr.h.d",
        "(bit<32>)hdr.h.e",
        "hdr.h.f",
        "32w1",
    ];
    operands[random.below(operands.len())]
}

fn condition(random: &mut Random) -> String {
    let operator = random.of(&["==", "!=", "<", ">"]);
    if random.once_in(2) {
        format!("{} {operator} {}", operand(random), random.below(5))
    } else {
        format!("{} {operator} {}", operand(random), operand(random))
    }
}
