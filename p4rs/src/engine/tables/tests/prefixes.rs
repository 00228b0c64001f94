//! Prefixes against a list: crowded ones, nested ones, ones that differ in their last bits only, of every width; and
//! against packets that look while they come and go.

use std::sync::atomic::AtomicBool;

use super::threads::{data_of, opened, racing};
use super::*;

/// A table, and what must be in it.
struct Listed {
    table: MatchTable,
    width: u32,
    /// Whether there is an exact field before the prefix.
    grouped: bool,
    /// Group, value, length, tag.
    entries: Vec<(u8, u128, u32, u16)>,
    tags: u16,
}

impl Listed {
    fn new(width: u32, grouped: bool) -> Self {
        let keys = [(MatchKind::Exact, 2), (MatchKind::Lpm, width)];
        let keys = &keys[usize::from(!grouped)..];
        Self {
            table: MatchTable::new(TableConfig {
                capacity: None,
                ..config(keys)
            })
            .unwrap(),
            width,
            grouped,
            entries: Vec::new(),
            tags: 0,
        }
    }

    fn fields(&self, group: u8, value: u128, len: u32) -> Vec<OwnedField> {
        let prefix = match len {
            0 => OwnedField::DontCare,
            _ => OwnedField::Lpm(value.to_be_bytes().to_vec(), len),
        };
        let exact = OwnedField::Exact(vec![group]);
        [exact, prefix].split_off_first(self.grouped)
    }

    /// Stores a prefix, or another action for it.
    fn put(&mut self, group: u8, value: u128, len: u32) {
        let group = if self.grouped { group } else { 0 };
        let value = value & prefix_mask(self.width, len);
        self.tags += 1;
        let (fields, tag) = (self.fields(group, value, len), self.tags);
        let same = |e: &&mut (u8, u128, u32, u16)| (e.0, e.1, e.2) == (group, value, len);
        let known = self.entries.iter_mut().find(same);
        let done = write(&self.table, &fields, 0, tag, known.is_some());
        assert_eq!(done, Ok(()));
        match known {
            Some(entry) => entry.3 = tag,
            None => self.entries.push((group, value, len, tag)),
        }
    }

    fn remove(&mut self, at: usize) {
        let (group, value, len, _) = self.entries.swap_remove(at);
        let fields = self.fields(group, value, len);
        let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
        assert_eq!(self.table.delete(&fields, 0), Ok(()));
        assert_eq!(self.table.delete(&fields, 0), Err(TableError::NotFound));
    }

    fn winner(&self, group: u8, key: u128) -> Option<u16> {
        let group = if self.grouped { group } else { 0 };
        let covering = self.entries.iter().filter(|(own, value, len, _)| {
            *own == group && key & prefix_mask(self.width, *len) == *value
        });
        covering.max_by_key(|entry| entry.2).map(|entry| entry.3)
    }

    /// Looks keys up one by one and all at once.
    fn check(&self, keys: &[(u8, u128)]) {
        let batch = Batch::new(&self.table);
        let mut packed = Vec::new();
        for &(group, key) in keys {
            let bytes = (key & ones(self.width)).to_be_bytes();
            let group = [group];
            let fields = [&group[..], &bytes].split_off_first(self.grouped);
            batch.push_key(&fields, &mut packed).unwrap();
        }
        let (guard, words) = (epoch::pin(), packed.len() / keys.len().max(1));
        let query = Query {
            now: Time(0),
            selector: &[],
            bytes: 64,
        };
        let tag = |found: &Found<'_>| {
            found
                .hit
                .then(|| found.data[0].load(Ordering::Relaxed) as u16)
        };
        let mut found = Vec::new();
        self.table
            .lookup_batch(&guard, &packed, &query, |at, what| {
                assert_eq!(at, found.len());
                found.push(tag(&what));
            });
        for (at, &(group, key)) in keys.iter().enumerate() {
            let wanted = self.winner(group, key & ones(self.width));
            let single = self
                .table
                .lookup(&guard, &packed[at * words..][..words], &query);
            assert_eq!(
                (tag(&single), found[at]),
                (wanted, wanted),
                "{key:x} of {} bits among {:x?}",
                self.width,
                self.entries
            );
        }
    }

    /// Keys in and beside entries, of about fifty of them.
    fn keys(&self, noise: u128) -> Vec<(u8, u128)> {
        let every = self.entries.len() / 50 + 1;
        let some = self.entries.iter().skip(noise as usize % every);
        let keys = some.step_by(every).flat_map(|&(group, value, len, _)| {
            let last = 1u128.checked_shl(self.width - len.max(1)).unwrap_or(0);
            let inside = value | noise & !prefix_mask(self.width, len);
            [(group, inside), (group, value ^ last), (group ^ 1, inside)]
        });
        keys.chain([(0, noise), (1, 0), (0, u128::MAX)]).collect()
    }
}

trait SplitOffFirst<T> {
    /// All, or all but the first.
    fn split_off_first(self, all: bool) -> Vec<T>;
}

impl<T, const N: usize> SplitOffFirst<T> for [T; N] {
    fn split_off_first(self, all: bool) -> Vec<T> {
        self.into_iter().skip(usize::from(!all)).collect()
    }
}

/// What befalls a table; values are made of a base, changed a little somewhere.
#[derive(Clone, Debug)]
enum Change {
    Put(u8, (usize, u8, u32), u32),
    /// Sixteen or 256 neighbours from some bit on, each with two entries below.
    Fan(usize, u32, u32),
    Remove(prop::sample::Index),
    /// All entries that a prefix covers, or that cover it.
    Sweep(usize, u32),
    Look(u128),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let value = || (0usize..3, any::<u8>(), 0u32..128);
    let change = prop_oneof![
        8 => (0u8..2, value(), 0u32..=128).prop_map(|(g, v, len)| Change::Put(g, v, len)),
        2 => (0usize..3, 0u32..128, 5u32..10).prop_map(|(b, at, n)| Change::Fan(b, at, n)),
        4 => any::<prop::sample::Index>().prop_map(Change::Remove),
        1 => (0usize..3, 0u32..=128).prop_map(|(b, len)| Change::Sweep(b, len)),
        3 => any::<u128>().prop_map(Change::Look),
    ];
    prop::collection::vec(change, 1..40)
}

fn apply(listed: &mut Listed, bases: &[u128; 3], change: &Change) {
    let width = listed.width;
    match *change {
        Change::Put(group, (base, noise, at), len) => {
            let value = bases[base] ^ u128::from(noise) << (at % width);
            listed.put(group, value & ones(width), len.min(width));
        }
        Change::Fan(base, at, bits) => {
            let (at, end) = (at % width, (at % width + bits).min(width));
            let kept = bases[base] & prefix_mask(width, at);
            for n in 0..1u128 << (end - at).min(6) {
                listed.put(0, kept | n << (width - end), end);
                let last = (end + 3).min(width);
                listed.put(0, kept | n << (width - end), last);
                listed.put(0, kept | n << (width - end) | 1 << (width - last), last);
            }
        }
        Change::Remove(at) if !listed.entries.is_empty() => {
            listed.remove(at.index(listed.entries.len()));
        }
        Change::Remove(_) => {}
        Change::Sweep(base, len) => {
            let len = len.min(width);
            let meets = |entry: &(u8, u128, u32, u16)| {
                (entry.1 ^ bases[base]) & prefix_mask(width, len.min(entry.2)) == 0
            };
            while let Some(at) = listed.entries.iter().position(meets) {
                listed.remove(at);
            }
        }
        Change::Look(noise) => listed.check(&listed.keys(noise)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn of_any_width_the_longest_wins(
        width in 1u32..=128,
        grouped: bool,
        base: u128,
        near in 0u32..128,
        changes in changes(),
    ) {
        let mut listed = Listed::new(width, grouped);
        let base = base & ones(width);
        let bases = [base, base ^ 1 << (near % width), 0];
        changes.iter().for_each(|change| apply(&mut listed, &bases, change));
        listed.check(&listed.keys(base));
        while !listed.entries.is_empty() {
            listed.remove(listed.entries.len() / 2);
        }
        listed.check(&[(0, base), (1, 0), (0, u128::MAX)]);
        changes.iter().for_each(|change| apply(&mut listed, &bases, change));
        listed.check(&listed.keys(base));
    }
}

/// A space of 32 bits as it lies in keys: whole, or in two places of an address of 128 bits.
#[derive(Clone, Copy)]
struct Space {
    keys: &'static [(MatchKind, u32)],
    wide: bool,
}

impl Space {
    fn value(self, place: u32) -> u128 {
        let (high, low) = (u128::from(place >> 16), u128::from(place & 0xffff));
        match self.wide {
            true => 0x2001 << 112 | high << 80 | low << 20,
            false => u128::from(place),
        }
    }

    fn len(self, len: u32) -> u32 {
        match len {
            len if !self.wide => len,
            0..=16 => len + 32,
            len => len + 76,
        }
    }

    /// The fields of a match or, with a length for all, of a key.
    fn fields(self, place: u32, len: u32) -> Vec<OwnedField> {
        let bytes = self.value(place).to_be_bytes();
        let bytes = if self.wide { &bytes[..] } else { &bytes[12..] };
        let prefix = OwnedField::Lpm(bytes.to_vec(), self.len(len));
        [OwnedField::Exact(vec![3]), prefix].split_off_first(self.wide)
    }

    fn put(self, t: &MatchTable, place: u32, len: u32) {
        let data = data_of(u64::from(place), u64::from(len));
        let params: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let fields = self.fields(place, len);
        let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
        let call = ActionCall {
            action: 0,
            params: &params,
        };
        assert_eq!(t.insert(Time(0), &NewEntry::new(&fields, call)), Ok(()));
    }

    fn remove(self, t: &MatchTable, place: u32, len: u32) {
        let fields = self.fields(place, len);
        let fields: Vec<FieldMatch<'_>> = fields.iter().map(OwnedField::as_match).collect();
        assert_eq!(t.delete(&fields, 0), Ok(()));
    }

    /// Place and length of what each key finds.
    fn look(self, t: &MatchTable, places: &[u32], mut each: impl FnMut(u32, Option<(u32, u32)>)) {
        let batch = Batch::new(t);
        let mut keys = Vec::new();
        for &place in places {
            let bytes = self.value(place).to_be_bytes();
            let bytes = if self.wide { &bytes[..] } else { &bytes[12..] };
            let fields = [&[3][..], bytes].split_off_first(self.wide);
            batch.push_key(&fields, &mut keys).unwrap();
        }
        let query = Query {
            now: Time(0),
            selector: &[],
            bytes: 64,
        };
        let guard = epoch::pin();
        t.lookup_batch(&guard, &keys, &query, |at, found| {
            let seen = found.hit.then(|| opened(&found));
            each(
                places[at],
                seen.map(|(place, len)| (place as u32, len as u32)),
            );
        });
    }
}

/// Prefixes that stay: nested, so that there is always something to fall back to.
const STAY: [(u32, u32); 4] = [
    (0x0a00_0000, 8),
    (0x0a01_0000, 16),
    (0x0a01_4000, 18),
    (0x0a01_8000, 20),
];

fn covers_place((prefix, len): (u32, u32), place: u32) -> bool {
    (prefix ^ place).checked_shr(32 - len).unwrap_or(0) == 0
}

/// Prefixes that come and go: some in every /24 of 10.1.0.0/16, and some that cover many of them.
fn guests() -> Vec<(u32, u32)> {
    let of = |block: u32| {
        let at = 0x0a01_0000 | block << 8;
        [
            (at, 24),
            (at | 64, 26),
            (at | 96, 32),
            (at | 97, 32),
            (at, 32),
        ]
    };
    let wide = [(0x0a01_0000, 17), (0x0a01_c000, 19), (0x0a01_2000, 22)];
    (0..256).flat_map(of).chain(wide).collect()
}

/// Tells packets to stop, whatever becomes of the one that has it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn come_and_go(space: Space) {
    let t = MatchTable::new(TableConfig {
        capacity: None,
        ..racing(space.keys)
    })
    .unwrap();
    STAY.iter()
        .for_each(|&(place, len)| space.put(&t, place, len));
    let stop = AtomicBool::new(false);
    let guests = guests();
    let longest = |among: &[(u32, u32)], place: u32| {
        let covering = among.iter().filter(|&&prefix| covers_place(prefix, place));
        covering.map(|&(_, len)| len).max()
    };
    let places: Vec<u32> = (0..4096u32)
        .map(|n| 0x0a01_0000 | n << 4 | (n % 3))
        .collect();
    std::thread::scope(|scope| {
        let look = |every: usize| {
            let mut last = false;
            while !last {
                last = stop.load(Ordering::Acquire);
                for part in places.chunks(every) {
                    space.look(&t, part, |place, found| {
                        let found = found.unwrap_or_else(|| panic!("{place:x} found nothing"));
                        assert!(covers_place(found, place), "{place:x} found {found:x?}");
                        assert!(
                            Some(found.1) >= longest(&STAY, place),
                            "{place:x} {found:x?}"
                        );
                    });
                }
            }
        };
        let readers = [7, 50].map(|every| scope.spawn(move || look(every)));
        let stopping = Stop(&stop);
        for round in 0..if cfg!(miri) { 1 } else { 6 } {
            // Every guest once, in an order of the round's own: their number is odd.
            let order = |step: usize| {
                let guests = &guests;
                (0..guests.len()).map(move |n| guests[(n * step + round) % guests.len()])
            };
            order(2 * round + 1).for_each(|(place, len)| space.put(&t, place, len));
            let all = [&guests[..], &STAY].concat();
            space.look(&t, &places, |place, found| {
                assert_eq!(found.map(|f| f.1), longest(&all, place), "{place:x}");
            });
            order(64 >> round).for_each(|(place, len)| space.remove(&t, place, len));
            space.look(&t, &places, |place, found| {
                assert_eq!(found.map(|f| f.1), longest(&STAY, place), "{place:x}");
            });
        }
        drop(stopping);
        readers.into_iter().for_each(|r| r.join().unwrap());
    });
    assert_eq!(t.len(), STAY.len() as u64);
}

#[test]
fn packets_find_the_longest_of_32_bits_while_prefixes_come_and_go() {
    come_and_go(Space {
        keys: &[(MatchKind::Lpm, 32)],
        wide: false,
    });
}

#[test]
fn packets_find_the_longest_of_128_bits_while_prefixes_come_and_go() {
    come_and_go(Space {
        keys: &[(MatchKind::Exact, 8), (MatchKind::Lpm, 128)],
        wide: true,
    });
}
