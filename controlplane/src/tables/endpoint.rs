//! Table `endpoint`: the slots of the endpoint sets.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Table};

/// One slot of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The set.
    pub set_id: u32,
    /// The slot.
    pub slot: u16,
}

/// `to_endpoint`: where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The endpoint's address.
    pub address: Address,
    /// Its port.
    pub port: u16,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Endpoint {
    key: KeyLayout<2>,
    to_endpoint: ActionLayout<3>,
}

const PARAMS: [&str; 3] = ["endpoint_hi", "endpoint_lo", "endpoint_port"];

impl Table for Endpoint {
    type Key = Key;
    type Action = Target;
    const NAME: &'static str = "endpoint";

    fn requirements() -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("set_id", MatchKind::Exact, 32)
                .field("slot", MatchKind::Exact, 16)
                .uses("to_endpoint"),
            Requirement::action(
                "to_endpoint",
                &[
                    ("endpoint_hi", 64),
                    ("endpoint_lo", 64),
                    ("endpoint_port", 16),
                ],
            ),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["set_id", "slot"])?,
            to_endpoint: ActionLayout::resolve(schema, Self::NAME, "to_endpoint", PARAMS)?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([key.set_id.into(), key.slot.into()])
    }

    fn action(&self, target: &Target) -> proto::TableAction {
        self.to_endpoint
            .call([target.address.hi, target.address.lo, target.port.into()])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Target)> {
        let [set_id, slot] = self.key.read_exact(entry)?;
        let [hi, lo, port] = self.to_endpoint.read(entry)?;
        Some((
            Key {
                set_id: set_id as u32,
                slot: slot as u16,
            },
            Target {
                address: Address { hi, lo },
                port: port as u16,
            },
        ))
    }
}
