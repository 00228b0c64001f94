//! Stable codes of the findings of this stage.
//!
//! Invariant: a code, once given, keeps its meaning.

/// An IR that breaks its own rules.
pub const BROKEN: &str = "E1001";
/// A program that no known architecture runs.
pub const ARCHITECTURE: &str = "E1002";
/// A block whose parameters are not those of its role.
pub const BLOCK: &str = "E1003";
/// An extern that the engine does not have.
pub const EXTERN: &str = "E1004";
/// A table that the engine cannot hold.
pub const TABLE: &str = "E1005";
/// An entry that does not suit its table's match kinds.
pub const ENTRY: &str = "E1006";
/// A construct that this architecture does not take.
pub const CONSTRUCT: &str = "E1007";
