//! Validation: proof that a program keeps the IR's invariants and fits an architecture that can be run.
//!
//! In: a lowered program. Out: [`Checked`], or findings. Invariant: a [`Checked`] exists only for a program whose
//! handles, types, places, calls and tables are sound and whose blocks have the shape their architecture gives them; who
//! holds one need not check again.
//!
//! ```text
//! ir::Program ─▶ structure (handles, types, calls, statements) ─▶ architecture (blocks, externs) ─▶ tables ─▶ Checked
//! ```

mod arch;
mod callgraph;
pub mod code;
mod expr;
mod stmt;
mod table;
#[cfg(test)]
mod tests;

use crate::diag::Diagnostic;
use crate::ir::{Arena, Handle, Param, Program, Type};
use crate::source::Span;

/// A program that was validated.
#[derive(Clone, Debug)]
pub struct Checked(Program);

impl Checked {
    /// The program.
    pub fn program(&self) -> &Program {
        &self.0
    }

    /// Gives the program up, and with it the proof.
    pub fn into_program(self) -> Program {
        self.0
    }
}

impl AsRef<Program> for Checked {
    fn as_ref(&self) -> &Program {
        &self.0
    }
}

/// Validates a program.
pub fn validate(program: Program) -> Result<Checked, Vec<Diagnostic>> {
    let mut validator = Validator {
        program: &program,
        found: Vec::new(),
    };
    validator.structure();
    if validator.found.is_empty() {
        validator.architecture();
        validator.tables();
    }
    let found = validator.found;
    if found.is_empty() {
        Ok(Checked(program))
    } else {
        Err(found)
    }
}

/// How many findings are kept.
const MAX_FINDINGS: usize = 100;

struct Validator<'p> {
    program: &'p Program,
    found: Vec<Diagnostic>,
}

impl Validator<'_> {
    fn report(&mut self, code: &'static str, span: Span, message: impl Into<String>, help: &str) {
        if self.found.len() >= MAX_FINDINGS {
            return;
        }
        let mut found = Diagnostic::error(code, message).at(span, "");
        if !help.is_empty() {
            found = found.note(format!("help: {help}"));
        }
        self.found.push(found);
    }

    /// A program that `sema` never makes.
    fn broken(&mut self, span: Span, message: impl Into<String>) {
        self.report(
            code::BROKEN,
            span,
            message,
            "the program was not made by this compiler",
        );
    }

    fn structure(&mut self) {
        self.types();
        if !self.found.is_empty() {
            return;
        }
        self.vars();
        self.exprs();
        if self.found.is_empty() {
            self.bodies();
            self.call_graph();
        }
    }

    /// Types refer only to earlier types: none contains itself.
    fn types(&mut self) {
        for (handle, ty) in self.program.types.iter() {
            let sound = parts(ty)
                .into_iter()
                .all(|part| part.index() < handle.index());
            if !sound {
                self.broken(
                    Span::NONE,
                    format!(
                        "type {} refers to a type that is not before it",
                        handle.index()
                    ),
                );
            }
        }
    }

    fn vars(&mut self) {
        let types = self.program.types.len();
        for (handle, var) in self.program.vars.iter() {
            if var.ty.index() >= types {
                self.broken(var.span, format!("variable {} has no type", handle.index()));
            }
        }
    }

    fn params_known(&mut self, params: &[Param], span: Span) {
        let vars = self.program.vars.len();
        if params.iter().any(|param| param.var.index() >= vars) {
            self.broken(span, "a parameter has no variable");
        }
    }

    fn has<T>(arena: &Arena<T>, handle: Handle<T>) -> bool {
        handle.index() < arena.len()
    }
}

/// The types a type is made of.
fn parts(ty: &Type) -> Vec<Handle<Type>> {
    match ty {
        Type::Struct(fields) | Type::Header(fields) | Type::Union(fields) => {
            fields.fields.iter().map(|f| f.ty).collect()
        }
        Type::Stack { elem, .. } | Type::List(elem) => vec![*elem],
        Type::Tuple(items) => items.clone(),
        Type::New(new) => vec![new.under],
        Type::SerEnum(e) => vec![e.under],
        Type::Extern { args, .. } => args.clone(),
        _ => Vec::new(),
    }
}
