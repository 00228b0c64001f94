//! Everything that hosts send, through every kind of port that Linux has, with what hosts leave undone.
//!
//! In: a kind of port, a program, whether hosts leave checksums and segmentation to hardware. Out: curl and nc served by
//! every address of a Service, bulk transfers whole in both directions and both families; and the proof, in the
//! interfaces' own words, that packets took the way that the test is about.

use std::net::IpAddr;

use nicproxy::config::Program;
use testbench::kubernetes::process::Process;
use testbench::netns::run;
use testbench::netns::topology::{Attachment, HOST_PORT, NETWORK_PORT, Place};

use crate::world::{Setup, World, in_a_world_of};
use crate::{datagrams, services};

const OBJECTS: &str = include_str!("objects.yaml");
const BULK: &str = include_str!("bulk.yaml");
/// Cluster IPs of the bulk Service, and its one pod's addresses.
const BULK_VIPS: [&str; 2] = ["10.96.7.2", "fd00:10:96::702"];
/// Lines of eight bytes in a long answer: 8 MB.
const LINES: usize = 1_000_000;
/// Without super-frames an interface of MTU 1500 carries no more per packet.
const LONGEST_FRAME: f64 = 1514.0;

/// All kinds of traffic; then what the NIC's interfaces say about it.
fn everything_passes(setup: Setup, proof: fn(&World)) {
    in_a_world_of(setup, move |world| {
        world.apply(OBJECTS);
        world.apply(BULK);
        services::from_a_pod(world);
        services::from_outside(world);
        datagrams::from_a_pod(world);
        long_answers(world);
        bulk(world);
        proof(world);
    });
}

/// A long answer comes whole and in order, from inside and, with another source address, from outside.
fn long_answers(world: &World) {
    let lines: String = (0..LINES).map(|line| format!("{line:07}\n")).collect();
    let clients = [
        (&world.topology.pod, "10.96.7.1"),
        (&world.topology.pod, "[fd00:10:96::701]"),
        (&world.topology.outside, "203.0.113.7"),
        (&world.topology.outside, "[2001:db8:1::7]"),
    ];
    for (from, host) in clients {
        let url = format!("http://{host}/{LINES}");
        let words = ["--silent", "--show-error", "--noproxy", "*", "--globoff"];
        let answer = run(from
            .command("curl")
            .args(words)
            .args(["--max-time", "30", &url]));
        let answer = answer.unwrap();
        let (_, body) = answer.split_once('\n').unwrap();
        assert!(
            body == lines,
            "{host}: {} bytes of {}",
            body.len(),
            lines.len()
        );
    }
}

/// A second of bulk traffic each way, two streams: segments of every size, retransmissions, window updates.
fn bulk(world: &mut World) {
    let folder = tempfile::tempdir().unwrap();
    for (vip, pod) in BULK_VIPS.into_iter().zip(Place(1).pods(1)) {
        let log = folder.path().join(format!("{}.log", pod.is_ipv6()));
        let _server = serve_bulk(world, pod, &log);
        for reverse in [&[][..], &["--reverse"]] {
            world.until("bulk traffic", |world| {
                let mut client = world.topology.pod.command("iperf3");
                client.args(["--client", vip, "--time", "1", "--parallel", "2", "--json"]);
                let text = run(client.args(reverse)).map_err(|error| error.to_string())?;
                let report: serde_json::Value =
                    serde_json::from_str(&text).map_err(|error| error.to_string())?;
                // Its server may still be starting.
                if let Some(error) = report["error"].as_str() {
                    return Err(error.to_owned());
                }
                let rate = &report["end"]["sum_received"]["bits_per_second"];
                let rate = rate.as_f64().unwrap();
                println!("{vip}{}: {:.0} Mbit/s", reverse.concat(), rate / 1e6);
                assert!(rate > 1e6, "{text}");
                Ok(())
            });
        }
    }
}

fn serve_bulk(world: &World, pod: IpAddr, log: &std::path::Path) -> Process {
    let mut command = world.topology.backends[0].command("iperf3");
    command.args(["--server", "--bind", &pod.to_string()]);
    Process::start("iperf3", &mut command, log).unwrap()
}

/// An interface of the NIC, as `ip` tells of it.
fn link(world: &World, interface: &str) -> serde_json::Value {
    let words = format!("-json -statistics link show {interface}");
    let text = world.topology.nic.ip(&words).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[0].take()
}

/// Bytes per packet that came in on an interface, and that went out.
fn mean(world: &World, interface: &str) -> [f64; 2] {
    let link = link(world, interface);
    ["rx", "tx"].map(|way| {
        let of = |what: &str| link["stats64"][way][what].as_f64().unwrap();
        of("bytes") / of("packets")
    })
}

/// Super-frames came in and left as such: cut nowhere.
fn super_frames_passed(world: &World) {
    for interface in [HOST_PORT, NETWORK_PORT] {
        for mean in mean(world, interface) {
            assert!(mean > LONGEST_FRAME, "{interface}: {mean} bytes per packet");
        }
    }
}

/// How XDP programs are attached: `IFLA_XDP`'s XDP_ATTACHED_DRV and XDP_ATTACHED_SKB.
fn attached(world: &World, mode: u64) {
    for interface in [HOST_PORT, NETWORK_PORT] {
        let link = link(world, interface);
        assert_eq!(link["xdp"]["mode"].as_u64(), Some(mode), "{link}");
    }
}

#[test]
#[ignore = "needs root, iproute2, curl, nc, python3, iperf3 and Go or KUBEBUILDER_ASSETS"]
fn everything_passes_through_af_xdp_in_the_driver_with_unfinished_checksums() {
    let setup = Setup {
        ports: "xdp,mode=native",
        offloads: true,
        ..Setup::embedded(Program::Pna)
    };
    everything_passes(setup, |world| attached(world, 1));
}

/// Frames of a wire: behind the driver nothing keeps a sender from super-frames, which AF_XDP cannot take.
#[test]
#[ignore = "needs root, iproute2, curl, nc, python3, iperf3 and Go or KUBEBUILDER_ASSETS"]
fn everything_passes_through_af_xdp_behind_the_driver_on_the_v1model_program() {
    let setup = Setup {
        ports: "xdp,mode=generic",
        ..Setup::embedded(Program::V1model)
    };
    everything_passes(setup, |world| attached(world, 2));
}

#[test]
#[ignore = "needs root, iproute2, curl, nc, python3, iperf3 and Go or KUBEBUILDER_ASSETS"]
fn everything_passes_in_super_frames_through_a_port_per_pod() {
    let setup = Setup {
        offloads: true,
        attachment: Attachment::Vports,
        ..Setup::embedded(Program::Pna)
    };
    everything_passes(setup, |world| {
        let [_, to_pod] = mean(world, testbench::netns::topology::POD_PORTS[0]);
        assert!(to_pod > LONGEST_FRAME, "{to_pod} bytes per packet");
    });
}

/// The first packet of each connection goes through the control plane with its checksum unfinished.
#[test]
#[ignore = "needs root, iproute2, curl, nc, python3, iperf3 and Go or KUBEBUILDER_ASSETS"]
fn everything_passes_in_super_frames_on_the_v1model_program() {
    let setup = Setup {
        offloads: true,
        ..Setup::embedded(Program::V1model)
    };
    everything_passes(setup, super_frames_passed);
}
