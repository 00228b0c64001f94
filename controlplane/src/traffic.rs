//! What Services and their endpoints carried: totals that only grow, out of a device's counters.
//!
//! In: which endpoint has which number, as the compiler gives numbers out; the device's cells of these numbers, read now
//! and then; connections and refusals of the slow path. Out: totals per endpoint and per Service port, and which
//! numbers may be given to other endpoints. Shared by the reconciler, the slow path, and who reads the device.
//!
//! Invariant: a total never falls and never jumps. A cell counts for one endpoint only: a number whose endpoint left is
//! given out again only after no connection in the device carries it and its cells were set to 0. A cell that is lower than
//! before belongs to a device that began anew: all of it is new.
//!
//! ```text
//! assigned ─▶ counted ─▶ retired (connections drain) ─▶ no connection left ─▶ cells set to 0 ─▶ free
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::tables::Address;

#[cfg(test)]
mod tests;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets from clients to endpoints.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets from endpoints to clients.
    pub reply_packets: u64,
    /// Their bytes.
    pub reply_bytes: u64,
    /// Connections opened.
    pub connections: u64,
}

impl Traffic {
    /// What was added since; all of it where the counter began anew.
    fn since(self, before: Self) -> Self {
        let new = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            packets: new(self.packets, before.packets),
            bytes: new(self.bytes, before.bytes),
            reply_packets: new(self.reply_packets, before.reply_packets),
            reply_bytes: new(self.reply_bytes, before.reply_bytes),
            connections: new(self.connections, before.connections),
        }
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
        self.reply_packets += more.reply_packets;
        self.reply_bytes += more.reply_bytes;
        self.connections += more.connections;
    }
}

/// What happened to the number of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// An endpoint has it.
    Given {
        /// The number.
        id: u32,
        /// The Service port: `namespace/name:port/PROTOCOL`.
        owner: Arc<str>,
        /// The endpoint.
        endpoint: (Address, u16),
    },
    /// Its endpoint left.
    Taken(u32),
    /// Nobody's, but its cells may hold what an earlier run left.
    Stale(u32),
    /// Another run's numbers count: all given ones are void.
    Void,
}

/// The totals of one endpoint of one Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTotal {
    /// `namespace/name:port/PROTOCOL`.
    pub owner: Arc<str>,
    /// Address and port; port 0 is one of direct server return.
    pub endpoint: SocketAddr,
    /// What it carried.
    pub traffic: Traffic,
    /// Open connections.
    pub flows: u64,
}

/// The totals of one Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTotal {
    /// `namespace/name:port/PROTOCOL`.
    pub owner: Arc<str>,
    /// Its port number.
    pub port: u16,
    /// What its endpoints carried.
    pub traffic: Traffic,
    /// Open connections.
    pub flows: u64,
    /// Packets that were refused because nothing serves them.
    pub rejects: u64,
}

/// The totals; see the module.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    services: FxHashMap<Arc<str>, Service>,
    /// Owners by their number in the tables.
    owners: FxHashMap<u32, Arc<str>>,
    counted: FxHashMap<u32, Counted>,
    stale: FxHashSet<u32>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Service {
    id: u32,
    port: u16,
    /// It is still wanted.
    exists: bool,
    traffic: Traffic,
    rejects: u64,
    /// Which numbers count for which of its endpoints: several for one that left and came back.
    numbers: BTreeMap<(Address, u16), SmallVec<[u32; 1]>>,
}

#[derive(Debug)]
struct Counted {
    owner: Arc<str>,
    endpoint: (Address, u16),
    /// The device's cells when they were last read.
    cells: Traffic,
    total: Traffic,
    flows: u64,
    retired: bool,
}

/// What one reading of a device found.
#[derive(Debug, Default)]
pub struct Reading {
    /// Cells by number.
    pub cells: FxHashMap<u32, Traffic>,
    /// Open connections by number; none if they were not counted.
    pub flows: Option<FxHashMap<u32, u64>>,
    /// Numbers that remembered clients carry, beside those of open connections.
    pub remembered: FxHashSet<u32>,
}

impl Ledger {
    /// A Service port has this number in the tables, and this port number.
    pub fn serves(&self, owner: &Arc<str>, service_id: u32, port: u16) {
        let mut books = self.0.lock();
        let service = books.services.entry(owner.clone()).or_default();
        let before = std::mem::replace(&mut service.id, service_id);
        service.port = port;
        service.exists = true;
        if before != service_id {
            books.owners.remove(&before);
            books.owners.insert(service_id, owner.clone());
        }
    }

    /// A Service port is gone. Its totals stay until its last connection is.
    pub fn gone(&self, owner: &Arc<str>) {
        let mut books = self.0.lock();
        if let Some(service) = books.services.get_mut(owner) {
            service.exists = false;
            let id = service.id;
            books.owners.remove(&id);
        }
        books.forget(owner);
    }

    /// Numbers were given out or came back, in this order.
    pub fn number(&self, changes: impl IntoIterator<Item = Numbering>) {
        let mut books = self.0.lock();
        for change in changes {
            books.number(change);
        }
    }

    /// Numbers that may be given out again; each is told once.
    pub fn free(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.lock().free)
    }

    /// The slow path set up a connection.
    pub fn opened(&self, endpoint_id: u32) {
        let mut books = self.0.lock();
        let one = Traffic {
            connections: 1,
            ..Traffic::default()
        };
        books.add(endpoint_id, one);
    }

    /// A packet to a Service port was refused.
    pub fn rejected(&self, service_id: u32) {
        let mut books = self.0.lock();
        let Some(owner) = books.owners.get(&service_id).cloned() else {
            return;
        };
        books.services.entry(owner).or_default().rejects += 1;
    }

    /// Numbers whose cells are to be read, in order; and whether some wait for their last connection.
    pub fn wanted(&self) -> (Vec<u32>, bool) {
        let books = self.0.lock();
        let mut ids: Vec<u32> = books.counted.keys().copied().collect();
        ids.sort_unstable();
        let waits = books.counted.values().any(|counted| counted.retired);
        (ids, waits || !books.stale.is_empty())
    }

    /// Takes a reading in. Returns the numbers whose cells are to be set to 0; [`cleared`](Self::cleared) says which were.
    pub fn take(&self, reading: &Reading) -> Vec<u32> {
        let mut books = self.0.lock();
        for (id, cells) in &reading.cells {
            let Some(counted) = books.counted.get_mut(id) else {
                continue;
            };
            let before = std::mem::replace(&mut counted.cells, *cells);
            let new = cells.since(before);
            books.add(*id, new);
        }
        let Some(flows) = &reading.flows else {
            return Vec::new();
        };
        for (id, counted) in &mut books.counted {
            counted.flows = flows.get(id).copied().unwrap_or(0);
        }
        let unused = |id: &u32| !flows.contains_key(id) && !reading.remembered.contains(id);
        let retired = books.counted.iter().filter(|(_, counted)| counted.retired);
        let retired = retired.map(|(id, _)| *id);
        let mut done: Vec<u32> = retired.chain(books.stale.iter().copied()).collect();
        done.retain(unused);
        done.sort_unstable();
        done
    }

    /// The device's cells of these numbers are 0 now.
    pub fn cleared(&self, ids: &[u32]) {
        let mut books = self.0.lock();
        for id in ids {
            let stale = books.stale.remove(id);
            if stale || books.counted.get(id).is_some_and(|counted| counted.retired) {
                books.close(*id);
                books.free.push(*id);
            }
        }
    }

    /// Totals of all Service ports, in order of owner.
    pub fn services(&self) -> Vec<ServiceTotal> {
        let books = self.0.lock();
        let mut flows: FxHashMap<&Arc<str>, u64> = FxHashMap::default();
        for counted in books.counted.values() {
            *flows.entry(&counted.owner).or_default() += counted.flows;
        }
        let mut all: Vec<_> = books
            .services
            .iter()
            .map(|(owner, service)| ServiceTotal {
                owner: owner.clone(),
                port: service.port,
                traffic: service.traffic,
                flows: flows.get(owner).copied().unwrap_or(0),
                rejects: service.rejects,
            })
            .collect();
        all.sort_by(|a, b| a.owner.cmp(&b.owner));
        all
    }

    /// Totals of all endpoints, in order of owner and endpoint, those included that have left and still have open
    /// connections.
    pub fn endpoints(&self) -> Vec<EndpointTotal> {
        type Place<'a> = (&'a Arc<str>, (Address, u16));
        let books = self.0.lock();
        let mut all: FxHashMap<Place<'_>, (Traffic, u64)> = FxHashMap::default();
        for counted in books.counted.values() {
            let (traffic, flows) = all.entry((&counted.owner, counted.endpoint)).or_default();
            *traffic += counted.total;
            *flows += counted.flows;
        }
        let mut all: Vec<_> = all
            .into_iter()
            .map(
                |((owner, (address, port)), (traffic, flows))| EndpointTotal {
                    owner: owner.clone(),
                    endpoint: SocketAddr::new(address.ip(), port),
                    traffic,
                    flows,
                },
            )
            .collect();
        all.sort_by(|a, b| (&a.owner, a.endpoint).cmp(&(&b.owner, b.endpoint)));
        all
    }
}

impl Books {
    fn number(&mut self, change: Numbering) {
        match change {
            Numbering::Given {
                id,
                owner,
                endpoint,
            } => {
                self.close(id);
                let service = self.services.entry(owner.clone()).or_default();
                service.numbers.entry(endpoint).or_default().push(id);
                self.stale.remove(&id);
                let counted = Counted {
                    owner,
                    endpoint,
                    cells: Traffic::default(),
                    total: Traffic::default(),
                    flows: 0,
                    retired: false,
                };
                self.counted.insert(id, counted);
            }
            Numbering::Taken(id) => {
                if let Some(counted) = self.counted.get_mut(&id) {
                    counted.retired = true;
                }
            }
            Numbering::Stale(id) => {
                if !self.counted.contains_key(&id) {
                    self.stale.insert(id);
                }
            }
            Numbering::Void => {
                self.counted.clear();
                self.stale.clear();
                self.free.clear();
                self.services.retain(|_, service| service.exists);
                self.services
                    .values_mut()
                    .for_each(|service| service.numbers.clear());
            }
        }
    }

    fn add(&mut self, id: u32, new: Traffic) {
        let Some(counted) = self.counted.get_mut(&id) else {
            return;
        };
        counted.total += new;
        if let Some(service) = self.services.get_mut(&counted.owner) {
            service.traffic += new;
        }
    }

    /// Ends a number. What it counted stays with its endpoint, should that have come back under another number.
    fn close(&mut self, id: u32) {
        let Some(closed) = self.counted.remove(&id) else {
            return;
        };
        let Some(service) = self.services.get_mut(&closed.owner) else {
            return;
        };
        if let Entry::Occupied(mut numbers) = service.numbers.entry(closed.endpoint) {
            numbers.get_mut().retain(|number| *number != id);
            let heir = numbers.get().first().copied();
            if let Some(heir) = heir.and_then(|heir| self.counted.get_mut(&heir)) {
                heir.total += closed.total;
            } else {
                numbers.remove();
            }
        }
        self.forget(&closed.owner);
    }

    /// Forgets a Service port that is gone, with its last endpoint.
    fn forget(&mut self, owner: &Arc<str>) {
        let over = |service: &Service| !service.exists && service.numbers.is_empty();
        if self.services.get(owner).is_some_and(over) {
            self.services.remove(owner);
        }
    }
}
