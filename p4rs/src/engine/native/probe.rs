//! Machine code that finds an entry by itself: hash, bucket, row, comparison.
//!
//! In: the words of a key, and where the table's parts lie ([`TablePath`]). Out: whether an entry was hit, its action and its
//! data. What is rare is left to the runtime: nothing found, a row of another key, a time that is over.
//!
//! ```text
//! hash ─▶ bucket ─┬─ a slot has the tag ─▶ row ─┬─ its key, in time ─▶ count, note the row ─▶ hit
//!           ▲     │                             └─ otherwise ────────▶ runtime: looks up once more
//!           └─────┴─ none: the other bucket; none there ─────────────▶ runtime: default action
//! ```
//!
//! Invariant: the context knows what was applied last as the interpreter's run would. Tables change meanwhile: every load
//! here is made once, in the order in which [`TablePath`] says, each from an address that the one before gave.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    Block, BlockArg, Endianness, InstBuilder, MemFlagsData, StackSlot, Type, Value, types,
};

use super::super::tables::{DefaultPath, MatchTable, TablePath, Tuples};
use super::Unsupported;
use super::build::Build;
use super::context::{Context, LINE_BYTES};
use super::region::NUMBERS;
use super::runtime;

/// What applying a table finds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// Not zero on a hit.
    pub hit: Value,
    /// The action's number or [`NO_ACTION`](super::context::NO_ACTION).
    pub action: Value,
    /// Words of its data.
    pub data: Value,
}

/// A table that is looked up: its address and its number.
#[derive(Clone, Debug)]
pub(super) struct Asked<'p> {
    pub table: u64,
    pub index: u32,
    pub path: &'p TablePath,
}

/// What is known of a key that was looked for: its hash, and the offset of its first bucket in its segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed {
    pub tag: Value,
    pub bucket: Value,
}

/// A key that is looked up.
pub(super) struct Key {
    words: Vec<Value>,
    /// Two words each; the last word is in none where there is an odd number of them.
    pairs: Vec<Value>,
}

impl Key {
    /// The word without another.
    fn odd(&self) -> Option<&Value> {
        self.words.chunks_exact(2).remainder().first()
    }
}

const FLAGS: MemFlagsData = MemFlagsData::trusted();
/// For pairs of words, which may begin at any word.
const LOOSE: MemFlagsData = MemFlagsData::new().with_notrap();

impl Build<'_, '_> {
    /// Goes on with a block inside a lookup, where as much is known as before it.
    fn within(&mut self, to: Block, cold: bool) {
        self.b.switch_to_block(to);
        if cold {
            self.b.set_cold_block(to);
        }
    }

    /// As [`Self::within`], for a block whose predecessors are all known.
    pub fn inside(&mut self, to: Block, cold: bool) {
        self.within(to, cold);
        self.b.seal_block(to);
    }

    /// Looks a key up.
    pub fn probe(&mut self, asked: Asked<'_>, words: Vec<Value>) -> Result<Answer, Unsupported> {
        let memory = self.stack((words.len() as u32 * 8).max(8));
        let key = self.packed_key(words);
        let done = self.b.create_block();
        for _ in 0..3 {
            self.b.append_block_param(done, types::I64);
        }
        let (missed, other) = (self.b.create_block(), self.b.create_block());
        let (row, hash) = self.live_row(&asked, &key, (missed, other))?;
        self.hit(&asked, row, done);
        for block in [missed, other] {
            self.inside(block, true);
            let place = self.place_of(key.words.len(), asked.index)?;
            let key = self.unpacked(&key, memory);
            let call = if block == missed {
                let function = runtime::missed as *const u8 as u64;
                self.call_missed(
                    function,
                    asked.table,
                    (key, hash.map(|hash| hash.tag)),
                    place,
                )
            } else {
                let function = runtime::lookup_simple as *const u8 as u64;
                self.call_table(function, asked.table, key, place)
            };
            let answer = self.answered(call);
            let args = [answer.hit, answer.action, answer.data].map(BlockArg::Value);
            self.b.ins().jump(done, &args);
        }
        self.inside(done, false);
        let params = self.b.block_params(done);
        Ok(Answer {
            hit: params[0],
            action: params[1],
            data: params[2],
        })
    }

    /// The row of a key, in time; and what goes to `missed` in the key's place, its hash, where there is one.
    pub fn live_row(
        &mut self,
        asked: &Asked<'_>,
        key: &Key,
        (missed, other): (Block, Block),
    ) -> Result<(Value, Option<Hashed>), Unsupported> {
        let (row, hash) = match &asked.path.tuples {
            Some(tuples) => {
                let row = self.tuple(asked.path, tuples, key, (missed, other));
                (row, None)
            }
            None => {
                let (row, hash) = self.found(asked, key, (missed, other))?;
                (row, Some(hash))
            }
        };
        if asked.path.timed {
            self.in_time(row, other);
        }
        Ok((row, hash))
    }

    /// The row of an exact key: where the flow's last packet found it, or any packet before, else where the index names it; and the
    /// key's hash, which is known where nothing was found.
    fn found(
        &mut self,
        asked: &Asked<'_>,
        key: &Key,
        (missed, other): (Block, Block),
    ) -> Result<(Value, Hashed), Unsupported> {
        let path = asked.path;
        let far = path.far_from.zip(self.regions.rows(asked.index));
        let far = far.filter(|_| !self.is_hot() || self.is_far(asked.index));
        let touched = self.facts.trail.touched;
        let found = self.b.create_block();
        let row = self.b.append_block_param(found, types::I64);
        let scout = far.is_some() && self.is_scout();
        let last = match far {
            None => self.last_row(asked.index, &key.words),
            Some(_) => None,
        };
        if let Some(last) = last {
            let search = self.b.create_block();
            let row = self.load_context(types::I64, last);
            self.agree_named(row, path, key, search);
            self.b.ins().jump(found, &[BlockArg::Value(row)]);
            self.inside(search, false);
        }
        if let Some((from, first)) = far.filter(|_| !scout) {
            let (expected, search) = (self.b.create_block(), self.b.create_block());
            self.if_far(path, from, expected, search);
            self.inside(expected, false);
            let row = self.expected(path, first, key, search);
            self.b.ins().jump(found, &[BlockArg::Value(row)]);
            self.inside(search, false);
        }
        let tag = self.tag(path, key);
        let view = self.iconst(path.view as u64);
        let (slot, bucket) = self.search((view, tag), scout, missed);
        let number = self.row_number(slot, other);
        let searched = self.row(path, number);
        if scout {
            let lines = (path.row - 1).min(LINE_BYTES);
            let second = self.b.ins().iadd_imm_s(searched, lines as i64);
            self.pause([searched, second]);
        }
        self.agree(searched, path.key, key, other);
        if let Some((from, first)) = far {
            let (note, on) = (self.b.create_block(), self.b.create_block());
            self.if_far(path, from, note, on);
            self.inside(note, true);
            // The same place, whichever way has found the row.
            self.facts.trail.touched = touched;
            self.note_row(first, number);
            self.b.ins().jump(on, &[]);
            self.inside(on, false);
        }
        if let Some(last) = last {
            self.store_context(searched, last);
        }
        self.b.ins().jump(found, &[BlockArg::Value(searched)]);
        self.inside(found, false);
        Ok((row, Hashed { tag, bucket }))
    }

    /// Goes to `far` where the table has so many entries that caches do not hold it, else to `near`. On a usual way that was
    /// asked when its code was made.
    pub fn if_far(&mut self, path: &TablePath, from: u64, far: Block, near: Block) {
        if self.is_hot() {
            self.b.ins().jump(far, &[]);
            return;
        }
        let count = self.iconst(path.count as u64);
        let count = self.load(types::I64, count, 0);
        let from = self.iconst(from);
        let many = self
            .b
            .ins()
            .icmp(IntCC::UnsignedGreaterThanOrEqual, count, from);
        self.b.ins().brif(many, far, &[], near, &[]);
    }

    /// The row that the flow's last packet touched here, where the index still names it and its key is this one; else goes
    /// to `search`.
    fn expected(&mut self, path: &TablePath, first: u32, key: &Key, search: Block) -> Value {
        let (at, count) = self.next_place();
        let word = self.b.ins().uload32(FLAGS, at, 0);
        let number = self.b.ins().bxor_imm_u(word, i64::from(first));
        let another =
            self.b
                .ins()
                .icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, number, NUMBERS as i64);
        self.unless(another, search);
        let number = self.b.ins().iadd_imm_s(number, TablePath::BEFORE as i64);
        let (origin, row) = self.origin_and_row(path, number);
        // Another thread may have noted it, whose stores need not all be seen.
        let nowhere = self.b.ins().icmp_imm_u(IntCC::Equal, origin, 0);
        self.unless(nowhere, search);
        self.agree_named(row, path, key, search);
        self.touched_one(count);
        row
    }

    /// Goes to `search` unless the index still names a row that was found before, and its key is this one.
    fn agree_named(&mut self, row: Value, path: &TablePath, key: &Key, search: Block) {
        // Read before all that was written before it.
        let header = self.b.ins().atomic_load(types::I64, FLAGS, row);
        let named = self.b.ins().band_imm_u(header, TablePath::NAMED as i64);
        let gone = self.b.ins().icmp_imm_u(IntCC::Equal, named, 0);
        self.unless(gone, search);
        self.agree(row, path.key, key, search);
    }

    /// Notes the row of a number.
    fn note_row(&mut self, first: u32, number: Value) {
        let number = self.b.ins().iadd_imm_s(number, -(TablePath::BEFORE as i64));
        self.touch_any(first, number);
    }

    /// A key with its words in pairs, too: half as many to compare, in registers that are free.
    pub fn packed_key(&mut self, words: Vec<Value>) -> Key {
        let pairs = words.chunks_exact(2).map(|pair| {
            let first = self.b.ins().scalar_to_vector(types::I64X2, pair[0]);
            self.b.ins().insertlane(first, pair[1], 1)
        });
        let pairs = pairs.collect();
        Key { words, pairs }
    }

    /// The key in memory.
    fn unpacked(&mut self, key: &Key, memory: StackSlot) -> Value {
        let at = self.b.ins().stack_addr(types::I64, memory, 0);
        for (i, &pair) in (0..).zip(&key.pairs) {
            self.b.ins().store(LOOSE, pair, at, i * 16);
        }
        if let (Some(&last), Some(offset)) = (key.odd(), key.words.len().checked_sub(1)) {
            self.b.ins().store(FLAGS, last, at, offset as i32 * 8);
        }
        at
    }

    /// The row that wins in a ternary table: the best of the first group that has one, where no group behind could win.
    fn tuple(
        &mut self,
        path: &TablePath,
        tuples: &Tuples,
        key: &Key,
        (missed, other): (Block, Block),
    ) -> Value {
        let (ask, real) = (self.b.create_block(), self.b.create_block());
        let (one, several, next) = (
            self.b.create_block(),
            self.b.create_block(),
            self.b.create_block(),
        );
        let group = self.b.append_block_param(ask, types::I64);
        let first = self.iconst(path.view as u64);
        let first = self.load(types::I64, first, 0);
        self.b.ins().jump(ask, &[BlockArg::Value(first)]);

        self.within(ask, false);
        let best = self.load(types::I64, group, Tuples::BEST);
        let end = self.iconst(Tuples::END as u64);
        let end = self.b.ins().icmp(IntCC::Equal, best, end);
        self.b.ins().brif(end, missed, &[], real, &[]);

        self.inside(real, false);
        let masked = self.under(key, group, tuples.mask);
        let is_one = self.load(types::I64, group, Tuples::ONE);
        self.b.ins().brif(is_one, one, &[], several, &[]);
        self.inside(one, false);
        self.agree(group, tuples.value, &masked, next);
        self.b.ins().jump(several, &[]);

        self.inside(several, false);
        let tag = self.tag(path, &masked);
        let view = self.load(types::I64, group, Tuples::VIEW);
        let (slot, _) = self.search((view, tag), false, next);
        let number = self.row_number(slot, other);
        let row = self.row(path, number);
        self.agree(row, path.key, &masked, other);
        // Rows of another group with the same priority may have been stored earlier.
        let priority = self.b.ins().sload32(FLAGS, row, tuples.priority as i32);
        let best = self.load(types::I64, group, tuples.group + Tuples::BEST);
        let unsure = self
            .b
            .ins()
            .icmp(IntCC::SignedLessThanOrEqual, priority, best);
        self.unless(unsure, other);
        let found = self.b.create_block();
        self.b.ins().jump(found, &[]);

        self.inside(next, false);
        let behind = self.b.ins().iadd_imm_s(group, tuples.group as i64);
        self.b.ins().jump(ask, &[BlockArg::Value(behind)]);
        self.b.seal_block(ask);
        self.inside(found, false);
        row
    }

    /// What a mask in memory leaves of a key.
    fn under(&mut self, key: &Key, at: Value, offset: usize) -> Key {
        let words = key.words.iter().enumerate().map(|(i, &word)| {
            let mask = self.load(types::I64, at, offset + 8 * i);
            self.b.ins().band(word, mask)
        });
        let words = words.collect();
        let pairs = key.pairs.iter().enumerate().map(|(i, &pair)| {
            let offset = (offset + 16 * i) as i32;
            let mask = self.b.ins().load(types::I64X2, LOOSE, at, offset);
            self.b.ins().band(pair, mask)
        });
        let pairs = pairs.collect();
        Key { words, pairs }
    }

    /// A key's words in memory.
    pub fn stored(&mut self, key: &[Value], memory: StackSlot) -> Value {
        for (i, &word) in (0..).zip(key) {
            self.b.ins().stack_store(types::I64, word, memory, i * 8);
        }
        self.b.ins().stack_addr(types::I64, memory, 0)
    }

    fn load(&mut self, ty: Type, at: Value, offset: usize) -> Value {
        self.b.ins().load(ty, FLAGS, at, offset as i32)
    }

    /// The 32 bits of the hash that the index keeps: what [`super::super::tables`]' hasher makes of the words.
    fn tag(&mut self, path: &TablePath, key: &Key) -> Value {
        let mut sum = None;
        for (pair, seeds) in key.words.chunks(2).zip(path.seeds.words.chunks(2)) {
            let factors = [0, 1].map(|i| {
                let seed = self.iconst(seeds[i]);
                let word = pair.get(i);
                let factor = word.map_or(seed, |&word| self.b.ins().bxor(word, seed));
                self.b.ins().uextend(types::I128, factor)
            });
            let product = self.b.ins().imul(factors[0], factors[1]);
            let (low, high) = self.b.ins().isplit(product);
            let fold = self.b.ins().bxor(low, high);
            sum = Some(match sum {
                None => fold,
                Some(sum) => self.b.ins().iadd(sum, fold),
            });
        }
        let seed = self.iconst(path.seeds.sum);
        let mixed = sum.map_or(seed, |sum| self.b.ins().imul(sum, seed));
        self.b.ins().ushr_imm_u(mixed, 32)
    }

    /// The address of the first slot that has the tag, in the index whose view lies at an address; and the offset of the tag's
    /// first bucket, which is known at `missed`, too. A scout waits for that bucket if it is to.
    fn search(
        &mut self,
        (view, tag): (Value, Value),
        waits: bool,
        missed: Block,
    ) -> (Value, Value) {
        let found = self.b.create_block();
        let bucket = self.b.append_block_param(found, types::I64);
        let bits = self.b.append_block_param(found, types::I64);
        let view = self.load(types::I64, view, 0);
        let place = self.b.ins().ushr(tag, view);
        let place = self
            .b
            .ins()
            .ishl_imm_u(place, i64::from(TablePath::PLACE_LOG));
        let places = self.b.ins().band_imm_s(view, !(TablePath::SHIFT as i64));
        let place = self.b.ins().iadd(places, place);
        let mask = self.load(types::I64, place, TablePath::MASK);
        let segment = self.load(types::I64, place, TablePath::FIRST);
        let bytes = self
            .b
            .ins()
            .ishl_imm_u(tag, i64::from(TablePath::BUCKET_LOG));
        let first = self.b.ins().band(bytes, mask);
        let at = self.b.ins().iadd(segment, first);
        if waits {
            self.pause([at, at]);
        }
        self.slots((segment, first), tag, found);
        let over = self.b.ins().uload32(FLAGS, at, 0);
        let over = self.b.ins().band_imm_u(over, TablePath::OVER as i64);
        let apart = self.b.create_block();
        self.b.ins().brif(over, apart, &[], missed, &[]);
        self.inside(apart, true);
        let second = self.beside(tag, first, mask);
        self.slots((segment, second), tag, found);
        self.b.ins().jump(missed, &[]);
        self.inside(found, false);
        let bit = self.b.ins().ctz(bits);
        let offset = self.b.ins().ishl_imm_u(bit, 2);
        (self.b.ins().iadd(bucket, offset), first)
    }

    /// Notes the bucket where a key was looked for, of a table that caches do not hold.
    pub fn note_bucket(&mut self, index: u32, hashed: Hashed) {
        let first = self.regions.buckets(index);
        let Some(first) = first.filter(|_| self.is_far(index)) else {
            return;
        };
        let (top, bits) = TablePath::NAME;
        let above = self.b.ins().ushr_imm_u(hashed.tag, i64::from(top));
        let above = self.b.ins().ishl_imm_u(above, i64::from(bits));
        let log = i64::from(TablePath::BUCKET_LOG);
        let number = self.b.ins().ushr_imm_u(hashed.bucket, log);
        let name = self.b.ins().bor(above, number);
        let name = self.b.ins().band_imm_u(name, NUMBERS as i64 - 1);
        self.touch(first, name);
    }

    /// What a table answers where there is no entry.
    pub fn default_of(&mut self, table: &MatchTable) -> Answer {
        let path = table.default_path();
        let place = self.iconst(path.place as u64);
        let default = self.load(types::I64, place, 0);
        let data = self.load(types::I64, default, DefaultPath::DATA);
        let action = match path.action {
            Some(action) => self.iconst(u64::from(action)),
            None => {
                let offset = DefaultPath::ACTION as i32;
                self.b.ins().uload16(types::I64, FLAGS, default, offset)
            }
        };
        Answer {
            hit: self.iconst(0),
            action,
            data,
        }
    }

    /// Goes to `found` with the bucket at an offset and two bits for each slot that has the tag, where there is one.
    fn slots(&mut self, (segment, offset): (Value, Value), tag: Value, found: Block) {
        let none = self.b.create_block();
        let bucket = self.b.ins().iadd(segment, offset);
        let narrow = self.b.ins().ireduce(types::I32, tag);
        let tags = self.b.ins().splat(types::I32X4, narrow);
        let lanes = [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31u8];
        let lanes = self.b.func.dfg.immediates.push(lanes.to_vec().into());
        let [low, high] = [0, 32].map(|half| {
            let one = self.load(types::I8X16, bucket, half);
            let other = self.load(types::I8X16, bucket, half + 16);
            let four = self.b.ins().shuffle(one, other, lanes);
            let four = self.cast(types::I32X4, four);
            self.b.ins().icmp(IntCC::Equal, four, tags)
        });
        let equal = self.b.ins().snarrow(low, high);
        let equal = self.cast(types::I8X16, equal);
        let bits = self.b.ins().vhigh_bits(types::I64, equal);
        let args = [bucket, bits].map(BlockArg::Value);
        self.b.ins().brif(bits, found, &args, none, &[]);
        self.inside(none, true);
    }

    /// The same bits as a vector of another kind.
    fn cast(&mut self, ty: Type, vector: Value) -> Value {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, vector)
    }

    /// The offset of a tag's other bucket.
    fn beside(&mut self, tag: Value, first: Value, mask: Value) -> Value {
        let (before, by, after) = TablePath::SECOND;
        let tag = self.b.ins().ireduce(types::I32, tag);
        let moved = self.b.ins().ushr_imm_u(tag, i64::from(before));
        let mixed = self.b.ins().bxor(tag, moved);
        let mixed = self.b.ins().imul_imm_u(mixed, i64::from(by));
        let moved = self.b.ins().ushr_imm_u(mixed, i64::from(after));
        let mixed = self.b.ins().bxor(mixed, moved);
        let mixed = self.b.ins().uextend(types::I64, mixed);
        let bytes = self
            .b
            .ins()
            .ishl_imm_u(mixed, i64::from(TablePath::BUCKET_LOG));
        let second = self.b.ins().band(bytes, mask);
        // Where both are one bucket, the one beside it, if there is one.
        let beside = self.b.ins().band_imm_s(mask, 1 << TablePath::BUCKET_LOG);
        let beside = self.b.ins().bxor(second, beside);
        let same = self.b.ins().icmp(IntCC::Equal, second, first);
        self.b.ins().select(same, beside, second)
    }

    /// The number of the row that a slot names, and what stands before it; goes to `other` where it has been emptied meanwhile.
    fn row_number(&mut self, slot: Value, other: Block) -> Value {
        let named = self.b.create_block();
        let number = self.b.ins().uload32(FLAGS, slot, 0);
        let number = self.b.ins().band_imm_u(number, TablePath::OVER as i64 - 1);
        self.b.ins().brif(number, named, &[], other, &[]);
        self.inside(named, false);
        self.b
            .ins()
            .iadd_imm_s(number, TablePath::BEFORE as i64 - 1)
    }

    /// The row of a number.
    fn row(&mut self, path: &TablePath, number: Value) -> Value {
        self.origin_and_row(path, number).1
    }

    /// The row of a number, and where those of its chunk are counted from.
    fn origin_and_row(&mut self, path: &TablePath, number: Value) -> (Value, Value) {
        let zeros = self.b.ins().clz(number);
        let at = self.b.ins().ishl_imm_u(zeros, 3);
        let origins =
            self.iconst((path.origins as u64).wrapping_sub(u64::from(TablePath::FEWEST_ZEROS) * 8));
        let at = self.b.ins().iadd(origins, at);
        let origin = self.load(types::I64, at, 0);
        let behind = self.b.ins().imul_imm_s(number, path.row as i64);
        (origin, self.b.ins().iadd(origin, behind))
    }

    /// Goes to `other` unless the words at an offset from an address are the key's.
    fn agree(&mut self, at: Value, offset: usize, key: &Key, other: Block) {
        let mut differs = None;
        for (i, &pair) in key.pairs.iter().enumerate() {
            let offset = (offset + 16 * i) as i32;
            let stored = self.b.ins().load(types::I64X2, LOOSE, at, offset);
            let bits = self.b.ins().bxor(pair, stored);
            differs = Some(match differs {
                None => bits,
                Some(differs) => self.b.ins().bor(differs, bits),
            });
        }
        if let Some(differs) = differs {
            let any = self.b.ins().vany_true(differs);
            self.unless(any, other);
        }
        if let Some(&word) = key.odd() {
            let stored = self.load(types::I64, at, offset + 8 * (key.words.len() - 1));
            let differs = self.b.ins().icmp(IntCC::NotEqual, word, stored);
            self.unless(differs, other);
        }
    }

    /// Goes to `other` where the time of a row is over. No time at all never is; a row that started later than now is
    /// looked at by the runtime.
    fn in_time(&mut self, row: Value, other: Block) {
        let (now, start) = (self.now, self.load(types::I64, row, TablePath::START));
        let ran = self.b.ins().isub(now, start);
        let timeout = self.load(types::I64, row, TablePath::TIMEOUT);
        let most = self.b.ins().iadd_imm_s(timeout, -1);
        let over = self.b.ins().icmp(IntCC::UnsignedGreaterThan, ran, most);
        self.unless(over, other);
    }

    fn unless(&mut self, condition: Value, other: Block) {
        let next = self.b.create_block();
        self.b.ins().brif(condition, other, &[], next, &[]);
        self.inside(next, false);
    }

    /// Counts a hit and takes note of it.
    fn hit(&mut self, asked: &Asked<'_>, row: Value, done: Block) {
        let applied = self.applied;
        let hits = asked.index as usize * size_of::<[u64; 2]>();
        let count = self.load(types::I64, applied, hits);
        let count = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().store(FLAGS, count, applied, hits as i32);
        let index = self.iconst(u64::from(asked.index));
        self.store_context(row, offset_of!(Context, row));
        self.store_context(index, offset_of!(Context, table));
        let Answer { hit, action, data } = self.answer_of(row, asked.path);
        let args = [hit, action, data].map(BlockArg::Value);
        self.b.ins().jump(done, &args);
    }

    /// What a row says.
    pub fn answer_of(&mut self, row: Value, path: &TablePath) -> Answer {
        let action = self
            .b
            .ins()
            .uload16(types::I64, FLAGS, row, TablePath::ACTION as i32);
        Answer {
            hit: self.iconst(1),
            action,
            data: self.b.ins().iadd_imm_s(row, path.data as i64),
        }
    }
}
