//! softnic against a P4Runtime client that shares nothing with it: the PyPI package `p4runtime`.
//!
//! In: `NICPROXY_TEST_PYTHON`, a Python that has `p4runtime==1.5.0`, `grpcio` and `protobuf<4`. What is checked stands in
//! `independent_client.py`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what failed by panicking"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use testbench::target::Target;
use testbench::target::softnic::Embedded;

#[test]
#[ignore = "needs NICPROXY_TEST_PYTHON: a Python with p4runtime==1.5.0, grpcio and protobuf<4"]
fn an_independent_client_gets_what_the_specification_says() {
    let python = std::env::var("NICPROXY_TEST_PYTHON").expect(
        "NICPROXY_TEST_PYTHON must name a Python with p4runtime==1.5.0, grpcio and protobuf<4",
    );
    let target = Embedded::start(Program::V1model, &[1, 2]).unwrap();
    let pipeline = target.pipeline_bytes().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (p4info, config) = (
        folder.path().join("p4info.txtpb"),
        folder.path().join("device-config"),
    );
    std::fs::write(
        &p4info,
        p4runtime::proto::text::to_text(&pipeline.p4info).unwrap(),
    )
    .unwrap();
    std::fs::write(&config, &pipeline.device_config).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent_client.py");
    let address = target.address().trim_start_matches("http://").to_owned();
    let status = Command::new(python)
        .arg(script)
        .arg(address)
        .arg(&p4info)
        .arg(&config)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let (port, frame) = target
        .receive(Instant::now() + Duration::from_secs(10))
        .expect("the packet-out on the wire");
    assert_eq!(port, 1);
    assert!(
        frame.ends_with(b"from an independent client"),
        "{frame:02x?}"
    );
}
