//! Annotations, from syntax to the IR.
//!
//! In: annotations as written. Out: the three forms of the IR, expressions evaluated. Invariant: `@name` has exactly one
//! string.

use super::{Sema, code};
use crate::front::ast::{Annotation, AnnotationBody, AnnotationToken, AnnotationTokenKind, Expr};
use crate::ir::{self, AnnotationValue, Const};
use crate::source::Span;

impl<'a> Sema<'a> {
    /// The annotations of a declaration.
    pub(super) fn annotations(&mut self, written: &'a [Annotation]) -> Vec<ir::Annotation> {
        written
            .iter()
            .map(|annotation| self.annotation(annotation))
            .collect()
    }

    fn annotation(&mut self, written: &'a Annotation) -> ir::Annotation {
        let body = match &written.body {
            AnnotationBody::None => ir::AnnotationBody::Unstructured(String::new()),
            AnnotationBody::Tokens(tokens) => ir::AnnotationBody::Unstructured(token_text(tokens)),
            AnnotationBody::Expressions(items) => ir::AnnotationBody::Expressions(
                items
                    .iter()
                    .filter_map(|item| match written.name.as_str() {
                        "field_list" => self.list_number(item),
                        _ => self.annotation_value(item),
                    })
                    .collect(),
            ),
            AnnotationBody::KeyValues(pairs) => ir::AnnotationBody::KeyValues(
                pairs
                    .iter()
                    .filter_map(|pair| {
                        Some((pair.name.to_string(), self.annotation_value(&pair.value)?))
                    })
                    .collect(),
            ),
        };
        ir::Annotation {
            name: written.name.to_string(),
            body,
        }
    }

    /// The number of a field list: a constant of any integer type.
    fn list_number(&mut self, written: &'a Expr) -> Option<AnnotationValue> {
        let value = self.expr(written, None);
        if value.ty.is_error() {
            return None;
        }
        match self.const_value(value.expr) {
            Some(Const::Int(number)) => Some(AnnotationValue::Int(number)),
            None if value.known => None,
            _ => {
                let message = "a field list is known by a constant number";
                self.err(code::ANNOTATION, written.span, message, "");
                None
            }
        }
    }

    fn annotation_value(&mut self, written: &'a Expr) -> Option<AnnotationValue> {
        let value = self.expr(written, None);
        if value.ty.is_error() {
            return None;
        }
        match self.const_value(value.expr) {
            Some(Const::String(text)) => Some(AnnotationValue::String(text)),
            Some(Const::Int(number)) if value.ty == super::ty::Ty::Integer => {
                Some(AnnotationValue::Int(number))
            }
            Some(Const::Bool(b)) => Some(AnnotationValue::Bool(b)),
            _ => {
                let message =
                    "the values of annotations are constant integers, strings and booleans";
                self.err(code::ANNOTATION, written.span, message, "");
                None
            }
        }
    }

    /// Checks every annotation of a declaration: structured ones do not repeat.
    pub(super) fn check_annotations(&mut self, written: &'a [Annotation]) {
        for (index, annotation) in written.iter().enumerate() {
            let structured = |a: &Annotation| {
                matches!(
                    a.body,
                    AnnotationBody::Expressions(_) | AnnotationBody::KeyValues(_)
                )
            };
            let twin = written[..index].iter().find(|other| {
                other.name.text == annotation.name.text
                    && (structured(other) || structured(annotation))
            });
            if let Some(twin) = twin {
                let message = format!(
                    "the structured annotation `@{}` stands twice",
                    annotation.name
                );
                self.err_with(
                    code::ANNOTATION,
                    annotation.span,
                    message,
                    (twin.span, "first here"),
                    "",
                );
            }
            if let AnnotationBody::KeyValues(pairs) = &annotation.body {
                for (at, pair) in pairs.iter().enumerate() {
                    if pairs[..at]
                        .iter()
                        .any(|other| other.name.text == pair.name.text)
                    {
                        self.err(
                            code::DUPLICATE,
                            pair.span,
                            format!("the key `{}` stands twice", pair.name),
                            "",
                        );
                    }
                }
            }
        }
        if self.checking() {
            self.annotations(written);
            self.name_annotation(written);
            for annotation in written {
                self.check_known(annotation);
            }
        }
    }

    /// Rules for annotations that the language or the control plane knows.
    fn check_known(&mut self, annotation: &'a Annotation) {
        let AnnotationBody::Tokens(tokens) = &annotation.body else {
            return;
        };
        match annotation.name.as_str() {
            "deprecated" | "noWarn" if joined_string(tokens).is_none() => {
                let message = format!("`@{}` takes one string", annotation.name);
                self.err(code::ANNOTATION, annotation.span, message, "");
            }
            "p4runtime_translation" => {
                let comma = tokens.iter().position(|token| &*token.text == ",");
                let second = comma.and_then(|at| tokens.get(at + 1));
                let fits = second.is_some_and(|token| match &token.kind {
                    AnnotationTokenKind::Int(_) => true,
                    AnnotationTokenKind::Word => matches!(&*token.text, "bit" | "string"),
                    _ => false,
                });
                if !fits {
                    let help = "write `@p4runtime_translation(\"uri\", bit<W>)` or `..., string)`";
                    self.err(
                        code::ANNOTATION,
                        annotation.span,
                        "the translated type is missing or not allowed",
                        help,
                    );
                }
            }
            _ => {}
        }
    }

    /// The string of `@name`, if there is one.
    pub(super) fn name_annotation(&mut self, written: &'a [Annotation]) -> Option<String> {
        let annotation = written.iter().find(|a| a.name.as_str() == "name")?;
        let text = match &annotation.body {
            AnnotationBody::Tokens(tokens) => joined_string(tokens),
            AnnotationBody::Expressions(items) => match items.as_slice() {
                [only] => match self.annotation_value(only) {
                    Some(AnnotationValue::String(text)) => Some(text),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        if text.is_none() {
            self.bad_name(annotation.span);
        }
        text
    }

    fn bad_name(&mut self, span: Span) {
        self.err(
            code::ANNOTATION,
            span,
            "`@name` takes one string",
            "write `@name(\"...\")`",
        );
    }
}

/// String literals joined by `++`.
fn joined_string(tokens: &[AnnotationToken]) -> Option<String> {
    let mut text = String::new();
    let mut wants_string = true;
    for token in tokens {
        match (&token.kind, wants_string) {
            (AnnotationTokenKind::Str, true) => {
                text.push_str(&super::expr::unescape(&token.text));
                wants_string = false;
            }
            (AnnotationTokenKind::Sign, false) if &*token.text == "++" => wants_string = true,
            _ => return None,
        }
    }
    (!wants_string).then_some(text)
}

/// The tokens of an unstructured annotation as text.
fn token_text(tokens: &[AnnotationToken]) -> String {
    let mut text = String::new();
    for (index, token) in tokens.iter().enumerate() {
        if index > 0 && token.spaced {
            text.push(' ');
        }
        match token.kind {
            AnnotationTokenKind::Str => {
                text.push('"');
                text.push_str(&token.text);
                text.push('"');
            }
            _ => text.push_str(&token.text),
        }
    }
    text
}
