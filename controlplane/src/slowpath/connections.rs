//! The connections that the slow path opened: which pick each has, and which reply tuples are taken.
//!
//! In: first packets and the pipeline's picks. Out: the tuple to install. Invariant: every reply tuple belongs to one
//! connection at most.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::frame::SCTP;
use crate::compile::PortRange;
use crate::device::stale::Stale;
use crate::tables::Address;
use crate::tables::flow::{Key, Tuple};

/// Source ports drawn at random before all are looked at in turn.
const DRAWS: u32 = 64;
/// Ports below are not given out.
const FIRST_PORT: u16 = 1024;

/// Whether a connection's entries are in the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Yes, or being written.
    Installed,
    /// Removed because it was idle; the pick is kept in case it goes on.
    Idle,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    new: Tuple,
    /// By which its packets are counted.
    endpoint_id: u32,
    state: State,
    since: Instant,
}

/// How a connection is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Both entries have to be written.
    Install(Tuple),
    /// They are there or on their way.
    Present,
    /// No reply tuple is free, or there is no room.
    Conflict,
}

/// All connections of one device.
#[derive(Debug, Default)]
pub(super) struct Connections {
    source_ports: SourcePorts,
    /// Where source ports are drawn from: nobody outside can tell the next one (S53).
    random: RandomState,
    draws: u64,
    flows: FxHashMap<Key, Connection>,
    /// Who has a reply tuple.
    replies: FxHashMap<Key, Key>,
    /// Every change of state in order, for forgetting; superseded ones are skipped.
    history: VecDeque<(Instant, Key)>,
    bound: usize,
}

/// Which source ports may be given out.
#[derive(Debug, Clone, Default)]
pub struct SourcePorts {
    /// To connections that get the node's address.
    pub node: PortRange,
    /// To connections that get one of these addresses.
    pub own: Vec<(Address, PortRange)>,
}

impl SourcePorts {
    /// A client that keeps its address may get any port.
    fn of(&self, flow: &Key, natural: Tuple) -> RangeInclusive<u16> {
        if natural.src == flow.tuple.src {
            return FIRST_PORT..=u16::MAX;
        }
        let own = self.own.iter().find(|(own, _)| *own == natural.src);
        let PortRange { base, mask } = own.map_or(self.node, |(_, ports)| *ports);
        base..=base.saturating_add(mask)
    }
}

/// The key that answers to `new` have.
pub(super) fn reply_key(flow: &Key, new: Tuple) -> Key {
    Key {
        tuple: new.reversed(),
        ..*flow
    }
}

impl Connections {
    /// Room for `bound` connections, with these source ports.
    pub(super) fn new(bound: usize, source_ports: SourcePorts) -> Self {
        Self {
            bound: bound.max(1),
            source_ports,
            ..Self::default()
        }
    }

    /// Number of connections known, idle ones included.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Opens the connection of a packet that the pipeline would send on as `natural`.
    ///
    /// `begins` says that the packet starts a connection (SYN): what is remembered of an idle one is then void.
    pub(super) fn open(
        &mut self,
        flow: Key,
        natural: Tuple,
        begins: bool,
        now: Instant,
    ) -> Opening {
        if let Some(known) = self.flows.get(&flow).copied() {
            match known.state {
                State::Installed => return Opening::Present,
                State::Idle if !begins => return self.install(flow, known.new, now),
                State::Idle => self.remove(&flow),
            }
        }
        match self.free_tuple(&flow, natural, None) {
            Some(new) => self.install(flow, new, now),
            None => Opening::Conflict,
        }
    }

    /// Opens a connection whose present reply tuple the device found to be taken by another.
    pub(super) fn reopen(&mut self, flow: Key, natural: Tuple, now: Instant) -> Opening {
        self.remove(&flow);
        match self.free_tuple(&flow, natural, Some(natural.src_port)) {
            Some(new) => self.install(flow, new, now),
            None => Opening::Conflict,
        }
    }

    /// The translation of a connection whose entries are in the device.
    pub(super) fn installed(&self, flow: &Key) -> Option<Tuple> {
        self.flows
            .get(flow)
            .filter(|known| known.state == State::Installed)
            .map(|known| known.new)
    }

    /// By which number a connection's packets are counted; 0: none.
    pub(super) fn endpoint_id(&self, flow: &Key) -> u32 {
        self.flows.get(flow).map_or(0, |known| known.endpoint_id)
    }

    /// Says by which number a connection's packets are counted, if it goes to that endpoint.
    pub(super) fn count_for(&mut self, flow: &Key, endpoint: (Address, u16), endpoint_id: u32) {
        let known = self.flows.get_mut(flow);
        if let Some(known) = known.filter(|known| (known.new.dst, known.new.dst_port) == endpoint) {
            known.endpoint_id = endpoint_id;
        }
    }

    /// Takes a connection that the device already holds.
    pub(super) fn adopt(&mut self, flow: Key, new: Tuple, now: Instant) {
        self.remove(&flow);
        self.install(flow, new, now);
    }

    /// The connection whose answers have this key.
    pub(super) fn by_reply(&self, reply: &Key) -> Option<(Key, Tuple)> {
        let flow = self.replies.get(reply)?;
        Some((*flow, self.flows.get(flow)?.new))
    }

    /// The connections that lead nowhere, of those that something became of `since` then: those in the device. Those
    /// that rest are forgotten.
    pub(super) fn stale(&mut self, stale: &Stale, since: Option<Instant>) -> Vec<(Key, Tuple)> {
        let found = self.flows.iter().filter(|(flow, known)| {
            since.is_none_or(|since| known.since >= since) && stale.has(flow, known.new)
        });
        let (installed, idle): (Vec<_>, Vec<_>) = found
            .map(|(flow, known)| (*flow, known.new, known.state))
            .partition(|(_, _, state)| *state == State::Installed);
        idle.iter().for_each(|(flow, _, _)| self.remove(flow));
        installed
            .into_iter()
            .map(|(flow, new, _)| (flow, new))
            .collect()
    }

    /// Its entries were removed for idleness: the pick stays known, the reply tuple is free for others.
    pub(super) fn rest(&mut self, flow: &Key, now: Instant) {
        if let Some(known) = self
            .flows
            .get_mut(flow)
            .filter(|known| known.state == State::Installed)
        {
            known.state = State::Idle;
            known.since = now;
            // Its number may be another endpoint's when it goes on.
            known.endpoint_id = 0;
            self.replies.remove(&reply_key(flow, known.new));
            self.history.push_back((now, *flow));
        }
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, flow: &Key) {
        if let Some(known) = self.flows.remove(flow) {
            let reply = reply_key(flow, known.new);
            if self.replies.get(&reply) == Some(flow) {
                self.replies.remove(&reply);
            }
        }
    }

    fn install(&mut self, flow: Key, new: Tuple, now: Instant) -> Opening {
        let reply = reply_key(&flow, new);
        if self
            .replies
            .get(&reply)
            .is_some_and(|holder| *holder != flow)
        {
            // Someone took the tuple while this connection was idle.
            return match self.free_tuple(&flow, new, Some(new.src_port)) {
                Some(other) => self.install(flow, other, now),
                None => Opening::Conflict,
            };
        }
        if !self.flows.contains_key(&flow) && !self.make_room() {
            return Opening::Conflict;
        }
        self.replies.insert(reply, flow);
        let endpoint_id = self.endpoint_id(&flow);
        self.flows.insert(
            flow,
            Connection {
                new,
                endpoint_id,
                state: State::Installed,
                since: now,
            },
        );
        self.history.push_back((now, flow));
        Opening::Install(new)
    }

    /// `natural` if its answers are free, else the same with another source port, drawn at random.
    fn free_tuple(&mut self, flow: &Key, natural: Tuple, taken: Option<u16>) -> Option<Tuple> {
        let replies = &self.replies;
        let free = |new: &Tuple| {
            Some(new.src_port) != taken && !replies.contains_key(&reply_key(flow, *new))
        };
        if free(&natural) {
            return Some(natural);
        }
        if flow.protocol == SCTP {
            // Another port would need a CRC32c correction that is tabulated for Services' ports only.
            return None;
        }
        let ports = self.source_ports.of(flow, natural);
        let (first, count) = (u32::from(*ports.start()), ports.len() as u32);
        let at = |offset: u32| Tuple {
            src_port: (first + offset % count) as u16,
            ..natural
        };
        let mut offset = 0;
        for _ in 0..DRAWS {
            self.draws += 1;
            offset = self.random.hash_one(self.draws) as u32 % count;
            if free(&at(offset)) {
                return Some(at(offset));
            }
        }
        // Nearly all are taken.
        (1..count).map(|step| at(offset + step)).find(free)
    }

    /// Forgets the longest idle connections while there are too many. Those in the device are never forgotten: their
    /// reply tuples would count as free. False when there is no room.
    fn make_room(&mut self) -> bool {
        while self.flows.len() >= self.bound {
            let Some((since, flow)) = self.history.pop_front() else {
                return false;
            };
            if self
                .flows
                .get(&flow)
                .is_some_and(|known| known.since == since && known.state == State::Idle)
            {
                self.remove(&flow);
            }
        }
        if self.history.len() > 4 * self.bound {
            let flows = &self.flows;
            self.history
                .retain(|(since, flow)| flows.get(flow).is_some_and(|known| known.since == *since));
        }
        true
    }
}
