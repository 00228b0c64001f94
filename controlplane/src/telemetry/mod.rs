//! What is told to people and monitoring: logs, metrics, health.
//!
//! In: what the daemon does. Out: lines on stderr, `/metrics` on one address, `/healthz` and `/livez` on another.
//! kube-proxy's names and ports are kept where the meaning is the same, so that dashboards and probes work on.

pub mod counters;
pub mod events;
pub mod families;
pub mod health;
pub mod locality;
pub mod metric;
pub mod registry;
pub mod roster;
pub mod server;
pub mod service_health;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What the daemon tells without being asked for more: the compiler of programs would tell every function that it makes.
pub const USUAL: &str = "info,cranelift_jit=warn";

/// Sends log lines to stderr. `filter` is as in `RUST_LOG`, which counts if it is set. Later calls change nothing.
pub fn log_to_stderr(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(false);
    let colour = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    // Only the first subscriber of a process counts; another one is no error.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(colour).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
