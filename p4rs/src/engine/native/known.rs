//! What is known of values while code is built: numbers, and in which SSA value a variable's value is at hand.
//!
//! In: what each way through the program has set and tested. Out: facts where the code being built stands. A program
//! whose calls are expanded asks the same things again and again: whether a header is valid that it has just made
//! valid, whether a field is zero that nothing has set. What is known needs neither test nor load.
//!
//! ```text
//!   x = 0; y = a         x: 0, y: a
//!      ├─ if c ── x = 1    x: 1, y: a     behind both: y: a, x lies in its cell
//! ```
//!
//! Invariant: a fact holds on every way that leads to where it is asked for, and its value was computed on all of them.

use std::rc::Rc;

use cranelift_codegen::ir::Value;

use super::super::interp::code::Slot;
use super::hot::Trail;

/// What is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Nothing: it lies where its home is.
    Unknown,
    /// It is this number.
    Number(u64),
    /// It has this value.
    Is(Value),
}

/// What a condition says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// The value is the number.
    Equal(Value, u64),
    /// The value is not the number.
    Differs(Value, u64),
    /// Both hold.
    Both(Value, Value),
    /// One of them holds at least.
    Either(Value, Value),
    /// It does not hold.
    Not(Value),
}

/// Slots that are copied together.
const PART: usize = 32;
/// Values of which a number is remembered, besides constants.
const MOST: usize = 48;

/// Everything known at one place.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    parts: Vec<Rc<[Fact; PART]>>,
    numbers: Vec<(Value, u64)>,
    /// No way leads here.
    pub dead: bool,
    /// See [`super::hot`].
    pub trail: Trail,
}

impl Facts {
    /// Nothing is known of so many slots.
    pub fn new(slots: usize) -> Self {
        let nothing = Rc::new([Fact::Unknown; PART]);
        Self {
            parts: vec![nothing; slots.div_ceil(PART)],
            numbers: Vec::new(),
            dead: false,
            trail: Trail::default(),
        }
    }

    /// What is known of a slot.
    pub fn of(&self, slot: Slot) -> Fact {
        let (part, at) = (slot as usize / PART, slot as usize % PART);
        self.parts.get(part).map_or(Fact::Unknown, |part| part[at])
    }

    /// The value that a slot is known to have, whether or not it is a number.
    pub fn value_of(&self, slot: Slot) -> Option<Value> {
        match self.of(slot) {
            Fact::Is(value) => Some(value),
            Fact::Unknown | Fact::Number(_) => None,
        }
    }

    /// Something is known of a slot, and nothing else.
    pub fn set(&mut self, slot: Slot, fact: Fact) {
        let (part, at) = (slot as usize / PART, slot as usize % PART);
        if let Some(part) = self.parts.get_mut(part)
            && part[at] != fact
        {
            Rc::make_mut(part)[at] = fact;
        }
    }

    /// The number that a value is known to be here.
    pub fn number(&self, value: Value) -> Option<u64> {
        fact_number(&self.numbers, Fact::Is(value))
    }

    /// The number that a slot of which this is known has.
    pub fn number_of(&self, fact: Fact) -> Option<u64> {
        fact_number(&self.numbers, fact)
    }

    /// A value is this number from here on.
    pub fn learn(&mut self, value: Value, number: u64) {
        if self.numbers.len() >= MOST {
            self.numbers.remove(0);
        }
        self.numbers.push((value, number));
    }

    /// Nothing is known any more, and this place is reached.
    pub fn forget(&mut self) {
        *self = Self::new(self.parts.len() * PART);
    }

    /// Keeps what is known on another way too.
    pub fn meet(&mut self, other: &Self) {
        if other.dead {
            return;
        }
        if self.dead {
            *self = other.clone();
            return;
        }
        self.trail.confused |= self.trail != other.trail;
        for (own, theirs) in self.parts.iter_mut().zip(&other.parts) {
            if Rc::ptr_eq(own, theirs) || own == theirs {
                continue;
            }
            let facts = Rc::make_mut(own).iter_mut().zip(theirs.iter());
            for (own, theirs) in facts.filter(|(own, theirs)| own != theirs) {
                let number = fact_number(&self.numbers, *own);
                *own = match number {
                    Some(number) if other.number_of(*theirs) == Some(number) => {
                        Fact::Number(number)
                    }
                    _ => Fact::Unknown,
                };
            }
        }
        self.numbers
            .retain(|&(value, number)| other.number(value) == Some(number));
    }
}

fn fact_number(numbers: &[(Value, u64)], fact: Fact) -> Option<u64> {
    match fact {
        Fact::Unknown => None,
        Fact::Number(number) => Some(number),
        Fact::Is(value) => {
            let known = numbers.iter().rev().find(|(other, _)| *other == value);
            known.map(|&(_, number)| number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_way_knows_is_kept() {
        let (a, b) = (Value::from_u32(1), Value::from_u32(2));
        let mut one = Facts::new(100);
        one.set(3, Fact::Number(5));
        one.set(70, Fact::Is(a));
        one.set(72, Fact::Is(a));
        one.learn(a, 9);
        let mut other = one.clone();
        other.set(72, Fact::Number(9));
        other.set(3, Fact::Number(6));
        other.set(71, Fact::Is(b));
        other.learn(b, 1);
        let mut both = one.clone();
        both.meet(&other);
        assert_eq!((both.of(3), both.of(70)), (Fact::Unknown, Fact::Is(a)));
        assert_eq!((both.of(71), both.of(72)), (Fact::Unknown, Fact::Number(9)));
        assert_eq!((both.number(a), both.number(b)), (Some(9), None));
    }

    #[test]
    fn ways_that_are_not_taken_say_nothing() {
        let mut one = Facts::new(40);
        one.set(3, Fact::Number(5));
        let mut dead = Facts::new(40);
        dead.dead = true;
        let before = one.clone();
        one.meet(&dead);
        assert_eq!(one.of(3), before.of(3));
        dead.meet(&one);
        assert_eq!((dead.of(3), dead.dead), (Fact::Number(5), false));
    }

    #[test]
    fn the_last_number_counts_and_old_ones_are_forgotten() {
        let mut facts = Facts::new(1);
        for i in 0..=MOST as u32 {
            facts.learn(Value::from_u32(i), u64::from(i));
        }
        assert_eq!(facts.number(Value::from_u32(0)), None);
        assert_eq!(facts.number(Value::from_u32(1)), Some(1));
        facts.forget();
        assert_eq!(facts.number(Value::from_u32(1)), None);
    }
}
