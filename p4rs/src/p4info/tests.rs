//! P4Info of whole programs: small ones here, and p4c's own samples when they are at hand.

use std::path::{Path, PathBuf};

use p4runtime_proto::p4::config::v1 as pb;
use p4runtime_proto::text::{from_text, to_text};

use super::build;
use crate::front::{Sources, parse};
use crate::sema;
use crate::source::SourceBundle;

fn lower(sources: &Sources) -> Result<crate::ir::Program, String> {
    let parsed = parse(sources);
    if parsed.diagnostics.has_errors() {
        return Err(parsed
            .diagnostics
            .list()
            .first()
            .map(|d| d.message.clone())
            .unwrap_or_default());
    }
    sema::lower(&parsed.program, &parsed.map).map_err(|diagnostics| {
        diagnostics
            .first()
            .map(|d| d.message.clone())
            .unwrap_or_default()
    })
}

fn info_of(text: &str) -> super::P4Info {
    let program = lower(&Sources::from_bundle(SourceBundle::single("test.p4", text))).unwrap();
    build(&program).unwrap()
}

/// A v1model program around the declarations and body of its ingress.
fn v1model(before: &str, locals: &str, body: &str) -> String {
    format!(
        "#include <core.p4>\n#include <v1model.p4>\n{before}
header h_t {{ bit<32> a; bit<16> b; }} struct headers {{ h_t h; }} struct meta {{ bit<9> port; }}
parser P(packet_in p, out headers hdr, inout meta m, inout standard_metadata_t s) {{
    state start {{ p.extract(hdr.h); transition accept; }} }}
control V(inout headers hdr, inout meta m) {{ apply {{ }} }}
control I(inout headers hdr, inout meta m, inout standard_metadata_t s) {{ {locals} apply {{ {body} }} }}
control E(inout headers hdr, inout meta m, inout standard_metadata_t s) {{ apply {{ }} }}
control C(inout headers hdr, inout meta m) {{ apply {{ }} }}
control D(packet_out p, in headers hdr) {{ apply {{ p.emit(hdr.h); }} }}
V1Switch(P(), V(), I(), E(), C(), D()) main;\n"
    )
}

#[test]
fn a_table_with_counter_ids_and_documentation() {
    let info = info_of(&v1model(
        "@controller_header(\"packet_in\") header in_t { bit<9> port; @padding bit<7> pad; }",
        "direct_counter(CounterType.packets) hits;
         action forward(@id(7) bit<9> port, bit<8> class) { s.egress_spec = port; hits.count(); }
         @brief(\"Routes.\")
         table route {
            key = { hdr.h.a : lpm @name(\"dst\"); hdr.h.b : exact; }
            actions = { forward; @defaultonly NoAction; }
            const default_action = NoAction();
            size = 64; counters = hits; support_timeout = true;
         }",
        "route.apply();",
    ));
    let table = &info.message.tables[0];
    let preamble = table.preamble.as_ref().unwrap();
    assert_eq!(
        (
            preamble.name.as_str(),
            preamble.alias.as_str(),
            preamble.id >> 24
        ),
        ("I.route", "route", 2)
    );
    assert_eq!(preamble.doc.as_ref().unwrap().brief, "Routes.");
    assert_eq!(table.match_fields[0].name, "dst");
    assert_eq!(
        (
            table.match_fields[1].name.as_str(),
            table.match_fields[1].bitwidth
        ),
        ("hdr.h.b", 16)
    );
    assert_eq!(table.const_default_action_id, 21_257_015);
    assert_eq!(
        table.idle_timeout_behavior,
        i32::from(pb::table::IdleTimeoutBehavior::NotifyControl)
    );
    let counter = &info.message.direct_counters[0];
    assert_eq!(
        table.direct_resource_ids,
        [counter.preamble.as_ref().unwrap().id]
    );
    assert_eq!(counter.direct_table_id, preamble.id);
    let forward = &info.message.actions[1];
    assert_eq!(
        forward.params.iter().map(|p| p.id).collect::<Vec<_>>(),
        [7, 2]
    );
    assert_eq!(
        info.message.controller_packet_metadata[0].metadata[1].annotations,
        ["@padding"]
    );

    let handle = info.ids.table(preamble.id).unwrap();
    let ids = info.ids.table_ids(handle).unwrap();
    assert_eq!(
        (ids.id, ids.field(2), ids.field(3)),
        (preamble.id, Some(1), None)
    );
    assert_eq!(ids.actions[0].param(7), Some(0));
    assert_eq!(
        info.ids.packet_header("packet_in").unwrap().fields,
        [(1, 9), (2, 7)]
    );
}

#[test]
fn what_cannot_be_applied_is_not_shown() {
    let info = info_of(&v1model(
        "",
        "action a() { } action b() { }
         table used { key = { hdr.h.a : exact; } actions = { a; } }
         table unused { key = { hdr.h.a : exact; } actions = { b; } }",
        "used.apply();",
    ));
    let names = |names: Vec<&Option<pb::Preamble>>| -> Vec<String> {
        names
            .into_iter()
            .map(|p| p.as_ref().unwrap().alias.clone())
            .collect()
    };
    assert_eq!(
        names(info.message.tables.iter().map(|t| &t.preamble).collect()),
        ["used"]
    );
    assert_eq!(
        names(info.message.actions.iter().map(|a| &a.preamble).collect()),
        ["NoAction", "a"]
    );
}

/// Where p4c's `testdata` lies, if the environment names the samples there.
fn testdata() -> Option<PathBuf> {
    let samples = std::env::var_os("P4C_SAMPLES").map(PathBuf::from);
    let testdata = samples.and_then(|samples| samples.parent().map(Path::to_path_buf));
    if testdata.is_none() {
        eprintln!("P4C_SAMPLES names no folder: p4c's samples are not compared");
    }
    testdata
}

/// The first line in which two texts differ, with where it stands.
fn first_difference(ours: &str, theirs: &str) -> String {
    let at = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b);
    let at = at.unwrap_or_else(|| ours.lines().count().min(theirs.lines().count()));
    let line = |text: &str| text.lines().nth(at).unwrap_or("(end)").trim().to_owned();
    format!(
        "line {}: ours `{}`, p4c `{}`",
        at + 1,
        line(ours),
        line(theirs)
    )
}

enum Outcome {
    Same,
    Different(String),
    NotCompiled(String),
}

fn compare(source: &Path, golden: &Path, include: &Path) -> Outcome {
    let mut sources = Sources::from_disk(source.to_string_lossy());
    sources.include_dirs = vec![include.to_string_lossy().into_owned()];
    let program = match std::panic::catch_unwind(|| lower(&sources)) {
        Ok(Ok(program)) => program,
        Ok(Err(message)) => return Outcome::NotCompiled(message),
        Err(_) => return Outcome::NotCompiled("panic".into()),
    };
    let theirs: pb::P4Info = from_text(&std::fs::read_to_string(golden).unwrap()).unwrap();
    match build(&program) {
        Ok(ours) if ours.message == theirs => Outcome::Same,
        Ok(ours) => {
            let (ours, theirs) = (to_text(&ours.message).unwrap(), to_text(&theirs).unwrap());
            Outcome::Different(first_difference(&ours, &theirs))
        }
        Err(error) => Outcome::Different(error.to_string()),
    }
}

/// `P4C_SAMPLES=<p4c>/testdata/p4_16_samples cargo test -p p4rs p4c_samples -- --nocapture` compares with p4c's own outputs, and fails
/// when fewer than `P4C_SAMPLES_MIN` agree.
#[test]
fn p4c_samples_agree() {
    let Some(testdata) = testdata() else { return };
    let outputs = testdata.join("p4_16_samples_outputs");
    let mut goldens: Vec<PathBuf> = Vec::new();
    for directory in ["", "dash", "fabric_20190420", "omec", "pins"] {
        let entries = std::fs::read_dir(outputs.join(directory)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        goldens.extend(paths.filter(|path| path.to_string_lossy().ends_with(".p4.p4info.txtpb")));
    }
    goldens.sort();
    let (mut same, mut different, mut not_compiled) = (0, 0, 0);
    for golden in &goldens {
        let name = golden
            .strip_prefix(&outputs)
            .unwrap()
            .to_string_lossy()
            .replace(".p4info.txtpb", "");
        match compare(
            &testdata.join("p4_16_samples").join(&name),
            golden,
            &testdata.join("../p4include"),
        ) {
            Outcome::Same => same += 1,
            Outcome::Different(how) => {
                different += 1;
                eprintln!("differs  {name}: {how}");
            }
            Outcome::NotCompiled(why) => {
                not_compiled += 1;
                eprintln!("refused  {name}: {why}");
            }
        }
    }
    eprintln!(
        "{same} the same, {different} different, {not_compiled} not compiled, of {}",
        goldens.len()
    );
    let least = std::env::var("P4C_SAMPLES_MIN")
        .ok()
        .and_then(|least| least.parse().ok())
        .unwrap_or(0);
    assert!(same >= least, "{same} agree, {least} should");
}
