//! How long to wait before the next attempt: exponential with full jitter, so that many clients spread out.

use std::time::Duration;

/// Bounds of the waiting time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first wait.
    pub initial: Duration,
    /// Bound of every wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(200),
            max: Duration::from_secs(15),
        }
    }
}

impl Backoff {
    /// The wait before attempt number `attempt` (0 is the first repetition): between half of the bound and the bound,
    /// as `random` has it.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let bound = self
            .initial
            .saturating_mul(1 << attempt.min(20))
            .min(self.max);
        let half = bound / 2;
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }
}

/// A small generator (SplitMix64) for jitter; not for secrets.
#[derive(Debug, Clone)]
pub(super) struct Jitter(pub(super) u64);

impl Jitter {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound() {
        let backoff = Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        };
        let bounds = |attempt| {
            (
                backoff.delay(attempt, 0).as_millis(),
                backoff.delay(attempt, u64::MAX).as_millis(),
            )
        };
        assert_eq!(bounds(0), (50, 100));
        assert_eq!(bounds(1), (100, 200));
        assert_eq!(bounds(4), (500, 1000));
        assert_eq!(bounds(u32::MAX), (500, 1000));
    }

    #[test]
    fn jitter_varies() {
        let mut jitter = Jitter(1);
        assert_ne!(jitter.next(), jitter.next());
    }
}
