//! One nicproxy, the NICs of two nodes and of one that joins later: a real API server's objects in each node's own view.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use nicproxy::config::Program;
use testbench::kubernetes::process::Process;
use testbench::own;
use testbench::probe::Probe;
use testbench::target::remote::Remote;

use crate::daemon::{PATIENCE, free, http_get, start_nic};
use crate::sync::World;

/// The chart's rights for central mode.
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/central/rbac.yaml");
const NODES: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node-a}
---
apiVersion: v1
kind: Node
metadata: {name: node-b}
";

/// A Service of one local endpoint on each node.
fn service(name: &str, last: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: scale}}\nspec:\n  \
         clusterIP: 10.96.3.{last}\n  internalTrafficPolicy: Local\n  ports: [{{port: 80, targetPort: 8080}}]\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-x\n  namespace: scale\n  \
         labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{{name: '', protocol: TCP, port: 8080}}]\n\
         endpoints:\n  - {{addresses: [10.244.0.{last}], nodeName: node-a, conditions: {{ready: true}}}}\n  \
         - {{addresses: [10.244.1.{last}], nodeName: node-b, conditions: {{ready: true}}}}\n  \
         - {{addresses: [10.244.2.{last}], nodeName: node-c, conditions: {{ready: true}}}}\n"
    )
}

fn config(nics: &[(&str, SocketAddr)]) -> String {
    let mut text = String::from(
        "device: {pipeline: {bundled: pna}}\nports:\n  - {port: 1, role: host, mac: 02:00:00:00:00:01}\nnics:\n",
    );
    for (node, address) in nics {
        text.push_str(&format!(
            "  {node}: {{device: {{address: 'http://{address}'}}}}\n"
        ));
    }
    text
}

/// The endpoints that a device leads to, lowest half of the address.
fn endpoints(address: SocketAddr) -> Vec<u128> {
    let target = Remote::new(address, Program::Pna);
    let Ok(mut probe) = Probe::open(&target) else {
        return Vec::new();
    };
    let entries = probe.entries("endpoint").unwrap_or_default();
    let pods = |value: &u128| (0xffff_0af4_0000..0xffff_0af5_0000).contains(value);
    let mut found: Vec<u128> = entries
        .iter()
        .filter_map(|entry| entry.arguments.iter().copied().find(pods))
        .map(|value| value & 0xffff)
        .collect();
    found.sort_unstable();
    found
}

fn wait(nicproxy: &mut Process, what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        let words = nicproxy.last_words();
        assert_eq!(nicproxy.ended().unwrap(), None, "{words}");
        assert!(start.elapsed() < PATIENCE, "not in time: {what}\n{words}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs Go or KUBEBUILDER_ASSETS"]
fn nics_of_several_nodes_by_one_process_one_killed_one_joining() {
    let world = World::new();
    world.apply(RBAC);
    world.apply(NODES);
    world.apply(&service("first", 1));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let addresses = [free(), free(), free()];
    let mut first = start_nic(addresses[0], &file("a.log"));
    let _second = start_nic(addresses[1], &file("b.log"));
    let two = [("node-a", addresses[0]), ("node-b", addresses[1])];
    std::fs::write(file("config.yaml"), config(&two)).unwrap();
    let (metrics, healthz) = (free(), free());
    let mut command = Command::new(own::program("nicproxy").unwrap());
    command.arg("run").arg("--config").arg(file("config.yaml"));
    command
        .arg("--kubeconfig")
        .arg(
            world
                .api
                .service_account("kube-system", "nicproxy")
                .unwrap(),
        )
        .arg(format!("--metrics-bind-address={metrics}"))
        .arg(format!("--healthz-bind-address={healthz}"));
    let mut nicproxy = Process::start("nicproxy", &mut command, &file("nicproxy.log")).unwrap();
    wait(&mut nicproxy, "each node has its own view", || {
        endpoints(addresses[0]) == [0x0001] && endpoints(addresses[1]) == [0x0101]
    });

    // One is killed: the other one follows the cluster.
    first.kill().unwrap();
    world.apply(&service("second", 2));
    wait(&mut nicproxy, "the other one goes on", || {
        endpoints(addresses[1]) == [0x0101, 0x0102]
    });
    let connected = |node: &str| format!("nicproxy_device_connected{{node=\"{node}\"}}");
    wait(&mut nicproxy, "one of two is gone", || {
        let text = http_get(metrics, "/metrics").unwrap_or_default();
        text.contains(&format!("{} 0", connected("node-a")))
            && text.contains(&format!("{} 1", connected("node-b")))
    });
    for path in ["/healthz", "/livez", "/healthz/node-b", "/livez/node-a"] {
        let answer = http_get(healthz, path).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let unknown = http_get(healthz, "/healthz/node-x").unwrap();
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");

    // It comes back with nothing, and another one joins: the process that runs programs both.
    let _again = start_nic(addresses[0], &file("a-again.log"));
    let _third = start_nic(addresses[2], &file("c.log"));
    let three = [two[0], two[1], ("node-c", addresses[2])];
    std::fs::write(file("next.yaml"), config(&three)).unwrap();
    std::fs::rename(file("next.yaml"), file("config.yaml")).unwrap();
    wait(&mut nicproxy, "all three are programmed", || {
        endpoints(addresses[0]) == [0x0001, 0x0002] && endpoints(addresses[2]) == [0x0201, 0x0202]
    });

    // One leaves: what it has stays, and it hears no more.
    std::fs::write(file("next.yaml"), config(&three[1..])).unwrap();
    std::fs::rename(file("next.yaml"), file("config.yaml")).unwrap();
    wait(&mut nicproxy, "its series go", || {
        http_get(metrics, "/metrics").is_ok_and(|text| !text.contains("node=\"node-a\""))
    });
    world.apply(&service("third", 3));
    wait(&mut nicproxy, "the others go on", || {
        endpoints(addresses[1]).len() == 3 && endpoints(addresses[2]).len() == 3
    });
    assert_eq!(endpoints(addresses[0]), [0x0001, 0x0002]);
    nicproxy.end().unwrap();
}
