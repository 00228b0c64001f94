//! What a traced packet reports.
//!
//! In: events from the interpreter, in the order in which they happen. Out: whatever the [`Tracer`] makes of them.
//! Invariant: without a tracer no event is built.

use crate::ir::{Control, Handle, Parser, Table};

use super::outputs::DropReason;

/// Receives the steps of one packet.
pub trait Tracer {
    /// Called for each step.
    fn event(&mut self, event: &Event<'_>);
}

impl<F: FnMut(&Event<'_>)> Tracer for F {
    fn event(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// A named value with its width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Key field, parameter or place.
    pub name: String,
    /// Big-endian, full width.
    pub value: Vec<u8>,
    /// Width in bits.
    pub width: u32,
}

/// How one pass of a packet ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Sent out.
    Transmit {
        /// Egress port.
        port: u32,
        /// Bytes.
        length: usize,
    },
    /// Ended.
    Drop(DropReason),
    /// Parsed again, unchanged.
    Resubmit,
    /// Parsed again, as deparsed.
    Recirculate,
    /// Handed to the replication engine.
    Multicast {
        /// Group id.
        group: u32,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A pass begins.
    Start {
        /// Ingress port.
        port: u32,
        /// Bytes.
        length: usize,
        /// Number of earlier passes.
        pass: u32,
    },
    /// A parser enters a state.
    ParserState {
        /// The parser.
        parser: Handle<Parser>,
        /// State name.
        state: &'a str,
    },
    /// A header was extracted.
    Extract {
        /// The place, as in the program.
        header: &'a str,
        /// Bits taken.
        bits: u32,
    },
    /// Parsing stopped with an error.
    ParserError {
        /// Error name.
        error: &'a str,
    },
    /// A control begins.
    Control {
        /// The control.
        control: Handle<Control>,
    },
    /// A table was applied.
    TableApply {
        /// The table.
        table: Handle<Table>,
        /// Key fields, selector keys included.
        keys: &'a [KeyValue],
        /// Whether an entry matched.
        hit: bool,
        /// Priority of the entry that matched, where the table has priorities.
        priority: Option<i32>,
        /// Control-plane name of the action that runs.
        action: &'a str,
        /// Its action data.
        data: &'a [KeyValue],
    },
    /// An extern was called.
    Extern {
        /// Object and method, or function.
        name: &'a str,
        /// Result or effect, for people.
        detail: &'a str,
    },
    /// A header field was assigned.
    Assign {
        /// The place, as in the program.
        place: &'a str,
        /// New value, big-endian.
        value: &'a [u8],
    },
    /// A header became valid or invalid.
    Validity {
        /// The place, as in the program.
        header: &'a str,
        /// The new state.
        valid: bool,
    },
    /// A copy was made.
    Clone {
        /// Clone or mirror session.
        session: u32,
        /// Made at the end of egress rather than of ingress.
        egress: bool,
    },
    /// A pass ended.
    Verdict(Verdict),
}
