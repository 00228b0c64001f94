//! Table `frontend`: what happens to connections to one VIP, protocol and port.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};

/// Flag of `serve`: look the source up in `source_range`.
pub const CHECK_SOURCE: u16 = 1;
/// Flag of `serve`: look the client up in `affinity`.
pub const AFFINITY: u16 = 2;

/// Flags of `serve`: another source address for clients that are pods, this node, all others.
pub const MASQUERADE_POD: u16 = 0x0004;
/// See [`MASQUERADE_POD`].
pub const MASQUERADE_NODE: u16 = 0x0008;
/// See [`MASQUERADE_POD`].
pub const MASQUERADE_OUTSIDE: u16 = 0x0010;
/// Flag of `serve`: packets go to the endpoint as they are.
pub const DSR: u16 = 0x0020;
/// Flag of `serve`: the client's address alone picks the slot.
pub const HASH_CLIENT: u16 = 0x0040;
/// Flag of `serve`: the address called alone picks the slot.
pub const HASH_VIP: u16 = 0x0080;
/// Flag of `serve`: look the client up in `client`; else everybody counts as from outside.
pub const CLASSIFY: u16 = 0x0100;
/// Flag of `serve`: where there is no set, refuse aloud instead of dropping.
pub const REFUSE: u16 = 0x0200;
/// `affinity_profile` where the control plane writes pins.
pub const NO_PROFILE: u8 = 0xff;

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
        /// The set for clients that are pods or this node; 0: none.
        set_id: u32,
        /// Its number of slots minus one.
        slot_mask: u16,
        /// The set for all others; 0: none.
        outside_set_id: u32,
        /// Its number of slots minus one.
        outside_slot_mask: u16,
        /// The Service port, for filters and affinity.
        service_id: u32,
        /// [`CHECK_SOURCE`] and those below it.
        flags: u16,
        /// Expiry profile with which the data plane learns pins, or [`NO_PROFILE`].
        affinity_profile: u8,
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

    /// The sets it serves from, each once, with their masks.
    pub fn sets(&self) -> [Option<(u32, u16)>; 2] {
        let Self::Serve {
            set_id,
            slot_mask,
            outside_set_id,
            outside_slot_mask,
            ..
        } = *self
        else {
            return [None, None];
        };
        let inside = (set_id != 0).then_some((set_id, slot_mask));
        let outside = (outside_set_id != 0).then_some((outside_set_id, outside_slot_mask));
        [inside, outside.filter(|_| inside != outside)]
    }
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Frontend {
    key: KeyLayout<5>,
    serve: Serve,
    reject: ActionLayout<1>,
    drop: ActionLayout<1>,
}

/// `serve` as a program has it: with a set for clients from outside, or with one set for all.
#[derive(Debug, Clone)]
enum Serve {
    Full(ActionLayout<7>),
    Basic(ActionLayout<4>),
}

const SERVE: [(&str, u32); 7] = [
    ("set_id", 32),
    ("slot_mask", 16),
    ("outside_set_id", 32),
    ("outside_slot_mask", 16),
    ("service_id", 32),
    ("flags", 16),
    ("affinity_profile", 8),
];
const BASIC_SERVE: [(&str, u32); 4] = [SERVE[0], SERVE[1], SERVE[4], SERVE[5]];

impl Serve {
    fn resolve(schema: &Schema) -> Option<Self> {
        let table = Frontend::NAME;
        let full = ActionLayout::resolve(schema, table, "serve", SERVE.map(|(name, _)| name));
        full.map(Self::Full).or_else(|| {
            let names = BASIC_SERVE.map(|(name, _)| name);
            ActionLayout::resolve(schema, table, "serve", names).map(Self::Basic)
        })
    }

    fn call(&self, arguments: [u64; 7]) -> proto::TableAction {
        match self {
            Self::Full(layout) => layout.call(arguments),
            Self::Basic(layout) => {
                let [set, mask, _, _, service, flags, _] = arguments;
                layout.call([set, mask, service, flags])
            }
        }
    }

    fn read(&self, entry: &proto::TableEntry) -> Option<[u64; 7]> {
        match self {
            Self::Full(layout) => layout.read(entry),
            Self::Basic(layout) => {
                let [set, mask, service, flags] = layout.read(entry)?;
                Some([set, mask, set, mask, service, flags, NO_PROFILE.into()])
            }
        }
    }
}

const KEY: [&str; 5] = ["vpc", "protocol", "dst_hi", "dst_lo", "dst_port"];

impl Table for Frontend {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "frontend";

    fn requirements(interface: Interface) -> Vec<Requirement> {
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
            match interface {
                Interface::Full => Requirement::action("serve", &SERVE),
                Interface::Basic => Requirement::action("serve", &BASIC_SERVE),
            },
            Requirement::action("reject", &[("service_id", 32)]),
            Requirement::action("drop", &[("service_id", 32)]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, KEY)?,
            serve: Serve::resolve(schema)?,
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
                outside_set_id,
                outside_slot_mask,
                service_id,
                flags,
                affinity_profile,
            } => self.serve.call([
                set_id.into(),
                slot_mask.into(),
                outside_set_id.into(),
                outside_slot_mask.into(),
                service_id.into(),
                flags.into(),
                affinity_profile.into(),
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
        let action = if let Some(arguments) = self.serve.read(entry) {
            let [
                set_id,
                slot_mask,
                outside_set_id,
                outside_slot_mask,
                service_id,
                flags,
                affinity_profile,
            ] = arguments;
            Action::Serve {
                set_id: set_id as u32,
                slot_mask: slot_mask as u16,
                outside_set_id: outside_set_id as u32,
                outside_slot_mask: outside_slot_mask as u16,
                service_id: service_id as u32,
                flags: flags as u16,
                affinity_profile: affinity_profile as u8,
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
