//! Source texts and places in them.
//!
//! In: texts, each once per inclusion, and macro expansions, in the order the preprocessor meets them. Out: [`Span`]s
//! that any later stage carries along, and answers to "which file, line, column, through which includes and macros".
//! Invariant: all files of one [`SourceMap`] lie in one numbering of bytes (`u32`), none overlapping, in order of
//! addition; a span's `start..end` is always the physical place of the text, its `origin` the expansion that put it into
//! the program.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most source text one compilation may hold, included files counted each time.
pub const MAX_SOURCE_BYTES: u32 = 32 << 20;

/// Which macro expansion a token came from; [`Origin::WRITTEN`] if it stands in a file as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(u32);

impl Origin {
    /// Not from a macro.
    pub const WRITTEN: Origin = Origin(0);

    /// Whether the token stands in a file as it is.
    pub fn is_written(self) -> bool {
        self == Self::WRITTEN
    }
}

/// A range of source text, and the macro expansion that it went through.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte, in the map's numbering.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// The innermost macro expansion.
    pub origin: Origin,
}

impl Span {
    /// No place: for nodes that no source text stands for.
    pub const NONE: Span = Span {
        start: u32::MAX,
        end: u32::MAX,
        origin: Origin::WRITTEN,
    };

    /// A range of text that stands in a file as it is.
    pub fn new(start: u32, end: u32) -> Self {
        Self {
            start,
            end,
            origin: Origin::WRITTEN,
        }
    }

    /// Whether this is [`Span::NONE`].
    pub fn is_none(self) -> bool {
        self.start == u32::MAX
    }
}

impl fmt::Debug for Span {
    /// Prints nothing under `{:-?}`, so that trees can be compared without their places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.sign_minus() {
            return Ok(());
        }
        if self.is_none() {
            return f.write_str("?");
        }
        write!(f, "{}..{}", self.start, self.end)?;
        if !self.origin.is_written() {
            write!(f, "#{}", self.origin.0)?;
        }
        Ok(())
    }
}

/// One inclusion of one file.
#[derive(Debug)]
pub struct SourceFile {
    /// The name by which it was found.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
    /// Where it begins in the map's numbering.
    pub start: u32,
    /// The `#include` line; none for the main file, the command line and predefined macros.
    pub included_from: Option<Span>,
    line_starts: Vec<u32>,
    line_marks: Vec<LineMark>,
}

/// A `#line` directive: what follows counts from another number, and perhaps under another name.
#[derive(Debug)]
struct LineMark {
    /// Zero-based physical line after the directive.
    physical: usize,
    /// The number that this line bears.
    presumed: usize,
    name: Option<Arc<str>>,
}

impl SourceFile {
    /// One past the last byte.
    pub fn end(&self) -> u32 {
        self.start + self.text.len() as u32
    }
}

/// One macro expansion.
#[derive(Clone, Debug)]
pub struct Expansion {
    /// The macro's name.
    pub name: Arc<str>,
    /// The name in its `#define`.
    pub definition: Span,
    /// Where it was used: itself perhaps within another expansion.
    pub call: Span,
}

/// A place for people: file, line and column counted from one, column in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file's name, after `#line` if there is one.
    pub file: Arc<str>,
    /// The line, after `#line` if there is one.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// All texts and macro expansions of one compilation.
#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
    expansions: Vec<Expansion>,
    next: u32,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text and returns its index in [`SourceMap::files`], or nothing once [`MAX_SOURCE_BYTES`] are exceeded.
    pub fn add(
        &mut self,
        name: Arc<str>,
        text: Arc<str>,
        included_from: Option<Span>,
    ) -> Option<usize> {
        let start = self.next;
        let length = u32::try_from(text.len()).ok()?;
        // One byte between files keeps the end of one apart from the start of the next.
        let next = start.checked_add(length)?.checked_add(1)?;
        if next > MAX_SOURCE_BYTES {
            return None;
        }
        let mut line_starts = vec![0];
        line_starts.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at as u32 + 1),
        );
        self.next = next;
        self.files.push(SourceFile {
            name,
            text,
            start,
            included_from,
            line_starts,
            line_marks: Vec::new(),
        });
        Some(self.files.len() - 1)
    }

    /// Notes an expansion and returns the origin for the tokens that it yields.
    pub fn add_expansion(&mut self, name: Arc<str>, definition: Span, call: Span) -> Origin {
        self.expansions.push(Expansion {
            name,
            definition,
            call,
        });
        Origin(self.expansions.len() as u32)
    }

    /// Notes a `#line` directive: the line after the one that holds `at` bears the number `presumed`.
    pub fn add_line_mark(&mut self, at: Span, presumed: usize, name: Option<Arc<str>>) {
        let Some(index) = self.file_index(at) else {
            return;
        };
        let file = &mut self.files[index];
        let physical = line_of(file, at.start) + 1;
        file.line_marks.push(LineMark {
            physical,
            presumed,
            name,
        });
    }

    /// The texts in the order they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file that holds the span's start.
    pub fn file(&self, span: Span) -> Option<&SourceFile> {
        self.file_index(span).map(|index| &self.files[index])
    }

    fn file_index(&self, span: Span) -> Option<usize> {
        let index = self
            .files
            .partition_point(|file| file.start <= span.start)
            .checked_sub(1)?;
        (span.start <= self.files[index].end()).then_some(index)
    }

    /// The text under a span, cut at the end of its file; empty for [`Span::NONE`].
    pub fn text(&self, span: Span) -> &str {
        let Some(file) = self.file(span) else {
            return "";
        };
        let from = (span.start - file.start) as usize;
        let to = (span.end.min(file.end()).saturating_sub(file.start)) as usize;
        file.text.get(from..to).unwrap_or("")
    }

    /// The expansion behind an origin.
    pub fn expansion(&self, origin: Origin) -> Option<&Expansion> {
        self.expansions.get((origin.0 as usize).checked_sub(1)?)
    }

    /// The place of the span's first byte.
    pub fn location(&self, span: Span) -> Option<Location> {
        let file = self.file(span)?;
        let line = line_of(file, span.start);
        let column_text = file
            .text
            .get(file.line_starts[line] as usize..(span.start - file.start) as usize);
        let column = column_text.map_or(0, |text| text.chars().count()) + 1;
        let mut location = Location {
            file: file.name.clone(),
            line: line + 1,
            column,
        };
        for mark in file
            .line_marks
            .iter()
            .take_while(|mark| mark.physical <= line)
        {
            location.line = mark.presumed + (line - mark.physical);
            if let Some(name) = &mark.name {
                location.file = name.clone();
            }
        }
        Some(location)
    }

    /// The place in a file where the outermost macro of the span was used; the span itself if there is none.
    pub fn outermost(&self, mut span: Span) -> Span {
        while let Some(expansion) = self.expansion(span.origin) {
            span = expansion.call;
        }
        span
    }

    /// The expansions that a span went through, innermost first.
    pub fn expansions_of(&self, span: Span) -> impl Iterator<Item = &Expansion> {
        std::iter::successors(self.expansion(span.origin), |expansion| {
            self.expansion(expansion.call.origin)
        })
    }

    /// The `#include` lines through which the span's file was reached, innermost first.
    pub fn includes_of(&self, span: Span) -> impl Iterator<Item = Span> {
        let included_from = |span: Span| self.file(span).and_then(|file| file.included_from);
        std::iter::successors(included_from(span), move |outer| included_from(*outer))
    }

    /// The span from the start of one to the end of the other. Where they come from different macro expansions it is
    /// taken where both meet; where they lie in different files it is the first.
    pub fn join(&self, from: Span, to: Span) -> Span {
        if from.is_none() {
            return to;
        }
        if to.is_none() {
            return from;
        }
        let (mut from, mut to) = (from, to);
        while from.origin != to.origin {
            // An expansion is noted before those within it: the larger number is never the outer one.
            let inner = if from.origin > to.origin {
                &mut from
            } else {
                &mut to
            };
            let Some(expansion) = self.expansion(inner.origin) else {
                return from;
            };
            *inner = expansion.call;
        }
        if to.end < from.start || self.file_index(from) != self.file_index(to) {
            return from;
        }
        Span {
            start: from.start,
            end: to.end.max(from.end),
            origin: from.origin,
        }
    }
}

fn line_of(file: &SourceFile, position: u32) -> usize {
    let offset = position - file.start;
    file.line_starts
        .partition_point(|start| *start <= offset)
        .saturating_sub(1)
}

/// Source texts by name, held in memory: what a device configuration carries.
///
/// Names are relative paths with `/`; an `#include "a.p4"` in `core/b.p4` looks for `core/a.p4`, then `a.p4`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceBundle {
    /// The name of the file that compilation starts with.
    pub main: String,
    /// All texts by name.
    pub files: BTreeMap<String, String>,
}

impl SourceBundle {
    /// A bundle of one text.
    pub fn single(name: impl Into<String>, text: impl Into<String>) -> Self {
        let main = name.into();
        Self {
            files: BTreeMap::from([(main.clone(), text.into())]),
            main,
        }
    }

    /// Adds a text.
    pub fn insert(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.files.insert(name.into(), text.into());
    }

    /// The text of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(texts: &[&str]) -> SourceMap {
        let mut map = SourceMap::new();
        for (index, text) in texts.iter().enumerate() {
            map.add(format!("f{index}.p4").into(), (*text).into(), None)
                .expect("fits");
        }
        map
    }

    #[test]
    fn locations_count_lines_and_characters() {
        let map = map(&["ab\ncd\n", "é x\n"]);
        assert_eq!(
            map.location(Span::new(4, 5)).expect("place").to_string(),
            "f0.p4:2:2"
        );
        let x = map.files()[1].start + 3;
        assert_eq!(
            map.location(Span::new(x, x + 1))
                .expect("place")
                .to_string(),
            "f1.p4:1:3"
        );
        assert_eq!(map.text(Span::new(x, x + 1)), "x");
        assert_eq!(map.location(Span::NONE), None);
    }

    #[test]
    fn line_marks_renumber_what_follows() {
        let mut map = map(&["#line 100 \"gen.p4\"\nx\ny\n"]);
        map.add_line_mark(Span::new(0, 5), 100, Some("gen.p4".into()));
        assert_eq!(
            map.location(Span::new(21, 22)).expect("place").to_string(),
            "gen.p4:101:1"
        );
        assert_eq!(
            map.location(Span::new(0, 1)).expect("place").to_string(),
            "f0.p4:1:1"
        );
    }

    #[test]
    fn joining_meets_at_the_common_expansion() {
        let mut map = map(&["#define F x + y\nF + z\n"]);
        let call = Span::new(16, 17);
        let origin = map.add_expansion("F".into(), Span::new(8, 9), call);
        let x = Span {
            start: 10,
            end: 11,
            origin,
        };
        let y = Span {
            start: 14,
            end: 15,
            origin,
        };
        assert_eq!(
            map.join(x, y),
            Span {
                start: 10,
                end: 15,
                origin
            }
        );
        assert_eq!(map.join(x, Span::new(20, 21)), Span::new(16, 21));
        assert_eq!(map.outermost(y), call);
        assert_eq!(map.expansions_of(y).count(), 1);
    }

    #[test]
    fn spans_vanish_on_request() {
        assert_eq!(format!("{:?}", Some(Span::new(1, 2))), "Some(1..2)");
        assert_eq!(format!("{:-?}", Some(Span::new(1, 2))), "Some()");
    }
}
