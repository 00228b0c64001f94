//! Services called with curl, by every address that they have.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nicproxy::config::Program;
use testbench::netns::Namespace;
use testbench::netns::topology::{Attachment, NIC_ADDRESSES, Place};

use crate::world::{Nic, Served, Setup, World, curl, in_a_world_of};

const OBJECTS: &str = include_str!("objects.yaml");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Every pod of the backends, of one family.
fn pods(v6: bool) -> BTreeSet<IpAddr> {
    [(1, 1), (1, 2), (2, 1), (2, 2)]
        .map(|(node, pod)| match v6 {
            false => IpAddr::V4(Place(node).pod_v4(pod)),
            true => IpAddr::V6(Place(node).pod_v6(pod)),
        })
        .into()
}

fn cluster_ips_are_served_by_every_pod(setup: Setup) {
    in_a_world_of(setup, |world| {
        world.apply(OBJECTS);
        from_a_pod(world);
    });
}

/// Calls until every pod has answered, sixty times at most; all of them see this client.
fn every_pod_serves(from: &Namespace, address: IpAddr, port: u16, client: IpAddr) {
    let (all, mut served) = (pods(address.is_ipv6()), BTreeSet::new());
    for _ in 0..60 {
        let answer = curl(from, address, port).unwrap();
        assert_eq!(answer.client, client, "{address}");
        served.insert(answer.by);
        if served == all {
            return;
        }
    }
    panic!("{address} is served by {served:?}");
}

/// A pod calls both cluster IPs.
pub fn from_a_pod(world: &mut World) {
    for (vip, client) in [
        (ip("10.96.7.1"), IpAddr::V4(Place(0).pod_v4(1))),
        (ip("fd00:10:96::701"), IpAddr::V6(Place(0).pod_v6(1))),
    ] {
        world.until("the first answer", |world| {
            curl(&world.topology.pod, vip, 80)
        });
        // A pod's address is kept (S47).
        every_pod_serves(&world.topology.pod, vip, 80, client);
    }
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s21_s47_cluster_ips_are_served_by_every_pod_on_the_pna_program() {
    cluster_ips_are_served_by_every_pod(Setup::embedded(Program::Pna));
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s21_s47_cluster_ips_are_served_by_every_pod_on_the_v1model_program() {
    cluster_ips_are_served_by_every_pod(Setup::embedded(Program::V1model));
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s21_cluster_ips_are_served_to_a_pod_with_a_port_of_its_own() {
    cluster_ips_are_served_by_every_pod(Setup {
        attachment: Attachment::Vports,
        ..Setup::embedded(Program::Pna)
    });
}

#[test]
#[ignore = "needs root, iproute2, curl, python3, simple_switch_grpc, p4c-bm2-ss and Go or KUBEBUILDER_ASSETS"]
fn s21_s47_cluster_ips_are_served_by_every_pod_on_bmv2() {
    cluster_ips_are_served_by_every_pod(Setup {
        nic: Nic::Bmv2,
        ..Setup::embedded(Program::V1model)
    });
}

const BESIDE: &str = include_str!("beside.yaml");

/// Behind a bump in the wire, endpoints on the node itself: whoever calls has the NIC's own address to them, since answers
/// to the node's would never leave it.
fn pods_of_the_node_answer_through_the_wire(program: Program) {
    in_a_world_of(Setup::embedded(program), |world| {
        let pods = [
            IpAddr::V4(Place(0).pod_v4(2)),
            IpAddr::V6(Place(0).pod_v6(2)),
        ];
        let _servers = pods.map(|pod| world.serve_beside(pod));
        world.apply(OBJECTS);
        world.apply(BESIDE);
        for (pod, node, vip, nic) in [
            (
                pods[0],
                IpAddr::V4(Place(0).v4()),
                ip("10.96.7.3"),
                NIC_ADDRESSES[0],
            ),
            (
                pods[1],
                IpAddr::V6(Place(0).v6()),
                ip("fd00:10:96::703"),
                NIC_ADDRESSES[1],
            ),
        ] {
            let expected = Served {
                by: pod,
                client: ip(nic),
            };
            let from_outside = |world: &World| curl(&world.topology.outside, node, 30090);
            assert_eq!(world.until("the first answer", from_outside), expected);
            let topology = &world.topology;
            for (client, address, port) in [
                (&topology.outside, node, 30090),
                (&topology.pod, vip, 80),
                (&topology.node, vip, 80),
            ] {
                for _ in 0..20 {
                    assert_eq!(curl(client, address, port), Ok(expected));
                }
            }
        }
    });
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s47_s49_pods_of_the_node_answer_through_the_wire_on_the_pna_program() {
    pods_of_the_node_answer_through_the_wire(Program::Pna);
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s47_s49_pods_of_the_node_answer_through_the_wire_on_the_v1model_program() {
    pods_of_the_node_answer_through_the_wire(Program::V1model);
}

fn external_addresses_are_served(setup: Setup) {
    in_a_world_of(setup, |world| {
        world.apply(OBJECTS);
        from_outside(world);
        // The node itself reaches cluster IPs (S47).
        let answer = curl(&world.topology.node, ip("10.96.7.1"), 80).unwrap();
        assert_eq!(answer.client, IpAddr::V4(Place(0).v4()));
    });
}

/// A host outside calls node ports and load balancer addresses: its source address is changed, since any node may have
/// the endpoint (externalTrafficPolicy Cluster, S49).
pub fn from_outside(world: &mut World) {
    for (address, port, node) in [
        (IpAddr::V4(Place(0).v4()), 30080, IpAddr::V4(Place(0).v4())),
        (IpAddr::V6(Place(0).v6()), 30080, IpAddr::V6(Place(0).v6())),
        (ip("203.0.113.7"), 80, IpAddr::V4(Place(0).v4())),
        (ip("2001:db8:1::7"), 80, IpAddr::V6(Place(0).v6())),
    ] {
        world.until("the first answer", |world| {
            curl(&world.topology.outside, address, port)
        });
        every_pod_serves(&world.topology.outside, address, port, node);
    }
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s23_s27_s49_node_ports_and_load_balancer_addresses_are_served_on_the_pna_program() {
    external_addresses_are_served(Setup::embedded(Program::Pna));
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s23_s27_s49_node_ports_and_load_balancer_addresses_are_served_on_the_v1model_program() {
    external_addresses_are_served(Setup::embedded(Program::V1model));
}

#[test]
#[ignore = "needs root, iproute2, curl, python3, simple_switch_grpc, p4c-bm2-ss and Go or KUBEBUILDER_ASSETS"]
fn s23_s27_s49_node_ports_and_load_balancer_addresses_are_served_on_bmv2() {
    external_addresses_are_served(Setup {
        nic: Nic::Bmv2,
        ..Setup::embedded(Program::V1model)
    });
}
