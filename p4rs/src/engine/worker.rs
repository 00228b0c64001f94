//! Someone who processes packets, one after the other: with what is known of their flows at hand, or with scouts sent ahead.
//!
//! In: batches of packets. Out: what became of them, in their order; what was counted, told after every batch. Invariant: what
//! comes of a packet does not depend on the way in which it is run.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::interp::{PacketState, Packets, Received};
use super::native::{HotCode, Memory, Places, SCOUTS, Scouts, Sets, Touched, flow_of, is_known};
use super::tables::MatchTable;
use super::tables::epoch::{self, Guard};
use super::watch::TELL;
use super::{DropReason, Engine, Outputs, POOL, Time, Tracer};

/// What a worker counted and has not told yet.
#[derive(Debug, Default)]
struct Counted {
    received: u64,
    transmitted: u64,
    scouted: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counted {
    /// Packets that came in; transmitted and dropped ones are those that `out` has beyond `before`.
    fn add(&mut self, received: usize, before: (usize, usize), out: &Outputs<'_>) {
        self.received += received as u64;
        self.transmitted += (out.transmitted().len() - before.0) as u64;
        for &reason in out.drops.get(before.1..).unwrap_or_default() {
            self.drops[reason as usize] += 1;
        }
    }
}

/// Packets whose flows are looked for together.
const TOGETHER: usize = 4 * SCOUTS;
/// How many packets ahead of the one that runs memory is fetched.
const AHEAD: usize = 4;
/// Groups of packets for which no scouts are sent after one most of whose packets took other ways than their scouts know.
const IDLE: u32 = 16;

/// What is known of the flows of some packets.
struct Flows<'f> {
    packets: &'f [Received<'f>],
    sets: Option<Sets<'f>>,
    flows: [u64; TOGETHER],
    known: [Touched; TOGETHER],
}

impl<'f> Flows<'f> {
    /// Those of the first packets are known at once.
    fn new(packets: &'f [Received<'f>], sets: Option<Sets<'f>>) -> Self {
        let mut flows = Self {
            packets,
            sets,
            flows: [0; TOGETHER],
            known: [Touched::default(); TOGETHER],
        };
        (0..2 * SCOUTS).for_each(|at| flows.ask(at));
        (0..SCOUTS).for_each(|at| flows.read(at));
        flows
    }

    /// Fetches what is known of a packet's flow.
    #[inline]
    fn ask(&mut self, at: usize) {
        if let (Some(sets), Some(packet)) = (self.sets, self.packets.get(at)) {
            let flow = flow_of(packet.port, packet.bytes);
            self.flows[at] = flow;
            sets.fetch_set(flow);
        }
    }

    /// Reads it.
    #[inline]
    fn read(&mut self, at: usize) {
        if let Some(sets) = self.sets
            && at < self.packets.len()
        {
            self.known[at] = sets.touched(self.flows[at]);
        }
    }

    /// Packets of flows of which nothing is known, of some.
    fn unknown(&self, group: Range<usize>) -> impl Iterator<Item = usize> {
        group.filter(|&at| !is_known(&self.known[at]))
    }

    /// Sends scouts ahead of those; how many.
    fn scout(&self, group: Range<usize>, scouts: &mut Scouts, one: &mut Packets<'_, '_>) -> u64 {
        let mut sent = 0;
        scouts.gather();
        for at in self.unknown(group) {
            let packet = &self.packets[at];
            if let Some(given) = one.given(packet) {
                scouts.send(at, (packet.now, given), packet.bytes);
                sent += 1;
            }
        }
        sent
    }

    /// Remembers what a packet touched.
    #[inline]
    fn note(&self, at: usize, (places, end): (&Places, u64)) {
        if let Some(sets) = self.sets {
            sets.note(self.flows[at], &self.known[at], places, end);
        }
    }
}

/// Processes packets, with a packet's working memory of its own. Its counts reach [`Engine::statistics`] after every
/// batch.
#[derive(Debug)]
pub struct Worker<'e> {
    engine: &'e Engine,
    state: PacketState,
    /// For packets of flows that are not known, once tables are large; and groups of packets for which none are sent.
    scouts: Option<Scouts>,
    idle: u32,
    /// What packets of known flows touch.
    memory: Option<Arc<Memory>>,
    /// Code for the ways that most packets take, and which one it is.
    hot: Option<Arc<HotCode>>,
    version: u32,
    /// Packets that ran one after the other, and those of them that took other ways, since that was told.
    ran: [u32; 2],
    counted: Counted,
}

impl<'e> Worker<'e> {
    /// With a packet's working memory.
    pub(super) fn new(engine: &'e Engine, state: PacketState, scouts: Option<Scouts>) -> Self {
        Self {
            engine,
            state,
            scouts,
            idle: 0,
            memory: None,
            hot: None,
            version: 0,
            ran: [0; 2],
            counted: Counted::default(),
        }
    }

    /// Runs one packet to completion, as [`Engine::process`] does.
    pub fn process<'p>(&mut self, now: Time, port: u32, packet: &'p [u8], out: &mut Outputs<'p>) {
        self.batch(now, [(port, packet)], out);
    }

    /// Runs packets to completion, one after the other: ingress port and bytes of each. Appends to `out`. Tables are
    /// pinned once for all of them, so a batch should be short: some tens of packets.
    pub fn batch<'p>(
        &mut self,
        now: Time,
        packets: impl IntoIterator<Item = (u32, &'p [u8])>,
        out: &mut Outputs<'p>,
    ) {
        let guard = epoch::pin();
        let packets = packets.into_iter();
        let mut packets = packets.map(|(port, bytes)| Received { now, port, bytes });
        self.engine.watch.renew(&mut self.version, &mut self.hot);
        let received = &self.engine.received;
        if self.engine.watch.wants_one(received) {
            match packets.next() {
                Some(packet) => self.watched(&guard, packet, out),
                None => self.engine.watch.add(&self.engine.machine, None),
            }
        }
        let machine = &self.engine.machine;
        let config = machine.config();
        let entries: u64 = machine.tables.iter().map(MatchTable::len).sum();
        if machine.native.is_none() || entries < config.far_from {
            let before = (out.transmitted().len(), out.drops.len());
            let hot = self.hot.as_deref();
            let mut one = Packets::new(machine, &guard, &mut self.state, out, hot);
            let mut received = 0;
            packets.for_each(|packet| {
                one.process(&packet);
                received += 1;
            });
            let others = one.others();
            self.counted.add(received, before, out);
            self.ran[0] += received as u32;
            self.ran[1] += others;
        } else {
            let entries = entries.min(config.remembered_entries);
            if entries > 0 {
                self.engine.recall.renew(entries, &mut self.memory);
            }
            loop {
                let some: SmallVec<[_; TOGETHER]> = packets.by_ref().take(TOGETHER).collect();
                if some.is_empty() {
                    break;
                }
                self.together(&guard, &some, out);
            }
        }
        drop(guard);
        self.tell();
    }

    /// Runs packets that need more memory than caches hold, one after the other, and fetches ahead what their flows' last ones
    /// touched, or what scouts find.
    fn together<'p>(&mut self, guard: &Guard, packets: &[Received<'p>], out: &mut Outputs<'p>) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        let hot = self.hot.as_deref();
        let part = hot.and_then(|hot| hot.scout.as_ref());
        let mut one = Packets::new(machine, guard, &mut self.state, out, hot);
        let mut flows = Flows::new(packets, self.memory.as_deref().map(Memory::sets));
        let fetch = |known: &Touched| {
            if let Some(native) = &machine.native {
                native.fetch(guard, known);
            }
        };
        flows.known.iter().take(AHEAD).for_each(fetch);
        for start in (0..packets.len()).step_by(SCOUTS) {
            let group = start..packets.len().min(start + SCOUTS);
            let others = one.others();
            // One by itself would find nobody to go on while it waits.
            let wanted = self.idle == 0 && flows.unknown(group.clone()).nth(1).is_some();
            self.idle = self.idle.saturating_sub(1);
            let part = part.filter(|_| wanted);
            let mut found = None;
            if let Some(part) = part {
                let scouts = self.scouts.get_or_insert_default();
                self.counted.scouted += flows.scout(group.clone(), scouts, &mut one);
                scouts.run(guard, part);
                found = Some(scouts.found().peekable());
            }
            for at in group.clone() {
                flows.ask(at + 2 * SCOUTS);
                flows.read(at + SCOUTS);
                flows.known.get(at + AHEAD).into_iter().for_each(fetch);
                let scouted = found
                    .as_mut()
                    .and_then(|found| found.next_if(|&(of, _)| of == at));
                match scouted {
                    Some((_, places)) => one.expect(places),
                    None => one.expect(&flows.known[at]),
                }
                one.process(&packets[at]);
                if let Some(touched) = one.touched() {
                    flows.note(at, touched);
                }
            }
            let others = one.others() - others;
            if part.is_some() && others as usize * 2 > group.len() {
                self.idle = IDLE;
            }
        }
        self.ran[0] += packets.len() as u32;
        self.ran[1] += one.others();
        self.counted.add(packets.len(), before, out);
    }

    pub(super) fn one<'p>(
        &mut self,
        guard: &Guard,
        packet: Received<'p>,
        out: &mut Outputs<'p>,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        machine.process(guard, &mut self.state, packet, out, tracer);
        self.counted.add(1, before, out);
    }

    /// Runs a packet by the interpreter and takes note of its way.
    #[inline(never)]
    fn watched<'p>(&mut self, guard: &Guard, packet: Received<'p>, out: &mut Outputs<'p>) {
        self.state.steps.watch();
        self.one(guard, packet, out, None);
        let taken = self.state.steps.end();
        let engine = self.engine;
        engine.watch.add(&engine.machine, taken.as_deref());
    }

    /// Tells how many packets took ways with code of their own.
    fn tell_ways(&mut self, from: u32) {
        if self.ran[0] >= from {
            let [ran, others] = std::mem::take(&mut self.ran);
            self.engine.watch.tell(&self.engine.machine, ran, others);
        }
    }

    fn tell(&mut self) {
        self.tell_ways(TELL);
        self.engine.machine.tell(&mut self.state);
        let counted = std::mem::take(&mut self.counted);
        let add = |to: &AtomicU64, count: u64| {
            if count > 0 {
                to.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.engine.received, counted.received);
        add(&self.engine.transmitted, counted.transmitted);
        add(&self.engine.scouted, counted.scouted);
        for (to, count) in self.engine.drops.iter().zip(counted.drops) {
            add(to, count);
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.tell();
        self.tell_ways(1);
        let mut pool = self.engine.pool.lock();
        if pool.len() < POOL {
            pool.push((std::mem::take(&mut self.state), self.scouts.take()));
        }
    }
}
