//! `p4rs p4info`.
//!
//! In: a program. Out: its P4Info as text, JSON or in wire format.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use p4runtime_proto::text::{to_json, to_text};
use prost::Message;

use crate::Outcome;
use crate::program::ProgramArgs;

/// Options of `p4info`.
#[derive(Debug, clap::Args)]
pub struct P4infoArgs {
    #[command(flatten)]
    program: ProgramArgs,
    /// The form to write.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Forms of a message.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// Protobuf text format, as P4Runtime tools exchange it.
    Text,
    /// The wire format.
    Binary,
    /// Protobuf's JSON form.
    Json,
}

/// Runs `p4info`.
pub fn run(args: &P4infoArgs) -> anyhow::Result<Outcome> {
    let Some((program, _)) = args.program.lowered()? else {
        return Ok(Outcome::Faulty);
    };
    let message = match p4rs::p4info::build(&program) {
        Ok(info) => info.message,
        Err(error) => {
            writeln!(anstream::stderr(), "error: {error}")?;
            return Ok(Outcome::Faulty);
        }
    };
    let bytes = match args.format {
        Format::Text => to_text(&message)?.into_bytes(),
        Format::Json => to_json(&message)?.into_bytes(),
        Format::Binary => message.encode_to_vec(),
    };
    match &args.output {
        Some(path) => std::fs::write(path, bytes)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => std::io::stdout().lock().write_all(&bytes)?,
    }
    Ok(Outcome::Done)
}
