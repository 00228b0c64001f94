//! The preprocessor on small inputs: what comes out, what is reported, and that limits hold.

use super::{Sources, preprocess};
use crate::diag::Diagnostics;
use crate::front::token::TokenKind;
use crate::source::{SourceBundle, SourceMap};

struct Run {
    text: String,
    map: SourceMap,
    errors: Vec<String>,
}

fn run_bundle(bundle: SourceBundle) -> Run {
    run_sources(&Sources::from_bundle(bundle))
}

fn run_sources(sources: &Sources) -> Run {
    let (mut map, mut diagnostics) = (SourceMap::new(), Diagnostics::new());
    let tokens = preprocess(sources, &mut map, &mut diagnostics);
    assert_eq!(tokens.last().map(|token| token.kind), Some(TokenKind::End));
    let texts: Vec<String> = tokens[..tokens.len() - 1]
        .iter()
        .map(|token| {
            if token.kind == TokenKind::Str {
                format!("\"{}\"", token.text)
            } else {
                token.text.to_string()
            }
        })
        .collect();
    let errors = diagnostics
        .list()
        .iter()
        .map(|found| found.message.clone())
        .collect();
    Run {
        text: texts.join(" "),
        map,
        errors,
    }
}

fn run(text: &str) -> Run {
    run_bundle(SourceBundle::single("main.p4", text))
}

/// The tokens that come out of a faultless text.
fn expand(text: &str) -> String {
    let run = run(text);
    assert_eq!(run.errors, Vec::<String>::new(), "{text}");
    run.text
}

#[test]
fn macros_are_replaced_as_in_c() {
    for (text, expected) in [
        ("#define N 4\nbit<N> x;", "bit < 4 > x ;"),
        ("#define F(a, b) b - a\nF(1, (2, 3))", "( 2 , 3 ) - 1"),
        ("#define F(a) a\nF (\n 1\n)", "1"),
        ("#define F(a) a\nF + 1", "F + 1"),
        ("#define F() 7\nF()", "7"),
        ("#define F (1)\nF", "( 1 )"),
        ("#define A B\n#define B A\nA B", "A B"),
        (
            "#define F(x) x + F(x)\nF(F(1))",
            "1 + F ( 1 ) + F ( 1 + F ( 1 ) )",
        ),
        (
            "#define CAT(a, b) a ## b\nCAT(x, 1) CAT(8w, 0xF) CAT(, y) CAT(z, )",
            "x1 8w0xF y z",
        ),
        (
            "#define STR(a) #a\nSTR(a  +\"b\\n\")",
            "\"a +\\\"b\\\\n\\\"\"",
        ),
        (
            "#define XSTR(a) STR(a)\n#define STR(a) #a\n#define N 4\nXSTR(N) STR(N)",
            "\"4\" \"N\"",
        ),
        (
            "#define V(f, ...) f(__VA_ARGS__)\nV(g, 1, 2) V(h)",
            "g ( 1 , 2 ) h ( )",
        ),
        (
            "#define V(f, r...) f(0, ## r)\nV(g, 1, 2) V(h)",
            "g ( 0 , 1 , 2 ) h ( 0 )",
        ),
        ("#define G F(\n#define F(x) [x]\nG 1)", "[ 1 ]"),
        ("#define f(a) a*g\n#define g(a) f(a)\nf(2)(9)", "2 * 9 * g"),
        ("#define X 1\n#undef X\nX", "X"),
        ("#define LONG a \\\n b\nLONG", "a b"),
        ("__LINE__ __FILE__\n\n__LINE__", "1 \"main.p4\" 3"),
        ("#line 70 \"gen.p4\"\n__LINE__ __FILE__", "70 \"gen.p4\""),
        ("#define L __LINE__\n\nL", "3"),
        ("__COUNTER__ __COUNTER__", "0 1"),
    ] {
        assert_eq!(expand(text), expected, "{text}");
    }
}

#[test]
fn conditions_choose_text() {
    for (condition, holds) in [
        ("1", true),
        ("0", false),
        ("UNKNOWN", false),
        ("defined(Y) && !defined Z", true),
        ("Y == 3 && Y * 2 - 1 == 5", true),
        ("1 ? 0 : 1", false),
        ("0 && 1 / 0", false),
        ("(1 << 4 | 1) == 0x11 && 64 >> 2 >= 16", true),
        ("010 == 8 && 10L == 10", true),
        ("-1 < 0 && ~0 == -1", true),
    ] {
        let text = format!("#define Y 3\n#if {condition}\nyes\n#else\nno\n#endif\n");
        assert_eq!(
            expand(&text),
            if holds { "yes" } else { "no" },
            "{condition}"
        );
    }
    assert_eq!(
        expand("#if 0\na ' \" b\n#if 1\nb\n#endif\n#elif 1\nc\n#elif 1\nd\n#else\ne\n#endif"),
        "c"
    );
    assert_eq!(expand("#ifdef X\na\n#endif\n#ifndef X\nb\n#endif"), "b");
    assert_eq!(
        expand("#define F(a) a\nF(1\n#ifdef X\n+ 2\n#else\n+ 3\n#endif\n)"),
        "1 + 3"
    );
}

#[test]
fn faults_are_reported_and_survived() {
    for (text, message) in [
        ("#if\nx\n#endif", "an operand is missing"),
        ("#if 1 / 0\n#endif", "division by zero"),
        ("#if 1\nx", "this condition has no `#endif`"),
        ("#endif", "`#endif` without `#if`"),
        ("#else", "`#else` without `#if`"),
        ("#if 1\n#else\n#else\n#endif", "a second `#else`"),
        ("#if 1\n#else\n#elif 1\n#endif", "`#elif` after `#else`"),
        (
            "#define F(a) a\nF(1, 2)",
            "macro `F` takes 1 argument, 2 given",
        ),
        (
            "#define F(a) a\nF(1",
            "the call of macro `F` has no closing parenthesis",
        ),
        ("#define F(a, a) a", "a parameter's name comes twice"),
        ("#define F(a", "the parameters have no closing parenthesis"),
        (
            "#define C(a, b) a ## b\nC(+, *)",
            "`##` makes `+*`, which is not one token",
        ),
        ("#define C a ##", "`##` needs something on both sides"),
        ("#define 1", "a macro name is missing"),
        (
            "#include <none.p4>",
            "`none.p4`: no file of this name is found",
        ),
        ("#include none", "`#include` needs \"file\" or <file>"),
        ("#error stop  here", "#error stop  here"),
        ("#frob", "`#frob` is no directive"),
        (
            "#define A 1\n#define A 2",
            "macro `A` is defined again, differently",
        ),
        ("/* x", "this comment has no end"),
        ("\"x", "this string has no closing quote"),
    ] {
        assert_eq!(run(text).errors, [message], "{text}");
    }
    assert_eq!(
        run("#define A 1\n#define A  1 // same\nA").errors,
        Vec::<String>::new()
    );
}

#[test]
fn files_are_included_in_place() {
    let mut bundle =
        SourceBundle::single("dir/main.p4", "#include \"a.p4\"\n#include <b.p4>\nM x\n");
    bundle.insert(
        "dir/a.p4",
        "#pragma once\na\n#define M m\n#define FILE_B <b.p4>\n",
    );
    bundle.insert("b.p4", "#include \"dir/a.p4\"\nb");
    let run = run_bundle(bundle);
    assert_eq!((run.text.as_str(), run.errors.len()), ("a b m x", 0));
    let names: Vec<&str> = run.map.files().iter().map(|file| &*file.name).collect();
    assert_eq!(names, ["<command line>", "dir/main.p4", "dir/a.p4", "b.p4"]);

    let mut bundle = SourceBundle::single("main.p4", "#define WHICH <b.p4>\n#include WHICH\n");
    bundle.insert("b.p4", "b");
    assert_eq!(run_bundle(bundle).text, "b");
}

#[test]
fn macros_from_outside_are_set() {
    let sources = Sources {
        defines: vec![("N".into(), "4".into()), ("F(a)".into(), "a a".into())],
        ..Sources::from_bundle(SourceBundle::single("m.p4", "N F(x)"))
    };
    assert_eq!(run_sources(&sources).text, "4 x x");
}

#[test]
fn the_file_system_is_out_of_reach_of_a_bundle() {
    let run = run("#include \"/etc/hostname\"\n#include \"../../../../../../etc/hostname\"");
    assert_eq!(run.errors.len(), 2, "{:?}", run.errors);
}

#[test]
fn limits_end_runaway_inputs() {
    let doubling: String = (0..40)
        .map(|n| format!("#define M{} M{n} M{n}\n", n + 1))
        .collect();
    let nested_calls = format!("#define F(a) a\n{}1{}", "F(".repeat(5000), ")".repeat(5000));
    let deep_condition = format!("#if {}1{}\n#endif", "(".repeat(5000), ")".repeat(5000));
    let deep_minus = format!("#if {}1\n#endif", "- ".repeat(5000));
    for (text, message) in [
        (
            format!("{doubling}#define M0 x\nM40"),
            "macros expand to too much text",
        ),
        (
            "#include \"main.p4\"".to_owned(),
            "files are included too deeply: does one include itself?",
        ),
        (nested_calls, "macro calls are nested too deeply"),
        (deep_condition, "the condition is nested too deeply"),
        (deep_minus, "the condition is nested too deeply"),
    ] {
        assert!(
            run(&text).errors.iter().any(|found| found == message),
            "{message}"
        );
    }
}

#[test]
fn places_lead_back_through_macros() {
    let (mut map, mut diagnostics) = (SourceMap::new(), Diagnostics::new());
    let text = "#define IN(a) a + y\n#define OUT(a) IN(a) * 2\nOUT(x)";
    let sources = Sources::from_bundle(SourceBundle::single("m.p4", text));
    let tokens = preprocess(&sources, &mut map, &mut diagnostics);
    let token = |text: &str| {
        tokens
            .iter()
            .find(|token| &*token.text == text)
            .expect("is there")
            .span
    };
    let names = |text: &str| {
        map.expansions_of(token(text))
            .map(|e| e.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("y"), ["IN", "OUT"]);
    assert_eq!(names("2"), ["OUT"]);
    assert_eq!(names("x"), Vec::<String>::new());
    assert_eq!(
        map.location(token("x")).expect("place").to_string(),
        "m.p4:3:5"
    );
    assert_eq!(
        map.location(token("y")).expect("place").to_string(),
        "m.p4:1:19"
    );
    assert_eq!(map.text(map.outermost(token("y"))), "OUT(x)");
}
