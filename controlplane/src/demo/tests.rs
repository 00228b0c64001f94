//! The demo itself, with fewer connections.

use super::*;

fn args(program: Program, connections: usize) -> DemoArgs {
    DemoArgs {
        program,
        target: None,
        target_ports: Vec::new(),
        p4info: None,
        device_config: None,
        connections,
        seed: 7,
        listen: "127.0.0.1:0".parse().unwrap(),
        keep: false,
        output: Format::Json,
    }
}

async fn plays(program: Program) -> Report {
    let (report, stage) = perform(&args(program, 600)).await.unwrap();
    stage.end().await;
    assert_eq!(report.failures, [""; 0]);
    assert_eq!(report.connections, 600);
    assert_eq!(report.moved, 0);
    assert!(report.held > 0 && report.refused > 0);
    assert!(
        report
            .services
            .iter()
            .all(|row| row.connections > 0 || row.endpoints.is_empty())
    );
    assert!(table(&report).contains("every packet was as it must be"));
    report
}

fn table(report: &Report) -> String {
    anstream::adapter::strip_str(&report::table(report)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nic_program_learns_connections_itself() {
    assert_eq!(plays(Program::Pna).await.set_up, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bmv2_program_has_them_set_up() {
    let report = plays(Program::V1model).await;
    assert_eq!(report.set_up, report.connections - report.refused);
}

#[test]
fn ports_of_a_target() {
    assert_eq!(
        "2=veth3".parse(),
        Ok(TargetPort {
            number: 2,
            interface: "veth3".into()
        })
    );
    for text in ["veth3", "x=veth3", "3=veth3", "1="] {
        assert!(text.parse::<TargetPort>().is_err(), "{text}");
    }
}
