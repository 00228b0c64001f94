//! Time as the data plane sees it.
//!
//! In: nothing, or what a test says. Out: nanoseconds since the clock was made, never going back. Every timeout of the
//! switch goes through a [`Clock`], so that tests let hours pass in no time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use p4rs::engine::Time;

/// A source of time.
pub trait Clock: Send + Sync {
    /// Time since the clock was made.
    fn now(&self) -> Time;
}

/// The system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanoseconds: AtomicU64,
}

impl ManualClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.nanoseconds.load(Ordering::Relaxed))
    }
}
