//! When changes are written: at once while they are few, together while they are many (S80).
//!
//! In: moments of writes. Out: the moment from which the next one may happen. Time is a parameter.
//! Invariant: within any `period` there are at most `burst` more writes than the one that the period allows.

use std::time::{Duration, Instant};

/// A token bucket: one write per period, and a burst of them after a pause.
#[derive(Clone, Debug)]
pub struct Pacer {
    period: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: Option<Instant>,
}

impl Pacer {
    /// One write per `period`, `burst` at once after a pause; a burst of 0 counts as 1.
    pub fn new(period: Duration, burst: u32) -> Self {
        Self {
            period,
            burst: burst.max(1),
            full_at: None,
        }
    }

    /// From when on a write may happen.
    pub fn ready_at(&self, now: Instant) -> Instant {
        // Each write empties the bucket by one period's worth; it may be `burst` periods empty.
        let room = self.period * (self.burst - 1);
        match self.full_at {
            Some(full_at) => full_at
                .checked_sub(room)
                .map_or(now, |ready| ready.max(now)),
            None => now,
        }
    }

    /// Notes a write.
    pub fn wrote(&mut self, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(from + self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s80_a_burst_at_once_then_one_per_period() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pacer = Pacer::new(Duration::from_secs(1), 2);
        for (now, expected) in [(0, 0), (0, 0), (0, 1000), (1000, 2000), (2000, 3000)] {
            assert_eq!(pacer.ready_at(at(now)), at(expected), "{now}");
            pacer.wrote(at(expected));
        }
        // After a pause the burst is there again.
        for (now, expected) in [(10_000, 10_000), (10_001, 10_001), (10_002, 11_000)] {
            assert_eq!(pacer.ready_at(at(now)), at(expected), "{now}");
            pacer.wrote(at(expected));
        }
    }

    #[test]
    fn a_lone_change_never_waits() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Duration::from_secs(1), 1);
        for second in 0..5 {
            let now = start + Duration::from_millis(1001 * second);
            assert_eq!(pacer.ready_at(now), now);
            pacer.wrote(now);
        }
    }

    #[test]
    fn no_period_no_wait() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Duration::ZERO, 0);
        pacer.wrote(now);
        assert_eq!(pacer.ready_at(now), now);
    }
}
