//! The packet's side of a table: lookup, counting, learning, timers. No lock but a stripe's when something is learned.
//!
//! In: keys as words. Out: [`Found`]. Invariant: what is handed out stays until the guard is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Time;
use super::super::externs::{Color, CounterCells, MeterUnit};
use super::epoch::Guard;
use super::exact::HashIndex;
use super::key::{KeyClass, KeyLayout};
use super::notes::Notes;
use super::record::{Entry, Form, Header};
use super::stripe::{Draft, Ledger, Stripe};
use super::table::MatchTable;
use super::words::Words;

/// Keys whose memory is fetched at the same time: about what a core keeps in flight.
const IN_FLIGHT: usize = 16;
/// Keys that walk a trie side by side.
const WALKS: usize = 32;

/// A packet's question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub now: Time,
    /// Packed selector keys.
    pub selector: &'a [u8],
    /// Length of the packet.
    pub bytes: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'g> {
    pub hit: bool,
    /// `None` for an empty group: nothing runs.
    pub action: Option<u16>,
    /// The action's parameters, perhaps with words behind them.
    pub data: &'g [AtomicU64],
    /// The entry, on a hit.
    pub entry: Option<Entry<'g>>,
    /// Verdict of the direct meter, on a hit of a table that has one.
    pub color: Option<Color>,
}

impl Found<'_> {
    /// The answer of a table that does not exist.
    pub const NOTHING: Self = Self {
        hit: false,
        action: None,
        data: &[],
        entry: None,
        color: None,
    };
}

impl<'g> Found<'g> {
    /// An entry that says all there is to do, and its action's parameters.
    #[inline(always)]
    fn whole(entry: Entry<'g>, data: &'g [AtomicU64]) -> Self {
        Self {
            hit: true,
            action: Some(entry.header().action),
            data,
            entry: Some(entry),
            color: None,
        }
    }
}

impl MatchTable {
    /// How keys are laid out.
    pub fn key_layout(&self) -> &KeyLayout {
        &self.plan.layout
    }

    /// The hash of a key; of use for the other calls only.
    #[inline]
    pub fn hash_key(&self, key: &[u64]) -> u64 {
        if self.plan.class == KeyClass::Exact {
            self.store.hasher.hash(key)
        } else {
            0
        }
    }

    #[inline]
    pub(super) fn stripe(&self, hash: u64) -> &Stripe {
        &self.stripes[self.store.exact.part(hash) & (self.stripes.len() - 1)]
    }

    #[inline]
    fn stripe_of(&self, header: Header) -> &Stripe {
        &self.stripes[usize::from(header.stripe) & (self.stripes.len() - 1)]
    }

    /// Fetches what the lookup of a key will read first.
    #[inline]
    pub fn prefetch(&self, guard: &Guard, key: &[u64], hash: u64) {
        if self.plan.class == KeyClass::Exact {
            self.prefetch_bucket(guard, hash);
        } else {
            self.stripe(hash).prefetch(key);
        }
    }

    /// What [`MatchTable::prefetch`] does for a table that is plain.
    #[inline(always)]
    pub fn prefetch_bucket(&self, guard: &Guard, hash: u64) {
        self.store.exact.prefetch(guard, hash);
    }

    /// Fetches the entry that probably has the key, once [`MatchTable::prefetch`] has had its effect.
    #[inline(always)]
    pub fn prefetch_row(&self, guard: &Guard, hash: u64) {
        self.store.exact.find(guard, hash, |row| {
            self.store.row(row).prefetch();
            true
        });
    }

    /// Looks a packet's key up.
    #[inline]
    pub fn lookup<'g>(&'g self, guard: &'g Guard, key: &[u64], query: &Query<'_>) -> Found<'g> {
        self.lookup_hashed(guard, key, self.hash_key(key), query)
    }

    /// Whether an entry, once found, says all there is to do.
    fn says_all(&self) -> bool {
        let config = &self.config;
        config.profile.is_none()
            && config.direct_meter.is_none()
            && !config.counts_hits
            && (config.learner || !config.idle_timeouts)
    }

    /// Words of the key, if an entry is found by its key alone and says all there is to do.
    pub fn plain_words(&self) -> Option<usize> {
        let plain = self.plan.class == KeyClass::Exact && self.says_all();
        plain.then(|| self.plan.words())
    }

    /// Words of the key, if an entry says all there is to do: [`MatchTable::peek`] answers for all kinds of keys then.
    pub fn simple_words(&self) -> Option<usize> {
        self.says_all().then(|| self.plan.words())
    }

    /// Whether its memory is more than caches hold, so that it is worth while to remember which lines packets need.
    #[inline(always)]
    pub fn is_far(&self) -> bool {
        self.len() >= self.far_from
    }

    /// Rows and index, where an entry says all there is to do and there may be more of them than caches hold.
    pub fn far_memory(&self) -> Option<(&Words, &Arc<HashIndex>)> {
        let room = self.config.capacity;
        let far = room.is_none_or(|room| room >= self.far_from) && self.plain_words().is_some();
        far.then(|| (&*self.store.rows, &self.store.exact))
    }

    /// The names of the buckets where a key of this hash would be named.
    pub fn buckets(&self, guard: &Guard, hash: u64) -> (u32, Option<u32>) {
        self.store.exact.names(guard, hash)
    }

    /// The number of the row that has a key of this hash, where a lookup has found it.
    pub fn row_number(
        &self,
        guard: &Guard,
        (key, hash): (&[u64], u64),
        found: &Found<'_>,
    ) -> Option<u32> {
        let has_key = |row| self.store.row(row).has_key(&self.store.shape, key);
        let find = |_| self.store.exact.find(guard, hash, has_key);
        found.entry.and_then(find)
    }

    /// What a lookup would find just now in a table with [`MatchTable::simple_words`]; nothing is counted.
    pub fn peek<'g>(&'g self, guard: &'g Guard, key: &[u64], now: Time) -> Found<'g> {
        let hash = self.hash_key(key);
        let stripe = self.stripe(hash);
        let live = |entry: &Entry<'_>| !self.config.learner || !stripe.is_expired(*entry, now);
        match stripe.lookup(guard, key, hash).filter(live) {
            Some(entry) => Found::whole(entry, entry.data(&self.store.shape)),
            None => self.miss(guard),
        }
    }

    /// Whether packets add entries.
    pub fn is_learner(&self) -> bool {
        self.config.learner
    }

    /// Adds to the numbers of hits and misses.
    pub fn count_applied(&self, hits: u64, misses: u64) {
        for (cell, count) in [(0, hits), (1, misses)] {
            if count > 0 {
                self.applied.add(cell, count, 0);
            }
        }
    }

    /// What becomes of a packet that found no entry.
    #[inline(never)]
    pub fn miss<'g>(&'g self, guard: &'g Guard) -> Found<'g> {
        let default = self.default.load(guard);
        Found {
            hit: false,
            action: default.map(|default| default.action),
            data: default.map(|default| &*default.data).unwrap_or_default(),
            entry: None,
            color: None,
        }
    }

    /// Looks a packet's key up whose hash is known.
    #[inline]
    pub fn lookup_hashed<'g>(
        &'g self,
        guard: &'g Guard,
        key: &[u64],
        hash: u64,
        query: &Query<'_>,
    ) -> Found<'g> {
        if self.plan.class == KeyClass::Keyless {
            self.applied.count(1, 0);
            return self.miss(guard);
        }
        let stripe = self.stripe(hash);
        self.answer(guard, stripe, stripe.lookup(guard, key, hash), query)
    }

    /// What becomes of a packet that found this entry, or none, in a stripe.
    #[inline]
    fn answer<'g>(
        &'g self,
        guard: &'g Guard,
        stripe: &'g Stripe,
        found: Option<Entry<'g>>,
        query: &Query<'_>,
    ) -> Found<'g> {
        let live =
            |entry: &Entry<'_>| !self.config.learner || !stripe.is_expired(*entry, query.now);
        if let Some(entry) = found.filter(live) {
            self.applied.count(0, 0);
            return self.hit(guard, stripe, entry, query);
        }
        self.applied.count(1, 0);
        self.miss(guard)
    }

    /// Looks many keys up, one behind the other in `keys`: their memory accesses overlap.
    pub fn lookup_batch<'g>(
        &'g self,
        guard: &'g Guard,
        keys: &[u64],
        query: &Query<'_>,
        mut each: impl FnMut(usize, Found<'g>),
    ) {
        let words = self.plan.words().max(1);
        if matches!(self.plan.class, KeyClass::Lpm(_)) && keys.len() > words {
            let stripe = &self.stripes[0];
            for (part, keys) in keys.chunks(words * WALKS).enumerate() {
                let mut rows = [None; WALKS];
                stripe.lookup_prefixes(guard, keys.chunks_exact(words), &mut rows);
                for (i, row) in rows.into_iter().take(keys.len() / words).enumerate() {
                    each(part * WALKS + i, self.answer(guard, stripe, row, query));
                }
            }
            return;
        }
        for (part, keys) in keys.chunks(words * IN_FLIGHT).enumerate() {
            let mut hashes = [0; IN_FLIGHT];
            let keys = || keys.chunks_exact(words);
            for (hash, key) in hashes.iter_mut().zip(keys()) {
                *hash = self.hash_key(key);
                self.prefetch(guard, key, *hash);
            }
            for (hash, _) in hashes.iter().zip(keys()) {
                self.prefetch_row(guard, *hash);
            }
            for (i, (key, hash)) in keys().zip(hashes).enumerate() {
                let found = self.lookup_hashed(guard, key, hash, query);
                each(part * IN_FLIGHT + i, found);
            }
        }
    }

    #[inline]
    fn hit<'g>(
        &'g self,
        guard: &'g Guard,
        stripe: &'g Stripe,
        entry: Entry<'g>,
        query: &Query<'_>,
    ) -> Found<'g> {
        let header = entry.header();
        let stored = entry.data(stripe.shape());
        if self.config.idle_timeouts && !self.config.learner {
            entry.touch(stripe.shape(), query.now);
        }
        if self.config.counts_hits
            && let Some(cells) = stripe.counters()
        {
            cells.count(header.entry, query.bytes);
        }
        let (action, data) = match (header.form, &self.config.profile) {
            (Form::Direct, _) | (_, None) => (Some(header.action), stored),
            (form, Some(profile)) => {
                let hash = profile.hash(query.selector);
                let picked = if form == Form::OneShot {
                    stripe.one_shot(guard, entry).and_then(|set| set.pick(hash))
                } else {
                    let reference = stored.first().map_or(0, |w| w.load(Ordering::Relaxed));
                    profile.resolve(guard, form, reference, hash)
                };
                picked.map_or((None, Default::default()), |(action, data)| {
                    (Some(action), data)
                })
            }
        };
        let color = self.config.direct_meter.map(|unit| {
            let amount = if unit == MeterUnit::Packets {
                1
            } else {
                query.bytes
            };
            stripe.meter(header.entry).map_or(Color::Green, |meter| {
                let mut meter = meter.lock();
                let meter = meter.as_mut();
                meter.map_or(Color::Green, |meter| meter.execute(query.now, amount))
            })
        });
        Found {
            hit: true,
            action,
            data,
            entry: Some(entry),
            color,
        }
    }

    /// The priority of an entry, where the key has them.
    pub fn priority(&self, entry: Entry<'_>) -> Option<i32> {
        let stripe = self.stripe_of(entry.header());
        (self.plan.class == KeyClass::Ternary).then(|| entry.priority(stripe.shape()))
    }

    /// Where an entry's packets are counted by a `count()` called in an action.
    #[inline]
    pub fn entry_counter(&self, entry: Entry<'_>) -> Option<(&CounterCells, u32)> {
        let header = entry.header();
        let counters = self.stripe_of(header).counters()?;
        Some((counters, header.entry))
    }

    /// The counters of all entries by number, where one part of the table has them all.
    pub fn whole_counters(&self) -> Option<&CounterCells> {
        match &*self.stripes {
            [all] => all.counters(),
            _ => None,
        }
    }

    /// Adds an entry with a timer to a learner, or replaces the one that has the key; `None` when there is no room.
    pub fn learn<'g>(
        &'g self,
        guard: &'g Guard,
        (key, hash): (&[u64], u64),
        draft: &Draft<'_>,
    ) -> Option<Entry<'g>> {
        if !self.config.learner {
            return None;
        }
        let (stripe, (timeout, now)) = (self.stripe(hash), draft.timer);
        let mut ledger = stripe.ledger.lock();
        let known = stripe.lookup(guard, key, hash);
        let live = known.filter(|&known| !stripe.is_expired(known, now));
        let entry = if let Some(live) = live {
            let entry = live.header().entry;
            let replaced = stripe.replace(guard, &mut ledger, entry, draft);
            if replaced {
                stripe.note(&mut ledger, entry, Notes::default());
                stripe.arm(&mut ledger, entry, timeout, now);
            }
            replaced.then(|| stripe.entry(entry))
        } else {
            if let Some(over) = known {
                stripe.remove(guard, &mut ledger, over.header().entry);
                self.release(1);
            }
            self.learn_new(guard, stripe, &mut ledger, (key, hash), draft)
        };
        if entry.is_none() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        entry
    }

    #[inline]
    fn learn_new<'g>(
        &self,
        guard: &Guard,
        stripe: &'g Stripe,
        ledger: &mut Ledger,
        key: (&[u64], u64),
        draft: &Draft<'_>,
    ) -> Option<Entry<'g>> {
        if !self.reserve() {
            return None;
        }
        let added = stripe.insert_exact(guard, ledger, key, draft, |_, _| {});
        if added.is_none() {
            self.release(1);
        }
        added
    }

    /// Failed additions by packets.
    pub fn learn_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Starts the timer of a learned entry anew.
    #[inline]
    pub fn restart(&self, now: Time, entry: Entry<'_>) {
        if self.config.learner {
            entry.refresh(&self.store.shape, now);
        }
    }

    /// Gives a learned entry another timeout and starts its timer anew.
    #[inline]
    pub fn set_expiry(&self, now: Time, entry: Entry<'_>, timeout_ns: u64) {
        if !self.config.learner {
            return;
        }
        let shape = &self.store.shape;
        if entry.timeout(shape) == timeout_ns {
            return entry.refresh(shape, now);
        }
        self.change_expiry(now, entry, timeout_ns);
    }

    #[inline(never)]
    fn change_expiry(&self, now: Time, entry: Entry<'_>, timeout_ns: u64) {
        let (shape, header) = (&self.store.shape, entry.header());
        entry.touch(shape, now);
        entry.set_timeout(shape, timeout_ns);
        let stripe = self.stripe_of(header);
        if stripe.is_late(entry) {
            stripe.schedule(&mut stripe.ledger.lock(), header.entry);
        }
    }

    /// Takes one place; false when the table is full.
    pub(super) fn reserve(&self) -> bool {
        let room = |count: u64| {
            self.config
                .capacity
                .is_none_or(|capacity| count < capacity)
                .then_some(count + 1)
        };
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .is_ok()
    }

    /// Gives places back.
    pub(super) fn release(&self, places: u64) {
        self.count.fetch_sub(places, Ordering::Relaxed);
    }
}
