//! A port whose threads go on looking for a while before they sleep.
//!
//! In: a port, and for how long. Out: the same port; after packets came in on a queue, its thread asks again and again for that
//! time before it waits to be woken. A request and its answer then find it awake: being woken takes tens of microseconds.
//! It is paid for with processor time, up to a whole core per queue under steady load. Between two looks the thread lets
//! others run that want its core.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Frame, Port, PortError, PortStatistics, Received, Take};

/// A port that is looked at for a while after each packet.
pub struct Busy {
    inner: Box<dyn Port>,
    window: Duration,
    /// By queue: packets came in the last time.
    warm: Vec<AtomicBool>,
}

impl Busy {
    /// Wraps a port.
    pub fn new(inner: Box<dyn Port>, window: Duration) -> Self {
        let warm = (0..inner.queues()).map(|_| AtomicBool::default()).collect();
        Self {
            inner,
            window,
            warm,
        }
    }
}

impl Port for Busy {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn queues(&self) -> usize {
        self.inner.queues()
    }

    fn takes_offloads(&self) -> bool {
        self.inner.takes_offloads()
    }

    fn poll(
        &self,
        queue: usize,
        limit: usize,
        wait: Duration,
        take: &mut Take<'_>,
    ) -> Result<Received, PortError> {
        let Some(warm) = self.warm.get(queue) else {
            return self.inner.poll(queue, limit, wait, take);
        };
        if warm.load(Ordering::Relaxed) {
            // At least once, however late the thread is.
            let since = Instant::now();
            loop {
                match self.inner.poll(queue, limit, Duration::ZERO, take)? {
                    Received::Nothing if since.elapsed() < self.window.min(wait) => {
                        std::thread::yield_now();
                    }
                    Received::Nothing => break,
                    found => return Ok(found),
                }
            }
        }
        let received = self.inner.poll(queue, limit, wait, take)?;
        warm.store(received == Received::Packets, Ordering::Relaxed);
        Ok(received)
    }

    fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
        self.inner.transmit(queue, frames)
    }

    fn is_up(&self) -> bool {
        self.inner.is_up()
    }

    fn statistics(&self) -> PortStatistics {
        self.inner.statistics()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::super::memory;
    use super::*;

    /// Counts how often it is asked without and with waiting.
    struct Counting {
        inner: Box<dyn Port>,
        looked: Arc<AtomicUsize>,
        waited: Arc<AtomicUsize>,
    }

    impl Port for Counting {
        fn name(&self) -> &str {
            self.inner.name()
        }

        fn poll(
            &self,
            queue: usize,
            limit: usize,
            wait: Duration,
            take: &mut Take<'_>,
        ) -> Result<Received, PortError> {
            let count = if wait.is_zero() {
                &self.looked
            } else {
                &self.waited
            };
            count.fetch_add(1, Ordering::Relaxed);
            self.inner.poll(queue, limit, wait, take)
        }

        fn transmit(&self, queue: usize, frames: &[Frame<'_>]) -> Result<(), PortError> {
            self.inner.transmit(queue, frames)
        }

        fn is_up(&self) -> bool {
            true
        }

        fn statistics(&self) -> PortStatistics {
            self.inner.statistics()
        }
    }

    #[test]
    fn it_looks_for_a_while_after_packets_only() {
        let (near, far) = memory::pair("busy", 10);
        let [looked, waited] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let counting = Counting {
            inner: Box::new(near),
            looked: Arc::clone(&looked),
            waited: Arc::clone(&waited),
        };
        let port = Busy::new(Box::new(counting), Duration::from_millis(5));
        let wait = Duration::from_millis(10);
        let mut seen = 0;
        let mut poll = || {
            let received = port
                .poll(0, 64, wait, &mut |frames| seen += frames.len())
                .unwrap();
            let counts = (
                looked.swap(0, Ordering::Relaxed),
                waited.swap(0, Ordering::Relaxed),
            );
            (received, counts)
        };
        assert_eq!(poll(), (Received::Nothing, (0, 1)), "nothing came before");
        far.send(&[&[1; 60]]).unwrap();
        assert_eq!(poll(), (Received::Packets, (0, 1)));
        far.send(&[&[2; 60]]).unwrap();
        assert_eq!(
            poll(),
            (Received::Packets, (1, 0)),
            "found at the first look"
        );
        let (received, (looks, waits)) = poll();
        assert_eq!((received, waits), (Received::Nothing, 1));
        assert!(looks > 0);
        assert_eq!(poll(), (Received::Nothing, (0, 1)), "cold again");
        assert_eq!(seen, 2);
    }
}
