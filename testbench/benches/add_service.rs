//! One Service more, changed, and gone again, while 10,000 are there: from the watch's event to the device.
//!
//! In: `NICPROXY_BENCH_SERVICES`, `NICPROXY_BENCH_ENDPOINTS` and `NICPROXY_BENCH_TURNS` where other numbers are wanted.
//! The daemon runs as in a deployment, in one process with the NIC; events go in where a watch puts them, and the time
//! ends when the daemon knows that the device holds their entries. After each a packet is sent through the NIC, which
//! must go where the Service says. Objects that come again unchanged must write nothing. Out: middle and 99th percentile
//! of each, as a table and as JSON. `--test` takes a small cluster, to show that it runs.
#![allow(clippy::print_stdout, reason = "the result is printed")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use etherparse::NetHeaders;
use nicproxy::config::{Config, Program};
use nicproxy::model::{Event, ObjectKey};
use nicproxy::pipeline::Image;
use nicproxy::run::link::Link;
use nicproxy::run::{Daemon, Status};
use nicproxy::telemetry::health::Health;
use nicproxy::watch::manifest::document::{Object, read_yaml};
use nicproxy::watch::{self, Notice};
use testbench::cluster::{Shape, lead_to_endpoints, vip};
use testbench::packet::{Body, Ip, Packet, Transport};
use testbench::scenario::{folder, load_all};
use testbench::target::Target;
use testbench::target::softnic::Embedded;
use tokio::sync::mpsc;
use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

type Failed = Box<dyn std::error::Error>;

/// Longest wait for the device.
const PATIENCE: Duration = Duration::from_secs(300);

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// The daemon's two ends.
struct Driven {
    notices: mpsc::Sender<Notice>,
    status: Receiver<Status>,
}

impl Driven {
    /// Time until the device holds what these events change, and what it took.
    async fn drive(&mut self, events: Vec<Event>) -> Result<(Duration, usize), Failed> {
        let events: Vec<Notice> = events.into_iter().map(Notice::Cluster).collect();
        let (before, last) = {
            let status = self.status.borrow_and_update();
            (status.noticed + events.len() as u64, status.last.clone())
        };
        let start = Instant::now();
        self.notices.send(Notice::Together(events)).await?;
        let done = self.status.wait_for(|status| status.programmed >= before);
        let status = tokio::time::timeout(PATIENCE, done).await??;
        let took = start.elapsed();
        // Where nothing was to be written nothing was reported either.
        let writes = match &status.last {
            Some(report) if Some(report) != last.as_ref() => report.writes(),
            _ => 0,
        };
        Ok((took, writes))
    }
}

fn events(manifest: &str) -> Result<Vec<Event>, Failed> {
    let objects = read_yaml(manifest)?.into_iter();
    objects
        .map(|object| match object {
            Object::Service(service) => Ok(Event::ApplyService(service)),
            Object::Slice(slice) => Ok(Event::ApplySlice(slice)),
            _ => Err("a shape has no other objects".into()),
        })
        .collect()
}

/// The first packet of a connection to a Service.
fn call(client: u16, to: IpAddr) -> Result<Vec<u8>, Failed> {
    let packet = Packet {
        src_mac: [2, 0, 0, 0, 0xee, 1],
        dst_mac: [2, 0, 0, 0, 0, 1],
        vlan: None,
        body: Body::Ip(Ip {
            from: IpAddr::from([10, 244, 0, 9]),
            to,
            ttl: 64,
            tos: 0,
            id: 1,
            options: Vec::new(),
            fragment: None,
            length: None,
            transport: Transport::Tcp {
                src: client,
                dst: 80,
                seq: 1,
                ack: 0,
                flags: 2,
                options: Vec::new(),
            },
            payload: Vec::new(),
        }),
        cut: None,
    };
    Ok(packet.frame()?)
}

/// Where a call comes out.
fn leads_to(target: &Embedded, client: u16, to: IpAddr) -> Result<Option<IpAddr>, Failed> {
    let nic = target.nic().ok_or("the NIC is gone")?;
    let sent = nic.inject(1, &call(client, to)?);
    let Some(sent) = sent.iter().find(|sent| sent.port != 255) else {
        return Ok(None);
    };
    let headers = etherparse::PacketHeaders::from_ethernet_slice(&sent.bytes)?;
    Ok(match headers.net {
        Some(NetHeaders::Ipv4(ip, _)) => Some(IpAddr::from(ip.destination)),
        _ => None,
    })
}

/// Middle, 99th percentile and longest, in milliseconds.
fn percentiles(times: &mut [Duration]) -> [f64; 3] {
    times.sort_unstable();
    let at = |part: f64| {
        let place = ((times.len() as f64 * part).ceil() as usize).saturating_sub(1);
        times
            .get(place)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    [at(0.5), at(0.99), at(1.0)]
}

async fn fill(driven: &mut Driven, shape: Shape) -> Result<Duration, Failed> {
    let (mut services, mut slices) = (Vec::new(), Vec::new());
    for service in 0..shape.services {
        for event in events(&shape.service(service))? {
            match event {
                Event::ApplyService(service) => services.push(service),
                Event::ApplySlice(slice) => slices.push(slice),
                _ => {}
            }
        }
    }
    let start = Instant::now();
    for notice in [
        Notice::Cluster(Event::ReplaceNodes(Vec::new())),
        Notice::Cluster(Event::ReplaceServices(services)),
        Notice::Cluster(Event::ReplaceSlices(slices)),
        Notice::Synced,
    ] {
        driven.notices.send(notice).await?;
    }
    let full = |status: &Status| status.listed && status.programmed >= 4;
    tokio::time::timeout(PATIENCE, driven.status.wait_for(full)).await??;
    Ok(start.elapsed())
}

#[derive(Default)]
struct Times {
    add: Vec<Duration>,
    change: Vec<Duration>,
    delete: Vec<Duration>,
    same: Vec<Duration>,
    writes: usize,
    writes_of_nothing: usize,
}

async fn turn(
    driven: &mut Driven,
    target: &Embedded,
    (shape, at): (Shape, usize),
    times: &mut Times,
) -> Result<(), Failed> {
    let (service, client) = (shape.services + at % 500, 1024 + (at % 60_000) as u16);
    let manifest = shape.service(service);
    let addresses: BTreeSet<IpAddr> = shape.endpoints_of(service).collect();
    let first = *addresses.first().ok_or("no endpoints")?;
    let other = IpAddr::from([100, 127, (at >> 8) as u8, at as u8]);

    let (took, writes) = driven.drive(events(&manifest)?).await?;
    times.add.push(took);
    times.writes += writes;
    let out = leads_to(target, client, vip(service))?;
    if !out.is_some_and(|ip| addresses.contains(&ip)) {
        return Err(format!("service {service} was added and leads to {out:?}").into());
    }

    let (took, writes) = driven.drive(events(&manifest)?).await?;
    times.same.push(took);
    times.writes_of_nothing += writes;

    let changed = manifest.replace(&format!("[{first}]"), &format!("[{other}]"));
    let (took, writes) = driven.drive(events(&changed)?).await?;
    times.change.push(took);
    times.writes += writes;
    let out = leads_to(target, client + 1, vip(service))?;
    if !out.is_some_and(|ip| ip == other || addresses.contains(&ip) && ip != first) {
        return Err(format!("service {service} was changed and leads to {out:?}").into());
    }

    let key = |name: String| ObjectKey::new("scale", name);
    let gone = vec![
        Event::DeleteService(key(format!("s{service}"))),
        Event::DeleteSlice(key(format!("s{service}-x"))),
    ];
    let (took, writes) = driven.drive(gone).await?;
    times.delete.push(took);
    times.writes += writes;
    let out = leads_to(target, client + 2, vip(service))?;
    if out.is_some_and(|ip| ip == other || addresses.contains(&ip)) {
        return Err(format!("service {service} was deleted and leads to {out:?}").into());
    }
    Ok(())
}

async fn measure(target: &Embedded, shape: Shape, turns: usize) -> Result<(), Failed> {
    let mut config: Config = load_all(&folder())?.remove(0).config;
    config.device.address = target.address();
    lead_to_endpoints(&mut config)?;
    config.device.pipeline = Some(target.pipeline().clone());
    // Every change is to be written at once: what is measured is the work, not the pacing.
    config.sync.burst = u32::MAX;
    let image = Image::load(target.pipeline())?;
    let link = Link::start(&config, Some(image))?;
    let (notices, heard) = watch::channel();
    let health = Arc::new(Health::new(config.sync.sync_period.0));
    let (daemon, status) = Daemon::new(&config, link.device.clone(), heard, health);
    let stop = CancellationToken::new();
    let daemon = tokio::spawn(daemon.run(stop.clone()));
    let mut driven = Driven { notices, status };

    let filled = fill(&mut driven, shape).await?;
    let mut times = Times::default();
    for at in 0..turns {
        turn(&mut driven, target, (shape, at), &mut times).await?;
    }
    stop.cancel();
    daemon.await?;
    link.shutdown().await;
    report(shape, filled, times)
}

fn report(shape: Shape, filled: Duration, mut times: Times) -> Result<(), Failed> {
    println!(
        "{} Services × {} endpoints in softnic with the PNA program, programmed in {:.2} s; {} turns",
        shape.services,
        shape.endpoints,
        filled.as_secs_f64(),
        times.add.len()
    );
    println!("  one Service          p50 ms    p99 ms    longest ms");
    let mut json = serde_json::json!({
        "services": shape.services,
        "endpoints": shape.endpoints,
        "turns": times.add.len(),
        "filled_s": filled.as_secs_f64(),
        "writes": times.writes,
        "writes_of_nothing": times.writes_of_nothing,
    });
    for (what, times) in [
        ("added", &mut times.add),
        ("changed", &mut times.change),
        ("deleted", &mut times.delete),
        ("the same again", &mut times.same),
    ] {
        let [p50, p99, longest] = percentiles(times);
        println!("  {what:<18} {p50:>8.2}  {p99:>8.2}  {longest:>8.2}");
        json[what] = serde_json::json!({"p50_ms": p50, "p99_ms": p99, "longest_ms": longest});
    }
    println!(
        "  entries written {}, for objects that came again unchanged {}",
        times.writes, times.writes_of_nothing
    );
    println!("{json}");
    if times.writes_of_nothing != 0 {
        return Err("objects that came again unchanged wrote something".into());
    }
    Ok(())
}

fn main() -> Result<(), Failed> {
    let small = std::env::args().any(|argument| argument == "--test");
    let shape = Shape {
        services: number("NICPROXY_BENCH_SERVICES", if small { 20 } else { 10_000 }),
        endpoints: number("NICPROXY_BENCH_ENDPOINTS", 10),
    };
    let turns = number("NICPROXY_BENCH_TURNS", if small { 5 } else { 500 });
    // It has a runtime of its own, and is to outlive this one.
    let target = Embedded::start(Program::Pna, &[1, 2])?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&target, shape, turns))
}
