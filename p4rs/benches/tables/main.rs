//! What tables cost at scale: insert, look up, delete, bytes per entry.
//!
//! In: kinds and sizes (`--help`). Out: one line per kind and size; rates are per second of processor time. Lookups go
//! 256 keys at a time, as a batch of packets does; "single" asks for one key after the other. Memory is what a process
//! that does nothing else grew by, entries, index and what the control plane knows about them together.
#![allow(clippy::print_stdout, reason = "the result is printed")]

mod measure;
mod prefixes;
mod program;

use std::process::Command;

use clap::Parser;
use measure::Row;

/// Insert, lookup, delete and memory of tables at scale.
#[derive(Debug, Parser)]
struct Options {
    /// Entries of the exact table.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10000,100000,1000000,10000000"
    )]
    exact: Vec<u64>,
    /// Prefixes of 32 and of 128 bits, spread evenly.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
    lpm: Vec<u64>,
    /// Prefixes of 32 and of 128 bits as routers have them, and addresses of pods.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000")]
    routes: Vec<u64>,
    /// Masked entries with port ranges under 32 different masks.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000")]
    ternary: Vec<u64>,
    /// Learned flows of eight key fields.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10000,100000,1000000,4000000"
    )]
    learner: Vec<u64>,
    /// Members of each selector set; a million in all sets.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,5000")]
    selector: Vec<u64>,
    /// These kinds only: exact, lpm-32, lpm-128, routes-32, routes-128, pods-128, ternary, learner, selector.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// One kind at one size, in this process.
    #[arg(long, hide = true, requires = "size")]
    one: Option<String>,
    #[arg(long, hide = true)]
    size: Option<u64>,
    /// A hundredth of every size above 10000 entries, for a short look.
    #[arg(long)]
    short: bool,
    /// Start of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What measures one kind at one size.
type Measure = fn(u64, u64) -> Result<Row, String>;

impl Options {
    /// Kinds by name, with their sizes, in the order of the output.
    fn kinds(&self) -> [(&'static str, Measure, &[u64]); 9] {
        [
            ("exact", measure::exact, &self.exact),
            ("lpm-32", measure::lpm_v4, &self.lpm),
            ("lpm-128", measure::lpm_v6, &self.lpm),
            ("routes-32", measure::routes_v4, &self.routes),
            ("routes-128", measure::routes_v6, &self.routes),
            ("pods-128", measure::hosts_v6, &self.routes),
            ("ternary", measure::ternary, &self.ternary),
            ("learner", measure::learner, &self.learner),
            ("selector", measure::selector, &self.selector),
        ]
    }

    fn sizes(&self, sizes: &[u64]) -> Vec<u64> {
        let cut = |&size: &u64| match size {
            size if self.short && size > 10_000 => (size / 100).max(10_000),
            size => size,
        };
        let mut sizes: Vec<u64> = sizes.iter().map(cut).collect();
        sizes.dedup();
        sizes
    }

    /// Measures in a process of its own, which no earlier table has left memory in.
    fn apart(&self, kind: &str, size: u64) -> Result<(), String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let (size, seed) = (size.to_string(), self.seed.to_string());
        let status = Command::new(own)
            .args(["--one", kind, "--size", &size, "--seed", &seed])
            .status()
            .map_err(|e| e.to_string())?;
        status
            .success()
            .then_some(())
            .ok_or(format!("{kind} of {size}: {status}"))
    }
}

fn main() -> Result<(), String> {
    let options = Options::parse();
    if let (Some(one), Some(size)) = (&options.one, options.size) {
        let kinds = options.kinds();
        let mut named = kinds.iter().filter(|(kind, ..)| kind == one);
        let (_, measure, _) = named.next().ok_or(format!("there is no {one}"))?;
        println!("{}", measure(size, options.seed)?);
        return Ok(());
    }
    println!("{}", measure::HEADER);
    for (kind, _, sizes) in options.kinds() {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == kind) {
            continue;
        }
        for size in options.sizes(sizes) {
            options.apart(kind, size)?;
        }
    }
    Ok(())
}
