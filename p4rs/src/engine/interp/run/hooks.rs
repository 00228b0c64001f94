//! What machine code asks of the interpreter and of the tables, in its own terms.
//!
//! In: keys and action data as words. Out: the same steps that [`Run::apply`] and the externs take.
//! Invariant: a step asked for here leaves the packet's state as the interpreter's own step would.

use super::super::super::bits::{self, BitWriter};
use super::super::super::externs::HashAlgorithm;
use super::super::super::tables::{Draft, Found, MatchTable, Query};
use super::super::code::{Goto, Next, Stmt};
use super::super::machine::LastApply;
use super::{Flow, Run, Stop};

impl<'r> Run<'r, '_> {
    /// Runs one statement.
    pub(crate) fn exec_one(&mut self, stmt: &Stmt) -> Result<Flow, Stop> {
        self.exec(std::slice::from_ref(stmt))
    }

    /// The transition of a parser's state.
    pub(crate) fn transition(&mut self, parser: u32, state: u32) -> Result<Goto, Stop> {
        let code = self.machine.code.parsers.get(parser as usize);
        let Some(Some((_, parser))) = code else {
            return Ok(Goto::Accept);
        };
        match parser.states.get(state as usize).map(|state| &state.next) {
            Some(Next::To(goto)) => Ok(*goto),
            Some(Next::Select { subjects, cases }) => self.select(subjects, cases),
            None => Ok(Goto::Accept),
        }
    }

    /// Words of a table's key.
    pub(crate) fn key_words(&self, table: u32) -> usize {
        let table = self.machine.tables.get(table as usize);
        table.map_or(0, |table| table.key_layout().words)
    }

    /// Looks a key up.
    pub(crate) fn look_up(
        &mut self,
        index: u32,
        key: &[u64],
        selector: &[u8],
        bytes: u64,
    ) -> Found<'r> {
        let Some(table) = self.machine.tables.get(index as usize) else {
            return Found::NOTHING;
        };
        let query = Query {
            now: self.now,
            selector,
            bytes,
        };
        let found = table.lookup(self.guard, key, &query);
        self.last = LastApply {
            table: index,
            hit: found.hit,
            entry: found.entry,
            color: found.color,
        };
        self.state.key.clear();
        self.state.key.extend_from_slice(key);
        found
    }

    /// Looks a key up in a table that is simple.
    #[inline(always)]
    pub(crate) fn look_up_simple(
        &mut self,
        index: u32,
        table: &'r MatchTable,
        key: &[u64],
    ) -> Found<'r> {
        let found = table.peek(self.guard, key, self.now);
        self.applied((index, table), key, found)
    }

    /// Notes that nothing was found in a table that is simple.
    pub(crate) fn missed(&mut self, index: u32, table: &'r MatchTable, key: &[u64]) -> Found<'r> {
        self.applied((index, table), key, table.miss(self.guard))
    }

    /// Notes what a table that does not count its lookups itself was applied with.
    #[inline(always)]
    fn applied(
        &mut self,
        (index, table): (u32, &'r MatchTable),
        key: &[u64],
        found: Found<'r>,
    ) -> Found<'r> {
        if !found.hit && table.is_learner() {
            self.state.key.clear();
            self.state.key.extend_from_slice(key);
        }
        self.last = LastApply {
            table: index,
            hit: found.hit,
            entry: found.entry,
            color: None,
        };
        if let Some(applied) = self.state.applied.get_mut(index as usize) {
            applied[usize::from(!found.hit)] += 1;
        }
        found
    }

    /// Counts on the entry that the table's last lookup hit.
    #[inline]
    pub(crate) fn count_last(&mut self, table: u32, bytes: u64) {
        let last = self.last;
        let counted = self.machine.tables.get(table as usize);
        let entry = last.entry.filter(|_| last.table == table && last.hit);
        let cell = counted
            .zip(entry)
            .map(|(counted, entry)| counted.entry_counter(entry));
        if let Some((cells, cell)) = cell.flatten() {
            cells.count(cell, bytes);
        }
    }

    /// Adds the entry whose lookup missed; action data as words.
    pub(crate) fn learn(&mut self, action: u16, data: &[u64], timeout: u64) -> bool {
        let learner = self.machine.tables.get(self.last.table as usize);
        let learned = learner.filter(|_| !self.last.hit).and_then(|table| {
            let key = self.state.key.as_slice();
            let draft = Draft::direct(action, data, (timeout, self.now));
            table.learn(self.guard, (key, table.hash_key(key)), &draft)
        });
        self.last.entry = learned.or(self.last.entry);
        learned.is_some()
    }

    /// A hash over packed bits and the payload behind them.
    pub(crate) fn hash_with_payload(
        &self,
        algorithm: HashAlgorithm,
        data: &[u8],
        bits: u32,
    ) -> u64 {
        let mut packed = BitWriter::default();
        packed.put_bytes(data.get(..bits as usize / 8).unwrap_or_default());
        let rest = bits % 8;
        if rest > 0 {
            let last = data.last().copied().unwrap_or(0) >> (8 - rest);
            packed.put(u128::from(last) & bits::mask(rest), rest);
        }
        packed.put_bytes(self.state.payload());
        algorithm.hash(packed.bytes())
    }
}
