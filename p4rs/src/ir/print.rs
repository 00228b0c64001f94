//! The IR as text, for `p4rs ir` and for tests.
