//! What tables cost at scale: insert, look up, delete, bytes per entry.
//!
//! In: kinds and sizes (`--help`). Out: one line per kind and size; rates are per second of processor time. Lookups go
//! 256 keys at a time, as a batch of packets does; "single" asks for one key after the other. Memory is what the process
//! grew by, entries, index and what the control plane knows about them together.
#![allow(clippy::print_stdout, reason = "the result is printed")]

mod measure;
mod prefixes;
mod program;

use clap::Parser;

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
    /// Members of each of ten selector sets.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000,5000")]
    selector: Vec<u64>,
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

fn main() -> Result<(), String> {
    let options = Options::parse();
    let sizes = |sizes: &[u64]| -> Vec<u64> {
        let cut = |&size: &u64| match size {
            size if options.short && size > 10_000 => (size / 100).max(10_000),
            size => size,
        };
        let mut sizes: Vec<u64> = sizes.iter().map(cut).collect();
        sizes.dedup();
        sizes
    };
    println!("{}", measure::HEADER);
    for size in sizes(&options.exact) {
        println!("{}", measure::exact(size, options.seed)?);
    }
    for size in sizes(&options.lpm) {
        println!("{}", measure::lpm_v4(size, options.seed)?);
        println!("{}", measure::lpm_v6(size, options.seed)?);
    }
    for size in sizes(&options.routes) {
        println!("{}", measure::routes_v4(size, options.seed)?);
        println!("{}", measure::routes_v6(size, options.seed)?);
        println!("{}", measure::hosts_v6(size, options.seed)?);
    }
    for size in sizes(&options.ternary) {
        println!("{}", measure::ternary(size, options.seed)?);
    }
    for size in sizes(&options.learner) {
        println!("{}", measure::learner(size, options.seed)?);
    }
    for size in sizes(&options.selector) {
        println!("{}", measure::selector(size, options.seed)?);
    }
    Ok(())
}
