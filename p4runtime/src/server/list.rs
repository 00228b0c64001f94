//! A short list: up to eight elements in place, more on the heap.
//!
//! Keys and calls are made once per update of large batches; almost all fit without an allocation. Unlike other such
//! lists it is covariant: a list of longer-lived borrows can stand for one of shorter-lived ones.

use std::ops::{Deref, DerefMut};

const INLINE: usize = 8;

/// A list of small values; use it as a slice.
#[derive(Clone, Default)]
pub struct List<T> {
    inline: [T; INLINE],
    len: usize,
    /// All elements, once there are more than fit in place.
    heap: Vec<T>,
}

impl<T: Copy + Default> List<T> {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same value so many times.
    pub fn from_elem(value: T, len: usize) -> Self {
        if len > INLINE {
            return Self {
                heap: vec![value; len],
                len,
                ..Self::default()
            };
        }
        let mut list = Self {
            len,
            ..Self::default()
        };
        list.inline[..len].fill(value);
        list
    }

    /// Adds at the end.
    pub fn push(&mut self, value: T) {
        if self.len < INLINE {
            self.inline[self.len] = value;
        } else {
            if self.heap.is_empty() {
                self.heap.extend_from_slice(&self.inline);
            }
            self.heap.push(value);
        }
        self.len += 1;
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if self.len > INLINE {
            &self.heap
        } else {
            &self.inline[..self.len]
        }
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.len > INLINE {
            &mut self.heap
        } else {
            &mut self.inline[..self.len]
        }
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for List<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: PartialEq> PartialEq for List<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for List<T> {}

impl<T: std::hash::Hash> std::hash::Hash for List<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: Copy + Default> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl<T: Copy + Default> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = Self::new();
        list.extend(values);
        list
    }
}

impl<'l, T> IntoIterator for &'l List<T> {
    type Item = &'l T;
    type IntoIter = std::slice::Iter<'l, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_place_and_on_the_heap() {
        for len in [0, 1, 7, 8, 9, 20] {
            let expected: Vec<usize> = (0..len).collect();
            let mut list: List<usize> = expected.iter().copied().collect();
            assert_eq!(&*list, expected);
            assert_eq!(list, list.clone());
            list.iter_mut().for_each(|value| *value = 5);
            assert_eq!(list, List::from_elem(5, len));
        }
    }

    #[test]
    fn shorter_lives() {
        fn same<'a>(a: &List<&'a [u8]>, b: &List<&'a [u8]>) -> bool {
            a == b
        }
        let long: List<&'static [u8]> = List::from_elem(&[1], 2);
        let bytes = vec![1];
        assert!(same(&long, &List::from_elem(&bytes, 2)));
    }
}
