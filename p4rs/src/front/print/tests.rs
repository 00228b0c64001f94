//! Printing and parsing are inverse, on a program with every form and on generated expressions.

use proptest::prelude::*;

use super::super::{Parsed, Sources, parse};
use super::print;
use crate::diag::render::{Style, render_all};
use crate::source::SourceBundle;

/// A program with every form of declaration, statement, type and expression.
const EVERYTHING: &str = include_str!("everything.p4");

fn parsed(text: &str) -> Parsed {
    parse(&Sources::from_bundle(SourceBundle::single("m.p4", text)))
}

fn faultless(text: &str) -> Parsed {
    let parsed = parsed(text);
    let found = render_all(&parsed.diagnostics, &parsed.map, Style::Plain);
    assert_eq!(found, "", "{text}");
    parsed
}

fn assert_inverse(text: &str) {
    let first = faultless(text);
    let printed = print(&first.program);
    let second = faultless(&printed);
    assert_eq!(
        format!("{:-?}", first.program),
        format!("{:-?}", second.program),
        "{printed}"
    );
}

#[test]
fn every_form_is_printed_as_it_reads() {
    assert_inverse(EVERYTHING);
}

#[test]
fn the_architectures_are_printed_as_they_read() {
    for (name, _) in crate::p4include::FILES {
        assert_inverse(&format!("#include <{name}>\n"));
    }
    assert_inverse("#define V1MODEL_VERSION 20200408\n#include <v1model.p4>\n");
}

#[test]
fn parentheses_stand_where_needed() {
    for (text, expected) in [
        ("(a + b) * c", "(a + b) * c"),
        ("(a * b) + c", "a * b + c"),
        ("a - (b - c)", "a - (b - c)"),
        ("-(-a)", "- -a"),
        (
            "(a ? b : c) ? d : (e ? f : g)",
            "a ? b : c ? d : (e ? f : g)",
        ),
        ("((bit<8>) a)[3:0]", "((bit<8>) a)[3:0]"),
        ("(bit<8>) (a ++ b)", "(bit<8>) (a ++ b)"),
        ("!(a && b) || c", "!(a && b) || c"),
        ("(a).b[1].c", "a.b[1].c"),
    ] {
        let parsed = faultless(&format!("const bit<8> x = {text};"));
        assert_eq!(
            print(&parsed.program),
            format!("const bit<8> x = {expected};\n")
        );
    }
}

/// Expressions as text, with parentheses at random.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a".to_owned()),
        Just(".b".to_owned()),
        Just("8w0xF_F".to_owned()),
        Just("4s3".to_owned()),
        Just("true".to_owned()),
        Just("\"text\"".to_owned()),
        Just("error.NoError".to_owned()),
        Just("this".to_owned()),
        Just("{#}".to_owned()),
        Just("T.member".to_owned()),
    ];
    leaf.prop_recursive(6, 60, 4, |inner| {
        let infix = proptest::sample::select(vec![
            "*", "/", "%", "+", "-", "|+|", "|-|", "++", "<<", ">>", "<", "<=", ">", ">=", "==",
            "!=", "&", "^", "|", "&&", "||",
        ]);
        let prefix = proptest::sample::select(vec![
            "!",
            "~",
            "-",
            // Two of them would be a token of its own.
            "+ ",
            "(bit<8>) ",
            "(T) ",
            "(tuple<T, bit<(a > b)>>)",
        ]);
        prop_oneof![
            (inner.clone(), infix, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (prefix, inner.clone()).prop_map(|(op, a)| format!("{op}{a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a} ? {b} : {c}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f({a}, x = {b}, _)")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("f<T, _, bit<({a})>>({b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a})[{b} : {c}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("a[{a} +: {b}].m")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{ {a}, {b}, ... }}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{ f = {a}, g = {b}, ... }}")),
        ]
    })
}

proptest! {
    #[test]
    fn expressions_are_printed_as_they_read(text in expression()) {
        assert_inverse(&format!("struct T {{}}\nconst bit<8> x = {text};"));
    }
}
