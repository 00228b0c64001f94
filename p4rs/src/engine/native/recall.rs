//! What memory a flow's last packet touched, so that it is fetched before the next one needs it.
//!
//! In: packets of a batch; when they are finished, the cache lines of large tables, registers and counters that each of
//! them touched. Out: the same lines fetched ahead for packets of flows that are known.
//!
//! ```text
//! packet ─ flow's hash ─▶ set: ┌ tag, 9 lines ┐ ─▶ fetch ─▶ pass ─▶ lines touched
//!                              │ tag, 9 lines │ ◀──── where they differ ────┘
//!                              └ tag, 9 lines ┘
//! ```
//!
//! Everything here is a hint: a wrong line costs time and nothing else, so entries are read and written without any order.
//! Invariant: no line is read through what is remembered, only fetched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::tables::{advise_huge, fold, prefetch_at};

/// Lines remembered of a packet.
const LINES: usize = 9;
/// Flows of a set.
const WAYS: usize = 3;
/// Entries of tables for which there is a set: two for each flow, whose packets are the half of a connection's.
const ENTRIES: u64 = 4;
/// Bits beside the tag: which of the lines are pairs.
const PAIRS: u32 = (1 << LINES) - 1;
/// log2 of a cache line's bytes.
const LINE: u32 = 6;

/// A line to remember; [`PAIR`] in its low bits where the one behind it is touched too.
pub(super) type Line = u64;

/// The line behind this one belongs to it.
pub(super) const PAIR: u64 = 1;

/// Lines that one packet touched, in order; 0 where there are no more, and what lies behind those that are remembered is no matter.
pub(crate) type Touched = [Line; (LINES + 1).next_power_of_two()];

/// The tag, and the lines.
type Way = [AtomicU32; LINES + 1];

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(C, align(128))]
struct Set([Way; WAYS]);

/// A number of sets that never changes.
///
/// A line is told by its distance to one of two places, which the lowest bit chooses: small allocations lie far from
/// large ones.
#[derive(Debug)]
pub(crate) struct Sets {
    sets: Box<[Set]>,
    /// The numbers of the lines from which distances count: the sets' own, and that of the first line that was too far
    /// from it.
    bases: [AtomicU64; 2],
}

/// What is remembered, and grows with the tables.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    sets: Mutex<Option<Arc<Sets>>>,
    /// How many there are.
    len: AtomicUsize,
}

impl Recall {
    /// Makes room for the flows that so many entries are of; replaces `known` where that is not what is in force any more.
    pub fn renew(&self, entries: u64, known: &mut Option<Arc<Sets>>) {
        let sets = entries.div_ceil(ENTRIES).next_power_of_two();
        let wanted = usize::try_from(sets).unwrap_or(1);
        let len = self.len.load(Ordering::Relaxed);
        let own = known.as_ref().map_or(0, |sets| sets.sets.len());
        if own != len || len < wanted {
            let mut sets = self.sets.lock();
            if sets.as_ref().is_none_or(|sets| sets.sets.len() < wanted) {
                *sets = Some(Arc::new(Sets::new(wanted)));
                self.len.store(wanted, Ordering::Relaxed);
            }
            known.clone_from(&sets);
        }
    }
}

impl Sets {
    fn new(sets: usize) -> Self {
        let zeroed = Box::<[Set]>::new_zeroed_slice(sets);
        // SAFETY: a set is atomic words and nothing else, for which all-zero bytes are valid.
        let sets = unsafe { zeroed.assume_init() };
        advise_huge(&sets);
        let own = sets.as_ptr().addr() as u64 >> LINE;
        Self {
            sets,
            bases: [own, 0].map(AtomicU64::new),
        }
    }

    fn set(&self, hash: u64) -> Option<&Set> {
        self.sets.get(hash as usize & (self.sets.len() - 1))
    }

    /// How a line's number is kept; 0 for one that is too far away.
    fn short(&self, line: u64) -> u32 {
        for (which, base) in self.bases.iter().enumerate() {
            let mut from = base.load(Ordering::Relaxed);
            if from == 0 {
                base.store(line, Ordering::Relaxed);
                from = line;
            }
            let distance = line.wrapping_sub(from) as i64;
            if distance << 33 >> 33 == distance {
                return (distance as u32) << 1 | which as u32;
            }
        }
        0
    }

    /// Fetches what is known of a flow.
    #[inline]
    pub fn fetch_set(&self, hash: u64) {
        if let Some(set) = self.set(hash) {
            let first = std::ptr::from_ref(set).cast::<u8>();
            prefetch_at(first);
            prefetch_at(first.wrapping_add(1 << LINE));
        }
    }

    /// Whether the flow is known.
    #[inline]
    pub fn knows(&self, flow: u64) -> bool {
        self.set(flow)
            .is_some_and(|set| way_of(set, flow).is_some())
    }

    /// Fetches the lines that the flow's last packet touched, and tells them.
    #[inline]
    pub fn fetch(&self, flow: u64) -> Touched {
        let lines = self.lines(flow);
        for &line in lines.iter().filter(|&&line| line != 0) {
            let at = std::ptr::without_provenance::<u8>((line & !PAIR) as usize);
            prefetch_at(at);
            if line & PAIR != 0 {
                prefetch_at(at.wrapping_add(1 << LINE));
            }
        }
        lines
    }

    /// The lines that the flow's last packet touched; none of a flow that is not known.
    #[inline]
    pub fn lines(&self, flow: u64) -> Touched {
        let mut lines = Touched::default();
        let Some((way, head)) = self.set(flow).and_then(|set| way_of(set, flow)) else {
            return lines;
        };
        let bases = [0, 1].map(|which: usize| self.bases[which].load(Ordering::Relaxed));
        for (i, (line, short)) in lines.iter_mut().zip(&way[1..]).enumerate() {
            let short = short.load(Ordering::Relaxed);
            if short != 0 {
                let distance = i64::from(short as i32 >> 1);
                let number = bases[(short & 1) as usize].wrapping_add_signed(distance);
                *line = number << LINE | u64::from(head >> i) & PAIR;
            }
        }
        lines
    }

    /// Remembers what a packet of the flow touched; whether that is what was known.
    #[inline]
    pub fn note(&self, flow: u64, known: &Touched, touched: &Touched) -> bool {
        let lines = known.iter().zip(touched).take(LINES);
        let same = lines.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0;
        if !same {
            self.renew(flow, touched);
        }
        same
    }

    #[inline(never)]
    fn renew(&self, flow: u64, touched: &Touched) {
        let Some(set) = self.set(flow) else {
            return;
        };
        let mut words = [0u32; LINES + 1];
        words[0] = tag(flow);
        for (i, &line) in touched.iter().enumerate().take(LINES) {
            if line != 0 {
                words[i + 1] = self.short(line >> LINE);
                words[0] |= ((line & PAIR) as u32) << i;
            }
        }
        let way = match way_of(set, flow) {
            Some((way, _)) => way,
            None => {
                let free = |way: &&Way| way[0].load(Ordering::Relaxed) == 0;
                let other = &set.0[(flow >> 40) as usize % WAYS];
                set.0.iter().find(free).unwrap_or(other)
            }
        };
        for (to, word) in way.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
    }
}

/// The part of a hash that a flow is told by; never 0.
fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32 & !PAIRS) | (PAIRS + 1)
}

fn way_of(set: &Set, flow: u64) -> Option<(&Way, u32)> {
    set.0.iter().find_map(|way| {
        let head = way[0].load(Ordering::Relaxed);
        (head & !PAIRS == tag(flow)).then_some((way, head))
    })
}

/// A hash of what tells a packet's flow from others: addresses, protocol and ports of IP, as network cards spread packets over
/// their queues; the link's header for anything else. Which bytes they are is a guess, good for most programs.
#[inline]
pub(crate) fn flow_of(port: u32, bytes: &[u8]) -> u64 {
    let byte = |at: usize| bytes.get(at).map_or(0, |&byte| u64::from(byte));
    let half = |at: usize| {
        let half = bytes.get(at..).and_then(|rest| rest.first_chunk());
        half.map_or(0, |&half| u64::from(u32::from_le_bytes(half)))
    };
    let word = |at: usize| half(at) | half(at + 4) << 32;
    let kind = |at: usize| byte(at) << 8 | byte(at + 1);
    let at = if matches!(kind(12), 0x8100 | 0x88a8) {
        18
    } else {
        14
    };
    let port = u64::from(port);
    match kind(at - 2) {
        0x0800 => {
            let ports = half(at + (byte(at) & 15) as usize * 4);
            mix(word(at + 12), ports << 32 | byte(at + 9) << 24 ^ port)
        }
        0x86dd => {
            let ports = half(at + 40) << 32 | byte(at + 6) << 24 ^ port;
            let ends = mix(word(at + 8), word(at + 16)) ^ word(at + 24);
            mix(ends, word(at + 32) ^ mix(ports, port))
        }
        _ => mix(word(0), word(6) ^ port),
    }
}

/// Two words as one. Nobody gains by choosing flows that meet, so the seeds are constants.
fn mix(a: u64, b: u64) -> u64 {
    fold(a ^ 0x9e37_79b9_7f4a_7c15, b ^ 0xd1b5_4a32_d192_ed03)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(flows: u64) -> (Recall, Arc<Sets>) {
        let (recall, mut sets) = (Recall::default(), None);
        recall.renew(flows, &mut sets);
        let sets = sets.unwrap_or_else(|| Arc::new(Sets::new(1)));
        (recall, sets)
    }

    #[test]
    fn what_a_flow_touched_is_known_again() {
        let (_recall, sets) = sets(1000);
        let own = sets.sets.as_ptr().addr() as u64;
        let (near, far) = (own + 64 * 77, own.wrapping_sub(200 << 30) & !63);
        let lines = [
            near,
            (near + 640) | PAIR,
            far,
            (far + (1 << 32)) | PAIR,
            near,
            far,
            far | PAIR,
            0,
            near,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        let nothing = Touched::default();
        assert!(!sets.knows(5));
        assert_eq!(sets.fetch(5), nothing);
        sets.note(5, &nothing, &lines);
        assert!(sets.knows(5));
        assert_eq!(sets.fetch(5), lines);
        let mut fewer = nothing;
        fewer[..2].copy_from_slice(&[far, near]);
        sets.note(5, &lines, &fewer);
        assert_eq!(sets.fetch(5), fewer);
        assert!(!sets.knows(5 | 1 << 50));
    }

    #[test]
    fn lines_that_are_too_far_away_are_left_out() {
        let (_recall, sets) = sets(1);
        let own = sets.sets.as_ptr().addr() as u64 & !63;
        let (near, far, farther) = (own + 64, own ^ 1 << 44, own ^ 1 << 46);
        let mut lines = Touched::default();
        lines[..3].copy_from_slice(&[far, farther, near]);
        sets.note(1, &Touched::default(), &lines);
        assert_eq!(sets.fetch(1)[..4], [far, 0, near, 0]);
    }

    #[test]
    fn room_grows_with_the_flows_and_is_shared() {
        let (recall, sets) = sets(1000);
        assert_eq!(sets.sets.len(), 256);
        let (mut mine, mut theirs) = (Some(sets), None);
        recall.renew(1000, &mut theirs);
        assert!(mine.iter().zip(&theirs).all(|(a, b)| Arc::ptr_eq(a, b)));
        recall.renew(5000, &mut theirs);
        assert_eq!(theirs.as_ref().map(|sets| sets.sets.len()), Some(2048));
        recall.renew(10, &mut mine);
        assert!(mine.iter().zip(&theirs).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[test]
    fn flows_differ_by_what_tells_them_and_packets_of_any_length_have_one() {
        let mut v4 = vec![0u8; 54];
        v4[12..15].copy_from_slice(&[8, 0, 0x45]);
        v4[23] = 6;
        let mut v6 = vec![0u8; 74];
        v6[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        v6[20] = 6;
        let mut tagged = v4.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        let told = |from: usize, to: usize, protocol: usize| -> Vec<usize> {
            (from..to).chain([protocol]).collect()
        };
        let cases = [
            (&v4, told(26, 38, 23)),
            (&v6, told(22, 58, 20)),
            (&tagged, told(30, 42, 27)),
        ];
        for (packet, told) in cases {
            let flow = flow_of(1, packet);
            assert_ne!(flow, flow_of(2, packet));
            for at in 0..packet.len() {
                let mut other = packet.clone();
                other[at] ^= 0x10;
                let header = (12..16).contains(&at) || *packet == tagged && (16..19).contains(&at);
                if !header {
                    assert_eq!(flow_of(1, &other) != flow, told.contains(&at), "{at}");
                }
            }
            for len in 0..packet.len() {
                let _any = flow_of(1, &packet[..len]);
            }
        }
        assert_ne!(flow_of(1, &[1; 20]), flow_of(1, &[2; 20]));
    }
}
