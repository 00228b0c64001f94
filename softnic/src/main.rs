//! The `softnic` program: runs one switch until it is told to stop.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use softnic::cli::{Cli, Command, Run, SourceArgs};
use softnic::{Program, Running, SoftNic, device_config};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is told without RUST_LOG: the compiler of programs would tell every function that it makes.
const USUAL: &str = "info,cranelift_jit=warn";

fn main() -> Result<()> {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
    match cli.command {
        Some(Command::Bundle { source, output }) => bundle(&source, &output),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run(cli.run))
        }
    }
}

fn bundle(source: &SourceArgs, output: &std::path::Path) -> Result<()> {
    let compile = &source.compile;
    let bytes =
        device_config::bundle_with(&source.program, &compile.include_dirs, &compile.macros())?;
    // What cannot be compiled is not worth pushing.
    Program::from_device_config(&bytes)?;
    std::fs::write(output, &bytes).with_context(|| format!("writing {}", output.display()))?;
    writeln!(io::stdout(), "{}: {} bytes", output.display(), bytes.len())?;
    Ok(())
}

async fn run(run: Run) -> Result<()> {
    let mut builder = SoftNic::builder()
        .device_id(run.device_id)
        .trace(run.trace)
        .engine(|config| {
            config.unlimited_tables = run.unlimited_tables;
            config.execution = run.engine;
            let profiles = &mut config.expire_profiles_ns;
            for given in &run.expire_profiles {
                let at = usize::from(given.profile);
                if at >= profiles.len() {
                    profiles.resize(at + 1, 0);
                }
                profiles[at] = u64::from(given.seconds) * 1_000_000_000;
            }
        });
    if let Some(path) = &run.program {
        let bundle =
            device_config::bundle_with(path, &run.compile.include_dirs, &run.compile.macros())?;
        builder = builder
            .program(Program::from_device_config(&bundle)?)
            .device_config(bundle);
    }
    if let Some(port) = run.cpu_port {
        builder = builder.cpu_port(port);
    }
    if let Some(tls) = run.tls() {
        builder = builder.tls(tls);
    }
    for &port in &run.host_ports {
        builder = builder.host_port(port);
    }
    for spec in &run.ports {
        builder = builder.port(spec.id, spec.open()?);
    }
    let running = builder.serve(run.grpc).await?;
    announce(&run, &running)?;
    until_stopped(&running, run.statistics.map(Duration::from_secs)).await?;
    writeln!(io::stdout(), "{}", running.statistics())?;
    running.shutdown().await;
    Ok(())
}

fn announce(run: &Run, running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "softnic {}: P4Runtime on {}{}, device {}",
        env!("CARGO_PKG_VERSION"),
        running.address(),
        match (&run.tls_cert, &run.tls_client_ca) {
            (None, _) => "",
            (Some(_), None) => " over TLS",
            (Some(_), Some(_)) => " over TLS, for controllers with a certificate",
        },
        run.device_id
    )?;
    match &run.program {
        Some(path) => writeln!(out, "program  {}", path.display())?,
        None => writeln!(out, "program  none: waiting for a controller to push one")?,
    }
    match run.cpu_port {
        Some(port) => writeln!(out, "CPU port {port}")?,
        None => writeln!(
            out,
            "CPU port none: no packets to or from controllers (--cpu-port)"
        )?,
    }
    for port in running.statistics().ports {
        writeln!(
            out,
            "port {:<4} {} ({})",
            port.id,
            port.name,
            if port.up { "up" } else { "down" }
        )?;
    }
    writeln!(out, "stop with ctrl-c")
}

/// Waits for SIGINT or SIGTERM, and shows statistics meanwhile if asked to.
async fn until_stopped(running: &Running, every: Option<Duration>) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut timer = tokio::time::interval(every.unwrap_or(Duration::from_secs(3600)));
    timer.tick().await;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = timer.tick() => if every.is_some() {
                writeln!(io::stdout(), "{}", running.statistics())?;
            },
        }
    }
}
