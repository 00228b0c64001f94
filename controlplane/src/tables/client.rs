//! Table `client`: which sources are pods and which are this node, for frontends with
//! [`CLASSIFY`](super::frontend::CLASSIFY).

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout, Masked};
use super::route::Prefix;
use super::{Address, Interface, Table};

/// A range of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// Sources.
    pub source: Prefix,
}

/// `client_is`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A pod.
    Pod,
    /// This node.
    Node,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Client {
    key: KeyLayout<3>,
    client_is: ActionLayout<1>,
}

impl Table for Client {
    type Key = Key;
    type Action = Class;
    const NAME: &'static str = "client";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("vpc", MatchKind::Exact, 32)
                .field("src_hi", MatchKind::Ternary, 64)
                .field("src_lo", MatchKind::Ternary, 64)
                .uses("client_is"),
            Requirement::action("client_is", &[("class", 8)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["vpc", "src_hi", "src_lo"])?,
            client_is: ActionLayout::resolve(schema, Self::NAME, "client_is", ["class"])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        let mask = key.source.mask();
        let half = |value, mask| Masked { value, mask };
        self.key.masked(
            &[key.vpc.into()],
            &[
                half(key.source.address.hi, mask.hi),
                half(key.source.address.lo, mask.lo),
            ],
            key.source.priority(),
        )
    }

    fn action(&self, class: &Class) -> proto::TableAction {
        self.client_is.call([match class {
            Class::Pod => 1,
            Class::Node => 2,
        }])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Class)> {
        let [vpc, hi, lo] = self.key.read(entry)?;
        let class = match self.client_is.read(entry)? {
            [1] => Class::Pod,
            [2] => Class::Node,
            _ => return None,
        };
        let of = |hi, lo| Address { hi, lo };
        let key = Key {
            vpc: vpc.value as u32,
            source: Prefix::from_mask(of(hi.value, lo.value), of(hi.mask, lo.mask))?,
        };
        (entry.priority == key.source.priority()).then_some((key, class))
    }
}
