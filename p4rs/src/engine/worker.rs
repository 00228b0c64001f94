//! Someone who processes packets: one after the other or side by side, with what is known of their flows at hand.
//!
//! In: batches of packets. Out: what became of them, in their order; what was counted, told after every batch. Invariant: what
//! comes of a packet does not depend on the way in which it is run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::interp::{PacketState, Packets, Received};
use super::native::{HotCode, LANES, Lanes, Scouts, Sets, Touched, flow_of, is_known};
use super::tables::MatchTable;
use super::tables::epoch::{self, Guard};
use super::watch::TELL;
use super::{DropReason, Engine, Outputs, POOL, Time, Tracer};

/// What a worker counted and has not told yet.
#[derive(Debug, Default)]
struct Counted {
    received: u64,
    transmitted: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counted {
    /// Packets that came in; transmitted and dropped ones are those that `out` has beyond `before`.
    fn add(&mut self, received: usize, before: (usize, usize), out: &Outputs) {
        self.received += received as u64;
        self.transmitted += (out.transmitted().len() - before.0) as u64;
        for &reason in out.drops.get(before.1..).unwrap_or_default() {
            self.drops[reason as usize] += 1;
        }
    }
}

/// Packets whose flows are looked for together.
const TOGETHER: usize = 4 * LANES;
/// How many packets ahead of the one that runs memory is fetched.
const AHEAD: usize = 4;

/// Processes packets, with a packet's working memory of its own. Its counts reach [`Engine::statistics`] after every
/// batch.
#[derive(Debug)]
pub struct Worker<'e> {
    engine: &'e Engine,
    state: PacketState,
    /// For packets side by side, once tables are large.
    lanes: Option<Box<Lanes>>,
    scouts: Option<Scouts>,
    /// What packets of known flows touch.
    sets: Option<Arc<Sets>>,
    /// Most of the last packets touched what their flows' packets had touched before.
    steady: bool,
    /// Code for the ways that most packets take, and which one it is.
    hot: Option<Arc<HotCode>>,
    version: u32,
    /// Packets that ran one after the other, and those of them that took other ways, since that was told.
    ran: [u32; 2],
    counted: Counted,
}

impl<'e> Worker<'e> {
    /// With a packet's working memory.
    pub(super) fn new(engine: &'e Engine, state: PacketState, lanes: Option<Box<Lanes>>) -> Self {
        Self {
            engine,
            state,
            lanes,
            scouts: None,
            sets: None,
            steady: false,
            hot: None,
            version: 0,
            ran: [0; 2],
            counted: Counted::default(),
        }
    }

    /// Runs one packet to completion, as [`Engine::process`] does.
    pub fn process(&mut self, now: Time, port: u32, packet: &[u8], out: &mut Outputs) {
        self.batch(now, [(port, packet)], out);
    }

    /// Runs packets to completion, one after the other: ingress port and bytes of each. Appends to `out`. Tables are
    /// pinned once for all of them, so a batch should be short: some tens of packets.
    pub fn batch<'p>(
        &mut self,
        now: Time,
        packets: impl IntoIterator<Item = (u32, &'p [u8])>,
        out: &mut Outputs,
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
        if Lanes::for_machine(&mut self.lanes, machine).is_none() {
            let before = (out.transmitted().len(), out.drops.len());
            let hot = self.hot.as_deref();
            let mut one = Packets::new(machine, &guard, &mut self.state, out, hot);
            let mut received = 0;
            packets.for_each(|packet| {
                one.process(packet);
                received += 1;
            });
            let others = one.others();
            self.counted.add(received, before, out);
            self.ran[0] += received as u32;
            self.ran[1] += others;
        } else {
            let entries: u64 = machine.tables.iter().map(MatchTable::len).sum();
            let entries = entries.min(machine.config().remembered_entries);
            if entries > 0 {
                self.engine.recall.renew(entries, &mut self.sets);
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

    /// Runs packets that need more memory than caches hold.
    fn together(&mut self, guard: &Guard, packets: &[Received<'_>], out: &mut Outputs) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        let longest = machine.config().max_packet_len;
        let mut flows = [0; TOGETHER];
        if let Some(sets) = &self.sets {
            for (packet, flow) in packets.iter().zip(&mut flows) {
                *flow = flow_of(packet.port, packet.bytes);
                sets.fetch_set(*flow);
            }
        }
        for (packets, flows) in packets.chunks(LANES).zip(flows.chunks(LANES)) {
            let flows = &flows[..packets.len()];
            let fit = packets.iter().all(|packet| packet.bytes.len() <= longest);
            let enough = (packets.len() * 3 / 4).max(1);
            let mut known = [Touched::default(); LANES];
            let mut steady = self.steady;
            if let Some(sets) = &self.sets {
                let touched = known.iter_mut().zip(flows);
                let known = touched.map(|(known, &flow)| {
                    *known = sets.touched(flow);
                    usize::from(is_known(known))
                });
                steady &= known.sum::<usize>() >= enough;
            }
            let same = match (&mut self.lanes, &machine.native) {
                (Some(lanes), Some(native))
                    if fit
                        && !steady
                        && packets.len() > 1
                        && self.hot.as_ref().is_none_or(|hot| hot.scout.is_none()) =>
                {
                    lanes.run(machine, native, guard, packets, out);
                    self.sets.as_ref().map_or(0, |sets| {
                        let same = |((&flow, known), touched)| sets.note(flow, known, touched);
                        let flows = flows.iter().zip(&known).zip(lanes.touched());
                        flows.map(same).filter(|&same| same).count()
                    })
                }
                _ => self.ahead(guard, packets, (flows, &known), out),
            };
            self.steady = same >= enough;
        }
        self.counted.add(packets.len(), before, out);
    }

    /// Runs packets one after the other and fetches ahead what their flows' last ones touched; how many touched the same.
    fn ahead(
        &mut self,
        guard: &Guard,
        packets: &[Received<'_>],
        (flows, known): (&[u64], &[Touched; LANES]),
        out: &mut Outputs,
    ) -> usize {
        let machine = &self.engine.machine;
        let hot = self.hot.as_deref();
        let mut one = Packets::new(machine, guard, &mut self.state, out, hot);
        self.ran[0] += packets.len() as u32;
        let Some(sets) = &self.sets else {
            packets.iter().for_each(|&packet| one.process(packet));
            self.ran[1] += one.others();
            return 0;
        };
        let fetch = |known| {
            if let Some(native) = &machine.native {
                native.fetch(guard, known);
            }
        };
        let mut expected = *known;
        if let Some(part) = hot.and_then(|hot| hot.scout.as_ref()) {
            let scouts = self.scouts.get_or_insert_default();
            for (at, (known, packet)) in known.iter().zip(packets).enumerate() {
                if let (false, Some(given)) = (is_known(known), one.given(packet)) {
                    scouts.send(at, (packet.now, given), packet.bytes);
                }
            }
            scouts.run(guard, part, |at, found| expected[at] = *found);
        }
        known.iter().take(AHEAD).for_each(fetch);
        let mut same = 0;
        for (at, ((&packet, &flow), known_of)) in packets.iter().zip(flows).zip(known).enumerate() {
            known.get(at + AHEAD).into_iter().for_each(fetch);
            one.expect(&expected[at]);
            one.process(packet);
            let touched = one.touched();
            same += usize::from(touched.is_some_and(|touched| sets.note(flow, known_of, touched)));
        }
        self.ran[1] += one.others();
        same
    }

    pub(super) fn one(
        &mut self,
        guard: &Guard,
        packet: Received<'_>,
        out: &mut Outputs,
        tracer: Option<&mut dyn Tracer>,
    ) {
        let before = (out.transmitted().len(), out.drops.len());
        let machine = &self.engine.machine;
        machine.process(guard, &mut self.state, packet, out, tracer);
        self.counted.add(1, before, out);
    }

    /// Runs a packet by the interpreter and takes note of its way.
    #[inline(never)]
    fn watched(&mut self, guard: &Guard, packet: Received<'_>, out: &mut Outputs) {
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
        for state in self.lanes.iter_mut().flat_map(|lanes| lanes.states()) {
            state.count_into(&mut self.state);
        }
        self.engine.machine.tell(&mut self.state);
        let counted = std::mem::take(&mut self.counted);
        let add = |to: &AtomicU64, count: u64| {
            if count > 0 {
                to.fetch_add(count, Ordering::Relaxed);
            }
        };
        add(&self.engine.received, counted.received);
        add(&self.engine.transmitted, counted.transmitted);
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
            pool.push((std::mem::take(&mut self.state), self.lanes.take()));
        }
    }
}
