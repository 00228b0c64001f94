//! Programs, compiled by p4rs and by p4c.
//!
//! In: a file. Out: a sample, or why it is not compared: not a v1model program, refused by one of the compilers, or its
//! behaviour is not determined by entries and packets. See `docs/differential.md` for each of the reasons.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use p4runtime::proto::p4::config::v1::P4Info;
use p4runtime::proto::p4::config::v1::p4_new_type_spec::Representation;
use p4runtime::proto::p4::config::v1::p4_new_type_translation::SdnType;
use p4runtime::schema::Schema;
use softnic::Program;
use testbench::target::reference::on_path;

use crate::pair::Sample;

/// The reference compiler.
const COMPILER: &str = "p4c-bm2-ss";

/// Words that stand in programs whose outcome depends on more than entries and packets, and what it depends on.
const UNDETERMINED: [(&str, &str); 8] = [
    ("random<", "random numbers"),
    ("random(", "random numbers"),
    ("_global_timestamp", "the time"),
    ("enq_timestamp", "the time"),
    ("enq_qdepth", "the queues"),
    ("deq_timedelta", "the time"),
    ("deq_qdepth", "the queues"),
    (
        "assert(",
        "the reference switch ends when an assertion fails",
    ),
];

/// Programs left out by name, and why.
pub const LEFT_OUT: [(&str, &str); 12] = [
    ("forloop-bmv2", LOOPS),
    ("gauntlet_hdr_assign_1-bmv2", INVALID),
    ("gauntlet_invalid_hdr_assign-bmv2", INVALID),
    ("header-bmv2", INVALID),
    ("issue1043-bmv2", "it resubmits packets for ever"),
    ("issue1653-complex-bmv2", INVALID),
    (
        "issue2735-bmv2",
        "p4c leaves a register that is declared by a typedef out of P4Info",
    ),
    ("issue4739", LOOPS),
    ("loop-3-clause-tricky2", LOOPS),
    ("stack-bmv2", INVALID),
    ("stack-bvec-bmv2", INVALID),
    (
        "union4-bmv2",
        "it makes a member of a union invalid that is not the valid one",
    ),
];

const INVALID: &str = "it reads what it wrote to a header that is not valid";
const LOOPS: &str = "it has a loop that p4c does not unroll, and makes no loop of";

/// Why a file is not compared.
pub enum Skip {
    /// It is no v1model program.
    Silent,
    /// The reason.
    Because(String),
}

/// A file's name.
pub fn name(file: &Path) -> String {
    file.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Reads a program.
pub fn open(file: &Path) -> Result<Sample, Skip> {
    let because = |why: String| Skip::Because(why);
    let text = std::fs::read_to_string(file).map_err(|error| because(error.to_string()))?;
    if !text.contains("v1model.p4>") {
        return Err(Skip::Silent);
    }
    let name = name(file);
    if let Some((_, why)) = LEFT_OUT.iter().find(|(of, _)| *of == name) {
        return Err(because((*why).to_owned()));
    }
    if let Some((word, why)) = UNDETERMINED.iter().find(|(word, _)| text.contains(word)) {
        return Err(because(format!("{why} ({word})")));
    }
    let (p4info, json) = reference(file)?;
    if has_strings(&p4info) {
        return Err(because(
            "a type is translated to strings, which softnic does not take".to_owned(),
        ));
    }
    let program = Program::open(file, &[], &[]).map_err(|error| {
        because(format!(
            "p4rs refuses it: {}",
            first_line(&error.to_string())
        ))
    })?;
    let schema =
        Schema::new(p4info.clone()).map_err(|error| because(format!("p4c's P4Info: {error}")))?;
    Ok(Sample {
        writable: writable(&p4info, &json),
        name,
        program,
        p4info,
        json,
        schema,
    })
}

fn has_strings(p4info: &P4Info) -> bool {
    let types = p4info
        .type_info
        .iter()
        .flat_map(|info| info.new_types.values());
    types.into_iter().any(|of| {
        matches!(&of.representation, Some(Representation::TranslatedType(translation))
            if matches!(translation.sdn_type, Some(SdnType::SdnString(_))))
    })
}

/// Tables that can be written to on the reference switch. p4c leaves tables out that no packet gets to, and the switch
/// takes a table that has entries of the program's as one that is constant.
fn writable(p4info: &P4Info, json: &[u8]) -> BTreeSet<u32> {
    let json: serde_json::Value = serde_json::from_slice(json).expect("p4c's JSON");
    let pipelines = json["pipelines"].as_array().into_iter().flatten();
    let names: BTreeSet<&str> = pipelines
        .flat_map(|pipeline| pipeline["tables"].as_array().into_iter().flatten())
        .filter_map(|table| table["name"].as_str())
        .collect();
    let tables = p4info.tables.iter().filter(|table| {
        let preamble = table.preamble.as_ref();
        let there = preamble.is_some_and(|of| names.contains(of.name.as_str()));
        there && !table.is_const_table && !table.has_initial_entries
    });
    tables
        .filter_map(|table| Some(table.preamble.as_ref()?.id))
        .collect()
}

fn reference(file: &Path) -> Result<(P4Info, Vec<u8>), Skip> {
    let compiler = on_path(COMPILER).unwrap_or_else(|| panic!("{COMPILER} is not on PATH"));
    let folder = tempfile::tempdir().expect("a folder");
    let (info, json) = (
        folder.path().join("info.txtpb"),
        folder.path().join("out.json"),
    );
    let output = Command::new(compiler)
        .args(["--std", "p4-16", "--p4runtime-files"])
        .arg(&info)
        .arg("-o")
        .arg(&json)
        .arg(file)
        .output()
        .expect("p4c runs");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Skip::Because(format!(
            "p4c refuses it: {}",
            first_line(&said)
        )));
    }
    let text = std::fs::read_to_string(&info).expect("P4Info");
    let p4info = p4runtime::proto::text::from_text(&text).expect("p4c's P4Info can be read");
    Ok((p4info, std::fs::read(&json).expect("p4c's JSON")))
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("error"));
    line.or(text.lines().next()).unwrap_or_default().to_owned()
}

/// Whether a packet may change what becomes of the next.
pub fn keeps_state(sample: &Sample) -> bool {
    let program = sample.program.checked.program();
    let kinds = ["register", "meter", "direct_meter"];
    program
        .externs
        .iter()
        .any(|(_, of)| kinds.contains(&of.kind.as_str()))
}
