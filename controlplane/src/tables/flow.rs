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

impl Table for Flow {
    type Key = Key;
    /// The tuple that packets leave with.
    type Action = Tuple;
    const NAME: &'static str = "flow";

    fn requirements(_: Interface) -> Vec<Requirement> {
        Connection::requirements(Self::NAME, "translate")
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
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) key: KeyLayout<8>,
    action: ActionLayout<6>,
}

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
    pub(super) fn requirements(table: &str, action: &str) -> Vec<Requirement> {
        let key = KEY.iter().fold(
            Requirement::table(table).uses(action),
            |table, (name, bits)| table.field(name, MatchKind::Exact, *bits),
        );
        vec![key, Requirement::action(action, &KEY[2..])]
    }

    pub(super) fn resolve(schema: &Schema, table: &str, action: &str) -> Option<Self> {
        let [vpc, protocol, tuple @ ..] = KEY.map(|(name, _)| name);
        let [src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port] = tuple;
        Some(Self {
            key: KeyLayout::resolve(
                schema,
                table,
                [
                    vpc, protocol, src_hi, src_lo, dst_hi, dst_lo, src_port, dst_port,
                ],
            )?,
            action: ActionLayout::resolve(schema, table, action, tuple)?,
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
        self.action.call(numbers(tuple))
    }

    pub(super) fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Tuple)> {
        let [vpc, protocol, tuple @ ..] = self.key.read_exact(entry)?;
        Some((
            Key {
                vpc: vpc as u32,
                protocol: protocol as u8,
                tuple: tuple_of(tuple),
            },
            tuple_of(self.action.read(entry)?),
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
