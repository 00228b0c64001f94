//! The `p4rs` command: check a P4-16 program, show its tokens, syntax tree, IR or P4Info, run packets and tests
//! through it.
//!
//! In: a program's main file and options. Out: what was asked for on standard output, findings on standard error.
//! Exit status: 0 success, 1 the program or its entries are faulty or a test failed, 2 wrong usage or a file that cannot
//! be read or written.

mod check;
mod p4info;
mod program;
mod run;
mod stf;
mod trace;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use program::ProgramArgs;

/// P4-16 compiler front end and execution engine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit status: 0 success; 1 the program or its entries are faulty or a test failed; 2 wrong usage or input/output error."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a program and report what is wrong with it.
    Check(check::CheckArgs),
    /// Print a program's P4Info: what a control plane may name in it.
    P4info(p4info::P4infoArgs),
    /// Print a program's intermediate representation.
    Ir(ProgramArgs),
    /// Run packets through a program.
    Run(run::RunArgs),
    /// Run STF tests: packets, entries and what is expected of a program.
    Stf(stf::StfArgs),
}

/// How a command ended, if not by an error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// What was asked for is done.
    Done,
    /// The input is faulty, and was said to be so.
    Faulty,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        Command::Check(args) => check::run(args),
        Command::P4info(args) => p4info::run(args),
        Command::Ir(args) => check::show_ir(args),
        Command::Run(args) => run::run(args),
        Command::Stf(args) => stf::run(args),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faulty) => ExitCode::from(1),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails too.
            let _ = writeln!(anstream::stderr(), "p4rs: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether the reader of the output has seen enough: `p4rs ir x.p4 | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["p4rs", "check", "-I", "a", "-DN=4", "-D", "M", "x.p4"]);
        let Ok(Cli {
            command: Command::Check(_),
        }) = cli
        else {
            panic!("{cli:?}")
        };
        assert!(Cli::try_parse_from(["p4rs", "check", "-D", "=1", "x.p4"]).is_err());
        assert!(
            Cli::try_parse_from(["p4rs", "check", "--show-ast", "--show-tokens", "x.p4"]).is_err()
        );
    }
}
