//! Diagnostics: what a stage has to say about the source, as values.
//!
//! In: spans and words from any stage. Out: [`Diagnostic`]s, several per run, in the order found; [`render`] turns them
//! into text with source excerpts. Invariant: a diagnostic holds no formatted places, only spans, so that one renderer
//! decides how they look.

use crate::source::Span;

pub mod render;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Compilation goes on, the program is used.
    Warning,
    /// The program is not used.
    Error,
}

/// A span with words about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What to say there; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable short name for its class, such as `syntax` or `unknown-name`.
    pub code: &'static str,
    /// One sentence, without a full stop.
    pub message: String,
    /// The places: the first is where the finding is, the others are related.
    pub labels: Vec<Label>,
    /// Explanations and advice.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// A finding that makes the program unusable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A finding that the program can live with.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, message)
        }
    }

    /// Adds a place: the first one is the main one.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds an explanation or advice.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The main place.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }
}

/// Findings in the order they were made, up to a limit.
#[derive(Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
}

/// How many findings one run keeps; the rest is counted.
pub const MAX_DIAGNOSTICS: usize = 100;

impl Diagnostics {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a finding. A second one of the same class at the same main place is ignored.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let span = diagnostic.span();
        if span.is_some()
            && self
                .list
                .iter()
                .rev()
                .any(|d| d.span() == span && d.code == diagnostic.code)
        {
            return;
        }
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.list.len() >= MAX_DIAGNOSTICS {
            self.dropped += 1;
            return;
        }
        self.list.push(diagnostic);
    }

    /// Whether any finding, kept or not, is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors were found.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// Whether no more findings are kept: a stage may stop.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_DIAGNOSTICS
    }

    /// How many findings were not kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The findings kept.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The findings kept, by value.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_counted_and_not_repeated() {
        let mut found = Diagnostics::new();
        found.push(Diagnostic::warning("w", "first").at(Span::new(1, 2), ""));
        assert!(!found.has_errors());
        for _ in 0..2 {
            found.push(
                Diagnostic::error("e", "second")
                    .at(Span::new(1, 2), "here")
                    .note("why"),
            );
        }
        assert_eq!((found.list().len(), found.error_count()), (2, 1));
        for at in 0..2 * MAX_DIAGNOSTICS as u32 {
            found.push(Diagnostic::error("e", "more").at(Span::new(at + 5, at + 6), ""));
        }
        assert!(found.is_full());
        assert_eq!(
            found.list().len() + found.dropped(),
            2 + 2 * MAX_DIAGNOSTICS
        );
    }
}
