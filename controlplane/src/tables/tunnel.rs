//! Table `tunnel`: how packets that are not translated reach an endpoint.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::masquerade::{family, number};
use super::{Address, Interface, Table};
use crate::model::Family;

/// Endpoints of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// Family of the endpoint.
    pub family: Family,
}

/// How packets get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// In IP (RFC 2003, RFC 2473).
    Ipip {
        /// Outer source address.
        source: Address,
    },
    /// In UDP, as generic UDP encapsulation, variant 1.
    Gue {
        /// Outer source address.
        source: Address,
        /// Outer destination port.
        port: u16,
    },
    /// As they are, in a frame to the endpoint.
    SameL2,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Tunnel {
    key: KeyLayout<2>,
    ipip: ActionLayout<2>,
    gue: ActionLayout<3>,
    same_l2: ActionLayout<0>,
}

impl Table for Tunnel {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "tunnel";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("vpc", MatchKind::Exact, 32)
                .field("family", MatchKind::Exact, 8)
                .uses("ipip")
                .uses("gue")
                .uses("same_l2"),
            Requirement::action("ipip", &[("src_hi", 64), ("src_lo", 64)]),
            Requirement::action("gue", &[("src_hi", 64), ("src_lo", 64), ("dst_port", 16)]),
            Requirement::action("same_l2", &[]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        let gue = ["src_hi", "src_lo", "dst_port"];
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["vpc", "family"])?,
            ipip: ActionLayout::resolve(schema, Self::NAME, "ipip", ["src_hi", "src_lo"])?,
            gue: ActionLayout::resolve(schema, Self::NAME, "gue", gue)?,
            same_l2: ActionLayout::resolve(schema, Self::NAME, "same_l2", [])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([key.vpc.into(), number(key.family)])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        match action {
            Action::Ipip { source } => self.ipip.call([source.hi, source.lo]),
            Action::Gue { source, port } => self.gue.call([source.hi, source.lo, (*port).into()]),
            Action::SameL2 => self.same_l2.call([]),
        }
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [vpc, number] = self.key.read_exact(entry)?;
        let source = |hi, lo| Address { hi, lo };
        let action = if let Some([hi, lo]) = self.ipip.read(entry) {
            Action::Ipip {
                source: source(hi, lo),
            }
        } else if let Some([hi, lo, port]) = self.gue.read(entry) {
            Action::Gue {
                source: source(hi, lo),
                port: port as u16,
            }
        } else {
            self.same_l2.read(entry)?;
            Action::SameL2
        };
        let key = Key {
            vpc: vpc as u32,
            family: family(number)?,
        };
        Some((key, action))
    }
}
