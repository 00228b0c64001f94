//! What may depend on what: purity by dependency, as CONTRIBUTING.md has it.
//!
//! In: the workspace's own metadata. Out: a failure for every edge that is not in the table, and for crates that would
//! bring gRPC, async or Kubernetes where they do not belong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const OURS: [(&str, &[&str]); 6] = [
    ("p4runtime-proto", &[]),
    ("p4rs", &["p4runtime-proto"]),
    ("p4runtime", &["p4runtime-proto"]),
    ("softnic", &["p4rs", "p4runtime", "p4runtime-proto"]),
    ("nicproxy", &["p4rs", "p4runtime", "softnic"]),
    ("testbench", &["nicproxy", "p4rs", "p4runtime", "softnic"]),
];

/// What a crate must not use directly.
const FORBIDDEN: [(&str, &[&str]); 4] = [
    (
        "p4runtime-proto",
        &["tonic", "tokio", "kube", "k8s-openapi"],
    ),
    (
        "p4rs",
        &[
            "tonic",
            "tokio",
            "futures",
            "kube",
            "k8s-openapi",
            "socket2",
            "rustix",
        ],
    ),
    ("p4runtime", &["kube", "k8s-openapi"]),
    ("softnic", &["kube", "k8s-openapi"]),
];

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    packages
        .iter()
        .map(|package| {
            let normal = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|d| d["kind"].is_null());
            (name(package), normal.map(name).collect())
        })
        .collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let found = dependencies();
    let ours: BTreeSet<&str> = OURS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        ours
    );
    for (name, allowed) in OURS {
        for used in found[name]
            .iter()
            .filter(|used| ours.contains(used.as_str()))
        {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} must not depend on {used}"
            );
        }
    }
    for (name, forbidden) in FORBIDDEN {
        for used in &found[name] {
            assert!(
                !forbidden.contains(&used.as_str()),
                "{name} must not depend on {used}"
            );
        }
    }
}
