//! Someone who processes packets, one after the other: with what is known of their flows at hand, or with scouts sent ahead.
//!
//! In: batches of packets. Out: what became of them, in their order; what was counted, told after every batch. Invariant: what
//! comes of a packet does not depend on the way in which it is run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::interp::{PacketState, Packets, Received};
use super::native::{
    Errands, HotCode, Memory, Places, SCOUTS, Scouts, Sets, Touched, flow_of, is_known,
};
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

/// Packets that are known at a time, from one that has just run to the last one whose flow is looked for.
const WINDOW: usize = 4 * SCOUTS;
/// How many packets ahead of the one that runs memory is fetched.
const AHEAD: usize = 4;
/// Scouts that go on a step with every packet before theirs; more of them go side by side.
const FEW: u32 = 3;
/// Groups of packets for which no scouts are sent after one most of whose packets took other ways than their scouts know.
const IDLE: u32 = 16;

/// Packets of a batch, and what is known of their flows: those of [`WINDOW`] packets, each at its number in the batch modulo that.
struct Flows<'f, 'p> {
    more: &'f mut dyn Iterator<Item = Received<'p>>,
    /// How many were taken so far.
    taken: usize,
    sets: Option<Sets<'f>>,
    packets: [Received<'p>; WINDOW],
    flows: [u64; WINDOW],
    known: [Touched; WINDOW],
}

impl<'f, 'p> Flows<'f, 'p> {
    /// None is taken yet.
    fn new(more: &'f mut dyn Iterator<Item = Received<'p>>, sets: Option<Sets<'f>>) -> Self {
        let none = Received {
            now: Time(0),
            port: 0,
            bytes: &[],
        };
        Self {
            more,
            taken: 0,
            sets,
            packets: [none; WINDOW],
            flows: [0; WINDOW],
            known: [Touched::default(); WINDOW],
        }
    }

    /// Takes the next packet and fetches what is known of its flow.
    #[inline]
    fn ask(&mut self) {
        let Some(packet) = self.more.next() else {
            return;
        };
        let at = self.taken % WINDOW;
        if let Some(sets) = self.sets {
            let flow = flow_of(packet.port, packet.bytes);
            self.flows[at] = flow;
            sets.fetch_set(flow);
        }
        self.packets[at] = packet;
        self.taken += 1;
    }

    /// Reads it.
    #[inline]
    fn read(&mut self, at: usize) {
        if let Some(sets) = self.sets
            && at < self.taken
        {
            self.known[at % WINDOW] = sets.touched(self.flows[at % WINDOW]);
        }
    }

    /// What was read.
    #[inline]
    fn known(&self, at: usize) -> Option<&Touched> {
        (at < self.taken).then(|| &self.known[at % WINDOW])
    }

    /// Sends a scout ahead of a packet of a flow of which nothing is known.
    #[inline]
    fn scout(&self, at: usize, errands: &mut Errands<'_>, one: &mut Packets<'_, 'p>) {
        let packet = &self.packets[at % WINDOW];
        if self.known(at).is_some_and(|known| !is_known(known))
            && !errands.is_sent(at)
            && let Some(given) = one.given(packet)
        {
            errands.send(at, (packet.now, given), packet.bytes);
        }
    }

    /// Remembers what a packet touched.
    #[inline]
    fn note(&self, at: usize, (places, end): (&Places, u64)) {
        if let Some(sets) = self.sets {
            let at = at % WINDOW;
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
    /// pinned once for all of them, so a batch should be short: some hundreds of packets. Where tables are large, the first packets
    /// of a batch wait for memory that is fetched ahead for later ones.
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
            let most = config.remembered_entries;
            if entries.min(most) > 0 {
                let recall = &self.engine.recall;
                recall.renew((entries, most), &mut self.memory);
            }
            self.together(&guard, &mut packets, out);
        }
        drop(guard);
        self.tell();
    }

    /// Runs packets that need more memory than caches hold, one after the other, and fetches ahead what their flows' last ones
    /// touched, or what scouts find.
    fn together<'p>(
        &mut self,
        guard: &Guard,
        packets: &mut dyn Iterator<Item = Received<'p>>,
        out: &mut Outputs<'p>,
    ) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        let hot = self.hot.as_deref();
        let mut one = Packets::new(machine, guard, &mut self.state, out, hot);
        let mut errands = hot.and_then(|hot| hot.scout.as_ref()).map(|part| {
            let scouts = self.scouts.get_or_insert_default();
            scouts.begin(guard, part)
        });
        let mut flows = Flows::new(packets, self.memory.as_deref().map(Memory::sets));
        let fetch = |flows: &Flows<'_, '_>, at| {
            if let (Some(native), Some(known)) = (&machine.native, flows.known(at)) {
                native.fetch(guard, known);
            }
        };
        // What the first packets touch is under way before more is asked for.
        (0..SCOUTS).for_each(|_| flows.ask());
        for at in 0..SCOUTS {
            flows.read(at);
            if at < AHEAD {
                fetch(&flows, at);
            }
            flows.ask();
        }
        let mut start = 0;
        while start < flows.taken {
            let group = start..flows.taken.min(start + SCOUTS);
            start = group.end;
            let others = one.others();
            let mut errands = errands.as_mut().filter(|_| self.idle == 0);
            self.idle = self.idle.saturating_sub(1);
            let mut abreast = false;
            if let Some(errands) = &mut errands {
                group
                    .clone()
                    .for_each(|at| flows.scout(at, errands, &mut one));
                // Before the first packets of a batch none runs meanwhile.
                abreast = errands.away() > if group.start == 0 { 1 } else { FEW };
                if abreast {
                    errands.run();
                }
            }
            for at in group.clone() {
                flows.ask();
                flows.read(at + SCOUTS);
                fetch(&flows, at + AHEAD);
                one.expect(&flows.known[at % WINDOW]);
                if let Some(errands) = &mut errands {
                    if !abreast {
                        errands.step();
                    }
                    if let Some(places) = errands.found(at) {
                        one.expect(places);
                    }
                    if !abreast {
                        flows.scout(at + SCOUTS, errands, &mut one);
                    }
                }
                one.process(&flows.packets[at % WINDOW]);
                if let Some(touched) = one.touched() {
                    flows.note(at, touched);
                }
            }
            let others = one.others() - others;
            if errands.is_some() && others as usize * 2 > group.len() {
                self.idle = IDLE;
            }
        }
        self.counted.scouted += errands.map_or(0, |errands| errands.sent());
        self.ran[0] += flows.taken as u32;
        self.ran[1] += one.others();
        self.counted.add(flows.taken, before, out);
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
