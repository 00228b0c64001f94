//! Cuts a function where it would wait: it returns there, and goes on when it is called again.
//!
//! In: a function of one context, and where it is to wait. Out: the same function in stages, which keeps what it needs later in the
//! context's [`Frame`].
//!
//! ```text
//! begin ─ a ─ wait ─ b ─ wait ─ c          stage 0: a, keep, return │ stage 1: fetch what was kept, b, keep, return │ stage 2: … c
//! ```
//!
//! Invariant: what one stage reaches no other does, but for blocks that need nothing of what was before them.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{
    Block, BlockArg, Function, Inst, InstBuilder, InstructionData, JumpTableData, MemFlagsData,
    Value, ValueDef, types,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::mem::offset_of;

use super::Unsupported;
use super::context::{Context, Frame};
use super::program::outcome;

/// A function that is cut.
struct Cutting<'f> {
    func: &'f mut Function,
    /// Where it waits: the instruction that returns there, and the block that goes on.
    waits: Vec<(Inst, Block)>,
    /// By block, the stage that reaches it.
    stages: FxHashMap<Block, usize>,
    /// By stage, values of earlier ones that it or a later one needs; and where each is kept.
    needs: Vec<BTreeSet<Value>>,
    kept: FxHashMap<Value, i32>,
}

/// Cuts a function at some of its instructions, which do nothing.
pub(super) fn cut(func: &mut Function, waits: &[Inst]) -> Result<(), Unsupported> {
    func.dfg.resolve_all_aliases();
    let entry = func.layout.entry_block().ok_or(Unsupported("nothing"))?;
    let context = *func
        .dfg
        .block_params(entry)
        .first()
        .ok_or(Unsupported("no context"))?;
    let mut cutting = Cutting {
        func,
        waits: Vec::new(),
        stages: FxHashMap::default(),
        needs: vec![BTreeSet::new()],
        kept: FxHashMap::default(),
    };
    for &wait in waits {
        cutting.split(wait);
    }
    cutting.reach(entry)?;
    cutting.find_needs(context);
    cutting.find_room()?;
    let context = cutting.begin(entry, context);
    for stage in 1..cutting.needs.len() {
        cutting.fetch(stage, context);
    }
    for number in 0..cutting.waits.len() {
        cutting.keep(number, context);
    }
    Ok(())
}

impl Cutting<'_> {
    /// Ends a block at an instruction that is still there; what follows is a block of its own.
    fn split(&mut self, wait: Inst) {
        let layout = &mut self.func.layout;
        let (Some(before), Some(next)) = (layout.inst_block(wait), layout.next_inst(wait)) else {
            return;
        };
        let behind = self.func.dfg.make_block();
        self.func.layout.split_block(behind, next);
        self.func.layout.remove_inst(wait);
        let mut cursor = FuncCursor::new(self.func).at_bottom(before);
        let word = cursor.ins().iconst(types::I32, i64::from(outcome::WAITS));
        let end = cursor.ins().return_(&[word]);
        self.waits.push((end, behind));
        self.needs.push(BTreeSet::new());
    }

    /// Finds out which stage reaches which blocks.
    fn reach(&mut self, entry: Block) -> Result<(), Unsupported> {
        let graph = ControlFlowGraph::with_function(self.func);
        let mut shared = FxHashSet::default();
        let begins = std::iter::once(entry).chain(self.waits.iter().map(|&(_, block)| block));
        for (stage, begin) in begins.enumerate() {
            let mut more = vec![begin];
            let mut seen = FxHashSet::default();
            while let Some(block) = more.pop() {
                if !seen.insert(block) {
                    continue;
                }
                if self.stages.insert(block, stage).is_some() {
                    shared.insert(block);
                }
                more.extend(graph.succ_iter(block));
            }
        }
        let alone = |&block: &Block| {
            let mut insts = self.func.layout.block_insts(block);
            insts.all(|inst| {
                let mut values = self.func.dfg.inst_values(inst);
                values.all(|value| self.block_of(value) == Some(block))
            })
        };
        let waits = self.waits.iter();
        let waits = waits.filter_map(|&(end, _)| self.func.layout.inst_block(end));
        let apart = waits.into_iter().all(|block| !shared.contains(&block));
        if apart && shared.iter().all(alone) {
            Ok(())
        } else {
            Err(Unsupported("ways of scouts that meet"))
        }
    }

    /// The block where a value is defined.
    fn block_of(&self, value: Value) -> Option<Block> {
        match self.func.dfg.value_def(value) {
            ValueDef::Result(inst, _) => self.func.layout.inst_block(inst),
            ValueDef::Param(block, _) => Some(block),
            ValueDef::Union(..) => None,
        }
    }

    /// The stage in which a value is defined.
    fn stage_of(&self, value: Value) -> Option<usize> {
        self.stages.get(&self.block_of(value)?).copied()
    }

    /// Values of earlier stages that each stage needs, for itself or for those behind it.
    fn find_needs(&mut self, context: Value) {
        for (&block, &stage) in &self.stages {
            for inst in self.func.layout.block_insts(block) {
                for value in self.func.dfg.inst_values(inst) {
                    let own = self.block_of(value) == Some(block);
                    if value != context && !own && self.stage_of(value) != Some(stage) {
                        self.needs[stage].insert(value);
                    }
                }
            }
        }
        let before: Vec<Option<usize>> = (self.waits.iter())
            .map(|&(end, _)| self.stages.get(&self.func.layout.inst_block(end)?).copied())
            .collect();
        loop {
            let mut changed = false;
            for (number, before) in before.iter().enumerate() {
                let Some(before) = *before else {
                    continue;
                };
                let later = self.needs[number + 1].clone();
                for value in later {
                    if self.stage_of(value) != Some(before) {
                        changed |= self.needs[before].insert(value);
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The number that a value always is.
    fn number(&self, value: Value) -> Option<i64> {
        let inst = self.func.dfg.value_def(value).inst()?;
        match self.func.dfg.insts[inst] {
            InstructionData::UnaryImm { imm, .. } => Some(imm.bits()),
            _ => None,
        }
    }

    /// Gives each value that is needed later a place in the frame.
    fn find_room(&mut self) -> Result<(), Unsupported> {
        let all: BTreeSet<Value> = self.needs.iter().flatten().copied().collect();
        let mut at = offset_of!(Frame, kept);
        for value in all {
            if self.number(value).is_some() {
                continue;
            }
            let bytes = self.func.dfg.value_type(value).bytes().max(8) as usize;
            self.kept.insert(value, at as i32);
            at += bytes;
        }
        if at > size_of::<Frame>() {
            return Err(Unsupported("so much to keep"));
        }
        Ok(())
    }

    /// A first block that goes to the stage whose turn it is; the context.
    fn begin(&mut self, entry: Block, context: Value) -> Value {
        let first = self.func.dfg.make_block();
        self.func.layout.insert_block(first, entry);
        let param = self.func.dfg.append_block_param(first, types::I64);
        let _params = self.func.dfg.detach_block_params(entry);
        self.func.dfg.change_to_alias(context, param);
        let blocks = std::iter::once(entry).chain(self.waits.iter().map(|&(_, block)| block));
        let calls: Vec<_> = blocks
            .collect::<Vec<_>>()
            .into_iter()
            .map(|block| {
                self.func
                    .dfg
                    .block_call(block, std::iter::empty::<&BlockArg>())
            })
            .collect();
        let table = JumpTableData::new(calls[0], &calls);
        let table = self.func.create_jump_table(table);
        let mut cursor = FuncCursor::new(self.func).at_bottom(first);
        let frame = frame_of(&mut cursor, param);
        let offset = offset_of!(Frame, stage) as i32;
        let flags = MemFlagsData::trusted();
        let stage = cursor.ins().load(types::I32, flags, frame, offset);
        cursor.ins().br_table(stage, table);
        param
    }

    /// Fetches what a stage needs of those before.
    fn fetch(&mut self, stage: usize, context: Value) {
        let begin = self.waits[stage - 1].1;
        let insts: Vec<Inst> = (self.stages.iter())
            .filter(|&(_, &of)| of == stage)
            .flat_map(|(&block, _)| self.func.layout.block_insts(block))
            .collect();
        let mut here = FxHashMap::default();
        let needs: Vec<Value> = self.needs[stage].iter().copied().collect();
        let Some(first) = self.func.layout.first_inst(begin) else {
            return;
        };
        let numbers: Vec<Option<i64>> = needs.iter().map(|&value| self.number(value)).collect();
        let mut cursor = FuncCursor::new(self.func).at_inst(first);
        let mut frame = None;
        for (&value, number) in needs.iter().zip(numbers) {
            let ty = cursor.func.dfg.value_type(value);
            let copy = match (number, self.kept.get(&value)) {
                (Some(number), _) => cursor.ins().iconst(ty, number),
                (None, Some(&at)) => {
                    let frame = *frame.get_or_insert_with(|| frame_of(&mut cursor, context));
                    cursor.ins().load(ty, LOOSE, frame, at)
                }
                (None, None) => continue,
            };
            here.insert(value, copy);
        }
        for inst in insts {
            let dfg = &mut self.func.dfg;
            dfg.map_inst_values(inst, |value| here.get(&value).copied().unwrap_or(value));
        }
    }

    /// Keeps what later stages need of the one that waits here.
    fn keep(&mut self, number: usize, context: Value) {
        let (end, _) = self.waits[number];
        let before = self.func.layout.inst_block(end);
        let before = before.and_then(|block| self.stages.get(&block).copied());
        let own = |value: &&Value| before.is_some() && self.stage_of(**value) == before;
        let needs: Vec<(Value, i32)> = (self.needs[number + 1].iter())
            .filter(own)
            .filter_map(|&value| Some((value, *self.kept.get(&value)?)))
            .collect();
        let mut cursor = FuncCursor::new(self.func).at_inst(end);
        let frame = frame_of(&mut cursor, context);
        for (value, at) in needs {
            cursor.ins().store(LOOSE, value, frame, at);
        }
        let next = cursor.ins().iconst(types::I32, number as i64 + 1);
        let offset = offset_of!(Frame, stage) as i32;
        cursor.ins().store(LOOSE, next, frame, offset);
    }
}

/// What is kept lies at any word.
const LOOSE: MemFlagsData = MemFlagsData::new().with_notrap();

fn frame_of(cursor: &mut FuncCursor<'_>, context: Value) -> Value {
    let offset = offset_of!(Context, frame) as i32;
    let flags = MemFlagsData::trusted();
    cursor.ins().load(types::I64, flags, context, offset)
}

#[cfg(test)]
mod tests {
    use super::super::{Effort, jit};
    use super::*;
    use cranelift_codegen::ir::{AbiParam, UserFuncName};
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
    use cranelift_jit::JITModule;
    use cranelift_module::{Linkage, Module};

    /// Builds a function of a context, whose pauses are told, cuts it and calls it until it waits no more: what it returned at last,
    /// how often it waited, and the context's scalar.
    fn call(
        bits: u64,
        build: impl FnOnce(&mut FunctionBuilder<'_>, Value) -> Vec<Inst>,
    ) -> Result<(u32, usize, u128), Unsupported> {
        let mut module = JITModule::new(jit(Effort::All).unwrap());
        let mut context = module.make_context();
        context
            .func
            .signature
            .params
            .push(AbiParam::new(types::I64));
        context
            .func
            .signature
            .returns
            .push(AbiParam::new(types::I32));
        let signature = context.func.signature.clone();
        let id = module
            .declare_function("cut", Linkage::Export, &signature)
            .unwrap();
        context.func.name = UserFuncName::user(0, id.as_u32());
        let mut frontend = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let param = b.block_params(entry)[0];
        let waits = build(&mut b, param);
        b.seal_all_blocks();
        b.finalize(module.target_config());
        cut(&mut context.func, &waits)?;
        module.define_function(id, &mut context).unwrap();
        module.finalize_definitions().unwrap();
        let address = module.get_finalized_function(id);
        // SAFETY: the function was defined above with this signature.
        let function = unsafe {
            std::mem::transmute::<*const u8, extern "C" fn(*mut Context) -> u32>(address)
        };
        let (mut own, mut frame) = (Context::empty(), Frame::default());
        own.frame = &raw mut frame;
        own.bits = bits;
        let mut waited = 0;
        let word = loop {
            match function(&raw mut own) {
                outcome::WAITS => waited += 1,
                word => break word,
            }
        };
        // SAFETY: the code is not called any more.
        unsafe { module.free_memory() };
        Ok((word, waited, own.scalar))
    }

    const SCALAR: i32 = offset_of!(Context, scalar) as i32;
    const BITS: i32 = offset_of!(Context, bits) as i32;

    #[test]
    fn what_is_needed_later_is_kept_from_one_stage_to_the_next() {
        let build = |b: &mut FunctionBuilder<'_>, context| {
            let mut waits = Vec::new();
            let a = b.ins().load(types::I64, LOOSE, context, BITS);
            let seven = b.ins().iconst(types::I64, 7);
            let pair = b.ins().splat(types::I64X2, a);
            let small = b
                .ins()
                .icmp_imm_u(cranelift_codegen::ir::condcodes::IntCC::Equal, a, 5);
            waits.push(b.ins().nop());
            let sum = b.ins().iadd(a, seven);
            let (yes, no) = (b.create_block(), b.create_block());
            b.ins().brif(small, yes, &[], no, &[]);
            b.switch_to_block(yes);
            waits.push(b.ins().nop());
            // Kept over two waits, and over one.
            let high = b.ins().extractlane(pair, 1);
            let both = b.ins().imul(high, sum);
            b.ins().store(LOOSE, both, context, SCALAR);
            let one = b.ins().iconst(types::I32, 1);
            b.ins().return_(&[one]);
            b.switch_to_block(no);
            b.ins().store(LOOSE, sum, context, SCALAR);
            let two = b.ins().iconst(types::I32, 2);
            b.ins().return_(&[two]);
            waits
        };
        assert_eq!(call(5, build).unwrap(), (1, 2, 5 * 12));
        assert_eq!(call(9, build).unwrap(), (2, 1, 16));
    }

    #[test]
    fn ways_that_meet_behind_different_waits_are_refused() {
        let build = |b: &mut FunctionBuilder<'_>, context| {
            let a = b.ins().load(types::I64, LOOSE, context, BITS);
            let (yes, after) = (b.create_block(), b.create_block());
            b.ins().brif(a, yes, &[], after, &[]);
            b.switch_to_block(yes);
            let wait = b.ins().nop();
            b.ins().jump(after, &[]);
            b.switch_to_block(after);
            b.ins().store(LOOSE, a, context, SCALAR);
            let one = b.ins().iconst(types::I32, 1);
            b.ins().return_(&[one]);
            vec![wait]
        };
        assert!(call(1, build).is_err());
    }
}
