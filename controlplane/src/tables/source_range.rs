//! Table `source_range`: sources that a frontend with [`CHECK_SOURCE`](super::frontend::CHECK_SOURCE) admits.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout, Masked};
use super::route::Prefix;
use super::{Address, Interface, Table};

/// A range of a Service port's clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The frontend's `service_id`.
    pub range_id: u32,
    /// Admitted sources.
    pub source: Prefix,
}

/// `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Allow;

/// The table in one device.
#[derive(Debug, Clone)]
pub struct SourceRange {
    key: KeyLayout<3>,
    allow: ActionLayout<0>,
}

impl Table for SourceRange {
    type Key = Key;
    type Action = Allow;
    const NAME: &'static str = "source_range";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("range_id", MatchKind::Exact, 32)
                .field("src_hi", MatchKind::Ternary, 64)
                .field("src_lo", MatchKind::Ternary, 64)
                .uses("allow"),
            Requirement::action("allow", &[]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["range_id", "src_hi", "src_lo"])?,
            allow: ActionLayout::resolve(schema, Self::NAME, "allow", [])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        let mask = key.source.mask();
        self.key.masked(
            &[key.range_id.into()],
            &[
                Masked {
                    value: key.source.address.hi,
                    mask: mask.hi,
                },
                Masked {
                    value: key.source.address.lo,
                    mask: mask.lo,
                },
            ],
            key.source.priority(),
        )
    }

    fn action(&self, _: &Allow) -> proto::TableAction {
        self.allow.call([])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Allow)> {
        let [range_id, hi, lo] = self.key.read(entry)?;
        self.allow.read(entry)?;
        let address = Address {
            hi: hi.value,
            lo: lo.value,
        };
        let key = Key {
            range_id: range_id.value as u32,
            source: Prefix::from_mask(
                address,
                Address {
                    hi: hi.mask,
                    lo: lo.mask,
                },
            )?,
        };
        (entry.priority == key.source.priority()).then_some((key, Allow))
    }
}
