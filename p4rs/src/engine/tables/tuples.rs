//! The order in which packets ask the groups of a ternary table.
//!
//! In: groups, each with its best priority, mask and, where all its rows have one value under it, that value. Out: words
//! one behind the other, which packets walk until no group could win any more.
//!
//! ```text
//! best priority │ view of the group's chains │ 1: one value │ mask … │ value …      for each group
//! end                                                                              behind the last
//! ```
//!
//! Invariant: groups are sorted by their best priority, descending; only priorities change in place.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words before the mask.
const HEAD: usize = 3;
/// A priority below all others: no more groups.
pub(super) const END: i64 = i64::MIN;

/// A group as packets see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tuple<'a> {
    pub number: u32,
    pub best: i32,
    /// Where machine code finds the view of the group's chains.
    pub view: *const u64,
    pub mask: &'a [u64],
    pub only: Option<&'a [u64]>,
}

/// The groups in the order in which packets ask them.
#[derive(Debug)]
pub(super) struct Order {
    key_words: usize,
    numbers: Vec<u32>,
    words: Vec<AtomicU64>,
}

/// A group that is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'o> {
    pub number: u32,
    /// No row of the group has a higher priority.
    pub best: i64,
    key_words: usize,
    words: &'o [AtomicU64],
}

impl<'o> Group<'o> {
    fn part(self, first: usize) -> impl Iterator<Item = u64> + 'o {
        let part = self.words.get(first..first + self.key_words);
        let part = part.unwrap_or_default().iter();
        part.map(|word| word.load(Ordering::Relaxed))
    }

    /// The mask.
    #[inline(always)]
    pub fn mask(self) -> impl Iterator<Item = u64> + 'o {
        self.part(HEAD)
    }

    /// Whether no row of the group can match a key, as far as can be told here.
    #[inline(always)]
    pub fn excludes(self, key: &[u64]) -> bool {
        let one = self.words.get(HEAD - 1);
        one.is_some_and(|one| one.load(Ordering::Relaxed) != 0) && {
            let values = self.part(HEAD + self.key_words);
            let words = key.iter().zip(self.mask()).zip(values);
            words.fold(0, |differs, ((key, mask), value)| {
                differs | (key & mask) ^ value
            }) != 0
        }
    }
}

impl Order {
    /// No groups yet, for keys of so many words.
    pub fn new(key_words: usize) -> Self {
        let mut words: Vec<_> = (0..Self::stride(key_words)).map(|_| 0u64).collect();
        words[0] = END as u64;
        Self {
            key_words,
            numbers: Vec::new(),
            words: words.into_iter().map(AtomicU64::new).collect(),
        }
    }

    const fn stride(key_words: usize) -> usize {
        HEAD + 2 * key_words
    }

    /// Words from one group to the next, and words before its mask.
    pub const fn shape(key_words: usize) -> (usize, usize) {
        (Self::stride(key_words), HEAD)
    }

    /// The words of the first group.
    pub fn first(&self) -> *mut AtomicU64 {
        self.words.as_ptr().cast_mut()
    }

    /// The groups.
    #[inline(always)]
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let all = self.words.chunks_exact(Self::stride(self.key_words));
        all.zip(&self.numbers).map(|(words, &number)| Group {
            number,
            best: words[0].load(Ordering::Relaxed) as i64,
            key_words: self.key_words,
            words,
        })
    }

    /// The same order without a group.
    pub fn without(&self, number: u32) -> Self {
        let stride = Self::stride(self.key_words);
        let at = self.numbers.iter().position(|&n| n == number);
        let left = at.map_or(0..0, |at| at * stride..(at + 1) * stride);
        let words = self.words.iter().enumerate();
        let words = words.filter(|(i, _)| !left.contains(i));
        Self {
            key_words: self.key_words,
            numbers: self
                .numbers
                .iter()
                .copied()
                .filter(|&n| n != number)
                .collect(),
            words: words
                .map(|(_, word)| AtomicU64::new(word.load(Ordering::Relaxed)))
                .collect(),
        }
    }

    /// The same order with a group as it is now.
    pub fn with(&self, tuple: Tuple<'_>) -> Self {
        let mut new = self.without(tuple.number);
        let best = i64::from(tuple.best);
        let at = new.groups().take_while(|group| group.best >= best).count();
        let value = tuple.only.unwrap_or_default();
        let view = tuple.view.addr() as u64;
        let mut words = vec![best as u64, view, u64::from(tuple.only.is_some())];
        words.extend_from_slice(tuple.mask);
        words.extend_from_slice(value);
        let stride = Self::stride(self.key_words);
        words.resize(stride, 0);
        let words = words.into_iter().map(AtomicU64::new);
        new.words.splice(at * stride..at * stride, words);
        new.numbers.insert(at, tuple.number);
        new
    }

    /// Raises a group's best priority in place; false when that would break the order.
    pub fn raise(&self, number: u32, best: i32) -> bool {
        let Some(at) = self.numbers.iter().position(|&n| n == number) else {
            return false;
        };
        let best = i64::from(best);
        let before = at
            .checked_sub(1)
            .and_then(|before| self.groups().nth(before));
        let sorted = before.is_none_or(|before| before.best >= best);
        let place = self.words.get(at * Self::stride(self.key_words));
        if let (true, Some(place)) = (sorted, place) {
            place.store(best as u64, Ordering::Release);
        }
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(number: u32, best: i32) -> Tuple<'static> {
        Tuple {
            number,
            best,
            view: std::ptr::null(),
            mask: &[7, 8],
            only: Some(&[1, 8]),
        }
    }

    fn order(order: &Order) -> Vec<(u32, i64)> {
        order
            .groups()
            .map(|group| (group.number, group.best))
            .collect()
    }

    #[test]
    fn groups_stand_by_their_best_priority() {
        let empty = Order::new(2);
        assert_eq!(order(&empty), []);
        let three = empty
            .with(tuple(4, 10))
            .with(tuple(5, 30))
            .with(tuple(6, 20));
        assert_eq!(order(&three), [(5, 30), (6, 20), (4, 10)]);
        assert!(three.raise(4, 20) && !three.raise(6, 31) && !three.raise(9, 1));
        assert_eq!(order(&three), [(5, 30), (6, 20), (4, 20)]);
        assert_eq!(
            order(&three.with(tuple(4, 40))),
            [(4, 40), (5, 30), (6, 20)]
        );
        assert_eq!(order(&three.without(6)), [(5, 30), (4, 20)]);
        let end = three.words.len() - Order::stride(2);
        assert_eq!(three.words[end].load(Ordering::Relaxed) as i64, END);
    }

    #[test]
    fn groups_of_one_value_exclude_other_keys() {
        let none = Tuple {
            only: None,
            ..tuple(1, 2)
        };
        for (tuple, excluded) in [(tuple(1, 2), true), (none, false)] {
            let order = Order::new(2).with(tuple);
            let group = order.groups().next().unwrap();
            assert_eq!(group.mask().collect::<Vec<_>>(), [7, 8]);
            assert!(!group.excludes(&[1 << 8 | 1, 9]));
            assert_eq!(group.excludes(&[2, 8]), excluded);
        }
    }
}
