//! The workflow is one that GitHub would run.

use std::path::Path;
use std::process::Command;

use testbench::kubernetes::assets::Checker;

#[test]
#[ignore = "needs Go"]
fn the_workflow_is_accepted_by_actionlint() {
    let checker = Checker::Actionlint.find();
    let checker = checker.unwrap_or_else(|error| panic!("{error}"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/ci.yml");
    let output = Command::new(checker).arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
