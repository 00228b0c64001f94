//! Table `member`: who is in a set whose clients keep their endpoint (S59).

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};

/// An endpoint of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The set.
    pub set_id: u32,
    /// The endpoint's address.
    pub address: Address,
    /// Its port.
    pub port: u16,
}

/// `is_member`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IsMember {
    /// [`super::endpoint::LOCAL`].
    pub flags: u8,
    /// The endpoint's number, by which it is counted; 0: none.
    pub endpoint_id: u32,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Member {
    key: KeyLayout<4>,
    is_member: ActionLayout<2>,
}

const KEY: [&str; 4] = ["set_id", "endpoint_hi", "endpoint_lo", "endpoint_port"];

impl Table for Member {
    type Key = Key;
    type Action = IsMember;
    const NAME: &'static str = "member";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("set_id", MatchKind::Exact, 32)
                .field("endpoint_hi", MatchKind::Exact, 64)
                .field("endpoint_lo", MatchKind::Exact, 64)
                .field("endpoint_port", MatchKind::Exact, 16)
                .uses("is_member"),
            Requirement::action("is_member", &[("flags", 8), ("endpoint_id", 32)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, KEY)?,
            is_member: ActionLayout::resolve(
                schema,
                Self::NAME,
                "is_member",
                ["flags", "endpoint_id"],
            )?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([
            key.set_id.into(),
            key.address.hi,
            key.address.lo,
            key.port.into(),
        ])
    }

    fn action(&self, known: &IsMember) -> proto::TableAction {
        self.is_member
            .call([known.flags.into(), known.endpoint_id.into()])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, IsMember)> {
        let [set_id, hi, lo, port] = self.key.read_exact(entry)?;
        let [flags, endpoint_id] = self.is_member.read(entry)?;
        Some((
            Key {
                set_id: set_id as u32,
                address: Address { hi, lo },
                port: port as u16,
            },
            IsMember {
                flags: flags as u8,
                endpoint_id: endpoint_id as u32,
            },
        ))
    }
}
