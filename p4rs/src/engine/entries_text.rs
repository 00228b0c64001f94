//! Entries as text.
