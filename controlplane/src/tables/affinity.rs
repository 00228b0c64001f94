//! Table `affinity`: clients that keep their endpoint.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::endpoint::{Target, TargetLayout};
use super::entry::KeyLayout;
use super::{Address, Interface, Table};

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
    pin: TargetLayout,
}

impl Table for Affinity {
    type Key = Key;
    type Action = Target;
    const NAME: &'static str = "affinity";

    fn requirements(interface: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("affinity_id", MatchKind::Exact, 32)
                .field("client_hi", MatchKind::Exact, 64)
                .field("client_lo", MatchKind::Exact, 64)
                .uses("pin"),
            TargetLayout::requirement("pin", interface),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        let names = ["affinity_id", "client_hi", "client_lo"];
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, names)?,
            pin: TargetLayout::resolve(schema, Self::NAME, "pin")?,
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
        self.pin.call(target)
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Target)> {
        let [affinity_id, hi, lo] = self.key.read_exact(entry)?;
        let key = Key {
            affinity_id: affinity_id as u32,
            client: Address { hi, lo },
        };
        Some((key, self.pin.read(entry)?))
    }
}
