//! Table `endpoint`: the slots of the endpoint sets.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};
use p4runtime::wire::{Mold, Updates};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};

/// One slot of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The set.
    pub set_id: u32,
    /// The slot.
    pub slot: u16,
}

/// Flag of a target: answers to clients behind the host's port do not cross the NIC.
pub const LOCAL: u8 = 1;

/// `to_endpoint`: where a connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The endpoint's address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// [`LOCAL`].
    pub flags: u8,
    /// Its number, by which it is counted; 0: none.
    pub endpoint_id: u32,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Endpoint {
    key: KeyLayout<2>,
    to_endpoint: TargetLayout,
}

/// An action that leads to an endpoint, as a program has it: with the endpoint's flags and number, or without.
#[derive(Debug, Clone)]
pub(super) enum TargetLayout {
    Full(ActionLayout<5>),
    Basic(ActionLayout<3>),
}

const PARAMS: [&str; 5] = [
    "endpoint_hi",
    "endpoint_lo",
    "endpoint_port",
    "flags",
    "endpoint_id",
];
const WIDTHS: [u32; 5] = [64, 64, 16, 8, 32];

impl TargetLayout {
    /// What the action must have.
    pub fn requirement(action: &str, interface: Interface) -> Requirement {
        let all: Vec<(&str, u32)> = PARAMS.into_iter().zip(WIDTHS).collect();
        match interface {
            Interface::Full => Requirement::action(action, &all),
            Interface::Basic => Requirement::action(action, &all[..3]),
        }
    }

    pub fn resolve(schema: &Schema, table: &str, action: &str) -> Option<Self> {
        let [hi, lo, port, ..] = PARAMS;
        let full = ActionLayout::resolve(schema, table, action, PARAMS);
        full.map(Self::Full).or_else(|| {
            let basic = ActionLayout::resolve(schema, table, action, [hi, lo, port])?;
            Some(Self::Basic(basic))
        })
    }

    pub fn call(&self, target: &Target) -> proto::TableAction {
        let all @ [hi, lo, port, ..] = target_values(target);
        match self {
            Self::Full(layout) => layout.call(all),
            Self::Basic(layout) => layout.call([hi, lo, port]),
        }
    }

    pub fn read(&self, entry: &proto::TableEntry) -> Option<Target> {
        let [hi, lo, port, flags, endpoint_id] = match self {
            Self::Full(layout) => layout.read(entry)?,
            Self::Basic(layout) => {
                let [hi, lo, port] = layout.read(entry)?;
                [hi, lo, port, 0, 0]
            }
        };
        Some(Target {
            address: Address { hi, lo },
            port: port as u16,
            flags: flags as u8,
            endpoint_id: endpoint_id as u32,
        })
    }
}

/// In order of the parameters.
fn target_values(target: &Target) -> [u64; 5] {
    let Address { hi, lo } = target.address;
    let (port, flags) = (target.port.into(), target.flags.into());
    [hi, lo, port, flags, target.endpoint_id.into()]
}

impl Endpoint {
    /// Adds an update; other slots that lead to the same target are [like it](Updates::push_like).
    pub fn push_slot(
        &self,
        updates: &mut Updates,
        kind: proto::update::Type,
        (key, target): (&Key, Option<&Target>),
        owner: &[u8],
    ) -> Mold {
        let values = [key.set_id.into(), key.slot.into()];
        let Some(target) = target else {
            return self.key.push(updates, kind, values, None, owner);
        };
        let all = target_values(target);
        match &self.to_endpoint {
            TargetLayout::Full(layout) => {
                let (action, arguments) = layout.arguments(all);
                let action = Some((action, &arguments[..]));
                self.key.push(updates, kind, values, action, owner)
            }
            TargetLayout::Basic(layout) => {
                let [hi, lo, port, ..] = all;
                let (action, arguments) = layout.arguments([hi, lo, port]);
                let action = Some((action, &arguments[..]));
                self.key.push(updates, kind, values, action, owner)
            }
        }
    }
}

impl Table for Endpoint {
    type Key = Key;
    type Action = Target;
    const NAME: &'static str = "endpoint";

    fn requirements(interface: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("set_id", MatchKind::Exact, 32)
                .field("slot", MatchKind::Exact, 16)
                .uses("to_endpoint"),
            TargetLayout::requirement("to_endpoint", interface),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["set_id", "slot"])?,
            to_endpoint: TargetLayout::resolve(schema, Self::NAME, "to_endpoint")?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([key.set_id.into(), key.slot.into()])
    }

    fn action(&self, target: &Target) -> proto::TableAction {
        self.to_endpoint.call(target)
    }

    // By far the most entries: straight to bytes.
    fn push(
        &self,
        updates: &mut Updates,
        kind: proto::update::Type,
        (key, target): (&Key, Option<&Target>),
        owner: &[u8],
    ) {
        self.push_slot(updates, kind, (key, target), owner);
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Target)> {
        let [set_id, slot] = self.key.read_exact(entry)?;
        let key = Key {
            set_id: set_id as u32,
            slot: slot as u16,
        };
        Some((key, self.to_endpoint.read(entry)?))
    }
}
