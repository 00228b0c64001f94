//! The project's v1model program on softnic and on the reference switch, with the same entries and the same packets.
//!
//! In: `simple_switch_grpc` and `p4c-bm2-ss` on PATH, `--services`, `--endpoints` (of each), `--packets`. Out: packets per
//! second of both, softnic's as its ports hand them over and one by one; for the former one ratio by the clock and one by the processor time of the reference switch's busiest thread, which is
//! the most that it could do with all its other threads and the way in and out for nothing. `--test` takes few packets.
#![allow(clippy::print_stdout, reason = "the result is printed")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use p4runtime::client::{Client, Config, PipelineAction, entry_update};
use p4runtime::proto::p4::v1 as pb;
use testbench::cluster::{Shape, lead_to_endpoints, vip};
use testbench::packet::{Body, Ip, Packet, Transport};
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::{folder, load_all};
use testbench::target::reference::{self, DEVICE_ID, Reference};
use testbench::target::softnic::{Embedded, source};

type Failed = Box<dyn std::error::Error>;

/// The reference switch's compiler.
const COMPILER: &str = "p4c-bm2-ss";

/// Flows that are open.
const FLOWS: usize = 1024;

/// Packets that softnic is given together, as its ports hand them over.
const BATCH: usize = 256;

/// Turns, of which the median counts.
const TURNS: usize = 5;

/// Bytes of a frame.
const SIZE: usize = 64;

struct Sizes {
    shape: Shape,
    /// Packets for the reference switch.
    packets: usize,
}

fn sizes() -> Sizes {
    let arguments: Vec<String> = std::env::args().collect();
    let small = arguments.iter().any(|argument| argument == "--test");
    let option = |name: &str, small_value: usize, value: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        let given = at.and_then(|at| arguments.get(at + 1)?.parse().ok());
        given.unwrap_or(if small { small_value } else { value })
    };
    Sizes {
        shape: Shape {
            services: option("--services", 10, 100),
            endpoints: option("--endpoints", 4, 10),
        },
        packets: option("--packets", 1_000, 10_000),
    }
}

fn frame(flow: usize, shape: Shape) -> Result<Vec<u8>, Failed> {
    let packet = Packet {
        src_mac: [2, 0, 0, 0, 0xee, 1],
        dst_mac: [2, 0, 0, 0, 0, 1],
        vlan: None,
        body: Body::Ip(Ip {
            from: IpAddr::from([10, 244, 0, 1]),
            to: vip(flow % shape.services),
            ttl: 64,
            tos: 0,
            id: 1,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport: Transport::Tcp {
                src: 1024 + flow as u16,
                dst: 80,
                seq: 1,
                ack: 0,
                flags: 2,
                options: Vec::new(),
            },
            // Ethernet 14, IPv4 20, TCP 20.
            payload: vec![0x5a; SIZE - 54],
        }),
        cut: None,
    };
    Ok(packet.frame()?)
}

/// A NIC whose control plane has written a cluster and opened the flows, and their packets.
fn embedded(shape: Shape) -> Result<(Embedded, Plane, Vec<Vec<u8>>), Failed> {
    let scenarios = load_all(&folder())?;
    let scenario = scenarios
        .iter()
        .find(|s| s.name == "clusterip-tcp")
        .ok_or("no scenario clusterip-tcp")?;
    let target = Embedded::start(Program::V1model, &[1, 2, 3])?;
    Probe::open(&target)?.reset(1)?;
    let mut cluster = Cluster::default();
    cluster.apply(&scenario.manifests("objects.yaml")?)?;
    cluster.apply(&shape.manifests())?;
    let mut config = scenario.config.clone();
    lead_to_endpoints(&mut config)?;
    let plane = Plane::start(&target, &config, &cluster)?;
    let nic = target.nic().ok_or("no NIC")?;
    let frames: Vec<Vec<u8>> = (0..FLOWS)
        .map(|flow| frame(flow, shape))
        .collect::<Result<_, _>>()?;
    for flow in &frames {
        let deadline = Instant::now() + Duration::from_secs(20);
        while nic.inject(1, flow).is_empty() {
            if Instant::now() > deadline {
                return Err("a flow was not set up".into());
            }
            std::thread::yield_now();
        }
    }
    Ok((target, plane, frames))
}

fn compile() -> Result<pb::ForwardingPipelineConfig, Failed> {
    let folder = tempfile::tempdir()?;
    let (info, json) = (
        folder.path().join("info.txtpb"),
        folder.path().join("out.json"),
    );
    let output = std::process::Command::new(COMPILER)
        .args(["--std", "p4-16", "--p4runtime-files"])
        .arg(&info)
        .arg("-o")
        .arg(&json)
        .arg(source(Program::V1model))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = std::fs::read_to_string(&info)?;
    Ok(pb::ForwardingPipelineConfig {
        p4info: Some(p4runtime::proto::text::from_text(&text)?),
        p4_device_config: std::fs::read(&json)?,
        ..Default::default()
    })
}

async fn session(address: String) -> Result<Client, Failed> {
    let config = Config {
        device_id: DEVICE_ID,
        // The NIC has a controller already; this one only reads.
        election_id: None,
        ..Config::new(address)
    };
    Ok(Client::connect(config).await?.0)
}

/// Every entry that controllers wrote, as the NIC has it.
async fn entries(address: String) -> Result<Vec<pb::TableEntry>, Failed> {
    let client = session(address).await?;
    let entries = client.read_table(0).await?;
    client.shutdown().await;
    let written = entries.into_iter().filter(|entry| !entry.is_const);
    Ok(written.map(plain).collect())
}

/// Without what the reference switch would not take back.
fn plain(entry: pb::TableEntry) -> pb::TableEntry {
    pb::TableEntry {
        table_id: entry.table_id,
        r#match: entry.r#match,
        action: entry.action,
        priority: entry.priority,
        idle_timeout_ns: 0,
        ..Default::default()
    }
}

/// A reference switch with the program and the entries.
async fn prepared(entries: Vec<pb::TableEntry>) -> Result<(Reference, Client), Failed> {
    let switch = Reference::start(None).await?;
    let config = Config {
        device_id: DEVICE_ID,
        batch_updates: 500,
        ..Config::new(format!("http://{}", switch.address()))
    };
    let (client, _) = Client::connect(config).await?;
    let action = PipelineAction::VerifyAndCommit;
    client.set_pipeline(action, Some(compile()?)).await?;
    let insert = |entry| entry_update(pb::update::Type::Insert, entry);
    for result in client
        .write(entries.into_iter().map(insert).collect())
        .await?
    {
        result?;
    }
    Ok((switch, client))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Failed> {
    for tool in [reference::SWITCH, COMPILER] {
        if reference::on_path(tool).is_none() {
            println!("not measured: no {tool} on PATH");
            return Ok(());
        }
    }
    let sizes = sizes();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let (target, plane, frames) = embedded(sizes.shape)?;
    let nic = target.nic().ok_or("no NIC")?;
    let address = format!("http://{}", nic.address());
    let entries = runtime.block_on(entries(address))?;
    println!(
        "{} Services of {} endpoints, {} entries, {FLOWS} open flows, frames of {SIZE} bytes",
        sizes.shape.services,
        sizes.shape.endpoints,
        entries.len()
    );
    let (mut switch, _client) = runtime.block_on(prepared(entries))?;
    for frame in &frames {
        let ours = nic.inject(1, frame).into_iter();
        let ours: Vec<(u32, Vec<u8>)> = ours.map(|sent| (sent.port, sent.bytes)).collect();
        let theirs = runtime.block_on(switch.process(1, frame))?;
        if ours != theirs {
            return Err("the two do not do the same".into());
        }
    }
    drop(plane);
    let one_by_one = |_| {
        let start = Instant::now();
        let turns = (sizes.packets * 4 / FLOWS).max(1);
        let sent: usize = (0..turns)
            .flat_map(|_| &frames)
            .map(|frame| nic.inject(1, frame).len())
            .sum();
        sent as f64 / start.elapsed().as_secs_f64()
    };
    let one_by_one = median((0..TURNS).map(one_by_one).collect());
    let packets: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let batches = |_| {
        let (start, mut sent) = (Instant::now(), 0);
        for _ in 0..(sizes.packets * 40 / FLOWS).max(1) {
            for batch in packets.chunks(BATCH) {
                nic.inject_all(1, batch, &mut |_, _| sent += 1);
            }
        }
        f64::from(sent) / start.elapsed().as_secs_f64()
    };
    // The first turns find out which ways packets take, and these get code of their own meanwhile.
    let ours = median((0..2 * TURNS).map(batches).skip(TURNS).collect());
    let (mut clock, mut thread) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let (by_clock, by_thread) =
            runtime.block_on(turn_of(&mut switch, &frames, sizes.packets))?;
        clock.push(by_clock);
        thread.push(by_thread);
    }
    println!("softnic, one thread, {BATCH} packets at a time:     {ours:>10.0} packets/s");
    println!("softnic, one thread, one packet at a time:      {one_by_one:>10.0} packets/s");
    for (how, theirs) in [
        ("the clock", median(clock)),
        ("its busiest thread's time", median(thread)),
    ] {
        let name = format!("{}, by {how}", reference::SWITCH);
        println!(
            "{name:<48} {theirs:>10.0} packets/s; softnic {:>5.1} times",
            ours / theirs
        );
    }
    Ok(())
}

/// Packets per second of the reference switch, by the clock and by the processor time of its busiest thread.
async fn turn_of(
    switch: &mut Reference,
    frames: &[Vec<u8>],
    packets: usize,
) -> Result<(f64, f64), Failed> {
    let load: Vec<(u32, Vec<u8>)> = frames
        .iter()
        .cycle()
        .take(packets)
        .map(|frame| (1, frame.clone()))
        .collect();
    let before = switch.thread_times()?;
    let start = Instant::now();
    let sent = switch.process_all(load, Duration::from_secs(300)).await?;
    let clock = start.elapsed();
    let after = switch.thread_times()?;
    let spent = after.iter().map(|(thread, time)| {
        let had = before.get(thread).copied().unwrap_or_default();
        time.saturating_sub(had)
    });
    let busiest = spent.max().unwrap_or_default();
    if sent.len() * 2 < packets {
        println!("only {} of {packets} packets left", sent.len());
    }
    // Those that a full queue lost have been through ingress as well.
    Ok((
        packets as f64 / clock.as_secs_f64(),
        packets as f64 / busiest.as_secs_f64(),
    ))
}
