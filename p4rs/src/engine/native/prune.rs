//! Takes out of a built function what nobody reads: stores to cells, and what was computed for them alone.
//!
//! In: a function, and which of its instructions read or write cells. Out: the function with fewer of them. A cell is
//! live where some way leads to a load of it before a store. What cleared the cells at first is needed by fewer loads: a
//! field of a header is read where the header was taken from the packet, and set there. Invariant: every load finds what it found before.

use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::flowgraph::ControlFlowGraph;
use cranelift_codegen::ir::{Block, Function, Inst, InstBuilder, Opcode, types};
use rustc_hash::{FxHashMap, FxHashSet};

use super::cells::{Access, Kind};

/// Rounds: each may find more than the one before.
const ROUNDS: usize = 4;

/// Takes out what is not needed.
pub(super) fn prune(func: &mut Function, accesses: &[Access], cells: u32) {
    let accesses: FxHashMap<Inst, Access> = accesses.iter().map(|a| (a.inst, *a)).collect();
    let words = (cells as usize).div_ceil(64).max(1) * 2;
    for _ in 0..ROUNDS {
        unused(func, &accesses);
        if !dead_stores(func, &accesses, words) {
            break;
        }
    }
}

/// Whether any cell is still read.
pub(super) fn loads(func: &Function, accesses: &[Access]) -> bool {
    let is_load = |kind| matches!(kind, Kind::Load | Kind::LaterLoad);
    let mut loads = accesses.iter().filter(|access| is_load(access.kind));
    loads.any(|access| func.layout.inst_block(access.inst).is_some())
}

/// Ends a function where none of these instructions follows any more: what it would compute from there on is of use to nobody.
pub(super) fn end_early(func: &mut Function, last: &[Inst], word: u32) {
    let graph = ControlFlowGraph::with_function(func);
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let of = last.iter().filter_map(|&inst| func.layout.inst_block(inst));
    let mut useful: FxHashSet<Block> = of.collect();
    let mut more: Vec<Block> = useful.iter().copied().collect();
    while let Some(block) = more.pop() {
        for before in graph.pred_iter(block) {
            if useful.insert(before.block) {
                more.push(before.block);
            }
        }
    }
    for block in blocks {
        let goes_on = graph.succ_iter(block).any(|next| useful.contains(&next));
        if goes_on {
            continue;
        }
        if useful.contains(&block) {
            if let Some(last) = func.layout.last_inst(block) {
                func.layout.remove_inst(last);
            }
        } else {
            while let Some(inst) = func.layout.last_inst(block) {
                func.layout.remove_inst(inst);
            }
        }
        let mut cursor = FuncCursor::new(func).at_bottom(block);
        let word = cursor.ins().iconst(types::I32, i64::from(word));
        cursor.ins().return_(&[word]);
    }
}

/// Whether an instruction does nothing but compute its results.
fn pure(func: &Function, inst: Inst, accesses: &FxHashMap<Inst, Access>) -> bool {
    let opcode: Opcode = func.dfg.insts[inst].opcode();
    // Where a scout waits.
    if opcode == Opcode::Nop {
        return false;
    }
    // Whatever is loaded is there.
    if matches!(
        opcode,
        Opcode::Load | Opcode::Uload8 | Opcode::Uload16 | Opcode::Uload32 | Opcode::Sload32
    ) {
        return true;
    }
    let acts = opcode.is_terminator()
        || opcode.is_branch()
        || opcode.is_call()
        || opcode.can_store()
        || opcode.can_trap()
        || opcode.other_side_effects();
    let loads = opcode.can_load() || acts;
    !loads
        || accesses
            .get(&inst)
            .is_some_and(|access| matches!(access.kind, Kind::Load | Kind::LaterLoad))
}

/// Takes out computations of which no result is used.
fn unused(func: &mut Function, accesses: &FxHashMap<Inst, Access>) {
    let blocks: Vec<Block> = func.layout.blocks().collect();
    let mut uses = vec![0u32; func.dfg.num_values()];
    for &block in &blocks {
        for inst in func.layout.block_insts(block) {
            for value in func.dfg.inst_values(inst) {
                uses[func.dfg.resolve_aliases(value).as_u32() as usize] += 1;
            }
        }
    }
    for &block in blocks.iter().rev() {
        let mut next = func.layout.last_inst(block);
        while let Some(inst) = next {
            next = func.layout.prev_inst(inst);
            let used = |&value: &_| {
                let value: cranelift_codegen::ir::Value = value;
                uses[value.as_u32() as usize] > 0
            };
            if func.dfg.inst_results(inst).iter().any(used) || !pure(func, inst, accesses) {
                continue;
            }
            for value in func.dfg.inst_values(inst) {
                uses[func.dfg.resolve_aliases(value).as_u32() as usize] -= 1;
            }
            func.layout.remove_inst(inst);
        }
    }
}

/// The cells that are live, a bit for each; behind them, those that may be as they were cleared.
type Live = Vec<u64>;

fn each(access: &Access, mut visit: impl FnMut(usize, u64)) {
    for cell in access.first..access.first + access.count {
        visit(cell as usize / 64, 1 << (cell % 64));
    }
}

/// Goes through a block's accesses, the last one first; `dead` sees the stores that nobody reads.
fn walk(backwards: &[Access], live: &mut Live, mut dead: impl FnMut(Inst)) {
    let half = live.len() / 2;
    for access in backwards {
        let mut read = false;
        each(access, |word, bit| match access.kind {
            Kind::LaterLoad => live[word] |= bit,
            Kind::Load => {
                live[word] |= bit;
                live[half + word] |= bit;
            }
            Kind::Store | Kind::Clear => {
                let by = if access.kind == Kind::Clear { half } else { 0 };
                read |= live[by + word] & bit != 0;
                live[word] &= !bit;
                live[half + word] &= !bit;
            }
        });
        if matches!(access.kind, Kind::Store | Kind::Clear) && !read {
            dead(access.inst);
        }
    }
}

/// A block's accesses, the last one first.
fn backwards(func: &Function, block: Block, accesses: &FxHashMap<Inst, Access>) -> Vec<Access> {
    let mut found = Vec::new();
    let mut next = func.layout.last_inst(block);
    while let Some(inst) = next {
        next = func.layout.prev_inst(inst);
        found.extend(accesses.get(&inst));
    }
    found
}

/// Takes out stores that nobody reads; whether there were any.
fn dead_stores(func: &mut Function, accesses: &FxHashMap<Inst, Access>, words: usize) -> bool {
    let graph = ControlFlowGraph::with_function(func);
    let blocks: Vec<(Block, Vec<Access>)> = func
        .layout
        .blocks()
        .map(|block| (block, backwards(func, block, accesses)))
        .collect();
    let first = |block: Block| block.as_u32() as usize * words;
    let mut before = vec![0u64; func.dfg.num_blocks() * words];
    let behind = |block: Block, before: &[u64], live: &mut Live| {
        live.fill(0);
        for next in graph.succ_iter(block) {
            for (to, from) in live.iter_mut().zip(&before[first(next)..]) {
                *to |= from;
            }
        }
    };
    let mut live: Live = vec![0; words];
    let mut changed = true;
    while changed {
        changed = false;
        for (block, list) in blocks.iter().rev() {
            behind(*block, &before, &mut live);
            walk(list, &mut live, |_| {});
            let own = &mut before[first(*block)..][..words];
            if *own != live[..] {
                own.copy_from_slice(&live);
                changed = true;
            }
        }
    }
    let mut dead = Vec::new();
    for (block, list) in &blocks {
        behind(*block, &before, &mut live);
        walk(list, &mut live, |inst| dead.push(inst));
    }
    for &inst in &dead {
        func.layout.remove_inst(inst);
    }
    !dead.is_empty()
}
