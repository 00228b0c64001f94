//! What machine code sees of a packet, and the words in which it says how things end.
//!
//! In: a packet's run. Out: the [`Context`] that machine code is given; what it decided handed back. Invariant: offsets here are part
//! of the generated code.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::AtomicU64;

use super::super::Time;
use super::super::arch::Intents;
use super::super::interp::code::{Agg, Call, Ex, Prim, Slot, Stmt};
use super::super::interp::{LastApply, PacketState, Run, Stop};
use super::super::outputs::DropReason;
use super::super::tables::{Entry, Found, MatchTable};
use super::recall::{FIRST, Places};
use super::region::Regions;

/// A node that the interpreter runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Site {
    Stmt(*const Stmt),
    Ex(*const Ex),
    Agg(*const Agg),
    Call(*const Call),
    Prim(*const Prim),
    /// The transition of a state: parser, state.
    Select(u32, u32),
}

/// What machine code sees of a packet. Offsets are part of the generated code.
#[repr(C)]
pub(super) struct Context {
    pub slots: *mut u128,
    pub packet: *const u8,
    /// Length of the packet in bits.
    pub bits: u64,
    /// Whether the packet's state has the packet's bytes too.
    pub kept: u64,
    /// Bits parsed; kept in the packet's state.
    pub cursor: *mut usize,
    pub budget: *mut u32,
    /// Where the headers go that are emitted, and how many bytes they took.
    pub head: *mut u8,
    pub head_len: u64,
    /// Words of the action data that the last lookup found.
    pub data: *const u64,
    /// The row that it hit; null on a miss.
    pub row: *const u64,
    /// Where the thread's own cells are found; see [`super::super::externs::shard_offset`].
    pub shard: u64,
    /// The table that machine code itself hit last, in this row; [`NO_TABLE`] where the run knows better.
    pub table: u64,
    /// By table, hits and misses that nobody was told of yet.
    pub applied: *mut [u64; 2],
    /// When the packet came in.
    pub now: u64,
    /// A value handed back by a call.
    pub scalar: u128,
    /// What the program decided: 1 when dropped, 1 when a port was given, the port.
    pub dropped: u64,
    pub sent: u64,
    pub port: u64,
    /// The port that the packet leaves by, once it is known.
    pub egress: u64,
    /// v1model: a checksum was wrong.
    pub checksum_error: u64,
    /// Whether anything else was asked of the architecture.
    pub special: u64,
    /// Values that the architecture gives: ingress port, pass, direction, time.
    pub given: [u64; 6],
    pub run: *mut core::ffi::c_void,
    pub sites: *const Site,
    /// What code in stages keeps; see [`super::stages`].
    pub frame: *mut Frame,
    /// Rows that tables gave packets before for what the architecture gives them, such as their port; see [`super::probe`].
    pub last_rows: [*const u64; LAST_ROWS],
    /// Places that the packet touched, and where the next one goes, in bytes; see [`place_at`]. What was not touched yet is what the
    /// last packet of the flow touched there, or what its scout found.
    pub places: Places,
    pub touched: u64,
}

/// What a scout's code keeps from one stage to the next.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Frame {
    /// The stage whose turn it is.
    pub stage: u32,
    /// What it waits for: two lines, which may be one.
    pub asked: [usize; 2],
    /// Cells in which its packet will be counted, the first so many.
    pub counts: [usize; COUNTS],
    pub counted: u32,
    pub kept: [[u64; 16]; 16],
}

/// Cells of counters that a scout tells.
pub(super) const COUNTS: usize = 4;

/// Tables whose last row is kept from one packet to the next.
pub(super) const LAST_ROWS: usize = 2;

/// The header of a row that no index names.
static NO_ROW: u64 = 0;

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;

/// Where the last of the places lies that a pass takes note of, in bytes.
pub(super) const LAST: u64 = (size_of::<Places>() - size_of::<u32>()) as u64;

/// Where a place is noted, in bytes, so many behind the beginning.
pub(super) fn place_at(touched: u64) -> u64 {
    touched.min(LAST)
}

/// Status words: nothing happened, or why execution of a block ends.
pub(super) mod status {
    pub const EXIT: u32 = 1;
    pub const REJECT: u32 = 2;
    /// Plus the error's number.
    pub const ERROR: u32 = 0x100;
    /// With the reason's number.
    pub const DROP: u32 = 0x8000_0000;
}

/// The status word of a stop.
pub(super) fn stop_code(stop: Stop) -> u32 {
    match stop {
        Stop::Exit => status::EXIT,
        Stop::Reject => status::REJECT,
        Stop::ParserError(error) => status::ERROR.saturating_add(error) & !status::DROP,
        Stop::Drop(reason) => status::DROP | reason as u32,
    }
}

/// The reason in a status word.
pub(super) fn drop_reason(status: u32) -> DropReason {
    let index = (status & !status::DROP) as usize;
    DropReason::ALL
        .get(index)
        .copied()
        .unwrap_or(DropReason::Ingress)
}

/// No action runs.
pub(super) const NO_ACTION: u32 = 0xffff;

/// Number of no table.
pub(super) const NO_TABLE: u64 = u64::MAX;

/// The regions in which a table's lookups are noted, where it is so large that caches do not hold it.
fn far_regions<'r>(run: &Run<'r, '_>, (index, table): (u32, &MatchTable)) -> Option<&'r Regions> {
    let regions = run.machine.native.as_ref().map(|native| &native.regions);
    regions.filter(|regions| regions.rows(index).is_some() && table.is_far())
}

impl Context {
    /// Notes what a lookup found, which stays while the packet's guard lives; the word for machine code.
    #[inline(always)]
    pub fn answer(&mut self, found: &Found<'_>) -> u64 {
        self.data = found.data.as_ptr().cast();
        self.row = found.entry.map_or(ptr::null(), Entry::address);
        u64::from(found.action.map_or(NO_ACTION, u32::from)) | u64::from(found.hit) << 32
    }

    /// Tells a run what machine code has applied since the run was told last.
    ///
    /// # Safety
    /// The run is the packet's, and its guard the one under which the context's row was found.
    pub unsafe fn tell(&mut self, run: &mut Run<'_, '_>) {
        let index = std::mem::replace(&mut self.table, NO_TABLE);
        let Some(table) = run.machine.tables.get(index as usize) else {
            return;
        };
        let row = self.row.cast::<AtomicU64>();
        // SAFETY: machine code found the row in this table; it has as many words, and stays as the caller says.
        let words = unsafe { std::slice::from_raw_parts(row, table.row_words()) };
        run.last = LastApply {
            table: index as u32,
            hit: true,
            entry: Some(Entry::new(words)),
            color: None,
        };
    }

    /// Notes the lines of a lookup in a large table whose entries are found by their key alone.
    pub fn touch_found(
        &mut self,
        run: &Run<'_, '_>,
        (index, table): (u32, &MatchTable),
        key: &[u64],
        found: &Found<'_>,
    ) {
        let Some(regions) = far_regions(run, (index, table)) else {
            return;
        };
        let hash = table.hash_key(key);
        match table.row_number(run.guard, (key, hash), found) {
            Some(row) => self.touch(regions.row(index, row)),
            None => self.touch_buckets(run, (index, table), hash),
        }
    }

    /// Notes the lines of a lookup in a large table that has found nothing.
    pub fn touch_buckets(
        &mut self,
        run: &Run<'_, '_>,
        (index, table): (u32, &MatchTable),
        hash: u64,
    ) {
        if let Some(regions) = far_regions(run, (index, table)) {
            let (first, second) = table.buckets(run.guard, hash);
            self.touch(regions.bucket(index, first));
            self.touch(second.and_then(|second| regions.bucket(index, second)));
        }
    }

    /// Hands what machine code decided to whoever goes on.
    pub fn give(&self, intents: &mut Intents) {
        intents.used = true;
        intents.drop = self.dropped != 0;
        intents.port = (self.sent != 0).then_some(self.port as u32);
        intents.checksum_error = self.checksum_error != 0;
    }

    /// Takes what the interpreter decided.
    pub fn receive(&mut self, intents: &Intents) {
        self.dropped = u64::from(intents.drop);
        self.sent = u64::from(intents.port.is_some());
        self.port = u64::from(intents.port.unwrap_or(0));
        self.checksum_error = u64::from(intents.checksum_error);
        self.special = u64::from(intents.asked());
    }

    /// Gives the packet's state the packet's bytes, for whoever looks for them there.
    ///
    /// # Safety
    /// The packet that the context was made for is still there.
    pub unsafe fn keep(&mut self, state: &mut PacketState) {
        if self.kept == 0 {
            // SAFETY: as the caller says.
            let bytes = unsafe { std::slice::from_raw_parts(self.packet, self.bits as usize / 8) };
            state.packet.clear();
            state.packet.extend_from_slice(bytes);
            self.kept = 1;
        }
    }

    /// When packets come in, and what the architecture gives them.
    pub fn begin_at(&mut self, now: Time, given: &[u64; 6]) {
        self.now = now.0;
        self.given = *given;
    }

    /// A context without a packet.
    #[inline]
    pub fn empty() -> Self {
        Self {
            slots: ptr::null_mut(),
            packet: ptr::null(),
            bits: 0,
            kept: 0,
            cursor: ptr::null_mut(),
            budget: ptr::null_mut(),
            head: ptr::null_mut(),
            head_len: 0,
            data: ptr::null(),
            row: ptr::null(),
            shard: 0,
            table: NO_TABLE,
            applied: ptr::null_mut(),
            now: 0,
            scalar: 0,
            dropped: 0,
            sent: 0,
            port: 0,
            egress: 0,
            checksum_error: 0,
            special: 0,
            given: [0; 6],
            run: ptr::null_mut(),
            sites: ptr::null(),
            frame: ptr::null_mut(),
            last_rows: [&raw const NO_ROW; LAST_ROWS],
            places: Places::default(),
            touched: FIRST,
        }
    }

    /// The packet touches a place in memory that is large; none where it has no word.
    fn touch(&mut self, word: Option<u32>) {
        if let Some(word) = word {
            let at = place_at(self.touched) as usize;
            let place = &mut self.places[at / size_of::<u64>()];
            let half = at % size_of::<u64>() * 8;
            *place = *place & !(u64::from(u32::MAX) << half) | u64::from(word) << half;
            self.touched += size_of::<u32>() as u64;
        }
    }

    /// Slot numbers below this are in range.
    pub fn slot_offset(slot: Slot) -> i32 {
        (slot as i32).saturating_mul(16)
    }
}
