//! Rendering of diagnostics: the one place that decides how they look.
//!
//! In: [`Diagnostic`]s and the [`SourceMap`] that their spans refer to. Out: text with excerpts. A place that came out of a
//! macro is shown where the macro was used, then inside of the macro; a place in an included file says through which
//! lines it was included.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Label, Severity};
use crate::source::{SourceFile, SourceMap, Span};

/// How many macro expansions or inclusions are shown for one place.
const MAX_ORIGINS: usize = 8;

/// Whether the text is for a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No colours.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// Renders all findings, then how many there were if not all were kept.
pub fn render_all(diagnostics: &Diagnostics, map: &SourceMap, style: Style) -> String {
    let mut text: String = diagnostics
        .list()
        .iter()
        .map(|one| render(one, map, style))
        .collect();
    if diagnostics.dropped() > 0 {
        text.push_str(&format!("… and {} more\n", diagnostics.dropped()));
    }
    text
}

/// Renders one finding, with a newline at the end.
pub fn render(diagnostic: &Diagnostic, map: &SourceMap, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let title = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code);
    let mut group = Group::with_title(title).elements(snippets(&diagnostic.labels, map));
    if let Some(main) = diagnostic.labels.first() {
        let included = included_from(main.span, map);
        group = group.elements(included.into_iter().map(|line| Level::NOTE.message(line)));
    }
    group = group.elements(
        diagnostic
            .notes
            .iter()
            .map(|note| Level::NOTE.message(note.as_str())),
    );
    let mut groups = vec![group];
    if let Some(main) = diagnostic.labels.first() {
        groups.extend(macro_groups(main.span, map));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    format!("{}\n", renderer.render(&groups))
}

/// One excerpt per file, that of the main label first.
fn snippets<'a>(labels: &'a [Label], map: &'a SourceMap) -> Vec<Element<'a>> {
    let mut snippets: Vec<(u32, Snippet<'a, annotate_snippets::Annotation<'a>>)> = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let Some((file, range)) = place(map.outermost(label.span), map) else {
            continue;
        };
        let kind = if index == 0 {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let text = (!label.text.is_empty()).then_some(label.text.as_str());
        let annotation = kind.span(range).label(text);
        match snippets.iter().position(|(start, _)| *start == file.start) {
            Some(at) => {
                let (start, snippet) = snippets.remove(at);
                snippets.insert(at, (start, snippet.annotation(annotation)));
            }
            None => {
                let snippet = Snippet::source(&*file.text)
                    .path(&*file.name)
                    .annotation(annotation);
                snippets.push((file.start, snippet));
            }
        }
    }
    snippets
        .into_iter()
        .map(|(_, snippet)| snippet.into())
        .collect()
}

/// The file of a span and its bytes there, on character boundaries and at least one byte wide where there is one.
fn place(span: Span, map: &SourceMap) -> Option<(&SourceFile, Range<usize>)> {
    let file = map.file(span)?;
    let length = file.text.len();
    let floor = |mut at: usize| {
        while !file.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(((span.start - file.start) as usize).min(length));
    let end = floor((span.end.saturating_sub(file.start) as usize).min(length)).max(start);
    Some((file, start..end))
}

fn included_from(span: Span, map: &SourceMap) -> Vec<String> {
    map.includes_of(map.outermost(span))
        .take(MAX_ORIGINS)
        .filter_map(|line| map.location(line))
        .map(|location| format!("included from {}:{}", location.file, location.line))
        .collect()
}

/// For a place within macros: what stands in each macro, from the innermost out.
fn macro_groups<'a>(span: Span, map: &'a SourceMap) -> Vec<Group<'a>> {
    let mut groups = Vec::new();
    let mut at = span;
    for expansion in map.expansions_of(span).take(MAX_ORIGINS) {
        let defined = map.location(expansion.definition);
        let defined =
            defined.map_or_else(String::new, |location| format!(", defined at {location}"));
        let title = Level::NOTE.secondary_title(format!(
            "in expansion of macro `{}`{defined}",
            expansion.name
        ));
        let mut group = Group::with_title(title);
        if let Some((file, range)) = place(at, map) {
            let annotation = AnnotationKind::Primary.span(range);
            group = group.element(
                Snippet::source(&*file.text)
                    .path(&*file.name)
                    .annotation(annotation),
            );
        }
        groups.push(group);
        at = expansion.call;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::{Sources, parse};
    use crate::source::SourceBundle;

    #[test]
    fn places_are_shown_with_includes_and_macros() {
        let mut bundle = SourceBundle::single("main.p4", "#include \"inc.p4\"\n");
        bundle.insert(
            "inc.p4",
            "#define FIELD(t, n) bit<t> n 8\nheader h {\n    FIELD(8, x);\n}\n",
        );
        let parsed = parse(&Sources::from_bundle(bundle));
        let expected = "\
error[syntax]: expected `;`, found `8`
 --> inc.p4:3:5
  |
3 |     FIELD(8, x);
  |     ^^^^^^^^^^^
  |
  = note: included from main.p4:1
note: in expansion of macro `FIELD`, defined at inc.p4:1:9
 --> inc.p4:1:30
  |
1 | #define FIELD(t, n) bit<t> n 8
  |                              ^
";
        assert_eq!(
            render_all(&parsed.diagnostics, &parsed.map, Style::Plain),
            expected
        );
        assert!(render_all(&parsed.diagnostics, &parsed.map, Style::Coloured).contains("\x1b["));
    }

    #[test]
    fn odd_places_do_no_harm() {
        let mut map = SourceMap::new();
        map.add("é.p4".into(), "é\n".into(), None).expect("fits");
        let spans = [
            Span::NONE,
            Span::new(0, 0),
            Span::new(1, 1),
            Span::new(1, 900),
            Span::new(700, 3),
            Span::new(3, 3),
        ];
        for span in spans {
            let found = Diagnostic::error("code", "message")
                .at(span, "label")
                .at(Span::new(0, 2), "other")
                .note("note");
            assert!(
                render(&found, &map, Style::Plain).starts_with("error[code]: message\n"),
                "{span:?}"
            );
        }
    }
}
