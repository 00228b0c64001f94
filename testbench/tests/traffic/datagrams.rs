//! What is not TCP: datagrams by nc and by plain sockets, SCTP.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use nicproxy::config::Program;
use testbench::netns::caller::{Call, Outcome, Transport};
use testbench::netns::place::Place;
use testbench::netns::run;

use crate::world::{PATIENCE, World, in_a_world};

const OBJECTS: &str = include_str!("objects.yaml");
const SCTP: &str = include_str!("sctp.yaml");

/// One datagram with nc; what came back.
fn nc(world: &World, address: &str) -> Result<String, String> {
    let words = format!("echo hello | nc -u -w 1 {address} 7");
    run(world.topology.pod.command("sh").args(["-c", &words])).map_err(|error| error.to_string())
}

fn datagrams_are_answered(program: Program) {
    in_a_world(program, |world| {
        world.apply(OBJECTS);
        from_a_pod(world);
    });
}

/// A pod sends datagrams to both cluster IPs.
pub fn from_a_pod(world: &mut World) {
    for (vip, client) in [
        ("10.96.7.1", IpAddr::V4(Place(0).pod_v4(1))),
        ("fd00:10:96::701", IpAddr::V6(Place(0).pod_v6(1))),
    ] {
        let answer = world.until("an answer by nc", |world| {
            let answer = nc(world, vip)?;
            match answer.is_empty() {
                false => Ok(answer),
                true => Err("nothing came back".to_owned()),
            }
        });
        assert!(answer.ends_with("hello\n"), "{answer}");
        assert_eq!(answer.split_whitespace().nth(1), Some(&*client.to_string()));
        assert_eq!(served(world, vip).len(), 4, "every pod serves {vip}");
    }
}

/// Who answers sixty sockets.
fn served(world: &World, vip: &str) -> BTreeSet<IpAddr> {
    let call = Call {
        from: None,
        to: SocketAddr::new(vip.parse().unwrap(), 7),
        transport: Transport::Udp,
    };
    let calls = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        (0..60)
            .map(|_| match runtime.block_on(call.make(PATIENCE)) {
                Outcome::Answered { by, .. } => by,
                other => panic!("{vip}: {other:?}"),
            })
            .collect()
    };
    world.topology.pod.inside(calls).unwrap()
}

#[test]
#[ignore = "needs root, iproute2, nc, python3 and Go or KUBEBUILDER_ASSETS"]
fn datagrams_are_answered_on_the_pna_program() {
    datagrams_are_answered(Program::Pna);
}

#[test]
#[ignore = "needs root, iproute2, nc, python3 and Go or KUBEBUILDER_ASSETS"]
fn datagrams_are_answered_on_the_v1model_program() {
    datagrams_are_answered(Program::V1model);
}

/// Words of `server.py`'s other side: connects by SCTP and prints what it is told.
const SCTP_CLIENT: &str = "import socket, sys\n\
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)\n\
    s.settimeout(3)\ns.connect((sys.argv[1], 80))\nprint(s.recv(100).decode(), end='')\n";

#[test]
#[ignore = "needs root, iproute2, python3 and Go or KUBEBUILDER_ASSETS; says so where the kernel has no SCTP"]
fn sctp_associations_are_served() {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        Some(rustix::net::ipproto::SCTP),
    );
    if let Err(error) = socket {
        println!("not tested: this kernel has no SCTP ({error})");
        return;
    }
    in_a_world(Program::Pna, |world| {
        world.apply(SCTP);
        let pod = IpAddr::V4(Place(1).pod_v4(1));
        let _server = world.serve(0, "sctp", pod);
        let answer = world.until("an answer", |world| {
            let python = &mut world.topology.pod.command("python3");
            run(python.args(["-c", SCTP_CLIENT, "10.96.7.3"])).map_err(|error| error.to_string())
        });
        let client = Place(0).pod_v4(1);
        assert_eq!(answer, format!("{pod} {client}\n"));
    });
}
