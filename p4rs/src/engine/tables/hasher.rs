//! Hashes of keys.
//!
//! In: words of a key, of equal number for all keys of a table. Out: 64 bits, of which every one depends on every word.
//! Seeded by the operating system's randomness, so that senders cannot aim at one bucket.
//!
//! Each pair of words is multiplied with seeds of its own, so that the processor does all pairs of a key at once; the
//! upper half of one more product with their sum comes first, so that bits next to each other depend on all below them.
//! Invariant: a key's hash does not depend on how it is handed in; machine code hashes short keys by itself, the same way.

use std::hash::{BuildHasher, RandomState};

/// Words that are hashed side by side; longer keys take several turns.
pub(crate) const LANES: usize = 8;

/// Hashes keys by folded 128-bit products.
#[derive(Clone, Debug)]
pub(crate) struct KeyHasher {
    seeds: Seeds,
    /// What mixes the turns of a long key.
    turn: [u64; 2],
}

/// The numbers that short keys are hashed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seeds {
    /// One for each word.
    pub words: [u64; LANES],
    /// Multiplies the sum; odd.
    pub sum: u64,
}

impl Default for KeyHasher {
    fn default() -> Self {
        let random = RandomState::new();
        let odd = |i: usize| random.hash_one(i) | 1;
        Self {
            seeds: Seeds {
                words: std::array::from_fn(odd),
                sum: odd(LANES),
            },
            turn: [odd(LANES + 1), odd(LANES + 2)],
        }
    }
}

/// Both halves of a product.
#[inline(always)]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl KeyHasher {
    /// Up to [`LANES`] words.
    #[inline(always)]
    fn lanes(&self, words: usize, at: impl Fn(usize) -> u64) -> u64 {
        let mut sum = 0u64;
        for (i, seeds) in self.seeds.words.chunks_exact(2).enumerate() {
            let first = 2 * i;
            if first < words {
                let second = if first + 1 < words { at(first + 1) } else { 0 };
                sum = sum.wrapping_add(fold(at(first) ^ seeds[0], second ^ seeds[1]));
            }
        }
        sum
    }

    #[inline(always)]
    fn mix(&self, words: usize, at: impl Fn(usize) -> u64) -> u64 {
        let mut sum = self.lanes(words.min(LANES), &at);
        for turn in 1..words.div_ceil(LANES) {
            let first = turn * LANES;
            let more = self.lanes((words - first).min(LANES), |i| at(first + i));
            sum = fold(sum ^ self.turn[0], self.turn[1]).wrapping_add(more);
        }
        sum.wrapping_mul(self.seeds.sum).rotate_right(32)
    }

    /// What keys of at most [`LANES`] words are hashed with.
    pub fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u64]) -> u64 {
        self.mix(key.len(), |i| key[i])
    }

    /// The hash of a key under a mask.
    #[inline(always)]
    pub fn hash_masked(&self, key: &[u64], mask: &[u64]) -> u64 {
        let words = key.len().min(mask.len());
        self.mix(words, |i| key[i] & mask[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_gives_one_hash() {
        let hasher = KeyHasher::default();
        let (key, mask) = ([5u64, 7, 9], [4u64, 3, 8]);
        assert_eq!(hasher.hash_masked(&key, &mask), hasher.hash(&[4, 3, 8]));
        let long: [u64; 19] = std::array::from_fn(|i| i as u64 * 77);
        assert_eq!(
            hasher.hash_masked(&long, &[u64::MAX; 19]),
            hasher.hash(&long)
        );
        assert_ne!(hasher.hash(&key), KeyHasher::default().hash(&key));
    }

    #[test]
    fn every_word_counts_at_its_place() {
        let hasher = KeyHasher::default();
        for words in 1..20 {
            let zero = vec![0u64; words];
            let mut hashes = vec![hasher.hash(&zero)];
            for i in 0..words {
                for bit in 0..64 {
                    let mut key = zero.clone();
                    key[i] = 1 << bit;
                    hashes.push(hasher.hash(&key));
                }
            }
            let all = hashes.len();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), all, "{words} words");
        }
    }

    /// Keys that count up, at any place of any word, fill buckets about as evenly as chance would.
    #[test]
    fn neighbours_are_spread() {
        const BITS: u32 = 10;
        for words in [1, 2, 3, 6, 8] {
            for (word, shift) in
                (0..words).flat_map(|word| [0, 8, 21, 32, 48, 54].map(|s| (word, s)))
            {
                let mut worst = 0;
                // A seed may be an unlucky one now and then.
                for _ in 0..8 {
                    let hasher = KeyHasher::default();
                    let mut filled = [0u32; 1 << BITS];
                    for number in 0..1u64 << BITS {
                        let mut key = vec![0; words];
                        key[word] = number << shift;
                        filled[hasher.hash(&key) as usize & ((1 << BITS) - 1)] += 1;
                    }
                    let most = filled.iter().max().copied().unwrap_or(0);
                    worst = worst.max(most);
                }
                assert!(
                    worst <= 24,
                    "{words} words, word {word} from bit {shift}: {worst}"
                );
            }
        }
    }
}
