//! Variables that lie in the machine code's own stack frame.
//!
//! In: values of 64 bits. Out: stores where they are set, loads where they are used. As an SSA value, a variable that
//! several paths set is moved wherever paths meet, and a pass has hundreds of variables and of such places; in the frame it
//! costs what its uses cost.
//!
//! Every access is noted, so that stores which nobody reads can be taken out again ([`super::prune`]).
//! Invariant: nothing but what is built here reads or writes the cells.

use cranelift_codegen::ir::{
    AliasRegionData, Inst, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind,
    Value, types,
};
use cranelift_frontend::FunctionBuilder;

/// More variables than these are SSA values: frames are not to outgrow stacks.
const MOST: usize = 4096;
/// Bytes of a cell.
const CELL: u32 = 8;

/// An instruction that reads or writes cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub inst: Inst,
    pub first: u32,
    pub count: u32,
    pub kind: Kind,
}

/// What an instruction does with cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Load,
    /// A load where something was stored since the cells were cleared.
    LaterLoad,
    Store,
    /// The store that clears cells at first.
    Clear,
}

/// The cells of one function.
pub(super) struct Cells {
    frame: StackSlot,
    room: u32,
    used: u32,
    flags: MemFlagsData,
    accesses: Vec<Access>,
}

impl Cells {
    /// Room for so many, if they are not too many.
    pub fn new(b: &mut FunctionBuilder<'_>, wanted: usize) -> Self {
        let room = wanted.min(MOST).next_multiple_of(2) as u32;
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, room * CELL, 4);
        // No other access meets the cells: what was stored there is known until the next store there, or a call.
        let region = b.func.dfg.alias_regions.insert(AliasRegionData {
            user_id: 0,
            description: "cells".into(),
        });
        Self {
            frame: b.create_sized_stack_slot(data),
            room,
            used: 0,
            flags: MemFlagsData::trusted().with_alias_region(Some(region)),
            accesses: Vec::new(),
        }
    }

    /// A new cell, while there is room.
    pub fn take(&mut self) -> Option<u32> {
        let cell = self.used;
        self.used += u32::from(cell < self.room);
        (cell < self.room).then_some(cell)
    }

    fn at(&self, b: &mut FunctionBuilder<'_>, cell: u32) -> Value {
        let offset = (cell * CELL) as i32;
        b.ins().stack_addr(types::I64, self.frame, offset)
    }

    /// The value of a cell; `later` where it has been set for certain.
    pub fn load(&mut self, b: &mut FunctionBuilder<'_>, cell: u32, later: bool) -> Value {
        let at = self.at(b, cell);
        let value = b.ins().load(types::I64, self.flags, at, 0);
        if let Some(inst) = b.func.dfg.value_def(value).inst() {
            let kind = if later { Kind::LaterLoad } else { Kind::Load };
            self.note(inst, (cell, 1), kind);
        }
        value
    }

    /// Sets a cell.
    pub fn store(&mut self, b: &mut FunctionBuilder<'_>, cell: u32, value: Value) {
        let at = self.at(b, cell);
        let inst = b.ins().store(self.flags, value, at, 0);
        self.note(inst, (cell, 1), Kind::Store);
    }

    /// Sets all cells so far to zero, two at a time.
    pub fn clear(&mut self, b: &mut FunctionBuilder<'_>) {
        let zero = b.ins().iconst(types::I64, 0);
        let zero = b.ins().splat(types::I64X2, zero);
        for cell in (0..self.used).step_by(2) {
            let at = self.at(b, cell);
            let inst = b.ins().store(self.flags, zero, at, 0);
            self.note(inst, (cell, 2), Kind::Clear);
        }
    }

    fn note(&mut self, inst: Inst, (first, count): (u32, u32), kind: Kind) {
        self.accesses.push(Access {
            inst,
            first,
            count,
            kind,
        });
    }

    /// Every access, and above which number there is no cell.
    pub fn accesses(&self) -> (&[Access], u32) {
        (&self.accesses, self.room)
    }
}
