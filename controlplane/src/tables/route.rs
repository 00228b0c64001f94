//! Table `route`: the way out, by the longest prefix of the destination.

use std::fmt;

use ipnet::IpNet;
use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout, Masked};
use super::{Address, Interface, Table};
use crate::model::Family;

/// A prefix over the pipeline's 128 bits: 96 longer than people write it for IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The first address; bits behind the prefix are zero.
    pub address: Address,
    /// Number of leading bits that count, 0 to 128.
    pub length: u8,
}

impl Prefix {
    /// The priority of its entries: longer ones win; P4Runtime's start at 1.
    pub fn priority(self) -> i32 {
        i32::from(self.length) + 1
    }

    /// The mask of its bits.
    pub fn mask(self) -> Address {
        let wide = match self.length {
            0 => 0,
            length => u128::MAX << (128 - u32::from(length.min(128))),
        };
        Address {
            hi: (wide >> 64) as u64,
            lo: wide as u64,
        }
    }

    /// The prefix with this mask; `None` if the mask is not one of a prefix.
    pub fn from_mask(address: Address, mask: Address) -> Option<Self> {
        let wide = u128::from(mask.hi) << 64 | u128::from(mask.lo);
        let length = wide.leading_ones();
        (wide.count_ones() == length).then_some(Self {
            address,
            length: length as u8,
        })
    }

    /// Whether it covers an address.
    pub fn covers(self, address: Address) -> bool {
        let mask = self.mask();
        address.hi & mask.hi == self.address.hi && address.lo & mask.lo == self.address.lo
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Self {
        let net = net.trunc();
        let longer = if net.addr().is_ipv4() { 96 } else { 0 };
        Self {
            address: net.network().into(),
            length: net.prefix_len() + longer,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address.family(), self.length) {
            (Family::V4, 96..) => write!(f, "{}/{}", self.address, self.length - 96),
            _ => write!(f, "{}/{}", self.address, self.length),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// Destination addresses.
    pub prefix: Prefix,
}

/// Where packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Out of a port.
    Forward {
        /// The port.
        port: u32,
        /// Source address of the frame.
        src_mac: u64,
        /// Destination address of the frame: the next hop.
        dst_mac: u64,
    },
    /// Dropped.
    Blackhole,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Route {
    key: KeyLayout<3>,
    forward: ActionLayout<3>,
    blackhole: ActionLayout<0>,
}

impl Table for Route {
    type Key = Key;
    type Action = Action;
    const NAME: &'static str = "route";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("vpc", MatchKind::Exact, 32)
                .field("dst_hi", MatchKind::Ternary, 64)
                .field("dst_lo", MatchKind::Ternary, 64)
                .uses("forward")
                .uses("blackhole"),
            Requirement::action("forward", &[("port", 32), ("src_mac", 48), ("dst_mac", 48)]),
            Requirement::action("blackhole", &[]),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        let params = ["port", "src_mac", "dst_mac"];
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, ["vpc", "dst_hi", "dst_lo"])?,
            forward: ActionLayout::resolve(schema, Self::NAME, "forward", params)?,
            blackhole: ActionLayout::resolve(schema, Self::NAME, "blackhole", [])?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        let mask = key.prefix.mask();
        self.key.masked(
            &[key.vpc.into()],
            &[
                Masked {
                    value: key.prefix.address.hi,
                    mask: mask.hi,
                },
                Masked {
                    value: key.prefix.address.lo,
                    mask: mask.lo,
                },
            ],
            key.prefix.priority(),
        )
    }

    fn action(&self, action: &Action) -> proto::TableAction {
        match *action {
            Action::Forward {
                port,
                src_mac,
                dst_mac,
            } => self.forward.call([port.into(), src_mac, dst_mac]),
            Action::Blackhole => self.blackhole.call([]),
        }
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Action)> {
        let [vpc, hi, lo] = self.key.read(entry)?;
        let address = Address {
            hi: hi.value,
            lo: lo.value,
        };
        let mask = Address {
            hi: hi.mask,
            lo: lo.mask,
        };
        let prefix = Prefix::from_mask(address, mask)?;
        let action = match self.forward.read(entry) {
            Some([port, src_mac, dst_mac]) => Action::Forward {
                port: port as u32,
                src_mac,
                dst_mac,
            },
            None => self.blackhole.read(entry).map(|[]| Action::Blackhole)?,
        };
        let key = Key {
            vpc: vpc.value as u32,
            prefix,
        };
        (entry.priority == prefix.priority()).then_some((key, action))
    }
}
