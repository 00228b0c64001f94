//! Match-action tables: entries of every match kind, action profiles, learned entries, timeouts.
//!
//! In: control-plane writes and packets' keys, at the same time. Out: the action to run, views of entries.
//!
//! # The packet path
//!
//! A packet takes no lock. It holds an [`epoch::Guard`] (one per batch), and whatever a table hands out stays where
//! it is, unchanged, until that guard is dropped: entries are replaced, never overwritten, and the memory of a
//! replaced one is used again only when every guard of its time is gone.
//!
//! ```text
//! let guard = epoch::pin();                                   // once per batch
//! let hash  = table.hash_key(key);                            // phase 1, all packets: hash,
//! table.prefetch(&guard, key, hash);                          //   fetch the bucket
//! table.prefetch_row(&guard, hash);                           // phase 2, all packets: fetch the row
//! let found = table.lookup_hashed(&guard, key, hash, &query); // phase 3, each packet; `lookup` does all at once
//! ```
//!
//! In a table with `path()` machine code finds entries by itself, see [`TablePath`]; `peek` says what it would have found.
//!
//! `lookup_batch` does the three phases for many keys of one table.
//!
//! **Keys** are words: `&[u64]` of `table.key_layout().words`, native-endian numbers. Each field but the selector's,
//! one behind the other as words have room: at most 64 bits wide, it lies at `shift` of `word` and never across words;
//! wider, it takes whole words of its own, least significant first. Every other bit is zero. `key_layout().fields[i]` says where field `i` is.
//!
//! **Action data** are words too: `found.data[plan.at(i)]` is parameter `i` as a native-endian number, zero-extended,
//! in one word up to 64 bits and in `width / 64` words rounded up, least significant first, above. `AtomicU64` has
//! the layout of `u64`; the words never change while the guard lives, so machine code may load them plainly.
//!
//! **[`Found`]**: `hit`, `action` (`None`: the group is empty, nothing runs), `data`, `entry` (`Some` on a hit),
//! `color` (of a direct meter). [`Entry`] is what later calls for the same packet take, all of them without lookup:
//! `table.entry_counter(entry)` (where a `count()` in an action counts), `table.restart(now, entry)` (`restart_expire_timer`),
//! `table.set_expiry(now, entry, timeout_ns)` (`set_entry_expire_time`).
//!
//! **Learning**: `table.learn(&guard, (key, hash), &Draft::direct(action, data, (timeout_ns, now))) -> Option<Entry>`; `data`
//! laid out as above. `None`: no room (counted), or not a learner.
//!
//! # Structure
//!
//! ```text
//! MatchTable ── Stripe (one; 32 of a learner) ─┬─ index: exact (hash) | lpm (trie) | ternary (tuple space) ─▶ row
//!      │                                       ├─ rows: header, times, key, action data; written once
//!      │                                       ├─ by entry: counters, meters, metadata, place of the row
//!      │                                       └─ ledger (Mutex of the one writer): numbers, timer queue
//!      └── Profile (shared by tables): cells of members and groups
//! epoch: when something may be used again │ rcu: values replaced whole │ words: memory that never moves │ pages: … that is ready
//! ```
//!
//! Why epochs, and not counters per lookup or versions per row: a worker announces itself once per batch, so that a
//! lookup costs what its memory accesses cost; and rows stay whole, so that machine code can hold pointers into them.
//! Why numbers that are used again, and not memory that is freed: all but [`rcu`], [`words`], [`pages`] and [`bucket`] is safe code.
//!
//! Invariant: a packet sees an entry entirely or not at all; of a changed one, the old or the new.

mod action;
mod batch;
mod bucket;
mod entry;
pub(crate) mod epoch;
mod exact;
mod hasher;
mod key;
mod lookup;
mod lpm;
mod notes;
mod pages;
mod path;
mod rcu;
mod record;
mod recycle;
mod rows;
mod selector;
mod stripe;
mod table;
mod ternary;
mod timer;
mod tuples;
mod words;

#[cfg(test)]
mod tests;

pub use action::OwnedAction;
pub(crate) use action::{ActionPlan, param_words};
pub use batch::{Batch, Lookup};
pub use entry::{
    ActionCall, Cursor, EntryAction, EntryView, FieldMatch, IdleTimeout, MatchKind, NewEntry,
    OwnedField, TableError, WeightedAction,
};
pub(crate) use exact::HashIndex;
pub(crate) use hasher::fold;
pub(crate) use key::KeyLayout;
pub(crate) use lookup::{Found, Query};
pub(crate) use pages::{Zeroes, advise_huge};
pub(crate) use path::{DefaultPath, TablePath, Tuples};
pub(crate) use rcu::collect;
pub(crate) use record::{Entry, START, TIMEOUT, UNSEEN};
pub use rows::NewRows;
pub use selector::GroupMember;
pub(crate) use selector::Profile;
pub(crate) use stripe::Draft;
pub(crate) use table::{MatchTable, TableConfig};
pub(crate) use words::{CHUNKS, FEWEST_ZEROS, FIRST_ROWS, Words, prefetch_at};
