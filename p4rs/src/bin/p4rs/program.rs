//! Loading of a program: what all commands have in common.
//!
//! In: the main file and the preprocessor's options. Out: the stages' results, with findings written to standard error.

use std::io::Write;

use anyhow::Context;
use p4rs::diag::Diagnostic;
use p4rs::diag::render::{Style, render, render_all};
use p4rs::front::{Parsed, Sources, parse};
use p4rs::ir;
use p4rs::source::SourceMap;
use p4rs::valid::Checked;

/// Which program, and how it is preprocessed.
#[derive(Debug, clap::Args)]
pub struct ProgramArgs {
    /// The program's main file.
    file: String,
    #[command(flatten)]
    preprocessing: PreprocessArgs,
}

/// How a program is preprocessed.
#[derive(Clone, Debug, clap::Args)]
pub struct PreprocessArgs {
    /// Look for included files in this directory too; before the architecture descriptions that are built in.
    #[arg(short = 'I', long = "include", value_name = "DIR")]
    pub include_dirs: Vec<String>,
    /// Define a macro, as 1 if no value is given.
    #[arg(short = 'D', long = "define", value_name = "NAME[=VALUE]", value_parser = definition)]
    pub defines: Vec<(String, String)>,
}

fn definition(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "1"));
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("a macro needs a name without spaces".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl ProgramArgs {
    /// The program's sources, in the file system.
    pub fn sources(&self) -> anyhow::Result<Sources> {
        std::fs::File::open(&self.file).with_context(|| format!("cannot read {}", self.file))?;
        Ok(Sources {
            include_dirs: self.preprocessing.include_dirs.clone(),
            defines: self.preprocessing.defines.clone(),
            ..Sources::from_disk(self.file.as_str())
        })
    }

    /// Parses the program; none if it is faulty.
    pub fn parsed(&self) -> anyhow::Result<Option<Parsed>> {
        let parsed = parse(&self.sources()?);
        write!(
            anstream::stderr(),
            "{}",
            render_all(&parsed.diagnostics, &parsed.map, Style::Coloured)
        )?;
        Ok((!parsed.diagnostics.has_errors()).then_some(parsed))
    }

    /// Parses, checks and lowers the program; none if it is faulty.
    pub fn lowered(&self) -> anyhow::Result<Option<(ir::Program, SourceMap)>> {
        let Some(parsed) = self.parsed()? else {
            return Ok(None);
        };
        match p4rs::sema::lower_with_warnings(&parsed.program, &parsed.map) {
            Ok((program, warnings)) => {
                report(&warnings, &parsed.map)?;
                Ok(Some((program, parsed.map)))
            }
            Err(found) => {
                report(&found, &parsed.map)?;
                Ok(None)
            }
        }
    }

    /// Compiles the program for the engine; none if it is faulty.
    pub fn checked(&self) -> anyhow::Result<Option<Checked>> {
        match p4rs::compile(&self.sources()?) {
            Ok(compiled) => {
                report(&compiled.warnings, &compiled.map)?;
                Ok(Some(compiled.checked))
            }
            Err(failure) => {
                report(&failure.diagnostics, &failure.map)?;
                Ok(None)
            }
        }
    }
}

/// Writes findings to standard error.
pub fn report(found: &[Diagnostic], map: &SourceMap) -> std::io::Result<()> {
    let mut out = anstream::stderr();
    found
        .iter()
        .try_for_each(|one| write!(out, "{}", render(one, map, Style::Coloured)))
}
