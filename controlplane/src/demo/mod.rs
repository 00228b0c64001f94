//! The whole thing in one process: NIC, P4Runtime, manifests, control plane, clients and endpoints.
//!
//! In: a program, a number of connections. Out: a report per VIP, and an error when anything was not as it must be.
//!
//! ```text
//! shop ─▶ folder ─▶ watch ─▶ daemon ──P4Runtime──▶ softnic ◀──ports──▶ traffic ─▶ report
//! ```

pub mod frame;
pub mod plan;
pub mod report;
pub mod script;
pub mod shop;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod traffic;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::args::Endpoint;
use crate::cli::output::{self, Format};
use crate::config::Program;
use crate::telemetry::{self, LogFormat};
use report::Report;
use stage::Stage;
use traffic::Traffic;

/// Arguments of `nicproxy demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Which of the two programs
    #[arg(long, value_enum, default_value_t = Program::Pna)]
    pub program: Program,
    /// Use this switch over P4Runtime instead of the embedded NIC; its ports 1 and 2 by --target-port
    #[arg(long, value_name = "URL", requires = "target_ports")]
    pub target: Option<Endpoint>,
    /// The far end of a port of --target: 1=IFACE for the clients' side, 2=IFACE for the endpoints'
    #[arg(long = "target-port", value_name = "NUMBER=IFACE", requires = "target")]
    pub target_ports: Vec<TargetPort>,
    /// For --target: the program's P4Info, where the switch takes no sources
    #[arg(long, value_name = "FILE", requires_all = ["device_config", "target"])]
    pub p4info: Option<std::path::PathBuf>,
    /// For --target: the compiled program (bmv2: the compiler's JSON)
    #[arg(long, value_name = "FILE", requires = "p4info")]
    pub device_config: Option<std::path::PathBuf>,
    /// Connections to make
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub connections: usize,
    /// Decides addresses and ports of the clients
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// Where the embedded NIC serves P4Runtime; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Leave everything running afterwards, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
}

/// One port of an external switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// Its number.
    pub number: u32,
    /// The network interface at its far end.
    pub interface: String,
}

impl std::str::FromStr for TargetPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, interface) = text
            .split_once('=')
            .ok_or("write NUMBER=IFACE, for instance 1=veth1")?;
        let number = number
            .parse()
            .map_err(|_| format!("`{number}` is no port number; the demo uses 1 and 2"))?;
        match number {
            traffic::HOST | traffic::NETWORK if !interface.is_empty() => Ok(Self {
                number,
                interface: interface.to_owned(),
            }),
            _ => Err("the demo uses ports 1 and 2".to_owned()),
        }
    }
}

/// Runs the demo and prints its report.
///
/// # Errors
/// When a check fails, or the demo cannot be set up.
pub async fn demo(args: DemoArgs) -> anyhow::Result<()> {
    telemetry::log_to_stderr(LogFormat::Text, "error");
    let (report, stage) = perform(&args).await?;
    output::print(args.output, &report, report::table)?;
    if args.keep {
        let mut err = anstream::stderr();
        let address = stage.address();
        // A closed stderr is no reason to stop serving.
        let _ = std::io::Write::write_fmt(
            &mut err,
            format_args!(
                "serving P4Runtime on {address} until Ctrl-C; try: nicproxy get flows --device {address}\n"
            ),
        );
        crate::cli::run::stop_signals()?.cancelled().await;
    }
    stage.end().await;
    match report.failures.len() {
        0 => Ok(()),
        count => bail!("{count} checks failed:\n  {}", report.failures.join("\n  ")),
    }
}

/// Runs the demo; what was set up is handed over, still running.
///
/// # Errors
/// When the demo cannot be set up. Failed checks are in the report.
pub async fn perform(args: &DemoArgs) -> anyhow::Result<(Report, Stage)> {
    let started = Instant::now();
    let progress = progress(args.connections as u64);
    let mut stage = Stage::set(args).await?;
    let ready = started.elapsed();
    let before = shop::objects().context("the bundled manifests")?.promises();
    let after = shop::objects()
        .and_then(shop::Objects::scaled)
        .context("the bundled manifests")?
        .promises();
    let sides = stage.sides.take().context("the stage has no ports")?;
    let config = stage.config.clone();
    let (connections, seed) = (args.connections, args.seed);
    // Traffic waits for packets, not for futures: it has a thread of its own.
    let opened = {
        let before = before.clone();
        let progress = progress.clone();
        tokio::task::spawn_blocking(move || {
            let mut traffic = Traffic::new(sides, config, before, seed);
            let counts = report::counts(traffic.promises(), connections);
            let mut held = Vec::new();
            for (at, count) in counts.iter().enumerate() {
                if report::is_scaled(&traffic.promises()[at]) {
                    held.extend(traffic.add(at, count / 2));
                }
            }
            let start = Instant::now();
            traffic.run(held.iter().copied(), false, &mut || {});
            progress.set_message("scaling while connections are open");
            (traffic, counts, held, start.elapsed())
        })
    };
    let (mut traffic, counts, held, opening) = opened.await.context("the traffic thread died")?;
    let held_open = traffic.take_tallies();
    let scaling = Instant::now();
    stage.scale(&after).await?;
    let scaled_in = scaling.elapsed();
    traffic.promise(after);
    let finished = {
        let progress = progress.clone();
        tokio::task::spawn_blocking(move || {
            let start = Instant::now();
            progress.set_message("connections");
            traffic.run(held.iter().copied(), true, &mut || progress.inc(1));
            let kept = traffic.take_tallies();
            let mut fresh = Vec::new();
            for (at, count) in counts.iter().enumerate() {
                let done = if report::is_scaled(&traffic.promises()[at]) {
                    count / 2
                } else {
                    0
                };
                fresh.extend(traffic.add(at, count - done));
            }
            report::shuffle(&mut fresh, seed);
            traffic.run(fresh.into_iter(), true, &mut || progress.inc(1));
            (traffic, kept, held.len(), start.elapsed())
        })
    };
    let (traffic, kept, held, finishing) = finished.await.context("the traffic thread died")?;
    progress.finish_and_clear();
    let summary = report::Summary {
        program: args.program.to_string(),
        target: stage.address(),
        ready,
        scaled_in,
        traffic: opening + finishing,
        total: started.elapsed(),
        held,
        embedded: args.target.is_none(),
        slow_path: stage.slow_path(),
    };
    let report = Report::new(&traffic, &held_open, &kept, summary);
    stage.sides = Some(traffic.into_sides());
    Ok((report, stage))
}

/// A bar on a terminal, nothing elsewhere.
fn progress(connections: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(connections), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
