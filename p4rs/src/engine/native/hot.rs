//! Machine code for the ways that most packets take, straight from the parser to the deparser.
//!
//! In: what some packets decided ([`super::profile`]). Out: a tree of ways. At each decision only the outcomes that are usual
//! have code; a packet that decides otherwise begins anew in the code for all. Ways that have parted do not meet again, so
//! that everything that happened on a way is known on it: no variable needs a place in memory. What a packet leaves behind is
//! written at the end of its way, when nothing can make it begin anew any more.
//!
//! ```text
//! start ─ IPv4 ─ TCP ─ frontend hit ─┬─ flow hit ─ … ─ writes ─ sent
//!    │                               └─ flow missed: seldom ─▶ anew
//!    └─ other ─▶ anew
//! ```
//!
//! Invariant: up to the end of its way a packet has changed nothing that outlives its pass but hints.

mod control;
mod learn;
mod parser;

use cranelift_codegen::ir::{Block, Inst, InstBuilder, MemFlagsData, Value, types};
use std::mem::offset_of;

use super::super::externs::Plain;
use super::super::interp::Slot;
use super::Unsupported;
use super::build::{Build, DROPPED, Exits, Falls, SENT, UNREACHABLE};
use super::context::{COUNTS, Context, Frame, LAST_ROWS};
use super::profile::{Place, Profile};
use super::recall::FIRST;
use learn::{Learned, Missed};

/// Instructions above which no way gets code any more.
const SIZE: usize = 40_000;

/// What is built.
pub(super) struct Hot<'p> {
    profile: &'p Profile,
    /// The code is for scouts, see [`super::scout`].
    scout: bool,
    /// Where they wait, and where they have told a cell of a counter.
    waits: Vec<Inst>,
    told: Vec<Inst>,
    /// Packets that make an outcome usual.
    least: u32,
    /// Where a packet begins anew: as it is, and with a status word.
    pub anew: Block,
    pub failed: Block,
    /// What is left for the end, each with the number of what was left before it on its way, from 1 on.
    later: Vec<(Later, u32)>,
    left: Left,
    /// Entries that ways add, and the key that the table which was applied last has not found.
    learned: Vec<Learned>,
    missed: Option<Missed>,
    /// Within so many expressions, in which ways cannot part.
    within: u32,
    /// Packets of the profile whose ways have code up to their end.
    covered: u32,
    /// What the table that was applied last answers first.
    answer: Option<u32>,
    /// Tables whose last row is kept from one packet to the next.
    last_rows: Vec<u32>,
    /// Most bytes of headers that a way sends.
    pub room: usize,
}

/// Ways that have returned from the body that is being built, and those that have left the control around it.
#[derive(Debug, Default)]
struct Left {
    returned: Vec<Block>,
    exited: Vec<Block>,
}

/// How far a way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trail {
    /// In the profile.
    pub at: Place,
    /// Number of what it has left for its end last; 0 where there is nothing.
    later: u32,
    /// Bytes behind the beginning of the places that were touched.
    pub touched: u32,
    /// Cells of counters that a scout has told.
    counted: u32,
    /// Bytes of headers that are sent.
    pub room: u32,
    /// Different ways have met.
    pub confused: bool,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            at: 0,
            later: 0,
            touched: FIRST as u32,
            counted: 0,
            room: 0,
            confused: false,
        }
    }
}

/// What a way leaves for its end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Later {
    /// A table was hit, or missed.
    Applied { table: u32, hit: bool },
    /// A register's cell gets a value.
    Cell {
        plain: Plain,
        index: Value,
        at: Value,
        value: Value,
    },
    /// A packet with so many bytes is counted in a cell.
    Count { at: Value, bytes: Value },
    /// The place of registers' cells was noted; there is nothing to do.
    Noted { index: Value, row: usize },
    /// An entry is added.
    Learned { at: usize },
    /// What is left of the packet's budget.
    Budget { at: Value, left: Value },
}

impl<'a> Build<'a, '_> {
    /// From here on code is for usual ways only: those that so many packets took.
    pub fn begin_hot(&mut self, profile: &'a Profile, least: u32, scout: bool) {
        let (anew, failed) = (self.b.create_block(), self.status_block());
        self.exits = Exits {
            ret: anew,
            stop: failed,
            turn: None,
        };
        self.hot = Some(Hot {
            profile,
            scout,
            waits: Vec::new(),
            told: Vec::new(),
            least,
            anew,
            failed,
            later: Vec::new(),
            left: Left::default(),
            learned: Vec::new(),
            missed: None,
            within: 0,
            covered: 0,
            answer: None,
            last_rows: Vec::new(),
            room: 0,
        });
    }
}

impl Build<'_, '_> {
    /// Whether what is built is for usual ways only.
    pub fn is_hot(&self) -> bool {
        self.hot.is_some()
    }

    /// Whether what is built is for scouts, which fetch what usual ways will need.
    pub fn is_scout(&self) -> bool {
        self.hot.as_ref().is_some_and(|hot| hot.scout)
    }

    /// Where the row is kept that a table gave the packet before, where its key is what the architecture gives packets alone: most of
    /// them have the same one.
    pub fn last_row(&mut self, table: u32, key: &[Value]) -> Option<usize> {
        let given = self.is_hot() && key.iter().all(|&word| self.is_given(word));
        let hot = self.hot.as_mut().filter(|_| given)?;
        let at = hot.last_rows.iter().position(|&other| other == table);
        let at = at.unwrap_or_else(|| {
            hot.last_rows.push(table);
            hot.last_rows.len() - 1
        });
        (at < LAST_ROWS).then(|| offset_of!(Context, last_rows) + at * size_of::<*const u64>())
    }

    /// A scout asks for the lines at two addresses, and waits.
    pub fn pause(&mut self, lines: [Value; 2]) {
        let frame = self.load_fixed(offset_of!(Context, frame));
        let flags = MemFlagsData::trusted();
        let asked = offset_of!(Frame, asked) as i32;
        for (line, offset) in lines.into_iter().zip([asked, asked + 8]) {
            self.b.ins().store(flags, line, frame, offset);
        }
        let wait = self.b.ins().nop();
        if let Some(hot) = &mut self.hot {
            hot.waits.push(wait);
        }
    }

    /// A scout tells a cell in which its packet will be counted.
    pub fn tell_cell(&mut self, at: Value) {
        let counted = self.facts.trail.counted;
        if !self.is_scout() || counted as usize == COUNTS {
            return;
        }
        self.facts.trail.counted += 1;
        let frame = self.load_fixed(offset_of!(Context, frame));
        let place = offset_of!(Frame, counts) + counted as usize * size_of::<usize>();
        let flags = MemFlagsData::trusted();
        self.b.ins().store(flags, at, frame, place as i32);
        let counted = self.b.ins().iconst(types::I32, i64::from(counted) + 1);
        let place = offset_of!(Frame, counted) as i32;
        let told = self.b.ins().store(flags, counted, frame, place);
        if let Some(hot) = &mut self.hot {
            hot.told.push(told);
        }
    }

    /// Where scouts wait, and where they have told a cell.
    pub fn take_waits(&mut self) -> (Vec<Inst>, Vec<Inst>) {
        let hot = self.hot.as_mut();
        hot.map(|hot| {
            (
                std::mem::take(&mut hot.waits),
                std::mem::take(&mut hot.told),
            )
        })
        .unwrap_or_default()
    }

    /// Packets of the profile whose ways have code up to their end.
    pub fn covered(&self) -> u32 {
        self.hot.as_ref().map_or(0, |hot| hot.covered)
    }

    /// What packets usually decide here, and where that leads.
    fn usual_here(&self) -> Vec<(u32, Place)> {
        let Some(hot) = &self.hot else {
            return Vec::new();
        };
        if self.facts.dead || self.b.func.dfg.num_insts() > SIZE {
            return Vec::new();
        }
        let mut usual = hot.profile.usual(self.facts.trail.at, hot.least);
        if hot.within > 0 {
            usual.truncate(1);
        }
        usual
    }

    /// Whether there is far more code than ways that part may make.
    fn is_too_large(&self) -> bool {
        self.b.func.dfg.num_insts() > SIZE * 2
    }

    /// The packet begins anew: what follows is not reached.
    pub fn begin_anew(&mut self) {
        if !self.facts.dead {
            self.end_anew();
            self.nowhere();
        }
    }

    /// The packet begins anew: its way ends here.
    pub fn end_anew(&mut self) -> Falls {
        match &self.hot {
            Some(hot) => self.b.ins().jump(hot.anew, &[]),
            None => self.b.ins().trap(UNREACHABLE),
        };
        Falls::Away
    }

    /// Where a packet begins anew.
    pub fn anew(&self) -> Option<Block> {
        self.hot.as_ref().map(|hot| hot.anew)
    }

    /// Goes on with a block where something was decided; false where that is not usual, and the way has ended.
    fn decided(&mut self, block: Block, outcome: u32) -> bool {
        self.enter(block);
        let usual = self.usual_here();
        match usual.iter().find(|(other, _)| *other == outcome) {
            Some(&(_, next)) => {
                self.facts.trail.at = next;
                true
            }
            None => {
                self.b.set_cold_block(block);
                self.end_anew();
                false
            }
        }
    }

    /// Leaves something for the end of the way.
    pub fn leave_for_later(&mut self, what: Later) {
        if let Some(hot) = &mut self.hot {
            hot.later.push((what, self.facts.trail.later));
            self.facts.trail.later = hot.later.len() as u32;
        }
    }

    /// What this way has left for its end, the last first.
    fn left(&self) -> Vec<Later> {
        let mut left = Vec::new();
        let mut at = self.facts.trail.later;
        while let Some((what, before)) = self
            .hot
            .as_ref()
            .and_then(|hot| hot.later.get((at as usize).checked_sub(1)?))
        {
            left.push(*what);
            at = *before;
        }
        left
    }

    /// The value that a register's cell is to get at the end of this way; `Err` where that depends on what is not known.
    pub fn cell_to_be(&self, plain: &Plain, index: Value) -> Result<Option<Value>, Unsupported> {
        for what in self.left() {
            match what {
                Later::Cell {
                    plain: other,
                    index: at,
                    value,
                    ..
                } if other.base == plain.base => match (self.number(at), self.number(index)) {
                    _ if at == index => return Ok(Some(value)),
                    (Some(one), Some(other)) if one == other => return Ok(Some(value)),
                    (Some(_), Some(_)) => {}
                    _ => return Err(Unsupported("a cell that may have been written")),
                },
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether this way has noted the place of the cells at this index.
    pub fn has_noted(&self, index: Value, row: usize) -> bool {
        let same = |what: &Later| matches!(what, Later::Noted { index: i, row: r } if (*i, *r) == (index, row));
        self.left().iter().any(same)
    }

    /// Does what was left for the end of the way, which ends with this.
    pub fn finish_way(&mut self) -> Result<(), Unsupported> {
        if !self.is_hot() || self.facts.dead {
            return Ok(());
        }
        let trail = self.facts.trail;
        if trail.confused {
            return Err(Unsupported("ways that have met"));
        }
        let flags = MemFlagsData::trusted();
        for what in self.left().into_iter().rev() {
            match what {
                _ if self.is_scout() => {}
                Later::Applied { table, hit } => {
                    let at =
                        (table as usize * size_of::<[u64; 2]>()) as i32 + if hit { 0 } else { 8 };
                    let applied = self.applied;
                    let count = self.b.ins().load(types::I64, flags, applied, at);
                    let count = self.b.ins().iadd_imm_s(count, 1);
                    self.b.ins().store(flags, count, applied, at);
                }
                Later::Cell {
                    plain, at, value, ..
                } => self.store_cell(&plain, at, value),
                Later::Count { at, bytes } => self.add_packet(at, bytes),
                Later::Noted { .. } => {}
                Later::Learned { at } => self.add_learned(at)?,
                Later::Budget { at, left } => {
                    self.b.ins().store(flags, left, at, 0);
                }
            }
        }
        if !self.is_scout() {
            let touched = self.iconst(u64::from(trail.touched));
            self.store_context(touched, offset_of!(Context, touched));
        }
        if let Some(hot) = &mut self.hot {
            hot.covered += hot.profile.count(trail.at);
            hot.room = hot.room.max(trail.room as usize);
        }
        Ok(())
    }

    /// What the program has decided about the packet.
    pub fn decision(&mut self, place: Slot) -> Result<Value, Unsupported> {
        if self.is_hot() {
            let known = self.at_hand(self.cursor_place() + place);
            return known.ok_or(Unsupported("a decision that is not known"));
        }
        Ok(self.load_context(
            types::I64,
            match place {
                DROPPED => offset_of!(Context, dropped),
                SENT => offset_of!(Context, sent),
                _ => offset_of!(Context, port),
            },
        ))
    }

    /// Blocks where packets begin anew.
    pub fn end_hot(&mut self) {
        let Some(Hot { anew, failed, .. }) = self.hot else {
            return;
        };
        self.inside(failed, true);
        self.b.ins().jump(anew, &[]);
        self.inside(anew, true);
    }
}
