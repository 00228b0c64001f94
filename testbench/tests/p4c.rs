//! The reference compiler's opinion of both programs.
//!
//! In: `p4c-bm2-ss` and `p4c-dpdk` on PATH. Out: they accept the programs without errors, and the P4Info that they write
//! is p4rs': the same message, with lists whose order says nothing compared as sets.
//! `P4C_INCLUDE` names p4c's include folder where it is not `../share/p4c/p4include` or `../p4include` of the binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use nicproxy::config::Program;
use p4runtime::proto::p4::config::v1::P4Info;
use testbench::target::softnic::{compiled, source};

fn on_path(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("{tool} is not on PATH; install p4c (https://github.com/p4lang/p4c)")
    })
}

fn include(tool: &Path) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("P4C_INCLUDE") {
        return Some(folder.into());
    }
    let places = [tool.to_owned(), tool.canonicalize().ok()?];
    let folders = places
        .iter()
        .filter_map(|place| place.parent())
        .flat_map(|bin| {
            [
                bin.join("p4include"),
                bin.join("../p4include"),
                bin.join("../share/p4c/p4include"),
            ]
        });
    folders
        .into_iter()
        .find(|folder| folder.join("core.p4").is_file())
}

/// Runs p4c and reads what it says about the control plane, and what it made of the program.
fn compile(tool: &str, program: Program, arguments: &[&str]) -> (P4Info, String) {
    let tool = on_path(tool);
    let folder = tempfile::tempdir().unwrap();
    let (info, out) = (
        folder.path().join("p4info.txtpb"),
        folder.path().join("out.spec"),
    );
    let mut command = Command::new(&tool);
    command
        .args(arguments)
        .arg("--p4runtime-files")
        .arg(&info)
        .arg("-o")
        .arg(&out);
    if let (Program::Pna, Some(include)) = (program, include(&tool)) {
        command
            .arg("-I")
            .arg(include.join("dpdk"))
            .arg("-I")
            .arg(include);
    }
    let output = command.arg(source(program)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} refused the program:\n{said}",
        tool.display()
    );
    assert!(!said.contains("error:"), "{said}");
    let text = std::fs::read_to_string(&info).unwrap();
    let info = p4runtime::proto::text::from_text(&text).unwrap();
    (info, std::fs::read_to_string(&out).unwrap())
}

/// The structs of a program for DPDK's pipeline: names, and where each field starts, in bytes.
fn structs(spec: &str) -> Vec<(&str, Vec<(&str, u32)>)> {
    let one = |text| -> Option<(&str, Vec<(&str, u32)>)> {
        let (name, fields): (&str, &str) = str::split_once(text, " {\n")?;
        let mut end = 0;
        let fields = fields.split_once('}')?.0.trim().lines();
        let fields = fields.map(|field| {
            let (bits, name) = field.trim().split_once("> ").unwrap();
            let start = end;
            end += bits.rsplit_once('<').unwrap().1.parse::<u32>().unwrap();
            (name, start / 8)
        });
        Some((name, fields.collect()))
    };
    spec.split("\nstruct ").skip(1).filter_map(one).collect()
}

/// What DPDK's pipeline takes without a word and gets wrong, or refuses when it is too late.
fn fits_the_pipeline(spec: &str) {
    let structs = structs(spec);
    assert!(structs.len() > 20, "{}", structs.len());
    // It addresses fields with 8 bits and wraps around silently.
    for (name, fields) in &structs {
        let (last, start) = fields.last().unwrap();
        assert!(*start <= 255, "{name}.{last} starts at {start}");
    }
    let (_, metadata) = structs
        .iter()
        .find(|(name, _)| *name == "metadata_t")
        .unwrap();
    let (mut hashes, mut times) = (0, 0);
    for line in spec.lines() {
        let line = line.rsplit(" :").next().unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // Results go to metadata's first 256 bits.
            ["hash", _, to, ..] => {
                let to = to.strip_prefix("m.").expect(line);
                let found = metadata.iter().find(|(name, _)| *name == to);
                assert!(found.unwrap().1 < 32, "{line}");
                hashes += 1;
            }
            // Times come from metadata.
            ["learn", _, _, time] | ["rearm", time] => {
                assert!(time.starts_with("m."), "{line}");
                times += 1;
            }
            _ => {}
        }
    }
    assert!(hashes > 0 && times > 0, "{hashes} hashes, {times} times");
}

/// Orders the lists whose order says nothing.
fn sorted(mut info: P4Info) -> P4Info {
    fn id<T>(preamble: impl Fn(&T) -> Option<u32>) -> impl Fn(&T) -> u32 {
        move |object| preamble(object).unwrap_or_default()
    }
    info.tables
        .sort_by_key(id(|t: &p4runtime::proto::p4::config::v1::Table| {
            Some(t.preamble.as_ref()?.id)
        }));
    for table in &mut info.tables {
        table.match_fields.sort_by_key(|field| field.id);
        table.action_refs.sort_by_key(|action| action.id);
        table.direct_resource_ids.sort_unstable();
    }
    info.actions
        .sort_by_key(id(|a: &p4runtime::proto::p4::config::v1::Action| {
            Some(a.preamble.as_ref()?.id)
        }));
    for action in &mut info.actions {
        action.params.sort_by_key(|param| param.id);
    }
    info.counters
        .sort_by_key(id(|c: &p4runtime::proto::p4::config::v1::Counter| {
            Some(c.preamble.as_ref()?.id)
        }));
    info.direct_counters
        .sort_by_key(id(|c: &p4runtime::proto::p4::config::v1::DirectCounter| {
            Some(c.preamble.as_ref()?.id)
        }));
    info.registers
        .sort_by_key(id(|r: &p4runtime::proto::p4::config::v1::Register| {
            Some(r.preamble.as_ref()?.id)
        }));
    info.controller_packet_metadata.sort_by_key(id(
        |h: &p4runtime::proto::p4::config::v1::ControllerPacketMetadata| {
            Some(h.preamble.as_ref()?.id)
        },
    ));
    info
}

fn same(theirs: P4Info, program: Program) {
    let (theirs, ours) = (sorted(theirs), sorted(compiled(program).unwrap().p4info));
    if theirs != ours {
        let text = |info: &P4Info| p4runtime::proto::text::to_text(info).unwrap();
        let (theirs, ours) = (text(&theirs), text(&ours));
        let differing = theirs
            .lines()
            .zip(ours.lines())
            .enumerate()
            .find(|(_, (a, b))| a != b);
        panic!(
            "P4Info differs, p4c's and p4rs' line: {differing:?}\np4c:\n{theirs}\np4rs:\n{ours}"
        );
    }
}

#[test]
#[ignore = "needs p4c-bm2-ss on PATH"]
fn p4c_bm2_ss_accepts_the_v1model_program_and_gives_the_same_p4info() {
    same(
        compile("p4c-bm2-ss", Program::V1model, &["--std", "p4-16"]).0,
        Program::V1model,
    );
}

#[test]
#[ignore = "needs p4c-dpdk on PATH"]
fn p4c_dpdk_accepts_the_pna_program_and_gives_the_same_p4info() {
    let (info, spec) = compile("p4c-dpdk", Program::Pna, &["--arch", "pna"]);
    same(info, Program::Pna);
    fits_the_pipeline(&spec);
}
