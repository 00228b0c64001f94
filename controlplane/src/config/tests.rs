//! Files in, configurations or located mistakes out.

use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("nic.yaml"))
}

const TWO_PORTS: &str = "
node_name: worker-1
ports:
  - {port: 1, role: host, peer: 2, mac: 02:00:00:00:00:01}
  - {port: 2, role: network, peer: 1, mac: 02:00:00:00:00:02}
routes:
  - {prefix: 10.244.1.0/24, port: 2, dst_mac: 02:00:00:00:01:00}
  - {prefix: 'fd00::/64', port: 2, src_mac: 02:00:00:00:00:03, dst_mac: 02:00:00:00:01:00}
  - {prefix: 192.0.2.0/24}
sync: {min_sync_period: 200ms}
";

#[test]
fn reads_a_file_and_writes_it_back() {
    let config = parse(TWO_PORTS).unwrap();
    config.validate().unwrap();
    assert_eq!(config.node_name, "worker-1");
    assert_eq!(config.ports[0].mac, Some(Mac([2, 0, 0, 0, 0, 1])));
    assert_eq!(config.routes[1].prefix.to_string(), "fd00::/64");
    assert_eq!(config.sync.min_sync_period, Period::from_millis(200));
    assert_eq!(config.sync.sync_period, SyncConfig::default().sync_period);
    assert_eq!(parse(&config.to_yaml()).unwrap(), config);
}

#[test]
fn nothing_is_the_default() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("# only words\n\n").unwrap(), Config::default());
}

#[test]
fn pipeline_forms() {
    for (text, expected) in [
        (
            "device: {pipeline: {bundled: pna}}",
            PipelineConfig::Bundled(Program::Pna),
        ),
        (
            "device: {pipeline: {source: a.p4}}",
            PipelineConfig::Source("a.p4".into()),
        ),
        (
            "device: {pipeline: {compiled: {p4info: a.txt, device_config: a.json}}}",
            PipelineConfig::Compiled {
                p4info: "a.txt".into(),
                device_config: "a.json".into(),
            },
        ),
    ] {
        let config = parse(text).unwrap();
        assert_eq!(config.device.pipeline, Some(expected));
        assert_eq!(parse(&config.to_yaml()).unwrap(), config);
    }
}

#[test]
fn mistakes_have_a_line() {
    for (text, line, words) in [
        ("mtu: 1500\nportz: []\n", 2, "portz"),
        ("mtu: 1500\nports:\n  - {port: 1, role: hots}\n", 3, "hots"),
        (
            "ports:\n  - port: 1\n    role: host\n    mac: 02:00:00:00:00\n",
            4,
            "MAC address",
        ),
        ("sync:\n  min_sync_period: soon\n", 2, "duration"),
        ("mtu: [\n", 1, ""),
    ] {
        let error = parse(text).unwrap_err();
        let ConfigError::Parse {
            line: at,
            ref reason,
            ..
        } = error
        else {
            panic!("{error}")
        };
        assert!(reason.contains(words), "{reason}");
        assert!(at >= line && at <= line + 1, "{text}: {at}: {reason}");
        assert!(error.to_string().starts_with("nic.yaml:"), "{error}");
    }
}

#[test]
fn every_problem_is_reported() {
    let text = "
device: {address: 'localhost:9559', election_id: 0}
mtu: 100
ports:
  - {port: 255, role: host}
  - {port: 1, role: host, peer: 9}
  - {port: 1, role: host}
routes:
  - {prefix: 10.0.0.0/8, port: 7}
  - {prefix: 10.0.0.1/8, port: 1}
sync: {burst: 0}
";
    let Err(ConfigError::Invalid(problems)) = parse(text).unwrap().validate() else {
        panic!("accepted")
    };
    let fields: Vec<_> = problems.iter().map(|p| p.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "device.address",
            "device.election_id",
            "ports[0].port",
            "ports[1].peer",
            "ports[2].port",
            "routes[0].port",
            "routes[1].prefix",
            "routes[1].src_mac",
            "routes[1].dst_mac",
            "mtu",
            "sync.burst",
        ]
    );
    assert!(problems.iter().all(|p| !p.advice.is_empty()));
}

#[test]
fn durations() {
    for (text, millis) in [
        ("0", 0),
        ("500ms", 500),
        ("30s", 30_000),
        ("1m30s", 90_000),
        ("1.5s", 1500),
        ("1h", 3_600_000),
    ] {
        assert_eq!(
            text.parse::<Period>(),
            Ok(Period::from_millis(millis)),
            "{text}"
        );
    }
    for text in ["", "5", "s", "-1s", "1d", "1s2", "1e400s", "..s"] {
        assert!(text.parse::<Period>().is_err(), "{text}");
    }
    assert_eq!(Period::from_millis(1500).to_string(), "1500ms");
}

#[test]
fn macs() {
    assert_eq!("02-00-0a-00-00-ff".parse(), Ok(Mac([2, 0, 10, 0, 0, 255])));
    assert_eq!(Mac([2, 0, 10, 0, 0, 255]).to_string(), "02:00:0a:00:00:ff");
    assert_eq!(Mac([2, 0, 10, 0, 0, 255]).to_u64(), 0x0200_0a00_00ff);
    for text in [
        "",
        "02:00",
        "02:00:00:00:00:00:00",
        "02:00:00:00:00:gg",
        "020000000000",
        "+2:00:00:00:00:00",
    ] {
        assert!(text.parse::<Mac>().is_err(), "{text}");
    }
}

const SERVICES: &str = "
apiVersion: nicproxy.dev/v1alpha1
kind: NicProxyConfiguration
ports:
  - {port: 1, role: host, mac: 02:00:00:00:00:01, name: vf0}
  - {port: 2, role: network, mac: 02:00:00:00:00:02, name: uplink}
cluster_cidrs: [10.244.0.0/16]
nodeport_addresses: [primary, 192.0.2.0/24]
detect_local_mode: InterfaceNamePrefix
pod_interface_name_prefix: vf
masquerade_all: true
masquerade: {addresses: [{address: 192.0.2.200, local: true}]}
attachment: bump_in_the_wire
vports: [{device: '0000:18:02.5', port: 1}]
dsr: {ipv4: {gue: {source: 192.0.2.1}}}
affinity_profiles: [{profile: 3, seconds: 10800}]
";

#[test]
fn what_is_said_of_services_reaches_the_stages() {
    let config = parse(SERVICES).unwrap();
    config.validate().unwrap();
    assert_eq!(parse(&config.to_yaml()).unwrap(), config);
    let view = config.viewpoint();
    assert_eq!(view.detector, crate::resolve::Detector::Ports(vec![1]));
    assert!(view.node_ports.primary && view.node_ports.ranges.len() == 1);
    assert!(view.masquerade_all && config.needs_pods());
    assert!(config.wiring().answers_neighbors && !view.answers_for_load_balancers);
    assert_eq!(view.tunnels, [crate::model::Family::V4]);
    let wiring = config.wiring();
    assert_eq!(wiring.attachment, crate::compile::Attachment::BumpInTheWire);
    assert_eq!(wiring.affinity_profiles, [(3, 10_800)]);
    let range = wiring.masquerade[0].ports;
    assert_eq!((range.base, range.mask), (32_768, 0x7fff));
    assert_eq!((wiring.vports.len(), wiring.tunnels.len()), (1, 1));
}

#[test]
fn s48_without_ranges_cluster_cidr_detects_nobody() {
    let none = parse("").unwrap().viewpoint();
    assert_eq!(none.detector, crate::resolve::Detector::None);
    let known = parse("cluster_cidrs: [10.244.0.0/16]").unwrap().viewpoint();
    assert!(matches!(
        known.detector,
        crate::resolve::Detector::ClusterCidr(_)
    ));
    let node = parse("detect_local_mode: NodeCIDR").unwrap().viewpoint();
    assert_eq!(node.detector, crate::resolve::Detector::NodeCidr);
}

#[test]
fn wrong_values_for_services_are_named_with_what_to_do() {
    for (text, field) in [
        ("kind: KubeProxyConfiguration", "kind"),
        ("apiVersion: v1", "apiVersion"),
        ("detect_local_mode: BridgeInterface", "pod_bridge_interface"),
        (
            "detect_local_mode: InterfaceNamePrefix",
            "pod_interface_name_prefix",
        ),
        ("vports: [{port: 9}]", "vports[0]"),
        (
            "masquerade: {node_ports: {first: 60000, count: 3000}}",
            "masquerade.node_ports",
        ),
        (
            "masquerade: {addresses: [{address: 10.0.0.1, ports: {first: 65000, count: 1024}}]}",
            "masquerade.addresses[0]",
        ),
        (
            "masquerade: {addresses: [{address: 10.0.0.1}, {address: 10.0.0.2}]}",
            "masquerade.addresses[1]",
        ),
        ("dsr: {ipv4: {ipip: {source: 'fd00::1'}}}", "dsr.ipv4"),
        ("affinity_profiles: []", "affinity_profiles"),
        (
            "affinity_profiles: [{profile: 255, seconds: 10}]",
            "affinity_profiles[0]",
        ),
    ] {
        let error = parse(text).unwrap().validate().unwrap_err();
        let ConfigError::Invalid(problems) = error else {
            panic!("{text}");
        };
        assert!(
            problems.iter().any(|p| p.field == field),
            "{text}: {problems:?}"
        );
    }
    assert!(parse("nodeport_addresses: [everywhere]").is_err());
}

const MANY: &str = "
service_cidrs: [10.96.0.0/12]
device: {device_id: 7, election_id: 3, pipeline: {bundled: pna}}
nics:
  worker-1:
    device: {address: 'https://10.0.0.1:9559', tls: {ca_file: /ca.crt, cert_file: /a.crt, key_file: /a.key}}
    ports: [{port: 1, role: host, mac: 02:00:00:00:00:01}]
    routes: [{prefix: 10.244.1.0/24, port: 1, dst_mac: 02:00:00:00:01:00}]
  worker-2:
    device: {address: 'http://10.0.0.2:9559', device_id: 1, pipeline: {bundled: v1model}}
    node_addresses: [192.0.2.2]
";

#[test]
fn each_of_many_nics_has_its_own_and_what_all_have() {
    let config = parse(MANY).unwrap();
    config.validate().unwrap();
    assert_eq!(parse(&config.to_yaml()).unwrap(), config);
    let nics = config.each_nic().unwrap();
    assert_eq!(nics.keys().collect::<Vec<_>>(), ["worker-1", "worker-2"]);
    for nic in nics.values() {
        assert_eq!(nic.service_cidrs, config.service_cidrs);
        assert_eq!((nic.device.election_id, &nic.nics), (3, &None));
        nic.validate().unwrap();
    }
    let (first, second) = (&nics["worker-1"], &nics["worker-2"]);
    assert_eq!(first.viewpoint().node.as_deref(), Some("worker-1"));
    assert_eq!((first.device.device_id, second.device.device_id), (7, 1));
    assert_eq!((first.ports.len(), second.ports.len()), (1, 0));
    let tls = first.device.tls.client(&first.device.address).unwrap();
    assert_eq!(tls.authorities, Some("/ca.crt".into()));
    assert_eq!(second.device.tls.client(&second.device.address), None);
    let [pna, v1model] = [Program::Pna, Program::V1model].map(PipelineConfig::Bundled);
    assert_eq!(first.device.pipeline, Some(pna));
    assert_eq!(second.device.pipeline, Some(v1model));
    assert_eq!(second.node_addresses.len(), 1);
    assert_eq!(parse(TWO_PORTS).unwrap().each_nic(), None);
    let none = parse("device: {tls: {ca_file: /ca.crt}}\nnics: {}").unwrap();
    none.validate().unwrap();
    assert_eq!(none.each_nic().map(|nics| nics.len()), Some(0));
}

#[test]
fn problems_of_many_nics_say_whose_they_are() {
    let text = "
mtu: 100
nics:
  worker-1:
    device: {address: 'http://10.0.0.1:9559', tls: {cert_file: /a.crt}}
    ports: [{port: 255, role: host}]
  worker-2:
    device: {address: 'http://10.0.0.1:9559'}
  worker-3:
    device: {address: 10.0.0.3}
";
    let Err(ConfigError::Invalid(problems)) = parse(text).unwrap().validate() else {
        panic!("accepted")
    };
    let fields = problems.iter().map(|problem| problem.field.as_str());
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            "mtu",
            "nics.worker-2.device",
            "nics.worker-1.device.tls",
            "nics.worker-1.device.tls.key_file",
            "nics.worker-1.ports[0].port",
            "nics.worker-3.device.address",
        ]
    );
    assert!(parse("nics: {a: {device: {address: x}}, a: {device: {address: y}}}").is_err());
}
