//! The writer's side of a trie: prefixes put in and taken out.
//!
//! In: entries with their matches. Out: slots that name them. Whatever a change needs is built out of sight and linked
//! by one store: a packet sees the trie before it or after it, and both have every other entry.
//!
//! Invariant: two entries below a slot differ where the node below it branches, or one of them ends there.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::super::epoch::Guard;
use super::super::hasher::KeyHasher;
use super::super::key::{Encoded, KeyWords};
use super::super::recycle::Recycler;
use super::node::{
    Below, FIRST_STEP, SKIP_MAX, STEP, Skip, cover, covered, covered_by, fits, with_below,
    with_cover,
};
use super::{Entries, LpmIndex};

/// Slots of a small node with small nodes below, from which on a wide one takes the place of all of them.
const CROWDED: usize = 4;

/// Numbers that nothing uses, and what only the writer knows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    small: Recycler,
    wide: Recycler,
    skips: Recycler,
    groups: Recycler,
    /// Entries of each group.
    sizes: Vec<u32>,
}

/// A prefix to be put in or taken out.
struct Prefix<'a> {
    entry: u32,
    value: &'a [u64],
    len: u32,
}

/// A slot, and the bits before it.
type Place<'t> = (&'t AtomicU64, u32);

/// Numbers of skips that are not in use yet.
type Skips = SmallVec<[u32; 16]>;

/// A number that slots have room for.
fn take(numbers: &mut Recycler) -> Option<u32> {
    numbers.take().filter(|&number| fits(number))
}

/// So many numbers of skips, or none.
fn take_skips(writer: &mut Writer, count: usize) -> Option<Skips> {
    let taken: Skips = (0..count).map_while(|_| take(&mut writer.skips)).collect();
    if taken.len() < count {
        taken.into_iter().for_each(|n| writer.skips.give_unused(n));
        return None;
    }
    Some(taken)
}

/// The bits from `from` on, `count` of them, of `len` bits.
fn part((bits, len): (u64, u32), from: u32, count: u32) -> u64 {
    (bits >> (len - from - count)) & ((1 << count) - 1)
}

fn set(slot: &AtomicU64, value: u64) {
    slot.store(value, Ordering::Relaxed);
}

fn get(slot: &AtomicU64) -> u64 {
    slot.load(Ordering::Relaxed)
}

impl LpmIndex {
    fn prefix_len(&self, encoded: &Encoded) -> u32 {
        let words = 0..self.field.words();
        words
            .map(|i| self.field.word_of(&encoded.mask, i).count_ones())
            .sum()
    }

    fn known_hash(hasher: &KeyHasher, value: &[u64], len: u32) -> u64 {
        let key: KeyWords = value.iter().copied().chain([u64::from(len)]).collect();
        hasher.hash(&key)
    }

    /// The entry with this very match.
    pub fn find(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
    ) -> Option<u32> {
        let hash = Self::known_hash(hasher, &encoded.value, self.prefix_len(encoded));
        let same = |entry| {
            let matched = entries.matched(entry);
            matched.value == encoded.value && matched.mask == encoded.mask
        };
        self.known.find(guard, hash, same)
    }

    /// Adds an entry, whose row `entries` shows already. False when there is no room.
    pub fn insert(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
        entry: u32,
    ) -> bool {
        let prefix = Prefix {
            entry,
            value: &encoded.value,
            len: self.prefix_len(encoded),
        };
        let hash = Self::known_hash(hasher, prefix.value, prefix.len);
        let mut writer = self.writer.lock();
        if !fits(entry) || !self.known.insert(guard, hash, entry) {
            return false;
        }
        let Some(top) = self.enter_group(guard, hasher, &mut writer, prefix.value) else {
            self.known.remove(guard, hash, entry);
            return false;
        };
        let put = self.put(&mut writer, entries, top, &prefix).is_some();
        if !put {
            self.known.remove(guard, hash, entry);
            self.leave_group(guard, hasher, &mut writer, prefix.value);
        }
        put
    }

    /// The slot of the group of a new entry; makes the group.
    fn enter_group<'g>(
        &'g self,
        guard: &'g Guard,
        hasher: &KeyHasher,
        writer: &mut Writer,
        value: &[u64],
    ) -> Option<&'g AtomicU64> {
        if self.exact.is_empty() {
            return Some(&self.top);
        }
        let words = self.exact.len();
        let hash = hasher.hash_masked(value, &self.exact);
        if let Some(group) = self.group(guard, hash, value) {
            if let Some(size) = writer.sizes.get_mut(group as usize) {
                *size += 1;
            }
            return self.group_rows.get(group)?.get(words);
        }
        let group = writer.groups.take()?;
        let row = self.group_rows.make(group);
        let masked = value
            .iter()
            .zip(&self.exact)
            .map(|(value, mask)| value & mask);
        row.iter()
            .zip(masked.chain([0]))
            .for_each(|(row, word)| set(row, word));
        if !self.groups.insert(guard, hash, group) {
            writer.groups.give_unused(group);
            return None;
        }
        let at = group as usize;
        writer.sizes.resize(writer.sizes.len().max(at + 1), 0);
        writer.sizes[at] = 1;
        row.get(words)
    }

    fn leave_group(&self, guard: &Guard, hasher: &KeyHasher, writer: &mut Writer, value: &[u64]) {
        if self.exact.is_empty() {
            return;
        }
        let hash = hasher.hash_masked(value, &self.exact);
        let Some(group) = self.group(guard, hash, value) else {
            return;
        };
        if let Some(size) = writer.sizes.get_mut(group as usize) {
            *size = size.saturating_sub(1);
            if *size == 0 {
                self.groups.remove(guard, hash, group);
                writer.groups.give(group);
            }
        }
    }

    /// Puts a prefix below a top slot; `None` when there are no more nodes.
    fn put(
        &self,
        writer: &mut Writer,
        entries: &impl Entries,
        top: &AtomicU64,
        prefix: &Prefix<'_>,
    ) -> Option<()> {
        let (mut slot, mut at) = (top, 0);
        // The slot below which the small node is that `slot` lies in.
        let mut above: Option<Place<'_>> = None;
        loop {
            if prefix.len == at {
                with_cover(slot, Some(prefix.entry));
                return Some(());
            }
            match Below::of(get(slot)) {
                Below::Nothing => {
                    with_below(slot, Below::Alone(prefix.entry));
                    return Some(());
                }
                Below::Alone(other) => {
                    self.branch(writer, entries, (slot, at), other, prefix)?;
                    if let Some(place) = above.take_if(|place| self.widen(writer, entries, *place))
                    {
                        (slot, at) = place;
                    }
                }
                Below::Skip(number) => {
                    let skip = self.nodes.skip(number)?;
                    let Some(same) = self.parts_after(&skip, at, prefix) else {
                        (slot, at, above) = (skip.slot, at + skip.len, None);
                        continue;
                    };
                    self.split(writer, slot, number, same)?;
                    if let Some(place) = above.take_if(|place| self.widen(writer, entries, *place))
                    {
                        (slot, at) = place;
                    }
                }
                node => {
                    let (slots, step) = self.nodes.slots(node)?;
                    if prefix.len <= at + step {
                        self.cover_slots(entries, slots, (at, step), prefix);
                        return Some(());
                    }
                    above = matches!(node, Below::Small(_)).then_some((slot, at));
                    slot = slots.get(self.bits(prefix.value, at, step) as usize)?;
                    at += step;
                }
            }
        }
    }

    /// Names a prefix that ends within a node in every slot that it covers and no longer one does.
    fn cover_slots(
        &self,
        entries: &impl Entries,
        slots: &[AtomicU64],
        (at, step): (u32, u32),
        prefix: &Prefix<'_>,
    ) {
        let first = self.bits(prefix.value, at, step) as usize;
        let count = 1usize << (at + step - prefix.len);
        let mut last = (None, true);
        for slot in slots.iter().skip(first).take(count) {
            let have = cover(get(slot));
            // Many slots in a row name the same entry.
            if have != last.0 {
                let shorter = |have| self.prefix_len(&entries.matched(have)) < prefix.len;
                last = (have, have.is_none_or(shorter));
            }
            if last.1 {
                with_cover(slot, Some(prefix.entry));
            }
        }
    }

    /// Puts a prefix into a node that has nothing in it and that no packet can see, in slots that `under` covers.
    fn fill(
        &self,
        slots: &[AtomicU64],
        (at, step): (u32, u32),
        prefix: &Prefix<'_>,
        under: Option<u32>,
    ) {
        let first = self.bits(prefix.value, at, step) as usize;
        let behind = prefix.len.saturating_sub(at + step);
        let value = match behind {
            0 => covered(Some(prefix.entry)),
            _ => covered(under) | Below::Alone(prefix.entry).slot(),
        };
        let count = 1usize << (at + step).saturating_sub(prefix.len);
        let slots = slots.iter().skip(first).take(count);
        slots.for_each(|slot| set(slot, value));
    }

    /// Puts the entry that is alone below a slot into a node, or behind a skip, below it: where it differs from a new one.
    fn branch(
        &self,
        writer: &mut Writer,
        entries: &impl Entries,
        (slot, at): Place<'_>,
        other: u32,
        prefix: &Prefix<'_>,
    ) -> Option<()> {
        let matched = entries.matched(other);
        let other = Prefix {
            entry: other,
            value: &matched.value,
            len: self.prefix_len(&matched),
        };
        if at == 0 && self.exact.is_empty() && self.field.width >= FIRST_STEP {
            let slots = self.nodes.make_first();
            self.fill(slots, (at, FIRST_STEP), &other, None);
            with_below(slot, Below::First);
            return Some(());
        }
        let common = (prefix.len.min(other.len) - at - 1).min(SKIP_MAX);
        let bits = self.bits(prefix.value, at, common);
        let same = self.same((bits, common), at, other.value);
        if same > 0 {
            let number = take(&mut writer.skips)?;
            let bits = part((bits, common), 0, same);
            let behind = Below::Alone(other.entry).slot();
            self.nodes.write_skip(number, (bits, same), behind);
            with_below(slot, Below::Skip(number));
        } else {
            let (number, slots) = self.small(writer)?;
            self.fill(slots, (at, STEP), &other, None);
            with_below(slot, Below::Small(number));
        }
        Some(())
    }

    /// A small node with nothing in it.
    fn small<'t>(&'t self, writer: &mut Writer) -> Option<(u32, &'t [AtomicU64])> {
        let number = take(&mut writer.small)?;
        let slots = self.nodes.small.make(number);
        slots.iter().for_each(|slot| set(slot, 0));
        Some((number, slots))
    }

    /// How many bits, in whole steps, are the same as a value's bits from `at` on.
    fn same(&self, (bits, len): (u64, u32), at: u32, value: &[u64]) -> u32 {
        let differ = bits ^ self.bits(value, at, len);
        let equal = len.min((differ << (u64::BITS - 1 - len) << 1).leading_zeros());
        equal / STEP * STEP
    }

    /// After how many bits of a skip, in whole steps, a prefix must branch off; `None`: it lies behind it.
    fn parts_after(&self, skip: &Skip<'_>, at: u32, prefix: &Prefix<'_>) -> Option<u32> {
        let left = prefix.len - at;
        if left >= skip.len && self.bits(prefix.value, at, skip.len) == skip.bits {
            return None;
        }
        let common = skip.len.min(left - 1);
        let bits = part((skip.bits, skip.len), 0, common);
        Some(self.same((bits, common), at, prefix.value))
    }

    /// Puts a node into a skip below a slot, behind its first `before` bits.
    fn split(&self, writer: &mut Writer, slot: &AtomicU64, number: u32, before: u32) -> Option<()> {
        let skip = self.nodes.skip(number)?;
        let (bits, after) = ((skip.bits, skip.len), skip.len - before - STEP);
        let parts = usize::from(before > 0) + usize::from(after > 0);
        let mut skips = take_skips(writer, parts)?;
        let Some((node, slots)) = self.small(writer) else {
            skips.into_iter().for_each(|n| writer.skips.give_unused(n));
            return None;
        };
        let mut cut = |from: u32, len: u32, behind: u64| {
            if len == 0 {
                return Some(behind);
            }
            let number = skips.pop()?;
            self.nodes
                .write_skip(number, (part(bits, from, len), len), behind);
            Some(Below::Skip(number).slot())
        };
        let child = slots.get(part(bits, before, STEP) as usize)?;
        set(child, cut(before + STEP, after, get(skip.slot))?);
        let head = cut(0, before, Below::Small(node).slot())?;
        with_below(slot, Below::of(head));
        writer.skips.give(number);
        Some(())
    }

    /// Puts a wide node in place of a crowded small one below a slot. Whether it did.
    fn widen(&self, writer: &mut Writer, entries: &impl Entries, (slot, at): Place<'_>) -> bool {
        let small = Below::of(get(slot));
        let Some((slots, STEP)) = self.nodes.slots(small) else {
            return false;
        };
        let below = || slots.iter().map(|slot| Below::of(get(slot)));
        let crowded = below()
            .filter(|below| matches!(below, Below::Small(_)))
            .count()
            >= CROWDED;
        if !crowded || below().any(|below| matches!(below, Below::Wide(_))) {
            return false;
        }
        let Some(mut skips) = take_skips(writer, slots.len()) else {
            return false;
        };
        let wide = take(&mut writer.wide);
        if let Some(wide) = wide {
            let parts = self.nodes.wide.make(wide).chunks(slots.len());
            for (part, slot) in parts.zip(slots) {
                self.spread(entries, part, (get(slot), at + STEP), &mut skips);
            }
            with_below(slot, Below::Wide(wide));
            for below in below().chain([small]) {
                match below {
                    Below::Small(number) => writer.small.give(number),
                    Below::Skip(number) => writer.skips.give(number),
                    _ => {}
                }
            }
        }
        skips.into_iter().for_each(|n| writer.skips.give_unused(n));
        wide.is_some()
    }

    /// Writes what a slot covers, and what is below it, into the part of a wide node that takes its place.
    fn spread(
        &self,
        entries: &impl Entries,
        slots: &[AtomicU64],
        (value, at): (u64, u32),
        skips: &mut Skips,
    ) {
        let over = cover(value);
        slots.iter().for_each(|slot| set(slot, covered(over)));
        match Below::of(value) {
            Below::Alone(entry) => {
                let matched = entries.matched(entry);
                let prefix = Prefix {
                    entry,
                    value: &matched.value,
                    len: self.prefix_len(&matched),
                };
                self.fill(slots, (at, STEP), &prefix, over);
            }
            Below::Skip(number) => {
                let Some(skip) = self.nodes.skip(number) else {
                    return;
                };
                let (bits, after) = ((skip.bits, skip.len), skip.len - STEP);
                let mut behind = get(skip.slot);
                if after > 0
                    && let Some(rest) = skips.pop()
                {
                    let end = (part(bits, STEP, after), after);
                    self.nodes.write_skip(rest, end, behind);
                    behind = Below::Skip(rest).slot();
                }
                if let Some(slot) = slots.get(part(bits, 0, STEP) as usize) {
                    set(slot, covered_by(behind, over));
                }
            }
            node => {
                let below = self.nodes.slots(node).map(|(slots, _)| slots);
                for (slot, from) in slots.iter().zip(below.unwrap_or_default()) {
                    set(slot, covered_by(get(from), over));
                }
            }
        }
    }

    /// Takes an entry out, whose row `entries` still shows.
    pub fn remove(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        encoded: &Encoded,
        entry: u32,
    ) {
        let prefix = Prefix {
            entry,
            value: &encoded.value,
            len: self.prefix_len(encoded),
        };
        let mut writer = self.writer.lock();
        let Some(top) = self.top(guard, hasher, prefix.value) else {
            return;
        };
        let hash = Self::known_hash(hasher, prefix.value, prefix.len);
        self.known.remove(guard, hash, entry);
        let shorter = |from| self.next_shorter(guard, hasher, entries, &prefix, from);
        let mut path = SmallVec::new();
        if self.take_out(top, &prefix, shorter, &mut path).is_some() {
            self.prune(&mut writer, &path);
        }
        self.leave_group(guard, hasher, &mut writer, prefix.value);
    }

    /// Takes a prefix out of its slots; `path` gets the slots below which the nodes on the way are. `None`: it is not there.
    fn take_out<'t>(
        &'t self,
        top: &'t AtomicU64,
        prefix: &Prefix<'_>,
        shorter: impl FnOnce(u32) -> Option<u32>,
        path: &mut SmallVec<[&'t AtomicU64; 32]>,
    ) -> Option<()> {
        let (mut slot, mut at) = (top, 0);
        loop {
            if prefix.len == at {
                // Only this very prefix may stand here.
                with_cover(slot, None);
                return Some(());
            }
            match Below::of(get(slot)) {
                Below::Alone(entry) if entry == prefix.entry => {
                    with_below(slot, Below::Nothing);
                    return Some(());
                }
                Below::Nothing | Below::Alone(_) => return None,
                Below::Skip(number) => {
                    let skip = self.nodes.skip(number)?;
                    if self.parts_after(&skip, at, prefix).is_some() {
                        return None;
                    }
                    path.push(slot);
                    (slot, at) = (skip.slot, at + skip.len);
                }
                node => {
                    path.push(slot);
                    let (slots, step) = self.nodes.slots(node)?;
                    let first = self.bits(prefix.value, at, step) as usize;
                    if prefix.len <= at + step {
                        let count = 1usize << (at + step - prefix.len);
                        let instead = shorter(at);
                        for slot in slots.iter().skip(first).take(count) {
                            if cover(get(slot)) == Some(prefix.entry) {
                                with_cover(slot, instead);
                            }
                        }
                        return Some(());
                    }
                    (slot, at) = (slots.get(first)?, at + step);
                }
            }
        }
    }

    /// The longest prefix around this one that is longer than `from` bits.
    fn next_shorter(
        &self,
        guard: &Guard,
        hasher: &KeyHasher,
        entries: &impl Entries,
        prefix: &Prefix<'_>,
        from: u32,
    ) -> Option<u32> {
        let mut value = KeyWords::from_slice(prefix.value);
        let mut shorter: SmallVec<[(u32, KeyWords, u64); 8]> = SmallVec::new();
        for len in (from + 1..prefix.len).rev() {
            let low = self.field.shift + self.field.width - len - 1;
            if let Some(word) = value.get_mut(self.field.word + low as usize / 64) {
                *word &= !(1 << (low % 64));
            }
            let hash = Self::known_hash(hasher, &value, len);
            self.known.prefetch(guard, hash);
            shorter.push((len, value.clone(), hash));
        }
        shorter.into_iter().find_map(|(len, value, hash)| {
            let same = |entry| {
                let matched = entries.matched(entry);
                matched.value == value && self.prefix_len(&matched) == len
            };
            self.known.find(guard, hash, same)
        })
    }

    /// Unlinks the nodes of a path, from its end, as far as they are empty.
    fn prune(&self, writer: &mut Writer, path: &[&AtomicU64]) {
        for slot in path.iter().rev() {
            let below = Below::of(get(slot));
            if below == Below::First || !self.nodes.is_empty(below) {
                return;
            }
            with_below(slot, Below::Nothing);
            match below {
                Below::Small(number) => writer.small.give(number),
                Below::Wide(number) => writer.wide.give(number),
                Below::Skip(number) => writer.skips.give(number),
                Below::Nothing | Below::Alone(_) | Below::First => {}
            }
        }
    }
}
