//! 10,000 Services with 25 endpoints each, from manifests into softnic, over P4Runtime.
//!
//! In: `NICPROXY_BENCH_SERVICES` and `NICPROXY_BENCH_ENDPOINTS` where other numbers are wanted. Out: time per phase, write
//! calls, entries, the process's peak memory (control plane and NIC together), and the time of a restart, which must write
//! nothing; as a table and as one line of JSON. `--test` takes a small cluster, to show that it runs.
#![allow(clippy::print_stdout, reason = "the result is printed")]

use std::time::{Duration, Instant};

use nicproxy::config::Program;
use nicproxy::model::{Changes, Event, Model};
use nicproxy::watch::manifest::document::{Object, read_yaml};
use testbench::cluster::Shape;
use testbench::plane::Plane;
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

/// Parses the manifests, one file per Service, and fills a model.
fn model(files: &[String]) -> Result<(Model, Changes, Duration), Failed> {
    let start = Instant::now();
    let (mut services, mut slices) = (Vec::new(), Vec::new());
    for file in files {
        for object in read_yaml(file)? {
            match object {
                Object::Service(service) => services.push(service),
                Object::Slice(slice) => slices.push(slice),
                Object::Node(..) => {}
            }
        }
    }
    let mut model = Model::new();
    let mut changes = model.apply(Event::ReplaceServices(services));
    changes.merge(model.apply(Event::ReplaceSlices(slices)));
    Ok((model, changes, start.elapsed()))
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

    let files: Vec<String> = (0..shape.services)
        .map(|service| shape.service(service))
        .collect();
    let (first, changes, parse) = model(&files)?;
    let start = Instant::now();
    let plane = Plane::with_model(&target, &config, first, &changes)?;
    let write = start.elapsed();
    let (writes, rpcs, device) = (plane.writes(), plane.first().rpcs, plane.first().duration);
    let programmed = peak();
    drop(plane);

    let (second, changes, _) = model(&files)?;
    let start = Instant::now();
    let plane = Plane::with_model(&target, &config, second, &changes)?;
    let restart = start.elapsed();
    let again = plane.writes();
    drop(plane);

    println!(
        "{} Services × {} endpoints, softnic with the PNA program",
        shape.services, shape.endpoints
    );
    println!("  parse manifests        {:>8.2} s", parse.as_secs_f64());
    println!(
        "  compile and write      {:>8.2} s  ({:.2} s in the reconciler)",
        write.as_secs_f64(),
        device.as_secs_f64()
    );
    println!("  entries written        {writes:>8}");
    println!("  write calls            {rpcs:>8}");
    println!(
        "  peak memory            {programmed:>8} MiB (control plane and NIC; manifests' text included)"
    );
    println!(
        "  restart, read back     {:>8.2} s  ({again} entries written)",
        restart.as_secs_f64()
    );
    println!("  peak after the restart {:>8} MiB", peak());
    println!(
        "{{\"services\":{},\"endpoints\":{},\"parse_s\":{:.3},\"write_s\":{:.3},\"writes\":{writes},\"rpcs\":{rpcs},\
         \"peak_mib\":{programmed},\"restart_s\":{:.3},\"restart_writes\":{again}}}",
        shape.services,
        shape.endpoints,
        parse.as_secs_f64(),
        write.as_secs_f64(),
        restart.as_secs_f64()
    );
    if again != 0 {
        return Err("the restart wrote something".into());
    }
    Ok(())
}
