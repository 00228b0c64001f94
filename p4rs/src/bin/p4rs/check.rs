//! `p4rs check` and `p4rs ir`.
//!
//! In: a program. Out: nothing but findings, or on request its tokens, its syntax tree, its IR.

use std::io::Write;

use p4rs::diag::Diagnostics;
use p4rs::front::preprocess::preprocess;
use p4rs::front::print::print;
use p4rs::front::token::{Token, TokenKind};
use p4rs::source::SourceMap;

use crate::Outcome;
use crate::program::{self, ProgramArgs};

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    #[command(flatten)]
    program: ProgramArgs,
    /// Print the tokens after preprocessing, with their places, and stop.
    #[arg(long, group = "show")]
    show_tokens: bool,
    /// Print the syntax tree and stop.
    #[arg(long, group = "show")]
    show_ast: bool,
    /// Print the program as one preprocessed source text and stop.
    #[arg(long, group = "show")]
    show_source: bool,
    /// Stop after parsing.
    #[arg(long)]
    parse_only: bool,
    /// Check the language's rules only, not whether the engine can run the program: for other architectures.
    #[arg(long)]
    any_architecture: bool,
}

/// Runs `check`.
pub fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    if args.show_tokens {
        return show_tokens(args);
    }
    if args.show_ast || args.show_source || args.parse_only {
        let Some(parsed) = args.program.parsed()? else {
            return Ok(Outcome::Faulty);
        };
        let mut out = std::io::stdout().lock();
        if args.show_ast {
            writeln!(out, "{:-#?}", parsed.program)?;
        } else if args.show_source {
            write!(out, "{}", print(&parsed.program))?;
        }
        return Ok(Outcome::Done);
    }
    let good = if args.any_architecture {
        args.program.lowered()?.is_some()
    } else {
        args.program.checked()?.is_some()
    };
    Ok(if good { Outcome::Done } else { Outcome::Faulty })
}

fn show_tokens(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let (mut map, mut diagnostics) = (SourceMap::new(), Diagnostics::new());
    let tokens = preprocess(&args.program.sources()?, &mut map, &mut diagnostics);
    program::report(diagnostics.list(), &map)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for token in &tokens {
        write_token(&mut out, token, &map)?;
    }
    out.flush()?;
    Ok(if diagnostics.has_errors() {
        Outcome::Faulty
    } else {
        Outcome::Done
    })
}

/// One line: the place, the class, the text, and the macros it came through.
fn write_token(out: &mut impl Write, token: &Token, map: &SourceMap) -> std::io::Result<()> {
    let place = map
        .location(token.span)
        .map_or_else(|| "?".to_owned(), |location| location.to_string());
    let class = match token.kind {
        TokenKind::Ident => "identifier",
        TokenKind::Keyword(_) => "keyword",
        TokenKind::Number => "number",
        TokenKind::Str => "string",
        TokenKind::Sign(_) => "sign",
        TokenKind::Bad(_) => "bad",
        TokenKind::End => "end",
    };
    write!(out, "{place}\t{class}\t{}", token.text)?;
    for expansion in map.expansions_of(token.span) {
        write!(out, "\tfrom {}", expansion.name)?;
    }
    writeln!(out)
}

/// Runs `ir`.
pub fn show_ir(args: &ProgramArgs) -> anyhow::Result<Outcome> {
    let Some((program, _)) = args.lowered()? else {
        return Ok(Outcome::Faulty);
    };
    write!(
        std::io::stdout().lock(),
        "{}",
        p4rs::ir::print::print(&program)
    )?;
    Ok(Outcome::Done)
}
