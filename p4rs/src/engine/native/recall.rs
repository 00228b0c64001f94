//! What memory a flow's last packet touched, so that it is fetched before the next one needs it, and looked up where it was found.
//!
//! In: packets of a batch; while they run, the places in large tables, registers and counters that each of them touches, in
//! order. Out: the same places fetched ahead for packets of flows that are known, and told to the code that runs them.
//!
//! ```text
//! packet ─ flow's hash ─▶ set: ┌ tag, 7 places ┐ ─▶ fetch ─▶ pass ─▶ places touched
//!                              └ tag, 7 places ┘ ◀──── where they differ ────┘
//! ```
//!
//! Everything here is a hint: a wrong word costs time and nothing else, so words are read and written without any order.
//! Invariant: nothing is taken from a place that is remembered before it has been found to be what was looked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::super::tables::{Zeroes, fold, prefetch_at};

/// Words of a flow: seven places, two in a word; a packet of an open connection touches six.
const WORDS: usize = 4;
/// Flows of a set.
const WAYS: usize = 2;
/// Entries of tables for which there is a set: as many as it has flows, since an open connection is two of both.
const ENTRIES: u64 = 2;

/// Places that one packet touched, in order, as [`super::region`] names them; 0 where there are no more. The lower half of the
/// first word is the flow's tag.
pub(crate) type Touched = [u64; WORDS];
/// As [`Touched`], with all the places that a pass takes note of; the last one is that of all further ones.
pub(crate) type Places = [u64; 2 * WORDS];
/// Where the first place lies, in bytes.
pub(super) const FIRST: u64 = 4;

/// The tag, and the places.
type Way = [AtomicU64; WORDS];

/// Words of a set: a cache line.
const SET: usize = WAYS * WORDS;
type Set = [AtomicU64; SET];

/// The ways of a set.
fn ways(set: &Set) -> impl Iterator<Item = &Way> {
    set.as_chunks().0.iter()
}

/// Memory of a number of sets that never changes, a power of two.
#[derive(Debug)]
pub(crate) struct Memory {
    words: Arc<Zeroes>,
    len: usize,
}

/// Sets, as many as a power of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets<'m>(&'m [Set]);

/// What is remembered, and grows with the tables.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    memory: Mutex<Memories>,
    /// How many sets there are, and how many there are or will be soon.
    len: AtomicUsize,
    soon: AtomicUsize,
}

#[derive(Debug, Default)]
struct Memories {
    now: Option<Arc<Memory>>,
    /// Whose pages are made ready before it is needed.
    next: Option<Arc<Memory>>,
}

/// Sets for so many entries.
fn sets_of(entries: u64) -> usize {
    let sets = entries.div_ceil(ENTRIES).next_power_of_two();
    usize::try_from(sets).unwrap_or(1)
}

impl Recall {
    /// Makes room for the flows that so many entries are of, or the most that there may be; has the room after that made ready where
    /// it will be needed soon. Replaces `known` where that is not what is in force any more.
    pub fn renew(&self, (entries, most): (u64, u64), known: &mut Option<Arc<Memory>>) {
        let soon = sets_of((entries + entries / 2).min(most));
        let wanted = sets_of(entries.min(most));
        let len = self.len.load(Ordering::Relaxed);
        let own = known.as_ref().map_or(0, |memory| memory.len);
        if own == len && len >= wanted && self.soon.load(Ordering::Relaxed) >= soon {
            return;
        }
        let mut memory = self.memory.lock();
        if memory.now.as_ref().is_none_or(|now| now.len < wanted) {
            let next = memory.next.take().filter(|next| next.len == wanted);
            memory.now = Some(next.unwrap_or_else(|| Memory::new(wanted)));
            self.len.store(wanted, Ordering::Relaxed);
            self.soon.fetch_max(wanted, Ordering::Relaxed);
        }
        if self.soon.fetch_max(soon, Ordering::Relaxed) < soon {
            memory.next = Some(Memory::new(soon));
        }
        known.clone_from(&memory.now);
    }
}

impl Memory {
    /// Flows lie anywhere in it: all of its pages are made ready.
    fn new(len: usize) -> Arc<Self> {
        let words = Arc::new(Zeroes::new(len * SET));
        words.make_ready(0..words.words().len());
        Arc::new(Self { words, len })
    }

    /// The sets.
    pub fn sets(&self) -> Sets<'_> {
        Sets(self.words.words().as_chunks().0)
    }
}

impl<'m> Sets<'m> {
    #[inline]
    fn set(self, hash: u64) -> Option<&'m Set> {
        self.0.get(hash as usize & self.0.len().wrapping_sub(1))
    }

    /// Fetches what is known of a flow.
    #[inline]
    pub fn fetch_set(self, hash: u64) {
        if let Some(set) = self.set(hash) {
            prefetch_at(std::ptr::from_ref(set).cast());
        }
    }

    /// What the flow's last packet touched; nothing of a flow that is not known, see [`is_known`].
    #[inline]
    pub fn touched(self, flow: u64) -> Touched {
        let mut touched = Touched::default();
        if let Some(way) = self.set(flow).and_then(|set| way_of(set, flow)) {
            for (to, word) in touched.iter_mut().zip(way) {
                *to = word.load(Ordering::Relaxed);
            }
        }
        touched
    }

    /// Remembers what a packet of the flow touched, the first of `places` up to `end` in bytes; whether that is what was known.
    /// What lies behind may be what was expected.
    #[inline]
    pub fn note(self, flow: u64, known: &Touched, places: &Places, end: u64) -> bool {
        let differ = |at: usize| known[at] ^ places[at];
        let same = (1..WORDS).fold(differ(0) & !TAG, |all, at| all | differ(at)) == 0;
        if !same {
            self.renew(flow, places, end);
        }
        same
    }

    #[inline(never)]
    fn renew(self, flow: u64, places: &Places, end: u64) {
        let Some(set) = self.set(flow) else {
            return;
        };
        let way = way_of(set, flow).or_else(|| {
            let free = |way: &&Way| way[0].load(Ordering::Relaxed) == 0;
            let other = ways(set).nth((flow >> 40) as usize % WAYS);
            ways(set).find(free).or(other)
        });
        let Some(way) = way else {
            return;
        };
        for ((to, &word), at) in way.iter().zip(places).zip(0..) {
            let word = match end.saturating_sub(at * size_of::<u64>() as u64) {
                0 => 0,
                1..8 => word & TAG,
                _ => word,
            };
            let word = if at == 0 {
                word & !TAG | tag(flow)
            } else {
                word
            };
            to.store(word, Ordering::Relaxed);
        }
    }
}

/// The bits of a flow's tag.
const TAG: u64 = u32::MAX as u64;

/// The part of a hash that a flow is told by; never 0.
fn tag(hash: u64) -> u64 {
    hash >> 32 | 1
}

/// Whether something is known of the flow.
#[inline]
pub(crate) fn is_known(touched: &Touched) -> bool {
    touched[0] & TAG != 0
}

/// The tag, and the places in order.
#[inline(always)]
pub(super) fn halves(touched: &Touched) -> [u32; 2 * WORDS] {
    let mut halves = [0; 2 * WORDS];
    for (pair, &word) in halves.chunks_exact_mut(2).zip(touched) {
        pair.copy_from_slice(&[word as u32, (word >> 32) as u32]);
    }
    halves
}

#[inline]
fn way_of(set: &Set, flow: u64) -> Option<&Way> {
    let tag = tag(flow);
    ways(set).find(|way| way[0].load(Ordering::Relaxed) & TAG == tag)
}

/// A hash of what tells a packet's flow from others: addresses, protocol and ports of IP, as network cards spread packets over
/// their queues; the link's header for anything else. Which bytes they are is a guess, good for most programs.
#[inline]
pub(crate) fn flow_of(port: u32, bytes: &[u8]) -> u64 {
    // IPv4 without options or tags: what most packets are.
    if let Some(&head) = bytes.first_chunk::<PLAIN>()
        && head[12..15] == [8, 0, 0x45]
    {
        let ends = u64::from_le_bytes([
            head[26], head[27], head[28], head[29], head[30], head[31], head[32], head[33],
        ]);
        let ports = u32::from_le_bytes([head[34], head[35], head[36], head[37]]);
        return flow_v4(ends, ports, head[23], port);
    }
    other_flow(port, bytes)
}

/// As [`flow_of`], of any packet.
#[inline(never)]
fn other_flow(port: u32, bytes: &[u8]) -> u64 {
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
            let ports = half(at + (byte(at) & 15) as usize * 4) as u32;
            flow_v4(word(at + 12), ports, byte(at + 9) as u8, port as u32)
        }
        0x86dd => {
            let ports = half(at + 40) << 32 | byte(at + 6) << 24 ^ port;
            let ends = mix(word(at + 8), word(at + 16)) ^ word(at + 24);
            mix(ends, word(at + 32) ^ mix(ports, port))
        }
        _ => mix(word(0), word(6) ^ port),
    }
}

/// Bytes of a packet up to its ports, where there is neither a tag nor an option.
const PLAIN: usize = 38;

/// The hash of what tells a flow of IPv4.
#[inline]
fn flow_v4(ends: u64, ports: u32, protocol: u8, port: u32) -> u64 {
    let with = u64::from(ports) << 32 | u64::from(protocol) << 24 ^ u64::from(port);
    mix(ends, with)
}

/// Two words as one. Nobody gains by choosing flows that meet, so the seeds are constants.
fn mix(a: u64, b: u64) -> u64 {
    fold(a ^ 0x9e37_79b9_7f4a_7c15, b ^ 0xd1b5_4a32_d192_ed03)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(flows: u64) -> (Recall, Arc<Memory>) {
        let (recall, mut memory) = (Recall::default(), None);
        recall.renew((flows, u64::MAX), &mut memory);
        let memory = memory.unwrap_or_else(|| Memory::new(1));
        (recall, memory)
    }

    /// Bytes behind the beginning, after so many places.
    fn end(places: u64) -> u64 {
        FIRST + places * size_of::<u32>() as u64
    }

    #[test]
    fn what_a_flow_touched_is_known_again() {
        let (_recall, memory) = memory(1000);
        let sets = memory.sets();
        let touched = [1, 2, 3, 4, 5, 6, 7, 8].map(|word: u64| word << 58 | word << 32 | word << 8);
        let nothing = Touched::default();
        assert!(!is_known(&sets.touched(5)));
        assert_eq!(sets.touched(5), nothing);
        assert!(!sets.note(5, &nothing, &touched, end(15)));
        let known = sets.touched(5);
        assert!(is_known(&known));
        assert_eq!(known[1..], touched[1..WORDS]);
        assert_eq!(
            halves(&known)[1],
            halves(&touched[..WORDS].try_into().unwrap())[1]
        );
        // What is not remembered makes no difference, nor does the tag.
        let mut more = touched;
        (more[0], more[WORDS]) = (touched[0] | 9, 7);
        assert!(sets.note(5, &known, &more, end(15)));
        // Of a packet that touched less than was expected, the rest is forgotten.
        for (places, left) in [
            (6, [touched[1], touched[2], touched[3] & TAG]),
            (1, [0; 3]),
            (0, [0; 3]),
        ] {
            let mut fewer = touched;
            fewer[0] ^= 1 << 40;
            assert!(!sets.note(5, &known, &fewer, end(places)));
            let known = sets.touched(5);
            assert!(is_known(&known));
            assert_eq!(known[1..], left, "{places}");
            assert_eq!(known[0] >> 32, if places > 0 { fewer[0] >> 32 } else { 0 });
        }
        assert!(!is_known(&sets.touched(5 | 1 << 50)));
    }

    #[test]
    fn room_grows_with_the_flows_and_is_shared() {
        let (recall, memory) = memory(1000);
        assert_eq!(memory.sets().0.len(), 512);
        assert_eq!(memory.sets().0.as_ptr() as usize % size_of::<Set>(), 0);
        let (mut mine, mut theirs) = (Some(memory), None);
        recall.renew((1000, 20_000), &mut theirs);
        assert!(mine.iter().zip(&theirs).all(|(a, b)| Arc::ptr_eq(a, b)));
        // What will be needed soon is there before it is, once.
        let next = recall.memory.lock().next.clone();
        recall.renew((1024, 20_000), &mut theirs);
        recall.renew((1025, 20_000), &mut theirs);
        assert!(next.iter().zip(&theirs).all(|(a, b)| Arc::ptr_eq(a, b)));
        assert_eq!(next.map(|memory| memory.len), Some(1024));
        recall.renew((5000, 20_000), &mut theirs);
        assert_eq!(theirs.as_ref().map(|memory| memory.len), Some(4096));
        recall.renew((10, 20_000), &mut mine);
        assert!(mine.iter().zip(&theirs).all(|(a, b)| Arc::ptr_eq(a, b)));
        // There is an end to it.
        recall.renew((1 << 40, 20_000), &mut theirs);
        assert_eq!(theirs.as_ref().map(|memory| memory.len), Some(16_384));
        assert_eq!(recall.soon.load(Ordering::Relaxed), 16_384);
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
