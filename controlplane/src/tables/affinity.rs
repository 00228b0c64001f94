//! Table `affinity`: clients that keep their endpoint.

use std::time::Duration;

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{MatchKind, Requirement, Schema};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::endpoint::{Target, TargetLayout};
use super::entry::KeyLayout;
use super::{Address, Interface, Table};

/// A client of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The frontend's `service_id`.
    pub affinity_id: u32,
    /// The client.
    pub client: Address,
}

/// For how long pins stay unused, by `service_id`: known where Services are compiled, wanted where pins are written.
#[derive(Debug, Default)]
pub struct Timeouts(RwLock<FxHashMap<u32, u32>>);

impl Timeouts {
    /// A Service port remembers its clients for so many seconds, or no longer.
    pub fn set(&self, affinity_id: u32, seconds: Option<u32>) {
        let known = self.0.read().get(&affinity_id).copied();
        match seconds {
            _ if known == seconds => {}
            Some(seconds) => drop(self.0.write().insert(affinity_id, seconds)),
            None => drop(self.0.write().remove(&affinity_id)),
        }
    }

    /// How long a pin of a Service port stays.
    pub fn get(&self, affinity_id: u32) -> Option<Duration> {
        let seconds = self.0.read().get(&affinity_id).copied()?;
        Some(Duration::from_secs(seconds.into()))
    }
}

/// The table in one device.
#[derive(Debug, Clone)]
pub struct Affinity {
    key: KeyLayout<3>,
    pin: TargetLayout,
}

impl Affinity {
    /// Reads the key of an entry that may have no action, as idle notices have them.
    pub fn decode_key(&self, entry: &proto::TableEntry) -> Option<Key> {
        let [affinity_id, hi, lo] = self.key.read_exact(entry)?;
        Some(Key {
            affinity_id: affinity_id as u32,
            client: Address { hi, lo },
        })
    }
}

impl Table for Affinity {
    type Key = Key;
    type Action = Target;
    const NAME: &'static str = "affinity";

    fn requirements(_: Interface) -> Vec<Requirement> {
        vec![
            Requirement::table(Self::NAME)
                .field("affinity_id", MatchKind::Exact, 32)
                .field("client_hi", MatchKind::Exact, 64)
                .field("client_lo", MatchKind::Exact, 64)
                .uses("pin"),
            // What else there is to know of an endpoint is in `member`, and up to date there.
            TargetLayout::requirement("pin", Interface::Basic),
        ]
    }

    fn resolve(schema: &Schema) -> Option<Self> {
        let names = ["affinity_id", "client_hi", "client_lo"];
        Some(Self {
            key: KeyLayout::resolve(schema, Self::NAME, names)?,
            pin: TargetLayout::resolve(schema, Self::NAME, "pin")?,
        })
    }

    fn id(&self) -> u32 {
        self.key.table()
    }

    fn key(&self, key: &Key) -> proto::TableEntry {
        self.key
            .exact([key.affinity_id.into(), key.client.hi, key.client.lo])
    }

    fn action(&self, target: &Target) -> proto::TableAction {
        self.pin.call(target)
    }

    fn decode(&self, entry: &proto::TableEntry) -> Option<(Key, Target)> {
        Some((self.decode_key(entry)?, self.pin.read(entry)?))
    }
}
