//! Table `flow`: open connections, from the client to the VIP; and the tuples that it shares with `reply`.

use std::fmt;

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};

use super::entry::{ActionLayout, KeyLayout};
use super::{Address, Interface, Table};

/// Addresses and ports of one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl Tuple {
    /// The tuple of the answers.
    pub fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} port {} to {} port {}",
            self.src, self.src_port, self.dst, self.dst_port
        )
    }
}

/// A connection's packets as they arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Virtual network.
    pub vpc: u32,
    /// IANA protocol number.
    pub protocol: u8,
    /// Addresses and ports.
    pub tuple: Tuple,
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Flow(Connection);

impl Flow {
    /// The entry with the number by which its packets are counted.
    pub fn counted(&self, entry: proto::TableEntry, endpoint_id: u32) -> proto::TableEntry {
        self.0.counted(entry, endpoint_id)
    }

    /// The number by which an entry's packets are counted; 0: none.
    pub fn endpoint_id(&self, entry: &proto::TableEntry) -> u32 {
        self.0.endpoint_id(entry)
    }
}

impl Table for Flow {
    type Key = Key;
    /// The tuple that packets leave with.
    type Action = Tuple;
    const NAME: &'static str = "flow";

    fn requirements(interface: Interface) -> Vec<Requirement> {
        Connection::requirements(Self::NAME, "translate", interface)
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Connection::resolve(schema, Self::NAME, "translate").map(Self)
    }

    fn id(&self) -> u32 {
        self.0.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.0.key(key)
    }

    fn action(&self, action: &Tuple) -> proto::TableAction {
        self.0.action(action)
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Tuple)> {
        self.0.decode(entry)
    }
}

/// A table from tuples to tuples.
///
/// The endpoint's number stands beside the tuple: it is for counting only, so entries that differ in nothing else are
/// one connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) key: KeyLayout<8>,
    action: Layout,
}

#[derive(Debug, Clone)]
enum Layout {
    /// With the endpoint's number.
    Full(ActionLayout<7>),
    /// Of a program that does not count endpoints.
    Basic(ActionLayout<6>),
}

const ENDPOINT_ID: (&str, u32) = ("endpoint_id", 32);

const KEY: [(&str, u32); 8] = [
    ("vpc", 32),
    ("protocol", 8),
    ("src_hi", 64),
    ("src_lo", 64),
    ("dst_hi", 64),
    ("dst_lo", 64),
    ("src_port", 16),
    ("dst_port", 16),
];

impl Connection {
    pub(super) fn requirements(
        table: &str,
        action: &str,
        interface: Interface,
    ) -> Vec<Requirement> {
        let key = KEY.iter().fold(
            Requirement::table(table).uses(action),
            |table, (name, bits)| table.field(name, MatchKind::Exact, *bits),
        );
        let mut params = KEY[2..].to_vec();
        if interface == Interface::Full {
            params.push(ENDPOINT_ID);
        }
        vec![key, Requirement::action(action, &params)]
    }

    pub(super) fn resolve(schema: &Schema, table: &str, action: &str) -> Option<Self> {
        let [vpc, protocol, tuple @ ..] = KEY.map(|(name, _)| name);
        let [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port] = tuple;
        let (id, _) = ENDPOINT_ID;
        let counted = [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port, id];
        Some(Self {
            key: KeyLayout::resolve(
                schema,
                table,
                [
                    vpc, protocol, src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port,
                ],
            )?,
            action: match ActionLayout::resolve(schema, table, action, counted) {
                Some(layout) => Layout::Full(layout),
                None => Layout::Basic(ActionLayout::resolve(schema, table, action, tuple)?),
            },
        })
    }

    pub(super) fn key(&self, key: &Key) -> proto::TableEntry {
        let [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port] = numbers(&key.tuple);
        self.key.exact([
            key.vpc.into(),
            key.protocol.into(),
            src_hi,
            src_lo,
            dst_hi,
            dst_lo,
            src_port,
            dst_port,
        ])
    }

    pub(super) fn action(&self, tuple: &Tuple) -> proto::TableAction {
        match &self.action {
            Layout::Full(layout) => {
                let [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port] = numbers(tuple);
                layout.call([src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port, 0])
            }
            Layout::Basic(layout) => layout.call(numbers(tuple)),
        }
    }

    pub(super) fn counted(&self, entry: proto::TableEntry, endpoint_id: u32) -> proto::TableEntry {
        let Layout::Full(layout) = &self.action else {
            return entry;
        };
        let Some([src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port, _]) = layout.read(&entry)
        else {
            return entry;
        };
        let id = endpoint_id.into();
        let action = layout.call([src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port, id]);
        proto::TableEntry {
            action: Some(action),
            ..entry
        }
    }

    pub(super) fn endpoint_id(&self, entry: &proto::TableEntry) -> u32 {
        match &self.action {
            Layout::Full(layout) => layout.read(entry).map_or(0, |[.., id]| id as u32),
            Layout::Basic(_) => 0,
        }
    }

    fn arguments(&self, entry: &proto::TableEntry) -> Option<[u64; 6]> {
        match &self.action {
            Layout::Full(layout) => {
                let [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port, _] = layout.read(entry)?;
                Some([src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port])
            }
            Layout::Basic(layout) => layout.read(entry),
        }
    }

    pub(super) fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Tuple)> {
        let [vpc, protocol, tuple @ ..] = self.key.read_exact(entry)?;
        Some((
            Key {
                vpc: vpc as u32,
                protocol: protocol as u8,
                tuple: tuple_of(tuple),
            },
            tuple_of(self.arguments(entry)?),
        ))
    }
}

fn numbers(tuple: &Tuple) -> [u64; 6] {
    [
        tuple.src.hi,
        tuple.src.lo,
        tuple.dst.hi,
        tuple.dst.lo,
        tuple.src_port.into(),
        tuple.dst_port.into(),
    ]
}

fn tuple_of([src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port]: [u64; 6]) -> Tuple {
    Tuple {
        src: Address {
            hi: src_hi,
            lo: src_lo,
        },
        dst: Address {
            hi: dst_hi,
            lo: dst_lo,
        },
        src_port: src_port as u16,
        dst_port: dst_port as u16,
    }
}
