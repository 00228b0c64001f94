//! Match-action tables: entries of every match kind, action profiles, learned entries, timeouts.
//!
//! In: control-plane writes and packets' keys, at the same time. Out: the action to run, views of entries.
//!
//! ```text
//! MatchTable ── RwLock<Rows> | sharded Mutex<Rows> ─┬─ index: exact | lpm | ternary ──▶ record index
//!      └── Profile (shared by tables)               ├─ store: match, action, metadata, counter, timer
//!                                                   └─ queue: what is due when
//! ```
//!
//! Invariant: a packet sees an entry entirely or not at all.

mod action;
mod entry;
mod exact;
mod key;
mod learner;
mod lpm;
mod rows;
mod selector;
mod store;
mod table;
mod ternary;
mod timer;

#[cfg(test)]
mod tests;

pub use action::OwnedAction;
pub(crate) use action::{ActionPlan, param_len};
pub use entry::{
    ActionCall, Cursor, EntryAction, EntryView, FieldMatch, IdleTimeout, MatchKind, NewEntry,
    OwnedField, TableError, WeightedAction,
};
pub use selector::GroupMember;
pub(crate) use selector::Profile;
pub(crate) use table::{Found, MatchTable, Query, TableConfig};
