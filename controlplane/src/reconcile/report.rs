//! What one reconciliation did.

use std::time::Duration;

use crate::device::Failure;

/// How a reconciliation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device holds what is wanted, but for what [`Report::errors`] lists.
    Done,
    /// The initial lists are not complete: nothing may be written (S79).
    Unsynced,
    /// No session that may write; what is wanted is remembered.
    NotConnected,
    /// The device's program is another one; in words, what differs.
    WrongProgram(String),
    /// The call broke off, in words; the next reconciliation reads back first.
    Broken(String),
}

/// What one reconciliation did, for logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The device was read back, and everything compared.
    pub full: bool,
    /// Entries written that were not there.
    pub inserts: usize,
    /// Entries written over.
    pub modifies: usize,
    /// Entries removed.
    pub deletes: usize,
    /// Write calls.
    pub rpcs: usize,
    /// Services whose entries were worked out again.
    pub services: usize,
    /// Updates that failed, and those that waited for one that failed.
    pub errors: Vec<WriteFailure>,
    /// When to try again without a change; `None` when all is done.
    pub retry_after: Option<Duration>,
    /// Time it took.
    pub duration: Duration,
}

impl Report {
    /// A reconciliation that has done nothing yet.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            full: false,
            inserts: 0,
            modifies: 0,
            deletes: 0,
            rpcs: 0,
            services: 0,
            errors: Vec::new(),
            retry_after: None,
            duration: Duration::ZERO,
        }
    }

    /// Updates that the device took.
    pub fn writes(&self) -> usize {
        self.inserts + self.modifies + self.deletes
    }

    /// Nothing is left to be done.
    pub fn is_clean(&self) -> bool {
        self.outcome == Outcome::Done && self.errors.is_empty()
    }
}

/// Entries of one owner that the device does not have as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// Whose entries: `namespace/name:port/PROTOCOL`, or the table for entries of no Service.
    pub owner: String,
    /// The table.
    pub table: &'static str,
    /// What helps.
    pub kind: Failure,
    /// How many entries.
    pub entries: usize,
    /// The first one and what the device said about it.
    pub message: String,
}
