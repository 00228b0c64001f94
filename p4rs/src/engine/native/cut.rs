//! Numbers of the places where packets that run side by side wait.
//!
//! In: places as code is built, some of them in several copies of one part of the program. Out: a number for each,
//! written into the code once all are known. Invariant: a place has one number in every copy, greater than those of all
//! places before it in the program; which code was left out of a copy does not matter.

use std::collections::{BTreeMap, BTreeSet};

use cranelift_codegen::ir::immediates::Imm64;
use cranelift_codegen::ir::{Function, InstructionData, Opcode, Value};

/// Places of one pass.
const MOST: usize = 1000;

/// Where in the program a place is: its turn in each body around it, from the outermost one on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut(Vec<u32>);

/// The places of one function.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// The turns of the bodies that are being built, and of what was built last in the innermost one.
    path: Vec<u32>,
    turn: u32,
    all: BTreeSet<Cut>,
    /// Constants that are to hold a place's number, this many bits further up.
    marks: Vec<(Value, Cut, u32)>,
}

impl Cuts {
    /// What is built now comes behind all that is not part of this section.
    pub fn section(&mut self, number: u32) {
        self.turn = number << 24;
    }

    /// A body begins; what [`Self::leave`] is to be given when it ends.
    pub fn enter(&mut self) -> u32 {
        self.skip();
        self.path.push(self.turn);
        std::mem::take(&mut self.turn)
    }

    /// A body ends.
    pub fn leave(&mut self, before: u32) {
        self.path.pop();
        self.turn = before;
    }

    /// What was built last in the body that is being built.
    pub fn turn(&self) -> u32 {
        self.turn
    }

    /// What comes next is built once more from here on.
    pub fn go_back(&mut self, turn: u32) {
        self.turn = turn;
    }

    /// A body is left out.
    pub fn skip(&mut self) {
        self.turn += 1;
    }

    /// The next place; none when there are too many.
    pub fn next(&mut self) -> Option<Cut> {
        self.skip();
        let mut path = self.path.clone();
        path.push(self.turn);
        let cut = Cut(path);
        let fits = self.all.len() < MOST || self.all.contains(&cut);
        fits.then(|| {
            self.all.insert(cut.clone());
            cut
        })
    }

    /// A constant is to hold the place's number.
    pub fn mark(&mut self, value: Value, cut: Cut, shift: u32) {
        self.marks.push((value, cut, shift));
    }

    /// The places so far.
    pub fn all(&self) -> BTreeSet<Cut> {
        self.all.clone()
    }

    /// These places are of the program, too.
    pub fn meet(&mut self, others: BTreeSet<Cut>) {
        self.all.extend(others);
    }

    /// Writes the numbers, from 1 on, into the constants.
    pub fn write(&self, func: &mut Function) {
        let numbers: BTreeMap<&Cut, u64> = self.all.iter().zip(1..).collect();
        for (value, cut, shift) in &self.marks {
            let number = numbers.get(cut).copied().unwrap_or(0) << shift;
            let Some(inst) = func.dfg.value_def(*value).inst() else {
                continue;
            };
            if let InstructionData::UnaryImm {
                opcode: Opcode::Iconst,
                imm,
            } = &mut func.dfg.insts[inst]
            {
                *imm = Imm64::new(imm.bits() | number as i64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a; if … { b } else { c }; d`, with one arm left out or none.
    fn built(cuts: &mut Cuts, left_out: Option<usize>) -> Vec<Option<Cut>> {
        cuts.section(1);
        let before = cuts.enter();
        let mut places = vec![cuts.next()];
        for arm in 0..2 {
            if left_out == Some(arm) {
                cuts.skip();
                places.push(None);
                continue;
            }
            let before = cuts.enter();
            places.push(cuts.next());
            cuts.leave(before);
        }
        places.push(cuts.next());
        cuts.leave(before);
        places
    }

    #[test]
    fn places_are_the_same_in_every_copy_and_grow() {
        let mut cuts = Cuts::default();
        let without = [built(&mut cuts, Some(0)), built(&mut cuts, Some(1))];
        let whole = built(&mut cuts, None);
        assert!(whole.windows(2).all(|pair| pair[0] < pair[1]));
        for (copy, left_out) in without.iter().zip(0..) {
            for (i, place) in copy.iter().enumerate() {
                let expected = (i != left_out + 1).then(|| whole[i].clone()).flatten();
                assert_eq!(*place, expected);
            }
        }
        assert_eq!(cuts.all.len(), 4);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut cuts = Cuts::default();
        for _ in 0..MOST {
            assert!(cuts.next().is_some());
        }
        assert!(cuts.next().is_none());
        cuts.turn = 0;
        assert!(cuts.next().is_some());
    }
}
