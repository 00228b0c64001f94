//! The steps of a packet for people.
//!
//! In: the engine's events. Out: one line each, indented under the line that begins a pass.

use std::io::{self, Write};

use p4rs::engine::{Event, KeyValue, Verdict};
use p4rs::ir::Program;

/// Writes one event.
pub fn print_event(out: &mut impl Write, program: &Program, event: &Event<'_>) -> io::Result<()> {
    match event {
        Event::Start {
            port,
            length,
            pass: 0,
        } => writeln!(out, "port {port}, {length} bytes"),
        Event::Start { port, length, pass } => {
            writeln!(out, "port {port}, {length} bytes, after {pass} passes")
        }
        Event::ParserState { parser, state } => {
            writeln!(
                out,
                "  state {}.{state}",
                program.parsers[*parser].name.local
            )
        }
        Event::Extract { header, bits } => writeln!(out, "  extract {header}, {bits} bits"),
        Event::ParserError { error } => writeln!(out, "  parser error {error}"),
        Event::Control { control } => {
            writeln!(out, "  control {}", program.controls[*control].name.local)
        }
        Event::TableApply {
            table,
            keys,
            hit,
            priority,
            action,
            data,
        } => {
            write!(out, "  table {}", program.tables[*table].name.control_plane)?;
            write_values(out, " ", keys)?;
            write!(out, " {}", if *hit { "hit" } else { "miss" })?;
            if let Some(priority) = priority {
                write!(out, " (priority {priority})")?;
            }
            write!(out, " => {action}(")?;
            write_values(out, "", data)?;
            writeln!(out, ")")
        }
        Event::Extern { name, detail } => writeln!(out, "  {name}: {detail}"),
        Event::Assign { place, value } => {
            write!(out, "  {place} = ")?;
            write_hex(out, value)?;
            writeln!(out)
        }
        Event::Validity { header, valid } => {
            writeln!(
                out,
                "  {header} {}",
                if *valid { "valid" } else { "invalid" }
            )
        }
        Event::Clone { session, egress } => {
            writeln!(
                out,
                "  clone, session {session}, from {}",
                if *egress { "egress" } else { "ingress" }
            )
        }
        Event::Verdict(verdict) => match verdict {
            Verdict::Transmit { port, length } => {
                writeln!(out, "  transmit to port {port}, {length} bytes")
            }
            Verdict::Drop(reason) => writeln!(out, "  drop ({reason})"),
            Verdict::Resubmit => writeln!(out, "  resubmit"),
            Verdict::Recirculate => writeln!(out, "  recirculate"),
            Verdict::Multicast { group } => writeln!(out, "  multicast to group {group}"),
        },
    }
}

fn write_values(out: &mut impl Write, before: &str, values: &[KeyValue]) -> io::Result<()> {
    for (index, value) in values.iter().enumerate() {
        write!(
            out,
            "{}{}=",
            if index == 0 { before } else { ", " },
            value.name
        )?;
        write_hex(out, &value.value)?;
    }
    Ok(())
}

/// `0x` and the digits without leading zeros.
fn write_hex(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.trim_start_matches('0');
    write!(out, "0x{}", if digits.is_empty() { "0" } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (bytes, expected) in [
            (&[0u8, 0][..], "0x0"),
            (&[0, 0x1f], "0x1f"),
            (&[0xa0, 0], "0xa000"),
            (&[], "0x0"),
        ] {
            let mut out = Vec::new();
            write_hex(&mut out, bytes).expect("a vector takes everything");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
