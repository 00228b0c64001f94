//! The pipeline's tables, one file each: the folder's listing is the pipeline.
//!
//! In: typed keys and actions. Out: P4Runtime entries of one device, and back. A P4 name stands as a string in its
//! table's file and nowhere else, and is compared with the device's P4Info before anything is written.
//!
//! ```text
//! port ▶ egress (packet_out) ▶ frontend ▶ source_range ▶ endpoint ▶ affinity ▶ flow ▶ reply ▶ vip ▶ route ▶ sctp_checksum
//! ```

pub mod affinity;
pub mod client;
pub mod egress;
pub mod endpoint;
pub mod entry;
pub mod flow;
pub mod frontend;
pub mod masquerade;
pub mod member;
pub mod port;
pub mod reply;
pub mod route;
pub mod sctp_checksum;
pub mod source_range;
#[cfg(test)]
mod tests;
pub mod tunnel;
pub mod vip;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use p4runtime::proto::p4::v1 as proto;
use p4runtime::schema::{Mismatch, Missing, Requirement, Schema};
use p4runtime::wire::Updates;

use crate::model::Family;

/// How much a program can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interface {
    /// One set per frontend, no source NAT: a program without the tables `client`, `masquerade`, `tunnel`, `member`.
    Basic,
    /// All tables.
    #[default]
    Full,
}

/// What one table's file says of it.
pub trait Table: Sized {
    /// What an entry matches.
    type Key;
    /// What it does.
    type Action;
    /// Name in P4Info.
    const NAME: &'static str;

    /// The table and its actions as the program must have them.
    fn requirements(interface: Interface) -> Vec<Requirement>;

    /// The ids that a device's program gives them; `None` where [`requirements`](Self::requirements) do not hold.
    fn resolve(schema: &Schema) -> Option<Self>;

    /// Id of the table.
    fn id(&self) -> u32;

    /// An entry with the key and no action: enough to delete it.
    fn key(&self, key: &Self::Key) -> proto::TableEntry;

    /// The action.
    fn action(&self, action: &Self::Action) -> proto::TableAction;

    /// A whole entry.
    fn entry(&self, key: &Self::Key, action: &Self::Action) -> proto::TableEntry {
        proto::TableEntry {
            action: Some(self.action(action)),
            ..self.key(key)
        }
    }

    /// Adds an update to a batch; without an action a deletion. `owner` is the entry's metadata.
    fn push(
        &self,
        updates: &mut Updates,
        kind: proto::update::Type,
        (key, action): (&Self::Key, Option<&Self::Action>),
        owner: &[u8],
    ) {
        let mut entry = match action {
            Some(action) => self.entry(key, action),
            None => self.key(key),
        };
        entry.metadata = owner.to_vec();
        updates.push(&entry::update(kind, entry));
    }

    /// Reads an entry; `None` if it is not of this table or not such as this program writes.
    fn decode(&self, entry: &proto::TableEntry) -> Option<(Self::Key, Self::Action)>;
}

/// All tables of one device.
#[derive(Debug, Clone)]
pub struct Tables {
    /// How much the program can do.
    pub interface: Interface,
    /// Ports.
    pub port: port::Port,
    /// Ports for packet_out.
    pub egress: egress::Egress,
    /// VIPs with their ports.
    pub frontend: frontend::Frontend,
    /// Admitted sources.
    pub source_range: source_range::SourceRange,
    /// Slots of endpoint sets.
    pub endpoint: endpoint::Endpoint,
    /// Clients that keep their endpoint.
    pub affinity: affinity::Affinity,
    /// Connections, client to endpoint.
    pub flow: flow::Flow,
    /// Connections, endpoint to client.
    pub reply: reply::Reply,
    /// Addresses of Services.
    pub vip: vip::Vip,
    /// Corrections of the SCTP checksum.
    pub sctp_checksum: sctp_checksum::SctpChecksum,
    /// Classes of sources.
    pub client: Option<client::Client>,
    /// Endpoints of sets whose clients keep theirs.
    pub member: Option<member::Member>,
    /// New source addresses.
    pub masquerade: Option<masquerade::Masquerade>,
    /// Ways to endpoints for packets that are not translated.
    pub tunnel: Option<tunnel::Tunnel>,
    /// Ways out.
    pub route: route::Route,
}

impl Tables {
    /// What a device's program must have.
    pub fn requirements(interface: Interface) -> Vec<Requirement> {
        let mut all = [
            port::Port::requirements(interface),
            egress::Egress::requirements(interface),
            frontend::Frontend::requirements(interface),
            source_range::SourceRange::requirements(interface),
            endpoint::Endpoint::requirements(interface),
            affinity::Affinity::requirements(interface),
            flow::Flow::requirements(interface),
            reply::Reply::requirements(interface),
            vip::Vip::requirements(interface),
            sctp_checksum::SctpChecksum::requirements(interface),
            route::Route::requirements(interface),
        ]
        .concat();
        if interface == Interface::Full {
            all.extend(client::Client::requirements(interface));
            all.extend(member::Member::requirements(interface));
            all.extend(masquerade::Masquerade::requirements(interface));
            all.extend(tunnel::Tunnel::requirements(interface));
        }
        all
    }

    /// Compares the tables with a device's program and takes its ids; the error lists all that differs.
    pub fn resolve(schema: &Schema) -> Result<Self, Missing> {
        let interface = match schema.table(client::Client::NAME) {
            Some(_) => Interface::Full,
            None => Interface::Basic,
        };
        schema.require(&Self::requirements(interface))?;
        Ok(Self {
            interface,
            port: resolved(schema)?,
            egress: resolved(schema)?,
            frontend: resolved(schema)?,
            source_range: resolved(schema)?,
            endpoint: resolved(schema)?,
            affinity: resolved(schema)?,
            flow: resolved(schema)?,
            reply: resolved(schema)?,
            vip: resolved(schema)?,
            sctp_checksum: resolved(schema)?,
            client: optional(schema, interface)?,
            member: optional(schema, interface)?,
            masquerade: optional(schema, interface)?,
            tunnel: optional(schema, interface)?,
            route: resolved(schema)?,
        })
    }
}

fn optional<T: Table>(schema: &Schema, interface: Interface) -> Result<Option<T>, Missing> {
    match interface {
        Interface::Full => resolved(schema).map(Some),
        Interface::Basic => Ok(None),
    }
}

fn resolved<T: Table>(schema: &Schema) -> Result<T, Missing> {
    T::resolve(schema).ok_or_else(|| {
        Missing(vec![Mismatch::Object {
            kind: "table",
            name: T::NAME.to_owned(),
        }])
    })
}

/// An address as the pipeline carries it: two halves; IPv4 a.b.c.d is 0 and `0x0000ffff_aabbccdd` (RFC 4291, 2.5.5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Address {
    /// The upper 64 bits.
    pub hi: u64,
    /// The lower 64 bits.
    pub lo: u64,
}

/// What stands above an IPv4 address in the lower half.
pub const IPV4_MAPPED: u64 = 0xffff_0000_0000;

impl Address {
    /// Its family.
    pub fn family(self) -> Family {
        if self.hi == 0 && self.lo >> 32 == IPV4_MAPPED >> 32 {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The address as people know it.
    pub fn ip(self) -> IpAddr {
        match self.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(self.lo as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(
                u128::from(self.hi) << 64 | u128::from(self.lo),
            )),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self {
                hi: 0,
                lo: IPV4_MAPPED | u64::from(u32::from(v4)),
            },
            IpAddr::V6(v6) => {
                let wide = u128::from(v6);
                Self {
                    hi: (wide >> 64) as u64,
                    lo: wide as u64,
                }
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}
