//! Table `reply`: open connections, from the endpoint back to the client.

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{Requirement, Schema};

use super::flow::{Connection, Key, Tuple};
use super::{Interface, Table};

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Reply(Connection);

impl Reply {
    /// The entry with the number by which its packets are counted.
    pub fn counted(&self, entry: proto::TableEntry, endpoint_id: u32) -> proto::TableEntry {
        self.0.counted(entry, endpoint_id)
    }
}

impl Table for Reply {
    type Key = Key;
    /// The tuple that packets leave with: from the VIP to the client.
    type Action = Tuple;
    const NAME: &'static str = "reply";

    fn requirements(interface: Interface) -> Vec<Requirement> {
        Connection::requirements(Self::NAME, "translate_back", interface)
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        Connection::resolve(schema, Self::NAME, "translate_back").map(Self)
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
