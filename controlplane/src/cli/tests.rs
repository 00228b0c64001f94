//! Words in, commands or advice out.

use clap::{CommandFactory, Parser};

use super::args::{Bind, RunArgs, Source};
use super::{Cli, Command};
use crate::config::{ConfigError, Period, PipelineConfig, Program};
use crate::watch::kubernetes::Access;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn run(line: &str) -> RunArgs {
    match parse(line).unwrap().command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn nothing_shows_the_help() {
    let error = parse("nicproxy").unwrap_err();
    assert_eq!(
        error.kind(),
        clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
}

#[test]
fn sources() {
    assert_eq!(
        run("nicproxy run --manifests x").source.source(),
        Some(Source::Manifests("x".into()))
    );
    assert_eq!(
        run("nicproxy run --kubeconfig").source.source(),
        Some(Source::Kubernetes(Access::Kubeconfig(None)))
    );
    assert_eq!(
        run("nicproxy run --kubeconfig c").source.source(),
        Some(Source::Kubernetes(Access::Kubeconfig(Some("c".into()))))
    );
    assert_eq!(
        run("nicproxy run --in-cluster").source.source(),
        Some(Source::Kubernetes(Access::InCluster))
    );
    assert_eq!(run("nicproxy run").source.source(), None);
    assert!(parse("nicproxy run --in-cluster --manifests x").is_err());
}

#[test]
fn flags_override_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nic.yaml");
    std::fs::write(
        &file,
        "node_name: from-file\nmtu: 9000\ndevice: {address: 'http://10.0.0.1:1', device_id: 3}\n",
    )
    .unwrap();
    let line = format!(
        "nicproxy run --manifests x --config {} --device localhost:9559 --hostname-override n --min-sync-period 100ms \
         --cluster-cidr 10.0.0.0/8,fd00::/48 --metrics-bind-address 0.0.0.0 --program v1model --election-id 7",
        file.display()
    );
    let config = run(&line).effective().unwrap();
    assert_eq!((config.node_name.as_str(), config.mtu), ("n", 9000));
    assert_eq!(
        (config.device.address.as_str(), config.device.device_id),
        ("http://localhost:9559", 3)
    );
    assert_eq!(config.device.election_id, 7);
    assert_eq!(
        config.device.pipeline,
        Some(PipelineConfig::Bundled(Program::V1model))
    );
    assert_eq!(config.sync.min_sync_period, Period::from_millis(100));
    assert_eq!(config.cluster_cidrs.len(), 2);
    assert_eq!(
        config.metrics_bind_address,
        Some("0.0.0.0:10249".parse().unwrap())
    );
    assert_eq!(
        config.healthz_bind_address,
        Some("0.0.0.0:10256".parse().unwrap())
    );
}

#[test]
fn programs() {
    let of = |line: &str| run(line).effective().unwrap().device.pipeline;
    assert_eq!(
        of("nicproxy run --program a.p4"),
        Some(PipelineConfig::Source("a.p4".into()))
    );
    assert_eq!(
        of("nicproxy run --p4info a --device-config b"),
        Some(PipelineConfig::Compiled {
            p4info: "a".into(),
            device_config: "b".into()
        })
    );
    assert_eq!(
        of("nicproxy run --embedded pna"),
        Some(PipelineConfig::Bundled(Program::Pna))
    );
    for line in [
        "nicproxy run --p4info a",
        "nicproxy run --embedded pna --device x:1",
        "nicproxy run --embedded sonic",
        "nicproxy run --embedded-port 1=tap:x",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn addresses() {
    assert_eq!("".parse::<Bind<1>>(), Ok(Bind(None)));
    assert_eq!(
        "::1".parse::<Bind<7>>(),
        Ok(Bind(Some("[::1]:7".parse().unwrap())))
    );
    assert!("here".parse::<Bind<7>>().is_err());
    for line in [
        "nicproxy get services --device nowhere",
        "nicproxy get services --device ftp://x:1",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn mistakes_in_values_are_reported_together() {
    let args = run("nicproxy run --manifests x --election-id 0");
    assert!(matches!(args.effective(), Err(ConfigError::Invalid(problems)) if problems.len() == 1));
}

#[test]
fn questions() {
    assert!(matches!(
        parse("nicproxy get svc shop/cart -o yaml").unwrap().command,
        Command::Get(_)
    ));
    assert!(matches!(
        parse("nicproxy trace tcp 10.0.0.9:1234 10.96.0.1:80 --port 1")
            .unwrap()
            .command,
        Command::Trace(_)
    ));
    for line in [
        "nicproxy trace UDP [fd00::9]:1234 [fd00::1]:80 --manifests x --node-name n --config c",
        "nicproxy trace tcp 10.0.0.9:1 10.0.0.1:2 --tcp-flags ack,fin --proxy localhost:10249",
        "nicproxy trace --pcap x --device localhost:9559 --full -o json",
    ] {
        assert!(parse(line).is_ok(), "{line}");
    }
    for line in [
        "nicproxy trace",
        "nicproxy trace tcp 10.0.0.9:1234",
        "nicproxy trace icmp 10.0.0.9:1234 10.96.0.1:80",
        "nicproxy trace tcp 10.0.0.9:1 10.0.0.1:2 --pcap x",
        "nicproxy trace --pcap x --manifests x --proxy localhost:1",
        "nicproxy trace --pcap x --config c",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
    assert!(
        parse("nicproxy demo --target x:1").is_err(),
        "a target needs ports"
    );
    assert!(parse("nicproxy demo --target x:1 --target-port 1=a --target-port 2=b").is_ok());
}

#[test]
fn s23_s47_s48_kube_proxys_flags_for_services() {
    use crate::config::{AnswerNeighbors, DetectLocalMode, NodePortAddress};
    let line = "nicproxy run --nodeport-addresses primary,192.0.2.0/24 --detect-local-mode nodecidr --masquerade-all \
                --service-proxy-name other --answer-neighbors load-balancers";
    let config = run(line).effective().unwrap();
    assert_eq!(config.answer_neighbors, AnswerNeighbors::LoadBalancers);
    assert_eq!(config.nodeport_addresses[0], NodePortAddress::Primary);
    assert_eq!(config.nodeport_addresses[1].to_string(), "192.0.2.0/24");
    assert_eq!(config.detect_local_mode, DetectLocalMode::NodeCidr);
    assert!(config.masquerade_all);
    assert_eq!(config.proxy_name, "other");
    let off = run("nicproxy run --masquerade-all=false")
        .effective()
        .unwrap();
    assert!(!off.masquerade_all);
    assert!(parse("nicproxy run --nodeport-addresses all").is_err());
    // No port has such a name.
    let error = run("nicproxy run --detect-local-mode BridgeInterface --pod-bridge-interface cni0")
        .effective()
        .unwrap_err();
    assert!(
        error.to_string().contains("no port is named `cni0`"),
        "{error}"
    );
}
