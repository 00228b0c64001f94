//! The front end: from source texts to a syntax tree.
//!
//! In: [`Sources`]. Out: a [`Parsed`]: the tree, the source map that its spans refer to, and what was found on the way.
//! The stages, in order: texts are cut into tokens ([`lexer`]) and put together ([`preprocess`]), then read as
//! declarations ([`parser`]). Invariant: no input makes any of them panic, loop, or use more than bounded memory and
//! stack; a faulty program yields a tree of what could be read.

use crate::diag::Diagnostics;
use crate::source::SourceMap;

pub mod ast;
pub mod lexer;
pub mod parser;
pub mod preprocess;
pub mod print;
pub mod token;

pub use preprocess::Sources;

/// A program that went through the front end.
#[derive(Debug)]
pub struct Parsed {
    /// The tree; whole only if there are no errors.
    pub program: ast::Program,
    /// The texts and macro expansions that the tree's spans refer to.
    pub map: SourceMap,
    /// What was found.
    pub diagnostics: Diagnostics,
}

/// Stack for the thread that parses: in a debug build the deepest nesting takes a tenth of it.
const STACK_BYTES: usize = 32 << 20;

/// Preprocesses and parses a program, on a thread of its own, so that the caller's stack may be small.
pub fn parse(sources: &Sources) -> Parsed {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new()
            .name("p4rs-parse".to_owned())
            .stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, || parse_here(sources)) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => parse_here(sources),
        }
    })
}

fn parse_here(sources: &Sources) -> Parsed {
    let mut map = SourceMap::new();
    let mut diagnostics = Diagnostics::new();
    let tokens = preprocess::preprocess(sources, &mut map, &mut diagnostics);
    let program = parser::parse_tokens(&tokens, &map, &mut diagnostics);
    Parsed {
        program,
        map,
        diagnostics,
    }
}
