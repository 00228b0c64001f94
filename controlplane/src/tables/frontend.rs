//! Table `frontend`: what happens to connections to one VIP, protocol and port.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Table};

/// Flag of `serve`: look the source up in `source_range`.
pub const CHECK_SOURCE: u16 = 1;
/// Flag of `serve`: look the client up in `affinity`.
pub const AFFINITY: u16 = 2;

/// A VIP with protocol and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// IANA protocol number.
    pub protocol: u8,
    /// Destination address.
    pub address: Address,
    /// Destination port.
    pub port: u16,
}

/// What a frontend says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Take the endpoint in slot `hash & slot_mask` of a set.
    Serve {
        /// The set.
        set_id: u32,
        /// Number of slots minus one.
        slot_mask: u16,
        /// The Service port, for filters and affinity.
        service_id: u32,
        /// [`CHECK_SOURCE`], [`AFFINITY`].
        flags: u16,
    },
    /// Refuse aloud: no endpoint anywhere (S36).
    Reject {
        /// The Service port.
        service_id: u32,
    },
    /// Drop silently.
    Drop {
        /// The Service port.
        service_id: u32,
    },
}

impl Action {
    /// The Service port.
    pub fn service_id(&self) -> u32 {
        match *self {
            Self::Serve { service_id, .. }
            | Self::Reject { service_id }
            | Self::Drop { service_id } => service_id,
        }
    }

    /// The set it serves from.
    pub fn set_id(&self) -> Option<u32> {
        match *self {
            Self::Serve { set_id, .. } => Some(set_id),
            Self::Reject { .. } | Self::Drop { .. } => None,
        }
    }
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Frontend {
    key: KeyLayout<5>,
    serve: ActionLayout<4>,
    reject: ActionLayout<1>,
    drop: ActionLayout<1>,
}

const KEY: [&str; 5] = ["vpc", "protocol", "dst_hi", "dst_lo", "dst_port"];

impl Table for Frontend {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "frontend";

    fn requirements() -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("vpc", MatchKind::Exact, 32)
                .field("protocol", MatchKind::Exact, 8)
                .field("dst_hi", MatchKind::Exact, 64)
                .field("dst_lo", MatchKind::Exact, 64)
                .field("dst_port", MatchKind::Exact, 16)
                .uses("serve")
                .uses("reject")
                .uses("drop")
                .counted(),
            Requirement::action(
                "serve",
                &[
                    ("set_id", 32),
                    ("slot_mask", 16),
                    ("service_id", 32),
                    ("flags", 16),
                ],
            ),
            Requirement::action("reject", &[("service_id", 32)]),
            Requirement::action("drop", &[("service_id", 32)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, KEY)?,
            serve: ActionLayout::resolve(
                schema,
                Self::NAME,
                "serve",
                ["set_id", "slot_mask", "service_id", "flags"],
            )?,
            reject: ActionLayout::resolve(schema, Self::NAME, "reject", ["service_id"])?,
            drop: ActionLayout::resolve(schema, Self::NAME, "drop", ["service_id"])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([
            key.vpc.into(),
            key.protocol.into(),
            key.address.hi,
            key.address.lo,
            key.port.into(),
        ])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        match *action {
            Action::Serve {
                set_id,
                slot_mask,
                service_id,
                flags,
            } => self.serve.call([
                set_id.into(),
                slot_mask.into(),
                service_id.into(),
                flags.into(),
            ]),
            Action::Reject { service_id } => self.reject.call([service_id.into()]),
            Action::Drop { service_id } => self.drop.call([service_id.into()]),
        }
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [vpc, protocol, hi, lo, port] = self.key.read_exact(entry)?;
        let key = Key {
            vpc: vpc as u32,
            protocol: protocol as u8,
            address: Address { hi, lo },
            port: port as u16,
        };
        let action = if let Some([set_id, slot_mask, service_id, flags]) = self.serve.read(entry) {
            Action::Serve {
                set_id: set_id as u32,
                slot_mask: slot_mask as u16,
                service_id: service_id as u32,
                flags: flags as u16,
            }
        } else if let Some([service_id]) = self.reject.read(entry) {
            Action::Reject {
                service_id: service_id as u32,
            }
        } else {
            let [service_id] = self.drop.read(entry)?;
            Action::Drop {
                service_id: service_id as u32,
            }
        };
        Some((key, action))
    }
}
