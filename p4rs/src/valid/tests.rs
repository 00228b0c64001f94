//! Tests of this stage: programs that are refused, by source and by broken IR.

use super::{code, validate};
use crate::diag::Diagnostic;
use crate::front::{self, Sources};
use crate::ir::{ExprKind, Handle, Program, StmtKind};
use crate::sema;
use crate::source::SourceBundle;

fn lowered(text: &str) -> Program {
    let parsed = front::parse(&Sources::from_bundle(SourceBundle::single("test.p4", text)));
    match sema::lower(&parsed.program, &parsed.map) {
        Ok(program) => program,
        Err(found) => panic!("{found:?}"),
    }
}

fn v1model(locals: &str, apply: &str) -> String {
    format!(
        "#include <core.p4>
         #include <v1model.p4>
         header H {{ bit<8> a; bit<32> b; }}
         struct Hs {{ H h; }}
         struct M {{ bit<8> x; }}
         extern void own(in bit<8> x);
         parser P(packet_in p, out Hs h, inout M m, inout standard_metadata_t s) {{ state start {{ transition accept; }} }}
         control V(inout Hs h, inout M m) {{ apply {{}} }}
         control I(inout Hs h, inout M m, inout standard_metadata_t s) {{ {locals} apply {{ {apply} }} }}
         control E(inout Hs h, inout M m, inout standard_metadata_t s) {{ apply {{}} }}
         control D(packet_out p, in Hs h) {{ apply {{ p.emit(h); }} }}
         V1Switch(P(), V(), I(), E(), V(), D()) main;"
    )
}

fn codes(found: Result<super::Checked, Vec<Diagnostic>>) -> Vec<&'static str> {
    found.map_or_else(
        |found| found.iter().map(|d| d.code).collect(),
        |_| Vec::new(),
    )
}

#[test]
fn a_sound_program_is_checked() {
    let program = lowered(&v1model(
        "action a(bit<8> v) { m.x = v; }
         table t { key = { h.h.b: lpm; h.h.a: exact; } actions = { a; } entries = { (0x0a000000 &&& 0xff000000, 1): a(2); } }",
        "t.apply(); mark_to_drop(s);",
    ));
    assert_eq!(codes(validate(program)), Vec::<&str>::new());
}

#[test]
fn what_the_engine_cannot_run_is_said() {
    let table = |keys: &str, rest: &str| {
        format!("table t {{ key = {{ {keys} }} actions = {{ NoAction; }} {rest} }}")
    };
    let cases = [
        (v1model("", "own(m.x);"), code::EXTERN),
        (
            v1model(&table("h.h.a: lpm; h.h.b: lpm;", ""), "t.apply();"),
            code::TABLE,
        ),
        (
            v1model(&table("h.h.a: selector;", ""), "t.apply();"),
            code::TABLE,
        ),
        (
            v1model(
                &table("h.h.a: exact;", "const entries = { _: NoAction(); }"),
                "t.apply();",
            ),
            code::ENTRY,
        ),
        (
            v1model(
                &table("h.h.a: range;", "const entries = { 5 &&& 5: NoAction(); }"),
                "t.apply();",
            ),
            code::ENTRY,
        ),
        (
            v1model(
                &table("h.h.a: ternary;", "add_on_miss = true;"),
                "t.apply();",
            ),
            code::TABLE,
        ),
        (
            "control C(); package Other(C c); control c() { apply {} } Other(c()) main;".into(),
            code::ARCHITECTURE,
        ),
        ("const bit<8> x = 1;".into(), code::ARCHITECTURE),
    ];
    for (text, wanted) in cases {
        let found = codes(validate(lowered(&text)));
        assert!(found.contains(&wanted), "{text}: {found:?}");
    }
}

#[test]
fn broken_ir_is_refused() {
    let good = || lowered(&v1model("", "m.x = h.h.a + 1;"));
    type Breaker = Box<dyn FnMut(&mut Program)>;
    let mut breakers: Vec<(&str, Breaker)> = vec![
        (
            "no such variable",
            Box::new(|p| {
                let vars = p.vars.len() as u32;
                let at = p
                    .exprs
                    .iter()
                    .position(|(_, e)| matches!(e.kind, ExprKind::Var(_)))
                    .expect("a variable");
                p.exprs[Handle::new(at as u32)].kind = ExprKind::Var(Handle::new(vars));
            }),
        ),
        (
            "an expression in itself",
            Box::new(|p| {
                let last = Handle::new(p.exprs.len() as u32 - 1);
                p.exprs[last].kind = ExprKind::Cast(last);
            }),
        ),
        (
            "no such type",
            Box::new(|p| {
                let types = p.types.len() as u32;
                p.exprs[Handle::new(0)].ty = Handle::new(types);
            }),
        ),
        (
            "an assignment to a constant",
            Box::new(|p| {
                let at = p
                    .exprs
                    .iter()
                    .position(|(_, e)| matches!(e.kind, ExprKind::Const(_)))
                    .expect("a constant");
                let controls: Vec<_> = p.controls.iter().map(|(handle, _)| handle).collect();
                for control in controls {
                    for stmt in &mut p.controls[control].body.stmts {
                        if let StmtKind::Assign { place, .. } = &mut stmt.kind {
                            *place = Handle::new(at as u32);
                        }
                    }
                }
            }),
        ),
        (
            "no start state",
            Box::new(|p| p.parsers[Handle::new(0)].start = 7),
        ),
    ];
    for (what, change) in &mut breakers {
        let mut program = good();
        change(&mut program);
        assert!(codes(validate(program)).contains(&code::BROKEN), "{what}");
    }
}
