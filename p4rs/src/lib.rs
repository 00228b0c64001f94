//! A P4-16 compiler front end, a typed intermediate representation, P4Info and an execution engine.
//!
//! `source → preprocessor and lexer → parser (syntax tree) → names and types → IR → validated IR → { P4Info, engine }`

pub mod diag;
pub mod engine;
pub mod front;
pub mod ir;
pub mod p4include;
pub mod p4info;
pub mod sema;
pub mod source;
pub mod stf;
pub mod valid;

use diag::Diagnostic;
use front::Sources;
use source::SourceMap;
use valid::Checked;

/// A program that is ready for P4Info and the engine.
#[derive(Debug)]
pub struct Compiled {
    /// The validated program.
    pub checked: Checked,
    /// The texts that its spans refer to.
    pub map: SourceMap,
    /// What is worth a look, though the program is good.
    pub warnings: Vec<Diagnostic>,
}

/// A program that is not good.
#[derive(Debug)]
pub struct Failure {
    /// What was found, in order; at least one error.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that their spans refer to.
    pub map: SourceMap,
}

/// All stages up to the validated program.
///
/// # Errors
/// [`Failure`] with the findings of the first stage that fails.
pub fn compile(sources: &Sources) -> Result<Compiled, Failure> {
    let front::Parsed {
        program,
        map,
        diagnostics,
    } = front::parse(sources);
    if diagnostics.has_errors() {
        return Err(Failure {
            diagnostics: diagnostics.into_list(),
            map,
        });
    }
    let mut warnings = diagnostics.into_list();
    let checked = sema::lower_with_warnings(&program, &map).and_then(|(program, more)| {
        warnings.extend(more);
        valid::validate(program)
    });
    match checked {
        Ok(checked) => Ok(Compiled {
            checked,
            map,
            warnings,
        }),
        Err(diagnostics) => Err(Failure { diagnostics, map }),
    }
}
