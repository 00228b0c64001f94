//! Steps of packets as log lines (`--trace`).
//!
//! In: the engine's events. Out: one `tracing` event per step at level INFO with target `softnic::packet`.

use std::fmt::Write as _;

use p4rs::engine::{Event, KeyValue, Tracer as EngineTracer};
use p4rs::ir::Program;

/// Writes the steps of one packet.
pub(crate) struct Tracer<'a> {
    program: &'a Program,
}

impl<'a> Tracer<'a> {
    pub fn new(program: &'a Program) -> Self {
        Self { program }
    }

    fn line(&self, event: &Event<'_>) -> String {
        match event {
            Event::Start { port, length, pass } => {
                format!("── {length} bytes from port {port}, pass {pass}")
            }
            Event::ParserState { parser, state } => {
                format!(
                    "parser {}: {state}",
                    self.program.parsers[*parser].name.local
                )
            }
            Event::Extract { header, bits } => format!("extract {header}: {bits} bits"),
            Event::ParserError { error } => format!("parser error {error}"),
            Event::Control { control } => {
                format!("control {}", self.program.controls[*control].name.local)
            }
            Event::TableApply {
                table,
                keys,
                hit,
                priority,
                action,
                data,
            } => {
                let name = &self.program.tables[*table].name.control_plane;
                let verdict = if *hit { "hit" } else { "miss" };
                let priority = priority
                    .map(|p| format!(" priority {p}"))
                    .unwrap_or_default();
                format!(
                    "table {name} [{}] {verdict}{priority}: {action}({})",
                    values(keys),
                    values(data)
                )
            }
            Event::Extern { name, detail } => format!("{name}: {detail}"),
            Event::Assign { place, value } => format!("{place} = {}", hex(value)),
            Event::Validity { header, valid } => {
                format!("{header} is {}", if *valid { "valid" } else { "invalid" })
            }
            Event::Clone { session, egress } => {
                format!(
                    "clone to session {session} from {}",
                    if *egress { "egress" } else { "ingress" }
                )
            }
            Event::Verdict(verdict) => format!("{verdict:?}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in p4runtime::value::canonical(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn values(values: &[KeyValue]) -> String {
    let one = |value: &KeyValue| format!("{}={}", value.name, hex(&value.value));
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl EngineTracer for Tracer<'_> {
    fn event(&mut self, event: &Event<'_>) {
        tracing::info!(target: "softnic::packet", "{}", self.line(event));
    }
}
