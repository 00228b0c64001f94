//! The data path: what connections through a Service get, beside the same connections without one.
//!
//! In: sites with a proxy each, all their hosts namespaces on one machine, cables of veth with one frame per packet
//! (offloads off: a NIC in user space takes frames as they are on a wire; kube-proxy also with them on, as a kernel would
//! have it). Out: medians of TCP throughput, small datagrams per second, connections per second and the latency of a
//! request on an open connection, to a pod's own address (direct) and to the Service of that one pod.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::process::Process;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::cable::Quality;
use testbench::netns::caller::{Call, Outcome, Transport};
use testbench::netns::place::Place;
use testbench::netns::{Namespace, run};
use testbench::site::{Build, Proxy, Site, TARGET_PORT};

use super::{Failed, Options, middle};

/// How long each rate is measured.
const SECONDS: u64 = 2;
/// Connections under way while their rate is measured.
const AT_ONCE: usize = 16;
/// Requests whose latency is measured.
const REQUESTS: usize = 3000;
/// Payload of the small datagrams.
const SMALL: &str = "64";
const VIP: &str = "10.96.7.1";
const IPERF_PORT: &str = "5201";
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");
const OBJECTS: &str = include_str!("path.yaml");

/// A site that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Contender {
    pub build: Build,
    pub name: &'static str,
}

/// One line of the table.
pub struct Row {
    pub name: String,
    /// To the Service, or to the pod's own address.
    pub service: bool,
    pub figures: Figures,
}

/// What connections get.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub gigabits: f64,
    pub datagrams: f64,
    pub connections: f64,
    pub p50: Duration,
    pub p99: Duration,
}

fn contenders(assets: &Assets, options: &Options) -> Vec<Contender> {
    let nicproxy = |proxy, name| Contender {
        build: Build {
            ports: options.ports,
            ..Build::new(proxy)
        },
        name,
    };
    let mut all = vec![
        nicproxy(Proxy::Vports, "nicproxy vports"),
        nicproxy(Proxy::Bump, "nicproxy bump"),
    ];
    if assets.kube_proxy.is_some() {
        let kernel = |proxy, name| Contender {
            build: Build::new(proxy),
            name,
        };
        let mut offloads = kernel(Proxy::Nftables, "nftables, offloads");
        offloads.build.quality = Quality {
            offloads: true,
            ..Quality::default()
        };
        all.extend([kernel(Proxy::Nftables, "nftables"), offloads]);
    }
    all
}

/// Measures everybody, by turns, so that whatever else the machine does befalls all alike.
pub fn measure(options: &Options, assets: &Assets) -> Result<Vec<Row>, Failed> {
    let runtime = tokio::runtime::Runtime::new()?;
    let api = runtime.block_on(async {
        let api = ApiServer::start(assets).await?;
        let applier = Applier::new(api.client().await?).await?;
        for text in [RBAC, OBJECTS] {
            applier.apply(text).await?;
        }
        Ok::<_, Failed>(api)
    })?;
    let contenders = contenders(assets, options);
    let mut runs = vec![[Vec::new(), Vec::new()]; contenders.len()];
    for run in 0..options.runs {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            let mut site = Site::start(contender.build, assets, &api)?;
            for (service, figures) in [false, true].into_iter().zip(runs) {
                let found = figures_of(&site, service)
                    .map_err(|error| format!("{}: {error}", contender.name))?;
                println!("{}, run {}: {found:?}", contender.name, run + 1);
                figures.push(found);
            }
            site.check()?;
        }
    }
    let rows = contenders.iter().zip(&runs).flat_map(|(contender, runs)| {
        let both = [false, true].into_iter().zip(runs);
        both.map(|(service, figures)| Row {
            name: contender.name.to_owned(),
            service,
            figures: median(figures),
        })
    });
    Ok(rows.collect())
}

fn median(all: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| middle(all.iter().map(pick).collect());
    let time = |pick: fn(&Figures) -> Duration| middle(all.iter().map(pick).collect());
    Figures {
        gigabits: of(|figures| figures.gigabits),
        datagrams: of(|figures| figures.datagrams),
        connections: of(|figures| figures.connections),
        p50: time(|figures| figures.p50),
        p99: time(|figures| figures.p99),
    }
}

fn figures_of(site: &Site, service: bool) -> Result<Figures, Failed> {
    let pod = IpAddr::V4(Place(1).pod_v4(1));
    let target = if service { VIP.parse()? } else { pod };
    let from = &site.topology.pod;
    wait(from, target)?;
    let folder = tempfile::tempdir()?;
    let mut command = site.topology.backends[0].command("iperf3");
    command.args(["--server", "--bind", &pod.to_string(), "--port", IPERF_PORT]);
    let _server = Process::start("iperf3", &mut command, &folder.path().join("log"))?;
    let tcp = iperf(from, target, &[])?;
    let udp = iperf(
        from,
        target,
        &["--udp", "--bitrate", "0", "--length", SMALL],
    )?;
    let number = |value: &serde_json::Value| value.as_f64().ok_or("iperf3 reports no number");
    let sum = &udp["end"]["sum"];
    let received = number(&sum["packets"])? - number(&sum["lost_packets"])?;
    let (p50, p99) = from.inside(|| latencies(target))??;
    Ok(Figures {
        gigabits: number(&tcp["end"]["sum_received"]["bits_per_second"])? / 1e9,
        datagrams: received / number(&sum["seconds"])?,
        connections: from.inside(|| connections(target))??,
        p50,
        p99,
    })
}

/// Waits until the target answers: rules are there, neighbours are known.
fn wait(from: &Namespace, target: IpAddr) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    from.inside(|| {
        let runtime = current_thread()?;
        while !matches!(
            runtime.block_on(call(target).make(Duration::from_secs(2))),
            Outcome::Answered { .. }
        ) {
            if Instant::now() > deadline {
                return Err(format!("{target} does not answer").into());
            }
        }
        Ok(())
    })?
}

fn current_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn call(target: IpAddr) -> Call {
    Call {
        from: None,
        to: SocketAddr::new(target, TARGET_PORT),
        transport: Transport::Tcp,
    }
}

/// A run of iperf3; tried again while its server is still starting.
fn iperf(from: &Namespace, target: IpAddr, more: &[&str]) -> Result<serde_json::Value, Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut command = from.command("iperf3");
        let (target, seconds) = (target.to_string(), SECONDS.to_string());
        command.args(["--client", &target, "--port", IPERF_PORT, "--json"]);
        command.args(["--time", &seconds]).args(more);
        match run(&mut command) {
            Ok(text) => return Ok(serde_json::from_str(&text)?),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Connections with one request each, per second.
fn connections(target: IpAddr) -> Result<f64, Failed> {
    current_thread()?.block_on(async {
        let start = Instant::now();
        let span = Duration::from_secs(SECONDS);
        let one = || call(target).make(Duration::from_secs(5));
        let mut open: FuturesUnordered<_> = (0..AT_ONCE).map(|_| one()).collect();
        let mut answered = 0.0;
        while let Some(outcome) = open.next().await {
            match outcome {
                Outcome::Answered { .. } => answered += 1.0,
                other => return Err(format!("a connection to {target}: {other:?}").into()),
            }
            if start.elapsed() >= span {
                break;
            }
            open.push(one());
        }
        Ok(answered / start.elapsed().as_secs_f64())
    })
}

/// Median and 99th percentile of requests on an open connection.
fn latencies(target: IpAddr) -> Result<(Duration, Duration), Failed> {
    let address = SocketAddr::new(target, TARGET_PORT);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut times = Vec::with_capacity(REQUESTS);
    let mut buffer = [0; 256];
    for _ in 0..REQUESTS {
        let start = Instant::now();
        stream.write_all(b"who\n")?;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Err("the connection was closed".into()),
                count if buffer[..count].ends_with(b"\n") => break,
                _ => {}
            }
        }
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[REQUESTS / 2], times[REQUESTS * 99 / 100]))
}

/// The table.
pub fn print(rows: &[Row], options: &Options) {
    println!(
        "\nData path, IPv4, medians of {} runs; NIC on {} interfaces\n\n{:>20} {:>8} {:>11} {:>14} {:>12} {:>9} {:>9}",
        options.runs,
        options.ports,
        "",
        "",
        "TCP Gbit/s",
        "datagrams/s",
        "conns/s",
        "p50 µs",
        "p99 µs"
    );
    for row in rows {
        let figures = &row.figures;
        println!(
            "{:>20} {:>8} {:>11.3} {:>14.0} {:>12.0} {:>9.0} {:>9.0}",
            row.name,
            if row.service { "Service" } else { "direct" },
            figures.gigabits,
            figures.datagrams,
            figures.connections,
            figures.p50.as_secs_f64() * 1e6,
            figures.p99.as_secs_f64() * 1e6,
        );
    }
}
