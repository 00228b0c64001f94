//! The P4 front end on mutated sources of our own programs.

use std::time::Duration;

use nicproxy::config::Program;
use p4rs::diag::render::Style;
use p4rs::front::preprocess::Sources;
use p4rs::source::SourceBundle;

use super::input::{Corpus, Mutate, Turns};

/// A text of this size compiles in a fraction of it, also in a debug build.
const LIMIT: Duration = Duration::from_secs(20);

const WORDS: [&[u8]; 40] = [
    b"(",
    b")",
    b"{",
    b"}",
    b"<",
    b">",
    b"<<",
    b">>",
    b"&&&",
    b"..",
    b";",
    b",",
    b"?",
    b"@id(1)",
    b"@name(\"x\")",
    b"bit<64>",
    b"int<8>",
    b"varbit<32>",
    b"bit<0>",
    b"bit<99999999>",
    b"#define A A\n",
    b"#define B(x) B(x) x\n",
    b"#include \"core/headers.p4\"\n",
    b"#if 1/0\n",
    b"#endif\n",
    b"#else\n",
    b"/*",
    b"\"",
    b"header h { }",
    b"struct s { s x; }",
    b"table",
    b"action",
    b"apply",
    b"parser",
    b"state start",
    b"transition select",
    b"typedef",
    b"99999999999999999999999",
    b"-1w1",
    b"16w0xffff_ffff",
];

/// All files of a program, each behind a line that names it, so that one input is one string of bytes.
fn whole(program: Program) -> Vec<u8> {
    let sources = nicproxy::pipeline::sources(program);
    softnic::device_config::encode(&sources)
}

/// Compiles an input: a source bundle, or else the text of a main file.
pub fn try_one(input: &[u8]) {
    let sources = softnic::device_config::decode(input).unwrap_or_else(|_| {
        Sources::from_bundle(SourceBundle::single(
            "fuzz.p4",
            String::from_utf8_lossy(input),
        ))
    });
    match p4rs::compile(&sources) {
        Ok(compiled) => {
            let _ = p4rs::p4info::build(compiled.checked.program());
        }
        Err(failure) => {
            assert!(
                !failure.diagnostics.is_empty(),
                "a failure without a finding"
            );
            for diagnostic in &failure.diagnostics {
                p4rs::diag::render::render(diagnostic, &failure.map, Style::Plain);
            }
        }
    }
}

pub fn run(mut turns: Turns) {
    let corpus = Corpus::new("source");
    let programs = [Program::Pna, Program::V1model]
        .map(|program| (program, nicproxy::pipeline::sources(program)));
    while let Some(mut random) = turns.next() {
        let (program, sources) = &programs[random.below(2)];
        let input = if random.below(8) == 0 {
            // The bundle's own framing.
            let mut bytes = whole(*program);
            random.mutate(&mut bytes, &WORDS);
            bytes
        } else {
            let mut changed = sources.clone();
            let names: Vec<String> = softnic::device_config::decode(&whole(*program))
                .map(|s| file_names(&s))
                .unwrap();
            let name = &names[random.below(names.len())];
            let mut text = sources
                .bundle
                .get(name)
                .unwrap_or_default()
                .as_bytes()
                .to_vec();
            random.mutate(&mut text, &WORDS);
            changed
                .bundle
                .insert(name.clone(), String::from_utf8_lossy(&text).into_owned());
            softnic::device_config::encode(&changed)
        };
        corpus.guard(&input, LIMIT, || try_one(&input));
    }
}

fn file_names(sources: &Sources) -> Vec<String> {
    const CORE: [&str; 13] = [
        "classify",
        "clear",
        "constants",
        "deparser",
        "flow",
        "frontend",
        "headers",
        "metadata",
        "parser",
        "pipeline",
        "rewrite",
        "route",
        "service",
    ];
    let mut names = vec![sources.bundle.main.clone()];
    names.extend(CORE.iter().map(|name| format!("core/{name}.p4")));
    names.retain(|name| sources.bundle.get(name).is_some());
    names
}
