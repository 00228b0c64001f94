//! Pseudo-random numbers (splitmix64), the same in every run.

/// A sequence.
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Bytes of a value of `width` bits; often a small one, so that packets match.
    pub fn value(&mut self, width: u32) -> Vec<u8> {
        let mut bytes = vec![0u8; width.div_ceil(8).max(1) as usize];
        if self.once_in(3) {
            bytes.iter_mut().for_each(|byte| *byte = self.next() as u8);
        } else if let Some(last) = bytes.last_mut() {
            *last = self.below(6) as u8;
        }
        let spare = bytes.len() as u32 * 8 - width;
        bytes[0] &= if spare >= 8 { 0 } else { 0xff >> spare };
        bytes
    }
}
