//! The front end: from source texts to a syntax tree.

pub mod ast;
