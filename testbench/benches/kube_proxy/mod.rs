//! The runs, their order and their result.

mod contender;
mod path;
mod picture;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use contender::{Contender, Kind};
use testbench::cluster::Shape;
use testbench::kubernetes::objects::Applier;
use testbench::kubernetes::{ApiServer, Assets};
use testbench::netns::Namespace;
use testbench::own;
use tokio::runtime::Runtime;

pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Between two changes.
const IDLE: Duration = Duration::from_millis(2500);

/// What is measured, and how often.
pub struct Options {
    sizes: Vec<usize>,
    endpoints: usize,
    runs: usize,
    /// Services added one at a time in each run.
    changes: usize,
    kinds: Vec<Kind>,
    /// How long anything may take.
    patience: Duration,
    svg: Option<PathBuf>,
    programming: bool,
    path: bool,
    ports: Vec<&'static str>,
}

impl Options {
    fn from_args() -> Result<Self, Failed> {
        let mut options = Self {
            sizes: vec![100, 1_000, 10_000],
            endpoints: 10,
            runs: 3,
            changes: 5,
            kinds: Kind::ALL.to_vec(),
            patience: Duration::from_secs(600),
            svg: None,
            programming: true,
            path: true,
            ports: vec!["xdp", "packet", "offload"],
        };
        let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--sizes" => {
                    options.sizes = value()?
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<_, _>>()?;
                }
                "--endpoints" => options.endpoints = value()?.parse()?,
                "--runs" => options.runs = value()?.parse()?,
                "--changes" => options.changes = value()?.parse::<usize>()?.max(1),
                "--modes" => {
                    let named = |name: &str| Kind::ALL.into_iter().find(|kind| kind.mode() == name);
                    options.kinds = value()?
                        .split(',')
                        .map(|name| {
                            named(name).ok_or_else(|| {
                                format!("--modes {name}: nicproxy, nftables or iptables")
                            })
                        })
                        .collect::<Result<_, _>>()?;
                }
                "--patience" => options.patience = Duration::from_secs(value()?.parse()?),
                "--svg" => options.svg = Some(value()?.into()),
                "--only" => {
                    let what = value()?;
                    options.programming = what == "programming";
                    options.path = what == "path";
                    if !options.programming && !options.path {
                        return Err(format!("--only {what}: programming or path").into());
                    }
                }
                // Once, for the life of the process.
                "--ports" => options.ports = value()?.leak().split('+').collect(),
                "--test" => (options.sizes, options.runs) = (vec![20], 1),
                other => {
                    return Err(format!(
                        "{other}: there are --sizes, --endpoints, --runs, --changes, --modes, --patience, --only, --ports, --svg and --test"
                    )
                    .into());
                }
            }
        }
        Ok(options)
    }
}

/// What one contender needed.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub cold_start: Duration,
    pub one_more: Duration,
    pub memory_mib: f64,
    pub cpu: Duration,
}

/// Medians of one contender at one size.
pub struct Row {
    pub services: usize,
    pub kind: Kind,
    /// None: not run, or not done in time.
    pub cost: Option<Cost>,
}

pub fn main() -> Result<(), Failed> {
    let options = Options::from_args()?;
    let assets = Assets::find()?;
    own::program("nicproxy")?;
    let namespace = Namespace::new("bench")?;
    std::thread::scope(|scope| {
        // The thread moves into the namespace and takes all that it starts with it.
        let work = scope.spawn(|| -> Result<(), Failed> {
            namespace.enter()?;
            // The node's address, and a default route: kube-proxy looks for both.
            namespace.ip("link add node type veth peer name network")?;
            namespace.ip("addr add 192.168.7.1/24 dev node")?;
            namespace.ip("link set node up")?;
            namespace.ip("link set network up")?;
            namespace.ip("route add default via 192.168.7.254")?;
            if options.programming {
                measure(&options, &assets)?;
            }
            if options.path {
                path_measured(&options, &assets)?;
            }
            Ok(())
        });
        work.join().map_err(|_| "the measurement ended early")?
    })
}

fn measure(options: &Options, assets: &Assets) -> Result<(), Failed> {
    let mut rows = Vec::new();
    let kinds = Kind::available(&options.kinds, assets);
    // Who was not done in time is not waited for again, with more.
    let mut late = Vec::new();
    for &services in &options.sizes {
        let shape = Shape {
            services,
            endpoints: options.endpoints,
        };
        let cluster = Cluster::new(assets, shape)?;
        let mut costs = vec![Vec::new(); kinds.len()];
        // By turns, so that whatever else the machine does befalls all alike.
        for run in 0..options.runs {
            for (kind, costs) in kinds.iter().zip(&mut costs) {
                if late.contains(kind) {
                    continue;
                }
                match cluster.run(*kind, assets, options) {
                    Ok(cost) => {
                        println!(
                            "{services} Services, {kind}, run {}: cold start {:.3} s, one more {:.1} ms",
                            run + 1,
                            cost.cold_start.as_secs_f64(),
                            cost.one_more.as_secs_f64() * 1e3
                        );
                        costs.push(cost);
                    }
                    Err(error) => {
                        println!("{services} Services, {kind}: not run: {error}");
                        late.push(*kind);
                    }
                }
            }
        }
        for (&kind, costs) in kinds.iter().zip(costs) {
            rows.push(Row {
                services,
                kind,
                cost: median(&costs),
            });
        }
        print(&rows, options);
    }
    if let Some(file) = &options.svg {
        picture::draw(&rows, file)?;
        println!("drawn into {}", file.display());
    }
    Ok(())
}

fn path_measured(options: &Options, assets: &Assets) -> Result<(), Failed> {
    let rows = path::measure(options, assets)?;
    path::print(&rows, options);
    if let Some(file) = &options.svg {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let file = file.with_file_name(format!("{stem}-path.svg"));
        picture::draw_path(&rows, &file)?;
        println!("drawn into {}", file.display());
    }
    Ok(())
}

/// One API server with its Services.
struct Cluster {
    api: ApiServer,
    applier: Applier,
    runtime: Runtime,
    shape: Shape,
}

impl Cluster {
    fn new(assets: &Assets, shape: Shape) -> Result<Self, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (api, applier) = runtime.block_on(async {
            let api = ApiServer::start(assets).await?;
            let applier = Applier::new(api.client().await?).await?;
            applier.apply(OBJECTS).await?;
            let start = Instant::now();
            let step = (shape.services / 10).max(1);
            let told = |done: usize| {
                if done.is_multiple_of(step) {
                    let seconds = start.elapsed().as_secs();
                    println!("{done} of {} Services created, {seconds} s", shape.services);
                }
            };
            applier.populate(shape, 0, told).await?;
            Ok::<_, Failed>((api, applier))
        })?;
        Ok(Self {
            api,
            applier,
            runtime,
            shape,
        })
    }

    /// A cold start; some Services more, one at a time; their end.
    fn run(&self, kind: Kind, assets: &Assets, options: &Options) -> Result<Cost, Failed> {
        let all = self.shape.services;
        println!("{all} Services, {kind}: starting");
        let mut contender = Contender::start(kind, assets, &self.api)?;
        let measured = self.measure(&mut contender, options);
        contender.end()?;
        for change in 0..options.changes {
            self.runtime
                .block_on(self.applier.delete(&self.extra(change)))?;
        }
        measured
    }

    fn measure(&self, contender: &mut Contender, options: &Options) -> Result<Cost, Failed> {
        let (all, patience) = (self.shape.services, options.patience);
        let cold_start = contender.programmed(all, contender.started(), patience)?;
        let mut more = Vec::new();
        for change in 0..options.changes {
            // Neither of them may still be held back by the change before: both wait a second between two.
            std::thread::sleep(IDLE);
            let since = SystemTime::now();
            let extra = self.extra(change);
            self.runtime.block_on(self.applier.create(&extra))?;
            more.push(contender.programmed(all + change + 1, since, patience)?);
        }
        let (memory_mib, cpu) = contender.used()?;
        Ok(Cost {
            cold_start,
            one_more: middle(more),
            memory_mib,
            cpu,
        })
    }

    fn extra(&self, change: usize) -> String {
        self.shape.service(self.shape.services + change)
    }
}

const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: scale}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
spec: {podCIDRs: [10.244.0.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.7.1}]}
";

/// The middle one of an odd number of values, the upper middle one of an even number.
fn middle<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

fn median(costs: &[Cost]) -> Option<Cost> {
    (!costs.is_empty()).then(|| Cost {
        cold_start: middle(costs.iter().map(|cost| cost.cold_start).collect()),
        one_more: middle(costs.iter().map(|cost| cost.one_more).collect()),
        memory_mib: middle(costs.iter().map(|cost| cost.memory_mib).collect()),
        cpu: middle(costs.iter().map(|cost| cost.cpu).collect()),
    })
}

/// The table, with every contender's times as multiples of nicproxy's.
fn print(rows: &[Row], options: &Options) {
    println!(
        "\nMedians of {} runs, {} endpoints per Service\n\n{:>9} {:>20} {:>12} {:>7} {:>12} {:>7} {:>10} {:>9}",
        options.runs,
        options.endpoints,
        "Services",
        "",
        "cold start",
        "",
        "one more",
        "",
        "memory",
        "CPU time"
    );
    for row in rows {
        let start = format!("{:>9} {:>20}", row.services, row.kind.to_string());
        let Some(cost) = &row.cost else {
            println!("{start}      not run");
            continue;
        };
        let ours = rows
            .iter()
            .find(|other| other.services == row.services && other.kind == Kind::Nicproxy)
            .and_then(|row| row.cost);
        let times = |of: fn(&Cost) -> Duration| {
            ours.map_or(f64::NAN, |ours| {
                of(cost).as_secs_f64() / of(&ours).as_secs_f64()
            })
        };
        println!(
            "{start} {:>10.3} s {:>6.1}x {:>9.1} ms {:>6.1}x {:>6.0} MiB {:>7.2} s",
            cost.cold_start.as_secs_f64(),
            times(|cost| cost.cold_start),
            cost.one_more.as_secs_f64() * 1e3,
            times(|cost| cost.one_more),
            cost.memory_mib,
            cost.cpu.as_secs_f64()
        );
    }
}
