//! The data path: what connections through a Service get, beside the same connections without one.
//!
//! In: sites with a proxy each or none, all their hosts namespaces on one machine, cables of veth; on some of them every
//! packet is a frame of a wire (offloads off), on the others hosts leave checksums and segmentation undone. Out: medians
//! of TCP throughput, small datagrams per second, connections per second, the latency of a request on an open
//! connection, and the CPU time that a datagram costs everybody on its way; to a pod's own address (direct) and to a
//! Service of one pod beside it, by turns as short as the measure allows, so that their ratio is of the same moment.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::process::{Process, cpu_time};
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::cable::Quality;
use testbench::netns::caller::{Call, Outcome, Transport};
use testbench::netns::place::Place;
use testbench::netns::{Namespace, run};
use testbench::site::{Build, Proxy, Site, TARGET_PORT};

use super::contender::Kind;
use super::{Failed, Options, middle};

/// How long each rate is measured.
const SECONDS: u64 = 1;
/// Of which connections are made to one target, then to the other; how often.
const SLICE: Duration = Duration::from_millis(100);
const SLICES: usize = 10;
/// Connections under way while their rate is measured.
const AT_ONCE: usize = 16;
/// Requests whose latency is measured.
const REQUESTS: usize = 3000;
/// Payload of the small datagrams.
const SMALL: &str = "64";
/// Bits per second of such datagrams at which none is lost, 20,000 of them: what one costs is measured then.
const STEADY: &str = "10240000";
const VIP: &str = "10.96.7.1";
const IPERF_PORT: &str = "5201";
const RBAC: &str = include_str!("../../../controlplane/deploy/manifests/rbac.yaml");
const OBJECTS: &str = include_str!("path.yaml");

/// A site that is measured.
#[derive(Clone, Debug)]
struct Contender {
    build: Build,
    name: String,
}

/// One line of the table.
pub struct Row {
    pub name: String,
    /// To the Service, or to the pod's own address.
    pub service: bool,
    pub figures: Figures,
    /// Medians of what the Service got as a part of what direct connections got, turn by turn; 1 for those.
    pub ratios: Figures,
}

/// What connections get; as ratios, more is better for the first three.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub gigabits: f64,
    pub datagrams: f64,
    pub connections: f64,
    /// Microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
    /// Microseconds of CPU time.
    pub cpu: f64,
}

impl Figures {
    const SAME: Self = Self {
        gigabits: 1.0,
        datagrams: 1.0,
        connections: 1.0,
        p50: 1.0,
        p99: 1.0,
        cpu: 1.0,
    };

    fn all(self) -> [f64; 6] {
        [
            self.gigabits,
            self.datagrams,
            self.connections,
            self.p50,
            self.p99,
            self.cpu,
        ]
    }

    fn of([gigabits, datagrams, connections, p50, p99, cpu]: [f64; 6]) -> Self {
        Self {
            gigabits,
            datagrams,
            connections,
            p50,
            p99,
            cpu,
        }
    }

    /// Each measure on its own.
    fn median(all: &[Self]) -> Self {
        Self::of(std::array::from_fn(|at| {
            middle(all.iter().map(|figures| figures.all()[at]).collect())
        }))
    }

    /// Each measure as a part of the other's.
    fn by(self, other: Self) -> Self {
        Self::of(std::array::from_fn(|at| self.all()[at] / other.all()[at]))
    }
}

/// The kernel on its own, and of whom the options name: kube-proxy in each mode, and a NIC on each kind of port, attached in both ways.
fn contenders(assets: &Assets, options: &Options) -> Vec<Contender> {
    let contender = |proxy, ports: Option<&'static str>, offloads| {
        let mut build = Build::new(proxy);
        build.ports = ports.unwrap_or(build.ports);
        build.quality = Quality {
            offloads,
            ..Quality::default()
        };
        let ports = ports.map(|ports| format!(", {ports}")).unwrap_or_default();
        let offloads = if offloads { ", offloads" } else { "" };
        Contender {
            name: format!("{proxy}{ports}{offloads}"),
            build,
        }
    };
    let kinds = Kind::available(&options.kinds, assets);
    let kube_proxies: Vec<Proxy> = (kinds.iter())
        .filter_map(|kind| kind.kube_proxy())
        .collect();
    let mut all = Vec::new();
    for offloads in [false, true] {
        all.push(contender(Proxy::Routing, None, offloads));
        all.extend(
            kube_proxies
                .iter()
                .map(|&proxy| contender(proxy, None, offloads)),
        );
        if !kinds.contains(&Kind::Nicproxy) {
            continue;
        }
        for ports in &options.ports {
            // Packet sockets with offloads are a kind of their own; AF_XDP takes what hosts leave undone as it comes.
            let ports = match (*ports, offloads) {
                ("offload", true) => "packet",
                ("offload", false) | ("packet", true) => continue,
                (ports, _) => ports,
            };
            all.extend(
                [Proxy::Vports, Proxy::Bump].map(|proxy| contender(proxy, Some(ports), offloads)),
            );
        }
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
    let (mut runs, steps) = (vec![Vec::new(); contenders.len()], contenders.len());
    for run in 0..options.runs {
        for (at, (contender, runs)) in contenders.iter().zip(&mut runs).enumerate() {
            let started = Instant::now();
            let found = turn(contender, assets, &api)
                .map_err(|error| format!("{}: {error}", contender.name))?;
            println!(
                "[{} of {}] {} ({:.0} s)",
                run * steps + at + 1,
                options.runs * steps,
                contender.name,
                started.elapsed().as_secs_f64()
            );
            for (figures, way) in found.iter().zip(["direct", "Service"]) {
                println!("{}", line("", way, figures));
            }
            runs.push(found);
        }
    }
    Ok(contenders.iter().zip(&runs).flat_map(rows).collect())
}

/// What a contender got in all turns, as two lines.
fn rows((contender, turns): (&Contender, &Vec<[Figures; 2]>)) -> [Row; 2] {
    let of = |at: usize| turns.iter().map(|turn| turn[at]).collect::<Vec<_>>();
    let ratios: Vec<Figures> = turns
        .iter()
        .map(|[direct, service]| service.by(*direct))
        .collect();
    [
        (0, false, Figures::SAME),
        (1, true, Figures::median(&ratios)),
    ]
    .map(|(at, service, ratios)| Row {
        name: contender.name.clone(),
        service,
        figures: Figures::median(&of(at)),
        ratios,
    })
}

/// One site: every measure, direct and to the Service. Kernel routing has no Service: its figures stand for both.
fn turn(contender: &Contender, assets: &Assets, api: &ApiServer) -> Result<[Figures; 2], Failed> {
    let mut site = Site::start(contender.build, assets, api)?;
    // Not the Service's own pod, but its neighbour: a client's port that was used for a connection through the Service a
    // moment ago, and then for a direct one, would make one connection of the two at the endpoint.
    let [endpoint, pod] = [1, 2].map(|number| IpAddr::V4(Place(1).pod_v4(number)));
    let service = match contender.build.proxy {
        Proxy::Routing => endpoint,
        _ => VIP.parse()?,
    };
    let from = &site.topology.pod;
    let folder = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for address in [endpoint, pod].map(|address| address.to_string()) {
        let mut command = site.topology.backends[0].command("iperf3");
        command.args(["--server", "--bind", &address, "--port", IPERF_PORT]);
        servers.push(Process::start(
            "iperf3",
            &mut command,
            &folder.path().join(address),
        )?);
    }
    for target in [pod, service] {
        wait(from, target)?;
    }
    let both = |measure: &dyn Fn(IpAddr) -> Result<f64, Failed>| {
        Ok::<_, Failed>([measure(pod)?, measure(service)?])
    };
    let gigabits = both(&|target| {
        let report = iperf(from, target, &[])?;
        Ok(number(&report["end"]["sum_received"]["bits_per_second"])? / 1e9)
    })?;
    let datagrams = both(&|target| {
        let sum = &datagrams(from, target, "0")?["end"]["sum"];
        Ok(received(sum)? / number(&sum["seconds"])?)
    })?;
    let connections = from.inside(|| connections([pod, service]))??;
    let [direct, through] = from.inside(|| latencies([pod, service]))??;
    let cpu = both(&|target| cost(&site, target))?;
    drop(servers);
    site.check()?;
    let figures = |at: usize, [p50, p99]: [Duration; 2]| Figures {
        gigabits: gigabits[at],
        datagrams: datagrams[at],
        connections: connections[at],
        p50: p50.as_secs_f64() * 1e6,
        p99: p99.as_secs_f64() * 1e6,
        cpu: cpu[at],
    };
    Ok([figures(0, direct), figures(1, through)])
}

fn number(value: &serde_json::Value) -> Result<f64, Failed> {
    value
        .as_f64()
        .ok_or_else(|| format!("iperf3 reports no number, but {value}").into())
}

/// Datagrams at so many bits per second; 0: as many as there can be.
fn datagrams(from: &Namespace, target: IpAddr, rate: &str) -> Result<serde_json::Value, Failed> {
    iperf(
        from,
        target,
        &["--udp", "--bitrate", rate, "--length", SMALL],
    )
}

/// Datagrams that arrived.
fn received(sum: &serde_json::Value) -> Result<f64, Failed> {
    Ok(number(&sum["packets"])? - number(&sum["lost_packets"])?)
}

/// Microseconds of CPU time that everybody on a datagram's way spends on it at a steady rate: both ends, by iperf3's
/// account, the proxy with its NIC, and the kernel's threads for what interrupts left over. What the kernel forwards, it
/// does on the account of one of these.
fn cost(site: &Site, target: IpAddr) -> Result<f64, Failed> {
    let others = || Ok::<_, Failed>(site.cpu_time()? + kernel_threads()?);
    let before = others()?;
    let report = datagrams(&site.topology.pod, target, STEADY)?;
    let others = others()?.saturating_sub(before).as_secs_f64();
    let (sum, percent) = (
        &report["end"]["sum"],
        &report["end"]["cpu_utilization_percent"],
    );
    let ends = number(&percent["host_total"])? + number(&percent["remote_total"])?;
    let spent = others + ends / 100.0 * number(&sum["seconds"])?;
    Ok(spent * 1e6 / received(sum)?)
}

/// CPU time of the threads that do the kernel's network work when there is too much of it.
fn kernel_threads() -> std::io::Result<Duration> {
    let mut all = Duration::ZERO;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|id| id.parse().ok()) else {
            continue;
        };
        let name = std::fs::read_to_string(entry.path().join("comm"));
        if name.is_ok_and(|name| name.starts_with("ksoftirqd/")) {
            all += cpu_time(pid)?;
        }
    }
    Ok(all)
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

/// A run of iperf3; tried again while its server is still starting, and when its own connection broke in a flood.
fn iperf(from: &Namespace, target: IpAddr, more: &[&str]) -> Result<serde_json::Value, Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut command = from.command("iperf3");
        let (target, seconds) = (target.to_string(), SECONDS.to_string());
        command.args(["--client", &target, "--port", IPERF_PORT, "--json"]);
        command.args(["--time", &seconds]).args(more);
        let failed: Failed = match run(&mut command) {
            Ok(text) => {
                let report: serde_json::Value = serde_json::from_str(&text)?;
                match report["end"]["cpu_utilization_percent"].is_object() {
                    true => return Ok(report),
                    false => format!("iperf3 to {target}: {}", report["error"]).into(),
                }
            }
            Err(error) => error.into(),
        };
        if Instant::now() > deadline {
            return Err(failed);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Connections with one request each, per second, to two targets by turns: medians of the turns.
fn connections(targets: [IpAddr; 2]) -> Result<[f64; 2], Failed> {
    let runtime = current_thread()?;
    let mut rates = [const { Vec::new() }; 2];
    for _ in 0..SLICES {
        for (target, rates) in targets.into_iter().zip(&mut rates) {
            rates.push(runtime.block_on(connect_for(target, SLICE))?);
        }
    }
    Ok(rates.map(middle))
}

async fn connect_for(target: IpAddr, span: Duration) -> Result<f64, Failed> {
    let start = Instant::now();
    let one = || call(target).make(Duration::from_secs(5));
    let mut open: FuturesUnordered<_> = (0..AT_ONCE).map(|_| one()).collect();
    let mut answered = 0.0;
    while let Some(outcome) = open.next().await {
        match outcome {
            Outcome::Answered { .. } => answered += 1.0,
            other => return Err(format!("a connection to {target}: {other:?}").into()),
        }
        if start.elapsed() < span {
            open.push(one());
        }
    }
    Ok(answered / start.elapsed().as_secs_f64())
}

/// Median and 99th percentile of requests on open connections to two targets, one request to each in turn.
fn latencies(targets: [IpAddr; 2]) -> Result<[[Duration; 2]; 2], Failed> {
    let open = |target| {
        let address = SocketAddr::new(target, TARGET_PORT);
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        Ok::<_, Failed>(stream)
    };
    let mut streams = [open(targets[0])?, open(targets[1])?];
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..REQUESTS {
        for (stream, times) in streams.iter_mut().zip(&mut times) {
            times.push(request(stream)?);
        }
    }
    Ok(times.map(|mut times| {
        times.sort_unstable();
        [times[REQUESTS / 2], times[REQUESTS * 99 / 100]]
    }))
}

fn request(stream: &mut TcpStream) -> Result<Duration, Failed> {
    let mut buffer = [0; 256];
    let start = Instant::now();
    stream.write_all(b"who\n")?;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err("the connection was closed".into()),
            count if buffer[..count].ends_with(b"\n") => return Ok(start.elapsed()),
            _ => {}
        }
    }
}

/// The table: figures, and in brackets what the Service gets as a part of what direct connections get.
pub fn print(rows: &[Row], options: &Options) {
    println!(
        "\nData path, IPv4, medians of {} turns; in brackets: the Service by direct, medians of each turn's ratio\n\n{:>34} \
         {:>7} {:>16} {:>16} {:>16} {:>15} {:>15} {:>15}",
        options.runs,
        "",
        "",
        "TCP Gbit/s",
        "datagrams/s",
        "connections/s",
        "p50 µs",
        "p99 µs",
        "CPU µs/datagram",
    );
    for row in rows {
        match row.service {
            false => println!("{}", line(&row.name, "direct", &row.figures)),
            true => println!("{}", compared(row)),
        }
    }
}

fn line(name: &str, way: &str, figures: &Figures) -> String {
    let Figures {
        gigabits,
        datagrams,
        connections,
        p50,
        p99,
        cpu,
    } = figures;
    format!(
        "{name:>34} {way:>7} {gigabits:>9.3}        {datagrams:>9.0}        {connections:>9.0}        {p50:>8.0}        \
         {p99:>8.0}        {cpu:>8.2}"
    )
}

fn compared(row: &Row) -> String {
    let Figures {
        gigabits,
        datagrams,
        connections,
        p50,
        p99,
        cpu,
    } = row.figures;
    let r = row.ratios;
    format!(
        "{:>34} {:>7} {gigabits:>9.3} ({:.2}) {datagrams:>9.0} ({:.2}) {connections:>9.0} ({:.2}) {p50:>8.0} ({:.2}) \
         {p99:>8.0} ({:.2}) {cpu:>8.2} ({:.2})",
        "", "Service", r.gigabits, r.datagrams, r.connections, r.p50, r.p99, r.cpu
    )
}
