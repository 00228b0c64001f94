//! An interface that may go away and come back.
//!
//! In: how to open it. Out: what was opened, as long as the interface is the one that it was opened on; then, or when its
//! user says that it was lost, it is opened anew with growing pauses. Counts of packets outlive what was opened.
//! Invariant: at most one thread opens at a time, and nobody waits longer than asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::{Counters, PortError, PortStatistics, sys};

/// First pause before opening anew; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether the interface is still the one that was opened.
const WATCH: Duration = Duration::from_millis(100);

/// An interface as it was found when it was opened.
#[derive(Debug)]
pub(super) struct Link {
    /// Its index.
    pub index: libc::c_int,
    mtu: AtomicUsize,
}

impl Link {
    /// Looks an interface up for a port of this name.
    pub fn find(port: &str, interface: &str) -> Result<Self, PortError> {
        let index = sys::index(interface).map_err(|e| match e.raw_os_error() {
            Some(libc::ENODEV) => PortError::NoInterface(interface.to_owned()),
            _ => PortError::io(port, "looking the interface up", e),
        })?;
        let mtu = sys::mtu(interface).map_err(|e| PortError::io(port, "asking for the MTU", e))?;
        Ok(Self {
            index,
            mtu: AtomicUsize::new(mtu),
        })
    }

    /// Its MTU, which may change.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Ordering::Relaxed)
    }
}

/// What is opened on an interface.
pub(super) trait Opened {
    /// The interface, where one was found; none where it was made and may be renamed or moved.
    fn link(&self) -> Option<&Link>;

    /// Packets lost on the way in since the last call, as far as the kernel says.
    fn dropped(&self) -> u64;
}

type Open<S> = Box<dyn Fn() -> Result<S, PortError> + Send + Sync>;

/// What a port holds of an interface.
pub(super) struct Attachment<S> {
    name: String,
    interface: String,
    open: Open<S>,
    held: RwLock<Option<Arc<S>>>,
    retry: Mutex<Retry>,
    watched: Mutex<Instant>,
    reopened: AtomicU64,
    /// What the port counts.
    pub counters: Counters,
}

#[derive(Debug)]
struct Retry {
    next: Instant,
    pause: Duration,
}

impl<S: Opened> Attachment<S> {
    /// Opens the interface for the first time.
    pub fn new(name: &str, interface: &str, open: Open<S>) -> Result<Self, PortError> {
        let held = Arc::new(open()?);
        Ok(Self {
            name: name.to_owned(),
            interface: interface.to_owned(),
            open,
            held: RwLock::new(Some(held)),
            retry: Mutex::new(Retry {
                next: Instant::now(),
                pause: FIRST_PAUSE,
            }),
            watched: Mutex::new(Instant::now()),
            reopened: AtomicU64::new(0),
            counters: Counters::default(),
        })
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is open now.
    pub fn get(&self) -> Option<Arc<S>> {
        self.held.read().clone()
    }

    /// What is open, looked after; when nothing is, tries to open it or waits until that is due, at most for `wait`.
    pub fn get_or_reopen(&self, wait: Duration) -> Option<Arc<S>> {
        let held = self.get();
        if let Some(held) = &held {
            self.watch(held);
            return Some(Arc::clone(held));
        }
        let mut retry = self.retry.lock();
        if let Some(held) = self.get() {
            return Some(held);
        }
        let due = retry.next.saturating_duration_since(Instant::now());
        if !due.is_zero() {
            drop(retry);
            std::thread::sleep(due.min(wait));
            return None;
        }
        match (self.open)() {
            Ok(opened) => {
                let opened = Arc::new(opened);
                *self.held.write() = Some(Arc::clone(&opened));
                retry.pause = FIRST_PAUSE;
                self.reopened.fetch_add(1, Ordering::Relaxed);
                tracing::info!(port = self.name, "the interface is back");
                Some(opened)
            }
            Err(error) => {
                tracing::debug!(port = self.name, %error, "the interface is not back yet");
                retry.pause = (retry.pause * 2).min(LONGEST_PAUSE);
                retry.next = Instant::now() + retry.pause;
                None
            }
        }
    }

    /// Gives up what was open, if it is still this, because the interface went away.
    pub fn lose(&self, lost: &Arc<S>, why: &dyn std::fmt::Display) {
        let mut held = self.held.write();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, lost)) {
            self.counters.receive_dropped(lost.dropped());
            *held = None;
            tracing::warn!(
                port = self.name,
                "the interface went away ({why}); waiting for it to come back"
            );
        }
    }

    /// Now and then: notices another MTU, and that the interface is another one than before, even of the same name.
    fn watch(&self, held: &Arc<S>) {
        let Some(link) = held.link() else { return };
        let now = Instant::now();
        match self.watched.try_lock() {
            Some(mut watched) if now.duration_since(*watched) >= WATCH => *watched = now,
            _ => return,
        }
        match sys::index(&self.interface) {
            Ok(index) if index == link.index => {
                if let Ok(mtu) = sys::mtu(&self.interface) {
                    link.mtu.store(mtu, Ordering::Relaxed);
                }
            }
            Ok(_) => self.lose(held, &"another has its name"),
            Err(error) => self.lose(held, &error),
        }
    }

    /// Whether the interface is open and its link up.
    pub fn is_up(&self) -> bool {
        let running = libc::IFF_UP | libc::IFF_RUNNING;
        self.get().is_some()
            && sys::flags(&self.interface).is_ok_and(|flags| flags & running == running)
    }

    /// What was counted so far.
    pub fn statistics(&self) -> PortStatistics {
        if let Some(held) = self.get() {
            self.counters.receive_dropped(held.dropped());
        }
        PortStatistics {
            reopened: self.reopened.load(Ordering::Relaxed),
            ..self.counters.get()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loses a packet between any two looks.
    struct Loopback(Link);

    impl Opened for Loopback {
        fn link(&self) -> Option<&Link> {
            Some(&self.0)
        }

        fn dropped(&self) -> u64 {
            1
        }
    }

    #[test]
    fn what_was_lost_is_opened_anew_and_counted() {
        let attempts = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&attempts);
        let open = move || match count.fetch_add(1, Ordering::Relaxed) {
            0 | 3 => Ok(Loopback(Link::find("test", "lo")?)),
            _ => Err(PortError::NoInterface("gone0".into())),
        };
        let attachment = Attachment::new("test", "lo", Box::new(open)).unwrap();
        let first = attachment.get().unwrap();
        attachment.lose(&first, &"test");
        assert!(attachment.get().is_none());
        let deadline = Instant::now() + Duration::from_secs(10);
        while attachment.get_or_reopen(LONGEST_PAUSE).is_none() {
            assert!(Instant::now() < deadline);
        }
        assert_eq!(attempts.load(Ordering::Relaxed), 4);
        // What is lost is asked for its drops once, and again when statistics are wanted.
        let statistics = attachment.statistics();
        assert_eq!((statistics.reopened, statistics.rx_dropped), (1, 2));
        // Who still holds the one before cannot take the new one away.
        attachment.lose(&first, &"test");
        assert!(attachment.get().is_some());
    }
}
