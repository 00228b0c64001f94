//! A P4-16 compiler front end, a typed intermediate representation, P4Info and an execution engine.
//!
//! `source → preprocessor and lexer → parser (syntax tree) → names and types → IR → validated IR → { P4Info, engine }`

pub mod diag;
pub mod front;
pub mod p4include;
pub mod p4info;
pub mod source;
pub mod ir;
pub mod sema;
