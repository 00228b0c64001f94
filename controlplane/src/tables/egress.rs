//! Table `egress`: ports that the control plane may send packets out of.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Interface, Table};

/// A port as packet_out names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Number in packet_out.
    pub egress_port: u32,
}

/// `emit_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// Number in the data plane.
    pub port: u32,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Egress {
    key: KeyLayout<1>,
    emit_on: ActionLayout<1>,
}

impl Table for Egress {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "egress";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("egress_port", MatchKind::Exact, 32)
                .uses("emit_on"),
            Requirement::action("emit_on", &[("port", 32)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["egress_port"])?,
            emit_on: ActionLayout::resolve(schema, Self::NAME, "emit_on", ["port"])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([key.egress_port.into()])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        self.emit_on.call([action.port.into()])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [egress_port] = self.key.read_exact(entry)?;
        let [port] = self.emit_on.read(entry)?;
        Some((
            Key {
                egress_port: egress_port as u32,
            },
            Action { port: port as u32 },
        ))
    }
}
