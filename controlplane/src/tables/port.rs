//! Table `port`: what is behind an ingress port.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Interface, Table};

/// Role of a port with this node's pods behind it.
pub const ROLE_HOST: u8 = 1;
/// Role of a port with everything else behind it.
pub const ROLE_NETWORK: u8 = 2;
/// The port behind which the control plane sits.
pub const SLOW_PORT: u32 = 255;

/// An ingress port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Number in the data plane.
    pub ingress_port: u32,
}

/// `attach`: where its packets belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Action {
    /// Virtual network.
    pub vpc: u32,
    /// [`ROLE_HOST`] or [`ROLE_NETWORK`].
    pub role: u8,
    /// Where packets go that no route covers; 0: nowhere.
    pub peer_port: u32,
    /// [`SLOW_PORT`], or 0: packets from here never go to the control plane.
    pub slow_port: u32,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Port {
    key: KeyLayout<1>,
    attach: ActionLayout<4>,
}

impl Table for Port {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "port";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("ingress_port", MatchKind::Exact, 32)
                .uses("attach"),
            Requirement::action(
                "attach",
                &[
                    ("vpc", 32),
                    ("role", 8),
                    ("peer_port", 32),
                    ("slow_port", 32),
                ],
            ),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["ingress_port"])?,
            attach: ActionLayout::resolve(
                schema,
                Self::NAME,
                "attach",
                ["vpc", "role", "peer_port", "slow_port"],
            )?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key.exact([key.ingress_port.into()])
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        self.attach.call([
            action.vpc.into(),
            action.role.into(),
            action.peer_port.into(),
            action.slow_port.into(),
        ])
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [ingress_port] = self.key.read_exact(entry)?;
        let [vpc, role, peer_port, slow_port] = self.attach.read(entry)?;
        Some((
            Key {
                ingress_port: ingress_port as u32,
            },
            Action {
                vpc: vpc as u32,
                role: role as u8,
                peer_port: peer_port as u32,
                slow_port: slow_port as u32,
            },
        ))
    }
}
