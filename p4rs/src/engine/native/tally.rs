//! Machine code of what a packet leaves behind at its entries and cells: counts, and timers started anew.
//!
//! In: counters by index, the entry that a table's lookup hit. Out: additions where the thread's own cells are known, a
//! comparison where a timer runs for so short a time that nothing is to be written; calls of the runtime elsewhere.
//! Invariant: a cell that is added to here belongs to the thread that runs the packet, so that plain loads and stores lose
//! nothing; readers take sums of all threads' cells.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};
use std::mem::offset_of;
use std::ptr;

use super::super::externs::CounterCells;
use super::super::tables::{MatchTable, START, TIMEOUT, UNSEEN};
use super::build::{Build, Val};
use super::context::Context;
use super::hot::Later;
use crate::ir::{ExternInstance, Handle};

/// Bytes of a word.
const WORD: i32 = 8;

impl Build<'_, '_> {
    /// Counts on a cell of a counter; an index out of range counts nowhere.
    pub fn count(&mut self, instance: Handle<ExternInstance>, index: Value, bytes: Value) {
        let machine = self.machine;
        let Ok(counter) = machine.externs().counter(instance) else {
            return;
        };
        // Cells have numbers of 32 bits.
        let size = counter.size().min(1 << 32);
        let after = self.b.create_block();
        if self.most(index) >= size {
            let size = self.iconst(size);
            let known = self.compare_words(IntCC::UnsignedLessThan, index, size);
            match self.number(known) {
                Some(0) => return,
                Some(_) => {}
                None => self.only_if(known, self.anew().unwrap_or(after)),
            }
        }
        let far = self.regions.counts(instance);
        self.count_cell(counter.cells(), (index, bytes), far, after);
    }

    /// Goes on where a condition holds; at `after` where it does not. No more is known in either place.
    fn only_if(&mut self, condition: Value, after: Block) {
        let on = self.b.create_block();
        self.b.ins().brif(condition, on, &[], after, &[]);
        self.inside(on, false);
    }

    /// Counts on the entry that the table's last lookup hit.
    pub fn count_direct(&mut self, index: u32, bytes: Value) {
        let machine = self.machine;
        let table = machine.tables.get(index as usize);
        let table = table.filter(|_| self.acting == Some(index));
        if self.is_hot() && self.row.is_none() && self.acting == Some(index) {
            return;
        }
        let Some(cells) = table.and_then(MatchTable::whole_counters) else {
            if self.is_hot() {
                return self.begin_anew();
            }
            let index = self.iconst(u64::from(index));
            let args = [self.context, index, bytes];
            self.b.ins().call(self.imports.count_direct, &args);
            return;
        };
        let after = self.b.create_block();
        let row = match self.row {
            Some(row) => row,
            None => {
                let row = self.load_context(types::I64, offset_of!(Context, row));
                self.only_if(row, after);
                row
            }
        };
        let flags = MemFlagsData::trusted();
        let value = self.b.ins().load(types::I64, flags, row, 0);
        // The entry's number is the lower half of its header.
        let entry = self.mask_to(Val { value, wide: false }, 32).value;
        self.note_entry(index, entry);
        self.count_cell(cells, (entry, bytes), None, after);
    }

    /// Notes the place of an entry's counter, where its table is so large that caches do not hold it.
    fn note_entry(&mut self, index: u32, entry: Value) {
        let Some(first) = self.regions.entry_counts(index) else {
            return;
        };
        if self.is_hot() {
            if self.is_far(index) {
                self.touch_any(first, entry);
            }
            return;
        }
        let table = self.machine.tables.get(index as usize);
        let path = table.and_then(MatchTable::path);
        if let Some((path, from)) = path.and_then(|path| Some((path, path.far_from?))) {
            let (note, on) = (self.b.create_block(), self.b.create_block());
            self.if_far(&path, from, note, on);
            self.inside(note, true);
            self.touch_any(first, entry);
            self.b.ins().jump(on, &[]);
            self.inside(on, false);
        }
    }

    /// Adds a packet to a cell, whose number has 32 bits, and goes on at `after`; one of a region is noted.
    fn count_cell(
        &mut self,
        cells: &CounterCells,
        (number, bytes): (Value, Value),
        far: Option<u32>,
        after: Block,
    ) {
        let hot = self.anew();
        let other = hot.unwrap_or_else(|| self.b.create_block());
        let (path, flags) = (cells.path(), MemFlagsData::trusted());
        let shards = self.iconst(path.shards as u64);
        if let Some(first) = far {
            self.touch(first, number);
        }
        let own = self.load_fixed(offset_of!(Context, shard));
        let own = self.b.ins().iadd(shards, own);
        let origins = self.b.ins().load(types::I64, flags, own, 0);
        let from = self.plus(number, path.from);
        let zeros = match self.number(from) {
            Some(from) => self.iconst(u64::from(from.leading_zeros())),
            None => self.b.ins().clz(from),
        };
        let chunk = self.b.ins().ishl_imm_u(zeros, 3);
        let chunk = self.b.ins().iadd(origins, chunk);
        let before = path.zeros as i32 * WORD;
        let origin = self.b.ins().load(types::I64, flags, chunk, -before);
        self.only_if(origin, other);
        let log = path.cell.trailing_zeros();
        let offset = self.b.ins().ishl_imm_u(from, i64::from(log));
        let at = self.b.ins().iadd(origin, offset);
        if hot.is_some() {
            self.b.ins().jump(after, &[]);
            self.inside(after, false);
            // One that all packets are counted in is at hand.
            if self.number(number).is_none() {
                self.tell_cell(at);
            }
            return self.leave_for_later(Later::Count { at, bytes });
        }
        self.add_packet(at, bytes);
        self.b.ins().jump(after, &[]);
        self.inside(other, true);
        let cells = self.iconst(ptr::from_ref(cells) as u64);
        let args = [cells, number, bytes];
        self.b.ins().call(self.imports.count, &args);
        self.b.ins().jump(after, &[]);
        self.inside(after, false);
    }

    /// Adds a packet with so many bytes to a cell.
    pub fn add_packet(&mut self, at: Value, bytes: Value) {
        let flags = MemFlagsData::trusted();
        for (word, more) in [(0, None), (WORD, Some(bytes))] {
            let sum = self.b.ins().load(types::I64, flags, at, word);
            let sum = match more {
                None => self.b.ins().iadd_imm_s(sum, 1),
                Some(more) => self.b.ins().iadd(sum, more),
            };
            self.b.ins().store(flags, sum, at, word);
        }
    }

    /// Starts the timer of the entry that was hit anew, with the time of a profile if one is given.
    pub fn restart(&mut self, profile: Option<Value>) {
        let table = self
            .acting
            .and_then(|table| self.machine.tables.get(table as usize));
        let learner = table.is_some_and(MatchTable::is_learner);
        if let Some(anew) = self.anew() {
            // A timer that is to be written is rare.
            match self.row.filter(|_| learner) {
                Some(row) => self.timed(row, profile, anew),
                None => self.begin_anew(),
            }
            return;
        }
        let [late, after] = [0; 2].map(|_| self.b.create_block());
        if learner {
            let row = self.load_context(types::I64, offset_of!(Context, row));
            self.only_if(row, late);
            self.timed(row, profile, late);
            self.b.ins().jump(after, &[]);
        } else {
            self.b.ins().jump(late, &[]);
        }
        self.inside(late, learner);
        let set = self.iconst(u64::from(profile.is_some()));
        let profile = profile.unwrap_or(set);
        let args = [self.context, set, profile];
        self.b.ins().call(self.imports.restart, &args);
        self.b.ins().jump(after, &[]);
        self.inside(after, false);
    }

    /// Goes on where a row's timer is to be left as it is, see [`super::super::tables::Entry::refresh`]; else at `late`.
    fn timed(&mut self, row: Value, profile: Option<Value>, late: Block) {
        let flags = MemFlagsData::trusted();
        let mut load = |word: usize| {
            let at = word as i32 * WORD;
            self.b.ins().load(types::I64, flags, row, at)
        };
        let (timeout, start) = (load(TIMEOUT), load(START));
        if let Some(profile) = profile {
            let wanted = self.expire_time(profile);
            let same = self.b.ins().icmp(IntCC::Equal, timeout, wanted);
            self.only_if(same, late);
        }
        let now = self.load_fixed(offset_of!(Context, now));
        // A start in the future has run for no time at all.
        let end = self.b.ins().umax(now, start);
        let passed = self.b.ins().isub(end, start);
        let unseen = self.b.ins().ushr_imm_u(timeout, i64::from(UNSEEN));
        let unseen = self
            .b
            .ins()
            .icmp(IntCC::UnsignedLessThanOrEqual, passed, unseen);
        self.only_if(unseen, late);
    }

    /// The time of a profile, as [`super::super::interp::Run::expire_time`] tells it.
    pub fn expire_time(&mut self, profile: Value) -> Value {
        let times = &self.machine.config().expire_profiles_ns;
        let Some(last) = times.len().checked_sub(1) else {
            return self.iconst(0);
        };
        if let Some(number) = self.number(profile) {
            let time = times.get(usize::try_from(number).unwrap_or(last).min(last));
            return self.iconst(time.copied().unwrap_or(0));
        }
        let (last, base) = (self.iconst(last as u64), self.iconst(times.as_ptr() as u64));
        let profile = self.b.ins().umin(profile, last);
        let offset = self.b.ins().ishl_imm_u(profile, 3);
        let at = self.b.ins().iadd(base, offset);
        self.b
            .ins()
            .load(types::I64, MemFlagsData::trusted(), at, 0)
    }
}
