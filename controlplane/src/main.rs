//! The `nicproxy` binary: reads the command line, runs one command, says what went wrong.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use nicproxy::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(cli::execute(cli)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let style = cli::output::BAD;
            // When stderr is gone there is nobody to tell.
            let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {error:#}");
            ExitCode::FAILURE
        }
    }
}
