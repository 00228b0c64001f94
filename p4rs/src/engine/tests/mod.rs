//! Tests of the whole engine: P4 sources in, packets out.

mod changes;
mod language;
mod learned_ways;
mod packets;
mod pna;
mod related;
mod usual_ways;
mod v1model;

use std::sync::Arc;

use super::{Config, Engine, FieldMatch, NewEntry, Outputs, Time};
use crate::front::Sources;
use crate::ir::{Handle, Table};
use crate::source::SourceBundle;

fn load(sources: &Sources, config: Config) -> Engine {
    let compiled =
        crate::compile(sources).unwrap_or_else(|failure| panic!("{:#?}", failure.diagnostics));
    Engine::new(Arc::new(compiled.checked), config).unwrap()
}

/// A program from its text.
fn engine_with(text: &str, config: Config) -> Engine {
    load(
        &Sources::from_bundle(SourceBundle::single("main.p4", text)),
        config,
    )
}

fn engine(text: &str) -> Engine {
    engine_with(text, Config::default())
}

/// The table whose control-plane name ends like this.
fn table(engine: &Engine, name: &str) -> Handle<Table> {
    let mut tables = engine.program().tables.iter();
    tables
        .find(|(_, table)| table.name.control_plane.ends_with(name))
        .unwrap()
        .0
}

/// Index of an action of a table.
fn action(engine: &Engine, table: Handle<Table>, name: &str) -> usize {
    let program = engine.program();
    let mut actions = program.tables[table].actions.iter();
    actions
        .position(|reference| program.actions[reference.action].name.local == name)
        .unwrap()
}

/// Adds an entry.
fn add(
    engine: &Engine,
    name: &str,
    fields: &[FieldMatch<'_>],
    priority: i32,
    act: &str,
    params: &[&[u8]],
) {
    let table = table(engine, name);
    let call = super::ActionCall {
        action: action(engine, table, act),
        params,
    };
    engine
        .insert(
            Time(0),
            table,
            &NewEntry {
                priority,
                ..NewEntry::new(fields, call)
            },
        )
        .unwrap();
}

/// What leaves the switch: port and bytes.
fn send(engine: &Engine, port: u32, packet: &[u8]) -> Vec<(u32, Vec<u8>)> {
    send_at(engine, Time(0), port, packet)
}

fn send_at(engine: &Engine, now: Time, port: u32, packet: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut out = Outputs::default();
    engine.process(now, port, packet, &mut out);
    out.transmitted()
        .map(|sent| (sent.port, sent.to_vec()))
        .collect()
}
