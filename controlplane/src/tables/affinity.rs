//! Table `affinity`: clients that keep their endpoint.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::endpoint::Target;
use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Table};

/// A client of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The frontend's `service_id`.
    pub affinity_id: u32,
    /// The client.
    pub client: Address,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Affinity {
    key: KeyLayout<3>,
    pin: ActionLayout<3>,
}

const PARAMS: [&str; 3] = ["endpoint_hi", "endpoint_lo", "endpoint_port"];

impl Table for Affinity {
    type Key = Key;
    type Action = Target;
    const NAME: &'static str = "affinity";

    fn requirements() -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("affinity_id", MatchKind::Exact, 32)
                .field("client_hi", MatchKind::Exact, 64)
                .field("client_lo", MatchKind::Exact, 64)
                .uses("pin"),
            Requirement::action(
                "pin",
                &[
                    ("endpoint_hi", 64),
                    ("endpoint_lo", 64),
                    ("endpoint_port", 16),
                ],
            ),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        let names = ["affinity_id", "client_hi", "client_lo"];
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, names)?,
            pin: ActionLayout::resolve(schema, Self::NAME, "pin", PARAMS)?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key
            .exact([key.affinity_id.into(), key.client.hi, key.client.lo])
    }

    fn action(&self, target: &Target) -> proto::TableAction {
        self.pin
            .call([target.address.hi, target.address.lo, target.port.into()])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Target)> {
        let [affinity_id, hi, lo] = self.key.read_exact(entry)?;
        let [to_hi, to_lo, port] = self.pin.read(entry)?;
        Some((
            Key {
                affinity_id: affinity_id as u32,
                client: Address { hi, lo },
            },
            Target {
                address: Address {
                    hi: to_hi,
                    lo: to_lo,
                },
                port: port as u16,
            },
        ))
    }
}
