//! Connections that are open while things change.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use testbench::netns::topology::Place;

use crate::restarts::{MANY, serving};
use crate::world::{PATIENCE, Setup, World, curl, in_a_world};

const OBJECTS: &str = include_str!("objects.yaml");

/// Connections held open at one time.
const OPEN: usize = 200;

pub fn vip() -> IpAddr {
    "10.96.7.1".parse().unwrap()
}

/// One request over an open connection; who answered.
pub fn ask(stream: &mut TcpStream) -> Result<IpAddr, String> {
    let mut exchange = || -> std::io::Result<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut text = Vec::new();
        let mut buffer = [0; 2048];
        while !text.ends_with(b"\n")
            || !text.windows(4).any(|part| part == b"\r\n\r\n")
            || text.ends_with(b"\r\n\r\n")
        {
            match stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = exchange().map_err(|error| error.to_string())?;
    let body = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    body.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| format!("an unexpected answer: {text}"))
}

/// Opens so many connections and asks over each who serves it.
pub fn open_connections(world: &World, count: usize) -> Vec<(TcpStream, IpAddr)> {
    let open = || {
        (0..count)
            .map(|_| {
                let address = SocketAddr::new(vip(), 80);
                let mut stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
                let patience = Some(Duration::from_secs(20));
                stream.set_read_timeout(patience).unwrap();
                let by = ask(&mut stream).unwrap();
                (stream, by)
            })
            .collect()
    };
    world.topology.pod.inside(open).unwrap()
}

/// Asks again over each: it is served by whom it was served before.
pub fn check(connections: &mut [(TcpStream, IpAddr)]) {
    for (at, (stream, by)) in connections.iter_mut().enumerate() {
        assert_eq!(ask(stream).as_ref(), Ok(&*by), "connection {at}");
    }
}

/// Takes all pods but one out and waits until new connections know; the one that stays.
pub fn leave_one_pod(world: &mut World) -> IpAddr {
    let lone = OBJECTS
        .lines()
        .filter(|line| {
            !["10.244.1.2", "10.244.2.1", "10.244.2.2"]
                .iter()
                .any(|pod| line.contains(pod))
        })
        .collect::<Vec<_>>()
        .join("\n");
    world.apply(&lone);
    let last = IpAddr::V4(Place(1).pod_v4(1));
    world.until("only one pod for new connections", |world| {
        let served = (0..20)
            .map(|_| curl(&world.topology.pod, vip(), 80))
            .collect::<Result<Vec<_>, _>>()?;
        if served.iter().all(|answer| answer.by == last) {
            Ok(())
        } else {
            Err(format!("{served:?}"))
        }
    });
    last
}

/// Takes three of the four pods out, then puts them back.
fn connections_survive_changes(program: Program) {
    in_a_world(program, |world| {
        world.apply(OBJECTS);
        world.until("the first answer", |world| {
            curl(&world.topology.pod, vip(), 80)
        });
        let mut connections = open_connections(world, OPEN);
        let pods: std::collections::BTreeSet<IpAddr> =
            connections.iter().map(|(_, by)| *by).collect();
        assert_eq!(pods.len(), 4, "{pods:?}");

        leave_one_pod(world);
        check(&mut connections);
        world.apply(OBJECTS);
        check(&mut connections);
    });
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s41_s62_open_connections_survive_changes_on_the_pna_program() {
    connections_survive_changes(Program::Pna);
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn s41_s62_open_connections_survive_changes_on_the_v1model_program() {
    connections_survive_changes(Program::V1model);
}

#[test]
#[ignore = "needs root, iproute2, curl, python3 and Go or KUBEBUILDER_ASSETS"]
fn an_outage_of_the_api_server_costs_none_of_1000_connections() {
    serving(Setup::embedded(Program::Pna), |world| {
        let mut connections = open_connections(world, MANY);
        world.api.outage().unwrap();
        check(&mut connections);
        curl(&world.topology.pod, vip(), 80).unwrap();
        world.runtime.block_on(world.api.resume()).unwrap();
        let back = Instant::now();
        leave_one_pod(world);
        println!(
            "a change is seen by connections {:?} after the return",
            back.elapsed()
        );
        check(&mut connections);
    });
}
