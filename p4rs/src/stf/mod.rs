//! STF, the simple test format: packets, entries and expectations for one program, one statement per line.
//!
//! ```text
//! text ── parse ──▶ Script ── run(engine) ──▶ Report (findings with their lines)
//! folder ── corpus::find ──▶ cases ── corpus::judge ──▶ verdicts
//! ```
//!
//! The dialect is that of p4c's STF with the additions that its `simple_switch` harness knows; see [`Command`].
//! Statements take effect in order. Where that harness ignores a statement (`wait`, `check_counter`, `remove`,
//! `no_packet`), this one carries it out.
//!
//! In: text, and an engine that holds the program. Out: what did not go as the text says.
//! Invariant: no text makes the runner panic; every finding names its line.

mod command;
pub mod corpus;
mod entries;
mod names;
mod parse;
mod ports;
mod replication;
mod run;
mod state;
mod token;
mod value;

#[cfg(test)]
mod tests;

pub use command::{
    Action, Command, Compare, CounterCheck, EntryRef, Match, Place, Rate, Script, Statement,
};
pub use entries::EntryFault;
pub use names::NameFault;
pub use parse::{SyntaxError, SyntaxFault, parse};
pub use ports::Difference;
pub use ports::Pattern;
pub use replication::ReplicationFault;
pub use run::{Finding, Problem, Report, run};
pub use state::StateFault;
pub use value::{Number, Value, ValueFault};
