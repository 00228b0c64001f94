//! Building the machine code of one function: slots, control flow, calls, ways out.
//!
//! In: lowered bodies. Out: Cranelift IR. Invariant: on every path each value is computed in the order in which the
//! interpreter would, and every way out of a call writes its out arguments back.
//!
//! Slots that no interpreted node touches are cells of the function's frame where 64 bits are enough, SSA variables where
//! they are not. The others lie in the packet's slot memory.

mod slots;

pub(super) use slots::{DROPPED, PORT, SENT};

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, FuncRef, InstBuilder, MemFlagsData, StackSlot, StackSlotData,
    StackSlotKind, TrapCode, Type, Value, types,
};
use cranelift_frontend::{FunctionBuilder, Variable};
use rustc_hash::{FxHashMap, FxHashSet};
use std::mem::offset_of;

use super::super::interp::Machine;
use super::super::interp::code::{Call, Code, Dest, Operand, PlaceArg, Slot, Target};
use super::Unsupported;
use super::cells::{Access, Cells};
use super::context::{Context, Site, status};
use super::hot::Hot;
use super::known::{Facts, Test};
use super::packet::Origin;
use super::part::Kinds;
use super::region::Regions;
use super::support;
use super::widths::Widths;

/// Where a slot lives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// Not used yet.
    None,
    /// Never anything but zero.
    Zero,
    Cell(u32),
    Narrow(Variable),
    Wide(Variable),
    Memory,
}

/// A value: at most 64 bits in an `i64`, or up to 128 in an `i128`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Val {
    pub value: Value,
    pub wide: bool,
}

/// References to the runtime's functions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Imports {
    pub interpret: FuncRef,
    pub lookup: FuncRef,
    pub apply: FuncRef,
    pub count: FuncRef,
    pub count_direct: FuncRef,
    pub learn: FuncRef,
    pub restart: FuncRef,
    pub hash: FuncRef,
    pub crc32_step: FuncRef,
    pub payload_hash: FuncRef,
    pub register_read: FuncRef,
    pub register_write: FuncRef,
}

/// Where control goes from inside a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exits {
    /// After `return` or the end.
    pub ret: Block,
    /// With a status word: the body was stopped.
    pub stop: Block,
    /// `break` and `continue`.
    pub turn: Option<(Block, Block)>,
}

/// Whether what follows is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Falls {
    Through,
    Away,
}

/// The builder.
pub(super) struct Build<'a, 'f> {
    pub machine: &'a Machine,
    /// What is noted of what packets touch is in these.
    pub regions: &'a Regions,
    pub code: &'a Code,
    pub b: FunctionBuilder<'f>,
    pub imports: Imports,
    pub memory: &'a [bool],
    /// See [`super::footprint::Footprint::taken`].
    taken: &'a FxHashMap<Slot, Slot>,
    pub widths: &'a Widths<'a>,
    pub homes: Vec<Home>,
    /// Whether the interpreter applies a table.
    pub interpreted_tables: bool,
    /// What is known here.
    pub facts: Facts,
    /// What is known on the ways to blocks that were not entered yet.
    pub ways: FxHashMap<Block, Facts>,
    /// What conditions say.
    pub tests: FxHashMap<Value, Test>,
    /// Words that are 0 or 1.
    pub binary: FxHashSet<Value>,
    /// Conditions that stand in words.
    pub flags: FxHashMap<Value, Value>,
    /// Values that were read from the packet.
    pub origins: FxHashMap<Value, Origin>,
    /// Sums whose carries have been added back, as they were with them, and the most that they may have been.
    pub unfolded: FxHashMap<Value, (Value, u64)>,
    cells: Cells,
    pub sites: &'a mut Vec<Site>,
    pub context: Value,
    pub slots: Value,
    pub packet: Value,
    pub bits: Value,
    /// See [`Context::applied`] and [`Context::now`].
    pub applied: Value,
    pub now: Value,
    pub cursor: Variable,
    pub exits: Exits,
    /// Outgoing headers: where they begin, how many bytes are written, and the most that may be.
    pub head: Variable,
    pub written: Variable,
    pub room: usize,
    pub loops: u32,
    /// Which packets the code is for, and how many kinds may have code of their own.
    pub part: Kinds,
    pub kinds: usize,
    /// Registers' cells that were noted, by index and by where the registers lie.
    pub touched: FxHashSet<(Value, usize)>,
    /// See [`super::ways`]: variables that keep ways apart, whether they do so in what is built now, ways that are where
    /// control stands, and how many more go side by side with it.
    pub gates: Vec<Slot>,
    pub split: bool,
    pub parked: Vec<Block>,
    pub stashed: usize,
    /// The table whose action is built now, where the context has the row that it hit.
    pub acting: Option<u32>,
    /// That row, on ways that are hot.
    pub row: Option<Value>,
    /// See [`super::hot`].
    pub hot: Option<Hot<'a>>,
    pub depth: u32,
}

/// Numbers besides the slots of which facts are kept: the cursor, the bytes written, and what was decided about the packet.
const PLACES: usize = 5;

/// For memory that is there and that nobody changes while a pass runs: the context's pointers. It is read where it is needed first,
/// not where it was asked for.
const FIXED: MemFlagsData = MemFlagsData::trusted().with_readonly().with_can_move();

/// Where no way leads.
pub(super) const UNREACHABLE: TrapCode = TrapCode::unwrap_user(1);

/// Calls nested deeper are left to the interpreter's program.
const MAX_DEPTH: u32 = 48;

impl<'a, 'f> Build<'a, 'f> {
    /// Starts a function: one block, the context its parameter.
    pub fn new(
        (machine, regions): (&'a Machine, &'a Regions),
        mut b: FunctionBuilder<'f>,
        imports: Imports,
        scan: (&'a [bool], &'a Widths<'a>, &'a FxHashMap<Slot, Slot>),
        sites: &'a mut Vec<Site>,
    ) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let context = b.block_params(entry)[0];
        let mut load = |ty, offset: usize| b.ins().load(ty, FIXED, context, offset as i32);
        let slots = load(types::I64, offset_of!(Context, slots));
        let packet = load(types::I64, offset_of!(Context, packet));
        let bits = load(types::I64, offset_of!(Context, bits));
        let applied = load(types::I64, offset_of!(Context, applied));
        let now = load(types::I64, offset_of!(Context, now));
        let cursor = b.declare_var(types::I64);
        let zero = b.ins().iconst(types::I64, 0);
        b.def_var(cursor, zero);
        let (head, written) = (b.declare_var(types::I64), b.declare_var(types::I64));
        let start = b
            .ins()
            .load(types::I64, FIXED, context, offset_of!(Context, head) as i32);
        b.def_var(head, start);
        b.def_var(written, zero);
        let nowhere = b.create_block();
        let code = &machine.code;
        let cells = Cells::new(&mut b, code.slots as usize);
        Self {
            machine,
            regions,
            code,
            b,
            imports,
            memory: scan.0,
            taken: scan.2,
            widths: scan.1,
            homes: vec![Home::None; code.slots as usize],
            interpreted_tables: false,
            facts: Facts::new(code.slots as usize + PLACES),
            ways: FxHashMap::default(),
            tests: FxHashMap::default(),
            binary: FxHashSet::default(),
            flags: FxHashMap::default(),
            origins: FxHashMap::default(),
            unfolded: FxHashMap::default(),
            cells,
            sites,
            context,
            slots,
            packet,
            bits,
            applied,
            now,
            cursor,
            exits: Exits {
                ret: nowhere,
                stop: nowhere,
                turn: None,
            },
            head,
            written,
            room: 0,
            loops: 0,
            part: Kinds::All,
            kinds: 0,
            touched: FxHashSet::default(),
            gates: Vec::new(),
            split: false,
            parked: Vec::new(),
            stashed: 0,
            acting: None,
            row: None,
            hot: None,
            depth: 0,
        }
    }

    /// Whether what is built now may run more than once for a packet.
    pub fn in_loop(&self) -> bool {
        self.loops > 0
    }

    pub fn iconst(&mut self, value: u64) -> Value {
        self.b.ins().iconst(types::I64, value as i64)
    }

    /// A block that receives a status word.
    pub fn status_block(&mut self) -> Block {
        let block = self.b.create_block();
        self.b.append_block_param(block, types::I32);
        block
    }

    pub fn jump(&mut self, to: Block) {
        self.go(to, &[]);
    }

    pub fn load_context(&mut self, ty: Type, offset: usize) -> Value {
        let context = self.context;
        self.b
            .ins()
            .load(ty, MemFlagsData::trusted(), context, offset as i32)
    }

    /// As [`Self::load_context`], of what nobody changes while a pass runs.
    pub fn load_fixed(&mut self, offset: usize) -> Value {
        let context = self.context;
        self.b.ins().load(types::I64, FIXED, context, offset as i32)
    }

    /// For memory that nobody changes while a pass runs and that is there once that was found out: the packet, data of entries. A
    /// read is moved to where it is needed first, or out of a loop: never before what was found out on usual ways, which have no
    /// loop around that.
    pub fn unchanged(&self) -> MemFlagsData {
        if self.is_hot() {
            FIXED
        } else {
            MemFlagsData::trusted()
        }
    }

    pub fn store_context(&mut self, value: Value, offset: usize) {
        let context = self.context;
        self.b
            .ins()
            .store(MemFlagsData::trusted(), value, context, offset as i32);
    }

    /// Goes on with `to`, all of whose predecessors are known.
    pub fn enter(&mut self, to: Block) {
        self.b.switch_to_block(to);
        self.b.seal_block(to);
        match self.ways.remove(&to) {
            Some(facts) => self.facts = facts,
            None => {
                self.facts.forget();
                self.facts.dead = true;
            }
        }
    }

    /// Goes on where no way leads.
    pub fn nowhere(&mut self) {
        let block = self.b.create_block();
        self.enter(block);
    }

    /// Goes on with a block that later ways may lead to: nothing is known there.
    pub fn enter_loop(&mut self, to: Block) {
        self.b.switch_to_block(to);
        self.facts.forget();
    }

    /// What reads and writes cells.
    pub fn accesses(&self) -> (Vec<Access>, u32) {
        let (accesses, cells) = self.cells.accesses();
        (accesses.to_vec(), cells)
    }

    /// Writes the cursor to the packet's state.
    pub fn keep_cursor(&mut self) {
        let at = self.load_fixed(offset_of!(Context, cursor));
        let cursor = self.cursor();
        self.b.ins().store(MemFlagsData::trusted(), cursor, at, 0);
    }

    fn reload_cursor(&mut self) {
        let at = self.load_fixed(offset_of!(Context, cursor));
        let cursor = self
            .b
            .ins()
            .load(types::I64, MemFlagsData::trusted(), at, 0);
        self.set_cursor(cursor);
    }

    /// Hands a node to the interpreter; its status word.
    pub fn interpret(&mut self, site: Site) -> Value {
        if self.is_hot() {
            self.begin_anew();
            return self.b.ins().iconst(types::I32, 0);
        }
        self.keep_cursor();
        let index = self.iconst(self.sites.len() as u64);
        self.sites.push(site);
        let call = self
            .b
            .ins()
            .call(self.imports.interpret, &[self.context, index]);
        let status = self.b.inst_results(call)[0];
        self.reload_cursor();
        status
    }

    /// The value that the interpreter handed back.
    pub fn scalar(&mut self) -> Val {
        let low = self.load_context(types::I64, offset_of!(Context, scalar));
        let high = self.load_context(types::I64, offset_of!(Context, scalar) + 8);
        Val {
            value: self.b.ins().iconcat(low, high),
            wide: true,
        }
    }

    /// Leaves the body when the status says so.
    pub fn check(&mut self, status: Value) {
        let next = self.b.create_block();
        let stop = self.exits.stop;
        self.brif(status, stop, &[BlockArg::Value(status)], next, &[]);
        self.enter(next);
    }

    /// Leaves the body with a status word.
    pub fn stop(&mut self, status: u32) {
        let status = self.b.ins().iconst(types::I32, i64::from(status as i32));
        let stop = self.exits.stop;
        self.go(stop, &[BlockArg::Value(status)]);
    }

    /// Leaves the body with a status word when the condition holds.
    pub fn stop_if(&mut self, condition: Value, status: u32) {
        let next = self.b.create_block();
        let stop = self.exits.stop;
        let word = self.b.ins().iconst(types::I32, i64::from(status as i32));
        self.brif(condition, stop, &[BlockArg::Value(word)], next, &[]);
        self.enter(next);
    }

    /// Takes a turn from the packet's budget.
    pub fn turn(&mut self, reason: super::super::outputs::DropReason) {
        let at = self.load_fixed(offset_of!(Context, budget));
        let flags = MemFlagsData::trusted();
        let left = self.b.ins().load(types::I32, flags, at, 0);
        let none = self.b.ins().icmp_imm_u(IntCC::Equal, left, 0);
        self.stop_if(none, status::DROP | reason as u32);
        let left = self.b.ins().iadd_imm_s(left, -1);
        self.b.ins().store(flags, left, at, 0);
    }

    /// Memory on the machine's stack.
    pub fn stack(&mut self, bytes: u32) -> StackSlot {
        let data = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3);
        self.b.create_sized_stack_slot(data)
    }

    /// Writes a scalar to a plain destination, unless the header around it is invalid.
    pub fn put(&mut self, dest: &Dest, value: Val) -> Result<(), Unsupported> {
        let Some(slot) = support::dest(dest) else {
            return Err(Unsupported("a destination that depends on the packet"));
        };
        let value = match dest.slice {
            None => value,
            Some((hi, lo)) => self.insert_bits(slot, (hi, lo), value),
        };
        let Some(back) = dest.guard else {
            self.set(slot, value);
            return Ok(());
        };
        let valid = self.get(slot - back);
        let valid = self.truth(valid);
        match self.number(valid) {
            Some(0) => return Ok(()),
            Some(_) => {
                self.set(slot, value);
                return Ok(());
            }
            None => {}
        }
        let old = self.get(slot);
        let merged = self.choose(valid, value, old);
        self.set(slot, merged);
        Ok(())
    }

    /// Writes several slots, each by itself.
    pub fn put_slots(&mut self, dest: &Dest, from: &[Val]) -> Result<(), Unsupported> {
        let (Some(slot), None) = (support::dest(dest), dest.slice) else {
            return Err(Unsupported("a destination that depends on the packet"));
        };
        let valid = match dest.guard {
            Some(back) => {
                let valid = self.get(slot - back);
                let valid = self.truth(valid);
                match self.number(valid) {
                    Some(0) => return Ok(()),
                    Some(_) => None,
                    None => Some(valid),
                }
            }
            None => None,
        };
        for (i, &value) in (0..dest.slots).zip(from) {
            let value = match valid {
                Some(valid) => {
                    let old = self.get(slot + i);
                    self.choose(valid, value, old)
                }
                None => value,
            };
            self.set(slot + i, value);
        }
        Ok(())
    }

    /// One of two values.
    pub fn choose(&mut self, condition: Value, a: Val, b: Val) -> Val {
        if let Some(number) = self.number(condition) {
            return if number != 0 { a } else { b };
        }
        if a.wide || b.wide {
            let (a, b) = (self.widen(a), self.widen(b));
            return Val {
                value: self.b.ins().select(condition, a, b),
                wide: true,
            };
        }
        Val {
            value: self.b.ins().select(condition, a.value, b.value),
            wide: false,
        }
    }

    /// Whether a value is not zero, as a condition.
    pub fn truth(&mut self, value: Val) -> Value {
        if value.wide {
            let (low, high) = self.b.ins().isplit(value.value);
            let any = self.b.ins().bor(low, high);
            return self.b.ins().icmp_imm_u(IntCC::NotEqual, any, 0);
        }
        if let Some(&condition) = self.flags.get(&value.value) {
            return condition;
        }
        let zero = self.iconst(0);
        self.compare_words(IntCC::NotEqual, value.value, zero)
    }

    /// Calls a body by expanding it here.
    pub fn call(&mut self, call: &Call) -> Result<(), Unsupported> {
        if !support::call(call) {
            let status = self.interpret(Site::Call(call));
            self.check(status);
            return Ok(());
        }
        if self.depth >= MAX_DEPTH {
            return Err(Unsupported("calls nested too deeply"));
        }
        for (slot, operand) in &call.ins {
            self.store(*slot, operand)?;
        }
        for &(from, to, slots) in &call.moves {
            self.copy(from, to, slots)?;
        }
        for &(slot, slots) in &call.clears {
            self.clear(slot, slots);
        }
        for arg in call.places.iter().filter(|arg| arg.copy_in) {
            self.copy_in(arg)?;
        }
        if self.is_hot() {
            return self.hot_called(call);
        }
        let outer = self.exits;
        let ret = self.b.create_block();
        let stop = if call.places.is_empty() {
            outer.stop
        } else {
            self.status_block()
        };
        self.exits = Exits {
            ret,
            stop,
            turn: None,
        };
        self.depth += 1;
        let falls = self.target(call.target)?;
        self.depth -= 1;
        self.exits = outer;
        if call.places.is_empty() && self.splits() {
            let mut ends = Vec::new();
            self.ends(falls, &mut ends);
            ends.extend(self.ways.contains_key(&ret).then_some(ret));
            if self.regroup(ends) == Falls::Away {
                self.nowhere();
            }
            return Ok(());
        }
        if falls == Falls::Through {
            self.meet();
            self.jump(ret);
        }
        if !call.places.is_empty() {
            self.enter(stop);
            self.b.set_cold_block(stop);
            let status = self.b.block_params(stop)[0];
            self.copy_outs(&call.places)?;
            self.go(outer.stop, &[BlockArg::Value(status)]);
        }
        self.enter(ret);
        self.copy_outs(&call.places)
    }

    fn copy_in(&mut self, arg: &PlaceArg) -> Result<(), Unsupported> {
        let Some(slot) = support::dest(&arg.dest) else {
            return Err(Unsupported("an argument that depends on the packet"));
        };
        match arg.dest.slice {
            None => self.copy(slot, arg.param, arg.dest.slots),
            Some((hi, lo)) => {
                let value = self.get(slot);
                let part = self.shift_right(value, lo);
                let part = self.mask_to(part, hi.saturating_sub(lo) + 1);
                self.set(arg.param, part);
                Ok(())
            }
        }
    }

    pub fn copy_outs(&mut self, places: &[PlaceArg]) -> Result<(), Unsupported> {
        for arg in places {
            if arg.dest.slots == 1 {
                let value = self.get(arg.param);
                self.put(&arg.dest, value)?;
            } else {
                let values: Vec<Val> = (0..arg.dest.slots)
                    .map(|i| self.get(arg.param + i))
                    .collect();
                self.put_slots(&arg.dest, &values)?;
            }
        }
        Ok(())
    }

    pub fn target(&mut self, target: Target) -> Result<Falls, Unsupported> {
        match target {
            Target::Parser(index) => self.parser(index),
            target => {
                let missing = Unsupported("a call of nothing");
                self.stmts(self.code.body(target).ok_or(missing)?)
            }
        }
    }

    /// Evaluates into slots that nothing guards.
    pub fn store(&mut self, to: Slot, operand: &Operand) -> Result<(), Unsupported> {
        match operand {
            Operand::One(ex) => {
                if self.widths.ex(ex) > self.widths.of(to) {
                    return Err(Unsupported("a value wider than its slot"));
                }
                let value = self.ex(ex)?;
                self.set(to, value);
            }
            Operand::Many(agg, slots) => {
                let values = self.agg(agg, *slots)?;
                for (i, value) in (0..*slots).zip(values) {
                    self.set(to + i, value);
                }
            }
        }
        Ok(())
    }
}

/// A signature of words.
pub(super) fn signature(
    signature: &mut cranelift_codegen::ir::Signature,
    params: usize,
    result: Option<Type>,
) {
    for _ in 0..params {
        signature.params.push(AbiParam::new(types::I64));
    }
    signature.returns.extend(result.map(AbiParam::new));
}
