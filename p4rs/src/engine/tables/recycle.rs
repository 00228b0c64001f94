//! Numbers that are used again only when no packet can still mean their old owner.
//!
//! In: numbers given back. Out: numbers to use. Invariant: a number is handed out again only after every guard of
//! the time at which it was given back is gone.

use std::collections::VecDeque;

use super::epoch;

/// Given-back numbers that share one stamp.
const BATCH: u32 = 64;

/// Hands out numbers from 0.
#[derive(Debug, Default)]
pub(crate) struct Recycler {
    free: Vec<u32>,
    /// In the order given back.
    waiting: VecDeque<u32>,
    /// Stamps, each with how many of the waiting it is for; the rest of them has none yet.
    stamps: VecDeque<(u64, u32)>,
    open: u32,
    end: u32,
}

impl Recycler {
    /// A number; `None` when 2^32 - 1 are in use.
    pub fn take(&mut self) -> Option<u32> {
        if self.free.is_empty() && !self.waiting.is_empty() {
            self.collect();
        }
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = self.end;
        self.end = self.end.checked_add(1).filter(|&end| end < u32::MAX)?;
        Some(number)
    }

    /// The number that is probably handed out next.
    pub fn next(&self) -> u32 {
        self.free.last().copied().unwrap_or(self.end)
    }

    /// Gives a number back that packets can no longer find.
    pub fn give(&mut self, number: u32) {
        self.waiting.push_back(number);
        self.open += 1;
        if self.open == BATCH {
            self.collect();
        }
    }

    /// Gives a number back that no packet ever could find.
    pub fn give_unused(&mut self, number: u32) {
        self.free.push(number);
    }

    /// One above the highest number ever handed out.
    pub fn end(&self) -> u32 {
        self.end
    }

    fn collect(&mut self) {
        if self.open > 0 {
            self.stamps.push_back((epoch::stamp(), self.open));
            self.open = 0;
        }
        let oldest = epoch::oldest();
        while let Some(&(stamp, count)) = self.stamps.front() {
            if stamp >= oldest {
                break;
            }
            self.stamps.pop_front();
            self.free.extend(self.waiting.drain(..count as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_waits_for_the_guards() {
        let mut numbers = Recycler::default();
        assert_eq!((numbers.take(), numbers.take()), (Some(0), Some(1)));
        assert_eq!(numbers.next(), 2);
        let guard = epoch::pin();
        numbers.give(0);
        assert_eq!(numbers.take(), Some(2));
        drop(guard);
        numbers.give_unused(1);
        assert_eq!(numbers.next(), 1);
        assert_eq!(numbers.take(), Some(1));
        // Other tests' guards may hold it up for a moment.
        let mut next = 3;
        loop {
            match numbers.take() {
                Some(0) => break,
                other => assert_eq!(other, Some(next)),
            }
            next += 1;
            std::thread::yield_now();
        }
        assert_eq!(numbers.end(), next);
    }
}
