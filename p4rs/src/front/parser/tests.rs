//! The parser on small inputs: what is told apart, what is reported, and that limits hold.

use proptest::prelude::*;

use super::super::ast::{AnnotationBody, Decl, ExprKind, StmtKind};
use super::super::{Parsed, Sources, parse};
use super::{annotation_expressions, annotation_key_values};
use crate::source::SourceBundle;

fn parsed(text: &str) -> Parsed {
    parse(&Sources::from_bundle(SourceBundle::single("m.p4", text)))
}

fn messages(text: &str) -> Vec<String> {
    parsed(text)
        .diagnostics
        .list()
        .iter()
        .map(|found| found.message.clone())
        .collect()
}

/// The value of the last constant.
fn value(text: &str) -> ExprKind {
    let parsed = parsed(text);
    assert_eq!(
        parsed.diagnostics.error_count(),
        0,
        "{text}: {:?}",
        parsed.diagnostics.list()
    );
    match parsed.program.decls.into_iter().next_back() {
        Some(Decl::Const(decl)) => decl.value.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_decide_between_casts_and_subtractions() {
    assert!(matches!(
        value("typedef bit<8> T;\nconst bit<8> x = (T) - 1;"),
        ExprKind::Cast { .. }
    ));
    assert!(matches!(
        value("const bit<8> T = 1;\nconst bit<8> x = (T) - 1;"),
        ExprKind::Binary { .. }
    ));
    assert!(matches!(
        value("const bit<8> x = (bit<8>) - 1;"),
        ExprKind::Cast { .. }
    ));
    assert!(matches!(
        value("enum T { A }\nconst bool x = (T.A) == T.A;"),
        ExprKind::Binary { .. }
    ));
}

#[test]
fn types_decide_between_calls_and_comparisons() {
    assert!(matches!(
        value("typedef bit<8> T;\nconst bit<8> x = f<T>(1);"),
        ExprKind::Call { .. }
    ));
    assert!(matches!(
        value("const bit<8> T = 1;\nconst bool x = f < T > (1);"),
        ExprKind::Binary { .. }
    ));
    assert!(matches!(
        value("const bit<8> x = f<_, void>(1);"),
        ExprKind::Call { .. }
    ));
    assert!(matches!(
        value("enum T { A }\nconst bool x = f < T.A;"),
        ExprKind::Binary { .. }
    ));
}

#[test]
fn scopes_hide_types() {
    let text = "typedef bit<8> T;\n\
        action a(in bit<8> T) { bit<8> x = (T) - 1; }\n\
        action b(in bit<8> y) { bit<8> x = (T) - 1; }";
    let parsed = parsed(text);
    assert_eq!(parsed.diagnostics.error_count(), 0);
    let casts: Vec<bool> = parsed.program.decls[1..]
        .iter()
        .map(|decl| match decl {
            Decl::Action(action) => match &action.body.stmts[0].kind {
                StmtKind::Variable(variable) => {
                    matches!(
                        variable.value.as_ref().expect("a value").kind,
                        ExprKind::Cast { .. }
                    )
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(casts, [false, true]);
}

#[test]
fn one_run_reports_several_faults() {
    let text = "\
struct s { bit<8> a bit<8> b; }
header h { bit<8> x; 5; bit<8> y; }
control c(inout h hdr) {
    bit<8> v = ;
    action a() { v = 1 + ; hdr.x = 3; v = 08w1x; }
    table t { key = { hdr.x exact; } actions = { a; } }
    apply { t.apply() }
}
parser p(packet_in b) {
    state start { transition select(1) { 1 accept; 2: start; } }
}
const bit<8> = 3;
control d() { apply { } }
";
    let parsed = parsed(text);
    let found: Vec<&str> = parsed
        .diagnostics
        .list()
        .iter()
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(
        found,
        [
            "expected `;`, found keyword `bit`",
            "expected a type, found `5`",
            "expected an expression, found `;`",
            "expected an expression, found `;`",
            "`08w1x` is not an integer",
            "expected `:`, found `exact`",
            "expected `;`, found `}`",
            "expected `:`, found `accept`",
            "expected a name, found `=`",
        ]
    );
    assert_eq!(parsed.program.decls.len(), 5);
}

#[test]
fn faults_of_form_are_named() {
    for (text, message) in [
        (
            "control c() { bit<8> x; }",
            "control `c` has no `apply` block",
        ),
        ("parser p() { }", "parser `p` has no states"),
        (
            "parser p() { state start { } bit<8> x; }",
            "declarations must come before the states",
        ),
        (
            "parser p() { state start { return; } }",
            "`return` cannot stand in a parser state",
        ),
        (
            "action a() { if (x) bit<8> y; }",
            "a declaration cannot stand here without braces",
        ),
        (
            "action a() { f(1).g(); }",
            "only a name or a member can be called in a statement",
        ),
        ("action a() { 1 = 2; }", "this cannot be assigned to"),
        (
            "action a() { a + 1; }",
            "expected an assignment or a call, found `+`",
        ),
        (
            "action a() { MACRO f(1); }",
            "`MACRO` is neither a type nor a macro",
        ),
        (
            "@pragma a (b\nconst bit<8> x = 1;",
            "the parentheses of this pragma are not in pairs",
        ),
        ("enum E { }", "expected a member's name, found `}`"),
        ("extern e { f(); }", "method `f` has no return type"),
        (
            "control c() { table t { } apply { } }",
            "expected a property, found `}`",
        ),
        (
            "control c() { table t { const key = { } } apply { } }",
            "`key` cannot be `const`",
        ),
        ("@name(\"x\"", "this annotation has no closing parenthesis"),
        (
            "const bit<8> x = 1",
            "expected `;`, found the end of the program",
        ),
        ("const bit<8> x = §;", "`§` is no character of P4"),
        ("garbage", "expected a name, found the end of the program"),
        (
            "action a() { for (bit<8> i = 1 in x) { } }",
            "the variable of a `for … in` takes its values from the collection",
        ),
    ] {
        assert_eq!(messages(text), [message], "{text}");
    }
}

#[test]
fn annotation_bodies_are_read_on_demand() {
    let mut parsed =
        parsed("@a(1 + 2, \"x\", b) @k(p = 1, q = \"y\") @n @s[3] @bad(1 2)\nconst bit<8> x = 1;");
    let Some(Decl::Const(decl)) = parsed.program.decls.first() else {
        panic!("no constant")
    };
    let [a, k, n, s, bad] = &decl.annotations[..] else {
        panic!("{:?}", decl.annotations)
    };
    let (map, found) = (&parsed.map, &mut parsed.diagnostics);
    assert_eq!(
        annotation_expressions(a, map, found).map(|list| list.len()),
        Some(3)
    );
    assert_eq!(
        annotation_key_values(k, map, found).map(|pairs| pairs[1].name.to_string()),
        Some("q".into())
    );
    assert_eq!(annotation_expressions(n, map, found), Some(Vec::new()));
    assert_eq!(
        annotation_expressions(s, map, found).map(|list| list.len()),
        Some(1)
    );
    assert_eq!(found.error_count(), 0);
    assert!(annotation_expressions(bad, map, found).is_none());
    assert!(annotation_key_values(s, map, found).is_none());
    assert_eq!(found.error_count(), 2);
    assert!(matches!(&a.body, AnnotationBody::Tokens(tokens) if tokens.len() == 7));
}

#[test]
fn depth_is_limited() {
    let many = |piece: &str| piece.repeat(50_000);
    for text in [
        format!("const bit<8> x = {}", many("(")),
        format!("const bit<8> x = 1{};", many(" + 1")),
        format!("const bit<8> x = {}1;", many("- ")),
        format!("const bit<8> x = a{};", many(".b")),
        format!("const bit<8> x = a{};", many("[1]")),
        format!("const bit<8> x = 1{};", many(" ? 1 : 1")),
        format!("const bit<8> x = {}", many("{")),
        format!("const bit<8> x = {}", many("(bit<8>) ")),
        format!("typedef bit<8> T; const bit<8> x = {}", many("f<T>(")),
        format!("const {}", many("tuple<")),
        format!("const bit<8>{} x = 1;", many("[1]")),
        format!("action a() {}", many("{")),
        format!("action a() {{ {} }}", many("if (x) ")),
        format!("action a() {{ {} }}", many("if (x) y = 1; else ")),
        format!("extern e {{}} {}", many("e() x = { ")),
        format!(
            "parser p() {{ state s {{ transition select(1) {{ {}",
            many("(")
        ),
        format!("@a{} const bit<8> x = 1;", many("(")),
    ] {
        let parsed = parsed(&text);
        assert!(parsed.diagnostics.has_errors(), "{}", &text[..60]);
    }
}

proptest! {
    #[test]
    fn no_sequence_of_tokens_is_too_strange(picks in proptest::collection::vec(0usize..60, 0..200)) {
        const WORDS: [&str; 60] = [
            "control", "parser", "state", "table", "apply", "action", "{", "}", "(", ")", "<", ">", "[", "]", ";", ",", ":",
            "=", "x", "T", "1", "8w2", "\"s\"", "@a", ".", "..", "...", "&&&", "+", "-", "?", "select", "transition",
            "default", "_", "bit", "if", "else", "for", "in", "out", "switch", "return", "const", "struct", "enum", "error",
            "key", "entries", "priority", "type", "typedef", "extern", "abstract", "tuple", "list", "value_set", "this",
            "\n#define x T\n", "{#}",
        ];
        let text = picks.iter().map(|pick| WORDS[*pick]).collect::<Vec<_>>().join(" ");
        parsed(&format!("typedef bit<8> T;\n{text}"));
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,200}") {
        parsed(&text);
    }
}
