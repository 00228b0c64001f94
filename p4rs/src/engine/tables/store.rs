//! Entries in fixed-size records: match, action, action data and metadata side by side, without allocation per entry.
//!
//! In: encoded matches and actions. Out: records by index. Counters and timers exist only where a table has them;
//! long metadata and rare extras live beside the records.
//!
//! ```text
//! record = form 1 │ metadata length 1 │ action 2 │ metadata 12 │ match … │ action data …
//! ```
//!
//! Invariant: an index is valid from `add` to `remove`; the index of a removed entry may be used again.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::super::externs::{CounterCell, Meter};
use super::selector::OneShot;

/// What a record's action bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Direct,
    Member,
    Group,
    OneShot,
}

/// Timing of one entry. Times are nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    /// 0: never.
    pub timeout: AtomicU64,
    /// Last hit, or last restart.
    pub start: AtomicU64,
    /// The bucket of the timer queue that holds the entry; 0: none.
    pub queued: u64,
}

impl Timer {
    /// When the entry is due, if ever.
    pub fn deadline(&self) -> Option<u64> {
        match self.timeout.load(Ordering::Relaxed) {
            0 => None,
            timeout => Some(self.start.load(Ordering::Relaxed).saturating_add(timeout)),
        }
    }
}

const HEADER: usize = 4;
const METADATA: usize = 12;
const MATCH: usize = HEADER + METADATA;
const LONG: u8 = u8::MAX;
const LIVE: u8 = 0x80;
const CONST: u8 = 0x40;
/// Records of one chunk.
const CHUNK: usize = 256;

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    counters: Box<[CounterCell]>,
    timers: Box<[Timer]>,
}

/// What kinds of optional parts the records have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    pub counters: bool,
    pub timers: bool,
}

/// What `add` and `replace` write.
pub(crate) struct Record<'a> {
    pub form: Form,
    pub action: u16,
    pub data: &'a [u8],
    pub metadata: &'a [u8],
    pub controller_metadata: u64,
    pub is_const: bool,
}

/// The records of a table.
#[derive(Debug)]
pub(crate) struct Store {
    match_len: usize,
    stride: usize,
    parts: Parts,
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    used: u32,
    live: u64,
    long_metadata: FxHashMap<u32, Box<[u8]>>,
    numbers: FxHashMap<u32, u64>,
    /// Direct meters of entries that have one configured.
    pub meters: FxHashMap<u32, Mutex<Meter>>,
    /// One-shot action sets.
    pub one_shots: FxHashMap<u32, OneShot>,
}

impl Store {
    /// An empty store for matches and action data of these sizes.
    pub fn new(match_len: usize, data_len: usize, parts: Parts) -> Self {
        Self {
            match_len,
            stride: MATCH + match_len + data_len,
            parts,
            chunks: Vec::new(),
            free: Vec::new(),
            used: 0,
            live: 0,
            long_metadata: FxHashMap::default(),
            numbers: FxHashMap::default(),
            meters: FxHashMap::default(),
            one_shots: FxHashMap::default(),
        }
    }

    /// An empty store of the same shape.
    pub fn emptied(&self) -> Self {
        Self::new(
            self.match_len,
            self.stride - MATCH - self.match_len,
            self.parts,
        )
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.live
    }

    /// One above the highest index ever used.
    pub fn end(&self) -> u32 {
        self.used
    }

    fn record(&self, index: u32) -> &[u8] {
        let at = index as usize % CHUNK * self.stride;
        self.chunks
            .get(index as usize / CHUNK)
            .and_then(|chunk| chunk.bytes.get(at..at + self.stride))
            .unwrap_or_default()
    }

    fn record_mut(&mut self, index: u32) -> &mut [u8] {
        let at = index as usize % CHUNK * self.stride;
        self.chunks
            .get_mut(index as usize / CHUNK)
            .and_then(|chunk| chunk.bytes.get_mut(at..at + self.stride))
            .unwrap_or_default()
    }

    /// Whether the index names an entry.
    pub fn is_live(&self, index: u32) -> bool {
        self.record(index)
            .first()
            .is_some_and(|flags| flags & LIVE != 0)
    }

    /// Whether the program made the entry const.
    pub fn is_const(&self, index: u32) -> bool {
        self.record(index)
            .first()
            .is_some_and(|flags| flags & CONST != 0)
    }

    /// The stored match.
    pub fn matched(&self, index: u32) -> &[u8] {
        self.record(index)
            .get(MATCH..MATCH + self.match_len)
            .unwrap_or_default()
    }

    /// The stored match, to be written by the key plan.
    pub fn matched_mut(&mut self, index: u32) -> &mut [u8] {
        let len = self.match_len;
        self.record_mut(index)
            .get_mut(MATCH..MATCH + len)
            .unwrap_or_default()
    }

    /// Form and index of the entry's action, and its data (longer than the action's own by padding).
    pub fn action(&self, index: u32) -> (Form, u16, &[u8]) {
        let record = self.record(index);
        let form = match record.first().map(|flags| flags & 3) {
            Some(1) => Form::Member,
            Some(2) => Form::Group,
            Some(3) => Form::OneShot,
            _ => Form::Direct,
        };
        let action = record
            .get(2..4)
            .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        (
            form,
            action,
            record.get(MATCH + self.match_len..).unwrap_or_default(),
        )
    }

    /// The control plane's bytes.
    pub fn metadata(&self, index: u32) -> &[u8] {
        match self.record(index).get(1).copied().unwrap_or(0) {
            LONG => self
                .long_metadata
                .get(&index)
                .map(|m| &**m)
                .unwrap_or_default(),
            len => self
                .record(index)
                .get(HEADER..HEADER + len as usize)
                .unwrap_or_default(),
        }
    }

    /// The control plane's number.
    pub fn controller_metadata(&self, index: u32) -> u64 {
        self.numbers.get(&index).copied().unwrap_or(0)
    }

    /// The direct counter, where the table has one.
    pub fn counter(&self, index: u32) -> Option<&CounterCell> {
        self.chunks
            .get(index as usize / CHUNK)?
            .counters
            .get(index as usize % CHUNK)
    }

    /// The timer, where the table has them.
    pub fn timer(&self, index: u32) -> Option<&Timer> {
        self.chunks
            .get(index as usize / CHUNK)?
            .timers
            .get(index as usize % CHUNK)
    }

    /// The timer, to be queued.
    pub fn timer_mut(&mut self, index: u32) -> Option<&mut Timer> {
        self.chunks
            .get_mut(index as usize / CHUNK)?
            .timers
            .get_mut(index as usize % CHUNK)
    }

    /// Makes room for an entry and writes all but its match; `None` when 2^32 are there.
    pub fn add(&mut self, record: &Record<'_>) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = self.used;
                self.used = self.used.checked_add(1)?;
                if (index as usize).is_multiple_of(CHUNK) {
                    self.grow();
                }
                index
            }
        };
        self.live += 1;
        self.replace(index, record);
        if let Some(counter) = self.counter(index) {
            counter.store(super::super::externs::CounterData::default());
        }
        Some(index)
    }

    fn grow(&mut self) {
        let count = |wanted: bool| if wanted { CHUNK } else { 0 };
        self.chunks.push(Chunk {
            bytes: vec![0; CHUNK * self.stride].into_boxed_slice(),
            counters: (0..count(self.parts.counters))
                .map(|_| CounterCell::default())
                .collect(),
            timers: (0..count(self.parts.timers))
                .map(|_| Timer::default())
                .collect(),
        });
    }

    /// Writes all but the match of an entry.
    pub fn replace(&mut self, index: u32, record: &Record<'_>) {
        let form = match record.form {
            Form::Direct => 0,
            Form::Member => 1,
            Form::Group => 2,
            Form::OneShot => 3,
        };
        let short = record.metadata.len() <= METADATA;
        if short {
            if !self.long_metadata.is_empty() {
                self.long_metadata.remove(&index);
            }
        } else {
            self.long_metadata.insert(index, record.metadata.into());
        }
        if record.controller_metadata != 0 {
            self.numbers.insert(index, record.controller_metadata);
        } else if !self.numbers.is_empty() {
            self.numbers.remove(&index);
        }
        let data_at = MATCH + self.match_len;
        let to = self.record_mut(index);
        let [flags, length, action @ ..] = to else {
            return;
        };
        *flags = LIVE | if record.is_const { CONST } else { 0 } | form;
        *length = if short {
            record.metadata.len() as u8
        } else {
            LONG
        };
        action[..2].copy_from_slice(&record.action.to_be_bytes());
        if short {
            to[HEADER..HEADER + record.metadata.len()].copy_from_slice(record.metadata);
        }
        if let Some(data) = to.get_mut(data_at..data_at + record.data.len()) {
            data.copy_from_slice(record.data);
        }
    }

    /// Frees the entry.
    pub fn remove(&mut self, index: u32) {
        if !self.is_live(index) {
            return;
        }
        if let Some(flags) = self.record_mut(index).first_mut() {
            *flags = 0;
        }
        if let Some(timer) = self.timer_mut(index) {
            *timer = Timer::default();
        }
        self.long_metadata.remove(&index);
        self.numbers.remove(&index);
        self.meters.remove(&index);
        self.one_shots.remove(&index);
        self.free.push(index);
        self.live -= 1;
    }
}
