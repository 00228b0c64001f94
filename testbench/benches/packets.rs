//! Packets per second through both programs, on one thread, without ports.
//!
//! In: packets of established connections, first packets of new ones, packets of no Service. Out: the median of several turns of each, and the
//! ratio to plain routing of the same run, the middle time of one packet, for several sizes, as a table and as one line of JSON. `--test` takes few packets.
#![allow(clippy::print_stdout, reason = "the result is printed")]

use std::net::IpAddr;
use std::time::Instant;

use nicproxy::config::Program;
use testbench::packet::{Body, Ip, Packet, Transport};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::{folder, load_all};
use testbench::target::softnic::Embedded;

type Failed = Box<dyn std::error::Error>;

const TURNS: usize = 7;
const FLOWS: u32 = 1024;

/// Shortest, usual and longest frames on an Ethernet, in bytes without the FCS.
const SIZES: [usize; 4] = [64, 256, 512, 1500];

fn frame(client: u32, to: [u8; 4], dst: u16, size: usize) -> Result<Vec<u8>, Failed> {
    let src = 1024 + (client % 60_000) as u16;
    let from = IpAddr::from([10, 244, 0, 1 + (client / 60_000) as u8]);
    let packet = Packet {
        src_mac: [2, 0, 0, 0, 0xee, 1],
        dst_mac: [2, 0, 0, 0, 0, 1],
        vlan: None,
        body: Body::Ip(Ip {
            from,
            to: to.into(),
            ttl: 64,
            tos: 0,
            id: 1,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport: Transport::Tcp {
                src,
                dst,
                seq: 1,
                ack: 0,
                flags: 2,
                options: Vec::new(),
            },
            // Ethernet 14, IPv4 20, TCP 20.
            payload: vec![0x5a; size.saturating_sub(54)],
        }),
        cut: None,
    };
    Ok(packet.frame()?)
}

/// Packets per second, median of the turns.
fn rate(mut turn: impl FnMut(usize) -> usize) -> f64 {
    let mut rates: Vec<f64> = (0..TURNS)
        .map(|number| {
            let start = Instant::now();
            let packets = turn(number);
            packets as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[TURNS / 2]
}

/// Nanoseconds of the packet in the middle, each timed by itself.
fn p50(frames: &[Vec<u8>], mut one: impl FnMut(&[u8])) -> u128 {
    let mut times: Vec<u128> = frames
        .iter()
        .map(|frame| {
            let start = Instant::now();
            one(frame);
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Rates of established, first and routed packets; the middle times of established and routed ones.
struct Measured {
    rates: [f64; 3],
    p50: [u128; 2],
}

fn measure(program: Program, packets: u32, size: usize) -> Result<Measured, Failed> {
    let scenarios = load_all(&folder())?;
    let scenario = scenarios
        .iter()
        .find(|s| s.name == "clusterip-tcp")
        .ok_or("no scenario clusterip-tcp")?;
    let target = Embedded::start(program, &[1, 2, 3])?;
    Probe::open(&target)?.reset(1)?;
    let mut cluster = Cluster::default();
    cluster.apply(&scenario.manifests("objects.yaml")?)?;
    let plane = Plane::start(&target, &scenario.config, &cluster)?;
    let nic = target.nic().ok_or("no NIC")?;

    const VIP: [u8; 4] = [10, 96, 0, 10];
    let established: Vec<Vec<u8>> = (0..FLOWS)
        .map(|n| frame(n, VIP, 80, size))
        .collect::<Result<_, _>>()?;
    // Set up: until every flow's packet comes out at once (v1model: after the control plane installed it).
    for flow in &established {
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while nic.inject(1, flow).is_empty() {
            if Instant::now() > deadline {
                return Err("a flow was not set up".into());
            }
            std::thread::yield_now();
        }
    }
    let run = |frames: &[Vec<u8>]| {
        frames
            .iter()
            .map(|frame| nic.inject(1, frame).len())
            .sum::<usize>()
    };
    let turns = (packets / FLOWS).max(1);
    let translated = rate(|_| (0..turns).map(|_| run(&established)).sum());
    let routed: Vec<Vec<u8>> = (0..FLOWS)
        .map(|n| frame(n, [10, 244, 1, 99], 80, size))
        .collect::<Result<_, _>>()?;
    let plain = rate(|_| (0..turns).map(|_| run(&routed)).sum());
    let times = [&established, &routed].map(|frames| {
        p50(frames, |frame| {
            nic.inject(1, frame);
        })
    });
    // Every packet is the first of its connection: fresh ones each turn.
    let each = packets.min(40_000);
    let fresh: Vec<Vec<Vec<u8>>> = (0..TURNS as u32)
        .map(|turn| {
            (0..each)
                .map(|n| frame(60_000 + turn * each + n, VIP, 80, size))
                .collect::<Result<_, _>>()
        })
        .collect::<Result<_, _>>()?;
    drop(plane);
    let new = rate(|turn| {
        run(&fresh[turn]);
        each as usize
    });
    Ok(Measured {
        rates: [translated, new, plain],
        p50: times,
    })
}

fn main() -> Result<(), Failed> {
    let small = std::env::args().any(|argument| argument == "--test");
    let packets = if small { 2_048 } else { 200_000 };
    let mut json = Vec::new();
    println!(
        "packets per second, one thread, interpreter (median of {TURNS}; share of plain routing in brackets)"
    );
    println!(
        "{:<10} {:>6} {:>22} {:>22} {:>14} {:>24}",
        "program", "bytes", "established", "first packet", "route only", "p50 established / route"
    );
    for program in [Program::Pna, Program::V1model] {
        for size in SIZES {
            let measured = measure(program, packets, size)?;
            let ([translated, new, plain], [of_flow, of_route]) = (measured.rates, measured.p50);
            println!(
                "{:<10} {size:>6} {translated:>15.0} ({:>4.2}) {new:>15.0} ({:>4.2}) {plain:>14.0} {of_flow:>12} / {of_route} ns",
                program.to_string(),
                translated / plain,
                new / plain
            );
            json.push(serde_json::json!({
                "program": program.to_string(),
                "bytes": size,
                "established": translated,
                "first_packet": new,
                "route_only": plain,
                "p50_established_ns": of_flow as u64,
                "p50_route_ns": of_route as u64,
            }));
        }
    }
    println!("{}", serde_json::Value::from(json));
    println!(
        "v1model's first packets are counted up to the control plane's door: flow set-up is not in them"
    );
    Ok(())
}
