//! The `p4rs` command as a user runs it: what it prints, and its exit status.
//!
//! In: small programs written into the build's own temporary folder. Out: assertions.

// Helpers of tests may fail by panicking, as tests do.
#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Swaps the addresses of Ethernet frames that a table knows, drops others.
const SWITCH: &str = "\
#include <core.p4>
#include <v1model.p4>
header eth_t { bit<48> dst; bit<48> src; bit<16> type; }
struct headers { eth_t eth; }
struct meta_t { }
parser P(packet_in p, out headers h, inout meta_t m, inout standard_metadata_t s) {
    state start { p.extract(h.eth); transition accept; }
}
control V(inout headers h, inout meta_t m) { apply { } }
control I(inout headers h, inout meta_t m, inout standard_metadata_t s) {
    action forward(bit<9> port) { s.egress_spec = port; h.eth.src = h.eth.dst; }
    action drop() { mark_to_drop(s); }
    table t { key = { h.eth.dst : exact; } actions = { forward; drop; } default_action = drop; }
    apply { t.apply(); }
}
control E(inout headers h, inout meta_t m, inout standard_metadata_t s) { apply { } }
control C(inout headers h, inout meta_t m) { apply { } }
control D(packet_out p, in headers h) { apply { p.emit(h.eth); } }
V1Switch(P(), V(), I(), E(), C(), D()) main;
";

/// A folder of the test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("the folder can be emptied");
    }
    std::fs::create_dir_all(&path).expect("the folder can be made");
    path
}

fn p4rs(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_p4rs"))
        .args(args)
        .current_dir(dir)
        .output()
        .expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn packets_run_from_digits_and_from_files() {
    let dir = folder("cli-run");
    std::fs::write(dir.join("switch.p4"), SWITCH).expect("written");
    std::fs::write(
        dir.join("entries"),
        "add t h.eth.dst=11:22:33:44:55:66 => forward(port=7)\n",
    )
    .expect("written");
    let known = "--packet=1=1122334455660a0b0c0d0e0f0800beef";
    let unknown = "--packet=2=0000000000000a0b0c0d0e0f0800beef";
    let run = p4rs(
        &dir,
        &["run", "switch.p4", "--entries", "entries", known, unknown],
    );
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(text(&run.stdout), "7 1122334455661122334455660800beef\n");
    assert_eq!(
        text(&run.stderr),
        "2 packets in, 1 out, 1 dropped (ingress)\n"
    );

    let run = p4rs(
        &dir,
        &[
            "run",
            "switch.p4",
            "--entries",
            "entries",
            known,
            "--out-dir",
            "out",
        ],
    );
    assert!(run.status.success(), "{}", text(&run.stderr));
    let run = p4rs(
        &dir,
        &[
            "run",
            "switch.p4",
            "--entries",
            "entries",
            "--packets",
            "3=out/7.pcap",
            "--trace",
        ],
    );
    assert_eq!(text(&run.stdout), "7 1122334455661122334455660800beef\n");
    assert!(
        text(&run.stderr).contains("hit => I.forward(port=0x7)"),
        "{}",
        text(&run.stderr)
    );
}

#[test]
fn programs_are_shown_in_every_form() {
    let dir = folder("cli-show");
    std::fs::write(dir.join("switch.p4"), SWITCH).expect("written");
    for (args, part) in [
        (
            &["check", "--show-tokens", "switch.p4"][..],
            "switch.p4:3:1\tkeyword\theader\n",
        ),
        (&["check", "--show-ast", "switch.p4"], "name: `eth_t`"),
        (
            &["check", "--show-source", "switch.p4"],
            "header eth_t {\n    bit<48> dst;\n",
        ),
        (&["ir", "switch.p4"], "eth_t"),
        (&["p4info", "switch.p4"], "I.forward"),
        (
            &["p4info", "--format", "json", "switch.p4"],
            "\"I.forward\"",
        ),
        (&["p4info", "--format", "binary", "switch.p4"], "I.forward"),
    ] {
        let run = p4rs(&dir, args);
        assert!(
            run.status.success() && text(&run.stdout).contains(part),
            "{args:?}: {}",
            text(&run.stdout)
        );
    }
}

#[test]
fn the_exit_status_tells_faults_from_misuse() {
    let dir = folder("cli-status");
    std::fs::write(dir.join("good.p4"), SWITCH).expect("written");
    std::fs::write(dir.join("faulty.p4"), "const bit<8> x = ;\n").expect("written");
    std::fs::write(dir.join("entries"), "nonsense\n").expect("written");
    for (args, status, said) in [
        (&["check", "good.p4"][..], 0, ""),
        (&["check", "faulty.p4"], 1, "faulty.p4:1:18"),
        (
            &["check", "--parse-only", "faulty.p4"],
            1,
            "expected an expression",
        ),
        (&["run", "good.p4", "--entries", "entries"], 1, "line 1"),
        (&["check", "none.p4"], 2, "cannot read none.p4"),
        (
            &["run", "good.p4", "--packets", "1=entries"],
            2,
            "no readable pcap file",
        ),
        (&["run", "good.p4", "--packet", "1=0"], 2, "odd"),
        (&["frob"], 2, "frob"),
    ] {
        let run = p4rs(&dir, args);
        let said_so = text(&run.stderr).contains(said);
        assert!(
            run.status.code() == Some(status) && said_so,
            "{args:?}: {:?} {}",
            run.status,
            text(&run.stderr)
        );
    }
}
