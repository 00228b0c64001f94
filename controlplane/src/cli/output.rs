//! What commands print.
//!
//! In: rows that can be serialised. Out: a table for people, or JSON or YAML for programs, on stdout. Colours appear
//! only on a terminal.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Something that went as it should.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something that did not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What only leads to something.
pub const FAINT: Style = Style::new().dimmed();
/// Headings.
pub const HEAD: Style = Style::new().bold();

/// Prints a value: as JSON or YAML, or the table that `table` makes of it.
///
/// # Errors
/// When stdout is gone.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let text = match format {
        Format::Table => table(value),
        Format::Json => serde_json::to_string_pretty(value).context("cannot write this as JSON")?,
        Format::Yaml => serde_saphyr::to_string(value).context("cannot write this as YAML")?,
    };
    write_out(text.trim_end())
}

/// Writes lines to stdout. A reader that has seen enough, as `head` does, is no error.
///
/// # Errors
/// When stdout cannot be written otherwise.
pub fn write_out(text: &str) -> anyhow::Result<()> {
    match writeln!(anstream::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}

/// A table with a heading; the columns named in `right` are numbers.
pub fn table<const N: usize>(
    heading: [&str; N],
    right: &[usize],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    for row in rows {
        table.add_row(row);
    }
    for at in 0..N {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if right.contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    match lines.split_first() {
        Some((head, rest)) => {
            let head = format!("{HEAD}{head}{HEAD:#}");
            std::iter::once(head)
                .chain(rest.iter().cloned())
                .collect::<Vec<_>>()
                .join("\n")
        }
        None => String::new(),
    }
}

/// `text` in a style.
pub fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_plain_columns() {
        let text = table(
            ["NAME", "COUNT"],
            &[1],
            [["a".into(), "1".into()], ["longer".into(), "200".into()]],
        );
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, "NAME    COUNT\na           1\nlonger    200");
    }
}
