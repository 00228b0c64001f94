//! The command line.
//!
//! In: arguments. Out: one command run to its end; what it found on stdout, logs and progress on stderr.
//!
//! | command | does |
//! |---|---|
//! | `run` | the daemon |
//! | `get` | what a device holds |
//! | `trace` | what becomes of a packet, and why |
//! | `demo` | the whole thing in one process |

pub mod admin;
pub mod args;
pub mod embedded;
pub mod get;
pub mod output;
pub mod reader;
pub mod rehearsal;
pub mod reload;
pub mod run;
pub mod trace;

#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};

use crate::demo;

/// Kubernetes Service load balancing on programmable NICs.
#[derive(Debug, Parser)]
#[command(
    name = "nicproxy",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep a NIC as the cluster wants it, until stopped
    Run(Box<args::RunArgs>),
    /// Show what a device holds
    Get(get::GetArgs),
    /// Explain what becomes of a packet, and why; nothing is changed by it
    Trace(Box<trace::TraceArgs>),
    /// Show the whole thing in this process: NIC, manifests, 10,000 checked connections
    Demo(demo::DemoArgs),
}

/// Runs a command.
///
/// # Errors
/// With what went wrong, where, and what to do about it.
pub async fn execute(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => run::run(*args).await,
        Command::Get(args) => get::get(args).await,
        Command::Trace(args) => trace::trace(*args).await,
        Command::Demo(args) => demo::demo(args).await,
    }
}
