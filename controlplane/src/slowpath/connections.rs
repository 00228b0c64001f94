//! The connections that the slow path opened: which pick each has, and which reply tuples are taken.
//!
//! In: first packets and the pipeline's picks. Out: the tuple to install. Invariant: every reply tuple belongs to one
//! connection at most.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHasher};

use super::frame::SCTP;
use crate::device::stale::Stale;
use crate::tables::Address;
use crate::tables::flow::{Key, Tuple};

/// Source ports to try before a connection is refused.
const TRIES: u16 = 256;
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
    flows: FxHashMap<Key, Connection>,
    /// Who has a reply tuple.
    replies: FxHashMap<Key, Key>,
    /// Every change of state in order, for forgetting; superseded ones are skipped.
    history: VecDeque<(Instant, Key)>,
    bound: usize,
}

/// The key that answers to `new` have.
pub(super) fn reply_key(flow: &Key, new: Tuple) -> Key {
    Key {
        tuple: new.reversed(),
        ..*flow
    }
}

impl Connections {
    /// Room for `bound` connections.
    pub(super) fn new(bound: usize) -> Self {
        Self {
            bound: bound.max(1),
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
        let taken = self
            .flows
            .get(&flow)
            .map_or(natural.src_port, |known| known.new.src_port);
        self.remove(&flow);
        match self.free_tuple(&flow, natural, Some(taken)) {
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

    /// `natural` if its answers are free, else the same with another source port.
    fn free_tuple(&self, flow: &Key, natural: Tuple, taken: Option<u16>) -> Option<Tuple> {
        let free = |new: &Tuple| {
            Some(new.src_port) != taken && !self.replies.contains_key(&reply_key(flow, *new))
        };
        if free(&natural) {
            return Some(natural);
        }
        if flow.protocol == SCTP {
            // Another port would need a CRC32c correction that is tabulated for Services' ports only.
            return None;
        }
        let mut hasher = FxHasher::default();
        flow.hash(&mut hasher);
        let span = u32::from(u16::MAX - FIRST_PORT) + 1;
        let start = hasher.finish() as u32 % span;
        (0..u32::from(TRIES))
            .map(|step| Tuple {
                src_port: FIRST_PORT + ((start + step) % span) as u16,
                ..natural
            })
            .find(free)
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
