//! Tests of the runner: what it reads, what it checks, what it says.

use std::sync::Arc;

use super::*;
use crate::engine::{Config, Engine};
use crate::front::Sources;
use crate::source::SourceBundle;

/// A switch with tables of every kind, counters, a register, a meter, a digest, a value set and a log.
const PROGRAM: &str = include_str!("../../corpus/runner.p4");

fn engine() -> Engine {
    let sources = Sources::from_bundle(SourceBundle::single("runner.p4", PROGRAM));
    let compiled =
        crate::compile(&sources).unwrap_or_else(|failure| panic!("{:#?}", failure.diagnostics));
    Engine::new(Arc::new(compiled.checked), Config::default()).unwrap()
}

fn report(text: &str) -> Report {
    run(&engine(), &parse(text).unwrap())
}

fn findings(text: &str) -> Vec<(Option<usize>, String)> {
    let report = report(text);
    let findings = report.findings.into_iter();
    findings
        .map(|found| (found.line, found.problem.to_string()))
        .collect()
}

#[test]
fn malformed_lines_are_told_with_their_number() {
    for (text, said) in [
        ("\n\nfly me", "line 3: no statement begins with `fly`"),
        ("packet 1 0", "line 1: the packet ends with half a byte"),
        ("packet x 00", "line 1: `x` is not a number"),
        (
            "packet",
            "line 1: expected a port, found the end of the line",
        ),
        ("packet 1 0g", "line 1: `g` does not belong here"),
        ("expect 1 0$0", "line 1: `$` does not belong here"),
        (
            "add t",
            "line 1: expected an action, found the end of the line",
        ),
        ("add t a:0x a()", "line 1: `0x` is not a number"),
        (
            "add t a:1 b(",
            "line 1: expected a parameter or `)`, found the end of the line",
        ),
        (
            "add t a:1 b() c",
            "line 1: expected the end of the line, found `c`",
        ),
        ("add \"t", "line 1: a quote is not closed"),
        (
            "check_counter c(1) things == 1",
            "line 1: expected `packets` or `bytes`, found `things`",
        ),
        (
            "check_counter c(1) packets 1",
            "line 1: expected a comparison, found `1`",
        ),
        (
            "mirroring_add 1 99999999999",
            "line 1: 99999999999 is too large here",
        ),
        (
            "mirroring_add 1 0x*",
            "line 1: a number with `*` stands where each digit matters",
        ),
        ("meter_set_rates m 1 x:1 1:1", "line 1: `x` is not a rate"),
        ("wait soon", "line 1: `soon` is not a number"),
        ("wait -1", "line 1: `-` does not belong here"),
        ("no_packet é", "line 1: `é` does not belong here"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), said, "{text}");
    }
}

#[test]
fn lines_of_every_form_are_read() {
    let script = parse(
        "# only a comment\n\
         ADD t 7 a:0x1** b:10.0.0.0/8 c:1..2 d:3->4 e:0b1&&&0b1 \"f g\":1 act(x:1 y:2, z:3) = $A ; \n",
    )
    .unwrap();
    let [
        Statement {
            line: 2,
            command:
                Command::Add {
                    table,
                    priority,
                    keys,
                    actions,
                    id,
                },
        },
    ] = script.statements.as_slice()
    else {
        panic!("{script:?}")
    };
    assert_eq!(
        (table.as_str(), *priority, id.as_deref()),
        ("t", Some(7), Some("A"))
    );
    assert_eq!(keys.len(), 6);
    assert_eq!(
        keys[1].value,
        Value::Prefix(
            Number::parse("0x0a000000")
                .unwrap()
                .exact()
                .cloned()
                .map(Number::plain)
                .unwrap(),
            8
        )
    );
    assert!(matches!(keys[2].value, Value::Range(..)) && matches!(keys[3].value, Value::Range(..)));
    assert_eq!(keys[5].field, "f g");
    assert_eq!(actions[0].args.len(), 3);
}

#[test]
fn expectations_are_compared_in_order_per_port() {
    assert_eq!(
        findings("packet 1 0102\nexpect 1 0102$\nexpect 1 01\npacket 1 0102"),
        []
    );
    assert_eq!(findings("packet 1 0102\nexpect 1 0*0*"), []);
    assert_eq!(findings("packet 1 0102\nexpect 1"), []);
    assert_eq!(
        findings("packet 1 0102\nexpect 1 01$"),
        [(Some(2), "port 1: expected 01$, got 0102".to_owned())]
    );
    assert_eq!(
        findings("packet 1 0102\nexpect 1 010203"),
        [(Some(2), "port 1: expected 010203…, got 0102".to_owned())]
    );
    assert_eq!(
        findings("packet 1 01"),
        [(None, "port 1: not expected: 01".to_owned())]
    );
    assert_eq!(
        findings("expect 1"),
        [(
            Some(1),
            "port 1: expected any packet, got no more packets".to_owned()
        )]
    );
    assert_eq!(
        findings("packet 1 01\nno_packet\nexpect 1"),
        [(Some(2), "1 packets left where none should".to_owned())]
    );
}

#[test]
fn names_and_values_that_do_not_fit_are_told() {
    for (text, said) in [
        ("add nowhere a:1 drop()", "there is no table `nowhere`"),
        (
            "add exacts nothing:1 drop()",
            "there is no key field `nothing`",
        ),
        ("add exacts h.a:1 fly()", "there is no action `fly`"),
        (
            "add exacts h.a:1 forward()",
            "action `forward` needs a value for `port`",
        ),
        (
            "add exacts h.a:1 forward(to:1)",
            "there is no parameter `to`",
        ),
        (
            "add exacts h.a:0x1* drop()",
            "h.a: a number with `*` stands where each digit matters",
        ),
        (
            "add exacts h.a:1..2 drop()",
            "h.a: a range does not suit a key field of kind Exact",
        ),
        (
            "add lpms h.a:1/9 drop()",
            "h.a: a prefix of 9 bits in a field of 8",
        ),
        (
            "add exacts h.a:256 drop()",
            "match field 0 has 8 bits, the value needs more",
        ),
        (
            "add exacts h.a:1 drop() | drop()",
            "the table has no action selector, it takes one action",
        ),
        ("remove $A", "no entry is called `A`"),
        (
            "check_counter packets(999999) packets == 0",
            "index 999999 is outside the array of 16",
        ),
        (
            "check_counter hits(1) packets == 0",
            "`hits` belongs to a table: name an entry of it",
        ),
        (
            "check_counter packets(1) packets > 0",
            "counter `packets` in packets is 0, expected > 0",
        ),
        (
            "check_register cells(1) == 2",
            "register cells[1] is 0, expected == 2",
        ),
        ("register_write cells 1 1 2", "2 values for 1 fields"),
        ("check_digest 1 1", "there is no digest"),
        ("check_log x", "the log says nothing"),
        ("mc_node_associate 1 0", "there is no multicast node 0"),
        (
            "mc_mgrp_create 1\nmc_mgrp_create 1",
            "multicast group 1 exists",
        ),
        ("mirroring_get 1", "there is no clone session 1"),
        (
            "mirroring_add 0 1",
            "multicast group or clone session 0: id 0 cannot be used",
        ),
        ("pvs_add nosuch 1", "there is no value set `nosuch`"),
        ("pvs_add ports 1 2", "2 values for 1 fields"),
    ] {
        let found = findings(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].1, said, "{text}");
    }
}

#[test]
fn values_read_go_to_the_log() {
    let report = report(
        "register_write cells 3 7\nregister_read cells 3\ncounter_write packets 2 5 6\n\
         counter_read packets 2\ncheck_counter packets(2)\nmeter_set_rates rates 1 0.00001:4 0.000005:3\n\
         meter_get_rates rates 1\nmeter_get_rates rates 2\nmirroring_add 1 5\nmirroring_get 1",
    );
    assert_eq!(report.findings, []);
    assert_eq!(
        report.log,
        [
            "register cells[3]: 7",
            "counter packets: 5 packets, 6 bytes",
            "counter packets: 5 packets, 6 bytes",
            "meter rates[1]: 5 per second, burst 3; 10 per second, burst 4",
            "meter rates[2]: no rates",
            "clone session 1: port 5",
        ]
    );
}

#[test]
fn the_corpus_pairs_scripts_with_programs_in_folders() {
    let folder = tempfolder("pairs");
    std::fs::create_dir_all(folder.join("inner")).unwrap();
    for file in [
        "a.p4",
        "a.stf",
        "a_more-cases.stf",
        "b.stf",
        "inner/c.p4",
        "inner/c.stf",
    ] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    let cases = corpus::find(&folder, &folder).unwrap();
    let pairs: Vec<(&str, Option<std::path::PathBuf>)> = cases
        .iter()
        .map(|case| (case.name.as_str(), case.program.clone()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("a", Some(folder.join("a.p4"))),
            ("a_more-cases", Some(folder.join("a.p4"))),
            ("b", None),
            ("inner/c", Some(folder.join("inner/c.p4"))),
        ]
    );
    let setup = corpus::Setup::default();
    let no_main = corpus::Verdict::NotRun("the program has no `main`".to_owned());
    assert_eq!(corpus::judge(&cases[0], &setup).verdict, no_main);
    let no_program = corpus::Verdict::NotRun("no program of this name".to_owned());
    assert_eq!(corpus::judge(&cases[2], &setup).verdict, no_program);
    std::fs::write(&cases[2].script, "\nfly").unwrap();
    let said = format!(
        "{}:2: no statement begins with `fly`",
        cases[2].script.display()
    );
    let failed = corpus::Verdict::Failed(vec![said]);
    assert_eq!(corpus::judge(&cases[2], &setup).verdict, failed);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn tempfolder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("p4rs-stf-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Words that statements are made of, so that random lines often mean something.
const WORDS: &[&str] = &[
    "add",
    "exacts",
    "lpms",
    "ternaries",
    "ranges",
    "chosen_ones",
    "profiled",
    "idle",
    "h.a",
    "h.b",
    ":",
    "0x1*",
    "0b1",
    "7",
    "99999999999999999999",
    "/",
    "&&&",
    "..",
    "forward",
    "drop",
    "(",
    ")",
    "port",
    "=",
    "$A",
    "A",
    "|",
    "packet",
    "expect",
    "$",
    "*",
    "setdefault",
    "remove",
    "all",
    "wait",
    "check_counter",
    "hits",
    "packets",
    "bytes",
    "==",
    "<=",
    "register_write",
    "cells",
    "meter_set_rates",
    "speed",
    "0.5",
    "mirroring_add",
    "mc_mgrp_create",
    "mc_node_create",
    "mc_node_associate",
    "pvs_add",
    "ports",
    "check_digest",
    "check_idle",
    "table_set_timeout",
    "counter_write",
    "\"",
    "#",
    "\n",
    "\n",
    "é",
];

proptest::proptest! {
    #[test]
    fn no_text_makes_the_runner_panic(
        picks in proptest::collection::vec((0..WORDS.len(), proptest::bool::ANY), 0..60)
    ) {
        let mut text = String::new();
        for (word, spaced) in picks {
            text.push_str(WORDS[word]);
            if spaced {
                text.push(' ');
            }
        }
        for line in text.lines() {
            if let Ok(script) = parse(line) {
                let _: Report = run(shared_engine(), &script);
            }
        }
        let _ = parse(&text);
    }
}

fn shared_engine() -> &'static Engine {
    static ENGINE: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
    ENGINE.get_or_init(engine)
}
