//! 10,000 Services with 25 endpoints each, from manifests into softnic, over P4Runtime.
//!
//! In: `NICPROXY_BENCH_SERVICES` and `NICPROXY_BENCH_ENDPOINTS` where other numbers are wanted. Out: time per phase, write
//! calls, entries, the process's peak memory (control plane and NIC together), and the time of a restart, which must write
//! nothing; as a table and as JSON, printed and kept in the target folder. Writing the manifests is not measured. `--test` takes a small cluster, to show that it runs.
#![allow(clippy::print_stdout, reason = "the result is printed")]

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nicproxy::config::Program;
use nicproxy::model::{Changes, Model};
use nicproxy::reconcile::Report;
use nicproxy::watch::manifest::ManifestSource;
use nicproxy::watch::{self, Notice};
use testbench::cluster::Shape;
use testbench::plane::{Cluster, Plane};
use testbench::probe::Probe;
use testbench::scenario::{folder, load_all};
use testbench::target::softnic::Embedded;

type Failed = Box<dyn std::error::Error>;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Reads a folder through the daemon's own source, until its lists are complete.
fn model(folder: &Path) -> Result<(Model, Changes, Duration), Failed> {
    let start = Instant::now();
    let (sender, mut notices) = watch::channel();
    let source = ManifestSource::start(folder, sender)?;
    let mut model = Model::new();
    let mut changes = Changes::default();
    let mut waiting = VecDeque::new();
    loop {
        let notice = match waiting.pop_front() {
            Some(notice) => notice,
            None => notices.blocking_recv().ok_or("the source ended")?,
        };
        match notice {
            Notice::Cluster(event) => changes.merge(model.apply(event)),
            Notice::Together(several) => waiting.extend(several),
            Notice::Synced => break,
        }
    }
    let took = start.elapsed();
    drop(source);
    Ok((model, changes, took))
}

/// A Service more, from its manifest's text to the device.
fn add(plane: &mut Plane, manifest: &str) -> Result<(Duration, Report), Failed> {
    let start = Instant::now();
    let mut cluster = Cluster::default();
    let report = plane.change(cluster.apply(manifest)?)?;
    Ok((start.elapsed(), report))
}

/// Keeps the result where other results of builds are.
fn keep(json: &str) -> Result<PathBuf, Failed> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let file = target.join("bench-scale.json");
    std::fs::write(&file, json)?;
    Ok(file)
}

/// Peak of this process's memory, in MiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<usize>().ok())
        .unwrap_or_default()
        / 1024
}

fn main() -> Result<(), Failed> {
    let small = std::env::args().any(|argument| argument == "--test");
    let shape = Shape {
        services: number("NICPROXY_BENCH_SERVICES", if small { 20 } else { 10_000 }),
        endpoints: number("NICPROXY_BENCH_ENDPOINTS", 25),
    };
    let config = load_all(&folder())?.remove(0).config;
    let target = Embedded::start(Program::Pna, &[1, 2])?;
    let mut probe = Probe::open(&target)?;
    probe.reset(1)?;

    let files = tempfile::tempdir()?;
    for service in 0..shape.services {
        let name = format!("s{service}.yaml");
        std::fs::write(files.path().join(name), shape.service(service))?;
    }
    let (first, changes, parse) = model(files.path())?;
    let start = Instant::now();
    let plane = Plane::with_model(&target, &config, first, &changes)?;
    let write = start.elapsed();
    let (writes, rpcs, device) = (plane.writes(), plane.first().rpcs, plane.first().duration);
    let programmed = peak();
    drop(plane);

    let (second, changes, _) = model(files.path())?;
    let start = Instant::now();
    let mut plane = Plane::with_model(&target, &config, second, &changes)?;
    let restart = start.elapsed();
    let again = plane.writes();
    let (added, report) = add(&mut plane, &shape.service(shape.services))?;
    drop(plane);

    println!(
        "{} Services × {} endpoints, softnic with the PNA program",
        shape.services, shape.endpoints
    );
    println!("  read manifests         {:>8.2} s", parse.as_secs_f64());
    println!(
        "  compile and write      {:>8.2} s  ({:.2} s in the reconciler)",
        write.as_secs_f64(),
        device.as_secs_f64()
    );
    println!("  entries written        {writes:>8}");
    println!("  write calls            {rpcs:>8}");
    println!("  peak memory            {programmed:>8} MiB (control plane and NIC)");
    println!(
        "  restart, read back     {:>8.2} s  ({again} entries written)",
        restart.as_secs_f64()
    );
    println!("  peak after the restart {:>8} MiB", peak());
    println!(
        "  one Service more       {:>8.2} ms ({} entries, {} calls)",
        added.as_secs_f64() * 1000.0,
        report.writes(),
        report.rpcs
    );
    let json = serde_json::json!({
        "services": shape.services,
        "endpoints": shape.endpoints,
        "read_s": parse.as_secs_f64(),
        "write_s": write.as_secs_f64(),
        "writes": writes,
        "rpcs": rpcs,
        "peak_mib": programmed,
        "restart_s": restart.as_secs_f64(),
        "restart_writes": again,
        "add_ms": added.as_secs_f64() * 1000.0,
        "add_writes": report.writes(),
    });
    println!("{json}");
    println!("kept in {}", keep(&json.to_string())?.display());
    if again != 0 {
        return Err("the restart wrote something".into());
    }
    Ok(())
}
