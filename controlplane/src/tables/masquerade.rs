//! Table `masquerade`: the source address of connections that get another one.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};
use crate::model::Family;

/// What kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// Family of the connection.
    pub family: Family,
    /// The answer has to find back to the NIC because endpoint and client are on one side of it.
    pub local: bool,
}

/// `masquerade_as`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// The new source address.
    pub address: Address,
    /// The lowest source port.
    pub port_base: u16,
    /// Bits of a hash that are added to it.
    pub port_mask: u16,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Masquerade {
    key: KeyLayout<3>,
    masquerade: ActionLayout<4>,
}

const PARAMS: [&str; 4] = ["src_hi", "src_lo", "port_base", "port_mask"];

impl Table for Masquerade {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "masquerade";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("vpc", MatchKind::Exact, 32)
                .field("family", MatchKind::Exact, 8)
                .field("local", MatchKind::Exact, 8)
                .uses("masquerade_as"),
            Requirement::action(
                "masquerade_as",
                &[
                    ("src_hi", 64),
                    ("src_lo", 64),
                    ("port_base", 16),
                    ("port_mask", 16),
                ],
            ),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["vpc", "family", "local"])?,
            masquerade: ActionLayout::resolve(schema, Self::NAME, "masquerade_as", PARAMS)?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key
            .exact([key.vpc.into(), number(key.family), key.local.into()])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        self.masquerade.call([
            action.address.hi,
            action.address.lo,
            action.port_base.into(),
            action.port_mask.into(),
        ])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [vpc, number, local] = self.key.read_exact(entry)?;
        let [hi, lo, port_base, port_mask] = self.masquerade.read(entry)?;
        let key = Key {
            vpc: vpc as u32,
            family: family(number)?,
            local: local == 1,
        };
        let action = Action {
            address: Address { hi, lo },
            port_base: port_base as u16,
            port_mask: port_mask as u16,
        };
        (local <= 1).then_some((key, action))
    }
}

/// A family as the pipeline's keys have it.
pub(super) fn number(family: Family) -> u64 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

/// The family of such a number.
pub(super) fn family(number: u64) -> Option<Family> {
    match number {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}
